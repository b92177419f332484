"""The decisions that every type's discovery makes alike: which resources the record names, and which dependents may go.

Used by the files of the types. A resource that the record names is always in the list; one that was only found goes if it
carries the ownership mark, or if `metadata.delete_dependents` is "all" and its kind allows that; else it is kept, and shown.
"""

from collections.abc import Collection, Mapping
from typing import Any

from msgspec.structs import replace

from tracker.cleanup.core.contract import MARKED, Refused
from tracker.cleanup.core.kind import Kind
from tracker.model.catalogue import entry
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

ONLY_FOUND = 'only found, not named by the record, and not marked; metadata.delete_dependents = "all" would delete it'


def named_resources(
    deployment: Deployment,
    place: Mapping[str, str],
    stages: Mapping[str, int],
    kinds: Mapping[str, Kind[Any, Any]],
    settings: Settings,
    mains: Collection[str] = (),
) -> list[Resource]:
    """Return a resource for every id that the record names, or ever named, in `place`, each with the stage of its kind.

    The catalogue says which key of `resource_ids` names which kind. The main kinds are `mains`, or else the first of `stages`.
    Raises Refused if no main resource is named, or an id is malformed.
    """
    mains = mains or (next(iter(stages)),)
    marks = {each.key: {MARKED: each.place[MARKED]} for each in deployment.resources if MARKED in each.place}
    found = [
        Resource(kind, id_, dict(place) | marks.get((kind, id_), {}), stage=stages[kind], named_by=key)
        for key, kind, id_ in entry(deployment.deployment_type).named(deployment)
    ]
    if not any(resource.kind in mains for resource in found):
        keys = [key for key, form in entry(deployment.deployment_type).ids.items() if form.kind in mains]
        raise Refused("missing_id", f"resource_ids.{' or '.join(keys)} is missing")
    for resource in found:
        kinds[resource.kind].check_id(resource, settings)
    return found


def deletes_dependents(deployment: Deployment) -> bool:
    """Return whether the record asks for volumes and addresses to go that were only found with its resources."""
    return deployment.metadata.get("delete_dependents") == "all"


def is_first_attempt(deployment: Deployment) -> bool:
    """Return whether this round has met no error yet. A plan is no attempt: it shows how the round would end."""
    return deployment.status == "Terminating" and not deployment.cleanup.has_met_error


def judged(
    deployment: Deployment,
    resource: Resource,
    *,
    is_marked: bool = False,
    is_liftable: bool = True,
    why: str = ONLY_FOUND,
) -> Resource:
    """Return a resource that was only found: to go if it is marked, or the record asks for it; else kept, and `why`.

    `is_liftable` is false for what others may use (keys, groups), which `delete_dependents` never takes.
    """
    goes = is_marked or (is_liftable and deletes_dependents(deployment))
    return resource if goes else kept(resource, why)


def kept(resource: Resource, why: str) -> Resource:
    """Return a resource that stays, because it isn't the deployment's to delete."""
    return replace(resource, state="kept", detail=why)


def check_vouched(generation: str | None, anchor: str, where: str) -> None:
    """Raise Refused if nothing was found by a generation's mark, and nothing says that this was the place to look: `anchor` is empty."""
    if generation is not None and not anchor:
        text = (
            f"nothing carries its mark in {where}; neither the record nor a setting says that this is the place to look"
        )
        raise Refused("unproven", text)
