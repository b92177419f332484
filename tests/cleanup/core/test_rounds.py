"""One step of a round, over a provider in memory and a table of the product's own definition."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from tests.fakes import NOW, Clock, MemoryProvider, a_deployment, a_thing
from tracker.cleanup.core import plans
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.core.rounds import CleanupStep, RoundState, StepResult
from tracker.lifecycle.transitions import Lifecycle
from tracker.model import brakes
from tracker.model.deployment import Deployment, format_time
from tracker.model.settings import Settings
from tracker.store.records import Records

SCHEMA = json.loads((Path(__file__).parents[3] / "statemachine" / "release-answer.schema.json").read_text())
A, B = a_thing("a"), a_thing("b")


class Rounds:
    """Takes steps, and checks each answer against what the workflow reads."""

    def __init__(self, lifecycle: Lifecycle, settings: Settings, clock: Clock, store: Records) -> None:
        self.lifecycle = lifecycle
        self.mode = "enforce"
        self.time_left: Callable[[], float] = lambda: 300.0
        self.clock = clock
        self.store = store
        self._settings = settings

    def begin(self, **changes: Any) -> RoundState:
        """A deployment whose round has just begun."""
        deployment, _ = self.lifecycle.register(
            a_deployment(deployment_type="BareMetal", resource_ids={"box": "a"}, **changes)
        )
        return self.terminate(deployment.blueprint_id)

    def terminate(self, key: str = "svc-1", plan: str = "") -> RoundState:
        """Begin the next round."""
        deployment = self.lifecycle.terminate(key, reason="requested", requested_by="someone", plan=plan)
        return RoundState(key, deployment.generation, deployment.cleanup.round)

    def step(self, state: RoundState) -> StepResult:
        """One step."""
        step = CleanupStep(
            self.lifecycle,
            self._settings,
            brakes=lambda: brakes.parse(self.mode),
            clock=self.clock,
            time_left=self.time_left,
        )
        answer = step.run(state)
        jsonschema.validate(msgspec.to_builtins(answer), SCHEMA)
        return answer

    @property
    def record(self) -> Deployment:
        """As it is now."""
        found = self.store.get("svc-1")
        assert found
        return found


@pytest.fixture
def rounds(lifecycle: Lifecycle, settings: Settings, clock: Clock, store: Records, provider: MemoryProvider) -> Rounds:
    return Rounds(lifecycle, settings, clock, store)


def test_what_goes_at_once_is_gone_at_the_first_look(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A, B)
    answer = rounds.step(rounds.begin())
    assert (answer.outcome, answer.retry_after) == ("gone", 0)
    assert rounds.record.status == "Terminated"
    assert [each.state for each in rounds.record.resources] == ["gone", "gone"]


def test_a_round_goes_on_until_everything_is_proven_gone(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A, B, looks=2)
    provider.has(a_thing("volume", 1), looks=1)
    state = rounds.begin()
    outcomes = []
    while "gone" not in outcomes:
        answer = rounds.step(state)
        outcomes.append(answer.outcome)
        rounds.clock.forward(seconds=answer.retry_after)
        if answer.outcome == "remains":
            assert rounds.record.status == "Terminating"
    assert set(outcomes[:-1]) == {"remains"}
    assert provider.things == {}
    assert [event.type for event in rounds.record.events].count("resource_gone") == 3
    assert rounds.record.cleanup.ended_at == rounds.clock.text


def test_all_is_discovered_and_committed_before_the_first_deletion(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A, a_thing("attached", 1), looks=1)
    committed = []

    def look_at_the_table(call: str, id_: str) -> None:
        if call == "delete":
            committed.append([each.id for each in rounds.record.resources])

    provider.before = look_at_the_table
    rounds.step(rounds.begin())
    assert committed == [["a", "attached"]]


def test_each_round_discovers_once(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A, looks=3)
    state = rounds.begin()
    for _ in range(3):
        rounds.step(state)
    assert len(provider.asked("discover")) == 1
    rounds.lifecycle.restored("svc-1", state.generation, 1, "x")
    rounds.step(rounds.terminate())
    assert len(provider.asked("discover")) == 2


def test_a_later_rounds_discovery_adds_and_never_removes(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A, B, looks=9)
    state = rounds.begin()
    rounds.step(state)
    rounds.lifecycle.restored("svc-1", state.generation, 1, "x")
    provider.found = [a_thing("new")]
    provider.things["new"] = 9
    rounds.step(rounds.terminate())
    assert {each.id for each in rounds.record.resources} == {"a", "b", "new"}


@pytest.mark.parametrize("call", ["discover", "state", "delete"])
def test_an_id_that_is_added_during_a_step_is_discovered_by_the_next(
    rounds: Rounds, provider: MemoryProvider, call: str
) -> None:
    provider.has(A)
    state = rounds.begin()

    def hand_in(name: str, id_: str) -> None:
        if name == call and "b" not in provider.things:
            provider.things["b"] = 0
            rounds.lifecycle.amend(
                "svc-1", lambda old: (msgspec.structs.replace(old, resource_ids={"box": ["a", "b"]}), None)
            )

    provider.before = hand_in
    answer = rounds.step(state)
    assert (answer.outcome, answer.retry_after) == ("remains", 5)
    assert rounds.record.status == "Terminating"
    assert ("state", "b") not in provider.calls
    provider.found = [A, B]
    assert rounds.step(state).outcome == "gone"
    assert provider.things == {}
    assert [(each.id, each.state) for each in rounds.record.resources] == [("a", "gone"), ("b", "gone")]


def test_an_id_that_is_added_after_the_end_is_proven_gone_too(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A)
    state = rounds.begin()
    assert rounds.step(state).outcome == "gone"
    provider.has(B)
    late = rounds.lifecycle.amend(
        "svc-1", lambda old: (msgspec.structs.replace(old, resource_ids={"box": ["a", "b"]}), None), requested_by="late"
    )
    assert rounds.step(state).outcome == "superseded"
    assert rounds.step(msgspec.structs.replace(state, round=late.cleanup.round)).outcome == "gone"
    assert [(each.id, each.state) for each in rounds.record.resources] == [("a", "gone"), ("b", "gone")]
    assert provider.asked("delete") == ["a", "b"]


def test_progress_is_stored_and_its_watchdog_is_past_the_next_look(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A, looks=5)
    state = rounds.begin()
    rounds.clock.forward(minutes=30)
    answer = rounds.step(state)
    assert answer.retry_after == 90
    record = rounds.record
    assert record.resources[0].state == "leaving"
    assert record.due_at
    assert record.due_at >= rounds.clock.now.timestamp() + answer.retry_after + 910 + 300


@pytest.mark.parametrize("where", [("discover", ""), ("state", "a"), ("delete", "a")])
def test_busy_remains_for_as_long_as_told_and_spends_no_attempt(
    rounds: Rounds, provider: MemoryProvider, where: tuple[str, str]
) -> None:
    provider.has(A)
    provider.raises[where] = Busy("throttled", 77.2)
    state = rounds.begin()
    answer = rounds.step(state)
    assert (answer.outcome, answer.retry_after) == ("remains", 78)
    assert rounds.record.cleanup.last_error is None
    del provider.raises[where]
    assert rounds.step(state).outcome == "gone"


@pytest.mark.parametrize(
    "error_class", ["missing_id", "bad_id", "protected", "not_ours", "unproven", "credentials", "deadline"]
)
@pytest.mark.parametrize("where", [("discover", ""), ("state", "a"), ("delete", "a")])
def test_a_refusal_ends_the_round_with_its_class(
    rounds: Rounds, provider: MemoryProvider, where: tuple[str, str], error_class: Any
) -> None:
    provider.has(A, B)
    provider.raises[where] = Refused(error_class, "it says no")
    state = rounds.begin()
    assert rounds.step(state).outcome == "refused"
    error = rounds.record.cleanup.last_error
    assert error
    assert error.error_class == error_class
    assert "it says no" in error.message
    assert error.round == 1
    if where[0] != "discover":
        assert [each.state for each in rounds.record.resources if each.id == "b"] == ["gone"]
    restored = rounds.lifecycle.restored("svc-1", state.generation, 1, "the workflow caught nothing")
    assert restored
    assert restored.outbox[0].detail["class"] == error_class


def test_a_refusal_ends_the_round_though_another_resource_failed_beside_it(
    rounds: Rounds, provider: MemoryProvider
) -> None:
    provider.has(A, B)
    provider.raises["delete", "a"] = Refused("protected", "it says no")
    provider.raises["delete", "b"] = Unreachable("no answer")
    assert rounds.step(rounds.begin()).outcome == "refused"
    error = rounds.record.cleanup.last_error
    assert error
    assert error.error_class == "protected"


def test_a_missing_id_is_a_refusal_and_no_provider_is_called(rounds: Rounds, provider: MemoryProvider) -> None:
    rounds.lifecycle.register(
        a_deployment(deployment_type="BareMetal", resource_ids={}, status="Unknown", incomplete=True)
    )
    assert rounds.step(rounds.terminate()).outcome == "refused"
    error = rounds.record.cleanup.last_error
    assert error
    assert error.error_class == "missing_id"
    assert provider.calls == []


@pytest.mark.parametrize("where", [("discover", ""), ("state", "a"), ("delete", "a")])
@pytest.mark.parametrize("error", [Unreachable("no answer"), KeyError("hunter2")])
def test_what_another_attempt_may_mend_is_noted_and_raised(
    rounds: Rounds, provider: MemoryProvider, where: tuple[str, str], error: Exception
) -> None:
    provider.has(A, B)
    provider.raises[where] = error
    state = rounds.begin()
    with pytest.raises(Unreachable):
        rounds.step(state)
    record = rounds.record
    assert record.status == "Terminating"
    assert record.cleanup.last_error
    assert record.cleanup.last_error.error_class == "unreachable"
    assert "hunter2" not in record.cleanup.last_error.message
    if where[0] != "discover":
        assert [each.state for each in record.resources if each.id == "b"] == ["gone"]
    del provider.raises[where]
    assert rounds.step(state).outcome == "gone"


def test_unreachable_until_the_end_is_what_the_failed_round_says(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A)
    provider.raises["state", "a"] = Unreachable("no answer")
    state = rounds.begin()
    with pytest.raises(Unreachable):
        rounds.step(state)
    restored = rounds.lifecycle.restored("svc-1", state.generation, 1, "the workflow caught Unreachable")
    assert restored
    assert restored.cleanup.last_error
    assert restored.cleanup.last_error.message == "memory:thing a: no answer"


def test_with_less_than_a_minute_left_nothing_is_begun_and_it_asks_to_be_called_again(
    rounds: Rounds, provider: MemoryProvider
) -> None:
    provider.has(A)
    state = rounds.begin()
    rounds.time_left = lambda: 59.0
    answer = rounds.step(state)
    assert (answer.outcome, answer.retry_after) == ("remains", 5)
    assert provider.calls == []
    rounds.time_left = lambda: 300.0
    assert rounds.step(state).outcome == "gone"


def test_what_was_reached_when_time_ran_out_is_stored(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A, B)
    rounds.time_left = lambda: 300.0 if len(provider.calls) < 4 else 30.0
    state = rounds.begin()
    assert rounds.step(state).outcome == "remains"
    assert [(each.id, each.state) for each in rounds.record.resources] == [("a", "gone"), ("b", "unseen")]
    rounds.time_left = lambda: 300.0
    calls = len(provider.calls)
    assert rounds.step(state).outcome == "gone"
    assert "a" not in [id_ for _, id_ in provider.calls[calls:]]


def test_past_its_deadline_a_round_is_refused_and_names_what_remains(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A, B, looks=5)
    state = rounds.begin()
    rounds.step(state)
    rounds.clock.forward(hours=2)
    del provider.things["b"]
    provider.leaving.discard("b")
    assert rounds.step(state).outcome == "refused"
    error = rounds.record.cleanup.last_error
    assert error
    assert error.error_class == "deadline"
    assert "memory:thing a" in error.message
    assert "memory:thing b" not in error.message
    assert str(rounds.record.cleanup.deadline) in error.message


def test_what_is_gone_at_the_deadline_is_gone(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A)
    state = rounds.begin()
    rounds.clock.forward(hours=3)
    assert rounds.step(state).outcome == "gone"


def test_throttled_past_its_deadline_a_round_ends(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A)
    provider.raises["discover", ""] = Busy("throttled", 30)
    state = rounds.begin()
    rounds.clock.forward(hours=2)
    assert rounds.step(state).outcome == "refused"
    error = rounds.record.cleanup.last_error
    assert error
    assert (error.error_class, "throttled" in error.message) == ("deadline", True)


@pytest.mark.parametrize("mode", ["pause", "observe", "enforce, memory=pause", "pause, aws=enforce"])
@pytest.mark.parametrize("steps", [0, 1])
def test_under_the_brake_a_round_ends_without_any_call_and_nothing_is_counted(
    rounds: Rounds, provider: MemoryProvider, mode: str, steps: int
) -> None:
    provider.has(A, looks=9)
    state = rounds.begin()
    for _ in range(steps):
        rounds.step(state)
    calls = len(provider.calls)
    rounds.mode = mode
    assert rounds.step(state).outcome == "superseded"
    assert len(provider.calls) == calls
    record = rounds.record
    assert (record.status, record.cleanup.failures, record.cleanup.last_error) == ("Active", 0, None)
    assert record.due_at == int(rounds.clock.now.timestamp())
    rounds.mode = "enforce"
    assert rounds.lifecycle.due("svc-1", brakes.parse("enforce"))
    provider.things["a"] = 0
    assert rounds.step(RoundState("svc-1", state.generation, 2)).outcome == "gone"


@pytest.mark.parametrize("then", ["restored", "next round", "next generation", "its end", "absent", "never was"])
def test_a_superseded_round_makes_no_call_and_writes_nothing(
    rounds: Rounds, provider: MemoryProvider, then: str
) -> None:
    provider.has(A)
    state = rounds.begin()
    if then in ("restored", "next round"):
        rounds.lifecycle.restored("svc-1", state.generation, 1, "x")
    if then == "next round":
        rounds.terminate()
    if then in ("next generation", "its end", "absent"):
        rounds.step(state)
    if then in ("next generation", "its end"):
        rounds.lifecycle.register(
            a_deployment(deployment_type="BareMetal", resource_ids={"box": "a"}, generation="next")
        )
        newer = rounds.terminate()
        if then == "its end":
            assert rounds.step(newer).outcome == "gone"
    if then == "absent":
        rounds.clock.forward(days=31)
    if then == "never was":
        state = RoundState("nobody", "g", 1)
    before = rounds.store.get("svc-1")
    provider.calls.clear()
    assert rounds.step(state).outcome == "superseded"
    assert provider.calls == []
    assert rounds.store.get("svc-1") == before


def test_terminated_in_this_generation_is_gone_without_any_call(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A)
    state = rounds.begin()
    rounds.step(state)
    provider.calls.clear()
    assert rounds.step(state).outcome == "gone"
    assert provider.calls == []


def test_a_round_that_loses_its_record_between_two_writes_is_superseded(
    rounds: Rounds, provider: MemoryProvider
) -> None:
    provider.has(A, looks=3)
    state = rounds.begin()

    def give_back(call: str, _id: str) -> None:
        if call == "delete":
            rounds.lifecycle.restored("svc-1", state.generation, 1, "x")

    provider.before = give_back
    assert rounds.step(state).outcome == "superseded"
    assert rounds.record.status == "Active"
    assert rounds.record.cleanup.failures == 1


def test_what_is_kept_does_not_keep_the_round_from_its_end(rounds: Rounds, provider: MemoryProvider) -> None:
    kept = a_thing("shared", state="kept", detail="it carries no mark")
    provider.has(A, kept)
    assert rounds.step(rounds.begin()).outcome == "gone"
    assert provider.asked("delete") == ["a"]
    assert {each.id: each.state for each in rounds.record.resources} == {"a": "gone", "shared": "kept"}


def test_a_broken_brake_lets_nothing_go(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A)
    state = rounds.begin()
    rounds.mode = "go"
    with pytest.raises(ValueError, match="cleanup mode"):
        rounds.step(state)
    assert provider.calls == []


def test_the_deadline_of_a_round_is_the_next_rounds_own(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A, looks=50)
    state = rounds.begin()
    rounds.clock.forward(hours=2)
    rounds.step(state)
    rounds.lifecycle.restored("svc-1", state.generation, 1, "x")
    state = rounds.terminate()
    assert rounds.record.cleanup.deadline == format_time(NOW + timedelta(hours=4))
    assert rounds.step(state).retry_after == 5


# the plan that was approved


def planned(rounds: Rounds) -> str:
    """The digest of what a cleanup would delete now."""
    deployment, _ = rounds.lifecycle.register(a_deployment(deployment_type="BareMetal", resource_ids={"box": "a"}))
    digest = plans.draw(deployment, Settings(), lambda: 0.0).digest
    assert digest
    return digest


def test_what_was_approved_goes(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A, B)
    state = rounds.terminate(plan=planned(rounds))
    assert rounds.step(state).outcome == "gone"


def test_what_was_not_approved_is_not_deleted_nor_is_anything_else(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A)
    state = rounds.terminate(plan=planned(rounds))
    provider.has(B)
    assert rounds.step(state).outcome == "refused"
    assert provider.asked("delete") == []
    error = rounds.record.cleanup.last_error
    assert error
    assert (error.error_class, error.message) == (
        "plan_changed",
        "not in the plan that was approved: memory:thing b",
    )
    # What was found is on the record all the same.
    assert [each.id for each in rounds.record.resources] == ["a", "b"]


def test_what_went_by_itself_meanwhile_is_no_change_for_the_rest(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A, B)
    state = rounds.terminate(plan=planned(rounds))
    provider.found.remove(B)
    assert rounds.step(state).outcome == "gone"


def test_a_plan_holds_for_each_step_that_discovers_again(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A, looks=3)
    state = rounds.terminate(plan=planned(rounds))
    assert rounds.step(state).outcome == "remains"
    provider.has(B)
    rounds.lifecycle.amend("svc-1", lambda old: (msgspec.structs.replace(old, resource_ids={"box": ["a", "b"]}), None))
    assert rounds.step(state).outcome == "refused"
    assert provider.asked("delete") == ["a"]


@pytest.mark.parametrize("change", [{"region": "eu-west-1"}, {"metadata": {"account": "two"}}])
def test_what_a_plan_took_for_gone_in_the_wrong_place_is_looked_for_in_the_right_one(
    rounds: Rounds, provider: MemoryProvider, settings: Settings, change: dict[str, Any]
) -> None:
    provider.found.append(A)
    deployment, _ = rounds.lifecycle.register(
        a_deployment(deployment_type="BareMetal", resource_ids={"box": "a"}, metadata={"account": "one"})
    )
    plan = plans.draw(deployment, settings, lambda: 0)
    assert [each.state for each in plan.resources] == ["gone"]
    rounds.lifecycle.observed("svc-1", deployment.generation, plan.resources)
    rounds.lifecycle.amend("svc-1", lambda old: (msgspec.structs.replace(old, **change), None))
    provider.things["a"] = 0
    assert rounds.step(rounds.terminate()).outcome == "gone"
    assert provider.asked("delete") == ["a"]


def test_what_is_proven_gone_stays_so_if_the_place_is_the_same(rounds: Rounds, provider: MemoryProvider) -> None:
    provider.has(A)
    provider.has(a_thing("b", 1))
    provider.raises["delete", "b"] = Refused("protected", "it says no")
    assert rounds.step(rounds.begin()).outcome == "refused"
    rounds.lifecycle.restored("svc-1", rounds.record.generation, 1, "")
    before = rounds.record.resources
    assert [each.state for each in before] == ["gone", "present"]
    rounds.lifecycle.amend("svc-1", lambda old: (msgspec.structs.replace(old, labels={"a": "b"}), None))
    assert rounds.record.resources == before
