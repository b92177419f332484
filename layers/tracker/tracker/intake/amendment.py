"""Merges an amendment into a deployment, or says which field is wrong, what came and what is expected.

Pure. Called by the amend function (`PATCH /deployments/...`). The merged whole is held to the rules of a registration.
"""

from datetime import datetime
from typing import Any

import msgspec

from tracker.intake import fields
from tracker.intake.requests import RegistrationRequest, check_size, read_body
from tracker.intake.shapes import convert
from tracker.intake.times import compute_expiry, compute_ttl
from tracker.model.catalogue import entry
from tracker.model.deployment import (
    RESOURCES_MAX,
    Deployment,
    Resource,
    adds_ids_only,
    cleanup_failed,
    only_adding,
    parse_time,
)
from tracker.model.errors import Conflict, Invalid, cut
from tracker.model.settings import Settings

AMENDABLE = (
    "blueprint_id",
    "provider",
    "region",
    "resource_spec",
    "resource_ids",
    "ttl_seconds",
    "expires_at",
    "status",
    "cleanup_webhook",
    "webhook_events",
    "metadata",
    "owner",
    "labels",
    "cost_per_hour",
    "warn_before",
)
TIMES = frozenset({"ttl_seconds", "expires_at"})


def parse_amendment(
    raw: bytes | str | dict[str, Any], deployment: Deployment, settings: Settings, *, now: datetime
) -> tuple[Deployment, str | None]:
    """Return the deployment as a JSON merge patch leaves it, and the key that it moves to, None if it stays.

    Invalid, with the first field that is wrong. An id that is replaced or removed is kept in `resources`: the
    cleanup must still see it gone.
    """
    patch, _ = read_body(raw)
    _check_amendable(patch)
    merged = _merge(_kept(deployment, patch), patch)
    check_size(msgspec.json.encode(merged))
    request = convert(merged, RegistrationRequest)
    if not deployment.is_live:
        _check_only_adds(deployment, patch, merged)
    key = fields.check_key("blueprint_id", request.blueprint_id)
    changes: dict[str, Any] = {}
    if "status" in patch:
        changes["status"] = fields.check_status(request.status)
    if TIMES & patch.keys():
        expires_at = compute_expiry(deployment.deployed_at, request.ttl_seconds, request.expires_at, settings, now)
        _check_end(expires_at, deployment, patch, now)
        changes["expires_at"] = expires_at
        changes["ttl_seconds"] = request.ttl_seconds or compute_ttl(deployment.deployed_at, expires_at)
    amended = fields.fill(msgspec.structs.replace(deployment, **changes), request, settings)
    amended = msgspec.structs.replace(amended, resources=_resources_with_former(deployment, amended))
    # A failed round makes an incomplete deployment Active; that isn't the caller's claim that it is complete.
    may_be_incomplete = amended.status == "Unknown" or (deployment.incomplete and "status" not in patch)
    complete = fields.check_complete(amended, may_be_incomplete=may_be_incomplete)
    return complete, None if key == deployment.blueprint_id else key


def _check_end(expires_at: str | None, deployment: Deployment, patch: dict[str, Any], now: datetime) -> None:
    """Raise Conflict if the end can't change any more, or would be at once: who wants that says so."""
    field = next(iter(sorted(TIMES & patch.keys())))
    if deployment.cleanup.is_failing and expires_at != deployment.expires_at:
        raise cleanup_failed(deployment, field)
    if deployment.is_live and expires_at is not None and parse_time(expires_at) <= now:
        text = (
            f"{field} is counted from deployed_at, {deployment.deployed_at}: its time would have been over at {expires_at}."
            " DELETE ends it now"
        )
        raise Conflict(text, field=field, deployment=deployment)


def _check_only_adds(deployment: Deployment, patch: dict[str, Any], merged: dict[str, Any]) -> None:
    """Raise Conflict if a patch does anything to a deployment that isn't live but to add ids, whatever values it holds."""
    if "resource_ids" not in patch:
        raise only_adding(deployment, next(iter(patch)))
    before = _kept(deployment, {})
    for name in patch:
        if name != "resource_ids" and merged.get(name) != before.get(name):
            raise only_adding(deployment, name)
    if not adds_ids_only(deployment.resource_ids, merged.get("resource_ids", {})):
        raise only_adding(deployment)


def _check_amendable(patch: dict[str, Any]) -> None:
    if not patch:
        raise Invalid("body", "nothing to change", f"at least one of {', '.join(AMENDABLE)}", malformed=True)
    for name in patch:
        if name not in AMENDABLE:
            raise Invalid(cut(name), "a field that can't be amended", f"one of {', '.join(AMENDABLE)}", malformed=True)
    for name in ("blueprint_id", "status"):
        if name in patch and patch[name] is None:
            raise Invalid(name, "null", "a string: it can be changed, but not removed", malformed=True)


def _kept(deployment: Deployment, patch: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that a patch is merged into: all but those that it replaces as a whole.

    Of the two times each follows from the other, so that a patch of one replaces both.
    """
    replaced = {"provider"} & patch.keys() | (TIMES if TIMES & patch.keys() else set())
    kept: dict[str, Any] = msgspec.to_builtins(
        {name: getattr(deployment, name) for name in ("deployment_type", *AMENDABLE) if name not in replaced}
    )
    return kept


def _merge(target: Any, patch: Any) -> Any:
    """Merge as RFC 7396 says: objects are merged, null removes, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


def _resources_with_former(before: Deployment, after: Deployment) -> list[Resource]:
    """Return the resources, with the ids that were named before and aren't any more."""
    resources = {resource.key: resource for resource in before.resources}
    named = set()
    for key, form in entry(before.deployment_type).ids.items():
        if not form.kind:
            continue
        current = fields.ids_in(after.resource_ids.get(key, []))
        named |= {(form.kind, each) for each in current}
        for former in fields.ids_in(before.resource_ids.get(key, [])):
            if former not in current:
                known = resources.get((form.kind, former), Resource(kind=form.kind, id=former))
                resources[known.key] = msgspec.structs.replace(known, named_by=known.named_by or key)
    count = len(named | resources.keys())
    if count > RESOURCES_MAX:
        raise Invalid("resource_ids", f"{count} ids, former ones counted", f"at most {RESOURCES_MAX}")
    return list(resources.values())
