"""The wall clock. All code that decides by the time takes it as a parameter, so that tests can set the time."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)
