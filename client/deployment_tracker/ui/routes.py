"""The calls that the page may make, each of which is one call of the typed client.

No path of a browser ever reaches the API: a route hands the key to the client, which spells it and signs for its one stack.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import unquote

from deployment_tracker.client import Client
from deployment_tracker.models import Answer, Page
from deployment_tracker.ui.session import Refused

# At most so many are read for one answer, as many as the API takes.
PAGE = 200
FILTERS = (
    "status",
    "deployment_type",
    "owner",
    "label",
    "id",
    "expiring_within",
    "overdue",
    "failing",
    "quarantined",
    "held",
    "without_ttl",
)
DELIVERIES_MAX = 200
_WEBHOOK_ID = re.compile(r"[A-Za-z0-9_-]{1,200}", re.ASCII)


class Asked(NamedTuple):
    """This is what the browser asks: the segments that stand for `*` in the route, the query, and the body's fields."""

    segments: list[str]
    query: dict[str, str]
    body: dict[str, Any]

    @property
    def key(self) -> str:
        return self.segments[0]

    def text(self, name: str) -> str:
        """Return a field of the body, "" if it isn't there."""
        found = self.body.get(name, "")
        if not isinstance(found, str):
            raise _wrong(name, "text")
        return found

    def time(self, name: str) -> datetime:
        """Return a field of the body that is a time with its zone."""
        try:
            found = datetime.fromisoformat(self.text(name))
        except ValueError:
            raise _wrong(name, "a time in RFC 3339") from None
        if found.tzinfo is None:
            raise _wrong(name, "a time with its zone")
        return found

    def seconds(self, name: str) -> int | None:
        """Return a field of the body that is a number of seconds, None if it isn't there."""
        found = self.body.get(name)
        if found is not None and (isinstance(found, bool) or not isinstance(found, int)):
            raise _wrong(name, "whole seconds")
        return found


class Route(NamedTuple):
    """One call: what it takes in the query and in the body, and what it does."""

    does: Callable[[Client, Asked], Any]
    query: tuple[str, ...] = ()
    body: tuple[str, ...] = ()


def _listed(client: Client, asked: Asked) -> Any:
    filters = {name: value for name, value in asked.query.items() if name != "cursor"}
    return _page("deployments", client.page(limit=PAGE, cursor=asked.query.get("cursor"), **filters))


def _extended(client: Client, asked: Asked) -> Any:
    if "until" in asked.body:
        return client.extend(asked.key, until=asked.time("until")).raw
    return client.extend(asked.key, by=asked.seconds("by")).raw


def _ended(client: Client, asked: Asked) -> Any:
    plan = asked.text("plan") or None
    return client.end(asked.key, reason=asked.text("reason"), over_hold=asked.text("over_hold"), plan=plan).raw


def _delivered(client: Client, asked: Asked) -> Any:
    found = []
    for each in client.deliveries(asked.key):
        found.append(each.raw)
        if len(found) == DELIVERIES_MAX:
            break
    return {"deliveries": found}


def _redelivered(client: Client, asked: Asked) -> Any:
    key, webhook_id = asked.segments
    if not _WEBHOOK_ID.fullmatch(webhook_id):
        raise _wrong("webhook_id", "the id of a delivery")
    client.redeliver(key, webhook_id)
    return {"webhook_id": webhook_id}


def _adopted(client: Client, asked: Asked) -> Any:
    return client.adopt(asked.key, reason=asked.text("reason"), ttl_seconds=asked.seconds("ttl_seconds")).raw


ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "deployments"): Route(_listed, query=(*FILTERS, "cursor")),
    ("GET", "deployments/*"): Route(lambda client, asked: client.get(asked.key).raw),
    ("GET", "deployments/*/plan"): Route(lambda client, asked: client.plan(asked.key).raw),
    ("GET", "deployments/*/deliveries"): Route(_delivered),
    ("POST", "deployments/*/deliveries/*/redeliver"): Route(_redelivered),
    ("POST", "deployments/*/extend"): Route(_extended, body=("by", "until")),
    ("DELETE", "deployments/*"): Route(_ended, body=("reason", "over_hold", "plan")),
    ("POST", "deployments/*/hold"): Route(
        lambda client, asked: client.hold(asked.key, reason=asked.text("reason"), until=asked.time("until")).raw,
        body=("reason", "until"),
    ),
    ("DELETE", "deployments/*/hold"): Route(lambda client, asked: client.unhold(asked.key).raw),
    ("POST", "deployments/*/forget"): Route(
        lambda client, asked: client.forget(asked.key, reason=asked.text("reason")).raw, body=("reason",)
    ),
    ("GET", "strays"): Route(lambda client, _: {"strays": [each.raw for each in client.strays()]}),
    ("POST", "strays/*/adopt"): Route(_adopted, body=("reason", "ttl_seconds")),
    ("POST", "strays/*/exempt"): Route(
        lambda client, asked: client.exempt(asked.key, reason=asked.text("reason"), until=asked.time("until")).raw,
        body=("reason", "until"),
    ),
}


def find(method: str, path: str) -> tuple[Route, list[str]]:
    """Return the route of a path below /api/, and what stands for its stars. Refused if there is none."""
    parts = path.split("/")
    for (wanted, pattern), route in ROUTES.items():
        shape = pattern.split("/")
        if wanted != method or len(shape) != len(parts):
            continue
        if all(one in ("*", other) for one, other in zip(shape, parts, strict=True)):
            return route, [_segment(part) for one, part in zip(shape, parts, strict=True) if one == "*"]
    raise Refused(404, "not_found", "The page has no such call.")


def call(client: Client, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Any:
    """Make the call of a path below /api/, and return its JSON. Refused if the browser asks what it can't; TrackerError."""
    route, segments = find(method, path)
    for given, allowed in ((query, route.query), (body, route.body)):
        for name in given:
            if name not in allowed:
                raise Refused(400, "malformed", f"{name[:40]!r} isn't part of this call.")
    return route.does(client, Asked(segments, query, body))


def _page[T: Answer](name: str, page: Page[T]) -> dict[str, Any]:
    return {name: [each.raw for each in page.items], "cursor": page.cursor}


def _segment(text: str) -> str:
    try:
        found = unquote(text, errors="strict")
    except UnicodeDecodeError:
        found = ""
    if not found:
        raise _wrong("path", "a key in UTF-8")
    return found


def _wrong(name: str, expected: str) -> Refused:
    return Refused(400, "malformed", f"{name}: expected {expected}.")
