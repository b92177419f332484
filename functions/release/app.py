"""Takes one step of a round, as the task of the cleanup workflow, and reports what remains."""

from typing import Any

import msgspec
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker.cleanup.core.rounds import CleanupStep, RoundState
from tracker.model.clock import utc_now
from tracker.model.settings import settings
from tracker.runtime import entry_point, lifecycle, metrics, modes_in_force


@entry_point
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take a step. Its result has the schema statemachine/release-answer.schema.json."""
    step = CleanupStep(
        lifecycle(),
        settings(),
        brakes=modes_in_force,
        clock=utc_now,
        time_left=lambda: context.get_remaining_time_in_millis() / 1000,
    )
    result = step.run(msgspec.convert(event, RoundState))
    metrics.add_metric(result.outcome.capitalize(), MetricUnit.Count, 1)
    found: dict[str, Any] = msgspec.to_builtins(result)
    return found
