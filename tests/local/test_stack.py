"""The deployed template: each function can do its work under its own role, and no more than that.

What the demo doesn't show: the brakes, what is set aside, and the doors that stay shut.
"""

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from local.api import Api, path_of
from local.stack import Stack

pytestmark = pytest.mark.timeout(240)

# Runs in a function of its own, under another one's role.
PROBE = """
import boto3
def handler(calls, context):
    found = {}
    for service, method, arguments in calls:
        try:
            getattr(boto3.client(service), method)(**arguments)
            found[method] = "done"
        except Exception as error:
            found[method] = type(error).__name__
    return found
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as found:
        yield found


@pytest.fixture
def key() -> str:
    return f"service/{uuid4()}"


@pytest.fixture
def instance(stack: Stack) -> str:
    """One that carries the mark."""
    ec2 = stack.client("ec2")
    mark = {"ResourceType": "instance", "Tags": [{"Key": "BlueprintDeployment", "Value": "test"}]}
    image = ec2.describe_images()["Images"][0]["ImageId"]
    started = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=[mark])
    return str(started["Instances"][0]["InstanceId"])


@pytest.fixture
def brake(stack: Stack) -> Iterator[Callable[[str], None]]:
    """Sets the cleanup mode, and waits until no function remembers another."""

    def put(mode: str) -> None:
        name = stack.outputs["ModeParameter"]
        stack.client("ssm").put_parameter(Name=name, Value=mode, Overwrite=True)
        time.sleep(5.5)

    yield put
    put("enforce")


def registered(stack: Stack, key: str, instance: str, ttl: int) -> dict[str, Any]:
    wanted = {"blueprint_id": key, "deployment_type": "AwsEc2", "region": stack.running.region}
    answer = stack.api("POST", "/deployments", wanted | {"resource_ids": {"instance_id": instance}, "ttl_seconds": ttl})
    assert answer.status == 201, answer.body
    found: dict[str, Any] = answer.body
    return found


def until(stack: Stack, key: str, wanted: Callable[[dict[str, Any]], bool], seconds: float = 60) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while True:
        record: dict[str, Any] = stack.api("GET", path_of(key)).body
        if wanted(record):
            return record
        assert time.monotonic() < deadline, record
        time.sleep(0.3)


def message_in(stack: Stack, queue: str, text: str, seconds: float = 60) -> dict[str, Any]:
    """The message of a queue that holds a text."""
    deadline = time.monotonic() + seconds
    while True:
        answer = stack.client("sqs").receive_message(
            QueueUrl=stack.outputs[queue], MessageAttributeNames=["All"], MaxNumberOfMessages=10, WaitTimeSeconds=1
        )
        for message in answer.get("Messages", []):
            if text in message["Body"]:
                found: dict[str, Any] = message
                return found
        assert time.monotonic() < deadline


def state_of(stack: Stack, instance: str) -> str:
    (reservation,) = stack.client("ec2").describe_instances(InstanceIds=[instance])["Reservations"]
    return str(reservation["Instances"][0]["State"]["Name"])


def test_an_unsigned_call_is_refused(stack: Stack) -> None:
    unsigned = Api(stack.running.api, stack.running.region, None)
    assert unsigned("GET", "/deployments").status == 403
    assert stack.api("GET", "/deployments").status == 200


def test_a_role_allows_its_own_function_s_work_and_no_more(stack: Stack) -> None:
    functions = stack.client("lambda")
    role = functions.get_function_configuration(FunctionName=stack.outputs["InspectFunctionName"])["Role"]
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("probe.py", PROBE)
    functions.create_function(
        FunctionName="probe",
        Role=role,
        Runtime="python3.13",
        Handler="probe.handler",
        Timeout=30,
        Code={"ZipFile": code.getvalue()},
    )
    table, item = stack.outputs["TableName"], {"blueprint_id": {"S": "x"}, "item": {"S": "record"}}
    calls = [
        ("dynamodb", "get_item", {"TableName": table, "Key": item}),
        ("dynamodb", "put_item", {"TableName": table, "Item": item}),
        ("dynamodb", "scan", {"TableName": table}),
        ("ssm", "get_parameter", {"Name": stack.outputs["ModeParameter"]}),
        ("stepfunctions", "start_execution", {"stateMachineArn": stack.outputs["StateMachineArn"]}),
    ]
    answer = json.load(functions.invoke(FunctionName="probe", Payload=json.dumps(calls))["Payload"])
    assert answer.pop("get_item") == "done"
    assert len(answer) == 4
    assert all("AccessDenied" in error or error == "ClientError" for error in answer.values()), answer


def test_while_observing_the_plan_is_kept_and_nothing_deleted(
    stack: Stack, key: str, instance: str, brake: Callable[[str], None]
) -> None:
    brake("observe")
    registered(stack, key, instance, ttl=1)
    record = until(stack, key, lambda found: "observed_at" in found["cleanup"])
    assert record["status"] == "Active"
    assert (record["resources"][0]["id"], record["resources"][0]["state"]) == (instance, "present")
    assert [event["type"] for event in record["events"]] == ["registered", "planned"]
    assert state_of(stack, instance) == "running"


def test_while_a_platform_is_paused_what_is_due_is_put_off_and_then_done(
    stack: Stack, key: str, instance: str, brake: Callable[[str], None]
) -> None:
    brake("enforce, aws=pause")
    due_at = registered(stack, key, instance, ttl=1)["due_at"]
    put_off = until(stack, key, lambda found: bool(found["due_at"] != due_at))
    assert put_off["status"] == "Active"
    assert put_off["due_at"] >= due_at + 240

    assert stack.api("DELETE", path_of(key)).status == 202
    paused = until(stack, key, lambda found: bool(found["status"] != "Terminating"))
    assert paused["status"] == "Active"
    assert "failures" not in paused["cleanup"]
    assert state_of(stack, instance) == "running"

    brake("enforce")
    assert stack.api("DELETE", path_of(key)).status == 202
    until(stack, key, lambda found: bool(found["status"] == "Terminated"))
    assert state_of(stack, instance) == "terminated"


def test_a_record_that_can_not_be_announced_is_set_aside_with_its_content(stack: Stack, key: str) -> None:
    garbage = {"blueprint_id": {"S": key}, "item": {"S": "record"}, "news": {"S": "[garbage"}}
    stack.client("dynamodb").put_item(TableName=stack.outputs["TableName"], Item=garbage)
    message = message_in(stack, "SetAsideQueueUrl", key)
    assert json.loads(message["Body"])["dynamodb"]["NewImage"] == garbage
    assert message["MessageAttributes"]["reason"]["StringValue"].startswith("not a record")


def test_an_event_that_can_never_be_handled_is_a_dead_letter_with_the_reason(stack: Stack, key: str) -> None:
    entry = {
        "EventBusName": stack.outputs["BusName"],
        "Source": "test",
        "DetailType": "Service Initiated",
        "Detail": json.dumps({"blueprint_id": key, "deployment_type": "AwsEc3"}),
    }
    assert stack.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0
    message = message_in(stack, "DeadLetterQueueUrl", key)
    assert "deployment_type" in message["MessageAttributes"]["reason"]["StringValue"]
