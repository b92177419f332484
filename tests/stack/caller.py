"""A caller of one stack, and a subscriber of its topic: what the tests of this folder see it with.

Both look from outside: through the signed API, the bus and the topic.
"""

import json
import random
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from local.api import Answer, path_of
from local.stack import Stack

type Record = dict[str, Any]

# A stack on one machine has few workers, and says so: AWS's own "try again".
BUSY = 429


class Caller:
    """Registers deployments, asks for them, and waits for what becomes of them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def ask(self, method: str, path: str, body: Any = None, query: dict[str, str] | None = None) -> Answer:
        """Call the API, again while all workers are busy."""
        for _ in range(100):
            answer = self.stack.api(method, path, body, query)
            if answer.status != BUSY:
                return answer
            time.sleep(random.uniform(0.3, 1))
        raise AssertionError(f"{method} {path}: busy all the time")

    def call(self, method: str, key: str, *more: str, body: Any = None, expected: int = 200) -> Record:
        """Call it about a deployment; the answer's body."""
        status, answer = self.ask(method, path_of(key, *more), body)
        assert status == expected, (method, key, *more, status, answer)
        found: Record = answer
        return found

    def wanted(self, key: str, ids: dict[str, Any] | None = None, **more: Any) -> Record:
        """What to post. Without ids: of an instance that is nobody's, which a look finds gone."""
        return {
            "blueprint_id": key,
            "deployment_type": "AwsEc2",
            "region": self.stack.running.region,
            "resource_ids": ids or {"instance_id": nobodys()},
            **more,
        }

    def register(self, key: str, ids: dict[str, Any] | None = None, **more: Any) -> Record:
        """The new record."""
        status, answer = self.ask("POST", "/deployments", self.wanted(key, ids, **more))
        assert status == 201, answer
        found: Record = answer
        return found

    def until(self, key: str, is_so: Callable[[Record], bool], seconds: float = 90) -> Record:
        """The record, once it is so."""
        deadline = time.monotonic() + seconds
        while True:
            answer = self.ask("GET", path_of(key))
            if answer.status == 200 and is_so(answer.body):
                record: Record = answer.body
                return record
            assert time.monotonic() < deadline, answer
            time.sleep(0.3)

    def terminated(self, key: str, seconds: float = 90) -> Record:
        """The record, once it is over."""
        return self.until(key, lambda record: bool(record["status"] == "Terminated"), seconds)

    def sweep(self) -> int:
        """What every minute brings: how many rounds it started."""
        tick = {"source": "aws.events", "detail-type": "Scheduled Event"}
        answer = self.stack.client("lambda").invoke(
            FunctionName=self.stack.outputs["ExpireFunctionName"], Payload=json.dumps(tick)
        )
        assert "FunctionError" not in answer, answer["Payload"].read()
        started: int = json.load(answer["Payload"])["started"]
        return started

    def put_events(self, *events: tuple[str, Record]) -> None:
        """Put (detail-type, detail) on the stack's bus."""
        entries = [
            {
                "Source": "test",
                "DetailType": type_,
                "Detail": json.dumps(detail),
                "EventBusName": self.stack.outputs["BusName"],
            }
            for type_, detail in events
        ]
        assert self.stack.client("events").put_events(Entries=entries)["FailedEntryCount"] == 0


class Topic:
    """Hears everything that is announced, in the order in which it comes."""

    def __init__(self, stack: Stack) -> None:
        self._sqs = stack.client("sqs")
        self._url = self._sqs.create_queue(QueueName=f"listener-{uuid4()}")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        topic = stack.outputs["TopicArn"]
        allowed = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        self._sqs.set_queue_attributes(QueueUrl=self._url, Attributes={"Policy": policy})
        attributes = {"RawMessageDelivery": "true"}
        stack.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=attributes)
        self._heard: dict[str, Record] = {}

    def heard(self, generation: str, number: int, seconds: float = 60) -> list[Record]:
        """The first so many announcements of a deployment, as they came; what came twice only once."""
        deadline = time.monotonic() + seconds
        while True:
            found = [body for body in self._heard.values() if body["data"]["generation"] == generation]
            if len(found) >= number:
                return found
            assert time.monotonic() < deadline, [body["type"] for body in found]
            self._receive()

    def _receive(self) -> None:
        answer = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        for message in answer.get("Messages", []):
            body = json.loads(message["Body"])
            if "data" in body:
                self._heard.setdefault(body["id"], body)
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])


def nobodys() -> str:
    """The id of an instance that never was."""
    return f"i-{uuid4().hex[:17]}"


def execution_of(stack: Stack, record: Record, round_: int = 1) -> str:
    """The ARN of a round's execution."""
    machine = stack.outputs["StateMachineArn"].replace(":stateMachine:", ":execution:")
    return f"{machine}:{record['generation']}-{round_}"
