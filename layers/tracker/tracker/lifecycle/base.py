"""The base of all transitions: how a record is read and changed, and how a round of the cleanup begins.

Every change is one write on condition that the record hasn't changed since it was read. If it has, the transition decides
again on the record as it is now, five times at most.
"""

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from tracker.clients import is_passing
from tracker.lifecycle.horizon import HORIZON, DueQueue
from tracker.lifecycle.workflow import Workflow
from tracker.model import moments
from tracker.model.catalogue import entry
from tracker.model.clock import utc_now
from tracker.model.deployment import EVENTS_KEPT, Cleanup, Deployment, Event, EventType, clipped, epoch, format_time
from tracker.model.errors import Conflict, Contended, Held
from tracker.model.rights import check_may_act
from tracker.model.settings import Settings
from tracker.model.sizes import fit
from tracker.store.records import DueKey, Records
from tracker.store.table import VersionConflict
from tracker.watch import journal

TRIES = 5
# How long a record waits for its next turn that can't be handled; and one for which a service had no room, with some jitter.
POSTPONED = timedelta(minutes=5)
THROTTLED = (5, 15)
# A round that may have to look for the deployment twice, ten minutes apart, has at least so many seconds.
INCOMPLETE_DEADLINE = 1800
# The time that failures of Lambda itself and the start of an attempt may take beyond the attempts themselves.
WATCHDOG_SLACK = timedelta(minutes=5)

# The type of an event, and its detail.
type Fact = tuple[EventType, dict[str, Any]]

logger = Logger(child=True)


class Transitions:
    """The base of all transitions, over a table, a workflow, the settings and a clock."""

    def __init__(
        self,
        records: Records,
        workflow: Workflow,
        settings: Settings,
        clock: Callable[[], datetime] = utc_now,
        queue: DueQueue | None = None,
    ) -> None:
        self._records = records.telling(journal.note)
        self._workflow = workflow
        self._settings = settings
        self._clock = clock
        self._queue = queue or DueQueue("")

    def _change(self, key: str, decide: Callable[[Deployment], Deployment | None]) -> Deployment:
        """Write what `decide` makes of the record, and return it. If `decide` returns None, nothing is written."""
        new: Deployment | None = None
        for _ in range(TRIES):
            old = self._records.require(key)
            if old == new:
                # The write was applied and its answer lost: deciding again would change it twice.
                return old
            new = decide(old)
            if new is None:
                return old
            try:
                self._records.replace(old, new)
            except VersionConflict:
                continue
            return new
        raise contended(key)

    def _with_facts(self, old: Deployment, facts: list[Fact], **changes: Any) -> Deployment:
        """Return the next version of a record, with the facts that its write commits."""
        status = changes.get("status", old.status)
        cleanup: Cleanup = changes.get("cleanup", old.cleanup)
        at = format_time(self._clock())
        outbox = [
            Event(sequence=old.sequence + n, type=type_, at=at, status=status, round=cleanup.round, detail=detail)
            for n, (type_, detail) in enumerate(facts, 1)
        ]
        return fit(
            msgspec.structs.replace(
                old,
                version=old.version + 1,
                sequence=old.sequence + len(outbox),
                events=[*old.events, *outbox][-EVENTS_KEPT:],
                outbox=outbox,
                **changes,
            )
        )

    def _with_round(
        self,
        old: Deployment,
        *,
        reason: str,
        requested_by: str,
        plan: str = "",
        facts: Sequence[Fact] = (),
        detail: dict[str, Any] | None = None,
    ) -> Deployment:
        """Return a record as Terminating, in its next round, in which nothing goes that isn't in `plan`, if there is one.

        `facts` are those that the same write commits before it, `detail` is what its own fact says besides.
        """
        now = self._clock()
        settings = self._settings
        seconds = settings.cluster_deadline if entry(old.deployment_type).cluster else settings.deadline
        if old.incomplete:
            seconds = max(seconds, INCOMPLETE_DEADLINE)
        cleanup = msgspec.structs.replace(
            moments.with_wait(old, now),
            round=old.cleanup.round + 1,
            reason=clipped(reason, 512),
            requested_by=clipped(requested_by, 256),
            requested_at=format_time(now),
            deadline=format_time(now + timedelta(seconds=seconds)),
            next_attempt_at=None,
            quarantined=False,
            ended_at=None,
            looks=0,
            nothing_found_at=None,
            plan=plan,
        )
        detail = {"reason": cleanup.reason, "by": cleanup.requested_by} | (detail or {})
        due_at = epoch(now + WATCHDOG_SLACK)
        begun: list[Fact] = [*facts, ("terminating", detail)]
        return self._with_facts(old, begun, status="Terminating", cleanup=cleanup, due_at=due_at)

    def _check_right(self, deployment: Deployment, caller: str) -> None:
        """Raise NotYours if a caller may not change a deployment."""
        check_may_act(deployment, caller, self._settings.act_on_everything)

    def _timed(self, deployment: Deployment) -> Deployment:
        """Return a live deployment with the warnings that lie behind it given up, and due at its next moment."""
        now = self._clock()
        timed = msgspec.structs.replace(deployment, warned=int(now.timestamp()))
        return msgspec.structs.replace(timed, due_at=moments.due_at(timed, now))

    def _freed(self, old: Deployment, detail: dict[str, Any]) -> Deployment:
        """Return the next version of a held record without its hold, due when its next moment comes, or came meanwhile."""
        free = msgspec.structs.replace(old, hold=None)
        return self._with_facts(free, [("unheld", detail)], due_at=moments.due_at(free, self._clock()))

    def _unheld(
        self, old: Deployment, requested_by: str, over_hold: str
    ) -> tuple[Deployment, list[Fact], dict[str, Any]]:
        """Return a deployment without its hold, the fact that ends the hold, and what overrode it, for the fact of what follows.

        Held if the hold is in force and `over_hold` gives no reason.
        """
        if old.hold is None:
            return old, [], {}
        free = msgspec.structs.replace(old, hold=None)
        if moments.hold_in_force(old, self._clock()) is None:
            return free, [("unheld", {"by": moments.TRACKER, "why": "over"})], {}
        if not over_hold.strip():
            hold = old.hold
            text = f"{old.blueprint_id!r} is held by {hold.by} until {hold.until}: {hold.reason}"
            raise Held(text, hold=msgspec.to_builtins(hold))
        over = {"over_hold": clipped(over_hold, 512)}
        return free, [("unheld", {"by": clipped(requested_by, 256), "why": "released"} | over)], over

    def _start(self, deployment: Deployment) -> None:
        """Start the workflow of a round that is committed."""
        try:
            self._workflow.start(deployment)
        except Exception as error:
            # The record is Terminating already, and the watchdog will start the workflow: the caller can do nothing about it.
            logger.exception("the workflow can't be started", extra={"blueprint_id": deployment.blueprint_id})
            if is_passing(error) and deployment.due_at is not None:
                self._put_off(DueKey(due_at=deployment.due_at, blueprint_id=deployment.blueprint_id), after(error))

    def _put_off(self, due: DueKey, by: timedelta) -> None:
        """Make a record due later, unless it has changed since. The queue is told of what is due before the next sweep."""
        until = self._clock() + by
        try:
            self._records.postpone(due, until)
        except VersionConflict:
            # The record has changed meanwhile, and with it the time at which it is due.
            return
        if by < HORIZON:
            self._queue.put([DueKey(due_at=epoch(until), blueprint_id=due.blueprint_id)], self._clock())


def check_live(deployment: Deployment, change: str) -> None:
    """Raise Conflict, which says what can't be done with it, if a deployment isn't live."""
    if not deployment.is_live:
        message = f"{deployment.blueprint_id!r} is {deployment.status} and can't be {change}"
        raise Conflict(message, deployment=deployment)


def after(error: Exception) -> timedelta:
    """Return how long a record waits for its next turn after such an error."""
    is_soon = is_passing(error) or isinstance(error, Contended)
    return timedelta(seconds=random.uniform(*THROTTLED)) if is_soon else POSTPONED  # noqa: S311 - jitter, no secret


def contended(key: str) -> Contended:
    """Return the error for a record that others changed at each of our tries."""
    return Contended(f"{key!r} kept changing; the same call again is safe")
