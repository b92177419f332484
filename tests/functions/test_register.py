"""Registering, through the function's own handler."""

import json
from typing import Any

import pytest

from tests.functions.conftest import Stack, an_event, answered, with_body
from tracker.model.deployment import Deployment, Resource

GONE = Resource(kind="ec2:instance", id="i-1", state="gone", proof="p")


def test_a_post_registers_and_answers_with_the_whole_record(stack: Stack) -> None:
    status, body = answered(stack.call("register", an_event("register-post")))
    assert status == 201
    record = stack.record()
    assert body["generation"] == record.generation
    assert body["id"] == f"dep-{record.generation}"
    assert record.registered_by == "arn:aws:sts::123456789012:assumed-role/blueprint-manager/manager"
    assert record.resource_ids["ebs_volume"] == ["vol-0123456789abcdef0", "vol-0fedcba9876543210"]
    assert record.status == "Active"
    assert record.due_at


def test_a_record_of_the_rust_tracker_registers_as_it_is(stack: Stack) -> None:
    status, body = answered(stack.call("register", an_event("register-post-model-record")))
    assert status == 201
    said = json.loads(an_event("register-post-model-record")["body"])
    assert {name: body[name] for name in said if name != "resource_spec"} == {
        name: value for name, value in said.items() if name != "resource_spec"
    }


def test_an_intent_is_told_the_mark_by_which_it_is_found(stack: Stack) -> None:
    status, body = answered(stack.call("register", an_event("register-post-intent")))
    assert (status, body["status"], body["incomplete"]) == (201, "Unknown", True)
    mark = {"by": "tag", "key": "BlueprintDeployment", "value": body["generation"]}
    assert body["mark"] == mark
    assert stack.record("svc-9").resource_ids == {}
    patch = an_event("amend-patch") | {
        "pathParameters": {"blueprint_id": "svc-9"},
        "body": json.dumps({"resource_ids": {"instance_id": "i-0123456789abcdef0"}, "status": "Active"}),
    }
    status, body = answered(stack.call("amend", patch))
    assert (status, body["status"], body["incomplete"], body["mark"]) == (200, "Active", False, mark)


def test_what_cannot_be_marked_has_no_mark(stack: Stack) -> None:
    event = with_body(an_event("register-post-intent"), deployment_type="SshRemote", region=None, resource_ids={})
    status, body = answered(stack.call("register", event))
    assert (status, body["mark"]) == (201, None)


def test_the_very_same_again_is_200_with_what_is_there(stack: Stack, registered: Deployment) -> None:
    status, body = answered(stack.call("register", an_event("register-post")))
    assert (status, body["generation"]) == (200, registered.generation)
    assert stack.record() == registered


def test_other_content_is_409_with_what_is_there(stack: Stack, registered: Deployment) -> None:
    status, body = answered(stack.call("register", with_body(an_event("register-post"), ttl_seconds=60)))
    assert (status, body["error"]["code"]) == (409, "conflict")
    assert body["error"]["deployment"]["generation"] == registered.generation
    assert stack.record() == registered


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (None, 400, "body"),
        ("{", 400, "body"),
        ('{"blueprint_id": "x"}', 400, "deployment_type"),
        ('{"blueprint_id": "x", "deployment_type": "Toaster"}', 422, "deployment_type"),
        (
            '{"blueprint_id": "x", "deployment_type": "AwsEc2", "region": "eu-central-1"}',
            422,
            "resource_ids.instance_id",
        ),
    ],
)
def test_a_bad_body_names_its_field_and_stores_nothing(stack: Stack, body: str | None, status: int, field: str) -> None:
    answer, error = answered(stack.call("register", an_event("register-post") | {"body": body}))
    assert (answer, error["error"]["field"]) == (status, field)
    assert stack.records.by_status("Active", limit=5).items == []


def test_a_service_that_began_is_registered_and_its_second_event_changes_nothing(stack: Stack) -> None:
    event = an_event("register-service-initiated")
    assert stack.call("register", event) == {"batchItemFailures": []}
    record = stack.record("svc-8")
    assert record.registered_at == "2026-03-01T12:00:00.000Z"
    assert record.registered_by == "event blueprint.manager"
    assert stack.call("register", event) == {"batchItemFailures": []}
    assert stack.record("svc-8") == record


def test_a_duplicate_after_the_end_begins_nothing_anew_and_a_later_event_does(stack: Stack) -> None:
    event = an_event("register-service-initiated")
    stack.call("register", event)
    ended = stack.lifecycle.released(stack.lifecycle.terminate("svc-8", reason="r", requested_by="b"), [GONE])
    stack.call("register", event)
    assert stack.record("svc-8") == ended
    message = json.loads(event["Records"][0]["body"])
    event["Records"][0]["body"] = json.dumps(message | {"id": "another", "time": "2026-03-02T12:00:00Z"})
    stack.call("register", event)
    assert stack.record("svc-8").generation != ended.generation


def test_a_malformed_event_is_a_dead_letter_and_the_next_is_registered(stack: Stack) -> None:
    event = an_event("register-service-initiated")
    good = event["Records"][0]
    detail: dict[str, Any] = json.loads(good["body"])
    detail["detail"] = {"blueprint_id": "svc-9", "deployment_type": "Toaster"}
    bad = good | {"messageId": "bad", "body": json.dumps(detail)}
    assert stack.call("register", {"Records": [bad, good]}) == {"batchItemFailures": []}
    assert stack.record("svc-8")
    (letter,) = stack.messages(stack.dead_letters)
    assert letter["Body"] == bad["body"]
    assert "deployment_type" in letter["MessageAttributes"]["reason"]["StringValue"]


def test_another_method_is_not_found(stack: Stack) -> None:
    status, _ = answered(stack.call("register", an_event("register-post") | {"httpMethod": "PUT"}))
    assert status == 404
