"""RunPodInstance: a pod at RunPod, with its network volumes.

A pod that is only stopped (EXITED) is still paid for. A network volume outlives its pod, and may be used by other pods and by
serverless endpoints: those are asked for before it goes.
"""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from tracker.cleanup.core.contract import Found, OperatorNotes, Progress, ResourceKind
from tracker.cleanup.core.discovery import judged
from tracker.cleanup.transport.rest.client import BearerToken, Endpoint, ErrorRule
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents
from tracker.cleanup.transport.rest.listing import Listing, find_listed, in_name
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings


def _identify_account(api: Api) -> str:
    """Return the id of the user. Version 2 of the API has no call for it; GraphQL, which the vendor's own client uses, has."""
    answer = api.call("POST", "/graphql", json={"query": "query myself { myself { id } }"})
    return str(answer.body["data"]["myself"]["id"])


RUNPOD = Provider(
    name="runpod",
    endpoint=Endpoint(
        name="runpod",
        base_url="https://api.runpod.io",
        error_text=lambda body: f"{body['title']}: {body['detail']}",
        error_rules=(ErrorRule(409, "cluster", "protected"),),
    ),
    authorize=lambda _api, credential: BearerToken(credential.texts["token"]),
    identify_account=_identify_account,
    variables={"token": ("RUNPOD_API_KEY",)},
)


class Pod(RestKind):
    provider: ClassVar = RUNPOD
    noun, path = "pod", "/v2/pods/{id}"

    def every(self, connection: Api) -> Iterable[Any]:
        return connection.pages("/v2/pods", "pods", includeClusterPods="true")

    def progress(self, body: Any) -> tuple[Progress, str]:
        state = str(body["status"])
        if state == "EXITED":
            return "present", "EXITED: stopped, and its disk is still paid for"
        return ("gone" if state == "TERMINATED" else "present"), state

    def protection(self, connection: Api, resource: Resource, body: Any) -> str:
        cluster = (body.get("cluster") or {}).get("id")
        return f"pod {resource.id} belongs to the cluster {cluster}: it goes only with that" if cluster else ""


class NetworkVolume(RestKind):
    provider: ClassVar = RUNPOD
    noun, path = "network volume", "/v2/network-volumes/{id}"

    def every(self, connection: Api) -> Iterable[Any]:
        return connection.pages("/v2/network-volumes", "networkVolumes")

    def read(self, connection: Api, resource: Resource) -> Any:
        """Return the volume, with the pods and endpoints that use it: only they tell."""
        body = super().read(connection, resource)
        users = [pod["id"] for pod in POD.every(connection) if resource.id in volumes_of(pod)]
        for endpoint in connection.pages("/v2/serverless", "endpoints"):
            users += [endpoint["id"]] if resource.id in (endpoint.get("networkVolumes") or []) else []
        return body | {"users": users}

    def users(self, body: Any) -> Iterable[str]:
        return map(str, body["users"])


def volumes_of(pod: Any) -> list[str]:
    """Return the ids of the network volumes that a pod has mounted."""
    return [str(each["volumeId"]) for each in (pod.get("mounts") or {}).get("network") or []]


POD, VOLUME = Pod(), NetworkVolume()
_KINDS: dict[str, RestKind] = {"runpod:pod": POD, "runpod:network_volume": VOLUME}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
_STAGES = {"runpod:pod": 0, "runpod:network_volume": 1}
_LISTINGS = [
    Listing("runpod:pod", POD.every, in_name(), "createdAt"),
    Listing("runpod:network_volume", VOLUME.every, in_name()),
]

NOTES = OperatorNotes(
    credentials="An API key: secret key `token`; on one machine RUNPOD_API_KEY.",
    permissions=(
        "REST API: read and write, of pods, network volumes and serverless",
        "GraphQL: read, which says whose the key is",
    ),
    order=("the pod", "its network volumes, once no pod and no serverless endpoint uses them"),
    gone="404 to a GET, or the status `TERMINATED`, with a key whose user was asked for before.",
    duration="Seconds.",
    limits="A pod of a cluster is refused as `protected`: it goes only with its cluster, which the record can't name. Templates and registries stay.",
    sources="RunPod's API 2.0.0 (runpod/docs a900806, 2026-08-20), which dstack 0.22.5 uses too; whose a key is: runpod 1.12.0.",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names, and the network volumes that its pod has mounted."""

    def dependents(_api: Api, _pod: Resource, body: Any) -> Iterator[Resource]:
        return (judged(deployment, Resource("runpod:network_volume", id_, stage=1)) for id_ in volumes_of(body))

    return discover_with_dependents(deployment, settings, _KINDS, _STAGES, dependents)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the pods, those of clusters too, and the network volumes whose name begins with the mark."""
    return find_listed(deployment, settings, generation, _KINDS, _LISTINGS)
