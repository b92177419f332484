"""Publishes what was committed: the news of each new version of a record, from the table's stream to the topic."""

from functools import lru_cache
from typing import Any

import msgspec
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker import events
from tracker.announcements import Topic
from tracker.records import Records, from_image
from tracker.settings import settings

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace="DeploymentTracker")


@lru_cache(maxsize=1)
def topic() -> Topic:
    """This stack's topic and table."""
    return Topic(settings().topic_arn, Records(settings().table_name))


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Publish in order; at the first that can't be, the stream is asked to go on from it later."""
    for record in event["Records"]:
        try:
            announced(record)
        except Exception:
            # The stream keeps it, and what follows, and brings it again: order is kept, nothing is lost.
            logger.exception("a version can't be announced")
            return {"batchItemFailures": [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]}
    return {"batchItemFailures": []}


def announced(record: dict[str, Any]) -> None:
    """Publish one version's news. A malformed one is set aside with its content, and the others go on."""
    try:
        deployment = from_image(record["dynamodb"].get("NewImage", {}))
    except ValueError as error:
        events.bury(msgspec.json.encode(record).decode(), str(error), queue=settings().set_aside_queue_url)
        return
    for event in deployment.news:
        # Counted here, since every fact comes by, whoever committed it: Registered, CleanupFailed, Quarantined ...
        metrics.add_metric(topic().announce(deployment, event).metric, MetricUnit.Count, 1)
