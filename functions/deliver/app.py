"""Posts announcements to the webhooks of their deployments: the topic's queue, one message at a time."""

from datetime import timedelta
from functools import lru_cache
from math import ceil
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError

from tracker import events
from tracker.deliveries import HIDDEN_MAX, Delivery, Errand, errand
from tracker.records import Records
from tracker.sender import Sender
from tracker.settings import settings
from tracker.workflow import CONFIG

COUNTED = {
    "pending": "DeliveryFailed",
    "delivered": "Delivered",
    "stopped": "DeliveryStopped",
    "dead": "DeliveryDead",
}

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace="DeploymentTracker")


@lru_cache(maxsize=1)
def sender() -> Sender:
    """The sender over this stack's table."""
    return Sender(Records(settings().table_name), settings())


@lru_cache(maxsize=1)
def sqs() -> Any:
    """The client of the queue."""
    return boto3.client("sqs", config=CONFIG)


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Attempt each; what is still pending stays in the queue, out of sight until its next attempt."""
    again = [message["messageId"] for message in event["Records"] if not is_done(message)]
    return {"batchItemFailures": [{"itemIdentifier": id_} for id_ in again]}


def is_done(message: dict[str, Any]) -> bool:
    """Attempt a delivery; whether the queue may forget its message."""
    try:
        wanted = errand(message["body"])
    except ValueError as error:
        bury(message["body"], str(error))
        return True
    try:
        return attempted(message, wanted)
    except Exception:
        # The queue brings it again, and what is kept of it says how far it is.
        logger.exception("a delivery can't be attempted", extra={"webhook_id": wanted.webhook_id})
        return False


def attempted(message: dict[str, Any], wanted: Errand) -> bool:
    """Attempt it; whether that was the last of its series."""
    sent = sender().send(wanted)
    if sent is None:
        bury(message["body"], "no such delivery")
        return True
    delivery = sent.delivery
    if sent.is_attempted:
        note(delivery)
    if delivery.series != wanted.series:
        return True
    if delivery.state == "dead":
        bury(following(wanted).text, said(delivery))
    if delivery.state == "pending":
        hide(message["receiptHandle"], sent.wait)
    return delivery.state != "pending"


def bury(body: str, reason: str) -> None:
    """Put it where someone must look."""
    events.bury(body, reason, queue=settings().undelivered_queue_url)


def following(wanted: Errand) -> Errand:
    """What a dead letter asks for, however it comes back to the queue: the same delivery, tried anew."""
    return Errand(wanted.blueprint_id, wanted.webhook_id, wanted.series + 1)


def hide(receipt: str, wait: timedelta) -> None:
    """Let the queue bring a message when its time has come, or as late as it can."""
    seconds = max(1, ceil(min(wait, HIDDEN_MAX).total_seconds()))
    try:
        sqs().change_message_visibility(
            QueueUrl=settings().deliveries_queue_url, ReceiptHandle=receipt, VisibilityTimeout=seconds
        )
    except ClientError as error:
        # It comes earlier then, and what is kept of the delivery says that it isn't its time.
        logger.warning("a message can't be hidden", extra={"reason": error.response["Error"]["Code"]})


def note(delivery: Delivery) -> None:
    """Log and count what became of it, without its URL."""
    metrics.add_metric(COUNTED[delivery.state], MetricUnit.Count, 1)
    last = delivery.attempts[-1]
    logger.info(
        "a delivery is %s",
        delivery.state,
        extra={
            "blueprint_id": delivery.blueprint_id,
            "webhook_id": delivery.id,
            "series": delivery.series,
            "seconds": last.seconds,
            "said": said(delivery),
        },
    )


def said(delivery: Delivery) -> str:
    """What came of its last attempt."""
    last = delivery.attempts[-1] if delivery.attempts else None
    return "not tried" if last is None else last.error or f"answered {last.status}"
