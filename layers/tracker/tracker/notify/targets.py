"""Checks where a webhook leads: to the public internet, never inside a network.

Registration and amendment check a URL before anything is stored; the sender checks it again before each attempt, since its name may
lead elsewhere by then. A URL may hold a token, so no reason and no error quotes one.
"""

import re
import ssl
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import cast

import msgspec

from tracker.model.errors import Invalid
from tracker.model.settings import Settings
from tracker.notify.addresses import Address, is_inside, parse_address, resolve_name

URL_MAX = 2048
RESOLVE_LIMIT = 3.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")
DEFAULT_PORTS = {"https": 443, "http": 80}
NAME_MAX = 253

# From a name and a limit in seconds to addresses; OSError if there are none in time.
type Resolve = Callable[[str, float], list[str]]

# RFC 3986's characters without "#", and no encoded control character.
_TEXT = re.compile(r"(?:[A-Za-z0-9._~:/?@!$&'()*+,;=\[\]-]|%(?![01]|7[Ff])[0-9A-Fa-f]{2})+", re.ASCII)
_PARTS = re.compile(r"(?P<scheme>[A-Za-z]+)://(?P<authority>[^/?]*)(?P<path>.*)", re.ASCII)
_AUTHORITY = re.compile(r"(?P<host>[^:\[\]]+|\[[^\[\]]*\])(?P<port>:.*)?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_PORT = re.compile(r":(?P<number>[1-9][0-9]{0,4})", re.ASCII)

# Names of RFC 6761 and 8375, and those that networks give themselves: none is of the public DNS.
_INSIDE_NAMES = (
    *("localhost", "local", "localdomain", "internal", "intranet", "private", "corp", "home", "lan"),
    *("home.arpa", "arpa", "test", "example", "invalid", "onion", "alt"),
)


class Forbidden(Exception):
    """A URL that may not be called. The text says what is expected of one."""


class Unsent(Exception):
    """A webhook gave no response. The text says why, in words that a log may hold."""


class Target(msgspec.Struct, frozen=True):
    """The place that a URL leads to. `own` means this machine itself, which a setting allows."""

    scheme: str
    host: str
    port: int
    path: str
    own: bool

    @property
    def host_header(self) -> str:
        """The host, with the port unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse_target(url: str, settings: Settings) -> Target:
    """Return the place that a URL's text leads to. Forbidden if it may not be called."""
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
        _check_outside(host)
    return found


def check_url(url: str, settings: Settings) -> None:
    """Check a URL by its text alone. Invalid, with what is expected, if a deployment may not name it."""
    try:
        parse_target(url, settings)
    except Forbidden as error:
        raise _refused(url, error) from None


def check_name(url: str | None, settings: Settings, resolve: Resolve | None = None) -> None:
    """Check the addresses that a URL's name has now. Invalid if one leads inside.

    A name that has none yet is taken, and checked when it is called.
    """
    if url is None:
        return
    try:
        find_addresses(parse_target(url, settings), resolve or resolve_name, RESOLVE_LIMIT)
    except Forbidden as error:
        raise _refused(url, error) from None
    except Unsent:
        return


def find_addresses(goal: Target, resolve: Resolve, seconds: float) -> list[Address]:
    """Return the addresses to connect to. Forbidden if any of them leads inside, Unsent if there is none."""
    literal = parse_address(goal.host)
    if literal is None:
        try:
            found = [parse_address(text.partition("%")[0]) for text in resolve(goal.host, seconds)]
        except OSError as error:
            raise Unsent(f"the name doesn't resolve: {explain(error)}") from None
    else:
        found = [literal]
    if not found:
        raise Unsent("the name doesn't resolve: no address")
    for address in found:
        if address is None or (not address.is_loopback if goal.own else is_inside(address)):
            raise Forbidden("a name of public addresses alone")
    return cast(list[Address], found)


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
    """Return a host in its one spelling: a name of letters, digits and hyphens, or an address."""
    if text.startswith("["):
        try:
            # Without a zone, which is an interface of this very machine.
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


def _check_outside(host: str) -> None:
    address = parse_address(host)
    if address is not None:
        if is_inside(address):
            raise Forbidden("a public address")
    elif "." not in host or host.endswith(tuple(f".{name}" for name in _INSIDE_NAMES)):
        raise Forbidden("a host name of the public DNS")


def explain(error: Exception) -> str:
    """Explain an error of the network in words that quote nothing of what a receiver sent."""
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
