"""LambdaLabsInstance: an instance at Lambda, with its file systems.

A deletion is a request for several instances, whose answer may list fewer than were asked for. An instance names its file systems;
they outlive it, and are paid for.
"""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from tracker.cleanup.core.contract import Busy, Found, OperatorNotes, Progress, ResourceKind, Unreachable
from tracker.cleanup.core.discovery import judged
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.transport.rest.client import BearerToken, Endpoint, ErrorRule, listed, with_id
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents
from tracker.cleanup.transport.rest.listing import Listing, find_listed, in_name
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings


def _identify_account(api: Api) -> str:
    """Return no account, since no call names one; but the key must be good."""
    listed(api.get("/api/v1/ssh-keys"), "data", "/api/v1/ssh-keys")
    return ""


LAMBDA = Provider(
    name="lambdalabs",
    endpoint=Endpoint(
        name="lambdalabs",
        base_url="https://cloud.lambda.ai",
        error_text=lambda body: f"{body['error']['code']}: {body['error']['message']}",
        error_rules=(
            ErrorRule(None, "^global/object-does-not-exist:", "gone"),
            # Of a path, not of a resource.
            ErrorRule(404, "", "unreachable"),
            ErrorRule(None, "^global/conflict:|in-use", "busy"),
        ),
    ),
    authorize=lambda _api, credential: BearerToken(credential.texts["token"]),
    identify_account=_identify_account,
    variables={"token": ("LAMBDA_API_KEY", "LAMBDA_LABS_API_KEY")},
)


class Instance(RestKind):
    provider: ClassVar = LAMBDA
    noun, path, envelope = "instance", "/api/v1/instances/{id}", "data"

    def every(self, connection: Api) -> Iterable[Any]:
        return connection.pages("/api/v1/instances", "data")

    def progress(self, body: Any) -> tuple[Progress, str]:
        state = str(body.get("status", ""))
        ways: dict[str, Progress] = {"terminating": "leaving", "terminated": "gone"}
        return ways.get(state, "present"), state

    def request_deletion(self, connection: Api, resource: Resource, body: Any) -> None:
        path = "/api/v1/instance-operations/terminate"
        answer = connection.call("POST", path, json={"instance_ids": [resource.id]}).body
        ended = listed(answer.get("data") if isinstance(answer, dict) else None, "terminated_instances", path)
        if not any(isinstance(each, dict) and each.get("id") == resource.id for each in ended):
            raise Unreachable(f"POST {path}: 200, and {resource.id} isn't among what it ends")


class FileSystem(RestKind):
    """A file system, which is only shown by the list of all. That comes in one piece."""

    provider: ClassVar = LAMBDA
    noun, path = "file system", "/api/v1/file-systems"
    deletion = ("DELETE", "/api/v1/filesystems/{id}")

    def read(self, connection: Api, resource: Resource) -> Any:
        for each in with_id(connection.pages(self.path, "data"), self.path):
            if each["id"] == resource.id:
                return each
        raise Gone(f"GET {self.path}: {resource.id} isn't listed")

    def request_deletion(self, connection: Api, resource: Resource, body: Any) -> None:
        if body.get("is_in_use"):
            raise Busy("an instance uses it")
        super().request_deletion(connection, resource, body)


INSTANCE = Instance()
_KINDS: dict[str, RestKind] = {"lambdalabs:instance": INSTANCE, "lambdalabs:file_system": FileSystem()}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
_STAGES = {"lambdalabs:instance": 0, "lambdalabs:file_system": 1}
_LISTINGS = [
    Listing("lambdalabs:instance", INSTANCE.every, in_name()),
    Listing("lambdalabs:file_system", lambda api: api.pages(FileSystem.path, "data"), in_name(), "created"),
]

NOTES = OperatorNotes(
    credentials="An API key: secret key `token`; on one machine LAMBDA_API_KEY or LAMBDA_LABS_API_KEY.",
    permissions=("an API key has no scopes",),
    order=("the instance", "its file systems, once no instance uses them"),
    gone="404 `global/object-does-not-exist`, or the status `terminated`; a file system: absent from the list of all.",
    duration="One to three minutes.",
    limits=(
        "No call says whose a key is: only what was once seen present can be gone, and what nobody saw is refused as `unproven`; so neither "
        "`metadata.account` nor the parameter `Accounts` may name one, and a key mustn't be replaced by another account's meanwhile. "
        "By a mark the instances and file systems of the key's account are found, whichever that is. Where keys of `cloud.lambda.ai` don't work, BaseUrls leads to `https://cloud.lambdalabs.com`. SSH keys stay."
    ),
    sources="Lambda's API 1.5.3 (lambda_cloud_api_client 0.1.145; dstack 0.22.5); deletion of file systems: later clients of its API, 2026.",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names, and the file systems that its instance names."""

    def dependents(api: Api, _instance: Resource, body: Any) -> Iterator[Resource]:
        names, region = body.get("file_system_names") or [], (body.get("region") or {}).get("name")
        for each in api.pages(FileSystem.path, "data") if names else []:
            # A name is one only within its region.
            if each.get("name") in names and region in (None, (each.get("region") or {}).get("name", region)):
                yield judged(deployment, Resource("lambdalabs:file_system", str(each["id"]), stage=1))

    return discover_with_dependents(deployment, settings, _KINDS, _STAGES, dependents)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the instances and file systems whose name begins with the mark."""
    return find_listed(deployment, settings, generation, _KINDS, _LISTINGS)
