"""AzureAks: an AKS cluster in a resource group, and the resource group of its nodes, which goes with it.

First what its objects made that may be elsewhere, while the cluster answers; then the cluster. Load balancers, public addresses and
disks are mostly in the group of the nodes, which AKS deletes: that one is never asked to go, only waited for.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any, Literal, Self

from tracker.cleanup import kubernetes_objects, rest
from tracker.cleanup.azure import arm
from tracker.cleanup.azure.arm import ARM, ArmKind
from tracker.cleanup.contract import Busy, Facts, Kind, Refused, Unreachable
from tracker.cleanup.kubernetes_objects import AFTER_OBJECTS, Cluster, ClusterGone, access_of, inside
from tracker.cleanup.rest import Api, Gone
from tracker.deployment import Deployment, Resource
from tracker.settings import Settings

_PATH = "/subscriptions/{account}/resourceGroups/{resource_group}/providers/Microsoft.ContainerService/managedClusters/"
_VERSION = f"?api-version={arm.CONTAINERS_VERSION}"


def _status(found: Any) -> tuple[Literal["present", "leaving"], str]:
    failed = (found["properties"].get("status") or {}).get("provisioningError") or {}
    return arm.status(found, f"{failed.get('code')} {failed.get('message')}" if failed else "")


def _uid(found: Any) -> dict[str, str]:
    """What tells clusters apart that had the same id one after another."""
    uid = found["properties"].get("resourceUID")
    return {"resource_uid": str(uid)} if uid else {}


CLUSTER = ArmKind(
    ARM,
    noun="cluster",
    path=f"{_PATH}{{id}}{_VERSION}",
    form=r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?",
    status=_status,
    keep=_uid,
)


class NodeGroup(ArmKind):
    """The resource group of a cluster's nodes. Nothing tells two of the same name apart but whose they are."""

    def find(self, api: Api, resource: Resource) -> Any:
        """The group. Gone, if a cluster that was made since has one of this name: none can be made where there is one."""
        found = super().find(api, resource)
        place = {key: value for key, value in resource.place.items() if key != "resource_uid"}
        ours = resource.place.get("resource_uid", "")
        try:
            cluster = CLUSTER.find(api, Resource("azure:cluster", place["cluster"], place))
        except Gone:
            return found
        uid = _uid(cluster).get("resource_uid", ours)
        if ours and uid != ours and _node_group(cluster).lower() == resource.id.lower():
            raise Gone(f"GET {CLUSTER.noun} {place['cluster']}: it is another one now, {uid}, and so is its node group")
        return found


def _node_group(cluster: Any) -> str:
    return str(cluster["properties"].get("nodeResourceGroup") or "")


def _wait(_api: Api, resource: Resource, _found: Any) -> None:
    raise Busy(f"it goes with cluster {resource.place['cluster']}: AKS deletes it")


NODE_GROUP = NodeGroup(
    ARM,
    noun="resource group",
    path=f"/subscriptions/{{account}}/resourcegroups/{{id}}?api-version={arm.GROUPS_VERSION}",
    form=arm.GROUP,
    status=arm.status,
    ask=_wait,
)


class _Closed(Cluster):
    """One that can't be asked from here."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __enter__(self) -> Self:
        raise Unreachable(self._why)


def _reach(resource: Resource, settings: Settings) -> Cluster:
    """The cluster that an object is in. ClusterGone, if Azure has it no more."""
    cluster = Resource("azure:cluster", resource.place["cluster"], resource.place)
    api = ARM.open(resource.place, settings)
    try:
        CLUSTER.find(api, cluster)
        return _opened(api, cluster)
    except Gone as gone:
        raise ClusterGone(str(gone)) from None


def _opened(api: Api, cluster: Resource) -> Cluster:
    path = CLUSTER.at(cluster, f"{_PATH}{{id}}/listClusterUserCredential{_VERSION}")
    found = rest.listed(api.call("POST", path).body, "kubeconfigs", path)
    try:
        kubeconfig = base64.b64decode(found[0]["value"], validate=True).decode()
    except (IndexError, binascii.Error, UnicodeError):
        return _Closed("Azure gives no kubeconfig for it")
    try:
        return Cluster(access_of(kubeconfig))
    except Refused as refused:
        # One of Entra's wants kubelogin to be run, which isn't done.
        return _Closed(f"its kubeconfig can't be used here: {refused}")


_KINDS: dict[str, ArmKind] = {"azure:cluster": CLUSTER, "azure:node_resource_group": NODE_GROUP}
KINDS: dict[str, Kind] = {**_KINDS, **kubernetes_objects.kinds(_reach)}

FACTS = Facts(
    credentials=arm.CREDENTIALS,
    permissions=(
        arm.SUBSCRIPTION_PERMISSION,
        "Microsoft.Resources/subscriptions/resourceGroups/read",
        "Microsoft.ContainerService/managedClusters/read, /delete, /listClusterUserCredential/action",
        f"in the cluster: {'; '.join(kubernetes_objects.OUTLIVING_PERMISSIONS)}",
    ),
    order=(
        "load balancers of services, ingresses, and workloads that mount a claim, if the cluster answers",
        "their claims, with their volumes",
        "the cluster",
        "the resource group of its nodes, which AKS deletes",
    ),
    gone=f"{arm.GONE} The same of the node resource group, which is kept in mind from before.",
    duration="Five to twenty minutes.",
    limits=(
        "No mark is set for Azure: being named is ownership. Most of what its objects made is in the node resource group and goes with "
        "it; that group is never asked to go, and named if it stays. A cluster that can't be asked (private, stopped, or Entra's, whose "
        "kubeconfig wants kubelogin to be run) is deleted all the same, and the list says what may be left. Addresses, disks, "
        "identities, private zones and registries outside of that group stay. A group whose cluster is gone before its first cleanup "
        "isn't known."
    ),
    sources=arm.SOURCES,
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """The cluster, what would outlive it, and the group of its nodes, which it alone names."""
    group = deployment.metadata.get("resource_group", "")
    if not re.fullmatch(arm.GROUP, group, re.ASCII):
        raise Refused("bad_id", f"{group!r} can't be the name of a resource group")

    def hanging(api: Api, cluster: Resource, found: Any) -> Iterator[Resource]:
        yield from inside(deployment, cluster, lambda: _opened(api, cluster))
        name = _node_group(found)
        if name:
            place = cluster.place | {"cluster": cluster.id}
            yield Resource("azure:node_resource_group", name, place, stage=AFTER_OBJECTS + 1)

    stages = {"cluster_name": ("azure:cluster", AFTER_OBJECTS)}
    return rest.discovered(deployment, settings, _KINDS, stages, hanging)
