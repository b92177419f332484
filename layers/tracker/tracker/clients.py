"""Makes the clients of the AWS services that the tracker itself runs on, each once, with time limits.

Used by every room that calls such a service. DynamoDB is called through PynamoDB (`store`), and the resources of deployments on
AWS through sessions of their own (`cleanup/providers/aws`).
"""

from functools import cache
from typing import Any

import boto3
import msgspec
from botocore import exceptions
from botocore.config import Config

# Timeouts in seconds. The queue, the stream or the workflow repeats a call that failed, so a few attempts suffice.
CONFIG = Config(connect_timeout=3, read_timeout=8, retries={"mode": "standard", "total_max_attempts": 3})

PATIENT = Config(connect_timeout=3, read_timeout=24, retries={"mode": "standard", "total_max_attempts": 1})

# What AWS's services answer that have no room for a call now, or that are unwell for a moment. ExecutionLimitExceeded: as many
# executions as may be open are. The last two are reasons for which a transaction of DynamoDB is cancelled.
PASSING = frozenset(
    {
        "ExecutionLimitExceeded",
        "InternalFailure",
        "InternalServerError",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "ServiceException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
        "ProvisionedThroughputExceeded",
        "ThrottlingError",
    }
)


@cache
def client(service: str) -> Any:
    """Return boto3's client of a service ("sns", "sqs", "stepfunctions", "lambda", "secretsmanager")."""
    return boto3.client(service, config=CONFIG)


@cache
def patient_client(service: str) -> Any:
    """Return a client for a call that is waited for as long as the gateway waits, and made once."""
    return boto3.client(service, config=PATIENT)


def is_passing(error: Exception) -> bool:
    """Return whether a service, the table included, had no room for a call or didn't answer it: moments later it may."""
    # PynamoDB wraps what botocore raised.
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, exceptions.ClientError):
        reasons = [reason.code for reason in getattr(cause, "cancellation_reasons", []) if reason]
        return not PASSING.isdisjoint({cause.response["Error"]["Code"], *reasons})
    return isinstance(cause, exceptions.ConnectionError | exceptions.HTTPClientError)


def sendable(value: object) -> bytes:
    """Return JSON that SQS takes, and SNS with it: the two characters that no XML may have are escaped."""
    return msgspec.json.encode(value).replace(b"\xef\xbf\xbe", b"\\ufffe").replace(b"\xef\xbf\xbf", b"\\uffff")
