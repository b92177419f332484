"""Deliveries to webhooks: how the queue refers to one, when it is attempted, and how its request is signed.

Pure. Called by the sender and by the functions at the queue of deliveries.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from http import HTTPStatus

import msgspec

from tracker.model.delivery import Attempt, Delivery, DeliveryState
from tracker.model.deployment import format_time
from tracker.retry_after import parse_retry_after

# The share of a gap that is added to it at most, so that deliveries that failed together aren't attempted together.
JITTER = 0.1
# A receiver can't put a delivery off for longer.
PUT_OFF_MAX = timedelta(days=1)
ATTEMPTS_KEPT = 40
# SQS hides a message for 12 hours at most, counted from its receipt.
HIDDEN_MAX = timedelta(hours=11)
# Standard Webhooks: a symmetric secret has 24 to 64 bytes.
SECRET_BYTES = range(24, 65)
SECRET_PREFIX = "whsec_"


class DeliveryRef(msgspec.Struct, frozen=True):
    """A message of the queue: the delivery that it is about, and the series of attempts that it belongs to."""

    blueprint_id: str
    webhook_id: str
    series: int = 1

    @property
    def text(self) -> str:
        """The message's body."""
        return msgspec.json.encode(self).decode()


class _Subject(msgspec.Struct, frozen=True):
    blueprint_id: str


class _Announced(msgspec.Struct, frozen=True):
    """The fields of an announcement that identify its delivery."""

    id: str
    data: _Subject


def read_ref(body: str) -> DeliveryRef:
    """Read a message of the queue: an announcement that the topic sent, or a DeliveryRef. ValueError if it is neither."""
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(body, type=DeliveryRef)
    try:
        announced = msgspec.json.decode(body, type=_Announced)
    except msgspec.DecodeError:
        raise ValueError("neither an announcement nor a delivery") from None
    return DeliveryRef(announced.data.blueprint_id, announced.id)


def generation_of(webhook_id: str) -> str:
    """Return the generation of the deployment that a delivery is about, which begins its id."""
    return webhook_id.rpartition("-")[0]


# The schedule


def begin_series(delivery: Delivery, series: int) -> Delivery:
    """Return a delivery at the beginning of a later series."""
    return msgspec.structs.replace(delivery, series=series, state="pending", next_attempt_at=None)


def record_attempt(
    delivery: Delivery,
    attempt: Attempt,
    gaps: list[int],
    *,
    now: datetime,
    jitter: float,
    wait: timedelta = timedelta(),
) -> Delivery:
    """Return a delivery after an attempt.

    `gaps` are the seconds from one attempt of a series to the next; after the last the delivery is dead. `jitter` is from 0
    to 1; `wait` is the least time that the receiver asks for.
    """
    attempts = [*delivery.attempts, msgspec.structs.replace(attempt, series=delivery.series)]
    tried = sum(each.series == delivery.series for each in attempts)
    state: DeliveryState = "pending"
    next_attempt_at = None
    if attempt.status is not None and HTTPStatus.OK <= attempt.status < HTTPStatus.MULTIPLE_CHOICES:
        state = "delivered"
    elif attempt.status == HTTPStatus.GONE:
        state = "stopped"
    elif tried > len(gaps):
        state = "dead"
    else:
        gap = max(timedelta(seconds=gaps[tried - 1] * (1 + JITTER * jitter)), min(wait, PUT_OFF_MAX))
        next_attempt_at = format_time(now + gap)
    return msgspec.structs.replace(
        delivery,
        state=state,
        attempts=attempts[-ATTEMPTS_KEPT:],
        next_attempt_at=next_attempt_at,
        version=delivery.version + 1,
    )


def wait_asked(status: int, retry_after: str) -> timedelta:
    """Return how long an overloaded receiver asks to wait, a day at most; nothing if it isn't overloaded or doesn't ask."""
    if status not in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return timedelta()
    return timedelta(seconds=parse_retry_after(retry_after, longest=int(PUT_OFF_MAX.total_seconds())) or 0)


# Standard Webhooks (standardwebhooks.com): HMAC-SHA256 over "id.timestamp.body", one signature for each secret.


def keys_of(secret: Mapping[str, str]) -> list[bytes]:
    """Return the keys in a secret, `{"current": "whsec_...", "previous": "whsec_..."}`. ValueError if one is malformed.

    The previous one is there while receivers change over: both sign, and either proves the sender.
    """
    found = [key_of(secret[name]) for name in ("current", "previous") if secret.get(name)]
    if not secret.get("current"):
        raise ValueError('a secret without "current"')
    return found


def key_of(secret: str) -> bytes:
    """Return the bytes of one key, "whsec_" and base64. ValueError if it isn't that."""
    text = secret.removeprefix(SECRET_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError("a secret that isn't base64") from None
    if len(key) not in SECRET_BYTES:
        raise ValueError(f"a secret that hasn't {SECRET_BYTES[0]} to {SECRET_BYTES[-1]} bytes")
    return key


def signed(delivery: Delivery, keys: list[bytes], now: datetime) -> dict[str, str]:
    """Return the headers that prove to a receiver who sends, what, and when."""
    timestamp = int(now.timestamp())
    content = f"{delivery.id}.{timestamp}.{delivery.body}".encode()
    signatures = [base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys]
    return {
        "webhook-id": delivery.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
