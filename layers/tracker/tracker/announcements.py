"""Who hears of it: the news of each new version of a record, published on the topic.

The table's stream is the outbox. Called by the announce function alone; it compares nothing and remembers nothing.
"""

from typing import Any

import msgspec

from tracker.deployment import ERROR_TEXT_MAX, EVENT_DETAIL_MAX, OUTCOMES, Deployment, Event, Resource, clipped
from tracker.records import from_image

MESSAGE_BYTES = 16_384
RECEIPT_MAX = 40
# The message's own id, type and time.
ENVELOPE_BYTES = 512
# What of a message its counts and punctuation may take.
RECEIPT_FRAME = 256
# JSON may write one byte of a text as six ("\u0001").
ESCAPED = 6
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


def news(image: dict[str, Any]) -> list[Announcement]:
    """What the version of a record in a stream's image announces. ValueError if it is no record."""
    deployment = from_image(image)
    return [announcement(deployment, event) for event in deployment.news]


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
