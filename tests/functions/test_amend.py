"""Amending, moving and forgetting, through the function's own handler."""

import json
from typing import Any

import pytest

from tests.functions.conftest import Stack, an_event, answered
from tracker.deployment import Deployment, parse_time


def patch(**body: Any) -> dict[str, Any]:
    event: dict[str, Any] = an_event("amend-patch")
    return event | {"body": json.dumps(body)}


def test_a_patch_changes_what_it_names_and_keeps_the_replaced_id(stack: Stack, registered: Deployment) -> None:
    status, body = answered(stack.call("amend", an_event("amend-patch")))
    assert status == 200
    assert body["ttl_seconds"] == 7200
    assert body["metadata"] == {}
    assert body["resource_ids"]["instance_id"] == "i-0aaaaaaaaaaaaaaa1"
    assert [(each["id"], each["named_by"]) for each in body["resources"]] == [("i-0123456789abcdef0", "instance_id")]
    record = stack.record()
    assert record.due_at
    assert record.due_at >= parse_time(registered.deployed_at).timestamp() + 7200
    assert stack.image(item="lease")["ttl"]["N"] == str(record.due_at)


def test_the_same_patch_again_changes_nothing_more(stack: Stack, registered: Deployment) -> None:
    stack.call("amend", an_event("amend-patch"))
    before = stack.record()
    status, _ = answered(stack.call("amend", an_event("amend-patch")))
    assert status == 200
    assert stack.record() == before


def test_a_patch_of_the_key_moves_it(stack: Stack, registered: Deployment) -> None:
    status, body = answered(stack.call("amend", an_event("amend-patch-move")))
    assert (status, body["blueprint_id"], body["generation"]) == (200, "akash/123/1/1", registered.generation)
    assert stack.records.get("svc-7") is None
    status, body = answered(stack.call("amend", an_event("amend-patch-move")))
    assert (status, body["events"][-1]["type"], body["sequence"]) == (200, "moved", 2)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 400, "body"),
        ({"status": "Terminated"}, 422, "status"),
        ({"ttl_seconds": 0}, 422, "ttl_seconds"),
        ({"resource_ids": {"instance_id": None}}, 422, "resource_ids.instance_id"),
        ({"resource_ids": {"instance_id": "; rm -rf /"}}, 422, "resource_ids.instance_id"),
        ({"generation": "mine"}, 400, "generation"),
        ({"deployment_type": "GcpGce"}, 400, "deployment_type"),
    ],
)
def test_a_bad_patch_names_its_field_and_stores_nothing(
    stack: Stack, registered: Deployment, body: dict[str, Any], status: int, field: str
) -> None:
    answer, error = answered(stack.call("amend", patch(**body)))
    assert (answer, error["error"]["field"]) == (status, field)
    assert stack.record() == registered


def test_a_patch_of_what_is_on_its_way_is_409(stack: Stack, registered: Deployment) -> None:
    stack.call("terminate", an_event("terminate-delete"))
    status, body = answered(stack.call("amend", an_event("amend-patch")))
    assert (status, body["error"]["code"]) == (409, "conflict")
    assert body["error"]["deployment"]["status"] == "Terminating"


def test_a_patch_of_an_unknown_one_is_404(stack: Stack) -> None:
    status, _ = answered(stack.call("amend", an_event("amend-patch")))
    assert status == 404


def test_what_is_forgotten_says_who_and_why(stack: Stack, registered: Deployment) -> None:
    status, body = answered(stack.call("amend", an_event("amend-forget")))
    assert (status, body["status"]) == (200, "Terminated")
    assert body["events"][-1]["detail"] == {
        "reason": "removed by hand in the console",
        "by": "arn:aws:sts::123456789012:assumed-role/blueprint-manager/manager",
    }
    assert stack.executions() == []


@pytest.mark.parametrize("body", [None, "{}", '{"reason": ""}', '{"reason": ["x"]}', '{"why": "x"}', "{"])
def test_nothing_is_forgotten_without_a_reason_in_words(stack: Stack, registered: Deployment, body: str | None) -> None:
    status, _ = answered(stack.call("amend", an_event("amend-forget") | {"body": body}))
    assert status in (400, 422)
    assert stack.record() == registered
