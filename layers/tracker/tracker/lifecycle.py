"""What may happen to a deployment, and nothing else: each public method is one row of the design's table.

Every change is one write on condition that the record is still what was read; if it isn't, the same is
decided again on what is there now. Called by the functions and by `rounds`; knows no cloud but the workflow's.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from tracker.brakes import Brakes
from tracker.catalogue import entry
from tracker.deployment import (
    CANT_MEND_ITSELF,
    EVENT_DETAIL_MAX,
    EVENTS_KEPT,
    Cleanup,
    CleanupError,
    Deployment,
    ErrorClass,
    Event,
    EventType,
    Resource,
    clipped,
    epoch,
    expiry,
    format_time,
    parse_time,
)
from tracker.errors import Conflict, Contended, Invalid, NotFound, Problem
from tracker.records import DueKey, LostError, Records, utc_now
from tracker.settings import Settings
from tracker.workflow import Workflow

TRIES = 5
Fact = tuple[EventType, dict[str, Any]]
GAP_MAX_MINUTES = 60
POSTPONED = timedelta(minutes=5)
OBSERVED_AGAIN = timedelta(hours=1)
# The time that Lambda's own failures and the start of an attempt may take beyond the attempts themselves.
WATCHDOG_SLACK = timedelta(minutes=5)
ATTEMPTS = 3
ATTEMPT_GAP = 5

logger = Logger(child=True)


class Stale(Problem):
    """An event from before the registration that it finds."""

    status = 409
    code = "stale"


class TooEarly(Problem):
    """An event that may be for a registration still to come."""

    status = 404
    code = "too_early"


class Superseded(Exception):
    """The record isn't in that round any more; `deployment` is what is there."""

    def __init__(self, deployment: Deployment | None) -> None:
        super().__init__("superseded")
        self.deployment = deployment


class Lifecycle:
    """The rules, over a table and a workflow."""

    def __init__(
        self, records: Records, workflow: Workflow, settings: Settings, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._records = records
        self._workflow = workflow
        self._settings = settings
        self._clock = clock

    # What callers ask for

    def register(self, wanted: Deployment) -> tuple[Deployment, bool]:
        """Record a new deployment; True if it is new, False if it was the very same again.

        Conflict, with what is there, if the key is taken.
        """
        new = self._with_facts(wanted, [("registered", {})], due_at=expiry(wanted))
        over: Deployment | None = None
        has_moved = False
        for _ in range(TRIES):
            try:
                self._records.create(new, over=over, over_marker=has_moved)
            except LostError as lost:
                there = lost.current or self._records.find(wanted.blueprint_id)
                if there is not None and there.generation == new.generation:
                    # The write was applied and its answer lost: nobody else has this generation.
                    return there, True
                if there is not None and _is_same_request(there, wanted):
                    return there, False
                has_moved = there is None or there.blueprint_id != wanted.blueprint_id
                over = None if has_moved else there
                if over is not None and over.status != "Terminated":
                    message = f"a deployment is registered under {wanted.blueprint_id!r} and is {over.status}"
                    raise Conflict(message, deployment=over) from None
            else:
                return new, True
        raise _contended(wanted.blueprint_id)

    def amend(self, key: str, patch: Callable[[Deployment], tuple[Deployment, str | None]]) -> Deployment:
        """Change what may be changed of a live one; `patch` gives it amended, and the key to move it to."""
        for _ in range(TRIES):
            old = self._known(key)
            self._must_be_live(old, "amended")
            amended, to = patch(old)
            is_failing = old.cleanup.failures > 0
            if is_failing and (to or expiry(amended) != expiry(old)):
                field = "blueprint_id" if to else "ttl_seconds"
                raise Conflict(f"{field} can't change while a cleanup has failed", field=field, deployment=old)
            if amended == old and to is None:
                return old
            changed = [name for name in amended.__struct_fields__ if getattr(amended, name) != getattr(old, name)]
            cleanup, due_at = old.cleanup, old.due_at
            if expiry(amended) != expiry(old):
                due_at = expiry(amended)
            if is_failing:
                due_at = epoch(self._clock())
                cleanup = msgspec.structs.replace(cleanup, next_attempt_at=format_time(self._clock()))
            if cleanup.quarantined:
                cleanup = msgspec.structs.replace(cleanup, quarantined=False, failures=0, first_failed_at=None)
            facts: list[Fact] = []
            if changed:
                facts.append(("amended", {"fields": changed}))
            if to:
                facts.append(("moved", {"from": old.blueprint_id, "to": to}))
            new = self._with_facts(amended, facts, cleanup=cleanup, due_at=due_at, blueprint_id=to or old.blueprint_id)
            try:
                if to:
                    self._records.move(old, new, over=self._target(to))
                else:
                    self._records.replace(old, new)
            except LostError:
                continue
            return new
        raise _contended(key)

    def terminate(self, key: str, *, reason: str, requested_by: str, asked_at: datetime | None = None) -> Deployment:
        """Begin the cleanup. Of one on its way or gone: what is there.

        `asked_at` is when an event says that it was asked for, to the second: Stale before the registration,
        TooEarly after the end of the Terminated one that is there.
        """
        deployment = self._change(
            key, lambda old: self._terminated_by_hand(old, reason=reason, requested_by=requested_by, asked_at=asked_at)
        )
        if deployment.status == "Terminating":
            self._start(deployment)
        return deployment

    def forget(self, key: str, *, reason: str, requested_by: str) -> Deployment:
        """End the record of a live one whose resources someone removed by hand: no cleanup."""
        if not reason.strip():
            raise Invalid("reason", reason, "why it is forgotten, in words")

        def forgotten(old: Deployment) -> Deployment | None:
            if old.status == "Terminated":
                return None
            self._must_be_live(old, "forgotten")
            now = format_time(self._clock())
            cleanup = msgspec.structs.replace(
                old.cleanup, reason="forgotten", requested_by=requested_by, ended_at=now, next_attempt_at=None
            )
            cleanup = msgspec.structs.replace(cleanup, quarantined=False)
            detail = {"reason": clipped(reason, 512), "by": clipped(requested_by, 256)}
            return self._with_facts(old, [("forgotten", detail)], status="Terminated", cleanup=cleanup, due_at=None)

        return self._change(key, forgotten)

    # What time asks for

    def due(self, key: str, brakes: Brakes, generation: str | None = None) -> bool:
        """Look at a record whose moment may have come; True if a round was started.

        The lease's removal and the sweep both end here, and only the table's own `due_at` decides.
        """
        old = self._records.get(key)
        if old is None or old.due_at is None or generation not in (None, old.generation):
            return False
        if old.due_at > self._clock().timestamp():
            return False
        if old.status == "Terminating":
            return self._watched(old)
        mode = brakes.mode(entry(old.deployment_type).platform)
        if mode == "pause":
            self._postpone(old, POSTPONED)
            return False
        if mode == "observe":
            self._workflow.request_plan(old)
            self._postpone(old, OBSERVED_AGAIN)
            return False
        reason = "retry" if old.cleanup.failures else old.cleanup.reason or "expired"
        new = self._with_round(old, reason=reason, requested_by="tracker")
        try:
            self._records.replace(old, new)
        except LostError:
            # Someone else has just decided about it; or the same, maybe this very write, whose answer was lost.
            if self._records.get(key) == new:
                self._start(new)
            return False
        self._start(new)
        return True

    def sweep(self, brakes: Brakes, time_left: Callable[[], float] = lambda: 60.0) -> int:
        """Look at all that is due, oldest first; how many rounds were started.

        What can't be finished is looked at again in five minutes, so that it can't keep others from their turn.
        """
        if brakes.default == "pause" and not brakes.exceptions:
            return 0
        started = 0
        limit = self._settings.sweep_limit
        for due in self._records.due(self._clock(), limit):
            if started >= limit or time_left() < 10:  # noqa: PLR2004 - seconds for the last one
                break
            try:
                started += self.due(due.blueprint_id, brakes)
            except Exception:
                # Whatever it is, the others must have their turn.
                logger.exception("a due record can't be handled", extra={"blueprint_id": due.blueprint_id})
                self._try_later(due)
        return started

    # What a round reports

    def in_round(self, key: str, generation: str, round_: int) -> Deployment:
        """The Terminating record of that round, as it is now; Superseded if it isn't in it."""
        current = self._records.get(key)
        if not _is_in_round(current, generation, round_):
            raise Superseded(current)
        assert current is not None  # noqa: S101 - for the type checker: just tested
        return current

    def progress(
        self, old: Deployment, resources: list[Resource], *, retry_after: int = 0, discovered: bool = False
    ) -> Deployment:
        """Keep what a step saw, and when to worry if no other step follows."""
        round_ = old.cleanup.round

        def progressed(current: Deployment) -> Deployment:
            cleanup = current.cleanup
            if discovered:
                cleanup = msgspec.structs.replace(cleanup, discovered_in=round_)
            return self._with_facts(
                current,
                _gone_since(current.resources, resources),
                resources=resources,
                cleanup=cleanup,
                due_at=self._watchdog(retry_after),
            )

        return self._in_round(old, progressed)

    def failing(self, old: Deployment, error_class: ErrorClass, message: str) -> Deployment:
        """Keep what stands in the way of a round: what Restore will say, should nothing better follow."""
        error = self._error(error_class, message, old.cleanup.round)
        return self._in_round(
            old,
            lambda current: self._with_facts(
                current, [], cleanup=msgspec.structs.replace(current.cleanup, last_error=error)
            ),
        )

    def released(self, old: Deployment, resources: list[Resource]) -> Deployment:
        """Everything is proven gone, or kept: the receipt is complete."""
        unproven = [resource.key for resource in resources if not resource.is_done]
        if unproven or not resources:
            raise ValueError(f"not proven gone: {unproven}")

        def released(current: Deployment) -> Deployment:
            cleanup = msgspec.structs.replace(
                current.cleanup,
                ended_at=format_time(self._clock()),
                failures=0,
                first_failed_at=None,
                last_error=None,
                next_attempt_at=None,
            )
            facts = _gone_since(current.resources, resources)
            detail = {"reason": cleanup.reason, "resources": _counts(resources)}
            return self._with_facts(
                current,
                [*facts, ("cleanup_succeeded", detail)],
                status="Terminated",
                resources=resources,
                cleanup=cleanup,
                due_at=None,
            )

        return self._in_round(old, released)

    def paused(self, old: Deployment) -> Deployment:
        """The brake is on: live again and due again, nothing counted."""
        return self._in_round(
            old,
            lambda current: self._with_facts(
                current, [("cleanup_paused", {})], status="Active", due_at=epoch(self._clock())
            ),
        )

    def restored(self, key: str, generation: str, round_: int, cause: str) -> Deployment | None:
        """The round failed: Active, with its error, and due again later. None if it isn't in that round.

        The error is what the round itself noted, else `cause`, of class `workflow`.
        """
        for _ in range(TRIES):
            current = self._records.get(key)
            if not _is_in_round(current, generation, round_):
                return None
            assert current is not None  # noqa: S101 - for the type checker: just tested
            new = self._after_failure(current, cause)
            try:
                self._records.replace(current, new)
            except LostError:
                continue
            return new
        raise _contended(key)

    def observed(self, key: str, generation: str, resources: list[Resource]) -> None:
        """Keep a plan that was drawn while only observing; announced once per record."""

        def planned(old: Deployment) -> Deployment | None:
            if old.generation != generation or not old.is_live:
                return None
            if old.cleanup.observed_at and old.resources == resources:
                return None
            is_first = old.cleanup.observed_at is None
            cleanup = msgspec.structs.replace(old.cleanup, observed_at=format_time(self._clock()))
            detail = {"resources": _counts(resources)}
            facts: list[Fact] = [("planned", detail)] if is_first else []
            return self._with_facts(old, facts, resources=resources, cleanup=cleanup)

        self._change(key, planned)

    # Within

    def _known(self, key: str) -> Deployment:
        found = self._records.find(key)
        if found is None:
            raise NotFound(f"nothing is registered under {key!r}")
        return found

    def _change(self, key: str, decide: Callable[[Deployment], Deployment | None]) -> Deployment:
        for _ in range(TRIES):
            old = self._known(key)
            new = decide(old)
            if new is None:
                return old
            try:
                self._records.replace(old, new)
            except LostError:
                continue
            return new
        raise _contended(key)

    def _in_round(self, old: Deployment, change: Callable[[Deployment], Deployment]) -> Deployment:
        """Change the record of a round; Superseded if it isn't in that round any more."""
        current: Deployment | None = old
        for _ in range(TRIES):
            if not _is_in_round(current, old.generation, old.cleanup.round):
                raise Superseded(current)
            assert current is not None  # noqa: S101 - for the type checker: just tested
            new = change(current)
            try:
                self._records.replace(current, new)
            except LostError:
                current = self._records.get(old.blueprint_id)
                continue
            return new
        raise _contended(old.blueprint_id)

    def _must_be_live(self, deployment: Deployment, what: str) -> None:
        if not deployment.is_live:
            message = f"{deployment.blueprint_id!r} is {deployment.status} and can't be {what}"
            raise Conflict(message, deployment=deployment)

    def _target(self, key: str) -> Deployment | None:
        there = self._records.get(key)
        if there is not None and there.status != "Terminated":
            message = f"a deployment is registered under {key!r} and is {there.status}"
            raise Conflict(message, field="blueprint_id", deployment=there)
        return there

    def _terminated_by_hand(
        self, old: Deployment, *, reason: str, requested_by: str, asked_at: datetime | None
    ) -> Deployment | None:
        if asked_at is not None and asked_at < parse_time(old.registered_at).replace(microsecond=0):
            raise Stale(f"{old.blueprint_id!r} was registered after that")
        if old.status == "Terminated":
            ended_at = old.cleanup.ended_at
            if asked_at is not None and ended_at and asked_at >= parse_time(ended_at).replace(microsecond=0):
                raise TooEarly(f"{old.blueprint_id!r} was Terminated before that")
            return None
        if old.status == "Terminating":
            return None
        cleanup = msgspec.structs.replace(old.cleanup, failures=0, first_failed_at=None)
        fresh = msgspec.structs.replace(old, cleanup=cleanup)
        return self._with_round(fresh, reason=reason, requested_by=requested_by)

    def _with_round(self, old: Deployment, *, reason: str, requested_by: str) -> Deployment:
        now = self._clock()
        settings = self._settings
        seconds = settings.cluster_deadline if entry(old.deployment_type).cluster else settings.deadline
        cleanup = msgspec.structs.replace(
            old.cleanup,
            round=old.cleanup.round + 1,
            reason=clipped(reason, 512),
            requested_by=clipped(requested_by, 256),
            requested_at=format_time(now),
            deadline=format_time(now + timedelta(seconds=seconds)),
            next_attempt_at=None,
            quarantined=False,
            ended_at=None,
        )
        detail = {"reason": cleanup.reason, "by": cleanup.requested_by}
        due_at = epoch(now + WATCHDOG_SLACK)
        return self._with_facts(old, [("terminating", detail)], status="Terminating", cleanup=cleanup, due_at=due_at)

    def _start(self, deployment: Deployment) -> None:
        try:
            self._workflow.start(deployment)
        except Exception:
            # It is committed as Terminating, and the watchdog starts it: the caller has nothing to mend.
            logger.exception("the workflow can't be started", extra={"blueprint_id": deployment.blueprint_id})

    def _watched(self, old: Deployment) -> bool:
        """See after a round that wasn't heard of for too long."""
        standing = self._workflow.standing(old)
        if standing == "closed":
            cause = "the workflow ended without a word"
            self.restored(old.blueprint_id, old.generation, old.cleanup.round, cause)
            return False
        if standing == "unknown":
            self._workflow.start(old)
        try:
            self._records.replace(old, self._with_facts(old, [], due_at=self._watchdog(0)))
        except LostError:
            # It was heard of just now.
            return False
        return standing == "unknown"

    def _postpone(self, old: Deployment, by: timedelta) -> None:
        assert old.due_at is not None  # noqa: S101 - only what is due is postponed
        self._try_later(DueKey(due_at=old.due_at, blueprint_id=old.blueprint_id), by)

    def _try_later(self, due: DueKey, by: timedelta = POSTPONED) -> None:
        try:
            self._records.postpone(due, self._clock() + by)
        except LostError:
            # It changed meanwhile, and with it when it is due.
            return

    def _watchdog(self, retry_after: int) -> int:
        attempts = ATTEMPTS * self._settings.release_timeout + (ATTEMPTS - 1) * ATTEMPT_GAP
        return epoch(self._clock() + timedelta(seconds=retry_after + attempts) + WATCHDOG_SLACK)

    def _error(self, error_class: ErrorClass, message: str, round_: int) -> CleanupError:
        return CleanupError(
            error_class=error_class, message=clipped(message), at=format_time(self._clock()), round=round_
        )

    def _after_failure(self, old: Deployment, cause: str) -> Deployment:
        now = self._clock()
        cleanup = old.cleanup
        error = cleanup.last_error
        if error is None or error.round != cleanup.round:
            error = self._error("workflow", cause, cleanup.round)
        failures = cleanup.failures + 1
        first = parse_time(cleanup.first_failed_at) if cleanup.first_failed_at else now
        if error.error_class in CANT_MEND_ITSELF:
            quarantined = failures >= self._settings.unmendable_rounds
        else:
            quarantined = now - first >= timedelta(days=self._settings.retry_days)
        gap = timedelta(minutes=min(2 ** min(failures - 1, 16), GAP_MAX_MINUTES))
        next_attempt = None if quarantined else now + gap
        cleanup = msgspec.structs.replace(
            cleanup,
            failures=failures,
            first_failed_at=format_time(first),
            last_error=error,
            next_attempt_at=format_time(next_attempt) if next_attempt else None,
            quarantined=quarantined,
            ended_at=format_time(now),
        )
        detail = {
            "reason": cleanup.reason,
            "class": error.error_class,
            "error": clipped(error.message, EVENT_DETAIL_MAX // 2),
            "failures": failures,
            "next_attempt_at": cleanup.next_attempt_at,
        }
        facts: list[Fact] = [("cleanup_failed", detail)]
        if quarantined:
            facts.append(("quarantined", {"class": error.error_class, "failures": failures}))
        return self._with_facts(
            old, facts, status="Active", cleanup=cleanup, due_at=epoch(next_attempt) if next_attempt else None
        )

    def _with_facts(self, old: Deployment, facts: list[Fact], **changes: Any) -> Deployment:
        """The next version, and the facts that it commits."""
        status = changes.get("status", old.status)
        cleanup: Cleanup = changes.get("cleanup", old.cleanup)
        at = format_time(self._clock())
        news = [
            Event(sequence=old.sequence + n, type=type_, at=at, status=status, round=cleanup.round, detail=detail)
            for n, (type_, detail) in enumerate(facts, 1)
        ]
        return msgspec.structs.replace(
            old,
            version=old.version + 1,
            sequence=old.sequence + len(news),
            events=[*old.events, *news][-EVENTS_KEPT:],
            news=news,
            **changes,
        )


def assembled(settings: Settings) -> Lifecycle:
    """The rules over the stack that the settings name."""
    records = Records(settings.table_name, retention=settings.retention)
    return Lifecycle(records, Workflow(settings.state_machine_arn, settings.plan_function), settings)


def _is_same_request(current: Deployment, wanted: Deployment) -> bool:
    if current.fingerprint != wanted.fingerprint:
        return False
    # Over one that is ended only what says when it was made can be told from a new wish for the same.
    return current.is_live or (wanted.made_at != "" and current.made_at == wanted.made_at)


def _is_in_round(current: Deployment | None, generation: str, round_: int) -> bool:
    return (
        current is not None
        and current.status == "Terminating"
        and current.generation == generation
        and current.cleanup.round == round_
    )


def _gone_since(before: list[Resource], after: list[Resource]) -> list[Fact]:
    known = {resource.key for resource in before if resource.state == "gone"}
    return [
        ("resource_gone", {"kind": r.kind, "id": clipped(r.id, 400), "proof": clipped(r.proof, 400)})
        for r in after
        if r.state == "gone" and r.key not in known
    ]


def _counts(resources: list[Resource]) -> dict[str, int]:
    found: dict[str, int] = {}
    for resource in resources:
        found[resource.state] = found.get(resource.state, 0) + 1
    return found


def _contended(key: str) -> Contended:
    return Contended(f"{key!r} kept changing; the same call again is safe")
