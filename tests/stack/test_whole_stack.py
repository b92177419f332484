"""The deployed template from its doors to its topic: HTTPS, the bus, time that is over, brakes, announcements."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from botocore.credentials import Credentials

from local.api import Api, path_of
from local.demo.scene import Rented, faults
from local.processes import PATIENCE
from local.stack import Stack
from tests.stack.caller import Caller, Record, Topic, heard_in_order, leases_unheard
from tracker.model.deployment import parse_time


def types_of(record: Record) -> list[str]:
    return [event["type"] for event in record["events"]]


def message_in(stack: Stack, queue: str, text: str, seconds: float = PATIENCE) -> dict[str, Any]:
    """The message of a queue that holds a text."""
    deadline = time.monotonic() + seconds
    while True:
        answer = stack.client("sqs").receive_message(
            QueueUrl=stack.outputs[queue],
            MessageAttributeNames=["All"],
            MaxNumberOfMessages=10,
            WaitTimeSeconds=1,
            VisibilityTimeout=20,
        )
        for message in answer.get("Messages", []):
            if text in message["Body"]:
                found: dict[str, Any] = message
                return found
        assert time.monotonic() < deadline


@pytest.fixture
def brake(stack: Stack) -> Iterator[Callable[[str], None]]:
    """Sets the cleanup mode, and waits until no function remembers another."""

    ssm, name = stack.client("ssm"), stack.outputs["ModeParameter"]

    def put(mode: str) -> None:
        try:
            there = ssm.get_parameter(Name=name)["Parameter"]["Value"]
        except ssm.exceptions.ParameterNotFound:
            there = "enforce"
        if there != mode:
            ssm.put_parameter(Name=name, Value=mode, Type="String", Overwrite=True)
            time.sleep(5.5)

    yield put
    put("enforce")


# HTTPS


def test_a_deployment_is_registered_shown_amended_moved_terminated_and_gone_with_a_receipt(
    caller: Caller, topic: Topic, stack: Stack, key: str
) -> None:
    rented = Rented(stack)
    wanted = caller.wanted(key, rented.ids, ttl_seconds=3600, metadata={"owner": "a"})

    status, record = caller.ask("POST", "/deployments", wanted)
    assert (status, record["status"]) == (201, "Active")
    assert caller.ask("POST", "/deployments", wanted) == (200, record)
    status, conflict = caller.ask("POST", "/deployments", wanted | {"metadata": {"owner": "b"}})
    assert (status, conflict["error"]["code"]) == (409, "conflict")
    assert conflict["error"]["deployment"]["generation"] == record["generation"]
    assert caller.call("GET", key) == record

    amended = caller.call("PATCH", key, body={"ttl_seconds": 7200, "metadata": {"owner": "b"}})
    assert (amended["ttl_seconds"], amended["metadata"]) == (7200, {"owner": "b"})
    moved = f"{key}/moved"
    assert caller.call("PATCH", key, body={"blueprint_id": moved})["blueprint_id"] == moved
    assert caller.call("GET", key)["blueprint_id"] == moved
    (listed,) = caller.ask("GET", "/deployments", query={"id": record["id"]}).body["deployments"]
    assert (listed["blueprint_id"], listed["status"]) == (moved, "Active")

    plan = caller.call("GET", key, "plan")
    assert (plan["refusal"], plan["not_looked_at"]) == (None, [])
    assert {r["id"]: r["state"] for r in plan["resources"]}.items() >= dict.fromkeys(
        rented.ids.values(), "present"
    ).items()

    # It isn't over before EC2 takes deletions again.
    faults(stack, [{"action": "TerminateInstances", "kind": "throttle"}])
    try:
        assert caller.call("DELETE", key, expected=202)["status"] == "Terminating"
        assert caller.call("PATCH", moved, body={"metadata": {}}, expected=409)["error"]["code"] == "conflict"
        assert caller.call("POST", moved, "forget", body={"reason": "no"}, expected=409)["error"]["code"] == "conflict"
        assert caller.call("DELETE", moved, expected=202)["cleanup"]["round"] == 1
    finally:
        faults(stack, [])
    record = caller.terminated(moved)
    assert caller.call("DELETE", moved) == record
    receipt = {resource["id"]: resource for resource in record["resources"]}
    for id_ in rented.ids.values():
        assert (receipt[id_]["state"], bool(receipt[id_]["proof"])) == ("gone", True)
    assert rented.is_gone()

    heard = heard_in_order(topic, record)
    assert types_of(record)[:4] == ["registered", "amended", "moved", "terminating"]
    assert types_of(record)[-1] == "cleanup_succeeded"
    assert heard[-1]["data"]["counts"]["gone"] >= 3


def test_a_call_that_is_not_signed_or_by_someone_who_may_not_is_refused(stack: Stack, caller: Caller, key: str) -> None:
    iam = stack.client("iam")
    iam.create_user(UserName=key)
    made = iam.create_access_key(UserName=key)["AccessKey"]
    credentials = Credentials(made["AccessKeyId"], made["SecretAccessKey"])
    region = stack.running.region
    unsigned, someone = Api(stack.running.api, region, None), Api(stack.running.api, region, credentials)
    caller.register(key)
    for refused in (unsigned, someone):
        assert refused("GET", "/deployments").status == 403
        assert refused("DELETE", path_of(key)).status == 403
    assert caller.call("GET", key)["status"] == "Active"

    reading = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "arn:aws:execute-api:*:*:*/*/GET/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [reading]})
    iam.put_user_policy(UserName=key, PolicyName="reading", PolicyDocument=policy)
    assert someone("GET", path_of(key)).status == 200
    assert someone("DELETE", path_of(key)).status == 403
    assert caller.call("GET", key)["status"] == "Active"


BAD = {
    "no JSON": ("POST", "", b"{not json", 400, "malformed"),
    "a list": ("POST", "", [], 400, "malformed"),
    "nothing": ("POST", "", b"", 400, "malformed"),
    "a needed field is missing": ("POST", "", {"region": "us-east-1"}, 400, "malformed"),
    "an unknown field": ("POST", "", {"colour": "red"}, 400, "malformed"),
    "a field of another type": ("POST", "", {"ttl_seconds": "1"}, 400, "malformed"),
    "an unknown deployment type": ("POST", "", {"deployment_type": "AwsEc3"}, 422, "invalid"),
    "a type without its id": ("POST", "", {"resource_ids": {}}, 422, "invalid"),
    "an id of another form": ("POST", "", {"resource_ids": {"instance_id": "i-zz; rm -rf /"}}, 422, "invalid"),
    "no region": ("POST", "", {"region": None}, 422, "invalid"),
    "a time to live of nothing": ("POST", "", {"ttl_seconds": 0}, 422, "invalid"),
    "a webhook without TLS": ("POST", "", {"cleanup_webhook": "http://example.com/"}, 422, "invalid"),
    "over 100 KB": ("POST", "", {"metadata": {"note": "x" * 103_000}}, 422, "invalid"),
    "an unknown filter": ("GET", "?colour=red", None, 400, "malformed"),
    "an unknown status": ("GET", "?status=Gone", None, 422, "invalid"),
    "a limit of nothing": ("GET", "?limit=0", None, 422, "invalid"),
    "a method that the path lacks": ("PUT", "", None, 404, "not_found"),
    "a cursor of nobody": ("GET", "?cursor=abc", None, 422, "invalid"),
    "a key in a wrong form": ("GET", "/~!", None, 422, "invalid"),
    "an unknown deployment": ("GET", "/nobody", None, 404, "not_found"),
    "an unknown deployment's end": ("DELETE", "/nobody", None, 404, "not_found"),
    "an unknown deployment's change": ("PATCH", "/nobody", {"metadata": {}}, 404, "not_found"),
    "an unknown deployment's plan": ("GET", "/nobody/plan", None, 404, "not_found"),
    "an unknown deployment forgotten": ("POST", "/nobody/forget", {"reason": "gone"}, 404, "not_found"),
}


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), BAD.values(), ids=BAD)
def test_bad_input_is_answered_with_a_code_and_a_sentence(
    caller: Caller, key: str, method: str, path: str, body: Any, status: int, code: str
) -> None:
    path, _, query = path.partition("?")
    if isinstance(body, dict) and not path:
        is_whole = set(body) != {"region"}
        body = caller.wanted(key) | body if is_whole or body["region"] is None else body
    answer = caller.ask(method, f"/deployments{path}", body, dict([query.split("=")]) if query else None)
    assert (answer.status, answer.body["error"]["code"]) == (status, code), answer
    assert answer.body["error"]["message"]
    assert caller.ask("GET", path_of(key)).status == 404


ODD = ["a/b/c", "100%", "%2F", "~tilde", "ünï·çødé 世界", "quo\"te's", "a b+c", "..", "{key}", "x?y=z#w&v", "k" * 1024]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd[:12])
def test_a_key_may_hold_anything_printable(caller: Caller, odd: str) -> None:
    record = caller.register(odd)
    assert record["blueprint_id"] == odd
    assert caller.call("GET", odd) == record
    assert caller.call("PATCH", odd, body={"metadata": {"odd": odd[:100]}})["metadata"]["odd"] == odd[:100]
    assert caller.call("GET", odd, "plan")["blueprint_id"] == odd
    forgotten = caller.call("POST", odd, "forget", body={"reason": "it was only a test"})
    assert (forgotten["status"], types_of(forgotten)[-1]) == ("Terminated", "forgotten")
    assert caller.call("DELETE", odd)["generation"] == record["generation"]


@pytest.mark.parametrize("odd", ["ünï·çødé 世界", "quo\"te's", "a b+c", "{key}", "x?y=z#w&v"])
def test_a_key_without_a_slash_or_a_percent_sign_may_come_percent_encoded(caller: Caller, odd: str) -> None:
    key = f"plain-{odd}"
    record = caller.register(key)
    assert caller.ask("GET", f"/deployments/{quote(key, safe='')}") == (200, record)


def test_a_list_goes_on_page_by_page_until_its_cursor_says_the_end(caller: Caller, key: str) -> None:
    keys = {f"{key}-{n}" for n in range(5)}
    for one in keys:
        caller.register(one, status="Unknown")
    query, found = {"status": "Unknown", "limit": "2"}, []
    while True:
        page = caller.ask("GET", "/deployments", query=query).body
        assert len(page["deployments"]) <= 2
        found += [listed["blueprint_id"] for listed in page["deployments"]]
        if page["cursor"] is None:
            break
        query["cursor"] = page["cursor"]
    assert len(found) == len(set(found))
    assert keys <= set(found)


# The bus


def test_a_service_s_events_come_twice_and_count_once(caller: Caller, topic: Topic, key: str) -> None:
    initiated = ("Service Initiated", caller.wanted(key))
    caller.put_events(initiated, initiated)
    record = caller.until(key, lambda _: True)
    assert record["registered_by"] == "event test"
    # Events tell the time to the second; that of its end is to be after that of its beginning.
    time.sleep(1.1)
    terminated = ("Service Terminated", {"blueprint_id": key, "reason": "the service ended"})
    caller.put_events(terminated, terminated)
    record = caller.terminated(key)
    assert (record["cleanup"]["round"], record["cleanup"]["reason"]) == (1, "the service ended")
    assert types_of(record) == ["registered", "terminating", "resource_gone", "cleanup_succeeded"]
    heard_in_order(topic, record)


def test_a_malformed_event_is_a_dead_letter_with_its_reason_and_the_next_one_is_handled(
    caller: Caller, stack: Stack, key: str
) -> None:
    malformed = caller.wanted(f"{key}-bad") | {"deployment_type": "AwsEc3"}
    caller.put_events(("Service Initiated", malformed), ("Service Initiated", caller.wanted(key)))
    caller.until(key, lambda record: bool(record["status"] == "Active"))
    letter = message_in(stack, "DeadLetterQueueUrl", f"{key}-bad")
    assert json.loads(letter["Body"])["detail"] == malformed
    assert "deployment_type" in letter["MessageAttributes"]["reason"]["StringValue"]
    assert caller.ask("GET", path_of(f"{key}-bad")).status == 404


# Time


def test_a_removed_lease_ends_a_deployment(caller: Caller, topic: Topic, stack: Stack, key: str) -> None:
    rented = Rented(stack)
    caller.register(key, rented.ids, ttl_seconds=2)
    record = caller.terminated(key)
    assert record["cleanup"]["reason"] == "expired"
    assert rented.is_gone()
    heard_in_order(topic, record)


def test_the_sweep_finds_what_the_stream_lost(caller: Caller, stack: Stack, key: str) -> None:
    with leases_unheard(stack):
        record = caller.register(key, ttl_seconds=1)
        time.sleep(max(0.0, parse_time(record["due_at"]).timestamp() - time.time()) + 1)
        assert caller.call("GET", key)["status"] == "Active"
        assert caller.sweep() >= 1
        assert caller.terminated(key)["cleanup"]["reason"] == "expired"


def test_a_failed_round_gives_the_record_back_with_its_error_and_once_amended_it_goes(
    caller: Caller, topic: Topic, stack: Stack, key: str
) -> None:
    rented = Rented(stack)
    caller.register(key, rented.ids)
    faults(stack, [{"action": "TerminateInstances", "kind": "error", "code": "InternalError", "status": 500}])
    try:
        caller.call("DELETE", key, expected=202)
        record = caller.until(key, lambda found: bool(found["cleanup"].get("failures")))
    finally:
        faults(stack, [])
    assert (record["status"], record["cleanup"]["last_error"]["class"]) == ("Active", "unreachable")
    assert types_of(record)[-1] == "cleanup_failed"
    assert parse_time(record["due_at"]) >= parse_time(record["events"][-1]["at"]) + timedelta(seconds=59)
    assert rented.state() == "running"

    caller.call("PATCH", key, body={"metadata": {"mended": "yes"}})
    time.sleep(1)
    assert caller.sweep() >= 1
    record = caller.terminated(key)
    assert record["cleanup"]["round"] == 2
    assert rented.is_gone()
    heard = heard_in_order(topic, record)
    (failed,) = [a for a in heard if a["type"] == "deployment.cleanup_failed"]
    assert failed["data"]["error"]["class"] == "unreachable"


# Announcements


def test_a_record_that_can_not_be_announced_is_set_aside_and_the_next_is_announced(
    caller: Caller, topic: Topic, stack: Stack, key: str
) -> None:
    garbage = {"blueprint_id": {"S": f"{key}-bad"}, "item": {"S": "record"}, "news": {"S": "[garbage"}}
    stack.client("dynamodb").put_item(TableName=stack.outputs["TableName"], Item=garbage)
    record = caller.register(key)
    set_aside = message_in(stack, "SetAsideQueueUrl", f"{key}-bad")
    assert json.loads(set_aside["Body"])["dynamodb"]["NewImage"] == garbage
    assert set_aside["MessageAttributes"]["reason"]["StringValue"].startswith("not a record")
    heard_in_order(topic, record)


# By hand


def test_what_someone_removed_by_hand_is_forgotten_with_a_reason(
    caller: Caller, topic: Topic, stack: Stack, key: str
) -> None:
    rented = Rented(stack, marked=False)
    caller.register(key, rented.ids, ttl_seconds=3600)
    assert caller.call("GET", key, "plan")["refusal"]["class"] == "not_ours"
    assert caller.call("POST", key, "forget", body={}, expected=422)["error"]["code"] == "invalid"
    record = caller.call("POST", key, "forget", body={"reason": "it isn't ours"})
    assert (record["status"], types_of(record)) == ("Terminated", ["registered", "forgotten"])
    assert rented.state() == "running"
    lease = {"blueprint_id": {"S": key}, "item": {"S": "lease"}}
    assert "Item" not in stack.client("dynamodb").get_item(TableName=stack.outputs["TableName"], Key=lease)
    assert heard_in_order(topic, record)[-1]["data"]["detail"]["reason"] == "it isn't ours"


# Brakes


def test_while_a_platform_is_paused_nothing_starts_and_what_runs_is_given_back_without_a_failure(
    caller: Caller, topic: Topic, stack: Stack, key: str, brake: Callable[[str], None]
) -> None:
    rented = Rented(stack)
    caller.register(key, rented.ids, ttl_seconds=3600)
    brake("enforce, aws=pause")
    due_at = caller.register(f"{key}-due", ttl_seconds=1)["due_at"]
    due = caller.until(f"{key}-due", lambda found: bool(found["due_at"] != due_at))
    assert (due["status"], types_of(due)) == ("Active", ["registered"])
    assert parse_time(due["due_at"]) >= parse_time(due_at) + timedelta(seconds=240)
    caller.call("DELETE", key, expected=202)
    record = caller.until(key, lambda found: bool(found["status"] == "Active"))
    assert "failures" not in record["cleanup"]
    assert parse_time(record["due_at"]) <= datetime.now(UTC) + timedelta(seconds=1)
    time.sleep(1)
    assert caller.sweep() >= 1
    put_off = caller.until(key, lambda found: bool(found["due_at"] != record["due_at"]))
    assert (put_off["status"], put_off["version"], rented.state()) == ("Active", record["version"], "running")
    assert parse_time(put_off["due_at"]) >= parse_time(record["due_at"]) + timedelta(seconds=240)

    brake("enforce")
    caller.call("DELETE", key, expected=202)
    record = caller.terminated(key)
    assert record["cleanup"]["round"] == 2
    assert types_of(record)[:4] == ["registered", "terminating", "cleanup_paused", "terminating"]
    assert rented.is_gone()
    heard_in_order(topic, record)


def test_while_observing_the_plan_is_announced_once_and_nothing_goes(
    caller: Caller, topic: Topic, stack: Stack, key: str, brake: Callable[[str], None]
) -> None:
    rented = Rented(stack)
    brake("enforce, aws=observe")
    caller.register(key, rented.ids, ttl_seconds=1)
    record = caller.until(key, lambda found: "observed_at" in found["cleanup"])
    assert (record["status"], types_of(record)) == ("Active", ["registered", "planned"])
    assert {r["id"]: r["state"] for r in record["resources"]}[rented.ids["instance_id"]] == "present"
    assert parse_time(record["due_at"]) > datetime.now(UTC) + timedelta(seconds=3000)
    caller.sweep()
    assert rented.state() == "running"
    assert heard_in_order(topic, caller.call("GET", key))[-1]["type"] == "deployment.planned"
