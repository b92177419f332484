"""What the tests of the records, the lifecycle and the rounds stand on: a clock, a workflow in memory, the wire.

A pytest plugin (tests/conftest.py names it), so that its fixtures need no import. Only what is outside is faked;
the table is the real engine wherever conditions and transactions matter.
"""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import botocore.awsrequest
import botocore.endpoint
import botocore.httpsession
import botocore.loaders
import pytest
from botocore.exceptions import ConnectionClosedError

from tests.table import create_table
from tracker.catalogue import CATALOGUE, Entry, Form
from tracker.cleanup.contract import Look
from tracker.deployment import Deployment, Resource, format_time
from tracker.lifecycle import Lifecycle
from tracker.records import Records
from tracker.settings import Settings
from tracker.workflow import Standing, Workflow, execution_name

NOW = datetime(2030, 1, 1, tzinfo=UTC)
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
        self.standings: dict[str, Standing] = {}
        self.plans: list[str] = []
        self.broken: Exception | None = None
        self._lock = threading.Lock()

    def start(self, deployment: Deployment) -> None:
        """Keep its name."""
        if self.broken:
            raise self.broken
        with self._lock:
            name = execution_name(deployment.generation, deployment.cleanup.round)
            self.asked.append(name)
            self.running.add(name)

    def standing(self, deployment: Deployment) -> Standing:
        """What the test says of it, else whether it was started."""
        name = execution_name(deployment.generation, deployment.cleanup.round)
        return self.standings.get(name, "running" if name in self.running else "unknown")

    def request_plan(self, deployment: Deployment) -> None:
        """Keep its key."""
        self.plans.append(deployment.blueprint_id)


class Wire:
    """Every request that goes to DynamoDB, and faults put into the answers."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self._conflicts = 0
        self._lost: dict[str, int] = {}
        self._refused: set[str] = set()
        self._lock = threading.Lock()

    @property
    def counted(self) -> dict[str, int]:
        """How often each operation was called."""
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
    if operation == "TransactWriteItems":
        items = json.loads(request.body)["TransactItems"]
        reasons = [{"Code": code, "Message": "injected"}, *[{"Code": "None"}] * (len(items) - 1)]
        found = {"__type": prefix + "TransactionCanceledException", "Message": "cancelled"}
        content = json.dumps(found | {"CancellationReasons": reasons})
    else:
        content = json.dumps({"__type": f"{prefix}{code}Exception", "message": "injected"})
    headers = {"Content-Type": "application/x-amz-json-1.0", "x-amzn-RequestId": "injected"}
    return botocore.awsrequest.AWSResponse(request.url, 400, headers, _Body(content.encode()))


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
        self.calls: list[tuple[str, str]] = []
        self.before: Callable[[str, str], object] = lambda _call, _id: None
        self.module = ModuleType("tracker.cleanup.memory")
        self.module.__dict__["discover"] = self._discover
        self.module.__dict__["KINDS"] = {
            "memory:thing": MemoryKind(self, one_at_a_time=False),
            "memory:single": MemoryKind(self, one_at_a_time=True),
        }

    def has(self, *resources: Resource, looks: int = 0) -> None:
        """These are there, are discovered, and take so many looks to leave."""
        self.things |= dict.fromkeys((resource.id for resource in resources), looks)
        self.found += resources

    def asked(self, call: str) -> list[str]:
        """The ids of such calls, in order."""
        return [id_ for name, id_ in self.calls if name == call]

    def heard(self, call: str, id_: str) -> None:
        """Note a call, and raise what it raises."""
        self.before(call, id_)
        self.calls.append((call, id_))
        if (call, id_) in self.raises:
            raise self.raises[call, id_]

    def _discover(self, deployment: Deployment, settings: Settings) -> list[Resource]:
        self.heard("discover", "")
        return list(self.found)


class MemoryKind:
    """How one thing in memory goes."""

    def __init__(self, provider: MemoryProvider, *, one_at_a_time: bool) -> None:
        self._provider = provider
        self.one_at_a_time = one_at_a_time

    def state(self, resource: Resource, settings: Settings) -> Look:
        """It leaves a look at a time."""
        provider = self._provider
        provider.heard("state", resource.id)
        if resource.id in provider.leaving:
            if provider.things[resource.id] == 0:
                provider.leaving.discard(resource.id)
                del provider.things[resource.id]
            else:
                provider.things[resource.id] -= 1
                return Look("leaving", detail="on its way")
        if resource.id in provider.things:
            return Look("present", place={"seen_at": "memory"})
        return Look("gone", proof="a look into memory", unproven=resource.id in provider.unproven)

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
    """One table on AWS's own engine, and a look behind the store's back."""

    def __init__(self, url: str, table: str) -> None:
        self.url = url
        self.table = table
        self.client = boto3.client("dynamodb", endpoint_url=url)

    def items(self, key: str = "svc-1") -> dict[str, dict[str, Any]]:
        """What is really there under a key, by its sort key."""
        found = self.client.query(
            TableName=self.table,
            KeyConditionExpression="blueprint_id = :key",
            ExpressionAttributeValues={":key": {"S": key}},
            ConsistentRead=True,
        )
        return {item["item"]["S"]: item for item in found["Items"]}

    def spoil(self, key: str, attributes: dict[str, Any]) -> None:
        """Put into a record what isn't one."""
        item = self.items(key)["record"]
        self.client.put_item(TableName=self.table, Item=item | attributes)

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
        self.records = Records(engine.table, host=engine.url, clock=lambda: self.clock.now, pause=self.waits.append)


SHARED = pytest.StashKey[_SharedStore]()


@pytest.fixture(autouse=True, scope="session")
def _models_read_once() -> Iterator[None]:
    """Reading AWS's models anew for each session of botocore is most of what many tests would take."""
    with pytest.MonkeyPatch.context() as patch:
        read = cache(botocore.loaders.JSONFileLoader().load_file)
        patch.setattr(botocore.loaders.JSONFileLoader, "load_file", lambda _loader, path: read(path))
        services = cache(botocore.loaders.create_loader().list_available_services)
        patch.setattr(
            botocore.loaders.Loader, "list_available_services", lambda _loader, type_name: services(type_name)
        )
        yield


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def workflow() -> MemoryWorkflow:
    return MemoryWorkflow()


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    found = Wire()
    real = botocore.httpsession.URLLib3Session.send
    monkeypatch.setattr(
        botocore.httpsession.URLLib3Session,
        "send",
        lambda session, request: found.send(lambda r: real(session, r), request),
    )
    # Botocore tries again at once.
    monkeypatch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=lambda _seconds: None, time=time.time))
    return found


@pytest.fixture
def shared_store(dynamodb_local: str, request: pytest.FixtureRequest, clock: Clock) -> Iterator[_SharedStore]:
    shared = request.config.stash.get(SHARED, None)
    if shared is None:
        create_table("shared", endpoint_url=dynamodb_local)
        shared = request.config.stash[SHARED] = _SharedStore(Engine(dynamodb_local, "shared"))
    shared.clock = clock
    shared.waits.clear()
    yield shared
    shared.engine.clear()


@pytest.fixture
def engine(shared_store: _SharedStore) -> Engine:
    return shared_store.engine


@pytest.fixture
def store(shared_store: _SharedStore) -> Records:
    """The table on the real engine, empty, under the test's clock; a conflict is tried again at once."""
    return shared_store.records


@pytest.fixture
def waits(shared_store: _SharedStore) -> list[float]:
    """What the store would have waited, in seconds."""
    return shared_store.waits


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> MemoryProvider:
    """BareMetal is cleaned up in memory, by a module of its own."""
    found = MemoryProvider()
    monkeypatch.setitem(sys.modules, "tracker.cleanup.memory", found.module)
    form = Form("[a-z0-9-]+", "box-1", kind="memory:thing", many=True)
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
