"""Begins cleanups: `DELETE /deployments/{blueprint_id}`, and `Service Terminated` events from their queue."""

import re

from tracker.intake import api, events
from tracker.intake.fields import check_key
from tracker.intake.shapes import check_names, describe
from tracker.model.catalogue import entry
from tracker.model.deployment import printable
from tracker.model.errors import Invalid, cut
from tracker.runtime import brake_on, front_door, lifecycle

# As many hashes as a deployment has resources at most.
PLAN = re.compile(r"(?:[A-Za-z0-9_-]{10}){1,200}", re.ASCII)


def terminate(call: api.Call) -> api.Reply:
    """Reply 202 while the cleanup runs, 200 with the receipt once it is over. The body may be `{"reason", "over_hold"}`.

    With the parameter `plan`, the digest of a plan, the cleanup deletes what is in that plan and nothing else. If the brake keeps the cleanup from beginning, the reply has `brake` besides: `{"mode", "message"}`.
    """
    reason, over_hold = api.read_reasons(call.body)
    plan = _plan(call.query)
    if plan:
        lifecycle().check_plan(call.key, plan, call.caller)
    deployment = lifecycle().terminate(
        call.key, reason=reason or "requested", requested_by=call.caller, over_hold=over_hold, plan=plan
    )
    shown = api.shown(deployment)
    if deployment.status == "Terminated":
        return 200, shown
    brake = brake_on(entry(deployment.deployment_type).platform)
    return 202, shown if brake["mode"] == "enforce" else shown | {"brake": brake}


def _plan(query: dict[str, str]) -> str:
    """Return the digest of the plan that the caller approved, empty if the call names none."""
    check_names(query, ("plan",))
    plan = query.get("plan", "")
    if "plan" in query and not PLAN.fullmatch(plan):
        raise Invalid("plan", cut(plan), "the digest that GET .../plan answered")
    return plan


def terminate_by_event(event: events.ServiceEvent) -> None:
    """Terminate the deployment whose service has ended. The detail is `{"blueprint_id", "reason"}`."""
    for name in event.detail:
        if name not in ("blueprint_id", "reason"):
            raise Invalid(cut(f"detail.{name}"), "an unknown field", "blueprint_id or reason", malformed=True)
    key, reason = event.detail.get("blueprint_id"), event.detail.get("reason") or "service terminated"
    if not isinstance(key, str):
        raise Invalid("detail.blueprint_id", describe(key), "a string that isn't empty", malformed=True)
    check_key("detail.blueprint_id", key)
    if not isinstance(reason, str):
        raise Invalid("detail.reason", describe(reason), "a string", malformed=True)
    # As of a call's reason.
    lifecycle().terminate(key, reason=printable(reason), requested_by=f"event {event.source}", asked_at=event.at)


handler = front_door({("DELETE", "/deployments/{blueprint_id}"): terminate}, terminate_by_event)
