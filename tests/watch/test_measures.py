"""This is what is counted of each fact."""

import pytest

from tests.fakes import a_deployment
from tracker.model.deployment import Deployment, Event
from tracker.watch.measures import Measure, measures

EXPIRES = "2030-01-01T01:00:00.000Z"
EXPIRED = Event(2, "terminating", "2030-01-01T01:00:04.500Z", "Terminating", round=1, detail={"reason": "expired"})
FAILED = Event(3, "cleanup_failed", "2030-01-01T01:01:00.000Z", "Active", round=1, detail={"class": "protected"})
AGAIN = Event(4, "terminating", "2030-01-01T01:02:00.000Z", "Terminating", round=2, detail={"reason": "retry"})
ENDED = Event(5, "cleanup_succeeded", "2030-01-01T01:03:00.000Z", "Terminated", round=2)
BACK = Event(6, "resurrected", "2030-01-01T02:03:00.000Z", "Terminating")
ONCE_MORE = Event(
    7, "terminating", "2030-01-01T02:03:00.000Z", "Terminating", round=3, detail={"reason": "resurrected"}
)
ENDED_AGAIN = Event(8, "cleanup_succeeded", "2030-01-01T02:04:30.000Z", "Terminated", round=3)


def an_event(type_: str, **detail: object) -> Event:
    return Event(sequence=3, type=type_, at=EXPIRES, status="Terminating", detail=detail)  # type: ignore[arg-type]


def after(*events: Event) -> Deployment:
    return a_deployment(expires_at=EXPIRES, events=list(events))


@pytest.mark.parametrize(
    ("event", "found"),
    [
        (an_event("resource_gone", id="i-1"), [Measure("ResourceGone")]),
        (an_event("resource_gone", id="i-1", never_seen=True), [Measure("ResourceGone"), Measure("NeverSeen")]),
        (EXPIRED, [Measure("Terminating"), Measure("Lag", 4.5, "Seconds")]),
        (AGAIN, [Measure("Terminating")]),
        (
            FAILED,
            [Measure("CleanupFailed"), Measure("FailedRounds", dimensions={"class": "protected", "platform": "aws"})],
        ),
    ],
)
def test_each_fact_is_counted_and_what_it_says_besides(event: Event, found: list[Measure]) -> None:
    assert measures(after(EXPIRED), event) == found


def test_a_cleanup_took_from_its_expiry_to_its_end_whatever_failed_between() -> None:
    deployment = after(EXPIRED, FAILED, AGAIN, ENDED)
    assert measures(deployment, ENDED)[1:] == [Measure("DueToGone", 180.0, "Seconds"), Measure("Rounds", 2)]


def test_one_that_is_back_took_from_when_that_was_seen() -> None:
    deployment = after(EXPIRED, FAILED, AGAIN, ENDED, BACK, ONCE_MORE, ENDED_AGAIN)
    assert Measure("DueToGone", 90.0, "Seconds") in measures(deployment, ENDED_AGAIN)


def test_one_that_was_ended_before_its_time_took_from_when_someone_asked() -> None:
    asked = Event(2, "terminating", "2030-01-01T00:10:00.000Z", "Terminating", round=1, detail={"reason": "done"})
    deployment = a_deployment(expires_at="2031-01-01T00:00:00.000Z", events=[asked, ENDED])
    assert Measure("DueToGone", 3180.0, "Seconds") in measures(deployment, ENDED)


def test_where_the_events_do_not_go_back_so_far_nothing_is_guessed() -> None:
    assert [each.name for each in measures(after(ENDED), ENDED)] == ["CleanupSucceeded", "Rounds"]
