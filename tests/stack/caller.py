"""A caller of one stack, and a subscriber of its topic: what the tests of this folder see it with.

Both look from outside: through the signed API, the bus and the topic.
"""

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from local.api import Answer, path_of
from local.demo.scene import leases
from local.listener import Listener
from local.processes import PATIENCE
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
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
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
        """Return what to post. Without ids: of an instance that was terminated by hand, which a look finds gone."""
        return {
            "blueprint_id": key,
            "deployment_type": "AwsEc2",
            "region": self.stack.running.region,
            "resource_ids": ids or {"instance_id": self.terminated_instance},
            **more,
        }

    @cached_property
    def terminated_instance(self) -> str:
        """The id of an instance that EC2 describes as terminated. One that never was would take minutes to count as gone."""
        ec2 = self.stack.client("ec2")
        image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
        ec2.terminate_instances(InstanceIds=[made])
        ec2.get_waiter("instance_terminated").wait(
            InstanceIds=[made], WaiterConfig={"Delay": 1, "MaxAttempts": PATIENCE}
        )
        return str(made)

    def register(self, key: str, ids: dict[str, Any] | None = None, **more: Any) -> Record:
        """The new record."""
        status, answer = self.ask("POST", "/deployments", self.wanted(key, ids, **more))
        assert status == 201, answer
        found: Record = answer
        return found

    def until(self, key: str, is_so: Callable[[Record], bool], seconds: float = PATIENCE) -> Record:
        """The record, once it is so."""
        deadline = time.monotonic() + seconds
        while True:
            answer = self.ask("GET", path_of(key))
            if answer.status == 200 and is_so(answer.body):
                record: Record = answer.body
                return record
            assert time.monotonic() < deadline, answer
            time.sleep(0.3)

    def terminated(self, key: str, seconds: float = PATIENCE) -> Record:
        """The record, once it is over."""
        return self.until(key, lambda record: bool(record["status"] == "Terminated"), seconds)

    def sweep(self) -> int:
        """Return what every minute brings: how many keys it put on the queue."""
        tick = {"source": "aws.events", "detail-type": "Scheduled Event"}
        queued: int = self.stack.invoke("Expire", tick)["queued"]
        return queued

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


class Topic(Listener):
    """Hears everything that is announced, in the order in which it comes."""

    def of(self, generation: str, number: int, seconds: float = PATIENCE) -> list[Record]:
        """The first so many announcements of a deployment, as they came; what came twice only once."""
        deadline = time.monotonic() + seconds
        while len(found := [body for body in self.heard(1) if body["data"]["generation"] == generation]) < number:
            assert time.monotonic() < deadline, [body["type"] for body in found]
        return found


def heard_in_order(topic: Topic, record: Record) -> list[Record]:
    """What was announced of a deployment is what its record says, in the order in which it happened."""
    facts = record["events"]
    heard = topic.of(record["generation"], len(facts))
    assert [(a["data"]["sequence"], a["type"]) for a in heard] == [
        (fact["sequence"], f"deployment.{fact['type']}") for fact in facts
    ]
    return heard


@contextmanager
def leases_unheard(stack: Stack) -> Iterator[None]:
    """Meanwhile the stream tells nobody that a lease is gone: what is due then is the sweep's."""
    leases(stack, are_heard=False)
    try:
        yield
    finally:
        leases(stack, are_heard=True)


def execution_of(stack: Stack, record: Record, round_: int = 1) -> str:
    """The ARN of a round's execution."""
    machine = stack.outputs["StateMachineArn"].replace(":stateMachine:", ":execution:")
    return f"{machine}:{record['generation']}-{round_}"
