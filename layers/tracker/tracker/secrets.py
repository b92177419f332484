"""Reads secrets from AWS Secrets Manager.

Used by the webhooks' sender and by the cleanup, which ask the settings first whether the secret may be read. A secret is read
anew each time, so that a rotated one is used at once, and its content never reaches an error, a log or a record.
"""

from typing import Literal

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from tracker.clients import client
from tracker.model import written
from tracker.model.written import TwiceError

type Fault = Literal["throttled", "unreachable", "refused"]

_FAULTS: dict[str, Fault] = {
    "ThrottlingException": "throttled",
    "TooManyRequestsException": "throttled",
    "InternalServiceError": "unreachable",
    "ServiceUnavailable": "unreachable",
    "RequestTimeout": "unreachable",
}


class SecretError(Exception):
    """A secret can't be read. The text is AWS's error code or the name of botocore's error.

    `fault`: "throttled" and "unreachable" may pass by themselves, "refused" (absent, or no permission) doesn't.
    """

    def __init__(self, text: str, fault: Fault) -> None:
        super().__init__(text)
        self.fault = fault


class SecretFormatError(SecretError):
    """A secret was read, and it isn't a JSON object of strings, with each key once."""

    def __init__(self) -> None:
        super().__init__("a secret that isn't a JSON object of strings", "refused")


def read_secret(name: str) -> dict[str, str]:
    """Read the secret of that name or ARN, a JSON object of strings. SecretError if it can't be read or isn't that."""
    try:
        response = client("secretsmanager").get_secret_value(SecretId=name)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise SecretError(code, _FAULTS.get(code, "refused")) from error
    except BotoCoreError as error:
        raise SecretError(type(error).__name__, "unreachable") from error
    return parse_secret(response.get("SecretString", ""))


def parse_secret(text: str) -> dict[str, str]:
    """Parse a secret's text. SecretFormatError if it isn't a JSON object of strings, or has a key twice."""
    try:
        return msgspec.convert(written.read(text), dict[str, str])
    except (msgspec.DecodeError, UnicodeError, RecursionError, TwiceError):
        # Without its cause: a decoder's error may quote what it couldn't read.
        raise SecretFormatError from None
