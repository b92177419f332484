"""Reads how long an overloaded server asks its callers to wait.

Used by whoever calls servers that aren't ours: the webhooks' sender and the providers' REST clients. Pure.
"""

from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry


def parse_retry_after(text: str, *, longest: int) -> float | None:
    """Return the seconds that a `Retry-After` header (RFC 9110: seconds or a date) asks to wait, `longest` at most.

    None if it is neither. A date that is over asks for 0 seconds. Whatever the server sent, nothing is raised.
    """
    try:
        return Retry(retry_after_max=longest).parse_retry_after(text)
    except (InvalidHeader, ValueError, OverflowError):
        # The last two: more digits than Python converts, and a date that no calendar has.
        return None
