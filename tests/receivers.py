"""Receivers of webhooks on loopback, as real as a socket: well-behaved ones, and every way of behaving badly.

A behaviour is given the connection once the whole request was read, and does as it likes. `repeated` ones go on until
the caller hangs up.
"""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

Behaviour = Callable[[socket.socket], None]


class Heard(msgspec.Struct, frozen=True):
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float


class Receiver:
    """Listens on a port of its own. `behaviours` are used one after the other, the last of them from then on."""

    def __init__(self, *behaviours: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self.heard: list[Heard] = []
        self.connections = 0
        self.names: list[str | None] = []
        self._behaviours = list(behaviours)
        self._tls = tls
        if tls:
            tls.sni_callback = lambda _connection, name, _context: self.names.append(name)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def url(self) -> str:
        """Return where it is."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/hook?token=secret-token"

    def stop(self) -> None:
        """Listen no more."""
        # Closing alone would leave it listening for as long as a thread waits in it.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(20)
        connection = plain
        try:
            if self._tls:
                connection = self._tls.wrap_socket(plain, server_side=True)
            heard = _read(connection)
            with self._lock:
                self.heard.append(heard)
                behave = self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]
            behave(connection)
        except OSError:
            # The caller hung up, which is its right.
            return
        finally:
            connection.close()


@contextmanager
def receiving(*behaviours: Behaviour, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver for as long as it is needed."""
    found = Receiver(*behaviours, tls=tls)
    try:
        yield found
    finally:
        found.stop()


def _read(connection: socket.socket) -> Heard:
    text = b""
    while b"\r\n\r\n" not in text:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError
        text += more
    head, _, body = text.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    return Heard(path=first.split(" ")[1], headers=headers, body=body, at=time.time())


# Behaviours


def says(text: str | bytes) -> Behaviour:
    """Exactly this, and the end."""
    raw = text if isinstance(text, bytes) else text.encode("latin-1")
    return lambda connection: connection.sendall(raw)


def answers(status: int, body: str = "", **headers: Any) -> Behaviour:
    """As a well-behaved server does."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return says(f"HTTP/1.1 {status} Word\r\n{lines}Content-Length: {len(body)}\r\n\r\n{body}")


def repeated(begin: str | bytes, more: bytes, *, every: float = 0) -> Behaviour:
    """A beginning, and then more of the same until the caller hangs up."""

    def behave(connection: socket.socket) -> None:
        says(begin)(connection)
        while True:
            connection.sendall(more)
            if every:
                time.sleep(every)

    return behave


def dripping(connection: socket.socket) -> None:
    """An answer of which every byte comes in time, and whose end doesn't."""
    repeated("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" ", every=0.3)(connection)


def silent(connection: socket.socket) -> None:
    """Nothing, until the caller hangs up."""
    connection.recv(1)


def resets(after: bytes = b"") -> Behaviour:
    """Says something, maybe, and resets the connection."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(after)
        # With this it is a reset instead of an end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    return behave


def late(seconds: float, then: Behaviour) -> Behaviour:
    """The same, later."""

    def behave(connection: socket.socket) -> None:
        time.sleep(seconds)
        then(connection)

    return behave
