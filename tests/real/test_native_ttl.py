"""Expiry by DynamoDB's own TTL: what AWS's engine removes, and what its stream says of that, begins the cleanup.

No imitation of DynamoDB leaves a stream record for what its TTL removes. So the store is DynamoDB Local, and what the
workflow and the brake need is moto's server.
"""

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from aws_lambda_powertools.utilities.parameters.constants import DEFAULT_PROVIDERS
from moto.server import ThreadedMotoServer

from local.processes import PATIENCE
from tests.fresh import forget_process
from tests.functions.conftest import MODE, Stack, an_event, answered, with_body
from tests.table import create_table, template
from tracker.model.deployment import Resource

# The engine looks for what is past its TTL every ten seconds or so.
BY_TTL = {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}


@pytest.fixture
def table(dynamodb_local: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The product's table on the engine, without its indexes.

    DynamoDB Local looks for an item past its TTL by all attributes that the table defines, those of indexes too,
    and so never finds a lease, which has none of these. No function here reads an index.
    """
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb_local)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB_STREAMS", dynamodb_local)
    name = f"tracker-{uuid.uuid4().hex}"
    create_table(name, indexed=False)
    return name


@pytest.fixture
def stack(table: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """The functions over the engine, with a workflow that stays where it is."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for service in ("SFN", "SSM"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", f"http://{host}:{port}")
    machine = boto3.client("stepfunctions").create_state_machine(
        name="cleanup",
        definition=json.dumps({"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}),
        roleArn="arn:aws:iam::123456789012:role/any",
    )["stateMachineArn"]
    for name, value in {
        "TABLE_NAME": table,
        "STATE_MACHINE_ARN": machine,
        "MODE_PARAMETER": MODE,
        "POWERTOOLS_SERVICE_NAME": "tracker",
        "POWERTOOLS_TRACE_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    forget_process()
    found = Stack(table, machine, dead_letters="", set_aside="", subscriber="", deliveries="", undelivered="", due="")
    found.set_mode("enforce")
    yield found
    DEFAULT_PROVIDERS.clear()
    server.stop()


def register(stack: Stack, key: str, ttl: int) -> None:
    status, _ = answered(
        stack.call("register", with_body(an_event("register-post"), blueprint_id=key, ttl_seconds=ttl))
    )
    assert status == 201


def passes(pattern: Any, value: Any) -> bool:
    """Return whether an event source's filter lets something through."""
    if isinstance(pattern, dict):
        return all(name in value and passes(part, value[name]) for name, part in pattern.items())
    return value in pattern


def removed_lease(table: str, key: str) -> dict[str, Any]:
    """Return what the stream says of the lease that went, in the form in which Lambda hands it over."""
    mapping = template()["Resources"]["ExpireFunction"]["Properties"]["Events"]["Lease"]["Properties"]
    pattern = json.loads(mapping["FilterCriteria"]["Filters"][0]["Pattern"])
    arn = boto3.client("dynamodb").describe_table(TableName=table)["Table"]["LatestStreamArn"]
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        for record in on_stream(arn):
            if passes(pattern, record) and record["dynamodb"]["Keys"]["blueprint_id"]["S"] == key:
                return record
        time.sleep(0.5)
    raise AssertionError(f"no lease of {key!r} was removed within {PATIENCE} s")


def on_stream(arn: str) -> Iterator[dict[str, Any]]:
    """All that the stream holds."""
    streams = boto3.client("dynamodbstreams")
    for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        iterator = streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            page = streams.get_records(ShardIterator=iterator)
            for record in page["Records"]:
                change = record["dynamodb"]
                change["ApproximateCreationDateTime"] = change["ApproximateCreationDateTime"].timestamp()
                yield record
            # An open shard has no end.
            iterator = page.get("NextShardIterator") if page["Records"] else None


def test_what_dynamodb_removes_by_its_ttl_begins_the_cleanup_without_the_sweep(stack: Stack, table: str) -> None:
    since = time.monotonic()
    register(stack, "svc-2s", ttl=2)
    register(stack, "svc-1h", ttl=3600)
    lease = removed_lease(table, "svc-2s")
    print(f"the engine removed a lease of 2 s after {time.monotonic() - since:.1f} s")
    before = stack.record("svc-2s")
    assert before.status == "Active"
    assert lease["userIdentity"] == BY_TTL
    assert lease["dynamodb"]["OldImage"]["generation"]["S"] == before.generation
    # The file that `sam local invoke` takes has the same shape; Lambda writes the identity's keys small.
    ours = an_event("expire-lease-removed")["Records"][0]
    assert set(ours["dynamodb"]["OldImage"]) == set(lease["dynamodb"]["OldImage"])
    assert ours["userIdentity"] == {name[0].lower() + name[1:]: value for name, value in BY_TTL.items()}

    for _ in range(2):
        assert stack.call("expire", {"Records": [lease]}) == {"batchItemFailures": []}
        now = stack.record("svc-2s")
        assert (now.status, now.cleanup.reason, now.cleanup.round) == ("Terminating", "expired", 1)
        assert stack.executions() == [f"{now.generation}-1"]
    assert stack.record("svc-1h").status == "Active"


@pytest.mark.parametrize("end", ["terminate-delete", "amend-forget"])
def test_a_lease_that_our_own_transaction_removed_starts_nothing(stack: Stack, table: str, end: str) -> None:
    register(stack, "svc-7", ttl=3600)
    stack.call(end.partition("-")[0], an_event(end))
    if end == "terminate-delete":
        gone = Resource(kind="aws:instance", id="i-1", state="gone", proof="DescribeInstances")
        stack.lifecycle.released(stack.record(), [gone])
    before, started = stack.record(), stack.executions()
    assert before.status == "Terminated"
    lease = removed_lease(table, "svc-7")
    assert "userIdentity" not in lease
    assert lease["dynamodb"]["OldImage"]["generation"]["S"] == before.generation
    assert stack.call("expire", {"Records": [lease]}) == {"batchItemFailures": []}
    assert stack.record() == before
    assert stack.executions() == started
