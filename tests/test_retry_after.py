"""This is how long an overloaded server asks to be left alone, whatever it sends."""

from datetime import timedelta
from email.utils import format_datetime

import pytest
import time_machine
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fakes import NOW
from tracker.retry_after import parse_retry_after

DAY = 86_400
WORDS = [
    "Mon,",
    "Mon",
    "01",
    "31",
    "99",
    "Jan",
    "Foo",
    "2030",
    "99999999",
    "00:00:00",
    "24:61:61",
    "GMT",
    "+9999",
    "-0000",
]
# Nearly dates: what a parser of dates may stumble over.
DATES = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("120", 120), (" 5 ", 5), ("9" * 30, DAY), ("-5", None)])
def test_seconds_are_taken_and_bounded(text: str, seconds: float | None) -> None:
    assert parse_retry_after(text, longest=DAY) == seconds


@pytest.mark.parametrize(("after", "seconds"), [(600, 600), (-600, 0), (10 * DAY, DAY)])
def test_a_date_is_as_far_as_it_is_and_bounded(after: int, seconds: float) -> None:
    with time_machine.travel(NOW, tick=False):
        text = format_datetime(NOW + timedelta(seconds=after), usegmt=True)
        assert parse_retry_after(text, longest=DAY) == seconds


@given(
    st.text() | st.text("0123456789.,:+- GMT") | st.integers().map(str) | st.datetimes().map(format_datetime) | DATES
)
@example("9" * 5000)
@example("Mon, 01 Jan 99999999999999999999 00:00:00 GMT")
@example("01 Jan 2030 00:00:00 +99999999999999999999")
def test_whatever_a_server_asks_is_bounded_or_nothing(text: str) -> None:
    seconds = parse_retry_after(text, longest=DAY)
    assert seconds is None or 0 <= seconds <= DAY
