"""JSON that someone wrote: what could mean two things is refused, since something may be deleted by it.

Read here by the intake, which has it from callers, by the settings, which have it from operators, and by what reads secrets.
"""

import json
from typing import Any

import msgspec


class TwiceError(ValueError):
    """An object has a key twice. Which of the two values is meant can't be known."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def read(text: bytes | str) -> Any:
    """Return what JSON says.

    Raises msgspec.DecodeError if it isn't JSON, UnicodeError if it isn't valid Unicode, RecursionError if it is nested too deeply, and
    TwiceError.
    """
    found = msgspec.json.decode(text)
    json.loads(text, object_pairs_hook=_once)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise TwiceError(next(key for key in keys if keys.count(key) > 1))
    return found
