"""Notices that time is over: removed leases from the table's stream, and the sweep of what is due, every minute."""

from functools import lru_cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker import brakes
from tracker.lifecycle import Lifecycle, assembled
from tracker.records import UnreadableError
from tracker.settings import settings

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace="DeploymentTracker")


@lru_cache(maxsize=1)
def lifecycle() -> Lifecycle:
    """The rules over this stack's table."""
    return assembled(settings())


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take the stream's batch, or the sweep's tick."""
    modes = brakes.read(settings().mode_parameter)
    if "Records" in event:
        return {"batchItemFailures": [{"itemIdentifier": n} for n in lapsed(event["Records"], modes)]}
    started = lifecycle().sweep(modes, lambda: context.get_remaining_time_in_millis() / 1000)
    metrics.add_metric("RoundsStarted", MetricUnit.Count, started)
    return {"started": started}


def lapsed(records: list[dict[str, Any]], modes: brakes.Brakes) -> list[str]:
    """Look at the record of each removed lease; the sequence number of the first that failed.

    A lease that our own transaction removed is told apart because then nothing is due.
    """
    for record in records:
        change = record["dynamodb"]
        generation = change.get("OldImage", {}).get("generation", {}).get("S")
        try:
            lifecycle().due(change["Keys"]["blueprint_id"]["S"], modes, generation)
        except UnreadableError:
            # It will be no record the next time either. The sweep keeps telling of it.
            logger.exception("a lapsed lease belongs to no record")
        except Exception:
            # Those before it are done; the stream brings it and what follows again.
            logger.exception("a lapsed lease can't be handled")
            return [change["SequenceNumber"]]
    return []
