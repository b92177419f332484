"""Providers with a REST API: this URL, this credential, and what these answers mean.

A provider is a `Service`, an instance of which its file makes once; a resource of it a `RestKind`, a few lines that read
like its documentation. No answer counts before the provider itself said whose the credential is: a "not found" to a wrong
key, or in another account, proves nothing.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec
import requests
from msgspec.structs import replace
from requests.auth import AuthBase
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from tracker.cleanup import credentials
from tracker.cleanup.calls import is_loopback
from tracker.cleanup.contract import Busy, Look, Refused, Unreachable
from tracker.cleanup.credentials import Credential
from tracker.deployment import Deployment, Resource, clipped, ids_named
from tracker.settings import Settings

# Seconds: to connect, for each part of an answer, and for the whole of it.
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 20.0
LIMIT = 40.0
ANSWER_MAX = 8 * 1024 * 1024
SAID_MAX = 300
# How long a session is kept, with what is known of its account.
KEPT_FOR = 120
THROTTLED_FOR = 10.0
# Where clouds answer their own machines, by http alone; nothing of it leaves the host.
METADATA_SERVICE = "169.254.169.254"
PAGES_MAX = 1000

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


class Gone(Exception):
    """What was asked for isn't there; the text is the proof."""


class Answer(NamedTuple):
    """What was answered: `body` is the JSON, None where there was none."""

    status: int
    body: Any
    headers: Mapping[str, str]


class Meant(NamedTuple):
    """What a failure of this status (None: any) means, whose code or message matches `said` as a regular expression."""

    status: int | None
    said: str
    meaning: Meaning
    retry_after: float = 0


class BearerToken(AuthBase):
    """`Authorization: Bearer ...`."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


@dataclass(frozen=True)
class Service:
    """A provider's API.

    `base_url` is what its documentation names; a setting may lead elsewhere. `variables` are its credential's keys, with the
    environment variables that its own tools read. `authorize` makes what signs requests, `whose` the account that a
    credential is for, asked with that credential: where one is for several, that which is `api.wanted`. `said` takes code and message from the body of a failure, and raises
    LookupError or TypeError for what isn't the provider's. `meanings` come before what a status means everywhere;
    `said` of "" matches any.
    """

    provider: str
    base_url: str
    variables: Mapping[str, tuple[str, ...]]
    authorize: Callable[["Api", Credential], AuthBase | None]
    whose: Callable[["Api"], str]
    said: Callable[[Any], str]
    meanings: tuple[Meant, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    needed: tuple[str, ...] = ("token",)

    def place_of(self, deployment: Deployment, settings: Settings, **more: str) -> dict[str, str]:
        """Where the record says that it is: the account, if something vouches for one, and the credential that it names."""
        seen_in = next((r.place["account"] for r in deployment.resources if r.seen and "account" in r.place), "")
        account = deployment.metadata.get("account") or settings.account(self.provider) or seen_in
        place = {"account": account, "credential": deployment.metadata.get("credential", ""), **more}
        return {key: value for key, value in place.items() if value}

    def open(self, place: Mapping[str, str], settings: Settings) -> "Api":
        """The API with the credential for a place. Refused, if that is for another account than the place names."""
        named, wanted = place.get("credential", ""), place.get("account", "")
        api = _opened(self, named, wanted, _Held(settings), int(time.monotonic() // KEPT_FOR))
        if place.get("account", api.account) != api.account:
            text = f"the credential is for {self.provider} account {api.account}, and it is in {place['account']}"
            raise Refused("credentials", f"{text}: correct metadata.account, or name a credential for it")
        return api

    def credential(self, named: str, settings: Settings) -> Credential:
        """The credential that is `named`, else the stack's own. Refused, if there is none."""
        return credentials.find(self.provider, named, settings, *self.needed, variables=self.variables)

    def __hash__(self) -> int:
        return hash(self.provider)


class Api:
    """A provider's API with one credential, which the provider itself said is for `account`.

    `wanted` is the account that it is opened for, empty if nothing says which.
    """

    def __init__(self, service: Service, credential: Credential, settings: Settings, wanted: str = "") -> None:
        self.service = service
        self.settings = settings
        self.wanted = wanted
        self.base_url = _checked(settings.base_urls.get(service.provider, service.base_url).rstrip("/"))
        self._credential = credential
        self._session = requests.Session()
        # No proxy, no ~/.netrc, no authority of this machine's choosing.
        self._session.trust_env = False
        self._session.headers.update({"Accept": "application/json", "User-Agent": "deployment-tracker"})
        self._session.headers.update(service.headers)
        self._session.auth = service.authorize(self, credential)
        self.account = service.whose(self)

    @property
    def auth(self) -> Any:
        """What signs its requests, as `authorize` made it: for a client of the provider's own."""
        return self._session.auth

    def get(self, path: str, **params: Any) -> Any:
        """The JSON of a read. Gone, or one of the contract's exceptions."""
        return self.call("GET", path, params=params).body

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """A call that succeeded. `path` begins with "/"; or is a URL that an answer named, of the same origin."""
        answer = self.send(method, path, params=params, json=json, data=data, headers=headers)
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise self.meaning(method, path, answer)
        return answer

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Whatever was answered, read to its end; `data` is sent as a form. Unreachable, if nothing was, or not in a way that can be read."""
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
                raw = _read(response)
        except (RequestException, HTTPError, OSError) as error:
            raise Unreachable(f"{self._named(method, path)}: {type(error).__name__}") from None
        if HTTPStatus.MULTIPLE_CHOICES <= response.status_code < HTTPStatus.BAD_REQUEST:
            raise Unreachable(f"{self._named(method, path)}: {response.status_code}, a redirection")
        return Answer(response.status_code, self._parsed(method, path, response.status_code, raw), response.headers)

    def meaning(self, method: str, path: str, answer: Answer) -> Exception:
        """The exception that a failure stands for."""
        where = f"{self._named(method, path)}: {answer.status}"
        try:
            said = self.service.said(answer.body)
        except (LookupError, TypeError, AttributeError):
            # Not the provider's own words: some proxy's page, which is no proof that something is gone.
            if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                return Refused("credentials", where)
            if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                return Busy(where, retry_after(answer))
            return Unreachable(f"{where}, and not in the provider's words")
        text = f"{where} {clipped(self._credential.redacted(said), SAID_MAX)}".rstrip()
        for each in self.service.meanings:
            if each.status in (None, answer.status) and re.search(each.said, said, re.IGNORECASE):
                return _exception(each.meaning, text, max(each.retry_after, retry_after(answer)))
        return _exception(_BY_STATUS.get(answer.status, "unreachable"), text, retry_after(answer))

    def pages(self, path: str, items: str, next_page: Callable[[Any], str | None], **params: Any) -> Iterator[Any]:
        """All items of a list that comes in pages; `next_page` gives the path or URL of the next from a page's body."""
        try:
            body = self.get(path, **params)
            for _ in range(PAGES_MAX):
                yield from listed(body, items, path)
                following = next_page(body)
                if not following:
                    return
                body = self.get(following)
        except Gone as gone:
            # A list may be empty; that it isn't there says nothing of what it would hold.
            raise Unreachable(str(gone)) from None
        raise Unreachable(f"GET {path}: more than {PAGES_MAX} pages")

    def _url(self, path: str) -> str:
        if path.startswith("/"):
            return self.base_url + path
        ours, theirs = urlsplit(self.base_url), urlsplit(path)
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            # The credential goes to nobody but the provider.
            raise Unreachable(f"{self.service.provider}: an answer leads to {theirs.scheme}://{theirs.hostname}")
        return path

    def _named(self, method: str, path: str) -> str:
        return f"{method} {urlsplit(path).path}"

    def _parsed(self, method: str, path: str, status: int, raw: bytes) -> Any:
        if not raw.strip():
            return None
        try:
            return msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            if status >= HTTPStatus.BAD_REQUEST:
                return None
            raise Unreachable(f"{self._named(method, path)}: {status}, and not to be read") from None


@dataclass(frozen=True)
class RestKind:
    """How one kind of resource goes: read at `path`, judged, asked to go.

    `path` holds `{id}` and what else the resource's place names. `form` is what an id must be. `item` is the key of the
    answer's object that holds the resource ("" for the whole). `status` says how far a resource has gone ("present" if
    not given), `allow` raises Refused or Busy where one may not be deleted. `delete_by` overrides the method and path of
    the deletion, `ask` the whole of it. `keep` takes from a resource what is worth remembering in its place, say when
    it was made: one that differs is another one, and so ours is gone.
    """

    service: Service
    noun: str
    path: str
    form: str
    item: str = ""
    status: Callable[[Any], tuple[Literal["present", "leaving", "gone"], str]] = lambda _: ("present", "")
    allow: Callable[[Resource, Any, Settings], None] = lambda *_: None
    delete_by: tuple[str, str] = ("DELETE", "")
    ask: Callable[[Api, Resource, Any], None] | None = None
    keep: Callable[[Any], dict[str, str]] = lambda _: {}
    one_at_a_time: bool = False

    def at(self, resource: Resource, path: str = "") -> str:
        """The path of a resource, every part of it quoted. Refused, if the id can't be one."""
        if not re.fullmatch(self.form, resource.id, re.ASCII):
            raise Refused("bad_id", f"{resource.id!r} can't be the id of a {self.noun}")
        parts = {key: quote(value, safe="") for key, value in {**resource.place, "id": resource.id}.items()}
        return (path or self.path).format_map(parts)

    def find(self, api: Api, resource: Resource) -> Any:
        """The resource as the provider shows it. Gone, if there is none, or another one has its id now."""
        path = self.at(resource)
        body = api.get(path)
        found = body.get(self.item) if self.item and isinstance(body, dict) else body
        if not isinstance(found, dict):
            raise Unreachable(f"GET {path}: the answer holds no {self.item or self.noun}")
        for key, value in self.keep(found).items():
            if resource.place.get(key, value) != value:
                raise Gone(f"GET {path}: {resource.id} is another one now, {key} {value}")
        return found

    def state(self, resource: Resource, settings: Settings) -> Look:
        """Read it, in the account of its place."""
        self.at(resource)
        api = self.service.open(resource.place, settings)
        try:
            found = self.find(api, resource)
        except Gone as gone:
            return Look("gone", proof=str(gone), unproven="account" not in resource.place)
        state, detail = self.status(found)
        if state == "gone":
            return Look("gone", proof=f"GET {self.at(resource)}: {detail}")
        return Look(state, detail=detail, place={"account": api.account, **self.keep(found)})

    def delete(self, resource: Resource, settings: Settings) -> None:
        """Ask it to go, if it is still there and still may go."""
        self.at(resource)
        api = self.service.open(resource.place, settings)
        try:
            found = self.find(api, resource)
            if self.status(found)[0] != "present":
                return
            self.allow(resource, found, settings)
            if self.ask is not None:
                self.ask(api, resource, found)
            else:
                self.request(api, resource)
        except Gone:
            return

    def request(self, api: Api, resource: Resource) -> Answer:
        """Ask for its deletion."""
        method, path = self.delete_by
        return api.call(method, self.at(resource, path))


def named(
    deployment: Deployment, place: dict[str, str], kinds: Mapping[str, RestKind], stages: Mapping[str, tuple[str, int]]
) -> list[Resource]:
    """What the record names: `stages` says for each key of `resource_ids` which kind it is, and when it goes.

    Refused, if the first key names nothing, or an id is malformed.
    """
    found = [
        Resource(kind, id_, place, stage=stage, named_by=key)
        for key, (kind, stage) in stages.items()
        for id_ in ids_named(deployment, key)
    ]
    first = next(iter(stages))
    if not any(resource.named_by == first for resource in found):
        raise Refused("missing_id", f"resource_ids.{first} is missing")
    for resource in found:
        kinds[resource.kind].at(resource)
    return found


def discovered(
    deployment: Deployment,
    settings: Settings,
    kinds: Mapping[str, RestKind],
    stages: Mapping[str, tuple[str, int]],
    hanging: Callable[[Api, Resource, Any], Iterable[Resource]],
) -> list[Resource]:
    """What the record names (`named`), and what hangs on its main resources that are still there.

    Main are those of the first key of `stages`; one that may not be deleted is refused. `hanging` takes a main resource and
    what the provider shows of it, and gives what is to go or be kept with it. What goes after them has their ids in its place, as
    `used_by`: what it is still attached to.
    """
    kind, stage = next(iter(stages.values()))
    main = kinds[kind]
    place = main.service.place_of(deployment, settings)
    known = {each.key: each.place for each in deployment.resources}
    found = {each.key: each for each in named(deployment, place, kinds, stages)}
    mains = [each for each in found.values() if each.kind == kind]
    api = main.service.open(place, settings)
    for each in mains:
        # With what is known of it already: another one that has its id now is not the deployment's.
        resource = replace(each, place=known.get(each.key, {}) | place)
        try:
            body = main.find(api, resource)
        except Gone:
            continue
        if main.status(body)[0] == "gone":
            continue
        main.allow(resource, body, settings)
        place = {**place, "account": api.account}
        found[each.key] = replace(resource, seen=True, place=resource.place | main.keep(body))
        for other in _while_there(main, api, found[each.key], hanging(api, found[each.key], body)):
            before = found.get(other.key)
            found[other.key] = replace(before, place=before.place | other.place) if before else other
    used_by = {"used_by": ",".join(each.id for each in mains)}
    placed = [
        replace(each, place=each.place | place | (used_by if each.stage > stage else {})) for each in found.values()
    ]
    return sorted(placed, key=lambda each: each.stage)


def _while_there(main: RestKind, api: Api, resource: Resource, hanging: Iterable[Resource]) -> Iterator[Resource]:
    """What hangs on a resource; as far as that is known, if it goes meanwhile."""
    try:
        yield from hanging
    except Gone as gone:
        with suppress(Gone):
            main.find(api, resource)
            raise Unreachable(f"{gone}, though {resource.id} is there") from None


def kept(resource: Resource, why: str) -> Resource:
    """One that was only found, and isn't the deployment's to delete."""
    return replace(resource, state="kept", detail=why)


def listed(body: Any, items: str, path: str) -> list[Any]:
    """The list that an answer must hold: an answer without it, some proxy's page for instance, proves nothing."""
    found = body.get(items) if isinstance(body, dict) else None
    if not isinstance(found, list):
        raise Unreachable(f"GET {urlsplit(path).path}: the answer holds no {items}")
    return found


def retry_after(answer: Answer) -> float:
    """Seconds that the provider asks to wait: `Retry-After` as a number or a date, or when a limit is lifted."""
    given = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,6}(\.\d+)?", given):
        return float(given)
    try:
        return max(0.0, (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        pass
    reset = answer.headers.get("RateLimit-Reset", "")
    if re.fullmatch(r"\d{9,11}", reset):
        return max(0.0, int(reset) - time.time())
    return THROTTLED_FOR if answer.status == HTTPStatus.TOO_MANY_REQUESTS else 0.0


class _Held:
    """Settings as a key that a cache doesn't compare: they don't change while a function lives."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and other.settings is self.settings

    def __hash__(self) -> int:
        return id(self.settings)


@lru_cache(maxsize=32)
def _opened(service: Service, named: str, wanted: str, held: _Held, _period: int) -> Api:
    """An API whose account is known; `_period` lets it lapse."""
    found = service.credential(named, held.settings)
    try:
        return Api(service, found, held.settings, wanted)
    except Gone as gone:
        raise Unreachable(f"{service.provider} doesn't say whose the credential is: {gone}") from None
    except (LookupError, TypeError, AttributeError):
        raise Unreachable(f"{service.provider} doesn't say whose the credential is") from None


def _checked(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme == "https":
        return base_url
    if parts.scheme == "http" and (is_loopback(parts.hostname) or parts.hostname == METADATA_SERVICE):
        return base_url
    raise Refused("credentials", f"{base_url}: https only, or this machine itself")


def _read(response: requests.Response) -> bytes:
    until = time.monotonic() + LIMIT
    raw = bytearray()
    for part in response.iter_content(65_536):
        raw += part
        if len(raw) > ANSWER_MAX or time.monotonic() > until:
            raise OSError("too long")
    return bytes(raw)


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
