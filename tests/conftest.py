"""What every test stands on: no way to a real AWS account, settings of its own, and the product's table."""

from collections.abc import Iterator

import hypothesis
import pytest
from moto import mock_aws

from tests.table import create_table
from tracker.settings import settings

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
REAL_FIXTURES = {"docker_engine", "dynamodb_local", "make_sshd"}
REAL_FOLDERS = ("tests/proof/", "tests/real/")
# Of a run in several processes, these are all in one: they share a stack, or measure time.
TOGETHER = ("tests/local/", "tests/stack/", "tests/real/")
LEADS_AWAY = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--matrix FILE`: where the conformance suite writes what it found."""
    parser.addoption(
        "--matrix", default=None, help="write types x faults of the conformance suite there, and print them"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-m real` are the tests that gain from real targets; `make test-real` runs them alone."""
    for item in items:
        wanted = set(getattr(item, "fixturenames", ()))
        if wanted & REAL_FIXTURES or item.nodeid.startswith(REAL_FOLDERS):
            item.add_marker("real")
        if item.nodeid.startswith(TOGETHER):
            item.add_marker(pytest.mark.xdist_group("stack"))


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keys that open nothing; what functions read once is read anew in each test."""
    for name in LEADS_AWAY:
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def moto_table() -> Iterator[str]:
    """The name of a fresh table in this process: quick, and lenient where the real engine isn't."""
    with mock_aws():
        create_table("tracker")
        yield "tracker"
