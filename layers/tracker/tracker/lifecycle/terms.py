"""The transitions by which callers change how long a deployment lives: extend, hold, and release of the hold. Called by `amend`.

Each is one write on condition of the version, so that of an extension and an expiry at the same moment one wins, and the other
decides again on what is there then.
"""

from collections.abc import Callable

import msgspec

from tracker.lifecycle.base import Transitions, check_live
from tracker.model import moments
from tracker.model.deployment import Deployment, Hold, cleanup_failed, clipped, expiry, format_time
from tracker.model.errors import Conflict

# Of a caller's ARN, and of a reason.
CALLER_MAX = 256
REASON_MAX = 512


class TermTransitions(Transitions):
    """The transitions by which callers change how long a deployment lives."""

    def extend(
        self, key: str, lengthened: Callable[[Deployment], Deployment], *, requested_by: str
    ) -> tuple[Deployment, str | None]:
        """Give a live deployment a later end. Return it, and the end that it had (None: none).

        `lengthened` returns the deployment with its new end. Conflict if it isn't live, if a cleanup of it has failed, or if one was
        asked for and the brake holds it up.
        """
        before: list[str | None] = []

        def extended(old: Deployment) -> Deployment | None:
            self._check_right(old, requested_by)
            check_live(old, "extended")
            if old.cleanup.is_failing:
                raise cleanup_failed(old, "expires_at")
            if moments.is_pending(old):
                text = f"the cleanup of {old.blueprint_id!r} was asked for, and begins when the brake is let go"
                raise Conflict(text, deployment=old)
            new = lengthened(old)
            before.append(old.expires_at)
            if expiry(new) == expiry(old):
                return None
            detail = {"from": old.expires_at, "to": new.expires_at, "by": clipped(requested_by, CALLER_MAX)}
            return self._with_facts(self._timed(new), [("extended", detail)])

        found = self._change(key, extended)
        return found, before[-1]

    def hold(self, key: str, *, reason: str, until: str, requested_by: str) -> Deployment:
        """Hold a live deployment until a time: no cleanup of it begins before. Another hold is replaced. Conflict if it isn't live."""
        by, why = clipped(requested_by, CALLER_MAX), clipped(reason, REASON_MAX)

        def held(old: Deployment) -> Deployment | None:
            self._check_right(old, requested_by)
            check_live(old, "held")
            now = self._clock()
            current = old.hold
            if current is not None and (current.reason, current.by, current.until) == (why, by, until):
                return None
            new = msgspec.structs.replace(old, hold=Hold(why, by, format_time(now), until))
            detail = {"reason": why, "until": until, "by": by}
            return self._with_facts(new, [("held", detail)], due_at=moments.due_at(new, now))

        return self._change(key, held)

    def unhold(self, key: str, *, requested_by: str) -> Deployment:
        """Release the hold of a deployment. What became due meanwhile is due at once. Without a hold nothing happens."""

        def unheld(old: Deployment) -> Deployment | None:
            self._check_right(old, requested_by)
            if old.hold is None:
                return None
            return self._freed(old, {"by": clipped(requested_by, CALLER_MAX), "why": "released"})

        return self._change(key, unheld)
