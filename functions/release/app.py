"""The cleanup workflow's task: takes one step of a round and says what remains."""

from functools import lru_cache
from typing import Any

import msgspec
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker import brakes
from tracker.lifecycle import Lifecycle, assembled
from tracker.records import utc_now
from tracker.rounds import Round, State
from tracker.settings import settings

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace="DeploymentTracker")


@lru_cache(maxsize=1)
def lifecycle() -> Lifecycle:
    """The rules over this stack's table."""
    return assembled(settings())


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer with statemachine/release-answer.schema.json."""
    step = Round(
        lifecycle(),
        settings(),
        brakes=lambda: brakes.read(settings().mode_parameter),
        clock=utc_now,
        time_left=lambda: context.get_remaining_time_in_millis() / 1000,
    )
    answer = step.step(msgspec.convert(event, State))
    metrics.add_metric(answer.outcome.capitalize(), MetricUnit.Count, 1)
    found: dict[str, Any] = msgspec.to_builtins(answer)
    return found
