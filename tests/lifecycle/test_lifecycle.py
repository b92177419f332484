"""This is what may happen to a deployment: every row of the table of changes, on a table of the product's own definition."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError
from pynamodb.exceptions import TransactWriteError

from tests.fakes import NOW, Clock, Engine, MemoryQueue, MemoryWorkflow, Wire, a_deployment, sweep
from tracker.clients import is_passing
from tracker.lifecycle.base import THROTTLED
from tracker.lifecycle.horizon import Horizon
from tracker.lifecycle.requests import Stale, TooEarly
from tracker.lifecycle.rounds import Superseded
from tracker.lifecycle.transitions import Lifecycle
from tracker.model import brakes
from tracker.model.deployment import (
    EVENTS_KEPT,
    Cleanup,
    Deployment,
    Resource,
    ResourceSpec,
    expiry,
    format_time,
    parse_time,
)
from tracker.model.errors import Conflict, Contended, Invalid, NotFound
from tracker.model.settings import Settings
from tracker.store.records import DueKey, Records

ENFORCE = brakes.parse("enforce")
PAUSE = brakes.parse("pause")
OBSERVE = brakes.parse("observe")
INSTANCE = Resource(kind="ec2:instance", id="i-0123456789abcdef0", named_by="instance_id")
GONE = msgspec.structs.replace(INSTANCE, state="gone", proof="DescribeInstances: terminated", gone_at=format_time(NOW))
KEPT = Resource(kind="ec2:security_group", id="sg-1", state="kept", detail="it carries no mark")

Patch = Callable[[Deployment], tuple[Deployment, str | None]]


def to(**changes: Any) -> Patch:
    return lambda current: (msgspec.structs.replace(current, **changes), None)


def moving(key: str) -> Patch:
    """As a patch of `blueprint_id` does: it stays if it is there already."""
    return lambda current: (current, None if current.blueprint_id == key else key)


def lives_for(seconds: int) -> Patch:
    return to(ttl_seconds=seconds, expires_at=format_time(NOW + timedelta(seconds=seconds)))


def types(deployment: Deployment) -> list[str]:
    return [event.type for event in deployment.events]


def stored(store: Records, key: str = "svc-1") -> Deployment:
    found = store.get(key)
    assert found
    return found


def lease(engine: Engine, key: str = "svc-1") -> dict[str, Any] | None:
    return engine.items(key).get("lease")


def seconds(**after_now: float) -> int:
    return int((NOW + timedelta(**after_now)).timestamp())


@pytest.fixture
def live(lifecycle: Lifecycle) -> Deployment:
    return lifecycle.register(a_deployment())[0]


@pytest.fixture
def terminating(lifecycle: Lifecycle, live: Deployment) -> Deployment:
    return lifecycle.terminate("svc-1", reason="requested", requested_by="someone")


@pytest.fixture
def terminated(lifecycle: Lifecycle, terminating: Deployment) -> Deployment:
    return lifecycle.released(terminating, [GONE])


@pytest.fixture
def failed(lifecycle: Lifecycle, terminating: Deployment) -> Deployment:
    return lose(lifecycle, terminating)


@pytest.fixture
def quarantined(lifecycle: Lifecycle, clock: Clock, live: Deployment) -> Deployment:
    deployment = live
    for _ in range(8):
        deployment = fail(lifecycle, deployment, clock, "protected")
    assert deployment.cleanup.quarantined
    return deployment


def lose(lifecycle: Lifecycle, terminating: Deployment) -> Deployment:
    found = lifecycle.restored(
        terminating.blueprint_id, terminating.generation, terminating.cleanup.round, "the workflow caught X"
    )
    assert found
    return found


def fail(lifecycle: Lifecycle, deployment: Deployment, clock: Clock, error_class: Any) -> Deployment:
    """One failed round, begun when it is due."""
    clock.now = max(clock.now, clock.now.fromtimestamp(deployment.due_at or 0, clock.now.tzinfo))
    assert lifecycle.due(deployment.blueprint_id, ENFORCE)
    current = lifecycle._records.require(deployment.blueprint_id)
    lifecycle.failing(current, error_class, "it says no")
    return lose(lifecycle, current)


# register


def test_a_registration_is_stored_with_its_first_event_and_its_moment(store: Records, lifecycle: Lifecycle) -> None:
    new, is_new = lifecycle.register(a_deployment())
    assert is_new
    assert stored(store) == new
    assert (new.version, new.sequence, types(new)) == (1, 1, ["registered"])
    assert new.outbox == new.events
    assert new.due_at == seconds(hours=1)


@pytest.mark.parametrize("status", ["Active", "Failed", "Unknown"])
def test_one_is_registered_in_any_live_status(lifecycle: Lifecycle, status: Any) -> None:
    new, _ = lifecycle.register(a_deployment(status=status))
    assert new.status == status


def test_one_without_an_end_is_never_due(lifecycle: Lifecycle) -> None:
    assert lifecycle.register(a_deployment(ttl=None))[0].due_at is None


def test_an_uncontended_registration_is_one_call(lifecycle: Lifecycle, wire: Wire) -> None:
    lifecycle.register(a_deployment())
    assert wire.counted == {"TransactWriteItems": 1}


def test_a_registration_over_a_terminated_one_is_two_calls(
    lifecycle: Lifecycle, terminated: Deployment, wire: Wire
) -> None:
    wire.calls.clear()
    lifecycle.register(a_deployment(generation="next"))
    assert wire.counted == {"TransactWriteItems": 2}


def test_the_very_same_again_changes_nothing(
    store: Records, lifecycle: Lifecycle, live: Deployment, wire: Wire
) -> None:
    again, is_new = lifecycle.register(a_deployment(generation="another"))
    assert not is_new
    assert again == live == stored(store)


def test_the_very_same_again_is_a_success_also_after_an_amendment(
    store: Records, lifecycle: Lifecycle, live: Deployment
) -> None:
    amended = lifecycle.amend("svc-1", to(metadata={"a": "b"}))
    again, is_new = lifecycle.register(a_deployment(generation="another"))
    assert not is_new
    assert again == amended == stored(store)


def test_other_content_under_a_live_key_is_a_conflict_with_what_is_there(
    store: Records, lifecycle: Lifecycle, live: Deployment
) -> None:
    with pytest.raises(Conflict) as conflict:
        lifecycle.register(a_deployment(fingerprint="other", generation="another"))
    assert conflict.value.status == 409
    assert conflict.value.details["deployment"] == live == stored(store)


def test_a_registration_while_it_is_terminating_is_a_conflict(
    store: Records, lifecycle: Lifecycle, terminating: Deployment
) -> None:
    with pytest.raises(Conflict) as conflict:
        lifecycle.register(a_deployment(generation="another"))
    assert conflict.value.details["deployment"] == terminating == stored(store)


def test_a_duplicate_that_says_when_it_was_made_is_a_success_at_any_time(lifecycle: Lifecycle, store: Records) -> None:
    lifecycle.register(a_deployment(made_at="then"))
    terminating = lifecycle.terminate("svc-1", reason="requested", requested_by="someone")
    assert lifecycle.register(a_deployment(made_at="then", generation="another")) == (terminating, False)
    ended = lifecycle.released(terminating, [GONE])
    assert lifecycle.register(a_deployment(made_at="then", generation="another")) == (ended, False)
    assert stored(store) == ended


def test_over_a_terminated_one_what_says_nothing_of_its_time_is_a_new_generation(
    store: Records, lifecycle: Lifecycle, terminated: Deployment, engine: Engine
) -> None:
    new, is_new = lifecycle.register(a_deployment(generation="next"))
    assert is_new
    assert (new.generation, new.sequence, new.version, new.cleanup) == ("next", 1, 1, Cleanup())
    assert new.resources == []
    past = store.past("svc-1", terminated.generation)
    assert past
    assert past.resources == [GONE]
    found = lease(engine)
    assert found
    assert found["generation"]["S"] == "next"


def test_over_a_terminated_one_the_same_made_at_another_time_is_new(lifecycle: Lifecycle) -> None:
    lifecycle.register(a_deployment(made_at="then"))
    terminating = lifecycle.terminate("svc-1", reason="requested", requested_by="someone")
    lifecycle.released(terminating, [GONE])
    new, is_new = lifecycle.register(a_deployment(made_at="later", generation="next"))
    assert is_new
    assert new.generation == "next"


def test_a_terminated_record_past_its_ttl_counts_as_absent(
    store: Records, lifecycle: Lifecycle, terminated: Deployment, clock: Clock
) -> None:
    clock.forward(days=31)
    with pytest.raises(NotFound):
        lifecycle.terminate("svc-1", reason="requested", requested_by="someone")
    assert lifecycle.register(a_deployment(generation="next"))[1]
    assert store.past("svc-1", terminated.generation) is None


def test_a_duplicate_of_what_has_moved_away_is_not_registered_anew(
    store: Records, lifecycle: Lifecycle, live: Deployment
) -> None:
    moved = lifecycle.amend("svc-1", moving("svc-2"))
    assert lifecycle.register(a_deployment(generation="another")) == (moved, False)
    assert store.get("svc-1") is None
    assert stored(store, "svc-2") == moved


def test_a_duplicate_of_what_moved_away_and_is_over_begins_nothing_if_it_says_when_it_was_made(
    store: Records, lifecycle: Lifecycle
) -> None:
    lifecycle.register(a_deployment(made_at="then"))
    lifecycle.amend("svc-1", moving("svc-2"))
    ended = lifecycle.released(lifecycle.terminate("svc-2", reason="r", requested_by="b"), [GONE])
    assert lifecycle.register(a_deployment(made_at="then", generation="another")) == (ended, False)
    new, is_new = lifecycle.register(a_deployment(made_at="later", generation="another"))
    assert is_new
    assert store.find("svc-1") == new
    assert stored(store, "svc-2") == ended


def test_a_key_whose_marker_leads_nowhere_any_more_can_be_registered(
    store: Records, lifecycle: Lifecycle, live: Deployment, clock: Clock
) -> None:
    lifecycle.amend("svc-1", moving("svc-2"))
    lifecycle.forget("svc-2", reason="r", requested_by="b")
    clock.forward(days=30)
    assert lifecycle.register(a_deployment(generation="next"))[1]


# What the SDK doesn't tell: the write was applied and its answer lost


@pytest.mark.parametrize("loses", ["lose_answer", "refuse_what_is_applied"])
def test_a_registration_whose_answer_is_lost_is_the_same_success(
    store: Records, lifecycle: Lifecycle, wire: Wire, loses: str
) -> None:
    getattr(wire, loses)("TransactWriteItems")
    new, is_new = lifecycle.register(a_deployment())
    assert is_new
    assert stored(store) == new
    assert new.sequence == 1


@pytest.mark.parametrize("loses", ["lose_answer", "refuse_what_is_applied"])
def test_an_amendment_whose_answer_is_lost_is_made_once(
    store: Records, lifecycle: Lifecycle, live: Deployment, wire: Wire, loses: str
) -> None:
    getattr(wire, loses)("PutItem")
    amended = lifecycle.amend("svc-1", to(metadata={"a": "b"}))
    assert amended == stored(store)
    assert types(amended) == ["registered", "amended"]
    getattr(wire, loses)("TransactWriteItems")
    amended = lifecycle.amend("svc-1", lives_for(60))
    assert types(amended) == ["registered", "amended", "amended"]


@pytest.mark.parametrize("loses", ["lose_answer", "refuse_what_is_applied"])
def test_a_move_whose_answer_is_lost_is_made_once(
    store: Records, lifecycle: Lifecycle, live: Deployment, wire: Wire, loses: str
) -> None:
    getattr(wire, loses)("TransactWriteItems")
    moved = lifecycle.amend("svc-1", moving("svc-2"))
    assert moved == stored(store, "svc-2")
    assert types(moved) == ["registered", "moved"]


@pytest.mark.parametrize("loses", ["lose_answer", "refuse_what_is_applied"])
def test_a_termination_whose_answer_is_lost_is_one_round_and_one_start(
    store: Records, lifecycle: Lifecycle, workflow: MemoryWorkflow, live: Deployment, wire: Wire, loses: str
) -> None:
    getattr(wire, loses)("PutItem")
    found = lifecycle.terminate("svc-1", reason="requested", requested_by="someone")
    assert found == stored(store)
    assert found.cleanup.round == 1
    assert workflow.running == {f"{live.generation}-1"}


@pytest.mark.parametrize("loses", ["lose_answer", "refuse_what_is_applied"])
def test_a_due_round_whose_answer_is_lost_is_started_all_the_same(
    lifecycle: Lifecycle, workflow: MemoryWorkflow, live: Deployment, clock: Clock, wire: Wire, loses: str
) -> None:
    clock.forward(hours=1)
    getattr(wire, loses)("PutItem")
    lifecycle.due("svc-1", ENFORCE)
    assert workflow.asked == [f"{live.generation}-1"]


@pytest.mark.parametrize("loses", ["lose_answer", "refuse_what_is_applied"])
def test_an_end_whose_answer_is_lost_is_announced_once(
    store: Records, lifecycle: Lifecycle, terminating: Deployment, wire: Wire, loses: str
) -> None:
    getattr(wire, loses)("TransactWriteItems")
    with suppress(Superseded):
        lifecycle.released(terminating, [GONE])
    assert types(stored(store)) == ["registered", "terminating", "resource_gone", "cleanup_succeeded"]


def test_what_nobody_ever_saw_is_told_apart_at_the_end(
    store: Records, lifecycle: Lifecycle, terminating: Deployment
) -> None:
    lifecycle.released(terminating, [GONE, msgspec.structs.replace(GONE, id="never", never_seen=True)])
    record = stored(store)
    assert [event.detail.get("never_seen", False) for event in record.events if event.type == "resource_gone"] == [
        False,
        True,
    ]
    assert record.events[-1].detail["resources"] == {"gone": 1, "never_seen": 1}
    assert [resource.never_seen for resource in record.resources] == [False, True]


@pytest.mark.parametrize("loses", ["lose_answer", "refuse_what_is_applied"])
def test_a_failure_whose_answer_is_lost_is_counted_once(
    store: Records, lifecycle: Lifecycle, terminating: Deployment, wire: Wire, loses: str
) -> None:
    getattr(wire, loses)("PutItem")
    lifecycle.restored("svc-1", terminating.generation, 1, "the workflow caught X")
    assert stored(store).cleanup.failures == 1
    assert types(stored(store)).count("cleanup_failed") == 1


@pytest.mark.parametrize("loses", ["lose_answer", "refuse_what_is_applied"])
def test_progress_whose_answer_is_lost_tells_of_each_resource_once(
    store: Records, lifecycle: Lifecycle, terminating: Deployment, wire: Wire, loses: str
) -> None:
    getattr(wire, loses)("PutItem")
    lifecycle.progress(terminating, [GONE, KEPT], retry_after=5)
    assert types(stored(store)).count("resource_gone") == 1


# amend


def test_an_amendment_says_which_fields_changed(store: Records, lifecycle: Lifecycle, live: Deployment) -> None:
    amended = lifecycle.amend(
        "svc-1", to(metadata={"a": "b"}, region="eu-west-1", status="Failed"), requested_by="someone"
    )
    assert amended == stored(store)
    assert amended.version == live.version + 1
    assert amended.outbox[0].detail == {"fields": ["region", "status", "metadata"], "by": "someone"}
    assert amended.due_at == live.due_at


def test_an_amendment_of_nothing_writes_nothing(lifecycle: Lifecycle, live: Deployment, wire: Wire) -> None:
    wire.calls.clear()
    assert lifecycle.amend("svc-1", to()) == live
    assert wire.counted == {"GetItem": 1}


@pytest.mark.parametrize(
    ("patch", "write"), [(to(region="eu-west-1"), "PutItem"), (lives_for(60), "TransactWriteItems")]
)
def test_an_amendment_is_two_calls(
    lifecycle: Lifecycle, live: Deployment, wire: Wire, patch: Patch, write: str
) -> None:
    wire.calls.clear()
    lifecycle.amend("svc-1", patch)
    assert wire.counted == {"GetItem": 1, write: 1}


@pytest.mark.parametrize("ttl", [60, 7100])
def test_extended_or_shortened_record_and_lease_agree(
    lifecycle: Lifecycle, live: Deployment, engine: Engine, ttl: int
) -> None:
    amended = lifecycle.amend("svc-1", lives_for(ttl))
    found = lease(engine)
    assert found
    assert amended.due_at == expiry(amended) == int(found["ttl"]["N"]) == seconds(seconds=ttl)


def test_a_time_to_live_that_is_taken_away_takes_the_lease_along(
    lifecycle: Lifecycle, live: Deployment, engine: Engine
) -> None:
    amended = lifecycle.amend("svc-1", to(ttl_seconds=None, expires_at=None))
    assert amended.due_at is None
    assert lease(engine) is None


def test_an_unknown_key_cannot_be_amended_terminated_or_forgotten(lifecycle: Lifecycle) -> None:
    with pytest.raises(NotFound):
        lifecycle.amend("nobody", to(region="x"))
    with pytest.raises(NotFound):
        lifecycle.terminate("nobody", reason="r", requested_by="b")
    with pytest.raises(NotFound) as not_found:
        lifecycle.forget("nobody", reason="r", requested_by="b")
    assert not_found.value.status == 404


@pytest.mark.parametrize("state", ["terminating", "terminated"])
def test_what_is_on_its_way_or_over_cannot_be_amended_or_moved(
    store: Records, lifecycle: Lifecycle, request: pytest.FixtureRequest, state: str
) -> None:
    there = request.getfixturevalue(state)
    for patch in (to(region="eu-west-1"), lives_for(60), moving("svc-2")):
        with pytest.raises(Conflict) as conflict:
            lifecycle.amend("svc-1", patch)
        assert conflict.value.status == 409
        assert conflict.value.details["deployment"] == there == stored(store)
    assert store.get("svc-2") is None


@pytest.mark.parametrize(("patch", "field"), [(lives_for(60), "ttl_seconds"), (moving("svc-2"), "blueprint_id")])
def test_time_to_live_and_key_cannot_change_while_a_cleanup_has_failed(
    store: Records, lifecycle: Lifecycle, failed: Deployment, patch: Patch, field: str
) -> None:
    with pytest.raises(Conflict) as conflict:
        lifecycle.amend("svc-1", patch)
    assert conflict.value.details["field"] == field
    assert stored(store) == failed
    assert store.get("svc-2") is None


def test_other_amendments_of_a_failing_one_make_it_due_now_and_keep_the_count(
    lifecycle: Lifecycle, failed: Deployment
) -> None:
    amended = lifecycle.amend("svc-1", to(metadata={"account": "1"}))
    assert amended.cleanup.failures == 1
    assert amended.due_at == seconds()


def test_an_amended_quarantined_one_begins_anew_and_is_due_now(
    store: Records, lifecycle: Lifecycle, quarantined: Deployment, clock: Clock
) -> None:
    assert quarantined.due_at is None
    amended = lifecycle.amend("svc-1", to(metadata={"account": "1"}))
    assert (amended.cleanup.failures, amended.cleanup.quarantined) == (0, False)
    assert amended.due_at == int(clock.now.timestamp())
    assert [due.blueprint_id for due in store.due(clock.now)] == ["svc-1"]
    assert fail(lifecycle, amended, clock, "protected").cleanup.failures == 1


def test_a_quarantined_one_that_is_amended_while_it_is_held_is_tried_again_after_the_hold(
    store: Records, lifecycle: Lifecycle, clock: Clock
) -> None:
    lifecycle.register(a_deployment(ttl=None))
    deployment = lifecycle.terminate("svc-1", reason="requested", requested_by="someone")
    for _ in range(8):
        lifecycle.failing(deployment, "protected", "it says no")
        given_up = lose(lifecycle, deployment)
        if given_up.due_at:
            clock.now = clock.now.fromtimestamp(given_up.due_at, clock.now.tzinfo)
            assert lifecycle.due("svc-1", ENFORCE)
            deployment = stored(store)
    assert given_up.cleanup.quarantined
    over = clock.now + timedelta(hours=1)
    lifecycle.hold("svc-1", reason="an incident", until=format_time(over), requested_by="ann")
    amended = lifecycle.amend("svc-1", to(metadata={"account": "1"}))
    assert (amended.due_at, amended.cleanup.quarantined) == (int(over.timestamp()), False)
    with pytest.raises(Conflict, match="has begun and failed"):
        lifecycle.amend("svc-1", lives_for(999_999))
    with pytest.raises(Conflict, match="has begun and failed"):
        lifecycle.extend("svc-1", lambda old: old, requested_by="ann")
    clock.now = over
    assert sweep(lifecycle, ENFORCE) == 1
    assert stored(store).cleanup.reason == "retry"


def test_a_quarantined_one_that_is_amended_keeps_to_the_plan_that_was_approved(
    store: Records, lifecycle: Lifecycle, clock: Clock, live: Deployment
) -> None:
    deployment = lifecycle.terminate("svc-1", reason="requested", requested_by="someone", plan="0123456789")
    lifecycle.failing(deployment, "protected", "it says no")
    deployment = lose(lifecycle, deployment)
    while not deployment.cleanup.quarantined:
        deployment = fail(lifecycle, deployment, clock, "protected")
    lifecycle.amend("svc-1", to(metadata={"account": "1"}))
    assert lifecycle.due("svc-1", ENFORCE)
    assert (stored(store).cleanup.reason, stored(store).cleanup.plan) == ("retry", "0123456789")


LATE = {"instance_id": "i-0123456789abcdef0", "ebs_volume": ["vol-0aaaaaaaaaaaaaaa1"]}
LATE_VOLUME = Resource(kind="aws:volume", id="vol-0aaaaaaaaaaaaaaa1", named_by="ebs_volume")


def test_an_id_that_is_added_while_terminating_joins_the_round(
    store: Records, lifecycle: Lifecycle, workflow: MemoryWorkflow, terminating: Deployment
) -> None:
    lifecycle.progress(terminating, [INSTANCE], discovered=True)
    amended = lifecycle.amend("svc-1", to(resource_ids=LATE), requested_by="who rented it")
    assert stored(store) == amended
    assert (amended.status, amended.resource_ids, amended.cleanup.round) == ("Terminating", LATE, 1)
    assert amended.resources == [INSTANCE, LATE_VOLUME]
    assert amended.cleanup.discovered_in == 0
    assert amended.due_at is not None
    assert types(amended) == ["registered", "terminating", "amended"]
    assert workflow.running == {"generation-of-svc-1-1"}


def test_an_id_that_is_added_after_the_end_begins_a_round(
    store: Records, lifecycle: Lifecycle, workflow: MemoryWorkflow, engine: Engine, terminated: Deployment
) -> None:
    amended = lifecycle.amend("svc-1", to(resource_ids=LATE), requested_by="who rented it")
    assert stored(store) == amended
    assert (amended.status, amended.cleanup.round, amended.cleanup.ended_at) == ("Terminating", 2, None)
    assert (amended.cleanup.reason, amended.cleanup.requested_by) == ("late_id", "who rented it")
    assert amended.resources == [GONE, LATE_VOLUME]
    assert types(amended)[-2:] == ["amended", "terminating"]
    assert amended.events[-1].detail == {"reason": "late_id", "by": "who rented it"}
    assert [event.sequence for event in amended.events] == list(range(1, amended.sequence + 1))
    assert workflow.running == {"generation-of-svc-1-1", "generation-of-svc-1-2"}
    assert "ttl" not in engine.items()["record"]
    proven = msgspec.structs.replace(LATE_VOLUME, state="gone", proof="DescribeVolumes")
    ended = lifecycle.released(amended, [GONE, proven])
    assert (ended.status, ended.resources) == ("Terminated", [GONE, proven])


def test_an_id_that_is_added_to_a_forgotten_one_begins_a_round_without_its_failures(
    lifecycle: Lifecycle, failed: Deployment
) -> None:
    lifecycle.forget("svc-1", reason="by hand", requested_by="someone")
    amended = lifecycle.amend("svc-1", to(resource_ids=LATE), requested_by="who rented it")
    assert (amended.status, amended.cleanup.reason) == ("Terminating", "late_id")


@pytest.mark.parametrize("state", ["terminating", "terminated"])
def test_the_same_ids_again_change_nothing_more(
    lifecycle: Lifecycle, workflow: MemoryWorkflow, request: pytest.FixtureRequest, state: str
) -> None:
    request.getfixturevalue(state)
    amended = lifecycle.amend("svc-1", to(resource_ids=LATE), requested_by="who rented it")
    workflow.running.clear()
    assert lifecycle.amend("svc-1", to(resource_ids=LATE), requested_by="who rented it") == amended
    # The first call may have died before it started the workflow.
    assert workflow.running == {f"generation-of-svc-1-{amended.cleanup.round}"}


@pytest.mark.parametrize("state", ["terminating", "terminated"])
@pytest.mark.parametrize(
    "patch",
    [
        to(resource_ids=LATE, region="eu-west-1"),
        to(resource_ids=LATE, metadata={"account": "123456789012"}),
        to(resource_ids=LATE, ttl_seconds=60),
        to(resource_ids=LATE, status="Failed"),
        to(resource_ids=LATE, cleanup_webhook="https://hooks.example.org/x"),
        to(resource_ids={"instance_id": "i-0aaaaaaaaaaaaaaa1"}),
        to(resource_ids={"ebs_volume": ["vol-0aaaaaaaaaaaaaaa1"]}),
        to(resource_ids={}),
        lambda old: (msgspec.structs.replace(old, resource_ids=LATE), "svc-2"),
    ],
    ids=["region", "metadata", "ttl", "status", "webhook", "replaced", "removed", "all removed", "moved"],
)
def test_nothing_but_adding_is_taken_of_one_that_is_not_live(
    store: Records, lifecycle: Lifecycle, request: pytest.FixtureRequest, patch: Patch, state: str
) -> None:
    before = request.getfixturevalue(state)
    with pytest.raises(Conflict, match="only ids may be added") as conflict:
        lifecycle.amend("svc-1", patch, requested_by="someone")
    assert conflict.value.details["deployment"] == before
    assert stored(store) == before


def test_a_step_that_saw_less_than_was_added_does_not_end_it(
    store: Records, lifecycle: Lifecycle, terminating: Deployment
) -> None:
    seen = lifecycle.progress(terminating, [INSTANCE], discovered=True)
    lifecycle.amend("svc-1", to(resource_ids=LATE), requested_by="who rented it")
    now = lifecycle.released(seen, [GONE])
    assert stored(store) == now
    assert (now.status, now.resources) == ("Terminating", [GONE, LATE_VOLUME])
    assert types(now)[-1] == "resource_gone"
    # The discovery that ran meanwhile doesn't count either.
    assert lifecycle.progress(terminating, [GONE], discovered=True).cleanup.discovered_in == 0
    assert stored(store).resources == [GONE, LATE_VOLUME]
    now = lifecycle.progress(stored(store), [GONE, LATE_VOLUME], discovered=True)
    assert now.cleanup.discovered_in == 1


def test_what_the_patch_refuses_is_not_stored(store: Records, lifecycle: Lifecycle, live: Deployment) -> None:
    def refused(current: Deployment) -> Any:
        raise Invalid("region", "x", "a region")

    with pytest.raises(Invalid):
        lifecycle.amend("svc-1", refused)
    assert stored(store) == live


def test_an_amendment_is_made_on_what_is_there_now(store: Records, lifecycle: Lifecycle, live: Deployment) -> None:
    seen = []

    def patch(current: Deployment) -> tuple[Deployment, None]:
        seen.append(current.version)
        if len(seen) == 1:
            lifecycle.amend("svc-1", to(region="eu-west-1"))
        return msgspec.structs.replace(current, metadata={"a": "b"}), None

    amended = lifecycle.amend("svc-1", patch)
    assert seen == [1, 2]
    assert (amended.region, amended.metadata) == ("eu-west-1", {"a": "b"})
    assert [event.sequence for event in amended.events] == [1, 2, 3]


def test_after_five_lost_tries_the_caller_is_told_to_come_again(lifecycle: Lifecycle, live: Deployment) -> None:
    seen = []

    def patch(current: Deployment) -> tuple[Deployment, None]:
        seen.append(current.version)
        lifecycle.amend("svc-1", to(metadata={"n": str(len(seen))}))
        return msgspec.structs.replace(current, region="eu-west-1"), None

    with pytest.raises(Contended) as contended:
        lifecycle.amend("svc-1", patch)
    assert contended.value.status == 503
    assert len(seen) == 5


# move


def test_a_move_takes_everything_along_and_says_from_where(
    store: Records, lifecycle: Lifecycle, live: Deployment, engine: Engine
) -> None:
    moved = lifecycle.amend("svc-1", moving("svc-2"), requested_by="someone")
    assert moved == stored(store, "svc-2")
    assert (moved.generation, moved.due_at, moved.sequence) == (live.generation, live.due_at, 2)
    assert moved.outbox[0].detail == {"from": "svc-1", "to": "svc-2", "by": "someone"}
    assert store.get("svc-1") is None
    assert lease(engine) is None
    assert lease(engine, "svc-2")


def test_a_move_and_an_amendment_are_one_write_and_two_facts(lifecycle: Lifecycle, live: Deployment) -> None:
    moved = lifecycle.amend("svc-1", lambda old: (msgspec.structs.replace(old, region="eu-west-1"), "svc-2"))
    assert [event.type for event in moved.outbox] == ["amended", "moved"]
    assert [event.sequence for event in moved.outbox] == [2, 3]


def test_an_uncontended_move_is_three_calls(lifecycle: Lifecycle, live: Deployment, wire: Wire) -> None:
    wire.calls.clear()
    lifecycle.amend("svc-1", moving("svc-2"))
    assert wire.counted == {"GetItem": 2, "TransactWriteItems": 1}


def test_reads_amendments_and_terminations_follow_a_chain_of_moves(
    store: Records, lifecycle: Lifecycle, live: Deployment, workflow: MemoryWorkflow, engine: Engine
) -> None:
    lifecycle.amend("svc-1", moving("svc-2"))
    lifecycle.amend("svc-1", moving("svc-3"))
    lifecycle.amend("svc-1", lives_for(60))
    found = lease(engine, "svc-3")
    assert found
    assert found["ttl"]["N"] == str(seconds(seconds=60))
    assert lease(engine, "svc-1") is None
    assert store.find("svc-2") == stored(store, "svc-3")
    assert lifecycle.terminate("svc-1", reason="r", requested_by="b").blueprint_id == "svc-3"
    assert workflow.asked == [f"{live.generation}-1"]


@pytest.mark.parametrize("there", ["live", "terminating"])
def test_a_move_onto_what_is_not_over_is_a_conflict_and_changes_neither(
    store: Records, lifecycle: Lifecycle, live: Deployment, there: str
) -> None:
    other, _ = lifecycle.register(a_deployment("svc-2"))
    if there == "terminating":
        other = lifecycle.terminate("svc-2", reason="r", requested_by="b")
    with pytest.raises(Conflict) as conflict:
        lifecycle.amend("svc-1", moving("svc-2"))
    assert conflict.value.details["field"] == "blueprint_id"
    assert conflict.value.details["deployment"] == other
    assert (stored(store), stored(store, "svc-2")) == (live, other)


def test_a_move_onto_a_terminated_one_puts_that_to_the_past(
    store: Records, lifecycle: Lifecycle, terminated: Deployment
) -> None:
    lifecycle.register(a_deployment("svc-2"))
    moved = lifecycle.amend("svc-2", moving("svc-1"))
    assert stored(store) == moved
    past = store.past("svc-1", terminated.generation)
    assert past
    assert past.status == "Terminated"


def test_after_a_move_the_old_key_can_be_registered_anew(
    store: Records, lifecycle: Lifecycle, live: Deployment
) -> None:
    lifecycle.amend("svc-1", moving("svc-2"))
    new, is_new = lifecycle.register(a_deployment(fingerprint="other", generation="next"))
    assert is_new
    assert store.find("svc-1") == new
    assert stored(store, "svc-2").generation == live.generation


def test_what_is_terminated_by_its_old_key_is_never_another_that_took_its_place(
    store: Records, lifecycle: Lifecycle, live: Deployment, workflow: MemoryWorkflow
) -> None:
    lifecycle.amend("svc-1", moving("svc-2"))
    terminating = lifecycle.terminate("svc-2", reason="r", requested_by="b")
    lifecycle.released(terminating, [GONE])
    other, _ = lifecycle.register(a_deployment("svc-2", fingerprint="other", generation="next"))
    found = lifecycle.terminate("svc-1", reason="again", requested_by="b")
    assert (found.generation, found.status) == (live.generation, "Terminated")
    assert stored(store, "svc-2") == other
    assert workflow.asked == [f"{live.generation}-1"]


# terminate


def test_a_termination_begins_a_round_and_starts_its_workflow(
    store: Records, lifecycle: Lifecycle, live: Deployment, workflow: MemoryWorkflow
) -> None:
    found = lifecycle.terminate("svc-1", reason="no longer needed", requested_by="someone")
    assert found == stored(store)
    cleanup = found.cleanup
    assert found.status == "Terminating"
    assert (cleanup.round, cleanup.reason, cleanup.requested_by) == (1, "no longer needed", "someone")
    assert cleanup.requested_at == format_time(NOW)
    assert cleanup.deadline == format_time(NOW + timedelta(hours=2))
    assert found.due_at == seconds(minutes=5)
    assert types(found) == ["registered", "terminating"]
    assert workflow.asked == [f"{live.generation}-1"]


def test_a_cluster_has_the_longer_deadline(lifecycle: Lifecycle) -> None:
    lifecycle.register(a_deployment(deployment_type="AwsEks"))
    found = lifecycle.terminate("svc-1", reason="r", requested_by="b")
    assert found.cleanup.deadline == format_time(NOW + timedelta(hours=4))


@pytest.mark.parametrize("status", ["Active", "Failed", "Unknown"])
def test_every_live_status_can_be_terminated(lifecycle: Lifecycle, status: Any) -> None:
    lifecycle.register(a_deployment(status=status))
    assert lifecycle.terminate("svc-1", reason="r", requested_by="b").status == "Terminating"


def test_an_uncontended_termination_is_two_calls(lifecycle: Lifecycle, live: Deployment, wire: Wire) -> None:
    wire.calls.clear()
    lifecycle.terminate("svc-1", reason="r", requested_by="b")
    assert wire.counted == {"GetItem": 1, "PutItem": 1}


def test_one_on_its_way_gives_the_same_answer_and_the_same_start(
    store: Records, lifecycle: Lifecycle, terminating: Deployment, workflow: MemoryWorkflow
) -> None:
    assert lifecycle.terminate("svc-1", reason="again", requested_by="another") == terminating == stored(store)
    assert workflow.running == {f"{terminating.generation}-1"}


def test_one_that_is_over_gives_its_receipt_and_starts_nothing(
    lifecycle: Lifecycle, terminated: Deployment, workflow: MemoryWorkflow
) -> None:
    workflow.asked.clear()
    assert lifecycle.terminate("svc-1", reason="again", requested_by="another") == terminated
    assert workflow.asked == []


def test_by_hand_the_count_of_failures_begins_anew(lifecycle: Lifecycle, quarantined: Deployment) -> None:
    found = lifecycle.terminate("svc-1", reason="by hand", requested_by="someone")
    assert (found.cleanup.failures, found.cleanup.quarantined, found.cleanup.round) == (0, False, 9)
    assert found.cleanup.first_failed_at is None


def test_by_hand_no_failure_is_lost(lifecycle: Lifecycle, failed: Deployment, clock: Clock) -> None:
    assert failed.cleanup.total_failures == 1
    found = lifecycle.terminate("svc-1", reason="by hand", requested_by="someone")
    assert (found.cleanup.total_failures, found.cleanup.last_error) == (1, failed.cleanup.last_error)
    again = lose(lifecycle, found)
    assert (again.cleanup.failures, again.cleanup.total_failures) == (1, 2)
    assert (again.outbox[0].detail["failures"], again.outbox[0].detail["total_failures"]) == (1, 2)
    ended = lifecycle.released(lifecycle.terminate("svc-1", reason="by hand", requested_by="someone"), [GONE])
    assert (ended.cleanup.failures, ended.cleanup.total_failures) == (0, 2)


def test_a_failure_from_before_they_were_all_counted_is_counted(
    lifecycle: Lifecycle, store: Records, terminating: Deployment
) -> None:
    cleanup = msgspec.structs.replace(terminating.cleanup, failures=3)
    before = msgspec.structs.replace(terminating, cleanup=cleanup, version=terminating.version + 1)
    store.replace(terminating, before)
    assert lose(lifecycle, before).cleanup.total_failures == 4


def test_a_workflow_that_cannot_be_started_is_left_to_the_watchdog(
    lifecycle: Lifecycle, live: Deployment, workflow: MemoryWorkflow, clock: Clock
) -> None:
    workflow.broken = ConnectionError("no Step Functions")
    found = lifecycle.terminate("svc-1", reason="r", requested_by="b")
    assert found.status == "Terminating"
    workflow.broken = None
    clock.forward(minutes=5)
    assert sweep(lifecycle, ENFORCE) == 1
    assert workflow.running == {f"{live.generation}-1"}


def test_an_event_from_before_the_registration_is_stale(store: Records, lifecycle: Lifecycle, live: Deployment) -> None:
    with pytest.raises(Stale) as stale:
        lifecycle.terminate("svc-1", reason="r", requested_by="b", asked_at=NOW - timedelta(seconds=1))
    assert stale.value.taken_at == NOW
    assert stored(store) == live


def test_what_is_stale_and_finds_nothing_alive_is_lost_on_nobody(lifecycle: Lifecycle, terminated: Deployment) -> None:
    with pytest.raises(Stale) as stale:
        lifecycle.terminate("svc-1", reason="r", requested_by="b", asked_at=NOW - timedelta(seconds=1))
    assert stale.value.taken_at is None


def test_a_registration_of_an_event_that_says_another_time_was_taken_by_our_own_clock(
    lifecycle: Lifecycle, clock: Clock
) -> None:
    lifecycle.register(a_deployment(registered_at=format_time(NOW + timedelta(hours=3))))
    clock.forward(hours=1)
    with pytest.raises(Stale) as stale:
        lifecycle.terminate("svc-1", reason="r", requested_by="b", asked_at=clock.now)
    assert stale.value.taken_at == NOW


def test_events_count_in_whole_seconds(lifecycle: Lifecycle) -> None:
    lifecycle.register(a_deployment(registered_at="2030-01-01T00:00:00.900Z"))
    assert lifecycle.terminate("svc-1", reason="r", requested_by="b", asked_at=NOW).status == "Terminating"


def test_an_event_after_the_end_may_mean_a_registration_still_to_come(
    lifecycle: Lifecycle, terminated: Deployment, clock: Clock
) -> None:
    with pytest.raises(TooEarly):
        lifecycle.terminate("svc-1", reason="r", requested_by="b", asked_at=NOW + timedelta(seconds=1))


def test_an_event_from_before_the_end_finds_it_done(lifecycle: Lifecycle, live: Deployment, clock: Clock) -> None:
    clock.forward(minutes=2)
    terminating = lifecycle.terminate("svc-1", reason="r", requested_by="b")
    ended = lifecycle.released(terminating, [GONE])
    asked_at = clock.now - timedelta(minutes=1)
    assert lifecycle.terminate("svc-1", reason="r", requested_by="b", asked_at=asked_at) == ended


# forget


@pytest.mark.parametrize("state", ["live", "failed", "quarantined"])
def test_a_forgotten_one_is_over_without_a_cleanup_and_says_who_and_why(
    store: Records,
    lifecycle: Lifecycle,
    workflow: MemoryWorkflow,
    request: pytest.FixtureRequest,
    engine: Engine,
    clock: Clock,
    state: str,
) -> None:
    request.getfixturevalue(state)
    workflow.asked.clear()
    found = lifecycle.forget("svc-1", reason="removed by hand", requested_by="someone")
    assert found == stored(store)
    assert (found.status, found.due_at, found.cleanup.quarantined) == ("Terminated", None, False)
    assert found.outbox[0].type == "forgotten"
    assert found.outbox[0].detail == {"reason": "removed by hand", "by": "someone"}
    assert found.cleanup.ended_at == clock.text
    # One whose time is over goes by DynamoDB's TTL.
    left = lease(engine)
    assert left is None or float(left["ttl"]["N"]) <= clock.now.timestamp()
    assert workflow.asked == []


@pytest.mark.parametrize("reason", ["", "  "])
def test_nothing_is_forgotten_without_a_reason(
    store: Records, lifecycle: Lifecycle, live: Deployment, reason: str
) -> None:
    with pytest.raises(Invalid) as invalid:
        lifecycle.forget("svc-1", reason=reason, requested_by="someone")
    assert invalid.value.status == 422
    assert stored(store) == live


def test_what_is_on_its_way_cannot_be_forgotten(store: Records, lifecycle: Lifecycle, terminating: Deployment) -> None:
    with pytest.raises(Conflict):
        lifecycle.forget("svc-1", reason="r", requested_by="b")
    assert stored(store) == terminating


def test_forgetting_what_is_over_changes_nothing(store: Records, lifecycle: Lifecycle, terminated: Deployment) -> None:
    assert lifecycle.forget("svc-1", reason="r", requested_by="b") == terminated == stored(store)


# due


def test_a_lease_removed_before_its_time_means_nothing(
    store: Records, lifecycle: Lifecycle, live: Deployment, clock: Clock, workflow: MemoryWorkflow
) -> None:
    clock.forward(minutes=59, seconds=59)
    assert not lifecycle.due("svc-1", ENFORCE, live.generation)
    assert stored(store) == live
    assert workflow.asked == []


def test_a_lease_of_another_generation_means_nothing(lifecycle: Lifecycle, live: Deployment, clock: Clock) -> None:
    clock.forward(hours=2)
    assert not lifecycle.due("svc-1", ENFORCE, "another")


def test_a_key_without_a_record_is_not_due(lifecycle: Lifecycle) -> None:
    assert not lifecycle.due("nobody", ENFORCE, "any")


def test_time_being_over_begins_one_round(
    store: Records, lifecycle: Lifecycle, live: Deployment, clock: Clock, workflow: MemoryWorkflow
) -> None:
    clock.forward(hours=1)
    assert lifecycle.due("svc-1", ENFORCE, live.generation)
    assert not lifecycle.due("svc-1", ENFORCE, live.generation)
    assert not lifecycle.due("svc-1", ENFORCE)
    found = stored(store)
    assert (found.status, found.cleanup.round, found.cleanup.reason) == ("Terminating", 1, "expired")
    assert found.cleanup.requested_by == "tracker"
    assert workflow.asked == [f"{live.generation}-1"]


def test_a_lease_removed_by_our_own_hand_means_nothing(
    lifecycle: Lifecycle, terminated: Deployment, clock: Clock, workflow: MemoryWorkflow
) -> None:
    workflow.asked.clear()
    clock.forward(hours=2)
    assert not lifecycle.due("svc-1", ENFORCE, terminated.generation)
    assert workflow.asked == []


def test_a_failed_round_is_tried_again_for_that_reason(
    store: Records, lifecycle: Lifecycle, failed: Deployment, clock: Clock
) -> None:
    clock.forward(seconds=59)
    assert not lifecycle.due("svc-1", ENFORCE)
    clock.forward(seconds=1)
    assert lifecycle.due("svc-1", ENFORCE)
    assert (stored(store).cleanup.reason, stored(store).cleanup.round) == ("retry", 2)
    assert stored(store).cleanup.failures == 1


# the watchdog


def test_a_round_that_runs_is_left_alone_and_looked_at_later(
    store: Records, lifecycle: Lifecycle, terminating: Deployment, clock: Clock
) -> None:
    clock.forward(minutes=5)
    assert not lifecycle.due("svc-1", ENFORCE)
    found = stored(store)
    assert found.status == "Terminating"
    assert found.due_at
    assert found.due_at > clock.now.timestamp()
    assert types(found) == types(terminating)
    assert found.outbox == []


def test_a_round_whose_execution_is_unknown_is_started(
    lifecycle: Lifecycle, terminating: Deployment, clock: Clock, workflow: MemoryWorkflow
) -> None:
    workflow.asked.clear()
    workflow.running.clear()
    clock.forward(minutes=5)
    assert lifecycle.due("svc-1", ENFORCE)
    assert workflow.asked == [f"{terminating.generation}-1"]
    assert not lifecycle.due("svc-1", ENFORCE)


def test_a_round_whose_execution_is_closed_has_failed(
    store: Records, lifecycle: Lifecycle, terminating: Deployment, clock: Clock, workflow: MemoryWorkflow
) -> None:
    workflow.statuses[f"{terminating.generation}-1"] = "closed"
    clock.forward(minutes=5)
    assert not lifecycle.due("svc-1", ENFORCE)
    found = stored(store)
    assert (found.status, found.cleanup.failures) == ("Active", 1)
    assert found.cleanup.last_error
    assert found.cleanup.last_error.error_class == "workflow"
    assert found.due_at == int(clock.now.timestamp()) + 60


def test_the_watchdog_waits_for_the_next_look_and_all_its_attempts(
    lifecycle: Lifecycle, terminating: Deployment, settings: Settings
) -> None:
    found = lifecycle.progress(terminating, [INSTANCE], retry_after=360)
    assert found.due_at == seconds(seconds=360 + 3 * 300 + 2 * 5, minutes=5 + 15)


def test_the_watchdog_stays_where_it_is_while_that_is_late_enough(
    lifecycle: Lifecycle, terminating: Deployment, clock: Clock
) -> None:
    found = lifecycle.progress(terminating, [INSTANCE], retry_after=10)
    first, moved = found.due_at, 0
    assert first
    for _ in range(60):
        clock.forward(minutes=1)
        found = lifecycle.progress(found, [INSTANCE], retry_after=60)
        assert found.due_at
        moved += found.due_at != first
        first = found.due_at
        # Never before the next step can be over, never more than a quarter of an hour after that.
        needed = int(clock.now.timestamp()) + 60 + 3 * 300 + 2 * 5 + 300
        assert needed <= found.due_at <= needed + 900
    assert moved <= 5


# failures


def test_the_gaps_between_rounds_grow_to_an_hour(lifecycle: Lifecycle, live: Deployment, clock: Clock) -> None:
    gaps = []
    deployment = live
    for _ in range(9):
        deployment = fail(lifecycle, deployment, clock, "unreachable")
        assert deployment.due_at
        assert deployment.cleanup.next_attempt_at
        assert int(parse_time(deployment.cleanup.next_attempt_at).timestamp()) == deployment.due_at
        gaps.append((deployment.due_at - clock.now.timestamp()) / 60)
    assert gaps == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize("error_class", ["missing_id", "bad_id", "protected", "not_ours", "unproven"])
def test_what_cannot_mend_itself_is_quarantined_after_eight_rounds(
    store: Records, lifecycle: Lifecycle, live: Deployment, clock: Clock, error_class: str
) -> None:
    deployment = live
    for n in range(1, 9):
        deployment = fail(lifecycle, deployment, clock, error_class)
        assert deployment.cleanup.quarantined is (n == 8)
    assert deployment.status == "Active"
    assert deployment.due_at is None
    assert deployment.cleanup.next_attempt_at is None
    assert [event.type for event in deployment.outbox] == ["cleanup_failed", "quarantined"]
    clock.forward(days=365)
    assert sweep(lifecycle, ENFORCE) == 0
    (listed,) = store.by_status("Active", limit=10).items
    assert listed.quarantined


@pytest.mark.parametrize("error_class", ["credentials", "unreachable", "deadline", "workflow"])
def test_everything_else_is_tried_hourly_for_as_many_days_as_are_set(
    store: Records, workflow: MemoryWorkflow, live: Deployment, clock: Clock, error_class: str
) -> None:
    lifecycle = Lifecycle(store, workflow, Settings(retry_days=1), clock)
    deployment = live
    for _ in range(10):
        deployment = fail(lifecycle, deployment, clock, error_class)
        assert deployment.due_at
    assert deployment.due_at == clock.now.timestamp() + 3600
    while not deployment.cleanup.quarantined:
        began, deployment = clock.now, fail(lifecycle, deployment, clock, error_class)
    first = parse_time(deployment.cleanup.first_failed_at or "")
    assert began - first < timedelta(days=1) <= clock.now - first
    assert deployment.due_at is None
    assert Settings().retry_days == 7


@pytest.mark.parametrize("stopped_by", ["hold", "amended hold", "pause", "observe", "pause in a round", "plan"])
def test_time_in_which_nothing_may_be_tried_does_not_count_towards_those_days(
    store: Records, workflow: MemoryWorkflow, live: Deployment, clock: Clock, stopped_by: str
) -> None:
    lifecycle = Lifecycle(store, workflow, Settings(retry_days=0.5), clock)
    deployment = fail(lifecycle, live, clock, "unreachable")
    first_failed_at = deployment.cleanup.first_failed_at
    over = clock.now + timedelta(days=20)
    if "hold" in stopped_by:
        lifecycle.hold("svc-1", reason="an incident", until=format_time(over), requested_by="ann")
        clock.forward(days=5)
        if "amended" in stopped_by:
            lifecycle.amend("svc-1", to(metadata={"account": "1"}))
    elif stopped_by == "pause in a round":
        clock.forward(minutes=1)
        assert lifecycle.due("svc-1", ENFORCE)
        lifecycle.paused(stored(store))
    elif stopped_by in ("pause", "observe"):
        clock.forward(minutes=1)
        assert sweep(lifecycle, brakes.parse(stopped_by)) == 0
    clock.now = over
    if stopped_by == "plan":
        lifecycle.terminate("svc-1", reason="r", requested_by="ann", plan="0123456789")
    else:
        assert sweep(lifecycle, ENFORCE) == 1
    lifecycle.failing(stored(store), "unreachable", "it says no")
    again = lose(lifecycle, stored(store))
    assert (again.cleanup.quarantined, again.cleanup.failures) == (False, 2)
    assert again.cleanup.first_failed_at == first_failed_at
    # From here on it is tried for the rest of them.
    while not again.cleanup.quarantined:
        again = fail(lifecycle, again, clock, "unreachable")
    assert timedelta(hours=11) < clock.now - over < timedelta(hours=13)
    # Who has it tried anew begins anew.
    again = lifecycle.terminate("svc-1", reason="r", requested_by="ann")
    assert lose(lifecycle, again).cleanup.waited == 0


def test_the_last_round_may_fail_on_the_very_second_at_which_the_days_are_over(
    lifecycle: Lifecycle, live: Deployment, clock: Clock
) -> None:
    deployment = fail(lifecycle, live, clock, "unreachable")
    clock.now = max(clock.now, clock.now.fromtimestamp(deployment.due_at or 0, clock.now.tzinfo))
    assert lifecycle.due(deployment.blueprint_id, ENFORCE)
    clock.now = parse_time(deployment.cleanup.first_failed_at or "") + timedelta(days=7)
    current = lifecycle._records.require(deployment.blueprint_id)
    lifecycle.failing(current, "unreachable", "it says no")
    assert lose(lifecycle, current).cleanup.quarantined


def test_both_limits_are_settings(store: Records, workflow: MemoryWorkflow, clock: Clock) -> None:
    lifecycle = Lifecycle(store, workflow, Settings(unmendable_rounds=2, retry_days=0.01), clock)
    unmendable, _ = lifecycle.register(a_deployment("a"))
    for quarantined in (False, True):
        unmendable = fail(lifecycle, unmendable, clock, "bad_id")
        assert unmendable.cleanup.quarantined is quarantined
    other, _ = lifecycle.register(a_deployment("b"))
    rounds = 0
    while not other.cleanup.quarantined:
        other = fail(lifecycle, other, clock, "unreachable")
        rounds += 1
    assert rounds == 5


def test_a_failed_round_says_what_the_round_itself_noted(lifecycle: Lifecycle, terminating: Deployment) -> None:
    lifecycle.failing(terminating, "protected", "i-1 has termination protection")
    found = lose(lifecycle, terminating)
    error = found.cleanup.last_error
    assert error
    assert (error.error_class, error.message) == ("protected", "i-1 has termination protection")
    assert found.outbox[0].detail["class"] == "protected"
    assert found.outbox[0].detail["failures"] == 1


def test_what_an_earlier_round_noted_is_not_this_rounds_error(
    lifecycle: Lifecycle, terminating: Deployment, clock: Clock
) -> None:
    lifecycle.failing(terminating, "protected", "i-1 has termination protection")
    lose(lifecycle, terminating)
    clock.forward(minutes=1)
    lifecycle.due("svc-1", ENFORCE)
    found = lose(lifecycle, lifecycle._records.require("svc-1"))
    assert found.cleanup.last_error
    assert (found.cleanup.last_error.error_class, found.cleanup.last_error.message) == (
        "workflow",
        "the workflow caught X",
    )


def test_an_error_text_is_bounded_on_the_record_and_in_the_event(lifecycle: Lifecycle, terminating: Deployment) -> None:
    lifecycle.failing(terminating, "unreachable", "ä" * 5000)
    found = lose(lifecycle, terminating)
    assert found.cleanup.last_error
    assert len(found.cleanup.last_error.message.encode()) <= 2048
    assert len(msgspec.json.encode(found.outbox[0].detail)) <= 1024


@pytest.mark.parametrize("status", ["Failed", "Unknown"])
def test_a_restored_round_gives_active(lifecycle: Lifecycle, status: Any) -> None:
    lifecycle.register(a_deployment(status=status))
    terminating = lifecycle.terminate("svc-1", reason="r", requested_by="b")
    assert lose(lifecycle, terminating).status == "Active"


@pytest.mark.parametrize(("generation", "round_"), [("another", 1), (None, 2), (None, 0)])
def test_a_failure_of_another_round_or_generation_changes_nothing(
    store: Records, lifecycle: Lifecycle, terminating: Deployment, generation: str | None, round_: int
) -> None:
    assert lifecycle.restored("svc-1", generation or terminating.generation, round_, "x") is None
    assert stored(store) == terminating


def test_a_failure_told_twice_counts_once(lifecycle: Lifecycle, terminating: Deployment, failed: Deployment) -> None:
    assert lifecycle.restored("svc-1", terminating.generation, 1, "x") is None


# progress, released, paused, observed


def test_progress_tells_only_of_what_became_gone(lifecycle: Lifecycle, terminating: Deployment) -> None:
    present = msgspec.structs.replace(INSTANCE, state="present", seen=True)
    first = lifecycle.progress(terminating, [present, KEPT], retry_after=5, discovered=True)
    assert first.outbox == []
    assert first.cleanup.discovered_in == 1
    leaving = msgspec.structs.replace(present, state="leaving")
    assert lifecycle.progress(first, [leaving, KEPT], retry_after=5).sequence == first.sequence
    second = lifecycle.progress(first, [GONE, KEPT], retry_after=5)
    assert [(e.type, e.detail["id"]) for e in second.outbox] == [("resource_gone", INSTANCE.id)]
    assert lifecycle.progress(second, [GONE, KEPT], retry_after=5).outbox == []


def test_an_end_needs_every_resource_proven_gone_or_kept(
    store: Records, lifecycle: Lifecycle, terminating: Deployment
) -> None:
    for resources in ([], [INSTANCE], [GONE, msgspec.structs.replace(INSTANCE, id="i-2", state="leaving")]):
        with pytest.raises(ValueError, match="not proven gone"):
            lifecycle.released(terminating, resources)
    assert stored(store) == terminating


def test_the_end_holds_the_receipt_and_removes_the_lease(
    store: Records, lifecycle: Lifecycle, terminating: Deployment, engine: Engine
) -> None:
    ended = lifecycle.released(terminating, [GONE, KEPT])
    assert ended == stored(store)
    # Due for another look.
    assert (ended.status, ended.due_at, ended.resources) == ("Terminated", seconds(hours=1), [GONE, KEPT])
    assert ended.cleanup.ended_at == format_time(NOW)
    assert [event.type for event in ended.outbox] == ["resource_gone", "cleanup_succeeded"]
    assert ended.outbox[-1].detail == {"reason": "requested", "resources": {"gone": 1, "kept": 1}}
    assert lease(engine) is None


def test_what_is_gone_is_looked_at_again_an_hour_and_a_day_after_the_end(
    store: Records, lifecycle: Lifecycle, terminated: Deployment, workflow: MemoryWorkflow, clock: Clock
) -> None:
    still = [msgspec.structs.replace(GONE, detail="still gone")]
    for looks, after in enumerate((3600, 86400), 1):
        due_at = stored(store).due_at
        assert due_at == seconds(seconds=after)
        clock.now = clock.now.fromtimestamp(due_at, clock.now.tzinfo)
        assert sweep(lifecycle, ENFORCE) == 0
        assert workflow.plans == ["svc-1"] * looks
        # Asked for once more, should nobody report.
        assert stored(store).due_at == due_at + 900
        seen = lifecycle.looked_again("svc-1", terminated.generation, still)
        assert seen == stored(store)
        assert (seen.status, seen.cleanup.looks, seen.resources, seen.outbox) == ("Terminated", looks, still, [])
        # Lambda may hand over one event twice: the second look counts for nothing.
        assert lifecycle.looked_again("svc-1", terminated.generation, [INSTANCE]) == seen
    assert stored(store).due_at is None
    # One that comes late changes nothing.
    assert lifecycle.looked_again("svc-1", terminated.generation, [INSTANCE]).status == "Terminated"


def test_what_is_back_begins_a_round_that_the_watchdog_starts(
    store: Records, lifecycle: Lifecycle, terminated: Deployment, workflow: MemoryWorkflow, clock: Clock
) -> None:
    clock.forward(hours=1)
    workflow.asked.clear()
    back = [msgspec.structs.replace(INSTANCE, state="present", seen=True), KEPT]
    assert lifecycle.looked_again("svc-1", "another", back).status == "Terminated"
    found = lifecycle.looked_again("svc-1", terminated.generation, back)
    assert found == stored(store)
    assert (found.status, found.cleanup.round, found.cleanup.reason) == ("Terminating", 2, "resurrected")
    assert [event.type for event in found.outbox] == ["resurrected", "terminating"]
    assert found.outbox[0].detail == {"resources": [f"{INSTANCE.kind} {INSTANCE.id}"], "count": 1}
    assert workflow.asked == []
    assert sweep(lifecycle, ENFORCE) == 1
    assert workflow.asked == [f"{terminated.generation}-2"]
    ended = lifecycle.released(stored(store), [GONE, KEPT])
    # Its looks begin anew.
    assert (ended.cleanup.looks, ended.due_at) == (0, int(clock.now.timestamp()) + 3600)


@pytest.mark.parametrize(("look_again", "resources"), [([0], [GONE]), ([], [GONE]), ([3600], [KEPT])])
def test_without_a_setting_or_without_anything_gone_nothing_is_looked_at_again(
    store: Records, workflow: MemoryWorkflow, clock: Clock, look_again: list[int], resources: list[Resource]
) -> None:
    lifecycle = Lifecycle(store, workflow, Settings(look_again=look_again), clock)
    lifecycle.register(a_deployment())
    terminating = lifecycle.terminate("svc-1", reason="requested", requested_by="someone")
    assert lifecycle.released(terminating, resources).due_at is None


def test_what_was_replaced_is_not_due(
    store: Records, lifecycle: Lifecycle, terminated: Deployment, engine: Engine, clock: Clock
) -> None:
    lifecycle.register(a_deployment(generation="the-next"))
    past = engine.items("svc-1")[f"past#{terminated.generation}"]
    assert not {"due_at", "due_shard"} & past.keys()


def test_what_is_ended_later_forgets_the_failures_before(
    store: Records, lifecycle: Lifecycle, failed: Deployment, clock: Clock
) -> None:
    clock.forward(minutes=1)
    lifecycle.due("svc-1", ENFORCE)
    ended = lifecycle.released(stored(store), [GONE])
    assert (ended.cleanup.failures, ended.cleanup.last_error) == (0, None)


def test_a_paused_round_is_live_and_due_again_and_nothing_is_counted(
    store: Records, lifecycle: Lifecycle, terminating: Deployment
) -> None:
    found = lifecycle.paused(terminating)
    assert found == stored(store)
    assert (found.status, found.cleanup.failures, found.due_at) == ("Active", 0, seconds())
    assert types(found)[-1] == "cleanup_paused"


def test_a_paused_round_keeps_its_reason_when_it_goes_on(
    store: Records, lifecycle: Lifecycle, terminating: Deployment
) -> None:
    lifecycle.paused(terminating)
    assert lifecycle.due("svc-1", ENFORCE)
    assert (stored(store).cleanup.reason, stored(store).cleanup.round) == ("requested", 2)


@pytest.mark.parametrize("then", ["restored", "terminated", "next round", "next generation", "absent"])
def test_a_round_that_was_superseded_can_write_nothing(
    store: Records, lifecycle: Lifecycle, terminating: Deployment, clock: Clock, then: str
) -> None:
    if then == "restored":
        lose(lifecycle, terminating)
    elif then == "next round":
        lose(lifecycle, terminating)
        lifecycle.terminate("svc-1", reason="r", requested_by="b")
    else:
        lifecycle.released(terminating, [GONE])
    if then == "next generation":
        lifecycle.register(a_deployment(generation="next"))
    if then == "absent":
        clock.forward(days=31)
    before = store.get("svc-1")
    changes: tuple[Callable[[], object], ...] = (
        lambda: lifecycle.progress(terminating, [INSTANCE]),
        lambda: lifecycle.failing(terminating, "protected", "x"),
        lambda: lifecycle.released(terminating, [GONE]),
        lambda: lifecycle.paused(terminating),
    )
    for change in changes:
        with pytest.raises(Superseded) as superseded:
            change()
        assert superseded.value.deployment == before == store.get("svc-1")


def test_a_round_goes_on_over_a_write_of_its_own_that_it_did_not_see(
    lifecycle: Lifecycle, terminating: Deployment
) -> None:
    lifecycle.failing(terminating, "unreachable", "no answer")
    found = lifecycle.progress(terminating, [GONE], retry_after=5)
    assert found.version == terminating.version + 2


def test_an_observed_plan_is_announced_once(store: Records, lifecycle: Lifecycle, live: Deployment) -> None:
    lifecycle.observed("svc-1", live.generation, [INSTANCE])
    first = stored(store)
    assert [event.type for event in first.outbox] == ["planned"]
    assert first.resources == [INSTANCE]
    lifecycle.observed("svc-1", live.generation, [INSTANCE])
    assert stored(store) == first
    lifecycle.observed("svc-1", live.generation, [INSTANCE, KEPT])
    assert stored(store).outbox == []
    assert stored(store).resources == [INSTANCE, KEPT]


@pytest.mark.parametrize("generation", ["another", None])
def test_a_plan_of_another_generation_or_of_one_on_its_way_is_not_kept(
    store: Records, lifecycle: Lifecycle, terminating: Deployment, generation: str | None
) -> None:
    lifecycle.observed("svc-1", generation or terminating.generation, [INSTANCE])
    assert stored(store) == terminating


# facts


def test_facts_are_counted_without_gaps_and_news_are_the_latest_writes_alone(
    store: Records, lifecycle: Lifecycle, clock: Clock
) -> None:
    lifecycle.register(a_deployment())
    seen = [*stored(store).outbox]
    changes: tuple[Callable[[], object], ...] = (
        lambda: lifecycle.amend("svc-1", to(region="eu-west-1")),
        lambda: lifecycle.amend("svc-1", moving("svc-2")),
        lambda: lifecycle.amend("svc-1", moving("svc-1")),
        lambda: lifecycle.terminate("svc-1", reason="r", requested_by="b"),
        lambda: lifecycle.progress(stored(store), [INSTANCE], discovered=True),
        lambda: lifecycle.failing(stored(store), "bad_id", "x"),
        lambda: lose(lifecycle, stored(store)),
        lambda: lifecycle.terminate("svc-1", reason="r", requested_by="b"),
        lambda: lifecycle.paused(stored(store)),
        lambda: lifecycle.terminate("svc-1", reason="r", requested_by="b"),
        lambda: lifecycle.released(stored(store), [GONE, KEPT]),
    )
    for change in changes:
        version = (store.find("svc-1") or store.find("svc-2") or a_deployment()).version
        change()
        found = store.find("svc-1")
        assert found
        assert found.version == version + 1
        seen += found.outbox
        assert found.events == seen
        assert found.sequence == len(seen)
    assert [event.sequence for event in seen] == list(range(1, len(seen) + 1))
    assert {"registered", "amended", "moved", "terminating", "cleanup_failed", "cleanup_paused"} <= {
        e.type for e in seen
    }


def test_only_the_last_hundred_facts_are_kept_and_the_count_goes_on(
    store: Records, lifecycle: Lifecycle, live: Deployment
) -> None:
    for n in range(EVENTS_KEPT + 5):
        lifecycle.amend("svc-1", to(resource_spec=ResourceSpec(cpu=n + 1)))
    found = stored(store)
    assert [event.sequence for event in found.events] == list(range(7, EVENTS_KEPT + 7))


def test_the_largest_registration_with_all_its_resources_gone_at_once_can_be_stored(
    store: Records, lifecycle: Lifecycle
) -> None:
    lifecycle.register(a_deployment(metadata={f"m{n}": "x" * 1000 for n in range(100)}))
    terminating = lifecycle.terminate("svc-1", reason="r" * 512, requested_by="b" * 256)
    long = (
        "/subscriptions/0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f/resourceGroups/"
        + "g" * 90
        + "/providers/Microsoft.Compute"
    )
    resources = [
        Resource(
            kind="azure:disk",
            id=f"{long}/disks/{n:080}",
            place={"subscription": "0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f", "account": "0b3e1f5c-8d2a-4c7e-9f60"},
            named_by="disk",
            seen=True,
            state="gone",
            proof="GET of the disk: 404 ResourceNotFound",
            gone_at=format_time(NOW),
        )
        for n in range(200)
    ]
    ended = lifecycle.released(terminating, resources)
    assert len(ended.outbox) == 201
    assert stored(store) == ended


# the sweep


def swept(lifecycle: Lifecycle) -> list[tuple[str, int]]:
    """Return what a sweep puts on the queue: keys, and the seconds for which each is hidden."""
    queue = MemoryQueue()
    Horizon(lifecycle._records, queue, lifecycle._clock).sweep()
    return [(key.blueprint_id, hidden) for key, hidden in queue.put_there]


def test_the_sweep_queues_what_is_due_within_its_horizon_oldest_first_hidden_until_its_second(
    lifecycle: Lifecycle, store: Records, workflow: MemoryWorkflow, clock: Clock
) -> None:
    for n in range(12):
        lifecycle.register(a_deployment(f"svc-{n:02}", ttl=60 + 10 * n))
    clock.forward(seconds=80.5)
    # Due at 60, 70, 80 ... 150: a second later each, and no message can be hidden for a part of a second.
    later = [(f"svc-{n:02}", -(-(10 * n + 61 - 80.5) // 1)) for n in range(2, 10)]
    assert swept(lifecycle) == [("svc-00", 0), ("svc-01", 0), *later]
    assert workflow.asked == []
    assert stored(store, "svc-00").status == "Active"


def test_a_second_after_it_was_due_a_key_of_the_queue_begins_its_round_and_only_then(
    lifecycle: Lifecycle, live: Deployment, workflow: MemoryWorkflow, clock: Clock
) -> None:
    assert live.due_at
    clock.now = clock.now.fromtimestamp(live.due_at - 75, clock.now.tzinfo)
    ((_, hidden),) = swept(lifecycle)
    key = DueKey(due_at=live.due_at, blueprint_id="svc-1")
    assert not lifecycle.take(key, ENFORCE)
    clock.forward(seconds=hidden)
    assert lifecycle.take(key, ENFORCE)
    assert not lifecycle.take(key, ENFORCE)
    assert workflow.asked == [f"{live.generation}-1"]


def test_the_sweep_queries_each_shard_and_never_scans(
    lifecycle: Lifecycle, live: Deployment, wire: Wire, clock: Clock
) -> None:
    clock.forward(hours=1)
    wire.calls.clear()
    sweep(lifecycle, ENFORCE)
    assert wire.counted == {"Query": 4, "GetItem": 1, "PutItem": 1}


def test_what_can_never_be_read_does_not_keep_others_from_their_turn(
    store: Records, lifecycle: Lifecycle, workflow: MemoryWorkflow, clock: Clock, engine: Engine
) -> None:
    for n in range(50):
        lifecycle.register(a_deployment(f"poison-{n}", ttl=60))
        engine.spoil(f"poison-{n}", {"resources": {"S": '[{"kind":'}})
    for n in range(5):
        lifecycle.register(a_deployment(f"svc-{n}", ttl=120))
    clock.forward(hours=1)
    assert sweep(lifecycle, ENFORCE) == 5
    clock.forward(minutes=4)
    # Put off, not dropped: they keep being told of.
    assert sweep(lifecycle, ENFORCE) == 0
    assert [*store.due(clock.now)] == []
    assert len([*store.due(clock.forward(minutes=2))]) >= 50


def test_a_workflow_that_never_starts_does_not_starve_the_others(store: Records, clock: Clock) -> None:
    class Broken(MemoryWorkflow):
        def execution_status(self, deployment: Deployment) -> Any:
            raise ConnectionError("no answer")

    broken = Lifecycle(store, Broken(), Settings(), clock)
    for n in range(50):
        broken.register(a_deployment(f"stuck-{n}", ttl=60))
        broken.terminate(f"stuck-{n}", reason="r", requested_by="b")
    broken.register(a_deployment("svc-1", ttl=120))
    clock.forward(hours=1)
    assert [sweep(broken, ENFORCE) for _ in range(6)] == [1, 0, 0, 0, 0, 0]
    assert stored(store).status == "Terminating"


@pytest.mark.parametrize("code", ["ThrottlingException", "ExecutionLimitExceeded"])
def test_a_start_that_is_throttled_is_due_again_after_seconds_and_on_the_queue_at_once(
    store: Records, workflow: MemoryWorkflow, clock: Clock, code: str
) -> None:
    queue = MemoryQueue()
    lifecycle = Lifecycle(store, workflow, Settings(), clock, queue)
    live, _ = lifecycle.register(a_deployment())
    clock.forward(hours=1)
    workflow.broken = ClientError({"Error": {"Code": code, "Message": "slow down"}}, "StartExecution")
    for _ in range(3):
        # Also what the watchdog starts.
        lifecycle.take(DueKey(due_at=stored(store).due_at or 0, blueprint_id="svc-1"), ENFORCE)
        assert stored(store).status == "Terminating"
        key, hidden = queue.put_there[-1]
        assert key == DueKey(due_at=stored(store).due_at or 0, blueprint_id="svc-1")
        assert THROTTLED[0] < hidden <= THROTTLED[1] + 2
        clock.forward(seconds=hidden)
    workflow.broken = None
    assert lifecycle.take(key, ENFORCE)
    assert workflow.running == {f"{live.generation}-1"}
    assert stored(store).cleanup.round == 1
    assert stored(store).cleanup.failures == 0


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        *[
            (operation, code)
            for operation in ("GetItem", "PutItem")
            for code in ("ProvisionedThroughputExceeded", "Throttling", "RequestLimitExceeded", "InternalServerError")
        ],
        ("PutItem", "TransactionConflict"),
    ],
)
def test_an_end_that_the_table_has_no_room_for_comes_seconds_later(
    store: Records,
    workflow: MemoryWorkflow,
    clock: Clock,
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    code: str,
) -> None:
    queue = MemoryQueue()
    lifecycle = Lifecycle(store, workflow, Settings(), clock, queue)
    live, _ = lifecycle.register(a_deployment())
    key = DueKey(due_at=live.due_at or 0, blueprint_id="svc-1")
    clock.forward(hours=1)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
    wire.throttle(operation, code, times=8 if code == "TransactionConflict" else 4)
    assert not lifecycle.take(key, ENFORCE)
    assert stored(store).status == "Active"
    ((key, hidden),) = queue.put_there
    assert THROTTLED[0] < hidden <= THROTTLED[1] + 2
    clock.forward(seconds=hidden)
    assert lifecycle.take(key, ENFORCE)
    assert workflow.running == {f"{live.generation}-1"}


@pytest.mark.parametrize(
    "code", ["ThrottlingError", "ProvisionedThroughputExceeded", "ItemCollectionSizeLimitExceeded"]
)
def test_a_transaction_that_was_cancelled_for_want_of_room_passes(
    lifecycle: Lifecycle, live: Deployment, wire: Wire, code: str
) -> None:
    wire.throttle("TransactWriteItems", code)
    with pytest.raises(TransactWriteError) as error:
        lifecycle.amend("svc-1", lives_for(1800))
    assert is_passing(error.value) is (code != "ItemCollectionSizeLimitExceeded")


def test_of_a_record_that_cannot_be_handled_only_a_turn_soon_is_queued(
    store: Records, workflow: MemoryWorkflow, clock: Clock
) -> None:
    queue = MemoryQueue()
    lifecycle = Lifecycle(store, workflow, Settings(), clock, queue)
    lifecycle.register(a_deployment())
    clock.forward(hours=1)
    lifecycle.take(DueKey(due_at=stored(store).due_at or 0, blueprint_id="svc-1"), brakes.parse("enforce, aws=pause"))
    assert stored(store).due_at == int(clock.now.timestamp()) + 300
    assert queue.put_there == []


def test_the_sweep_ends_before_its_time_does(
    store: Records, lifecycle: Lifecycle, live: Deployment, clock: Clock
) -> None:
    clock.forward(hours=1)
    assert sweep(lifecycle, ENFORCE, lambda: 5.0) == 0
    assert stored(store) == live


def test_while_paused_the_sweep_starts_nothing_and_what_is_due_waits_five_minutes(
    store: Records, lifecycle: Lifecycle, live: Deployment, clock: Clock, workflow: MemoryWorkflow
) -> None:
    clock.forward(hours=1)
    assert sweep(lifecycle, PAUSE) == 0
    assert workflow.asked == []
    assert (stored(store).status, stored(store).due_at) == ("Active", int(clock.now.timestamp()) + 300)
    clock.forward(minutes=5)
    assert sweep(lifecycle, ENFORCE) == 1


def test_a_pause_of_one_platform_leaves_the_others_going(
    store: Records, lifecycle: Lifecycle, clock: Clock, workflow: MemoryWorkflow
) -> None:
    lifecycle.register(a_deployment("aws"))
    lifecycle.register(a_deployment("gcp", deployment_type="GcpGce"))
    clock.forward(hours=1)
    modes = brakes.parse("enforce, aws=pause")
    assert sweep(lifecycle, modes) == 1
    assert workflow.asked == ["generation-of-gcp-1"]
    assert stored(store, "aws").due_at == int(clock.now.timestamp()) + 300
    assert stored(store, "aws").status == "Active"
    clock.forward(minutes=5)
    assert sweep(lifecycle, brakes.parse("pause, aws=enforce")) == 1


def test_while_observing_the_plan_is_asked_for_once_an_hour_and_no_round_begins(
    store: Records, lifecycle: Lifecycle, live: Deployment, clock: Clock, workflow: MemoryWorkflow
) -> None:
    clock.forward(hours=1)
    for _ in range(3):
        assert sweep(lifecycle, OBSERVE) == 0
    assert workflow.plans == ["svc-1"]
    lifecycle.observed("svc-1", live.generation, [INSTANCE])
    clock.forward(minutes=59)
    sweep(lifecycle, OBSERVE)
    assert workflow.plans == ["svc-1"]
    clock.forward(minutes=1)
    sweep(lifecycle, OBSERVE)
    assert workflow.plans == ["svc-1", "svc-1"]
    assert workflow.asked == []
    assert stored(store).status == "Active"
    clock.forward(hours=1)
    assert sweep(lifecycle, ENFORCE) == 1


def test_a_removed_lease_heeds_the_brake_too(
    store: Records, lifecycle: Lifecycle, live: Deployment, clock: Clock, workflow: MemoryWorkflow
) -> None:
    clock.forward(hours=1)
    assert not lifecycle.due("svc-1", PAUSE, live.generation)
    assert not lifecycle.due("svc-1", ENFORCE, live.generation)
    assert stored(store).status == "Active"
    clock.forward(minutes=5)
    assert lifecycle.due("svc-1", ENFORCE, live.generation)


def test_the_longest_record_of_two_hundred_files_comes_to_its_receipt(
    store: Records, lifecycle: Lifecycle, clock: Clock
) -> None:
    files = [f"/opt/blueprints/{n:03}/" + "f" * 230 for n in range(200)]
    place = {"host": "h" * 250, "key_file": "/" + "k" * 1000, "jump_key": "j" * 2000}
    new = a_deployment(deployment_type="BareMetal", resource_ids={"file": files}, metadata={"note": "n" * 4000})
    lifecycle.register(new)
    terminating = lifecycle.terminate("svc-1", reason="requested", requested_by="tests")
    found = [Resource("ssh:file", file, place, state="present", detail="d" * 512, seen=True) for file in files]
    discovered = lifecycle.progress(terminating, found, discovered=True)
    assert store.get("svc-1") == discovered
    gone = [msgspec.structs.replace(each, state="gone", proof=f"stat {each.id}: no such file " * 4) for each in found]
    lifecycle.released(discovered, gone)
    over = store.get("svc-1")
    assert over
    assert over.status == "Terminated"
    assert [(each.id, bool(each.proof)) for each in over.resources] == [(file, True) for file in files]
    assert [event.detail["id"][:20] for event in over.outbox[:-1]] == [file[:20] for file in files]
