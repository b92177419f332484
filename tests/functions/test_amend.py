"""Amending, moving and forgetting, through the function's own handler."""

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.fresh import forget_process
from tests.functions.conftest import Stack, an_event, answered
from tracker.model.clock import utc_now
from tracker.model.deployment import Deployment, Resource, format_time, parse_time


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
    # The next moment is its warning, an hour before.
    assert record.due_at >= parse_time(registered.deployed_at).timestamp() + 3600
    assert stack.image(item="lease")["ttl"]["N"] == str(record.due_at + 3600)


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


def test_ids_are_added_to_what_is_on_its_way_and_to_what_is_over(stack: Stack, registered: Deployment) -> None:
    stack.call("terminate", an_event("terminate-delete"))
    late = patch(resource_ids={"elastic_ip": ["eipalloc-0aaaaaaaaaaaaaaa1"]})
    status, body = answered(stack.call("amend", late))
    assert (status, body["status"], body["cleanup"]["round"]) == (200, "Terminating", 1)
    assert body["resource_ids"]["elastic_ip"] == ["eipalloc-0aaaaaaaaaaaaaaa1"]
    gone = [
        Resource(kind="aws:instance", id="i-0123456789abcdef0", state="gone", proof="p"),
        Resource(kind="aws:address", id="eipalloc-0aaaaaaaaaaaaaaa1", state="gone", proof="p"),
    ]
    assert stack.lifecycle.released(stack.record(), gone).status == "Terminated"
    late = patch(resource_ids={"elastic_ip": ["eipalloc-0aaaaaaaaaaaaaaa1", "eipalloc-0aaaaaaaaaaaaaaa2"]})
    for _ in range(2):
        status, body = answered(stack.call("amend", late))
        assert (status, body["status"], body["cleanup"]["round"]) == (200, "Terminating", 2)
    assert body["cleanup"]["reason"] == "late_id"
    assert body["cleanup"]["requested_by"] == "arn:aws:sts::123456789012:assumed-role/blueprint-manager/manager"
    assert [each.state for each in stack.record().resources] == ["gone", "gone", "unseen"]
    assert sorted(stack.executions()) == [f"{registered.generation}-1", f"{registered.generation}-2"]


@pytest.mark.parametrize("is_over", [False, True])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"ttl_seconds": 7200}, "ttl_seconds"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"metadata": {"note": "x"}}, "metadata"),
        ({"metadata": {}}, "metadata"),
        ({"region": "eu-central-1"}, "region"),
        ({"status": "Failed"}, "status"),
        ({"blueprint_id": "svc-9"}, "blueprint_id"),
        ({"resource_ids": {"instance_id": "i-0aaaaaaaaaaaaaaa1"}}, "resource_ids"),
        ({"resource_ids": {"instance_id": None}}, "resource_ids"),
        ({"resource_ids": None}, "resource_ids"),
        ({"resource_ids": {"instance_id": [{}], "elastic_ip": 7}}, "resource_ids"),
        ({"resource_ids": {"elastic_ip": "eipalloc-0aaaaaaaaaaaaaaa1"}, "region": "eu-west-1"}, "region"),
    ],
)
def test_more_than_adding_ids_is_409_with_what_is_allowed(
    stack: Stack, registered: Deployment, body: dict[str, Any], field: str, is_over: bool
) -> None:
    stack.call("terminate", an_event("terminate-delete"))
    if is_over:
        stack.lifecycle.released(stack.record(), [Resource(kind="aws:instance", id="i-1", state="gone", proof="p")])
    before = stack.record()
    status, answer = answered(stack.call("amend", patch(**body)))
    error = answer["error"]
    assert (status, error["code"], error["field"]) == (409, "conflict", field)
    assert "only ids may be added" in error["message"]
    assert stack.record() == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"resource_ids": {"elastic_ip": 7}}, 400),
        ({"resource_ids": {"elastic_ip": "; rm -rf /"}}, 422),
        ({"resource_ids": {"nonsense": "x"}}, 422),
        ({"resource_ids": {"elastic_ip": [f"eipalloc-{n:017x}" for n in range(200)]}}, 422),
    ],
)
def test_ids_that_are_added_are_checked_as_any(
    stack: Stack, registered: Deployment, body: dict[str, Any], status: int
) -> None:
    stack.call("terminate", an_event("terminate-delete"))
    before = stack.record()
    assert answered(stack.call("amend", patch(**body)))[0] == status
    assert stack.record() == before


@pytest.fixture
def failing(stack: Stack, registered: Deployment) -> Deployment:
    """One whose cleanup has failed once."""
    stack.call("terminate", an_event("terminate-delete"))
    found = stack.lifecycle.restored(registered.blueprint_id, registered.generation, 1, "the workflow caught X")
    assert found
    return found


@pytest.mark.parametrize("field", ["expires_at", "ttl_seconds", "blueprint_id"])
def test_while_its_cleanup_fails_a_409_names_the_field_and_the_way_out(
    stack: Stack, failing: Deployment, field: str
) -> None:
    values = {
        "expires_at": format_time(parse_time(failing.deployed_at) + timedelta(days=1)),
        "ttl_seconds": 86400,
        "blueprint_id": "svc-9",
    }
    status, body = answered(stack.call("amend", patch(**{field: values[field]})))
    error = body["error"]
    assert (status, error["code"], error["field"]) == (409, "conflict", field)
    assert error["message"].startswith(f"{field} can't change")
    assert "DELETE tries it at once" in error["message"]
    assert "forget ends" in error["message"]
    assert str(failing.cleanup.next_attempt_at) in error["message"]
    assert stack.record() == failing


def test_while_its_cleanup_fails_the_same_end_again_changes_nothing(stack: Stack, failing: Deployment) -> None:
    status, _ = answered(stack.call("amend", patch(expires_at=failing.expires_at)))
    assert status == 200
    assert stack.record() == failing


def test_an_end_and_a_time_to_live_are_kept_in_step(stack: Stack, registered: Deployment) -> None:
    end = format_time(parse_time(registered.deployed_at) + timedelta(hours=5))
    _, body = answered(stack.call("amend", patch(expires_at=end)))
    assert (body["expires_at"], body["ttl_seconds"]) == (end, 18000)
    assert 0 <= (parse_time(body["due_at"]) + timedelta(hours=1) - parse_time(end)).total_seconds() < 1
    _, body = answered(stack.call("amend", patch(ttl_seconds=7200)))
    assert parse_time(body["expires_at"]) == parse_time(registered.deployed_at) + timedelta(hours=2)


# extend and hold

MANAGER = "arn:aws:sts::123456789012:assumed-role/blueprint-manager/manager"


def test_an_extension_is_answered_with_both_ends(stack: Stack, registered: Deployment) -> None:
    status, body = answered(stack.call("amend", an_event("amend-extend")))
    assert (status, body["version"]) == (200, 2)
    assert body["extended"] == {"from": registered.expires_at, "to": body["expires_at"]}
    before, after = parse_time(registered.expires_at or ""), parse_time(body["expires_at"])
    assert after - before == timedelta(hours=1)
    assert body["events"][-1]["detail"] == body["extended"] | {"by": MANAGER}


def test_an_extension_of_what_is_on_its_way_is_409(stack: Stack, registered: Deployment) -> None:
    stack.call("terminate", an_event("terminate-delete"))
    status, body = answered(stack.call("amend", an_event("amend-extend")))
    assert (status, body["error"]["code"]) == (409, "conflict")


def holding(**until: float) -> dict[str, Any]:
    event: dict[str, Any] = an_event("amend-hold")
    body = {"reason": "an incident", "until": format_time(utc_now() + timedelta(**until))}
    return event | {"body": json.dumps(body)}


def test_a_hold_is_shown_and_released(stack: Stack, registered: Deployment) -> None:
    status, body = answered(stack.call("amend", holding(hours=5)))
    assert (status, body["hold"]["by"], body["hold"]["reason"]) == (200, MANAGER, "an incident")
    assert "warned" not in body
    status, body = answered(stack.call("amend", an_event("amend-unhold")))
    assert (status, body["hold"], body["events"][-1]["type"]) == (200, None, "unheld")


def test_a_hold_that_would_not_end_in_time_is_422(stack: Stack, registered: Deployment) -> None:
    status, body = answered(stack.call("amend", holding(days=31)))
    assert (status, body["error"]["field"]) == (422, "until")


def test_a_delete_of_what_is_held_says_who_holds_it_and_takes_a_reason_to_go_over_it(
    stack: Stack, registered: Deployment
) -> None:
    stack.call("amend", holding(hours=5))
    delete = an_event("terminate-delete")
    status, body = answered(stack.call("terminate", delete))
    assert (status, body["error"]["code"], body["error"]["hold"]["by"]) == (409, "held", MANAGER)
    assert stack.executions() == []
    status, body = answered(stack.call("terminate", delete | {"body": '{"over_hold": "the incident is over"}'}))
    assert (status, body["status"], body["hold"]) == (202, "Terminating", None)
    assert body["events"][-1]["detail"]["over_hold"] == "the incident is over"


def test_what_is_somebody_elses_is_403_and_is_still_shown(
    stack: Stack, registered: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACT_ON_EVERYTHING", "arn:aws:iam::123456789012:role/admin")
    forget_process()
    event = an_event("amend-patch")
    event["requestContext"]["identity"]["userArn"] = MANAGER.replace("blueprint-manager", "other")
    status, body = answered(stack.call("amend", event))
    assert (status, body["error"]["code"], body["error"]["registered_by"]) == (403, "not_yours", MANAGER)
    redeliver = an_event("redeliver-announce")
    redeliver["requestContext"]["identity"]["userArn"] = MANAGER.replace("blueprint-manager", "other")
    assert answered(stack.call("redeliver", redeliver))[0] == 403
    assert answered(stack.call("inspect", an_event("inspect-get")))[0] == 200
    assert answered(stack.call("amend", an_event("amend-patch")))[0] == 200
