"""A TCP proxy on loopback that breaks connections when told to: for faults in front of servers that can't be told."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Broken = Literal["refused", "reset", "hung", "cut"]
# Bytes of the server's that pass before it is cut: within an SSH server's key exchange.
CUT_AFTER = 400


class TcpProxy:
    """In front of a port. `connections` counts all that came, be they answered or not."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.connections = 0
        self._fault: Broken | None = None
        self._spared = 0
        self._before: Callable[[], None] = lambda: None
        self._ended = threading.Event()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept, self._listener)

    @contextmanager
    def failing(self, fault: Broken, *, spared: int = 0) -> Iterator[None]:
        """All connections but the first so many are refused, reset, never answered, or cut within the first answer."""
        self._fault, self._spared = fault, spared
        if fault == "refused" and not spared:
            self._close()
        try:
            yield
        finally:
            self._fault = None
            self._ended.set()
            self._ended = threading.Event()
            self._listen()

    @contextmanager
    def changing(self, change: Callable[[], None], *, spared: int = 0) -> Iterator[None]:
        """Something is changed after so many connections."""
        left = [spared]

        def before() -> None:
            if left[0] == 0:
                change()
            left[0] -= 1

        self._before = before
        try:
            yield
        finally:
            self._before = lambda: None

    def stop(self) -> None:
        self._close()
        self._ended.set()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(5)

    def _listen(self) -> None:
        if self._listener.fileno() == -1:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=16)
            self._start(self._accept, self._listener)

    def _close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._before()
            if self._fault is None:
                self._start(self._serve, connection, None)
            elif self._spared > 0:
                self._spared -= 1
                if self._fault == "refused" and not self._spared:
                    self._close()
                self._start(self._serve, connection, None)
            else:
                self._start(self._serve, connection, self._fault)

    def _serve(self, outside: socket.socket, fault: Broken | None) -> None:
        if fault == "hung":
            self._ended.wait(60)
        if fault in ("hung", "reset", "refused"):
            outside.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            outside.close()
            return
        try:
            inside = socket.create_connection(("127.0.0.1", self.target), 5)
        except OSError:
            outside.close()
            return
        inside.settimeout(None)
        for each in (outside, inside):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open += [outside, inside]
        self._start(_pump, outside, inside, None)
        _pump(inside, outside, CUT_AFTER if fault == "cut" else None)


def _pump(source: socket.socket, sink: socket.socket, limit: int | None) -> None:
    """Carry bytes, at most so many; whichever side ends, both do."""
    with suppress(OSError):
        while data := source.recv(65_536 if limit is None else limit):
            sink.sendall(data)
            if limit is not None:
                limit -= len(data)
                if limit <= 0:
                    break
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
