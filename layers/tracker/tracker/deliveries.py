"""What a delivery is: one announcement for a deployment's own webhook, and how often that is tried.

Pure. It is made with the announcement (`announcements`), kept as an item of the table (`records`), and attempted by the
sender. Its URL and body are fixed when it is made; whoever gets it twice knows it by its id.
"""

import base64
import binascii
import hashlib
import hmac
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Literal

import msgspec

from tracker.deployment import format_time

# Of a gap, added to it at most, so that what failed together isn't tried together.
JITTER = 0.1
# SQS hides a message for 12 hours at most, counted from its receipt.
HIDDEN_MAX = timedelta(hours=11)
# A receiver can't put a delivery off for longer.
PUT_OFF_MAX = timedelta(days=1)
KEPT = timedelta(days=30)
ATTEMPTS_KEPT = 40
# Standard Webhooks: a symmetric secret has 24 to 64 bytes.
SECRET_BYTES = range(24, 65)
SECRET_PREFIX = "whsec_"

# `stopped`: the receiver said that it is gone for good. `dead`: given up, until it is asked for again.
DeliveryState = Literal["pending", "delivered", "stopped", "dead"]


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call of the webhook: when, for how many seconds, and the status or why there is none."""

    at: str
    seconds: float
    series: int = 1
    status: int | None = None
    error: str = ""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One announcement on its way to a webhook. `secret` names what signs it, "" for the stack's own.

    A series is one run of attempts with growing gaps; asking for a delivery again begins the next one.
    """

    blueprint_id: str
    id: str
    url: str
    secret: str = ""
    body: str
    created_at: str
    state: DeliveryState = "pending"
    series: int = 1
    attempts: list[Attempt] = []
    next_attempt_at: str | None = None
    version: int = 0

    def in_series(self, series: int) -> "Delivery":
        """As it is at the beginning of a later series."""
        return msgspec.structs.replace(self, series=series, state="pending", next_attempt_at=None)

    def attempted(
        self, attempt: Attempt, gaps: list[int], *, now: datetime, jitter: float, wait: timedelta = timedelta()
    ) -> "Delivery":
        """As it is after an attempt.

        `gaps` are the seconds from one attempt of a series to the next; after the last it is dead. `jitter` is from 0 to
        1; `wait` is what the receiver asks for at least.
        """
        attempts = [*self.attempts, msgspec.structs.replace(attempt, series=self.series)]
        tried = sum(each.series == self.series for each in attempts)
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
            self,
            state=state,
            attempts=attempts[-ATTEMPTS_KEPT:],
            next_attempt_at=next_attempt_at,
            version=self.version + 1,
        )


class Errand(msgspec.Struct, frozen=True):
    """What the queue says of a delivery: which one, and in which series it is to be tried."""

    blueprint_id: str
    webhook_id: str
    series: int = 1

    @property
    def text(self) -> str:
        """As the queue holds it."""
        return msgspec.json.encode(self).decode()


class _Announced(msgspec.Struct, frozen=True):
    """As much of an announcement as says which delivery it is."""

    id: str
    data: "_Of"


class _Of(msgspec.Struct, frozen=True):
    blueprint_id: str


def errand(body: str) -> Errand:
    """Read a message of the queue: an announcement as the topic gives it, or one of ours. ValueError if it is neither."""
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(body, type=Errand)
    try:
        announced = msgspec.json.decode(body, type=_Announced)
    except msgspec.DecodeError:
        raise ValueError("neither an announcement nor a delivery") from None
    return Errand(announced.data.blueprint_id, announced.id)


def wait_asked(status: int, retry_after: str, now: datetime) -> timedelta:
    """What an overloaded receiver asks to wait for (RFC 9110, Retry-After: seconds or a date); none if it doesn't."""
    if status not in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return timedelta()
    if re.fullmatch("[0-9]{1,8}", retry_after, re.ASCII):
        return timedelta(seconds=int(retry_after))
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return timedelta()
    return max((until if until.tzinfo else until.replace(tzinfo=UTC)) - now, timedelta())


# Standard Webhooks (standardwebhooks.com): HMAC-SHA256 over "id.timestamp.body", one signature for each secret.


def keys_of(secret: str) -> list[bytes]:
    """The keys in a secret, `{"current": "whsec_...", "previous": "whsec_..."}`; ValueError if it isn't that.

    The previous one is there while receivers change over: both sign, and either proves the sender.
    """
    try:
        content = msgspec.json.decode(secret, type=dict[str, str])
    except msgspec.DecodeError:
        # Without its cause: a decoder's error may quote what it couldn't read.
        raise ValueError("a secret that isn't a JSON object of texts") from None
    found = [key_of(content[name]) for name in ("current", "previous") if content.get(name)]
    if not content.get("current"):
        raise ValueError('a secret without "current"')
    return found


def key_of(secret: str) -> bytes:
    """The bytes of one secret."""
    text = secret.removeprefix(SECRET_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError("a secret that isn't base64") from None
    if len(key) not in SECRET_BYTES:
        raise ValueError(f"a secret that hasn't {SECRET_BYTES[0]} to {SECRET_BYTES[-1]} bytes")
    return key


def signed(delivery: Delivery, keys: list[bytes], now: datetime) -> dict[str, str]:
    """The headers by which a receiver knows who sends, what, and when."""
    timestamp = int(now.timestamp())
    content = f"{delivery.id}.{timestamp}.{delivery.body}".encode()
    signatures = [base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys]
    return {
        "webhook-id": delivery.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
