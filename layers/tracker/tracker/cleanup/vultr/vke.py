"""VultrVke: a Kubernetes cluster, with the block storage and load balancers that it deployed.

First what would outlive the cluster is taken down in it, while it answers; then the cluster goes; then what it deployed and left.
Vultr's `delete-with-linked-resources` isn't used: it takes along whatever is linked by then, also what isn't on the record's list.
"""

import base64
import binascii
import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

from msgspec.structs import replace

from tracker.cleanup import rest
from tracker.cleanup.contract import Busy, Facts, Kind
from tracker.cleanup.kubernetes_objects import (
    AFTER_OBJECTS,
    MAYBE_RETAINED,
    OUTLIVING_PERMISSIONS,
    Cluster,
    ClusterGone,
    NoAccess,
    access_of,
    inside,
    is_answered,
    kinds,
)
from tracker.cleanup.rest import Api, Gone
from tracker.cleanup.vultr.api import BLOCK, UUID, VULTR, VultrKind
from tracker.deployment import Deployment, Resource
from tracker.settings import Settings


def _status(found: Any) -> tuple[Literal["present"], str]:
    return "present", str(found.get("status", ""))


def _is_free(_resource: Resource, found: Any, _settings: Settings) -> None:
    """A cluster's block storage is attached to one of its nodes, and those go with it."""
    if found.get("attached_to_instance"):
        raise Busy(f"still attached to instance {found['attached_to_instance']}")


CLUSTER = VultrKind(
    VULTR,
    noun="cluster",
    path="/v2/kubernetes/clusters/{id}",
    form=UUID,
    item="vke_cluster",
    items="vke_clusters",
    status=_status,
)
LOAD_BALANCER = VultrKind(
    VULTR,
    noun="load balancer",
    path="/v2/load-balancers/{id}",
    form=UUID,
    item="load_balancer",
    items="load_balancers",
)
_KINDS = {
    "vultr:cluster": CLUSTER,
    "vultr:block": dataclasses.replace(BLOCK, allow=_is_free),
    "vultr:load_balancer": LOAD_BALANCER,
}
_AFTERWARDS = AFTER_OBJECTS + 1
_STAGES = {
    "cluster_id": ("vultr:cluster", AFTER_OBJECTS),
    "block": ("vultr:block", _AFTERWARDS),
    "load_balancer": ("vultr:load_balancer", _AFTERWARDS),
}
_RETAINED = 'the cluster says that it is to be retained; metadata.delete_dependents = "all" would delete it'
_ONLY_FOUND = 'linked to the cluster, but not made for a claim; metadata.delete_dependents = "all" would delete it'


def _reach(resource: Resource, settings: Settings) -> Cluster:
    """The cluster of a resource, or what is in it, by the kubeconfig that Vultr has of it."""
    api = VULTR.open(resource.place, settings)
    cluster = replace(resource, id=resource.place.get("cluster", resource.id))
    path = CLUSTER.at(cluster, CLUSTER.path + "/config")
    try:
        _, detail = _status(CLUSTER.find(api, cluster))
    except Gone as gone:
        raise ClusterGone(str(gone)) from None
    try:
        kubeconfig = base64.b64decode(api.get(path)["kube_config"], validate=True).decode()
    except (Gone, LookupError, TypeError, binascii.Error, UnicodeError):
        kubeconfig = ""
    if not kubeconfig:
        raise NoAccess(f"{detail}, and GET {path}: no kubeconfig")
    return Cluster(access_of(kubeconfig))


KINDS: dict[str, Kind] = {**_KINDS, **kinds(_reach)}

FACTS = Facts(
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
        "Of the block storage that is linked to a cluster only what is called `pvc-...` is taken to be of its making; the rest is kept, "
        "and so is what is to be retained, or may be, since the cluster doesn't answer. Vultr doesn't list a cluster's file systems (VFS). An "
        "account is known by its e-mail address: if that changes, metadata.account or the setting must follow."
    ),
    sources=(
        "Vultr's OpenAPI document (vultr-python-client, c547827); vultr-csi, for labels; what a cluster says that can't go yet: not "
        "documented."
    ),
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """What the record names, what has to go in its clusters, and what these deployed."""
    every = deployment.metadata.get("delete_dependents") == "all"

    def hanging(api: Api, cluster: Resource, _found: Any) -> Iterator[Resource]:
        objects = inside(deployment, cluster, lambda: _reach(cluster, settings))
        yield from objects
        retained = {e.id for e in [*deployment.resources, *objects] if e.kind == "kubernetes:persistentvolume"}
        known = {each.key for each in deployment.resources if each.state != "kept"}
        path = CLUSTER.at(cluster, CLUSTER.path + "/resources")
        linked = api.get(path)["resources"]
        for balancer in rest.listed(linked, "load_balancer", path):
            yield Resource("vultr:load_balancer", str(balancer["id"]), stage=_AFTERWARDS)
        for block in rest.listed(linked, "block_storage", path):
            resource = Resource("vultr:block", str(block["id"]), stage=_AFTERWARDS)
            if every:
                yield resource
            elif block["label"] in retained:
                yield rest.kept(resource, _RETAINED)
            elif not block["label"].startswith("pvc-"):
                yield rest.kept(resource, _ONLY_FOUND)
            elif not is_answered(objects) and resource.key not in known:
                yield rest.kept(resource, MAYBE_RETAINED)
            else:
                yield resource

    return rest.discovered(deployment, settings, _KINDS, _STAGES, hanging)
