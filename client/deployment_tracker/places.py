"""Finds the stack that a command is for, and the AWS credentials to call it with.

The first of these counts: a URL; the name of a stack, or TRACKER_STACK, looked up by CloudFormation; the stack of `make up` in
this folder or one above it. The last is called with its own keys and never with the user's, so that a file in a folder that
someone else wrote can't lead the user's signatures anywhere.
"""

import json
import os
import re
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from deployment_tracker.errors import NoCredentials, NoStack, TrackerError, Unreachable, Usage

OUTPUTS = Path(".local") / "outputs.json"
# Seconds for an answer of a stack on one machine, whose functions may all have to start.
LOCAL_ANSWERED_WITHIN = 150
_REGION_IN_HOST = re.compile(r"\.execute-api\.(?P<region>[a-z0-9-]+)\.")
_GONE = "does not exist"


class Place(msgspec.Struct, frozen=True):
    """This is where a stack is. `outputs` are CloudFormation's, empty if only a URL is known. `found` says how it was found."""

    url: str
    region: str
    stack: str | None = None
    outputs: dict[str, str] = {}
    is_local: bool = False
    found: str = ""

    @property
    def name(self) -> str:
        """Return what to call it."""
        return self.stack or self.url


class Running(msgspec.Struct, frozen=True):
    """This is what `.local/outputs.json` says of the stack of `make up`."""

    api: str
    region: str
    endpoint: str
    outputs: dict[str, str]
    variables: dict[str, str] = {}


class Aws:
    """The user's AWS session, made when it is first needed, or that of a stack on one machine."""

    def __init__(self, region: str | None = None, profile: str | None = None, running: Running | None = None) -> None:
        self.profile = profile
        self._region = region
        self._running = running

    @cached_property
    def session(self) -> Any:
        """A botocore session. NoCredentials if there is no such profile."""
        import botocore.session  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

        try:
            found = botocore.session.Session(profile=self.profile)
            if self._running:
                keys = self._running.variables
                found.set_credentials(
                    keys.get("AWS_ACCESS_KEY_ID", "test"), keys.get("AWS_SECRET_ACCESS_KEY", "test"), None
                )
            else:
                # It reads the profile.
                found.get_scoped_config()
        except BotoCoreError as error:
            raise self._no_credentials(error) from None
        return found

    @property
    def region(self) -> str | None:
        """The region that the user named, or that of the environment or the profile."""
        if self._region:
            return self._region
        if self._running:
            return self._running.region
        # The AWS CLI reads AWS_REGION; botocore only AWS_DEFAULT_REGION.
        region: str | None = os.environ.get("AWS_REGION") or self.session.get_config_variable("region")
        return region

    def credentials(self) -> Any:
        """Return credentials that don't change while they are used. NoCredentials if there are none."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            found = self.session.get_credentials()
            if found is not None:
                return found.get_frozen_credentials()
        except (BotoCoreError, ClientError) as error:
            raise self._no_credentials(error) from None
        raise NoCredentials("There are no AWS credentials.", _sign_in(self.profile))

    @property
    def source(self) -> str:
        """Return where the credentials come from: `env`, `sso`, `assume-role` ... (botocore's words)."""
        if self._running:
            return "the stack's own keys"
        found = self.session.get_credentials()
        return str(found.method) if found else ""

    def client(self, service: str) -> Any:
        """Return botocore's client of an AWS service."""
        from botocore.config import Config  # noqa: PLC0415

        config = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 3})
        endpoint = self._running.endpoint if self._running else None
        return self.session.create_client(service, region_name=self.region, endpoint_url=endpoint, config=config)

    def call(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        """Call an AWS service. TrackerError says what is in the way."""
        from botocore import exceptions  # noqa: PLC0415

        try:
            answer: dict[str, Any] = getattr(self.client(service), operation)(**arguments)
        except (
            exceptions.NoCredentialsError,
            exceptions.PartialCredentialsError,
            exceptions.CredentialRetrievalError,
            exceptions.SSOError,
            exceptions.TokenRetrievalError,
            exceptions.UnauthorizedSSOTokenError,
        ) as error:
            raise self._no_credentials(error) from None
        except exceptions.NoRegionError:
            raise Usage("There is no AWS region.", "Name it with --region, or set AWS_REGION.") from None
        except exceptions.ClientError as error:
            raise _refused(service, operation, error) from None
        except exceptions.BotoCoreError as error:
            raise Unreachable(f"AWS can't be asked ({service}): {error}.") from None
        return answer

    def _no_credentials(self, error: Exception) -> NoCredentials:
        from botocore.exceptions import ProfileNotFound  # noqa: PLC0415

        hint = _sign_in(self.profile)
        if isinstance(error, ProfileNotFound):
            hint = "`aws configure list-profiles` lists those that there are; --profile or AWS_PROFILE names one."
        return NoCredentials(f"The AWS credentials can't be used: {str(error).rstrip('.')}.", hint)


class AwsError(TrackerError):
    """An AWS service refused a call; `code` is its own."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


class AwsDenied(NoCredentials):
    """The role may not make a call of an AWS service, or its credentials aren't valid."""


def find_place(
    stack: str | None = None, region: str | None = None, profile: str | None = None, url: str | None = None
) -> tuple[Place, Aws]:
    """Return the stack that is meant, and the session to call it with. NoStack if there is none."""
    url = url or (None if stack else os.environ.get("TRACKER_URL"))
    name = stack or os.environ.get("TRACKER_STACK")
    if url:
        aws = Aws(region, profile)
        found = _REGION_IN_HOST.search(url)
        at = region or (found["region"] if found else aws.region)
        if not at:
            raise Usage(f"The region of {url} isn't known.", "Name it with --region.")
        return Place(checked_url(url), at, found="the URL"), Aws(at, profile)
    if name:
        aws = Aws(region, profile)
        return _by_name(name, aws), aws
    file = _local_file(Path.cwd())
    if file and (region or profile):
        raise Usage(
            "--region and --profile are an account's, and no stack of one is named.",
            "Name it with --stack, or leave them out for the stack of `make up` that runs here. The region of a deployment is --in.",
        )
    if file:
        running = _running(file)
        place = Place(
            running.api,
            running.region,
            stack="deployment-tracker",
            outputs=running.outputs,
            is_local=True,
            found=f"the stack of `make up` in {file.parent.parent}",
        )
        return place, Aws(running=running)
    if region or profile:
        raise Usage(
            f"{'--region' if region else '--profile'} is for a stack on AWS, and none is named.",
            "Name it with --stack or TRACKER_STACK (its usual name is deployment-tracker), or leave the option out.",
        )
    raise Usage(
        "No stack is named, and none of `make up` runs here.",
        "Name it with --stack or TRACKER_STACK (its usual name is deployment-tracker), or start one with `make up`.",
    )


def checked_url(url: str) -> str:
    """Return the URL of an API. Usage if it isn't https, unless it leads to this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return url.rstrip("/")
    if parts.scheme == "http" and parts.hostname and _is_loopback(parts.hostname):
        return url.rstrip("/")
    raise Usage(f"{url!r} is no URL of the API.", "It begins with https://, as the output ApiUrl does.")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _by_name(name: str, aws: Aws) -> Place:
    try:
        (described,) = aws.call("cloudformation", "describe_stacks", StackName=name)["Stacks"]
    except AwsError as error:
        if _GONE in error.message:
            where = aws.region or "this region"
            hint = "Check --stack, --region and --profile; `tracker whoami` shows the account."
            raise NoStack(f"There is no stack {name!r} in {where}.", hint) from None
        raise
    outputs = {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", [])}
    if "ApiUrl" not in outputs:
        raise NoStack(f"The stack {name!r} is no deployment tracker: it has no output ApiUrl.", "Check --stack.")
    return Place(
        outputs["ApiUrl"].rstrip("/"),
        str(aws.region),
        stack=name,
        outputs=outputs,
        is_local=urlsplit(outputs["ApiUrl"]).scheme == "http",
        found=f"the stack {name} in {aws.region}",
    )


def _local_file(folder: Path) -> Path | None:
    return next((each / OUTPUTS for each in (folder, *folder.parents) if (each / OUTPUTS).is_file()), None)


def _running(file: Path) -> Running:
    try:
        return msgspec.convert(json.loads(file.read_bytes()), Running)
    except (OSError, ValueError) as error:
        raise NoStack(f"{file} can't be read: {error}.", "Run `make up` again, or name a stack with --stack.") from None


def _sign_in(profile: str | None) -> str:
    name = profile or os.environ.get("AWS_PROFILE")
    return f"Sign in with `aws sso login{f' --profile {name}' if name else ''}`, or name a profile with --profile."


def _refused(service: str, operation: str, error: Any) -> TrackerError:
    found = error.response.get("Error", {})
    code, message = str(found.get("Code", "")), str(found.get("Message", "")).rstrip(".")
    call = f"{service}:{''.join(word.title() for word in operation.split('_'))}"
    if re.search("Expired|InvalidClientToken|UnrecognizedClient|SignatureDoesNotMatch|InvalidAccessKey", code):
        return AwsDenied(f"AWS doesn't take the credentials ({code}).", _sign_in(None))
    if re.search("AccessDenied|Unauthorized|NotAuthorized|Forbidden", code):
        return AwsDenied(
            f"This role may not call {call}: {message}.", "Ask for that permission, or use another --profile."
        )
    return AwsError(code, f"{call}: {message} ({code}).")
