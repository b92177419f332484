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


def pytest_configure(config: pytest.Config) -> None:
    path: str | None = config.getoption("--matrix")
    if path:
        config.pluginmanager.register(_Matrix(Path(path)), "matrix")


class _Matrix:
    """Collects what became of each type under each fault."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results = matrix.Results()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
        outcome: Any = yield
        report: pytest.TestReport = outcome.get_result()
        callspec = getattr(item, "callspec", None)
        mark = item.get_closest_marker("fault")
        if mark and callspec:
            self._results.add(callspec.params["target_class"], mark.args[0], str(report.when), report.outcome)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(self._results.as_json())
        for line in self._results.table():
            terminalreporter.write_line(line)
