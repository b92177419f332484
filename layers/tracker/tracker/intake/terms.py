"""Reads how long a caller wants a deployment to live: an extension, or a hold.

Pure. Called by the amend function (`POST .../extend`, `POST .../hold`).
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from tracker.intake import api
from tracker.intake.shapes import describe
from tracker.intake.times import check_lifetime, compute_ttl, read_time
from tracker.model.deployment import Deployment, format_time, parse_time
from tracker.model.errors import Invalid
from tracker.model.settings import YEARS_10, Settings


class Extension(msgspec.Struct, frozen=True):
    """A later end that a caller asks for: `seconds` after the present one, or the time `until`. One of the two is None."""

    seconds: int | None
    until: datetime | None

    def lengthen(self, deployment: Deployment, settings: Settings, now: datetime) -> Deployment:
        """Return the deployment with its new end. Invalid if that isn't later, is in the past, or is more than MaxTtl allows."""
        old = parse_time(deployment.expires_at) if deployment.expires_at else None
        if self.until is not None:
            field, end = "until", self.until
        elif old is None:
            raise Invalid("by", self.seconds, "until instead of by: the deployment has no end to count from")
        else:
            field, end = "by", old + timedelta(seconds=self.seconds or 0)
        if end <= now:
            raise Invalid(field, f"an end at {format_time(end)}", "an end that isn't in the past")
        if old is not None and end < old:
            raise Invalid(field, format_time(end), f"a time after the present end, {deployment.expires_at}")
        if end == old:
            return deployment
        check_lifetime(field, (end - parse_time(deployment.deployed_at)).total_seconds(), settings)
        expires_at = format_time(end)
        return msgspec.structs.replace(
            deployment, expires_at=expires_at, ttl_seconds=compute_ttl(deployment.deployed_at, expires_at)
        )


def parse_extension(body: str) -> Extension:
    """Read `{"by": seconds}` or `{"until": time}`. Invalid if it is neither."""
    found = api.json_object(body, allowed={"by", "until"})
    if len(found) != 1:
        raise Invalid("body", "both by and until" if found else "neither by nor until", "one of them", malformed=True)
    if "until" in found:
        return Extension(None, _time(found["until"]))
    seconds = found["by"]
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        raise Invalid("by", describe(seconds), "an integer", malformed=True)
    if not 1 <= seconds <= YEARS_10:
        raise Invalid("by", seconds, f"an integer from 1 to {YEARS_10}")
    return Extension(seconds, None)


def parse_hold(body: str, settings: Settings, now: datetime) -> tuple[str, str]:
    """Read `{"reason", "until"}`. Return the reason and the time. Invalid without a reason, or if no hold may end then."""
    reason = api.read_text(body, "reason", allowed={"reason", "until"})
    if not reason.strip():
        raise Invalid("reason", reason, "why it is held, in words")
    found = api.json_object(body, allowed={"reason", "until"})
    if "until" not in found:
        raise Invalid("until", "nothing", "a time: a hold always ends", malformed=True)
    until = _time(found["until"])
    last = now + timedelta(seconds=settings.max_hold)
    if not now < until <= last:
        raise Invalid("until", found["until"], f"a time that is yet to come, and at the latest {format_time(last)}")
    return reason, format_time(until)


def _time(value: Any) -> datetime:
    if not isinstance(value, str):
        raise Invalid("until", describe(value), "a string", malformed=True)
    return read_time("until", value)
