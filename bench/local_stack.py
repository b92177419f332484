"""This is how late a cleanup begins after its time is over, and what one costs that finds nothing left, on the stack of one machine.

The sweep alone brings what is due: nothing removes leases for the stream to tell of.
"""

import math
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from bench import command_line
from bench.rows import Row, Rows
from local.api import path_of
from local.stack import Stack
from tests.stack.caller import Caller, execution_of
from tracker.model.deployment import format_time, parse_time

DEPLOYMENTS = 200
MINUTE = 60
# Seconds until the first is due, while all are registered: at most as many before the first as the sweep looks ahead.
FIRST_IN = 100
AIM_LAG = 5
REGISTERING = 3
# Deployments that end together before those that are measured.
WARMING = 30
# Release, Decide, Done.
LEAST_TRANSITIONS = 3
PATIENCE = 400
OK = 200


def rows() -> Rows:
    """Yield the lag of the slowest of a hundred that end within one minute, the transitions of the costliest, and a list's time."""
    with Stack() as stack:
        caller = Caller(stack)
        gone = {"instance_id": caller.terminated_instance}
        with ThreadPoolExecutor(REGISTERING) as pool:

            def ended(number: int, first_in: float, within: float) -> list[dict[str, Any]]:
                first = datetime.now(UTC) + timedelta(seconds=first_in)
                ends = [first + timedelta(seconds=within * n / number) for n in range(number)]
                return _ended(stack, [*pool.map(lambda end: _registered(caller, gone, end), ends)])

            # A stack in use: processes of all functions run already.
            ended(WARMING, FIRST_IN / 2, 1)
            measured = ended(DEPLOYMENTS, FIRST_IN, MINUTE)
        lags = sorted(_lag(record) for record in measured)
        late = lags[math.ceil(0.99 * len(lags)) - 1]
        seen = f"{late:.1f} s : {AIM_LAG} s, {len(lags)} within a minute, median {lags[len(lags) // 2]:.1f} s"
        yield Row("expiry lag, p99, against 5 s", late / AIM_LAG, 1.0, seen)
        most = max(_transitions(stack, record).total() for record in measured)
        seen = f"{most} : {LEAST_TRANSITIONS}"
        yield Row("transitions, gone at the first look", most / LEAST_TRANSITIONS, 1.0, seen)
        yield command_line.listing(stack)


def _registered(caller: Caller, gone: dict[str, str], end: datetime) -> str:
    """The key of a new deployment with that end, which a look finds gone."""
    key = f"bench-{uuid4()}"
    caller.register(key, gone, deployed_at=format_time(datetime.now(UTC)), expires_at=format_time(end))
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
    workflow = stack.client("stepfunctions")
    history = workflow.get_execution_history(executionArn=execution_of(stack, record), maxResults=1000)["events"]
    entered = [event["stateEnteredEventDetails"]["name"] for event in history if event["type"].endswith("StateEntered")]
    return Counter(entered)
