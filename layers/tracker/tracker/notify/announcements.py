"""Publishes the facts in the outbox of each new version of a record on the topic.

The table's stream is the outbox. Called by the announce function, and by the redeliver function when a deployment's announcements
are asked for again. Nothing is compared or remembered here, but a delivery is kept for the deployment's own webhook.
"""

import hashlib
from typing import Any

import msgspec

from tracker.clients import client, sendable
from tracker.model.clock import utc_now
from tracker.model.delivery import Delivery
from tracker.model.deployment import (
    ERROR_TEXT_MAX,
    EVENT_DETAIL_MAX,
    OUTCOMES,
    Deployment,
    Event,
    Resource,
    clipped,
    format_time,
    outcome_of,
)
from tracker.model.strays import Stray, StrayEvent
from tracker.store.deliveries import Deliveries

MESSAGE_BYTES = 16_384
RECEIPT_MAX = 40
# The message's own id, type and time.
ENVELOPE_BYTES = 512
# The bytes of a message that a receipt's counts and punctuation may take.
RECEIPT_FRAME = 256
# JSON may write one byte of a string as six ("\u0001").
ESCAPED = 6
# The queue of deliveries is subscribed to messages with this attribute.
FOR_WEBHOOK = {"webhook": {"DataType": "String", "StringValue": "wanted"}}
# The Rust tracker's event and status.
MODELS_WORDS = {"cleanup_succeeded": ("cleanup", "success"), "cleanup_failed": ("cleanup", "failed")}
UNPROVEN_FIRST = {"present": 0, "leaving": 1, "unseen": 2, "kept": 3, "gone": 4}


class Announcement(msgspec.Struct, frozen=True):
    """One committed fact as it is published. It has the same `id` whenever it is published again."""

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
        }
        values |= {name: self.data[name] for name in ("blueprint_id", "stray") if name in self.data}
        return {name: {"DataType": "String", "StringValue": value} for name, value in values.items()}

    @property
    def body(self) -> str:
        """The message: JSON of at most 16 KB."""
        return sendable(self).decode()


class Topic:
    """The topic that everyone may subscribe to, and the table that keeps the deliveries to a deployment's own webhook."""

    def __init__(self, arn: str, deliveries: Deliveries) -> None:
        self._arn = arn
        self._deliveries = deliveries

    def announce(self, deployment: Deployment, event: Event) -> Announcement:
        """Publish one fact of a deployment. Publishing it again gives the same announcement.

        A delivery to its webhook is kept first, so that the sender finds it when the topic's message arrives.
        """
        found = announcement(deployment, event)
        attributes = found.attributes
        if is_wanted(deployment, event):
            self._deliveries.keep(delivery(deployment, found))
            attributes |= FOR_WEBHOOK
        client("sns").publish(TopicArn=self._arn, Message=found.body, MessageAttributes=attributes)
        return found

    def announce_stray(self, stray: Stray, event: StrayEvent) -> Announcement:
        """Publish one fact of a stray. Publishing it again gives the same announcement."""
        found = stray_announcement(stray, event)
        client("sns").publish(TopicArn=self._arn, Message=found.body, MessageAttributes=found.attributes)
        return found


def is_wanted(deployment: Deployment, event: Event) -> bool:
    """Return whether the deployment's own webhook gets an event: the cleanup's outcome, and the types that it asks for."""
    return deployment.cleanup_webhook is not None and event.type in OUTCOMES | set(deployment.webhook_events)


def delivery(deployment: Deployment, found: Announcement) -> Delivery:
    """Return the delivery of an announcement. Its body has, beside `data`, the keys that the Rust tracker posts."""
    assert deployment.cleanup_webhook is not None  # noqa: S101 - for the type checker: `is_wanted` was asked
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
    """Return the announcement of one fact of a deployment. A cleanup's outcome carries the receipt, as far as it fits."""
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
    if "cost" in event.detail:
        data["cost"] = event.detail["cost"]
    if event.type in OUTCOMES:
        data |= receipt(deployment.resources, MESSAGE_BYTES - ENVELOPE_BYTES - len(sendable(data)))
    return Announcement(
        id=f"{deployment.generation}-{event.sequence}",
        type=f"deployment.{event.type}",
        timestamp=event.at,
        data=data,
    )


def stray_announcement(stray: Stray, event: StrayEvent) -> Announcement:
    """Return the announcement of one fact of a stray."""
    data: dict[str, Any] = {
        "event": f"stray_{event.type}",
        "stray": stray.key,
        "status": "Stray",
        "kind": stray.kind,
        "id": fitting(stray.id, EVENT_DETAIL_MAX),
        "deployment_type": stray.deployment_type,
        "region": stray.region,
        "place": bounded(stray.place),
        "mark": stray.mark,
        "made_at": stray.made_at,
        "first_seen_at": stray.first_seen_at,
        "last_seen_at": stray.last_seen_at,
        "seen": stray.seen,
        "sequence": event.sequence,
        "detail": bounded(event.detail),
    }
    # A stray that is gone and comes again is another one.
    one = hashlib.sha256(f"{stray.key} {stray.first_seen_at}".encode()).hexdigest()[:24]
    return Announcement(id=f"stray-{one}-{event.sequence}", type=f"stray.{event.type}", timestamp=event.at, data=data)


def receipt(resources: list[Resource], room: int) -> dict[str, Any]:
    """Return `{"counts": {state: n}, "resources": [...], "truncated": bool}`, at most 40 resources and `room` bytes.

    Resources that aren't proven gone come first. What counts as gone though nobody ever saw it has `never_seen`, and is counted apart.
    """
    shown: list[dict[str, Any]] = []
    size = RECEIPT_FRAME
    for resource in sorted(resources, key=lambda r: UNPROVEN_FIRST[r.state])[:RECEIPT_MAX]:
        line: dict[str, Any] = {
            "kind": resource.kind,
            "id": resource.id,
            "state": resource.state,
            "gone_at": resource.gone_at,
            "proof": clipped(resource.proof or resource.detail, 512),
        }
        if resource.never_seen:
            line["never_seen"] = True
        size += len(sendable(line)) + 1
        if size > room:
            break
        shown.append(line)
    return {"counts": outcome_of(resources), "resources": shown, "truncated": len(shown) < len(resources)}


def bounded(detail: dict[str, Any]) -> dict[str, Any]:
    """Return an event's detail if it is small enough, else the beginning of its text."""
    text = sendable(detail)
    if len(text) <= EVENT_DETAIL_MAX:
        return detail
    return {"truncated": clipped(text.decode(), EVENT_DETAIL_MAX - 20)}


def fitting(text: str, limit: int) -> str:
    """Return a text, cut so that its JSON has at most `limit` bytes."""
    return text if len(sendable(text)) <= limit else clipped(text, limit // ESCAPED)
