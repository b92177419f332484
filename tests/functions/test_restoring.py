"""A table that is restored to a point in time: lost deployments come back, and what was extended since expires by no old lease."""

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest

from local.restore import Restoring, items_of, sign_in
from tests.functions.conftest import Stack, an_event, answered, with_body
from tracker.model import brakes, moments
from tracker.model.clock import utc_now
from tracker.model.delivery import Delivery
from tracker.model.deployment import Deployment, epoch, expiry, format_time, parse_time
from tracker.model.strays import Exemption, Stray
from tracker.store.strays import Strays
from tracker.store.table import Table, generations

SEQUENCE_MAX = 1_000_000_000
ENFORCE = brakes.parse("enforce")
RESTORED = "restored"


def register(stack: Stack, key: str, ttl: int) -> Deployment:
    body = {"blueprint_id": key, "deployed_at": format_time(utc_now()), "ttl_seconds": ttl}
    assert answered(stack.call("register", with_body(an_event("register-post"), **body)))[0] == 201
    return stack.record(key)


def restored_to_now(stack: Stack) -> Any:
    """DynamoDB's copy of the table as it is now. Return its `scan`."""
    client = boto3.client("dynamodb")
    client.update_continuous_backups(
        TableName=stack.table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    client.restore_table_to_point_in_time(
        SourceTableName=stack.table, TargetTableName=RESTORED, UseLatestRestorableTime=True
    )
    return partial(client.scan, TableName=RESTORED)


def put_back(stack: Stack, scan: Any, now: datetime | None = None, *, is_written: bool = True) -> dict[str, str]:
    restoring = Restoring(boto3.client("dynamodb"), stack.table, now or datetime.now(UTC), is_written=is_written)
    return dict(restoring.put_back(items_of(scan)))


def key_of(key: str, item: str) -> dict[str, Any]:
    return {"blueprint_id": {"S": key}, "item": {"S": item}}


def lose(stack: Stack, key: str, *items: str) -> None:
    for item in items or ("record", "lease"):
        boto3.client("dynamodb").delete_item(TableName=stack.table, Key=key_of(key, item))


def image_of(scan: Any, key: str) -> dict[str, Any]:
    """The record under a key, as the restored table has it."""
    (found,) = [
        item for item in items_of(scan) if (item["blueprint_id"], item["item"]) == ({"S": key}, {"S": "record"})
    ]
    return found


def a_stray(id_: str, exempt: Exemption | None) -> Stray:
    at = "2026-11-27T00:00:00Z"
    return Stray(
        key=f"stray:aws:volume:{id_}",
        kind="aws:volume",
        id=id_,
        place={},
        deployment_type="AwsEc2",
        region="eu-west-1",
        mark="0b3e1f5c",
        first_seen_at=at,
        last_seen_at=at,
        exempt=exempt,
    )


def extend(stack: Stack, key: str, by: timedelta) -> Deployment:
    def later(old: Deployment) -> tuple[Deployment, str | None]:
        return msgspec.structs.replace(old, expires_at=format_time(utc_now() + by)), None

    return stack.lifecycle.amend(key, later)


def test_a_rehearsal(stack: Stack) -> None:
    register(stack, "extended", 60)
    register(stack, "lost", 90 * 86400)
    register(stack, "lost-and-nearly-over", 60)
    register(stack, "over-since", 90 * 86400)
    ending = register(stack, "ending", 90 * 86400)
    ending = stack.lifecycle.terminate("ending", reason="r", requested_by="bob")
    scan = restored_to_now(stack)
    # What happened after that moment, and was lost.
    extended = extend(stack, "extended", timedelta(days=7))
    stack.lifecycle.forget("over-since", reason="by hand", requested_by="bob")
    for key in ("lost", "lost-and-nearly-over", "ending"):
        lose(stack, key)
    now = datetime.now(UTC)
    dry = put_back(stack, scan, now, is_written=False)
    assert stack.records.get("lost") is None
    became = put_back(stack, scan, now)
    assert became == dry
    assert became == {
        "extended": "kept",
        "lost": "put back",
        "lost-and-nearly-over": "put back, with grace",
        "over-since": "kept",
        "ending": "put back",
    }
    # What was extended is as it was, with its own lease.
    assert stack.record("extended") == extended
    assert int(stack.image("extended", "lease")["ttl"]["N"]) == expiry(extended)
    assert stack.record("over-since").status == "Terminated"
    assert int(stack.image("lost", "lease")["ttl"]["N"]) == expiry(stack.record("lost"))
    # What may have been extended lives for a day, and says why.
    graced = stack.record("lost-and-nearly-over")
    assert parse_time(graced.expires_at or "") >= now + timedelta(hours=23)
    assert graced.events[-1].detail == {"fields": ["expires_at"], "by": "restore"}
    # And is announced before it ends, as any.
    assert graced.due_at == (expiry(graced) or 0) - 3600
    # A round that ran then is looked after by the watchdog, as any.
    assert stack.record("ending").due_at == ending.due_at
    assert stack.record("ending").status == "Terminating"
    # Once more changes nothing.
    assert set(put_back(stack, scan, now).values()) == {"kept"}


def test_a_lease_of_the_point_in_time_ends_nothing_that_was_extended_since(stack: Stack) -> None:
    old = register(stack, "svc", 60)
    lease = stack.image("svc", "lease")
    extend(stack, "svc", timedelta(days=7))
    # As in a table that was restored item by item, or attached as it is: the old lease lies beside the newer record.
    lease["ttl"]["N"] = str(epoch(utc_now()) - 10)
    boto3.client("dynamodb").put_item(TableName=stack.table, Item=lease)
    change = an_event("expire-lease-removed")
    keys = change["Records"][0]["dynamodb"]
    keys["Keys"]["blueprint_id"]["S"] = "svc"
    keys["OldImage"] = {"generation": {"S": old.generation}, **keys["Keys"]}
    assert stack.call("expire", change) == {"batchItemFailures": []}
    assert stack.record("svc").status == "Active"
    assert stack.executions() == []


def test_what_is_registered_anew_is_not_overwritten(stack: Stack) -> None:
    register(stack, "svc", 90 * 86400)
    scan = restored_to_now(stack)
    lose(stack, "svc")
    newer = register(stack, "svc", 90 * 86400)
    assert put_back(stack, scan) == {"svc": "replaced since"}
    assert stack.record("svc") == newer


def test_what_has_ended_since_is_not_revived(stack: Stack) -> None:
    ended = register(stack, "ended", 90 * 86400)
    register(stack, "replaced", 90 * 86400)
    scan = restored_to_now(stack)
    for key in ("ended", "replaced"):
        stack.lifecycle.forget(key, reason="by hand", requested_by="bob")
    register(stack, "replaced", 90 * 86400)
    for key in ("ended", "replaced"):
        lose(stack, key)
    # The receipt of what was replaced is enough to know it by, and so is the item of a generation that is over.
    generation = stack.records.past("replaced", image_of(scan, "replaced")["generation"]["S"])
    assert generation
    lose(stack, generations(generation.generation), generation.generation)
    assert put_back(stack, scan) == {"ended": "ended since", "replaced": "ended since"}
    assert stack.records.get("ended") is None
    assert stack.records.past("ended", ended.generation) is None


def test_what_moved_since_comes_back_under_its_latest_key(stack: Stack) -> None:
    old = register(stack, "before", 90 * 86400)
    register(stack, "moved", 90 * 86400)
    scan = restored_to_now(stack)
    for key in ("before", "moved"):
        stack.lifecycle.amend(key, lambda old: (old, f"{old.blueprint_id}-after"))
    lose(stack, "before-after")
    assert put_back(stack, scan) == {"before": "put back", "moved": "kept"}
    assert stack.record("before-after").generation == old.generation
    assert stack.records.require("before").blueprint_id == "before-after"
    assert stack.records.get("before") is None


def test_an_adoption_that_took_the_generation_of_a_lost_record_is_told(stack: Stack) -> None:
    old = register(stack, "svc", 90 * 86400)
    scan = restored_to_now(stack)
    for item in items_of(scan):
        lose(stack, item["blueprint_id"]["S"], item["item"]["S"])
    stack.records.create(msgspec.structs.replace(old, blueprint_id="adopted:stray:aws:instance:i-1"))
    assert put_back(stack, scan) == {"svc": "adopted since"}
    assert stack.records.get("svc") is None


def test_a_marker_that_leads_nowhere_is_no_obstacle(stack: Stack) -> None:
    old = register(stack, "before", 90 * 86400)
    scan = restored_to_now(stack)
    stack.lifecycle.amend("before", lambda old: (old, "after"))
    lose(stack, "after")
    lose(stack, generations(old.generation), old.generation)
    assert put_back(stack, scan) == {"before": "put back"}
    assert stack.record("before").generation == old.generation


def test_a_lease_that_outlived_its_record_has_the_end_to_which_it_was_extended(stack: Stack) -> None:
    register(stack, "svc", 3 * 86400)
    scan = restored_to_now(stack)
    extended = extend(stack, "svc", timedelta(days=30))
    lose(stack, "svc", "record")
    assert put_back(stack, scan) == {"svc": "put back, with the end of its lease"}
    assert expiry(stack.record("svc")) == expiry(extended)


def test_a_held_record_that_is_nearly_over_is_let_go_when_its_hold_ends(stack: Stack) -> None:
    register(stack, "svc", 60)
    until = utc_now() + timedelta(hours=2)
    stack.lifecycle.hold("svc", reason="an incident", until=format_time(until), requested_by="bob")
    scan = restored_to_now(stack)
    lose(stack, "svc")
    assert put_back(stack, scan) == {"svc": "put back, with grace"}
    held = stack.record("svc")
    assert held.hold is not None
    assert held.due_at == epoch(until)
    assert (expiry(held) or 0) > epoch(until)


def test_what_is_over_has_no_lease(stack: Stack) -> None:
    register(stack, "svc", 90 * 86400)
    ended = stack.lifecycle.forget("svc", reason="by hand", requested_by="bob")
    scan = restored_to_now(stack)
    lose(stack, "svc", "record")
    assert put_back(stack, scan) == {"svc": "put back"}
    assert stack.record("svc").cleanup.ended_at == ended.cleanup.ended_at
    client = boto3.client("dynamodb")
    assert "Item" not in client.get_item(TableName=stack.table, Key=key_of("svc", "lease"))


def test_deliveries_receipts_and_exempt_strays_come_back_as_they_were(stack: Stack) -> None:
    register(stack, "svc", 90 * 86400)
    stack.lifecycle.forget("svc", reason="by hand", requested_by="bob")
    register(stack, "svc", 90 * 86400)
    delivery = Delivery(
        blueprint_id="svc", id="g-1", url="https://example.com", body="{}", created_at=format_time(utc_now())
    )
    stack.delivery_store.keep(delivery)
    strays = Strays(Table(stack.table), stack.records)
    for id_, exempt in (("vol-1", Exemption("a backup", "bob", "2999-01-01T00:00:00Z")), ("vol-2", None)):
        strays.create(a_stray(id_, exempt))
    scan = restored_to_now(stack)
    for item in items_of(scan):
        lose(stack, item["blueprint_id"]["S"], item["item"]["S"])
    became = put_back(stack, scan)
    assert became["stray:aws:volume:vol-1"] == "stray put back"
    assert "stray:aws:volume:vol-2" not in became
    assert stack.delivery_store.get("svc", "g-1") == delivery
    assert strays.get("stray:aws:volume:vol-1") == a_stray(
        "vol-1", Exemption("a backup", "bob", "2999-01-01T00:00:00Z")
    )
    (past,) = [item for item in items_of(scan) if item["item"]["S"].startswith("past#")]
    assert stack.image("svc", past["item"]["S"]) == past
    assert {what for what in put_back(stack, scan).values() if not what.endswith("kept")} == set()


def test_a_damaged_record_hides_no_other_and_comes_back_after_it_was_deleted(stack: Stack) -> None:
    register(stack, "broken", 90 * 86400)
    register(stack, "svc", 90 * 86400)
    scan = restored_to_now(stack)
    boto3.client("dynamodb").put_item(TableName=stack.table, Item=stack.image("broken") | {"cleanup": {"S": "["}})
    lose(stack, "svc")
    assert put_back(stack, scan) == {"broken": "damaged there: delete it first", "svc": "put back"}
    lose(stack, "broken", "record")
    assert put_back(stack, scan) == {"broken": "put back", "svc": "kept"}
    assert stack.record("broken").status == "Active"


@pytest.mark.parametrize("attribute", ["cleanup", "status"])
def test_what_can_not_be_read_is_told_and_the_others_come_back(stack: Stack, attribute: str) -> None:
    register(stack, "svc", 90 * 86400)
    register(stack, "broken", 90 * 86400)
    scan = restored_to_now(stack)
    image = stack.image("broken") | {attribute: {"S": "["}}
    boto3.client("dynamodb").put_item(TableName=RESTORED, Item=image)
    lose(stack, "svc")
    assert put_back(stack, scan) == {"svc": "put back", "broken": "unreadable"}


def test_a_named_profile_is_whom_the_store_is_signed_in_as(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text("[prod]\naws_access_key_id = OF-PROD\naws_secret_access_key = none\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of another")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    sign_in("prod", "eu-west-1")
    # PynamoDB's session is its own.
    found = Table("tracker", region="eu-west-1").record._get_connection().connection.session.get_credentials()
    assert (found.access_key, found.token) == ("OF-PROD", None)
    assert boto3.client("dynamodb").meta.region_name == "eu-west-1"


def test_numbers_that_lost_versions_rounds_and_facts_had_are_not_given_again(stack: Stack) -> None:
    register(stack, "svc", 90 * 86400)
    scan = restored_to_now(stack)
    # An extension, a round and its failure, of which the restored table doesn't know.
    extend(stack, "svc", timedelta(days=7))
    stack.lifecycle.terminate("svc", reason="r", requested_by="bob")
    lost = stack.record("svc")
    lost = stack.lifecycle.restored("svc", lost.generation, 1, "it failed") or lost
    lose(stack, "svc")
    assert put_back(stack, scan) == {"svc": "put back"}
    record = stack.record("svc")
    assert moments.begins_at(record) == expiry(record)
    # The name of a closed execution is kept: a round of that name would never run.
    found = stack.lifecycle.terminate("svc", reason="r", requested_by="bob")
    assert (found.generation, found.cleanup.round) == (lost.generation, 1)
    assert len(stack.executions()) == 2
    assert found.version > lost.version
    assert {each.sequence for each in found.outbox}.isdisjoint(each.sequence for each in lost.events)
    assert all(1 <= each.sequence <= SEQUENCE_MAX for each in found.events)
