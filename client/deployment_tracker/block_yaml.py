"""Writes JSON values as YAML: blocks for objects and lists, and JSON's own scalars, which YAML 1.1 and 1.2 both read as they are."""

import json
from typing import Any


def dump(value: Any) -> str:
    """Return a value as a YAML document."""
    return "\n".join(_lines(value)) + "\n"


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict) and value:
        found = []
        for name, part in value.items():
            found += _under(f"{_scalar(str(name))}:", part)
        return found
    if isinstance(value, list) and value:
        return [line for part in value for line in _item(part)]
    return [_scalar(value)]


def _under(head: str, part: Any) -> list[str]:
    if isinstance(part, (dict, list)) and part:
        return [head, *(f"  {line}" for line in _lines(part))]
    return [f"{head} {_scalar(part)}"]


def _item(part: Any) -> list[str]:
    first, *rest = _lines(part)
    return [f"- {first}", *(f"  {line}" for line in rest)]


def _scalar(value: Any) -> str:
    # JSON may write 1e16, which YAML 1.1 takes for a text: it wants a point and a sign.
    if isinstance(value, float) and "e" in (text := repr(value)):
        mantissa, _, exponent = text.partition("e")
        return f"{mantissa if '.' in mantissa else f'{mantissa}.0'}e{int(exponent):+d}"
    text = json.dumps(value, ensure_ascii=False)
    return "".join(each if _is_plain(each) else _escaped(each) for each in text)


def _is_plain(each: str) -> bool:
    return each.isprintable() and each not in "\ufeff\u2028\u2029" and not "\ud800" <= each <= "\udfff"


def _escaped(each: str) -> str:
    code = ord(each)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - the last of four digits
