"""Draws plans, deleting nothing: `GET /deployments/{blueprint_id}/plan`, and for the sweep while it only observes."""

import time
from functools import lru_cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker import api, plans
from tracker.errors import NotFound
from tracker.lifecycle import Lifecycle, assembled
from tracker.records import Records
from tracker.settings import settings

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace="DeploymentTracker")


@lru_cache(maxsize=1)
def records() -> Records:
    """This stack's table."""
    return Records(settings().table_name)


@lru_cache(maxsize=1)
def lifecycle() -> Lifecycle:
    """The rules over this stack's table."""
    return assembled(settings())


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer the gateway; or draw the plan of `{"blueprint_id", "generation"}` and keep it on the record."""
    if api.is_call(event):
        return api.serve(event, {("GET", "/deployments/{blueprint_id}/plan"): planned})
    deployment = records().get(event["blueprint_id"])
    if deployment is None or deployment.generation != event["generation"] or not deployment.is_live:
        return {"planned": False}
    plan = plans.draw(deployment, settings(), time.monotonic)
    lifecycle().observed(deployment.blueprint_id, deployment.generation, plan.resources)
    return {"planned": True}


def planned(call: api.Call) -> api.Answer:
    """200 with `{"resources": [...], "not_looked_at": [...], "refusal": {...} or null}`."""
    deployment = records().find(call.key)
    if deployment is None:
        raise NotFound(f"nothing is registered under {call.key!r}")
    if deployment.is_live:
        plan = plans.draw(deployment, settings(), time.monotonic)
    else:
        plan = plans.Plan(resources=deployment.resources)
    return 200, {"blueprint_id": deployment.blueprint_id, "status": deployment.status, **plan.as_dict()}
