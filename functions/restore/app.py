"""The cleanup workflow's last word on a failed round: the record is live again, with its error. No cloud SDK here."""

from functools import lru_cache
from typing import Any

import msgspec
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker.lifecycle import Lifecycle, assembled
from tracker.settings import settings

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace="DeploymentTracker")


class Failed(msgspec.Struct, frozen=True):
    """The state that a round failed in; `error` is what the workflow caught, {"Error", "Cause"}."""

    blueprint_id: str
    generation: str
    round: int
    error: dict[str, str] = {}

    @property
    def cause(self) -> str:
        """The name of the error. Its cause may hold anything, so it stays in the execution's history."""
        return f"the workflow caught {self.error.get('Error', 'no error')}"


@lru_cache(maxsize=1)
def lifecycle() -> Lifecycle:
    """The rules over this stack's table."""
    return assembled(settings())


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer whether the record was in that round, and whether it is quarantined now."""
    failed = msgspec.convert(event, Failed)
    deployment = lifecycle().restored(failed.blueprint_id, failed.generation, failed.round, failed.cause)
    if deployment is None:
        return {"restored": False}
    return {"restored": True, "quarantined": deployment.cleanup.quarantined}
