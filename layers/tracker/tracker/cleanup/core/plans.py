"""The dry run: finds out what a cleanup would delete and what it would keep, or whether what is gone is back, by reading alone.

Called by the plan function.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from tracker.cleanup.core import engine, marked
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.core.digests import changed_since, digest_of
from tracker.cleanup.core.waiting import within
from tracker.model.clock import utc_now
from tracker.model.deployment import RESOURCE_DETAIL_MAX, Deployment, Resource, clipped, format_time
from tracker.model.marks import MARK_KIND, with_marked, without_mark_line
from tracker.model.settings import Settings

SECONDS = 20
# So many more are waited for a look that began before them: a gateway gives up after 29, and would answer in its own words.
LONGER = 2
TOO_LONG = f"the provider hasn't answered within the {SECONDS} s of a plan"


class Plan(msgspec.Struct, frozen=True):
    """The resources as they were seen.

    `not_looked_at` names those for which no time was left, `problems` says why others can't be seen, and `refusal`
    (`{"class", "message"}`) why nothing would be deleted at all. `digest` stands for what would be deleted and what kept; it is None if
    that isn't known.
    """

    resources: list[Resource]
    not_looked_at: list[str] = []
    problems: list[str] = []
    refusal: dict[str, str] | None = None
    digest: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as the builtins of its JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def draw(
    deployment: Deployment, settings: Settings, monotonic: Callable[[], float], clock: Callable[[], datetime] = utc_now
) -> Plan:
    """Discover the resources, then look at each until 20 seconds are over. `monotonic` returns seconds."""
    until = monotonic() + SECONDS
    deployment = without_mark_line(deployment)
    try:
        deployment, new, discovery = _looked_up(deployment, settings)
    except Refused as refused:
        return Plan(deployment.resources, refusal={"class": refused.error_class, "message": str(refused)})
    except (Busy, Unreachable) as error:
        return Plan(deployment.resources, problems=[str(error)])
    seen, not_looked_at, problems = [], [], []
    for resource in discovery.resources:
        name = f"{resource.kind} {resource.id}"
        if resource.is_done:
            seen.append(resource)
        elif (left := until - monotonic()) <= 0:
            not_looked_at.append(name)
            seen.append(resource)
        else:
            try:
                look = partial(engine.look, deployment, settings, resource, clock())
                seen.append(within(left + LONGER, look, TOO_LONG))
            except (Busy, Unreachable, Refused) as error:
                problems.append(f"{name}: {error}")
                seen.append(resource)
    if new is not None:
        detail = f"it led to {len(new)} more" if new else "nothing else carries it now"
        seen.append(marked.mark_line(deployment, deployment.resources, detail))
    return Plan(seen, not_looked_at, problems, digest=digest_of(discovery.resources, discovery.places))


def compare(deployment: Deployment, settings: Settings, digest: str) -> dict[str, Any]:
    """Compare what a cleanup would delete now with the plan of a digest, by a discovery alone.

    Return `{"changed": [...]}`, or `{"problem": "..."}` if what would be deleted can't be seen now.
    """
    try:
        _, _, discovery = _looked_up(without_mark_line(deployment), settings)
    except Refused as refused:
        return {"changed": [f"now nothing would be deleted: {refused}"]}
    except (Busy, Unreachable) as error:
        return {"problem": str(error)}
    return {"changed": changed_since(digest, discovery.resources, discovery.places)}


def _looked_up(
    deployment: Deployment, settings: Settings
) -> tuple[Deployment, list[Resource] | None, engine.Discovery]:
    """Discover the resources of a deployment. If it is looked for by its mark, return it with what was found, and the list of that.

    Busy if that takes longer than a plan may.
    """
    return within(SECONDS, partial(_look_up, deployment, settings), TOO_LONG)


def _look_up(deployment: Deployment, settings: Settings) -> tuple[Deployment, list[Resource] | None, engine.Discovery]:
    new = None
    if marked.is_sought(deployment):
        new = marked.find_new(deployment, settings)
        deployment = with_marked(deployment, new)
    return deployment, new, marked.discover(deployment, settings)


def look_again(
    deployment: Deployment, settings: Settings, monotonic: Callable[[], float], clock: Callable[[], datetime] = utc_now
) -> list[Resource]:
    """Look once more at each resource of a Terminated deployment that counts as gone, until 20 seconds are over.

    Each is returned with a detail that says what was seen, or why it can't be asked for.
    """
    until = monotonic() + SECONDS
    return [
        _again(deployment, settings, resource, clock(), time_left=until - monotonic())
        for resource in deployment.resources
    ]


def _again(
    deployment: Deployment, settings: Settings, resource: Resource, now: datetime, *, time_left: float
) -> Resource:
    if resource.state != "gone":
        return resource
    if time_left <= 0:
        why = "no time was left"
    else:
        try:
            look = marked.look_again if resource.kind == MARK_KIND else engine.look_again
            return within(time_left + LONGER, partial(look, deployment, settings, resource, now), TOO_LONG)
        except (Busy, Unreachable, Refused) as error:
            why = str(error)
    text = clipped(f"can't be asked for at {format_time(now)}: {why}", RESOURCE_DETAIL_MAX)
    return msgspec.structs.replace(resource, detail=text)
