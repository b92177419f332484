"""deploy/operators.yaml: who has its policies can do what the runbook says, on a stack that holds callers to theirs, and no more."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from local.build import ROOT
from local.stack import Stack, client_of
from tests.stack.caller import Caller
from tests.stack.test_roles import PROBE

ROLES = ("OperatorRoles", "RestorerRoles")
TRUST = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
REFUSED = "AccessDenied"

type Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def session(stack: Stack) -> dict[str, str]:
    """The environment of one who has taken the role of an operator and restorer."""
    out, endpoint = stack.outputs, stack.running.endpoint
    role = client_of("iam", endpoint=endpoint).create_role(
        RoleName="on-call", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})
    )["Role"]
    given = {name: out[name] for name in ("ApiId", "StateMachineArn", "WebhookSecretArn")} | dict.fromkeys(
        ROLES, "on-call"
    )
    cloudformation = client_of("cloudformation", endpoint=endpoint)
    cloudformation.create_stack(
        StackName="operators",
        TemplateBody=(ROOT / "deploy/operators.yaml").read_text(),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    cloudformation.get_waiter("stack_create_complete").wait(StackName="operators", WaiterConfig={"Delay": 1})
    found = client_of("sts", endpoint=endpoint).assume_role(RoleArn=role["Arn"], RoleSessionName="night")["Credentials"]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **stack.running.variables,
        "AWS_ACCESS_KEY_ID": found["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": found["SecretAccessKey"],
        "AWS_SESSION_TOKEN": found["SessionToken"],
    }


@pytest.fixture
def run(session: dict[str, str]) -> Run:
    def call(*arguments: str, expected: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=session, capture_output=True, text=True, check=False)
        assert done.returncode in expected, (arguments, done.stdout, done.stderr)
        return done

    return call


def test_an_operator_sees_what_is_wrong_and_sets_the_brake(run: Run) -> None:
    tracker = ("deployment_tracker", "--stack", "deployment-tracker")
    # Other tests leave things that it finds wrong.
    checks = json.loads(run(*tracker, "doctor", "--json", expected=(0, 1)).stdout)
    # On one machine there are no alarms. The emulator has another ARN for a rule of the default bus than AWS (rule/default/NAME).
    assert {each["name"] for each in checks if each["state"] == "unknown"} == {"alarms", "who hears alarms", "sweep"}
    run(*tracker, "brake", "pause", "gcp")
    assert "gcp=pause" in run(*tracker, "brake", "show").stdout
    run(*tracker, "brake", "resume", "-y")


def test_an_operator_replays_what_was_given_up(stack: Stack, run: Run) -> None:
    sqs = client_of("sqs", endpoint=stack.running.endpoint)
    sqs.send_message(QueueUrl=stack.outputs["DeadLetterQueueUrl"], MessageBody='{"detail-type": "another"}')
    replay = ("local.replay", "--stack", "deployment-tracker")
    assert "1 events wait" in run(*replay, "--show").stdout
    assert "1  stay: it isn't an event of a service" in run(*replay).stdout
    sqs.purge_queue(QueueUrl=stack.outputs["DeadLetterQueueUrl"])


def test_a_restorer_puts_back_what_was_lost(stack: Stack, caller: Caller, run: Run, key: str) -> None:
    dynamodb, table = client_of("dynamodb", endpoint=stack.running.endpoint), stack.outputs["TableName"]
    caller.register(key, {"instance_id": "i-0123456789abcdef0"}, ttl_seconds=864000)
    place = {"blueprint_id": {"S": key}, "item": {"S": "record"}}
    lost = dynamodb.get_item(TableName=table, Key=place)["Item"]
    copy = "deployment-tracker-restored"
    schema = [{"AttributeName": name, "KeyType": kind} for name, kind in (("blueprint_id", "HASH"), ("item", "RANGE"))]
    types = [{"AttributeName": each["AttributeName"], "AttributeType": "S"} for each in schema]
    dynamodb.create_table(TableName=copy, KeySchema=schema, AttributeDefinitions=types, BillingMode="PAY_PER_REQUEST")
    dynamodb.put_item(TableName=copy, Item=lost)
    dynamodb.delete_item(TableName=table, Key=place)
    assert f"put back: {key}" in run("local.restore", "--stack", "deployment-tracker", "--from", copy, "--write").stdout
    assert caller.call("GET", key)["blueprint_id"] == key
    dynamodb.delete_table(TableName=copy)
    caller.call("POST", key, "forget", body={"reason": "it never was"})


def test_neither_deletes_the_table_nor_begins_a_cleanup_past_the_tracker(stack: Stack, session: dict[str, str]) -> None:
    out = stack.outputs
    calls: dict[str, tuple[str, str, dict[str, Any]]] = {
        "read all": ("dynamodb", "scan", {"TableName": out["TableName"]}),
        "drop": ("dynamodb", "delete_table", {"TableName": out["TableName"]}),
        "start": ("stepfunctions", "start_execution", {"stateMachineArn": out["StateMachineArn"], "input": "{}"}),
        "release": ("lambda", "invoke", {"FunctionName": out["ReleaseFunctionName"], "Payload": "{}"}),
        "another parameter": ("ssm", "put_parameter", {"Name": "/other", "Value": "x", "Type": "String"}),
        "another secret": ("secretsmanager", "get_secret_value", {"SecretId": "deployment-tracker/vultr"}),
        "a machine": ("ec2", "terminate_instances", {"InstanceIds": ["i-0123456789abcdef0"]}),
        "a right": ("iam", "detach_role_policy", {"RoleName": "on-call", "PolicyArn": "arn:aws:iam::aws:policy/X"}),
    }
    script = f"import json, sys\n{PROBE}\nprint(json.dumps(handler(json.load(sys.stdin), None)))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=session, input=json.dumps(calls), capture_output=True, text=True, check=True)
    codes = json.loads(done.stdout)
    # The EC2 of the stack is a stand-in of its own, which asks nobody for rights.
    assert codes.pop("a machine")
    assert {name: code for name, code in codes.items() if REFUSED not in code} == {}
