"""Sends again when asked to: one delivery to a webhook, or what the topic was told of a deployment."""

from functools import lru_cache
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker import api
from tracker.announcements import Topic
from tracker.deliveries import Errand
from tracker.errors import Invalid, NotFound
from tracker.records import Records
from tracker.settings import settings
from tracker.workflow import CONFIG

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace="DeploymentTracker")


@lru_cache(maxsize=1)
def records() -> Records:
    """This stack's table."""
    return Records(settings().table_name)


@lru_cache(maxsize=1)
def topic() -> Topic:
    """This stack's topic."""
    return Topic(settings().topic_arn, records())


@lru_cache(maxsize=1)
def sqs() -> Any:
    """The client of the queue."""
    return boto3.client("sqs", config=CONFIG)


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer the gateway."""
    routes = {
        ("POST", "/deployments/{blueprint_id}/deliveries/{webhook_id}/redeliver"): redelivered,
        ("POST", "/deployments/{blueprint_id}/announce"): announced,
    }
    return api.serve(event, routes)


def redelivered(call: api.Call) -> api.Answer:
    """202 with the series of attempts that begins: same id, URL and body, whatever became of it before."""
    delivery = records().delivery(call.key, call.webhook_id)
    if delivery is None:
        raise NotFound(f"no delivery {call.webhook_id!r} of {call.key!r}")
    wanted = Errand(delivery.blueprint_id, delivery.id, delivery.series + 1)
    sqs().send_message(QueueUrl=settings().deliveries_queue_url, MessageBody=wanted.text)
    return 202, wanted


def announced(call: api.Call) -> api.Answer:
    """200 with the ids that were published again, from `{"from_sequence": n}` on, as far as the record has its facts."""
    first = api.json_object(call.body, allowed={"from_sequence"}).get("from_sequence", 1)
    if not isinstance(first, int) or isinstance(first, bool) or first < 1:
        raise Invalid("from_sequence", str(first), "a number from 1", malformed=True)
    deployment = records().find(call.key)
    if deployment is None:
        raise NotFound(f"nothing is registered under {call.key!r}")
    events = [event for event in deployment.events if event.sequence >= first]
    return 200, {"announced": [topic().announce(deployment, event).id for event in events]}
