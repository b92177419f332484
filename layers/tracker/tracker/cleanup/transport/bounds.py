"""This is how much of what a server answers is read, and for how long: the same for all, since any of them may be careless or hostile.

Used by the clients of REST APIs, of Kubernetes clusters and of Docker engines.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from tracker.cleanup.core.contract import Unreachable

# Bytes of one answer, and of all pages of a list.
ANSWER_MAX = 16 * 1024 * 1024
LIST_MAX = 128 * 1024 * 1024
PAGES_MAX = 1000
# Seconds for the whole of an answer, and for all pages of a list. With less than the latter left, no step begins a call.
ANSWER_LIMIT = 40.0
LIST_LIMIT = 60.0
# Characters of an error's text that are looked at: patterns are searched in it, which may take long in long texts.
TEXT_MAX = 4096
PART = 65_536


class TooMuch(Unreachable):
    """An answer or a list has more than is read of any, or takes too long: another attempt may end the same."""


class TooLong(OSError):
    """An answer has more bytes than are read."""


class TooSlow(OSError):
    """An answer takes more time than it is waited for."""


class Page[Cursor](NamedTuple):
    """One page of a list: its items, what leads to the next page (None: it is the last), and its size in bytes."""

    items: Iterable[Any]
    following: Cursor | None
    size: int


def joined(parts: Iterable[bytes], most: int) -> bytes:
    """Return an answer that comes in parts. Raises TooLong if it has more than `most` bytes, TooSlow if it takes too long."""
    until = time.monotonic() + ANSWER_LIMIT
    raw = bytearray()
    for part in parts:
        raw += part
        if len(raw) > most:
            raise TooLong(f"it has more than {most} bytes")
        if time.monotonic() > until:
            raise TooSlow(f"it takes more than {ANSWER_LIMIT:.0f} s")
    return bytes(raw)


def in_time[Item](where: str, items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items of a list of which each is asked for by itself. Raises TooMuch if all of that takes too long."""
    until = time.monotonic() + LIST_LIMIT
    for item in items:
        if time.monotonic() > until:
            raise TooMuch(f"{where}: to ask for each takes more than {LIST_LIMIT:.0f} s")
        yield item


def paged[Cursor](where: str, first: Cursor, page: Callable[[Cursor], Page[Cursor]]) -> Iterator[Any]:
    """Yield all items of a list that comes in pages, of which `page` reads one.

    Raises Unreachable if a page leads to one that was read already, TooMuch if all of them are too many, too large or take too long.
    """
    until = time.monotonic() + LIST_LIMIT
    size, seen, cursor = 0, {first}, first
    for _ in range(PAGES_MAX):
        found = page(cursor)
        size += found.size
        if size > LIST_MAX:
            raise TooMuch(f"{where}: its pages have more than {LIST_MAX} bytes")
        yield from found.items
        if not found.following:
            return
        if found.following in seen:
            raise Unreachable(f"{where}: its pages lead in a circle")
        if time.monotonic() > until:
            raise TooMuch(f"{where}: its pages take more than {LIST_LIMIT:.0f} s")
        seen.add(found.following)
        cursor = found.following
    raise TooMuch(f"{where}: more than {PAGES_MAX} pages")
