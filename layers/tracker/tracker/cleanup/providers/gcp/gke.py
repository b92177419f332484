"""GcpGke: a cluster of Google's Kubernetes Engine in a region or a zone; its node pools go with it.

What would outlive the cluster is taken down in it first, while it answers: Google leaves its load balancers and disks behind. The cluster
carries the ownership mark as a label. Its deletion is an operation that may fail after it was accepted.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar
from urllib.parse import quote

from msgspec.structs import replace

from tracker.cleanup.core.contract import (
    Busy,
    Found,
    Observation,
    OperatorNotes,
    Progress,
    Refused,
    ResourceKind,
    Unreachable,
)
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.gcp import session
from tracker.cleanup.transport.kubernetes.objects import (
    AFTER_OBJECTS,
    OUTLIVING_PERMISSIONS,
    Access,
    Cluster,
    ClusterGone,
    NoAccess,
    inside,
    kinds,
)
from tracker.cleanup.transport.rest.client import listed
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents
from tracker.cleanup.transport.rest.listing import Listing, find_listed, in_tags
from tracker.cleanup.transport.rest.provider import Api
from tracker.model.deployment import Deployment, Resource, parse_time
from tracker.model.settings import Settings

CONTAINER = session.google_api("gcp-container", "https://container.googleapis.com")
_CLUSTERS = "/v1/projects/{account}/locations/{location}/clusters"


class ClusterKind(RestKind):
    """A cluster. That there is none counts once the project's clusters were listed, and one never seen is in no other location."""

    provider: ClassVar = CONTAINER
    noun, path, needs_mark = "cluster", _CLUSTERS + "/{id}", True
    mark_key = "gcp"
    mark_noun = "label"
    settles_in = 60

    def read(self, connection: Api, resource: Resource) -> Any:
        """Get it in its location. Raises Gone only if it is nowhere."""
        try:
            return super().read(connection, resource)
        except Gone as gone:
            return self._listed(connection, resource, gone)

    def progress(self, body: Any) -> tuple[Progress, str]:
        """Return its status. STOPPING is said of no cluster that isn't being deleted."""
        state = str(body.get("status") or "")
        return ("leaving" if state == "STOPPING" else "present"), state

    def identity(self, body: Any) -> dict[str, str]:
        """Return when it was made, and its id of Google's own."""
        known = {"created": body.get("createTime"), "unique_id": body.get("id")}
        return {key: str(value) for key, value in known.items() if value}

    def has_mark(self, body: Any, mark: str) -> bool:
        """Return whether the mark is among its labels."""
        return session.has_label(body.get("resourceLabels") or {}, mark)

    def observe(self, connection: Api, resource: Resource, body: Any) -> Observation:
        """Say what was read, and what became of its deletion."""
        observation = super().observe(connection, resource, body)
        return self._after(connection, resource, observation) if observation.state == "present" else observation

    def _listed(self, api: Api, resource: Resource, gone: Gone) -> Any:
        """Return the cluster as the project's list has it, which may show it before the GET does. Raises Gone if it is nowhere."""
        is_known = "unique_id" in resource.place
        clusters = _every(api, may_miss_zones=is_known)
        if is_known:
            raise gone
        for found in clusters:
            mark = api.settings.mark(self.mark_key)
            if found.get("name") == resource.id and (not mark or self.has_mark(found, mark)):
                here, there = resource.place["location"], found.get("location")
                if there in (here, None):
                    return found
                text = (
                    f"cluster {resource.id} isn't in {here}, but there is one in {there}: correct the record's region"
                )
                raise Refused("bad_id", text)
        raise gone

    def _after(self, api: Api, resource: Resource, look: Observation) -> Observation:
        """Return what it means that a cluster isn't STOPPING, though its deletion may have begun."""
        path = self.path_of(resource, "/v1/projects/{account}/locations/{location}/operations")
        since = look.place.get("created") or resource.place.get("created", "")
        try:
            operations = listed(api.get(path), "operations", path, is_optional=True)
        except Gone as gone:
            raise Unreachable(str(gone)) from None
        deletion = _latest(operations, resource.id, since)
        if deletion is None:
            return look
        name = str(deletion.get("name") or "DELETE_CLUSTER")
        if deletion.get("status", "DONE") != "DONE":
            return replace(look, state="leaving", detail=f"{name}: {deletion['status']}")
        error = deletion.get("error") or {}
        message = str(error.get("message") or deletion.get("statusMessage") or "")
        if not error and not message:
            return look
        return session.after(api, resource, look, name, str(error.get("code", "")), message)


def _every(api: Api, *, may_miss_zones: bool = False) -> list[Any]:
    """Return the clusters of a project, in all of its locations. Raises Refused if the credential may not see it."""
    path = _CLUSTERS.format(account=quote(api.account, safe=""), location="-")
    try:
        body = api.get(path)
    except Gone as unseen:
        text = f"{unseen}: there is no project {api.account}, or the credential may not see it"
        raise Refused("credentials", text) from None
    if body and isinstance(body, dict) and body.get("missingZones") and not may_miss_zones:
        raise Unreachable(f"GET {path}: without {', '.join(body['missingZones'])}, where it may be")
    return listed(body, "clusters", path, is_optional=True)


def _latest(operations: Iterable[Any], cluster: str, created: str) -> Any:
    """Return the latest deletion of a cluster of this name that was requested since it was made, None if there is none."""
    # By zone or by location, and by the project's number: the end of its link is all that is the same.
    deletions = (
        each
        for each in operations
        if each.get("operationType") == "DELETE_CLUSTER"
        and str(each.get("targetLink", "")).endswith(f"/clusters/{cluster}")
        and each.get("startTime")
    )
    begun = [(parse_time(each["startTime"]), each) for each in deletions]
    since = [(at, each) for at, each in begun if created and at >= parse_time(created)]
    return max(since, key=lambda pair: pair[0])[1] if since else None


CLUSTER = ClusterKind()


def _reach(resource: Resource, settings: Settings) -> Cluster:
    """Return the cluster that a resource is or is in, to be opened with the same token as Google's own API."""
    api = CONTAINER.open(resource.place, settings)
    cluster = replace(resource, id=resource.place.get("cluster", resource.id))
    try:
        found = CLUSTER.find(api, cluster)
    except Gone as gone:
        raise ClusterGone(str(gone)) from None
    state, detail = CLUSTER.progress(found)
    if state == "leaving":
        raise Busy(f"its cluster is {detail}")
    server, authority = _endpoint(found)
    if not server:
        raise NoAccess(f"it is {detail}, and has no endpoint")
    return Cluster(Access(f"https://{server}", ca=authority, token=api.authorization.text))


def _endpoint(found: Any) -> tuple[str, str]:
    """Return where a cluster's API server is, and its authority; by the name that is for outside, whose authority is public, if it has one."""
    names = (found.get("controlPlaneEndpointsConfig") or {}).get("dnsEndpointConfig") or {}
    if names.get("allowExternalTraffic") and names.get("endpoint"):
        return str(names["endpoint"]), ""
    try:
        return str(found.get("endpoint") or ""), base64.b64decode(found["masterAuth"]["clusterCaCertificate"]).decode()
    except (LookupError, TypeError, binascii.Error, UnicodeError):
        return "", ""


_KINDS: dict[str, RestKind] = {"gcp:cluster": CLUSTER}
KINDS: dict[str, ResourceKind] = {**_KINDS, **kinds(_reach)}
_STAGES = {"gcp:cluster": AFTER_OBJECTS}

NOTES = OperatorNotes(
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
        "By a mark only the record's location is looked through. Of a cluster that doesn't answer, forwarding rules and disks that its objects made may be left: the receipt says so. Network "
        "endpoint groups and firewall rules of a controller that was stopped before stay, too. GKE has no protection against deletion "
        "(Terraform's `deletion_protection` is its own)."
    ),
    sources=(
        "Google's discovery document container.v1 (paths, forms, states, operations; labels of lower case letters, digits, `-`, `_`, up to 63); the wording of the 400 while another operation runs: "
        "Terraform's provider and reports of users; the name for outside (dnsEndpointConfig): the reference of GKE's clients."
    ),
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return the cluster, and what has to go in it before."""

    def dependents(_api: Api, cluster: Resource, body: Any) -> list[Resource]:
        is_up = CLUSTER.progress(body)[0] == "present"
        return inside(deployment, cluster, lambda: _reach(cluster, settings)) if is_up else []

    return discover_with_dependents(deployment, settings, _KINDS, _STAGES, dependents)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the clusters of the record's location that are labelled with the mark."""
    location = CONTAINER.place_of(deployment, settings)["location"]

    def here(api: Api) -> list[Any]:
        return [each for each in _every(api) if each.get("location") in (location, None)]

    listing = Listing("gcp:cluster", here, in_tags("resourceLabels"), "createTime", id="name")
    return find_listed(deployment, settings, generation, _KINDS, [listing])
