"""Compute Engine through its official client: calls with limits of time, what their errors mean, and its operations.

Used by the files of the types that are made of its resources. Only the client's REST transport is used. Its own waiting isn't:
it would poll, and not where the client was led.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NoReturn

import google.auth.credentials
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import compute_v1
from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]
from msgspec.structs import replace
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from tracker.cleanup.core.contract import Observation, Refused, Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.gcp import session
from tracker.cleanup.transport.bounds import Page, paged
from tracker.cleanup.transport.rest import client as rest
from tracker.cleanup.transport.rest.client import Response
from tracker.cleanup.transport.rest.provider import Api
from tracker.model.deployment import Resource

COMPUTE = session.google_api("gcp-compute", "https://compute.googleapis.com")
DONE = compute_v1.Operation.Status.DONE
# Who tells of the operations in a scope, which is called as in an aggregated list: "zones/europe-west1-b", "regions/europe-west1", "global".
_OPERATIONS = {
    "zones": compute_v1.ZoneOperationsClient,
    "regions": compute_v1.RegionOperationsClient,
    "global": compute_v1.GlobalOperationsClient,
}


def where(scope: str) -> dict[str, str]:
    """Return a scope as the client wants it: {"zone": ...}, {"region": ...}, or nothing."""
    kind, _, name = scope.partition("/")
    return {kind.removesuffix("s"): name} if name else {}


def call(api: Api, client: Any, method: str, **request: Any) -> Any:
    """Return what one call of the official client answers. Raises Gone, or one of the contract's exceptions."""
    with _translated(api, method):
        return getattr(_client(api, client), method)(request, retry=None, timeout=rest.READ_TIMEOUT)


def listed(api: Api, client: Any, method: str, request: Mapping[str, Any]) -> Iterable[Any]:
    """Yield all items of a list, page by page as they are needed. The client's own pager would follow pages in a circle for ever."""
    name = f"{method} {client.__name__}"

    def page(token: str) -> Page[str]:
        try:
            asked = {**request, "page_token": token} if token else request
            answer = next(call(api, client, method, **asked).pages)
        except Gone as gone:
            # A list may be empty; that the list itself isn't found says nothing of its items.
            raise Unreachable(str(gone)) from None
        if not answer.kind:
            # Any JSON would do for an empty list.
            raise Unreachable(f"{name}: the answer isn't a list")
        items = answer.items.items() if method == "aggregated_list" else answer.items
        return Page(items, answer.next_page_token or None, 0)

    return paged(name, "", page)


def deletion(api: Api, scope: str, target: int) -> Any:
    """Return the latest operation that deletes this very resource, None if there is none."""
    asked = {
        "project": api.account,
        **where(scope),
        "filter": f"targetId = {target}",
        "order_by": "creationTimestamp desc",
    }
    operations = listed(api, _OPERATIONS[scope.partition("/")[0]], "list", asked)
    return next((each for each in operations if each.target_id == target and each.operation_type == "delete"), None)


def after(api: Api, resource: Resource, look: Observation, operation: Any) -> Observation:
    """Return what it means that a resource is there, though its deletion may have begun: on its way, or there again as that failed."""
    if operation is None:
        return look
    if operation.status != DONE:
        return replace(look, state="leaving", detail=f"{operation.name}: {operation.progress} %")
    if not operation.error.errors and not operation.http_error_status_code:
        return look
    error = next(iter(operation.error.errors), compute_v1.Errors(message=operation.http_error_message))
    return session.after(api, resource, look, operation.name, error.code, error.message)


class _Signed(google.auth.credentials.Credentials):
    """The session's token, for the client."""

    def __init__(self, token: session.Token) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._token = token

    def before_request(self, request: Any, method: Any, url: Any, headers: dict[str, str]) -> None:
        headers["authorization"] = f"Bearer {self._token.text}"

    def refresh(self, request: Any) -> NoReturn:
        """Called when Google took no token: another one would be of the same credential."""
        raise Refused("credentials", "401: Google doesn't take the credential's token")


@lru_cache(maxsize=32)
def _client(api: Api, client: Any) -> Any:
    made = client(
        credentials=_Signed(api.authorization), client_options={"api_endpoint": api.base_url}, transport="rest"
    )
    carrier = made.transport._session  # noqa: SLF001
    # No proxy, no ~/.netrc, no redirection: the token goes to Google alone.
    carrier.trust_env = False
    carrier.max_redirects = 0
    return made


@contextmanager
def _translated(api: Api, method: str) -> Iterator[None]:
    """Raise what an error means, as for every provider."""
    try:
        yield
    except GoogleAPICallError as error:
        answer = error.response
        if answer is None:
            raise Unreachable(f"{method}: {type(error).__name__}") from None
        try:
            body = answer.json()
        except ValueError:
            body = None
        asked = answer.request
        raise api.error(asked.method, asked.url, Response(answer.status_code, body, answer.headers)) from None
    except (RequestException, HTTPError, OSError) as error:
        raise Unreachable(f"{method}: {type(error).__name__}") from None
    except ParseError:
        # Its text quotes the answer.
        raise Unreachable(f"{method}: the answer can't be read") from None
