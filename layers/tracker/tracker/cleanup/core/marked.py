"""This is what is looked for by its mark: a deployment that was registered before anything was made, and lacks the ids of what was.

Called by `rounds` and `plans`. That a look finds nothing is a proof only if the place could be seen: whatever else happens is raised.
"""

from datetime import datetime

import msgspec

from tracker.cleanup.core import engine
from tracker.cleanup.core.contract import MARKED, Finder, Found, Refused
from tracker.model.catalogue import Entry, entry, missing, missing_place
from tracker.model.deployment import RESOURCE_DETAIL_MAX, RESOURCES_MAX, Deployment, Resource, clipped, format_time
from tracker.model.marks import MARK_KIND, is_mark_of, mark_of
from tracker.model.settings import Settings

# Two looks that find nothing, so many seconds apart, prove that nothing is there: a list may not show yet what was just made.
APART = 600


def is_sought(deployment: Deployment) -> bool:
    """Return whether a deployment is looked for by its mark: it lacks ids, or did so in a round, and its type can look."""
    if not (deployment.cleanup.by_mark or missing(deployment)):
        return False
    return mark_of(entry(deployment.deployment_type), deployment.generation) is not None and isinstance(
        engine.module_of(deployment), Finder
    )


def find_new(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what carries the deployment's mark and isn't on its record, or is on it as gone. Raises Refused, Busy or Unreachable."""
    if lacking := missing_place(deployment):
        raise Refused("missing_id", "; ".join(lacking))
    module = engine.module_of(deployment)
    if not isinstance(module, Finder):
        raise Refused("missing_id", "; ".join(missing(deployment)))
    with engine.translated(deployment.deployment_type):
        found = list(module.find(deployment, settings, deployment.generation))
    type_ = entry(deployment.deployment_type)
    known = {resource.key for resource in deployment.resources if resource.state != "gone"}
    new = {each.resource.key: _resource(type_, each, deployment) for each in found if each.resource.key not in known}
    if len(deployment.resources) + len(new) >= RESOURCES_MAX:
        raise Refused("bad_id", f"{len(new)} more carry its mark; at most {RESOURCES_MAX} can be kept on a record")
    return list(new.values())


def discover(deployment: Deployment, settings: Settings) -> engine.Discovery:
    """Discover the resources of a deployment. If it is looked for by its mark and lacks ids, they are what was found. Raises as `find_new`."""
    if missing(deployment) and is_sought(deployment):
        return engine.Discovery(deployment.resources, {each.key: each.place for each in deployment.resources})
    return engine.discover(deployment, settings)


def mark_line(deployment: Deployment, resources: list[Resource], detail: str) -> Resource:
    """Return the line of the list that is about the mark itself, with what a look for it showed."""
    mark = mark_of(entry(deployment.deployment_type), deployment.generation)
    place = {"region": deployment.region} if deployment.region else {}
    if resources:
        place = dict(set.intersection(*(set(resource.place.items()) for resource in resources)))
    return Resource(MARK_KIND, mark.text if mark else "", place, detail=clipped(detail, RESOURCE_DETAIL_MAX))


def proven(deployment: Deployment, resources: list[Resource], now: datetime) -> Resource:
    """Return the line about the mark once nothing (more) carries it. If nobody ever saw anything, it says so."""
    first = deployment.cleanup.nothing_found_at
    proof = f"looked for at {format_time(now)}: nothing else carries it"
    if missing(deployment) and first:
        proof = f"two looks, at {first} and {format_time(now)}: nothing carries it"
    line = mark_line(deployment, resources, "")
    return msgspec.structs.replace(
        line, state="gone", proof=proof, gone_at=format_time(now), never_seen=not any(each.seen for each in resources)
    )


def look_again(deployment: Deployment, settings: Settings, line: Resource, now: datetime) -> Resource:
    """Look for the mark of a Terminated deployment once more. The line is present if anything carries it that isn't known as there."""
    found = find_new(deployment, settings)
    if not found:
        return msgspec.structs.replace(line, detail=f"still nothing carries it at {format_time(now)}")
    detail = f"found at {format_time(now)}: {', '.join(f'{each.kind} {each.id}' for each in found[:5])}"
    return msgspec.structs.replace(
        line,
        state="present",
        detail=clipped(detail, RESOURCE_DETAIL_MAX),
        proof="",
        gone_at=None,
        never_seen=False,
    )


def _resource(type_: Entry, found: Found, deployment: Deployment) -> Resource:
    """Return what was found as a resource of the record. Raises Refused if the type's file is wrong about it."""
    resource = found.resource
    if not is_mark_of(found.mark, deployment.generation):
        text = f"it found {resource.kind} {resource.id}, which carries the mark of {found.mark}"
        raise Refused("workflow", f"a defect of {deployment.deployment_type}: {text}")
    form = type_.ids.get(found.key)
    key = found.key if form and form.kind == resource.kind and form.matches(resource.id) else ""
    place = resource.place | {MARKED: found.mark}
    return msgspec.structs.replace(resource, place=place, named_by=key, seen=True)
