"""A queue on the topic of a stack, which hears everything that is announced; for the demo and the tests."""

import json
from typing import Any
from uuid import uuid4

from local.stack import Stack


class Listener:
    """A subscriber of a stack's topic. What came twice it hears once."""

    def __init__(self, stack: Stack) -> None:
        self._sqs, self._sns = stack.client("sqs"), stack.client("sns")
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
        self._subscription = self._sns.subscribe(
            TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=attributes, ReturnSubscriptionArn=True
        )["SubscriptionArn"]
        self._heard: dict[str, dict[str, Any]] = {}

    def heard(self, seconds: int = 0) -> list[dict[str, Any]]:
        """Return all announcements so far, in the order in which they came. The first batch is waited for that long."""
        while messages := self._receive(seconds):
            seconds = 0
            for message in messages:
                body = json.loads(message["Body"])
                if "data" in body:
                    self._heard.setdefault(body["id"], body)
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return [*self._heard.values()]

    def close(self) -> None:
        """Hear nothing any more."""
        self._sns.unsubscribe(SubscriptionArn=self._subscription)
        self._sqs.delete_queue(QueueUrl=self._url)

    def _receive(self, seconds: int) -> list[dict[str, Any]]:
        answer = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=seconds)
        found: list[dict[str, Any]] = answer.get("Messages", [])
        return found
