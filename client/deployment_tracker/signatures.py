"""Checks that a webhook call was sent by the tracker: the signature of Standard Webhooks (docs/webhooks.md)."""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping

from deployment_tracker.errors import TrackerError, Usage
from deployment_tracker.times import length

PREFIX = "whsec_"
_BYTES = range(24, 65)
TOLERANCE = 300


class Unsigned(TrackerError):
    """A call doesn't carry the tracker's signature."""


def read_secret(text: str) -> list[bytes]:
    """Return the keys of a secret: `whsec_...`, or the JSON `{"current", "previous"}` of Secrets Manager."""
    text = text.strip()
    try:
        found = json.loads(text) if text.startswith("{") else {"current": text}
    except ValueError:
        raise _no_secret() from None
    keys = [found.get(name) for name in ("current", "previous")]
    if not keys[0]:
        raise _no_secret()
    return [_key(str(each)) for each in keys if each]


def verify(headers: Mapping[str, str], body: bytes, keys: list[bytes], at: float, tolerance: int = TOLERANCE) -> str:
    """Return the id of a call that was signed with one of the keys, at most `tolerance` seconds ago. Unsigned otherwise."""
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    try:
        id_, timestamp, signatures = (lower[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as missing:
        hint = f"Hand it in: -H '{missing.args[0]}: ...', or --headers-file."
        raise Unsigned(f"The call has no header {missing.args[0]!r}.", hint) from None
    if not re.fullmatch(r"[0-9]{1,12}", timestamp, re.ASCII):
        raise Unsigned(f"The header webhook-timestamp is {timestamp!r}, and not seconds since 1970.")
    content = f"{id_}.{timestamp}.".encode() + body
    wanted = [base64.b64encode(hmac.digest(key, content, hashlib.sha256)) for key in keys]
    given = [each.partition(",")[2].encode() for each in signatures.split() if each.startswith("v1,")]
    if not any(hmac.compare_digest(one, other) for one in given for other in wanted):
        raise Unsigned(
            "The signature isn't that of this body with this secret.",
            "The body must be the very bytes that came, and the secret the stack's own, or that of the deployment's record.",
        )
    age = at - int(timestamp)
    if abs(age) > tolerance:
        far = f"{length(abs(age))} {'ago' if age > 0 else 'ahead'}"
        raise Unsigned(f"The signature is right, but was made {far}.", "--tolerance allows older ones.")
    return id_


def _key(text: str) -> bytes:
    bare = text.removeprefix(PREFIX).rstrip("=")
    try:
        key = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _no_secret() from None
    if len(key) not in _BYTES:
        raise _no_secret()
    return key


def _no_secret() -> Usage:
    return Usage(
        "The secret isn't one that signs webhooks.",
        'It is base64 of 24 to 64 bytes, with or without whsec_ before it, or {"current": "..."} of Secrets Manager.',
    )
