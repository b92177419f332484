"""Noticing that time is over, through the function's own handler."""

import json
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from tests.functions.conftest import Context, Stack, an_event
from tracker.model.deployment import Deployment, format_time
from tracker.store.records import Records

LONG_AGO = "2026-01-01T00:00:00Z"


def over(stack: Stack, key: str = "svc-7", **changes: Any) -> Deployment:
    """One whose time is over."""
    event = an_event("register-post")
    body = json.loads(event["body"]) | {"blueprint_id": key, "deployed_at": LONG_AGO, "ttl_seconds": 60} | changes
    stack.call("register", event | {"body": json.dumps(body)})
    return stack.record(key)


def removed(deployment: Deployment, name: str = "expire-lease-removed") -> dict[str, Any]:
    """The stream's batch, of this deployment's lease."""
    event: dict[str, Any] = an_event(name)
    change = event["Records"][0]["dynamodb"]
    change["Keys"]["blueprint_id"]["S"] = change["OldImage"]["blueprint_id"]["S"] = deployment.blueprint_id
    change["OldImage"]["generation"]["S"] = deployment.generation
    return event


def test_a_lease_that_dynamodb_removed_begins_the_cleanup(stack: Stack) -> None:
    deployment = over(stack)
    event = removed(deployment)
    assert event["Records"][0]["userIdentity"] == {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    assert stack.call("expire", event) == {"batchItemFailures": []}
    assert (stack.record().status, stack.record().cleanup.reason) == ("Terminating", "expired")
    assert stack.executions() == [f"{deployment.generation}-1"]
    assert stack.call("expire", event) == {"batchItemFailures": []}
    assert stack.executions() == [f"{deployment.generation}-1"]


def test_a_lease_given_back_early_begins_nothing(stack: Stack, registered: Deployment) -> None:
    assert stack.call("expire", removed(registered, "expire-lease-given-back-early")) == {"batchItemFailures": []}
    assert stack.record() == registered


def test_a_lease_of_an_earlier_generation_begins_nothing(stack: Stack) -> None:
    deployment = over(stack)
    assert stack.call("expire", an_event("expire-lease-removed")) == {"batchItemFailures": []}
    assert stack.record() == deployment


def swept(stack: Stack) -> list[dict[str, Any]]:
    """Return what a tick of the sweep puts on the queue that isn't hidden, as the function is handed it."""
    queued = stack.call("expire", an_event("expire-sweep"), Context(seconds_left=60))
    messages = stack.messages(stack.due)
    assert len(messages) <= queued["queued"]
    (pattern,) = an_event("expire-due")["Records"]
    return [pattern | {"messageId": each["MessageId"], "body": each["Body"]} for each in messages]


def test_the_tick_queues_what_is_due_and_the_queue_begins_it(stack: Stack, registered: Deployment) -> None:
    over(stack, "a")
    over(stack, "b")
    messages = swept(stack)
    assert stack.executions() == []
    assert stack.call("expire", {"Records": messages}) == {"batchItemFailures": []}
    assert {stack.record(key).status for key in ("a", "b")} == {"Terminating"}
    assert stack.record() == registered
    assert swept(stack) == []
    # A message that comes again does no harm.
    assert stack.call("expire", {"Records": messages}) == {"batchItemFailures": []}
    assert len(stack.executions()) == 2


def test_more_than_a_batch_of_the_queue_is_queued_by_one_tick(stack: Stack) -> None:
    for n in range(23):
        over(stack, f"svc-{n}")
    assert len({json.loads(each["body"])["blueprint_id"] for each in swept(stack)}) == 23


def test_what_will_be_due_before_the_next_sweep_is_queued_and_hidden(stack: Stack, registered: Deployment) -> None:
    over(stack, "soon", deployed_at=format_time(datetime.now(UTC)))
    over(stack, "later", deployed_at=format_time(datetime.now(UTC)), ttl_seconds=3600)
    assert stack.call("expire", an_event("expire-sweep"), Context(seconds_left=60)) == {"queued": 1}
    assert stack.messages(stack.due) == []
    hidden = boto3.client("sqs").get_queue_attributes(
        QueueUrl=stack.due, AttributeNames=["ApproximateNumberOfMessagesDelayed"]
    )
    assert hidden["Attributes"]["ApproximateNumberOfMessagesDelayed"] == "1"


@pytest.mark.parametrize("mode", ["pause", "enforce, aws=pause", "mistyped"])
def test_under_the_brake_nothing_begins(stack: Stack, mode: str) -> None:
    deployment = over(stack)
    messages = swept(stack)
    stack.set_mode(mode)
    # At the queue's end, too.
    assert stack.call("expire", {"Records": messages}) == {"batchItemFailures": []}
    stack.call("expire", {"Records": swept(stack)} if mode.startswith("enforce") else an_event("expire-sweep"))
    stack.call("expire", removed(deployment))
    assert stack.record().status == "Active"
    assert stack.executions() == []


def test_a_message_of_the_queue_that_cannot_be_handled_holds_up_no_other(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    over(stack, "spoilt")
    over(stack, "good")
    boto3.client("dynamodb").put_item(TableName=stack.table, Item=stack.image("spoilt") | {"cleanup": {"S": "{"}})
    messages = sorted(swept(stack), key=lambda each: "good" in each["body"])
    messages[:0] = [messages[0] | {"messageId": f"odd-{n}", "body": body} for n, body in enumerate(("", "{}", "[1]"))]
    assert stack.call("expire", {"Records": messages}) == {"batchItemFailures": []}
    assert stack.record("good").status == "Terminating"
    # Put off.
    assert swept(stack) == []


def test_while_the_table_does_not_answer_the_queue_keeps_its_messages(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    over(stack, "a")
    messages = swept(stack)

    def fails(*_: Any, **__: Any) -> None:
        raise ConnectionError("no table")

    monkeypatch.setattr(Records, "get", fails)
    monkeypatch.setattr(Records, "postpone", fails)
    (message,) = messages
    again = {"batchItemFailures": [{"itemIdentifier": message["messageId"]}]}
    assert stack.call("expire", {"Records": messages}) == again


def test_a_lease_of_a_record_that_cannot_be_read_keeps_no_other_from_its_turn(stack: Stack) -> None:
    spoilt, good = over(stack, "spoilt"), over(stack, "good")
    boto3.client("dynamodb").put_item(TableName=stack.table, Item=stack.image("spoilt") | {"cleanup": {"S": "{"}})
    event = {"Records": removed(spoilt)["Records"] + removed(good)["Records"]}
    assert stack.call("expire", event) == {"batchItemFailures": []}
    assert stack.record("good").status == "Terminating"


def test_a_lease_that_cannot_be_handled_now_is_asked_for_again_with_what_follows(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = over(stack)
    event = removed(deployment)
    event["Records"] += removed(deployment)["Records"]
    event["Records"][1]["dynamodb"]["SequenceNumber"] = "second"
    event["Records"][1]["dynamodb"]["Keys"] = {}
    assert stack.call("expire", event) == {"batchItemFailures": [{"itemIdentifier": "second"}]}
    assert stack.record().status == "Terminating"


def at_minute(minute: int) -> dict[str, Any]:
    event: dict[str, Any] = an_event("expire-sweep")
    return event | {"time": f"2026-03-01T12:{minute:02}:00Z"}


def gauge(printed: str, name: str) -> list[Any]:
    """The values of a metric in what was printed."""
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    return [line[name] for line in lines if name in line and "_aws" in line]


def test_each_fifth_tick_shows_how_many_there_are(
    stack: Stack, registered: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.call("expire", at_minute(4))
    assert gauge(capsys.readouterr().out, "Live") == []
    stack.call("expire", at_minute(5))
    printed = capsys.readouterr().out
    assert gauge(printed, "Live") == [[1.0]]
    assert gauge(printed, "LiveByType") == [[1.0]]
    assert gauge(printed, "Sweeps") == [[1.0]]


def test_a_count_that_fails_does_not_stop_the_sweep(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    over(stack, "a")

    def broken(*_: object, **__: object) -> None:
        raise OSError("the index doesn't answer")

    monkeypatch.setattr(Records, "by_status", broken)
    assert stack.call("expire", at_minute(5)) == {"queued": 1}
    printed = capsys.readouterr().out
    assert (gauge(printed, "Sweeps"), gauge(printed, "Live")) == ([[1.0]], [])


# what everything costs


def counted(capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, str], float]:
    """The metrics that were written, each with its currency."""
    found = {}
    for line in capsys.readouterr().out.splitlines():
        if "_aws" in line:
            written = json.loads(line)
            for metrics in written["_aws"]["CloudWatchMetrics"]:
                for metric in metrics["Metrics"]:
                    value = written[metric["Name"]]
                    found[metric["Name"], written.get("currency", "")] = value[0] if isinstance(value, list) else value
    return found


def test_every_fifth_minute_what_runs_and_what_is_late_is_summed_by_currency(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    late = over(stack, "a", cost_per_hour={"amount": 2, "currency": "USD"})
    assert late.cost_per_hour
    over(stack, "b", ttl_seconds=315_360_000, cost_per_hour={"amount": 0.5, "currency": "USD"})
    over(stack, "c", cost_per_hour={"amount": 3, "currency": "EUR"})
    over(stack, "unknown")
    stack.lifecycle.forget("c", reason="r", requested_by="b")
    stack.call("expire", at_minute(15), Context(seconds_left=60))
    found = counted(capsys)
    assert found["CostPerHour", "USD"] == 2.5
    assert found["LateCostPerHour", "USD"] == 2.0
    assert found["Unpriced", ""] == 1
    assert ("CostPerHour", "EUR") not in found
    stack.call("expire", at_minute(16), Context(seconds_left=60))
    assert "Unpriced" not in {name for name, _ in counted(capsys)}


def test_a_part_of_the_sum_is_not_taken_for_the_whole(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    over(stack, "a", cost_per_hour={"amount": 2, "currency": "USD"})
    stack.call("expire", at_minute(15), Context(seconds_left=12))
    found = counted(capsys)
    assert found["CostsUnknown", ""] == 1
    assert not {"CostPerHour", "Unpriced"} & {name for name, _ in found}
