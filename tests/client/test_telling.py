"""Events in words: every type of the tracker has its own, and no detail is left as JSON."""

from datetime import UTC, datetime
from typing import Any

import pytest

from deployment_tracker.cli.telling import EVENTS, sentence
from deployment_tracker.models import Event
from tracker.model.deployment import EVENT_TYPES

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
ANN = "arn:aws:iam::1:user/ann"


def test_every_type_of_event_has_its_words() -> None:
    assert set(EVENTS) == set(EVENT_TYPES)


@pytest.mark.parametrize(
    ("type_", "detail", "wanted"),
    [
        ("registered", {"by": ANN}, "Registered by user/ann"),
        ("amended", {"fields": ["owner", "labels"], "by": ANN}, "Amended by user/ann: owner, labels"),
        ("extended", {"from": None, "to": "2026-12-01T13:00:00.000Z", "by": ANN},
         "Extended by user/ann: from no end, to 2026-12-01T13:00:00Z"),
        ("expiring", {"before": 3600, "left": 3590, "expires_at": "2026-12-01T13:00:00Z"},
         "Warned: its time is nearly over: 1 h before its end, expires at 2026-12-01T13:00:00Z"),
        ("terminating", {"reason": "expired", "by": "tracker"}, "Cleanup began by tracker: round 2, reason expired"),
        ("resource_gone", {"kind": "k", "id": "i", "proof": "look i: none", "never_seen": True},
         "Proven gone: k, i, look: none, never seen by the tracker"),
        ("cleanup_succeeded",
         {"reason": "expired", "resources": {"gone": 2, "kept": 1}, "cost": {"currency": "EUR", "so_far": 1.5, "late": 0}},
         "Everything proven gone: reason expired, 2 gone, 1 kept, cost 1.50 EUR so far"),
        ("cleanup_failed",
         {"reason": "expired", "class": "credentials", "error": "401", "failures": 2, "total_failures": 5,
          "next_attempt_at": "2026-12-01T12:04:00Z"},
         "Cleanup failed: round 2, reason expired, credentials, 401, 2 failed rounds, 5 in all, tried again at 2026-12-01T12:04:00Z"),
        ("cleanup_failed", {"class": "not_ours", "next_attempt_at": None}, "Cleanup failed: round 2, not_ours"),
        ("resurrected", {"resources": ["k i"], "count": 1}, "Back after it was gone: k i, count 1"),
        ("of_a_newer_stack", {"deep": {"a": {"b": [1, "c"]}}}, "of a newer stack: deep a b 1, c"),
    ],
)  # fmt: skip
def test_an_event_is_said_in_words(type_: str, detail: dict[str, Any], wanted: str) -> None:
    assert sentence(Event(1, type_, "2026-12-01T12:00:00Z", round=2, detail=detail), NOW, is_terminal=False) == wanted
