"""Reads JSON that someone wrote: a file of deployments, one deployment, what the page sends. As strict as the API is.

What can be read in two ways is refused before anything is registered, and some day deleted, by it. Python's own decoder takes it.
"""

import json
from math import isinf
from typing import Any

# More than any number has that the API takes.
_DIGITS = 40


class UnclearError(ValueError):
    """JSON that could mean two things, or that holds what JSON hasn't. The text goes on after "it"."""


def read(text: str) -> Any:
    """Return what JSON says; a byte order mark is passed over. ValueError if it isn't JSON, UnclearError if it isn't clear."""
    try:
        found = json.loads(
            text.removeprefix("\ufeff"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_int,
        )
        json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise UnclearError("is nested too deeply") from None
    except UnicodeError:
        raise UnclearError("isn't valid Unicode") from None
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise UnclearError(f"has the key {key!a} twice, and which one is meant can't be known")
        found[key] = value
    return found


def _constant(text: str) -> Any:
    raise UnclearError(f"holds {text}, which is no number of JSON")


def _float(text: str) -> float:
    if isinf(found := float(text)):
        raise UnclearError(f"holds {text[:_DIGITS]}, which is too large")
    return found


def _int(text: str) -> int:
    if len(text) > _DIGITS:
        raise UnclearError(f"holds {text[:_DIGITS]}..., which is too large")
    return int(text)
