"""The EventBridge door: events that come twice, out of order, too early, too late, or broken."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from tests.fakes import NOW, Clock, a_deployment
from tracker.intake import events
from tracker.lifecycle.requests import Stale, TooEarly
from tracker.lifecycle.transitions import Lifecycle
from tracker.model.deployment import Deployment, Resource, format_time
from tracker.model.errors import Conflict, Contended, Invalid, NotFound

GONE = Resource(kind="k", id="i", state="gone", proof="p", gone_at=format_time(NOW))


class DeadLetters:
    """A queue to look into."""

    def __init__(self) -> None:
        self._client = boto3.client("sqs")
        self.url = self._client.create_queue(QueueName="dead")["QueueUrl"]

    def all(self) -> list[tuple[str, str]]:
        """Each body and its reason."""
        found = self._client.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages", [])
        return [(message["Body"], message["MessageAttributes"]["reason"]["StringValue"]) for message in found]


@pytest.fixture
def dead() -> Iterator[DeadLetters]:
    with mock_aws():
        yield DeadLetters()


def an_event(time: str = "2030-01-01T00:00:00Z", **detail: Any) -> str:
    return json.dumps(
        {
            "version": "0",
            "id": "7bf73129-1428-4cd3-a780-95db273d1602",
            "detail-type": "Service Terminated",
            "source": "blueprint.manager",
            "account": "123456789012",
            "time": time,
            "region": "eu-west-1",
            "resources": [],
            "detail": {"blueprint_id": "svc-1"} | detail,
        }
    )


def a_batch(*bodies: str, sent_at: datetime = NOW) -> dict[str, Any]:
    sent = str(int(sent_at.timestamp() * 1000))
    return {
        "Records": [
            {"messageId": f"m{n}", "body": body, "attributes": {"SentTimestamp": sent}, "eventSource": "aws:sqs"}
            for n, body in enumerate(bodies)
        ]
    }


def served(
    batch: dict[str, Any], handle: Callable[[events.ServiceEvent], None], dead: DeadLetters, now: datetime = NOW
) -> list[str]:
    answer = events.serve(batch, handle, dead_letters=dead.url, now=lambda: now)
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


def raising(error: Exception) -> Callable[[events.ServiceEvent], None]:
    def handle(event: events.ServiceEvent) -> None:
        raise error

    return handle


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"id": "1"}',
        json.dumps(json.loads(an_event()) | {"detail": "text"}),
        json.dumps(json.loads(an_event()) | {"detail": None}),
        an_event("yesterday"),
        an_event("2030-01-01T00:00:00"),
        an_event("2030-13-01T00:00:00Z"),
    ],
)
def test_a_malformed_one_is_set_aside_with_the_reason_and_the_next_is_handled(body: str, dead: DeadLetters) -> None:
    handled: list[events.ServiceEvent] = []
    assert served(a_batch(body or " ", an_event()), handled.append, dead) == []
    assert [event.detail["blueprint_id"] for event in handled] == ["svc-1"]
    ((letter, reason),) = dead.all()
    assert letter == (body or " ")
    assert reason


def test_a_reason_that_quotes_control_characters_can_still_be_sent(dead: DeadLetters) -> None:
    error = Invalid("detail.region", "\x00\x1b[31m\ufffe red", "a region")
    assert served(a_batch(an_event()), raising(error), dead) == []
    ((_, reason),) = dead.all()
    assert "detail.region: expected a region" in reason
    assert reason.isprintable()


@given(text=st.text(max_size=3000))
def test_no_body_is_more_than_a_bad_event(text: str) -> None:
    with suppress(Invalid):
        events.read(text, NOW)


@pytest.mark.parametrize("error", [NotFound("unknown"), TooEarly("over"), Conflict("taken"), Contended("again")])
def test_what_may_yet_be_handled_is_brought_again_for_an_hour(error: Exception, dead: DeadLetters) -> None:
    for minutes in (0, 1, 59):
        now = NOW + timedelta(minutes=minutes)
        assert served(a_batch(an_event(), an_event()), raising(error), dead, now) == ["m0", "m1"]
    assert dead.all() == []


@pytest.mark.parametrize("error", [NotFound("unknown"), Conflict("taken"), Contended("again")])
def test_after_an_hour_it_is_a_dead_letter_with_its_reason(error: Any, dead: DeadLetters) -> None:
    assert served(a_batch(an_event()), raising(error), dead, NOW + timedelta(hours=1)) == []
    assert dead.all() == [(an_event(), error.message)]


def test_after_an_hour_an_event_about_what_is_over_is_dropped(dead: DeadLetters) -> None:
    assert served(a_batch(an_event()), raising(TooEarly("over")), dead, NOW + timedelta(hours=1)) == []
    assert dead.all() == []


def stale(taken_at: datetime | None) -> Stale:
    error = Stale("svc-1 was registered after that")
    error.taken_at = taken_at
    return error


def test_one_that_says_it_is_older_than_the_registration_and_came_after_it_is_a_dead_letter(dead: DeadLetters) -> None:
    assert served(a_batch(an_event()), raising(stale(NOW)), dead) == []
    assert dead.all() == [(an_event(), "it came after that: svc-1 was registered after that")]


@pytest.mark.parametrize("taken_at", [None, NOW + timedelta(seconds=1)])
def test_one_that_came_before_the_registration_or_finds_nothing_alive_is_dropped(
    dead: DeadLetters, taken_at: datetime | None
) -> None:
    assert served(a_batch(an_event()), raising(stale(taken_at)), dead) == []
    assert dead.all() == []


def test_an_error_of_ours_brings_only_that_one_again(dead: DeadLetters) -> None:
    def handle(event: events.ServiceEvent) -> None:
        if event.detail.get("fails"):
            raise RuntimeError("ours")

    batch = a_batch(an_event(), an_event(fails=True), an_event(), sent_at=NOW - timedelta(days=1))
    assert served(batch, handle, dead) == ["m1"]
    assert dead.all() == []


def test_a_letter_that_cannot_be_sent_brings_only_that_one_again(dead: DeadLetters) -> None:
    dead.url += "-that-is-not-there"
    handled: list[events.ServiceEvent] = []
    assert served(a_batch("{", an_event()), handled.append, dead) == ["m0"]
    assert len(handled) == 1


def test_a_refused_value_is_a_dead_letter_at_once(dead: DeadLetters) -> None:
    assert served(a_batch(an_event()), raising(Invalid("detail.reason", "int", "text")), dead) == []
    assert len(dead.all()) == 1


# With the lifecycle: what the events of services mean


def ends(lifecycle: Lifecycle) -> Callable[[events.ServiceEvent], None]:
    def handle(event: events.ServiceEvent) -> None:
        lifecycle.terminate(
            event.detail["blueprint_id"], reason="over", requested_by=f"event {event.source}", asked_at=event.at
        )

    return handle


def now_of(lifecycle: Lifecycle) -> Deployment:
    return lifecycle._records.require("svc-1")


def test_an_end_that_comes_before_its_begin_waits_for_it(lifecycle: Lifecycle, dead: DeadLetters) -> None:
    batch = a_batch(an_event("2030-01-01T00:00:05Z"))
    assert served(batch, ends(lifecycle), dead) == ["m0"]
    lifecycle.register(a_deployment())
    assert served(batch, ends(lifecycle), dead, NOW + timedelta(minutes=3)) == []
    assert now_of(lifecycle).status == "Terminating"


def test_an_end_that_comes_twice_is_one_round(lifecycle: Lifecycle, dead: DeadLetters) -> None:
    lifecycle.register(a_deployment())
    assert served(a_batch(an_event(), an_event()), ends(lifecycle), dead) == []
    assert now_of(lifecycle).cleanup.round == 1


def test_an_end_from_before_the_registration_is_about_another_and_dropped(
    lifecycle: Lifecycle, dead: DeadLetters
) -> None:
    lifecycle.register(a_deployment(registered_at="2030-01-01T00:00:10.000Z"))
    batch = a_batch(an_event("2030-01-01T00:00:09Z"), sent_at=NOW - timedelta(seconds=1))
    assert served(batch, ends(lifecycle), dead) == []
    assert now_of(lifecycle).status == "Active"
    assert dead.all() == []


def test_an_end_in_the_very_second_of_the_registration_counts(lifecycle: Lifecycle, dead: DeadLetters) -> None:
    lifecycle.register(a_deployment(registered_at="2030-01-01T00:00:10.999Z"))
    assert served(a_batch(an_event("2030-01-01T00:00:10Z")), ends(lifecycle), dead) == []
    assert now_of(lifecycle).status == "Terminating"


def test_an_end_younger_than_the_end_that_it_finds_waits_for_the_next_registration(
    lifecycle: Lifecycle, dead: DeadLetters, clock: Clock
) -> None:
    lifecycle.register(a_deployment())
    lifecycle.released(lifecycle.terminate("svc-1", reason="r", requested_by="b"), [GONE])
    batch = a_batch(an_event("2030-01-01T00:10:00Z"))
    assert served(batch, ends(lifecycle), dead, clock.forward(minutes=10)) == ["m0"]
    lifecycle.register(a_deployment(generation="next", registered_at="2030-01-01T00:09:00.000Z", fingerprint="other"))
    assert served(batch, ends(lifecycle), dead, clock.forward(minutes=1)) == []
    assert (now_of(lifecycle).generation, now_of(lifecycle).status) == ("next", "Terminating")


def test_an_end_that_comes_late_to_what_expired_already_raises_no_alarm(
    lifecycle: Lifecycle, dead: DeadLetters, clock: Clock
) -> None:
    lifecycle.register(a_deployment())
    lifecycle.released(lifecycle.terminate("svc-1", reason="r", requested_by="b"), [GONE])
    batch = a_batch(an_event("2030-01-01T00:10:00Z"))
    assert served(batch, ends(lifecycle), dead, clock.forward(hours=2)) == []
    assert dead.all() == []


def test_a_late_duplicate_of_an_end_finds_it_done(lifecycle: Lifecycle, dead: DeadLetters, clock: Clock) -> None:
    lifecycle.register(a_deployment())
    clock.forward(minutes=1)
    terminating = lifecycle.terminate("svc-1", reason="r", requested_by="b")
    clock.forward(minutes=1)
    lifecycle.released(terminating, [GONE])
    assert served(a_batch(an_event("2030-01-01T00:01:00Z")), ends(lifecycle), dead, clock.now) == []
    assert now_of(lifecycle).cleanup.round == 1


def test_an_event_tells_itself_from_another_with_the_same_detail() -> None:
    first, second = (events.read(each, NOW) for each in (an_event(), an_event("2030-01-01T00:00:01Z")))
    assert first.origin != second.origin
    assert first.origin == events.read(an_event(), NOW).origin
    assert first.at == NOW


@pytest.mark.parametrize(
    "time", ["2090-01-01T00:00:00Z", "2030-01-02T00:00:01Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]
)
def test_an_event_from_far_ahead_or_out_of_every_calendar_is_a_dead_letter_at_once(time: str) -> None:
    with pytest.raises(Invalid) as invalid:
        events.read(an_event(time), NOW)
    assert invalid.value.field == "time"


@pytest.mark.parametrize(
    "time",
    [
        "2030-W01-2T00:00:00Z",
        "20300101T000000.000Z",
        "2030-01-01 00:00:00Z",
        "2030-01-01T00:00:00,5Z",
        "2030-01-01T00:00:00",
        "2030-01-01t00:00:00z",
        "2030-01-01T00:00:00+24:00",
    ],
)
def test_an_events_time_is_written_as_a_registrations(time: str) -> None:
    with pytest.raises(Invalid) as invalid:
        events.read(an_event(time), NOW)
    assert invalid.value.field == "time"


@pytest.mark.parametrize("name", ["id", "source"])
@pytest.mark.parametrize("text", ["", " ", "x" * 256, "a\x00b", "a\u202eb"])
def test_what_the_record_keeps_of_an_event_is_short_and_can_be_seen(name: str, text: str) -> None:
    """A source of 200 KB would fill the record that it registers."""
    with pytest.raises(Invalid) as invalid:
        events.read(json.dumps(json.loads(an_event()) | {name: text}), NOW)
    assert invalid.value.field == name


@pytest.mark.parametrize("text", ["[" * 10_000, '{"detail": ' * 5_000, '{"id": "1", "id": "2"}'])
def test_what_can_not_be_understood_now_never_can_be(text: str) -> None:
    with pytest.raises(Invalid) as invalid:
        events.read(text, NOW)
    assert invalid.value.code == "malformed"
