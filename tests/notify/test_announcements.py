"""This is what is published of each committed fact: stable, filterable, bounded."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.fakes import NOW, Clock, Engine, a_deployment
from tracker.lifecycle.transitions import Lifecycle
from tracker.model import brakes
from tracker.model.deployment import (
    EVENT_TYPES,
    RESOURCES_MAX,
    Cleanup,
    CleanupError,
    Event,
    Resource,
    format_time,
)
from tracker.notify.announcements import (
    MESSAGE_BYTES,
    UNPROVEN_FIRST,
    Announcement,
    announcement,
    delivery,
    is_wanted,
    receipt,
)
from tracker.store.table import read_image

AT = format_time(NOW)
GONE = Resource(kind="ec2:instance", id="i-1", state="gone", proof="DescribeInstances: terminated", gone_at=AT)


def an_event(type_: Any = "amended", **changes: Any) -> Event:
    return Event(sequence=7, type=type_, at=AT, status="Active", round=2, **changes)


def news(image: dict[str, Any]) -> list[Announcement]:
    """Return what a version of a record announces."""
    deployment = read_image(image)
    return [announcement(deployment, event) for event in deployment.outbox]


def sized(found: Announcement) -> int:
    return len(found.body.encode())


def test_each_committed_fact_is_announced_once_in_order_with_an_id_of_its_own(
    lifecycle: Lifecycle, engine: Engine
) -> None:
    lifecycle.register(a_deployment())
    seen = news(engine.items()["record"])
    terminating = lifecycle.terminate("svc-1", reason="requested", requested_by="someone")
    seen += news(engine.items()["record"])
    lifecycle.progress(terminating, [GONE], retry_after=5)
    seen += news(engine.items()["record"])
    current = lifecycle.failing(terminating, "unreachable", "x")
    assert news(engine.items()["record"]) == []
    lifecycle.released(current, [GONE])
    seen += news(engine.items()["record"])
    assert [each.id for each in seen] == [f"generation-of-svc-1-{n}" for n in range(1, 5)]
    assert [each.type for each in seen] == [
        "deployment.registered",
        "deployment.terminating",
        "deployment.resource_gone",
        "deployment.cleanup_succeeded",
    ]


def test_the_same_image_is_announced_under_the_same_ids_again(lifecycle: Lifecycle, engine: Engine) -> None:
    lifecycle.register(a_deployment())
    image = engine.items()["record"]
    assert news(image) == news(image)


def test_a_postponed_look_announces_nothing_again(lifecycle: Lifecycle, engine: Engine, clock: Clock) -> None:
    lifecycle.register(a_deployment())
    clock.forward(hours=1)
    lifecycle.due("svc-1", brakes.parse("pause"))
    assert news(engine.items()["record"]) == []


@pytest.mark.parametrize("type_", EVENT_TYPES)
def test_every_kind_of_fact_says_what_to_filter_by(type_: str) -> None:
    found = announcement(a_deployment(), an_event(type_))
    assert {name: value["StringValue"] for name, value in found.attributes.items()} == {
        "event": type_,
        "status": "Active",
        "deployment_type": "AwsEc2",
        "blueprint_id": "svc-1",
    }
    body = json.loads(found.body)
    assert body.keys() == {"id", "type", "timestamp", "data"}
    assert (body["id"], body["type"], body["timestamp"]) == ("generation-of-svc-1-7", f"deployment.{type_}", AT)
    assert {"blueprint_id", "event", "status", "generation", "sequence", "round"} <= body["data"].keys()


def test_a_fact_tells_the_status_of_its_time_not_of_now() -> None:
    found = announcement(a_deployment(status="Failed"), an_event())
    assert found.data["status"] == "Active"


def test_an_outcome_says_what_it_cost_when_it_was_committed() -> None:
    cost = {"currency": "USD", "so_far": 6.0, "late": 3.0}
    found = announcement(a_deployment(resources=[GONE]), an_event("cleanup_succeeded", detail={"cost": cost}))
    assert found.data["cost"] == cost
    assert "cost" not in announcement(a_deployment(), an_event("cleanup_succeeded")).data


def test_a_success_carries_its_receipt_and_no_error() -> None:
    deployment = a_deployment(resources=[GONE])
    data = announcement(deployment, an_event("cleanup_succeeded")).data
    assert data["counts"] == {"gone": 1}
    assert data["resources"] == [
        {"kind": "ec2:instance", "id": "i-1", "state": "gone", "gone_at": AT, "proof": "DescribeInstances: terminated"}
    ]
    assert data["truncated"] is False
    assert "error" not in data


def test_a_failure_carries_its_error_and_what_remains() -> None:
    error = CleanupError(error_class="protected", message="termination protection", at=AT, round=2)
    deployment = a_deployment(resources=[GONE], cleanup=Cleanup(round=2, failures=3, last_error=error))
    data = announcement(deployment, an_event("cleanup_failed")).data
    assert data["error"] == {"class": "protected", "message": "termination protection", "at": AT}
    assert data["failures"] == 3
    assert data["counts"] == {"gone": 1}


def test_a_receipt_shows_the_unproven_first_and_forty_at_most() -> None:
    resources = [
        Resource(kind="k", id=f"{state}-{n}", state=state)
        for n in range(20)
        for state in ("gone", "kept", "unseen", "leaving", "present")
    ]
    found = receipt(resources, MESSAGE_BYTES)
    assert [each["state"] for each in found["resources"]] == ["present"] * 20 + ["leaving"] * 20
    assert found["truncated"]
    assert found["counts"] == dict.fromkeys(UNPROVEN_FIRST, 20)


@pytest.mark.parametrize("type_", EVENT_TYPES)
@pytest.mark.parametrize("worst", ['"', "\\", "\x01", "ä", "🐙", "x"])
def test_no_message_and_no_body_for_a_webhook_is_larger_than_its_bound(type_: str, worst: str) -> None:
    """Each of its parts as large as the record allows, and of what JSON writes the longest."""

    def text(limit: int) -> str:
        return worst * (limit // len(worst.encode()))

    key = text(1024) if worst.isprintable() else "k" * 1024
    deployment = a_deployment(
        key,
        id=key,
        generation="0" * 36,
        provider={"BareMetal": ["h" * 255] * 300},
        region=("r" if not worst.isprintable() else worst) * 63,
        resources=[
            Resource(kind="k" * 40, id=f"{n}{key}"[:1000], state="present", detail=text(512), proof=text(2000))
            for n in range(RESOURCES_MAX)
        ],
        cleanup=Cleanup(
            reason=text(512),
            requested_by=text(256),
            failures=8,
            last_error=CleanupError(error_class="unreachable", message=text(2048), at=AT),
        ),
    )
    found = announcement(deployment, an_event(type_, detail={"error": text(2000), "ids": [text(1000)] * 3}))
    assert sized(found) <= MESSAGE_BYTES == 16 * 1024
    hooked = msgspec.structs.replace(deployment, cleanup_webhook="https://hooks.example.org/x")
    assert len(delivery(hooked, found).body.encode()) < 20_000
    if type_ in ("cleanup_succeeded", "cleanup_failed"):
        assert found.data["truncated"]
        assert found.data["counts"] == {"present": RESOURCES_MAX}


def test_two_hundred_ordinary_resources_give_forty_and_the_counts() -> None:
    resources = [
        Resource(kind="ec2:volume", id=f"vol-{n:017}", state="gone", proof="DescribeVolumes: not found", gone_at=AT)
        for n in range(RESOURCES_MAX)
    ]
    found = announcement(a_deployment(resources=resources), an_event("cleanup_succeeded"))
    assert len(found.data["resources"]) == 40
    assert found.data["counts"] == {"gone": RESOURCES_MAX}
    assert sized(found) <= MESSAGE_BYTES


@given(detail=st.dictionaries(st.text(max_size=30), st.text(max_size=1500), max_size=3))
@examples(max_examples=50)
def test_a_detail_is_whole_if_small_and_else_its_beginning(detail: dict[str, str]) -> None:
    found = announcement(a_deployment(), an_event(detail=detail)).data["detail"]
    if len(msgspec.json.encode(detail)) <= 1024:
        assert found == detail
    else:
        assert list(found) == ["truncated"]
        assert found["truncated"][:20] == msgspec.json.encode(detail).decode()[:20]


def test_a_malformed_image_is_a_value_error() -> None:
    for image in ({}, {"item": {"S": "record"}}, {"news": {"S": "["}}):
        with pytest.raises(ValueError, match="not a record"):
            news(image)


def test_no_announcement_holds_metadata_or_the_webhook() -> None:
    deployment = a_deployment(metadata={"note": "hunter2"}, cleanup_webhook="https://example.com/hunter2")
    for type_ in EVENT_TYPES:
        assert "hunter2" not in announcement(deployment, an_event(type_)).body


HOOKED: dict[str, Any] = {"cleanup_webhook": "https://hooks.example.org/hunter2"}


@pytest.mark.parametrize("type_", EVENT_TYPES)
def test_a_webhook_hears_of_outcomes_alone_unless_it_asks_for_more(type_: Any) -> None:
    event = an_event(type_)
    is_outcome = type_ in ("cleanup_succeeded", "cleanup_failed")
    assert is_wanted(a_deployment(**HOOKED), event) == is_outcome
    assert is_wanted(a_deployment(**HOOKED, webhook_events=["moved"]), event) == (is_outcome or type_ == "moved")
    assert is_wanted(a_deployment(**HOOKED, webhook_events=list(EVENT_TYPES)), event)
    assert not is_wanted(a_deployment(webhook_events=list(EVENT_TYPES)), event)


@pytest.mark.parametrize(
    ("type_", "event", "status"),
    [
        ("cleanup_succeeded", "cleanup", "success"),
        ("cleanup_failed", "cleanup", "failed"),
        ("moved", "moved", "Active"),
    ],
)
def test_a_webhook_is_told_in_the_models_words_beside_the_data(type_: Any, event: str, status: str) -> None:
    deployment = a_deployment(**HOOKED, metadata={"webhook_secret": "tracker/webhooks/x"})
    found = announcement(deployment, an_event(type_))
    made = delivery(deployment, found)
    body = json.loads(made.body)
    assert {name: body[name] for name in ("type", "timestamp", "blueprint_id", "event", "status")} == {
        "type": f"deployment.{type_}",
        "timestamp": AT,
        "blueprint_id": "svc-1",
        "event": event,
        "status": status,
    }
    assert body["data"] == {**json.loads(found.body)["data"], "attempts": 2}
    assert (made.id, made.url, made.secret) == (found.id, HOOKED["cleanup_webhook"], "tracker/webhooks/x")
    assert "hunter2" not in made.body
    assert "webhook" not in made.body


def test_what_nobody_ever_saw_is_told_apart_from_what_was_deleted() -> None:
    gone = Resource("aws:instance", "i-1", state="gone", proof="terminated")
    unseen = Resource("aws:volume", "vol-1", state="gone", proof="not found", never_seen=True)
    found = receipt([gone, unseen], 10_000)
    assert found["counts"] == {"gone": 1, "never_seen": 1}
    assert [line.get("never_seen", False) for line in found["resources"]] == [False, True]
