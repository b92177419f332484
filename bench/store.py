"""What our code adds to the calls of DynamoDB that it makes, and whether 20,000 records cost more than 200.

On DynamoDB Local, AWS's own engine. The functions' handlers are called in this process, warm.
"""

import importlib.util
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from itertools import batched, count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, override
from unittest.mock import patch

import boto3
from botocore.client import BaseClient

from bench.rows import LackingError, Rows, against
from local.build import CREDENTIALS, REGION, ROOT, STATE, environment
from local.processes import Process, free_port, launch, wait_until
from tests.table import create_table
from tracker.brakes import Brakes
from tracker.deployment import Deployment
from tracker.lifecycle import Lifecycle
from tracker.records import LEASE, RECORD, Records, shard_of
from tracker.settings import settings
from tracker.workflow import Workflow

FOLDER = STATE / "dynamodb-local"
FEW, MANY = 200, 20_000
DUE = 20
AIM_WARM, AIM_SCALE = 1.5, 1.2
WARM_UP, RUNS, SWEEPS = 50, 400, 40

ENFORCE = Brakes(default="enforce")
type Item = dict[str, Any]


class Context:
    """What Lambda hands to a handler beside the event."""

    function_name = "bench"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:bench"
    aws_request_id = "bench"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Always enough."""
        return 10_000


class Unstarted(Workflow):
    """Starts nothing: what a sweep does with the table is measured, not Step Functions."""

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
        settings.cache_clear()
        self._register, self._inspect = _function("register"), _function("inspect")
        self._lifecycle = Lifecycle(Records(table), Unstarted(""), settings())
        self._names = (f"service-{n:06}" for n in count())
        # What a function reads once, it reads now: the next table's settings aren't its own.
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

    def get(self, key: str) -> None:
        """GET it."""
        path = {"blueprint_id": key}
        resource = "/deployments/{blueprint_id}"
        self._answered(self._inspect, 200, httpMethod="GET", resource=resource, pathParameters=path)

    def sweep(self, expected: int) -> None:
        """Look at all that is due."""
        started = self._lifecycle.sweep(ENFORCE)
        if started != expected:
            raise RuntimeError(f"{started} rounds were started, not {expected}")

    def fill(self, records: int) -> None:
        """Hold so many, each with its lease, as if they had been registered one by one."""
        record, lease = self._item(self.first, RECORD), self._item(self.first, LEASE)
        names = [self.name() for _ in range(records - 1)]
        self._put([copy for name in names for copy in (_renamed(record, name), {**lease, "blueprint_id": {"S": name}})])

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
        for batch in batched(items, 25, strict=False):
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
    puts = iter([json.loads(written.replace(registered, f"bench-{n:06}-bare")) for n in range(RUNS)])
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
    proportion = f"with {MANY:,} records, against {FEW}"
    for _ in range(WARM_UP):
        few.register(few.name())
        many.register(many.name())
    yield against(
        f"register {proportion}",
        lambda: many.register(many.name()),
        lambda: few.register(few.name()),
        aim=AIM_SCALE,
        runs=RUNS,
    )
    yield against(
        f"get {proportion}", lambda: many.get(many.first), lambda: few.get(few.first), aim=AIM_SCALE, runs=RUNS
    )
    yield against(
        f"sweep, nothing due, {proportion}",
        lambda: many.sweep(0),
        lambda: few.sweep(0),
        aim=AIM_SCALE,
        runs=RUNS,
    )
    due = [f"due-{n:03}" for n in range(DUE)]

    def again() -> None:
        many.make_due(due)
        few.make_due(due)

    yield against(
        f"sweep, {DUE} due, {proportion}",
        lambda: many.sweep(DUE),
        lambda: few.sweep(DUE),
        aim=AIM_SCALE,
        runs=SWEEPS,
        before=again,
    )


def _calls(act: Callable[[], None]) -> list[tuple[str, dict[str, Any]]]:
    """What is called on AWS meanwhile."""
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
    with patch.dict(os.environ, environment(**ours), clear=True):
        yield
    settings.cache_clear()


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
