"""Files of deployments: the Rust tracker's `deployment_state.json`, and what `tracker export` writes. Reads and writes both.

A state file is a JSON object, key to record. An export with one record a line is read, too. A record that can't be read doesn't
stop the others.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from deployment_tracker.errors import Usage
from deployment_tracker.models import LIVE, OVER, Deployment
from deployment_tracker.times import rfc3339
from deployment_tracker.written import UnclearError, read

# What a record may have of the fields of `POST /deployments`; the rest is the tracker's own.
MODEL_FIELDS = (
    "id",
    "blueprint_id",
    "deployment_type",
    "provider",
    "region",
    "resource_spec",
    "resource_ids",
    "deployed_at",
    "ttl_seconds",
    "expires_at",
    "status",
    "cleanup_webhook",
    "metadata",
)
OUR_FIELDS = ("webhook_events", "owner", "labels", "cost_per_hour", "warn_before")
SOON = timedelta(hours=24)


class Entry(msgspec.Struct, frozen=True):
    """One record of a file: what to register, what would happen, and why it can't be registered (`problem`), if it can't.

    `moved_to` is the new end of one that would be due soon. `skipped` says that there is nothing to register.
    """

    key: str
    registration: dict[str, Any]
    ends: datetime | None = None
    moved_to: datetime | None = None
    note: str = ""
    problem: str = ""
    skipped: bool = False


def read_state(text: str) -> list[tuple[str, Any]]:
    """Return (key, record) for each record of a file. Usage if it is no such file, or isn't clear."""
    try:
        found = _read(text)
    except UnclearError as error:
        raise Usage(f"The file {error}.", "Nothing of it was registered.") from None
    if isinstance(found, dict) and isinstance(found.get("blueprint_id"), str):
        found = [found]
    if isinstance(found, list):
        return [(str(each.get("blueprint_id", "")) if isinstance(each, dict) else "", each) for each in found]
    if isinstance(found, dict):
        return list(found.items())
    raise _no_state()


def judge(records: list[tuple[str, Any]], at: datetime, grace: timedelta | None) -> list[Entry]:
    """Return what to do about each record. With `grace`, one that is due within 24 h is given so much time from `at`."""
    seen: set[str] = set()
    found = []
    for key, record in records:
        entry = _judged(key, record, at, grace)
        if key in seen:
            entry = msgspec.structs.replace(entry, problem="the file has another record of this key")
        seen.add(key)
        found.append(entry)
    return found


def _judged(key: str, record: Any, at: datetime, grace: timedelta | None) -> Entry:
    if not isinstance(record, dict):
        return Entry(key, {}, problem="it is no JSON object")
    if not key:
        return Entry(key, {}, problem="it has no key")
    body = {name: record[name] for name in (*MODEL_FIELDS, *OUR_FIELDS) if record.get(name) not in (None, [], {})}
    # The key of the file is what the Rust tracker goes by: it rekeys, and leaves the field as it was.
    note = "" if body.get("blueprint_id", key) == key else f"its blueprint_id is {body['blueprint_id']!r}"
    body["blueprint_id"] = key
    status = body.get("status", "Active")
    if status == OVER:
        return Entry(key, body, note="it is over", skipped=True)
    if status not in LIVE:
        body["status"] = "Active"
        note = f"its status was {status}"
    try:
        ends = end_of(body)
    except (ValueError, TypeError, OverflowError):
        return Entry(key, body, problem="its deployed_at, ttl_seconds or expires_at is no time")
    moved_to = None
    if grace is not None and ends is not None and ends - at <= SOON:
        moved_to = at + grace
        if moved_to > ends:
            body.pop("ttl_seconds", None)
            body["expires_at"] = rfc3339(moved_to)
        else:
            moved_to = None
    return Entry(key, body, ends, moved_to, note)


def end_of(record: dict[str, Any]) -> datetime | None:
    """Return when a record's time is over, None if never."""
    if record.get("expires_at"):
        return _moment(record["expires_at"])
    if record.get("ttl_seconds") and record.get("deployed_at"):
        return _moment(record["deployed_at"]) + timedelta(seconds=int(record["ttl_seconds"]))
    return None


def is_same(there: Deployment, registration: dict[str, Any]) -> bool:
    """Return whether what is recorded is this registration, whatever became of it since: the same id, or the same type and ids."""
    if registration.get("id") and there.id == registration["id"]:
        return True
    wanted = registration.get("resource_ids") or {}
    has_ids = bool(wanted) and all(there.resource_ids.get(name) == value for name, value in wanted.items())
    return has_ids and there.deployment_type == registration.get("deployment_type")


def registration_of(deployment: Deployment) -> dict[str, Any]:
    """Return the part of a record that can be registered again, in the order of the Rust tracker's fields."""
    raw = deployment.raw
    model = {name: raw.get(name) for name in MODEL_FIELDS}
    return model | {name: raw[name] for name in OUR_FIELDS if raw.get(name) not in (None, [], {})}


def _read(text: str) -> Any:
    try:
        return read(text)
    except UnclearError:
        raise
    except ValueError:
        return list(_each_line(text)) or None


def _each_line(text: str) -> Iterator[Any]:
    for line in text.splitlines():
        if line.strip():
            try:
                yield read(line)
            except UnclearError:
                raise
            except ValueError:
                if not line.lstrip().startswith("{"):
                    raise _no_state() from None
                yield line[:40]


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(text)
    # OverflowError, if no calendar has it.
    return found.astimezone(UTC)


def _no_state() -> Usage:
    return Usage(
        "The file holds no deployments.",
        "It is a deployment_state.json of the Rust tracker, or what `tracker export` wrote: one JSON object.",
    )
