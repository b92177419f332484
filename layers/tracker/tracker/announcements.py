"""Who hears of it: the news of each new version of a record, published on the topic.

The table's stream is the outbox. Called by the announce function alone; it compares nothing and remembers nothing.
"""

from typing import Any

import msgspec

from tracker.deployment import EVENT_DETAIL_MAX, OUTCOMES, Deployment, Event, Resource, clipped
from tracker.records import from_image

RECEIPT_MAX = 40
RECEIPT_BYTES = 14_000
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
        "provider": deployment.provider,
        "region": deployment.region,
        "generation": deployment.generation,
        "sequence": event.sequence,
        "status": event.status,
        "round": event.round,
        "reason": cleanup.reason,
        "failures": cleanup.failures,
        "detail": bounded(event.detail),
    }
    if event.type in OUTCOMES:
        data |= receipt(deployment.resources)
        error = cleanup.last_error
        if event.type == "cleanup_failed" and error is not None:
            data["error"] = {"class": error.error_class, "message": error.message, "at": error.at}
    return Announcement(
        id=f"{deployment.generation}-{event.sequence}",
        type=f"deployment.{event.type}",
        timestamp=event.at,
        data=data,
    )


def receipt(resources: list[Resource]) -> dict[str, Any]:
    """`{"counts": {state: n}, "resources": [...], "truncated": bool}`: the unproven first, 40 at most, bounded."""
    counts: dict[str, int] = {}
    for resource in resources:
        counts[resource.state] = counts.get(resource.state, 0) + 1
    shown: list[dict[str, Any]] = []
    size = 0
    for resource in sorted(resources, key=lambda r: UNPROVEN_FIRST[r.state])[:RECEIPT_MAX]:
        line = {
            "kind": resource.kind,
            "id": resource.id,
            "state": resource.state,
            "gone_at": resource.gone_at,
            "proof": clipped(resource.proof or resource.detail, 512),
        }
        size += len(msgspec.json.encode(line))
        if size > RECEIPT_BYTES:
            break
        shown.append(line)
    return {"counts": counts, "resources": shown, "truncated": len(shown) < len(resources)}


def bounded(detail: dict[str, Any]) -> dict[str, Any]:
    """An event's detail if it is small enough, else the beginning of it."""
    text = msgspec.json.encode(detail)
    if len(text) <= EVENT_DETAIL_MAX:
        return detail
    return {"truncated": clipped(text.decode(), EVENT_DETAIL_MAX - 20)}
