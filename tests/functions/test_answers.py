"""Each call ends in each way that docs/openapi.json names, and answers as that says. What was answered is its examples.

`pytest tests/functions/test_answers.py --record` writes docs/answers.json anew, after an answer has changed.
"""

import io
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import boto3
import pytest
import time_machine

from docs.openapi import answers
from docs.operations import ERRORS, OPERATIONS, Operation
from tests.description import path_names
from tests.fresh import forget_process
from tests.functions.conftest import Stack, an_event, answered, with_body
from tracker import runtime
from tracker.lifecycle import workflow
from tracker.model.delivery import Attempt
from tracker.model.deployment import Resource, decode_key, format_time
from tracker.model.strays import Stray
from tracker.notify.deliveries import record_attempt
from tracker.store.records import Records
from tracker.store.strays import Strays
from tracker.store.table import VersionConflict

FILE = Path(__file__).parent.parent.parent / "docs" / "answers.json"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GENERATION = UUID("0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f")
# Another spelling of `svc-7`, and one of nothing.
MISSPELT, NO_KEY = "~c3ZjLTd", "~"

BY_ID = {operation.id: operation for operation in OPERATIONS}
WAYS = [(operation.id, str(status)) for operation in OPERATIONS for status in sorted(operation.answers)]
FAILURES = [(operation.id, code) for operation in OPERATIONS for code in operation.codes]


@pytest.fixture
def at_noon() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def ready(stack: Stack, at_noon: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack that is the same each time."""
    generations = iter([GENERATION, *(UUID(int=n) for n in range(9))])
    stack.load("register")
    monkeypatch.setattr(stack.loaded["register"], "uuid4", lambda: next(generations))
    return stack


def registered(stack: Stack, **changes: Any) -> None:
    """Register what the examples are about."""
    assert stack.call("register", with_body(an_event("register-post"), **changes))["statusCode"] == 201


def call(stack: Stack, operation: Operation, **changes: Any) -> dict[str, Any]:
    """The answer to the call of events/ for an operation, with some of it changed."""
    if operation.id == "exempt":
        # At most a year ahead of these tests' time.
        changes = {"body": json.dumps({"reason": "the auditors need it", "until": "2026-06-30T12:00:00Z"})} | changes
    answer: dict[str, Any] = stack.call(operation.event.split("-")[0], an_event(operation.event) | changes)
    return answer


def ended(stack: Stack) -> None:
    """Register and clean up."""
    registered(stack)
    stack.call("terminate", an_event("terminate-delete"))
    instance, *volumes = ("i-0123456789abcdef0", "vol-0123456789abcdef0", "vol-0fedcba9876543210")
    place = {"account": "123456789012", "region": "eu-central-1"}
    gone_at = format_time(NOW)
    proof = "DescribeInstances: terminated"
    gone = [
        Resource("aws:instance", instance, place, 0, "instance_id", "gone", seen=True, proof=proof, gone_at=gone_at)
    ]
    for volume in volumes:
        proof = "DescribeVolumes: InvalidVolume.NotFound"
        gone.append(
            Resource("aws:volume", volume, place, 1, "ebs_volume", "gone", seen=True, proof=proof, gone_at=gone_at)
        )
    stack.lifecycle.released(stack.record(), gone)


def tried(stack: Stack) -> None:
    """Register with a webhook that was called once in vain."""
    registered(stack, cleanup_webhook="https://93.184.215.14/hooks", webhook_events=["registered"])
    record = stack.record()
    stack.load("announce")
    stack.loaded["announce"].topic().announce(record, record.events[0])
    delivery = stack.delivery_store.get(record.blueprint_id, f"{record.generation}-1")
    assert delivery
    attempt = Attempt(at=record.registered_at, seconds=0.412, status=503)
    stack.delivery_store.replace(delivery, record_attempt(delivery, attempt, [5], now=NOW, jitter=0))


def running(stack: Stack) -> None:
    """Register what runs on the stand-in of EC2."""
    ec2 = boto3.client("ec2", region_name="eu-central-1")
    tags = [{"Key": "BlueprintDeployment", "Value": "svc-7"}]
    marked = [{"ResourceType": "instance", "Tags": tags}]
    run = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, TagSpecifications=marked)
    registered(stack, resource_ids={"instance_id": run["Instances"][0]["InstanceId"]})


def held(stack: Stack) -> None:
    registered(stack)
    stack.call("amend", an_event("amend-hold"))


def stray(stack: Stack) -> None:
    """What the survey found: not registered, and made by a deployment that nobody knows."""
    stack.load("inspect")
    at = format_time(NOW)
    found = Stray(
        key=decode_key(an_event("register-adopt")["pathParameters"]["key"]),
        kind="aws:instance",
        id="i-0123456789abcdef0",
        place={"account": "123456789012", "region": "eu-central-1"},
        deployment_type="AwsEc2",
        region="eu-central-1",
        resource_key="instance_id",
        mark=str(GENERATION),
        first_seen_at=at,
        last_seen_at=at,
        announced_at=at,
    )
    runtime.strays().create(found)


def adopted(stack: Stack) -> None:
    stray(stack)
    stack.call("register", an_event("register-adopt"))


# What each call is about, where that isn't what is registered.
ABOUT: dict[str, Callable[[Stack], object]] = {"unhold": held, "strays": stray, "adopt": stray, "exempt": stray}
# How each call comes to each of its answers that isn't an error.
BEFORE: dict[tuple[str, str], Callable[[Stack], object]] = {
    ("register", "201"): lambda _: None,
    ("end", "200"): ended,
    ("plan", "200"): running,
    ("adopt", "200"): adopted,
    ("deliveries", "200"): tried,
    ("redeliver", "202"): tried,
}


@pytest.mark.parametrize(("id_", "status"), WAYS)
def test_each_call_ends_well_in_each_way(id_: str, status: str, ready: Stack, recorder: "Recorder") -> None:
    BEFORE.get((id_, status), ABOUT.get(id_, registered))(ready)
    found = answered(call(ready, BY_ID[id_]))
    assert found[0] == int(status)
    recorder.keep(f"{id_} {status}", found[1])


def test_an_end_that_the_brake_holds_up_says_so(ready: Stack) -> None:
    registered(ready)
    ready.set_mode("pause")
    assert answered(call(ready, BY_ID["end"]))[1]["brake"]["mode"] == "pause"


@pytest.mark.parametrize(("id_", "code"), FAILURES)
def test_each_call_fails_in_each_way(
    id_: str, code: str, ready: Stack, monkeypatch: pytest.MonkeyPatch, recorder: "Recorder"
) -> None:
    operation = BY_ID[id_]
    answer = FAIL[code](ready, operation, monkeypatch)
    assert answer["statusCode"] == ERRORS[code][0]
    body = json.loads(answer["body"])
    assert body["error"]["code"] == code
    if operation is next(each for each in OPERATIONS if code in each.codes):
        recorder.keep(f"error {code}", body)


def malformed(stack: Stack, operation: Operation, _: pytest.MonkeyPatch) -> dict[str, Any]:
    if operation.id == "register":
        return call(stack, operation, body='{"colour": "red"}')
    if operation.id in ("ls", "strays"):
        return call(stack, operation, queryStringParameters={"colour": "red"})
    return call(stack, operation, pathParameters=path(operation, MISSPELT))


def invalid(stack: Stack, operation: Operation, _: pytest.MonkeyPatch) -> dict[str, Any]:
    if operation.id == "register":
        body = with_body(an_event(operation.event), ttl_seconds=0)["body"]
        return call(stack, operation, body=body)
    if operation.id in ("ls", "strays"):
        return call(stack, operation, queryStringParameters={"limit": "0"})
    return call(stack, operation, pathParameters=path(operation, NO_KEY))


def not_found(stack: Stack, operation: Operation, _: pytest.MonkeyPatch) -> dict[str, Any]:
    return call(stack, operation, pathParameters=path(operation, "svc-8"))


def path(operation: Operation, key: str) -> dict[str, str]:
    """The parameters of a call's path, which name another key, and a delivery that there isn't."""
    return {name: "x" if name == "webhook_id" else key for name in path_names(operation.path)}


def conflict(stack: Stack, operation: Operation, _: pytest.MonkeyPatch) -> dict[str, Any]:
    if operation.id == "adopt":
        stray(stack)
        call(stack, BY_ID["exempt"])
        return call(stack, operation)
    registered(stack)
    if operation.id == "register":
        return call(stack, operation, body=with_body(an_event(operation.event), ttl_seconds=60)["body"])
    stack.call("terminate", an_event("terminate-delete"))
    return call(stack, operation)


def held_against(stack: Stack, operation: Operation, _: pytest.MonkeyPatch) -> dict[str, Any]:
    held(stack)
    return call(stack, operation)


def somebody_elses(stack: Stack, operation: Operation, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    ABOUT.get(operation.id, tried)(stack)
    monkeypatch.setenv("ACT_ON_EVERYTHING", "arn:aws:iam::123456789012:role/admin")
    forget_process()
    event = an_event(operation.event)
    event["requestContext"]["identity"]["userArn"] = "arn:aws:sts::123456789012:assumed-role/other/someone"
    answer: dict[str, Any] = stack.call(operation.event.split("-")[0], event)
    return answer


def compared(
    stack: Stack, operation: Operation, monkeypatch: pytest.MonkeyPatch, found: dict[str, Any]
) -> dict[str, Any]:
    """The answer to a call with a plan, to which the function of the plans says what it finds."""

    class Lambda:
        def invoke(self, **_: Any) -> dict[str, Any]:
            return {"Payload": io.BytesIO(json.dumps(found).encode())}

    registered(stack)
    monkeypatch.setattr(workflow, "patient_client", lambda _service: Lambda())
    return call(stack, operation, queryStringParameters={"plan": "0123456789"})


def plan_changed(stack: Stack, operation: Operation, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found = {"changed": ["now it would delete aws:volume vol-0123456789abcdef0"]}
    return compared(stack, operation, monkeypatch, found)


def plan_unseen(stack: Stack, operation: Operation, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return compared(stack, operation, monkeypatch, {"problem": "DescribeInstances: RequestLimitExceeded"})


def contended(stack: Stack, operation: Operation, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Others keep changing the record."""

    def outrun(*_: object, **__: object) -> None:
        raise VersionConflict(None)

    if operation.id != "register":
        ABOUT.get(operation.id, registered)(stack)
    for change in ("create", "replace", "move"):
        monkeypatch.setattr(Records, change, outrun)
    monkeypatch.setattr(Strays, "replace", outrun)
    return call(stack, operation)


def internal(stack: Stack, operation: Operation, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The table is away."""
    monkeypatch.setenv("TABLE_NAME", "another")
    forget_process()
    return call(stack, operation)


FAIL: dict[str, Callable[[Stack, Operation, pytest.MonkeyPatch], dict[str, Any]]] = {
    "malformed": malformed,
    "invalid": invalid,
    "not_found": not_found,
    "conflict": conflict,
    "not_yours": somebody_elses,
    "held": held_against,
    "plan_changed": plan_changed,
    "plan_unseen": plan_unseen,
    "contended": contended,
    "internal": internal,
}


class Recorder:
    """Compares what was answered with docs/answers.json, or writes it there."""

    def __init__(self, *, writes: bool) -> None:
        self._writes = writes

    def keep(self, name: str, body: Any) -> None:
        """Compare or write one answer."""
        # What EC2's stand-in made has other ids each time.
        if name == "plan 200":
            text = re.sub(r"\b(i|vol|eni)-[0-9a-f]{17}\b", r"\1-0123456789abcdef0", json.dumps(body))
            body = json.loads(text) | {"digest": "Y9Z2_M5CCeh4ARIDzh0LiimFKTplKV"}
        if self._writes:
            found = json.loads(FILE.read_text()) | {name: body}
            FILE.write_text(json.dumps(dict(sorted(found.items())), indent=2, ensure_ascii=False) + "\n")
        else:
            assert answers()[name] == body, "run this file with --record"


@pytest.fixture
def recorder(request: pytest.FixtureRequest) -> Recorder:
    return Recorder(writes=bool(request.config.getoption("--record")))


def test_every_recorded_answer_is_of_a_call_and_a_way_that_there_is() -> None:
    named = {f"{id_} {status}" for id_, status in WAYS} | {f"error {code}" for _, code in FAILURES}
    assert json.loads(FILE.read_text()).keys() == named
