"""Handles the messages of the queue of deliveries. Called by the deliver function.

A message only names a delivery; the delivery itself says whether it is pending, and when its next attempt is. So a message
that comes twice or too early does no harm.
"""

from collections.abc import Callable
from datetime import timedelta
from math import ceil
from typing import Any

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from tracker.clients import client
from tracker.dead_letters import bury
from tracker.model.delivery import Delivery
from tracker.model.settings import Settings
from tracker.notify.deliveries import HIDDEN_MAX, DeliveryRef, read_ref
from tracker.notify.sender import Sender

# How long a message is hidden after a fault of ours: at first, and at most, which is as long as the queue would.
SOON, LATE = timedelta(seconds=15), timedelta(minutes=6)

logger = Logger(child=True)


class Queue:
    """The queue of deliveries. `note` is called with each delivery that was attempted."""

    def __init__(self, sender: Sender, settings: Settings, note: Callable[[Delivery], object]) -> None:
        self._sender = sender
        self._settings = settings
        self._note = note

    def is_done(self, message: dict[str, Any]) -> bool:
        """Attempt the delivery of a message. Return whether the queue may delete the message."""
        try:
            ref = read_ref(message["body"])
        except ValueError as error:
            self._bury(message["body"], str(error))
            return True
        try:
            return self._attempt(message, ref)
        except Exception:
            # The queue delivers the message again, and the table knows the delivery's state.
            logger.exception("a delivery can't be attempted", extra={"webhook_id": ref.webhook_id})
            self._hide(message["receiptHandle"], _until_again(message))
            return False

    def _attempt(self, message: dict[str, Any], ref: DeliveryRef) -> bool:
        """Attempt a delivery. Return whether the message's series is over."""
        sent = self._sender.send(ref)
        if sent is None:
            self._bury(message["body"], "no such delivery")
            return True
        delivery = sent.delivery
        if sent.is_attempted:
            self._note(delivery)
        if delivery.series != ref.series:
            return True
        if delivery.state == "dead":
            # When the dead letter comes back to the queue, it begins the delivery's next series.
            following = DeliveryRef(ref.blueprint_id, ref.webhook_id, ref.series + 1)
            self._bury(following.text, outcome(delivery))
        if delivery.state == "pending":
            self._hide(message["receiptHandle"], sent.wait)
        return delivery.state != "pending"

    def _bury(self, body: str, reason: str) -> None:
        bury(body, reason, queue=self._settings.undelivered_queue_url)

    def _hide(self, receipt: str, wait: timedelta) -> None:
        """Hide a message until its next attempt, or for as long as the queue can."""
        seconds = max(1, ceil(min(wait, HIDDEN_MAX).total_seconds()))
        try:
            client("sqs").change_message_visibility(
                QueueUrl=self._settings.deliveries_queue_url, ReceiptHandle=receipt, VisibilityTimeout=seconds
            )
        except (BotoCoreError, ClientError) as error:
            # The queue's own time counts then, and the delivery's own next_attempt_at says if it must wait longer.
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
            logger.warning("a message can't be hidden", extra={"reason": code})


def _until_again(message: dict[str, Any]) -> timedelta:
    """Return how long a message waits that couldn't be handled: twice as long each time that it comes."""
    times = int(message["attributes"]["ApproximateReceiveCount"])
    return min(SOON * (1 << min(times - 1, 10)), LATE)


def outcome(delivery: Delivery) -> str:
    """Describe the outcome of a delivery's last attempt."""
    last = delivery.attempts[-1] if delivery.attempts else None
    return "not tried" if last is None else last.error or f"answered {last.status}"
