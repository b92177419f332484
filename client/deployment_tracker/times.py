"""Durations and times as people write them, and as they are shown.

What could be meant in two ways is refused: a number without a unit, a time without a zone, an hour that a change of the clocks
skips or repeats.
"""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from deployment_tracker.errors import Usage

YEARS_10 = 10 * 365 * 86_400
_UNITS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_SPELLINGS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("w", "week", "weeks"), "w"),
}
_PART = re.compile(r"([0-9]{1,9}) ?([a-z]+)(?: |(?=[0-9])|$)", re.ASCII)
_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[Tt ](?P<time>\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)"
    r" ?(?P<zone>[Zz]|[+-]\d\d:\d\d|[A-Za-z][A-Za-z0-9_+/-]*)",
    re.ASCII,
)
_NO_ZONE = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?|\d\d?:\d\d", re.ASCII)
_BEGINS_DURATION = re.compile(r"(?:in )?[0-9]", re.ASCII)
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
# A length below it is said to the second.
_TO_THE_SECOND = 300


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def parse_duration(text: str) -> int:
    """Return the seconds of `2h`, `1h30m`, `in 2 h`, `90 min`. Usage if it isn't a duration, or could be two."""
    words = " ".join(text.lower().split()).removeprefix("in ")
    if re.fullmatch(r"[0-9]+", words, re.ASCII):
        number = words.lstrip("0") or "2"
        raise Usage(
            f"{text!r} has no unit.", f"Say {number}m for minutes, {number}h for hours, or {number}s for seconds."
        )
    seconds, units, place = 0, [], 0
    while place < len(words):
        found = _PART.match(words, place)
        unit = _SPELLINGS.get(found[2]) if found else None
        if found is None or unit is None:
            raise _no_duration(text)
        seconds += int(found[1]) * _UNITS[unit]
        units.append(unit)
        place = found.end()
    order = "".join(_UNITS)
    if not units or units != sorted(set(units), key=order.index):
        raise _no_duration(text)
    if not 1 <= seconds <= YEARS_10:
        raise Usage(f"{text!r} is out of bounds.", "A duration is from 1 second to 10 years.")
    return seconds


def parse_until(text: str, at: datetime) -> datetime:
    """Return the time that a text names: RFC 3339, date and time with a zone, or `in 2h`, counted from `at`."""
    words = " ".join(text.split())
    if found := _TIME.fullmatch(words):
        return _in_zone(text, datetime.fromisoformat(f"{found['date']}T{found['time']}"), found["zone"])
    if _NO_ZONE.fullmatch(words):
        raise Usage(
            f"{text!r} could be several times.",
            "Say the date, the time and the zone: 2026-12-01T18:00:00+01:00, or '2026-12-01 18:00 Europe/Berlin'.",
        )
    if not _BEGINS_DURATION.match(words.lower()):
        raise _no_time(text)
    return at + timedelta(seconds=parse_duration(text))


def future(text: str, at: datetime) -> datetime:
    """Return the same, which must lie after `at`. Usage otherwise."""
    try:
        found = parse_until(text, at)
    except (ValueError, OverflowError):
        raise _no_time(text) from None
    if found <= at:
        raise Usage(f"{text!r} is in the past: it is {rfc3339(at)} now.", "Name a later time.")
    return found


def _in_zone(text: str, naive: datetime, zone: str) -> datetime:
    if zone in "Zz" or zone.upper() == "UTC":
        return naive.replace(tzinfo=UTC)
    if zone[0] in "+-":
        return datetime.fromisoformat(f"{naive.isoformat()}{zone}").astimezone(UTC)
    try:
        found = naive.replace(tzinfo=ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Usage(
            f"{text!r}: {zone!r} is no time zone that this machine knows.", "Say UTC, +01:00 or Europe/Berlin."
        ) from None
    if found.utcoffset() != found.replace(fold=1).utcoffset():
        raise Usage(
            f"{text!r}: the clocks change there and then.", f"Say the offset: {naive.isoformat()}+01:00, for instance."
        )
    return found.astimezone(UTC)


def _no_time(text: str) -> Usage:
    return Usage(
        f"{text!r} is no time.", "Say it as 2026-12-01T18:00:00+01:00, '2026-12-01 18:00 Europe/Berlin' or 'in 2h'."
    )


def _no_duration(text: str) -> Usage:
    return Usage(f"{text!r} is no duration.", "Say it as 2h, 1h30m, 45 min or 3d: largest unit first, each once.")


def rfc3339(moment: datetime) -> str:
    """Return a time in RFC 3339 in UTC, to the second, rounded up: an end that is shown is never before the real one."""
    return _to_second(moment).isoformat().replace("+00:00", "Z")


def spoken(moment: datetime, at: datetime) -> str:
    """Return a time in the zone of this machine with its offset, and how far it is: `2026-12-01 18:00:00 +01:00 (in 2 h)`."""
    here = _to_second(moment).astimezone()
    offset = here.strftime("%z")
    zone = f"{offset[:3]}:{offset[3:]}" if here.utcoffset() else "UTC"
    return f"{here:%Y-%m-%d %H:%M:%S} {zone} ({relative(moment, at)})"


def relative(moment: datetime, at: datetime, past: str = "ago") -> str:
    """Return `in 2 h`, or `3 min ago` (another word for what is late)."""
    seconds = (moment - at).total_seconds()
    return f"in {length(seconds)}" if seconds >= 0 else f"{length(-seconds)} {past}"


def length(seconds: float) -> str:
    """Return a length of time in its two largest units, rounded to the nearest: `4 min 5 s`, `59 min`, `1 h 30 min`, `3 d 2 h`.

    From five minutes on it is in minutes, from a day on in hours. The page says it the same way (`length` of its words.js).
    """
    grain = 1 if seconds < _TO_THE_SECOND else _MINUTE if seconds < _DAY else _HOUR
    rest = max(0, int(seconds / grain + 0.5) * grain)
    parts = []
    for unit, size in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts) or "0 s"


def _to_second(moment: datetime) -> datetime:
    whole = moment.astimezone(UTC)
    return whole.replace(microsecond=0) + timedelta(seconds=1) if whole.microsecond else whole
