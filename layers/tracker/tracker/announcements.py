"""Who hears of it: the news of each new version of a record, published on the topic.

The table's stream is the outbox. Called by the announce function, and by whoever asks for a deployment's announcements
again; it compares nothing and remembers nothing, but keeps what is for the deployment's own webhook.
"""

from functools import cached_property
from typing import Any

import boto3
import msgspec

from tracker.deliveries import Delivery
from tracker.deployment import (
    ERROR_TEXT_MAX,
    EVENT_DETAIL_MAX,
    OUTCOMES,
    Deployment,
    Event,
    Resource,
    clipped,
    format_time,
)
from tracker.records import Records, utc_now
from tracker.workflow import CONFIG

MESSAGE_BYTES = 16_384
RECEIPT_MAX = 40
# The message's own id, type and time.
ENVELOPE_BYTES = 512
# What of a message its counts and punctuation may take.
RECEIPT_FRAME = 256
# JSON may write one byte of a text as six ("\u0001").
ESCAPED = 6
# By this attribute the queue of deliveries is filtered.
FOR_WEBHOOK = {"webhook": {"DataType": "String", "StringValue": "wanted"}}
# The Rust tracker's event and status.
MODELS_WORDS = {"cleanup_succeeded": ("cleanup", "success"), "cleanup_failed": ("cleanup", "failed")}
UNPROVEN_FIRST = {"present": 0, "leaving": 1, "unseen": 2, "kept": 3, "gone": 4}


class Announcement(msgspec.Struct, frozen=True):
    """One committed fact as it is published. `id` is the same whenever it is published again."""

    id: str
    type: str
    timestamp: str
    data: dict[str, Any]

    @property
    def attributes(self) -> dict[str, dict[str, str]]:
        """SNS message attributes for subscribers' filter policies."""
        values = {
            "event": self.data["event"],
            "status": self.data["status"],
            "deployment_type": self.data["deployment_type"],
            "blueprint_id": self.data["blueprint_id"],
        }
        return {name: {"DataType": "String", "StringValue": value} for name, value in values.items()}

    @property
    def metric(self) -> str:
        """The name that it is counted under: `CleanupFailed` for "cleanup_failed"."""
        return "".join(word.capitalize() for word in str(self.data["event"]).split("_"))

    @property
    def body(self) -> str:
        """The message: JSON of at most 16 KB."""
        return msgspec.json.encode(self).decode()


class Topic:
    """The topic that everyone may subscribe to, and the table for what goes to a deployment's own webhook."""

    def __init__(self, arn: str, records: Records) -> None:
        self._arn = arn
        self._records = records

    def announce(self, deployment: Deployment, event: Event) -> Announcement:
        """Publish one fact of a deployment; what was published before is the same again.

        What its webhook is to hear is kept first: the sender, whom the topic tells, finds it there.
        """
        found = announcement(deployment, event)
        attributes = found.attributes
        if is_wanted(deployment, event):
            self._records.keep(delivery(deployment, found))
            attributes |= FOR_WEBHOOK
        self._sns.publish(TopicArn=self._arn, Message=found.body, MessageAttributes=attributes)
        return found

    @cached_property
    def _sns(self) -> Any:
        return boto3.client("sns", config=CONFIG)


def is_wanted(deployment: Deployment, event: Event) -> bool:
    """Whether the deployment's own webhook is to hear of it: of the cleanup's outcome, and of what it asks for."""
    return deployment.cleanup_webhook is not None and event.type in OUTCOMES | set(deployment.webhook_events)


def delivery(deployment: Deployment, found: Announcement) -> Delivery:
    """What is posted of an announcement: with the keys beside its data that the Rust tracker posts."""
    assert deployment.cleanup_webhook is not None  # noqa: S101 - for the type checker: there is one that wants it
    type_ = found.data["event"]
    event, status = MODELS_WORDS.get(type_, (type_, found.data["status"]))
    body = {
        "type": found.type,
        "timestamp": found.timestamp,
        "blueprint_id": deployment.blueprint_id,
        "event": event,
        "status": status,
        "data": {**found.data, "attempts": found.data["round"]},
    }
    return Delivery(
        blueprint_id=deployment.blueprint_id,
        id=found.id,
        url=deployment.cleanup_webhook,
        secret=deployment.metadata.get("webhook_secret", ""),
        body=msgspec.json.encode(body).decode(),
        created_at=format_time(utc_now()),
    )


def announcement(deployment: Deployment, event: Event) -> Announcement:
    """One fact of a deployment. An outcome's carries the receipt, or what of it is there."""
    cleanup = deployment.cleanup
    data: dict[str, Any] = {
        "event": event.type,
        "blueprint_id": deployment.blueprint_id,
        "id": deployment.id,
        "deployment_type": deployment.deployment_type,
        "provider": bounded(deployment.provider) if isinstance(deployment.provider, dict) else deployment.provider,
        "region": deployment.region,
        "generation": deployment.generation,
        "sequence": event.sequence,
        "status": event.status,
        "round": event.round,
        "reason": fitting(cleanup.reason, EVENT_DETAIL_MAX),
        "failures": cleanup.failures,
        "detail": bounded(event.detail),
    }
    error = cleanup.last_error
    if event.type == "cleanup_failed" and error is not None:
        message = fitting(error.message, ERROR_TEXT_MAX)
        data["error"] = {"class": error.error_class, "message": message, "at": error.at}
    if event.type in OUTCOMES:
        data |= receipt(deployment.resources, MESSAGE_BYTES - ENVELOPE_BYTES - len(msgspec.json.encode(data)))
    return Announcement(
        id=f"{deployment.generation}-{event.sequence}",
        type=f"deployment.{event.type}",
        timestamp=event.at,
        data=data,
    )


def receipt(resources: list[Resource], room: int) -> dict[str, Any]:
    """`{"counts": {state: n}, "resources": [...], "truncated": bool}`: the unproven first, at most 40 and `room` bytes."""
    counts: dict[str, int] = {}
    for resource in resources:
        counts[resource.state] = counts.get(resource.state, 0) + 1
    shown: list[dict[str, Any]] = []
    size = RECEIPT_FRAME
    for resource in sorted(resources, key=lambda r: UNPROVEN_FIRST[r.state])[:RECEIPT_MAX]:
        line = {
            "kind": resource.kind,
            "id": resource.id,
            "state": resource.state,
            "gone_at": resource.gone_at,
            "proof": clipped(resource.proof or resource.detail, 512),
        }
        size += len(msgspec.json.encode(line)) + 1
        if size > room:
            break
        shown.append(line)
    return {"counts": counts, "resources": shown, "truncated": len(shown) < len(resources)}


def bounded(detail: dict[str, Any]) -> dict[str, Any]:
    """An event's detail if it is small enough, else the beginning of it."""
    text = msgspec.json.encode(detail)
    if len(text) <= EVENT_DETAIL_MAX:
        return detail
    return {"truncated": clipped(text.decode(), EVENT_DETAIL_MAX - 20)}


def fitting(text: str, limit: int) -> str:
    """A text whose JSON has at most so many bytes."""
    return text if len(msgspec.json.encode(text)) <= limit else clipped(text, limit // ESCAPED)
