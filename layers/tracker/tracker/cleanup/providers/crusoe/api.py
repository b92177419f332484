"""Crusoe's API: its projects, its errors, and how one resource in a project is read and deleted.

Crusoe documents no "not found": what a read doesn't show is looked up in the project's list, and a 403 alone is never taken for gone.
"""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

import msgspec

from tracker.cleanup.core.contract import Observation, Refused, Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.crusoe.signature import CrusoeSignature
from tracker.cleanup.transport.rest.client import Endpoint, ErrorRule, NotTold, listed, with_id
from tracker.cleanup.transport.rest.kind import RestKind
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.deployment import Resource

_PROJECTS = "/v1alpha5/organizations/projects"
PROJECT = "/v1alpha5/projects/{account}"


class Forbidden(Gone):
    """A read was denied, and the project's list doesn't have it: that proves something only of what was once seen."""


def _identify_account(api: Api) -> str:
    """Return the expected project, once Crusoe has listed it among the key's."""
    projects = listed(api.get(_PROJECTS, skip_loading_project_resources="true"), "items", _PROJECTS)
    if api.expected_account not in [str(each["id"]) for each in projects]:
        raise Refused("credentials", f"the key isn't for Crusoe project {api.expected_account}")
    return api.expected_account


CRUSOE = Provider(
    name="crusoe",
    endpoint=Endpoint(
        name="crusoe",
        base_url="https://api.cloud.crusoe.ai",
        error_text=lambda body: f"{body['code']}: {body['message']}",
        error_rules=(ErrorRule(500, "not.?found|no such|doesn't exist|does not exist", "gone"),),
    ),
    authorize=lambda _api, credential: CrusoeSignature(credential.texts["key_id"], credential.texts["secret"]),
    identify_account=_identify_account,
    variables={"key_id": ("CRUSOE_ACCESS_KEY_ID",), "secret": ("CRUSOE_SECRET_KEY",)},
    needed=("key_id", "secret"),
    account_key="project_id",
)


class CrusoeKind(RestKind):
    """One kind of resource in a project. `ids` is the parameter of its list that takes ids."""

    provider: ClassVar = CRUSOE
    ids: ClassVar[str]

    def read(self, connection: Api, resource: Resource) -> Any:
        """Return the resource by its own path, else from the project's list. Raises Gone if neither has it."""
        path = self.path_of(resource)
        response = connection.send("GET", path)
        if response.status < HTTPStatus.BAD_REQUEST:
            if not isinstance(response.body, dict) or response.body.get("id") != resource.id:
                raise Unreachable(f"GET {path}: the answer isn't that {self.noun}")
            return response.body
        error = connection.error("GET", path, response)
        if not isinstance(error, Gone | NotTold) and response.status != HTTPStatus.FORBIDDEN:
            raise error
        items = with_id(self.every(connection, resource.id), f"the list of each {self.noun}")
        found = next((each for each in items if each["id"] == resource.id), None)
        if found is None:
            text = f"GET {path}: {response.status}, and not in the list of project {connection.account}"
            raise Forbidden(text) if response.status == HTTPStatus.FORBIDDEN else Gone(text)
        return found

    def observe_absence(self, connection: Api, resource: Resource, gone: Gone) -> Observation:
        """Say what the absence means: one behind a 403 is proof only of what was seen before."""
        observation = super().observe_absence(connection, resource, gone)
        return msgspec.structs.replace(observation, unproven=observation.unproven or isinstance(gone, Forbidden))

    def request_deletion(self, connection: Api, resource: Resource, body: Any) -> None:
        """Request the deletion, and read its operation once. Raises Unreachable if that failed."""
        path = self.path_of(resource)
        operation = connection.call("DELETE", path).body["operation"]
        if operation["state"] == "IN_PROGRESS":
            asked = self.path_of(msgspec.structs.replace(resource, id=str(operation["operation_id"])), self._operation)
            response = connection.send("GET", asked)
            # An operation that has expired is answered with 403: the resource itself is read again anyway.
            operation = response.body if response.status == HTTPStatus.OK else operation
        if operation["state"] == "FAILED":
            raise Unreachable(f"DELETE {path}: the operation failed: {str(operation.get('result'))[:200]}")

    @property
    def _operation(self) -> str:
        return self.path.replace("{id}", "operations/{id}")

    def every(self, api: Api, id_: str = "") -> Iterator[Any]:
        """Yield all resources of this kind in the project, or the one of an id, and whatever else a server lists that doesn't know the filter."""
        path = self.path.removesuffix("/{id}").format(account=quote(api.account, safe=""))
        query = {self.ids: id_} if id_ else {}
        if self.ids == "ids":
            # Without an order pages may repeat or miss what is there (Crusoe's support article 37166958525467).
            query["sort"] = "created_at"

        def following(page: Any) -> str | None:
            token = page.get("next_page_token")
            return f"{path}?{urlencode({**query, 'next_token': token})}" if token else None

        yield from api.pages(path, "items", following, **query)

    def identity(self, body: Any) -> dict[str, str]:
        """Return when it was made."""
        return {"created": str(body["created_at"])}
