"""DynamoDB Local, AWS's own engine, for what no imitation gets right: conditions, transactions, races, TTL, streams.

A pytest plugin (tests/conftest.py names it). `make local-dynamodb` fetches it; where it or Java is missing, the tests
that can do with moto run on that (tests/fakes.py) and the others skip with the reason. If REQUIRE_REAL=1, all fail.
"""

import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.processes import PATIENCE
from tests.real_targets import free_port, lacking, program

FOLDER = Path(__file__).parent.parent / ".local" / "dynamodb-local"
JAR = FOLDER / "DynamoDBLocal.jar"


def is_installed() -> bool:
    """Return whether it can be started here."""
    return JAR.exists() and shutil.which("java") is not None


@pytest.fixture(scope="session")
def dynamodb_local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running one, empty and in memory."""
    java = program("java", "default-jre-headless")
    if not JAR.exists():
        lacking("DynamoDB Local isn't there (make local-dynamodb)")
    port = free_port()
    log = tmp_path_factory.mktemp("dynamodb-local") / "log"
    options = ["-port", str(port), "-inMemory", "-sharedDb", "-disableTelemetry"]
    command = [java, "-Xmx512m", f"-Djava.library.path={FOLDER / 'DynamoDBLocal_lib'}", "-jar", str(JAR), *options]
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
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=1)
        except urllib.error.HTTPError:
            # An unsigned request is refused, by an engine that is there.
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"DynamoDB Local doesn't answer:\n{log.read_text()}")
