"""TensorDockServer: an instance at TensorDock, by version 2 of its API.

A failure may come inside a 200, with `error`, or with a `status` that is a number. An instance that is stopped is still paid for.
"""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, ClassVar

from tracker.cleanup.core.contract import Found, OperatorNotes, Progress, ResourceKind, Unreachable
from tracker.cleanup.transport.rest.client import BearerToken, Endpoint, Response, listed
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents
from tracker.cleanup.transport.rest.listing import Listing, find_listed, in_name
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

_LIST = "/api/v2/instances"


def _error_text(body: Any) -> str:
    """Return the text of an error. The document has a list of errors; seen were `error` and `message`, too."""
    if isinstance(body.get("errors"), list):
        return "; ".join(f"{each.get('title', '')}: {each.get('detail', '')}" for each in body["errors"])
    return str(body.get("error") or body["message"])


def _checked(api: Api, method: str, path: str) -> Any:
    """Return the answer's data. Raises what a failure inside a 200 means, as if it had come with the status that it says."""
    body = api.call(method, path).body
    if not isinstance(body, dict):
        raise Unreachable(f"{method} {path}: the answer is no object")
    status = body.get("status")
    if isinstance(status, int) and status >= HTTPStatus.BAD_REQUEST:
        raise api.error(method, path, Response(status, body, {}))
    if body.get("error") or body.get("errors") or body.get("success") is False:
        raise Unreachable(f"{method} {path}: 200, and a failure inside it")
    # The document has an envelope; seen was the object without it, too.
    return body.get("data", body)


def _identify_account(api: Api) -> str:
    """Return no organization, since no documented call names one; but the token must be good."""
    if not isinstance(_checked(api, "GET", _LIST), dict):
        raise Unreachable(f"GET {_LIST}: the answer holds no instances")
    return ""


TENSORDOCK = Provider(
    name="tensordock",
    endpoint=Endpoint(name="tensordock", base_url="https://dashboard.tensordock.com", error_text=_error_text),
    authorize=lambda _api, credential: BearerToken(credential.texts["token"]),
    identify_account=_identify_account,
    variables={"token": ("TENSORDOCK_API_TOKEN",)},
)


class Server(RestKind):
    provider: ClassVar = TENSORDOCK
    noun, path = "instance", "/api/v2/instances/{id}"

    def every(self, connection: Api) -> list[Any]:
        found = listed(_checked(connection, "GET", _LIST), "instances", _LIST)
        return [{**each, **(each.get("attributes") or {})} for each in found]

    def read(self, connection: Api, resource: Resource) -> Any:
        path = self.path_of(resource)
        try:
            found = _checked(connection, "GET", path)
        except self.doubted as failed:
            return self.listed(connection, resource, failed)
        if not isinstance(found, dict) or str(found.get("id", "")).lower() != resource.id.lower():
            raise Unreachable(f"GET {path}: the answer isn't the instance")
        return {**found, **(found.get("attributes") or {})}

    def request_deletion(self, connection: Api, resource: Resource, body: Any) -> None:
        path = self.path_of(resource)
        said = _checked(connection, "DELETE", path)
        if isinstance(said, dict) and said.get("type") not in (None, "success"):
            raise Unreachable(f"DELETE {path}: 200, and {said['type']}")

    def progress(self, body: Any) -> tuple[Progress, str]:
        state = str(body.get("status", "")).lower()
        if state.startswith("stopped"):
            return "present", f"{state}, and its storage is still paid for"
        ways: dict[str, Progress] = {"deleting": "leaving", "deleted": "gone"}
        return ways.get(state, "present"), state


SERVER = Server()
_KINDS: dict[str, RestKind] = {"tensordock:server": SERVER}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
_STAGES = {"tensordock:server": 0}


_LISTINGS = [Listing("tensordock:server", SERVER.every, in_name())]

NOTES = OperatorNotes(
    credentials="An API token: secret key `token`; on one machine TENSORDOCK_API_TOKEN.",
    permissions=("an API token has no scopes",),
    order=("the instance, and its storage with it",),
    gone="404 to a GET, or inside a 200; or the status `deleted`.",
    duration="Minutes: the answer to a deletion may take longer than it is waited for.",
    limits=(
        "By a mark the instances of the token's organization are found, whichever that is. No documented call says whose a token is: only what was once seen present can be gone, and what nobody saw is refused as `unproven`; so "
        "neither `metadata.account` nor the parameter `Accounts` may name one, and a token mustn't be replaced by another organization's "
        "meanwhile. The older API of the marketplace isn't used."
    ),
    sources="apartmentlines/terraform-provider-tensordock 5b25f33 (2026-04-13); a third party's OpenAPI of version 2 (api-evangelist/tensordock 1601fa4).",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names."""
    return discover_with_dependents(deployment, settings, _KINDS, _STAGES)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the instances whose name begins with the mark."""
    return find_listed(deployment, settings, generation, _KINDS, _LISTINGS)
