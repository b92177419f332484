"""Registers deployments: `POST /deployments`, and `Service Initiated` events from their queue; adopts strays."""

from uuid import uuid4

from tracker.intake import api, events, fields, strays
from tracker.intake.registration import parse_registration
from tracker.model.clock import utc_now
from tracker.model.deployment import Deployment
from tracker.model.rights import check_may_decide
from tracker.model.settings import settings
from tracker.notify.targets import check_name
from tracker.runtime import front_door, lifecycle, stray_lifecycle


def register(call: api.Call) -> api.Reply:
    """Reply 201 with the new deployment and where it is, or 200 if the same request came before."""
    wanted = parse_registration(
        call.body, settings(), now=utc_now(), registered_by=call.caller, generation=str(uuid4())
    )
    _check_webhook(wanted)
    deployment, is_new = lifecycle().register(wanted)
    shown = api.shown(deployment)
    return (201, shown, api.location(deployment)) if is_new else (200, shown)


def adopt(call: api.Call) -> api.Reply:
    """Reply 201 with the deployment that adopts a stray and where it is, or 200 if it was adopted before."""
    key = strays.check_key(call.key)
    check_may_decide(key, call.caller, settings().act_on_everything)
    ttl_seconds, reason = strays.parse_adoption(call.body)
    described = strays.adoption(ttl_seconds, settings(), now=utc_now(), by=call.caller)
    deployment, is_new = stray_lifecycle().adopt(key, described, reason=reason, requested_by=call.caller)
    shown = api.shown(deployment)
    return (201, shown, api.location(deployment, above="../../")) if is_new else (200, shown)


def register_by_event(event: events.ServiceEvent) -> None:
    """Register the deployment that a service's event describes."""
    wanted = parse_registration(
        event.detail,
        settings(),
        now=utc_now(),
        registered_by=f"event {event.source}",
        generation=str(uuid4()),
        made_at=event.origin,
        registered_at=event.at,
    )
    _check_webhook(wanted)
    lifecycle().register(wanted)


def _check_webhook(wanted: Deployment) -> None:
    fields.check_webhook_secret(wanted, settings(), wanted.registered_by)
    check_name(wanted.cleanup_webhook, settings())


handler = front_door({("POST", "/deployments"): register, ("POST", "/strays/{key}/adopt"): adopt}, register_by_event)
