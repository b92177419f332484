"""Many at once: one wins, the others learn what is there, and nothing is done twice."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.fakes import NOW, Clock, Engine, MemoryWorkflow, Wire, a_deployment, sweep
from tracker.lifecycle.rounds import Superseded
from tracker.lifecycle.transitions import Lifecycle
from tracker.model import brakes
from tracker.model.deployment import Deployment, Resource, format_time
from tracker.model.errors import Conflict, Contended
from tracker.store.records import Records

MANY = 16
ENFORCE = brakes.parse("enforce")
GONE = Resource(kind="ec2:instance", id="i-1", state="gone", proof="DescribeInstances", gone_at=format_time(NOW))


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Return what each call returned or raised; all begin together."""
    together = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        together.wait(10)
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def registering(lifecycle: Lifecycle, **changes: Any) -> list[Callable[[], Any]]:
    return [
        lambda n=n: lifecycle.register(a_deployment(generation=f"g{n}", **changes))  # type: ignore[misc]
        for n in range(MANY)
    ]


def won(found: Sequence[Any]) -> list[Deployment]:
    return [each[0] for each in found if isinstance(each, tuple) and each[1]]


def facts_are_complete(deployment: Deployment) -> bool:
    sequences = [event.sequence for event in deployment.events]
    return sequences == list(range(1, deployment.sequence + 1))


@pytest.fixture(params=[0, 5], ids=["", "with transaction conflicts"])
def conflicts(request: pytest.FixtureRequest, wire: Wire) -> int:
    """Return how many of the race's writes meet another transaction."""
    found: int = request.param
    return found


def test_of_many_registrations_of_a_key_one_wins(
    store: Records, lifecycle: Lifecycle, wire: Wire, conflicts: int
) -> None:
    wire.conflict(conflicts)
    calls: list[Callable[[], Any]] = [
        lambda n=n: lifecycle.register(a_deployment(generation=f"g{n}", fingerprint=f"p{n}"))  # type: ignore[misc]
        for n in range(MANY)
    ]
    found = at_once(*calls)
    (winner,) = won(found)
    losers = [each for each in found if isinstance(each, Conflict)]
    assert len(losers) == MANY - 1
    assert {loser.details["deployment"].generation for loser in losers} == {winner.generation}
    assert store.get("svc-1") == winner


def test_of_many_times_the_very_same_registration_all_succeed_and_one_is_new(
    store: Records, lifecycle: Lifecycle, wire: Wire, conflicts: int
) -> None:
    wire.conflict(conflicts)
    found = at_once(*registering(lifecycle))
    (winner,) = won(found)
    assert all(each[0] == winner for each in found)
    assert store.get("svc-1") == winner


def test_over_a_terminated_one_exactly_one_new_generation_begins(
    store: Records, lifecycle: Lifecycle, engine: Engine, wire: Wire, conflicts: int
) -> None:
    lifecycle.register(a_deployment(generation="first"))
    lifecycle.released(lifecycle.terminate("svc-1", reason="r", requested_by="b"), [GONE])
    wire.conflict(conflicts)
    found = at_once(*registering(lifecycle))
    (winner,) = won(found)
    assert all(each[0].generation == winner.generation for each in found)
    assert store.get("svc-1") == winner
    assert set(engine.items()) == {"record", "lease", "past#first"}


def test_many_terminations_are_one_round_and_one_name(
    store: Records, lifecycle: Lifecycle, workflow: MemoryWorkflow, wire: Wire, conflicts: int
) -> None:
    live, _ = lifecycle.register(a_deployment())
    wire.conflict(conflicts)
    found = at_once(*[lambda: lifecycle.terminate("svc-1", reason="r", requested_by="b")] * MANY)
    now = store.get("svc-1")
    assert now
    assert found == [now] * MANY
    assert now.cleanup.round == 1
    assert workflow.running == {f"{live.generation}-1"}
    assert [event.type for event in now.events] == ["registered", "terminating"]


def test_noticed_by_many_at_once_one_round_begins(
    store: Records, lifecycle: Lifecycle, workflow: MemoryWorkflow, clock: Clock, wire: Wire, conflicts: int
) -> None:
    live, _ = lifecycle.register(a_deployment())
    clock.forward(hours=1)
    wire.conflict(conflicts)
    found = at_once(*[lambda: lifecycle.due("svc-1", ENFORCE, live.generation)] * MANY)
    assert sorted(found) == [False] * (MANY - 1) + [True]
    assert workflow.running == {f"{live.generation}-1"}
    now = store.get("svc-1")
    assert now
    assert now.cleanup.round == 1


def test_sweeps_at_once_start_each_round_once(
    lifecycle: Lifecycle, workflow: MemoryWorkflow, clock: Clock, wire: Wire, conflicts: int
) -> None:
    for n in range(20):
        lifecycle.register(a_deployment(f"svc-{n}"))
    clock.forward(hours=1)
    wire.conflict(conflicts)
    found = at_once(*[lambda: sweep(lifecycle, ENFORCE)] * 4)
    assert sum(found) == 20
    assert workflow.running == {f"generation-of-svc-{n}-1" for n in range(20)}


@pytest.mark.parametrize("attempt", range(4))
def test_an_amendment_against_a_termination_is_before_it_or_refused(
    store: Records, lifecycle: Lifecycle, attempt: int
) -> None:
    lifecycle.register(a_deployment())
    ttl = {"ttl_seconds": 60, "expires_at": format_time(NOW + timedelta(seconds=60))} if attempt % 2 else {}
    amended, terminated = at_once(
        lambda: lifecycle.amend("svc-1", lambda old: (msgspec.structs.replace(old, region="eu-west-1", **ttl), None)),
        lambda: lifecycle.terminate("svc-1", reason="r", requested_by="b"),
    )
    now = store.get("svc-1")
    assert now
    assert now == terminated
    assert now.status == "Terminating"
    assert facts_are_complete(now)
    if isinstance(amended, Conflict):
        assert now.region == "eu-central-1"
    else:
        assert now.region == "eu-west-1"
        assert [event.type for event in now.events] == ["registered", "amended", "terminating"]


LATE = {"instance_id": "i-0123456789abcdef0", "ebs_volume": ["vol-0aaaaaaaaaaaaaaa1"]}


@pytest.mark.parametrize("attempt", range(8))
def test_an_id_that_is_added_against_the_end_is_never_lost(
    store: Records, lifecycle: Lifecycle, workflow: MemoryWorkflow, attempt: int
) -> None:
    lifecycle.register(a_deployment())
    round_ = lifecycle.terminate("svc-1", reason="r", requested_by="b")
    amended, released = at_once(
        lambda: lifecycle.amend(
            "svc-1", lambda old: (msgspec.structs.replace(old, resource_ids=LATE), None), requested_by="late"
        ),
        lambda: lifecycle.released(round_, [GONE]),
    )
    now = store.get("svc-1")
    assert now
    assert facts_are_complete(now)
    assert now.status == "Terminating"
    assert now.resource_ids == LATE
    assert [each.id for each in now.resources if not each.is_done] == ["vol-0aaaaaaaaaaaaaaa1"]
    assert f"generation-of-svc-1-{now.cleanup.round}" in workflow.running
    # It ended first, and the id began another round; or the id was there first, and kept it from ending.
    assert (released.status, now.cleanup.round, now.cleanup.reason) in [
        ("Terminated", 2, "late_id"),
        ("Terminating", 1, "r"),
    ]
    assert amended.resource_ids == LATE


def test_an_id_that_came_before_the_end_was_reported_keeps_the_round_from_ending(
    store: Records, lifecycle: Lifecycle
) -> None:
    lifecycle.register(a_deployment())
    round_ = lifecycle.terminate("svc-1", reason="r", requested_by="b")
    lifecycle.amend("svc-1", lambda old: (msgspec.structs.replace(old, resource_ids=LATE), None))
    # By a step that began before.
    assert lifecycle.released(round_, [GONE]).status == "Terminating"
    now = store.get("svc-1")
    assert now
    assert (now.status, now.cleanup.round, now.resource_ids) == ("Terminating", 1, LATE)


@pytest.mark.parametrize("attempt", range(4))
def test_an_id_that_is_added_against_a_step_is_never_lost(store: Records, lifecycle: Lifecycle, attempt: int) -> None:
    lifecycle.register(a_deployment())
    round_ = lifecycle.terminate("svc-1", reason="r", requested_by="b")
    at_once(
        lambda: lifecycle.amend("svc-1", lambda old: (msgspec.structs.replace(old, resource_ids=LATE), None)),
        lambda: lifecycle.progress(round_, [GONE], discovered=True),
        lambda: lifecycle.progress(round_, [GONE], retry_after=5),
    )
    now = store.get("svc-1")
    assert now
    assert (now.resource_ids, now.cleanup.discovered_in) == (LATE, 0)
    assert [each.id for each in now.resources if not each.is_done] == ["vol-0aaaaaaaaaaaaaaa1"]


def test_no_amendment_that_succeeded_is_lost_to_another(store: Records, lifecycle: Lifecycle) -> None:
    lifecycle.register(a_deployment())

    def amending(n: int) -> Callable[[], Any]:
        return lambda: lifecycle.amend(
            "svc-1", lambda old: (msgspec.structs.replace(old, metadata=old.metadata | {f"m{n}": ""}), None)
        )

    found = at_once(*[amending(n) for n in range(8)])
    succeeded = {f"m{n}" for n, each in enumerate(found) if isinstance(each, Deployment)}
    assert all(isinstance(each, Deployment | Contended) for each in found)
    now = store.get("svc-1")
    assert now
    assert set(now.metadata) == succeeded
    assert now.version == 1 + len(succeeded)
    assert facts_are_complete(now)


@pytest.mark.parametrize("attempt", range(4))
def test_a_failure_against_the_end_is_one_of_them(
    store: Records, lifecycle: Lifecycle, engine: Engine, attempt: int
) -> None:
    lifecycle.register(a_deployment())
    round_ = lifecycle.terminate("svc-1", reason="r", requested_by="b")
    restored, released = at_once(
        lambda: lifecycle.restored("svc-1", round_.generation, 1, "the workflow caught X"),
        lambda: lifecycle.released(round_, [GONE]),
    )
    now = store.get("svc-1")
    assert now
    assert facts_are_complete(now)
    last = [event.type for event in now.events][2:]
    if isinstance(released, Superseded):
        assert (now.status, now.cleanup.failures, last) == ("Active", 1, ["cleanup_failed"])
        assert "lease" in engine.items()
    else:
        assert restored is None
        assert (now.status, now.cleanup.failures) == ("Terminated", 0)
        assert last == ["resource_gone", "cleanup_succeeded"]
        assert "lease" not in engine.items()


def test_two_steps_of_a_round_at_once_tell_of_a_resource_once(store: Records, lifecycle: Lifecycle) -> None:
    lifecycle.register(a_deployment())
    round_ = lifecycle.terminate("svc-1", reason="r", requested_by="b")
    at_once(*[lambda: lifecycle.progress(round_, [GONE], retry_after=5)] * 4)
    now = store.get("svc-1")
    assert now
    assert [event.type for event in now.events].count("resource_gone") == 1
    assert facts_are_complete(now)


def test_moved_to_two_places_at_once_it_is_in_one(store: Records, lifecycle: Lifecycle, engine: Engine) -> None:
    lifecycle.register(a_deployment())

    def moving(key: str) -> Callable[[], Any]:
        return lambda: lifecycle.amend("svc-1", lambda old: (old, None if old.blueprint_id == key else key))

    found = at_once(moving("a"), moving("b"))
    records = [key for key in ("svc-1", "a", "b") if "record" in engine.items(key)]
    assert len(records) == 1
    assert [key for key in ("svc-1", "a", "b") if "lease" in engine.items(key)] == records
    now = store.find("svc-1")
    assert now
    assert now.blueprint_id == records[0]
    assert facts_are_complete(now)
    # The one that came later moved it on.
    assert [type(each) for each in found] == [Deployment, Deployment]


def test_a_move_against_a_registration_at_its_goal_leaves_both(
    store: Records, lifecycle: Lifecycle, engine: Engine
) -> None:
    lifecycle.register(a_deployment())
    moved, registered = at_once(
        lambda: lifecycle.amend("svc-1", lambda old: (old, "goal")),
        lambda: lifecycle.register(a_deployment("goal")),
    )
    goal = store.get("goal")
    assert goal
    if isinstance(moved, Conflict):
        assert registered == (goal, True)
        assert "record" in engine.items("svc-1")
    else:
        assert moved == goal
        assert isinstance(registered, Conflict)


def test_a_registration_at_a_key_that_is_just_being_left_is_never_lost(
    store: Records, lifecycle: Lifecycle, engine: Engine
) -> None:
    lifecycle.register(a_deployment())
    moved, registered = at_once(
        lambda: lifecycle.amend("svc-1", lambda old: (old, None if old.blueprint_id == "goal" else "goal")),
        lambda: lifecycle.register(a_deployment(generation="next", fingerprint="other")),
    )
    goal = store.get("goal")
    assert goal == moved
    if isinstance(registered, Conflict):
        assert set(engine.items()) == {"moved"}
    else:
        assert set(engine.items()) == {"record", "lease"}


def test_a_paused_round_against_its_end_is_one_of_them(store: Records, lifecycle: Lifecycle) -> None:
    lifecycle.register(a_deployment())
    round_ = lifecycle.terminate("svc-1", reason="r", requested_by="b")
    found = at_once(lambda: lifecycle.paused(round_), lambda: lifecycle.released(round_, [GONE]))
    assert [type(each) for each in found].count(Superseded) == 1
    now = store.get("svc-1")
    assert now in found


def test_an_extension_against_the_end_is_one_of_them(
    store: Records, lifecycle: Lifecycle, clock: Clock, workflow: MemoryWorkflow, conflicts: int, wire: Wire
) -> None:
    lifecycle.register(a_deployment())
    clock.forward(hours=1)
    wire.conflict(conflicts)
    later = format_time(NOW + timedelta(hours=1, minutes=30))
    extended, began = at_once(
        lambda: lifecycle.extend(
            "svc-1", lambda old: msgspec.structs.replace(old, expires_at=later), requested_by="ann"
        ),
        lambda: lifecycle.due("svc-1", ENFORCE),
    )
    now = store.get("svc-1")
    assert now
    if isinstance(extended, Conflict):
        assert (began, now.status, len(workflow.asked)) == (True, "Terminating", 1)
    else:
        assert (began, now.status, workflow.asked) == (False, "Active", [])
        assert now.expires_at == later
    assert facts_are_complete(now)


def test_a_hold_against_the_end_is_one_of_them(
    store: Records, lifecycle: Lifecycle, clock: Clock, workflow: MemoryWorkflow
) -> None:
    lifecycle.register(a_deployment())
    clock.forward(hours=1)
    until = format_time(NOW + timedelta(hours=5))
    held, began = at_once(
        lambda: lifecycle.hold("svc-1", reason="r", until=until, requested_by="ann"),
        lambda: lifecycle.due("svc-1", ENFORCE),
    )
    now = store.get("svc-1")
    assert now
    assert isinstance(held, Conflict) is began is (now.status == "Terminating")


def test_a_warning_that_many_notice_is_told_once(store: Records, lifecycle: Lifecycle, clock: Clock) -> None:
    lifecycle.register(a_deployment(ttl=7200))
    clock.forward(hours=1)
    at_once(*[lambda: lifecycle.due("svc-1", ENFORCE)] * 8)
    now = store.get("svc-1")
    assert now
    assert [event.type for event in now.events] == ["registered", "expiring"]
