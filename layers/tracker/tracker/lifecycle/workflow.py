"""Starts executions of the cleanup workflow and asks for their status, and has plans drawn. Called by the transitions."""

from typing import Literal

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from tracker.clients import client, patient_client
from tracker.model.deployment import Deployment, parse_time
from tracker.model.errors import PlanUnseen

# `unknown`: no execution has that name.
ExecutionStatus = Literal["running", "closed", "unknown"]


def execution_name(deployment: Deployment) -> str:
    """Return the name of the execution of a deployment's round: at most 80 characters of [A-Za-z0-9-].

    Step Functions keeps the name of a closed execution for 90 days, in which no other can have it, and a start under it begins nothing.
    So rounds that are counted anew under an older generation have names of their own.
    """
    cleanup = deployment.cleanup
    name = f"{deployment.generation}-{cleanup.round}"
    asked_at = parse_time(cleanup.requested_at).timestamp() if cleanup.requested_at else 0
    return f"{name}-{cleanup.renumbered}" if 0 < cleanup.renumbered <= asked_at else name


class Workflow:
    """The state machine of the cleanup on Step Functions, and the function that draws plans."""

    def __init__(self, state_machine_arn: str, plan_function: str = "") -> None:
        self._arn = state_machine_arn
        self._plan_function = plan_function

    def start(self, deployment: Deployment) -> None:
        """Start the execution of a Terminating deployment's round. Starting it again has no effect."""
        state = {
            "blueprint_id": deployment.blueprint_id,
            "generation": deployment.generation,
            "round": deployment.cleanup.round,
            "retry_after": 0,
        }
        name = execution_name(deployment)
        try:
            client("stepfunctions").start_execution(
                stateMachineArn=self._arn, name=name, input=msgspec.json.encode(state).decode()
            )
        except client("stepfunctions").exceptions.ExecutionAlreadyExists:
            return

    def execution_status(self, deployment: Deployment) -> ExecutionStatus:
        """Return the status of the execution of a deployment's round."""
        name = execution_name(deployment)
        arn = self._arn.replace(":stateMachine:", ":execution:", 1) + ":" + name
        try:
            status = client("stepfunctions").describe_execution(executionArn=arn)["status"]
        except client("stepfunctions").exceptions.ExecutionDoesNotExist:
            return "unknown"
        return "running" if status in ("RUNNING", "PENDING_REDRIVE") else "closed"

    def changes_of_plan(self, deployment: Deployment, digest: str) -> list[str]:
        """Return what a cleanup would do now that isn't in the plan of a digest, or the other way round. PlanUnseen if that can't be seen."""
        payload = {"blueprint_id": deployment.blueprint_id, "generation": deployment.generation, "compare": digest}
        try:
            answer = patient_client("lambda").invoke(
                FunctionName=self._plan_function, Payload=msgspec.json.encode(payload)
            )
        except (BotoCoreError, ClientError) as error:
            raise PlanUnseen("the plan can't be drawn now; the same call again is safe") from error
        found = msgspec.json.decode(answer["Payload"].read())
        if "changed" not in found:
            why = found.get("problem", "it could not be drawn")
            raise PlanUnseen(f"the plan can't be compared now: {why}; the same call again is safe")
        changes: list[str] = found["changed"]
        return changes

    def request_plan(self, deployment: Deployment) -> None:
        """Have the plan of a deployment drawn and recorded, without waiting for it."""
        payload = {"blueprint_id": deployment.blueprint_id, "generation": deployment.generation}
        client("lambda").invoke(
            FunctionName=self._plan_function, InvocationType="Event", Payload=msgspec.json.encode(payload)
        )
