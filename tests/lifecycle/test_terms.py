"""This is how long a deployment lives: extensions, holds and warnings, and who may change them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.fakes import NOW, Clock, Engine, MemoryWorkflow, Wire, a_deployment, sweep
from tracker.lifecycle.transitions import Lifecycle
from tracker.model import brakes
from tracker.model.deployment import Deployment, Price, Resource, format_time, parse_time
from tracker.model.errors import Conflict, Held, Invalid
from tracker.model.rights import NotYours
from tracker.model.settings import Settings
from tracker.store.records import Records

ENFORCE = brakes.parse("enforce")
PAUSE = brakes.parse("pause")
DAY = 86_400
GONE = Resource(kind="ec2:instance", id="i-0123456789abcdef0", state="gone", proof="DescribeInstances: terminated")


def until(**after: float) -> str:
    return format_time(NOW + timedelta(**after))


def at(**after: float) -> int:
    return int((NOW + timedelta(**after)).timestamp())


def ends(**after: float) -> Callable[[Deployment], Deployment]:
    return lambda old: msgspec.structs.replace(old, expires_at=until(**after))


def told(deployment: Deployment, *wanted: str) -> list[tuple[str, dict[str, Any]]]:
    return [(event.type, event.detail) for event in deployment.events if event.type in wanted]


def stored(store: Records) -> Deployment:
    found = store.get("svc-1")
    assert found
    return found


@pytest.fixture
def live(lifecycle: Lifecycle) -> Deployment:
    return lifecycle.register(a_deployment())[0]


@pytest.fixture
def held(lifecycle: Lifecycle, live: Deployment) -> Deployment:
    return lifecycle.hold("svc-1", reason="an incident", until=until(hours=5), requested_by="ann")


# extend


def test_an_extension_says_both_ends_and_moves_record_and_lease(
    lifecycle: Lifecycle, live: Deployment, store: Records, engine: Engine, wire: Wire
) -> None:
    wire.calls.clear()
    found, before = lifecycle.extend("svc-1", ends(hours=1, minutes=30), requested_by="ann")
    assert wire.counted == {"GetItem": 1, "TransactWriteItems": 1}
    assert found == stored(store)
    assert before == live.expires_at
    detail = {"from": live.expires_at, "to": until(hours=1, minutes=30), "by": "ann"}
    assert found.outbox[0].detail == detail
    assert found.due_at == int(engine.items()["lease"]["ttl"]["N"]) == at(hours=1, minutes=30)


@pytest.mark.parametrize("loses", ["lose_answer", "refuse_what_is_applied"])
def test_an_extension_whose_answer_is_lost_is_made_once(
    lifecycle: Lifecycle, live: Deployment, store: Records, wire: Wire, loses: str
) -> None:
    def by_an_hour(old: Deployment) -> Deployment:
        assert old.expires_at
        return msgspec.structs.replace(old, expires_at=format_time(parse_time(old.expires_at) + timedelta(hours=1)))

    getattr(wire, loses)("TransactWriteItems")
    found, before = lifecycle.extend("svc-1", by_an_hour, requested_by="ann")
    assert (before, found.expires_at) == (live.expires_at, until(hours=2))
    assert found == stored(store)
    assert len(told(found, "extended")) == 1


def test_one_without_an_end_gets_one(lifecycle: Lifecycle, engine: Engine) -> None:
    lifecycle.register(a_deployment(ttl=None))
    found, before = lifecycle.extend("svc-1", ends(minutes=30), requested_by="ann")
    assert (before, found.due_at) == (None, at(minutes=30))
    assert "lease" in engine.items()


def test_the_same_end_again_writes_nothing(lifecycle: Lifecycle, live: Deployment) -> None:
    assert lifecycle.extend("svc-1", ends(hours=1), requested_by="ann") == (live, live.expires_at)


def test_whoever_is_first_wins_the_extension_or_the_end(
    lifecycle: Lifecycle, live: Deployment, clock: Clock, store: Records, workflow: MemoryWorkflow
) -> None:
    clock.forward(hours=1)

    def too_late(old: Deployment) -> Deployment:
        # The end comes between the read and the write.
        if old.is_live:
            assert lifecycle.due("svc-1", ENFORCE)
        return ends(hours=2)(old)

    with pytest.raises(Conflict, match="is Terminating and can't be extended"):
        lifecycle.extend("svc-1", too_late, requested_by="ann")
    assert (stored(store).expires_at, len(workflow.asked)) == (live.expires_at, 1)


def test_an_end_that_an_extension_overtakes_begins_nothing(
    lifecycle: Lifecycle, live: Deployment, clock: Clock, store: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.forward(hours=1)
    replace = lifecycle._records.replace

    def overtaken(old: Deployment, new: Deployment) -> None:
        monkeypatch.undo()
        lifecycle.extend("svc-1", ends(hours=1, minutes=30), requested_by="ann")
        replace(old, new)

    monkeypatch.setattr(lifecycle._records, "replace", overtaken)
    assert not lifecycle.due("svc-1", ENFORCE)
    assert (stored(store).status, stored(store).due_at) == ("Active", at(hours=1, minutes=30))
    clock.forward(minutes=29)
    assert not lifecycle.due("svc-1", ENFORCE)
    clock.forward(minutes=1)
    assert lifecycle.due("svc-1", ENFORCE)


def test_what_is_failing_or_was_asked_to_go_is_not_extended(lifecycle: Lifecycle, live: Deployment) -> None:
    round_ = lifecycle.terminate("svc-1", reason="r", requested_by="b")
    lifecycle.paused(round_)
    with pytest.raises(Conflict, match="begins when the brake is let go"):
        lifecycle.extend("svc-1", ends(hours=2), requested_by="ann")
    lifecycle.due("svc-1", ENFORCE)
    lifecycle.restored("svc-1", live.generation, 2, "the workflow caught X")
    with pytest.raises(Conflict, match="has begun and failed"):
        lifecycle.extend("svc-1", ends(hours=2), requested_by="ann")


def test_an_end_that_the_brake_stopped_may_still_be_put_off(
    lifecycle: Lifecycle, live: Deployment, clock: Clock
) -> None:
    clock.forward(hours=1)
    assert lifecycle.due("svc-1", ENFORCE)
    lifecycle.paused(lifecycle._records.require("svc-1"))
    found, _ = lifecycle.extend("svc-1", ends(hours=1, minutes=30), requested_by="ann")
    assert found.due_at == at(hours=1, minutes=30)
    assert not lifecycle.due("svc-1", ENFORCE)
    clock.forward(minutes=30)
    assert lifecycle.due("svc-1", ENFORCE)
    assert lifecycle._records.require("svc-1").cleanup.reason == "expired"


# hold


def test_a_hold_says_who_why_and_until_when(held: Deployment, store: Records) -> None:
    assert held == stored(store)
    assert held.hold == msgspec.structs.replace(held.hold, reason="an incident", by="ann", until=until(hours=5))  # type: ignore[type-var]
    assert told(held, "held") == [("held", {"reason": "an incident", "until": until(hours=5), "by": "ann"})]
    assert held.due_at == at(hours=5)


def test_neither_its_lease_nor_the_sweep_nor_a_call_nor_an_event_ends_what_is_held(
    lifecycle: Lifecycle, held: Deployment, clock: Clock, workflow: MemoryWorkflow, store: Records
) -> None:
    clock.forward(hours=2)
    assert not lifecycle.due("svc-1", ENFORCE, held.generation)
    assert sweep(lifecycle, ENFORCE) == 0
    for asked_at in (None, clock.now):
        with pytest.raises(Held, match=r"is held by ann until .*: an incident") as raised:
            lifecycle.terminate("svc-1", reason="r", requested_by="b", asked_at=asked_at)
    assert raised.value.details["hold"]["by"] == "ann"
    with pytest.raises(Held):
        lifecycle.forget("svc-1", reason="r", requested_by="b")
    assert stored(store) == held
    assert workflow.asked == []


def test_what_ended_while_it_was_held_goes_when_the_hold_ends(
    lifecycle: Lifecycle, held: Deployment, clock: Clock, store: Records
) -> None:
    clock.forward(hours=5)
    assert sweep(lifecycle, ENFORCE) == 1
    found = stored(store)
    assert (found.status, found.hold, found.cleanup.reason) == ("Terminating", None, "expired")
    assert told(found, "unheld", "terminating") == [
        ("unheld", {"by": "tracker", "why": "over"}),
        ("terminating", {"reason": "expired", "by": "tracker"}),
    ]


def test_a_hold_that_ends_before_its_deployment_leaves_it_living(
    lifecycle: Lifecycle, live: Deployment, clock: Clock, store: Records
) -> None:
    lifecycle.hold("svc-1", reason="r", until=until(minutes=10), requested_by="ann")
    clock.forward(minutes=10)
    assert sweep(lifecycle, PAUSE) == 0
    assert (stored(store).hold, stored(store).due_at, stored(store).status) == (None, at(hours=1), "Active")


def test_a_released_hold_is_due_at_once_if_its_end_has_passed(
    lifecycle: Lifecycle, held: Deployment, clock: Clock
) -> None:
    clock.forward(hours=2)
    found = lifecycle.unhold("svc-1", requested_by="ann")
    assert told(found, "unheld") == [("unheld", {"by": "ann", "why": "released"})]
    assert lifecycle.unhold("svc-1", requested_by="ann") == found
    assert lifecycle.due("svc-1", ENFORCE)


def test_who_overrides_a_hold_says_why(lifecycle: Lifecycle, held: Deployment) -> None:
    with pytest.raises(Held):
        lifecycle.terminate("svc-1", reason="r", requested_by="b", over_hold=" ")
    found = lifecycle.terminate("svc-1", reason="r", requested_by="b", over_hold="it costs too much")
    assert (found.status, found.hold) == ("Terminating", None)
    assert told(found, "unheld", "terminating") == [
        ("unheld", {"by": "b", "why": "released", "over_hold": "it costs too much"}),
        ("terminating", {"reason": "r", "by": "b", "over_hold": "it costs too much"}),
    ]


def test_what_is_held_is_forgotten_only_over_the_hold(lifecycle: Lifecycle, held: Deployment) -> None:
    found = lifecycle.forget("svc-1", reason="r", requested_by="b", over_hold="gone already")
    assert (found.status, found.hold) == ("Terminated", None)
    assert told(found, "forgotten") == [("forgotten", {"reason": "r", "by": "b", "over_hold": "gone already"})]


def test_a_hold_whose_time_is_over_holds_nothing_up_before_anyone_has_noticed(
    lifecycle: Lifecycle, held: Deployment, clock: Clock
) -> None:
    clock.forward(hours=5)
    found = lifecycle.terminate("svc-1", reason="r", requested_by="b")
    assert told(found, "unheld") == [("unheld", {"by": "tracker", "why": "over"})]


def test_retries_are_held_too_and_go_on_after_it(
    lifecycle: Lifecycle, live: Deployment, clock: Clock, store: Records
) -> None:
    lifecycle.terminate("svc-1", reason="r", requested_by="b")
    with pytest.raises(Conflict, match="is Terminating and can't be held"):
        lifecycle.hold("svc-1", reason="r", until=until(hours=5), requested_by="ann")
    lifecycle.restored("svc-1", live.generation, 1, "the workflow caught X")
    lifecycle.hold("svc-1", reason="r", until=until(hours=5), requested_by="ann")
    clock.forward(hours=4)
    assert sweep(lifecycle, ENFORCE) == 0
    lifecycle.amend("svc-1", lambda old: (msgspec.structs.replace(old, region="eu-west-1"), None))
    assert not lifecycle.due("svc-1", ENFORCE)
    clock.forward(hours=1)
    assert sweep(lifecycle, ENFORCE) == 1
    assert stored(store).cleanup.reason == "retry"


def test_another_hold_replaces_it_and_the_same_one_again_changes_nothing(
    lifecycle: Lifecycle, held: Deployment
) -> None:
    assert lifecycle.hold("svc-1", reason="an incident", until=until(hours=5), requested_by="ann") == held
    found = lifecycle.hold("svc-1", reason="more", until=until(hours=6), requested_by="bob")
    assert (found.due_at, len(told(found, "held"))) == (at(hours=6), 2)


# warnings


@pytest.fixture
def long_lived(lifecycle: Lifecycle) -> Deployment:
    return lifecycle.register(a_deployment(ttl=2 * DAY))[0]


def test_each_warning_comes_once_at_its_moment_and_then_the_end(
    lifecycle: Lifecycle, long_lived: Deployment, clock: Clock, store: Records
) -> None:
    assert long_lived.due_at == at(days=1)
    clock.forward(days=1)
    for _ in range(3):
        assert not lifecycle.due("svc-1", ENFORCE)
    assert stored(store).outbox == stored(store).events[-1:]
    assert stored(store).due_at == at(hours=47)
    clock.forward(hours=23)
    assert sweep(lifecycle, ENFORCE) == 0
    end = until(days=2)
    assert told(stored(store), "expiring") == [
        ("expiring", {"before": DAY, "left": DAY, "expires_at": end}),
        ("expiring", {"before": 3600, "left": 3600, "expires_at": end}),
    ]
    assert stored(store).due_at == at(days=2)
    clock.forward(hours=1)
    assert sweep(lifecycle, ENFORCE) == 1


def test_the_brake_holds_no_warning_up(
    lifecycle: Lifecycle, long_lived: Deployment, clock: Clock, store: Records
) -> None:
    clock.forward(days=1)
    assert sweep(lifecycle, PAUSE) == 0
    assert len(told(stored(store), "expiring")) == 1


def test_of_what_nobody_looked_at_in_time_the_nearest_is_told_with_the_time_that_is_left(
    lifecycle: Lifecycle, long_lived: Deployment, clock: Clock, store: Records
) -> None:
    clock.forward(hours=47, minutes=15)
    assert sweep(lifecycle, ENFORCE) == 0
    assert told(stored(store), "expiring") == [
        ("expiring", {"before": 3600, "left": 2700, "expires_at": until(days=2)})
    ]
    clock.forward(minutes=45)
    assert sweep(lifecycle, ENFORCE) == 1


def test_after_the_end_nothing_is_told(
    lifecycle: Lifecycle, long_lived: Deployment, clock: Clock, store: Records
) -> None:
    clock.forward(days=2)
    assert sweep(lifecycle, ENFORCE) == 1
    assert told(stored(store), "expiring") == []


def test_after_an_extension_those_that_lie_ahead_come_again_and_none_that_lies_behind(
    lifecycle: Lifecycle, long_lived: Deployment, clock: Clock, store: Records
) -> None:
    clock.forward(hours=47)
    lifecycle.due("svc-1", ENFORCE)
    found, _ = lifecycle.extend("svc-1", ends(hours=60), requested_by="ann")
    assert found.due_at == at(hours=59)
    found, _ = lifecycle.extend("svc-1", ends(days=4), requested_by="ann")
    assert found.due_at == at(days=3)
    clock.now = NOW + timedelta(days=3)
    lifecycle.due("svc-1", ENFORCE)
    assert [detail["before"] for _, detail in told(stored(store), "expiring")] == [3600, DAY]


def test_an_amended_list_of_moments_counts_from_now_on(
    lifecycle: Lifecycle, live: Deployment, clock: Clock, store: Records
) -> None:
    clock.forward(minutes=30)
    found = lifecycle.amend("svc-1", lambda old: (msgspec.structs.replace(old, warn_before=[3000, 600]), None))
    assert found.due_at == at(minutes=50)
    clock.forward(minutes=20)
    lifecycle.due("svc-1", ENFORCE)
    assert [detail["before"] for _, detail in told(stored(store), "expiring")] == [600]


def test_a_warning_of_what_is_held_says_so(
    lifecycle: Lifecycle, long_lived: Deployment, clock: Clock, store: Records
) -> None:
    lifecycle.hold("svc-1", reason="r", until=until(days=3), requested_by="ann")
    clock.forward(days=1)
    lifecycle.due("svc-1", ENFORCE)
    ((_, detail),) = told(stored(store), "expiring")
    assert detail["held_until"] == until(days=3)
    assert stored(store).due_at == at(hours=47)
    clock.forward(days=1)
    # Its end passed before anyone looked, and nothing is due before the hold ends.
    assert sweep(lifecycle, ENFORCE) == 0
    assert (stored(store).due_at, len(told(stored(store), "expiring"))) == (at(days=3), 1)


def test_what_was_asked_to_go_is_not_warned_of(
    lifecycle: Lifecycle, long_lived: Deployment, clock: Clock, store: Records
) -> None:
    lifecycle.paused(lifecycle.terminate("svc-1", reason="r", requested_by="b"))
    clock.forward(days=1)
    assert lifecycle.due("svc-1", ENFORCE)
    assert told(stored(store), "expiring") == []


# rights


@pytest.fixture
def guarded(store: Records, workflow: MemoryWorkflow, clock: Clock) -> Lifecycle:
    settings = Settings(act_on_everything=["arn:aws:iam::123456789012:role/admin"])
    return Lifecycle(store, workflow, settings, clock)


CALLS: dict[str, Callable[[Lifecycle, str], object]] = {
    "terminate": lambda to, by: to.terminate("svc-1", reason="r", requested_by=by),
    "forget": lambda to, by: to.forget("svc-1", reason="r", requested_by=by),
    "amend": lambda to, by: to.amend("svc-1", lambda old: (old, None), requested_by=by),
    "extend": lambda to, by: to.extend("svc-1", ends(hours=2), requested_by=by),
    "hold": lambda to, by: to.hold("svc-1", reason="r", until=until(hours=2), requested_by=by),
    "unhold": lambda to, by: to.unhold("svc-1", requested_by=by),
    "check plan": lambda to, by: to.check_plan("svc-1", "x", by),
}


@pytest.mark.parametrize("call", CALLS)
def test_nobody_acts_on_what_is_somebody_else_s(guarded: Lifecycle, call: str, store: Records) -> None:
    mine = "arn:aws:sts::123456789012:assumed-role/team-1/ann"
    before, _ = guarded.register(a_deployment(registered_by=mine, owner="team-3"))
    with pytest.raises(NotYours, match="'team-3'"):
        CALLS[call](guarded, mine.replace("team-1", "team-2"))
    assert stored(store) == before
    for caller in ("team-1", "team-3", "admin"):
        CALLS[call](guarded, mine.replace("team-1", caller))


def test_what_is_over_is_registered_over_by_anyone(guarded: Lifecycle) -> None:
    first, _ = guarded.register(a_deployment(registered_by="one"))
    guarded.forget("svc-1", reason="r", requested_by="one")
    again = a_deployment(registered_by="two", owner="three", generation="another", fingerprint="other")
    assert guarded.register(again)[1]
    assert first.generation != "another"


# plans, and what it costs


def test_a_round_keeps_its_plan_through_retries_and_the_brake(
    lifecycle: Lifecycle, live: Deployment, clock: Clock
) -> None:
    found = lifecycle.terminate("svc-1", reason="r", requested_by="b", plan="digest")
    assert found.cleanup.plan == "digest"
    lifecycle.paused(found)
    assert lifecycle.due("svc-1", ENFORCE)
    lifecycle.restored("svc-1", live.generation, 2, "the workflow caught X")
    clock.forward(minutes=1)
    assert lifecycle.due("svc-1", ENFORCE)
    found = lifecycle._records.require("svc-1")
    assert (found.cleanup.reason, found.cleanup.plan) == ("retry", "digest")


@pytest.mark.parametrize("failed_before", [False, True])
def test_another_plan_than_approved_is_not_tried_again_by_itself(
    lifecycle: Lifecycle, live: Deployment, clock: Clock, store: Records, failed_before: bool
) -> None:
    if failed_before:
        lifecycle.terminate("svc-1", reason="r", requested_by="b")
        lifecycle.restored("svc-1", live.generation, 1, "the workflow caught X")
    round_ = lifecycle.terminate("svc-1", reason="r", requested_by="b", plan="digest")
    lifecycle.failing(round_, "plan_changed", "not in the plan: x")
    found = lifecycle.restored("svc-1", live.generation, round_.cleanup.round, "")
    assert found
    assert (found.status, found.cleanup.plan, found.cleanup.failures) == ("Active", "", int(failed_before))
    assert found.events[-1].type == "cleanup_failed"
    assert found.events[-1].detail["class"] == "plan_changed"
    # What was wished for before the plan still is.
    assert found.due_at == (at(minutes=1) if failed_before else at(hours=1))
    clock.forward(hours=1)
    assert lifecycle.due("svc-1", ENFORCE)
    assert stored(store).cleanup.reason == ("retry" if failed_before else "expired")


def test_another_plan_that_a_retry_finds_is_not_tried_again_without_the_plan(
    lifecycle: Lifecycle, live: Deployment, clock: Clock, store: Records
) -> None:
    lifecycle.terminate("svc-1", reason="r", requested_by="b", plan="digest")
    lifecycle.restored("svc-1", live.generation, 1, "the workflow caught X")
    clock.forward(minutes=1)
    assert lifecycle.due("svc-1", ENFORCE)
    lifecycle.failing(stored(store), "plan_changed", "not in the plan: x")
    found = lifecycle.restored("svc-1", live.generation, 2, "")
    assert found
    assert (found.due_at, found.cleanup.next_attempt_at, found.cleanup.failures) == (at(hours=1), None, 0)
    clock.forward(minutes=58)
    assert sweep(lifecycle, ENFORCE) == 0
    clock.forward(minutes=1)
    assert sweep(lifecycle, ENFORCE) == 1
    assert stored(store).cleanup.reason == "expired"


def test_another_plan_than_approved_of_what_is_quarantined_leaves_it_quarantined(
    workflow: MemoryWorkflow, clock: Clock, store: Records
) -> None:
    lifecycle = Lifecycle(store, workflow, Settings(unmendable_rounds=1), clock)
    round_ = lifecycle.register(a_deployment())[0]
    for plan, error in (("", "protected"), ("digest", "plan_changed"), ("another", "plan_changed")):
        round_ = lifecycle.terminate("svc-1", reason="r", requested_by="b", plan=plan)
        lifecycle.failing(round_, error, "it says no")  # type: ignore[arg-type]
        found = lifecycle.restored("svc-1", round_.generation, round_.cleanup.round, "")
        assert found
        assert (found.cleanup.quarantined, found.due_at, found.cleanup.failures) == (True, None, 1)
        assert found.outbox[-1].type == "quarantined"


def test_an_end_that_was_asked_for_before_the_brake_stopped_it_outlives_another_plan(
    lifecycle: Lifecycle, clock: Clock, store: Records
) -> None:
    lifecycle.register(a_deployment(ttl=None))
    lifecycle.paused(lifecycle.terminate("svc-1", reason="r", requested_by="b"))
    for _ in range(2):
        lifecycle.paused(lifecycle.terminate("svc-1", reason="r", requested_by="b", plan="digest"))
    assert lifecycle.due("svc-1", ENFORCE)
    round_ = stored(store)
    assert round_.cleanup.plan == "digest"
    lifecycle.failing(round_, "plan_changed", "not in the plan: x")
    lifecycle.restored("svc-1", round_.generation, round_.cleanup.round, "")
    clock.forward(minutes=1)
    assert lifecycle.due("svc-1", ENFORCE)
    assert (stored(store).cleanup.reason, stored(store).cleanup.plan) == ("retry", "")


def test_an_outcome_says_what_it_cost_if_that_is_known(lifecycle: Lifecycle, clock: Clock) -> None:
    lifecycle.register(a_deployment(cost_per_hour=Price(3, "USD")))
    clock.forward(hours=2)
    lifecycle.due("svc-1", ENFORCE)
    ended = lifecycle.released(lifecycle._records.require("svc-1"), [GONE])
    assert ended.events[-1].detail["cost"] == {"currency": "USD", "so_far": 6.0, "late": 3.0}


def test_nothing_is_held_or_forgotten_without_a_reason(lifecycle: Lifecycle, held: Deployment) -> None:
    with pytest.raises(Invalid):
        lifecycle.forget("svc-1", reason="", requested_by="b", over_hold="x")
