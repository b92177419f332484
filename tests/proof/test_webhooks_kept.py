"""No announcement and no delivery is lost: processes die, the topic is throttled, receivers are down, streams repeat.

The functions are the real ones, the receivers real sockets, and the clock jumps. At least once is what is promised: what
comes twice has the same id and the same body.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError

from tests.fresh import forget_process
from tests.proof.points import crash_points
from tests.proof.world import Died, World, load
from tests.receivers import Receiver, answers, receiving
from tracker.store.deliveries import Deliveries
from tracker.store.table import Table


class Hooks:
    """The queue of deliveries and its function, beside the rest of the world."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.queue, self.undelivered = (
            world.sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("deliveries", "undelivered")
        )
        arn = world.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        attributes = {"RawMessageDelivery": "true", "FilterPolicy": json.dumps({"webhook": ["wanted"]})}
        topic = os.environ["TOPIC_ARN"]
        boto3.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=attributes)
        boto3.client("secretsmanager").create_secret(Name="hooks", SecretString=json.dumps({"current": "A" * 48}))
        for name, value in {
            "DELIVERIES_QUEUE_URL": self.queue,
            "UNDELIVERED_QUEUE_URL": self.undelivered,
            "WEBHOOK_SECRET": "hooks",
            "ALLOW_HTTP_LOOPBACK_WEBHOOKS": "true",
        }.items():
            monkeypatch.setenv(name, value)
        forget_process()
        world.functions["deliver"] = load("deliver")
        world.functions["redeliver"] = load("redeliver")

    def deliver(self) -> int:
        """Hand every message that is in sight to the function, each by itself; how many there were."""
        count = 0
        while found := self.world.sqs.receive_message(QueueUrl=self.queue, VisibilityTimeout=360).get("Messages"):
            (message,) = found
            count += 1
            record = {
                "messageId": "m",
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": {"ApproximateReceiveCount": "1"},
            }
            try:
                failed = self.world.invoke("deliver", {"Records": [record]})["batchItemFailures"]
            except Died:
                continue
            if not failed:
                self.world.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return count

    def waiting(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.world.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)["Attributes"]
        return sum(int(value) for value in found.values())

    def settle(self, limit: timedelta = timedelta(days=2)) -> None:
        """Let time pass until the queue is empty."""
        until = self.world.now + limit
        while self.world.now < until:
            self.deliver()
            if not self.waiting():
                return
            self.world.clock.shift(timedelta(minutes=2))
        raise AssertionError(f"{self.waiting()} deliveries still wait after {limit}")

    def states(self, *keys: str) -> dict[str, str]:
        """Return what became of each delivery, by its id."""
        deliveries = Deliveries(Table("tracker"))
        return {each.id: each.state for key in keys for each in deliveries.page(key, limit=100).items}


@pytest.fixture
def hooks(world: World, monkeypatch: pytest.MonkeyPatch) -> Hooks:
    return Hooks(world, monkeypatch)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(answers(200)) as found:
        yield found


def register(world: World, key: str, url: str, **more: Any) -> None:
    ids = {"instance_id": world.rent_instance()}
    body = {"blueprint_id": key, "deployment_type": "AwsEc2", "region": "eu-west-1", "resource_ids": ids}
    status, answer = world.call("register", "POST", body=body | {"cleanup_webhook": url} | more)
    assert status in (200, 201), answer


def heard_by(receiver: Receiver) -> dict[str, dict[str, Any]]:
    """Return what a receiver got, by id; what came twice was the same."""
    found: dict[str, bytes] = {}
    for heard in receiver.heard:
        id_ = heard.headers["webhook-id"]
        assert found.setdefault(id_, heard.body) == heard.body
    return {id_: json.loads(body) for id_, body in found.items()}


def announced_to(world: World, key: str) -> list[str]:
    """The ids that the topic had of a deployment, each once, as they first came."""
    return list(dict.fromkeys(a["id"] for a in world.announced if a["data"]["blueprint_id"] == key))


def test_no_webhook_delivery_is_lost_wherever_a_process_dies(
    world: World, hooks: Hooks, receiver: Receiver, noted: Callable[[str], None]
) -> None:
    """Once undisturbed, to count the calls; then once for each call, dead before it, and dead after it."""

    def live(key: str) -> None:
        world.deaths.calls.clear()
        register(world, key, receiver.url, webhook_events=["registered", "terminating"])
        assert world.call("terminate", "DELETE", key)[0] in (200, 202)
        world.settle()
        hooks.settle()

    live("undisturbed")
    number = len(world.deaths.calls)
    assert {"Publish", "GetSecretValue"} <= set(world.deaths.calls)
    points = crash_points(number, every=8)
    for at in points:
        for after in (False, True):
            world.deaths.at, world.deaths.after, world.deaths.fired = at, after, False
            key = f"dead-{'after' if after else 'before'}-{at}"
            live(key)
            states = hooks.states(key)
            wanted = [id_ for id_, body in heard_by(receiver).items() if body["blueprint_id"] == key]
            assert set(states.values()) == {"delivered"}, (key, states)
            assert len(states) == 3
            assert set(wanted) == set(states)
            assert set(states) <= set(announced_to(world, key))
            assert not world.sqs.receive_message(QueueUrl=hooks.undelivered).get("Messages")
    posts = Counter(heard.headers["webhook-id"] for heard in receiver.heard)
    noted(
        f"webhooks: {2 * len(points)} of {2 * number} crash points, {len(posts)} deliveries, none lost,"
        f" {sum(posts.values()) - len(posts)} came twice"
    )


class Throttle:
    """The topic is throttled until a moment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, world: World, until: datetime) -> None:
        self.refused = 0
        inner = botocore.client.BaseClient._make_api_call

        def call(client: Any, operation: str, kwargs: Any) -> Any:
            if operation == "Publish" and world.now < until:
                self.refused += 1
                raise ClientError({"Error": {"Code": "Throttled", "Message": "Rate exceeded"}}, operation)
            return inner(client, operation, kwargs)

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)


def test_a_topic_throttled_for_ten_minutes_keeps_no_announcement_and_no_webhook_from_its_turn(
    world: World, hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttle = Throttle(monkeypatch, world, world.now + timedelta(minutes=10))
    for n in range(30):
        register(world, f"svc-{n}", receiver.url, webhook_events=["registered"])
        # The stream brings what was not handled again, and what is new after it.
        world.deliver_streams()
        hooks.deliver()
        world._listen()
        assert world.announced == []
        # All of them within the quarter of an hour after which a version is set aside.
        world.clock.shift(timedelta(seconds=20))
    assert throttle.refused >= 30
    assert receiver.heard == []
    world.turn()
    hooks.settle()
    assert [a["data"]["blueprint_id"] for a in world.announced] == [f"svc-{n}" for n in range(30)]
    assert {body["blueprint_id"] for body in heard_by(receiver).values()} == {f"svc-{n}" for n in range(30)}
    assert len(receiver.heard) == 30


def test_a_malformed_record_is_set_aside_and_the_webhooks_of_the_others_are_called(
    world: World, hooks: Hooks, receiver: Receiver
) -> None:
    garbage = {
        "blueprint_id": {"S": "garbage"},
        "item": {"S": "record"},
        "news": {"S": "[garbage"},
        "version": {"S": "x"},
    }
    for n in range(6):
        register(world, f"svc-{n}", receiver.url, webhook_events=["registered"])
        if n % 2:
            world.dynamodb.put_item(TableName="tracker", Item=garbage | {"blueprint_id": {"S": f"garbage-{n}"}})
    world.turn()
    hooks.settle()
    assert [a["data"]["blueprint_id"] for a in world.announced] == [f"svc-{n}" for n in range(6)]
    assert len(heard_by(receiver)) == len(receiver.heard) == 6
    letters = [
        json.loads(message["Body"])["dynamodb"]["NewImage"]
        for _ in range(3)
        for message in world.sqs.receive_message(QueueUrl=os.environ["SET_ASIDE_QUEUE_URL"])["Messages"]
    ]
    assert letters == [garbage | {"blueprint_id": {"S": f"garbage-{n}"}} for n in (1, 3, 5)]


def test_a_stream_that_is_read_twice_announces_the_same_again_and_calls_no_webhook_twice(
    world: World, hooks: Hooks, receiver: Receiver
) -> None:
    register(world, "svc", receiver.url, webhook_events=["registered", "terminating"])
    world.call("terminate", "DELETE", "svc")
    world.settle()
    hooks.settle()
    once = list(world.announced)
    assert len(receiver.heard) == 3
    # The checkpoint is lost.
    world._read.pop("announce")
    world.turn()
    hooks.settle()
    assert world.announced == once * 2
    assert len(receiver.heard) == 3


def test_a_webhook_that_is_down_for_a_day_gets_everything_and_a_healthy_one_waits_for_none_of_it(
    world: World, hooks: Hooks
) -> None:
    with receiving(answers(503)) as down, receiving(answers(200)) as healthy:
        for n in range(10):
            register(world, f"down-{n}", down.url, webhook_events=["registered"])
            register(world, f"healthy-{n}", healthy.url, webhook_events=["registered"])
        world.turn()
        hooks.deliver()
        assert len(healthy.heard) == 10
        assert world.now - datetime.fromtimestamp(healthy.heard[0].at, world.now.tzinfo) < timedelta(seconds=1)
        began = world.now
        while world.now - began < timedelta(hours=17):
            world.clock.shift(timedelta(minutes=10))
            hooks.deliver()
        assert set(hooks.states(*(f"down-{n}" for n in range(10))).values()) == {"pending"}
        down._behaviours[:] = [answers(200)]
        hooks.settle()
        assert set(hooks.states(*(f"down-{n}" for n in range(10))).values()) == {"delivered"}
        assert len(heard_by(down)) == 10
        assert len(down.heard) == 10 * 7


def test_a_webhook_that_is_down_for_two_days_leaves_dead_letters_that_can_be_put_back(
    world: World, hooks: Hooks
) -> None:
    with receiving(answers(500)) as down:
        register(world, "svc", down.url, webhook_events=["registered"])
        world.turn()
        hooks.settle()
        assert list(hooks.states("svc").values()) == ["dead"]
        assert len(down.heard) == 8
        down._behaviours[:] = [answers(200)]
        (letter,) = world.sqs.receive_message(QueueUrl=hooks.undelivered)["Messages"]
        world.sqs.send_message(QueueUrl=hooks.queue, MessageBody=letter["Body"])
        hooks.settle()
        assert list(hooks.states("svc").values()) == ["delivered"]
        assert len(heard_by(down)) == 1


def test_a_failing_cleanup_calls_its_webhook_once_for_each_round_and_once_for_its_end(
    world: World, hooks: Hooks, receiver: Receiver
) -> None:
    register(world, "svc", receiver.url)
    (instance,) = [i["InstanceId"] for r in world.ec2.describe_instances()["Reservations"] for i in r["Instances"]]
    world.ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": True})
    world.call("terminate", "DELETE", "svc")
    for _ in range(200):
        world.turn()
        hooks.deliver()
        if len(receiver.heard) >= 3:
            break
        world.pass_time(timedelta(seconds=30))
    world.ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": False})
    world.settle()
    hooks.settle()
    bodies = list(heard_by(receiver).values())
    assert [(body["event"], body["status"]) for body in bodies] == [("cleanup", "failed")] * 3 + [
        ("cleanup", "success")
    ]
    assert [body["data"]["attempts"] for body in bodies] == [1, 2, 3, 4]
    assert {body["data"]["error"]["class"] for body in bodies[:3]} == {"protected"}
    assert bodies[-1]["data"]["counts"]["gone"] >= 1
    assert len(receiver.heard) == 4
