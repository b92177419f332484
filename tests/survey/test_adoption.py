"""This is who takes a stray on: a deployment of the generation that its mark names, so that all that carries it is found."""

from datetime import timedelta

import msgspec
import pytest

from tests.fakes import NOW, MemoryWorkflow, a_deployment, a_thing
from tests.survey.conftest import GENERATION, OTHER, Surveyed
from tests.survey.test_look import ENDED, EXEMPT
from tracker.lifecycle.transitions import Lifecycle
from tracker.model.deployment import Event, expiry, format_time, parse_time
from tracker.model.errors import Conflict, Contended, Invalid, NotFound
from tracker.model.marks import is_mark_of


def test_a_stray_becomes_a_deployment_that_is_due_at_once(surveyed: Surveyed) -> None:
    surveyed.shows()
    stray = surveyed.told()
    deployment, is_new = surveyed.adopt(stray.key)
    assert is_new
    assert deployment.blueprint_id == "adopted:" + stray.key.removeprefix("stray:")
    assert (deployment.deployment_type, deployment.region) == ("BareMetal", "eu-central-1")
    assert deployment.resource_ids == {"box": ["box-1"]}
    assert (deployment.status, deployment.incomplete) == ("Active", False)
    assert deployment.metadata == {"account": "one"}
    assert deployment.generation == GENERATION
    assert deployment.due_at == expiry(deployment) == surveyed.clock().timestamp()
    (fact,) = deployment.events
    assert fact.detail == {"adopted": stray.key, "reason": "it is ours", "by": "someone"}
    assert surveyed.store.get(deployment.blueprint_id) == deployment
    assert surveyed.all == []


def test_it_may_be_given_a_time_to_live(surveyed: Surveyed) -> None:
    surveyed.shows()
    deployment, _ = surveyed.adopt(surveyed.told().key, ttl_seconds=3600)
    assert deployment.ttl_seconds == 3600
    assert deployment.expires_at
    assert parse_time(deployment.expires_at) == surveyed.clock() + timedelta(hours=1)


def test_no_time_to_live_is_longer_than_the_stack_allows(surveyed: Surveyed) -> None:
    surveyed.set(max_ttl=600)
    surveyed.shows()
    stray = surveyed.told()
    with pytest.raises(Invalid, match="ttl_seconds"):
        surveyed.adopt(stray.key, ttl_seconds=601)
    assert surveyed.only == stray


def test_adopting_twice_is_adopting_once(surveyed: Surveyed) -> None:
    surveyed.shows()
    key = surveyed.told().key
    first, _ = surveyed.adopt(key)
    assert surveyed.adopt(key) == (first, False)


def test_what_is_no_stray_can_not_be_adopted(surveyed: Surveyed) -> None:
    with pytest.raises(NotFound):
        surveyed.adopt("stray:memory:thing:box-9")


def test_a_deployment_that_is_only_called_so_adopted_nothing(surveyed: Surveyed) -> None:
    registered = Event(sequence=1, type="registered", at=format_time(NOW), status="Active", detail={"by": "someone"})
    surveyed.record("adopted:memory:thing:box-9", events=[registered])
    with pytest.raises(NotFound):
        surveyed.adopt("stray:memory:thing:box-9")


def test_what_is_adopted_for_a_time_is_warned_of_before_its_end(surveyed: Surveyed) -> None:
    surveyed.shows()
    deployment, _ = surveyed.adopt(surveyed.told().key, ttl_seconds=7200)
    assert deployment.due_at == surveyed.clock().timestamp() + 3600


def test_what_is_exempt_is_not_adopted(surveyed: Surveyed) -> None:
    surveyed.shows()
    surveyed.survey()
    surveyed.lifecycle.exempt(surveyed.only.key, EXEMPT)
    with pytest.raises(Conflict, match="exempt until"):
        surveyed.adopt(surveyed.only.key)


def test_what_is_claimed_since_is_not_adopted(surveyed: Surveyed) -> None:
    surveyed.shows()
    key = surveyed.told().key
    surveyed.record(generation=GENERATION)
    with pytest.raises(Conflict, match="svc-1"):
        surveyed.adopt(key)
    assert surveyed.strays.get(key)


def test_what_an_ended_deployment_left_gets_a_generation_of_its_own(surveyed: Surveyed) -> None:
    surveyed.record(generation=GENERATION, status="Terminated", cleanup=ENDED)
    surveyed.shows()
    deployment, _ = surveyed.adopt(surveyed.told().key)
    assert deployment.generation != GENERATION
    assert deployment.status == "Active"


def test_a_dependent_that_an_ended_deployment_left_is_for_its_own_record(surveyed: Surveyed) -> None:
    """Alone it lacks the ids of its type, and nothing carries the mark of a new generation, by which they could be found."""
    surveyed.record(generation=GENERATION, status="Terminated", cleanup=ENDED)
    surveyed.shows("disk-1", key="")
    stray = surveyed.told()
    with pytest.raises(Conflict, match="Hand its id in to that record"):
        surveyed.adopt(stray.key)
    assert surveyed.only == stray


def test_a_dependent_of_an_unknown_generation_is_adopted_with_all_that_carries_its_mark(surveyed: Surveyed) -> None:
    surveyed.shows("disk-1", key="")
    surveyed.shows("box-1")
    for _ in range(3):
        surveyed.survey(hours=1)
    key = next(stray.key for stray in surveyed.all if stray.id == "disk-1")
    deployment, _ = surveyed.adopt(key)
    assert (deployment.status, deployment.incomplete, deployment.generation) == ("Unknown", True, GENERATION)
    assert [(each.id, each.stage, each.seen, each.named_by) for each in deployment.resources] == [
        ("disk-1", 1, True, "")
    ]
    assert surveyed.survey().strays == 0, "its machine is claimed by the same mark"


@pytest.mark.parametrize("ended", [True, False])
def test_a_mark_that_is_a_name_gets_a_generation_that_begins_so(surveyed: Surveyed, ended: bool) -> None:
    if ended:
        surveyed.record(generation=GENERATION, status="Terminated", cleanup=ENDED)
    surveyed.shows(mark="0f8fad5bd9cb")
    deployment, _ = surveyed.adopt(surveyed.told().key)
    assert deployment.generation != GENERATION
    assert is_mark_of("0f8fad5bd9cb", deployment.generation)
    assert surveyed.survey(hours=1).strays == 0


@pytest.mark.parametrize("mark", [GENERATION, "0f8fad5bd9cb"])
def test_no_round_or_fact_of_an_adopted_one_has_the_name_of_one_of_a_record_that_was_purged(
    surveyed: Surveyed, mark: str
) -> None:
    workflow = MemoryWorkflow()
    lifecycle = Lifecycle(surveyed.store, workflow, surveyed.settings, surveyed.clock)
    lifecycle.register(
        a_deployment(generation=GENERATION, ttl=None, deployment_type="BareMetal", metadata={"account": "one"})
    )
    deployment = lifecycle.terminate("svc-1", reason="r", requested_by="b")
    ended = lifecycle.released(deployment, [a_thing("box-2", state="gone")])
    facts = {(ended.generation, each.sequence) for each in ended.events}
    surveyed.clock.forward(days=31)
    surveyed.shows(mark=mark)
    adopted, _ = surveyed.adopt(surveyed.told().key)
    lifecycle.terminate(adopted.blueprint_id, reason="r", requested_by="b")
    assert len(workflow.asked) == len(set(workflow.asked)) == 2
    now = surveyed.store.require(adopted.blueprint_id)
    assert facts.isdisjoint((now.generation, each.sequence) for each in now.events)


def test_a_generation_is_never_of_two_records(surveyed: Surveyed) -> None:
    surveyed.shows("box-1")
    surveyed.shows("box-2")
    for _ in range(3):
        surveyed.survey(hours=1)
    first, second = (stray.key for stray in surveyed.all)
    # Two callers at once: neither sees the other's.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surveyed.strays, "generations", lambda _mark: [])
        one, _ = surveyed.adopt(first)
        with pytest.raises(Contended):
            surveyed.adopt(second)
    assert surveyed.strays.holder(GENERATION) == one.blueprint_id


def test_what_was_adopted_and_is_left_again_is_adopted_over_the_ended_one(surveyed: Surveyed) -> None:
    surveyed.shows()
    first, _ = surveyed.adopt(surveyed.told().key)
    surveyed.store.replace(first, msgspec.structs.replace(first, version=2, status="Terminated", cleanup=ENDED))
    again, is_new = surveyed.adopt(surveyed.told().key)
    assert is_new
    assert again.generation != first.generation
    past = surveyed.store.past(first.blueprint_id, first.generation)
    assert past
    assert past.status == "Terminated"


def test_what_nobody_took_care_of_is_adopted_by_itself_after_so_long(surveyed: Surveyed) -> None:
    surveyed.set(stray_adoption=7200)
    surveyed.shows()
    stray = surveyed.told()
    assert surveyed.survey(hours=1).adopted == 0
    assert surveyed.survey(hours=1).adopted == 1
    deployment = surveyed.store.require("adopted:" + stray.key.removeprefix("stray:"))
    assert deployment.registered_by == "tracker"
    assert deployment.events[0].detail["reason"].startswith("nobody took care of it")
    assert surveyed.survey(hours=1) == msgspec.structs.replace(surveyed.survey(), strays=0, adopted=0)


def test_by_default_nothing_is_adopted_by_itself(surveyed: Surveyed) -> None:
    surveyed.shows()
    surveyed.told()
    assert sum(surveyed.survey(hours=24).adopted for _ in range(30)) == 0


def test_what_can_not_be_adopted_by_itself_stays_a_stray(surveyed: Surveyed) -> None:
    surveyed.set(stray_adoption=60)
    surveyed.record(generation=OTHER, status="Terminated", cleanup=ENDED)
    surveyed.shows("disk-1", mark=OTHER, key="")
    surveyed.told()
    assert surveyed.survey(hours=1).adopted == 0
    assert surveyed.only.first_seen_at == format_time(NOW + timedelta(hours=1))
