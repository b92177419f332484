"""Leaving secrets out of what is logged, raised or kept on a record, should a provider have quoted one."""

from collections.abc import Iterable

# Shorter texts aren't secrets (a region, a user's name), and would tear words apart.
SECRET_MIN = 8


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return the text with every secret in it replaced by asterisks."""
    # The longest first: one may hold another.
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***") if len(secret) >= SECRET_MIN else text
    return text
