"""Many at once: a thousand calls about one record, hundreds of records in one moment, and some that can never start.

While Lambda and EC2 have no room for all of them, nobody's cleanup fails for that.
"""

import json
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Any

import pytest

from local.api import path_of
from local.demo.scene import Rented, calls, faults
from local.processes import PATIENCE
from local.stack import Stack
from tests.real_targets import REQUIRED
from tests.stack.caller import Caller, Record, execution_of, leases_unheard
from tracker.model.deployment import format_time
from tracker.store.records import RECORD, shard_of

AT_A_TIME = 32
# In the real stage there is time for all of them.
RACERS = 1000 if REQUIRED else 200
DUE = 250 if REQUIRED else 60
POISON = 50
# Seconds, on a stack whose waits are shortened.
SWEEP_EVERY = 20


def item(key: str, name: str) -> dict[str, Any]:
    return {"blueprint_id": {"S": key}, "item": {"S": name}}


def records_of(stack: Stack, prefix: str) -> list[Record]:
    """The records whose keys begin so, as the table holds them."""
    pages = stack.client("dynamodb").get_paginator("scan").paginate(TableName=stack.outputs["TableName"])
    found = [one for page in pages for one in page["Items"] if one["item"]["S"] == RECORD]
    return [
        {"generation": one["generation"]["S"], "status": one["status"]["S"]}
        | {name: json.loads(one[name]["S"]) for name in ("cleanup", "events")}
        for one in found
        if one["blueprint_id"]["S"].startswith(prefix)
    ]


def throttled_by_lambda(stack: Stack, record: Record) -> bool:
    history = stack.client("stepfunctions").get_execution_history(executionArn=execution_of(stack, record))["events"]
    return any(
        "ReservedFunctionConcurrent" in event.get("taskFailedEventDetails", {}).get("cause", "") for event in history
    )


def throttled_by_ec2(stack: Stack) -> int:
    """Return how often the faults that are set have fired. The log of calls is too short to count in: it forgets the oldest."""
    with urllib.request.urlopen(stack.running.ec2_faults, timeout=10) as answer:
        return sum(fault["fired"] for fault in json.load(answer))


@contextmanager
def concurrency(stack: Stack, function: str, reserved: int) -> Iterator[None]:
    """A function may run so often at once."""
    functions, name = stack.client("lambda"), stack.outputs[f"{function}FunctionName"]
    before = functions.get_function_concurrency(FunctionName=name).get("ReservedConcurrentExecutions")
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=reserved)
    yield
    if before is None:
        functions.delete_function_concurrency(FunctionName=name)
    else:
        functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=before)


@pytest.mark.real
def test_many_calls_to_end_one_deployment_make_one_round(caller: Caller, stack: Stack, key: str) -> None:
    rented = Rented(stack)
    record = caller.register(key, rented.ids)
    # Each that runs at once is a process of its own here; the others are told to try again.
    with concurrency(stack, "Terminate", 8), ThreadPoolExecutor(AT_A_TIME) as pool:
        answers = Counter(pool.map(lambda _: caller.ask("DELETE", path_of(key)).status, range(RACERS)))
    assert set(answers) <= {200, 202}
    assert answers.total() == RACERS

    record = caller.terminated(key)
    assert record["cleanup"]["round"] == 1
    assert [event["type"] for event in record["events"]].count("terminating") == 1
    pages = stack.client("stepfunctions").get_paginator("list_executions")
    found = [
        one["name"]
        for page in pages.paginate(stateMachineArn=stack.outputs["StateMachineArn"])
        for one in page["executions"]
    ]
    assert [name for name in found if name.startswith(record["generation"])] == [f"{record['generation']}-1"]
    assert len(calls(stack, "TerminateInstances", rented.ids["instance_id"])) == 1
    assert rented.is_gone()


@pytest.mark.real
def test_all_that_is_due_in_one_moment_goes_however_little_room_there_is(
    caller: Caller, stack: Stack, key: str
) -> None:
    rented = [Rented(stack) for _ in range(3)]
    every_ids: list[dict[str, Any] | None] = [*(one.ids for one in rented), *[None] * (DUE - len(rented))]
    # Again and again some of the calls are more than EC2 takes, but not so many in a row that they could fail an attempt.
    share = {"action": "Describe*", "kind": "throttle", "times": max(1, DUE // 50)}
    wanted = DUE // 10
    throttled = 0
    # Made before there are faults.
    assert caller.terminated_instance

    # From the beginning: on a slow machine the first are gone before the last is registered.
    faults(stack, [share])
    with concurrency(stack, "Release", 3):
        now = datetime.now(UTC)
        times = {"deployed_at": format_time(now), "expires_at": format_time(now + timedelta(seconds=DUE / 10))}
        with ThreadPoolExecutor(4) as pool:
            each = pool.map(lambda n: caller.register(f"{key}-{n}", every_ids[n], **times), range(DUE))
            assert len(list(each)) == DUE
        began = time.monotonic()
        swept = began
        while True:
            records = records_of(stack, key)
            done = sum(record["status"] == "Terminated" for record in records)
            throttled += throttled_by_ec2(stack)
            faults(stack, [share] if throttled < wanted else [])
            if done == DUE:
                break
            assert time.monotonic() < began + 2 * PATIENCE, Counter(record["status"] for record in records)
            if time.monotonic() > swept + SWEEP_EVERY:
                # As on any stack: what the stream's function had no room for is due still.
                caller.sweep()
                swept = time.monotonic()
            time.sleep(0.5)
        faults(stack, [])

    failed = [record["cleanup"] for record in records if record["cleanup"]["round"] > 1]
    assert failed == []
    types = Counter(event["type"] for record in records for event in record["events"])
    assert types["terminating"] == types["cleanup_succeeded"] == DUE
    assert not types.keys() & {"cleanup_failed", "quarantined"}
    assert all(one.is_gone() for one in rented)
    # Else there was room, and nothing is proven.
    assert any(throttled_by_lambda(stack, record) for record in records)
    assert throttled >= wanted / 2


def test_what_can_never_start_keeps_no_one_else_from_their_turn(caller: Caller, stack: Stack, key: str) -> None:
    dynamodb, table = stack.client("dynamodb"), stack.outputs["TableName"]
    # Of one shard, and the oldest in it.
    names = (name for name in (f"{key}-{n}" for n in count()) if shard_of(name) == "0")
    poison, good = list(islice(names, POISON)), list(islice(names, 5))
    long_ago = {"due_shard": {"S": "0"}, "due_at": {"N": str(int(time.time()) - 3600)}, "status": {"S": "Active"}}
    for name in poison:
        dynamodb.put_item(TableName=table, Item=item(name, RECORD) | long_ago)
    try:
        # Only the sweep is to find them.
        with leases_unheard(stack):
            for name in good:
                caller.register(name, ttl_seconds=1)
            swept_at = time.time()
            assert caller.sweep() >= POISON + len(good)
            for name in good:
                assert caller.terminated(name)["cleanup"]["reason"] == "expired"

        # Put off, not dropped: they keep being told of.
        def due_at(name: str) -> int:
            return int(dynamodb.get_item(TableName=table, Key=item(name, RECORD))["Item"]["due_at"]["N"])

        deadline = time.monotonic() + PATIENCE
        while not all(due_at(name) > swept_at + 120 for name in poison):
            assert time.monotonic() < deadline
            time.sleep(1)
        assert caller.ask("GET", "/deployments").status == 200
    finally:
        for name in poison:
            dynamodb.delete_item(TableName=table, Key=item(name, RECORD))
