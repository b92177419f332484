"""VultrVke: a Kubernetes cluster, with the block storage and load balancers that it deployed.

First go the objects in the cluster that would outlive it, while it answers; then the cluster; then what it deployed and left.
Vultr's `delete-with-linked-resources` isn't used: it also takes what was linked after the discovery, and so isn't on the record's list.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec.structs import replace

from tracker.cleanup.core.contract import Found, OperatorNotes, Progress, ResourceKind
from tracker.cleanup.core.discovery import judged
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.vultr.api import VULTR, Block, VultrKind, users_of
from tracker.cleanup.transport.kubernetes.objects import (
    AFTER_OBJECTS,
    MAYBE_RETAINED,
    OUTLIVING_PERMISSIONS,
    Cluster,
    ClusterGone,
    NoAccess,
    access_of,
    inside,
    is_answered,
    is_retained,
    kinds,
    retained_in,
)
from tracker.cleanup.transport.rest.client import listed
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents
from tracker.cleanup.transport.rest.listing import Listing, find_listed, in_name
from tracker.cleanup.transport.rest.provider import Api
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings


class VkeCluster(VultrKind):
    noun = "cluster"
    path = "/v2/kubernetes/clusters/{id}"
    envelope = "vke_cluster"
    items = "vke_clusters"

    def progress(self, body: Any) -> tuple[Progress, str]:
        return "present", str(body.get("status", ""))


class ClusterBlock(Block):
    """A block storage of a cluster. The instance that it is attached to is one of the cluster's nodes, which go with it."""

    def users(self, body: Any) -> Iterable[str]:
        return users_of(body)

    def strangers(self, resource: Resource, body: Any) -> Iterable[str]:
        return ()


class LoadBalancer(VultrKind):
    noun = "load balancer"
    path = "/v2/load-balancers/{id}"
    envelope = "load_balancer"
    items = "load_balancers"


CLUSTER, BLOCK, BALANCER = VkeCluster(), ClusterBlock(), LoadBalancer()
_KINDS: dict[str, RestKind] = {
    "vultr:cluster": CLUSTER,
    "vultr:block": BLOCK,
    "vultr:load_balancer": BALANCER,
}
_AFTERWARDS = AFTER_OBJECTS + 1
_STAGES = {"vultr:cluster": AFTER_OBJECTS, "vultr:block": _AFTERWARDS, "vultr:load_balancer": _AFTERWARDS}
# Clusters have no tags.
_LISTINGS = [
    Listing("vultr:cluster", CLUSTER.every, in_name("label"), "date_created"),
    Listing("vultr:block", BLOCK.every, in_name("label"), "date_created"),
    Listing("vultr:load_balancer", BALANCER.every, in_name("label"), "date_created"),
]
_RETAINED = 'the cluster says that it is to be retained; metadata.delete_dependents = "all" would delete it'
_ONLY_FOUND = 'linked to the cluster, but not made for a claim; metadata.delete_dependents = "all" would delete it'


def _reach(resource: Resource, settings: Settings) -> Cluster:
    """Return the cluster of a resource that is one or is in one, by the kubeconfig that Vultr's API has of it."""
    api = VULTR.open(resource.place, settings)
    cluster = replace(resource, id=resource.place.get("cluster", resource.id))
    path = CLUSTER.path_of(cluster, CLUSTER.path + "/config")
    try:
        _, detail = CLUSTER.progress(CLUSTER.find(api, cluster))
    except Gone as gone:
        raise ClusterGone(str(gone)) from None
    try:
        kubeconfig = base64.b64decode(api.get(path)["kube_config"], validate=True).decode()
    except (Gone, LookupError, TypeError, binascii.Error, UnicodeError):
        kubeconfig = ""
    if not kubeconfig:
        raise NoAccess(f"{detail}, and GET {path}: no kubeconfig")
    return Cluster(access_of(kubeconfig))


KINDS: dict[str, ResourceKind] = {**_KINDS, **kinds(_reach)}

NOTES = OperatorNotes(
    credentials=(
        "An API key: secret key `token`; on one machine VULTR_API_KEY. In the cluster: the admin's kubeconfig, which Vultr gives to it."
    ),
    permissions=(
        "subscriptions_view, subscriptions, provisioning, loadbalancer: Vultr's documents don't say which of them a call needs",
        "the function's addresses, where the key's access control names addresses",
        *(f"in the cluster: {each}" for each in OUTLIVING_PERMISSIONS),
    ),
    order=(
        "in the cluster, while it answers: its services with a load balancer, ingresses, and what mounts claims",
        "its claims, with their volumes",
        "the cluster",
        "block storage and load balancers that it deployed and that are left, and what the record names",
    ),
    gone="A GET that fails, and its kind's list, read to its end, that hasn't got it.",
    duration="Five to twenty minutes.",
    limits=(
        "The name that is the mark is the label of a cluster, block storage or load balancer. Of the block storage that is linked to a cluster only what is called `pvc-...` is taken to be of its making; the rest is kept, "
        "and so is what is to be retained, or may be, since the cluster doesn't answer. File systems (VFS) are "
        "known by their volumes in the cluster alone: nothing at Vultr says whose one is. An "
        "account is known by its e-mail address: if that changes, metadata.account or the setting must follow."
    ),
    sources=(
        "Vultr's OpenAPI document (vultr-python-client, c547827); vultr-csi, for labels; what a cluster says that can't go yet: not "
        "documented."
    ),
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names, what has to go in its clusters, and what these deployed."""
    known = {each.key for each in deployment.resources if each.state != "kept"}

    def dependents(api: Api, cluster: Resource, _body: Any) -> Iterator[Resource]:
        objects = inside(deployment, cluster, lambda: _reach(cluster, settings))
        yield from objects
        retained = retained_in([*deployment.resources, *objects])
        path = CLUSTER.path_of(cluster, CLUSTER.path + "/resources")
        linked = api.get(path)["resources"]
        for balancer in listed(linked, "load_balancer", path, is_optional=True):
            yield Resource("vultr:load_balancer", str(balancer["id"]), stage=_AFTERWARDS)
        for block in listed(linked, "block_storage", path, is_optional=True):
            resource = Resource("vultr:block", str(block["id"]), stage=_AFTERWARDS)
            label = str(block.get("label") or "")
            if is_retained(label, retained):
                yield judged(deployment, resource, why=_RETAINED)
            elif not label.startswith("pvc-"):
                yield judged(deployment, resource, why=_ONLY_FOUND)
            elif not is_answered(objects) and resource.key not in known:
                yield judged(deployment, resource, why=MAYBE_RETAINED)
            else:
                yield resource

    return discover_with_dependents(deployment, settings, _KINDS, _STAGES, dependents)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the clusters, block storage and load balancers whose label begins with the mark."""
    return find_listed(deployment, settings, generation, _KINDS, _LISTINGS)
