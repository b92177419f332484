"""DigitalOceanDoks: a Kubernetes cluster, with the load balancers and volumes that it made.

First what would outlive the cluster is taken down in it, while it answers; then the cluster goes, which leaves load balancers and
volumes behind; then those of them that it made itself. The cluster carries the ownership mark as a tag.
"""

import base64
import dataclasses
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal

from msgspec.structs import replace

from tracker.cleanup import rest
from tracker.cleanup.contract import Busy, Facts, Kind
from tracker.cleanup.digitalocean.api import DIGITALOCEAN, UUID, VOLUME, is_marked, must_be_marked
from tracker.cleanup.kubernetes_objects import (
    AFTER_OBJECTS,
    MAYBE_RETAINED,
    OUTLIVING_PERMISSIONS,
    Access,
    Cluster,
    ClusterGone,
    NoAccess,
    inside,
    is_answered,
    kinds,
)
from tracker.cleanup.rest import Api, Gone, RestKind
from tracker.deployment import Deployment, Resource
from tracker.settings import Settings

# Seconds: as long as one step may need a cluster's token.
TOKEN_LIVES = 900
# How Kubernetes calls a service's load balancer, if nothing else is said: "a" and the service's uid, cut off at 32.
_OF_A_SERVICE = re.compile(r"a[0-9a-f]{31}")


def _status(found: Any) -> tuple[Literal["present", "leaving", "gone"], str]:
    state = str(found["status"]["state"])
    match state:
        case "deleted":
            return "gone", state
        case "deleting":
            return "leaving", state
    return "present", state


def _is_free(_resource: Resource, found: Any, _settings: Settings) -> None:
    """A cluster's volume is attached to one of its nodes, and those go with it; DigitalOcean deletes none that is attached."""
    if found.get("droplet_ids"):
        raise Busy(f"still attached to droplet {found['droplet_ids'][0]}")


CLUSTER = RestKind(
    DIGITALOCEAN,
    noun="cluster",
    path="/v2/kubernetes/clusters/{id}",
    form=UUID,
    item="kubernetes_cluster",
    status=_status,
    allow=must_be_marked,
)
LOAD_BALANCER = RestKind(
    DIGITALOCEAN, noun="load balancer", path="/v2/load_balancers/{id}", form=UUID, item="load_balancer"
)
VOLUME_SNAPSHOT = RestKind(DIGITALOCEAN, noun="volume snapshot", path="/v2/snapshots/{id}", form=UUID, item="snapshot")
_KINDS = {
    "digitalocean:cluster": CLUSTER,
    "digitalocean:load_balancer": LOAD_BALANCER,
    "digitalocean:volume": dataclasses.replace(VOLUME, allow=_is_free),
    "digitalocean:volume_snapshot": VOLUME_SNAPSHOT,
}
_AFTERWARDS = AFTER_OBJECTS + 1
_STAGES = {
    "cluster_id": ("digitalocean:cluster", AFTER_OBJECTS),
    "load_balancer": ("digitalocean:load_balancer", _AFTERWARDS),
    "volume": ("digitalocean:volume", _AFTERWARDS),
    "volume_snapshot": ("digitalocean:volume_snapshot", _AFTERWARDS),
}
_RETAINED = 'the cluster says that it is to be retained; metadata.delete_dependents = "all" would delete it'
_ONLY_FOUND = "associated with the cluster, but not made by it nor named by the record, and not marked"


def _reach(resource: Resource, settings: Settings) -> Cluster:
    """The cluster of a resource, or what is in it, by a token that DigitalOcean makes for a while."""
    api = DIGITALOCEAN.open(resource.place, settings)
    cluster = replace(resource, id=resource.place.get("cluster", resource.id))
    try:
        state, detail = _status(CLUSTER.find(api, cluster))
    except Gone as gone:
        raise ClusterGone(str(gone)) from None
    path = CLUSTER.at(cluster)
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
    authority = base64.b64decode(given["certificate_authority_data"]).decode()
    return Cluster(Access(given["server"], ca=authority, token=given["token"]))


KINDS: dict[str, Kind] = {**_KINDS, **kinds(_reach)}

FACTS = Facts(
    credentials=(
        "A token: secret key `token`; on one machine DIGITALOCEAN_TOKEN or DIGITALOCEAN_ACCESS_TOKEN. In the cluster: one that "
        "DigitalOcean makes with it for a quarter of an hour."
    ),
    permissions=(
        "account:read",
        "kubernetes:read, kubernetes:delete, kubernetes:access_cluster",
        "load_balancer:read, load_balancer:delete",
        "block_storage:read, block_storage:delete",
        "block_storage_snapshot:read, block_storage_snapshot:delete",
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
        "Of what DigitalOcean associates with a cluster only this is taken to be of its making: load balancers with its tag "
        "`k8s:<id>` or a name as Kubernetes gives them, and volumes with that tag that are called `pvc-...`. Others are kept, and so "
        "are snapshots of volumes, and volumes that are to be retained, or may be, since the cluster doesn't answer."
    ),
    sources=(
        "DigitalOcean's OpenAPI document (7c1300c); its cloud controller manager and CSI driver, for tags and names; 422 while it is "
        "being made or upgraded: not documented."
    ),
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """What the record names, what has to go in its clusters, and what these made."""
    every = deployment.metadata.get("delete_dependents") == "all"

    def hanging(api: Api, cluster: Resource, found: Any) -> Iterator[Resource]:
        is_up = _status(found)[0] == "present"
        objects = inside(deployment, cluster, lambda: _reach(cluster, settings)) if is_up else []
        yield from objects
        retained = {e.id for e in [*deployment.resources, *objects] if e.kind == "kubernetes:persistentvolume"}
        known = {each.key for each in deployment.resources if each.state != "kept"}
        path = CLUSTER.at(cluster, CLUSTER.path + "/destroy_with_associated_resources")
        body = api.get(path)
        for items in ("load_balancers", "volumes", "volume_snapshots"):
            kind = f"digitalocean:{items.removesuffix('s')}"
            for each in rest.listed(body, items, path):
                resource = Resource(kind, str(each["id"]), stage=_AFTERWARDS)
                with suppress(Gone):
                    thing = _KINDS[kind].find(api, resource)
                    if is_marked(thing, settings) or (every and kind == "digitalocean:volume"):
                        yield resource
                    elif thing["name"] in retained:
                        yield rest.kept(resource, _RETAINED)
                    elif not _is_made_by(cluster, kind, thing):
                        yield rest.kept(resource, _ONLY_FOUND)
                    elif kind == "digitalocean:volume" and not is_answered(objects) and resource.key not in known:
                        yield rest.kept(resource, MAYBE_RETAINED)
                    else:
                        yield resource

    return rest.discovered(deployment, settings, _KINDS, _STAGES, hanging)


def _is_made_by(cluster: Resource, kind: str, thing: Any) -> bool:
    """Whether a cluster made it for a service or a claim: what makes them there tags them, and calls them after these."""
    has_tag = f"k8s:{cluster.id}" in (thing.get("tags") or [])
    match kind:
        case "digitalocean:load_balancer":
            return has_tag or bool(_OF_A_SERVICE.fullmatch(thing["name"]))
        case "digitalocean:volume":
            return has_tag and str(thing["name"]).startswith("pvc-")
    return False
