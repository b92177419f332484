"""Reads what callers say of strays, lists them, and describes the deployment that adopts one.

Called by the functions behind the API, and by the survey, which adopts in the tracker's own name.
"""

import base64
import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tracker.intake import api, fields
from tracker.intake.listing import LIMIT, PAGING, read_limit
from tracker.intake.registration import parse_registration
from tracker.intake.shapes import check_names, describe
from tracker.intake.times import read_time
from tracker.model.catalogue import entry, missing
from tracker.model.deployment import DEPLOYMENT_TYPES, KEY_MAX, Deployment, format_time
from tracker.model.errors import Invalid, NotFound
from tracker.model.places import Place
from tracker.model.settings import Settings
from tracker.model.strays import EXEMPT_DAYS_MAX, KEY_PREFIX, Exemption, Stray, adopted_key
from tracker.store.strays import STATUS, Strays
from tracker.store.table import STRAY

HIDDEN = frozenset({"news", "version", "sequence", "ended_at", "stage"})
# The shortest time to live that every stack allows; the deployment that is described gets its own end after that.
_ANY_TTL = 60


def shown(stray: Stray) -> dict[str, Any]:
    """Return a stray as callers see it."""
    return {name: value for name, value in msgspec.to_builtins(stray).items() if name not in HIDDEN}


def listed(strays: Strays, query: dict[str, str]) -> dict[str, Any]:
    """Return `{"strays": [...], "cursor": string or null}`. Only a cursor that is null means the end."""
    check_names(query, PAGING)
    start = _start(query["cursor"]) if "cursor" in query else None
    page = strays.page(limit=read_limit(query.get("limit", str(LIMIT))), start=start)
    following = page.next_key["blueprint_id"]["S"] if page.next_key else None
    return {"strays": [shown(each) for each in page.items], "cursor": _cursor(following) if following else None}


def check_key(key: str) -> str:
    """Return the key of a stray. NotFound if it can't be one."""
    if not key.startswith(KEY_PREFIX):
        raise NotFound(f"there is no stray {key!r}: the key of one begins with {KEY_PREFIX}")
    return key


def parse_adoption(body: str) -> tuple[int | None, str]:
    """Return the time to live in seconds (None: due at once) and the reason of a body. Invalid if one is wrong."""
    found = api.json_object(body, allowed={"ttl_seconds", "reason"})
    ttl = found.get("ttl_seconds")
    if ttl is not None and (not isinstance(ttl, int) or isinstance(ttl, bool)):
        raise Invalid("ttl_seconds", describe(ttl), "an integer or null", malformed=True)
    return ttl, _reason(found, "why it is adopted, in words")


def parse_exemption(body: str, *, by: str, now: datetime) -> Exemption:
    """Return the exemption that a body describes. Invalid if it has no reason, or no end within a year from now."""
    found = api.json_object(body, allowed={"reason", "until"})
    until = found.get("until")
    if not isinstance(until, str):
        got = "nothing" if until is None else describe(until)
        raise Invalid("until", got, "a time in RFC 3339, such as 2026-01-31T12:00:00Z", malformed=True)
    end = read_time("until", until)
    latest = now + timedelta(days=EXEMPT_DAYS_MAX)
    if not now < end <= latest:
        raise Invalid("until", until, f"a time after {format_time(now)}, and not after {format_time(latest)}")
    return Exemption(reason=_reason(found, "why it is left alone, in words"), by=by, until=format_time(end))


def adoption(
    ttl_seconds: int | None, settings: Settings, *, now: datetime, by: str
) -> Callable[[Stray, str], Deployment]:
    """Return what describes the deployment that adopts a stray, given its generation. Without a time to live it is due at once."""

    def described(stray: Stray, generation: str) -> Deployment:
        ids = _ids(stray)
        body = {"resource_ids": ids, "ttl_seconds": _ANY_TTL if ttl_seconds is None else ttl_seconds}
        found = _parsed(stray.surveyed, settings, now, blueprint_id=adopted_key(stray.key), by=by, body=body)
        if ttl_seconds is None:
            found = msgspec.structs.replace(found, ttl_seconds=None, expires_at=found.deployed_at)
        resource = msgspec.structs.replace(stray.resource, named_by=stray.resource_key if ids else "")
        is_incomplete = bool(missing(found))
        return msgspec.structs.replace(
            found,
            id=f"dep-{generation}",
            generation=generation,
            resources=[resource],
            status="Unknown" if is_incomplete else "Active",
            incomplete=is_incomplete,
        )

    return described


def at_place(place: Place, settings: Settings, now: datetime) -> Deployment:
    """Return a deployment that says a place and nothing else. Invalid if no registration could say it now."""
    return _parsed(place, settings, now, blueprint_id="place", by="survey", body={"ttl_seconds": _ANY_TTL})


def _parsed(
    place: Place, settings: Settings, now: datetime, *, blueprint_id: str, by: str, body: dict[str, Any]
) -> Deployment:
    body |= {
        "blueprint_id": blueprint_id,
        "deployment_type": place.deployment_type,
        "metadata": place.metadata,
        "status": "Unknown",
    }
    if place.region is not None:
        body["region"] = place.region
    # What was rented goes also if no more of its type may be registered.
    settings = msgspec.structs.replace(settings, enabled_types=list(DEPLOYMENT_TYPES))
    return parse_registration(body, settings, now=now, registered_by=by, generation="none")


def _ids(stray: Stray) -> dict[str, str | list[str]]:
    """Return `resource_ids` that name a stray; empty if none can."""
    form = entry(stray.deployment_type).ids.get(stray.resource_key)
    if form is None or form.kind != stray.kind or not form.matches(stray.id):
        return {}
    return {stray.resource_key: [stray.id] if form.many else stray.id}


def _reason(found: dict[str, Any], expected: str) -> str:
    reason = found.get("reason", "")
    if not isinstance(reason, str):
        raise Invalid("reason", describe(reason), "a string", malformed=True)
    if not reason.strip() or len(reason.encode(errors="replace")) > api.REASON_MAX:
        got = f"{len(reason)} characters" if reason.strip() else reason
        raise Invalid("reason", got, f"{expected}, in at most {api.REASON_MAX} bytes")
    return fields.check_key("reason", reason)


def _cursor(key: str) -> str:
    digest = hashlib.sha256(f"strays\0{key}".encode()).hexdigest()[:12]
    return base64.urlsafe_b64encode(f"{digest}{key}".encode()).decode()


def _start(cursor: str) -> dict[str, dict[str, str]]:
    """Return the index key after which the list goes on. Invalid if no list of strays gave that cursor."""
    try:
        key = base64.urlsafe_b64decode(cursor).decode()[12:]
    except ValueError:
        key = ""
    if not 1 <= len(key.encode(errors="replace")) <= KEY_MAX or _cursor(key) != cursor:
        raise Invalid("cursor", "another string", "the cursor of the previous page, unchanged", malformed=True)
    return {"blueprint_id": {"S": key}, "item": {"S": STRAY}, "status": {"S": STATUS}}
