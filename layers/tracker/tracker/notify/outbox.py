"""Publishes the facts that were committed: the outbox of each version of a record, as the table's stream brings it.

Called by the announce function, also for what was set aside, which comes as a batch of one (`make replay`).
"""

import time
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError

from tracker.clients import sendable
from tracker.dead_letters import bury
from tracker.notify.announcements import Topic
from tracker.store.table import STRAY, read_image, read_stray_image
from tracker.watch.measures import Measure, counted, measures

# The seconds for which the stream brings again what can't be published. After them it is set aside, and its shard goes on.
TRIED_SECONDS = 900
# The errors of SNS about a message that it will never take. All other errors may pass.
FINAL = frozenset({"InvalidParameter", "InvalidParameterValue", "ParameterValueInvalid", "ValidationException"})

logger = Logger(child=True)


class Publisher:
    """Publishes versions on the topic, and sets aside what can't be published on the queue `aside` (its URL).

    `count` is called with what is counted of each fact that was announced.
    """

    def __init__(self, topic: Topic, aside: str, count: Callable[[list[Measure]], object]) -> None:
        self._topic = topic
        self._aside = aside
        self._count = count

    def publish(self, records: list[dict[str, Any]]) -> str | None:
        """Publish a batch of the stream in order. Return the sequence number from which the stream must go on later, if any."""
        for record in records:
            try:
                self._announce(record)
            except Exception as error:
                if not is_final(error, record):
                    # The stream brings it again with all that follows: the order is kept, and nothing is lost.
                    logger.exception("a version can't be announced")
                    return str(record["dynamodb"]["SequenceNumber"])
                self._set_aside(record, f"it can't be announced: {type(error).__name__}")
        return None

    def _announce(self, record: dict[str, Any]) -> None:
        """Publish the outbox of one version of a record or a stray. A malformed version is set aside."""
        change = record["dynamodb"]
        try:
            if change.get("Keys", {}).get("item") == {"S": STRAY}:
                stray = read_stray_image(change.get("NewImage", {}))
                for fact in stray.outbox:
                    found = self._topic.announce_stray(stray, fact)
                    self._count([counted(str(found.data["event"]))])
                return
            deployment = read_image(change.get("NewImage", {}))
        except ValueError as error:
            self._set_aside(record, str(error))
            return
        for event in deployment.outbox:
            self._topic.announce(deployment, event)
            self._count(measures(deployment, event))

    def _set_aside(self, record: dict[str, Any], reason: str) -> None:
        """Keep a version with its content, so that it doesn't hold up others and can be announced later.

        It always fits: an item has at most 400 KB, as JSON within JSON at most twice as many, and SQS takes 1 MB.
        """
        change = {name: value for name, value in record["dynamodb"].items() if name != "OldImage"}
        bury(sendable(record | {"dynamodb": change}).decode(), reason, queue=self._aside)


def is_final(error: Exception, record: dict[str, Any]) -> bool:
    """Return whether a version must not be tried again: SNS refuses it for good, or it was tried for long enough."""
    if isinstance(error, ClientError) and error.response["Error"]["Code"] in FINAL:
        return True
    created_at: float | None = record["dynamodb"].get("ApproximateCreationDateTime")
    return created_at is not None and time.time() - created_at > TRIED_SECONDS
