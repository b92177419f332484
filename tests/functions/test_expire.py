"""Noticing that time is over, through the function's own handler."""

import json
from typing import Any

import boto3
import pytest

from tests.functions.conftest import Context, Stack, an_event
from tracker.deployment import Deployment

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


def test_the_tick_starts_what_is_due_and_counts_it(stack: Stack, registered: Deployment) -> None:
    over(stack, "a")
    over(stack, "b")
    assert stack.call("expire", an_event("expire-sweep"), Context(seconds_left=60)) == {"started": 2}
    assert {stack.record(key).status for key in ("a", "b")} == {"Terminating"}
    assert stack.record() == registered
    assert stack.call("expire", an_event("expire-sweep"), Context(seconds_left=60)) == {"started": 0}


@pytest.mark.parametrize("mode", ["pause", "enforce, aws=pause", "mistyped"])
def test_under_the_brake_nothing_begins(stack: Stack, mode: str) -> None:
    deployment = over(stack)
    stack.set_mode(mode)
    assert stack.call("expire", an_event("expire-sweep"), Context(seconds_left=60)) == {"started": 0}
    stack.call("expire", removed(deployment))
    assert stack.record().status == "Active"
    assert stack.executions() == []


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
