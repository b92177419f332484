"""Lists deployments and their deliveries, by the filters that a caller names, in pages with a cursor."""

import base64
import hashlib
import re
from datetime import datetime
from typing import Any

import msgspec

from tracker.intake import fields
from tracker.intake.shapes import check_names
from tracker.model.clock import utc_now
from tracker.model.deployment import DEPLOYMENT_TYPES, KEY_MAX, STATUSES, parse_time
from tracker.model.errors import Invalid
from tracker.model.money import Cost, cost
from tracker.model.settings import YEARS_10
from tracker.store.deliveries import ID_MAX, Deliveries
from tracker.store.records import Listed, Page, Records

LIMIT = 50
LIMIT_MAX = 200
# Listed when no status is asked for: all but `Terminated`.
CURRENT: tuple[str, ...] = ("Active", "Failed", "Terminating", "Unknown")
DELIVERIES_HIDDEN = frozenset({"body", "version"})
# What a list of pages takes that has no filters.
PAGING = ("limit", "cursor")
FILTERS = (
    "status",
    "deployment_type",
    "id",
    "quarantined",
    "without_ttl",
    "owner",
    "label",
    "held",
    "failing",
    "overdue",
    "expiring_within",
    "limit",
    "cursor",
)


class Line(Listed, frozen=True):
    """One deployment of a list, with what it has cost so far if its price is known."""

    cost: Cost | None = None


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The place where a list goes on: the position among its statuses, and the index key that the page before ended with.

    `filters` tells the list from one with other filters, in which the place means nothing.
    """

    position: int = 0
    start: dict[str, dict[str, str]] | None = None
    filters: str = ""


class Query(msgspec.Struct, frozen=True):
    """The filters and the page that a caller asks for. `now` is the time by which ends are judged.

    `label` is a key, and a value or None for any. Nothing that is Terminated is failing, overdue or expiring. `failing` is that of which a cleanup failed since the last one
    succeeded, `overdue` that whose time is over, `expiring_within` that whose time will be over within so many seconds.
    """

    statuses: tuple[str, ...] = CURRENT
    deployment_type: str | None = None
    id: str | None = None
    quarantined: bool | None = None
    without_ttl: bool | None = None
    owner: str | None = None
    label: tuple[str, str | None] | None = None
    held: bool | None = None
    failing: bool | None = None
    overdue: bool | None = None
    expiring_within: int | None = None
    now: datetime = msgspec.field(default_factory=utc_now)
    limit: int = LIMIT
    cursor: Cursor = Cursor()

    @property
    def filters(self) -> str:
        """A digest of the filters, for cursors."""
        asked = (
            self.statuses,
            self.deployment_type,
            self.id,
            self.quarantined,
            self.without_ttl,
            self.owner,
            self.label,
            self.held,
            self.failing,
            self.overdue,
            self.expiring_within,
        )
        return hashlib.sha256(msgspec.json.encode(asked)).hexdigest()[:12]

    def wants(self, item: Listed) -> bool:
        """Return whether an item passes the filters."""
        return (
            item.status in self.statuses
            and self.deployment_type in (None, item.deployment_type)
            and self.quarantined in (None, item.quarantined)
            and self.without_ttl in (None, item.expires_at is None)
            and self.owner in (None, item.owner)
            and self._wants_label(item)
            and self.held in (None, item.hold is not None and parse_time(item.hold.until) > self.now)
            and self.failing in (None, item.status != "Terminated" and item.last_error is not None)
            and self._wants_end(item)
        )

    def _wants_label(self, item: Listed) -> bool:
        if self.label is None:
            return True
        key, value = self.label
        return key in item.labels and value in (None, item.labels[key])

    def _wants_end(self, item: Listed) -> bool:
        if self.overdue is None and self.expiring_within is None:
            return True
        left = None
        if item.expires_at is not None and item.status != "Terminated":
            left = (parse_time(item.expires_at) - self.now).total_seconds()
        is_overdue = left is not None and left <= 0
        is_expiring = self.expiring_within is None or (left is not None and 0 < left <= self.expiring_within)
        return self.overdue in (None, is_overdue) and is_expiring


def parse_query(query: dict[str, str], *, now: datetime | None = None) -> Query:
    """Read the query parameters. Invalid names the one that is wrong."""
    check_names(query, FILTERS)
    statuses = CURRENT
    if "status" in query:
        statuses = (_one_of("status", query["status"], STATUSES),)
    elif "id" in query:
        statuses = STATUSES
    found = query.get("deployment_type")
    asked = Query(
        statuses=statuses,
        deployment_type=None if found is None else _one_of("deployment_type", found, DEPLOYMENT_TYPES),
        id=_id(query["id"]) if "id" in query else None,
        owner=fields.check_owner(query["owner"]) if "owner" in query else None,
        label=_label(query["label"]) if "label" in query else None,
        held=_flag(query, "held"),
        quarantined=_flag(query, "quarantined"),
        without_ttl=_flag(query, "without_ttl"),
        failing=_flag(query, "failing"),
        overdue=_flag(query, "overdue"),
        expiring_within=_number("expiring_within", query["expiring_within"], YEARS_10)
        if "expiring_within" in query
        else None,
        now=now or utc_now(),
        limit=read_limit(query.get("limit", str(LIMIT))),
    )
    if "cursor" in query:
        asked = msgspec.structs.replace(asked, cursor=_cursor(query["cursor"]))
        if asked.cursor.filters != asked.filters:
            raise _bad_cursor()
    return asked


def listed(records: Records, query: Query) -> dict[str, Any]:
    """Return `{"deployments": [...], "cursor": string or null}`.

    A filter may make a page short; only a cursor that is null means the end.
    """
    if query.id is not None or query.owner is not None:
        page = _of_one(records, query)
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
    items = [_line(item, query.now) for item in page.items if query.wants(item)]
    if following and following.start is None and len(items) < query.limit:
        rest = listed(records, msgspec.structs.replace(query, cursor=following, limit=query.limit - len(items)))
        return {"deployments": items + rest["deployments"], "cursor": rest["cursor"]}
    if following:
        following = msgspec.structs.replace(following, filters=query.filters)
    return {"deployments": items, "cursor": _encoded(following)}


def _of_one(records: Records, query: Query) -> Page:
    """Read a page of one id, or of one owner."""
    if query.id is not None:
        return records.by_id(query.id, limit=query.limit, start=_start(query.cursor, "id", query.id))
    owner = query.owner or ""
    return records.by_owner(owner, limit=query.limit, start=_start(query.cursor, "owner", owner))


def _line(item: Listed, now: datetime) -> Line:
    until = parse_time(item.ended_at) if item.ended_at else now
    found = cost(item.cost_per_hour, since=item.deployed_at, end=item.expires_at, until=until)
    return Line(**msgspec.structs.asdict(item), cost=found)


def deliveries_listed(deliveries: Deliveries, key: str, query: dict[str, str]) -> dict[str, Any]:
    """Return `{"deliveries": [...], "cursor": string or null}` of the deployments that are or were under a key.

    `query` may hold `limit` and `cursor`.
    """
    check_names(query, PAGING)
    after = _place(key, query["cursor"]) if "cursor" in query else None
    page = deliveries.page(key, limit=read_limit(query.get("limit", str(LIMIT))), after=after)
    items = [
        {name: value for name, value in msgspec.to_builtins(each).items() if name not in DELIVERIES_HIDDEN}
        for each in page.items
    ]
    return {"deliveries": items, "cursor": None if page.last is None else _placed(key, page.last)}


def _placed(key: str, last: str) -> str:
    """Return the cursor of a list of deliveries, which is after `last` and holds under that key alone."""
    digest = hashlib.sha256(msgspec.json.encode((key, last))).hexdigest()[:12]
    return base64.urlsafe_b64encode(f"{digest}{last}".encode()).decode()


def _place(key: str, cursor: str) -> str:
    """Return the id after which a list of deliveries goes on. Invalid if no such list gave that cursor."""
    try:
        last = base64.urlsafe_b64decode(cursor).decode()[12:]
    except ValueError as error:
        raise _bad_cursor(malformed=True) from error
    if len(last.encode()) > ID_MAX or _placed(key, last) != cursor:
        raise _bad_cursor(malformed=True)
    return last


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise Invalid(name, value, f"one of {', '.join(allowed)}")
    return value


def _id(value: str) -> str:
    if not value.isprintable() or not 1 <= len(value.encode(errors="replace")) <= KEY_MAX:
        raise Invalid("id", value, f"a printable id of 1 to {KEY_MAX} bytes")
    return value


def _label(text: str) -> tuple[str, str | None]:
    """Return the key and the value of `key=value`, or the key alone."""
    key, has_value, value = text.partition("=")
    if not fields.LABEL_KEY.fullmatch(key):
        raise Invalid("label", text, "key=value, or the key of a label")
    return key, value if has_value else None


def _flag(query: dict[str, str], name: str) -> bool | None:
    if name not in query:
        return None
    return _one_of(name, query[name], ("true", "false")) == "true"


def read_limit(text: str) -> int:
    """Return how many a page may have. Invalid if it is no such number."""
    return _number("limit", text, LIMIT_MAX)


def _number(name: str, text: str, most: int) -> int:
    if not re.fullmatch(f"[0-9]{{1,{len(str(most))}}}", text) or not 1 <= int(text) <= most:
        raise Invalid(name, text, f"a number from 1 to {most}")
    return int(text)


def _encoded(cursor: Cursor | None) -> str | None:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode() if cursor else None


def _cursor(text: str) -> Cursor:
    try:
        cursor = msgspec.json.decode(base64.urlsafe_b64decode(text), type=Cursor)
    except (ValueError, msgspec.MsgspecError) as error:
        raise _bad_cursor() from error
    # The decoder skips what isn't base64.
    if cursor.position < 0 or _encoded(cursor) != text:
        raise _bad_cursor()
    return cursor


def _start(cursor: Cursor, index_key: str, value: str) -> dict[str, dict[str, str]] | None:
    """Return the key after which the index is read on. Invalid if it is no place in this list."""
    start = cursor.start
    if start is None:
        return None
    is_place = start.keys() == {"blueprint_id", "item", index_key} and all(
        part.keys() == {"S"} and 1 <= len(part["S"].encode()) <= KEY_MAX for part in start.values()
    )
    if not is_place or start[index_key]["S"] != value:
        raise _bad_cursor()
    return start


def _bad_cursor(*, malformed: bool = False) -> Invalid:
    return Invalid("cursor", "another string", "the cursor of the previous page, unchanged", malformed=malformed)
