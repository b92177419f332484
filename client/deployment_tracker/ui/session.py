"""Decides who may use the page: the browser that was given its link, and pages of its own origin alone.

The link carries a token in its fragment, which no browser sends anywhere. The page gives the token back once and gets a cookie and
a proof. Every call needs both: cookies are shared by all ports of a host, and what a page keeps isn't; a script can't read the cookie.
"""

import hmac
import secrets
from email.message import Message
from http.cookies import CookieError, SimpleCookie

PROOF = "X-Tracker-Proof"
HOSTS = ("127.0.0.1", "localhost")
# What browsers say of a call that a page of the same origin makes, or a person by the address bar.
_OWN_SITES = ("same-origin", "none")
_BYTES = 32

type Headers = Message[str, str]


class Refused(Exception):
    """A call isn't taken: the HTTP status, a code and a message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class Session:
    """The secrets of one run. They end with the process."""

    def __init__(self, port: int) -> None:
        self._hosts = tuple(f"{host}:{port}" for host in HOSTS)
        self._name = f"tracker_{port}"
        self._token = secrets.token_urlsafe(_BYTES)
        self._cookie = secrets.token_urlsafe(_BYTES)
        self._proof = secrets.token_urlsafe(_BYTES)
        # It counts once: another user of the machine may see the arguments of the browser's process.
        self._ticket: str | None = None
        self.url = f"http://{self._hosts[0]}/"

    @property
    def link(self) -> str:
        """The link for people, which is good as long as the process runs."""
        return f"{self.url}#token={self._token}"

    def link_once(self) -> str:
        """Return a link that opens the page once."""
        self._ticket = secrets.token_urlsafe(_BYTES)
        return f"{self.url}#token={self._ticket}"

    def check_origin(self, method: str, headers: Headers) -> None:
        """Refuse what another site may have sent, or what came by another name of this machine (DNS rebinding)."""
        host = headers.get("Host", "")
        if host not in self._hosts:
            raise Refused(421, "wrong_host", f"This page is at {self.url}, and answers to no other name.")
        is_write = method not in ("GET", "HEAD")
        origin = headers.get("Origin")
        if (is_write or origin is not None) and origin != f"http://{host}":
            raise Refused(403, "wrong_origin", "Only the page itself may make this call.")
        if is_write and headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            raise Refused(403, "wrong_origin", "Only the page itself may make this call.")

    def check(self, headers: Headers) -> None:
        """Refuse a call that doesn't bring the cookie and the proof."""
        if headers.get("Sec-Fetch-Site", "same-origin") not in _OWN_SITES:
            raise Refused(403, "wrong_origin", "Only the page itself may make this call.")
        if not (_is(_cookie(headers, self._name), self._cookie) and _is(headers.get(PROOF), self._proof)):
            raise Refused(401, "no_session", "Open the page by the link that `tracker ui` printed.")

    def opened(self, token: object) -> tuple[str, str]:
        """Return the header `Set-Cookie` and the proof for the right token."""
        given = token if isinstance(token, str) else ""
        if self._ticket is not None and _is(given, self._ticket):
            self._ticket = None
        elif not _is(given, self._token):
            raise Refused(401, "no_session", "This link isn't good any more. Use the one that `tracker ui` printed.")
        return f"{self._name}={self._cookie}; Path=/; HttpOnly; SameSite=Strict", self._proof


def _cookie(headers: Headers, name: str) -> str | None:
    try:
        found = SimpleCookie(headers.get("Cookie", "")).get(name)
    except CookieError:
        return None
    return found.value if found else None


def _is(given: str | None, wanted: str) -> bool:
    return hmac.compare_digest((given or "").encode(), wanted.encode())
