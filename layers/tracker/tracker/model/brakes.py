"""The brake on cleanups: an SSM parameter, which each step of a round and each sweep reads.

Its value is the mode for all platforms, followed by exceptions: `enforce, gcp=pause, aws=observe`. An operator creates the
parameter; without it, cleanups are enforced. A value that was read counts for 5 s, so a new one is obeyed within that time by
every step that begins; what a step has asked for by then isn't taken back.
"""

import time
from collections.abc import Callable, Collection
from typing import Literal, get_args

import msgspec
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters import SSMProvider, get_parameter
from aws_lambda_powertools.utilities.parameters.constants import DEFAULT_PROVIDERS
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.config import Config
from botocore.exceptions import ClientError

Mode = Literal["enforce", "pause", "observe"]
MODES: tuple[str, ...] = get_args(Mode)
CACHED_SECONDS = 5
# A plan has 25 s for all it does, and may be in a network that doesn't reach SSM.
PATIENCE = Config(connect_timeout=2, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2})

logger = Logger(child=True)


class Brakes(msgspec.Struct, frozen=True):
    """The modes in force now."""

    default: Mode
    exceptions: dict[str, Mode] = {}

    def mode(self, platform: str) -> Mode:
        """Return the mode for one platform."""
        return self.exceptions.get(platform, self.default)


ENFORCED = Brakes(default="enforce")
PAUSED = Brakes(default="pause")
# The time of `time.monotonic` until which each absent parameter isn't asked for again.
_absent: dict[str, float] = {}


def parse(text: str, platforms: Collection[str] | None = None) -> Brakes:
    """Parse the parameter's value. ValueError if it isn't valid, or names a platform twice, or another than these."""
    default, *exceptions = (part.strip() for part in text.split(","))
    found = {}
    for exception in exceptions:
        platform, _, mode = (part.strip() for part in exception.partition("="))
        if platform in found:
            raise ValueError(
                f"cleanup mode {text!r}: {platform!r} is there twice, and which mode is meant can't be known"
            )
        found[platform] = mode
    for platform in found:
        if platforms is not None and platform not in platforms:
            raise ValueError(f"cleanup mode {text!r}: {platform!r} is none of {', '.join(sorted(platforms))}")
    try:
        return msgspec.convert({"default": default, "exceptions": found}, Brakes)
    except msgspec.ValidationError as error:
        raise ValueError(f"cleanup mode {text!r}: expected e.g. 'enforce, gcp=pause'") from error


def read(
    parameter: str,
    unreadable: Callable[[], object] = lambda: None,
    *,
    platforms: Collection[str] | None = None,
) -> Brakes:
    """Return the modes, at most 5 s old.

    A value that isn't valid, or names a platform that isn't one of `platforms`, counts as a pause, since a mistyped brake must not let go. GetParameterError if SSM doesn't answer.
    In both cases `unreadable` is called before.
    """
    if time.monotonic() < _absent.get(parameter, 0):
        return ENFORCED
    if "ssm" not in DEFAULT_PROVIDERS:
        DEFAULT_PROVIDERS["ssm"] = SSMProvider(boto_config=PATIENCE)
    try:
        text = get_parameter(parameter, max_age=CACHED_SECONDS)
    except GetParameterError as error:
        if not _is_absent(error):
            unreadable()
            raise
        _absent[parameter] = time.monotonic() + CACHED_SECONDS
        return ENFORCED
    try:
        return parse(text, platforms)
    except ValueError:
        unreadable()
        logger.exception("the cleanup mode can't be read, so cleanups are paused", extra={"parameter": parameter})
        return PAUSED


def _is_absent(error: GetParameterError) -> bool:
    """Return whether SSM said that there is no such parameter. Powertools raises the same class for every error."""
    cause = error.__context__
    return isinstance(cause, ClientError) and cause.response["Error"]["Code"] == "ParameterNotFound"
