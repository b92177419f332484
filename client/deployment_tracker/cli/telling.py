"""This is what happened to a deployment, in words: an event of the API as a sentence for people. `-o json` has it as it came."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from deployment_tracker.cli import words
from deployment_tracker.models import Event
from deployment_tracker.times import length

# The page says the same (`EVENTS` of its words.js).
EVENTS = {
    "registered": "Registered",
    "amended": "Amended",
    "moved": "Moved to another key",
    "planned": "Plan drawn, nothing deleted",
    "terminating": "Cleanup began",
    "resource_gone": "Proven gone",
    "cleanup_succeeded": "Everything proven gone",
    "cleanup_failed": "Cleanup failed",
    "cleanup_paused": "Cleanup paused by the brake",
    "quarantined": "Given up until someone looks",
    "forgotten": "Forgotten, nothing deleted",
    "resurrected": "Back after it was gone",
    "expiring": "Warned: its time is nearly over",
    "extended": "Extended",
    "held": "Held",
    "unheld": "No longer held",
}
# What needs no name beside it, since it stands for itself.
_PLAIN = ("kind", "id", "proof", "error", "message", "class", "fields")
_SAID_BEFORE = ("by", "requested_by")
_OF_ROUND = ("terminating", "cleanup_failed")
_WIDTH, _WIDTH_OF_RFC3339 = 16, 24


def line(event: Event, at: datetime, *, is_terminal: bool) -> str:
    """Return an event in one line: when it was, what it was, and what else is known of it."""
    when = words.when(event.at, at, is_terminal=is_terminal)
    return f"{when:<{_WIDTH if is_terminal else _WIDTH_OF_RFC3339}} {sentence(event, at, is_terminal=is_terminal)}"


def sentence(event: Event, at: datetime, *, is_terminal: bool) -> str:
    """Return what an event tells, in words."""
    word = EVENTS.get(event.type, event.type.replace("_", " "))
    if who := event.detail.get("by") or event.detail.get("requested_by"):
        word += f" by {words.who(str(who))}"
    parts = [*_round(event), *_details(event, at, is_terminal=is_terminal)]
    return f"{word}: {', '.join(parts)}" if parts else word


def _round(event: Event) -> list[str]:
    return [f"round {event.round}"] if event.round and event.type in _OF_ROUND else []


def _details(event: Event, at: datetime, *, is_terminal: bool) -> Iterator[str]:
    told = dict(event.detail)
    if event.type == "extended" and told.get("from") is None:
        told["from"] = "no end"
    if "before" in told:
        # They differ by the seconds until the warning was written.
        told.pop("left", None)
    if "proof" in told:
        told["proof"] = words.without_id(str(told["proof"]), str(told.get("id", "")))
    for name, value in told.items():
        if name in _SAID_BEFORE or value is None or value in ("", False, [], {}):
            continue
        yield _said(name, value, at, is_terminal=is_terminal)


def _said(name: str, value: Any, at: datetime, *, is_terminal: bool) -> str:
    text = _text(value, at, is_terminal=is_terminal)
    match name, value:
        case (("by" | "requested_by"), _):
            return f"by {words.who(text)}"
        case (("before" | "left"), int() | float()):
            return f"{length(value)} before its end" if name == "before" else f"{length(value)} left"
        case "cost", {"so_far": so_far, "currency": currency}:
            return f"cost {words.money(so_far, currency)} so far"
        case "failures", int():
            return f"{value} failed round{'s' * (value > 1)}"
        case "total_failures", int():
            return f"{value} in all"
        case "never_seen", True:
            return "never seen by the tracker"
        case "next_attempt_at", _:
            return f"tried again at {text}"
        case "resources", _:
            return text
    return text if name in _PLAIN else f"{name.replace('_', ' ')} {text}"


def _text(value: Any, at: datetime, *, is_terminal: bool) -> str:
    if isinstance(value, Mapping):
        # Counts are said as people count: 2 gone, 1 kept.
        return ", ".join(
            f"{each} {name}" if isinstance(each, int) else f"{name} {_text(each, at, is_terminal=is_terminal)}"
            for name, each in value.items()
        )
    if isinstance(value, list):
        return ", ".join(_text(each, at, is_terminal=is_terminal) for each in value)
    text = str(value)
    try:
        moment = datetime.fromisoformat(text) if "T" in text else None
    except ValueError:
        moment = None
    return words.told(moment, at, is_terminal=is_terminal) if moment and moment.tzinfo else text
