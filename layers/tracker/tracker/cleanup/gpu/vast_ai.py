"""VastAiInstance: an instance at Vast.ai, with its volumes.

An instance that is only stopped is still paid for. No volume is looked for: its answers don't say which instance one was made with.
"""

from typing import Any, Literal

from requests.auth import AuthBase

from tracker.cleanup import rest
from tracker.cleanup.contract import Facts, Kind, Unreachable
from tracker.cleanup.credentials import Credential
from tracker.cleanup.rest import Answer, Api, BearerToken, Gone, Meant, RestKind, Service
from tracker.deployment import Deployment, Resource
from tracker.settings import Settings

# The documents' examples name 3 seconds for a deletion, and no Retry-After.
THROTTLED_FOR = 5


def _authorize(_api: Api, credential: Credential) -> AuthBase:
    return BearerToken(credential.texts["token"])


def _whose(api: Api) -> str:
    return str(api.get("/api/v0/users/current/")["id"])


def _said(body: Any) -> str:
    return f"{body['error']}: {body['msg']}"


VAST_AI = Service(
    provider="vastai",
    base_url="https://console.vast.ai",
    variables={"token": ("VAST_API_KEY",)},
    authorize=_authorize,
    whose=_whose,
    said=_said,
    meanings=(
        # A volume that isn't there; of one of someone else's it says 401, though the key is good.
        Meant(404, "no_such_instance|invalid id|no_such_volume", "gone"),
        Meant(401, "not authorized to delete this", "not_ours"),
        Meant(429, "", "throttled", THROTTLED_FOR),
    ),
)


class _Vast(RestKind):
    """Failure comes as 200 too, with `success` false."""

    def request(self, api: Api, resource: Resource) -> Answer:
        method, path = self.delete_by
        # The path of a deletion without an id would be that of them all.
        at, json = (path, {"id": int(resource.id)}) if path else (self.at(resource), {})
        answer = api.call(method, at, json=json)
        if not (isinstance(answer.body, dict) and answer.body.get("success") is True):
            raise Unreachable(f"{method} {at}: 200, and not a success")
        return answer


class _Instance(_Vast):
    def find(self, api: Api, resource: Resource) -> Any:
        path = self.at(resource)
        body = api.get(path, owner="me")
        if not isinstance(body, dict) or "instances" not in body:
            raise Unreachable(f"GET {path}: the answer holds no instances")
        if body["instances"] is None:
            raise Gone(f"GET {path}: 200, instances is null")
        return body["instances"]


class _Volume(_Vast):
    def find(self, api: Api, resource: Resource) -> Any:
        self.at(resource)
        path = "/api/v0/volumes/"
        volumes = rest.listed(api.get(path, owner="me"), "volumes", path)
        found = next((each for each in volumes if str(each["id"]) == resource.id), None)
        if found is None:
            raise Gone(f"GET {path}: {resource.id} isn't listed")
        return found


def _status(found: Any) -> tuple[Literal["present"], str]:
    return "present", str(found.get("actual_status") or found.get("status") or "")


_KINDS: dict[str, RestKind] = {
    "vastai:instance": _Instance(
        VAST_AI, noun="instance", path="/api/v0/instances/{id}/", form="[1-9][0-9]{0,18}", status=_status
    ),
    "vastai:volume": _Volume(
        VAST_AI,
        noun="volume",
        path="/api/v0/volumes/{id}/",
        form="[1-9][0-9]{0,18}",
        status=_status,
        delete_by=("DELETE", "/api/v0/volumes/"),
    ),
}
KINDS: dict[str, Kind] = dict(_KINDS)
_STAGES = {"instance_id": ("vastai:instance", 0), "volume": ("vastai:volume", 1)}

FACTS = Facts(
    credentials="A key: secret key `token`; on one machine VAST_API_KEY.",
    permissions=("user_read", "instance_read", "instance_write"),
    order=("the instance", "the volumes that the record names, once no instance uses them"),
    gone="`instances` is null, or 404 `no_such_instance`; a volume: absent from the account's list. The key's user was asked for before.",
    duration="Seconds.",
    limits="Only named volumes go. What GET answers for an instance that is gone is null by its description; 404 is taken, too.",
    sources="Vast.ai's API description (vast-ai/docs); what /users/current/ answers: field reports.",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """What the record names."""
    return rest.discovered(deployment, settings, _KINDS, _STAGES, lambda *_: ())
