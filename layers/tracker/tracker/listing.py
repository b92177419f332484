"""Lists of deployments, and of their deliveries: the filters that a caller may name, and pages with a cursor."""

import base64
import re
from typing import Any

import msgspec

from tracker.deployment import DEPLOYMENT_TYPES, KEY_MAX, STATUSES
from tracker.errors import Invalid
from tracker.records import Listed, Records

LIMIT = 50
LIMIT_MAX = 200
# What is listed when no status is asked for: all that isn't over.
CURRENT: tuple[str, ...] = ("Active", "Failed", "Terminating", "Unknown")
DELIVERIES_HIDDEN = frozenset({"body", "version"})
FILTERS = ("status", "deployment_type", "id", "quarantined", "without_ttl", "limit", "cursor")


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a list goes on: in which of its statuses, after which index key."""

    position: int = 0
    start: dict[str, dict[str, str]] | None = None


class Query(msgspec.Struct, frozen=True):
    """What a caller wants to see."""

    statuses: tuple[str, ...] = CURRENT
    deployment_type: str | None = None
    id: str | None = None
    quarantined: bool | None = None
    without_ttl: bool | None = None
    limit: int = LIMIT
    cursor: Cursor = Cursor()

    def wants(self, item: Listed) -> bool:
        """Whether the filters let it through."""
        return (
            item.status in self.statuses
            and self.deployment_type in (None, item.deployment_type)
            and self.quarantined in (None, item.quarantined)
            and self.without_ttl in (None, item.expires_at is None)
        )


def parse_query(query: dict[str, str]) -> Query:
    """Read the query parameters; Invalid names the one that is wrong."""
    for name in query:
        if name not in FILTERS:
            raise Invalid(name, "an unknown filter", f"one of {', '.join(FILTERS)}", malformed=True)
    statuses = CURRENT
    if "status" in query:
        statuses = (_one_of("status", query["status"], STATUSES),)
    elif "id" in query:
        statuses = STATUSES
    found = query.get("deployment_type")
    return Query(
        statuses=statuses,
        deployment_type=None if found is None else _one_of("deployment_type", found, DEPLOYMENT_TYPES),
        id=_id(query["id"]) if "id" in query else None,
        quarantined=_flag(query, "quarantined"),
        without_ttl=_flag(query, "without_ttl"),
        limit=_limit(query.get("limit", str(LIMIT))),
        cursor=_cursor(query["cursor"]) if "cursor" in query else Cursor(),
    )


def listed(records: Records, query: Query) -> dict[str, Any]:
    """`{"deployments": [...], "cursor": text or null}`. A filter may make a page short; the cursor alone says the end."""
    if query.id is not None:
        page = records.by_id(query.id, limit=query.limit, start=_start(query.cursor, "id", query.id))
        following = Cursor(0, page.next_key) if page.next_key else None
    else:
        position = query.cursor.position
        if position >= len(query.statuses):
            raise _bad_cursor()
        status = query.statuses[position]
        page = records.by_status(status, limit=query.limit, start=_start(query.cursor, "status", status))
        if page.next_key:
            following = Cursor(position, page.next_key)
        else:
            following = Cursor(position + 1) if position + 1 < len(query.statuses) else None
    items = [item for item in page.items if query.wants(item)]
    if following and following.start is None and len(items) < query.limit:
        rest = listed(records, msgspec.structs.replace(query, cursor=following, limit=query.limit - len(items)))
        return {"deployments": items + rest["deployments"], "cursor": rest["cursor"]}
    return {"deployments": items, "cursor": _encoded(following)}


def deliveries_listed(records: Records, key: str, query: dict[str, str]) -> dict[str, Any]:
    """`{"deliveries": [...], "cursor": text or null}` of what is or was under a key; parameters `limit` and `cursor`."""
    for name in query:
        if name not in ("limit", "cursor"):
            raise Invalid(name, "an unknown filter", "limit or cursor", malformed=True)
    after = query.get("cursor")
    if after is not None and not re.fullmatch("[!-~]{1,100}", after):
        raise _bad_cursor()
    page = records.deliveries(key, limit=_limit(query.get("limit", str(LIMIT))), after=after)
    items = [
        {name: value for name, value in msgspec.to_builtins(each).items() if name not in DELIVERIES_HIDDEN}
        for each in page.items
    ]
    return {"deliveries": items, "cursor": page.last}


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise Invalid(name, value, f"one of {', '.join(allowed)}")
    return value


def _id(value: str) -> str:
    if not 1 <= len(value.encode(errors="replace")) <= KEY_MAX:
        raise Invalid("id", value, f"an id of 1 to {KEY_MAX} bytes")
    return value


def _flag(query: dict[str, str], name: str) -> bool | None:
    if name not in query:
        return None
    return _one_of(name, query[name], ("true", "false")) == "true"


def _limit(text: str) -> int:
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= LIMIT_MAX:
        raise Invalid("limit", text, f"a number from 1 to {LIMIT_MAX}")
    return int(text)


def _encoded(cursor: Cursor | None) -> str | None:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode() if cursor else None


def _cursor(text: str) -> Cursor:
    try:
        cursor = msgspec.json.decode(base64.urlsafe_b64decode(text), type=Cursor)
    except (ValueError, msgspec.MsgspecError) as error:
        raise _bad_cursor() from error
    if cursor.position < 0:
        raise _bad_cursor()
    return cursor


def _start(cursor: Cursor, index_key: str, value: str) -> dict[str, dict[str, str]] | None:
    """Where the index goes on; Invalid if that is no place in this list."""
    start = cursor.start
    if start is None:
        return None
    is_place = start.keys() == {"blueprint_id", "item", index_key} and all(
        part.keys() == {"S"} and 1 <= len(part["S"].encode()) <= KEY_MAX for part in start.values()
    )
    if not is_place or start[index_key]["S"] != value:
        raise _bad_cursor()
    return start


def _bad_cursor() -> Invalid:
    return Invalid("cursor", "another text", "the cursor of the page before, as it came")
