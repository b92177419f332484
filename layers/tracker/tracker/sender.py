"""Attempts a delivery: reads what is kept of it, signs it, posts it, and keeps what became of it.

Called by the deliver function for each message of its queue. At least once: whoever dies between the post and the write
posts again, under the same id.
"""

import random
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Protocol

import boto3
import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tracker import webhooks
from tracker.deliveries import Attempt, Delivery, Errand, keys_of, signed, wait_asked
from tracker.deployment import clipped, format_time, parse_time
from tracker.records import Records, utc_now
from tracker.settings import Settings
from tracker.webhooks import Answer, Forbidden, Unsent

ERROR_MAX = 256
CONFIG = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"})


class Sent(msgspec.Struct, frozen=True):
    """A delivery as it is now, whether it was attempted just then, and how long until that is its turn."""

    delivery: Delivery
    is_attempted: bool
    wait: timedelta


class Post(Protocol):
    """As `webhooks.post`."""

    def __call__(self, url: str, headers: dict[str, str], body: bytes, settings: Settings) -> Answer:
        """Post it."""
        ...


class Sender:
    """Attempts what the table keeps, one at a time."""

    def __init__(
        self,
        records: Records,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = utc_now,
        post: Post = webhooks.post,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._records = records
        self._settings = settings
        self._clock = clock
        self._post = post
        self._jitter = jitter

    def send(self, errand: Errand) -> Sent | None:
        """Attempt a delivery if it is its time; None if there is no such delivery.

        A message of an earlier series has nothing to say any more; one of a later series begins that.
        """
        found = self._records.delivery(errand.blueprint_id, errand.webhook_id)
        if found is None:
            return None
        delivery = found.in_series(errand.series) if errand.series > found.series else found
        wait = self._wait(delivery)
        if errand.series < delivery.series or delivery.state != "pending" or wait:
            return Sent(delivery, is_attempted=False, wait=wait)
        attempt, asked = self._attempt(delivery)
        gaps, now = self._settings.webhook_gaps, self._clock()
        tried = delivery.attempted(attempt, gaps, now=now, jitter=self._jitter(), wait=asked)
        self._records.attempted(found, tried)
        return Sent(tried, is_attempted=True, wait=self._wait(tried))

    def _wait(self, delivery: Delivery) -> timedelta:
        if delivery.next_attempt_at is None:
            return timedelta()
        return max(parse_time(delivery.next_attempt_at) - self._clock(), timedelta())

    def _attempt(self, delivery: Delivery) -> tuple[Attempt, timedelta]:
        """One attempt, and how long the receiver asks to wait for another."""
        began, since = self._clock(), time.monotonic()
        status, error, asked = None, "", timedelta()
        try:
            headers = signed(delivery, self._keys(delivery.secret), began)
            answer = self._post(delivery.url, headers, delivery.body.encode(), self._settings)
        except Forbidden as forbidden:
            error = f"not allowed any more: expected {forbidden}"
        except Unsent as unsent:
            error = str(unsent)
        else:
            status = answer.status
            asked = wait_asked(status, answer.retry_after, began)
        seconds = round(time.monotonic() - since, 3)
        attempt = Attempt(at=format_time(began), seconds=seconds, status=status, error=clipped(error, ERROR_MAX))
        return attempt, asked

    def _keys(self, name: str) -> list[bytes]:
        """What signs it, read anew each time: a changed secret is used at once."""
        if name and not self._settings.allows("webhook_secret", name):
            raise Unsent("nothing to sign with: the secret isn't among the allowed ones")
        try:
            answer = self._secrets.get_secret_value(SecretId=name or self._settings.webhook_secret)
            return keys_of(answer.get("SecretString", ""))
        except ClientError as error:
            raise Unsent(f"nothing to sign with: {error.response['Error']['Code']}") from None
        except BotoCoreError as error:
            raise Unsent(f"nothing to sign with: {type(error).__name__}") from None
        except ValueError as error:
            raise Unsent(f"nothing to sign with: {error}") from None

    @cached_property
    def _secrets(self) -> Any:
        return boto3.client("secretsmanager", config=CONFIG)
