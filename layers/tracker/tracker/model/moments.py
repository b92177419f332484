"""The moments of a live deployment that time decides: its warnings, the end of its hold, and the beginning of its next round.

Pure. The lifecycle keeps `due_at` at the next of them, and asks here what is due when it has come.
"""

from datetime import datetime

import msgspec

from tracker.model.deployment import Cleanup, Deployment, Hold, epoch, expiry, parse_time

# Seconds before the end. Each is for deployments that live at least twice as long.
DEFAULT_WARNINGS = (86_400, 3600)
# The reason of a round that begins because the time is over, and who asks for it.
EXPIRED = "expired"
TRACKER = "tracker"


class DueWarning(msgspec.Struct, frozen=True):
    """A warning that is due: the seconds before the end for which it was set, and those that are truly left."""

    before: int
    left: int


def warnings(deployment: Deployment) -> list[int]:
    """Return the seconds before the end at which it is announced, none twice."""
    if deployment.warn_before is not None:
        return deployment.warn_before
    if deployment.expires_at is None:
        return []
    lifetime = (parse_time(deployment.expires_at) - parse_time(deployment.deployed_at)).total_seconds()
    return [before for before in DEFAULT_WARNINGS if lifetime >= 2 * before]


def due_warning(deployment: Deployment, now: datetime) -> DueWarning | None:
    """Return the warning that is due, None if none is: of several that nobody looked at in time, the one nearest the end."""
    end = _announced_end(deployment, now)
    if end is None:
        return None
    passed = [each for each in warnings(deployment) if deployment.warned < end - each <= now.timestamp()]
    return DueWarning(min(passed), int(end - now.timestamp())) if passed else None


def is_pending(deployment: Deployment) -> bool:
    """Return whether a round of a live deployment was begun for another reason than its end, and the brake stopped it."""
    cleanup = deployment.cleanup
    begun = deployment.is_live and cleanup.round > 0 and cleanup.ended_at is None
    return begun and (cleanup.reason, cleanup.requested_by) != (EXPIRED, TRACKER)


def begins_at(deployment: Deployment) -> int | None:
    """Return the epoch seconds at which the next round of a live deployment begins, held or not; None if none does by itself."""
    cleanup = deployment.cleanup
    if cleanup.quarantined:
        return None
    if cleanup.next_attempt_at:
        return epoch(parse_time(cleanup.next_attempt_at))
    if is_pending(deployment) and cleanup.requested_at:
        return epoch(parse_time(cleanup.requested_at))
    return expiry(deployment)


def with_wait(deployment: Deployment, now: datetime) -> Cleanup:
    """Return the cleanup of a deployment whose next round begins now, with the time for which that was due and didn't begin."""
    cleanup = deployment.cleanup
    begins = begins_at(deployment) if deployment.is_live and cleanup.first_failed_at else None
    late = 0 if begins is None else int(now.timestamp()) - begins
    return msgspec.structs.replace(cleanup, waited=cleanup.waited + late) if late > 0 else cleanup


def hold_in_force(deployment: Deployment, now: datetime) -> Hold | None:
    """Return the hold of a deployment, None if it has none or the hold's time is over."""
    hold = deployment.hold
    return hold if hold is not None and parse_time(hold.until) > now else None


def due_at(deployment: Deployment, now: datetime) -> int | None:
    """Return the epoch seconds of the next moment of a live deployment, None if there is none."""
    begins = begins_at(deployment) if deployment.hold is None else epoch(parse_time(deployment.hold.until))
    moments = [] if begins is None else [begins]
    end = _announced_end(deployment, now)
    if end is not None:
        moments += [end - each for each in warnings(deployment) if end - each > deployment.warned]
    return min(moments, default=None)


def _announced_end(deployment: Deployment, now: datetime) -> int | None:
    """Return the end that is still to be announced, None if there is none: a cleanup that was asked for announces itself."""
    end = expiry(deployment)
    if end is None or end <= now.timestamp() or deployment.cleanup.is_failing or is_pending(deployment):
        return None
    return end
