"""Turns a registration into a deployment, or says which field is wrong, what came and what is expected.

Pure. Called by the register function (`POST /deployments`, `Service Initiated`).
"""

import hashlib
from datetime import datetime
from typing import Any, cast

from tracker.intake import fields
from tracker.intake.requests import RegistrationRequest, read_body
from tracker.intake.shapes import convert
from tracker.intake.times import compute_expiry
from tracker.model.deployment import Deployment, DeploymentType, format_time
from tracker.model.settings import Settings


def parse_registration(
    raw: bytes | str | dict[str, Any],
    settings: Settings,
    *,
    now: datetime,
    registered_by: str,
    generation: str,
    made_at: str = "",
    registered_at: datetime | None = None,
) -> Deployment:
    """Return the deployment that a request describes. Invalid, with the first field that is wrong.

    `raw` is a POST's body, or an event's detail that is decoded already. `made_at` identifies when the request was made, if the
    request's own `deployed_at` isn't to; `registered_at` is an event's time.
    """
    body, text = read_body(raw)
    request = convert(body, RegistrationRequest)
    fields.check_served(request.deployment_type, settings)
    at = format_time(registered_at or now)
    deployed_at = at if request.deployed_at is None else request.deployed_at
    ttl_seconds = request.ttl_seconds
    if ttl_seconds is None and request.expires_at is None:
        ttl_seconds = settings.default_ttl or None
    deployment = Deployment(
        id=f"dep-{generation}" if request.id is None else fields.check_key("id", request.id),
        blueprint_id=fields.check_key("blueprint_id", request.blueprint_id),
        deployment_type=cast(DeploymentType, request.deployment_type),
        deployed_at=deployed_at,
        ttl_seconds=ttl_seconds,
        expires_at=compute_expiry(deployed_at, ttl_seconds, request.expires_at, settings, now),
        status=fields.check_status("Active" if request.status is None else request.status),
        generation=generation,
        registered_by=registered_by,
        registered_at=at,
        fingerprint=hashlib.sha256(text).hexdigest(),
        made_at=made_at or request.deployed_at or "",
    )
    filled = fields.fill(deployment, request, settings)
    return fields.check_complete(filled, may_be_incomplete=filled.status == "Unknown")
