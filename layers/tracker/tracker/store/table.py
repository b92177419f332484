"""The DynamoDB table through PynamoDB: the shapes of its items, how a record is read from one, and writes on a condition.

Used by `records` and `deliveries`, which share one table and one client. Partition key `blueprint_id`, sort key `item`:

- `record`: the deployment itself. It carries `ttl` only once Terminated.
- `lease`: `ttl` and `generation`; DynamoDB removes it when the deployment's time is over.
- `past#<generation>`: a Terminated record that a later registration or move replaced.
- `moved`: {`to`, `generation`}, left at the old key when a key moves.
- `delivery#<webhook-id>`: a delivery to the deployment's webhook, with its attempts.

Under keys of their own:

- `generation#<first 12 hex digits>`, item `<generation>`: the key of the deployment with that generation (`to`). It carries `ttl` once
  the deployment is Terminated. Two generations that begin alike stand side by side.
- `stray:<kind>:<id>`, item `stray`: what carries a mark and is claimed by no record. It carries `ttl` once it is over.

An item that is past its `ttl` counts as absent, since DynamoDB may remove it late.
"""

import random
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from pynamodb.attributes import Attribute, BooleanAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.constants import STRING
from pynamodb.exceptions import DeleteError, PutError, PynamoDBException, TransactWriteError, UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from tracker.model.clock import utc_now
from tracker.model.delivery import Attempt
from tracker.model.deployment import Cleanup, Deployment, Event, Hold, Price, Resource, ResourceSpec
from tracker.model.errors import Contended
from tracker.model.marks import first_digits
from tracker.model.sizes import Packed, pack, unpack
from tracker.model.strays import Stray, StrayEvent

GENERATION = "generation#"
STRAY = "stray"
# The version of a record's shape that is written. An item that names none has the first. One of the next version is read as far as it
# can be, so that a new version of the tracker may be taken back, and never written; one of a later version isn't read either.
SCHEMA = 1

CONFLICT_TRIES = 8
CONFLICT_CODES = frozenset({"TransactionConflict", "TransactionConflictException", "TransactionInProgressException"})

# The exceptions that reading a malformed item raises.
MALFORMED = (ValueError, TypeError, KeyError, AttributeError, msgspec.MsgspecError)


class VersionConflict(Exception):
    """The item has changed since it was read, so the caller must decide again.

    `current` is the deployment that is stored now, if the failed write reported it.
    """

    def __init__(self, current: Deployment | None = None) -> None:
        super().__init__("the record has changed")
        self.current = current


class UnreadableError(ValueError):
    """The stored item isn't a valid record."""

    def __init__(self, error: Exception) -> None:
        # The text of the error may quote stored content.
        super().__init__(f"not a record: {type(error).__name__}")


class ListedProgress(msgspec.Struct, frozen=True, omit_defaults=True):
    """The fields of a cleanup that a list shows. They are one attribute, since an index carries at most 20.

    `last_error` has the class alone: `{"class": "protected"}`. `ended_at` is there once it is Terminated.
    """

    quarantined: bool = False
    failures: int = 0
    last_error: dict[str, str] | None = None
    next_attempt_at: str | None = None
    ended_at: str | None = None


class JsonOf[T](Attribute[T]):
    """A compound field, stored as JSON text: exact for floats and cheap to read."""

    attr_type = STRING

    def __init__(self, kind: Any, attr_name: str | None = None) -> None:
        super().__init__(null=True, attr_name=attr_name)
        self.kind = kind

    def serialize(self, value: T) -> str:
        """Write the value as JSON."""
        return msgspec.json.encode(value).decode()

    def deserialize(self, value: str) -> T:
        """Read the value. msgspec.ValidationError if it isn't of the field's type."""
        found: T = msgspec.json.decode(value, type=self.kind)
        return found


class PackedResources(JsonOf[list[Resource]]):
    """Resources, with what all their places share stored once. An item that has them all in full is read, too."""

    def __init__(self) -> None:
        super().__init__(list[Resource])

    def serialize(self, value: list[Resource]) -> str:
        """Write the resources as JSON."""
        return msgspec.json.encode(pack(value)).decode()

    def deserialize(self, value: str) -> list[Resource]:
        """Read the resources. msgspec.ValidationError if they aren't any."""
        return unpack(msgspec.json.decode(value, type=Packed | list[Resource]))


class _ById(GlobalSecondaryIndex["Record"]):  # type: ignore[no-untyped-call]
    class Meta:
        index_name = "by_id"
        projection = AllProjection()

    id = UnicodeAttribute(hash_key=True)


class _ByStatus(GlobalSecondaryIndex["Record"]):  # type: ignore[no-untyped-call]
    class Meta:
        index_name = "by_status"
        projection = AllProjection()

    status = UnicodeAttribute(hash_key=True)
    blueprint_id = UnicodeAttribute(range_key=True)


class _ByOwner(GlobalSecondaryIndex["Record"]):  # type: ignore[no-untyped-call]
    class Meta:
        index_name = "by_owner"
        projection = AllProjection()

    owner = UnicodeAttribute(hash_key=True)
    blueprint_id = UnicodeAttribute(range_key=True)


class _Due(GlobalSecondaryIndex["Record"]):  # type: ignore[no-untyped-call]
    class Meta:
        index_name = "due"
        projection = AllProjection()

    due_shard = UnicodeAttribute(hash_key=True)
    due_at = NumberAttribute(range_key=True)


class Lease(Model):
    """A `lease` item."""

    blueprint_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True)
    ttl = NumberAttribute(null=True)
    generation = UnicodeAttribute(null=True)


class Moved(Model):
    """A `moved` item: the key that a deployment moved to."""

    blueprint_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True)
    ttl = NumberAttribute(null=True)
    generation = UnicodeAttribute(null=True)
    to = UnicodeAttribute(null=True)


class Record(Model):
    """A `record` or a `past#` item: the fields of a Deployment, and what the indexes and the TTL need."""

    blueprint_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True)
    ttl = NumberAttribute(null=True)
    due_shard = UnicodeAttribute(null=True)
    progress = JsonOf[ListedProgress](ListedProgress)

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
    owner = UnicodeAttribute(null=True)
    labels = JsonOf[dict[str, str]](dict[str, str])
    cost_per_hour = JsonOf[Price](Price)
    warn_before = JsonOf[list[int]](list[int])
    generation = UnicodeAttribute()
    schema = NumberAttribute(null=True)
    version = NumberAttribute()
    registered_by = UnicodeAttribute(null=True)
    registered_at = UnicodeAttribute()
    fingerprint = UnicodeAttribute(null=True)
    made_at = UnicodeAttribute(null=True)
    incomplete = BooleanAttribute(null=True)
    resources = PackedResources()
    cleanup = JsonOf[Cleanup](Cleanup)
    due_at = NumberAttribute(null=True)
    webhook_events = JsonOf[list[str]](list[str])
    hold = JsonOf[Hold](Hold)
    warned = NumberAttribute(null=True)
    sequence = NumberAttribute()
    events = JsonOf[list[Event]](list[Event])
    outbox = JsonOf[list[Event]](list[Event], attr_name="news")
    place = UnicodeAttribute(null=True)
    claims = UnicodeAttribute(null=True)

    by_id = _ById()
    by_status = _ByStatus()
    by_owner = _ByOwner()
    due = _Due()


class GenerationItem(Model):
    """The key of the deployment with a generation, by the generation. `version` is that of the record when this was written."""

    blueprint_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True)
    ttl = NumberAttribute(null=True)
    to = UnicodeAttribute()
    version = NumberAttribute()


class StrayItem(Model):
    """A `stray` item. It has a `status`, by which the index lists it, as long as it isn't over. `place` is its place's digest."""

    blueprint_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True)
    ttl = NumberAttribute(null=True)
    status = UnicodeAttribute(null=True)
    deployment_type = UnicodeAttribute()
    region = UnicodeAttribute(null=True)
    place = UnicodeAttribute()
    version = NumberAttribute()
    stray = JsonOf[Stray](Stray)
    outbox = JsonOf[list[StrayEvent]](list[StrayEvent], attr_name="news")


class DeliveryItem(Model):
    """A `delivery#` item. None of its attributes is the key of an index, so no list of deployments shows it."""

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


class Table:
    """The table of that name, with one client for all of its items. `clock` decides which items are past their `ttl`."""

    def __init__(
        self,
        name: str,
        *,
        region: str | None = None,
        host: str | None = None,
        clock: Callable[[], datetime] = utc_now,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.clock = clock
        self._pause = pause
        meta = {"table_name": name, "region": region, "host": host, "max_retry_attempts": 3}
        meta |= {"connect_timeout_seconds": 3, "read_timeout_seconds": 8}
        self.record = _bound(Record, meta)
        self.lease = _bound(Lease, meta)
        self.moved = _bound(Moved, meta)
        self.delivery = _bound(DeliveryItem, meta)
        self.generation = _bound(GenerationItem, meta)
        self.stray = _bound(StrayItem, meta)
        # One client for all of them, since making one is most of a cold start.
        self._client = self.record._get_connection()  # noqa: SLF001
        for other in (self.lease, self.moved, self.delivery, self.generation, self.stray):
            other._get_connection().connection = self._client.connection  # noqa: SLF001

    def transaction(self) -> TransactWrite:
        """Return a new transaction; it is written when its `with` block ends."""
        return TransactWrite(connection=self._client.connection)

    def generation_item(self, generation: str, to: str, version: int, ttl: int | None = None) -> GenerationItem:
        """Return the item that leads from a generation to its deployment's key."""
        return self.generation(generations(generation), generation, to=to, version=version, ttl=ttl)

    def update(self, key: str, item: str, actions: list[Action], condition: Condition) -> None:
        """Update an item whatever it holds. A model's own update would read the whole item, which may be malformed."""
        self._client.update_item(key, item, actions=actions, condition=condition)

    def is_over(self, ttl: float | None) -> bool:
        """Return whether an item with that `ttl` counts as absent."""
        return ttl is not None and ttl <= self.clock().timestamp()

    def is_absent(self) -> Condition:
        """Return the condition that there is no such item, or that it is past its `ttl`."""
        absent: Condition = Record.blueprint_id.does_not_exist() | (Record.ttl <= int(self.clock().timestamp()))
        return absent

    def write(self, write: Callable[[], object]) -> None:
        """Write on a condition. VersionConflict if the condition fails.

        A write that meets another transaction is tried again, and Contended after 8 tries.
        """
        for attempt in range(CONFLICT_TRIES):
            try:
                write()
            except (PutError, UpdateError, DeleteError, TransactWriteError) as error:
                codes = _codes(error)
                if "ConditionalCheckFailed" in codes:
                    raise VersionConflict(self._current(error)) from error
                if not codes & CONFLICT_CODES:
                    raise
                if attempt == CONFLICT_TRIES - 1:
                    raise Contended("the table is changed by too many at once; the same call again is safe") from error
                self._pause(random.uniform(0.01, 0.05) * 2**attempt)  # noqa: S311 - jitter, no secret
            else:
                return

    def _current(self, error: PutError | UpdateError | DeleteError | TransactWriteError) -> Deployment | None:
        """Return the record that a transaction failed on, if the transaction asked for it and it isn't past its `ttl`."""
        reasons = error.cancellation_reasons if isinstance(error, TransactWriteError) else []
        for reason in reasons:
            if reason is not None and reason.raw_item:
                found = _item_of(reason.raw_item, Record)
                return None if self.is_over(found.ttl) else read_record(found)
        return None


def generations(mark: str) -> str:
    """Return the partition of the generations that begin with a mark's first digits."""
    return GENERATION + first_digits(mark)


def read_record(item: Record) -> Deployment:
    """Return the deployment that an item holds. UnreadableError if it holds none."""
    present = {}
    if item.schema is not None and item.schema > SCHEMA + 1:
        raise UnreadableError(ValueError("a later version of the tracker wrote it"))
    try:
        for field in msgspec.structs.fields(Deployment):
            value = getattr(item, field.name)
            if field.name in ("version", "sequence", "ttl_seconds", "due_at", "warned") and value is not None:
                value = int(value)
            if value is not None or field.required:
                present[field.encode_name] = value
        return msgspec.convert(present, Deployment, from_attributes=True)
    except MALFORMED as error:
        raise UnreadableError(error) from error


def read_image(image: dict[str, Any]) -> Deployment:
    """Return the deployment in a stream record's image (DynamoDB's JSON). UnreadableError if it holds none."""
    return read_record(_item_of(image, Record))


def read_stray(item: StrayItem) -> Stray:
    """Return the stray that an item holds. UnreadableError if it holds none."""
    try:
        return msgspec.structs.replace(item.stray, version=int(item.version), outbox=item.outbox or [])
    except MALFORMED as error:
        raise UnreadableError(error) from error


def read_stray_image(image: dict[str, Any]) -> Stray:
    """Return the stray in a stream record's image. UnreadableError if it holds none."""
    return read_stray(_item_of(image, StrayItem))


def _item_of[M: Model](image: dict[str, Any], model: type[M]) -> M:
    item = model()
    try:
        item.from_dynamodb_dict(image)
    except (*MALFORMED, PynamoDBException) as error:
        raise UnreadableError(error) from error
    return item


def _bound[M: Model](model: type[M], meta: dict[str, Any]) -> type[M]:
    """Return a model of the table whose name is known only at run time."""
    return type(model.__name__, (model,), {"__module__": __name__, "Meta": type("Meta", (), meta)})


def _codes(error: PutError | UpdateError | DeleteError | TransactWriteError) -> set[str]:
    if isinstance(error, TransactWriteError):
        reasons = {reason.code for reason in error.cancellation_reasons if reason is not None}
    else:
        reasons = set()
    code = (error.cause_response_code or "").removesuffix("Exception")
    return reasons | {code, error.cause_response_code or ""}
