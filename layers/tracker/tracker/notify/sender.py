"""Attempts deliveries: reads one from the table, signs it, posts it, and writes the outcome.

Called by the deliver function for each message of its queue. A delivery is posted at least once: a process that dies between
the post and the write is followed by one that posts again, under the same id.
"""

import random
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from tracker.model.clock import utc_now
from tracker.model.delivery import Attempt, Delivery
from tracker.model.deployment import clipped, format_time, parse_time
from tracker.model.settings import Settings
from tracker.notify import webhooks
from tracker.notify.deliveries import DeliveryRef, begin_series, keys_of, record_attempt, signed, wait_asked
from tracker.notify.targets import Forbidden, Unsent
from tracker.notify.webhooks import Response
from tracker.secrets import SecretError, read_secret
from tracker.store.deliveries import Deliveries

ERROR_MAX = 256


class Sent(msgspec.Struct, frozen=True):
    """A delivery as it is now, whether it was just attempted, and the time until its next attempt."""

    delivery: Delivery
    is_attempted: bool
    wait: timedelta


class Post(Protocol):
    """The signature of `webhooks.post`."""

    def __call__(self, url: str, headers: dict[str, str], body: bytes, settings: Settings) -> Response:
        """Post JSON to a webhook."""
        ...


class Sender:
    """Attempts the deliveries in the table, one at a time."""

    def __init__(
        self,
        deliveries: Deliveries,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = utc_now,
        post: Post = webhooks.post,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._deliveries = deliveries
        self._settings = settings
        self._clock = clock
        self._post = post
        self._jitter = jitter

    def send(self, ref: DeliveryRef) -> Sent | None:
        """Attempt a delivery if its time has come. None if there is no such delivery.

        A reference to an earlier series has no effect; one to a later series begins it.
        """
        found = self._deliveries.get(ref.blueprint_id, ref.webhook_id)
        if found is None:
            return None
        delivery = begin_series(found, ref.series) if ref.series > found.series else found
        wait = self._wait(delivery)
        if ref.series < delivery.series or delivery.state != "pending" or wait:
            return Sent(delivery, is_attempted=False, wait=wait)
        attempt, asked = self._attempt(delivery)
        gaps, now = self._settings.webhook_gaps, self._clock()
        tried = record_attempt(delivery, attempt, gaps, now=now, jitter=self._jitter(), wait=asked)
        self._deliveries.replace(found, tried)
        return Sent(tried, is_attempted=True, wait=self._wait(tried))

    def _wait(self, delivery: Delivery) -> timedelta:
        if delivery.next_attempt_at is None:
            return timedelta()
        return max(parse_time(delivery.next_attempt_at) - self._clock(), timedelta())

    def _attempt(self, delivery: Delivery) -> tuple[Attempt, timedelta]:
        """Make one attempt. Return it, and how long the receiver asks to wait before the next."""
        began, since = self._clock(), time.monotonic()
        status, error, asked = None, "", timedelta()
        try:
            headers = signed(delivery, self._keys(delivery.secret), began)
            response = self._post(delivery.url, headers, delivery.body.encode(), self._settings)
        except Forbidden as forbidden:
            error = f"not allowed any more: expected {forbidden}"
        except Unsent as unsent:
            error = str(unsent)
        else:
            status = response.status
            asked = wait_asked(status, response.retry_after)
        seconds = round(time.monotonic() - since, 3)
        attempt = Attempt(at=format_time(began), seconds=seconds, status=status, error=clipped(error, ERROR_MAX))
        return attempt, asked

    def _keys(self, name: str) -> list[bytes]:
        """Return the keys that sign a delivery. They are read anew each time, so that a changed secret is used at once."""
        if name and not self._settings.allows("webhook_secret", name):
            raise Unsent("nothing to sign with: the secret isn't among the allowed ones")
        try:
            return keys_of(read_secret(name or self._settings.webhook_secret))
        except (SecretError, ValueError) as error:
            raise Unsent(f"nothing to sign with: {error}") from None
