"""The engine over a provider in memory: what is asked, in which order, and what is taken for gone."""

from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import NOW, Clock, MemoryProvider, a_deployment, a_thing
from tracker.catalogue import CATALOGUE
from tracker.cleanup import engine
from tracker.cleanup.contract import Busy, Look, Refused, Unreachable
from tracker.deployment import RESOURCES_MAX, Deployment, Resource, format_time
from tracker.settings import Settings

A, B, C = a_thing("a"), a_thing("b"), a_thing("c")


def of(*resources: Resource) -> Deployment:
    return a_deployment(deployment_type="BareMetal", resource_ids={"box": "a"}, resources=list(resources))


@pytest.fixture
def step(settings: Settings, clock: Clock) -> Callable[..., engine.Step]:
    def stepped(*resources: Resource, time_left: Callable[[], float] = lambda: 300.0) -> engine.Step:
        return engine.step(of(*resources), settings, clock=clock, time_left=time_left)

    return stepped


def states(step: engine.Step) -> dict[str, str]:
    return {resource.id: resource.state for resource in step.resources}


# discover


def test_what_is_discovered_is_sorted_by_stage(provider: MemoryProvider, settings: Settings) -> None:
    provider.has(a_thing("late", 2), a_thing("early", 0), a_thing("middle", 1))
    assert [each.id for each in engine.discover(of(), settings)] == ["early", "middle", "late"]


def test_later_discovery_adds_and_never_removes(provider: MemoryProvider, settings: Settings) -> None:
    provider.has(B)
    assert engine.discover(of(A), settings) == [A, B]


def test_what_is_known_of_a_resource_survives_its_discovery(provider: MemoryProvider, settings: Settings) -> None:
    known = msgspec.structs.replace(A, state="leaving", seen=True, place={"zone": "1"}, named_by="box")
    provider.has(a_thing("a", 1, place={"region": "x"}))
    (found,) = engine.discover(of(known), settings)
    assert (found.state, found.seen, found.named_by, found.stage) == ("leaving", True, "box", 1)
    assert found.place == {"zone": "1", "region": "x"}


def test_what_was_proven_gone_stays_gone_whatever_is_discovered(provider: MemoryProvider, settings: Settings) -> None:
    gone = msgspec.structs.replace(A, state="gone", proof="seen", gone_at=format_time(NOW))
    provider.has(A)
    assert engine.discover(of(gone), settings) == [gone]


@pytest.mark.parametrize(("before", "found", "after"), [("kept", "unseen", "unseen"), ("present", "kept", "kept")])
def test_whether_it_is_kept_is_what_is_found_now(
    provider: MemoryProvider, settings: Settings, before: str, found: str, after: str
) -> None:
    provider.has(msgspec.structs.replace(A, state=found, detail="why"))
    (resource,) = engine.discover(of(msgspec.structs.replace(A, state=before, seen=True)), settings)
    assert (resource.state, resource.seen) == (after, True)


def test_nothing_discovered_is_a_refusal(provider: MemoryProvider, settings: Settings) -> None:
    with pytest.raises(Refused) as refused:
        engine.discover(of(A), settings)
    assert refused.value.error_class == "missing_id"


def test_a_missing_id_is_a_refusal_without_any_call(provider: MemoryProvider, settings: Settings) -> None:
    with pytest.raises(Refused) as refused:
        engine.discover(msgspec.structs.replace(of(), resource_ids={}), settings)
    assert refused.value.error_class == "missing_id"
    assert "box" in str(refused.value)
    assert provider.calls == []


def test_more_than_a_record_can_hold_is_a_refusal(provider: MemoryProvider, settings: Settings) -> None:
    provider.has(*[a_thing(f"t{n}") for n in range(RESOURCES_MAX)])
    assert len(engine.discover(of(), settings)) == RESOURCES_MAX
    with pytest.raises(Refused) as refused:
        engine.discover(of(A), settings)
    assert refused.value.error_class == "bad_id"


@pytest.mark.parametrize("error", [Refused("not_ours", "no mark"), Busy("throttled", 30), Unreachable("no answer")])
def test_what_discovery_raises_by_contract_passes(
    provider: MemoryProvider, settings: Settings, error: Exception
) -> None:
    provider.raises["discover", ""] = error
    with pytest.raises(type(error)) as raised:
        engine.discover(of(), settings)
    assert raised.value is error


def test_any_other_error_of_a_discovery_is_unreachable_and_shows_only_its_name(
    provider: MemoryProvider, settings: Settings
) -> None:
    provider.raises["discover", ""] = KeyError("the secret hunter2")
    with pytest.raises(Unreachable) as unreachable:
        engine.discover(of(), settings)
    assert str(unreachable.value) == "KeyError"


def test_a_type_without_a_module_is_a_refusal(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = msgspec.structs.replace(CATALOGUE["BareMetal"], module=None, needs_one_of=(), needs_metadata=())
    monkeypatch.setitem(CATALOGUE, "BareMetal", entry)
    with pytest.raises(Refused) as refused:
        engine.discover(of(), settings)
    assert refused.value.error_class == "bad_id"


# step


def test_all_of_a_stage_are_asked_at_once(provider: MemoryProvider, step: Callable[..., engine.Step]) -> None:
    provider.has(A, B, C, looks=1)
    found = step(A, B, C)
    assert provider.asked("delete") == ["a", "b", "c"]
    assert states(found) == {"a": "leaving", "b": "leaving", "c": "leaving"}
    assert not found.is_done


def test_a_stage_begins_only_when_the_earlier_is_gone(
    provider: MemoryProvider, step: Callable[..., engine.Step]
) -> None:
    first, second, third = a_thing("1", 0), a_thing("2", 1), a_thing("3", 2)
    provider.has(first, second, third, looks=1)
    found = step(third, first, second)
    assert provider.asked("delete") == ["1"]
    assert "2" not in provider.asked("state")
    found = step(*found.resources)
    assert provider.asked("delete") == ["1", "2"]
    found = step(*found.resources)
    assert provider.asked("delete") == ["1", "2", "3"]
    found = step(*found.resources)
    assert found.is_done


def test_what_goes_at_once_lets_the_next_stage_begin_in_the_same_step(
    provider: MemoryProvider, step: Callable[..., engine.Step]
) -> None:
    provider.has(A, a_thing("next", 1))
    found = step(A, a_thing("next", 1))
    assert found.is_done
    assert provider.asked("delete") == ["a", "next"]


def test_accepted_is_not_gone_before_a_look_says_so(provider: MemoryProvider, step: Callable[..., engine.Step]) -> None:
    provider.has(A, looks=2)
    found = step(A)
    assert states(found) == {"a": "leaving"}
    found = step(*found.resources)
    assert states(found) == {"a": "leaving"}
    (gone,) = step(*found.resources).resources
    assert (gone.state, gone.proof, gone.gone_at) == ("gone", "a look into memory", format_time(NOW))
    assert provider.asked("delete") == ["a"]


def test_of_a_kind_that_goes_one_at_a_time_only_one_leaves(
    provider: MemoryProvider, step: Callable[..., engine.Step]
) -> None:
    singles = [a_thing(f"s{n}", kind="memory:single") for n in range(3)]
    provider.has(*singles, looks=1)
    found = step(*singles)
    assert provider.asked("delete") == ["s0"]
    while not found.is_done:
        found = step(*found.resources)
        assert len(provider.leaving) <= 1
    assert provider.asked("delete") == ["s0", "s1", "s2"]


def test_one_that_leaves_already_keeps_the_earlier_of_its_kind_waiting(
    provider: MemoryProvider, step: Callable[..., engine.Step]
) -> None:
    first, second = a_thing("s0", kind="memory:single"), a_thing("s1", kind="memory:single", state="leaving")
    provider.has(first, second, looks=5)
    provider.leaving.add("s1")
    step(first, second)
    assert provider.asked("delete") == []


def test_one_whose_deletion_may_have_been_heard_keeps_the_others_of_its_kind_waiting(
    provider: MemoryProvider, step: Callable[..., engine.Step]
) -> None:
    singles = [a_thing(f"s{n}", kind="memory:single") for n in range(2)]
    provider.has(*singles)
    provider.raises["delete", "s0"] = TimeoutError()
    step(*singles)
    assert provider.asked("delete") == ["s0"]


def test_what_is_kept_or_gone_is_never_asked_for_again(
    provider: MemoryProvider, step: Callable[..., engine.Step]
) -> None:
    provider.has(A, B)
    kept, gone = (
        msgspec.structs.replace(A, state="kept", detail="no mark"),
        msgspec.structs.replace(B, state="gone", proof="p"),
    )
    found = step(kept, gone)
    assert found.is_done
    assert found.resources == [kept, gone]
    assert provider.calls == []


def test_nothing_at_all_is_not_done(step: Callable[..., engine.Step], provider: MemoryProvider) -> None:
    assert not step().is_done


def test_busy_waits_as_long_as_it_is_told_and_keeps_no_other_from_its_turn(
    provider: MemoryProvider, step: Callable[..., engine.Step]
) -> None:
    provider.has(A, B, C)
    provider.raises["delete", "a"] = Busy("still attached", 12)
    provider.raises["state", "b"] = Busy("throttled", 40)
    found = step(A, B, C)
    assert states(found) == {"a": "present", "b": "unseen", "c": "gone"}
    assert found.retry_after == 40
    assert len(found.waits) == 2
    assert not found.refusals
    assert not found.failures
    assert found.resources[0].detail == "still attached"


@pytest.mark.parametrize("error_class", ["missing_id", "bad_id", "protected", "not_ours", "unproven", "credentials"])
def test_a_refusal_keeps_its_class_and_no_other_from_its_turn(
    provider: MemoryProvider, step: Callable[..., engine.Step], error_class: str
) -> None:
    provider.has(A, B)
    provider.raises["delete", "a"] = Refused(error_class, "it says no")  # type: ignore[arg-type]
    found = step(A, B)
    assert [(each.error_class, str(each)) for each in found.refusals] == [(error_class, "memory:thing a: it says no")]
    assert states(found) == {"a": "present", "b": "gone"}


@pytest.mark.parametrize("call", ["state", "delete"])
def test_unreachable_is_not_gone(provider: MemoryProvider, step: Callable[..., engine.Step], call: str) -> None:
    provider.has(A, B)
    provider.raises[call, "a"] = Unreachable("no answer")
    found = step(A, B)
    assert states(found)["b"] == "gone"
    assert states(found)["a"] != "gone"
    assert [str(failure) for failure in found.failures] == ["memory:thing a: no answer"]


def test_a_broken_answer_is_unreachable_and_shows_only_its_name(
    provider: MemoryProvider, step: Callable[..., engine.Step]
) -> None:
    provider.has(A)
    provider.raises["state", "a"] = RuntimeError("hunter2")
    assert [str(failure) for failure in step(A).failures] == ["memory:thing a: RuntimeError"]


def test_what_a_look_told_is_kept_also_when_what_follows_fails(
    provider: MemoryProvider, step: Callable[..., engine.Step]
) -> None:
    provider.has(A)
    provider.unproven.add("a")
    provider.raises["delete", "a"] = Unreachable("no answer")
    (seen,) = step(A).resources
    assert (seen.state, seen.seen, seen.place) == ("present", True, {"seen_at": "memory"})
    provider.things.clear()
    assert step(seen).is_done


def test_a_deletion_that_was_accepted_and_failed_is_an_attempt_and_what_a_look_told_is_kept(
    provider: MemoryProvider, step: Callable[..., engine.Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.has(A)
    kind = provider.module.__dict__["KINDS"]["memory:thing"]
    failed = Look("present", place={"host": "h-1"}, failure="InternalError: the host is down")
    with monkeypatch.context() as patch:
        patch.setattr(kind, "state", lambda *_: failed)
        found = step(msgspec.structs.replace(A, state="leaving"))
    assert [str(failure) for failure in found.failures] == ["memory:thing a: InternalError: the host is down"]
    assert provider.asked("delete") == []
    (seen,) = found.resources
    assert (seen.state, seen.place) == ("present", {"host": "h-1"})
    assert step(seen).is_done


def test_not_found_where_nobody_vouches_for_the_place_is_unproven(
    provider: MemoryProvider, step: Callable[..., engine.Step]
) -> None:
    provider.unproven.add("a")
    found = step(A)
    assert [refusal.error_class for refusal in found.refusals] == ["unproven"]
    assert states(found) == {"a": "unseen"}


def test_not_found_of_what_was_seen_there_before_is_proof(
    provider: MemoryProvider, step: Callable[..., engine.Step]
) -> None:
    provider.unproven.add("a")
    assert step(msgspec.structs.replace(A, seen=True)).is_done


def test_with_less_than_a_minute_left_no_call_is_begun(
    provider: MemoryProvider, step: Callable[..., engine.Step]
) -> None:
    provider.has(A, B)
    found = step(A, B, time_left=lambda: 59.9)
    assert provider.calls == []
    assert found.resources == [A, B]
    assert len(found.waits) == 2


@pytest.mark.parametrize("calls", range(6))
def test_whenever_the_time_runs_out_no_further_call_is_begun_and_what_was_seen_is_kept(
    provider: MemoryProvider, step: Callable[..., engine.Step], calls: int
) -> None:
    provider.has(A, B)
    found = step(A, B, time_left=lambda: 60.0 if len(provider.calls) < calls else 59.0)
    assert len(provider.calls) == calls
    expected = {0: "unseen", 1: "present", 2: "present"}
    assert states(found)["a"] == expected.get(calls, "gone")
    assert found.is_done is False
    assert found.waits
    while not found.is_done:
        found = step(*found.resources)


def test_a_look_for_a_plan_deletes_nothing(provider: MemoryProvider, settings: Settings) -> None:
    provider.has(A)
    assert engine.look(of(A), settings, A).state == "present"
    assert provider.calls == [("state", "a")]
    provider.raises["state", "a"] = ValueError("hunter2")
    with pytest.raises(Unreachable):
        engine.look(of(A), settings, A)


# how often


@given(elapsed=st.floats(0, 20_000), asked=st.floats(0, 100_000), deadline=st.sampled_from([60, 7200, 14400, 86400]))
def test_the_next_look_is_whole_seconds_never_too_soon_and_not_far_past_the_deadline(
    elapsed: float, asked: float, deadline: int
) -> None:
    step = engine.Step(resources=[A], retry_after=asked)
    since, now, until = NOW, NOW + timedelta(seconds=elapsed), NOW + timedelta(seconds=deadline)
    found = engine.poll_after(step, since=since, now=now, until=until)
    assert isinstance(found, int)
    assert found >= max(5, (now - since).total_seconds() / 20)
    left = (until - now).total_seconds()
    assert found >= min(asked, left)
    assert found <= max(5, elapsed / 20, left + 1) + 1


def test_two_hours_take_some_hundred_looks() -> None:
    now, looks = NOW, 0
    until = NOW + timedelta(hours=2)
    while now < until:
        now += timedelta(seconds=engine.poll_after(engine.Step(resources=[A]), since=NOW, now=now, until=until))
        looks += 1
    assert 90 <= looks <= 130
