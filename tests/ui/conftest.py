"""The page of a stack that has one of all, and calls as a browser makes them."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from deployment_tracker.ui.server import Server
from deployment_tracker.ui.session import PROOF
from tests.ui.stand import Stand, fill, page_of, standing


class Answer(NamedTuple):
    """A status, the headers, and what is in the body."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"])


class Browser:
    """Calls to the page, with the headers of its own scripts unless others are named; None leaves one away."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.host = f"127.0.0.1:{server.server_port}"
        self.headers: dict[str, str | None] = {"Host": self.host, "Sec-Fetch-Site": "same-origin"}

    @property
    def token(self) -> str:
        return urlsplit(self.server.session.link).fragment.removeprefix("token=")

    def open(self) -> None:
        """Give the token back, as the page does."""
        answer = self.ask("POST", "/session", {"token": self.token})
        assert answer.status == 200
        self.headers |= {"Cookie": answer.headers["set-cookie"].partition(";")[0], PROOF: answer.body["proof"]}

    def ask(self, method: str, path: str, body: Any = None, **changed: str | None) -> Answer:
        """Make a call. Names of headers have `_` for `-`."""
        headers = dict(self.headers)
        if method != "GET":
            headers["Origin"] = f"http://{self.host}"
        headers |= {name.replace("_", "-"): value for name, value in changed.items()}
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        connection = HTTPConnection("127.0.0.1", self.server.server_port, timeout=60)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(data)
        return _read(connection)


def _read(connection: HTTPConnection) -> Answer:
    response: HTTPResponse = connection.getresponse()
    raw = response.read()
    connection.close()
    headers = {name.lower(): value for name, value in response.getheaders()}
    is_json = headers.get("content-type", "").startswith("application/json")
    return Answer(response.status, headers, json.loads(raw) if is_json and raw else raw)


@pytest.fixture
def api() -> Iterator[Stand]:
    """A stack with nothing in it."""
    with standing() as found:
        yield found


@pytest.fixture
def filled(api: Stand) -> Stand:
    fill(api)
    return api


@pytest.fixture
def server(api: Stand) -> Iterator[Server]:
    with page_of(api) as found:
        yield found


@pytest.fixture
def stranger(server: Server) -> Browser:
    """Return who doesn't have the link."""
    return Browser(server)


@pytest.fixture
def opened(server: Server) -> Browser:
    """Return who has opened the link."""
    found = Browser(server)
    found.open()
    return found
