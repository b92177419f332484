"""This is what was set aside or is a dead letter, tried anew by `make replay`, through the functions' own handlers."""

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from local.replay import Replayed, replay_all, waiting
from tests.fresh import forget_process
from tests.functions.conftest import Stack, an_event, with_body
from tracker.model.deployment import Deployment
from tracker.notify.announcements import Topic

OLD = 1_700_000_000.0


class Functions:
    """Lambda, as far as `invoke` goes, on the handlers of a stack."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.error = ""

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Run the handler of that name."""
        if self.error:
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(self.error.encode())}
        answer = self.stack.call(FunctionName, json.loads(Payload))
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}


@pytest.fixture
def functions(stack: Stack) -> Functions:
    return Functions(stack)


@pytest.fixture
def queues(stack: Stack) -> dict[str, str]:
    """The outputs of the stack."""
    sqs = boto3.client("sqs")
    return {
        "DeadLetterQueueUrl": stack.dead_letters,
        "SetAsideQueueUrl": stack.set_aside,
        "UndeliveredQueueUrl": stack.undelivered,
        "DeliveriesQueueUrl": stack.deliveries,
        "InitiatedQueueUrl": sqs.create_queue(QueueName="initiated")["QueueUrl"],
        "TerminatedQueueUrl": sqs.create_queue(QueueName="terminated")["QueueUrl"],
        "AnnounceFunctionName": "announce",
        "ExpireFunctionName": "expire",
    }


@pytest.fixture
def topic_is_down(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """SNS answers every publish with an error that may pass, until the patch is undone."""

    def fails(*_: object) -> None:
        raise ClientError({"Error": {"Code": "InternalError", "Message": "m"}}, "Publish")

    with monkeypatch.context() as patch:
        patch.setattr(Topic, "announce", fails)
        yield patch


def set_aside(stack: Stack, *, created_at: float = OLD) -> None:
    """Have the function set aside a version that it tried for too long."""
    record = an_event("announce-registered")["Records"][0]
    change = record["dynamodb"] | {"NewImage": stack.image(), "ApproximateCreationDateTime": created_at}
    assert stack.call("announce", {"Records": [record | {"dynamodb": change}]}) == {"batchItemFailures": []}


def replayed(functions: Functions, queues: dict[str, str]) -> dict[str, Replayed]:
    return replay_all(lambda service: functions if service == "lambda" else boto3.client(service), queues)


def announced(stack: Stack) -> list[str]:
    return [json.loads(message["Body"])["id"] for message in stack.messages(stack.subscriber)]


def put(queue: str, body: Any) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    boto3.client("sqs").send_message(QueueUrl=queue, MessageBody=text)


def test_a_version_that_was_set_aside_is_announced_once_and_leaves_the_queue(
    stack: Stack,
    registered: Deployment,
    functions: Functions,
    queues: dict[str, str],
    topic_is_down: pytest.MonkeyPatch,
) -> None:
    set_aside(stack)
    assert announced(stack) == []
    topic_is_down.undo()
    assert replayed(functions, queues)["announcements"] == (["it can't be announced: ClientError"], [])
    assert announced(stack) == [f"{registered.generation}-1"]
    assert replayed(functions, queues)["announcements"] == ([], [])
    assert announced(stack) == []
    assert stack.messages(stack.set_aside) == []


def test_one_that_still_cannot_be_announced_stays_and_is_there_for_the_next_time(
    stack: Stack,
    registered: Deployment,
    functions: Functions,
    queues: dict[str, str],
    topic_is_down: pytest.MonkeyPatch,
) -> None:
    set_aside(stack)
    handed_on, (why,) = replayed(functions, queues)["announcements"]
    assert handed_on == []
    assert "can't be announced now" in why
    functions.error = '{"errorMessage": "timed out"}'
    assert "timed out" in replayed(functions, queues)["announcements"].kept[0]
    functions.error = ""
    topic_is_down.undo()
    assert len(replayed(functions, queues)["announcements"].handed_on) == 1
    assert announced(stack) == [f"{registered.generation}-1"]


def test_one_that_sns_refuses_for_good_is_set_aside_again_and_the_replay_ends(
    stack: Stack,
    registered: Deployment,
    functions: Functions,
    queues: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object) -> None:
        raise ClientError({"Error": {"Code": "InvalidParameter", "Message": "m"}}, "Publish")

    monkeypatch.setattr(Topic, "announce", refused)
    set_aside(stack, created_at=time.time())
    assert len(replayed(functions, queues)["announcements"].handed_on) == 1
    (letter,) = stack.messages(stack.set_aside)
    assert json.loads(letter["Body"])["dynamodb"]["NewImage"] == stack.image()


def test_what_the_stream_set_aside_without_content_stays_and_says_where_to_turn(
    stack: Stack, functions: Functions, queues: dict[str, str]
) -> None:
    put(stack.set_aside, {"requestContext": {}, "DDBStreamBatchInfo": {"shardId": "s", "batchSize": 1}})
    put(stack.set_aside, "[")
    handed_on, kept = replayed(functions, queues)["announcements"]
    assert handed_on == []
    malformed, positions = sorted(kept)
    assert malformed == "it isn't a JSON object"
    assert "/announce" in positions
    assert len(stack.messages(stack.set_aside)) == 2


def given_up(stack: Stack, verb: str, start: int, end: int, **changes: str) -> None:
    """Put on the queue what Lambda does when a function failed too often: the place of the batch."""
    arn = boto3.client("dynamodb").describe_table(TableName=stack.table)["Table"]["LatestStreamArn"]
    (shard,) = boto3.client("dynamodbstreams").describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    numbers = [each["dynamodb"]["SequenceNumber"] for each in changes_of(arn, shard["ShardId"])]
    place = {"streamArn": arn, "shardId": shard["ShardId"]}
    place |= {"startSequenceNumber": numbers[start], "endSequenceNumber": numbers[end], **changes}
    function = f"arn:aws:lambda:eu-west-1:123456789012:function:{verb}"
    put(stack.set_aside, {"requestContext": {"functionArn": function}, "DDBStreamBatchInfo": place})


def changes_of(arn: str, shard: str) -> list[Any]:
    streams = boto3.client("dynamodbstreams")
    start = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    return list(streams.get_records(ShardIterator=start["ShardIterator"])["Records"])


def test_what_lambda_gave_up_is_read_again_from_the_stream_and_announced(
    stack: Stack, registered: Deployment, functions: Functions, queues: dict[str, str]
) -> None:
    stack.lifecycle.terminate("svc-7", reason="r", requested_by="bob")
    # The record and its lease, and the record again, which is not in the batch.
    given_up(stack, "announce", 0, 1)
    assert len(replayed(functions, queues)["announcements"].handed_on) == 1
    assert announced(stack) == [f"{registered.generation}-1"]
    assert stack.messages(stack.set_aside) == []


def test_a_lapsed_lease_that_lambda_gave_up_is_handed_to_the_function_that_missed_it(
    stack: Stack, functions: Functions, queues: dict[str, str]
) -> None:
    body = {"deployed_at": "2026-01-01T00:00:00Z", "ttl_seconds": 60}
    assert stack.call("register", with_body(an_event("register-post"), **body))["statusCode"] == 201
    key = {"blueprint_id": {"S": "svc-7"}, "item": {"S": "lease"}}
    boto3.client("dynamodb").delete_item(TableName=stack.table, Key=key)
    given_up(stack, "expire", -1, -1)
    assert len(replayed(functions, queues)["announcements"].handed_on) == 1
    assert stack.record().status == "Terminating"


def test_one_queue_is_replayed_alone_and_all_can_be_looked_at(
    stack: Stack, functions: Functions, queues: dict[str, str]
) -> None:
    put(stack.undelivered, "m1")
    put(stack.dead_letters, {"detail-type": "Scheduled Event"})
    assert waiting(boto3.client("sqs"), queues) == {"events": 1, "announcements": 0, "deliveries": 1}
    clients: Any = lambda service: functions if service == "lambda" else boto3.client(service)  # noqa: E731
    assert replay_all(clients, queues, "deliveries").keys() == {"deliveries"}
    assert waiting(boto3.client("sqs"), queues) == {"events": 1, "announcements": 0, "deliveries": 0}


def test_dead_letters_of_events_go_back_into_the_queue_of_their_kind(
    stack: Stack, functions: Functions, queues: dict[str, str]
) -> None:
    bodies = {}
    for kind, name in (("Initiated", "register-service-initiated"), ("Terminated", "terminate-service-terminated")):
        bodies[kind] = an_event(name)["Records"][0]["body"]
        put(stack.dead_letters, bodies[kind])
    put(stack.dead_letters, {"detail-type": "Scheduled Event"})
    assert replayed(functions, queues)["events"] == (["received too often"] * 2, ["it isn't an event of a service"])
    for kind, body in bodies.items():
        (message,) = stack.messages(queues[f"{kind}QueueUrl"])
        assert message["Body"] == body
    (letter,) = stack.messages(stack.dead_letters)
    assert json.loads(letter["Body"]) == {"detail-type": "Scheduled Event"}


def test_a_malformed_event_that_is_mended_in_the_settings_registers_at_its_replay(
    stack: Stack, functions: Functions, queues: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = an_event("register-service-initiated")
    monkeypatch.setenv("ENABLED_TYPES", "VultrVke")
    assert stack.call("register", batch) == {"batchItemFailures": []}
    assert stack.records.get("svc-8") is None
    monkeypatch.delenv("ENABLED_TYPES")
    forget_process()
    replayed(functions, queues)
    (message,) = stack.messages(queues["InitiatedQueueUrl"])
    again = batch["Records"][0] | {"body": message["Body"]}
    assert stack.call("register", {"Records": [again]}) == {"batchItemFailures": []}
    assert stack.record("svc-8").status == "Active"


def test_dead_deliveries_go_back_into_theirs(stack: Stack, functions: Functions, queues: dict[str, str]) -> None:
    put(stack.undelivered, "m1")
    assert replayed(functions, queues)["deliveries"] == (["received too often"], [])
    assert [message["Body"] for message in stack.messages(stack.deliveries)] == ["m1"]
