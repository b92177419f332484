"""This is what the tests of the records, the lifecycle and the rounds stand on: a clock, a workflow in memory, the wire.

A pytest plugin (tests/conftest.py names it), so that its fixtures need no import. Only what is outside is faked.
The store's table is on AWS's own engine where that is installed, else in this process on moto; a test that only the
engine can decide is marked `needs_engine`, with the reason.
"""

import json
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import botocore.awsrequest
import botocore.endpoint
import botocore.hooks
import botocore.httpsession
import botocore.loaders
import moto.settings
import msgspec
import pytest
from botocore.exceptions import ConnectionClosedError
from botocore.hooks import EventAliaser, HierarchicalEmitter
from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.serialize import JSONSerializer
from moto.core.utils import method_names_from_class
from moto.dynamodb.models.table import Table as MotoTable

from tests import dynamodb_local
from tests.real_targets import REQUIRED
from tests.table import create_table
from tracker.cleanup.core.contract import Found, Observation
from tracker.lifecycle.horizon import DueQueue, Horizon, delay
from tracker.lifecycle.transitions import Lifecycle
from tracker.lifecycle.workflow import ExecutionStatus, Workflow, execution_name
from tracker.model.brakes import Brakes
from tracker.model.catalogue import CATALOGUE, Entry, Form
from tracker.model.deployment import Deployment, Resource, format_time
from tracker.model.settings import Settings
from tracker.store.deliveries import Deliveries
from tracker.store.records import DueKey, Records
from tracker.store.table import Table

NOW = datetime(2030, 1, 1, tzinfo=UTC)
# An attribute's types whose values are JSON as they are.
SPELT_ONE_WAY = frozenset({"S", "N", "BOOL"})
# DynamoDB's errors whose names don't end in "Exception".
UNSUFFIXED = frozenset({"InternalServerError", "RequestLimitExceeded"})
WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"})


class Clock:
    """A clock that stands still until it is put forward."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> datetime:
        """Put it forward, as timedelta takes it."""
        self.now += timedelta(**by)
        return self.now

    @property
    def text(self) -> str:
        """Now, as records hold it."""
        return format_time(self.now)


class MemoryWorkflow(Workflow):
    """Step Functions as far as the lifecycle sees it: a name can be started once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.running: set[str] = set()
        self.statuses: dict[str, ExecutionStatus] = {}
        self.plans: list[str] = []
        self.changes: list[str] = []
        self.broken: Exception | None = None
        self._lock = threading.Lock()

    def start(self, deployment: Deployment) -> None:
        """Keep its name."""
        if self.broken:
            raise self.broken
        with self._lock:
            name = execution_name(deployment)
            self.asked.append(name)
            self.running.add(name)

    def execution_status(self, deployment: Deployment) -> ExecutionStatus:
        """Return what the test says of it, else whether it was started."""
        name = execution_name(deployment)
        return self.statuses.get(name, "running" if name in self.running else "unknown")

    def changes_of_plan(self, deployment: Deployment, digest: str) -> list[str]:
        """As a test says."""
        return self.changes

    def request_plan(self, deployment: Deployment) -> None:
        """Keep its key."""
        self.plans.append(deployment.blueprint_id)


class MemoryQueue(DueQueue):
    """The queue of what is due soon: holds each key with the seconds for which it is hidden."""

    def __init__(self) -> None:
        super().__init__("")
        self.put_there: list[tuple[DueKey, int]] = []

    def put(self, keys: Iterable[DueKey], now: datetime) -> int:
        """Keep them."""
        new = [(key, delay(key, now)) for key in keys]
        self.put_there += new
        return len(new)


def sweep(lifecycle: Lifecycle, brakes: Brakes, time_left: Callable[[], float] = lambda: 60.0) -> int:
    """Sweep, and take what is due now as the queue would: how many rounds were started."""
    queue = MemoryQueue()
    Horizon(lifecycle._records, queue, lifecycle._clock).sweep(time_left)
    now = lifecycle._clock().timestamp()
    return sum(lifecycle.take(key, brakes) for key, _ in queue.put_there if key.due_at <= now)


class Wire:
    """Every request that goes to DynamoDB, and faults put into the answers."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self._conflicts = 0
        self._lost: dict[str, int] = {}
        self._refused: set[str] = set()
        self._throttled: dict[str, tuple[str, int]] = {}
        self._lock = threading.Lock()

    @property
    def counted(self) -> dict[str, int]:
        """Return how often each operation was called."""
        return dict(Counter(self.calls))

    def conflict(self, times: int) -> None:
        """The next so many writes are met by another transaction: not applied, answered with a conflict."""
        self._conflicts = times

    def lose_answer(self, operation: str, times: int = 1) -> None:
        """The next such calls are applied, and their answers never come."""
        self._lost[operation] = times

    def refuse_what_is_applied(self, operation: str) -> None:
        """The next such call is applied and then answered as if its condition had failed."""
        self._refused.add(operation)

    def throttle(self, operation: str, code: str, times: int = 1) -> None:
        """The next so many such calls are not applied, and answered with this error, which passes."""
        self._throttled[operation] = (code, times)

    def send(self, real: Callable[[Any], Any], request: Any) -> Any:
        """Botocore's way out."""
        target = request.headers.get("X-Amz-Target")
        if target is None or not target.startswith(b"DynamoDB_" if isinstance(target, bytes) else "DynamoDB_"):
            return real(request)
        operation = (target.decode() if isinstance(target, bytes) else target).rsplit(".", 1)[1]
        with self._lock:
            self.calls.append(operation)
            self.bodies.append(json.loads(request.body))
            if operation in WRITES and self._conflicts > 0:
                self._conflicts -= 1
                return _refusal(request, operation, "TransactionConflict")
            code, times = self._throttled.get(operation, ("", 0))
            if times > 0:
                self._throttled[operation] = (code, times - 1)
                return _refusal(request, operation, code)
            if self._lost.get(operation, 0) > 0:
                self._lost[operation] -= 1
                real(request)
                raise ConnectionClosedError(endpoint_url=request.url)
            if operation in self._refused:
                self._refused.discard(operation)
                real(request)
                return _refusal(request, operation, "ConditionalCheckFailed")
        return real(request)


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self) -> list[bytes]:
        return [self._content]


def _refusal(request: Any, operation: str, code: str) -> Any:
    """As DynamoDB refuses a write: a transaction is cancelled, with a reason for each of its items."""
    prefix = "com.amazonaws.dynamodb.v20120810#"
    status = 500 if code == "InternalServerError" else 400
    if operation == "TransactWriteItems":
        items = json.loads(request.body)["TransactItems"]
        reasons = [{"Code": code, "Message": "injected"}, *[{"Code": "None"}] * (len(items) - 1)]
        found = {"__type": prefix + "TransactionCanceledException", "Message": "cancelled"}
        content = json.dumps(found | {"CancellationReasons": reasons})
    else:
        name = code if code in UNSUFFIXED else f"{code}Exception"
        content = json.dumps({"__type": prefix + name, "message": "injected"})
    headers = {"Content-Type": "application/x-amz-json-1.0", "x-amzn-RequestId": "injected"}
    return botocore.awsrequest.AWSResponse(request.url, status, headers, _Body(content.encode()))


def a_deployment(key: str = "svc-1", *, ttl: int | None = 3600, now: datetime = NOW, **changes: Any) -> Deployment:
    """One that registers on any stack; `ttl` in seconds, None for no end."""
    at = format_time(now)
    found: dict[str, Any] = {
        "id": f"dep-{key}",
        "blueprint_id": key,
        "deployment_type": "AwsEc2",
        "region": "eu-central-1",
        "resource_ids": {"instance_id": "i-0123456789abcdef0"},
        "deployed_at": at,
        "ttl_seconds": ttl,
        "expires_at": None if ttl is None else format_time(now + timedelta(seconds=ttl)),
        "generation": f"generation-of-{key}",
        "registered_at": at,
        "registered_by": "tests",
        "fingerprint": f"print-of-{key}",
    }
    return Deployment(**found | changes)


class MemoryProvider:
    """A provider in memory, and the deployment type that cleans it up: what it holds, and what it was asked.

    `things` maps the id of each thing that is there to how many looks it still takes to leave once its deletion was
    asked for; `leaving` those on their way. `raises` maps ("discover" | "state" | "delete", id) to what such a call
    raises, for as long as it stands there.
    """

    def __init__(self) -> None:
        self.things: dict[str, int] = {}
        self.leaving: set[str] = set()
        self.found: list[Resource] = []
        self.raises: dict[tuple[str, str], Exception] = {}
        self.unproven: set[str] = set()
        # Ids of which nothing says whether what has them is still the same thing.
        self.doubtful: set[str] = set()
        self.calls: list[tuple[str, str]] = []
        # What carries a mark, by the value of the mark, once the type can look (`finds`).
        self.marked: dict[str, list[Resource]] = {}
        self.before: Callable[[str, str], object] = lambda _call, _id: None
        self.module = ModuleType("tracker.cleanup.providers.memory")
        self.module.__dict__["discover"] = self._discover
        self.module.__dict__["KINDS"] = {
            "memory:thing": MemoryKind(self, one_at_a_time=False),
            "memory:single": MemoryKind(self, one_at_a_time=True),
        }

    def has(self, *resources: Resource, looks: int = 0) -> None:
        """These are there, are discovered, and take so many looks to leave."""
        self.things |= dict.fromkeys((resource.id for resource in resources), looks)
        self.found += resources

    def finds(self) -> None:
        """From now on the type can look for what carries a mark."""
        form = Form("[a-z0-9-]+", "box-1", kind="memory:thing", many=True)
        CATALOGUE["BareMetal"] = msgspec.structs.replace(CATALOGUE["BareMetal"], ids={"box": form}, marked_by="tag")
        self.module.__dict__["find"] = self._find

    def marks(self, generation: str, *resources: Resource) -> None:
        """These are there, carry the mark of a generation, and are discovered once they are named."""
        self.has(*resources)
        self.marked.setdefault(generation, []).extend(resources)

    def asked(self, call: str) -> list[str]:
        """The ids of such calls, in order."""
        return [id_ for name, id_ in self.calls if name == call]

    def heard(self, call: str, id_: str) -> None:
        """Note a call, and raise what it raises."""
        self.before(call, id_)
        self.calls.append((call, id_))
        if (call, id_) in self.raises:
            raise self.raises[call, id_]

    def _find(self, deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
        self.heard("find", "")
        for mark, resources in self.marked.items():
            for resource in resources:
                if generation in (None, mark) and resource.id in self.things:
                    yield Found(resource, "box" if resource.stage == 0 else "", mark)

    def _discover(self, deployment: Deployment, settings: Settings) -> list[Resource]:
        self.heard("discover", "")
        return list(self.found)


class MemoryKind:
    """This is how one thing in memory goes."""

    def __init__(self, provider: MemoryProvider, *, one_at_a_time: bool) -> None:
        self._provider = provider
        self.one_at_a_time = one_at_a_time
        self.settles_in = 0
        self.asks_again = False

    def state(self, resource: Resource, settings: Settings) -> Observation:
        """It leaves a look at a time."""
        provider = self._provider
        provider.heard("state", resource.id)
        if resource.id in provider.leaving:
            if provider.things[resource.id] == 0:
                provider.leaving.discard(resource.id)
                del provider.things[resource.id]
            else:
                provider.things[resource.id] -= 1
                return Observation("leaving", detail="on its way")
        if resource.id in provider.things:
            same = resource.id not in provider.doubtful
            return Observation("present", place={"seen_at": "memory"}, same=same)
        return Observation("gone", proof="a look into memory", unproven=resource.id in provider.unproven)

    def delete(self, resource: Resource, settings: Settings) -> None:
        """Accepted."""
        self._provider.heard("delete", resource.id)
        if resource.id in self._provider.things:
            self._provider.leaving.add(resource.id)


def a_thing(id_: str, stage: int = 0, **changes: Any) -> Resource:
    """A resource that the provider in memory knows."""
    found: dict[str, Any] = {"kind": "memory:thing", "id": id_, "stage": stage}
    return Resource(**found | changes)


class Engine:
    """One table, at that URL or (None) on moto in this process, and a look behind the store's back."""

    def __init__(self, url: str | None, table: str) -> None:
        self.url = url
        self.table = table
        self.client = boto3.client("dynamodb", endpoint_url=url)

    def items(self, key: str = "svc-1") -> dict[str, dict[str, Any]]:
        """Return what is really there under a key, by its sort key."""
        found = self.client.query(
            TableName=self.table,
            KeyConditionExpression="blueprint_id = :key",
            ExpressionAttributeValues={":key": {"S": key}},
            ConsistentRead=True,
        )
        return {item["item"]["S"]: item for item in found["Items"]}

    def spoil(self, key: str, attributes: dict[str, Any], item: str = "record") -> None:
        """Put into a record, or another item, what isn't one."""
        found = self.items(key)[item]
        self.client.put_item(TableName=self.table, Item=found | attributes)

    def clear(self) -> None:
        """Remove every item."""
        for page in self.client.get_paginator("scan").paginate(
            TableName=self.table, ProjectionExpression="blueprint_id, #item", ExpressionAttributeNames={"#item": "item"}
        ):
            keys = [{"DeleteRequest": {"Key": key}} for key in page["Items"]]
            for n in range(0, len(keys), 25):
                self.client.batch_write_item(RequestItems={self.table: keys[n : n + 25]})


class _SharedStore:
    """The store that all tests of a run share, since making clients and tables is most of what they would take."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = Clock()
        self.waits: list[float] = []
        table = Table(engine.table, host=engine.url, clock=lambda: self.clock.now, pause=self.waits.append)
        self.records = Records(table)
        self.deliveries = Deliveries(table)


# By the engine's URL; None is moto.
SHARED = pytest.StashKey[dict[str | None, _SharedStore]]()


@pytest.fixture(autouse=True, scope="session")
def _botocore_made_quick() -> Iterator[None]:
    """Keep what botocore reads and works out anew for each session, which is most of what many tests would take."""
    read = cache(botocore.loaders.JSONFileLoader().load_file)
    services = cache(botocore.loaders.create_loader().list_available_services)
    alias = cache(EventAliaser(HierarchicalEmitter())._alias_event_name)
    accepts_kwargs = lru_cache(maxsize=1000)(botocore.hooks.accepts_kwargs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.loaders.JSONFileLoader, "load_file", lambda _loader, path: read(path))
        patch.setattr(
            botocore.loaders.Loader, "list_available_services", lambda _loader, type_name: services(type_name)
        )
        patch.setattr(EventAliaser, "_alias_event_name", lambda _emitter, name: alias(name))
        # Asked of the function below a method: the method would keep its object.
        patch.setattr(botocore.hooks, "accepts_kwargs", lambda func: accepts_kwargs(getattr(func, "__func__", func)))
        yield


@pytest.fixture(autouse=True, scope="session")
def _moto_made_quick() -> Iterator[None]:
    """Take out of moto what tests over a table, or over EC2, would mostly wait for.

    It seeks each type of each attribute under many spellings, lists its own methods anew for each request, copies a whole table
    before each transaction, and makes hundreds of machine images for each of its EC2s.
    """
    serialize = JSONSerializer._serialize_type_structure

    def serialize_attribute(self: JSONSerializer, serialized: Any, value: Any, shape: Any, key: str) -> None:
        if shape.name == "AttributeValue" and isinstance(value, dict) and value.keys() <= SPELT_ONE_WAY:
            serialized[self.get_serialized_name(shape, key)] = dict(value)
        else:
            serialize(self, serialized, value, shape, key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONSerializer, "_serialize_type_structure", serialize_attribute)
        patch.setattr("moto.core.responses.method_names_from_class", cache(method_names_from_class))
        patch.setattr(MotoTable, "__deepcopy__", _as_it_was, raising=False)
        patch.setattr(moto.settings, "ec2_load_default_amis", lambda: False)
        yield


def _as_it_was(table: MotoTable, _memo: object) -> MotoTable:
    """Return what moto goes back to when a transaction fails.

    Puts and deletes, the only writes in the tracker's transactions, replace items and don't change them.
    """
    before = copy(table)
    before.items = defaultdict(dict, {key: dict(items) for key, items in table.items.items()})
    if table.stream_shard:
        before.stream_shard = copy(table.stream_shard)
        before.stream_shard.table = before
        before.stream_shard.items = list(table.stream_shard.items)
    return before


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def workflow() -> MemoryWorkflow:
    return MemoryWorkflow()


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    found = Wire()
    send = botocore.httpsession.URLLib3Session.send
    answer = BotocoreStubber.__call__
    monkeypatch.setattr(
        botocore.httpsession.URLLib3Session,
        "send",
        lambda session, request: found.send(lambda r: send(session, r), request),
    )

    def answered_in_process(moto: BotocoreStubber, event_name: str, request: Any, **context: Any) -> Any:
        if not moto.enabled:
            return None
        return found.send(lambda r: answer(moto, event_name, r, **context), request)

    monkeypatch.setattr(BotocoreStubber, "__call__", answered_in_process)
    # Botocore tries again at once.
    monkeypatch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=lambda _seconds: None, time=time.time))
    return found


@pytest.fixture
def engine_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str | None]:
    """The URL of AWS's own engine; where that isn't installed, None and moto in this process, with nothing in it."""
    is_chosen = dynamodb_local.is_installed() and not request.config.getoption("--moto")
    if REQUIRED or is_chosen or request.node.get_closest_marker("needs_engine"):
        yield request.getfixturevalue("dynamodb_local")
        return
    monkeypatch.setattr(BotocoreStubber, "process_request", _one_at_a_time(BotocoreStubber.process_request))
    with mock_aws():
        yield None


def _one_at_a_time(process: Callable[..., Any]) -> Callable[..., Any]:
    """Moto's answers, each request taken whole before the next: moto itself knows no isolation between threads."""
    turn = threading.Lock()

    def process_alone(*args: Any) -> Any:
        with turn:
            found = process(*args)
        # Let another thread's request come between this one and the next, as on a network.
        time.sleep(0)
        return found

    return process_alone


@pytest.fixture
def shared_store(engine_url: str | None, request: pytest.FixtureRequest, clock: Clock) -> Iterator[_SharedStore]:
    stores = request.config.stash.setdefault(SHARED, {})
    if engine_url not in stores:
        if engine_url:
            create_table("shared", endpoint_url=engine_url)
        stores[engine_url] = _SharedStore(Engine(engine_url, "shared"))
    shared = stores[engine_url]
    if engine_url is None:
        create_table("shared", client=shared.engine.client)
    shared.clock = clock
    shared.waits.clear()
    yield shared
    if engine_url:
        shared.engine.clear()


@pytest.fixture
def engine(shared_store: _SharedStore) -> Engine:
    return shared_store.engine


@pytest.fixture
def store(shared_store: _SharedStore) -> Records:
    """The table, empty, under the test's clock; a conflict is tried again at once."""
    return shared_store.records


@pytest.fixture
def delivery_store(shared_store: _SharedStore) -> Deliveries:
    """The deliveries in the same table."""
    return shared_store.deliveries


@pytest.fixture
def waits(shared_store: _SharedStore) -> list[float]:
    """Return what the store would have waited, in seconds."""
    return shared_store.waits


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> MemoryProvider:
    """BareMetal is cleaned up in memory, by a module of its own."""
    found = MemoryProvider()
    monkeypatch.setitem(sys.modules, "tracker.cleanup.providers.memory", found.module)
    # Of no kind: what is there is what a test says, whatever the record names.
    form = Form("[a-z0-9-]+", "box-1", many=True)
    memory = Entry(
        platform="memory",
        summary="A thing in memory",
        module="memory",
        ids={"box": form},
        needs_one_of=(("box",),),
        metadata={"account": Form(".*", "1")},
    )
    monkeypatch.setitem(CATALOGUE, "BareMetal", memory)
    return found


@pytest.fixture
def settings() -> Settings:
    return Settings(aws_account="123456789012")


@pytest.fixture
def lifecycle(store: Records, workflow: MemoryWorkflow, settings: Settings, clock: Clock) -> Lifecycle:
    return Lifecycle(store, workflow, settings, clock)
