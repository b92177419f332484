"""Shows what is recorded: `GET /deployments`, `GET /deployments/{blueprint_id}` and its `GET .../deliveries`."""

from functools import lru_cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker import api
from tracker.errors import NotFound
from tracker.listing import deliveries_listed, listed, parse_query
from tracker.records import Records
from tracker.settings import settings

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace="DeploymentTracker")


@lru_cache(maxsize=1)
def records() -> Records:
    """This stack's table."""
    return Records(settings().table_name)


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer the gateway."""
    routes = {
        ("GET", "/deployments"): several,
        ("GET", "/deployments/{blueprint_id}"): one,
        ("GET", "/deployments/{blueprint_id}/deliveries"): delivered,
    }
    return api.serve(event, routes)


def several(call: api.Call) -> api.Answer:
    """200 with `{"deployments": [...], "cursor": text or null}`."""
    return 200, listed(records(), parse_query(call.query))


def one(call: api.Call) -> api.Answer:
    """200 with the deployment, also under the key that it moved from."""
    deployment = records().find(call.key)
    if deployment is None:
        raise NotFound(f"nothing is registered under {call.key!r}")
    return 200, api.shown(deployment)


def delivered(call: api.Call) -> api.Answer:
    """200 with `{"deliveries": [...], "cursor": text or null}`: what its webhook was sent, and each attempt at that.

    They stay at the key that the deployment had then.
    """
    found = deliveries_listed(records(), call.key, call.query)
    if not found["deliveries"] and records().find(call.key) is None:
        raise NotFound(f"nothing is registered under {call.key!r}")
    return 200, found
