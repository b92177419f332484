"""What each deployment type needs: pure data, and all that registering reads of a type.

An entry says which `resource_ids` and `metadata` a type knows, their forms, and the module below
`tracker.cleanup` that cleans it up. A type whose entry names no module is refused at registration.
"""

import re
from typing import Literal

import msgspec

Guard = Literal["secret", "key_file", "endpoint", "host", "role"]


class Form(msgspec.Struct, frozen=True):
    """What an id or a metadata value must look like: `pattern` matches the whole, `example` explains it.

    `many` allows a list of them. `kind` is the kind of resource that an id names, empty for one that only
    informs (a public address, say). `guard` is the list of allowed patterns that a value must match besides.
    """

    pattern: str
    example: str
    kind: str = ""
    many: bool = False
    guard: Guard | None = None

    def matches(self, value: str) -> bool:
        """Whether the whole value has this form."""
        return re.fullmatch(self.pattern, value, re.ASCII) is not None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment type.

    `needs_one_of` lists groups of ids (`resource_ids` keys): of each group one must be there.
    `needs_metadata` likewise for metadata, `needs_region` for the record's region, of form `region`.
    `platform` is what brakes and accounts are set for. `place` is "local" for what is on this machine.
    """

    platform: str
    summary: str
    module: str | None = None
    ids: dict[str, Form]
    needs_one_of: tuple[tuple[str, ...], ...]
    metadata: dict[str, Form] = {}
    needs_metadata: tuple[str, ...] = ()
    needs_region: bool = False
    region: Form | None = None
    cluster: bool = False
    place: Literal["remote", "local"] = "remote"
