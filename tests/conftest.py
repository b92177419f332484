"""This is what every test stands on: no way to a real AWS account, settings of its own, and the product's table."""

import signal
from collections.abc import Callable, Generator, Iterator
from importlib import import_module
from pathlib import Path

import hypothesis
import pytest
from moto import mock_aws

from tests.fresh import forget_process
from tests.table import create_table

# A busy machine is no reason to fail.
hypothesis.settings.register_profile("ours", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("ours")

pytest_plugins = ["tests.dynamodb_local", "tests.fakes"]

REGION = "eu-west-1"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
}
# What needs something real beside Python: the tests of these fixtures, and the proofs, which are longer then.
# `engine_url` has moto where the engine isn't there, so its tests gain from it and don't need it.
ENGINE_FIXTURES = {"dynamodb_local", "engine_url"}
REAL_FIXTURES = ENGINE_FIXTURES | {"docker_engine", "make_sshd"}
REAL_FOLDERS = ("tests/proof/", "tests/real/")
# Of a run in several processes, each group is in one: its tests share a stack, or a real place that they look at as a whole.
STACK, PLACES = "stack", "places"
GROUPS = {"tests/local/": STACK, "tests/stack/": STACK, "tests/real/": PLACES}
# Each test of these has a place of its own.
ALONE_FIXTURES = ENGINE_FIXTURES | {"make_sshd"}
LEADS_AWAY = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--matrix FILE`: where the conformance suite writes what it found. `--moto`: as where DynamoDB Local isn't there.

    `--record`: the functions' answers are written into docs/answers.json, not compared with it.
    """
    parser.addoption("--record", action="store_true", help="write docs/answers.json (tests/functions/test_answers.py)")
    parser.addoption(
        "--matrix", default=None, help="write types x faults of the conformance suite there, and print them"
    )
    parser.addoption(
        "--moto", action="store_true", help="keep the store on moto, also where DynamoDB Local is installed"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C reach what is tested, and collect the matrix here: where tests run in several processes, this one reads no folder's own conftest."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # So it is in a job that a script began in the background, and in all processes that the tests begin: Ctrl-C is tried there.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    path: str | None = config.getoption("--matrix")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(import_module("tests.conformance.matrix").Collector(Path(path)), "matrix")


# Around all others, since the plugin that runs tests in several processes reads the groups first of all.
@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """`-m real` are the tests that gain from real targets; `make test-real` runs them alone."""
    for item in items:
        wanted = set(getattr(item, "fixturenames", ()))
        if wanted & REAL_FIXTURES or item.nodeid.startswith(REAL_FOLDERS):
            item.add_marker("real")
        has_own = bool(wanted & ALONE_FIXTURES) and "docker_engine" not in wanted
        is_alone = item.nodeid.startswith("tests/proof/") or has_own
        group = next((group for folder, group in GROUPS.items() if item.nodeid.startswith(folder)), None)
        if group is None and item.get_closest_marker("real") and not is_alone:
            group = PLACES
        if group:
            item.add_marker(pytest.mark.xdist_group(group))
    # They take longest and mostly wait: the processes begin with them.
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)
    yield
    grouped = [item.nodeid for item in items if item.get_closest_marker("xdist_group")]
    if getattr(config.option, "loadgroup", False) and not all("@" in nodeid for nodeid in grouped):
        raise pytest.UsageError("tests that share a stack would run side by side: this pytest-xdist doesn't group them")


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keys that open nothing; what functions read once is read anew in each test."""
    for name in LEADS_AWAY:
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    forget_process()
    yield
    forget_process()


@pytest.fixture
def moto_table() -> Iterator[str]:
    """The name of a fresh table in this process: quick, and lenient where the real engine isn't."""
    with mock_aws():
        create_table("tracker")
        yield "tracker"


@pytest.fixture
def noted(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Notes a figure of a test: printed with `-rP`, and in the file of `--junitxml`, which `make evidence` reads."""

    def note(text: str) -> None:
        record_property("noted", text)
        print(text)

    return note
