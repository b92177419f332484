"""This is what a measurement comes to: a ratio and the aim that it should stay within. Each part of the bench yields such rows."""

import statistics
import time
from collections.abc import Callable, Iterator

import msgspec


class Row(msgspec.Struct, frozen=True):
    """One line of the table. `seen` says what was put into proportion."""

    name: str
    ratio: float
    aim: float
    seen: str = ""

    @property
    def is_met(self) -> bool:
        """Return whether it stays within the aim."""
        return self.ratio <= self.aim


class LackingError(Exception):
    """A part can't be measured here; the text says what it needs."""


type Rows = Iterator[Row]


def against(
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    aim: float,
    runs: int,
    before: Callable[[], object] = lambda: None,
) -> Row:
    """The medians of two things that take turns, so that both meet the machine as it is. `before` isn't timed."""
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        before()
        for act, times in zip((ours, theirs), took, strict=True):
            began = time.perf_counter()
            act()
            times.append(time.perf_counter() - began)
    mine, other = (statistics.median(times) for times in took)
    return Row(name, mine / other, aim, f"{mine * 1000:.2f} ms : {other * 1000:.2f} ms")
