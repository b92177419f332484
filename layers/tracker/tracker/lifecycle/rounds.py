"""The transitions that a round of the cleanup reports. Called by `release` (through cleanup/core/rounds), `restore` and `plan`."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeGuard

import msgspec

from tracker.lifecycle.base import TRIES, WATCHDOG_SLACK, Fact, Transitions, contended
from tracker.model import moments
from tracker.model.deployment import (
    CANT_MEND_ITSELF,
    EVENT_DETAIL_MAX,
    Cleanup,
    CleanupError,
    Deployment,
    ErrorClass,
    Resource,
    clipped,
    epoch,
    format_time,
    outcome_of,
    parse_time,
)
from tracker.model.money import cost_of
from tracker.store.table import VersionConflict

GAP_MAX_MINUTES = 60
# How often the workflow calls `release` for one step, and the seconds between two attempts (statemachine/cleanup.asl.json).
ATTEMPTS = 3
ATTEMPT_GAP = 5
# How far the watchdog is set ahead, so that most steps leave it where it is.
# The reason of a round for what was proven gone and is there again.
RESURRECTED = "resurrected"
WATCHDOG_AHEAD = timedelta(minutes=15)


class Superseded(Exception):
    """The record isn't in that round any more. `deployment` is the record as it is now, None if there is none."""

    def __init__(self, deployment: Deployment | None) -> None:
        super().__init__("superseded")
        self.deployment = deployment


class RoundTransitions(Transitions):
    """The transitions that a round of the cleanup reports."""

    def load_round(self, key: str, generation: str, round_: int) -> Deployment:
        """Return the Terminating record of a round, by a consistent read. Superseded if the record isn't in that round."""
        current = self._records.get(key)
        if not _matches_round(current, generation, round_):
            raise Superseded(current)
        return current

    def progress(
        self, old: Deployment, resources: list[Resource], *, retry_after: int = 0, discovered: bool = False
    ) -> Deployment:
        """Record the resources as a step saw them, and make the watchdog due after the next step, in `retry_after` seconds.

        `discovered` says that they were discovered in this round, so that no later step of it discovers again, unless ids
        were added since `old`.
        """

        def progressed(current: Deployment) -> Deployment:
            return self._progressed(current, old, resources, retry_after=retry_after, discovered=discovered)

        return self._update_round(old, progressed)

    def failing(self, old: Deployment, error_class: ErrorClass, message: str) -> Deployment:
        """Record the error that blocks a round. `restored` uses it if the round fails."""
        error = self._error(error_class, message, old.cleanup.round)
        return self._update_round(
            old,
            lambda current: self._with_facts(
                current, [], cleanup=msgspec.structs.replace(current.cleanup, last_error=error)
            ),
        )

    def released(self, old: Deployment, resources: list[Resource]) -> Deployment:
        """End a deployment whose resources are all proven gone or kept. ValueError if one isn't, or if there are none.

        If ids were added since `old`, the deployment stays Terminating: the resources aren't all that belongs to it.
        """
        unproven = [resource.key for resource in resources if not resource.is_done]
        if unproven or not resources:
            raise ValueError(f"not proven gone: {unproven}")

        def released(current: Deployment) -> Deployment:
            if current.resource_ids != old.resource_ids:
                return self._progressed(current, old, resources)
            cleanup = msgspec.structs.replace(
                current.cleanup,
                ended_at=format_time(self._clock()),
                failures=0,
                first_failed_at=None,
                last_error=None,
                next_attempt_at=None,
            )
            facts = _gone_since(current.resources, resources)
            detail = {"reason": cleanup.reason, "resources": outcome_of(resources)} | self._cost(current)
            return self._with_facts(
                current,
                [*facts, ("cleanup_succeeded", detail)],
                status="Terminated",
                resources=resources,
                cleanup=cleanup,
                due_at=self._next_look(cleanup, resources),
            )

        return self._update_round(old, released)

    def paused(self, old: Deployment) -> Deployment:
        """Make a record Active and due again, because the brake is on. It doesn't count as a failure."""
        return self._update_round(
            old,
            lambda current: self._with_facts(
                current, [("cleanup_paused", {})], status="Active", due_at=epoch(self._clock())
            ),
        )

    def restored(self, key: str, generation: str, round_: int, cause: str) -> Deployment | None:
        """Make the record of a failed round Active, with its error, and due again later. None if it isn't in that round.

        The error is the one that the round recorded, else `cause`, of class `workflow`.
        """
        for _ in range(TRIES):
            current = self._records.get(key)
            if not _matches_round(current, generation, round_):
                return None
            new = self._after_failure(current, cause)
            try:
                self._records.replace(current, new)
            except VersionConflict:
                continue
            return new
        raise contended(key)

    def observed(self, key: str, generation: str, resources: list[Resource]) -> None:
        """Record the plan that was drawn while the brake is at `observe`. Only the first plan of a record is announced."""

        def planned(old: Deployment) -> Deployment | None:
            if old.generation != generation or not old.is_live:
                return None
            if old.cleanup.observed_at and old.resources == resources:
                return None
            is_first = old.cleanup.observed_at is None
            cleanup = msgspec.structs.replace(old.cleanup, observed_at=format_time(self._clock()))
            detail = {"resources": outcome_of(resources)}
            facts: list[Fact] = [("planned", detail)] if is_first else []
            return self._with_facts(old, facts, resources=resources, cleanup=cleanup)

        self._change(key, planned)

    def looked_again(self, key: str, generation: str, resources: list[Resource]) -> Deployment:
        """Record what another look at a Terminated deployment showed. What is back begins another round, of reason `resurrected`.

        The round is started by the watchdog, which finds it due at once: who looks may only read.
        """

        def looked(old: Deployment) -> Deployment | None:
            if old.generation != generation or old.status != "Terminated":
                return None
            # A look that is asked for twice counts once: the next one's time hasn't come.
            wanted_at = self._next_look(old.cleanup, old.resources)
            if wanted_at is None or wanted_at > self._clock().timestamp():
                return None
            back = [resource for resource in resources if not resource.is_done]
            seen = msgspec.structs.replace(old, resources=resources)
            if not back:
                cleanup = msgspec.structs.replace(old.cleanup, looks=old.cleanup.looks + 1)
                due_at = self._next_look(cleanup, resources)
                return self._with_facts(old, [], resources=resources, cleanup=cleanup, due_at=due_at)
            detail = {"resources": [clipped(f"{each.kind} {each.id}", 200) for each in back[:5]], "count": len(back)}
            new = self._with_round(seen, reason=RESURRECTED, requested_by="tracker", facts=[("resurrected", detail)])
            return msgspec.structs.replace(new, due_at=epoch(self._clock()))

        return self._change(key, looked)

    def _next_look(self, cleanup: Cleanup, resources: list[Resource]) -> int | None:
        """Return the epoch seconds of the next look at what is gone, None after the last one or if nothing is."""
        looks = [after for after in self._settings.look_again if after]
        if cleanup.looks >= len(looks) or not cleanup.ended_at or all(each.state != "gone" for each in resources):
            return None
        return epoch(parse_time(cleanup.ended_at) + timedelta(seconds=looks[cleanup.looks]))

    def _progressed(
        self,
        current: Deployment,
        old: Deployment,
        resources: list[Resource],
        *,
        retry_after: int = 0,
        discovered: bool = False,
    ) -> Deployment:
        """Return the next version of a record, with the resources that a step saw, which began with `old`."""
        cleanup = current.cleanup
        if discovered and current.resource_ids == old.resource_ids:
            cleanup = msgspec.structs.replace(cleanup, discovered_in=cleanup.round)
        seen = {resource.key for resource in resources}
        # Those of ids that were added meanwhile.
        late = [resource for resource in current.resources if resource.key not in seen]
        return self._with_facts(
            current,
            _gone_since(current.resources, resources),
            resources=[*resources, *late],
            cleanup=cleanup,
            due_at=self._watchdog(current, retry_after),
        )

    def _update_round(self, old: Deployment, change: Callable[[Deployment], Deployment]) -> Deployment:
        """Change the record of a round. Superseded if the record isn't in that round any more."""
        current: Deployment | None = old
        for _ in range(TRIES):
            if not _matches_round(current, old.generation, old.cleanup.round):
                raise Superseded(current)
            new = change(current)
            try:
                self._records.replace(current, new)
            except VersionConflict:
                current = self._records.get(old.blueprint_id)
                continue
            return new
        raise contended(old.blueprint_id)

    def _watchdog(self, current: Deployment, retry_after: int) -> int:
        """Return the time in epoch seconds at which a round is looked after that hasn't reported since.

        By then the next step, in `retry_after` seconds, is over with all its attempts. Only a time that is too soon is moved, by
        more than it needs, since each change of it is a write to an index.
        """
        attempts = ATTEMPTS * self._settings.release_timeout + (ATTEMPTS - 1) * ATTEMPT_GAP
        over = self._clock() + timedelta(seconds=retry_after + attempts) + WATCHDOG_SLACK
        if current.due_at is not None and epoch(over) <= current.due_at <= epoch(over + WATCHDOG_AHEAD):
            return current.due_at
        return epoch(over + WATCHDOG_AHEAD)

    def _cost(self, deployment: Deployment) -> dict[str, Any]:
        """Return what a deployment has cost so far, for the fact of an outcome; nothing if its price isn't known."""
        cost = cost_of(deployment, self._clock())
        return {"cost": msgspec.to_builtins(cost)} if cost else {}

    def _error(self, error_class: ErrorClass, message: str, round_: int) -> CleanupError:
        return CleanupError(
            error_class=error_class, message=clipped(message), at=format_time(self._clock()), round=round_
        )

    def _after_failure(self, old: Deployment, cause: str) -> Deployment:
        """Return the record after a failed round: due again after 1, 2, 4 ... 60 minutes, or quarantined."""
        now = self._clock()
        cleanup = old.cleanup
        error = cleanup.last_error
        if error is None or not cleanup.has_met_error:
            error = self._error("workflow", cause, cleanup.round)
        if error.error_class == "plan_changed":
            return self._after_another_plan(old, error)
        failures = cleanup.failures + 1
        first, waited = (parse_time(cleanup.first_failed_at), cleanup.waited) if cleanup.first_failed_at else (now, 0)
        if error.error_class in CANT_MEND_ITSELF:
            quarantined = failures >= self._settings.unmendable_rounds
        else:
            quarantined = now - first >= timedelta(days=self._settings.retry_days, seconds=waited)
        next_attempt = None if quarantined else now + _gap(failures)
        cleanup = msgspec.structs.replace(
            cleanup,
            failures=failures,
            total_failures=max(cleanup.total_failures, cleanup.failures) + 1,
            first_failed_at=format_time(first),
            waited=waited,
            last_error=error,
            next_attempt_at=format_time(next_attempt) if next_attempt else None,
            quarantined=quarantined,
            ended_at=format_time(now),
        )
        facts: list[Fact] = [("cleanup_failed", _failure(cleanup, error) | self._cost(old))]
        if quarantined:
            facts.append(("quarantined", {"class": error.error_class, "failures": failures}))
        return self._with_facts(
            old, facts, status="Active", cleanup=cleanup, due_at=epoch(next_attempt) if next_attempt else None
        )

    def _after_another_plan(self, old: Deployment, error: CleanupError) -> Deployment:
        """Return the record after a round that would have deleted something else than its caller approved.

        It isn't counted as a failure and not tried again by itself. What was due before the plan was approved, another attempt
        without it or the end, is still due; what was quarantined then is so again.
        """
        now, before = self._clock(), old.cleanup
        cleanup = msgspec.structs.replace(
            before,
            last_error=error,
            next_attempt_at=format_time(now + _gap(before.failures)) if before.without_plan == "retry" else None,
            quarantined=before.without_plan == "quarantine",
            ended_at=format_time(now),
            plan="",
            without_plan="",
        )
        if not before.without_plan:
            # Those that failed did so by the plan, which is over.
            cleanup = msgspec.structs.replace(cleanup, failures=0, first_failed_at=None)
        live = msgspec.structs.replace(old, status="Active", cleanup=cleanup)
        facts: list[Fact] = [("cleanup_failed", _failure(cleanup, error) | self._cost(old))]
        if cleanup.quarantined:
            facts.append(("quarantined", {"class": error.error_class, "failures": cleanup.failures}))
        return self._with_facts(live, facts, due_at=moments.due_at(live, now))


def _gap(failures: int) -> timedelta:
    """Return the time until the next round after so many failures: 1, 2, 4 ... 60 minutes."""
    return timedelta(minutes=min(2 ** min(failures - 1, 16), GAP_MAX_MINUTES))


def _failure(cleanup: Cleanup, error: CleanupError) -> dict[str, Any]:
    """Return the detail of the fact that a round failed."""
    return {
        "reason": cleanup.reason,
        "class": error.error_class,
        "error": clipped(error.message, EVENT_DETAIL_MAX // 2),
        "failures": cleanup.failures,
        "total_failures": cleanup.total_failures,
        "next_attempt_at": cleanup.next_attempt_at,
    }


def _matches_round(current: Deployment | None, generation: str, round_: int) -> TypeGuard[Deployment]:
    return (
        current is not None
        and current.status == "Terminating"
        and current.generation == generation
        and current.cleanup.round == round_
    )


def _gone_since(before: list[Resource], after: list[Resource]) -> list[Fact]:
    """Return a fact for each resource that is gone now and wasn't before."""
    known = {resource.key for resource in before if resource.state == "gone"}
    return [
        (
            "resource_gone",
            {"kind": r.kind, "id": clipped(r.id, 400), "proof": clipped(r.proof, 400)}
            | ({"never_seen": True} if r.never_seen else {}),
        )
        for r in after
        if r.state == "gone" and r.key not in known
    ]
