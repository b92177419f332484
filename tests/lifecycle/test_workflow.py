"""This is what the lifecycle sets going elsewhere: names that AWS takes, one execution for a round, whatever is asked twice."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import boto3
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from tests.fakes import NOW, a_deployment
from tracker.lifecycle.workflow import Workflow, execution_name
from tracker.model.deployment import Cleanup, Deployment, format_time, renumbered


@pytest.fixture
def states() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("stepfunctions")


@pytest.fixture
def workflow(states: Any) -> Workflow:
    machine = states.create_state_machine(
        name="cleanup",
        definition=json.dumps({"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}),
        roleArn="arn:aws:iam::123456789012:role/any",
    )
    return Workflow(machine["stateMachineArn"])


def in_round(key: str, round_: int = 1) -> Deployment:
    return a_deployment(key, generation="0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f", cleanup=Cleanup(round=round_))


@given(generation=st.uuids(), round_=st.integers(1, 10**9), anew=st.booleans())
def test_the_name_of_every_round_is_one_that_aws_takes(generation: UUID, round_: int, anew: bool) -> None:
    cleanup = Cleanup(round=round_, requested_at=format_time(NOW))
    deployment = a_deployment(generation=str(generation), cleanup=cleanup)
    name = execution_name(renumbered(deployment, NOW) if anew else deployment)
    assert re.fullmatch("[A-Za-z0-9-_]{1,80}", name)
    assert name.startswith(f"{generation}-{round_}")
    assert anew is (name != f"{generation}-{round_}")


@pytest.mark.parametrize("key", ["svc-1", "a/b:c", "ä" * 500, "🐙 with blanks"])
def test_a_round_is_started_once_whatever_its_key(states: Any, workflow: Workflow, key: str) -> None:
    deployment = in_round(key, 3)
    assert workflow.execution_status(deployment) == "unknown"
    workflow.start(deployment)
    workflow.start(deployment)
    (execution,) = states.list_executions(stateMachineArn=workflow._arn)["executions"]
    assert execution["name"] == f"{deployment.generation}-3"
    found = states.describe_execution(executionArn=execution["executionArn"])
    assert json.loads(found["input"]) == {
        "blueprint_id": key,
        "generation": deployment.generation,
        "round": 3,
        "retry_after": 0,
    }
    assert workflow.execution_status(deployment) == "running"
    states.stop_execution(executionArn=execution["executionArn"])
    assert workflow.execution_status(deployment) == "closed"
    assert workflow.execution_status(in_round(key, 4)) == "unknown"


def test_a_round_counted_anew_under_an_older_generation_is_started_though_its_number_was_used(
    states: Any, workflow: Workflow
) -> None:
    before = in_round("svc-1")
    before = msgspec.structs.replace(before, cleanup=Cleanup(round=1, requested_at=format_time(NOW)))
    workflow.start(before)
    (old,) = states.list_executions(stateMachineArn=workflow._arn)["executions"]
    states.stop_execution(executionArn=old["executionArn"])
    anew = renumbered(before, NOW + timedelta(days=31))
    assert workflow.execution_status(anew) == "closed", "the round that it was in keeps its name"
    asked_at = format_time(NOW + timedelta(days=31, minutes=1))
    anew = msgspec.structs.replace(anew, cleanup=msgspec.structs.replace(anew.cleanup, requested_at=asked_at))
    assert workflow.execution_status(anew) == "unknown"
    workflow.start(anew)
    workflow.start(anew)
    assert len(states.list_executions(stateMachineArn=workflow._arn)["executions"]) == 2
    assert workflow.execution_status(anew) == "running"
