"""Beginning cleanups, through the function's own handler."""

import json
from datetime import timedelta
from typing import Any

import pytest
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError

from tests.functions.conftest import Stack, an_event, answered
from tracker.model import brakes
from tracker.model.clock import utc_now
from tracker.model.deployment import Deployment, Resource, format_time

GONE = Resource(kind="ec2:instance", id="i-1", state="gone", proof="p")


def ended(**changes: Any) -> dict[str, Any]:
    """The queue's batch, with another event in it."""
    event: dict[str, Any] = an_event("terminate-service-terminated")
    message = event["Records"][0]
    message["body"] = json.dumps(json.loads(message["body"]) | changes)
    return event


def test_a_delete_is_202_and_starts_the_workflow_under_its_rounds_name(stack: Stack, registered: Deployment) -> None:
    status, body = answered(stack.call("terminate", an_event("terminate-delete")))
    assert (status, body["status"]) == (202, "Terminating")
    assert body["cleanup"]["requested_by"] == "arn:aws:sts::123456789012:assumed-role/blueprint-manager/manager"
    assert stack.executions() == [f"{registered.generation}-1"]


def test_a_second_delete_is_the_same_answer_and_one_execution(stack: Stack, registered: Deployment) -> None:
    first = stack.call("terminate", an_event("terminate-delete"))
    assert stack.call("terminate", an_event("terminate-delete")) == first
    assert len(stack.executions()) == 1


def test_a_delete_of_what_is_over_is_200_with_its_receipt(stack: Stack, registered: Deployment) -> None:
    stack.call("terminate", an_event("terminate-delete"))
    stack.lifecycle.released(stack.record(), [GONE])
    status, body = answered(stack.call("terminate", an_event("terminate-delete")))
    assert (status, body["status"]) == (200, "Terminated")
    assert body["resources"][0]["state"] == "gone"


def test_a_delete_of_an_unknown_one_is_404(stack: Stack) -> None:
    status, _ = answered(stack.call("terminate", an_event("terminate-delete")))
    assert status == 404


def test_a_service_that_ended_begins_a_cleanup(stack: Stack) -> None:
    stack.call("register", an_event("register-service-initiated"))
    assert stack.call("terminate", an_event("terminate-service-terminated")) == {"batchItemFailures": []}
    record = stack.record("svc-8")
    assert (record.status, record.cleanup.reason) == ("Terminating", "the service ended")
    assert record.cleanup.requested_by == "event blueprint.manager"


@pytest.mark.parametrize("reason", ["a\x00b", "a\nb", "a\u202eb", "a\uffffb"])
def test_an_end_is_not_lost_for_a_reason_that_can_not_be_read(stack: Stack, reason: str) -> None:
    stack.call("register", an_event("register-service-initiated"))
    batch = ended(detail={"blueprint_id": "svc-8", "reason": reason})
    assert stack.call("terminate", batch) == {"batchItemFailures": []}
    record = stack.record("svc-8")
    assert (record.status, record.cleanup.reason) == ("Terminating", "a b")


@pytest.mark.parametrize("reason", ["a\x00b", "a\nb", "a\u00a0b", "a\uffffb"])
def test_a_call_begins_the_cleanup_whatever_its_reason_holds(stack: Stack, reason: str) -> None:
    stack.call("register", an_event("register-post"))
    event = an_event("terminate-delete") | {"body": json.dumps({"reason": reason})}
    status, body = answered(stack.call("terminate", event))
    assert (status, body["cleanup"]["reason"]) == (202, "a b")


def test_an_event_from_before_the_registration_is_dropped(stack: Stack) -> None:
    stack.call("register", an_event("register-service-initiated"))
    assert stack.call("terminate", ended(time="2026-03-01T11:59:59Z")) == {"batchItemFailures": []}
    assert stack.record("svc-8").status == "Active"
    assert stack.messages(stack.dead_letters) == []


def test_an_event_of_a_slow_clock_that_came_after_the_registration_is_a_dead_letter(stack: Stack) -> None:
    stack.call("register", an_event("register-post"))
    event = ended(detail={"blueprint_id": "svc-7"}, time=format_time(utc_now() - timedelta(minutes=2)))
    event["Records"][0]["attributes"]["SentTimestamp"] = str(int((utc_now() + timedelta(seconds=1)).timestamp() * 1000))
    assert stack.call("terminate", event) == {"batchItemFailures": []}
    assert stack.record("svc-7").status == "Active"
    (letter,) = stack.messages(stack.dead_letters)
    assert letter["MessageAttributes"]["reason"]["StringValue"].startswith("it came after that: 'svc-7' was registered")


def test_an_event_for_an_unknown_key_is_a_dead_letter_after_an_hour(stack: Stack) -> None:
    event = an_event("terminate-service-terminated")
    assert stack.call("terminate", event) == {"batchItemFailures": []}
    (letter,) = stack.messages(stack.dead_letters)
    assert "nothing is registered" in letter["MessageAttributes"]["reason"]["StringValue"]
    event["Records"][0]["attributes"]["SentTimestamp"] = "4102444800000"
    message_id = event["Records"][0]["messageId"]
    assert stack.call("terminate", event) == {"batchItemFailures": [{"itemIdentifier": message_id}]}
    assert stack.messages(stack.dead_letters) == []


@pytest.mark.parametrize(
    "detail",
    [
        {},
        {"blueprint_id": 7},
        {"blueprint_id": ""},
        {"blueprint_id": "svc-8", "reason": 7},
        {"blueprint_id": "svc-8", "force": True},
        {"blueprint_id": "svc-8", "": None},
        {"blueprint_id": "  "},
        {"blueprint_id": chr(0)},
        {"blueprint_id": "x" * 1025},
    ],
)
def test_a_malformed_detail_is_a_dead_letter_at_once(stack: Stack, detail: dict[str, Any]) -> None:
    event = ended(detail=detail)
    event["Records"][0]["attributes"]["SentTimestamp"] = "4102444800000"
    stack.call("register", an_event("register-service-initiated"))
    assert stack.call("terminate", event) == {"batchItemFailures": []}
    assert stack.record("svc-8").status == "Active"
    (letter,) = stack.messages(stack.dead_letters)
    assert "detail." in letter["MessageAttributes"]["reason"]["StringValue"]


def test_an_event_without_a_reason_has_one(stack: Stack) -> None:
    stack.call("register", an_event("register-service-initiated"))
    stack.call("terminate", ended(detail={"blueprint_id": "svc-8"}))
    assert stack.record("svc-8").cleanup.reason == "service terminated"


@pytest.mark.parametrize(
    ("value", "mode", "said"),
    [
        ("pause", "pause", "paused"),
        ("enforce, aws=pause", "pause", "paused"),
        ("enforce, aws=observe", "observe", "only planned"),
        ("paws", "pause", "paused"),
        ("enforce, gpc=pause", "pause", "paused"),
    ],
)
def test_a_delete_under_the_brake_is_told_so(
    stack: Stack, registered: Deployment, value: str, mode: str, said: str
) -> None:
    stack.set_mode(value)
    for _ in range(2):
        status, body = answered(stack.call("terminate", an_event("terminate-delete")))
        assert (status, body["brake"]["mode"]) == (202, mode)
        assert f"cleanups on aws are {said}" in body["brake"]["message"]


@pytest.mark.parametrize("value", ["enforce", "pause, aws=enforce", "enforce, gcp=pause"])
def test_a_delete_that_no_brake_concerns_says_nothing_of_it(stack: Stack, registered: Deployment, value: str) -> None:
    stack.set_mode(value)
    status, body = answered(stack.call("terminate", an_event("terminate-delete")))
    assert (status, "brake" in body) == (202, False)


def test_a_delete_of_what_is_over_says_nothing_of_the_brake(stack: Stack, registered: Deployment) -> None:
    stack.call("terminate", an_event("terminate-delete"))
    stack.lifecycle.released(stack.record(), [GONE])
    stack.set_mode("pause")
    status, body = answered(stack.call("terminate", an_event("terminate-delete")))
    assert (status, "brake" in body) == (200, False)


def test_a_delete_is_taken_while_the_brake_cannot_be_read_and_it_is_counted(
    stack: Stack, registered: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def down(*_: Any, **__: Any) -> None:
        raise GetParameterError("no SSM")

    monkeypatch.setattr(brakes, "get_parameter", down)
    status, body = answered(stack.call("terminate", an_event("terminate-delete")))
    assert (status, body["status"], body["brake"]["mode"]) == (202, "Terminating", "unknown")
    assert '"BrakeUnreadable":[1.0]' in capsys.readouterr().out
