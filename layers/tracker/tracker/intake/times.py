"""Computes when a deployment expires, from the times in its request.

Pure. Called by `registration`, `amendment` and `terms`.
"""

import re
from contextlib import suppress
from datetime import datetime, timedelta

from tracker.model.deployment import format_time, parse_time
from tracker.model.errors import Invalid
from tracker.model.settings import YEARS_10, Settings

AHEAD_MAX = timedelta(days=1)
# `ttl_seconds` and `expires_at` may come from two readings of the clock.
TTL_TOLERANCE = timedelta(seconds=1)

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)


def compute_expiry(
    deployed_at: str, ttl_seconds: int | None, expires_at: str | None, settings: Settings, now: datetime
) -> str | None:
    """Return when a deployment expires, in RFC 3339, None if never.

    Invalid if a time is malformed, if the two contradict each other, or if the settings allow no such lifetime.
    """
    begin = read_time("deployed_at", deployed_at)
    if begin - now > AHEAD_MAX:
        raise Invalid("deployed_at", deployed_at, "a time that isn't more than a day ahead")
    if ttl_seconds is not None:
        if not 1 <= ttl_seconds <= YEARS_10:
            raise Invalid("ttl_seconds", ttl_seconds, f"an integer from 1 to {YEARS_10}")
        check_lifetime("ttl_seconds", ttl_seconds, settings)
    if expires_at is not None:
        end = read_time("expires_at", expires_at)
        if end <= begin:
            raise Invalid("expires_at", expires_at, f"a time after deployed_at, {deployed_at}")
        if ttl_seconds is None:
            check_lifetime("expires_at", (end - begin).total_seconds(), settings)
        elif abs(end - begin - timedelta(seconds=ttl_seconds)) > TTL_TOLERANCE:
            raise Invalid(
                "expires_at",
                expires_at,
                f"deployed_at and {ttl_seconds} s, as ttl_seconds says, or only one of the two",
            )
        return expires_at
    if ttl_seconds is not None:
        return format_time(begin + timedelta(seconds=ttl_seconds))
    if settings.max_ttl < YEARS_10:
        raise Invalid(
            "ttl_seconds", "nothing", f"at most {settings.max_ttl} s: on this stack every deployment's time ends"
        )
    return None


def compute_ttl(deployed_at: str, expires_at: str | None) -> int | None:
    """Return the time to live in whole seconds that a checked expiry means, None if there is none."""
    if expires_at is None:
        return None
    return round((parse_time(expires_at) - parse_time(deployed_at)).total_seconds())


def check_lifetime(field: str, lifetime: float, settings: Settings) -> None:
    """Raise Invalid if the settings allow no such lifetime, which is in seconds."""
    most = min(settings.max_ttl, YEARS_10)
    if not 1 <= lifetime <= most:
        raise Invalid(field, f"a lifetime of {lifetime:g} s", f"1 to {most} s after deployed_at")


def read_time(field: str, text: str) -> datetime:
    """Return a time. Invalid if it isn't in RFC 3339."""
    if _RFC_3339.fullmatch(text):
        with suppress(ValueError):
            return parse_time(text)
    raise Invalid(field, text, "a time in RFC 3339, such as 2026-01-31T12:00:00Z")
