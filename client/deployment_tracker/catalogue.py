"""The deployment types and platforms, from catalogue.json, which `make docs` of the tracker's repository writes."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

FILE = Path(__file__).with_name("catalogue.json")


class Form(msgspec.Struct, frozen=True):
    """An id or a metadata value: an example, whether a list is allowed, and the kind of resource that it names, if any."""

    example: str
    many: bool = False
    kind: str = ""


class MarkForm(msgspec.Struct, frozen=True):
    """This is how what is made for a deployment of a type is marked: by a `tag` or `label` with this key, or by its `name`."""

    by: str
    key: str


class TypeEntry(msgspec.Struct, frozen=True):
    """One deployment type. A registration needs at least one of each group in `needs_one_of` and `needs_metadata`."""

    platform: str
    summary: str
    is_served: bool
    region: str | None
    needs_region: bool
    ids: dict[str, Form]
    needs_one_of: list[list[str]]
    metadata: dict[str, Form]
    needs_metadata: list[list[str]]
    mark: MarkForm | None = None


class Catalogue(msgspec.Struct, frozen=True):
    """All platforms, in the words of the brake, and all types."""

    platforms: list[str]
    types: dict[str, TypeEntry]


@cache
def raw_catalogue() -> dict[str, Any]:
    """Return the file's JSON."""
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return found


@cache
def catalogue() -> Catalogue:
    """Return the catalogue."""
    return msgspec.convert(raw_catalogue(), Catalogue)
