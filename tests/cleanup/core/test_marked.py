"""The end of a deployment that was registered before anything was made: its mark is looked for, and what carries it goes."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.cleanup.core.test_rounds import Rounds
from tests.fakes import Clock, MemoryProvider, MemoryWorkflow, a_deployment, a_thing
from tracker.cleanup.core import plans
from tracker.cleanup.core.contract import Busy, Found, Refused, Unreachable
from tracker.cleanup.core.rounds import RoundState
from tracker.lifecycle.transitions import Lifecycle
from tracker.model.catalogue import CATALOGUE
from tracker.model.deployment import Deployment, Resource, parse_time
from tracker.model.settings import Settings
from tracker.store.records import Records

GENERATION = "0f8fad5b-d9cb-469f-a165-70867728950e"
OTHER = "1f8fad5b-d9cb-469f-a165-70867728950e"
MACHINE, DISK = a_thing("machine"), a_thing("disk", 1)
LINE = ("mark", f"BlueprintDeployment={GENERATION}")


class Intents(Rounds):
    """Rounds of a deployment that lacks its ids."""

    def begin(self, **changes: Any) -> RoundState:
        said: dict[str, Any] = {
            "resource_ids": {},
            "status": "Unknown",
            "incomplete": True,
            "generation": GENERATION,
        } | changes
        deployment, _ = self.lifecycle.register(a_deployment(deployment_type="BareMetal", **said))
        return self.terminate(deployment.blueprint_id)

    def run(self, state: RoundState) -> list[str]:
        """Step until the round is over, waiting as the workflow does; the outcomes."""
        outcomes: list[str] = []
        while not outcomes or outcomes[-1] == "remains":
            answer = self.step(state)
            outcomes.append(answer.outcome)
            self.clock.forward(seconds=answer.retry_after)
        return outcomes

    def put_ids(self, **ids: Any) -> None:
        """Somebody hands ids in."""

        def patch(old: Deployment) -> tuple[Deployment, None]:
            return _with_ids(old, old.resource_ids | ids), None

        self.lifecycle.amend("svc-1", patch)

    @property
    def line(self) -> Resource:
        """The line about the mark."""
        (found,) = (each for each in self.record.resources if each.key == LINE)
        return found


def _with_ids(old: Deployment, ids: dict[str, Any]) -> Deployment:
    return msgspec.structs.replace(old, resource_ids=ids, incomplete=False)


@pytest.fixture
def provider(provider: MemoryProvider) -> MemoryProvider:
    provider.finds()
    return provider


@pytest.fixture
def rounds(lifecycle: Lifecycle, settings: Settings, clock: Clock, store: Records, provider: MemoryProvider) -> Intents:
    return Intents(lifecycle, settings, clock, store)


def test_what_carries_the_mark_is_put_on_the_record_before_any_of_it_goes(
    rounds: Intents, provider: MemoryProvider
) -> None:
    provider.marks(GENERATION, MACHINE, DISK)
    known: list[dict[str, Any]] = []

    def look_at_the_table(call: str, id_: str) -> None:
        if call == "delete":
            known.append({"ids": rounds.record.resource_ids, "all": {each.id for each in rounds.record.resources}})

    provider.before = look_at_the_table
    assert rounds.run(rounds.begin()) == ["gone"]
    assert known[0] == {"ids": {"box": ["machine"]}, "all": {"machine", "disk"}}
    assert provider.things == {}
    record = rounds.record
    assert (record.status, record.incomplete) == ("Terminated", False)
    states = {each.key: (each.state, each.named_by, each.never_seen) for each in record.resources}
    assert states == {
        MACHINE.key: ("gone", "box", False),
        DISK.key: ("gone", "", False),
        LINE: ("gone", "", False),
    }
    assert "nothing else carries it" in rounds.line.proof
    (amended,) = (event for event in record.events if event.type == "amended")
    assert amended.detail["found"] == ["memory:thing machine", "memory:thing disk"]


def test_what_carries_another_mark_is_let_alone(rounds: Intents, provider: MemoryProvider) -> None:
    provider.marks(OTHER, MACHINE)
    rounds.run(rounds.begin())
    assert provider.things == {"machine": 0}
    assert rounds.record.status == "Terminated"


def test_a_type_that_finds_what_carries_another_mark_is_a_defect(rounds: Intents, provider: MemoryProvider) -> None:
    provider.has(MACHINE)
    provider.module.__dict__["find"] = lambda *_: [Found(MACHINE, "box", OTHER)]
    assert rounds.run(rounds.begin()) == ["refused"]
    assert provider.asked("delete") == []
    assert rounds.record.status == "Terminating"


def test_nothing_is_believed_only_after_two_looks_ten_minutes_apart(rounds: Intents, provider: MemoryProvider) -> None:
    state = rounds.begin()
    began = rounds.clock.now
    first = rounds.step(state)
    assert (first.outcome, first.retry_after) == ("remains", 600)
    record = rounds.record
    assert record.status == "Terminating"
    assert record.cleanup.nothing_found_at == rounds.clock.text
    assert rounds.line.state == "unseen"
    # The watchdog comes after the second look with all its attempts.
    assert record.due_at
    assert record.due_at > rounds.clock.now.timestamp() + 600 + 900
    rounds.clock.forward(seconds=599)
    early = rounds.step(state)
    assert (early.outcome, early.retry_after) == ("remains", 30)
    rounds.clock.forward(seconds=1)
    assert rounds.step(state).outcome == "gone"
    assert rounds.record.status == "Terminated"
    assert rounds.line.never_seen
    assert rounds.line.proof.startswith("two looks, at ")
    assert rounds.record.events[-1].detail["resources"] == {"never_seen": 1}
    assert rounds.clock.now - began == timedelta(minutes=10)
    assert len(provider.asked("find")) == 3


def test_what_shows_at_the_second_look_goes(rounds: Intents, provider: MemoryProvider) -> None:
    state = rounds.begin()
    rounds.clock.forward(seconds=rounds.step(state).retry_after)
    provider.marks(GENERATION, MACHINE)
    assert rounds.run(state) == ["remains", "gone"]
    assert provider.things == {}
    assert not rounds.line.never_seen


def test_a_machine_that_is_made_while_another_goes_goes_too(rounds: Intents, provider: MemoryProvider) -> None:
    provider.marks(GENERATION, MACHINE)

    def make_another(call: str, _id: str) -> None:
        if call == "delete":
            provider.before = lambda _call, _id: None
            provider.marks(GENERATION, a_thing("late"))

    provider.before = make_another
    assert rounds.run(rounds.begin()) == ["remains", "gone"]
    assert provider.things == {}
    assert {each.id for each in rounds.record.resources if each.kind != "mark"} == {"machine", "late"}


def test_what_is_gone_and_is_listed_again_is_looked_at_again(rounds: Intents, provider: MemoryProvider) -> None:
    """A name can come again, and so can a thing of that name, with the same mark."""
    provider.marks(GENERATION, MACHINE)

    def make_it_again(call: str, _id: str) -> None:
        if call == "find" and not provider.things:
            provider.before = lambda _call, _id: None
            provider.things["machine"] = 0

    provider.before = make_it_again
    assert rounds.run(rounds.begin()) == ["remains", "gone"]
    assert provider.things == {}
    assert provider.asked("delete") == ["machine", "machine"]


def test_a_dependent_alone_goes_and_its_parent_is_looked_for_twice_more(
    rounds: Intents, provider: MemoryProvider
) -> None:
    provider.marks(GENERATION, DISK)
    state = rounds.begin()
    first = rounds.step(state)
    assert (first.outcome, first.retry_after) == ("remains", 600)
    assert provider.things == {}
    assert provider.asked("discover") == []
    rounds.clock.forward(seconds=600)
    assert rounds.step(state).outcome == "gone"
    assert {each.key: each.state for each in rounds.record.resources} == {DISK.key: "gone", LINE: "gone"}


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Refused("credentials", "denied"), "refused"),
        (Busy("throttled", 40), "remains"),
        (Unreachable("no answer"), None),
        (KeyError("x"), None),
    ],
)
def test_a_place_that_cannot_be_seen_is_never_nothing(
    rounds: Intents, provider: MemoryProvider, error: Exception, outcome: str | None, number: int
) -> None:
    state = rounds.begin()
    for _ in range(number):
        rounds.clock.forward(seconds=rounds.step(state).retry_after)
    provider.raises["find", ""] = error
    if outcome is None:
        with pytest.raises(Unreachable):
            rounds.step(state)
    else:
        answer = rounds.step(state)
        assert answer.outcome == outcome
        assert answer.retry_after >= (40 if outcome == "remains" else 0)
    assert rounds.record.status == "Terminating"
    del provider.raises["find", ""]
    provider.marks(GENERATION, MACHINE)
    rounds.lifecycle.restored("svc-1", GENERATION, state.round, "x")
    assert rounds.run(rounds.terminate())[-1] == "gone"
    assert provider.things == {}


def test_each_round_looks_twice_again(rounds: Intents, provider: MemoryProvider) -> None:
    state = rounds.begin()
    rounds.step(state)
    rounds.lifecycle.restored("svc-1", GENERATION, state.round, "x")
    rounds.clock.forward(seconds=3600)
    state = rounds.terminate()
    assert rounds.step(state).retry_after == 600
    rounds.clock.forward(seconds=600)
    assert rounds.step(state).outcome == "gone"


def test_ids_that_come_between_the_looks_join_the_round(rounds: Intents, provider: MemoryProvider) -> None:
    state = rounds.begin()
    rounds.clock.forward(seconds=rounds.step(state).retry_after)
    # It carries no mark: only the record's word leads to it.
    provider.has(MACHINE)
    rounds.put_ids(box=["machine"])
    assert rounds.run(state) == ["gone"]
    assert provider.things == {}
    assert rounds.record.status == "Terminated"
    assert {each.id: each.state for each in rounds.record.resources}["machine"] == "gone"


def test_ids_that_come_during_the_last_look_keep_the_round_from_its_end(
    rounds: Intents, provider: MemoryProvider
) -> None:
    state = rounds.begin()
    rounds.clock.forward(seconds=rounds.step(state).retry_after)
    provider.has(MACHINE)

    def hand_in(call: str, _id: str) -> None:
        if call == "find":
            provider.before = lambda _call, _id: None
            rounds.put_ids(box=["machine"])

    provider.before = hand_in
    assert rounds.run(state) == ["remains", "gone"]
    assert provider.things == {}


def test_no_time_is_left_to_look(rounds: Intents, provider: MemoryProvider) -> None:
    state = rounds.begin()
    rounds.time_left = lambda: 59.0
    assert rounds.step(state).outcome == "remains"
    assert provider.calls == []
    assert rounds.record.cleanup.nothing_found_at is None


def test_a_short_deadline_leaves_room_for_two_looks(
    store: Records, rounds: Intents, provider: MemoryProvider, clock: Clock, settings: Settings
) -> None:
    short = msgspec.structs.replace(settings, deadline=60)
    rounds.lifecycle = Lifecycle(store, MemoryWorkflow(), short, clock)
    assert rounds.run(rounds.begin()) == ["remains", "gone"]


def test_without_its_place_it_cannot_be_looked_for(
    rounds: Intents, provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        CATALOGUE, "BareMetal", msgspec.structs.replace(CATALOGUE["BareMetal"], needs_metadata=(("account",),))
    )
    assert rounds.run(rounds.begin()) == ["refused"]
    error = rounds.record.cleanup.last_error
    assert error
    assert (error.error_class, error.message) == ("missing_id", "metadata.account is missing: account, such as 1")
    assert provider.calls == []


def test_a_type_that_cannot_look_refuses_as_ever(rounds: Intents, provider: MemoryProvider) -> None:
    del provider.module.__dict__["find"]
    assert rounds.run(rounds.begin()) == ["refused"]
    error = rounds.record.cleanup.last_error
    assert error
    assert error.error_class == "missing_id"
    assert provider.calls == []


def test_a_complete_one_is_not_looked_for(rounds: Intents, provider: MemoryProvider) -> None:
    provider.has(MACHINE)
    rounds.run(rounds.begin(resource_ids={"box": ["machine"]}, status="Active", incomplete=False))
    assert provider.asked("find") == []
    assert [each.id for each in rounds.record.resources] == ["machine"]


def test_what_shows_an_hour_after_the_end_is_cleaned_up(rounds: Intents, provider: MemoryProvider) -> None:
    """As a list that was hours late; by the same look that is taken at what is gone."""
    rounds.run(rounds.begin())
    record = rounds.record
    assert record.due_at == parse_time(record.cleanup.ended_at or "").timestamp() + 3600
    rounds.clock.forward(seconds=3600)
    settings = Settings()
    seen = plans.look_again(rounds.record, settings, lambda: 0.0, rounds.clock)
    assert [(each.state, each.detail) for each in seen] == [
        ("gone", f"still nothing carries it at {rounds.clock.text}")
    ]
    provider.marks(GENERATION, MACHINE)
    seen = plans.look_again(rounds.record, settings, lambda: 0.0, rounds.clock)
    record = rounds.lifecycle.looked_again("svc-1", GENERATION, seen)
    assert (record.status, record.cleanup.reason) == ("Terminating", "resurrected")
    assert rounds.run(RoundState("svc-1", GENERATION, 2)) == ["gone"]
    assert provider.things == {}
    assert rounds.line.state == "gone"


def test_the_plan_of_an_intent_shows_what_its_mark_leads_to(
    rounds: Intents, provider: MemoryProvider, settings: Settings
) -> None:
    intent = a_deployment(
        deployment_type="BareMetal", resource_ids={}, status="Unknown", incomplete=True, generation=GENERATION
    )
    plan = plans.draw(intent, settings, lambda: 0.0)
    assert [(each.key, each.state, each.detail) for each in plan.resources] == [
        (LINE, "unseen", "nothing else carries it now")
    ]
    provider.marks(GENERATION, MACHINE)
    provider.marks(OTHER, a_thing("other"))
    provider.found.pop()
    plan = plans.draw(intent, settings, lambda: 0.0)
    assert [(each.key, each.state) for each in plan.resources] == [(MACHINE.key, "present"), (LINE, "unseen")]
    assert provider.asked("delete") == []
    provider.raises["find", ""] = Refused("credentials", "denied")
    assert plans.draw(intent, settings, lambda: 0.0).refusal == {"class": "credentials", "message": "denied"}


def test_a_plan_that_was_kept_is_no_hindrance(rounds: Intents, provider: MemoryProvider, settings: Settings) -> None:
    """While the brake is at `observe` plans are written on the record, with the line about the mark."""
    deployment, _ = rounds.lifecycle.register(
        a_deployment(
            deployment_type="BareMetal", resource_ids={}, status="Unknown", incomplete=True, generation=GENERATION
        )
    )
    plan = plans.draw(deployment, settings, lambda: 0.0)
    rounds.lifecycle.observed("svc-1", GENERATION, plan.resources)
    assert rounds.line.state == "unseen"
    assert rounds.run(rounds.terminate()) == ["remains", "gone"]
