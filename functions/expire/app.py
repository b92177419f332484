"""Acts on what is due. Every minute a sweep reads what will be due soon and puts it on a queue; the queue and the stream of removed leases bring it."""

from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker.lifecycle.horizon import Horizon, read_key
from tracker.model.brakes import Brakes
from tracker.model.clock import utc_now
from tracker.model.deployment import parse_time
from tracker.runtime import due_queue, entry_point, lifecycle, logger, metrics, modes_in_force, records, show
from tracker.store.table import UnreadableError
from tracker.watch.gauges import gauges, is_time_for_gauges


@entry_point
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Handle a batch of the queue or of the stream, or a tick of the sweep's schedule."""
    modes = modes_in_force()
    if found := event.get("Records"):
        failed = expire(found, modes) if "dynamodb" in found[0] else take(found, modes)
        return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}
    sweep = Horizon(records(), due_queue(), utc_now).sweep
    queued = sweep(lambda: context.get_remaining_time_in_millis() / 1000)
    # An alarm notices when this metric is absent.
    metrics.add_metric("Sweeps", MetricUnit.Count, 1)
    metrics.add_metric("DueSoon", MetricUnit.Count, queued)
    look_around(event, context)
    return {"queued": queued}


def look_around(event: dict[str, Any], context: LambdaContext) -> None:
    """At each fifth minute's tick, show how many deployments there are in which state, and what they cost. The sweep doesn't depend on it."""
    try:
        if "time" in event and is_time_for_gauges(parse_time(event["time"]).minute):
            show(gauges(records(), utc_now(), lambda: context.get_remaining_time_in_millis() / 1000))
    except Exception:
        # An alarm notices when the gauges are absent.
        logger.exception("the deployments can't be counted")


def take(messages: list[dict[str, Any]], modes: Brakes) -> list[str]:
    """Act on the record of each message. Return the ids of those that must come again."""
    failed = []
    started = 0
    for message in messages:
        try:
            started += lifecycle().take(read_key(message["body"]), modes)
        except ValueError:
            logger.exception("a message names no record")
        except Exception:
            # Not even moving it back in line worked: the table doesn't answer.
            logger.exception("a due record can't be put off")
            failed.append(message["messageId"])
    metrics.add_metric("RoundsStarted", MetricUnit.Count, started)
    return failed


def expire(changes: list[dict[str, Any]], modes: Brakes) -> list[str]:
    """Act on the record of each removed lease. Return the sequence number of the first that failed, if any.

    A lease that one of our own transactions removed needs no test: its record isn't due.
    """
    for each in changes:
        change = each["dynamodb"]
        generation = change.get("OldImage", {}).get("generation", {}).get("S")
        try:
            lifecycle().due(change["Keys"]["blueprint_id"]["S"], modes, generation)
        except UnreadableError:
            # Trying it again is no use. The sweep goes on logging it.
            logger.exception("a lapsed lease belongs to no record")
        except Exception:
            # Those before it are done; the stream brings it and what follows again.
            logger.exception("a lapsed lease can't be handled")
            return [change["SequenceNumber"]]
    return []
