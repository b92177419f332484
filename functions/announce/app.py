"""Publishes what was committed: the facts of each new version of a record, from the table's stream to the topic."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker.model.settings import settings
from tracker.notify.outbox import Publisher
from tracker.runtime import entry_point, show, topic


@entry_point
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Publish the stream's batch in order. At the first version that can't be published, ask the stream to go on from it later."""
    stopped_at = Publisher(topic(), settings().set_aside_queue_url, show).publish(event["Records"])
    return {"batchItemFailures": [{"itemIdentifier": stopped_at}] if stopped_at else []}
