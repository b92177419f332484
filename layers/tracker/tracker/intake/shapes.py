"""Turns JSON into typed values, and says in JSON's words which part of it is wrong.

Called by everything that reads a caller's JSON: registrations, amendments, events and the small bodies of the other calls. msgspec
decides whether a value is right. Which part is wrong is found by comparing the value with the type, part by part, since
msgspec tells it only in the text of its error, which an upgrade may change.
"""

import json
from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from msgspec import inspect

from tracker.model import written
from tracker.model.errors import Invalid, cut
from tracker.model.written import TwiceError

_WORDS: dict[type[inspect.Type], tuple[str, tuple[type, ...]]] = {
    inspect.StrType: ("a string", (str,)),
    inspect.IntType: ("an integer", (int,)),
    inspect.FloatType: ("a number", (int, float)),
    inspect.BoolType: ("true or false", (bool,)),
    inspect.NoneType: ("null", (type(None),)),
    inspect.ListType: ("an array", (list,)),
    inspect.DictType: ("an object", (dict,)),
    inspect.StructType: ("an object", (dict,)),
}


def decode(text: bytes | str, expected: str, *, field: str = "body") -> Any:
    """Decode JSON. Invalid (malformed), with `field` and `expected`, if it isn't JSON in valid Unicode, or has a key twice."""
    try:
        return written.read(text)
    except UnicodeError:
        raise Invalid(field, "text that isn't valid Unicode", f"{expected} in UTF-8", malformed=True) from None
    except RecursionError:
        raise Invalid(field, "JSON that is nested too deeply", expected, malformed=True) from None
    except msgspec.DecodeError:
        raise Invalid(field, "text that isn't JSON" if text else "nothing", expected, malformed=True) from None
    except TwiceError as twice:
        raise Invalid(
            cut(twice.key), "a key that is there twice", f"{expected} with each key once", malformed=True
        ) from None


def check_names(names: Iterable[str], allowed: Collection[str], what: str = "parameter") -> None:
    """Raise Invalid (malformed) if one of these names of fields or parameters isn't allowed."""
    unknown = next((name for name in names if name not in allowed), None)
    if unknown is not None:
        wanted = f"one of {', '.join(allowed)}" if allowed else f"no {what}s"
        raise Invalid(cut(unknown), f"an unknown {what}", wanted, malformed=True)


def convert[T](value: Any, type_: type[T], *, whole: str = "body") -> T:
    """Return decoded JSON as its type. Invalid (malformed) names the first part that is wrong.

    A part is named by its path ("resource_spec.cpu", "webhook_events[1]"), the value itself by `whole`.
    """
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError:
        fault = _find_fault(value, inspect.type_info(type_), "", whole)
        raise fault or Invalid(whole, describe(value), "values within their bounds", malformed=True) from None


def describe(value: Any) -> str:
    """Describe a JSON value by its kind; a number, true, false and null, which hold no secret, by themselves."""
    match value:
        case str():
            return "a string"
        case list():
            return "an array"
        case dict():
            return "an object"
    return json.dumps(value)


def _find_fault(value: Any, expected: inspect.Type, path: str, whole: str) -> Invalid | None:
    """Return what is wrong with the first wrong part of a value, None if each part has its type."""
    options = expected.types if isinstance(expected, inspect.UnionType) else (expected,)
    option = next((each for each in options if _is_of_kind(value, each)), None)
    match option:
        case None:
            wanted = " or ".join(_WORDS[type(each)][0] for each in options)
            return Invalid(path or whole, describe(value), wanted, malformed=True)
        case inspect.StructType():
            return _find_fault_in_object(value, option, path, whole)
        case inspect.ListType():
            parts = ((f"{path}[{n}]", each, option.item_type) for n, each in enumerate(value))
        case inspect.DictType():
            parts = ((_join(path, key), each, option.value_type) for key, each in value.items())
        case _:
            return None
    return next((fault for part, each, type_ in parts if (fault := _find_fault(each, type_, part, whole))), None)


def _find_fault_in_object(value: dict[str, Any], expected: inspect.StructType, path: str, whole: str) -> Invalid | None:
    fields = {field.encode_name: field for field in expected.fields}
    for name, each in value.items():
        if name in fields:
            if fault := _find_fault(each, fields[name].type, _join(path, name), whole):
                return fault
        elif expected.forbid_unknown_fields:
            return Invalid(cut(_join(path, name)), "an unknown field", "no field of that name", malformed=True)
    missing = [name for name, field in fields.items() if field.required and name not in value]
    return Invalid(_join(path, missing[0]), "nothing", "a value", malformed=True) if missing else None


def _is_of_kind(value: Any, expected: inspect.Type) -> bool:
    if type(expected) not in _WORDS:
        # Any, and types that no request has: msgspec's judgement alone counts.
        return True
    kinds = _WORDS[type(expected)][1]
    # Python takes true and false for integers; JSON doesn't.
    return isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
