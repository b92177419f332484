"""Changes what is recorded: `PATCH /deployments/{blueprint_id}` (also to another key), and `POST .../forget`."""

from functools import lru_cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker import api, webhooks
from tracker.deployment import Deployment
from tracker.errors import Invalid
from tracker.lifecycle import Lifecycle, assembled
from tracker.records import utc_now
from tracker.registration import parse_amendment
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
    """Answer the gateway."""
    routes = {
        ("PATCH", "/deployments/{blueprint_id}"): patched,
        ("POST", "/deployments/{blueprint_id}/forget"): forgotten,
    }
    return api.serve(event, routes)


def patched(call: api.Call) -> api.Answer:
    """200 with the deployment as it is now."""

    def amended(current: Deployment) -> tuple[Deployment, str | None]:
        found, to = parse_amendment(call.body, current, settings(), now=utc_now())
        if found.cleanup_webhook != current.cleanup_webhook:
            webhooks.check_name(found.cleanup_webhook, settings())
        return found, to

    return 200, api.shown(lifecycle().amend(call.key, amended))


def forgotten(call: api.Call) -> api.Answer:
    """200 with the record, ended without a cleanup; `{"reason": "..."}` is needed."""
    reason = api.json_object(call.body, allowed={"reason"}).get("reason", "")
    if not isinstance(reason, str):
        raise Invalid("reason", type(reason).__name__, "text", malformed=True)
    deployment = lifecycle().forget(call.key, reason=reason, requested_by=call.caller)
    return 200, api.shown(deployment)
