"""Serves HTTPS calls: reads API Gateway's proxy event, calls the route, and writes the reply.

The gateway has routed the call already, so a function names the resources that it serves as the gateway does
("/deployments/{blueprint_id}"): matching the path again would misread keys that hold odd characters.
"""

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import msgspec
from aws_lambda_powertools import Logger

from tracker.intake.shapes import check_names, decode, describe
from tracker.model.catalogue import entry
from tracker.model.clock import utc_now
from tracker.model.deployment import KEY_MAX, Deployment, decode_key, encode_key, format_time, printable
from tracker.model.errors import Invalid, NotFound, Problem
from tracker.model.errors import shown as shown_text
from tracker.model.marks import mark_of
from tracker.model.money import cost_of

# The JSON names of fields that callers have no use for.
HIDDEN = frozenset({"fingerprint", "made_at", "news", "warned"})
# As long as the record keeps it.
REASON_MAX = 512
# How the parameters begin by which a query is signed (SigV4), in place of headers.
SIGNATURE = "X-Amz-"
# The calls that have parameters in their query. Each checks which.
ASKING = frozenset(
    {
        ("GET", "/deployments"),
        ("DELETE", "/deployments/{blueprint_id}"),
        ("GET", "/deployments/{blueprint_id}/deliveries"),
        ("GET", "/strays"),
    }
)
HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store"}

logger = Logger(child=True)


class Call(msgspec.Struct, frozen=True):
    """One HTTPS call. `caller` is the ARN that signed it, `path_key` and `webhook_id` are the segments of its path."""

    method: str
    path_key: str
    query: dict[str, str]
    body: str
    caller: str
    webhook_id: str = ""

    @property
    def key(self) -> str:
        """The `blueprint_id` that the path names. Invalid if it is empty or too long."""
        key = decode_key(self.path_key)
        if self.path_key.startswith("~") and encode_key(key) != self.path_key:
            # Policies name paths: a key must have one.
            raise Invalid(
                "blueprint_id", self.path_key, f"the key's one spelling in a path, {encode_key(key)}", malformed=True
            )
        if not 1 <= len(key.encode(errors="replace")) <= KEY_MAX:
            raise Invalid("blueprint_id", key, f"a key of 1 to {KEY_MAX} bytes")
        return key


# A status, a body that becomes JSON, and headers if there are any besides those that every answer has.
type Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]]
# By method and resource.
type Routes = Mapping[tuple[str, str], Callable[[Call], Reply]]


def is_call(event: Mapping[str, Any]) -> bool:
    """Return whether a function was called through the gateway."""
    return "httpMethod" in event


def location(deployment: Deployment, *, above: str = "") -> dict[str, str]:
    """Return the header that leads to a new deployment, relative to the call's own URL: the gateway alone knows what stands before it.

    `above` leads from a call below another resource to where `/deployments` is: `../../`.
    """
    return {"Location": f"{above}deployments/{encode_key(deployment.blueprint_id)}"}


def serve(event: Mapping[str, Any], routes: Routes) -> dict[str, Any]:
    """Return the gateway's response to a call: its route's reply, a Problem's JSON, or a bare 500 for any other error."""
    try:
        route = routes.get((event["httpMethod"], event["resource"]))
        if route is None:
            raise NotFound(f"no such call: {event['httpMethod']} {shown_text(event.get('path') or event['resource'])}")
        call = read_call(event)
        if (call.method, event["resource"]) not in ASKING:
            check_names(call.query, ())
        status, body, *more = route(call)
    except Problem as problem:
        status, body, *more = problem.status, explain(problem)
    except Exception:
        # The error goes to the log alone: its text may hold what no caller should see.
        logger.exception("a call failed")
        status, body, *more = 500, {"error": {"code": "internal", "message": "the call failed on our side; try again"}}
    headers = HEADERS | more[0] if more else HEADERS
    return {"statusCode": status, "headers": headers, "body": msgspec.json.encode(body).decode()}


def read_call(event: Mapping[str, Any]) -> Call:
    """Read a REST API's proxy event. Invalid if its body isn't UTF-8, or if it could mean two things."""
    segments = event.get("pathParameters") or {}
    body = event.get("body") or ""
    if body and event.get("isBase64Encoded"):
        try:
            body = base64.b64decode(body, validate=True).decode()
        except ValueError as error:
            raise Invalid("body", "bytes", "JSON in UTF-8", malformed=True) from error
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    encoding = headers.get("content-encoding") or "identity"
    if encoding.lower() != "identity":
        raise Invalid("Content-Encoding", encoding, "a body that isn't encoded", malformed=True)
    for name, values in (event.get("multiValueQueryStringParameters") or {}).items():
        if len(values or ()) > 1:
            raise Invalid(shown_text(name), "a parameter that is there twice", "each parameter once", malformed=True)
    identity = (event.get("requestContext") or {}).get("identity") or {}
    return Call(
        method=event["httpMethod"],
        path_key=_unquoted("key" if "key" in segments else "blueprint_id", segments),
        query=_query(event),
        body=body,
        caller=identity.get("userArn") or identity.get("caller") or "unsigned",
        webhook_id=_unquoted("webhook_id", segments),
    )


def _query(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of the query, without those of a signature that stands there. Invalid if one isn't valid Unicode."""
    given = event.get("queryStringParameters") or {}
    query = {name: value for name, value in given.items() if value is not None and not name.startswith(SIGNATURE)}
    for name, value in query.items():
        try:
            (name + value).encode()
        except UnicodeError:
            raise Invalid("query", "text that isn't valid Unicode", "parameters in UTF-8", malformed=True) from None
    return query


def _unquoted(name: str, segments: Mapping[str, str]) -> str:
    """Return a segment of the path. Invalid if it isn't UTF-8: two keys would become one."""
    try:
        return unquote(segments.get(name, ""), errors="strict").encode().decode()
    except UnicodeError:
        raise Invalid(name, "bytes that aren't UTF-8", "a key in UTF-8, percent-encoded", malformed=True) from None


def json_object(body: str, *, allowed: set[str]) -> dict[str, Any]:
    """Return a body as an object of these fields, {} if there is no body. Invalid otherwise."""
    found = decode(body, "a JSON object") if body else {}
    if not isinstance(found, dict):
        raise Invalid("body", describe(found), "a JSON object", malformed=True)
    check_names(found, sorted(allowed), "field")
    return found


def read_text(body: str, name: str, *, allowed: set[str]) -> str:
    """Return a short text of a body, such as `{"reason": "..."}`, empty if there is none. Invalid if it is no short string.

    Operators read it in logs, lists and announcements, in one line. Of an end nothing is lost for its reason's sake.
    """
    text = json_object(body, allowed=allowed).get(name, "")
    if not isinstance(text, str):
        raise Invalid(name, describe(text), "a string", malformed=True)
    if len(text.encode(errors="replace")) > REASON_MAX:
        raise Invalid(name, f"{len(text)} characters", f"a string of at most {REASON_MAX} bytes")
    return printable(text)


def read_reasons(body: str) -> tuple[str, str]:
    """Return the texts of `{"reason", "over_hold"}`, by which a deployment is ended, each empty if it isn't there."""
    allowed = {"reason", "over_hold"}
    return read_text(body, "reason", allowed=allowed), read_text(body, "over_hold", allowed=allowed)


def explain(problem: Problem) -> dict[str, Any]:
    """Return the body that answers a problem: `{"error": {"code", "message", ...details}}`."""
    details = {name: shown(value) for name, value in problem.details.items()}
    return {"error": {"code": problem.code, "message": problem.message, **details}}


def shown(value: Any, *, now: datetime | None = None) -> Any:
    """Return a deployment as callers see it: no fields that only the store needs, all times in RFC 3339, its mark and its cost.

    If its price is known, its `cost` until now is there too. Anything else is returned as it is.
    """
    if isinstance(value, Deployment):
        found = msgspec.to_builtins(value)
        if value.due_at is not None:
            found["due_at"] = format_time(datetime.fromtimestamp(value.due_at, UTC))
        found["mark"] = msgspec.to_builtins(mark_of(entry(value.deployment_type), value.generation))
        if costs := cost_of(value, now or utc_now()):
            found["cost"] = msgspec.to_builtins(costs)
        return {name: part for name, part in found.items() if name not in HIDDEN}
    return value
