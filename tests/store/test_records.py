"""This is how deployments are kept: in a table of the product's own definition, every call on the wire counted."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.fakes import NOW, Clock, Engine, Wire, a_deployment
from tracker.lifecycle.transitions import Lifecycle
from tracker.model.deployment import (
    Cleanup,
    CleanupError,
    Event,
    Hold,
    Price,
    QosParameters,
    Resource,
    ResourceSpec,
    format_time,
)
from tracker.model.errors import Contended
from tracker.store import records
from tracker.store.records import DueKey, Page, Records, shard_of
from tracker.store.table import VersionConflict, read_image

ENDED = Cleanup(round=1, ended_at=format_time(NOW))


def everything_set(key: str = "svc-1") -> Any:
    return a_deployment(
        key,
        provider={"BareMetal": ["10.0.0.1", "10.0.0.2"]},
        resource_spec=ResourceSpec(cpu=0.1, gpu_count=2, qos=QosParameters(sla_target=99.95)),
        resource_ids={"instance_id": "i-0123456789abcdef0", "volume_id": ["vol-1", "vol-2"]},
        status="Unknown",
        cleanup_webhook="https://example.com/hook",
        metadata={"": "empty key", "emoji": "🐙", "empty": ""},
        version=3,
        made_at="then",
        incomplete=True,
        resources=[
            Resource(kind="ec2:instance", id="i-0123456789abcdef0", place={"region": "eu-central-1"}, seen=True),
            Resource(kind="ec2:volume", id="vol-1", state="gone", proof="DescribeVolumes", gone_at=format_time(NOW)),
        ],
        cleanup=Cleanup(
            round=2,
            failures=1,
            last_error=CleanupError(error_class="not_ours", message="no mark", at=format_time(NOW), round=2),
            quarantined=True,
        ),
        due_at=1_900_000_000,
        webhook_events=["cleanup_failed"],
        sequence=4,
        events=[Event(sequence=4, type="registered", at=format_time(NOW), status="Active", detail={"n": 1})],
        outbox=[Event(sequence=4, type="registered", at=format_time(NOW), status="Active")],
    )


def test_a_record_with_everything_set_is_read_back_as_it_was_written(store: Records) -> None:
    deployment = everything_set()
    store.create(deployment)
    assert store.get("svc-1") == deployment


def test_what_is_said_of_owner_price_and_warnings_is_read_back_too(store: Records) -> None:
    deployment = a_deployment(
        owner="team-1",
        labels={"env": ""},
        cost_per_hour=Price(0.1, "USD"),
        warn_before=[],
        hold=Hold("why", "someone", format_time(NOW), format_time(NOW)),
        warned=7,
    )
    store.create(deployment)
    assert store.get("svc-1") == deployment
    (line,) = store.by_owner("team-1", limit=5).items
    assert (line.owner, line.labels, line.cost_per_hour, line.hold) == (
        "team-1",
        {"env": ""},
        Price(0.1, "USD"),
        deployment.hold,
    )


def test_what_says_nothing_of_itself_is_stored_as_ever(store: Records, engine: Engine) -> None:
    store.create(a_deployment())
    new = {"owner", "labels", "cost_per_hour", "warn_before", "hold", "warned", "ended_at"}
    assert not new & engine.items()["record"].keys()


def test_a_stream_image_holds_the_same_deployment_as_the_table(store: Records, engine: Engine) -> None:
    deployment = everything_set()
    store.create(deployment)
    assert read_image(engine.items()["record"]) == deployment


def test_a_registration_is_one_call_and_reading_it_is_one(store: Records, wire: Wire) -> None:
    store.create(a_deployment())
    assert wire.counted == {"TransactWriteItems": 1}
    wire.calls.clear()
    store.find("svc-1")
    assert wire.counted == {"GetItem": 1}


def test_a_live_record_carries_no_ttl_and_its_lease_does(store: Records, engine: Engine) -> None:
    store.create(a_deployment(ttl=60))
    found = engine.items()
    assert set(found) == {"record", "lease"}
    assert "ttl" not in found["record"]
    assert found["lease"]["ttl"] == {"N": str(int(NOW.timestamp()) + 60)}
    assert found["lease"]["generation"] == {"S": "generation-of-svc-1"}


def test_one_without_an_end_has_no_lease(store: Records, engine: Engine) -> None:
    store.create(a_deployment(ttl=None))
    assert set(engine.items()) == {"record"}


def test_a_second_registration_loses_and_hands_back_what_is_there(store: Records, wire: Wire) -> None:
    store.create(a_deployment())
    wire.calls.clear()
    with pytest.raises(VersionConflict) as lost:
        store.create(a_deployment(generation="other"))
    assert lost.value.current == a_deployment()
    assert wire.counted == {"TransactWriteItems": 1}


def test_what_is_past_its_ttl_counts_as_absent(store: Records, clock: Clock) -> None:
    live = a_deployment()
    store.create(live)
    ended = msgspec.structs.replace(live, version=1, status="Terminated", cleanup=ENDED)
    store.replace(live, ended)
    assert store.get("svc-1") == ended
    clock.forward(days=30)
    assert store.get("svc-1") is None
    assert store.by_status("Terminated", limit=10).items == []
    assert store.by_id("dep-svc-1", limit=10).items == []
    store.create(a_deployment(generation="next"))
    found = store.get("svc-1")
    assert found
    assert found.generation == "next"


def test_the_end_sets_the_ttl_and_removes_the_lease_in_one_transaction(
    store: Records, wire: Wire, engine: Engine
) -> None:
    live = a_deployment()
    store.create(live)
    wire.calls.clear()
    store.replace(live, msgspec.structs.replace(live, version=1, status="Terminated", cleanup=ENDED))
    assert wire.calls == ["TransactWriteItems", "PutItem"]
    found = engine.items()
    assert set(found) == {"record"}
    assert found["record"]["ttl"] == {"N": str(int((NOW + timedelta(days=30)).timestamp()))}


def test_a_terminated_record_that_is_replaced_goes_to_the_past_without_its_news(store: Records, engine: Engine) -> None:
    live = a_deployment(generation="one")
    store.create(live)
    outbox = [Event(sequence=1, type="cleanup_succeeded", at=format_time(NOW), status="Terminated")]
    ended = msgspec.structs.replace(live, version=1, status="Terminated", cleanup=ENDED, outbox=outbox)
    store.replace(live, ended)
    store.create(a_deployment(generation="two"), over=ended)
    found = engine.items()
    assert set(found) == {"record", "lease", "past#one"}
    assert "news" not in found["past#one"]
    assert "due_shard" not in found["past#one"]
    assert "ttl" in found["past#one"]
    assert "ttl" not in found["record"]
    past = store.past("svc-1", "one")
    assert past
    assert past.status == "Terminated"


def test_the_past_is_in_no_list(store: Records) -> None:
    live = a_deployment(generation="one")
    store.create(live)
    ended = msgspec.structs.replace(live, version=1, status="Terminated", cleanup=ENDED)
    store.replace(live, ended)
    store.create(a_deployment(generation="two"), over=ended)
    assert store.by_status("Terminated", limit=10).items == []
    assert [item.generation for item in store.by_id("dep-svc-1", limit=10).items] == ["two"]


def test_a_change_of_what_has_changed_meanwhile_is_lost_and_stores_nothing(store: Records) -> None:
    first = a_deployment()
    store.create(first)
    second = msgspec.structs.replace(first, version=1, region="eu-west-1")
    store.replace(first, second)
    for late in (
        msgspec.structs.replace(first, version=1, region="us-east-1"),
        msgspec.structs.replace(first, version=1, ttl_seconds=7200, expires_at=format_time(NOW + timedelta(hours=2))),
    ):
        with pytest.raises(VersionConflict):
            store.replace(first, late)
        assert store.get("svc-1") == second


def test_a_change_of_another_generation_with_the_same_version_is_lost(store: Records) -> None:
    store.create(a_deployment(generation="now"))
    before = a_deployment(generation="before")
    with pytest.raises(VersionConflict):
        store.replace(before, msgspec.structs.replace(before, version=1))


@pytest.mark.parametrize(("ttl", "has_lease"), [(7200, True), (60, True), (None, False)])
def test_the_lease_follows_a_changed_expiry(store: Records, engine: Engine, ttl: int | None, has_lease: bool) -> None:
    first = a_deployment()
    store.create(first)
    changed = a_deployment(ttl=ttl, version=1)
    store.replace(first, changed)
    found = engine.items()
    assert ("lease" in found) is has_lease
    if ttl:
        assert found["lease"]["ttl"]["N"] == str(int(NOW.timestamp()) + ttl)


def test_a_change_that_leaves_the_expiry_is_a_plain_put(store: Records, wire: Wire) -> None:
    first = a_deployment()
    store.create(first)
    wire.calls.clear()
    store.replace(first, msgspec.structs.replace(first, version=1, region="eu-west-1"))
    assert wire.counted == {"PutItem": 1}


def test_a_move_takes_record_and_lease_along_and_leaves_only_a_marker(
    store: Records, clock: Clock, wire: Wire, engine: Engine
) -> None:
    old = a_deployment("old")
    store.create(old)
    wire.calls.clear()
    store.move(old, msgspec.structs.replace(old, blueprint_id="new", version=1))
    assert wire.counted == {"TransactWriteItems": 1}
    assert set(engine.items("old")) == {"moved"}
    assert engine.items("old")["moved"]["ttl"]["N"] == str(int((NOW + timedelta(days=30)).timestamp()))
    assert set(engine.items("new")) == {"record", "lease"}
    found = store.find("old")
    assert found
    assert found.blueprint_id == "new"
    clock.forward(days=31)
    assert store.find("old") is None


def test_a_chain_of_moves_is_followed_to_its_end(store: Records) -> None:
    deployment = a_deployment("k0")
    store.create(deployment)
    for n in range(1, 12):
        moved = msgspec.structs.replace(deployment, blueprint_id=f"k{n}", version=n)
        store.move(deployment, moved)
        deployment = moved
    assert store.find("k0") == deployment
    back = msgspec.structs.replace(deployment, blueprint_id="k0", version=20)
    store.move(deployment, back)
    assert store.find("k0") == back
    assert store.find("k5") == back


def test_a_marker_leads_only_to_the_generation_that_moved(store: Records, clock: Clock) -> None:
    old = a_deployment("old", generation="one")
    store.create(old)
    moved = msgspec.structs.replace(old, blueprint_id="new", version=1)
    store.move(old, moved)
    ended = msgspec.structs.replace(moved, version=2, status="Terminated", cleanup=ENDED)
    store.replace(moved, ended)
    store.create(a_deployment("new", generation="two"), over=ended)
    found = store.find("old")
    assert found
    assert (found.generation, found.status) == ("one", "Terminated")


def test_a_registration_that_knows_of_the_marker_at_its_key_removes_it(store: Records, engine: Engine) -> None:
    old = a_deployment("old")
    store.create(old)
    store.move(old, msgspec.structs.replace(old, blueprint_id="new", version=1))
    with pytest.raises(VersionConflict):
        store.create(a_deployment("old", generation="two"))
    assert set(engine.items("old")) == {"moved"}
    store.create(a_deployment("old", generation="two"), over_marker=True)
    assert set(engine.items("old")) == {"record", "lease"}


def test_a_move_onto_something_live_changes_neither(store: Records, engine: Engine) -> None:
    a, b = a_deployment("a"), a_deployment("b")
    store.create(a)
    store.create(b)
    with pytest.raises(VersionConflict):
        store.move(a, msgspec.structs.replace(a, blueprint_id="b", version=1))
    assert store.get("a") == a
    assert store.get("b") == b
    assert "moved" not in engine.items("a")


def test_due_gives_every_shard_oldest_first_and_only_what_is_due(store: Records) -> None:
    until = int(NOW.timestamp())
    keys = [f"svc-{n}" for n in range(24)]
    assert {shard_of(key) for key in keys} == {"0", "1", "2", "3"}
    for n, key in enumerate(keys):
        store.create(a_deployment(key, due_at=until - 20 + n))
    found = [*store.due(NOW)]
    assert [due.blueprint_id for due in found] == keys[:21]
    assert [due.due_at for due in found] == sorted(due.due_at for due in found)


def test_due_reads_every_page_of_every_shard_and_no_page_before_it_is_needed(
    store: Records, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "DUE_PAGE", 2)
    for n in range(24):
        store.create(a_deployment(f"svc-{n}", due_at=n + 1))
    wire.calls.clear()
    found = store.due(NOW)
    first = [next(found) for _ in range(2)]
    # At most a page more than the first of each.
    assert wire.counted["Query"] <= 6
    assert [due.due_at for due in [*first, *found]] == [n + 1 for n in range(24)]


@pytest.mark.parametrize(("is_over", "call"), [(True, "PutItem"), (False, "TransactWriteItems")])
def test_the_lease_of_what_ended_goes_with_it_unless_its_time_is_over(
    store: Records, engine: Engine, wire: Wire, is_over: bool, call: str
) -> None:
    expires_at = format_time(NOW + timedelta(seconds=0 if is_over else 60))
    old = a_deployment(expires_at=expires_at)
    store.create(old)
    wire.calls.clear()
    store.replace(old, msgspec.structs.replace(old, version=2, status="Terminated", cleanup=ENDED))
    # And one, in no transaction, that lets the item of its generation go.
    assert wire.calls == [call, "PutItem"]
    assert ("lease" in engine.items("svc-1")) is is_over


def test_postponing_moves_only_the_next_look_and_drops_the_news(store: Records) -> None:
    deployment = a_deployment(
        due_at=5, outbox=[Event(sequence=1, type="registered", at=format_time(NOW), status="Active")]
    )
    store.create(deployment)
    store.postpone(DueKey(due_at=5, blueprint_id="svc-1"), NOW)
    assert store.get("svc-1") == msgspec.structs.replace(deployment, due_at=int(NOW.timestamp()), outbox=[])
    with pytest.raises(VersionConflict):
        store.postpone(DueKey(due_at=5, blueprint_id="svc-1"), NOW)


def test_postponing_what_is_gone_creates_nothing(store: Records, engine: Engine) -> None:
    with pytest.raises(VersionConflict):
        store.postpone(DueKey(due_at=5, blueprint_id="svc-1"), NOW)
    assert engine.items() == {}


@pytest.mark.parametrize("conflicts", [1, 7])
def test_a_transaction_conflict_is_tried_again_with_jitter(
    store: Records, wire: Wire, waits: list[float], conflicts: int
) -> None:
    wire.conflict(conflicts)
    first = a_deployment()
    store.create(first)
    assert store.get("svc-1") == first
    wire.conflict(conflicts)
    second = msgspec.structs.replace(first, version=1)
    store.replace(first, second)
    assert store.get("svc-1") == second
    assert len(waits) == 2 * conflicts
    assert len(set(waits)) == len(waits)


def test_conflicts_without_end_are_an_error_and_never_a_lost_condition(store: Records, wire: Wire) -> None:
    wire.conflict(1000)
    with pytest.raises(Contended):
        store.create(a_deployment())
    first = a_deployment()
    with pytest.raises(Contended):
        store.replace(first, msgspec.structs.replace(first, version=1))


@pytest.mark.needs_engine("moto ignores the ClientRequestToken, by which DynamoDB knows a transaction again")
def test_a_transaction_whose_answer_is_lost_is_applied_once_and_succeeds(store: Records, wire: Wire) -> None:
    wire.lose_answer("TransactWriteItems")
    store.create(a_deployment())
    assert wire.counted == {"TransactWriteItems": 2}
    assert store.get("svc-1") == a_deployment()


@pytest.mark.parametrize(
    "spoilt",
    [
        {"events": {"S": "{"}},
        {"version": {"S": "three"}},
        {"status": {"S": "Sleeping"}},
        {"resources": {"S": '[{"id": 1}]'}},
        {"id": {"N": "1"}},
    ],
    ids=lambda spoilt: next(iter(spoilt)),
)
def test_an_image_that_is_no_record_is_a_value_error(store: Records, engine: Engine, spoilt: dict[str, Any]) -> None:
    store.create(a_deployment())
    image = engine.items()["record"]
    assert read_image(image)
    with pytest.raises(ValueError, match="not a record"):
        read_image({**image, **spoilt})


@pytest.mark.parametrize("image", [{}, {"item": {"S": "record"}}, {"item": {}}, {"item": "record"}, {"x": {"Z": "1"}}])
def test_no_image_at_all_is_a_value_error(image: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a record"):
        read_image(image)


def test_a_record_that_cannot_be_read_is_a_value_error_too(store: Records, engine: Engine) -> None:
    store.create(a_deployment())
    for spoilt in ({"events": {"S": "{"}}, {"version": {"S": "three"}}, {"status": {"S": "Sleeping"}}):
        engine.spoil("svc-1", spoilt)
        with pytest.raises(ValueError, match="not a record"):
            store.get("svc-1")


KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=60)


@given(key=KEYS, id_=KEYS, text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@examples(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_key_and_any_text_come_back_unharmed(store: Records, key: str, id_: str, text: str) -> None:
    deployment = a_deployment(key, id=id_, metadata={"note": text}, generation=f"g-{key}")
    try:
        store.create(deployment)
    except VersionConflict:
        return
    assert store.get(key) == deployment
    assert [item.blueprint_id for item in store.by_id(id_, limit=200).items].count(key) == 1


def test_pages_of_a_list_lose_and_repeat_nothing(store: Records) -> None:
    for n in range(13):
        store.create(a_deployment(f"svc-{n:02}", id="the same"))
    reads: tuple[Callable[[Any], Page], ...] = (
        lambda start: store.by_status("Active", limit=5, start=start),
        lambda start: store.by_id("the same", limit=5, start=start),
    )
    for read in reads:
        found, start = [], None
        while True:
            page = read(start)
            found += [item.blueprint_id for item in page.items]
            start = page.next_key
            if start is None:
                break
        assert sorted(found) == [f"svc-{n:02}" for n in range(13)]


def test_every_record_is_read_as_it_is_now(store: Records, wire: Wire) -> None:
    old = a_deployment("old")
    store.create(old)
    store.move(old, msgspec.structs.replace(old, blueprint_id="new", version=1))
    wire.calls.clear()
    wire.bodies.clear()
    store.find("old")
    store.past("old", "none")
    assert wire.counted == {"GetItem": 4}
    assert all(body["ConsistentRead"] is True for body in wire.bodies)


def test_no_method_of_the_store_ever_scans(store: Records, wire: Wire) -> None:
    first = a_deployment(due_at=5)
    store.create(first)
    store.by_status("Active", limit=5)
    store.by_id("dep-svc-1", limit=5)
    [*store.due(NOW)]
    store.find("nobody")
    store.postpone(DueKey(due_at=5, blueprint_id="svc-1"), NOW)
    store.replace(first, msgspec.structs.replace(first, version=1))
    store.past("svc-1", "none")
    assert "Scan" not in wire.counted
    assert set(wire.counted) <= {"GetItem", "Query", "PutItem", "UpdateItem", "TransactWriteItems"}


def test_an_index_shows_what_a_list_needs(store: Records) -> None:
    store.create(everything_set())
    (listed,) = store.by_status("Unknown", limit=5).items
    assert listed.provider == {"BareMetal": ["10.0.0.1", "10.0.0.2"]}
    assert listed.quarantined
    assert listed.incomplete
    assert listed.expires_at == a_deployment().expires_at


def test_a_store_of_the_lifecycle_writes_a_registration_once(lifecycle: Lifecycle, wire: Wire) -> None:
    lifecycle.register(a_deployment())
    assert wire.counted == {"TransactWriteItems": 1}
