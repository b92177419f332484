"""Where a webhook may lead, and the way there: out into the world, never inside.

Registration asks before anything is stored; the sender asks again each time, since a name may lead elsewhere by then,
and connects to the very address that was looked at. A URL may hold a token, so no reason and no error quotes one.
"""

import io
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from http.client import HTTPException, parse_headers
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, cast

import msgspec

from tracker.errors import Invalid
from tracker.settings import Settings

URL_MAX = 2048
TIME_LIMIT = 15.0
RESOLVE_LIMIT = 3.0
ANSWER_BYTES = 32_768
LOOPBACK = ("localhost", "127.0.0.1", "::1")
DEFAULT_PORTS = {"https": 443, "http": 80}

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, float], list[str]]

# RFC 3986's characters without "#", and no encoded control character.
_TEXT = re.compile(r"(?:[A-Za-z0-9._~:/?@!$&'()*+,;=\[\]-]|%(?![01]|7[Ff])[0-9A-Fa-f]{2})+", re.ASCII)
_PARTS = re.compile(r"(?P<scheme>[A-Za-z]+)://(?P<authority>[^/?]*)(?P<path>.*)", re.ASCII)
_AUTHORITY = re.compile(r"(?P<host>[^:\[\]]+|\[[^\[\]]*\])(?P<port>:.*)?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_PORT = re.compile(r":(?P<number>[1-9][0-9]{0,4})", re.ASCII)
_STATUS = re.compile(rb"HTTP/1\.[01] (?P<status>[1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
NAME_MAX = 253

# RFC 6761 and 8375, and what networks call themselves: none of these names is the world's.
_INSIDE_NAMES = (
    *("localhost", "local", "localdomain", "internal", "intranet", "private", "corp", "home", "lan"),
    *("home.arpa", "arpa", "test", "example", "invalid", "onion", "alt"),
)
# IANA's IPv4 special-purpose registry and multicast; and Azure's own platform address, which isn't in it.
_INSIDE_4 = tuple(
    IPv4Network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",
    )
)
# Only this is given to the world. Mapped (::ffff:0:0/96) and translated (64:ff9b::/96) addresses lie outside.
_WORLD_6 = IPv6Network("2000::/3")
# Of it: IANA's IPv6 special-purpose registry, which has Teredo and 6to4 among others.
_INSIDE_6 = tuple(
    IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
# RFC 5214: the end of an address that leads through a tunnel to the IPv4 address behind it.
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})


class Forbidden(Exception):
    """A URL that may not be called. The text says what is expected of one."""


class Unsent(Exception):
    """There is no answer. The text says why, in words that a log may hold."""


class Target(msgspec.Struct, frozen=True):
    """Where a URL leads. `own` is on this machine, which a setting allows."""

    scheme: str
    host: str
    port: int
    path: str
    own: bool

    @property
    def host_header(self) -> str:
        """The host, and the port where it isn't the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class Answer(msgspec.Struct, frozen=True):
    """What a receiver said. Of what follows the headers nothing is read."""

    status: int
    retry_after: str = ""


# Where one may lead


def target(url: str, settings: Settings) -> Target:
    """Where a URL leads, as far as its text says; Forbidden if it isn't one that may be called."""
    if not 1 <= len(url) <= URL_MAX:
        raise Forbidden(f"a URL of at most {URL_MAX} characters")
    parts = _PARTS.fullmatch(url)
    if not _TEXT.fullmatch(url) or not parts:
        raise Forbidden("an absolute https URL of the characters that RFC 3986 allows, without a fragment")
    scheme = parts["scheme"].lower()
    if scheme not in DEFAULT_PORTS:
        raise Forbidden("a URL with https")
    if "@" in parts["authority"]:
        raise Forbidden("a URL without credentials")
    authority = _AUTHORITY.fullmatch(parts["authority"])
    if not authority:
        raise Forbidden("a URL with a host")
    host = _host(authority["host"].lower())
    own = settings.allow_http_loopback_webhooks and host in LOOPBACK
    if scheme == "http" and not own:
        raise Forbidden("a URL with https")
    path = parts["path"] if parts["path"].startswith("/") else "/" + parts["path"]
    found = Target(scheme=scheme, host=host, port=_port(authority["port"], scheme), path=path, own=own)
    if not own and found.port not in settings.webhook_ports:
        ports = ", ".join(str(port) for port in settings.webhook_ports)
        raise Forbidden(f"a URL with a port of {ports}")
    if not own:
        _must_be_outside(host)
    return found


def check_url(url: str, settings: Settings) -> None:
    """Invalid, with what is expected, if a deployment may not name this URL; by its text alone."""
    try:
        target(url, settings)
    except Forbidden as error:
        raise _refused(url, error) from None


def check_name(url: str | None, settings: Settings, resolve: Resolve | None = None) -> None:
    """Invalid if a URL's name leads inside as of now. One that leads nowhere yet is looked at when it is called."""
    if url is None:
        return
    try:
        addresses(target(url, settings), resolve or resolved, RESOLVE_LIMIT)
    except Forbidden as error:
        raise _refused(url, error) from None
    except Unsent:
        return


def addresses(goal: Target, resolve: Resolve, seconds: float) -> list[Address]:
    """The addresses to connect to, every one of them looked at. Forbidden if any leads inside, Unsent if there is none."""
    literal = _literal(goal.host)
    if literal is None:
        try:
            found = [_literal(text.partition("%")[0]) for text in resolve(goal.host, seconds)]
        except OSError as error:
            raise Unsent(f"the name doesn't resolve: {_reason(error)}") from None
    else:
        found = [literal]
    if not found:
        raise Unsent("the name doesn't resolve: no address")
    for address in found:
        if address is None or (not address.is_loopback if goal.own else _is_inside(address)):
            raise Forbidden("a name of public addresses alone")
    return cast(list[Address], found)


def resolved(host: str, seconds: float) -> list[str]:
    """The addresses of a name, as the system's resolver knows them; OSError if there are none in time."""
    answers: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            answers.put(OSError(str(error)))
        else:
            answers.put(list(dict.fromkeys(str(each[4][0]) for each in found)))

    # The resolver knows no time limit of its own.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=max(seconds, 0))
    except queue.Empty:
        raise TimeoutError("no answer in time") from None
    if isinstance(answer, OSError):
        raise answer
    return answer


def _refused(url: str, error: Forbidden) -> Invalid:
    return Invalid("cleanup_webhook", f"{len(url)} characters", str(error))


def _port(text: str | None, scheme: str) -> int:
    if text is None:
        return DEFAULT_PORTS[scheme]
    found = _PORT.fullmatch(text)
    if not found or int(found["number"]) > 65535:  # noqa: PLR2004 - TCP's last
        raise Forbidden("a URL with a port that is a number from 1 to 65535")
    return int(found["number"])


def _host(text: str) -> str:
    """A host as it is connected to: a name of letters, digits and hyphens, or an address in its one spelling."""
    if text.startswith("["):
        try:
            # Without a zone: that is an interface of this very machine.
            return str(IPv6Address(text[1:-1] if "%" not in text else ""))
        except AddressValueError:
            raise Forbidden("a URL with an IPv6 address between the brackets") from None
    labels = text.split(".")
    # What ends in a number is read as an IPv4 address by one resolver or another: 2130706433, 0x7f.1, 0177.0.0.1.
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(text))
        except AddressValueError:
            raise Forbidden("a URL with a host name, or an IPv4 address as four decimal numbers") from None
    if len(text) > NAME_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise Forbidden("a URL with a host name of letters, digits and hyphens (another alphabet: its xn-- form)")
    return text


def _must_be_outside(host: str) -> None:
    address = _literal(host)
    if address is not None:
        if _is_inside(address):
            raise Forbidden("a public address")
    elif "." not in host or host.endswith(tuple(f".{name}" for name in _INSIDE_NAMES)):
        raise Forbidden("a host name that the whole world knows")


def _literal(host: str) -> Address | None:
    for kind in (IPv4Address, IPv6Address):
        try:
            return kind(host)
        except AddressValueError:
            continue
    return None


def _is_inside(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return any(address in network for network in _INSIDE_4)
    is_tunnel = int(address) >> 32 & 0xFFFF_FFFF in _ISATAP
    return address not in _WORLD_6 or is_tunnel or any(address in network for network in _INSIDE_6)


# The way there


def post(
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    settings: Settings,
    *,
    resolve: Resolve = resolved,
    context: ssl.SSLContext | None = None,
    limit: float = TIME_LIMIT,
) -> Answer:
    """Post JSON and hear the answer, within `limit` seconds in all. Forbidden or Unsent if there is none.

    Redirects are answers like any other. No proxy, cookie or credential of this process is used.
    """
    end = time.monotonic() + limit
    goal = target(url, settings)
    found = addresses(goal, resolve, limit)
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
        with _connected(goal, found, context, end) as connection:
            connection.settimeout(_left(end))
            connection.sendall(head.encode("ascii") + body)
            return _answer(connection, end)
    except (OSError, HTTPException, ValueError) as error:
        raise Unsent(_reason(error)) from None


def _connected(goal: Target, found: list[Address], context: ssl.SSLContext | None, end: float) -> socket.socket:
    """Connected to one of the addresses, by name no more: what was looked at is what is reached."""
    for n, address in enumerate(found):
        try:
            # Each has its share, so that one that is silent leaves time for the others.
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
    """What a connection says until the headers end, for so long and so many bytes."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self._connection = connection
        self._end = end
        self._bytes = ANSWER_BYTES

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


def _answer(connection: socket.socket, end: float) -> Answer:
    reader = io.BufferedReader(_Bounded(connection, end))
    while True:
        line = _STATUS.fullmatch(reader.readline(ANSWER_BYTES))
        if not line:
            raise HTTPException("no status")
        status, headers = int(line["status"]), parse_headers(reader)
        # Others may come before the last: 103 Early Hints.
        if status >= HTTPStatus.OK:
            return Answer(status=status, retry_after=headers.get("Retry-After") or "")


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _reason(error: Exception) -> str:
    """In words that quote nothing of what a receiver sent."""
    match error:
        case TimeoutError():
            return "no answer in time"
        case ssl.SSLCertVerificationError():
            return f"its certificate isn't good: {error.verify_message}"
        case ssl.SSLError():
            return f"no TLS: {error.reason or type(error).__name__}"
        case OSError():
            return f"no connection: {error.strerror or type(error).__name__}"
    return f"not an answer of HTTP: {type(error).__name__}"
