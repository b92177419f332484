"""A table that is restored to a point in time: lost deployments come back, and what was extended since expires by no old lease."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import boto3
import msgspec
import pytest

from local.restore import found_in, put_back
from tests.functions.conftest import Stack, an_event, answered, with_body
from tracker.model import brakes
from tracker.model.clock import utc_now
from tracker.model.deployment import Deployment, epoch, expiry, format_time, parse_time

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


def lose(stack: Stack, key: str) -> None:
    for item in ("record", "lease"):
        boto3.client("dynamodb").delete_item(
            TableName=stack.table, Key={"blueprint_id": {"S": key}, "item": {"S": item}}
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
    dry = dict(put_back(stack.records, found_in(scan), now, is_written=False))
    assert stack.records.get("lost") is None
    became = dict(put_back(stack.records, found_in(scan), now))
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
    assert graced.due_at == expiry(graced)
    # A round that ran then is looked after by the watchdog, as any.
    assert stack.record("ending").due_at == ending.due_at
    assert stack.record("ending").status == "Terminating"
    # Once more changes nothing.
    assert set(dict(put_back(stack.records, found_in(scan), now)).values()) == {"kept"}


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
    assert dict(put_back(stack.records, found_in(scan), datetime.now(UTC))) == {"svc": "replaced since"}
    assert stack.record("svc") == newer


@pytest.mark.parametrize("attribute", ["cleanup", "status"])
def test_what_can_not_be_read_is_told_and_the_others_come_back(stack: Stack, attribute: str) -> None:
    register(stack, "svc", 90 * 86400)
    register(stack, "broken", 90 * 86400)
    scan = restored_to_now(stack)
    image = stack.image("broken") | {attribute: {"S": "["}}
    boto3.client("dynamodb").put_item(TableName=RESTORED, Item=image)
    lose(stack, "svc")
    became = dict(put_back(stack.records, found_in(scan), datetime.now(UTC)))
    assert became == {"svc": "put back", "broken": "unreadable"}


def test_a_round_after_the_restoration_is_started_and_announced_though_its_number_was_used_before(stack: Stack) -> None:
    register(stack, "svc", 90 * 86400)
    scan = restored_to_now(stack)
    # A round, and its failure, of which the restored table doesn't know.
    stack.lifecycle.terminate("svc", reason="r", requested_by="bob")
    before = stack.record("svc")
    before = stack.lifecycle.restored("svc", before.generation, 1, "it failed") or before
    lose(stack, "svc")
    assert dict(put_back(stack.records, found_in(scan), datetime.now(UTC))) == {"svc": "put back"}
    found = stack.lifecycle.terminate("svc", reason="r", requested_by="bob")
    assert (found.generation, found.cleanup.round) == (before.generation, 1)
    assert len(stack.executions()) == 2
    assert {each.sequence for each in found.outbox}.isdisjoint(each.sequence for each in before.events)
    assert all(1 <= each.sequence <= SEQUENCE_MAX for each in found.events)
