"""What every call to a place keeps to: without TLS to this machine alone, and nothing of a credential in what is said of it."""

import ipaddress
from collections.abc import Iterable

# Shorter texts aren't secrets (a region, a user's name), and would tear words apart.
SHORTEST = 8


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine itself."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def redacted(text: str, secrets: Iterable[str]) -> str:
    """A text in which nothing of the secrets is left, should someone have quoted them."""
    # The longest first: one may hold another.
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***") if len(secret) >= SHORTEST else text
    return text
