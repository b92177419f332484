"""Looks without deleting: plans for `GET /deployments/{blueprint_id}/plan` and while the brake observes, and again at what is gone."""

import time
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker.cleanup.core import plans
from tracker.intake import api
from tracker.model.catalogue import entry
from tracker.model.settings import settings
from tracker.runtime import brake_on, entry_point, lifecycle, records


@entry_point
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer the gateway, or record the plan of `{"blueprint_id", "generation"}`; if it is Terminated, whether anything is back.

    With `compare`, the digest of a plan, nothing is recorded: what changed since then is returned.
    """
    if api.is_call(event):
        return api.serve(event, {("GET", "/deployments/{blueprint_id}/plan"): show})
    deployment = records().get(event["blueprint_id"])
    if deployment is None or deployment.generation != event["generation"] or deployment.status == "Terminating":
        return {"planned": False}
    if "compare" in event:
        return plans.compare(deployment, settings(), event["compare"])
    if deployment.status == "Terminated":
        seen = plans.look_again(deployment, settings(), time.monotonic)
        found = lifecycle().looked_again(deployment.blueprint_id, deployment.generation, seen)
        return {"planned": False, "resurrected": found.status == "Terminating"}
    plan = plans.draw(deployment, settings(), time.monotonic)
    lifecycle().observed(deployment.blueprint_id, deployment.generation, plan.resources)
    return {"planned": True}


def show(call: api.Call) -> api.Reply:
    """Reply 200 with what the plan found, the record's key and status, and the brake of its platform."""
    deployment = records().require(call.key)
    if deployment.is_live:
        plan = plans.draw(deployment, settings(), time.monotonic)
    else:
        plan = plans.Plan(resources=deployment.resources)
    brake = brake_on(entry(deployment.deployment_type).platform)
    return 200, {
        "blueprint_id": deployment.blueprint_id,
        "status": deployment.status,
        "brake": brake,
        **plan.as_dict(),
    }
