"""Serves the page on loopback, to the browser that has the link of `tracker ui`, and makes its calls by the typed client.

Nothing is logged: neither a path, which may hold a key, nor a header.
"""

import json
import socketserver
import webbrowser
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any, override
from urllib.parse import parse_qsl

import click

from deployment_tracker.client import Client
from deployment_tracker.errors import ApiError, NoCredentials, TrackerError, Unreachable, Usage
from deployment_tracker.ui import routes
from deployment_tracker.ui.about import About
from deployment_tracker.ui.session import Refused, Session
from deployment_tracker.written import read

BODY_MAX = 65_536
# Seconds that a browser may keep a connection without a word.
IDLE = 60
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
}
_JSON = "application/json"
_BAD_GATEWAY = 502
_FAILURES = range(400, 600)


def serve(client: Client, *, port: int = 0, opens_browser: bool = True) -> None:
    """Serve the page until Ctrl-C. Usage if the port is taken."""
    with server_of(client, port) as server:
        click.echo(server.session.link)
        click.echo(
            "The link is yours alone: whoever has it acts with your credentials. Ctrl-C ends the page.", err=True
        )
        if opens_browser and not webbrowser.open(server.session.link_once()):
            click.echo("No browser could be opened: use the link.", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("The page has ended; the deployments go on as they were.", err=True)


def server_of(client: Client, port: int = 0) -> "Server":
    """Return a server that listens on 127.0.0.1, on any free port if none is named."""
    try:
        return Server(client, port)
    except OSError as error:
        raise Usage(f"Port {port} can't be used: {error.strerror}.", "Name another one with --port, or none.") from None


class Server(ThreadingHTTPServer):
    """The page of one stack."""

    daemon_threads = True

    def __init__(self, client: Client, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.client = client
        self.about = About(client)
        self.session = Session(self.server_port)

    @override
    def server_bind(self) -> None:
        # HTTPServer's own looks up the machine's name, which takes seconds where no DNS answers.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[0], self.server_address[1]  # type: ignore[assignment]

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that leaves is no error."""


class Handler(BaseHTTPRequestHandler):
    """One connection of a browser."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_DELETE = do_GET  # noqa: N815 - the names that http.server calls

    def _answer(self) -> None:
        more: dict[str, str] = {}
        try:
            # Read in any case, so that the next request of the connection begins where it does.
            body = self._body()
            self.server.session.check_origin(self.command, self.headers)
            path, _, query = self.path.partition("?")
            if self.command == "GET" and not path.startswith("/api/"):
                self._send_asset(path)
                return
            if (self.command, path) == ("POST", "/session"):
                more["Set-Cookie"], proof = self.server.session.opened(_fields(body).get("token"))
                status, found = 200, {"proof": proof}
            else:
                self.server.session.check(self.headers)
                status, found = 200, self._called(path, query, body)
        except Refused as refused:
            status, found = refused.status, _error(refused.code, refused.message)
        except TrackerError as error:
            status, found = _failed(error, self.server.client)
        except Exception as error:  # noqa: BLE001 - a fault of one call ends neither the page nor its terminal
            status, found = 500, _error("internal", f"The page has a fault ({type(error).__name__}).")
        self._send(status, _JSON, json.dumps(found).encode(), more)

    def _called(self, path: str, query: str, body: bytes) -> Any:
        if not path.startswith("/api/"):
            raise Refused(404, "not_found", "The page has no such call.")
        name = path.removeprefix("/api/")
        if self.command == "GET" and name == "stack":
            return self.server.about.stack()
        if self.command == "GET" and name == "brake":
            return self.server.about.brake()
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=20)
        except ValueError:
            raise Refused(400, "malformed", "The query can't be read.") from None
        return routes.call(self.server.client, self.command, name, dict(pairs), _fields(body))

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()) or int(length) > BODY_MAX:
            self.close_connection = True
            raise Refused(413, "malformed", f"A body has a length of at most {BODY_MAX} bytes.")
        return self.rfile.read(int(length))

    def _send_asset(self, path: str) -> None:
        name = path.removeprefix("/assets/") if path.startswith("/assets/") else "index.html"
        if name == "index.html" and not (path in ("/", "/strays") or path.startswith("/d/")):
            raise Refused(404, "not_found", "There is no such page.")
        found = assets().get(name)
        if found is None:
            raise Refused(404, "not_found", "There is no such file.")
        self._send(200, _TYPES[name.rpartition(".")[2]], found)

    def _send(self, status: int, type_: str, body: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response_only(status)
        lines = {"Content-Type": type_, "Content-Length": str(len(body)), **HEADERS, **(more or {})}
        if self.close_connection:
            lines["Connection"] = "close"
        for name, value in lines.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    @override
    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what http.server itself refuses: an unknown method, a request that can't be read."""
        self.close_connection = True
        self._send(code, _JSON, json.dumps(_error("malformed", "The request can't be taken.")).encode())

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@cache
def assets() -> dict[str, bytes]:
    """Return the files of the page by their names below /assets/. Nothing else can be asked for."""
    root = files("deployment_tracker.ui").joinpath("assets")
    found = {}
    for folder, prefix in ((root, ""), (root.joinpath("vendor"), "vendor/")):
        for each in folder.iterdir():
            if each.is_file() and each.name.rpartition(".")[2] in _TYPES:
                found[prefix + each.name] = each.read_bytes()
    return found


def _fields(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        found = read(body.decode())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Refused(400, "malformed", "The body isn't a JSON object.")
    return found


def _error(code: str, message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


def _failed(error: TrackerError, client: Client) -> tuple[int, dict[str, Any]]:
    """Return the status and the body for an error of the client: the API's own code, or `unreachable` or `credentials`."""
    status, code, details = _BAD_GATEWAY, "failed", {}
    if isinstance(error, ApiError):
        status = error.status if error.status in _FAILURES else _BAD_GATEWAY
        code, details = error.code or "failed", error.details
    elif isinstance(error, Unreachable):
        code = "unreachable"
    elif isinstance(error, NoCredentials):
        code = "credentials"
    elif isinstance(error, Usage):
        status, code = 400, "malformed"
    body = _error(code, error.message, hint=error.hint)
    body["error"] = {**details, **body["error"]}
    found: dict[str, Any] = json.loads(_without_keys(json.dumps(body), client))
    return status, found


def _without_keys(text: str, client: Client) -> str:
    """Return a text without the credentials: API Gateway tells who sent a wrong signature what it should have been of."""
    try:
        keys = client.aws.credentials()
    except TrackerError:
        return text
    for each in (keys.token, keys.secret_key, keys.access_key):
        # An example key such as `test` is no secret, and a part of many words.
        if each and len(each) >= 16:  # noqa: PLR2004
            text = text.replace(each, "***")
    return text
