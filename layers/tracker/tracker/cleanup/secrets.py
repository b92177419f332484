"""Reading the secrets that a record names, from AWS Secrets Manager.

Called by deployment types whose place needs a key, a certificate or a token of its own. A secret is read anew for
each step, so that a rotated one is used at once, and its content never reaches an error, a log or a record.
"""

import boto3
import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tracker.cleanup.contract import Busy, Refused, Unreachable
from tracker.settings import Settings

_CONFIG = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2, "mode": "standard"})
_THROTTLED = frozenset({"ThrottlingException", "TooManyRequestsException"})
_TRANSIENT = frozenset({"InternalServiceError", "ServiceUnavailable", "RequestTimeout"})


def read(name: str, settings: Settings, *needed: str) -> dict[str, str]:
    """The secret of that name or ARN: a JSON object of texts that has the `needed` keys.

    Refused if no setting allows it, if it can't be had, or isn't that.
    """
    if not settings.allows("secret", name):
        raise Refused("credentials", f"secret {name} isn't among the allowed ones")
    try:
        answer = boto3.client("secretsmanager", config=_CONFIG).get_secret_value(SecretId=name)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _THROTTLED:
            raise Busy(f"secret {name}: {code}") from error
        if code in _TRANSIENT:
            raise Unreachable(f"secret {name}: {code}") from error
        raise Refused("credentials", f"secret {name}: {code}") from error
    except BotoCoreError as error:
        raise Unreachable(f"secret {name}: {type(error).__name__}") from error
    try:
        content = msgspec.json.decode(answer.get("SecretString", ""), type=dict[str, str])
    except msgspec.DecodeError:
        # Without its cause: a decoder's error may quote what it couldn't read.
        raise Refused("credentials", f"secret {name} isn't a JSON object of texts") from None
    lacking = [key for key in needed if not content.get(key)]
    if lacking:
        raise Refused("credentials", f"secret {name} lacks {', '.join(lacking)}")
    return content
