"""The transitions that time asks for: rounds of what is expired or must be retried, and the watchdog. Called by `expire`.

A removed lease and the queue of the sweep both lead to `due`, which decides by the `due_at` that is stored and by nothing else.
"""

from datetime import timedelta
from typing import Any

from aws_lambda_powertools import Logger

from tracker.lifecycle.base import POSTPONED, after
from tracker.lifecycle.rounds import RoundTransitions
from tracker.model import moments
from tracker.model.brakes import Brakes
from tracker.model.catalogue import entry
from tracker.model.deployment import Deployment
from tracker.store.records import DueKey
from tracker.store.table import VersionConflict

OBSERVED_AGAIN = timedelta(hours=1)
# When a look at what is gone is asked for once more that nobody has reported.
LOOKED_AGAIN = timedelta(minutes=15)

logger = Logger(child=True)


class TimedTransitions(RoundTransitions):
    """The transitions that time asks for. The watchdog ends a round, so they build on those of a round."""

    def due(self, key: str, brakes: Brakes, generation: str | None = None) -> bool:
        """Act on a record if it is due. Return True if a round was started.

        With a `generation`, nothing happens to a record of another one.
        """
        old = self._records.get(key)
        if old is None or old.due_at is None or generation not in (None, old.generation):
            return False
        if old.due_at > self._clock().timestamp():
            return False
        if old.status == "Terminating":
            return self._watched(old)
        if old.status == "Terminated":
            # By reading alone, so no brake holds it. If nobody looks, it is due again.
            self._workflow.request_plan(old)
            self._postpone(old, LOOKED_AGAIN)
            return False
        moved_on = self._moved_on(old)
        if moved_on is not None:
            # By writing alone, so no brake holds it.
            try:
                self._records.replace(old, moved_on)
            except VersionConflict:
                return False
            return self.due(key, brakes, generation)
        mode = brakes.mode(entry(old.deployment_type).platform)
        if mode == "pause":
            self._postpone(old, POSTPONED)
            return False
        if mode == "observe":
            self._workflow.request_plan(old)
            self._postpone(old, OBSERVED_AGAIN)
            return False
        new = self._following_round(old)
        try:
            self._records.replace(old, new)
        except VersionConflict:
            # Another call has just decided about it; or this very write was applied and its answer lost.
            if self._records.get(key) == new:
                self._start(new)
            return False
        self._start(new)
        return True

    def take(self, due: DueKey, brakes: Brakes) -> bool:
        """Act on a record that the sweep found. Return True if a round was started.

        One that can't be handled moves back in line, so that it holds up no other: by seconds if a service had no room for it,
        else by five minutes.
        """
        try:
            return self.due(due.blueprint_id, brakes)
        except Exception as error:
            # Whatever went wrong, the other records must have their turn.
            logger.exception("a due record can't be handled", extra={"blueprint_id": due.blueprint_id})
            self._put_off(due, after(error))
            return False

    def _moved_on(self, old: Deployment) -> Deployment | None:
        """Return the next version of a live record whose moment doesn't begin a round, None if it does.

        It is the end of a hold, a warning, or no moment any more. Never more than one warning is due: those that nobody looked
        at in time are given up.
        """
        now = self._clock()
        hold = moments.hold_in_force(old, now)
        if old.hold is not None and hold is None:
            return self._freed(old, {"by": moments.TRACKER, "why": "over"})
        if warning := moments.due_warning(old, now):
            detail: dict[str, Any] = {"before": warning.before, "left": warning.left, "expires_at": old.expires_at}
            held: dict[str, Any] = {"held_until": hold.until} if hold else {}
            return self._with_facts(self._timed(old), [("expiring", detail | held)])
        begins = moments.begins_at(old)
        if hold is not None or begins is None or begins > now.timestamp():
            return self._with_facts(old, [], due_at=moments.due_at(old, now))
        return None

    def _following_round(self, old: Deployment) -> Deployment:
        """Return a live record in the round whose time has come: a retry, one that the brake stopped, or that of its end.

        The first two keep to the plan that the caller approved.
        """
        cleanup = old.cleanup
        if cleanup.is_failing:
            return self._with_round(old, reason="retry", requested_by=moments.TRACKER, plan=cleanup.plan)
        if moments.is_pending(old):
            return self._with_round(old, reason=cleanup.reason, requested_by=cleanup.requested_by, plan=cleanup.plan)
        return self._with_round(old, reason=moments.EXPIRED, requested_by=moments.TRACKER)

    def _watched(self, old: Deployment) -> bool:
        """Look after a round that hasn't reported for too long. Return True if its workflow was started."""
        status = self._workflow.execution_status(old)
        if status == "closed":
            cause = "the workflow ended without a word"
            self.restored(old.blueprint_id, old.generation, old.cleanup.round, cause)
            return False
        if status == "unknown":
            self._workflow.start(old)
        try:
            self._records.replace(old, self._with_facts(old, [], due_at=self._watchdog(old, 0)))
        except VersionConflict:
            # The round has just reported.
            return False
        return status == "unknown"

    def _postpone(self, old: Deployment, by: timedelta) -> None:
        assert old.due_at is not None  # noqa: S101 - only what is due is postponed
        self._put_off(DueKey(due_at=old.due_at, blueprint_id=old.blueprint_id), by)
