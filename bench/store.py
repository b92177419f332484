"""This is what our code adds to the calls of DynamoDB that it makes, and whether 100,000 records cost more than 1,000.

On DynamoDB Local, AWS's own engine. The functions' handlers are called in this process, warm.
"""

import importlib.util
import json
import os
import shutil
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from itertools import batched, count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, override
from unittest.mock import patch
from uuid import uuid4

import boto3
from botocore.client import BaseClient

from bench.rows import LackingError, Row, Rows, against
from local.build import CREDENTIALS, REGION, ROOT, STATE, environment
from local.processes import Process, free_port, launch, wait_until
from tests.fresh import forget_process
from tests.table import create_table
from tracker.lifecycle.horizon import DueQueue, Horizon
from tracker.lifecycle.transitions import Lifecycle
from tracker.lifecycle.workflow import Workflow
from tracker.model.brakes import Brakes
from tracker.model.clock import utc_now
from tracker.model.deployment import Deployment
from tracker.model.settings import settings
from tracker.store.records import RECORD, DueKey, Records, shard_of
from tracker.store.table import Table
from tracker.watch import journal

FOLDER = STATE / "dynamodb-local"
FEW, MANY = 1000, 100_000
DUE = 20
AIM_WARM, AIM_SCALE = 1.5, 1.1
WARM_UP, RUNS = 50, 400
WRITERS = 4

ENFORCE = Brakes(default="enforce")
type Item = dict[str, Any]


class Context:
    """This is what Lambda hands to a handler beside the event."""

    function_name = "bench"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:bench"
    aws_request_id = "bench"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Always enough."""
        return 10_000


class Counted(DueQueue):
    """Counts what a sweep would put on the queue."""

    def __init__(self) -> None:
        super().__init__("")
        self.taken = 0

    @override
    def put(self, keys: Iterable[DueKey], now: datetime) -> int:
        """Count them."""
        found = len([*keys])
        self.taken += found
        return found


class Unstarted(Workflow):
    """Starts nothing: what the table is asked for is measured, not Step Functions."""

    @override
    def start(self, deployment: Deployment) -> None:
        return


class Tracker:
    """The functions and the rules over a table of their own."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        create_table(table)
        self._dynamodb = dynamodb
        self.table = table
        os.environ["TABLE_NAME"] = table
        forget_process()
        self._register, self._inspect = _function("register"), _function("inspect")
        self._records = Records(Table(table))
        self._lifecycle = Lifecycle(self._records, Unstarted(""), settings())
        self._names = (f"service-{n:06}" for n in count())
        # What functions are put together of is kept by the process: two of them are here, each with a table of its own.
        vars(self._register)["lifecycle"] = lambda: self._lifecycle
        vars(self._inspect)["records"] = lambda: self._records
        self.first = self.name()
        self.register(self.first)
        self.get(self.first)

    def name(self) -> str:
        """A key that wasn't there before."""
        return next(self._names)

    def register(self, key: str) -> None:
        """POST it."""
        body = {
            "blueprint_id": key,
            "deployment_type": "AwsEc2",
            "provider": "AWS",
            "region": REGION,
            "resource_ids": {"instance_id": "i-0123456789abcdef0", "ebs_volume": ["vol-0123456789abcdef0"]},
            "ttl_seconds": 86400,
            "metadata": {"owner": "bench"},
        }
        self._answered(self._register, 201, httpMethod="POST", resource="/deployments", body=json.dumps(body))

    def generation_of(self, key: str) -> str:
        """Return the generation of a record, which no other may have."""
        return self._records.require(key).generation

    def get(self, key: str) -> None:
        """GET it."""
        path = {"blueprint_id": key}
        resource = "/deployments/{blueprint_id}"
        self._answered(self._inspect, 200, httpMethod="GET", resource=resource, pathParameters=path)

    def list_page(self) -> None:
        """GET a page of the list."""
        query = {"status": "Active", "limit": "50"}
        self._answered(
            self._inspect,
            200,
            httpMethod="GET",
            resource="/deployments",
            queryStringParameters=query,
            path="/deployments",
        )

    def sweep(self, expected: int) -> None:
        """Read all that is due within the horizon."""
        queue = Counted()
        Horizon(self._records, queue, utc_now).sweep()
        if queue.taken != expected:
            raise RuntimeError(f"{queue.taken} were found due, not {expected}")

    def terminate(self, key: str) -> None:
        """Begin the cleanup of one, without the workflow."""
        self._lifecycle.terminate(key, reason="requested", requested_by="bench")

    def fill(self, records: int) -> None:
        """Hold so many records, of which each is as one that was registered. Their leases are left out: no index has them."""
        record = self._item(self.first, RECORD)
        self._put([_renamed(record, self.name()) for _ in range(records - 1)])

    def make_due(self, names: list[str]) -> None:
        """Let the time of these be over."""
        record = self._item(self.first, RECORD)
        past = str(int((datetime.now(UTC) - timedelta(minutes=1)).timestamp()))
        self._put([_renamed(record, name) | {"due_at": {"N": past}} for name in names])

    def _item(self, key: str, item: str) -> Item:
        found = self._dynamodb.get_item(TableName=self.table, Key={"blueprint_id": {"S": key}, "item": {"S": item}})
        answer: Item = found["Item"]
        return answer

    def _put(self, items: list[Item]) -> None:
        with ThreadPoolExecutor(WRITERS) as pool:
            deque(pool.map(self._put_batch, batched(items, 25, strict=False)), maxlen=0)

    def _put_batch(self, batch: Iterable[Item]) -> None:
        left = {self.table: [{"PutRequest": {"Item": item}} for item in batch]}
        while left:
            left = self._dynamodb.batch_write_item(RequestItems=left)["UnprocessedItems"]

    def _answered(self, function: ModuleType, expected: int, **event: Any) -> None:
        identity = {"identity": {"userArn": "arn:aws:iam::000000000000:user/bench"}}
        answer = function.handler({**event, "requestContext": identity}, Context())
        if answer["statusCode"] != expected:
            raise RuntimeError(f"{event['httpMethod']} was answered {answer}")


def rows() -> Rows:
    """The handlers against their bare calls, then many records against few."""
    with _engine() as endpoint, _environment(endpoint), Path(os.devnull).open("w") as nowhere:
        dynamodb = boto3.client("dynamodb")
        # Handlers write their metrics; as on Lambda, to a file.
        with redirect_stdout(nowhere):
            measured = [*_warm(dynamodb)]
        yield from measured
        with redirect_stdout(nowhere):
            measured = [*_at_scale(dynamodb)]
        yield from measured


def _warm(dynamodb: Any) -> Rows:
    tracker = Tracker(dynamodb, "warm")
    for _ in range(WARM_UP):
        tracker.register(tracker.name())
    registered = "bench-registered"
    (put,) = _calls(lambda: tracker.register(registered))
    (get,) = _calls(lambda: tracker.get(registered))
    if (put[0], get[0]) != ("TransactWriteItems", "GetItem"):
        raise RuntimeError(f"the functions call {put[0]} and {get[0]}")
    written = json.dumps(put[1])
    generation = tracker.generation_of(registered)
    puts = iter(
        [
            json.loads(written.replace(registered, f"bench-{n:06}-bare").replace(generation, str(uuid4())))
            for n in range(RUNS)
        ]
    )
    yield against(
        "register, warm, against its bare TransactWriteItems",
        lambda: tracker.register(tracker.name()),
        lambda: dynamodb.transact_write_items(**next(puts)),
        aim=AIM_WARM,
        runs=RUNS,
    )
    yield against(
        "get, warm, against its bare GetItem",
        lambda: tracker.get(registered),
        lambda: dynamodb.get_item(**get[1]),
        aim=AIM_WARM,
        runs=RUNS,
    )


def _at_scale(dynamodb: Any) -> Rows:
    few, many = Tracker(dynamodb, "few"), Tracker(dynamodb, "many")
    few.fill(FEW)
    many.fill(MANY)
    proportion = f"with {MANY:,} records, against {FEW:,}"
    for _ in range(WARM_UP):
        few.register(few.name())
        many.register(many.name())
    ending: dict[str, str] = {}

    def to_end() -> None:
        for tracker in (few, many):
            ending[tracker.table] = tracker.name()
            tracker.register(ending[tracker.table])

    def nothing() -> None:
        return

    due = [f"due-{n:03}" for n in range(DUE)]

    def make_due() -> None:
        few.make_due(due)
        many.make_due(due)

    acts: list[tuple[str, Callable[[Tracker], None], int, Callable[[], None]]] = [
        ("register", lambda tracker: tracker.register(tracker.name()), RUNS, nothing),
        ("get", lambda tracker: tracker.get(tracker.first), RUNS, nothing),
        ("list a page", lambda tracker: tracker.list_page(), RUNS, nothing),
        ("terminate", lambda tracker: tracker.terminate(ending[tracker.table]), RUNS, to_end),
    ]
    for name, act, runs, before in acts:
        yield _capacity(f"{name} {proportion}: capacity", act, few, many, before)
        yield against(
            f"{name} {proportion}",
            lambda act=act: act(many),  # type: ignore[misc]
            lambda act=act: act(few),  # type: ignore[misc]
            aim=AIM_SCALE,
            runs=runs,
            before=before,
        )
    make_due()
    yield _capacity(f"sweep, {DUE} due, {proportion}: capacity", lambda tracker: tracker.sweep(DUE), few, many, nothing)
    yield against(
        f"sweep, {DUE} due, {proportion}", lambda: many.sweep(DUE), lambda: few.sweep(DUE), aim=AIM_SCALE, runs=RUNS
    )


def _capacity(
    name: str, act: Callable[[Tracker], None], few: Tracker, many: Tracker, before: Callable[[], None]
) -> Row:
    """The engine's own count of units and of items read, which noise doesn't touch."""
    before()
    used = [_used(lambda tracker=tracker: act(tracker)) for tracker in (many, few)]  # type: ignore[misc]
    (units, items), (their_units, their_items) = used
    ratio = max(units / their_units, (items or 1) / (their_items or 1))
    return Row(name, ratio, 1.0, f"{units:g} units, {items} items : {their_units:g} units, {their_items} items")


def _used(act: Callable[[], None]) -> tuple[float, int]:
    """The capacity units that the engine says were used, and the items that it read to answer queries."""
    units, items = 0.0, 0
    call = BaseClient._make_api_call  # noqa: SLF001 - botocore's one way out, PynamoDB's too

    def watched(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        nonlocal units, items
        answer = call(client, operation, arguments | {"ReturnConsumedCapacity": "TOTAL"})
        found = answer.get("ConsumedCapacity", [])
        units += sum(each["CapacityUnits"] for each in (found if isinstance(found, list) else [found]))
        items += answer.get("ScannedCount", 0)
        return answer

    with patch.object(BaseClient, "_make_api_call", watched):
        act()
    return units, items


def _calls(act: Callable[[], None]) -> list[tuple[str, dict[str, Any]]]:
    """Return what is called on AWS meanwhile."""
    calls = []
    call = BaseClient._make_api_call  # noqa: SLF001 - botocore's one way out, PynamoDB's too

    def watched(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        # Botocore adds to them.
        calls.append((operation, deepcopy(arguments)))
        return call(client, operation, arguments)

    with patch.object(BaseClient, "_make_api_call", watched):
        act()
    return calls


def _renamed(record: Item, name: str) -> Item:
    return record | {"blueprint_id": {"S": name}, "id": {"S": f"dep-{name}"}, "due_shard": {"S": shard_of(name)}}


def _function(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bench_{name}", ROOT / "functions" / name / "app.py")
    if spec is None or spec.loader is None:
        raise RuntimeError(f"no function {name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def _environment(endpoint: str) -> Iterator[None]:
    """Nothing leads anywhere but to the engine."""
    ours = {
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_DYNAMODB": endpoint,
        "POWERTOOLS_SERVICE_NAME": "bench",
        **CREDENTIALS,
    }
    # The lines of transitions go where output went before it was redirected: a thousand of them are no table of ratios.
    with patch.dict(os.environ, environment(**ours), clear=True), patch.object(journal.logger, "info"):
        yield
    forget_process()


@contextmanager
def _engine() -> Iterator[str]:
    java, jar = shutil.which("java"), FOLDER / "DynamoDBLocal.jar"
    if java is None:
        raise LackingError("Java isn't there (apt: default-jre-headless)")
    if not jar.exists():
        raise LackingError("DynamoDB Local isn't there (make local-dynamodb)")
    port = free_port()
    options = ["-port", str(port), "-inMemory", "-sharedDb", "-disableTelemetry"]
    command: list[str | Path] = [
        java,
        "-Xmx2g",
        f"-Djava.library.path={FOLDER / 'DynamoDBLocal_lib'}",
        "-jar",
        jar,
        *options,
    ]
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        process: Process = launch("DynamoDB Local", command, env=environment(), log=log, cwd=Path(folder))
        try:
            wait_until(lambda: _refuses(port), process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.stop()


def _refuses(port: int) -> bool:
    """An unsigned request is refused, by an engine that is there."""
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}", timeout=2)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
