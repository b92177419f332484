"""An HTTP server of ours that stands for a provider's API, and fails when told to.

What a subclass answers is the provider's behaviour; what fails, and how, is common to all. With a contract (OpenAPI, the subset that is
used) every request, and every answer that no fault made, is checked against it.
"""

import json
import re
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit

from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.exceptions import OpenAPIError
from werkzeug.datastructures import Headers, ImmutableMultiDict

# Seconds: how long a call hangs whose caller doesn't give up.
HANGS_FOR = 60.0
# Stand-ins of one contract share what is read of it.
_CHECKING = threading.Lock()


@dataclass(frozen=True)
class Request:
    """One call: `path` as it was sent, still quoted; `query` decoded; `body` the JSON, None without one."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw) if self.raw else None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Reply:
    """This is what is answered: `body` as JSON, nothing for None, bytes as they are."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def raw(self) -> bytes:
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Fault:
    """Calls that fail. `method` and `path` are regular expressions, matched whole and searched; `times` None: for ever.

    `answer` is answered instead of what would be; `after` makes it so after the call did its work. `reset` and `hang` never answer, and do
    nothing; `cut` does what was asked, and breaks off within the answer.
    """

    kind: Literal["answer", "reset", "hang", "cut"]
    method: str = ".*"
    path: str = ""
    answer: Reply | Callable[[Request], Reply] | None = None
    times: int | None = None
    after: bool = False
    fired: int = 0

    def applies(self, request: Request) -> bool:
        if self.times is not None and self.fired >= self.times:
            return False
        return bool(re.fullmatch(self.method, request.method) and re.search(self.path, request.path))


type Handler = Callable[..., Reply]


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    """Marks a method of a stand-in: `path` is a regular expression for the whole path, its named groups are arguments."""

    def marked(handler: Handler) -> Handler:
        handler.__dict__.setdefault("routes", []).append((method, re.compile(path)))
        return handler

    return marked


class StandIn:
    """The server. Subclasses have methods marked with `route`, and say what a failure looks like.

    `calls` are the requests that came, in order. `violations` says what broke the contract.
    """

    def __init__(
        self,
        *,
        contract: Path | None = None,
        public_url: str = "https://stand-in.example",
        tls: ssl.SSLContext | None = None,
        socket_path: Path | None = None,
    ) -> None:
        self.calls: list[Request] = []
        self.faults: list[Fault] = []
        self.violations: list[str] = []
        self.lock = threading.RLock()
        self._public_url = public_url
        self._contract = contract
        self._routes = [
            (*each, handler)
            for name in dir(type(self))
            if (routes := getattr(getattr(type(self), name), "routes", ()))
            for handler in [getattr(self, name)]
            for each in routes
        ]
        self._tls = tls
        self._socket_path = socket_path
        self._port = 0
        self._ended = threading.Event()
        self._server: _Server | None = None
        self.start()

    def not_found(self, request: Request) -> Reply:
        """Return what is answered where nothing is; the provider's own form."""
        return Reply(404, {"message": f"no route {request}"})

    def handle(self, request: Request) -> Reply:
        """Return what is answered, without any fault."""
        for method, pattern, handler in self._routes:
            if method == request.method and (match := pattern.fullmatch(request.path)):
                reply: Reply = handler(request, **match.groupdict())
                return reply
        return self.not_found(request)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen, again at the same port if it was stopped."""
        self._ended.clear()
        self._server = _Server(("127.0.0.1", self._port), self, self._socket_path, self._tls)
        if not self._socket_path:
            self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Listen no more: connections are refused."""
        self._ended.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        if self._socket_path:
            self._socket_path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @contextmanager
    def failing(self, *faults: Fault) -> Iterator[None]:
        """These faults, for a while."""
        self.faults[:0] = faults
        try:
            yield
        finally:
            for fault in faults:
                self.faults.remove(fault)

    def answered(self, request: Request) -> Reply | Fault:
        """The reply, or the fault that prevents one."""
        with self.lock:
            self.calls.append(request)
            fault = next((each for each in self.faults if each.applies(request)), None)
            if fault:
                fault.fired += 1
                if fault.kind in ("reset", "hang"):
                    return fault
                if fault.kind == "answer" and not fault.after:
                    return self._made(fault, request)
            reply = self.handle(request)
            self._check(request, reply)
            if fault and fault.kind == "answer":
                return self._made(fault, request)
            if fault:
                raise Cut(reply)
            return reply

    def hang(self) -> None:
        """As long as the caller waits, or until the server is stopped."""
        self._ended.wait(HANGS_FOR)

    @staticmethod
    def _made(fault: Fault, request: Request) -> Reply:
        answer = fault.answer
        if answer is None:
            raise ValueError("a fault that answers needs an answer")
        return answer(request) if callable(answer) else answer

    def _check(self, request: Request, reply: Reply) -> None:
        if self._contract is None:
            return
        exchange = _Exchange(
            self._public_url,
            request.method,
            request.path,
            tuple(request.query.items()),
            tuple(request.headers.items()),
            request.raw,
            reply.status,
            tuple(reply.headers.items()),
            reply.raw,
        )
        with _CHECKING:
            if violation := _violation(self._contract, exchange):
                self.violations.append(f"{request} -> {reply.status}: {violation}")


class Cut(Exception):
    """The connection breaks within this reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply


class _Exchange(NamedTuple):
    """One request and its reply, by which a check is known again."""

    public_url: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    raw: bytes
    status: int
    reply_headers: tuple[tuple[str, str], ...]
    reply_raw: bytes


@cache
def _contract(path: Path) -> OpenAPI:
    return OpenAPI.from_file_path(str(path))


@lru_cache(maxsize=10_000)
def _violation(contract: Path, exchange: _Exchange) -> str:
    """Return what breaks the contract, or nothing. A look that is repeated, as most are, needs no second check."""
    asked = _Asked(exchange)
    try:
        _contract(contract).validate_request(asked)
        _contract(contract).validate_response(asked, _Answered(exchange))
    except OpenAPIError as error:
        return f"{error} ({getattr(error.__cause__, 'schema_errors', error.__cause__)})"
    return ""


class _Asked:
    """A request as openapi-core's protocol has it."""

    def __init__(self, exchange: _Exchange) -> None:
        self.content_type = dict(exchange.headers).get("Content-Type", "application/json").partition(";")[0]
        self.host_url = exchange.public_url
        self.path = exchange.path
        self.method = exchange.method.lower()
        self.body = exchange.raw or None
        self.parameters = RequestParameters(
            query=ImmutableMultiDict(exchange.query), header=Headers(exchange.headers), cookie=ImmutableMultiDict()
        )


class _Answered:
    def __init__(self, exchange: _Exchange) -> None:
        self.content_type = dict(exchange.reply_headers).get("Content-Type", "application/json").partition(";")[0]
        self.status_code = exchange.status
        self.data = exchange.reply_raw
        self.headers = dict(exchange.reply_headers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(
        self, address: tuple[str, int], stand_in: StandIn, socket_path: Path | None, tls: ssl.SSLContext | None
    ) -> None:
        self.stand_in = stand_in
        self._tls = tls
        if socket_path:
            self.address_family = socket.AF_UNIX
            super().__init__(str(socket_path), _UnixConnection, bind_and_activate=False)  # type: ignore[arg-type]
            self.socket.bind(str(socket_path))
            self.server_address = (str(socket_path), 0)
            self.server_activate()
        else:
            super().__init__(address, _Connection)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if not self._tls:
            super().finish_request(request, client_address)
            return
        request.settimeout(HANGS_FOR)
        # Closed here: what this server closes in the end is the socket below it, which is detached from now on.
        with self._tls.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that gave up is what is tried here; anything else is the stand-in's own fault, and said."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Connection(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def address_string(self) -> str:
        return "caller"

    def log_message(self, *_: Any) -> None: ...

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        request = Request(
            self.command,
            parts.path,
            dict(parse_qsl(parts.query, keep_blank_values=True)),
            dict(self.headers.items()),
            self.rfile.read(length),
        )
        try:
            reply = self.server.stand_in.answered(request)
        except Cut as cut:
            self._send(cut.reply, cut_off=True)
            return
        if isinstance(reply, Fault):
            if reply.kind == "hang":
                self.server.stand_in.hang()
            self._break(reset=reply.kind == "reset")
            return
        self._send(reply)

    def _send(self, reply: Reply, *, cut_off: bool = False) -> None:
        raw = reply.raw
        if cut_off and not raw:
            # Within its first line: of one without a body a client reads no further than its headers, and may take what is there.
            self.wfile.write(f"HTTP/1.1 {reply.status // 100}".encode())
            self.wfile.flush()
            self._break(reset=False)
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if raw:
            if "Content-Type" not in reply.headers:
                self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw) + (100 if cut_off else 0)))
        elif reply.status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw[: len(raw) // 2] if cut_off else raw)
        if cut_off:
            self.wfile.flush()
            self._break(reset=False)

    def _break(self, *, reset: bool) -> None:
        self.close_connection = True
        if reset and self.server.address_family != socket.AF_UNIX:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            try:
                self.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                return
        self.connection.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815


class _UnixConnection(_Connection):
    # A Unix socket knows no such option.
    disable_nagle_algorithm = False
