"""Dead letters of webhooks, put back."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from local.replay import aws_stack, replay


@pytest.fixture
def sqs() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("sqs")


def queue(sqs: Any, name: str, *bodies: str, **attributes: Any) -> str:
    url: str = sqs.create_queue(QueueName=name)["QueueUrl"]
    for body in bodies:
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes)
    return url


def bodies(sqs: Any, url: str) -> list[str]:
    found: list[str] = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        found += [message["Body"] for message in messages]
    return found


def test_every_dead_webhook_delivery_is_put_back_as_it_is_and_says_why_it_was_there(sqs: Any) -> None:
    reason = {"DataType": "String", "StringValue": "answered 500"}
    dead = queue(sqs, "dead", *(f"m{n}" for n in range(23)), reason=reason)
    sqs.send_message(QueueUrl=dead, MessageBody="redriven")
    target = queue(sqs, "target")
    assert sorted(replay(sqs, dead, target)) == ["answered 500"] * 23 + ["received too often"]
    assert sorted(bodies(sqs, target)) == sorted([*(f"m{n}" for n in range(23)), "redriven"])
    assert bodies(sqs, dead) == []


def test_no_dead_webhook_delivery_is_nothing_to_put_back(sqs: Any) -> None:
    assert replay(sqs, queue(sqs, "dead"), queue(sqs, "target")) == []


def test_a_webhook_message_that_dies_again_at_once_does_not_go_round_for_ever(sqs: Any) -> None:
    dead = queue(sqs, "dead", "a", "b")
    assert len(replay(sqs, dead, dead)) == 2
    assert sorted(bodies(sqs, dead)) == ["a", "b"]


def test_the_queues_of_webhooks_are_found_in_the_outputs_of_a_stack_on_aws(sqs: Any) -> None:
    template = """{"Resources": {"Q": {"Type": "AWS::SQS::Queue"}},
        "Outputs": {"UndeliveredQueueUrl": {"Value": {"Ref": "Q"}}}}"""
    boto3.client("cloudformation").create_stack(StackName="tracker", TemplateBody=template)
    clients, outputs = aws_stack("tracker", "eu-west-1", None)
    assert replay(clients("sqs"), outputs["UndeliveredQueueUrl"], queue(sqs, "target")) == []


@mock_aws
def test_a_stack_on_aws_is_looked_for_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    template = """{"Resources": {"T": {"Type": "AWS::SNS::Topic"}}, "Outputs": {"TopicArn": {"Value": {"Ref": "T"}}}}"""
    boto3.client("cloudformation", region_name="eu-north-1").create_stack(StackName="tracker", TemplateBody=template)
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    clients, outputs = aws_stack("tracker", None, None)
    assert ":eu-north-1:" in outputs["TopicArn"]
    assert clients("sqs").meta.region_name == "eu-north-1"
