"""Registers deployments: `POST /deployments`, and `Service Initiated` events from their queue."""

from functools import lru_cache
from typing import Any
from uuid import uuid4

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker import api, events, webhooks
from tracker.lifecycle import Lifecycle, assembled
from tracker.records import utc_now
from tracker.registration import parse_registration
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
        return api.serve(event, {("POST", "/deployments"): posted})
    return events.serve(event, initiated, dead_letters=settings().dead_letter_queue_url, now=utc_now)


def posted(call: api.Call) -> api.Answer:
    """201 with the new deployment; 200 if it is the very same again."""
    wanted = parse_registration(
        call.body, settings(), now=utc_now(), registered_by=call.caller, generation=str(uuid4())
    )
    webhooks.check_name(wanted.cleanup_webhook, settings())
    deployment, is_new = lifecycle().register(wanted)
    return (201 if is_new else 200), api.shown(deployment)


def initiated(event: events.ServiceEvent) -> None:
    """Register what a service says was deployed for it."""
    wanted = parse_registration(
        event.detail,
        settings(),
        now=utc_now(),
        registered_by=f"event {event.source}",
        generation=str(uuid4()),
        made_at=event.origin,
        registered_at=event.at,
    )
    webhooks.check_name(wanted.cleanup_webhook, settings())
    lifecycle().register(wanted)
