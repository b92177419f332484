"""Sets messages aside on a queue where someone must look at them. Used by the doors and by the notifications."""

from aws_lambda_powertools import Logger

from tracker.clients import client
from tracker.model.deployment import clipped, printable

REASON_MAX = 1024

logger = Logger(child=True)


def bury(body: str, reason: str, *, queue: str) -> None:
    """Put a whole message on a dead-letter queue (its URL), with the reason as its attribute."""
    # SQS refuses control characters, which a reason may quote.
    attributes = {"reason": {"DataType": "String", "StringValue": clipped(printable(reason), REASON_MAX)}}
    client("sqs").send_message(QueueUrl=queue, MessageBody=body, MessageAttributes=attributes)
    logger.error("set aside", extra={"reason": reason})
