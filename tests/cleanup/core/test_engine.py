"""The engine over a provider in memory: what is asked, in which order, and what is taken for gone."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import NOW, Clock, MemoryKind, MemoryProvider, a_deployment, a_thing
from tracker.cleanup.core import engine
from tracker.cleanup.core.contract import Busy, Observation, Refused, Stuck, Unreachable
from tracker.model.catalogue import CATALOGUE
from tracker.model.deployment import RESOURCES_MAX, Cleanup, CleanupError, Deployment, Event, Resource, format_time
from tracker.model.settings import Settings

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


def discovered(deployment: Deployment, settings: Settings) -> list[Resource]:
    return engine.discover(deployment, settings).resources


def test_what_is_discovered_is_sorted_by_stage(provider: MemoryProvider, settings: Settings) -> None:
    provider.has(a_thing("late", 2), a_thing("early", 0), a_thing("middle", 1))
    assert [each.id for each in discovered(of(), settings)] == ["early", "middle", "late"]


def test_later_discovery_adds_and_never_removes(provider: MemoryProvider, settings: Settings) -> None:
    provider.has(B)
    assert discovered(of(A), settings) == [A, B]


def test_what_is_known_of_a_resource_survives_its_discovery(provider: MemoryProvider, settings: Settings) -> None:
    known = msgspec.structs.replace(A, state="leaving", seen=True, place={"zone": "1"}, named_by="box")
    provider.has(a_thing("a", 1, place={"region": "x"}))
    (found,) = discovered(of(known), settings)
    assert (found.state, found.seen, found.named_by, found.stage) == ("leaving", True, "box", 1)
    assert found.place == {"zone": "1", "region": "x"}


@pytest.mark.parametrize("key", ["account", "region", "location"])
def test_what_was_seen_in_one_place_is_looked_for_in_no_other(
    provider: MemoryProvider, settings: Settings, key: str
) -> None:
    known = msgspec.structs.replace(A, state="present", seen=True, place={key: "one"})
    provider.has(a_thing("a", place={key: "another"}))
    with pytest.raises(Refused, match=f"was seen in {key} one, and now it should be in another") as refused:
        discovered(of(known), settings)
    # A setting is mended from outside, and not for each record: that may take days.
    assert refused.value.error_class == ("credentials" if key == "account" else "bad_id")
    others: tuple[dict[str, Any], ...] = ({"seen": False, "state": "unseen"}, {"state": "kept"}, {"place": {}})
    for free in others:
        (found,) = discovered(of(msgspec.structs.replace(known, **free)), settings)
        assert found.place[key] == "another"


def test_what_was_proven_gone_stays_gone_whatever_is_discovered(provider: MemoryProvider, settings: Settings) -> None:
    gone = msgspec.structs.replace(A, state="gone", proof="seen", gone_at=format_time(NOW))
    provider.has(A)
    assert discovered(of(gone), settings) == [gone]


@pytest.mark.parametrize(("before", "found", "after"), [("kept", "unseen", "unseen"), ("present", "kept", "kept")])
def test_whether_it_is_kept_is_what_is_found_now(
    provider: MemoryProvider, settings: Settings, before: str, found: str, after: str
) -> None:
    provider.has(msgspec.structs.replace(A, state=found, detail="why"))
    (resource,) = discovered(of(msgspec.structs.replace(A, state=before, seen=True)), settings)
    assert (resource.state, resource.seen) == (after, True)


def test_nothing_discovered_is_a_refusal(provider: MemoryProvider, settings: Settings) -> None:
    with pytest.raises(Refused) as refused:
        discovered(of(A), settings)
    assert refused.value.error_class == "missing_id"


def test_a_missing_id_is_a_refusal_without_any_call(provider: MemoryProvider, settings: Settings) -> None:
    with pytest.raises(Refused) as refused:
        discovered(msgspec.structs.replace(of(), resource_ids={}), settings)
    assert refused.value.error_class == "missing_id"
    assert "box" in str(refused.value)
    assert provider.calls == []


def test_more_than_a_record_can_hold_is_a_refusal(provider: MemoryProvider, settings: Settings) -> None:
    provider.has(*[a_thing(f"t{n}") for n in range(RESOURCES_MAX)])
    assert len(discovered(of(), settings)) == RESOURCES_MAX
    with pytest.raises(Refused) as refused:
        discovered(of(A), settings)
    assert refused.value.error_class == "bad_id"


@pytest.mark.parametrize("error", [Refused("not_ours", "no mark"), Busy("throttled", 30), Unreachable("no answer")])
def test_what_discovery_raises_by_contract_passes(
    provider: MemoryProvider, settings: Settings, error: Exception
) -> None:
    provider.raises["discover", ""] = error
    with pytest.raises(type(error)) as raised:
        discovered(of(), settings)
    assert raised.value is error


def test_any_other_error_of_a_discovery_is_unreachable_and_shows_only_its_name(
    provider: MemoryProvider, settings: Settings
) -> None:
    provider.raises["discover", ""] = KeyError("the secret hunter2")
    with pytest.raises(Unreachable) as unreachable:
        discovered(of(), settings)
    assert str(unreachable.value) == "KeyError"


def test_a_type_without_a_module_is_a_refusal(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = msgspec.structs.replace(CATALOGUE["BareMetal"], module=None, needs_one_of=(), needs_metadata=())
    monkeypatch.setitem(CATALOGUE, "BareMetal", entry)
    with pytest.raises(Refused) as refused:
        discovered(of(), settings)
    assert refused.value.error_class == "bad_id"


def test_a_discovery_that_forgets_an_id_that_the_record_names_is_a_defect_of_the_type(
    provider: MemoryProvider, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = msgspec.structs.replace(CATALOGUE["BareMetal"].ids["box"], kind="memory:thing")
    monkeypatch.setitem(CATALOGUE, "BareMetal", msgspec.structs.replace(CATALOGUE["BareMetal"], ids={"box": box}))
    provider.has(B)
    named = msgspec.structs.replace(of(), resource_ids={"box": ["b", "a"]})
    with pytest.raises(Refused) as refused:
        discovered(named, settings)
    assert refused.value.error_class == "workflow"
    assert str(refused.value) == "a defect of BareMetal: its discovery left out resource_ids.box a"
    provider.has(A)
    assert discovered(named, settings) == [B, A]


@pytest.mark.parametrize("call", ["discover", "look"])
def test_a_kind_that_the_type_does_not_have_is_a_defect_of_the_type(
    provider: MemoryProvider, settings: Settings, call: str
) -> None:
    unknown = a_thing("a", kind="memory:thinq")
    provider.has(unknown)
    with pytest.raises(Refused) as refused:
        discovered(of(), settings) if call == "discover" else engine.look(of(), settings, unknown, NOW)
    assert refused.value.error_class == "workflow"
    assert str(refused.value) == "a defect of the type's file: it has no kind 'memory:thinq'"


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
    failed = Observation("present", place={"host": "h-1"}, failure="InternalError: the host is down")
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


# what may only not show yet


def just_registered(*resources: Resource) -> Deployment:
    return msgspec.structs.replace(of(*resources), cleanup=Cleanup(round=1))


@pytest.fixture
def eventual(provider: MemoryProvider) -> MemoryKind:
    """Let the provider in memory take a minute to show what was made."""
    kind: MemoryKind = provider.module.__dict__["KINDS"]["memory:thing"]
    kind.settles_in = 60
    return kind


@pytest.fixture
def looks(settings: Settings, clock: Clock) -> Callable[..., list[Resource]]:
    """Take steps at the given seconds after the registration, and return what the only resource was after each."""

    def taken(deployment: Deployment, *at: float) -> list[Resource]:
        found = []
        for seconds in at:
            clock.now = NOW + timedelta(seconds=seconds)
            step = engine.step(deployment, settings, clock=clock, time_left=lambda: 300.0)
            deployment = msgspec.structs.replace(deployment, resources=step.resources)
            found += step.resources
        return found

    return taken


@pytest.mark.parametrize(
    ("at", "states"),
    [
        ([0, 5, 10, 59, 60], ["unseen"] * 4 + ["gone"]),
        ([59, 60, 61], ["unseen", "unseen", "gone"]),
        ([70, 75, 80], ["unseen", "unseen", "gone"]),
        ([119, 120], ["unseen", "gone"]),
        ([120], ["gone"]),
        ([86_400], ["gone"]),
    ],
)
def test_what_was_never_seen_is_gone_after_three_looks_and_the_time_that_it_may_take_to_show(
    eventual: MemoryKind, looks: Callable[..., list[Resource]], at: list[float], states: list[str]
) -> None:
    found = looks(just_registered(A), *at)
    assert [each.state for each in found] == states
    assert [each.absent for each in found[:-1]] == list(range(1, len(at)))
    assert (found[-1].never_seen, found[-1].seen) == (True, False)


def test_reads_that_are_consistent_are_believed_at_once(
    provider: MemoryProvider, looks: Callable[..., list[Resource]]
) -> None:
    (found,) = looks(just_registered(A), 0)
    assert (found.state, found.never_seen) == ("gone", True)


def test_an_id_that_came_later_has_its_own_time_to_show(
    eventual: MemoryKind, looks: Callable[..., list[Resource]]
) -> None:
    amended = Event(sequence=2, type="amended", at=format_time(NOW + timedelta(hours=1)), status="Active")
    deployment = msgspec.structs.replace(just_registered(A), events=[amended])
    assert [each.state for each in looks(deployment, 3600, 3630, 3660)] == ["unseen", "unseen", "gone"]


def test_what_was_seen_and_not_asked_to_go_is_looked_for_three_times(
    eventual: MemoryKind, looks: Callable[..., list[Resource]]
) -> None:
    seen = msgspec.structs.replace(A, seen=True, state="present")
    found = looks(just_registered(seen), 86_400, 86_405, 86_410)
    assert [each.state for each in found] == ["unseen", "unseen", "gone"]
    assert not found[-1].never_seen


def test_what_was_asked_to_go_is_gone_at_the_first_not_found(
    provider: MemoryProvider, eventual: MemoryKind, looks: Callable[..., list[Resource]]
) -> None:
    provider.has(A)
    (found,) = looks(just_registered(A), 0)
    assert (found.state, found.asked_in, found.never_seen) == ("gone", 1, False)


def test_what_shows_late_is_deleted_only_after_another_discovery(
    provider: MemoryProvider, eventual: MemoryKind, looks: Callable[..., list[Resource]], settings: Settings
) -> None:
    deployment = just_registered(A)
    *_, missed = looks(deployment, 0, 5)
    provider.has(A)
    waiting = msgspec.structs.replace(deployment, resources=[missed])
    assert engine.is_incomplete(waiting)
    (shown,) = looks(waiting, 10)
    assert (shown.state, shown.seen) == ("present", True)
    assert provider.asked("delete") == []
    waiting = msgspec.structs.replace(deployment, resources=[shown])
    assert engine.is_incomplete(waiting)
    later = msgspec.structs.replace(deployment, resources=discovered(waiting, settings))
    assert not engine.is_incomplete(later)
    (gone,) = looks(later, 15)
    assert (gone.state, gone.never_seen) == ("gone", False)
    assert provider.asked("delete") == ["a"]


def test_what_was_taken_for_gone_and_is_discovered_alive_is_not_gone(
    provider: MemoryProvider, settings: Settings
) -> None:
    gone = msgspec.structs.replace(
        A, state="gone", proof="not found", gone_at=format_time(NOW), never_seen=True, asked_in=1
    )
    provider.has(msgspec.structs.replace(A, seen=True))
    (found,) = discovered(of(gone), settings)
    assert found == msgspec.structs.replace(A, seen=True)


def test_what_the_provider_describes_as_gone_was_there(
    provider: MemoryProvider,
    eventual: MemoryKind,
    looks: Callable[..., list[Resource]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(eventual, "state", lambda *_: Observation("gone", proof="terminated", described=True))
    (found,) = looks(just_registered(A), 0)
    assert (found.state, found.never_seen) == ("gone", False)


@pytest.mark.parametrize(("asks_again", "asked"), [(True, ["a", "a"]), (False, ["a"])])
def test_a_new_round_asks_once_more_where_that_does_no_harm(
    provider: MemoryProvider,
    eventual: MemoryKind,
    looks: Callable[..., list[Resource]],
    asks_again: bool,
    asked: list[str],
) -> None:
    eventual.asks_again = asks_again
    provider.has(A, looks=10)
    deployment = just_registered(A)
    *_, leaving = looks(deployment, 0, 5, 10)
    assert provider.asked("delete") == ["a"]
    looks(msgspec.structs.replace(deployment, resources=[leaving], cleanup=Cleanup(round=2)), 15, 20, 25)
    assert provider.asked("delete") == asked


# What mustn't hold up the rest for ever


@pytest.fixture
def dispensable(provider: MemoryProvider) -> MemoryKind:
    """A kind for which later stages wait a quarter of a round's time."""
    kind: MemoryKind = provider.module.__dict__["KINDS"]["memory:single"]
    kind.__dict__["patience"] = lambda _resource: 0.25
    return kind


def stuck_for(minutes: float, error: CleanupError | None = None, round_: int = 2) -> Deployment:
    """A record whose second round of two hours began so long ago, with a resource that leaves and one that goes after it."""
    leaving = a_thing("inner", kind="memory:single", state="leaving", seen=True, asked_in=1)
    cleanup = Cleanup(
        round=round_,
        requested_at=format_time(NOW - timedelta(minutes=minutes)),
        deadline=format_time(NOW + timedelta(minutes=120 - minutes)),
        last_error=error,
    )
    return msgspec.structs.replace(of(leaving, a_thing("a", 1)), cleanup=cleanup)


def stepped(deployment: Deployment, settings: Settings, clock: Clock) -> engine.Step:
    return engine.step(deployment, settings, clock=clock, time_left=lambda: 300.0)


@pytest.mark.parametrize(("minutes", "states_then"), [(29, {"inner": "leaving", "a": "unseen"}), (31, None)])
@pytest.mark.usefixtures("dispensable")
def test_what_leaves_for_too_long_is_let_be(
    provider: MemoryProvider, settings: Settings, clock: Clock, minutes: float, states_then: dict[str, str] | None
) -> None:
    provider.has(a_thing("inner"), looks=1000)
    provider.has(A)
    provider.leaving.add("inner")
    step = stepped(stuck_for(minutes), settings, clock)
    assert states(step) == (states_then or {"inner": "kept", "a": "gone"})
    assert step.resources[0].detail.endswith("on its way") or states_then
    assert bool(step.waits) == bool(states_then)


@pytest.mark.usefixtures("dispensable")
def test_nothing_is_let_be_in_the_first_round(provider: MemoryProvider, settings: Settings, clock: Clock) -> None:
    provider.has(a_thing("inner"), looks=1000)
    provider.leaving.add("inner")
    assert states(stepped(stuck_for(119, round_=1), settings, clock)) == {"inner": "leaving", "a": "unseen"}


@pytest.mark.parametrize("minutes", [29, 31])
@pytest.mark.usefixtures("dispensable")
def test_what_is_busy_for_too_long_is_let_be(
    provider: MemoryProvider, settings: Settings, clock: Clock, minutes: float
) -> None:
    provider.has(A)
    provider.raises["state", "inner"] = Busy("throttled", 30)
    step = stepped(stuck_for(minutes), settings, clock)
    assert states(step)["inner"] == ("leaving" if minutes < 30 else "kept")


@pytest.mark.parametrize("round_", [None, 1, 2])
@pytest.mark.usefixtures("dispensable")
def test_what_is_stuck_costs_one_attempt_of_a_round_and_is_let_be_in_the_next(
    provider: MemoryProvider, settings: Settings, clock: Clock, round_: int | None
) -> None:
    provider.has(A)
    provider.raises["state", "inner"] = Stuck("failed calling webhook")
    error = None if round_ is None else CleanupError("unreachable", "x", format_time(NOW), round_)
    step = stepped(stuck_for(1, error), settings, clock)
    assert states(step)["inner"] == ("kept" if round_ == 2 else "leaving")
    assert bool(step.failures) == (round_ != 2)
    assert ("failed calling webhook" in step.resources[0].detail) == (round_ == 2)


@pytest.mark.parametrize("error", [Unreachable("the provider"), Refused("protected", "a webhook"), KeyError("odd")])
@pytest.mark.usefixtures("dispensable")
def test_what_the_provider_fails_or_someone_forbids_is_never_let_be(
    provider: MemoryProvider, settings: Settings, clock: Clock, error: Exception
) -> None:
    provider.has(A)
    provider.raises["state", "inner"] = error
    before = CleanupError("unreachable", "x", format_time(NOW), 2)
    assert states(stepped(stuck_for(119, before), settings, clock)) == {"inner": "leaving", "a": "unseen"}


@pytest.mark.parametrize("error", [Stuck("x"), Busy("x"), None])
def test_any_other_kind_holds_up_the_rest_to_the_end(
    provider: MemoryProvider, settings: Settings, clock: Clock, error: Exception | None
) -> None:
    provider.has(a_thing("inner"), looks=1000)
    provider.leaving.add("inner")
    if error:
        provider.raises["state", "inner"] = error
    before = CleanupError("unreachable", "x", format_time(NOW), 2)
    assert states(stepped(stuck_for(119, before), settings, clock))["inner"] == "leaving"


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
    assert engine.look(of(A), settings, A, NOW).state == "present"
    assert provider.calls == [("state", "a")]
    provider.raises["state", "a"] = ValueError("hunter2")
    with pytest.raises(Unreachable):
        engine.look(of(A), settings, A, NOW)


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
