"""Counts what one lifecycle is billed for, by running the real functions on moto and watching every call that they make.

DynamoDB's units follow from the sizes of the items before and after each write, by the rules that AWS publishes
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html, not looked up again here): a write unit for each
begun KB of the larger of the two, twice that in a transaction, and in each index as much as its entry that was added, changed
or removed; a read unit for each begun 4 KB of a consistent read, half of one otherwise. What DynamoDB's TTL removes and what Lambda reads from the stream are free.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from math import ceil
from typing import Any
from unittest.mock import patch

import boto3
import botocore.client
import msgspec
import pytest
import time_machine
from aws_lambda_powertools.utilities.parameters.constants import DEFAULT_PROVIDERS
from moto import mock_aws

from tests.fresh import forget_process
from tests.proof.world import START, World
from tests.table import create_table
from tracker.cleanup.providers.aws import session
from tracker.model.settings import Settings
from tracker.watch import journal

KB, READ_KB = 1024, 4096
LIVES_FOR = 3600

type Item = dict[str, Any]


class Step(msgspec.Struct):
    """One invocation of a function: the calls that it makes on AWS, what they are billed, and how long its log is."""

    function: str
    calls: list[str] = []
    reads: float = 0
    writes: float = 0
    log_bytes: int = 0
    # Of `release`: the seconds until its next step.
    retry_after: int = 0


class Life(msgspec.Struct):
    """All that one deployment's life is billed for, from its registration by a call to its receipt."""

    steps: list[Step] = []
    transitions: int = 0

    def total(self, field: str) -> float:
        """Return the sum of `reads`, `writes` or `log_bytes`."""
        return float(sum(getattr(step, field) for step in self.steps))

    def invocations(self) -> Counter[str]:
        """Return how often each function was invoked."""
        return Counter(step.function for step in self.steps)

    def calls(self, operation: str) -> int:
        """Return how often an operation was called."""
        return sum(step.calls.count(operation) for step in self.steps)

    def of(self, function: str) -> list[Step]:
        """Return the invocations of one function."""
        return [step for step in self.steps if step.function == function]


def life() -> Life:
    """Live one: an instance with a volume and an address is registered for an hour, expires, and is proven gone."""
    with _world() as world, _watched(world) as found:
        world.look_again(*Settings().look_again)
        ids = world.rent()
        body = {"blueprint_id": "service", "deployment_type": "AwsEc2", "resource_ids": ids, "ttl_seconds": LIVES_FOR}
        body |= {"region": "eu-west-1"}
        status, answer = world.call("register", "POST", body=body)
        if status != 201:  # noqa: PLR2004 - created
            raise RuntimeError(f"the registration was answered {answer}")
        world.settle()
        found.transitions = sum(each.transitions for each in world.executions.values())
        if not world.is_gone(ids):
            raise RuntimeError("it isn't gone")
    return found


def idle_minute(*, counts: bool = False) -> Step:
    """Return what one tick of the sweep is billed for while nothing is due; if `counts`, one that counts the deployments."""
    with _world() as world, _watched(world) as found:
        world.invoke("expire", {"source": "aws.events"} | ({"time": "2030-01-01T00:00:00Z"} if counts else {}))
    (step,) = found.steps
    return step


@contextmanager
def _world() -> Iterator[World]:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        time_machine.travel(START, tick=False) as clock,
        mock_aws(),
    ):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        # It was made before the variable that the world sets; the lines of transitions are no part of what is counted.
        monkeypatch.setattr(journal.logger, "info", lambda *_, **__: None)
        forget_process()
        DEFAULT_PROVIDERS.clear()
        session._opened.cache_clear()  # noqa: SLF001 - a process that starts anew
        yield World(clock, monkeypatch, create_table)
    forget_process()


@contextmanager
def _watched(world: World) -> Iterator[Life]:
    """Record each invocation of the world, and each call that it makes."""
    found = Life()
    invoke = world.invoke
    call = botocore.client.BaseClient._make_api_call  # noqa: SLF001 - botocore's one way out, PynamoDB's too
    bills = Bills(call)
    current: list[Step] = []

    def invoked(function: str, event: dict[str, Any]) -> Any:
        step = Step(function)
        found.steps.append(step)
        current.append(step)
        log = StringIO()
        try:
            with redirect_stdout(log):
                answer = invoke(function, event)
        finally:
            current.pop()
        step.log_bytes = len(log.getvalue())
        if function == "release":
            step.retry_after = answer.get("retry_after", 0)
        return answer

    def called(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        if not current:
            return call(client, operation, arguments)
        step = current[-1]
        step.calls.append(operation)
        if client.meta.service_model.service_name != "dynamodb":
            return call(client, operation, arguments)
        return bills.of(step, client, operation, arguments)

    with patch.object(world, "invoke", invoked), patch.object(botocore.client.BaseClient, "_make_api_call", called):
        yield found


class Bills:
    """This is what DynamoDB bills for a call, by the items as they are before and after it."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        described = boto3.client("dynamodb").describe_table(TableName="tracker")["Table"]
        self._indexes = described["GlobalSecondaryIndexes"]
        self._keys = [key["AttributeName"] for key in described["KeySchema"]]

    def of(self, step: Step, client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        """Make the call, and add to a step what it is billed."""
        written = [*_written(operation, arguments)]
        before = [self._item(client, each) for each in written]
        answer = self._call(client, operation, arguments)
        factor = 2 if operation == "TransactWriteItems" else 1
        for key, old in zip(written, before, strict=True):
            step.writes += self._write(old, self._item(client, key), factor)
        consistent = 1 if arguments.get("ConsistentRead") else 0.5
        if operation == "GetItem":
            step.reads += consistent * max(1, ceil(size(answer.get("Item", {})) / READ_KB))
        if operation == "Query":
            step.reads += consistent * max(1, ceil(sum(map(size, answer["Items"])) / READ_KB))
        return answer

    def _item(self, client: Any, key: Item) -> Item:
        named = {name: _typed(key[name]) for name in self._keys}
        wanted = {"TableName": "tracker", "Key": named, "ConsistentRead": True}
        found: Item = self._call(client, "GetItem", wanted).get("Item", {})
        return found

    def _write(self, old: Item, new: Item, factor: int) -> float:
        units = factor * max(1, ceil(max(size(old), size(new)) / KB))
        for index in self._indexes:
            before, after = self._entry(index, old), self._entry(index, new)
            if before == after:
                continue
            keys = [key["AttributeName"] for key in index["KeySchema"]]
            moved = bool(before and after) and any(before[key] != after[key] for key in keys)
            sizes = [size(before), size(after)] if moved else [max(size(before), size(after))]
            units += factor * sum(ceil(each / KB) for each in sizes)
        return units

    def _entry(self, index: dict[str, Any], item: Item) -> Item:
        """Return an item's entry in an index; empty if it has none."""
        keys = [key["AttributeName"] for key in index["KeySchema"]]
        if any(key not in item for key in keys):
            return {}
        projected = {*self._keys, *keys, *index["Projection"].get("NonKeyAttributes", ())}
        return {name: value for name, value in item.items() if name in projected}


def size(item: Item) -> int:
    """Return the bytes of an item as DynamoDB counts them: names, texts, and numbers by their digits."""
    total = 0
    for name, typed in item.items():
        [(kind, value)] = typed.items()
        match kind:
            case "S":
                total += len(value.encode())
            case "N":
                total += (len(value.strip("-").replace(".", "")) + 1) // 2 + 1
            case _:
                total += 1
        total += len(name.encode())
    return total


def _written(operation: str, arguments: dict[str, Any]) -> Iterator[Item]:
    match operation:
        case "PutItem":
            yield arguments["Item"]
        case "UpdateItem" | "DeleteItem":
            yield arguments["Key"]
        case "TransactWriteItems":
            writes: list[dict[str, Item]] = [write for each in arguments["TransactItems"] for write in each.values()]
            yield from (write.get("Item") or write["Key"] for write in writes)


def _typed(value: Any) -> Any:
    return value if isinstance(value, dict) else {"S": value}
