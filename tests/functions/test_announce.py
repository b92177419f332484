"""Publishing what was committed, through the function's own handler."""

import json
import re
import time
from typing import Any

import boto3
import msgspec
import pytest
from botocore.exceptions import ClientError

from tests.functions.conftest import Stack, an_event, with_body
from tracker.model.clock import utc_now
from tracker.model.deployment import Deployment, Event, Resource, format_time
from tracker.notify.announcements import Announcement, Topic


def versions(*images: dict[str, Any]) -> dict[str, Any]:
    """The stream's batch, of these versions of a record."""
    record = an_event("announce-registered")["Records"][0]
    now = {"ApproximateCreationDateTime": time.time()}
    return {
        "Records": [
            record | {"dynamodb": record["dynamodb"] | now | {"NewImage": image, "SequenceNumber": f"n{n}"}}
            for n, image in enumerate(images)
        ]
    }


def test_the_news_is_published_with_its_id_and_what_to_filter_by(stack: Stack) -> None:
    event = an_event("announce-registered")
    assert stack.call("announce", event) == {"batchItemFailures": []}
    (message,) = stack.messages(stack.subscriber)
    body = json.loads(message["Body"])
    generation = event["Records"][0]["dynamodb"]["NewImage"]["generation"]["S"]
    assert (body["id"], body["type"]) == (f"{generation}-1", "deployment.registered")
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert attributes == {
        "event": "registered",
        "status": "Active",
        "deployment_type": "AwsEc2",
        "blueprint_id": "svc-7",
    }


def test_published_again_it_has_the_same_id(stack: Stack) -> None:
    for _ in range(2):
        stack.call("announce", an_event("announce-registered"))
    first, second = (json.loads(message["Body"]) for message in stack.messages(stack.subscriber))
    assert first == second


def test_the_order_of_the_stream_is_kept(stack: Stack, registered: Deployment) -> None:
    images = [stack.image()]
    for n in range(3):
        stack.call("amend", an_event("amend-patch") | {"body": json.dumps({"metadata": {"n": str(n)}})})
        images.append(stack.image())
    stack.call("announce", versions(*images))
    sequences = [json.loads(message["Body"])["data"]["sequence"] for message in stack.messages(stack.subscriber)]
    assert sequences == [1, 2, 3, 4]


def test_what_has_no_news_is_not_announced(stack: Stack, registered: Deployment) -> None:
    image = stack.image()
    del image["news"]
    assert stack.call("announce", versions(image)) == {"batchItemFailures": []}
    assert stack.messages(stack.subscriber) == []


@pytest.mark.parametrize("broken", [{}, {"news": {"S": "["}}, None], ids=["empty", "torn", "no image"])
def test_a_malformed_version_is_set_aside_with_its_content_and_the_others_go_on(
    stack: Stack, registered: Deployment, broken: dict[str, Any] | None
) -> None:
    good = stack.image()
    batch = versions(good, good | broken if broken else {}, good)
    if broken is None:
        del batch["Records"][1]["dynamodb"]["NewImage"]
    assert stack.call("announce", batch) == {"batchItemFailures": []}
    assert len(stack.messages(stack.subscriber)) == 2
    (letter,) = stack.messages(stack.set_aside)
    assert json.loads(letter["Body"]) == batch["Records"][1]
    assert "not a record" in letter["MessageAttributes"]["reason"]["StringValue"]


def test_what_cannot_be_published_stops_there_and_is_brought_again(
    stack: Stack, registered: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = stack.image()
    topics = boto3.client("sns").list_topics()["Topics"]
    stack.call("announce", versions(good))
    assert len(stack.messages(stack.subscriber)) == 1
    boto3.client("sns").delete_topic(TopicArn=topics[0]["TopicArn"])
    quiet = {name: value for name, value in good.items() if name != "news"}
    assert stack.call("announce", versions(quiet, good, good)) == {"batchItemFailures": [{"itemIdentifier": "n1"}]}
    assert stack.messages(stack.set_aside) == []


def test_what_the_stream_brought_for_too_long_is_set_aside_and_its_shard_goes_on(
    stack: Stack, registered: Deployment
) -> None:
    good = stack.image()
    (topic,) = boto3.client("sns").list_topics()["Topics"]
    boto3.client("sns").delete_topic(TopicArn=topic["TopicArn"])
    batch = versions(good, good)
    for record in batch["Records"]:
        record["dynamodb"]["ApproximateCreationDateTime"] -= 901
        record["dynamodb"]["OldImage"] = good
    assert stack.call("announce", batch) == {"batchItemFailures": []}
    letters = stack.messages(stack.set_aside)
    assert len(letters) == 2
    content = json.loads(letters[0]["Body"])
    assert content["dynamodb"]["NewImage"] == good
    # As it is, it can be announced again.
    boto3.client("sns").create_topic(Name=topic["TopicArn"].rpartition(":")[2])
    content["dynamodb"]["ApproximateCreationDateTime"] = time.time()
    assert stack.call("announce", {"Records": [content]}) == {"batchItemFailures": []}


def test_what_sns_refuses_for_good_is_set_aside_at_once_and_the_others_go_on(
    stack: Stack, registered: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = stack.image()
    publish = Topic.announce

    def refused(topic: Topic, deployment: Deployment, event: Event) -> Announcement:
        if deployment.region == "nowhere":
            raise ClientError({"Error": {"Code": "InvalidParameter", "Message": "too long"}}, "Publish")
        return publish(topic, deployment, event)

    monkeypatch.setattr(Topic, "announce", refused)
    batch = versions(good | {"region": {"S": "nowhere"}}, good)
    assert stack.call("announce", batch) == {"batchItemFailures": []}
    assert len(stack.messages(stack.subscriber)) == 1
    (letter,) = stack.messages(stack.set_aside)
    assert json.loads(letter["Body"]) == batch["Records"][0]


def test_the_largest_version_is_set_aside_whole_and_announced_later_as_it_would_have_been(
    stack: Stack, registered: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Quotes and backslashes, which are escaped each time that the text becomes JSON.
    odd = {f"m{n}": '"\\' * 320 for n in range(20)}
    stack.lifecycle.amend("svc-7", lambda old: (msgspec.structs.replace(old, metadata=odd), None))
    terminating = stack.lifecycle.terminate("svc-7", reason="r", requested_by="b")
    gone = [
        Resource(
            kind="azure:disk",
            id=f"{n:0200}",
            state="gone",
            seen=True,
            proof='"\\' * 220,
            gone_at=format_time(utc_now()),
        )
        for n in range(200)
    ]
    stack.lifecycle.released(terminating, gone)
    batch = versions(stack.image())
    assert len(json.dumps(batch)) > 500_000
    with monkeypatch.context() as patch:
        patch.setattr(Topic, "announce", refused)
        assert stack.call("announce", batch) == {"batchItemFailures": []}
    (letter,) = stack.messages(stack.set_aside)
    assert json.loads(letter["Body"]) == batch["Records"][0]
    assert stack.call("announce", {"Records": [json.loads(letter["Body"])]}) == {"batchItemFailures": []}
    (said,) = [
        found
        for message in stack.messages(stack.subscriber)
        if (found := json.loads(message["Body"]))["type"] == "deployment.cleanup_succeeded"
    ]
    assert said["data"]["counts"] == {"gone": 200}
    assert said["data"]["resources"]


def refused(_topic: Topic, _deployment: Deployment, _event: Event) -> Announcement:
    raise ClientError({"Error": {"Code": "InvalidParameter", "Message": "too long"}}, "Publish")


# SendMessage of SQS: "#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF".
SENT = re.compile("[\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")


@pytest.mark.parametrize("text", ["\ufffe", "\uffff", "\x00\x1f", "\x7f\x85", "\ufffd\ue000", "\U0010ffff"])
def test_whatever_a_record_says_is_sent_in_characters_that_sqs_takes(stack: Stack, text: str) -> None:
    """A provider's error and a caller's metadata may hold any. What SQS refuses would hold up its shard."""
    stack.call("register", with_body(an_event("register-post"), metadata={"note": text}))
    stack.lifecycle.restored(
        "svc-7", stack.lifecycle.terminate("svc-7", reason="r", requested_by="b").generation, 1, text
    )
    image = stack.image()
    stack.call("announce", versions(image, image | {"version": {"S": "no number"}}))
    failed, *more = [*stack.messages(stack.subscriber), *stack.messages(stack.set_aside)]
    assert json.loads(failed["Body"])["data"]["error"]["message"] == text
    assert more
    assert text in json.loads(json.loads(more[-1]["Body"])["dynamodb"]["NewImage"]["metadata"]["S"])["note"]
    for message in (failed, *more):
        assert SENT.fullmatch(message["Body"])
