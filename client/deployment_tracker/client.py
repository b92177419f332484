"""The client: one method for each call of the API (docs/api.md).

    from deployment_tracker import Client

    client = Client.connect("deployment-tracker", region="eu-central-1")
    for each in client.deployments(overdue=True):
        print(each.blueprint_id, each.expires_at)

Errors are TrackerError and its kinds. What is safe to repeat is repeated.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Self

import msgspec

from deployment_tracker.errors import OutOfTime, ServerFault
from deployment_tracker.keys import path_of
from deployment_tracker.models import (
    OVER,
    Answer,
    Delivery,
    Deployment,
    Extended,
    Page,
    Plan,
    Registered,
    Stray,
    Summary,
    read,
)
from deployment_tracker.places import LOCAL_ANSWERED_WITHIN, Aws, Place, find_place
from deployment_tracker.times import length, rfc3339
from deployment_tracker.transport import ANSWERED_WITHIN, Transport

_CREATED = 201
# Seconds between two looks at a deployment that is waited for.
_LOOK_FIRST, _LOOK_MOST = 1.0, 10.0
_PAGE = 200


class Client:
    """Calls to one stack. `place` says which, and `aws` is the session that signs them."""

    def __init__(self, transport: Transport, place: Place, aws: Aws) -> None:
        self.transport = transport
        self.place = place
        self.aws = aws

    @classmethod
    def connect(
        cls, stack: str | None = None, region: str | None = None, profile: str | None = None, url: str | None = None
    ) -> Self:
        """Find the stack and the credentials. Without a stack or a URL: TRACKER_STACK, or the stack of `make up`."""
        place, aws = find_place(stack, region, profile, url)
        within = LOCAL_ANSWERED_WITHIN if place.is_local else ANSWERED_WITHIN
        transport = Transport(place.url, place.region, aws.credentials, answered_within=within)
        return cls(transport, place, aws)

    def register(self, registration: Mapping[str, Any]) -> Registered:
        """Register a deployment. Conflict if its key is taken; the very same registration may be made again."""
        status, found = self._ask("POST", "/deployments", dict(registration))
        return Registered(self._read(Deployment, found), is_new=status == _CREATED)

    def page(self, *, limit: int = _PAGE, cursor: str | None = None, **filters: Any) -> Page[Summary]:
        """Return one page of the list. The filters are those of `GET /deployments`; one that is None isn't sent."""
        query = {name: _worded(value) for name, value in filters.items() if value is not None}
        return self._page(Summary, "/deployments", "deployments", query | {"limit": str(limit)}, cursor)

    def deployments(self, **filters: Any) -> Iterator[Summary]:
        """Yield all deployments that pass the filters, page by page."""
        yield from _all(lambda cursor: self.page(cursor=cursor, **filters))

    def get(self, key: str) -> Deployment:
        """Return a record. NotFound if there is none."""
        return self._one(Deployment, "GET", path_of(key))

    def plan(self, key: str) -> Plan:
        """Return what a cleanup would delete and what it would keep. Nothing is deleted."""
        return self._one(Plan, "GET", path_of(key, "plan"))

    def amend(self, key: str, changes: Mapping[str, Any]) -> Deployment:
        """Change a record by a JSON merge patch. Conflict if it isn't live and more than ids is added."""
        return self._one(Deployment, "PATCH", path_of(key), dict(changes))

    def extend(self, key: str, *, by: int | None = None, until: datetime | None = None) -> Extended:
        """Give a deployment more time: so many seconds more, or until a time. `extended` has the old end and the new one."""
        if until is not None:
            return self._one(Extended, "POST", path_of(key, "extend"), {"until": rfc3339(until)})
        # To repeat it might extend twice.
        return self._one(Extended, "POST", path_of(key, "extend"), {"by": by}, may_repeat=False)

    def end(self, key: str, *, reason: str = "", over_hold: str = "", plan: str | None = None) -> Deployment:
        """Begin the cleanup; it may be over already. With `plan`, a plan's digest: only if the plan is still that one.

        `brake` is set if the brake holds it up.
        """
        body = {name: text for name, text in (("reason", reason), ("over_hold", over_hold)) if text}
        query = None if plan is None else {"plan": plan}
        return self._one(Deployment, "DELETE", path_of(key), body or None, query)

    def hold(self, key: str, *, reason: str, until: datetime) -> Deployment:
        """Keep a deployment from ending until a time."""
        return self._one(Deployment, "POST", path_of(key, "hold"), {"reason": reason, "until": rfc3339(until)})

    def unhold(self, key: str) -> Deployment:
        """End the hold of a deployment."""
        return self._one(Deployment, "DELETE", path_of(key, "hold"))

    def forget(self, key: str, *, reason: str, over_hold: str = "") -> Deployment:
        """End a record without a cleanup, for what someone removed by hand. `over_hold` says why that overrides a hold."""
        body = {"reason": reason} | ({"over_hold": over_hold} if over_hold else {})
        return self._one(Deployment, "POST", path_of(key, "forget"), body, may_repeat=False)

    def deliveries(self, key: str) -> Iterator[Delivery]:
        """Yield what the deployment's webhook was sent."""
        query = {"limit": str(_PAGE)}
        yield from _all(lambda cursor: self._page(Delivery, path_of(key, "deliveries"), "deliveries", query, cursor))

    def redeliver(self, key: str, webhook_id: str) -> dict[str, Any]:
        """Send a delivery again, whatever became of it before. The answer has the number of the series that begins."""
        return self._ask("POST", path_of(key, "deliveries", webhook_id, "redeliver"), may_repeat=False)[1]

    def announce(self, key: str, *, from_sequence: int = 1) -> list[str]:
        """Announce the events of a deployment again, under the same ids, which are returned."""
        _, found = self._ask("POST", path_of(key, "announce"), {"from_sequence": from_sequence})
        return list(found["announced"])

    def strays(self) -> Iterator[Stray]:
        """Yield what carries the mark and no record claims."""
        yield from _all(lambda cursor: self._page(Stray, "/strays", "strays", {"limit": str(_PAGE)}, cursor))

    def adopt(self, key: str, *, reason: str, ttl_seconds: int | None = None) -> Deployment:
        """Register a stray, so that it goes the ordinary way."""
        body = {"reason": reason} | ({} if ttl_seconds is None else {"ttl_seconds": ttl_seconds})
        path = path_of(key, "adopt", collection="strays")
        return self._one(Deployment, "POST", path, body, may_repeat=False)

    def exempt(self, key: str, *, reason: str, until: datetime) -> Stray:
        """Leave a stray alone until a time."""
        path = path_of(key, "exempt", collection="strays")
        return self._one(Stray, "POST", path, {"reason": reason, "until": rfc3339(until)})

    def wait(
        self,
        key: str,
        *,
        seconds: float | None = None,
        seen: Callable[[Deployment], object] = lambda _: None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> Deployment:
        """Return the record once its cleanup is over or quarantined. OutOfTime if that takes longer.

        Each look at it is handed to `seen`.
        """
        until = None if seconds is None else time.monotonic() + seconds
        pause = _LOOK_FIRST
        while True:
            found = self.get(key)
            seen(found)
            if found.status == OVER or found.quarantined:
                return found
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                is_ending = not found.is_live or found.last_error
                hint = "Its cleanup goes on" if is_ending else f"Nobody has ended it: `tracker end {key}` does"
                raise OutOfTime(
                    f"{key!r} is {found.status} after {length(seconds or 0)}.",
                    f"{hint}; `tracker wait {key}` waits longer.",
                )
            sleep(pause if left is None else min(pause, left))
            pause = min(_LOOK_MOST, pause * 1.5)

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        *,
        may_repeat: bool = True,
    ) -> tuple[int, dict[str, Any]]:
        status, found = self.transport.call(method, path, body, query, may_repeat=may_repeat)
        if not isinstance(found, dict):
            raise self._strange(status)
        return status, found

    def _one[T: Answer](
        self,
        type_: type[T],
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        *,
        may_repeat: bool = True,
    ) -> T:
        return self._read(type_, self._ask(method, path, body, query, may_repeat=may_repeat)[1])

    def _page[T: Answer](
        self, type_: type[T], path: str, name: str, query: dict[str, str], cursor: str | None
    ) -> Page[T]:
        status, found = self._ask("GET", path, query=query | ({"cursor": cursor} if cursor else {}))
        items = found.get(name)
        if not isinstance(items, list):
            raise self._strange(status)
        return Page([self._read(type_, each) for each in items], found.get("cursor"))

    def _read[T: Answer](self, type_: type[T], body: Any) -> T:
        with suppress(msgspec.ValidationError, TypeError):
            return read(type_, body)
        raise self._strange(200)

    def _strange(self, status: int) -> ServerFault:
        hint = "This client may be too old for the stack: update it."
        return ServerFault(status, "", f"{self.place.url} answered what this client can't read.", hint)


def _all[T](page: Callable[[str | None], Page[T]]) -> Iterator[T]:
    cursor = None
    while True:
        found = page(cursor)
        yield from found.items
        cursor = found.cursor
        if cursor is None:
            return


def _worded(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
