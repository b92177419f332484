"""This is what each function may do on AWS is its own work and nothing else.

Every call that any function makes is made once under every function's role; the stack holds functions to their roles,
as all tests of this folder do.
"""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from local.stack import Stack, client_of

type Call = tuple[str, str, dict[str, Any]]

# A function of its own under another one's role: nothing else of ours is what is tried.
PROBE = """
import boto3
from botocore.exceptions import ClientError
def handler(calls, context):
    found = {}
    for name, (service, method, arguments) in calls.items():
        try:
            getattr(boto3.client(service), method)(**arguments)
            found[name] = ""
        except ClientError as error:
            found[name] = error.response["Error"]["Code"]
    return found
"""
REFUSALS = ("AccessDenied", "UnauthorizedOperation", "AuthorizationError", "NotAuthorized")

KEEPS = {"get", "put"}
ALLOWED = {
    # Who claims a stray is found by its mark, by the query that also finds deliveries.
    "register": KEEPS | {"delete", "dead letter", "query deliveries"},
    "inspect": {"get", "query by_id", "query by_status", "query by_owner", "query deliveries"},
    # Late ids begin another round, and a start that is throttled is put off.
    "amend": KEEPS | {"delete", "update", "start"},
    # A call is told of the brake, and whether its plan is still what would happen.
    "terminate": KEEPS | {"update", "start", "dead letter", "invoke plan", "read mode"},
    # What its stream gives up goes aside under its role.
    "expire": KEEPS
    | {
        "update",
        "query due",
        "query by_status",
        "due",
        "start",
        "describe execution",
        "invoke plan",
        "read mode",
        "set aside",
    },
    "release": KEEPS | {"delete", "read mode", "describe instances", "read secret", "read webhook's secret"},
    "plan": KEEPS | {"read mode", "describe instances", "read secret", "read webhook's secret"},
    "survey": KEEPS
    | {"delete", "query by_status", "query deliveries", "describe instances", "read secret", "read webhook's secret"}
    | {"invoke survey"},
    "restore": KEEPS,
    "announce": {"put", "publish", "set aside"},
    "deliver": KEEPS | {"hide", "undelivered", "read webhook's secret", "read stack's webhook secret"},
    "redeliver": KEEPS | {"publish", "deliver"},
}


def calls(stack: Stack) -> dict[str, Call]:
    """One of each kind, of the same things that the functions call; what is allowed does no harm."""
    out = stack.outputs
    table = {"TableName": out["TableName"]}
    key = {"blueprint_id": {"S": "nobody"}, "item": {"S": "record"}}
    never = {"ConditionExpression": "attribute_exists(blueprint_id)"}
    machine = out["StateMachineArn"]
    execution = machine.replace(":stateMachine:", ":execution:") + ":nobody"
    state = json.dumps({"blueprint_id": "nobody", "generation": "none", "round": 1, "retry_after": 0})

    def query(index: str, attribute: str) -> Call:
        condition = {"KeyConditionExpression": "#k = :v", "ExpressionAttributeNames": {"#k": attribute}}
        return (
            "dynamodb",
            "query",
            table
            | condition
            | {
                "IndexName": index,
                "ExpressionAttributeValues": {":v": {"S": "0"}},
            },
        )

    def send(queue: str) -> Call:
        return "sqs", "send_message", {"QueueUrl": out[queue], "MessageBody": "{}"}

    return {
        "get": ("dynamodb", "get_item", table | {"Key": key}),
        "put": ("dynamodb", "put_item", table | {"Item": key} | never),
        "update": ("dynamodb", "update_item", table | {"Key": key, "UpdateExpression": "REMOVE news"} | never),
        "delete": ("dynamodb", "delete_item", table | {"Key": key} | never),
        "scan": ("dynamodb", "scan", table),
        "query by_id": query("by_id", "id"),
        "query by_status": query("by_status", "status"),
        "query by_owner": query("by_owner", "owner"),
        "query due": query("due", "due_shard"),
        "query deliveries": (
            "dynamodb",
            "query",
            table
            | {
                "KeyConditionExpression": "blueprint_id = :v",
                "ExpressionAttributeValues": {":v": {"S": "nobody"}},
            },
        ),
        "due": send("DueQueueUrl"),
        "drop": ("dynamodb", "delete_table", {"TableName": "another"}),
        "start": ("stepfunctions", "start_execution", {"stateMachineArn": machine, "input": state}),
        "describe execution": ("stepfunctions", "describe_execution", {"executionArn": execution}),
        "stop execution": ("stepfunctions", "stop_execution", {"executionArn": execution}),
        "invoke plan": (
            "lambda",
            "invoke",
            {
                "FunctionName": out["PlanFunctionName"],
                "InvocationType": "Event",
                "Payload": '{"blueprint_id": "nobody", "generation": "none"}',
            },
        ),
        "invoke survey": (
            "lambda",
            "invoke",
            {
                "FunctionName": out["SurveyFunctionName"],
                "InvocationType": "Event",
                "Payload": '{"places": [], "until": 0}',
            },
        ),
        "invoke release": (
            "lambda",
            "invoke",
            {"FunctionName": out["ReleaseFunctionName"], "InvocationType": "Event", "Payload": state},
        ),
        "publish": ("sns", "publish", {"TopicArn": out["TopicArn"], "Message": "{}"}),
        "dead letter": send("DeadLetterQueueUrl"),
        "set aside": send("SetAsideQueueUrl"),
        "deliver": send("DeliveriesQueueUrl"),
        "undelivered": send("UndeliveredQueueUrl"),
        "hide": (
            "sqs",
            "change_message_visibility",
            {"QueueUrl": out["DeliveriesQueueUrl"], "ReceiptHandle": "none", "VisibilityTimeout": 0},
        ),
        "read mode": ("ssm", "get_parameter", {"Name": out["ModeParameter"]}),
        "change mode": (
            "ssm",
            "put_parameter",
            {"Name": out["ModeParameter"], "Value": "enforce", "Type": "String", "Overwrite": True},
        ),
        "describe instances": ("ec2", "describe_instances", {}),
        "start an instance": ("ec2", "run_instances", {"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1}),
        "read secret": ("secretsmanager", "get_secret_value", {"SecretId": "deployment-tracker/ssh"}),
        "read webhook's secret": (
            "secretsmanager",
            "get_secret_value",
            {"SecretId": "deployment-tracker/webhooks/team"},
        ),
        "read stack's webhook secret": ("secretsmanager", "get_secret_value", {"SecretId": out["WebhookSecretArn"]}),
        "read another's secret": ("secretsmanager", "get_secret_value", {"SecretId": "payroll/root"}),
        "take a role": (
            "sts",
            "assume_role",
            {"RoleArn": "arn:aws:iam::123456789012:role/admin", "RoleSessionName": "probe"},
        ),
    }


@pytest.fixture
def answers(stack: Stack) -> Callable[[str], dict[str, str]]:
    """Return what AWS answers to each call under a function's role: an error's code, or nothing."""
    functions = client_of("lambda", stack.running.endpoint, attempts=10)
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("probe.py", PROBE)

    def under(function: str) -> dict[str, str]:
        real = functions.get_function_configuration(FunctionName=stack.outputs[f"{function.capitalize()}FunctionName"])
        name = f"probe-{function}-{uuid4().hex[:6]}"
        functions.create_function(
            FunctionName=name,
            Role=real["Role"],
            Runtime="python3.13",
            Handler="probe.handler",
            Timeout=60,
            Code={"ZipFile": code.getvalue()},
        )
        try:
            answer = functions.invoke(FunctionName=name, Payload=json.dumps(calls(stack)))
            found: dict[str, str] = json.load(answer["Payload"])
            assert "FunctionError" not in answer, found
        finally:
            functions.delete_function(FunctionName=name)
        return found

    return under


def test_every_function_has_a_role_that_is_looked_at(stack: Stack) -> None:
    deployed = {name.removesuffix("FunctionName").lower() for name in stack.outputs if name.endswith("FunctionName")}
    assert deployed == ALLOWED.keys()


@pytest.mark.parametrize("function", ALLOWED)
def test_a_role_allows_its_function_s_work_and_no_more(answers: Callable[[str], dict[str, str]], function: str) -> None:
    found = answers(function)
    refused = {name for name, code in found.items() if any(word in code for word in REFUSALS)}
    assert found.keys() - refused == ALLOWED[function], found
