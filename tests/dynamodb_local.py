"""DynamoDB Local, AWS's own engine, for what no imitation gets right: conditions, transactions, races, TTL, streams.

A pytest plugin (tests/conftest.py names it). `make local-dynamodb` fetches it; where it or Java is missing, tests skip
with the reason, and fail instead if REQUIRE_REAL=1.
"""

import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.real_targets import free_port, lacking, program
from tests.table import create_table

FOLDER = Path(__file__).parent.parent / ".local" / "dynamodb-local"
READY_SECONDS = 30


@pytest.fixture(scope="session")
def dynamodb_local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running one, empty and in memory."""
    java = program("java", "default-jre-headless")
    jar = FOLDER / "DynamoDBLocal.jar"
    if not jar.exists():
        lacking("DynamoDB Local isn't there (make local-dynamodb)")
    port = free_port()
    log = tmp_path_factory.mktemp("dynamodb-local") / "log"
    options = ["-port", str(port), "-inMemory", "-sharedDb", "-disableTelemetry"]
    command = [java, "-Xmx512m", f"-Djava.library.path={FOLDER / 'DynamoDBLocal_lib'}", "-jar", str(jar), *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _await(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=1)
        except urllib.error.HTTPError:
            # An unsigned request is refused, by an engine that is there.
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"DynamoDB Local doesn't answer:\n{log.read_text()}")


@pytest.fixture
def engine_table(dynamodb_local: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a fresh table on AWS's own engine, where every client of DynamoDB in this test finds it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb_local)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB_STREAMS", dynamodb_local)
    name = f"tracker-{uuid.uuid4().hex}"
    create_table(name)
    yield name
    boto3.client("dynamodb").delete_table(TableName=name)
