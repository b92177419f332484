"""GcpGke: a cluster of Google's Kubernetes Engine in a region or a zone; its node pools go with it.

What would outlive the cluster is taken down in it first, while it answers: Google leaves its load balancers and disks behind. The cluster
carries the ownership mark as a label. Its deletion is an operation that may fail after it was accepted.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from msgspec.structs import replace

from tracker.cleanup import rest
from tracker.cleanup.contract import Busy, Facts, Kind, Look, Refused, Unreachable
from tracker.cleanup.gcp import session
from tracker.cleanup.kubernetes_objects import (
    AFTER_OBJECTS,
    OUTLIVING_PERMISSIONS,
    Access,
    Cluster,
    ClusterGone,
    NoAccess,
    inside,
    kinds,
)
from tracker.cleanup.rest import Api, Gone, RestKind
from tracker.deployment import Deployment, Resource, parse_time
from tracker.settings import Settings

CONTAINER = session.google_api("gcp-container", "https://container.googleapis.com")
_CLUSTERS = "/v1/projects/{account}/locations/{location}/clusters"


def _status(found: Any) -> tuple[Literal["present", "leaving"], str]:
    # STOPPING is said of no cluster that isn't being deleted.
    state = str(found["status"])
    return ("leaving" if state == "STOPPING" else "present"), state


def _keep(found: Any) -> dict[str, str]:
    return {"created": str(found["createTime"]), "unique_id": str(found["id"])}


def _is_ours(found: Any, settings: Settings) -> bool:
    return not settings.google_mark or session.is_marked(found.get("resourceLabels") or {}, settings)


def _must_be_ours(resource: Resource, found: Any, settings: Settings) -> None:
    if not _is_ours(found, settings):
        raise Refused("not_ours", f"cluster {resource.id} doesn't carry the label {settings.google_mark}")


@dataclass(frozen=True)
class ClusterKind(RestKind):
    """A cluster. That there is none counts once the project's clusters were listed, and one never seen is in no other location."""

    def find(self, api: Api, resource: Resource) -> Any:
        try:
            return super().find(api, resource)
        except Gone as gone:
            self._nowhere(api, resource, gone)

    def state(self, resource: Resource, settings: Settings) -> Look:
        look = super().state(resource, settings)
        if look.state != "present":
            return look
        return self._after(self.service.open(resource.place, settings), resource, look)

    def _nowhere(self, api: Api, resource: Resource, gone: Gone) -> NoReturn:
        everywhere = replace(resource, place=resource.place | {"location": "-"})
        path = self.at(everywhere, _CLUSTERS)
        try:
            body = api.get(path)
        except Gone as unseen:
            text = f"{unseen}: there is no project {api.account}, or the credential may not see it"
            raise Refused("credentials", text) from None
        if not isinstance(body, dict):
            raise Unreachable(f"GET {path}: the answer isn't a list")
        if "unique_id" in resource.place:
            raise gone
        if body.get("missingZones"):
            raise Unreachable(f"GET {path}: without {', '.join(body['missingZones'])}, where it may be")
        for found in body.get("clusters", []):
            if found["name"] == resource.id and _is_ours(found, api.settings):
                here, there = resource.place["location"], found["location"]
                text = (
                    f"cluster {resource.id} isn't in {here}, but there is one in {there}: correct the record's region"
                )
                raise Refused("bad_id", text)
        raise gone

    def _after(self, api: Api, resource: Resource, look: Look) -> Look:
        """What a look comes to at a cluster that isn't STOPPING, though its deletion may have begun."""
        path = self.at(resource, "/v1/projects/{account}/locations/{location}/operations")
        deletion = _latest(api.get(path).get("operations", []), resource.id, look.place["created"])
        if deletion is None:
            return look
        if deletion["status"] != "DONE":
            return replace(look, state="leaving", detail=f"{deletion['name']}: {deletion['status']}")
        error = deletion.get("error") or {}
        message = str(error.get("message") or deletion.get("statusMessage") or "")
        if not error and not message:
            return look
        return session.after(api, resource, look, deletion["name"], str(error.get("code", "")), message)


def _latest(operations: Iterable[Any], cluster: str, created: str) -> Any:
    """The latest deletion of a cluster of this name that was asked for since it was made."""
    # By zone or by location, and by the project's number: the end of its link is all that is the same.
    deletions = (
        each
        for each in operations
        if each["operationType"] == "DELETE_CLUSTER" and each["targetLink"].endswith(f"/clusters/{cluster}")
    )
    begun = [(parse_time(each["startTime"]), each) for each in deletions]
    since = [(at, each) for at, each in begun if at >= parse_time(created)]
    return max(since, key=lambda pair: pair[0])[1] if since else None


CLUSTER = ClusterKind(
    CONTAINER,
    noun="cluster",
    path=_CLUSTERS + "/{id}",
    form=r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?",
    status=_status,
    allow=_must_be_ours,
    keep=_keep,
)


def _reach(resource: Resource, settings: Settings) -> Cluster:
    """The cluster of a resource, or what is in it, with the same token as Google's own API."""
    api = CONTAINER.open(resource.place, settings)
    cluster = replace(resource, id=resource.place.get("cluster", resource.id))
    try:
        found = CLUSTER.find(api, cluster)
    except Gone as gone:
        raise ClusterGone(str(gone)) from None
    state, detail = _status(found)
    if state == "leaving":
        raise Busy(f"its cluster is {detail}")
    server, authority = _endpoint(found)
    if not server:
        raise NoAccess(f"it is {detail}, and has no endpoint")
    return Cluster(Access(f"https://{server}", ca=authority, token=api.auth.text))


def _endpoint(found: Any) -> tuple[str, str]:
    """Where a cluster's API server is, and its authority: by the name that is for outside, if it has one, which a public authority signed."""
    names = (found.get("controlPlaneEndpointsConfig") or {}).get("dnsEndpointConfig") or {}
    if names.get("allowExternalTraffic") and names.get("endpoint"):
        return str(names["endpoint"]), ""
    try:
        return str(found.get("endpoint") or ""), base64.b64decode(found["masterAuth"]["clusterCaCertificate"]).decode()
    except (LookupError, TypeError, binascii.Error, UnicodeError):
        return "", ""


_KINDS = {"gcp:cluster": CLUSTER}
KINDS: dict[str, Kind] = {**_KINDS, **kinds(_reach)}
_STAGES = {"cluster_name": ("gcp:cluster", AFTER_OBJECTS)}

FACTS = Facts(
    credentials=(
        "As GcpGce: a service account's key, or workload identity federation with AWS. The same token serves for the cluster's API server, where "
        "roles/container.developer or the cluster's own RBAC allows what is needed."
    ),
    permissions=(
        "container.clusters.{get,list,delete}, container.operations.list",
        *(f"in the cluster: {each}" for each in OUTLIVING_PERMISSIONS),
    ),
    order=(
        "in the cluster, while it answers: its services with a load balancer, ingresses, and what mounts claims",
        "its claims, with their volumes",
        "the cluster, with its node pools",
    ),
    gone=(
        "404 `NOT_FOUND` to a get in the record's region or zone, or a cluster of that name with another `id`; after the project's clusters "
        "were listed. One that was never seen is in no other location either."
    ),
    duration="5 to 20 minutes.",
    limits=(
        "Of a cluster that doesn't answer, forwarding rules and disks that its objects made may be left: the receipt says so. Network "
        "endpoint groups and firewall rules of a controller that was stopped before stay, too. GKE has no protection against deletion "
        "(Terraform's `deletion_protection` is its own)."
    ),
    sources=(
        "Google's discovery document container.v1 (paths, forms, states, operations); the wording of the 400 while another operation runs: "
        "Terraform's provider and reports of users; the name for outside (dnsEndpointConfig): the reference of GKE's clients."
    ),
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """The cluster, and what has to go in it before."""

    def hanging(_api: Api, cluster: Resource, found: Any) -> list[Resource]:
        is_up = _status(found)[0] == "present"
        return inside(deployment, cluster, lambda: _reach(cluster, settings)) if is_up else []

    return rest.discovered(deployment, settings, _KINDS, _STAGES, hanging)
