"""The engine: discovers what belongs to a deployment, and takes one bounded step towards nothing left.

Called by `rounds` (release) and by plan. It knows no provider: a type's module and its kinds do. It never
waits; waiting is the workflow's.
"""

import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from typing import cast

import msgspec
from aws_lambda_powertools import Logger

from tracker.catalogue import entry, missing
from tracker.cleanup.contract import Busy, DeploymentTypeModule, Kind, Look, Refused, Unreachable
from tracker.deployment import RESOURCES_MAX, Deployment, Resource, format_time
from tracker.settings import Settings

# With less than this left of a function's time, no provider call is begun. Seconds.
CALL_NEEDS = 60
POLL_MIN = 5
POLL_SHARE = 20

logger = Logger(child=True)


class Step(msgspec.Struct, frozen=True):
    """What one step came to. `waits` says why something remains, `refusals` and `failures` what stands in the way."""

    resources: list[Resource]
    retry_after: float = 0
    waits: list[str] = []
    refusals: list[Refused] = []
    failures: list[Exception] = []

    @property
    def is_done(self) -> bool:
        """Whether everything is proven gone, or kept."""
        return bool(self.resources) and all(resource.is_done for resource in self.resources)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Every resource of a deployment, with what is known of it already. Refused, Busy or Unreachable."""
    lacking = missing(deployment)
    if lacking:
        raise Refused("missing_id", "; ".join(lacking))
    with _understood(deployment.deployment_type):
        found = _module(deployment).discover(deployment, settings)
    resources = merged(deployment.resources, found)
    if not found:
        raise Refused("missing_id", "nothing was discovered that belongs to it")
    if len(resources) > RESOURCES_MAX:
        raise Refused("bad_id", f"{len(resources)} resources; at most {RESOURCES_MAX} can be kept on a record")
    return resources


def merged(known: list[Resource], found: list[Resource]) -> list[Resource]:
    """What is known with what is found: adds, never removes, and forgets nothing of what was seen."""
    discovered = {resource.key: resource for resource in found}
    result = [_updated(resource, discovered.pop(resource.key, None)) for resource in known]
    return sorted([*result, *discovered.values()], key=lambda resource: resource.stage)


def look(deployment: Deployment, settings: Settings, resource: Resource) -> Resource:
    """Read one resource, changing nothing. For plans. Refused, Busy or Unreachable."""
    with _understood(resource.kind):
        kind = _kinds(deployment)[resource.kind]
        return _seen(resource, kind.state(resource, settings), None)


def step(
    deployment: Deployment, settings: Settings, *, clock: Callable[[], datetime], time_left: Callable[[], float]
) -> Step:
    """Ask for what may be deleted now, and say what remains.

    Stage by stage: the next begins in the same step if all of this one is gone already. What goes wrong with one
    resource doesn't keep the others of its stage from being asked.
    """
    kinds = _kinds(deployment)
    stages = groupby(sorted(deployment.resources, key=lambda r: r.stage), key=lambda r: r.stage)
    resources: dict[tuple[str, str], Resource] = {resource.key: resource for resource in deployment.resources}
    attempt = _Attempt(kinds, settings, clock, time_left)
    for _, members in stages:
        # What is leaving already comes first, so that of a kind that goes one at a time no second is asked.
        stage = [attempt.release(resource) for resource in sorted(members, key=lambda r: r.state != "leaving")]
        resources |= {resource.key: resource for resource in stage}
        if not all(resource.is_done for resource in stage):
            break
    return Step(
        resources=list(resources.values()),
        retry_after=attempt.retry_after,
        waits=attempt.waits,
        refusals=attempt.refusals,
        failures=attempt.failures,
    )


def poll_after(step: Step, *, since: datetime, now: datetime, until: datetime) -> int:
    """Whole seconds until the next look: the longer it takes, the rarer; what a provider asks for, up to the deadline."""
    elapsed = (now - since).total_seconds()
    left = (until - now).total_seconds()
    return math.ceil(max(POLL_MIN, elapsed / POLL_SHARE, min(step.retry_after, left + 1)))


class _Attempt:
    """One step's way over the resources, and what it met."""

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        settings: Settings,
        clock: Callable[[], datetime],
        time_left: Callable[[], float],
    ) -> None:
        self._kinds = kinds
        self._settings = settings
        self._clock = clock
        self._time_left = time_left
        self._leaving: set[str] = set()
        self._latest: Resource
        self.retry_after: float = 0
        self.waits: list[str] = []
        self.refusals: list[Refused] = []
        self.failures: list[Exception] = []

    def release(self, resource: Resource) -> Resource:
        """See one resource, and ask for its deletion if it is there; what was learned of it, whatever went wrong."""
        if resource.is_done:
            return resource
        name = f"{resource.kind} {resource.id}"
        self._latest = resource
        try:
            with _understood(resource.kind):
                self._advance(resource, name)
        except Busy as busy:
            self.retry_after = max(self.retry_after, busy.retry_after)
            self.waits.append(f"{name}: {busy}")
            self._latest = msgspec.structs.replace(self._latest, detail=str(busy)[:512])
        except Refused as refused:
            self.refusals.append(Refused(refused.error_class, f"{name}: {refused}"))
            self._latest = msgspec.structs.replace(self._latest, detail=str(refused)[:512])
        except Unreachable as unreachable:
            # One that doesn't answer must not keep the others from being asked; it is raised at the end of the step.
            self.failures.append(Unreachable(f"{name}: {unreachable}"))
            self._leaving.add(resource.kind)
        return self._latest

    def _advance(self, resource: Resource, name: str) -> None:
        kind = self._kinds[resource.kind]
        if not self._has_time(name):
            return
        now = self._look(kind, resource)
        if now.state == "present":
            if kind.one_at_a_time and resource.kind in self._leaving:
                self.waits.append(f"{name}: waits for its turn")
                return
            if not self._has_time(name):
                return
            kind.delete(now, self._settings)
            self._leaving.add(resource.kind)
            if not self._has_time(name):
                return
            now = self._look(kind, now)
        if not now.is_done:
            self._leaving.add(resource.kind)
            self.waits.append(f"{name}: {now.detail or now.state}")

    def _look(self, kind: Kind, resource: Resource) -> Resource:
        look = kind.state(resource, self._settings)
        self._latest = _seen(resource, look, self._clock())
        if look.failure:
            raise Unreachable(look.failure)
        return self._latest

    def _has_time(self, name: str) -> bool:
        if self._time_left() >= CALL_NEEDS:
            return True
        self.waits.append(f"{name}: no time left in this step")
        return False


@contextmanager
def _understood(asked: str) -> Iterator[None]:
    """The contract's exceptions pass; anything else is an answer that can't be understood."""
    try:
        yield
    except (Busy, Refused, Unreachable):
        raise
    except Exception as error:
        logger.exception("a provider's answer can't be understood", extra={"asked": asked})
        # The text may hold anything, so only the log has it.
        raise Unreachable(type(error).__name__) from error


def _seen(resource: Resource, look: Look, now: datetime | None) -> Resource:
    if look.state == "gone":
        if look.unproven and not resource.seen:
            text = f"{look.proof}; neither the record nor a setting says that this is the place to ask"
            raise Refused("unproven", text)
        gone_at = format_time(now) if now else None
        return msgspec.structs.replace(resource, state="gone", proof=look.proof, detail="", gone_at=gone_at)
    place = resource.place | look.place
    return msgspec.structs.replace(resource, state=look.state, seen=True, detail=look.detail, place=place)


def _updated(known: Resource, found: Resource | None) -> Resource:
    """A known resource, discovered again: where it is and whether it is kept is what is found now."""
    if found is None or known.state == "gone":
        return known
    if found.state == "kept":
        return msgspec.structs.replace(found, seen=known.seen, place=known.place | found.place)
    state = "unseen" if known.state == "kept" else known.state
    return msgspec.structs.replace(
        known,
        place=known.place | found.place,
        stage=found.stage,
        named_by=known.named_by or found.named_by,
        state=state,
        detail=found.detail,
    )


def _module(deployment: Deployment) -> DeploymentTypeModule:
    """The file of a deployment's type, loaded now: nothing else loads its SDK."""
    name = entry(deployment.deployment_type).module
    if name is None:
        raise Refused("bad_id", f"{deployment.deployment_type} can't be cleaned up by this stack")
    return cast(DeploymentTypeModule, importlib.import_module(f"tracker.cleanup.{name}"))


def _kinds(deployment: Deployment) -> Mapping[str, Kind]:
    return _module(deployment).KINDS
