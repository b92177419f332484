"""Deployments, stored as items of the table: how they are read, listed and changed.

Every change is a whole Put on condition that the version is the one that was read. The lifecycle alone decides what changes;
this module knows no other rule than that condition.
"""

import heapq
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import copy
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

import msgspec
from aws_lambda_powertools import Logger
from pynamodb.constants import ALL_OLD
from pynamodb.expressions.condition import Condition
from pynamodb.transactions import TransactWrite

from tracker.model.claims import claims_of
from tracker.model.deployment import Deployment, Hold, Price, epoch, expiry, parse_time
from tracker.model.errors import NotFound
from tracker.model.places import place_of
from tracker.store.table import (
    MALFORMED,
    SCHEMA,
    GenerationItem,
    Lease,
    ListedProgress,
    Moved,
    Record,
    Table,
    UnreadableError,
    VersionConflict,
    read_record,
)

SHARDS = ("0", "1", "2", "3")
# Entries of the `due` index that are read at once.
DUE_PAGE = 1000
MOVED_KEPT = timedelta(days=30)

RECORD = "record"
LEASE = "lease"
MOVED = "moved"
PAST = "past#"

# Called with the version before a change (None for what is new) and the version after it.
type Written = Callable[[Deployment | None, Deployment], None]

FIELDS = tuple(field.name for field in msgspec.structs.fields(Deployment))

logger = Logger(child=True)


class Listed(msgspec.Struct, frozen=True):
    """The fields of a deployment that a list shows, which are those that its index carries.

    `quarantined` and what follows it stand in the index as one attribute (`ListedProgress`).
    """

    blueprint_id: str
    id: str
    deployment_type: str
    status: str
    generation: str
    deployed_at: str
    provider: str | dict[str, Any] | None = None
    region: str | None = None
    ttl_seconds: int | None = None
    expires_at: str | None = None
    registered_by: str = ""
    owner: str | None = None
    labels: dict[str, str] = {}
    cost_per_hour: Price | None = None
    hold: Hold | None = None
    incomplete: bool = False
    quarantined: bool = False
    failures: int = 0
    last_error: dict[str, str] | None = None
    next_attempt_at: str | None = None
    ended_at: str | None = None


# Those that are attributes of their own.
LISTED_ALONE = tuple(name for name in Listed.__struct_fields__ if name not in ListedProgress.__struct_fields__)


class Page(msgspec.Struct, frozen=True):
    """A part of a list, and the index key after which the next page begins (None on the last page)."""

    items: list[Listed]
    next_key: dict[str, Any] | None


class DueKey(msgspec.Struct, frozen=True, order=True):
    """One entry of the `due` index."""

    due_at: int
    blueprint_id: str


class Records:
    """The deployments in the table. A Terminated record is kept for `retention`."""

    def __init__(self, table: Table, *, retention: timedelta = timedelta(days=30)) -> None:
        self._table = table
        self._retention = retention
        self._written: Written | None = None

    def telling(self, written: Written) -> "Records":
        """Return the same records, which call `written` once after each change that was committed."""
        found = copy(self)
        found._written = written  # noqa: SLF001 - its own
        return found

    # Reading

    def get(self, key: str) -> Deployment | None:
        """Return the record under a key, by a consistent read. UnreadableError if the item isn't a valid record."""
        return self._read(key, RECORD)

    def find(self, key: str) -> Deployment | None:
        """Return the record under a key, or of the deployment that moved away from the key.

        It never returns another deployment that was registered since at the key that the first one moved to.
        """
        found = self.get(key)
        passed: set[str] = set()
        generation: str | None = None
        while found is None and key not in passed:
            passed.add(key)
            marker = self._marker(key)
            if marker is None or generation not in (None, marker.generation):
                return None
            key, generation = marker.to, marker.generation
            found = self.get(key)
            if found is not None and found.generation != generation:
                return self.past(key, generation) if generation else None
        return found

    def require(self, key: str) -> Deployment:
        """Return the same record as `find`. NotFound if there is none."""
        found = self.find(key)
        if found is None:
            raise NotFound(f"nothing is registered under {key!r}")
        return found

    def past(self, key: str, generation: str) -> Deployment | None:
        """Return a Terminated record that was replaced."""
        return self._read(key, PAST + generation)

    def by_id(self, id_: str, *, limit: int, start: dict[str, Any] | None = None) -> Page:
        """List the deployments with that `id`. Callers may use an id again."""
        found = self._table.record.by_id.query(id_, limit=limit, page_size=limit, last_evaluated_key=start)
        return self._page(found)

    def by_status(self, status: str, *, limit: int, start: dict[str, Any] | None = None) -> Page:
        """List the deployments with that status, in the order of their keys."""
        found = self._table.record.by_status.query(status, limit=limit, page_size=limit, last_evaluated_key=start)
        return self._page(found)

    def by_owner(self, owner: str, *, limit: int, start: dict[str, Any] | None = None) -> Page:
        """List the deployments of that owner, in the order of their keys."""
        found = self._table.record.by_owner.query(owner, limit=limit, page_size=limit, last_evaluated_key=start)
        return self._page(found)

    def due(self, until: datetime) -> Iterator[DueKey]:
        """Yield the records that are due by then, oldest first, of all shards, which are read page by page."""
        return heapq.merge(*(self._due_in(shard, until) for shard in SHARDS), key=lambda due: due.due_at)

    # Writing

    def create(
        self,
        new: Deployment,
        *,
        over: Deployment | None = None,
        over_marker: bool = False,
        also: Callable[[TransactWrite], None] | None = None,
    ) -> None:
        """Register under a key that holds nothing, or `over` a Terminated record, which becomes a past one. One that is over has no lease.

        The marker of a deployment that moved away counts as something, unless `over_marker` is true. `also` adds further writes to
        the same transaction.
        """
        with_condition = _unchanged(over) if over else self._table.is_absent()

        def write() -> None:
            with self._table.transaction() as transaction:
                transaction.save(self._as_record(new), condition=with_condition, return_values=ALL_OLD)
                marker = self._table.moved(new.blueprint_id, MOVED)
                transaction.delete(marker, condition=None if over_marker else self._table.is_absent())
                if expiry(new) is not None and new.status != "Terminated":
                    transaction.save(self._as_lease(new))
                if over:
                    transaction.save(self._as_past(over))
                # A generation is of one deployment for ever: executions and announcements are named by it.
                unused = self._table.is_absent() | (GenerationItem.to == new.blueprint_id)
                transaction.save(self._as_generation(new), condition=unused)
                if also:
                    also(transaction)

        self._write(write, None, new)

    def replace(self, old: Deployment, new: Deployment) -> None:
        """Change a record. The lease changes with it if the expiry changed or the deployment is Terminated.

        A lease whose time is over is left to DynamoDB, which removes it for nothing: a transaction costs twice as much.
        """
        self._replace(old, new)
        if new.status == "Terminated" and old.status != "Terminated":
            self._let_go(new)

    def _replace(self, old: Deployment, new: Deployment) -> None:
        until = expiry(new)
        is_over = until is not None and until <= self._table.clock().timestamp()
        ended = new.status == "Terminated" and not is_over
        begins_again = old.status == "Terminated" and new.status != "Terminated"
        if not ended and not begins_again and expiry(old) == until:

            def write() -> None:
                self._as_record(new).save(condition=_unchanged(old))

            self._write(write, old, new)
            return

        def write_both() -> None:
            with self._table.transaction() as transaction:
                transaction.save(self._as_record(new), condition=_unchanged(old))
                if begins_again:
                    transaction.save(self._as_generation(new))
                elif ended or until is None:
                    transaction.delete(self._table.lease(new.blueprint_id, LEASE))
                else:
                    transaction.save(self._as_lease(new))

        self._write(write_both, old, new)

    def _let_go(self, ended: Deployment) -> None:
        """Let the item of an ended deployment's generation go with the record, unless another round has begun since.

        In no transaction: if it is lost, an item stays that leads to a Terminated record, and then to none.
        """
        model = self._table.generation
        with suppress(VersionConflict):
            self._table.write(
                lambda: self._as_generation(ended).save(
                    condition=model.version.does_not_exist() | (model.version <= ended.version)
                )
            )

    def move(self, old: Deployment, new: Deployment, *, over: Deployment | None = None) -> None:
        """Put a record under another key, `over` a Terminated record there, and leave `moved` at the old key."""

        def write() -> None:
            with self._table.transaction() as transaction:
                at_target = _unchanged(over) if over else self._table.is_absent()
                transaction.save(self._as_record(new), condition=at_target)
                transaction.delete(self._table.moved(new.blueprint_id, MOVED))
                if expiry(new) is not None:
                    transaction.save(self._as_lease(new))
                if over:
                    transaction.save(self._as_past(over))
                transaction.delete(self._table.record(old.blueprint_id, RECORD), condition=_unchanged(old))
                transaction.delete(self._table.lease(old.blueprint_id, LEASE))
                transaction.save(self._as_generation(new))
                marker = self._table.moved(old.blueprint_id, MOVED, generation=new.generation, to=new.blueprint_id)
                marker.ttl = epoch(self._table.clock() + MOVED_KEPT)
                transaction.save(marker)

        self._write(write, old, new)

    def postpone(self, due: DueKey, until: datetime) -> None:
        """Make a record due later, whatever it holds, so also one that can't be read any more."""
        model = self._table.record

        def write() -> None:
            self._table.update(
                due.blueprint_id,
                RECORD,
                actions=[model.due_at.set(epoch(until)), model.outbox.remove()],
                condition=model.due_at == due.due_at,
            )

        self._table.write(write)

    # Within

    def _write(self, write: Callable[[], object], old: Deployment | None, new: Deployment) -> None:
        """Write on a condition, as the table does, and tell of it."""
        self._table.write(write)
        if self._written:
            self._written(old, new)

    def _read(self, key: str, item: str) -> Deployment | None:
        try:
            found = self._table.record.get(key, item, consistent_read=True)
        except self._table.record.DoesNotExist:
            return None
        except MALFORMED as error:
            raise UnreadableError(error) from error
        return None if self._table.is_over(found.ttl) else read_record(found)

    def _marker(self, key: str) -> Moved | None:
        try:
            found = self._table.moved.get(key, MOVED, consistent_read=True)
        except self._table.moved.DoesNotExist:
            return None
        return None if self._table.is_over(found.ttl) else found

    def _due_in(self, shard: str, until: datetime) -> Iterator[DueKey]:
        before = self._table.record.due_at <= int(until.timestamp())
        for found in self._table.record.due.query(shard, before, page_size=DUE_PAGE):
            yield DueKey(due_at=int(found.due_at), blueprint_id=found.blueprint_id)

    def _page(self, found: Any) -> Page:
        items = []
        while True:
            try:
                item = next(found)
                if item.item == RECORD and not self._table.is_over(item.ttl):
                    items.append(_listed(item))
            except StopIteration:
                return Page(items=items, next_key=found.last_evaluated_key)
            except MALFORMED:
                # A malformed item must not hide the others.
                logger.exception("a record can't be listed")

    def _as_record(self, deployment: Deployment) -> Record:
        item = self._table.record(deployment.blueprint_id, RECORD)
        for name in FIELDS:
            setattr(item, name, getattr(deployment, name))
        item.schema = SCHEMA
        item.outbox = deployment.outbox or None
        cleanup = deployment.cleanup
        item.progress = ListedProgress(
            quarantined=cleanup.quarantined,
            failures=cleanup.failures,
            last_error={"class": cleanup.last_error.error_class} if cleanup.last_error else None,
            next_attempt_at=cleanup.next_attempt_at,
            ended_at=cleanup.ended_at if deployment.status == "Terminated" else None,
        )
        item.labels = deployment.labels or None
        item.warned = deployment.warned or None
        item.due_shard = None if deployment.due_at is None else shard_of(deployment.blueprint_id)
        item.place = place_of(deployment).digest
        item.claims = claims_of(deployment) or None
        item.ttl = self._ttl(deployment)
        return item

    def _ttl(self, deployment: Deployment) -> int | None:
        """Return when a Terminated record is purged, None for any other."""
        if deployment.status != "Terminated" or not deployment.cleanup.ended_at:
            return None
        return epoch(parse_time(deployment.cleanup.ended_at) + self._retention)

    def _as_generation(self, deployment: Deployment) -> GenerationItem:
        return self._table.generation_item(
            deployment.generation, deployment.blueprint_id, deployment.version, self._ttl(deployment)
        )

    def _as_past(self, deployment: Deployment) -> Record:
        item = self._as_record(msgspec.structs.replace(deployment, outbox=[], due_at=None))
        item.item = PAST + deployment.generation
        return item

    def _as_lease(self, deployment: Deployment) -> Lease:
        lease = self._table.lease(deployment.blueprint_id, LEASE, generation=deployment.generation)
        lease.ttl = expiry(deployment)
        return lease


def shard_of(key: str) -> str:
    """Return the shard of the `due` index that a key is in."""
    return SHARDS[crc32(key.encode()) % len(SHARDS)]


def _unchanged(old: Deployment) -> Condition:
    # What a later version of the tracker wrote would lose what this one doesn't know.
    known = Record.schema.does_not_exist() | (Record.schema <= SCHEMA)
    unchanged: Condition = (Record.version == old.version) & (Record.generation == old.generation) & known
    return unchanged


def _listed(item: Record) -> Listed:
    progress = msgspec.structs.asdict(item.progress or ListedProgress())
    found = {name: getattr(item, name) for name in LISTED_ALONE} | progress
    found["incomplete"] = bool(item.incomplete)
    found["registered_by"] = item.registered_by or ""
    found["labels"] = item.labels or {}
    return msgspec.convert(found, Listed)
