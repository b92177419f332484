"""How deployments are kept: one DynamoDB table, through PynamoDB.

Partition key `blueprint_id`, sort key `item`:

- `record`: the deployment itself. It carries `ttl` only once Terminated.
- `lease`: `ttl` and `generation`; its removal by DynamoDB means that the time is over.
- `past#<generation>`: a Terminated record that a later registration or move replaced.
- `moved`: {`to`, `generation`}, left at the old key when a key moves.
- `delivery#<webhook-id>`: a delivery to the deployment's webhook, with its attempts.

What is past its `ttl` counts as absent. Every change is a whole Put on condition that the version is the one
that was read. Only the lifecycle decides on changes; this module knows no rule but that.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

import msgspec
from aws_lambda_powertools import Logger
from pynamodb.attributes import Attribute, BooleanAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.constants import ALL_OLD, STRING
from pynamodb.exceptions import PutError, PynamoDBException, TransactWriteError, UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from tracker.deliveries import KEPT, Attempt, Delivery
from tracker.deployment import (
    Cleanup,
    Deployment,
    Event,
    Resource,
    ResourceSpec,
    epoch,
    expiry,
    parse_time,
)
from tracker.errors import Contended

SHARDS = ("0", "1", "2", "3")
MOVED_KEPT = timedelta(days=30)
CONFLICT_TRIES = 8
CONFLICT_CODES = frozenset({"TransactionConflict", "TransactionConflictException", "TransactionInProgressException"})

RECORD = "record"
LEASE = "lease"
MOVED = "moved"
PAST = "past#"
DELIVERY = "delivery#"

# DynamoDB's own attributes beside the deployment's fields.
_KEPT_ONLY = {"item", "ttl", "due_shard", "quarantined"}

logger = Logger(child=True)

# What reading an item raises that isn't a record.
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError, msgspec.MsgspecError)


class LostError(Exception):
    """The record isn't any more what was read: decide anew. `current` is what is there, where the failure told it."""

    def __init__(self, current: Deployment | None = None) -> None:
        super().__init__("the record has changed")
        self.current = current


class UnreadableError(ValueError):
    """What is stored is no record."""


class JsonOf[T](Attribute[T]):
    """A compound field, kept as JSON text: exact for floats and cheap to read."""

    attr_type = STRING

    def __init__(self, kind: Any) -> None:
        super().__init__(null=True)
        self.kind = kind

    def serialize(self, value: T) -> str:
        """Write it."""
        return msgspec.json.encode(value).decode()

    def deserialize(self, value: str) -> T:
        """Read it; msgspec.ValidationError if it isn't what was written."""
        found: T = msgspec.json.decode(value, type=self.kind)
        return found


class _ById(GlobalSecondaryIndex["_Record"]):  # type: ignore[no-untyped-call]
    class Meta:
        index_name = "by_id"
        projection = AllProjection()

    id = UnicodeAttribute(hash_key=True)


class _ByStatus(GlobalSecondaryIndex["_Record"]):  # type: ignore[no-untyped-call]
    class Meta:
        index_name = "by_status"
        projection = AllProjection()

    status = UnicodeAttribute(hash_key=True)
    blueprint_id = UnicodeAttribute(range_key=True)


class _Due(GlobalSecondaryIndex["_Record"]):  # type: ignore[no-untyped-call]
    class Meta:
        index_name = "due"
        projection = AllProjection()

    due_shard = UnicodeAttribute(hash_key=True)
    due_at = NumberAttribute(range_key=True)


class _Item(Model):
    blueprint_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True)
    ttl = NumberAttribute(null=True)
    generation = UnicodeAttribute(null=True)
    # Of `moved` alone.
    to = UnicodeAttribute(null=True)


class _Record(Model):
    blueprint_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True)
    ttl = NumberAttribute(null=True)
    due_shard = UnicodeAttribute(null=True)
    quarantined = BooleanAttribute(null=True)

    id = UnicodeAttribute()
    deployment_type = UnicodeAttribute()
    provider = JsonOf[Any](Any)
    region = UnicodeAttribute(null=True)
    resource_spec = JsonOf[ResourceSpec](ResourceSpec)
    resource_ids = JsonOf[dict[str, str | list[str]]](dict[str, str | list[str]])
    deployed_at = UnicodeAttribute()
    ttl_seconds = NumberAttribute(null=True)
    expires_at = UnicodeAttribute(null=True)
    status = UnicodeAttribute()
    cleanup_webhook = UnicodeAttribute(null=True)
    metadata = JsonOf[dict[str, str]](dict[str, str])
    generation = UnicodeAttribute()
    version = NumberAttribute()
    registered_by = UnicodeAttribute(null=True)
    registered_at = UnicodeAttribute()
    fingerprint = UnicodeAttribute(null=True)
    made_at = UnicodeAttribute(null=True)
    incomplete = BooleanAttribute(null=True)
    resources = JsonOf[list[Resource]](list[Resource])
    cleanup = JsonOf[Cleanup](Cleanup)
    due_at = NumberAttribute(null=True)
    webhook_events = JsonOf[list[str]](list[str])
    sequence = NumberAttribute()
    events = JsonOf[list[Event]](list[Event])
    news = JsonOf[list[Event]](list[Event])

    by_id = _ById()
    by_status = _ByStatus()
    due = _Due()


class _Delivery(Model):
    # None of its attributes is the key of an index.
    blueprint_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True)
    ttl = NumberAttribute()
    url = UnicodeAttribute()
    secret = UnicodeAttribute(null=True)
    body = UnicodeAttribute(null=True)
    created_at = UnicodeAttribute()
    state = UnicodeAttribute()
    series = NumberAttribute()
    attempts = JsonOf[list[Attempt]](list[Attempt])
    next_attempt_at = UnicodeAttribute(null=True)
    version = NumberAttribute()


FIELDS = tuple(field.name for field in msgspec.structs.fields(Deployment))


DELIVERY_FIELDS = tuple(
    field.name for field in msgspec.structs.fields(Delivery) if field.name not in ("blueprint_id", "id")
)


class Listed(msgspec.Struct, frozen=True):
    """What a list shows of a deployment: what its index carries."""

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
    quarantined: bool = False
    incomplete: bool = False


class Page(msgspec.Struct, frozen=True):
    """Some of a list, and where it goes on (an index key), None at its end."""

    items: list[Listed]
    next_key: dict[str, Any] | None


class Deliveries(msgspec.Struct, frozen=True):
    """Some of a deployment's deliveries, without their bodies, and the id that the rest comes after, None at the end."""

    items: list[Delivery]
    last: str | None


class DueKey(msgspec.Struct, frozen=True, order=True):
    """One entry of the `due` index."""

    due_at: int
    blueprint_id: str


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class Records:
    """The table. `retention` is how long a Terminated record is kept."""

    def __init__(
        self,
        table: str,
        *,
        retention: timedelta = timedelta(days=30),
        region: str | None = None,
        host: str | None = None,
        clock: Callable[[], datetime] = utc_now,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._retention = retention
        self._clock = clock
        self._pause = pause
        meta = {"table_name": table, "region": region, "host": host, "max_retry_attempts": 3}
        meta |= {"connect_timeout_seconds": 3, "read_timeout_seconds": 8}
        self._record = _bound(_Record, meta)
        self._item = _bound(_Item, meta)
        self._delivery = _bound(_Delivery, meta)
        # One client for all of them: making one is most of a cold start.
        self._table = self._record._get_connection()  # noqa: SLF001
        self._connection = self._table.connection
        for other in (self._item, self._delivery):
            other._get_connection().connection = self._connection  # noqa: SLF001

    # Reading

    def get(self, key: str) -> Deployment | None:
        """The record under a key, as it is now (a consistent read)."""
        return self._read(key, RECORD)

    def find(self, key: str) -> Deployment | None:
        """The record under a key, or of the deployment that moved away from it, wherever that is now.

        What else was registered meanwhile where it moved to isn't meant.
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

    def past(self, key: str, generation: str) -> Deployment | None:
        """A Terminated record that was replaced."""
        return self._read(key, PAST + generation)

    def by_id(self, id_: str, *, limit: int, start: dict[str, Any] | None = None) -> Page:
        """Deployments whose `id` is this one (callers' ids come again)."""
        found = self._record.by_id.query(id_, limit=limit, page_size=limit, last_evaluated_key=start)
        return self._page(found)

    def by_status(self, status: str, *, limit: int, start: dict[str, Any] | None = None) -> Page:
        """Deployments of a status, in the order of their keys."""
        found = self._record.by_status.query(status, limit=limit, page_size=limit, last_evaluated_key=start)
        return self._page(found)

    def due(self, until: datetime, limit: int) -> list[DueKey]:
        """What must be looked at by then, of every shard, oldest first, at most `limit` of each."""
        found = [key for shard in SHARDS for key in self._due_in(shard, until, limit)]
        return sorted(found)

    # Writing

    def create(self, new: Deployment, *, over: Deployment | None = None, over_marker: bool = False) -> None:
        """Register under a key that holds nothing, or `over` a Terminated record, which goes to the past.

        A marker of what moved away counts as something, unless it is to be replaced.
        """
        with_condition = _unchanged(over) if over else self._absent()

        def write() -> None:
            with TransactWrite(connection=self._connection) as transaction:
                transaction.save(self._as_record(new), condition=with_condition, return_values=ALL_OLD)
                marker = self._item(new.blueprint_id, MOVED)
                transaction.delete(marker, condition=None if over_marker else self._absent())
                if expiry(new) is not None:
                    transaction.save(self._as_lease(new))
                if over:
                    transaction.save(self._as_past(over))

        self._write(write)

    def replace(self, old: Deployment, new: Deployment) -> None:
        """Change a record. The lease goes with it where the expiry changed or the deployment is Terminated."""
        ended = new.status == "Terminated"
        if not ended and expiry(old) == expiry(new):

            def write() -> None:
                self._as_record(new).save(condition=_unchanged(old))

            self._write(write)
            return

        def write_both() -> None:
            with TransactWrite(connection=self._connection) as transaction:
                transaction.save(self._as_record(new), condition=_unchanged(old))
                if ended or expiry(new) is None:
                    transaction.delete(self._item(new.blueprint_id, LEASE))
                else:
                    transaction.save(self._as_lease(new))

        self._write(write_both)

    def move(self, old: Deployment, new: Deployment, *, over: Deployment | None = None) -> None:
        """Put a record under another key, `over` a Terminated record there, and leave `moved` at the old one."""

        def write() -> None:
            with TransactWrite(connection=self._connection) as transaction:
                transaction.save(self._as_record(new), condition=_unchanged(over) if over else self._absent())
                transaction.delete(self._item(new.blueprint_id, MOVED))
                if expiry(new) is not None:
                    transaction.save(self._as_lease(new))
                if over:
                    transaction.save(self._as_past(over))
                transaction.delete(self._record(old.blueprint_id, RECORD), condition=_unchanged(old))
                transaction.delete(self._item(old.blueprint_id, LEASE))
                marker = self._item(old.blueprint_id, MOVED, generation=new.generation, to=new.blueprint_id)
                marker.ttl = epoch(self._clock() + MOVED_KEPT)
                transaction.save(marker)

        self._write(write)

    def postpone(self, due: DueKey, until: datetime) -> None:
        """Look at a record later, whatever it holds: also one that can't be read any more."""

        def write() -> None:
            # Not by the model, which would read the whole answer.
            self._table.update_item(
                due.blueprint_id,
                RECORD,
                actions=[self._record.due_at.set(epoch(until)), self._record.news.remove()],
                condition=self._record.due_at == due.due_at,
            )

        self._write(write)

    # Deliveries

    def delivery(self, key: str, id_: str) -> Delivery | None:
        """One delivery, as it is now (a consistent read)."""
        try:
            found = self._delivery.get(key, DELIVERY + id_, consistent_read=True)
        except self._delivery.DoesNotExist:
            return None
        return None if self._is_over(found.ttl) else _as_delivery(found)

    def deliveries(self, key: str, *, limit: int, after: str | None = None) -> Deliveries:
        """The deliveries of what is or was under a key, also before it moved away, in the order of their ids."""
        start = None if after is None else {"blueprint_id": {"S": key}, "item": {"S": DELIVERY + after}}
        found = self._delivery.query(
            key,
            self._delivery.item.startswith(DELIVERY),
            limit=limit,
            page_size=limit,
            last_evaluated_key=start,
            attributes_to_get=[name for name in self._delivery.get_attributes() if name != "body"],
        )
        items = [_as_delivery(item) for item in found if not self._is_over(item.ttl)]
        following = found.last_evaluated_key
        return Deliveries(items, following["item"]["S"].removeprefix(DELIVERY) if following else None)

    def keep(self, delivery: Delivery) -> None:
        """Keep a new delivery; one that is there already stays as it is."""
        with suppress(LostError):
            self._write(lambda: self._as_item(delivery).save(condition=self._absent()))

    def attempted(self, old: Delivery, new: Delivery) -> None:
        """Keep what became of a delivery; LostError if it isn't what it was."""
        self._write(lambda: self._as_item(new).save(condition=_Delivery.version == old.version))

    # Within

    def _read(self, key: str, item: str) -> Deployment | None:
        try:
            found = self._record.get(key, item, consistent_read=True)
        except self._record.DoesNotExist:
            return None
        except _MALFORMED as error:
            raise _unreadable(error) from error
        return None if self._is_over(found.ttl) else from_item(found)

    def _marker(self, key: str) -> _Item | None:
        try:
            found = self._item.get(key, MOVED, consistent_read=True)
        except self._item.DoesNotExist:
            return None
        return None if self._is_over(found.ttl) else found

    def _due_in(self, shard: str, until: datetime, limit: int) -> Iterator[DueKey]:
        before = self._record.due_at <= int(until.timestamp())
        for found in self._record.due.query(shard, before, limit=limit, page_size=limit):
            yield DueKey(due_at=int(found.due_at), blueprint_id=found.blueprint_id)

    def _page(self, found: Any) -> Page:
        items = []
        while True:
            try:
                item = next(found)
                if item.item == RECORD and not self._is_over(item.ttl):
                    items.append(_listed(item))
            except StopIteration:
                return Page(items=items, next_key=found.last_evaluated_key)
            except _MALFORMED:
                # One that is no record must not hide the others.
                logger.exception("a record can't be listed")

    def _is_over(self, ttl: float | None) -> bool:
        return ttl is not None and ttl <= self._clock().timestamp()

    def _absent(self) -> Condition:
        absent: Condition = _Record.blueprint_id.does_not_exist() | (_Record.ttl <= int(self._clock().timestamp()))
        return absent

    def _as_record(self, deployment: Deployment) -> _Record:
        item = self._record(deployment.blueprint_id, RECORD)
        for name in FIELDS:
            setattr(item, name, getattr(deployment, name))
        item.news = deployment.news or None
        item.quarantined = deployment.cleanup.quarantined
        item.due_shard = None if deployment.due_at is None else shard_of(deployment.blueprint_id)
        if deployment.status == "Terminated" and deployment.cleanup.ended_at:
            item.ttl = epoch(parse_time(deployment.cleanup.ended_at) + self._retention)
        return item

    def _as_past(self, deployment: Deployment) -> _Record:
        item = self._as_record(msgspec.structs.replace(deployment, news=[]))
        item.item = PAST + deployment.generation
        return item

    def _as_lease(self, deployment: Deployment) -> _Item:
        return self._item(deployment.blueprint_id, LEASE, generation=deployment.generation, ttl=expiry(deployment))

    def _as_item(self, delivery: Delivery) -> _Delivery:
        item = self._delivery(delivery.blueprint_id, DELIVERY + delivery.id)
        for name in DELIVERY_FIELDS:
            setattr(item, name, getattr(delivery, name))
        item.ttl = epoch(parse_time(delivery.created_at) + KEPT)
        return item

    def _write(self, write: Callable[[], object]) -> None:
        """Write on a condition. LostError when it fails; a conflict of transactions decides nothing: again."""
        for attempt in range(CONFLICT_TRIES):
            try:
                write()
            except (PutError, UpdateError, TransactWriteError) as error:
                codes = _codes(error)
                if "ConditionalCheckFailed" in codes:
                    raise LostError(self._told(error)) from error
                if not codes & CONFLICT_CODES:
                    raise
                if attempt == CONFLICT_TRIES - 1:
                    raise Contended("the table is changed by too many at once; the same call again is safe") from error
                self._pause(random.uniform(0.01, 0.05) * 2**attempt)  # noqa: S311 - jitter, no secret
            else:
                return

    def _told(self, error: PutError | UpdateError | TransactWriteError) -> Deployment | None:
        """The record that a transaction failed on, if it was asked for and counts as there."""
        reasons = error.cancellation_reasons if isinstance(error, TransactWriteError) else []
        for reason in reasons:
            if reason is not None and reason.raw_item:
                found = _item_of(reason.raw_item)
                return None if self._is_over(found.ttl) else from_item(found)
        return None


def shard_of(key: str) -> str:
    """The shard of the `due` index that a key is in."""
    return SHARDS[crc32(key.encode()) % len(SHARDS)]


def from_item(item: _Record) -> Deployment:
    """The deployment that an item holds; UnreadableError if it holds none."""
    found = {name: getattr(item, name) for name in FIELDS}
    defaults = {f.name for f in msgspec.structs.fields(Deployment) if not f.required}
    present = {name: value for name, value in found.items() if value is not None or name not in defaults}
    try:
        for name in ("version", "sequence", "ttl_seconds", "due_at"):
            if name in present:
                present[name] = int(present[name])
        return msgspec.convert(present, Deployment, from_attributes=True)
    except _MALFORMED as error:
        raise _unreadable(error) from error


def from_image(image: dict[str, Any]) -> Deployment:
    """The deployment in a stream record's image; UnreadableError if there is none in it."""
    return from_item(_item_of(image))


def _item_of(image: dict[str, Any]) -> _Record:
    item = _Record()
    try:
        item.from_dynamodb_dict(image)
    except (*_MALFORMED, PynamoDBException) as error:
        raise _unreadable(error) from error
    return item


def _as_delivery(item: _Delivery) -> Delivery:
    found = {name: getattr(item, name) for name in DELIVERY_FIELDS}
    for name in ("series", "version"):
        found[name] = int(found[name])
    found |= {"blueprint_id": item.blueprint_id, "id": item.item.removeprefix(DELIVERY), "body": item.body or ""}
    return msgspec.convert(found, Delivery, from_attributes=True)


def _unreadable(error: Exception) -> UnreadableError:
    # The text of the error may quote what is stored.
    return UnreadableError(f"not a record: {type(error).__name__}")


def _bound[M: Model](model: type[M], meta: dict[str, Any]) -> type[M]:
    """The same model over a table that is known only now."""
    return type(model.__name__, (model,), {"__module__": __name__, "Meta": type("Meta", (), meta)})


def _unchanged(old: Deployment) -> Condition:
    unchanged: Condition = (_Record.version == old.version) & (_Record.generation == old.generation)
    return unchanged


def _codes(error: PutError | UpdateError | TransactWriteError) -> set[str]:
    if isinstance(error, TransactWriteError):
        reasons = {reason.code for reason in error.cancellation_reasons if reason is not None}
    else:
        reasons = set()
    code = (error.cause_response_code or "").removesuffix("Exception")
    return reasons | {code, error.cause_response_code or ""}


def _listed(item: _Record) -> Listed:
    found = {f.name: getattr(item, f.name) for f in msgspec.structs.fields(Listed)}
    found["quarantined"] = bool(item.quarantined)
    found["incomplete"] = bool(item.incomplete)
    return msgspec.convert(found, Listed)
