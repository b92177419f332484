"""This is what is stray: seen twice, an hour apart, old enough, and claimed by nobody. And when it isn't any more."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.fakes import NOW, Engine, a_thing
from tests.survey.conftest import GENERATION, OTHER, PLACE, Surveyed
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.core.kind import PlaceGone
from tracker.model.deployment import Cleanup, format_time
from tracker.model.places import Place
from tracker.model.strays import Exemption, Sighting, Stray
from tracker.store.strays import Strays
from tracker.survey.look import Surveyor

ENDED = Cleanup(round=1, ended_at=format_time(NOW))
EXEMPT = Exemption("it is needed", "someone", format_time(NOW + timedelta(hours=30)))


def facts(stray: Stray | None) -> list[tuple[int, str]]:
    assert stray
    return [(fact.sequence, fact.type) for fact in stray.outbox]


# Announced


def test_a_stray_is_announced_at_the_third_survey_when_it_is_two_hours_old(surveyed: Surveyed) -> None:
    surveyed.shows()
    assert surveyed.survey().strays == 1
    assert (surveyed.only.seen, surveyed.only.announced_at) == (1, None)
    surveyed.survey(hours=1)
    assert (surveyed.only.seen, surveyed.only.announced_at) == (2, None)
    surveyed.survey(hours=1)
    assert facts(surveyed.only) == [(1, "found")]
    assert surveyed.only.announced_at == surveyed.clock.text


def test_it_is_announced_once_however_long_it_stays(surveyed: Surveyed) -> None:
    surveyed.shows()
    first = surveyed.told()
    for _ in range(5):
        surveyed.survey(hours=1)
        assert surveyed.only.outbox == []
    assert (surveyed.only.announced_at, surveyed.only.sequence) == (first.announced_at, 1)


def test_what_the_provider_says_is_old_is_announced_an_hour_after_it_was_first_seen(surveyed: Surveyed) -> None:
    surveyed.shows(made_at=format_time(NOW - timedelta(days=3)))
    surveyed.survey()
    surveyed.survey(hours=1)
    assert surveyed.only.announced_at


def test_a_provider_that_says_nonsense_of_its_age_is_not_believed(surveyed: Surveyed) -> None:
    surveyed.shows(made_at="yesterday")
    surveyed.survey()
    surveyed.survey(hours=1)
    assert not surveyed.only.announced_at


def test_two_surveys_within_the_gap_are_one(surveyed: Surveyed) -> None:
    surveyed.set(stray_grace=0)
    surveyed.shows()
    for _ in range(4):
        surveyed.survey(hours=0.3)
    assert not surveyed.only.announced_at
    surveyed.survey(hours=0.3)
    assert surveyed.only.announced_at


def test_the_key_names_kind_id_and_place(surveyed: Surveyed) -> None:
    surveyed.shows()
    surveyed.survey()
    key = surveyed.only.key
    assert key.startswith("stray:memory:thing:box-1@")
    surveyed.found[0] = msgspec.structs.replace(
        surveyed.found[0], resource=a_thing("box-1", place={"account": "another"})
    )
    surveyed.survey()
    assert surveyed.only.key != key, "another account's thing of the same name"


# Claimed


@pytest.mark.parametrize("status", ["Active", "Failed", "Unknown", "Terminating"])
@pytest.mark.parametrize("mark", [GENERATION, "0f8fad5bd9cb"])
def test_what_carries_the_mark_of_a_record_that_is_not_over_is_claimed(
    surveyed: Surveyed, status: str, mark: str
) -> None:
    surveyed.record(generation=GENERATION, status=status)
    surveyed.shows(mark=mark)
    assert surveyed.survey().strays == 0
    assert surveyed.all == []


def test_what_a_deployment_left_that_has_ended_is_stray(surveyed: Surveyed) -> None:
    surveyed.record(generation=GENERATION, status="Terminated", cleanup=ENDED)
    surveyed.shows()
    assert surveyed.told().mark == GENERATION


@pytest.mark.parametrize(
    "said",
    [
        {"resource_ids": {"box": "box-1"}},
        {"resources": [a_thing("box-1")]},
        {"resources": [a_thing("box-1", state="kept", detail="not ours")]},
    ],
)
def test_what_a_live_record_names_found_or_kept_is_claimed_and_stray_after_its_end(
    surveyed: Surveyed, said: dict[str, Any]
) -> None:
    live = surveyed.record(generation=OTHER, **said)
    surveyed.shows()
    assert surveyed.survey().strays == 0
    surveyed.store.replace(live, msgspec.structs.replace(live, version=1, status="Terminated", cleanup=ENDED))
    assert surveyed.survey().strays == 1


def test_a_name_is_claimed_by_no_record_of_another_region(surveyed: Surveyed) -> None:
    surveyed.record(generation=OTHER, resource_ids={"box": "box-1"}, region="us-east-1")
    surveyed.shows()
    assert surveyed.survey().strays == 1


def test_a_generation_that_only_begins_alike_claims_nothing(surveyed: Surveyed) -> None:
    surveyed.record(generation=GENERATION[:-4] + "0000")
    surveyed.shows()
    assert surveyed.told().announced_at


def test_what_an_index_that_lags_misses_is_seen_by_a_consistent_read_and_not_announced(
    surveyed: Surveyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    surveyed.shows()
    surveyed.survey()
    surveyed.survey(hours=1)
    surveyed.record(generation=GENERATION)
    lines = Strays.lines
    monkeypatch.setattr(Strays, "lines", lambda self, *of: lines(self, *(each for each in of if each == "Stray")))
    surveyed.survey(hours=1)
    assert surveyed.all == []


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_a_generation_is_found_where_its_record_has_moved_to(surveyed: Surveyed, moves: int) -> None:
    old = surveyed.record(generation=GENERATION)
    for number in range(moves):
        new = msgspec.structs.replace(old, blueprint_id=f"moved-{number}", version=old.version + 1)
        surveyed.store.move(old, new)
        old = new
    assert surveyed.strays.holder(GENERATION) == surveyed.strays.holder("0f8fad5bd9cb") == old.blueprint_id


def test_generations_that_begin_alike_stand_side_by_side(surveyed: Surveyed) -> None:
    twin = GENERATION[:-4] + "0000"
    surveyed.record("one", generation=GENERATION, status="Terminated", cleanup=ENDED)
    assert surveyed.strays.holder("0f8fad5bd9cb") is None
    surveyed.record("two", generation=twin)
    assert surveyed.strays.holder("0f8fad5bd9cb") == "two"
    assert surveyed.strays.holder(GENERATION) is None
    assert surveyed.strays.holder(twin) == "two"


def test_a_record_that_can_not_be_read_claims_its_generation(surveyed: Surveyed, engine: Any) -> None:
    surveyed.record(generation=GENERATION)
    engine.spoil("svc-1", {"resources": {"S": "not JSON"}})
    assert surveyed.strays.holder(GENERATION) == "svc-1"


def test_the_item_of_a_generation_goes_with_its_record_and_stays_if_another_round_begins(
    surveyed: Surveyed, engine: Any
) -> None:
    def ttl() -> Any:
        return engine.items("generation#0f8fad5bd9cb")[GENERATION].get("ttl")

    live = surveyed.record(generation=GENERATION, status="Terminating")
    assert ttl() is None
    ended = msgspec.structs.replace(live, version=1, status="Terminated", cleanup=ENDED)
    surveyed.store.replace(live, ended)
    assert ttl() == engine.items("svc-1")["record"]["ttl"]
    again = msgspec.structs.replace(ended, version=2, status="Terminating", cleanup=Cleanup(round=2))
    surveyed.store.replace(ended, again)
    assert ttl() is None
    # A process that was held up after the first end comes to its last write now.
    surveyed.store._let_go(ended)
    assert ttl() is None


# Blind


@pytest.mark.parametrize(
    "error",
    [Refused("credentials", "it may not look"), Busy("later"), Unreachable("no answer"), ValueError("what is this")],
)
def test_a_place_that_can_not_be_seen_as_a_whole_is_blind_and_nothing_there_changes(
    surveyed: Surveyed, error: Exception
) -> None:
    surveyed.shows("box-1")
    before = surveyed.told()
    surveyed.shows("box-2")
    del surveyed.found[0]
    surveyed.raises = error
    assert surveyed.survey(hours=1).outcome == "blind"
    assert surveyed.only == before
    surveyed.raises = None
    surveyed.survey(hours=1)
    assert [stray.id for stray in surveyed.all] == ["box-2"]


def test_a_place_that_has_more_than_can_be_listed_in_time_is_blind(surveyed: Surveyed) -> None:
    surveyed.shows()
    surveyor = Surveyor(surveyed.strays, surveyed.lifecycle, surveyed.settings, surveyed.clock)
    assert surveyor.survey(PLACE, lambda: 0).outcome == "blind"


def test_a_place_that_no_registration_could_name_now_is_blind(surveyed: Surveyed) -> None:
    assert surveyed.survey(Place("BareMetal", "eu-central-1", {"credential": "x" * 9, "account": "\n"})).outcome == (
        "blind"
    )


def test_a_type_that_can_not_look_is_no_blind_place(surveyed: Surveyed) -> None:
    del surveyed.provider.module.__dict__["find"]
    assert surveyed.survey().outcome == "unable"


# Over


def test_what_is_not_there_any_more_is_announced_to_be_gone_and_listed_no_more(surveyed: Surveyed) -> None:
    surveyed.shows()
    stray = surveyed.told()
    surveyed.found.clear()
    surveyed.survey(hours=1)
    over = surveyed.strays.get(stray.key)
    assert facts(over) == [(2, "gone")]
    assert over
    assert over.ended_at == surveyed.clock.text
    assert surveyed.all == []


def test_a_place_that_is_gone_takes_its_strays_with_it(surveyed: Surveyed) -> None:
    surveyed.shows()
    surveyed.told()
    surveyed.raises = PlaceGone("there is no such cluster")
    assert surveyed.survey(hours=1).outcome == "surveyed"
    assert surveyed.all == []


def test_what_was_never_announced_goes_without_a_word(surveyed: Surveyed) -> None:
    surveyed.shows()
    surveyed.survey()
    key = surveyed.only.key
    surveyed.found.clear()
    surveyed.survey()
    assert surveyed.strays.get(key) is None


def test_what_is_claimed_after_it_was_announced_is_no_stray_any_more(surveyed: Surveyed) -> None:
    surveyed.shows()
    stray = surveyed.told()
    surveyed.record(generation=GENERATION)
    surveyed.survey(hours=1)
    over = surveyed.strays.get(stray.key)
    assert over
    assert over.outbox[0].detail == {"why": "claimed by a record"}


def test_what_comes_again_is_a_new_stray(surveyed: Surveyed) -> None:
    surveyed.shows()
    first = surveyed.told()
    found, surveyed.found = surveyed.found, []
    surveyed.survey(hours=1)
    surveyed.found = found
    surveyed.survey(hours=1)
    again = surveyed.only
    assert (again.seen, again.announced_at, again.sequence) == (1, None, 0)
    assert again.first_seen_at > first.first_seen_at


def test_strays_of_another_place_are_left_to_its_own_survey(surveyed: Surveyed) -> None:
    surveyed.shows()
    surveyed.told()
    surveyed.found.clear()
    surveyed.survey(Place("BareMetal", "us-east-1", {"account": "one"}))
    assert surveyed.only


# Exempt


def test_an_exempt_stray_is_neither_announced_nor_adopted_until_its_exemption_ends(surveyed: Surveyed) -> None:
    surveyed.set(stray_adoption=60)
    surveyed.shows()
    surveyed.survey()
    surveyed.lifecycle.exempt(surveyed.only.key, EXEMPT)
    for _ in range(30):
        surveyed.survey(hours=0.99)
    left_alone = surveyed.only
    assert (left_alone.announced_at, left_alone.exempt) == (None, EXEMPT)
    surveyed.survey(hours=1)
    assert surveyed.only.announced_at
    assert surveyed.survey(hours=1).adopted == 1


def test_of_two_surveys_at_once_one_counts(surveyed: Surveyed) -> None:
    surveyed.shows()
    for _ in range(2):
        surveyed.survey(hours=1)
    surveyed.clock.forward(hours=1)
    sighting = Sighting(a_thing("box-1", place={"account": "one"}), "box", GENERATION)
    stale = surveyed.only
    one = surveyed.lifecycle.sighted(sighting, PLACE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surveyed.strays, "get", lambda _key: stale)
        other = surveyed.lifecycle.sighted(sighting, PLACE)
    assert facts(one) == [(1, "found")]
    assert other is None
    assert surveyed.only.sequence == 1


@pytest.mark.parametrize("is_still_there", [True, False])
def test_a_stray_that_cannot_be_read_hides_no_other(surveyed: Surveyed, engine: Engine, is_still_there: bool) -> None:
    surveyed.shows("box-1")
    surveyed.shows("box-2", OTHER)
    surveyed.survey()
    one, other = (each.key for each in surveyed.all)
    engine.spoil(one, {"stray": {"S": "{}"}}, item="stray")
    if not is_still_there:
        surveyed.found = surveyed.found[1:]
    assert surveyed.survey(hours=1).outcome == "surveyed"
    assert [(each.key, each.seen) for each in surveyed.all] == [(other, 2)]


def test_one_that_a_caller_has_just_decided_about_is_left_as_it_is_and_ends_nobody_elses_survey(
    surveyed: Surveyed,
) -> None:
    surveyed.shows("box-1")
    surveyed.shows("box-2", OTHER)
    surveyed.survey()
    surveyed.found.clear()
    stale = {each.key: each for each in surveyed.all}
    first = next(iter(stale))
    surveyed.lifecycle.exempt(first, EXEMPT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surveyed.strays, "get", stale.get)
        assert surveyed.survey(hours=1).outcome == "surveyed"
    assert [(each.key, each.exempt) for each in surveyed.all] == [(first, EXEMPT)]
