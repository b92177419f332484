"""How late a cleanup begins after its time is over, and what one costs that finds nothing left, on the stack of one machine."""

import math
import time
from collections import Counter
from typing import Any
from uuid import uuid4

from bench.rows import Row, Rows
from local.api import path_of
from local.stack import Stack
from tracker.deployment import parse_time

DEPLOYMENTS = 40
LIVES_FOR = 8
MINUTE = 60
# Release, Decide, Done.
LEAST_TRANSITIONS = 3
PATIENCE = 240
OK, CREATED = 200, 201


def rows() -> Rows:
    """The lag of the slowest of a hundred, and the transitions of the costliest."""
    with Stack() as stack:
        ended = _ended(stack, [_registered(stack) for _ in range(DEPLOYMENTS)])
        lags = sorted(_lag(record) for record in ended)
        late = lags[math.ceil(0.99 * len(lags)) - 1]
        seen = f"{late:.1f} s : {MINUTE} s, {len(lags)} deployments, median {lags[len(lags) // 2]:.1f} s"
        yield Row("expiry lag, p99, against a minute", late / MINUTE, 1.0, seen)
        most = max(_transitions(stack, record).total() for record in ended)
        seen = f"{most} : {LEAST_TRANSITIONS}"
        yield Row("transitions, gone at the first look", most / LEAST_TRANSITIONS, 1.0, seen)


def _registered(stack: Stack) -> str:
    key = f"bench-{uuid4()}"
    body = {
        "blueprint_id": key,
        "deployment_type": "AwsEc2",
        "region": stack.running.region,
        # Nobody's: a look finds it gone, in the account that the stack vouches for.
        "resource_ids": {"instance_id": f"i-{uuid4().hex[:17]}"},
        "ttl_seconds": LIVES_FOR,
    }
    status, answer = stack.api("POST", "/deployments", body)
    if status != CREATED:
        raise RuntimeError(f"a registration was answered {status}: {answer}")
    return key


def _ended(stack: Stack, keys: list[str]) -> list[dict[str, Any]]:
    """All of them, once Terminated."""
    ended: list[dict[str, Any]] = []
    until = time.monotonic() + PATIENCE
    # Seldom: whoever asks takes the processor from what is measured.
    while left := keys[len(ended) :]:
        status, record = stack.api("GET", path_of(left[0]))
        # Others may be refused too while all its workers are busy.
        if status == OK and record["status"] == "Terminated":
            ended.append(record)
            continue
        if time.monotonic() > until:
            raise RuntimeError(f"after {PATIENCE} s: {status} {record}")
        time.sleep(2)
    return ended


def _lag(record: dict[str, Any]) -> float:
    """Seconds from the end of its time to the commit that began its cleanup."""
    (began,) = [event["at"] for event in record["events"] if event["type"] == "terminating"]
    return (parse_time(began) - parse_time(record["expires_at"])).total_seconds()


def _transitions(stack: Stack, record: dict[str, Any]) -> Counter[str]:
    """The states that its only round went through."""
    arn = stack.outputs["StateMachineArn"].replace(":stateMachine:", ":execution:") + f":{record['generation']}-1"
    history = stack.client("stepfunctions").get_execution_history(executionArn=arn, maxResults=1000)["events"]
    entered = [event["stateEnteredEventDetails"]["name"] for event in history if event["type"].endswith("StateEntered")]
    return Counter(entered)
