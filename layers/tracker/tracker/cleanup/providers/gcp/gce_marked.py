"""Instances, disks and addresses of Compute Engine that carry a deployment's mark, as a label, in a zone and its region.

Used by `gce`. Each list is read to its end through the official client.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tracker.cleanup.core.contract import Found
from tracker.cleanup.providers.gcp.compute import listed, where
from tracker.cleanup.providers.gcp.gce_resources import GceKind, check_zone
from tracker.cleanup.transport.rest.listing import is_sought, moment
from tracker.cleanup.transport.rest.provider import Api
from tracker.model.catalogue import entry
from tracker.model.deployment import Deployment, Resource
from tracker.model.marks import mark_in_tags


def marked(
    api: Api, deployment: Deployment, place: Mapping[str, str], generation: str | None, kinds: Mapping[str, GceKind]
) -> Iterator[Found]:
    """Yield what carries the mark of a generation, or of any. Raises Refused if the credential may not see the zone: nothing is there then."""
    type_, zone = entry(deployment.deployment_type), place["location"]
    check_zone(api, zone)
    keys = {form.kind: key for key, form in type_.ids.items() if form.kind}
    for name, kind in kinds.items():
        for scope, item in _items(api, kind, (f"zones/{zone}", f"regions/{zone.rpartition('-')[0]}", "global")):
            mark = mark_in_tags(type_, dict(item.labels))
            if mark is not None and is_sought(mark, generation):
                resource = Resource(name, item.name, {**place, "scope": scope} | kind.identity(item))
                yield Found(resource, keys[name], mark, moment(item.creation_timestamp))


def _items(api: Api, kind: GceKind, scopes: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for scope in scopes:
        if client := kind.clients.get(scope.partition("/")[0]):
            for item in listed(api, client, "list", {"project": api.account, **where(scope)}):
                yield scope, item
