"""Checks the fields of a record one by one, against the catalogue and the settings.

Pure. Called by `registration` and `amendment`, which hold to the same rules.
"""

import re
from typing import Any, cast

import msgspec

from tracker.intake.requests import RegistrationRequest
from tracker.intake.shapes import describe
from tracker.model.catalogue import CATALOGUE, Entry, Form, entry, missing_fields, place_is_local
from tracker.model.deployment import (
    EVENT_TYPES,
    KEY_MAX,
    LIVE,
    RESOURCES_MAX,
    Deployment,
    Price,
    ResourceSpec,
    Status,
)
from tracker.model.errors import Invalid, cut
from tracker.model.settings import Settings
from tracker.notify.targets import check_url

type Provider = str | dict[str, str | list[str]] | None

METADATA_KEY_MAX = 256
NAME_MAX = 255
# What the Rust tracker keeps sizes and qualities in.
F32_MAX = 3.4028236e38
GPUS_MAX = 8
OWNER_MAX = 256
LABELS_MAX = 20
LABEL_KEY = re.compile(r"[A-Za-z0-9._/-]{1,63}", re.ASCII)
LABEL_MAX = 128
PRICE_MAX = 1e6
CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
WARNINGS_MAX = 5
# Seconds before the end: a minute to a year.
WARN_BEFORE = (60, 31_536_000)
# Kubernetes doesn't let anyone delete it.
SHARED_NAMESPACE = "default"
# Where a Docker engine answers with TLS, if nobody says otherwise.
DOCKER_TLS_PORT = 2376

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


def fill(deployment: Deployment, request: RegistrationRequest, settings: Settings) -> Deployment:
    """Return the deployment with the fields that a registration and an amendment both may set. Invalid if one is wrong.

    What the deployment has already isn't checked anew: a setting that was narrowed since must not keep anyone from handing in an id.
    """
    type_ = entry(deployment.deployment_type)
    filled = msgspec.structs.replace(
        deployment,
        provider=_provider(request.provider),
        region=_region(request.region, type_),
        resource_spec=_resource_spec(request.resource_spec or ResourceSpec()),
        resource_ids=_resource_ids(request.resource_ids or {}, deployment.resource_ids, type_, settings),
        cleanup_webhook=_webhook(request.cleanup_webhook, deployment.cleanup_webhook, settings),
        webhook_events=_webhook_events(request.webhook_events or []),
        metadata=_metadata(request.metadata or {}, deployment.metadata, type_, settings),
        owner=None if request.owner is None else check_owner(request.owner),
        labels=_labels(request.labels or {}),
        cost_per_hour=_price(request.cost_per_hour),
        warn_before=_warn_before(request.warn_before),
    )
    if filled.metadata.get("delete_namespace") and filled.resource_ids.get("namespace") == SHARED_NAMESPACE:
        raise Invalid(
            "metadata.delete_namespace", f"that of {SHARED_NAMESPACE}", "none: every cluster has that namespace"
        )
    return _with_place(filled, deployment.metadata, settings)


def check_complete(deployment: Deployment, *, may_be_incomplete: bool) -> Deployment:
    """Return the deployment, marked as incomplete if its type needs more. Invalid if that isn't allowed."""
    missing = missing_fields(deployment)
    if missing and not may_be_incomplete:
        field, expected = missing[0]
        raise Invalid(field, "nothing", expected)
    return msgspec.structs.replace(deployment, incomplete=bool(missing))


def check_served(deployment_type: str, settings: Settings) -> None:
    """Raise Invalid if this stack serves no such type."""
    served = [name for name in settings.enabled_types if name in CATALOGUE and CATALOGUE[name].module]
    if deployment_type not in served:
        wanted = (
            f"a type that this stack serves: {', '.join(served)}" if served else "nothing: this stack serves no type"
        )
        raise Invalid("deployment_type", deployment_type, wanted)


def check_webhook_secret(deployment: Deployment, settings: Settings, caller: str) -> None:
    """Raise Invalid if a caller may not have the deployment's webhook calls signed with the secret that its metadata names.

    Whoever reads such calls takes them for those of the secret's team.
    """
    secret = deployment.metadata.get("webhook_secret", "")
    if secret and not settings.lets_sign(caller, secret):
        expected = "a secret for which WebhookSecretCallers names the caller"
        raise Invalid("metadata.webhook_secret", f"{len(secret)} characters", expected)


def check_key(field: str, value: str) -> str:
    """Return an id or key. Invalid if it is too long or not printable."""
    return check_text(field, value, KEY_MAX)


def check_text(field: str, value: str, limit: int) -> str:
    """Return a string of printable characters: no lone surrogate, no control, no separator but a blank."""
    if not value.isprintable() or not value.strip() or len(value.encode()) > limit:
        raise Invalid(field, value, f"a printable string of 1 to {limit} bytes in UTF-8, not of blanks alone")
    return value


def check_status(value: str | None) -> Status:
    """Return the status. Invalid if callers may not set it."""
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
            return {"DockerRemote": check_text("provider.DockerRemote", host, NAME_MAX)}
        case {"BareMetal": list() as hosts, **others} if not others and all(isinstance(host, str) for host in hosts):
            return {"BareMetal": [check_text("provider.BareMetal", host, NAME_MAX) for host in hosts]}
    raise Invalid("provider", describe(value), wanted, malformed=True)


def _region(value: str | None, type_: Entry) -> str | None:
    if value is None:
        return None
    if type_.place == "local":
        raise Invalid(
            "region", value, "no region: deployments of this type are on a machine, which their metadata names"
        )
    if type_.region and not type_.region.matches(value):
        raise Invalid("region", value, f"a region, such as {type_.region.example}")
    return check_text("region", value, NAME_MAX)


def _resource_spec(spec: ResourceSpec) -> ResourceSpec:
    for name in ("cpu", "memory_gb", "storage_gb"):
        _number(f"resource_spec.{name}", getattr(spec, name), 0, F32_MAX)
    if spec.gpu_count is not None:
        _number("resource_spec.gpu_count", spec.gpu_count, 1, GPUS_MAX)
    if spec.qos:
        for name in spec.qos.__struct_fields__:
            value = getattr(spec.qos, name)
            if value is not None:
                _number(f"resource_spec.qos.{name}", value, -F32_MAX, F32_MAX)
    return spec


def _number(field: str, value: float, least: float, most: float) -> None:
    # In this form the check fails for NaN too, which an event's detail may hold.
    if not least <= value <= most:
        raise Invalid(field, value, f"a number from {least:g} to {most:g}")


def _resource_ids(
    ids: dict[str, Any], before: dict[str, str | list[str]], type_: Entry, settings: Settings
) -> dict[str, str | list[str]]:
    for key, value in ids.items():
        if key not in type_.ids:
            raise Invalid(cut(f"resource_ids.{key}"), "an unknown key", f"one of {', '.join(type_.ids)}")
        form = type_.ids[key]
        known = ids_in(before.get(key, []))
        _check_ids(f"resource_ids.{key}", value, known, form)
        if form.guard and not all(each in known or settings.allows(form.guard, each) for each in ids_in(value)):
            raise Invalid(f"resource_ids.{key}", value, f"a {form.guard} that this stack's settings allow")
    count = sum(len(ids_in(value)) for value in ids.values())
    if count > RESOURCES_MAX:
        raise Invalid("resource_ids", f"{count} ids", f"at most {RESOURCES_MAX}")
    return ids


def _check_ids(field: str, value: Any, known: list[str], form: Form) -> None:
    wanted = f"an id such as {form.example}"
    if not isinstance(value, str | list) or not all(isinstance(each, str) for each in value):
        raise Invalid(field, describe(value), f"{wanted}{', or an array of them' if form.many else ''}", malformed=True)
    if isinstance(value, list) and not form.many:
        raise Invalid(field, value, f"one id, not an array: {wanted}")
    if isinstance(value, list) and (not value or len(set(value)) < len(value)):
        raise Invalid(field, value, "at least one id, and none twice")
    for each in ids_in(value):
        if each not in known and not form.matches(each):
            raise Invalid(field, each, wanted)


def _metadata(metadata: dict[str, Any], before: dict[str, str], type_: Entry, settings: Settings) -> dict[str, str]:
    for key, value in metadata.items():
        check_text("metadata", key, METADATA_KEY_MAX)
        field = f"metadata.{key}"
        if not isinstance(value, str):
            raise Invalid(field, describe(value), "a string", malformed=True)
        form = type_.metadata.get(key)
        if form is None or value == before.get(key):
            continue
        # The value itself may be a secret.
        got = f"{len(value)} characters"
        if not form.matches(value):
            raise Invalid(field, got, f"a value such as {form.example}")
        if form.guard and value != form.unguarded and not settings.allows(form.guard, value):
            raise Invalid(field, got, f"a {form.guard.replace('_', ' ')} that this stack's settings allow")
    return metadata


def _with_place(deployment: Deployment, before: dict[str, str], settings: Settings) -> Deployment:
    """Return the deployment; if it is on the stack's own machine, its metadata names that machine.

    No caller says which boot of it: what ran before a boot counts as gone. An amendment leaves what the record has `before`.
    """
    if not place_is_local(deployment):
        return deployment
    type_ = entry(deployment.deployment_type)
    if isinstance(deployment.provider, dict) and "DockerRemote" in deployment.provider:
        return _on_remote_engine(deployment, str(deployment.provider["DockerRemote"]), before, settings)
    place = msgspec.structs.asdict(settings.local_place) if settings.local_place else {}
    here = {key: value for key, value in place.items() if key in type_.metadata}
    if not here or not all(here.values()):
        wanted = "a type whose place isn't this machine, since this stack has no machine of its own"
        if type_.remote_with:
            wanted += f", or metadata.{type_.remote_with}"
        raise Invalid("deployment_type", deployment.deployment_type, wanted)
    for key in ("host", "boot_id", "docker_engine"):
        named = deployment.metadata.get(key)
        if named is not None and key in here and named not in (here[key], before.get(key)):
            raise Invalid(f"metadata.{key}", f"{len(named)} characters", "this machine's own, or none")
    return msgspec.structs.replace(deployment, metadata=here | deployment.metadata)


def _on_remote_engine(deployment: Deployment, host: str, before: dict[str, str], settings: Settings) -> Deployment:
    """Return the deployment with the engine that the provider names as its place. Invalid if no setting allows that."""
    endpoint = _engine_at(host)
    form = entry(deployment.deployment_type).metadata.get("docker_host")
    is_known = endpoint == before.get("docker_host")
    is_one = form is not None and form.matches(endpoint) and not endpoint.startswith("unix:")
    if not is_known and not (is_one and settings.allows("endpoint", endpoint)):
        wanted = "host, host:port, tcp://host:port or ssh://user@host, which AllowedEndpoints allows as a URL"
        # It may hold a password.
        raise Invalid("provider.DockerRemote", f"{len(host)} characters", f"{wanted}; or metadata.docker_host")
    return msgspec.structs.replace(deployment, metadata=deployment.metadata | {"docker_host": endpoint})


def _engine_at(host: str) -> str:
    """Return the URL of the engine that a host means, or a URL as Docker's own clients take it, with the port of TLS if it has none."""
    scheme, _, rest = host.rpartition("://")
    if scheme not in ("", "tcp", "https"):
        return host
    rest = rest.removesuffix("/")
    if rest.count(":") > 1 and not rest.startswith("["):
        rest = f"[{rest}]"
    _, _, port = rest.rpartition("]")[2].partition(":")
    return f"tcp://{rest}" if port else f"tcp://{rest}:{DOCKER_TLS_PORT}"


def _webhook(url: str | None, before: str | None, settings: Settings) -> str | None:
    if url is not None and url != before:
        check_url(url, settings)
    return url


def _webhook_events(events: list[str]) -> list[str]:
    for index, name in enumerate(events):
        if name not in EVENT_TYPES:
            raise Invalid(f"webhook_events[{index}]", name, f"one of {', '.join(EVENT_TYPES)}")
        if name in events[:index]:
            raise Invalid(f"webhook_events[{index}]", name, "each event once")
    return events


def check_owner(value: str) -> str:
    """Return an owner. Invalid if it is too long or not printable."""
    if len(value) > OWNER_MAX:
        raise Invalid("owner", f"{len(value)} characters", f"a printable string of 1 to {OWNER_MAX} characters")
    return check_text("owner", value, 4 * OWNER_MAX)


def _labels(labels: dict[str, Any]) -> dict[str, str]:
    if len(labels) > LABELS_MAX:
        raise Invalid("labels", f"{len(labels)} labels", f"at most {LABELS_MAX}")
    for key, value in labels.items():
        if not LABEL_KEY.fullmatch(key):
            raise Invalid("labels", key, "keys of 1 to 63 characters of A-Z, a-z, 0-9, '.', '_', '/' and '-'")
        if not isinstance(value, str):
            raise Invalid(f"labels.{key}", describe(value), "a string", malformed=True)
        if len(value) > LABEL_MAX or not value.isprintable():
            raise Invalid(f"labels.{key}", value, f"a printable string of at most {LABEL_MAX} characters")
    return labels


def _price(price: Price | None) -> Price | None:
    if price is not None:
        _number("cost_per_hour.amount", price.amount, 0, PRICE_MAX)
        if not CURRENCY.fullmatch(price.currency):
            raise Invalid("cost_per_hour.currency", price.currency, "three capital letters, such as USD")
    return price


def _warn_before(moments: list[int] | None) -> list[int] | None:
    if moments is None:
        return None
    if len(moments) > WARNINGS_MAX:
        raise Invalid("warn_before", f"{len(moments)} moments", f"at most {WARNINGS_MAX}")
    for index, seconds in enumerate(moments):
        least, most = WARN_BEFORE
        if not least <= seconds <= most:
            raise Invalid(
                f"warn_before[{index}]", seconds, f"an integer from {least} to {most}: seconds before the end"
            )
        if seconds in moments[:index]:
            raise Invalid(f"warn_before[{index}]", seconds, "each moment once")
    return moments


def ids_in(value: str | list[str]) -> list[str]:
    """Return the ids of one key of `resource_ids`, which holds one or a list of them."""
    return [value] if isinstance(value, str) else value
