"""A served API, and `tracker` as a person would call it: in process, with all that it writes and its exit code."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from deployment_tracker.cli import confirming, screen
from deployment_tracker.cli.app import tracker
from deployment_tracker.client import Client
from deployment_tracker.transport import Transport
from tests.client.api import REGION, Api, serving


class Said(NamedTuple):
    """This is what a call wrote, and how it ended."""

    code: int
    out: str
    err: str


type Run = Callable[..., Said]


@pytest.fixture(scope="module")
def server() -> Iterator[Api]:
    with serving() as found:
        yield found


@pytest.fixture
def api(server: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """An empty one, which the environment names."""
    url = server.url
    server.__init__()  # type: ignore[misc] # anew, behind the same port
    server.url = url
    monkeypatch.setenv("TRACKER_URL", url)
    monkeypatch.setenv("AWS_REGION", REGION)
    for name in ("NO_COLOR", "TRACKER_STACK", "TRACKER_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    return server


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between tries, which take no time, and are as long as they may be."""
    found: list[float] = []
    defaults: dict[str, Any] = {
        **(Transport.__init__.__kwdefaults__ or {}),
        "sleep": found.append,
        "uniform": lambda _, most: most,
    }
    monkeypatch.setattr(Transport.__init__, "__kwdefaults__", defaults)
    return found


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between two looks of `wait`, which take no time."""
    found: list[float] = []
    monkeypatch.setattr(Client.wait, "__kwdefaults__", {**(Client.wait.__kwdefaults__ or {}), "sleep": found.append})
    return found


@pytest.fixture
def run(api: Api, waits: list[float], looks: list[float]) -> Run:
    """`run("ls", "-v")`: `tracker ls -v`, nobody at a terminal."""

    def call(*arguments: str, input: str | bytes | None = None) -> Said:
        result = CliRunner().invoke(tracker, arguments, input=input)
        assert "Traceback" not in result.output
        return Said(result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture
def at_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody looks, and may be asked."""
    monkeypatch.setattr(screen, "is_terminal", lambda _stream: True)
    monkeypatch.setattr(confirming, "is_interactive", lambda: True)
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("TERM", "xterm")
