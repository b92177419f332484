"""Posts announcements to the webhooks of their deployments, from the queue that the topic fills, one message at a time."""

from functools import cache
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker.model.clock import utc_now
from tracker.model.delivery import Delivery
from tracker.model.deployment import parse_time
from tracker.model.settings import settings
from tracker.notify.queue import Queue, outcome
from tracker.notify.sender import Sender
from tracker.runtime import deliveries, entry_point, logger, metrics

METRICS = {
    "pending": "DeliveryFailed",
    "delivered": "Delivered",
    "stopped": "DeliveryStopped",
    "dead": "DeliveryDead",
}


@cache
def sender() -> Sender:
    """Return the sender over this stack's table."""
    return Sender(deliveries(), settings())


@entry_point
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Attempt each delivery. One that is still pending stays in the queue, hidden until its next attempt."""
    queue = Queue(sender(), settings(), note)
    again = [message["messageId"] for message in event["Records"] if not queue.is_done(message)]
    return {"batchItemFailures": [{"itemIdentifier": id_} for id_ in again]}


def note(delivery: Delivery) -> None:
    """Log and count the outcome of a delivery, without its URL."""
    metrics.add_metric(METRICS[delivery.state], MetricUnit.Count, 1)
    if delivery.state in ("delivered", "dead"):
        age = (utc_now() - parse_time(delivery.created_at)).total_seconds()
        metrics.add_metric("DeliveryAge", MetricUnit.Seconds, max(0.0, age))
    logger.info(
        "a delivery is %s",
        delivery.state,
        extra={
            "blueprint_id": delivery.blueprint_id,
            "webhook_id": delivery.id,
            "series": delivery.series,
            "seconds": delivery.attempts[-1].seconds,
            "outcome": outcome(delivery),
        },
    )
