"""The moments of a live deployment: warnings, holds, the beginning of a round."""

from datetime import timedelta
from typing import Any

import pytest

from tests.fakes import NOW, a_deployment
from tracker.model import moments
from tracker.model.deployment import Cleanup, Hold, format_time

DAY = 86_400


def at(**after: float) -> int:
    return int((NOW + timedelta(**after)).timestamp())


def held(**until: float) -> Hold:
    return Hold("why", "someone", format_time(NOW), format_time(NOW + timedelta(**until)))


@pytest.mark.parametrize(
    ("ttl", "warn_before", "expected"),
    [
        (None, None, []),
        (None, [60], [60]),
        (7199, None, []),
        (7200, None, [3600]),
        (2 * DAY - 1, None, [3600]),
        (2 * DAY, None, [DAY, 3600]),
        (2 * DAY, [], []),
        (60, [600, 60], [600, 60]),
    ],
)
def test_by_default_a_day_and_an_hour_of_what_lives_twice_as_long(
    ttl: int | None, warn_before: list[int] | None, expected: list[int]
) -> None:
    assert moments.warnings(a_deployment(ttl=ttl, warn_before=warn_before)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ttl": None}, None),
        ({"ttl": 3600}, at(hours=1)),
        ({"ttl": 2 * DAY}, at(days=1)),
        ({"ttl": 2 * DAY, "warned": at(days=1)}, at(hours=47)),
        ({"ttl": 2 * DAY, "warned": at(hours=47)}, at(days=2)),
        ({"ttl": 3600, "hold": held(days=3)}, at(days=3)),
        ({"ttl": None, "hold": held(days=3)}, at(days=3)),
        ({"ttl": 2 * DAY, "hold": held(days=3)}, at(days=1)),
        # What was asked for, or has failed, announces itself.
        ({"ttl": 2 * DAY, "cleanup": Cleanup(round=1, failures=1, next_attempt_at=format_time(NOW))}, at()),
        ({"ttl": 2 * DAY, "cleanup": Cleanup(round=1, reason="r", requested_at=format_time(NOW))}, at()),
        ({"ttl": 2 * DAY, "cleanup": Cleanup(round=8, failures=8, quarantined=True)}, None),
    ],
)
def test_what_is_due_next(changes: dict[str, Any], expected: int | None) -> None:
    assert moments.due_at(a_deployment(**changes), NOW) == expected


def test_a_warning_whose_end_has_passed_is_no_moment_any_more() -> None:
    over = a_deployment(ttl=7200, hold=held(days=1))
    assert moments.due_at(over, NOW + timedelta(hours=2)) == at(days=1)
    assert moments.due_warning(over, NOW + timedelta(hours=2)) is None


def test_of_several_that_passed_the_one_nearest_the_end_is_due_with_the_time_that_is_left() -> None:
    deployment = a_deployment(ttl=2 * DAY, warn_before=[7200, DAY, 3600])
    found = moments.due_warning(deployment, NOW + timedelta(hours=46, minutes=30))
    assert found == moments.DueWarning(before=7200, left=5400)


def test_what_expired_and_was_stopped_by_the_brake_begins_at_its_end_and_what_was_asked_for_at_once() -> None:
    stopped: dict[str, Any] = {"round": 1, "requested_at": format_time(NOW)}
    expired = a_deployment(cleanup=Cleanup(reason="expired", requested_by="tracker", **stopped))
    asked = a_deployment(cleanup=Cleanup(reason="expired", requested_by="someone", **stopped))
    assert [moments.is_pending(expired), moments.is_pending(asked)] == [False, True]
    assert [moments.begins_at(expired), moments.begins_at(asked)] == [at(hours=1), at()]
