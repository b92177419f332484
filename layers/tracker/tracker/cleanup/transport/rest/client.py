"""A REST API: its URL, its errors and what they mean, its lists.

Used by `provider` and the files of the providers. A client sends with whatever authorization it is given; whose the
credential is, `provider` finds out.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec
import requests
from requests.auth import AuthBase
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.transport.bounds import ANSWER_MAX, PART, TEXT_MAX, Page, TooLong, TooMuch, joined, paged
from tracker.cleanup.transport.credentials import Credential
from tracker.cleanup.transport.loopback import is_loopback
from tracker.model.deployment import clipped
from tracker.model.settings import Settings
from tracker.retry_after import parse_retry_after

# Seconds: to connect, and for each part of an answer.
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 20.0
ERROR_TEXT_MAX = 300
THROTTLED_FOR = 10.0
# The longest wait that an answer is believed. No round lasts longer.
WAIT_MAX = 86_400
# Where clouds answer their own machines, by http alone; nothing of it leaves the host.
METADATA_SERVICE = "169.254.169.254"

Meaning = Literal["gone", "busy", "throttled", "protected", "not_ours", "credentials", "bad_id", "unreachable"]
_BY_STATUS: Mapping[int, Meaning] = {
    HTTPStatus.BAD_REQUEST: "bad_id",
    HTTPStatus.UNAUTHORIZED: "credentials",
    HTTPStatus.PAYMENT_REQUIRED: "credentials",
    HTTPStatus.FORBIDDEN: "credentials",
    HTTPStatus.NOT_FOUND: "gone",
    HTTPStatus.METHOD_NOT_ALLOWED: "bad_id",
    HTTPStatus.CONFLICT: "busy",
    HTTPStatus.GONE: "gone",
    HTTPStatus.UNPROCESSABLE_ENTITY: "bad_id",
    HTTPStatus.LOCKED: "busy",
    HTTPStatus.TOO_MANY_REQUESTS: "throttled",
}


class Response(NamedTuple):
    """An API's answer: `body` is the decoded JSON, None if there was none, `size` its bytes."""

    status: int
    body: Any
    headers: Mapping[str, str]
    size: int = 0


class ErrorRule(NamedTuple):
    """This is what an error of this status (None: any) means, if its text matches `pattern` (a regular expression, "" matches any)."""

    status: int | None
    pattern: str
    meaning: Meaning
    retry_after: float = 0


# Statuses that providers send of what passes by itself, as of what doesn't: only the text tells. As reports of users have it, Vultr
# says with 500 that a server is locked or a block storage attached, DigitalOcean with 412 and 422 that something is being deleted.
_PASSES = (
    r"(being|is|are) (deleted|destroyed|detached|attached|created|resized|restored|updated|upgraded|provisioned|used|locked)"
    r"|(marked for|pending) (deletion|destruction)"
    r"|(currently|still|already) (being |pending|in use|used|attached|locked|provisioning|processing)"
    r"|(another|pending|other|conflicting) (operation|event|action|task)|in progress|not ready"
)
WHILE_BUSY = tuple(ErrorRule(status, _PASSES, "busy") for status in (400, 409, 412, 422, 423, 500))


# Words of gateways and web frameworks for a path that they don't have, whoever's API is behind them.
_OF_A_ROUTE = re.compile(
    r"^\W*(404\W+)?not[ _-]?found\W*$|missing authentication token|\bno (matching |such )?(route|endpoint|operation)\b"
    r"|\b(route|endpoint|path|page|url) (\S+ )?(is |was )?not[ _-]?found|\bcannot (get|post|put|patch|delete|head) /"
    r"|unknown (route|endpoint|path)",
    re.IGNORECASE,
)

# What a text has of members that are null.
_NOTHING = re.compile(r"\bNone\b")


class NotTold(Unreachable):
    """A "not found" that isn't of the resource: without the provider's words, or in those for a path. A list may tell."""


class BearerToken(AuthBase):
    """Sign requests with `Authorization: Bearer ...`."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class KeyHeader(AuthBase):
    """Sign requests with a key in a header of the provider's own, such as `X-API-Key`."""

    def __init__(self, header: str, key: str) -> None:
        self._header = header
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers[self._header] = self._key
        return request


@dataclass(frozen=True)
class Endpoint:
    """One API of a provider.

    `name` is the key of the setting that leads it elsewhere, `base_url` the URL that the provider's documentation names.
    `error_text` takes code and message from the body of an error, and raises LookupError, TypeError or AttributeError for a
    body that isn't the provider's. `error_rules` come before what a status means everywhere; the first that matches counts.
    """

    name: str
    base_url: str
    error_text: Callable[[Any], str]
    error_rules: tuple[ErrorRule, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.name)


class Client:
    """An open API. Its credential is known only to be left out of every text; `authorization` signs the requests."""

    def __init__(self, endpoint: Endpoint, credential: Credential, settings: Settings) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self.base_url = _checked(settings.base_urls.get(endpoint.name, endpoint.base_url).rstrip("/"))
        self._credential = credential
        self._session = requests.Session()
        # No proxy, no ~/.netrc, no authority of this machine's choosing.
        self._session.trust_env = False
        self._session.headers.update({"Accept": "application/json", "User-Agent": "deployment-tracker"})
        self._session.headers.update(endpoint.headers)

    @property
    def authorization(self) -> Any:
        """Return what signs the requests (a requests.auth.AuthBase), None if nothing does."""
        return self._session.auth

    @authorization.setter
    def authorization(self, auth: AuthBase | None) -> None:
        self._session.auth = auth

    def get(self, path: str, **params: Any) -> Any:
        """Return the JSON of a read. Raises Gone, or one of the contract's exceptions."""
        return self.call("GET", path, params=params).body

    def call(self, method: str, path: str, **request: Any) -> Response:
        """Return the response to a call that succeeded; `request` as for `send`. Raises Gone, or the contract's exceptions."""
        response = self.send(method, path, **request)
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise self.error(method, path, response)
        return response

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Return whatever was answered, read to its end; `data` is sent as a form.

        `path` begins with "/", or is a URL of the same origin that an answer named. Raises Unreachable if there is no answer,
        or none that can be read.
        """
        url = self._url(path)
        try:
            with closing(
                self._session.request(
                    method,
                    url,
                    params=params,
                    json=json,
                    data=data,
                    headers=headers,
                    timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                    allow_redirects=False,
                    stream=True,
                )
            ) as response:
                raw = joined(response.iter_content(PART), ANSWER_MAX)
        except TooLong as too_long:
            raise TooMuch(f"{_call(method, path)}: the answer is too long: {too_long}") from None
        except (RequestException, HTTPError, OSError) as error:
            raise Unreachable(f"{_call(method, path)}: {type(error).__name__}") from None
        if HTTPStatus.MULTIPLE_CHOICES <= response.status_code < HTTPStatus.BAD_REQUEST:
            raise Unreachable(f"{_call(method, path)}: {response.status_code}, a redirection")
        body = _decoded(method, path, response.status_code, raw)
        return Response(response.status_code, body, response.headers, len(raw))

    def error(self, method: str, path: str, response: Response) -> Exception:
        """Return the exception that an error stands for. A "not found" that isn't of the resource is NotTold."""
        error = self._meant(method, path, response)
        is_missing = response.status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
        return NotTold(str(error)) if is_missing and isinstance(error, Unreachable) else error

    def _meant(self, method: str, path: str, response: Response) -> Exception:
        where = f"{_call(method, path)}: {response.status}"
        wait = retry_after(response)
        try:
            error_text = self.endpoint.error_text(response.body)
        except (LookupError, TypeError, AttributeError):
            # Not the provider's own words: some proxy's page, which is no proof that something is gone.
            match response.status:
                case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                    return Refused("credentials", where)
                case HTTPStatus.TOO_MANY_REQUESTS:
                    return Busy(where, wait)
            return Unreachable(f"{where}, and not in the provider's words")
        error_text = self._credential.redacted(error_text)[:TEXT_MAX]
        text = f"{where} {clipped(error_text, ERROR_TEXT_MAX)}".rstrip()
        for rule in self.endpoint.error_rules:
            if rule.status in (None, response.status) and re.search(rule.pattern, error_text, re.IGNORECASE):
                return _exception(rule.meaning, text, max(rule.retry_after, wait))
        if response.status == HTTPStatus.SERVICE_UNAVAILABLE and wait:
            # It says when it will be well again.
            return Busy(text, wait)
        meaning = _BY_STATUS.get(response.status, "unreachable")
        if meaning == "gone" and (_OF_A_ROUTE.search(error_text) or not re.search(r"\w", _NOTHING.sub("", error_text))):
            return Unreachable(f"{text}, which says nothing of the resource")
        return _exception(meaning, text, wait)

    def pages(
        self, path: str, items: str, next_page: Callable[[Any], str | None] = lambda _body: None, **params: Any
    ) -> Iterator[Any]:
        """Yield all items of a list that comes in pages.

        `items` is the key of a page's list, `next_page` takes a page's body and returns the path or URL of the next. Without it the
        list comes in one piece.
        """

        def page(following: str) -> Page[str]:
            answer = self.call("GET", following, params=params if following == path else None)
            return Page(listed(answer.body, items, path), next_page(answer.body), answer.size)

        try:
            yield from paged(_call("GET", path), path, page)
        except Gone as gone:
            # A list may be empty; that the list itself isn't found says nothing of its items.
            raise Unreachable(str(gone)) from None

    def _url(self, path: str) -> str:
        if path.startswith("/"):
            return self.base_url + path
        ours, theirs = urlsplit(self.base_url), urlsplit(path)
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            # The credential goes to nobody but the provider.
            raise Unreachable(f"{self.endpoint.name}: an answer leads to {theirs.scheme}://{theirs.hostname}")
        return path


def listed(body: Any, items: str, path: str, *, is_optional: bool = False) -> list[Any]:
    """Return the list that an answer must hold. An answer without it, a proxy's page for instance, proves nothing.

    `is_optional` is set where the provider's document lets the list be absent: then it is empty.
    """
    found = body.get(items) if isinstance(body, dict) else None
    if found is None and is_optional and isinstance(body, dict):
        return []
    if not isinstance(found, list):
        raise Unreachable(f"GET {urlsplit(path).path}: the answer holds no {items}")
    return found


def with_id(items: Iterable[Any], where: str, key: str = "id") -> list[Any]:
    """Return the items of a list. Raises Unreachable if one has no id: then nobody knows what is absent."""
    found = list(items)
    if not all(isinstance(each, dict) and each.get(key) for each in found):
        raise Unreachable(f"{where}: an item without its {key}")
    return found


def retry_after(response: Response) -> float:
    """Return the seconds that the provider asks to wait: `Retry-After` as a number or a date, or when a limit is lifted."""
    wait = parse_retry_after(response.headers.get("Retry-After", ""), longest=WAIT_MAX)
    if wait is not None:
        return wait
    reset = response.headers.get("RateLimit-Reset", "")
    if re.fullmatch(r"\d{9,11}", reset):
        return min(max(0.0, int(reset) - time.time()), WAIT_MAX)
    return THROTTLED_FOR if response.status == HTTPStatus.TOO_MANY_REQUESTS else 0.0


def _call(method: str, path: str) -> str:
    """Name a call without its query, which may hold a cursor or a token."""
    return f"{method} {urlsplit(path).path}"


def _decoded(method: str, path: str, status: int, raw: bytes) -> Any:
    if not raw.strip():
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        if status >= HTTPStatus.BAD_REQUEST:
            return None
        raise Unreachable(f"{_call(method, path)}: {status}, and not to be read") from None


def _checked(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme == "https":
        return base_url
    if parts.scheme == "http" and (is_loopback(parts.hostname) or parts.hostname == METADATA_SERVICE):
        return base_url
    raise Refused("credentials", f"{base_url}: https only, or this machine itself")


def _exception(meaning: Meaning, text: str, wait: float) -> Exception:
    match meaning:
        case "gone":
            return Gone(text)
        case "busy" | "throttled":
            return Busy(text, wait)
        case "unreachable":
            return Unreachable(text)
        case _:
            return Refused(meaning, text)
