"""What the lifecycle sets going elsewhere: executions of the cleanup workflow, and the drawing of plans."""

from functools import cached_property
from typing import Any, Literal

import boto3
import msgspec
from botocore.config import Config

from tracker.deployment import Deployment

Standing = Literal["running", "closed", "unknown"]

CONFIG = Config(connect_timeout=3, read_timeout=8, retries={"mode": "standard", "max_attempts": 3})


def execution_name(generation: str, round_: int) -> str:
    """The name of a round's execution: at most 80 characters of [A-Za-z0-9-], taken for 90 days once closed."""
    return f"{generation}-{round_}"


class Workflow:
    """Step Functions' state machine of the cleanup, and the function that draws a plan."""

    def __init__(self, state_machine_arn: str, plan_function: str = "") -> None:
        self._arn = state_machine_arn
        self._plan_function = plan_function

    def start(self, deployment: Deployment) -> None:
        """Start the round of a Terminating deployment; starting it again changes nothing."""
        state = {
            "blueprint_id": deployment.blueprint_id,
            "generation": deployment.generation,
            "round": deployment.cleanup.round,
            "retry_after": 0,
        }
        name = execution_name(deployment.generation, deployment.cleanup.round)
        try:
            self._states.start_execution(
                stateMachineArn=self._arn, name=name, input=msgspec.json.encode(state).decode()
            )
        except self._states.exceptions.ExecutionAlreadyExists:
            return

    def standing(self, deployment: Deployment) -> Standing:
        """Whether the execution of its round runs, is closed, or never was."""
        name = execution_name(deployment.generation, deployment.cleanup.round)
        arn = self._arn.replace(":stateMachine:", ":execution:", 1) + ":" + name
        try:
            status = self._states.describe_execution(executionArn=arn)["status"]
        except self._states.exceptions.ExecutionDoesNotExist:
            return "unknown"
        return "running" if status in ("RUNNING", "PENDING_REDRIVE") else "closed"

    def request_plan(self, deployment: Deployment) -> None:
        """Have its plan drawn and written, without waiting for it."""
        payload = {"blueprint_id": deployment.blueprint_id, "generation": deployment.generation}
        self._lambda.invoke(
            FunctionName=self._plan_function, InvocationType="Event", Payload=msgspec.json.encode(payload)
        )

    @cached_property
    def _states(self) -> Any:
        return boto3.client("stepfunctions", config=CONFIG)

    @cached_property
    def _lambda(self) -> Any:
        return boto3.client("lambda", config=CONFIG)
