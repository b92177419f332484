"""A stack on moto, with the functions' real handlers: what template.yaml wires up, as far as one process holds it."""

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from aws_lambda_powertools.utilities.parameters.constants import DEFAULT_PROVIDERS

from tests.description import check_answer, is_described
from tests.fresh import forget_process
from tracker import runtime
from tracker.lifecycle.transitions import Lifecycle
from tracker.model.deployment import Deployment
from tracker.store.deliveries import Deliveries
from tracker.store.records import Records
from tracker.store.table import Table

ROOT = Path(__file__).parent.parent.parent
MODE = "/stack/cleanup-mode"
WEBHOOK_SECRET = "A" * 48


@dataclass
class Context:
    """This is what Lambda hands over beside the event."""

    function_name: str = "function"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:function"
    aws_request_id: str = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"
    seconds_left: float = 300

    def get_remaining_time_in_millis(self) -> int:
        """As Lambda counts."""
        return int(self.seconds_left * 1000)


def an_event(name: str) -> Any:
    """A file of events/, which `sam local invoke` takes too."""
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


def with_body(event: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The same call, with other fields in its body."""
    return event | {"body": json.dumps(json.loads(event["body"]) | changes)}


def answered(answer: dict[str, Any]) -> tuple[int, Any]:
    """A status and what is in the body."""
    return answer["statusCode"], json.loads(answer["body"])


@dataclass
class Stack:
    """This is what a stack is made of, and its functions by name."""

    table: str
    machine: str
    dead_letters: str
    set_aside: str
    subscriber: str
    deliveries: str
    undelivered: str
    due: str
    loaded: dict[str, ModuleType] = field(default_factory=dict)

    def call(self, verb: str, event: Any, context: Context | None = None) -> Any:
        """Invoke a function; its handler is loaded as Lambda loads it. What it answers to a call is as docs/openapi.json says."""
        self.load(verb)
        # What Lambda does to every event: it comes as JSON and goes as JSON.
        event = json.loads(json.dumps(event))
        answer = json.loads(json.dumps(self.loaded[verb].handler(event, context or Context())))
        if is_described(event):
            check_answer(event, answer)
        return answer

    def load(self, verb: str) -> None:
        """Load a function as Lambda loads it, unless it is loaded already."""
        if verb not in self.loaded:
            spec = importlib.util.spec_from_file_location(f"{verb}_app", ROOT / "functions" / verb / "app.py")
            assert spec
            assert spec.loader
            self.loaded[verb] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(self.loaded[verb])

    @cached_property
    def records(self) -> Records:
        """The table, as the functions reach it."""
        return Records(Table(self.table))

    @cached_property
    def delivery_store(self) -> Deliveries:
        """The deliveries in the table, as the functions reach them."""
        return Deliveries(Table(self.table))

    @cached_property
    def lifecycle(self) -> Lifecycle:
        """The rules over this stack."""
        return runtime.lifecycle()

    def record(self, key: str = "svc-7") -> Deployment:
        """The record under a key."""
        found = self.records.get(key)
        assert found
        return found

    def executions(self) -> list[str]:
        """The names of what was started."""
        found = boto3.client("stepfunctions").list_executions(stateMachineArn=self.machine)
        return [each["name"] for each in found["executions"]]

    def messages(self, queue: str) -> list[Any]:
        """Return what is in a queue, taken out of it."""
        client = boto3.client("sqs")
        found: list[Any] = []
        while batch := client.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            found += batch
            for message in batch:
                client.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return found

    def set_mode(self, mode: str) -> None:
        """Pull or loosen the brake."""
        boto3.client("ssm").put_parameter(Name=MODE, Value=mode, Type="String", Overwrite=True)
        DEFAULT_PROVIDERS.clear()

    def image(self, key: str = "svc-7", item: str = "record") -> dict[str, Any]:
        """An item as the stream shows it."""
        found = boto3.client("dynamodb").get_item(
            TableName=self.table, Key={"blueprint_id": {"S": key}, "item": {"S": item}}
        )
        return dict(found["Item"])


@pytest.fixture
def stack(moto_table: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    sqs, sns = boto3.client("sqs"), boto3.client("sns")
    urls = {
        name: sqs.create_queue(QueueName=name)["QueueUrl"]
        for name in ("dead", "aside", "subscriber", "deliveries", "undelivered", "due")
    }
    topic = sns.create_topic(Name="topic")["TopicArn"]
    queue = sqs.get_queue_attributes(QueueUrl=urls["subscriber"], AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue, Attributes={"RawMessageDelivery": "true"})
    policy = {"FilterPolicy": json.dumps({"webhook": ["wanted"]}), "RawMessageDelivery": "true"}
    arn = sqs.get_queue_attributes(QueueUrl=urls["deliveries"], AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=policy)
    boto3.client("secretsmanager").create_secret(Name="webhooks", SecretString=json.dumps({"current": WEBHOOK_SECRET}))
    machine = boto3.client("stepfunctions").create_state_machine(
        name="cleanup",
        definition=json.dumps({"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}),
        roleArn="arn:aws:iam::123456789012:role/any",
    )["stateMachineArn"]
    for name, value in {
        "TABLE_NAME": moto_table,
        "STATE_MACHINE_ARN": machine,
        "TOPIC_ARN": topic,
        "MODE_PARAMETER": MODE,
        "DEAD_LETTER_QUEUE_URL": urls["dead"],
        "SET_ASIDE_QUEUE_URL": urls["aside"],
        "DELIVERIES_QUEUE_URL": urls["deliveries"],
        "UNDELIVERED_QUEUE_URL": urls["undelivered"],
        "DUE_QUEUE_URL": urls["due"],
        "WEBHOOK_SECRET": "webhooks",
        "ALLOW_HTTP_LOOPBACK_WEBHOOKS": "true",
        "AWS_ACCOUNT": "123456789012",
        "POWERTOOLS_SERVICE_NAME": "tracker",
        "POWERTOOLS_TRACE_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    forget_process()
    found = Stack(moto_table, machine, *urls.values())
    found.set_mode("enforce")
    yield found
    DEFAULT_PROVIDERS.clear()


@pytest.fixture
def registered(stack: Stack) -> Deployment:
    """Return what events/register-post.json registers."""
    status, _ = answered(stack.call("register", an_event("register-post")))
    assert status == 201
    return stack.record()
