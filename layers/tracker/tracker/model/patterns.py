"""The patterns of the settings that say what a record may name (`Allowed...`), all of one kind.

`*` stands for any characters but `/`, `:` and, in a host, `.` and `@`; `**` for any at all; `?` for one that `*` takes.
Everything else stands for itself, brackets too, so that an address of version 6 can be written as it is. A pattern matches
a whole value.
"""

import re
from functools import lru_cache

# What a wildcard doesn't cross: in a host and the URL of an engine the parts of a name as well.
SEPARATORS = {"host": "/:.@", "endpoint": "/:.@"}
_SEPARATORS = "/:"
_PATHS = frozenset({"file", "key_file", "executable"})
# Nobody's wildcard may stand for a folder at the root: /etc and the like are named, or not allowed.
_ROOTED = re.compile(r"/[^*?/]+/.+", re.ASCII)
_UNPLAIN = re.compile(r"(?:^|[^:/])//|(?:^|/)\.{1,2}(?:/|$)", re.ASCII)


def matches(pattern: str, value: str, guard: str) -> bool:
    """Return whether a pattern of the settings for this `guard` ("host", "file", ...) allows a value.

    Hosts are compared without regard to case. A path that isn't plain (`..`, `.`, `//`) is never allowed, and a pattern of
    paths allows nothing unless it names its first folder without a wildcard.
    """
    if guard == "host":
        pattern, value = pattern.lower(), value.lower()
    if _UNPLAIN.search(value) or (guard in _PATHS and not _ROOTED.fullmatch(pattern)):
        return False
    return _compiled(pattern, SEPARATORS.get(guard, _SEPARATORS)).fullmatch(value) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str, separators: str) -> re.Pattern[str]:
    inner = rf"[^{re.escape(separators)}\s]"
    wildcards = {"**": r"\S*", "*": f"{inner}*", "?": inner}
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    return re.compile("".join(wildcards.get(part, re.escape(part)) for part in parts), re.ASCII)
