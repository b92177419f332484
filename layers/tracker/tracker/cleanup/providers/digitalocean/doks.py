"""DigitalOceanDoks: a Kubernetes cluster, with the load balancers and volumes that it made.

First go the objects in the cluster that would outlive it, while it answers; then the cluster, which leaves load balancers and volumes
behind; then those of them that it made itself. The cluster carries the ownership mark as a tag.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from tracker.cleanup.core.contract import Busy, Found, OperatorNotes, Progress, Refused, ResourceKind
from tracker.cleanup.core.discovery import judged, kept
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.digitalocean.api import (
    DIGITALOCEAN,
    UUID,
    VOLUMES,
    DigitalOceanKind,
    Volume,
    descriptions,
    every,
    find_tagged,
    tagged,
)
from tracker.cleanup.transport.kubernetes.cluster import uid_of
from tracker.cleanup.transport.kubernetes.nouns import at
from tracker.cleanup.transport.kubernetes.objects import (
    AFTER_OBJECTS,
    MAYBE_RETAINED,
    OUTLIVING_PERMISSIONS,
    Access,
    Cluster,
    ClusterGone,
    NoAccess,
    inside,
    is_answered,
    is_retained,
    kinds,
    retained_in,
)
from tracker.cleanup.transport.rest.client import listed
from tracker.cleanup.transport.rest.kind import discover_with_dependents
from tracker.cleanup.transport.rest.provider import Api
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

# Seconds: one step may need a cluster's token for as long.
TOKEN_LIVES = 900
# A record lists no more than 200 resources, of which a hundred are what is in the cluster.
CROWD = 80
_OF_A_CLUSTER = re.compile(f"k8s:{UUID}")
_BALANCER_ID = "kubernetes.digitalocean.com/load-balancer-id"
_DISOWN = "service.kubernetes.io/do-loadbalancer-disown"
# Kubernetes' default name for the load balancer of a service: "a" and the service's uid, cut off at 32 characters.
_OF_A_SERVICE = re.compile(r"a[0-9a-f]{31}")


class DoksCluster(DigitalOceanKind):
    noun = "cluster"
    path = "/v2/kubernetes/clusters/{id}"
    form = UUID
    envelope = "kubernetes_cluster"
    needs_mark = True

    def every(self, connection: Api) -> Iterable[Any]:
        return every(connection, "/v2/kubernetes/clusters", "kubernetes_clusters")

    def progress(self, body: Any) -> tuple[Progress, str]:
        state = str((body.get("status") or {}).get("state") or "")
        match state:
            case "deleted":
                return "gone", state
            case "deleting":
                return "leaving", state
        return "present", state


class ClusterVolume(Volume):
    """A volume of a cluster. The droplet that it is attached to is one of the cluster's nodes, which go with it."""

    def strangers(self, resource: Resource, body: Any) -> Iterable[str]:
        return ()


class LoadBalancer(DigitalOceanKind):
    noun = "load balancer"
    path = "/v2/load_balancers/{id}"
    form = UUID
    envelope = "load_balancer"

    def every(self, connection: Api) -> Iterable[Any]:
        return every(connection, "/v2/load_balancers", "load_balancers")


class VolumeSnapshot(DigitalOceanKind):
    noun = "volume snapshot"
    path = "/v2/snapshots/{id}"
    form = UUID
    envelope = "snapshot"

    def every(self, connection: Api) -> Iterable[Any]:
        return every(connection, "/v2/snapshots", "snapshots", resource_type="volume")


CLUSTER = DoksCluster()
_KINDS: dict[str, DigitalOceanKind] = {
    "digitalocean:cluster": CLUSTER,
    "digitalocean:load_balancer": LoadBalancer(),
    "digitalocean:volume": ClusterVolume(),
    "digitalocean:volume_snapshot": VolumeSnapshot(),
}
_AFTERWARDS = AFTER_OBJECTS + 1
_STAGES = {"digitalocean:cluster": AFTER_OBJECTS} | dict.fromkeys(list(_KINDS)[1:], _AFTERWARDS)
_LISTINGS = [
    tagged("digitalocean:cluster", "/v2/kubernetes/clusters", "kubernetes_clusters"),
    VOLUMES,
    tagged("digitalocean:volume_snapshot", "/v2/snapshots", "snapshots", resource_type="volume"),
]
_RETAINED = 'the cluster says that it is to be retained; metadata.delete_dependents = "all" would delete it'
_SHARED = "is another cluster's, too, as its tags say"
_DISOWNED = "the cluster has disowned it: its service's annotation says that someone else keeps it"
_ONLY_FOUND = "associated with the cluster, but not made by it nor named by the record, and not marked"


def _reach(resource: Resource, settings: Settings) -> Cluster:
    """Return the cluster of a resource that is one or is in one, by a token that DigitalOcean makes for a while."""
    api = DIGITALOCEAN.open(resource.place, settings)
    cluster = replace(resource, id=resource.place.get("cluster", resource.id))
    try:
        state, detail = CLUSTER.progress(CLUSTER.find(api, cluster))
    except Gone as gone:
        raise ClusterGone(str(gone)) from None
    path = CLUSTER.path_of(cluster)
    if state == "gone":
        raise ClusterGone(f"GET {path}: {detail}")
    if state == "leaving":
        raise Busy(f"its cluster is {detail}")
    try:
        given = api.get(f"{path}/credentials", expiry_seconds=TOKEN_LIVES)
    except Gone as gone:
        raise NoAccess(f"{detail}, and {gone}") from None
    if not given.get("server") or not given.get("token"):
        raise NoAccess(f"{detail}, and GET {path}/credentials: no token")
    authority = base64.b64decode(given.get("certificate_authority_data") or "").decode()
    return Cluster(Access(given["server"], ca=authority, token=given["token"]))


KINDS: dict[str, ResourceKind] = {**_KINDS, **kinds(_reach)}

NOTES = OperatorNotes(
    credentials=(
        "A token: secret key `token`; on one machine DIGITALOCEAN_TOKEN or DIGITALOCEAN_ACCESS_TOKEN. In the cluster: one that "
        "DigitalOcean makes with it for a quarter of an hour."
    ),
    permissions=(
        "account:read; tag:read, without which no mark is shown and nothing is looked for",
        "kubernetes:read, kubernetes:delete, kubernetes:access_cluster",
        "load_balancer:read, load_balancer:delete",
        "block_storage:read, block_storage:delete",
        "snapshot:read, snapshot:delete",
        *(f"in the cluster: {each}" for each in OUTLIVING_PERMISSIONS),
    ),
    order=(
        "in the cluster, while it answers: its services with a load balancer, ingresses, and what mounts claims",
        "its claims, with their volumes",
        "the cluster",
        "load balancers and volumes that it made and that are left, and what the record names",
    ),
    gone="404 `not_found` to a GET, with a token whose account was asked for before; of the cluster also the state `deleted`.",
    duration="Five to twenty minutes.",
    limits=(
        "By a mark clusters, volumes and their snapshots are found, not load balancers: the document has no tags of theirs. Of what DigitalOcean associates with a cluster only this is taken to be of its making: load balancers with its tag "
        "`k8s:<id>` or a name as Kubernetes gives them, and volumes with that tag that are called `pvc-...`. Others are kept, and so "
        "are snapshots of volumes, volumes that are to be retained, or may be, since the cluster doesn't answer, what carries another "
        "cluster's tag, too, with the services and claims that hold it, load balancers that a service disowns, and what can't be read."
    ),
    sources=(
        "DigitalOcean's OpenAPI document (7c1300c), for tags too (letters, digits, `:`, `-`, `_`; 255); its cloud controller manager and CSI driver, for tags and names; 422 while it is "
        "being made or upgraded: not documented."
    ),
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names, what has to go in its clusters, and what these made."""
    mark = settings.mark("digitalocean")
    known = {each.key for each in deployment.resources if each.state != "kept"}

    def dependents(api: Api, cluster: Resource, body: Any) -> Iterator[Resource]:
        associated = list(_associated(api, cluster))
        shared = {key: others for each in associated for key in each.keys if (others := each.others(cluster))}
        is_up = CLUSTER.progress(body)[0] == "present"
        claimed: set[str] = set()

        def amend(resource: Resource, body: Any) -> Resource:
            resource = _spared(resource, body, shared)
            if resource.state != "kept":
                claimed.update({resource.place.get("volume", ""), resource.place.get("disk", "")} - {""})
            return resource

        objects = inside(deployment, cluster, lambda: _reach(cluster, settings), amend) if is_up else []
        yield from objects
        remembered = [*deployment.resources, *objects]
        retained = retained_in(remembered)
        disowned = {key for each in remembered for key in each.place.get("disowned", "").split(",") if key}

        def reason_to_keep(each: "_Associated") -> str:
            if is_retained(str(each.body.get("name") or ""), retained):
                return _RETAINED
            if not _is_made_by(cluster, each.resource.kind, each.body):
                return _ONLY_FOUND
            is_volume = each.resource.kind == "digitalocean:volume"
            return MAYBE_RETAINED if is_volume and not is_answered(objects) and each.resource.key not in known else ""

        # Of very many, those are left out whose claim goes: it is gone when its volume is.
        is_crowded = len(associated) > CROWD
        for each in associated:
            kind = _KINDS[each.resource.kind]
            if is_crowded and claimed.intersection(each.keys):
                continue
            if each.failure:
                yield kept(each.resource, each.failure)
            elif others := each.others(cluster):
                yield kept(each.resource, f"it {_SHARED}: {others}")
            elif disowned.intersection(each.keys):
                yield kept(each.resource, _DISOWNED)
            else:
                why = reason_to_keep(each)
                is_ours = not why or kind.has_mark(each.body, mark)
                is_volume = each.resource.kind == "digitalocean:volume"
                yield judged(deployment, each.resource, is_marked=is_ours, is_liftable=is_volume, why=why)

    return discover_with_dependents(deployment, settings, _KINDS, _STAGES, dependents)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the clusters, volumes and snapshots of volumes of the team that are tagged with the mark."""
    return find_tagged(deployment, settings, generation, _KINDS, _LISTINGS)


class _Associated(NamedTuple):
    """This is what DigitalOcean associates with a cluster: its resource, and its description; or why that can't be had."""

    resource: Resource
    body: Any
    failure: str = ""

    @property
    def keys(self) -> set[str]:
        """Its id, and its name if it has one."""
        return {self.resource.id, str(self.body.get("name") or "")} - {""}

    def others(self, cluster: Resource) -> str:
        """Return the tags of other clusters that it carries, too."""
        tags = [str(each) for each in self.body.get("tags") or []]
        return ", ".join(each for each in tags if _OF_A_CLUSTER.fullmatch(each) and each != f"k8s:{cluster.id}")


def _associated(api: Api, cluster: Resource) -> Iterator[_Associated]:
    path = CLUSTER.path_of(cluster, CLUSTER.path + "/destroy_with_associated_resources")
    body = api.get(path)
    for items in ("load_balancers", "volumes", "volume_snapshots"):
        kind = f"digitalocean:{items.removesuffix('s')}"
        found = [
            Resource(kind, str(each["id"]), stage=_AFTERWARDS) for each in listed(body, items, path, is_optional=True)
        ]
        describe = descriptions(api, _KINDS[kind], found)
        for resource in found:
            try:
                yield _Associated(resource, describe(resource))
            except Refused as refused:
                # What the record doesn't name mustn't keep the cluster: a token without its scope, say.
                yield _Associated(resource, {}, f"it was only found, and can't be read: {refused}")
            except Gone:
                continue


def _spared(resource: Resource, body: Any, shared: Mapping[str, str]) -> Resource:
    """Return an object's resource with what it disowns; kept if its deletion would take a balancer or disk that others use, too."""
    if resource.kind == "kubernetes:service":
        balancer, disowns = (str(at(body, "metadata", "annotations", key) or "") for key in (_BALANCER_ID, _DISOWN))
        # Kubernetes' default name for the load balancer of a service.
        balancers = {f"a{uid_of(body).replace('-', '')[:31]}", balancer} - {""}
        if disowns.lower() in ("true", "t", "1"):
            resource = replace(resource, place=resource.place | {"disowned": ",".join(sorted(balancers))})
        held = balancers
    else:
        held = {resource.place.get("volume", ""), resource.place.get("disk", "")}
    others = next((shared[each] for each in sorted(held) if each in shared), "")
    return kept(resource, f"what it holds {_SHARED}: {others}") if others else resource


def _is_made_by(cluster: Resource, kind: str, body: Any) -> bool:
    """Return whether a cluster made it for a service or a claim, by the tags and names that its controllers give."""
    has_tag = f"k8s:{cluster.id}" in (body.get("tags") or [])
    match kind:
        case "digitalocean:load_balancer":
            return has_tag or bool(_OF_A_SERVICE.fullmatch(str(body.get("name") or "")))
        case "digitalocean:volume":
            return has_tag and str(body.get("name") or "").startswith("pvc-")
    return False
