"""Serves Blueprint service events, which EventBridge sends through a queue, maybe twice and out of order.

A queue's function hands its batch to `serve`. An event that can never be handled goes to the dead-letter queue with the
reason; one that may be handled later is tried again by the queue for an hour, and then goes there too.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from tracker.dead_letters import bury
from tracker.intake.fields import NAME_MAX, check_text
from tracker.intake.shapes import convert, decode
from tracker.intake.times import AHEAD_MAX, read_time
from tracker.lifecycle.requests import Stale, TooEarly
from tracker.model.deployment import parse_time
from tracker.model.errors import Invalid, Problem

TRIED_SECONDS = 3600

logger = Logger(child=True)


class ServiceEvent(msgspec.Struct, frozen=True):
    """An event of a Blueprint service: the fields of EventBridge's envelope that are needed here."""

    id: str
    time: str
    source: str
    detail: dict[str, Any]

    @property
    def at(self) -> datetime:
        """The time of the event, to the second."""
        return parse_time(self.time)

    @property
    def origin(self) -> str:
        """Its id and time, which tell it from another event with the same detail."""
        return f"{self.id} {self.time}"


def read(body: str, now: datetime) -> ServiceEvent:
    """Read an event from a queue's message. Invalid names the field that is missing or wrong."""
    event = convert(decode(body, "an EventBridge event", field="event"), ServiceEvent, whole="event")
    # The record keeps both.
    check_text("id", event.id, NAME_MAX)
    check_text("source", event.source, NAME_MAX)
    if read_time("time", event.time) - now > AHEAD_MAX:
        # Every true end of what it registers would seem to be from before its registration.
        raise Invalid("time", event.time, "a time that isn't more than a day ahead")
    return event


def serve(
    batch: dict[str, Any],
    handle: Callable[[ServiceEvent], None],
    *,
    dead_letters: str,
    now: Callable[[], datetime],
) -> dict[str, Any]:
    """Handle each message of an SQS batch. The returned object names those that the queue must deliver again."""
    again = []
    for message in batch["Records"]:
        try:
            is_done = _is_done_with(message, handle, dead_letters, now())
        except Exception:
            # The others of the batch must not be delivered again; the queue tries this one until it gives up.
            logger.exception("an event can't be handled")
            is_done = False
        if not is_done:
            again.append(message["messageId"])
    return {"batchItemFailures": [{"itemIdentifier": id_} for id_ in again]}


def _is_done_with(
    message: dict[str, Any], handle: Callable[[ServiceEvent], None], dead_letters: str, now: datetime
) -> bool:
    try:
        handle(read(message["body"], now))
    except Stale as stale:
        if stale.taken_at is None or _sent_at(message) < stale.taken_at:
            logger.warning("a stale event is dropped", extra={"reason": stale.message})
        else:
            # By the queue's clock it came after the registration, by its own time before: a clock is wrong, or it was held up for
            # long. What should end must not live on unseen, and what should live must not end.
            bury(message["body"], f"it came after that: {stale.message}", queue=dead_letters)
    except Problem as problem:
        if _may_yet_be_handled(problem, message, now):
            logger.warning("an event can't be handled yet", extra={"reason": problem.message})
            return False
        if isinstance(problem, TooEarly):
            logger.warning("an event is dropped, since what it is about is over", extra={"reason": problem.message})
        else:
            bury(message["body"], problem.message, queue=dead_letters)
    return True


def _may_yet_be_handled(problem: Problem, message: dict[str, Any], now: datetime) -> bool:
    """Return whether an event may be handled later: a malformed one never, another within an hour, since events come out of order."""
    if isinstance(problem, Invalid):
        return False
    return (now - _sent_at(message)).total_seconds() < TRIED_SECONDS


def _sent_at(message: dict[str, Any]) -> datetime:
    """Return when the queue was given a message, by its own clock."""
    return datetime.fromtimestamp(int(message["attributes"]["SentTimestamp"]) / 1000, UTC)
