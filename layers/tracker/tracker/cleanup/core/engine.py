"""The engine: it discovers the resources of a deployment, and takes one bounded step towards deleting them.

Called by `rounds` (release) and `plans`. It knows no provider: a type's module and its kinds do. It never waits; waiting is the
workflow's.
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

from tracker.cleanup.core.contract import (
    MARKED,
    Busy,
    DeploymentTypeModule,
    Dispensable,
    Observation,
    Refused,
    ResourceKind,
    Stuck,
    Unreachable,
)
from tracker.cleanup.core.digests import Places
from tracker.model.catalogue import entry, missing
from tracker.model.deployment import (
    RESOURCE_DETAIL_MAX,
    RESOURCES_MAX,
    Deployment,
    Resource,
    clipped,
    format_time,
    parse_time,
)
from tracker.model.settings import Settings

# With less than this left of a function's time, no provider call is begun. Seconds.
CALL_NEEDS = 60
POLL_MIN = 5
POLL_SHARE = 20
# The keys of a place that no thing ever leaves.
SEEN_IN = frozenset({"account", "location", "region"})
# So many looks in a row must find nothing before a not-found is believed of what may only not show yet.
LOOKS = 3

logger = Logger(child=True)


class Step(msgspec.Struct, frozen=True):
    """The result of one step. `waits` says why something remains, `refusals` and `failures` what stands in the way."""

    resources: list[Resource]
    retry_after: float = 0
    waits: list[str] = []
    refusals: list[Refused] = []
    failures: list[Exception] = []

    @property
    def is_done(self) -> bool:
        """Return whether everything is proven gone, or kept."""
        return bool(self.resources) and all(resource.is_done for resource in self.resources)


class Discovery(msgspec.Struct, frozen=True):
    """Every resource of a deployment, with what is known of it already, and where each that was found now is."""

    resources: list[Resource]
    places: Places


def discover(deployment: Deployment, settings: Settings) -> Discovery:
    """Discover the resources of a deployment. Raises Refused, Busy or Unreachable."""
    lacking = missing(deployment)
    if lacking:
        raise Refused("missing_id", "; ".join(lacking))
    module = module_of(deployment)
    with translated(deployment.deployment_type):
        found = module.discover(deployment, settings)
    if not found:
        raise Refused("missing_id", "nothing was discovered that belongs to it")
    _check_discovery(deployment, found, module.KINDS)
    _check_places(deployment.resources, found)
    resources = merged(deployment.resources, found)
    if len(resources) > RESOURCES_MAX:
        raise Refused("bad_id", f"{len(resources)} resources; at most {RESOURCES_MAX} can be kept on a record")
    return Discovery(resources, {resource.key: resource.place for resource in found})


def merged(known: list[Resource], found: list[Resource]) -> list[Resource]:
    """Return the known resources together with those found: adds, never removes, and forgets nothing that was seen."""
    discovered = {resource.key: resource for resource in found}
    result = [_updated(resource, discovered.pop(resource.key, None)) for resource in known]
    return sorted([*result, *discovered.values()], key=lambda resource: resource.stage)


def look(deployment: Deployment, settings: Settings, resource: Resource, now: datetime) -> Resource:
    """Read one resource, changing nothing. For plans. Raises Refused, Busy or Unreachable."""
    kind = _kind(kinds_of(deployment), resource)
    with translated(resource.kind):
        observation = kind.state(resource, settings)
    seen = _observed(resource, observation, now, kind.settles_in, _age(deployment, now))
    return msgspec.structs.replace(seen, gone_at=None)


def look_again(deployment: Deployment, settings: Settings, resource: Resource, now: datetime) -> Resource:
    """Read one resource that was proven gone, changing nothing. Return it as it is now, with a detail that says what was seen.

    It is present only if what is there is certainly the same resource. Raises Refused, Busy or Unreachable.
    """
    kind = _kind(kinds_of(deployment), resource)
    with translated(resource.kind):
        observation = kind.state(resource, settings)
    at = format_time(now)
    if observation.state == "gone":
        return msgspec.structs.replace(resource, detail=f"still gone at {at}")
    if not observation.same:
        text = f"something has its id at {at}, and nothing says that it is the same"
        return msgspec.structs.replace(resource, detail=text)
    # Not as it is seen: it may be on its way out in a round that nobody asked for.
    return msgspec.structs.replace(
        resource,
        state="present",
        seen=True,
        absent=0,
        asked_in=0,
        never_seen=False,
        detail=f"back at {at}",
        proof="",
        gone_at=None,
    )


def step(
    deployment: Deployment, settings: Settings, *, clock: Callable[[], datetime], time_left: Callable[[], float]
) -> Step:
    """Request the deletion of what may go now, and say what remains.

    It goes stage by stage: the next one begins in the same step if all of this one is gone already. A failure of one
    resource doesn't keep the others of its stage from being asked to go.
    """
    kinds = kinds_of(deployment)
    stages = groupby(sorted(deployment.resources, key=lambda r: r.stage), key=lambda r: r.stage)
    resources: dict[tuple[str, str], Resource] = {resource.key: resource for resource in deployment.resources}
    attempt = _Attempt(deployment, kinds, settings, clock, time_left)
    for _, members in stages:
        # Those that leave already come first, so that of a kind that goes one at a time no second one is asked.
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


def is_incomplete(deployment: Deployment) -> bool:
    """Return whether the last discovery may have missed dependents, since a resource wasn't there at the last look."""
    return any(resource.absent and not resource.is_done for resource in deployment.resources)


def poll_after(step: Step, *, since: datetime, now: datetime, until: datetime) -> int:
    """Return the whole seconds until the next step.

    The longer the round takes, the rarer it looks. A provider's wish (Retry-After) is obeyed up to the deadline.
    """
    elapsed = (now - since).total_seconds()
    left = (until - now).total_seconds()
    return math.ceil(max(POLL_MIN, elapsed / POLL_SHARE, min(step.retry_after, left + 1)))


class _Attempt:
    """One step over the resources of a stage, and what happened in it."""

    def __init__(
        self,
        deployment: Deployment,
        kinds: Mapping[str, ResourceKind],
        settings: Settings,
        clock: Callable[[], datetime],
        time_left: Callable[[], float],
    ) -> None:
        self._deployment = deployment
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
        """Read one resource and request its deletion if it is there. Return what was learned of it, whatever went wrong."""
        if resource.is_done:
            return resource
        name = f"{resource.kind} {resource.id}"
        self._latest = resource
        try:
            kind = _kind(self._kinds, resource)
            with translated(resource.kind):
                self._advance(kind, resource, name)
        except Busy as busy:
            if self._is_over(resource):
                self._let_be(str(busy))
                return self._latest
            self.retry_after = max(self.retry_after, busy.retry_after)
            self.waits.append(f"{name}: {busy}")
            self._latest = msgspec.structs.replace(self._latest, detail=str(busy)[:RESOURCE_DETAIL_MAX])
        except Refused as refused:
            self.refusals.append(Refused(refused.error_class, f"{name}: {refused}"))
            self._latest = msgspec.structs.replace(self._latest, detail=str(refused)[:RESOURCE_DETAIL_MAX])
        except Unreachable as unreachable:
            if (
                isinstance(unreachable, Stuck)
                and self._deployment.cleanup.has_met_error
                and self._patience(resource) < 1
            ):
                self._let_be(str(unreachable))
                return self._latest
            # It must not keep the others from being asked; it is raised at the end of the step.
            self.failures.append(Unreachable(f"{name}: {unreachable}"))
            self._leaving.add(resource.kind)
        return self._latest

    def _advance(self, kind: ResourceKind, resource: Resource, name: str) -> None:
        if not self._has_time(name):
            return
        now = self._observe(kind, resource)
        if resource.absent and now.state == "present":
            # The discovery didn't see it: what depends on it is looked for first.
            self._latest = msgspec.structs.replace(now, absent=resource.absent)
            self.waits.append(f"{name}: it shows only now")
            return
        round_ = self._deployment.cleanup.round
        if now.state == "present" or (now.state == "leaving" and kind.asks_again and now.asked_in != round_):
            if kind.one_at_a_time and resource.kind in self._leaving:
                self.waits.append(f"{name}: waits for its turn")
                return
            if not self._has_time(name):
                return
            if now.state == "leaving":
                # Also if the provider answers that it is at it already: no second one of its kind may begin.
                self._leaving.add(resource.kind)
            # Kept also if the answer is lost: it may have been heard.
            now = self._latest = msgspec.structs.replace(now, asked_in=round_)
            kind.delete(now, self._settings)
            self._leaving.add(resource.kind)
            if not self._has_time(name):
                return
            now = self._observe(kind, now)
        if now.is_done:
            return
        if self._is_over(resource):
            self._let_be(now.detail or now.state)
            return
        self._leaving.add(resource.kind)
        self.waits.append(f"{name}: {now.detail or now.state}")

    def _is_over(self, resource: Resource) -> bool:
        """Return whether later stages wait no longer for a resource that was asked to go and didn't. Nothing is let be in the first round."""
        patience, cleanup = self._patience(resource), self._deployment.cleanup
        if patience >= 1 or cleanup.round <= 1 or not cleanup.requested_at or not cleanup.deadline:
            return False
        since, until = parse_time(cleanup.requested_at), parse_time(cleanup.deadline)
        was_asked = resource.asked_in == cleanup.round or resource.state == "leaving"
        return was_asked and self._clock() - since >= patience * (until - since)

    def _patience(self, resource: Resource) -> float:
        kind = self._kinds.get(resource.kind)
        return kind.patience(resource) if isinstance(kind, Dispensable) else 1.0

    def _let_be(self, why: str) -> None:
        text = f"it didn't go, and what holds it goes all the same; what it made may be left: {why}"
        self._latest = msgspec.structs.replace(self._latest, state="kept", detail=clipped(text, RESOURCE_DETAIL_MAX))

    def _observe(self, kind: ResourceKind, resource: Resource) -> Resource:
        observation = kind.state(resource, self._settings)
        now = self._clock()
        self._latest = _observed(resource, observation, now, kind.settles_in, _age(self._deployment, now))
        if observation.failure:
            raise Unreachable(observation.failure)
        return self._latest

    def _has_time(self, name: str) -> bool:
        if self._time_left() >= CALL_NEEDS:
            return True
        self.waits.append(f"{name}: no time left in this step")
        return False


def _check_discovery(deployment: Deployment, found: list[Resource], kinds: Mapping[str, ResourceKind]) -> None:
    """Refuse a discovery that forgets an id that the record names, or names a kind that its type doesn't have.

    Either is a defect of the type's file: what is forgotten here would never be deleted, and never be missed.
    """
    for resource in found:
        if not resource.is_done:
            _kind(kinds, resource)
    keys = {resource.key for resource in found}
    for key, kind, id_ in entry(deployment.deployment_type).named(deployment):
        if (kind, id_) not in keys:
            text = f"its discovery left out resource_ids.{key} {id_}"
            raise Refused("workflow", f"a defect of {deployment.deployment_type}: {text}")


def _check_places(known: list[Resource], found: list[Resource]) -> None:
    """Refuse a discovery that looks elsewhere for what was seen and isn't gone, since a setting or the record has changed: there it still is."""
    seen = {resource.key: resource.place for resource in known if resource.seen and not resource.is_done}
    for resource in found:
        before = seen.get(resource.key, {})
        for key in SEEN_IN & before.keys():
            now = resource.place.get(key, before[key])
            if now != before[key]:
                text = f"{resource.kind} {resource.id} was seen in {key} {before[key]}, and now it should be in {now}"
                hint = (
                    "correct the record, or the setting; if both are the same, forget the record and register it again"
                )
                raise Refused("credentials" if key == "account" else "bad_id", f"{text}: {hint}")


@contextmanager
def translated(asked: str) -> Iterator[None]:
    """Let the contract's exceptions pass; treat anything else as an answer that can't be read."""
    try:
        yield
    except (Busy, Refused, Unreachable):
        raise
    except Exception as error:
        logger.exception("a provider's answer can't be read", extra={"asked": asked})
        # The text may hold anything, so only the log has it.
        raise Unreachable(type(error).__name__) from error


def _observed(resource: Resource, observation: Observation, now: datetime, settles_in: float, age: float) -> Resource:
    """Return the resource with what was read of it. Raises Refused if nothing vouches for a not-found.

    `age` are the seconds since the record said last that the resource exists.
    """
    if observation.state != "gone":
        place = resource.place | observation.place
        return msgspec.structs.replace(
            resource, state=observation.state, seen=True, absent=0, detail=observation.detail, place=place
        )
    if observation.unproven and not resource.seen:
        text = f"{observation.proof}; neither the record nor a setting says that this is the place to ask"
        raise Refused("unproven", text)
    looks = resource.absent + 1
    if not observation.described and (wait := _not_settled(resource, looks, settles_in, age)):
        return msgspec.structs.replace(resource, state="unseen", absent=looks, detail=f"{observation.proof}; {wait}")
    return msgspec.structs.replace(
        resource,
        state="gone",
        proof=observation.proof,
        detail=observation.detail,
        gone_at=format_time(now),
        never_seen=not (resource.seen or observation.described),
    )


def _not_settled(resource: Resource, looks: int, settles_in: float, age: float) -> str:
    """Return why a not-found, number `looks` in a row, isn't believed yet; empty if it is.

    A provider may answer so for what it doesn't show yet, or doesn't show for a moment. What was asked to go, or goes
    with another resource, is gone; and so is what had far more time to show than it needs.
    """
    if settles_in == 0 or resource.asked_in or resource.state == "leaving" or "goes_with" in resource.place:
        return ""
    if not resource.seen and age < settles_in:
        return f"it may still show: it was registered {age:.0f} s ago, and may take {settles_in:.0f} s"
    if looks < LOOKS and (resource.seen or age < 2 * settles_in):
        return f"it may show again: look {looks} of {LOOKS}"
    return ""


def _age(deployment: Deployment, now: datetime) -> float:
    """Return the seconds since the record said last that its resources exist: made, registered or amended."""
    said = [deployment.deployed_at, deployment.registered_at]
    said += [event.at for event in deployment.events if event.type == "amended"]
    return (now - max(parse_time(at) for at in said)).total_seconds()


def _updated(known: Resource, found: Resource | None) -> Resource:
    """Return a known resource that was discovered again: where it is, and whether it is kept, is decided by the new discovery.

    One that was taken for gone, and that the discovery saw alive, isn't gone.
    """
    if found is None or (known.state == "gone" and not found.seen):
        return known
    if found.state == "kept" and MARKED not in known.place:
        return msgspec.structs.replace(found, seen=known.seen, place=known.place | found.place)
    is_kept = found.state == "kept"
    return msgspec.structs.replace(
        known,
        place=known.place | found.place,
        stage=known.stage if is_kept else found.stage,
        named_by=known.named_by or found.named_by,
        state="unseen" if known.is_done else known.state,
        seen=known.seen or found.seen,
        absent=max(known.absent, found.absent) if known.state == "unseen" and not found.seen else 0,
        asked_in=0 if known.state == "gone" else known.asked_in,
        never_seen=False,
        detail="" if is_kept else found.detail,
        proof="",
        gone_at=None,
    )


def module_of(deployment: Deployment) -> DeploymentTypeModule:
    """Import the file of a deployment's type. Nothing else imports its SDK."""
    name = entry(deployment.deployment_type).module
    if name is None:
        raise Refused("bad_id", f"{deployment.deployment_type} can't be cleaned up by this stack")
    return cast(DeploymentTypeModule, importlib.import_module(f"tracker.cleanup.providers.{name}"))


def kinds_of(deployment: Deployment) -> Mapping[str, ResourceKind]:
    return module_of(deployment).KINDS


def _kind(kinds: Mapping[str, ResourceKind], resource: Resource) -> ResourceKind:
    if resource.kind not in kinds:
        raise Refused("workflow", f"a defect of the type's file: it has no kind {resource.kind!r}")
    return kinds[resource.kind]
