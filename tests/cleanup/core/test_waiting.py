"""How long a caller waits for what a provider may never answer."""

import threading
import time

import pytest

from tracker.cleanup.core.contract import Busy, Refused
from tracker.cleanup.core.waiting import within


def test_what_ends_in_time_is_returned_or_raised() -> None:
    assert within(5, lambda: 7, "too long") == 7

    def refuse() -> int:
        raise Refused("not_ours", "why")

    with pytest.raises(Refused, match="why"):
        within(5, refuse, "too long")


@pytest.mark.parametrize("seconds", [0.1, 0, -1])
def test_what_takes_longer_is_busy_and_its_own_end_is_heard_by_nobody(seconds: float) -> None:
    answer = threading.Event()

    def hang() -> None:
        answer.wait(5)
        raise RuntimeError

    begun = time.monotonic()
    with pytest.raises(Busy, match="too long"):
        within(seconds, hang, "too long")
    assert time.monotonic() - begun < 2
    answer.set()
