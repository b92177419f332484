"""Turns what a caller said into a deployment, or says which field is wrong, what came and what is expected.

Pure. Called by register (`POST /deployments`, `Service Initiated`) and amend (`PATCH /deployments/...`), which hold
to the same rules: an amendment is merged into what was said before, and the whole is looked at again.
"""

import hashlib
import re
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, cast

import msgspec

from tracker.catalogue import Entry, Form, entry, lacking, place_is_local
from tracker.deployment import (
    EVENT_TYPES,
    KEY_MAX,
    LIVE,
    RESOURCES_MAX,
    Deployment,
    DeploymentType,
    Resource,
    ResourceSpec,
    Status,
    format_time,
    parse_time,
)
from tracker.errors import Invalid, shown
from tracker.settings import YEARS_10, Settings
from tracker.webhooks import check_url

Provider = str | dict[str, str | list[str]] | None

BODY_MAX = 102_400
METADATA_KEY_MAX = 256
NAME_MAX = 255
AHEAD_MAX = timedelta(days=1)
# `ttl_seconds` and `expires_at` may come from two looks at the clock.
TTL_TOLERANCE = timedelta(seconds=1)
# What no store of numbers, and no machine, exceeds.
SIZE_MAX = 1e9
GPUS_MAX = 8

# The Rust tracker's names (serde's variants); two more carry hosts: {"DockerRemote": "..."}, {"BareMetal": ["..."]}.
PROVIDERS = (
    "AWS",
    "GCP",
    "Azure",
    "DigitalOcean",
    "Vultr",
    "Linode",
    "LambdaLabs",
    "RunPod",
    "VastAi",
    "CoreWeave",
    "Paperspace",
    "Fluidstack",
    "TensorDock",
    "Akash",
    "IoNet",
    "PrimeIntellect",
    "Render",
    "BittensorLium",
    "Hetzner",
    "Crusoe",
    "Generic",
    "DockerLocal",
)
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
)
TIMES = frozenset({"ttl_seconds", "expires_at"})

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)


class Said(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A registration's shape. The values of the three maps are looked at by hand: only so a complaint names the key."""

    blueprint_id: str
    deployment_type: str
    id: str | None = None
    provider: Any = None
    region: str | None = None
    resource_spec: ResourceSpec | None = None
    resource_ids: dict[str, Any] | None = None
    deployed_at: str | None = None
    ttl_seconds: int | None = None
    expires_at: str | None = None
    status: str | None = None
    cleanup_webhook: str | None = None
    webhook_events: list[str] | None = None
    metadata: dict[str, Any] | None = None


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
    """The deployment that a request describes. Invalid, with the first field that is wrong.

    `raw` is a POST's body, or an event's detail that is decoded already. `made_at` is what says when the request was
    made, if its own `deployed_at` isn't to; `registered_at` is an event's time.
    """
    body, text = _body(raw)
    said = _shaped(body)
    _must_be_served(said.deployment_type, settings)
    at = format_time(registered_at or now)
    deployed_at = at if said.deployed_at is None else said.deployed_at
    ttl_seconds = said.ttl_seconds
    if ttl_seconds is None and said.expires_at is None:
        ttl_seconds = settings.default_ttl or None
    expires_at = _expires_at(deployed_at, ttl_seconds, said.expires_at, settings, now)
    deployment = Deployment(
        id=f"dep-{generation}" if said.id is None else _key("id", said.id),
        blueprint_id=_key("blueprint_id", said.blueprint_id),
        deployment_type=cast(DeploymentType, said.deployment_type),
        deployed_at=deployed_at,
        ttl_seconds=ttl_seconds,
        expires_at=expires_at,
        status=_status("Active" if said.status is None else said.status),
        generation=generation,
        registered_by=registered_by,
        registered_at=at,
        fingerprint=hashlib.sha256(text).hexdigest(),
        made_at=made_at or said.deployed_at or "",
    )
    described = _described(deployment, said, settings)
    return _completed(described, may_lack=described.status == "Unknown")


def parse_amendment(
    raw: bytes | str | dict[str, Any], deployment: Deployment, settings: Settings, *, now: datetime
) -> tuple[Deployment, str | None]:
    """The deployment as a JSON merge patch leaves it, and the key that it moves to, None if it stays.

    Invalid, with the first field that is wrong. An id that is replaced or removed is kept in `resources`: the
    cleanup must still see it gone.
    """
    patch, _ = _body(raw)
    _must_be_amendable(patch)
    merged = _merged(_said_before(deployment, patch), patch)
    _bounded(msgspec.json.encode(merged))
    said = _shaped(merged)
    key = _key("blueprint_id", said.blueprint_id)
    changes: dict[str, Any] = {}
    if "status" in patch:
        changes["status"] = _status(said.status)
    if TIMES & patch.keys():
        changes["ttl_seconds"] = said.ttl_seconds
        changes["expires_at"] = _expires_at(deployment.deployed_at, said.ttl_seconds, said.expires_at, settings, now)
    amended = _described(msgspec.structs.replace(deployment, **changes), said, settings)
    amended = msgspec.structs.replace(amended, resources=_remembered(deployment, amended))
    # A failed round makes an incomplete one Active; that isn't the caller's claim that it is complete.
    may_lack = amended.status == "Unknown" or (deployment.incomplete and "status" not in patch)
    return _completed(amended, may_lack=may_lack), None if key == deployment.blueprint_id else key


# The request as a whole


def _body(raw: bytes | str | dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """A request's object, and its canonical text: keys sorted, what is null left out."""
    try:
        body = msgspec.json.decode(_bounded(raw)) if isinstance(raw, bytes | str) else raw
        text = msgspec.json.encode(_without_nulls(body), order="sorted")
    except UnicodeError:
        raise Invalid("body", "text that isn't valid Unicode", "a JSON object in UTF-8", malformed=True) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid("body", str(error), "a JSON object", malformed=True) from None
    if not isinstance(body, dict):
        raise Invalid("body", _kind_of(body), "a JSON object", malformed=True)
    _bounded(text)
    return body, text


def _bounded(text: bytes | str) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    if len(raw) > BODY_MAX:
        raise Invalid("body", f"{len(raw)} bytes", f"at most {BODY_MAX} bytes of JSON")
    return raw


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value


def _shaped(body: dict[str, Any]) -> Said:
    try:
        return msgspec.convert(body, Said)
    except msgspec.ValidationError as error:
        raise _malformed(str(error), body) from None


_COMPLAINT = re.compile(r"(?P<what>.*?)(?: - at `\$\.(?P<path>[\w.\[\]]+)`)?", re.DOTALL)
_FIELD = re.compile(r"Object (?P<fault>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL)
_EXPECTED = re.compile("Expected `(?P<type>[^`]*)`")
_WORDS = {
    "str": "text",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def _malformed(complaint: str, body: dict[str, Any]) -> Invalid:
    """What msgspec says of a wrong shape, in our words. It says it in one form, "... - at `$.path`"."""
    parts = cast(re.Match[str], _COMPLAINT.fullmatch(complaint))
    what, path = parts["what"], parts["path"] or ""
    if field := _FIELD.fullmatch(what):
        name = f"{path}.{field['name']}" if path else field["name"]
        if field["fault"] == "missing required":
            return Invalid(name, "nothing", "a value", malformed=True)
        return Invalid(shown(name), "an unknown field", "no field of that name", malformed=True)
    expected = _EXPECTED.search(what)
    types = expected["type"].split(" | ") if expected else []
    wanted = " or ".join(_WORDS.get(type_, type_) for type_ in types) or what
    return Invalid(path or "body", _kind_of(_found(path, body)), wanted, malformed=True)


def _found(path: str, body: Any) -> Any:
    """What is in a body at a path such as `webhook_events[0]`."""
    for step in re.findall(r"\w+", path):
        body = body[int(step)] if isinstance(body, list) else body[step]
    return body


def _kind_of(value: Any) -> str:
    """What sort of JSON value it is; of a number or flag the value itself, which holds no secret."""
    match value:
        case None:
            return "null"
        case bool() | int() | float():
            return repr(value)
        case str():
            return "text"
        case list():
            return "a list"
    return "an object"


# Amending


def _must_be_amendable(patch: dict[str, Any]) -> None:
    if not patch:
        raise Invalid("body", "nothing to change", f"at least one of {', '.join(AMENDABLE)}", malformed=True)
    for name in patch:
        if name not in AMENDABLE:
            raise Invalid(
                shown(name), "a field that can't be amended", f"one of {', '.join(AMENDABLE)}", malformed=True
            )
    for name in ("blueprint_id", "status"):
        if name in patch and patch[name] is None:
            raise Invalid(name, "null", "text: it can be changed, but not removed", malformed=True)


def _said_before(deployment: Deployment, patch: dict[str, Any]) -> dict[str, Any]:
    """What a patch is merged into: without what it replaces as a whole. Of the two times each follows from the other."""
    replaced = {"provider"} & patch.keys() | (TIMES if TIMES & patch.keys() else set())
    said: dict[str, Any] = msgspec.to_builtins(
        {name: getattr(deployment, name) for name in ("deployment_type", *AMENDABLE) if name not in replaced}
    )
    return said


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7396: objects are merged, null removes, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def _remembered(before: Deployment, after: Deployment) -> list[Resource]:
    """The resources, with the ids that were named before and aren't any more."""
    resources = {resource.key: resource for resource in before.resources}
    named = set()
    for key, form in entry(before.deployment_type).ids.items():
        if not form.kind:
            continue
        current = _ids(after.resource_ids.get(key, []))
        named |= {(form.kind, each) for each in current}
        for former in _ids(before.resource_ids.get(key, [])):
            if former not in current:
                known = resources.get((form.kind, former), Resource(kind=form.kind, id=former))
                resources[known.key] = msgspec.structs.replace(known, named_by=known.named_by or key)
    count = len(named | resources.keys())
    if count > RESOURCES_MAX:
        raise Invalid("resource_ids", f"{count} ids, former ones counted", f"at most {RESOURCES_MAX}")
    return list(resources.values())


def _ids(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


# The record's fields


def _described(deployment: Deployment, said: Said, settings: Settings) -> Deployment:
    """The deployment with all that a registration and an amendment alike may say of it."""
    type_ = entry(deployment.deployment_type)
    described = msgspec.structs.replace(
        deployment,
        provider=_provider(said.provider),
        region=_region(said.region, type_),
        resource_spec=_resource_spec(said.resource_spec or ResourceSpec()),
        resource_ids=_resource_ids(said.resource_ids or {}, type_, settings),
        cleanup_webhook=_webhook(said.cleanup_webhook, settings),
        webhook_events=_webhook_events(said.webhook_events or []),
        metadata=_metadata(said.metadata or {}, type_, settings),
    )
    return _placed(described, settings)


def _completed(deployment: Deployment, *, may_lack: bool) -> Deployment:
    """Marked as incomplete if its type needs more, which only some may be."""
    lacks = lacking(deployment)
    if lacks and not may_lack:
        field, expected = lacks[0]
        raise Invalid(field, "nothing", expected)
    return msgspec.structs.replace(deployment, incomplete=bool(lacks))


def _must_be_served(deployment_type: str, settings: Settings) -> None:
    if entry(deployment_type).module is None or deployment_type not in settings.enabled_types:
        raise Invalid("deployment_type", deployment_type, "a type that this stack serves")


def _key(field: str, value: str) -> str:
    return _text(field, value, KEY_MAX)


def _text(field: str, value: str, limit: int) -> str:
    """Lone surrogates, controls and separators other than a blank aren't printable."""
    if not value.isprintable() or not 1 <= len(value.encode()) <= limit:
        raise Invalid(field, value, f"printable text of 1 to {limit} bytes in UTF-8")
    return value


def _status(value: str | None) -> Status:
    if value not in LIVE:
        raise Invalid("status", value, f"one of {', '.join(LIVE)}")
    return cast(Status, value)


def _provider(value: Any) -> Provider:
    wanted = 'null, a provider\'s name, {"DockerRemote": host} or {"BareMetal": [host, ...]}'
    match value:
        case None:
            return None
        case str():
            if value not in PROVIDERS:
                raise Invalid("provider", value, f"one of {', '.join(PROVIDERS)}")
            return value
        case {"DockerRemote": str() as host, **others} if not others:
            return {"DockerRemote": _text("provider.DockerRemote", host, NAME_MAX)}
        case {"BareMetal": list() as hosts, **others} if not others and all(isinstance(host, str) for host in hosts):
            return {"BareMetal": [_text("provider.BareMetal", host, NAME_MAX) for host in hosts]}
    raise Invalid("provider", _kind_of(value), wanted, malformed=True)


def _region(value: str | None, type_: Entry) -> str | None:
    if value is None:
        return None
    if type_.region and not type_.region.matches(value):
        raise Invalid("region", value, f"a region, such as {type_.region.example}")
    return _text("region", value, NAME_MAX)


def _resource_spec(spec: ResourceSpec) -> ResourceSpec:
    least = {"cpu": 0.1, "memory_gb": 0.5, "storage_gb": 1.0}
    for name, bound in least.items():
        _number(f"resource_spec.{name}", getattr(spec, name), bound)
    if spec.gpu_count is not None:
        _number("resource_spec.gpu_count", spec.gpu_count, 1, GPUS_MAX)
    if spec.qos:
        for name in spec.qos.__struct_fields__:
            value = getattr(spec.qos, name)
            if value is not None:
                _number(f"resource_spec.qos.{name}", value, 0)
    return spec


def _number(field: str, value: float, least: float, most: float = SIZE_MAX) -> None:
    # Said so that NaN, which an event's detail may hold, fails too.
    if not least <= value <= most:
        raise Invalid(field, value, f"a number from {least:g} to {most:g}")


def _resource_ids(said: dict[str, Any], type_: Entry, settings: Settings) -> dict[str, str | list[str]]:
    for key, value in said.items():
        if key not in type_.ids:
            raise Invalid(shown(f"resource_ids.{key}"), "an unknown key", f"one of {', '.join(type_.ids)}")
        form = type_.ids[key]
        _must_be_ids(f"resource_ids.{key}", value, form)
        if form.guard and not all(settings.allows(form.guard, each) for each in _ids(value)):
            raise Invalid(f"resource_ids.{key}", value, f"a {form.guard} that this stack's settings allow")
    count = sum(len(_ids(value)) for value in said.values())
    if count > RESOURCES_MAX:
        raise Invalid("resource_ids", f"{count} ids", f"at most {RESOURCES_MAX}")
    return said


def _must_be_ids(field: str, value: Any, form: Form) -> None:
    wanted = f"an id such as {form.example}"
    if not isinstance(value, str | list) or not all(isinstance(each, str) for each in value):
        raise Invalid(field, _kind_of(value), f"{wanted}{', or a list of them' if form.many else ''}", malformed=True)
    if isinstance(value, list) and not form.many:
        raise Invalid(field, value, f"one id, not a list: {wanted}")
    if isinstance(value, list) and (not value or len(set(value)) < len(value)):
        raise Invalid(field, value, "at least one id, and none twice")
    for each in _ids(value):
        if not form.matches(each):
            raise Invalid(field, each, wanted)


def _metadata(said: dict[str, Any], type_: Entry, settings: Settings) -> dict[str, str]:
    for key, value in said.items():
        _text("metadata", key, METADATA_KEY_MAX)
        field = f"metadata.{key}"
        if not isinstance(value, str):
            raise Invalid(field, _kind_of(value), "text", malformed=True)
        form = type_.metadata.get(key)
        if form is None:
            continue
        came = f"{len(value)} characters"
        if not form.matches(value):
            raise Invalid(field, came, f"a value such as {form.example}")
        if form.guard and value != form.unguarded and not settings.allows(form.guard, value):
            raise Invalid(field, came, f"a {form.guard.replace('_', ' ')} that this stack's settings allow")
    return said


def _placed(deployment: Deployment, settings: Settings) -> Deployment:
    """What is on "this machine" says which one that is."""
    if not place_is_local(deployment):
        return deployment
    type_ = entry(deployment.deployment_type)
    if isinstance(deployment.provider, dict) and "DockerRemote" in deployment.provider:
        raise Invalid("metadata.docker_host", "nothing that is remote", "the remote engine that the provider names")
    place = msgspec.structs.asdict(settings.local_place) if settings.local_place else {}
    here = {key: value for key, value in place.items() if key in type_.metadata}
    if not here or not all(here.values()):
        wanted = "a type whose place isn't this machine, since this stack has no machine of its own"
        if type_.remote_with:
            wanted += f", or metadata.{type_.remote_with}"
        raise Invalid("deployment_type", deployment.deployment_type, wanted)
    for key in ("host", "docker_engine"):
        named = deployment.metadata.get(key)
        if named is not None and key in here and named != here[key]:
            raise Invalid(f"metadata.{key}", f"{len(named)} characters", "this machine's own, or none")
    return msgspec.structs.replace(deployment, metadata=here | deployment.metadata)


def _webhook(url: str | None, settings: Settings) -> str | None:
    if url is not None:
        check_url(url, settings)
    return url


def _webhook_events(said: list[str]) -> list[str]:
    for index, name in enumerate(said):
        if name not in EVENT_TYPES:
            raise Invalid(f"webhook_events[{index}]", name, f"one of {', '.join(EVENT_TYPES)}")
    return said


# Times


def _expires_at(
    deployed_at: str, ttl_seconds: int | None, expires_at: str | None, settings: Settings, now: datetime
) -> str | None:
    """When its time is over, from what is said of it; None if never."""
    begin = _time("deployed_at", deployed_at)
    if begin - now > AHEAD_MAX:
        raise Invalid("deployed_at", deployed_at, "a time that isn't more than a day ahead")
    if ttl_seconds is not None:
        if not 1 <= ttl_seconds <= YEARS_10:
            raise Invalid("ttl_seconds", ttl_seconds, f"an integer from 1 to {YEARS_10}")
        _must_be_short("ttl_seconds", ttl_seconds, settings)
    if expires_at is not None:
        end = _time("expires_at", expires_at)
        if end <= begin:
            raise Invalid("expires_at", expires_at, f"a time after deployed_at, {deployed_at}")
        if ttl_seconds is None:
            _must_be_short("expires_at", (end - begin).total_seconds(), settings)
        elif abs(end - begin - timedelta(seconds=ttl_seconds)) > TTL_TOLERANCE:
            raise Invalid(
                "expires_at", expires_at, f"deployed_at and {ttl_seconds} s, as ttl_seconds says, or one of both"
            )
        return expires_at
    if ttl_seconds is not None:
        return format_time(begin + timedelta(seconds=ttl_seconds))
    if settings.max_ttl < YEARS_10:
        raise Invalid(
            "ttl_seconds", "nothing", f"at most {settings.max_ttl} s: on this stack every deployment's time ends"
        )
    return None


def _must_be_short(field: str, lifetime: float, settings: Settings) -> None:
    most = min(settings.max_ttl, YEARS_10)
    if not 1 <= lifetime <= most:
        raise Invalid(field, f"a lifetime of {lifetime:g} s", f"1 to {most} s after deployed_at")


def _time(field: str, text: str) -> datetime:
    if _RFC_3339.fullmatch(text):
        with suppress(ValueError, OverflowError):
            return parse_time(text)
    raise Invalid(field, text, "a time in RFC 3339, such as 2026-01-31T12:00:00Z")
