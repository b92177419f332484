"""The EventBridge door: Blueprint service events, which come twice and out of order, through a queue.

A queue's function hands its batch to `serve`. What can't ever be handled goes to the dead-letter queue with the
reason; what may yet be is tried again by the queue for an hour, then goes there too.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
import msgspec
from aws_lambda_powertools import Logger

from tracker.deployment import clipped, parse_time
from tracker.errors import Invalid, Problem
from tracker.lifecycle import Stale, TooEarly

TRIED_SECONDS = 3600
REASON_MAX = 1024

logger = Logger(child=True)


class ServiceEvent(msgspec.Struct, frozen=True):
    """An event of a Blueprint service: EventBridge's envelope, as far as it matters here."""

    id: str
    time: str
    source: str
    detail: dict[str, Any]

    @property
    def at(self) -> datetime:
        """When it says that it happened, to the second."""
        return parse_time(self.time)

    @property
    def origin(self) -> str:
        """What tells it from another event with the same detail."""
        return f"{self.id} {self.time}"


def read(body: str) -> ServiceEvent:
    """Read an event from a queue's message; Invalid, naming the field, if it is malformed."""
    try:
        event = msgspec.json.decode(body, type=ServiceEvent)
    except msgspec.MsgspecError as error:
        raise Invalid("event", "a malformed one", f"an EventBridge event ({error})", malformed=True) from error
    try:
        parse_time(event.time)
    except ValueError as error:
        raise Invalid("time", event.time, "an RFC 3339 time", malformed=True) from error
    return event


def serve(
    batch: dict[str, Any],
    handle: Callable[[ServiceEvent], None],
    *,
    dead_letters: str,
    now: Callable[[], datetime],
) -> dict[str, Any]:
    """Handle each message of an SQS batch; the answer names those that the queue is to bring again."""
    again = []
    for message in batch["Records"]:
        try:
            is_done = _is_done_with(message, handle, dead_letters, now())
        except Exception:
            # One message that fails must not bring the handled ones again; the queue tries it until it gives up.
            logger.exception("an event can't be handled")
            is_done = False
        if not is_done:
            again.append(message["messageId"])
    return {"batchItemFailures": [{"itemIdentifier": id_} for id_ in again]}


def _is_done_with(
    message: dict[str, Any], handle: Callable[[ServiceEvent], None], dead_letters: str, now: datetime
) -> bool:
    try:
        handle(read(message["body"]))
    except Stale as stale:
        logger.warning("a stale event is dropped", extra={"reason": stale.message})
    except Problem as problem:
        if _may_yet_be_handled(problem, message, now):
            logger.warning("an event can't be handled yet", extra={"reason": problem.message})
            return False
        if isinstance(problem, TooEarly):
            logger.warning("an event is dropped, since what it is about is over", extra={"reason": problem.message})
        else:
            bury(message["body"], problem.message, queue=dead_letters)
    return True


def bury(body: str, reason: str, *, queue: str) -> None:
    """Put a message on a dead-letter queue, whole, with the reason as its attribute."""
    # SQS refuses control characters, which a reason may quote.
    printable = "".join(c if c.isprintable() else " " for c in reason)
    attributes = {"reason": {"DataType": "String", "StringValue": clipped(printable, REASON_MAX)}}
    boto3.client("sqs").send_message(QueueUrl=queue, MessageBody=body, MessageAttributes=attributes)
    logger.error("set aside", extra={"reason": reason})


def _may_yet_be_handled(problem: Problem, message: dict[str, Any], now: datetime) -> bool:
    """Malformed never; what is unknown, over or taken for an hour, since events come out of order."""
    if isinstance(problem, Invalid):
        return False
    sent_at = datetime.fromtimestamp(int(message["attributes"]["SentTimestamp"]) / 1000, UTC)
    return (now - sent_at).total_seconds() < TRIED_SECONDS
