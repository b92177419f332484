"""This is how places are handed out: few at once, each in its turn, and none held up for ever by another."""

import json
from collections.abc import Callable

import msgspec
import pytest

from tests.fakes import NOW
from tracker.model.places import Place
from tracker.survey import lanes
from tracker.survey.lanes import Lane

START = NOW.timestamp()


def some(number: int) -> list[Place]:
    return [Place("AwsEc2", f"region-{n}") for n in range(number)]


class Run:
    """A lane that runs, on a clock that its surveys put forward."""

    def __init__(self, seconds: float, left: float = 300) -> None:
        self.seconds, self.left = seconds, left
        self.now = START
        self.surveyed: list[Place] = []
        self.handed: list[Lane] = []

    def survey(self, place: Place, time_left: Callable[[], float]) -> None:
        self.surveyed.append(place)
        spent = min(self.seconds, time_left())
        self.left -= spent
        self.now += spent

    def run(self, lane: Lane) -> int:
        return lanes.run(
            lane, self.survey, time_left=lambda: self.left, hand_on=self.handed.append, clock=lambda: self.now
        )


@pytest.mark.parametrize("number", [0, 1, 2, 7, 50])
def test_every_place_is_in_one_lane_and_there_are_two(number: int) -> None:
    made = lanes.lanes(some(number), START)
    assert len(made) == min(number, lanes.LANES)
    assert sorted(place.digest for lane in made for place in lane.places) == sorted(p.digest for p in some(number))
    sizes = [len(lane.places) for lane in made]
    assert not sizes or max(sizes) - min(sizes) <= 1


def test_places_come_in_another_order_each_time() -> None:
    orders = {tuple(place.region for place in lanes.lanes(some(40), START)[0].places) for _ in range(5)}
    assert len(orders) > 1


def test_a_lane_is_never_more_than_an_asynchronous_call_takes() -> None:
    places = [Place("AwsEc2", f"region-{n}", {"role": "r" * 500}) for n in range(2000)]
    made = lanes.lanes(places, START)
    assert len(made) > lanes.LANES
    assert max(len(msgspec.json.encode(lane)) for lane in made) <= 250_000


def test_a_lane_comes_back_from_its_event_as_it_was() -> None:
    (lane, _) = lanes.lanes([*some(1), Place("GcpGce", "a", {"project_id": "p"})], START)
    event = json.loads(msgspec.json.encode(lane))
    assert lanes.is_lane(event)
    assert lanes.read_lane(event) == lane
    assert not lanes.is_lane({"named_places": []})


def test_quick_places_are_done_in_one_invocation() -> None:
    run = Run(seconds=1)
    lane = Lane(some(30), int(START) + 3600)
    assert run.run(lane) == 30
    assert (run.surveyed, run.handed) == (lane.places, [])


def test_a_slow_place_takes_its_share_and_the_others_have_their_turn() -> None:
    lane = Lane(some(6), int(START) + 3600)
    run = Run(seconds=10_000)
    seen: list[Place] = []
    rounds = 0
    while lane:
        run.left, run.handed = 300, []
        run.run(lane)
        assert run.left >= lanes.RESERVE - 1, "it can still hand on what is left"
        seen, rounds = run.surveyed, rounds + 1
        (lane,) = run.handed or [None]  # type: ignore[list-item]
    assert seen == some(6)
    assert rounds >= 3


def test_an_invocation_with_little_time_does_one_place_rather_than_none() -> None:
    run = Run(seconds=1, left=60)
    assert run.run(Lane(some(3), int(START) + 3600)) == 1
    assert [lane.places for lane in run.handed] == [some(3)[1:]]


def test_a_lane_that_the_next_survey_overtakes_ends() -> None:
    run = Run(seconds=50)
    assert run.run(Lane(some(10), int(START) + 60)) == 2
    assert run.handed == []
