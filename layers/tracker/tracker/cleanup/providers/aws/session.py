"""Sessions on AWS for the place that a resource names: whose account it is, and what AWS's errors mean.

Used by the files of the AWS types. Nothing is judged or deleted before the account that the credentials are
really for was compared with the one that the place names: "not found" in another account proves nothing.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    InvalidRegionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError

from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.model.deployment import Deployment
from tracker.model.settings import Settings
from tracker.retry_after import parse_retry_after

# Seconds. Few attempts: trying again is the workflow's.
CONNECT_TIMEOUT = 5
READ_TIMEOUT = 20
ATTEMPTS = 2
# How long a session is kept: well below the hour that an assumed role's credentials last.
KEPT_FOR = 300
THROTTLED_FOR = 10
# The longest wait that an answer is believed. No round lasts longer.
WAIT_MAX = 86_400

# The first pattern that matches an error's code (or, with a blank in it, its code and message) says what it means. The codes
# are EC2's, of botocore's model of 2016-11-15 and of Terraform's internal/service/ec2/errors.go; EKS', of botocore's model of
# 2017-11-01 and of internal/service/eks/cluster.go; Elastic Load Balancing's, of botocore's models of 2015-12-01 and 2012-06-01; and
# those that all of AWS shares.
_MEANINGS = (
    ("Invalid*.NotFound", "gone"),
    ("ResourceNotFoundException", "gone"),
    ("LoadBalancerNotFound", "gone"),
    ("ClientException: No cluster found for name:*", "gone"),
    ("RequestLimitExceeded", "throttled"),
    ("Throttling*", "throttled"),
    ("RequestThrottled*", "throttled"),
    ("TooManyRequests*", "throttled"),
    ("DependencyViolation", "in use"),
    ("VolumeInUse", "in use"),
    ("Invalid*.InUse", "in use"),
    ("IncorrectState", "in use"),
    ("IncorrectInstanceState", "in use"),
    ("ResourceInUseException", "in use"),
    ("ResourceInUse", "in use"),
    ("OperationNotPermitted", "protected"),
    ("CannotDelete", "protected"),
    # EKS' user guide, "Protect EKS clusters from accidental deletion". Otherwise the cluster is in a state that passes.
    ("InvalidRequestException: *protect*", "protected"),
    ("InvalidRequestException", "in use"),
    # As EC2 says of an interface that a service of AWS's own holds.
    ("InvalidParameterValue: *in use*", "in use"),
    ("UnauthorizedOperation", "denied"),
    ("AccessDenied*", "denied"),
    ("AuthFailure", "credentials"),
    ("InvalidClientTokenId", "credentials"),
    ("UnrecognizedClient*", "credentials"),
    ("MissingAuthenticationToken", "credentials"),
    ("ExpiredToken*", "credentials"),
    ("RequestExpired", "credentials"),
    ("SignatureDoesNotMatch", "credentials"),
    ("IncompleteSignature", "credentials"),
    ("InvalidSignature*", "credentials"),
    ("OptInRequired", "credentials"),
    ("Blocked", "credentials"),
    ("PendingVerification", "credentials"),
    ("Invalid*.Malformed", "bad id"),
    ("Invalid*.Format", "bad id"),
    ("InvalidParameter*", "bad id"),
    ("MissingParameter", "bad id"),
)


class NotOffered(Unreachable):
    """The endpoint knows no such call: it isn't offered in this region, or not yet."""


class Session:
    """Credentials that AWS itself said are for `account`, in one region."""

    def __init__(self, credentials: Any, account: str) -> None:
        self._credentials = credentials
        self.account = account
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """Return the client of a service, which is made once: EC2's takes long to make."""
        if service not in self._clients:
            self._clients[service] = self._credentials.client(service, config=_config())
        return self._clients[service]


def place_of(deployment: Deployment, settings: Settings) -> dict[str, str]:
    """Return where the record says that everything is: region, account if something vouches for one, role if it names one.

    Raises Refused if something was seen elsewhere and isn't gone: there it still is.
    """
    if not deployment.region:
        raise Refused("missing_id", "the record names no region, and only in its region can it be looked for")
    vouched = deployment.metadata.get("account") or settings.aws_account or _seen_in(deployment)
    place = {"region": deployment.region, "account": vouched}
    for seen in (one for one in deployment.resources if one.seen and not one.is_done):
        elsewhere = [key for key in place if seen.place.get(key, place[key]) != place[key]]
        for key in elsewhere:
            text = f"{seen.kind} {seen.id} was seen in {key} {seen.place[key]}, and now it should be in {place[key]}"
            raise Refused("bad_id", f"{text}: correct the record")
    place |= {key: deployment.metadata.get(key, "") for key in ("role", "external_id")}
    return {key: value for key, value in place.items() if value}


def opened(place: dict[str, str], settings: Settings) -> Session:
    """Return the session for a place. Raises Refused if its credentials are for another account than the place names."""
    role = place.get("role", "")
    if role and not settings.allows("role", role):
        raise Refused("credentials", f"no setting allows the role {role} that the record names")
    session = _opened(place["region"], role, place.get("external_id", ""), int(time.monotonic() // KEPT_FOR))
    if place.get("account", session.account) != session.account:
        text = f"the credentials are for account {session.account}, and it is in {place['account']}"
        raise Refused("credentials", f"{text}: correct metadata.account, or name a role there")
    return session


@contextmanager
def translated(call: str) -> Iterator[None]:
    """Raise what an error of this call means: Gone, or one of the contract's exceptions."""
    try:
        yield
    except ClientError as error:
        # From None: what AWS says of a wrong signature quotes the request, with its session token.
        raise _meaning(error, call) from None
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
        raise Refused("credentials", f"{call}: {type(error).__name__}") from None
    except (ParamValidationError, InvalidRegionError) as error:
        raise Refused("bad_id", f"{call}: {error}") from error
    except BotoCoreError as error:
        raise Unreachable(f"{call}: {error}") from error
    except (ResponseParserError, KeyError):
        # botocore meets an answer of another form with a KeyError. Its own error quotes the answer: an assumed role's
        # keys, maybe.
        raise Unreachable(f"{call}: the answer can't be read") from None


@lru_cache(maxsize=8)
def _opened(region: str, role: str, external_id: str, _period: int) -> Session:
    """Return a session whose account is known. The cache forgets it when `_period` changes."""
    credentials = boto3.Session(region_name=region)
    if role:
        credentials = _assumed(credentials, region, role, external_id)
    with translated("GetCallerIdentity"):
        answer = credentials.client("sts", config=_config()).get_caller_identity()
    if not answer.get("Account"):
        raise Unreachable("GetCallerIdentity: the answer names no account")
    return Session(credentials, answer["Account"])


def _assumed(own: Any, region: str, role: str, external_id: str) -> Any:
    request = {"RoleArn": role, "RoleSessionName": "deployment-tracker"}
    if external_id:
        request["ExternalId"] = external_id
    with translated("AssumeRole"):
        keys = own.client("sts", config=_config()).assume_role(**request).get("Credentials")
    if not keys:
        raise Unreachable("AssumeRole: the answer holds no credentials")
    return boto3.Session(
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
        region_name=region,
    )


def _config() -> Config:
    return Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    )


def _seen_in(deployment: Deployment) -> str:
    """Return the account in which something of this deployment was once seen; empty if nothing was."""
    return next((r.place["account"] for r in deployment.resources if r.seen and "account" in r.place), "")


def _meaning(error: ClientError, call: str) -> Exception:
    said = error.response.get("Error", {})
    answer = error.response.get("ResponseMetadata", {})
    # An empty element is parsed as None.
    code, status = said.get("Code") or "", answer.get("HTTPStatusCode", 0)
    whole = f"{code}: {said.get('Message') or ''}"
    # A session token, should it be quoted, is the only word of that length.
    text = re.sub("[A-Za-z0-9+/=_-]{100,}", "***", f"{call}: {whole}")
    means = (meaning for pattern, meaning in _MEANINGS if fnmatchcase(whole if " " in pattern else code, pattern))
    match next(means, status):
        case "gone":
            return Gone(f"{call}: {code}")
        case "throttled" | 429:
            return Busy(f"{call}: {code}", _retry_after(answer.get("HTTPHeaders", {})))
        case "in use":
            return Busy(text)
        case "protected":
            return Refused("protected", text)
        case "denied":
            # What follows is encoded, a thousand characters long, and of no use to a reader.
            return Refused("credentials", re.split(r"\s*Encoded authorization failure message", text)[0])
        case "credentials" | 401 | 403:
            return Refused("credentials", f"{call}: {code}")
        case "bad id":
            return Refused("bad_id", text)
        # Without a code of AWS's own botocore takes the status for one.
        case HTTPStatus.NOT_FOUND if code in ("", "404"):
            return NotOffered(f"{text} ({status})")
        case _:
            return Unreachable(f"{text} ({status})")


def _retry_after(headers: dict[str, str]) -> float:
    wait = parse_retry_after(headers.get("retry-after", ""), longest=WAIT_MAX)
    return THROTTLED_FOR if wait is None else wait
