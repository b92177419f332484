"""The brake on cleaning up: the parameter `CleanupMode`, read at each step by release and by the sweep.

Its value is the mode for all, then the exceptions by platform: `enforce, gcp=pause, aws=observe`.
"""

from typing import Literal, get_args

import msgspec
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters import get_parameter

Mode = Literal["enforce", "pause", "observe"]
MODES: tuple[str, ...] = get_args(Mode)
CACHED_SECONDS = 5

logger = Logger(child=True)


class Brakes(msgspec.Struct, frozen=True):
    """The modes in force now."""

    default: Mode
    exceptions: dict[str, Mode] = {}

    def mode(self, platform: str) -> Mode:
        """The mode for one platform."""
        return self.exceptions.get(platform, self.default)


PAUSED = Brakes(default="pause")


def parse(text: str) -> Brakes:
    """Read the parameter's value; ValueError if it can't be."""
    default, *exceptions = (part.strip() for part in text.split(","))
    found = {}
    for exception in exceptions:
        platform, _, mode = exception.partition("=")
        found[platform.strip()] = mode.strip()
    try:
        return msgspec.convert({"default": default, "exceptions": found}, Brakes)
    except msgspec.ValidationError as error:
        raise ValueError(f"cleanup mode {text!r}: expected e.g. 'enforce, gcp=pause'") from error


def read(parameter: str) -> Brakes:
    """The modes, at most 5 s old. What can't be read as modes is a pause: a mistyped brake must not let go."""
    text = get_parameter(parameter, max_age=CACHED_SECONDS)
    try:
        return parse(text)
    except ValueError:
        logger.exception("the cleanup mode can't be read, so cleanups are paused", extra={"parameter": parameter})
        return PAUSED
