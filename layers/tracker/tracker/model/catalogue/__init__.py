"""The catalogue of deployment types: pure data, and all that registration reads of a type.

A type's entry is in the file of its platform: `aws` holds AwsEc2 and AwsEks. An entry says which `resource_ids` and `metadata` a
type knows, their forms, the kind of resource that each id names, and the module that cleans the type up. These are decided
here alone: registration, the cleanup and docs/deployment-types.md read them here.
"""

from collections.abc import Collection, Iterator

from tracker.model.catalogue import (
    akash,
    aws,
    azure,
    coreweave,
    crusoe,
    digitalocean,
    fluidstack,
    gcp,
    hetzner,
    ionet,
    lambdalabs,
    lium,
    local,
    paperspace,
    primeintellect,
    render,
    runpod,
    ssh,
    tensordock,
    vastai,
    vultr,
)
from tracker.model.catalogue.forms import COMMON
from tracker.model.catalogue.vocabulary import Entry, Form, Guard
from tracker.model.deployment import DEPLOYMENT_TYPES, Deployment
from tracker.model.errors import Invalid

__all__ = [
    "CATALOGUE",
    "COMMON",
    "Entry",
    "Form",
    "Guard",
    "entry",
    "form_of",
    "missing",
    "missing_fields",
    "missing_place",
    "place_is_local",
]

_ENTRIES: dict[str, Entry] = {
    **akash.ENTRIES,
    **aws.ENTRIES,
    **azure.ENTRIES,
    **coreweave.ENTRIES,
    **crusoe.ENTRIES,
    **digitalocean.ENTRIES,
    **fluidstack.ENTRIES,
    **gcp.ENTRIES,
    **hetzner.ENTRIES,
    **ionet.ENTRIES,
    **lambdalabs.ENTRIES,
    **lium.ENTRIES,
    **local.ENTRIES,
    **paperspace.ENTRIES,
    **primeintellect.ENTRIES,
    **render.ENTRIES,
    **runpod.ENTRIES,
    **ssh.ENTRIES,
    **tensordock.ENTRIES,
    **vastai.ENTRIES,
    **vultr.ENTRIES,
}
CATALOGUE = {name: _ENTRIES[name] for name in DEPLOYMENT_TYPES}


def entry(deployment_type: str) -> Entry:
    """Return the entry of a type. Raises Invalid if there is no such type."""
    if deployment_type not in CATALOGUE:
        raise Invalid("deployment_type", deployment_type, f"one of {', '.join(CATALOGUE)}")
    return CATALOGUE[deployment_type]


def form_of(kind: str) -> Form:
    """Return the form of the ids of a kind, which is the same for all types. KeyError if no record can name such a resource."""
    for type_ in CATALOGUE.values():
        if any(form.kind == kind for form in type_.ids.values()):
            return type_.form_of(kind)
    raise KeyError(kind)


def missing_fields(deployment: Deployment) -> list[tuple[str, str]]:
    """Return (field, what is expected there) for each id, metadata value and region that the record's type still needs."""
    type_ = entry(deployment.deployment_type)
    found = [
        *_none_of(type_.needs_one_of, deployment.resource_ids.keys(), type_.ids, "resource_ids"),
        *_none_of(type_.needs_metadata, deployment.metadata.keys(), type_.metadata, "metadata"),
    ]
    if type_.needs_region and not deployment.region:
        found.append(("region", f"a region, such as {type_.region.example}" if type_.region else "a region"))
    return found


def missing(deployment: Deployment) -> list[str]:
    """Return a sentence for each id, metadata value and region that the record's type still needs."""
    return [f"{field} is missing: {expected}" for field, expected in missing_fields(deployment)]


def missing_place(deployment: Deployment) -> list[str]:
    """Return a sentence for each field without which a deployment can't even be looked for: all but the ids that name resources."""
    type_ = entry(deployment.deployment_type)
    found_by_mark = {
        f"resource_ids.{group[0]}" for group in type_.needs_one_of if any(type_.ids[key].kind for key in group)
    }
    return [
        f"{field} is missing: {expected}"
        for field, expected in missing_fields(deployment)
        if field not in found_by_mark
    ]


def place_is_local(deployment: Deployment) -> bool:
    """Return whether the deployment is on the machine that its stack runs on."""
    type_ = entry(deployment.deployment_type)
    elsewhere = deployment.metadata.get(type_.remote_with, "")
    return type_.place == "local" and (not elsewhere or elsewhere.startswith("unix://"))


def _none_of(
    groups: tuple[tuple[str, ...], ...], present: Collection[str], forms: dict[str, Form], where: str
) -> Iterator[tuple[str, str]]:
    for group in groups:
        if not any(key in present for key in group):
            wanted = " or ".join(f"{key}, such as {forms[key].example}" for key in group)
            yield f"{where}.{group[0]}", wanted
