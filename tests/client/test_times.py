"""Durations and times as people write them."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployment_tracker.errors import Usage
from deployment_tracker.times import YEARS_10, future, length, parse_duration, parse_until, relative, rfc3339, spoken

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
UNITS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("in 2 h", 7200),
        ("IN 2 Hours", 7200),
        ("90 min", 5400),
        ("1d12h", 129_600),
        ("1 week", 604_800),
        ("45sec", 45),
        ("  3 d  ", 259_200),
    ],
)
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h",
        "2",
        "0",
        "0s",
        "-2h",
        "2x",
        "2h2h",
        "30m1h",
        "1.5h",
        "2h30",
        "2 h ago",
        "11y",
        "4000d",
        "1h,30m",
        "\uff12h",
        "in",
        "1e3s",
        "2h-",
    ],
)
def test_what_is_no_duration_or_could_be_two_is_refused(text: str) -> None:
    with pytest.raises(Usage) as raised:
        parse_duration(text)
    assert raised.value.hint


@given(st.lists(st.sampled_from(list(UNITS)), min_size=1, unique=True), st.data())
def test_every_duration_comes_back(units: list[str], data: st.DataObject) -> None:
    ordered = sorted(units, key=list(UNITS).index)
    numbers = [data.draw(st.integers(1, 50)) for _ in ordered]
    blank = data.draw(st.sampled_from(["", " "]))
    text = blank.join(f"{number}{unit}" for number, unit in zip(numbers, ordered, strict=True))
    seconds = sum(number * UNITS[unit] for number, unit in zip(numbers, ordered, strict=True))
    assert parse_duration(text) == seconds


@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    with suppress(Usage):
        assert 1 <= parse_duration(text) <= YEARS_10


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-12-01T18:00:00Z", "2026-12-01T18:00:00Z"),
        ("2026-12-01t18:00z", "2026-12-01T18:00:00Z"),
        ("2026-12-01T18:00:00.5+01:00", "2026-12-01T17:00:01Z"),
        ("2026-12-01 18:00 UTC", "2026-12-01T18:00:00Z"),
        ("2026-12-01 18:00 +01:00", "2026-12-01T17:00:00Z"),
        ("2026-12-01 18:00 Europe/Berlin", "2026-12-01T17:00:00Z"),
        ("2027-07-01 18:00 Europe/Berlin", "2027-07-01T16:00:00Z"),
        ("in 2h", "2026-12-01T14:00:00Z"),
        ("90m", "2026-12-01T13:30:00Z"),
    ],
)
def test_a_time_is_read(text: str, wanted: str) -> None:
    assert rfc3339(future(text, NOW)) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "2026-12-02",
        "2026-12-02 18:00",
        "18:00",
        "tomorrow",
        "2026-12-02 18:00 Europe/Atlantis",
        "2026-12-02 18:00 ../../etc/passwd",
        "2026-13-02T18:00:00Z",
        "2026-12-02T25:00:00Z",
        "2026-12-02T18:00:00+99:99",
        "2027-03-28 02:30 Europe/Berlin",
        "2027-10-31 02:30 Europe/Berlin",
        "2026-12-01T11:59:59Z",
        "9999-12-31T23:59:59-23:59",
        "12/02/2026 18:00 UTC",
    ],
)
def test_a_time_that_is_none_or_several_or_past_is_refused(text: str) -> None:
    with pytest.raises(Usage) as raised:
        future(text, NOW)
    assert raised.value.hint


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001 - the zone is what is tried
def test_every_time_with_an_offset_comes_back(naive: datetime, minutes: int) -> None:
    sign = "-" if minutes < 0 else "+"
    offset = f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    wanted = naive.replace(tzinfo=UTC) - timedelta(minutes=minutes)
    assert parse_until(f"{naive.isoformat()}{offset}", NOW) == wanted
    shown = datetime.fromisoformat(rfc3339(wanted))
    assert timedelta() <= shown - wanted < timedelta(seconds=1)


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        (-1, "0 s"),
        (0, "0 s"),
        (0.5, "1 s"),
        (119.4, "1 min 59 s"),
        (120, "2 min"),
        (245, "4 min 5 s"),
        (299.6, "5 min"),
        (329, "5 min"),
        (330, "6 min"),
        (3599, "1 h"),
        (5400, "1 h 30 min"),
        (7199, "2 h"),
        (86_369, "23 h 59 min"),
        (86_399, "1 d"),
        (93_600, "1 d 2 h"),
        (172_799, "2 d"),
        (14 * 86_400, "14 d"),
    ],
)
def test_a_length_is_said_in_its_two_largest_units_and_rounded_to_the_nearest(seconds: float, wanted: str) -> None:
    assert length(seconds) == wanted


def test_a_time_is_the_same_in_every_form() -> None:
    exact = NOW + timedelta(hours=1, milliseconds=-1)
    assert rfc3339(exact) == "2026-12-01T13:00:00Z"
    assert f"{NOW + timedelta(hours=1):%H:%M:%S}" in spoken(exact, NOW)
    assert spoken(exact, NOW).endswith("(in 1 h)")


def test_times_are_said_with_their_zone() -> None:
    assert relative(NOW + timedelta(hours=2), NOW) == "in 2 h"
    assert relative(NOW - timedelta(minutes=3), NOW, past="late") == "3 min late"
    assert spoken(NOW, NOW).endswith("(in 0 s)")
    assert any(zone in spoken(NOW, NOW) for zone in ("UTC", "+", "-0", "-1"))
