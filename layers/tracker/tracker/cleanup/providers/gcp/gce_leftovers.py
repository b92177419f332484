"""This is what goes on being billed after an instance of Compute Engine: what was saved of it and of its disks, and what only the label leads to.

Used by `gce`. All of it is kept, and shown by name: it is never deleted unnamed.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from google.cloud import compute_v1

from tracker.cleanup.core.discovery import kept
from tracker.cleanup.providers.gcp.compute import listed, where
from tracker.cleanup.providers.gcp.gce_resources import short
from tracker.cleanup.transport.rest.kind import unless_denied
from tracker.cleanup.transport.rest.provider import Api
from tracker.model.deployment import Resource

# The label is that of all deployments: so many of what it leads to are shown.
LABELLED_MAX = 20
_SAVED = "billed on after the instance is gone: what was saved of it is never deleted"
_FORWARDS = "forwarding rules lead through it to the instance, and are billed on"
_LABELLED = "carries the label {}, and nothing uses it: it may be left of the instance, which is gone"


def saved(api: Api, instance: Resource, disks: Iterable[str]) -> Iterator[Resource]:
    """Yield snapshots and images of `disks`, and the machine images and target instances of an instance.

    `disks` are scopes and names, "zones/europe-west1-b/disks/boot".
    """
    place = {key: instance.place[key] for key in ("account", "credential") if key in instance.place}
    scope = instance.place["scope"]
    disks, of_instance = sorted(disks), [f"{scope}/instances/{instance.id}"]
    sources: list[tuple[Any, str, str, str, list[str], str]] = [
        (compute_v1.SnapshotsClient, "snapshot", "global", "sourceDisk", disks, _SAVED),
        (compute_v1.ImagesClient, "image", "global", "sourceDisk", disks, _SAVED),
        (compute_v1.MachineImagesClient, "machine_image", "global", "sourceInstance", of_instance, _SAVED),
        (compute_v1.TargetInstancesClient, "target_instance", scope, "instance", of_instance, _FORWARDS),
    ]
    for client, noun, in_scope, member, users, why in sources:
        kind = f"gcp:{noun}"
        # Google names one resource by URLs of several hosts: their ends are compared.
        ends = "|".join(map(re.escape, users))
        asked = {"project": api.account, **where(in_scope), "filter": f'{member} eq ".*/({ends})"'}
        found = (
            kept(Resource(kind, each.name, place | {"scope": in_scope}), why)
            for each in (listed(api, client, "list", asked) if users else ())
            if short(getattr(each, _snake(member))) in users
        )
        yield from unless_denied(kind, found)


def labelled(api: Api, instance: Resource, region: str, mark: str) -> Iterator[Resource]:
    """Yield disks and addresses that carry the mark and that nothing uses: what a preempted instance may have left."""
    key, _, value = mark.partition("=")
    if not key:
        return
    zone = {"zone": instance.place["location"]}
    sources: list[tuple[Any, str, dict[str, str]]] = [
        (compute_v1.DisksClient, "disk", zone),
        (compute_v1.AddressesClient, "address", {"region": region}),
    ]
    place = {each: instance.place[each] for each in ("account", "credential", "location") if each in instance.place}
    for client, noun, in_scope in sources:
        asked = {"project": api.account, **in_scope, "filter": f'labels.{key} = "{value}"'}
        scope = "/".join(f"{name}s/{each}" for name, each in in_scope.items())
        free = (each for each in listed(api, client, "list", asked) if not each.users)
        found = (
            kept(Resource(f"gcp:{noun}", each.name, place | {"scope": scope}), _LABELLED.format(mark)) for each in free
        )
        yield from unless_denied(f"gcp:{noun}", islice(found, LABELLED_MAX))


def _snake(member: str) -> str:
    """Return the name that the client has for a member of the API."""
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", member)
