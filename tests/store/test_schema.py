"""Records of earlier and of later versions of the tracker: the first are read and written on, the last are left as they are."""

import json
from typing import Any

import boto3
import msgspec
import pytest

from tests.functions.conftest import Stack, an_event, answered, stack
from tracker.model import brakes
from tracker.model.deployment import Cleanup, Deployment
from tracker.model.errors import Contended
from tracker.store.records import DueKey
from tracker.store.table import SCHEMA, UnreadableError

__all__ = ["stack"]

ENFORCE = brakes.parse("enforce")
# What the first version that was tried wrote: resources in full, a cleanup without its later counts.
EARLIEST: dict[str, Any] = {
    "blueprint_id": {"S": "svc-7"},
    "item": {"S": "record"},
    "id": {"S": "dep-1"},
    "deployment_type": {"S": "AwsEc2"},
    "provider": {"S": '"AWS"'},
    "region": {"S": "eu-central-1"},
    "resource_spec": {
        "S": '{"cpu":2.0,"memory_gb":4.0,"storage_gb":20.0,"gpu_count":null,"allow_spot":false,"qos":null}'
    },
    "resource_ids": {"S": '{"instance_id":"i-0123456789abcdef0"}'},
    "deployed_at": {"S": "2026-01-01T00:00:00.000Z"},
    "expires_at": {"S": "2026-01-01T01:00:00.000Z"},
    "ttl_seconds": {"N": "3600"},
    "status": {"S": "Active"},
    "metadata": {"S": "{}"},
    "generation": {"S": "9d0e9c3c-1111-4a4a-8f8f-222222222222"},
    "version": {"N": "2"},
    "registered_at": {"S": "2026-01-01T00:00:01.000Z"},
    "resources": {
        "S": '[{"kind":"ec2:instance","id":"i-0123456789abcdef0","place":{"region":"eu-central-1"},"state":"present"}]'
    },
    "cleanup": {
        "S": '{"round":1,"reason":"expired","failures":1,"last_error":{"class":"protected","message":"m","at":"2026-01-01T01:00:09Z"}}'
    },
    "due_at": {"N": "1767229320"},
    "due_shard": {"S": "0"},
    "sequence": {"N": "2"},
    "events": {"S": '[{"sequence":1,"type":"registered","at":"2026-01-01T00:00:01.000Z","status":"Active"}]'},
}


def put(stack: Stack, **changes: dict[str, str]) -> dict[str, Any]:
    item = EARLIEST | changes
    boto3.client("dynamodb").put_item(TableName=stack.table, Item=item)
    return item


def shown(stack: Stack) -> tuple[int, Any]:
    event = an_event("inspect-get")
    return answered(stack.call("inspect", event))


def test_a_record_says_which_shape_it_has(stack: Stack) -> None:
    assert answered(stack.call("register", an_event("register-post")))[0] == 201
    assert stack.image()["schema"] == {"N": str(SCHEMA)}


def test_a_record_of_the_earliest_shape_is_read_and_written_on(stack: Stack) -> None:
    put(stack)
    found = stack.record()
    assert (found.resources[0].place, found.cleanup.last_error and found.cleanup.last_error.round) == (
        {"region": "eu-central-1"},
        0,
    )
    assert shown(stack)[0] == 200
    assert stack.lifecycle.due("svc-7", ENFORCE)
    assert (stack.record().status, stack.record().cleanup.round) == ("Terminating", 2)
    assert stack.image()["schema"] == {"N": str(SCHEMA)}


def test_every_field_that_a_record_may_lack_has_a_value_then(stack: Stack) -> None:
    """Which attributes a later version may add without another schema: those that an older item does without."""
    optional = {field.encode_name for field in msgspec.structs.fields(Deployment) if not field.required}
    bare = {name: value for name, value in EARLIEST.items() if name not in optional or name in ("due_at", "version")}
    boto3.client("dynamodb").put_item(TableName=stack.table, Item=bare | {"sequence": {"N": "0"}})
    assert stack.record().cleanup == Cleanup()


def test_a_record_of_the_next_version_is_read_and_never_written(stack: Stack) -> None:
    item = put(stack, schema={"N": str(SCHEMA + 1)}, novelty={"S": "what this version doesn't know"})
    assert shown(stack)[0] == 200
    with pytest.raises(Contended):
        stack.lifecycle.terminate("svc-7", reason="r", requested_by="bob")
    with pytest.raises(Contended):
        stack.lifecycle.amend("svc-7", lambda old: (msgspec.structs.replace(old, region="us-east-1"), None))
    stack.lifecycle.due("svc-7", ENFORCE)
    assert stack.image() == item
    assert stack.executions() == []


def test_it_is_not_replaced_by_a_registration_either(stack: Stack) -> None:
    ended = {"status": {"S": "Terminated"}, "cleanup": {"S": json.dumps({"ended_at": "2026-01-01T02:00:00Z"})}}
    item = put(stack, schema={"N": str(SCHEMA + 1)}, **ended)
    assert stack.call("register", an_event("register-post"))["statusCode"] >= 400
    assert stack.image() == item


def test_a_record_of_a_version_after_that_is_put_off_and_holds_up_no_other(stack: Stack) -> None:
    item = put(stack, schema={"N": str(SCHEMA + 2)})
    with pytest.raises(UnreadableError):
        stack.records.get("svc-7")
    due = DueKey(due_at=int(item["due_at"]["N"]), blueprint_id="svc-7")
    assert not stack.lifecycle.take(due, ENFORCE)
    later = stack.image()
    assert int(later.pop("due_at")["N"]) > due.due_at
    assert later == {name: value for name, value in item.items() if name != "due_at"}
