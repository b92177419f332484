"""Posts JSON to a webhook, to the very address that was checked, within one time limit.

Called by the sender. HTTP is spoken by hand, since no client of the usual libraries has one limit over the name, the connection,
the handshake and every byte of the response (docs/decisions.md).
"""

import io
import re
import socket
import ssl
import time
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from http.client import HTTPException, parse_headers
from typing import Any

import msgspec

from tracker.model.settings import Settings
from tracker.notify.addresses import Address, resolve_name
from tracker.notify.targets import Resolve, Target, Unsent, explain, find_addresses, parse_target

TIME_LIMIT = 15.0
RESPONSE_BYTES = 32_768

_STATUS = re.compile(rb"HTTP/1\.[01] (?P<status>[1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")


class Response(msgspec.Struct, frozen=True):
    """A receiver's response: its status and the text of its `Retry-After`. Nothing after the headers is read."""

    status: int
    retry_after: str = ""


def post(
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    settings: Settings,
    *,
    resolve: Resolve = resolve_name,
    context: ssl.SSLContext | None = None,
    limit: float = TIME_LIMIT,
) -> Response:
    """Post JSON and return the response, within `limit` seconds in all. Forbidden or Unsent if there is none.

    A redirect is a response like any other. No proxy, cookie or credential of this process is used.
    """
    end = time.monotonic() + limit
    goal = parse_target(url, settings)
    found = find_addresses(goal, resolve, limit)
    lines = {
        "Host": goal.host_header,
        "User-Agent": "deployment-tracker",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **headers,
    }
    head = f"POST {goal.path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    try:
        with _connect(goal, found, context, end) as connection:
            connection.settimeout(_left(end))
            connection.sendall(head.encode("ascii") + body)
            return _read_response(connection, end)
    except (OSError, HTTPException, ValueError) as error:
        raise Unsent(explain(error)) from None


def _connect(goal: Target, found: list[Address], context: ssl.SSLContext | None, end: float) -> socket.socket:
    """Connect to one of the addresses. The name isn't resolved again: the address that was checked is the one reached."""
    for n, address in enumerate(found):
        try:
            # Each gets its share of the time, so that a silent one leaves some to the others.
            connection = socket.create_connection((str(address), goal.port), timeout=_left(end) / (len(found) - n))
            break
        except OSError:
            if n == len(found) - 1:
                raise
    if goal.scheme == "http":
        return connection
    try:
        connection.settimeout(_left(end))
        return (context or _context()).wrap_socket(connection, server_hostname=goal.host)
    except BaseException:
        connection.close()
        raise


@lru_cache(maxsize=1)
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()


class _Bounded(io.RawIOBase):
    """The bytes of a connection, until the time or the number of bytes is up."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self._connection = connection
        self._end = end
        self._bytes = RESPONSE_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._bytes <= 0:
            raise HTTPException("its headers don't end")
        self._connection.settimeout(_left(self._end))
        count = self._connection.recv_into(memoryview(buffer)[: self._bytes])
        if count == 0:
            raise HTTPException("it ends before its headers do")
        self._bytes -= count
        return count


def _read_response(connection: socket.socket, end: float) -> Response:
    reader = io.BufferedReader(_Bounded(connection, end))
    while True:
        line = _STATUS.fullmatch(reader.readline(RESPONSE_BYTES))
        if not line:
            raise HTTPException("no status")
        status, headers = int(line["status"]), parse_headers(reader)
        # Interim responses may come first: 100 Continue, 103 Early Hints.
        if status >= HTTPStatus.OK:
            return Response(status=status, retry_after=headers.get("Retry-After") or "")


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
