"""VastAiInstance: an instance at Vast.ai, with its volumes.

An instance that is only stopped is still paid for. A volume says which instances use it.
"""

from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import urlencode

from requests.auth import AuthBase

from tracker.cleanup.core.contract import Found, OperatorNotes, Progress, ResourceKind, Unreachable
from tracker.cleanup.core.discovery import judged
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.transport.credentials import Credential
from tracker.cleanup.transport.rest.client import WHILE_BUSY, BearerToken, Endpoint, ErrorRule, listed, with_id
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents, unless_denied
from tracker.cleanup.transport.rest.listing import Listing, find_listed, in_name
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

# Seconds. The documents' examples name 3 for a deletion, and no Retry-After.
THROTTLED_FOR = 5
_INSTANCES = "/api/v1/instances/"


def _authorize(_api: Api, credential: Credential) -> AuthBase:
    return BearerToken(credential.texts["token"])


def _identify_account(api: Api) -> str:
    return str(api.get("/api/v0/users/current/")["id"])


def _error_text(body: Any) -> str:
    """Return code and message. The documents have errors with both, with `msg` alone, and with `message` alone."""
    said = [str(body[key]) for key in ("error", "msg", "message") if body.get(key)]
    if not said:
        raise LookupError("none of Vast.ai's own keys")
    return ": ".join(said)


VAST_AI = Provider(
    name="vastai",
    endpoint=Endpoint(
        name="vastai",
        base_url="https://console.vast.ai",
        error_text=_error_text,
        error_rules=(
            # Of a volume that isn't there; of someone else's it says 401, though the key is good.
            ErrorRule(404, "no_such_instance|invalid id|no_such_volume", "gone"),
            ErrorRule(400, "no_such_instance", "gone"),
            ErrorRule(401, "not authorized to delete this", "not_ours"),
            ErrorRule(429, "", "throttled", THROTTLED_FOR),
            ErrorRule(400, "use that volume|in use", "busy"),
            *WHILE_BUSY,
        ),
    ),
    authorize=_authorize,
    identify_account=_identify_account,
    variables={"token": ("VAST_API_KEY",)},
)


class VastKind(RestKind):
    """One kind of resource at Vast.ai, which reports failures as 200, too, with `success` false."""

    provider: ClassVar = VAST_AI
    form = "[1-9][0-9]{0,18}"

    def progress(self, body: Any) -> tuple[Progress, str]:
        """Return the state that the instance or volume has. A stopped instance is present."""
        return "present", str(body.get("actual_status") or body.get("status") or "")

    def request_deletion(self, connection: Api, resource: Resource, body: Any) -> None:
        """Request the deletion by the path of the resource."""
        self._request(connection, self.path_of(resource), {})

    def _request(self, api: Api, path: str, json: dict[str, Any], **params: Any) -> None:
        response = api.call("DELETE", path, json=json, params=params)
        # The document doesn't require `success`: what became of it, the next look shows.
        if not isinstance(response.body, dict) or not response.body.get("success", True):
            raise Unreachable(f"DELETE {path}: 200, and not a success")


class Instance(VastKind):
    noun = "instance"
    path = "/api/v0/instances/{id}/"

    def every(self, connection: Api) -> Iterator[Any]:
        def next_page(body: Any) -> str | None:
            # Without the member nobody knows whether there are more.
            token = body["next_token"]
            return f"{_INSTANCES}?{urlencode({'after_token': token})}" if token else None

        return connection.pages(_INSTANCES, "instances", next_page)

    def read(self, connection: Api, resource: Resource) -> Any:
        path = self.path_of(resource)
        try:
            body = connection.get(path, owner="me")
        except self.doubted as failed:
            return self.listed(connection, resource, failed)
        if not isinstance(body, dict) or "instances" not in body:
            raise Unreachable(f"GET {path}: the answer holds no instances")
        if body["instances"] is None:
            raise Gone(f"GET {path}: 200, instances is null")
        return body["instances"]


class Volume(VastKind):
    noun = "volume"
    path = "/api/v0/volumes/"

    def every(self, connection: Api) -> list[Any]:
        """Return all volumes of the account."""
        try:
            return listed(connection.get(self.path, owner="me", type="all_volume"), "volumes", self.path)
        except Gone as gone:
            # That the list isn't found says nothing of a volume.
            raise Unreachable(str(gone)) from None

    def read(self, connection: Api, resource: Resource) -> Any:
        found = next(
            (each for each in with_id(self.every(connection), self.path) if str(each["id"]) == resource.id), None
        )
        if found is None:
            raise Gone(f"GET {self.path}: {resource.id} isn't listed")
        return found

    def request_deletion(self, connection: Api, resource: Resource, body: Any) -> None:
        # The path names no volume: without an id it would be that of them all.
        # The vendor's client sends it in the query, the document has it in the body.
        self._request(connection, self.path, {"id": int(resource.id)}, id=resource.id)


INSTANCE, VOLUME = Instance(), Volume()
_KINDS: dict[str, RestKind] = {"vastai:instance": INSTANCE, "vastai:volume": VOLUME}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
_STAGES = {"vastai:instance": 0, "vastai:volume": 1}
_ONLY_FOUND = (
    'only found, and not named by the record; if nothing else uses it, metadata.delete_dependents = "all" deletes it'
)
_LISTINGS = [
    Listing("vastai:instance", INSTANCE.every, in_name("label"), "start_date"),
    Listing("vastai:volume", VOLUME.every, in_name("label"), "start_date"),
]

NOTES = OperatorNotes(
    credentials="A key: secret key `token`; on one machine VAST_API_KEY.",
    permissions=("user_read", "instance_read", "instance_write"),
    order=("the instance", "the volumes that the record names, once no instance uses them"),
    gone="`instances` is null, or 404 `no_such_instance`; a volume: absent from the account's list. The key's user was asked for before.",
    duration="Seconds.",
    limits="The name that is the mark is the label of an instance or a volume. Volumes that only use shows are kept, unless delete_dependents says otherwise; one that other instances use, too. What GET answers for an instance that is gone is null by its description; 404 is taken, too.",
    sources="Vast.ai's API description (vast-ai/docs); the list of instances in pages, and the label of a volume: vast-ai/vast-cli 5567983 (2026-08-06); what /users/current/ answers: field reports.",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names, and the volumes that its instances use."""

    def dependents(api: Api, instance: Resource, _body: Any) -> Iterator[Resource]:
        volumes = (
            judged(
                deployment,
                Resource("vastai:volume", str(each["id"]), stage=1),
                is_liftable=users == {instance.id},
                why=_ONLY_FOUND,
            )
            for each in VOLUME.every(api)
            if each.get("id") and instance.id in (users := _users_of(each))
        )
        yield from unless_denied("vastai:volume", volumes)

    return discover_with_dependents(deployment, settings, _KINDS, _STAGES, dependents)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the instances and volumes whose label begins with the mark."""
    return find_listed(deployment, settings, generation, _KINDS, _LISTINGS)


def _users_of(volume: Any) -> set[str]:
    """Return the ids of the instances that use a volume: the description has objects without saying what is in them."""
    instances = volume.get("instances") or []
    return {str(each.get("id") if isinstance(each, dict) else each) for each in instances}
