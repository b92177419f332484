"""The HTTPS door: what API Gateway hands to a function, and how it is answered.

The gateway has routed the call already, so a function says which of its resources it serves, by the gateway's
own name for it: matching the path again would misread keys that hold odd characters.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
from aws_lambda_powertools import Logger

from tracker.deployment import KEY_MAX, Deployment, decode_key
from tracker.errors import Invalid, NotFound, Problem

HIDDEN = frozenset({"fingerprint", "made_at", "news"})
HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store"}

logger = Logger(child=True)


class Call(msgspec.Struct, frozen=True):
    """One HTTPS call: its method, the key in its path, query, body, who signed it, and the delivery that its path names."""

    method: str
    path_key: str
    query: dict[str, str]
    body: str
    caller: str
    webhook_id: str = ""

    @property
    def key(self) -> str:
        """The `blueprint_id` that the path names."""
        key = decode_key(self.path_key)
        if not 1 <= len(key.encode(errors="replace")) <= KEY_MAX:
            raise Invalid("blueprint_id", key, f"a key of 1 to {KEY_MAX} bytes")
        return key


Answer = tuple[int, Any]
Routes = Mapping[tuple[str, str], Callable[[Call], Answer]]


def is_call(event: Mapping[str, Any]) -> bool:
    """Whether a function was called through the gateway."""
    return "httpMethod" in event


def serve(event: Mapping[str, Any], routes: Routes) -> dict[str, Any]:
    """Answer a call by its route; problems become their JSON, anything else a bare 500."""
    try:
        route = routes.get((event["httpMethod"], event["resource"]))
        if route is None:
            raise NotFound(f"no such resource: {event['httpMethod']} {event['resource']}")
        status, body = route(read_call(event))
    except Problem as problem:
        details = {name: shown(value) for name, value in problem.details.items()}
        status = problem.status
        body = {"error": {"code": problem.code, "message": problem.message, **details}}
    except Exception:
        # The caller is told nothing of our insides; the log has it.
        logger.exception("a call failed")
        status, body = 500, {"error": {"code": "internal", "message": "the call failed on our side; try again"}}
    return {"statusCode": status, "headers": HEADERS, "body": msgspec.json.encode(body).decode()}


def read_call(event: Mapping[str, Any]) -> Call:
    """Read a REST API's proxy event."""
    segments = event.get("pathParameters") or {}
    body = event.get("body") or ""
    if body and event.get("isBase64Encoded"):
        try:
            body = base64.b64decode(body, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise Invalid("body", "bytes", "JSON in UTF-8", malformed=True) from error
    identity = (event.get("requestContext") or {}).get("identity") or {}
    return Call(
        method=event["httpMethod"],
        path_key=unquote(segments.get("blueprint_id", "")),
        query={name: value for name, value in (event.get("queryStringParameters") or {}).items() if value is not None},
        body=body,
        caller=identity.get("userArn") or identity.get("caller") or "unsigned",
        webhook_id=unquote(segments.get("webhook_id", "")),
    )


def json_object(body: str, *, allowed: set[str]) -> dict[str, Any]:
    """A body as an object of these fields; Invalid otherwise. No body is an empty one."""
    try:
        found = msgspec.json.decode(body) if body else {}
    except msgspec.DecodeError as error:
        raise Invalid("body", "text that isn't JSON", "a JSON object", malformed=True) from error
    if not isinstance(found, dict):
        raise Invalid("body", type(found).__name__, "a JSON object", malformed=True)
    for name in found:
        if name not in allowed:
            raise Invalid(name, "an unknown field", f"one of {', '.join(sorted(allowed))}", malformed=True)
    return found


def shown(value: Any) -> Any:
    """A deployment as callers see it, without what only the store needs; anything else as it is."""
    if isinstance(value, Deployment):
        found = msgspec.to_builtins(value)
        return {name: part for name, part in found.items() if name not in HIDDEN}
    return value
