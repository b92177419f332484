"""Begins cleanups: `DELETE /deployments/{blueprint_id}`, and `Service Terminated` events from their queue."""

from functools import lru_cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker import api, events
from tracker.errors import Invalid
from tracker.lifecycle import Lifecycle, assembled
from tracker.records import utc_now
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
    """Answer the gateway, or take the queue's batch."""
    if api.is_call(event):
        return api.serve(event, {("DELETE", "/deployments/{blueprint_id}"): deleted})
    return events.serve(event, ended, dead_letters=settings().dead_letter_queue_url, now=utc_now)


def deleted(call: api.Call) -> api.Answer:
    """202 while the cleanup is on its way, 200 with the receipt once it is over."""
    deployment = lifecycle().terminate(call.key, reason="requested", requested_by=call.caller)
    return (200 if deployment.status == "Terminated" else 202), api.shown(deployment)


def ended(event: events.ServiceEvent) -> None:
    """Terminate what a service says is over."""
    key, reason = event.detail.get("blueprint_id"), event.detail.get("reason") or "service terminated"
    if not isinstance(key, str) or not key:
        raise Invalid("detail.blueprint_id", type(key).__name__, "the deployment's key", malformed=True)
    if not isinstance(reason, str):
        raise Invalid("detail.reason", type(reason).__name__, "text", malformed=True)
    lifecycle().terminate(key, reason=reason, requested_by=f"event {event.source}", asked_at=event.at)
