"""Amends what is recorded: `PATCH /deployments/{blueprint_id}` (also to another key), `POST .../forget`, `.../extend` and `.../hold`; exempts strays."""

from tracker.intake import api, fields, strays
from tracker.intake.amendment import parse_amendment
from tracker.intake.terms import parse_extension, parse_hold
from tracker.model.clock import utc_now
from tracker.model.deployment import Deployment
from tracker.model.rights import check_may_decide
from tracker.model.settings import settings
from tracker.notify.targets import check_name
from tracker.runtime import front_door, lifecycle, stray_lifecycle


def amend(call: api.Call) -> api.Reply:
    """Reply 200 with the amended deployment."""

    def patch(current: Deployment) -> tuple[Deployment, str | None]:
        amended, to = parse_amendment(call.body, current, settings(), now=utc_now())
        if (amended.cleanup_webhook, amended.metadata.get("webhook_secret")) != (
            current.cleanup_webhook,
            current.metadata.get("webhook_secret"),
        ):
            fields.check_webhook_secret(amended, settings(), call.caller)
        if amended.cleanup_webhook != current.cleanup_webhook:
            check_name(amended.cleanup_webhook, settings())
        return amended, to

    return 200, api.shown(lifecycle().amend(call.key, patch, requested_by=call.caller))


def forget(call: api.Call) -> api.Reply:
    """Reply 200 with the record, which is ended without a cleanup. The body is `{"reason": "..."}`."""
    reason, over_hold = api.read_reasons(call.body)
    found = lifecycle().forget(call.key, reason=reason, requested_by=call.caller, over_hold=over_hold)
    return 200, api.shown(found)


def extend(call: api.Call) -> api.Reply:
    """Reply 200 with the deployment, and `extended`: its end before and now. The body is `{"by": seconds}` or `{"until": time}`."""
    extension = parse_extension(call.body)
    found, before = lifecycle().extend(
        call.key, lambda old: extension.lengthen(old, settings(), utc_now()), requested_by=call.caller
    )
    return 200, api.shown(found) | {"extended": {"from": before, "to": found.expires_at}}


def hold(call: api.Call) -> api.Reply:
    """Reply 200 with the deployment, which is held. The body is `{"reason": "...", "until": time}`."""
    reason, until = parse_hold(call.body, settings(), utc_now())
    return 200, api.shown(lifecycle().hold(call.key, reason=reason, until=until, requested_by=call.caller))


def unhold(call: api.Call) -> api.Reply:
    """Reply 200 with the deployment, which isn't held any more."""
    api.json_object(call.body, allowed=set())
    return 200, api.shown(lifecycle().unhold(call.key, requested_by=call.caller))


def exempt(call: api.Call) -> api.Reply:
    """Reply 200 with the stray, which is left alone until then. The body is `{"reason": "...", "until": time}`."""
    key = stray_lifecycle().require(strays.check_key(call.key)).key
    check_may_decide(key, call.caller, settings().act_on_everything)
    exemption = strays.parse_exemption(call.body, by=call.caller, now=utc_now())
    return 200, strays.shown(stray_lifecycle().exempt(key, exemption))


handler = front_door(
    {
        ("PATCH", "/deployments/{blueprint_id}"): amend,
        ("POST", "/deployments/{blueprint_id}/forget"): forget,
        ("POST", "/strays/{key}/exempt"): exempt,
        ("POST", "/deployments/{blueprint_id}/extend"): extend,
        ("POST", "/deployments/{blueprint_id}/hold"): hold,
        ("DELETE", "/deployments/{blueprint_id}/hold"): unhold,
    }
)
