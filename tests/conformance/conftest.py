"""What the conformance suite stands on, and the matrix of its results: `--matrix FILE` writes and prints it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from tests.conformance import matrix
from tests.conformance.life import Life
from tests.conformance.target import Target
from tests.real_targets import busybox, docker_engine, labels, make_key, make_sshd, sshd
from tests.table import create_table

TRIED = "tried"
__all__ = ["busybox", "docker_engine", "labels", "make_key", "make_sshd", "sshd"]


@pytest.fixture
def target(
    target_class: type[Target], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Target]:
    """The place where it is cleaned up, with nothing on it."""
    with mock_aws(), target_class(request, monkeypatch) as found:
        yield found


@pytest.fixture
def life(target: Target) -> Life:
    """A deployment's life there, over an empty table."""
    create_table("tracker")
    return Life(target, "tracker")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say in each test's report what it tries."""
    for item in items:
        mark, callspec = item.get_closest_marker("fault"), getattr(item, "callspec", None)
        if mark and callspec:
            item.user_properties.append((TRIED, f"{callspec.params['target_class'].deployment_type} {mark.args[0]}"))


def pytest_configure(config: pytest.Config) -> None:
    path: str | None = config.getoption("--matrix")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Matrix(Path(path)), "matrix")


class _Matrix:
    """Collects what became of each type under each fault."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results = matrix.Results()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Of whichever process ran it."""
        for name, value in report.user_properties:
            if name == TRIED:
                deployment_type, fault = str(value).split(" ")
                self._results.add(deployment_type, fault, str(report.when), report.outcome)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(self._results.as_json())
        for line in self._results.table():
            terminalreporter.write_line(line)
