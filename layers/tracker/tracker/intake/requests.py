"""Reads the body of a registration or amendment, and defines the shape of a registration, which an amendment's result has too.

Pure. Called by `registration` and `amendment`.
"""

from typing import Any

import msgspec

from tracker.intake import shapes
from tracker.model.deployment import Price, ResourceSpec
from tracker.model.errors import Invalid

BODY_MAX = 102_400


class RegistrationRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A deployment as a caller describes it: each part has its type, but no value is checked yet (`fields`, `times`).

    The three maps hold anything: their values are checked one by one, so that a refusal names the key.
    """

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
    owner: str | None = None
    labels: dict[str, Any] | None = None
    cost_per_hour: Price | None = None
    warn_before: list[int] | None = None


def read_body(raw: bytes | str | dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return a request's object and its canonical text: keys sorted, nulls left out.

    `raw` is JSON, or an object that is decoded already. Invalid if it is too long or no object.
    """
    body = shapes.decode(check_size(raw), "a JSON object") if isinstance(raw, bytes | str) else raw
    if not isinstance(body, dict):
        raise Invalid("body", shapes.describe(body), "a JSON object", malformed=True)
    try:
        text = msgspec.json.encode(_without_nulls(body), order="sorted")
    except UnicodeError:
        raise Invalid("body", "text that isn't valid Unicode", "a JSON object in UTF-8", malformed=True) from None
    except RecursionError:
        raise Invalid("body", "JSON that is nested too deeply", "a JSON object", malformed=True) from None
    check_size(text)
    return body, text


def check_size(text: bytes | str) -> bytes:
    """Return a body as bytes. Invalid if there are too many of them."""
    try:
        raw = text.encode() if isinstance(text, str) else text
    except UnicodeError:
        raise Invalid("body", "text that isn't valid Unicode", "a JSON object in UTF-8", malformed=True) from None
    if len(raw) > BODY_MAX:
        raise Invalid("body", f"{len(raw)} bytes", f"at most {BODY_MAX} bytes of JSON")
    return raw


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value
