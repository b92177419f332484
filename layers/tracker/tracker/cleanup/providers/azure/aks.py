"""AzureAks: an AKS cluster in a resource group, and the resource group of its nodes, which goes with it.

What its objects made outside of that group goes first, while the cluster answers; then the cluster. Load balancers, public addresses and
disks are mostly in the group of the nodes, which AKS deletes: its deletion is never requested, only waited for.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Any, Self

from tracker.cleanup.core.contract import Busy, Found, OperatorNotes, Refused, ResourceKind, Unreachable
from tracker.cleanup.core.discovery import kept
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.azure import arm
from tracker.cleanup.providers.azure.arm import ARM, ArmKind, properties_of, tagged
from tracker.cleanup.transport.kubernetes import objects as kubernetes_objects
from tracker.cleanup.transport.kubernetes.objects import AFTER_OBJECTS, Cluster, ClusterGone, access_of, inside
from tracker.cleanup.transport.rest.client import listed
from tracker.cleanup.transport.rest.kind import discover_with_dependents
from tracker.cleanup.transport.rest.listing import find_listed
from tracker.cleanup.transport.rest.provider import Api
from tracker.model.catalogue import entry
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

_ENTRY = entry("AzureAks")
_BILLED_ON = (
    "the cluster uses it, it isn't in the group of its nodes, and others may use it: it is billed on, and not deleted"
)
_PATH = "/subscriptions/{account}/resourceGroups/{resource_group}/providers/Microsoft.ContainerService/managedClusters/"
_VERSION = f"?api-version={arm.CONTAINERS_VERSION}"


class AksCluster(ArmKind):
    noun = "cluster"
    path = f"{_PATH}{{id}}{_VERSION}"
    form = _ENTRY.ids["cluster_name"].pattern

    def failure(self, body: Any) -> str:
        error = (properties_of(body).get("status") or {}).get("provisioningError") or {}
        return f"{error.get('code')} {error.get('message')}" if error else ""

    def identity(self, body: Any) -> dict[str, str]:
        uid = properties_of(body).get("resourceUID")
        return {"resource_uid": str(uid)} if uid else {}


CLUSTER = AksCluster()


class NodeGroup(ArmKind):
    """The resource group of a cluster's nodes. Two of the same name are told apart only by the cluster that they belong to."""

    reuses_ids = True
    noun = "resource group"
    path = f"/subscriptions/{{account}}/resourcegroups/{{id}}?api-version={arm.GROUPS_VERSION}"
    form = _ENTRY.metadata["resource_group"].pattern

    def read(self, connection: Api, resource: Resource) -> Any:
        """Return the group. Raises Gone if a later cluster has a group of this name: then ours must be gone."""
        group = super().read(connection, resource)
        place = {key: value for key, value in resource.place.items() if key != "resource_uid"}
        ours = resource.place.get("resource_uid", "")
        try:
            cluster = CLUSTER.find(connection, Resource("azure:cluster", place["cluster"], place))
        except Gone:
            return group
        uid = CLUSTER.identity(cluster).get("resource_uid", ours)
        if ours and uid != ours and _node_group(cluster).lower() == resource.id.lower():
            raise Gone(f"GET {CLUSTER.noun} {place['cluster']}: it is another one now, {uid}, and so is its node group")
        return group

    def request_deletion(self, connection: Api, resource: Resource, body: Any) -> None:
        """Raise Busy: AKS deletes the group."""
        raise Busy(f"it goes with cluster {resource.place['cluster']}: AKS deletes it")


def _node_group(cluster: Any) -> str:
    return str(properties_of(cluster).get("nodeResourceGroup") or "")


class _Closed(Cluster):
    """A cluster that can't be reached from here."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __enter__(self) -> Self:
        raise Unreachable(self._why)


def _reach(resource: Resource, settings: Settings) -> Cluster:
    """Return the cluster that an object is in. Raises ClusterGone if Azure doesn't have it any more."""
    cluster = Resource("azure:cluster", resource.place["cluster"], resource.place)
    api = ARM.open(resource.place, settings)
    try:
        CLUSTER.find(api, cluster)
        return _opened(api, cluster)
    except Gone as gone:
        raise ClusterGone(str(gone)) from None


def _opened(api: Api, cluster: Resource) -> Cluster:
    path = CLUSTER.path_of(cluster, f"{_PATH}{{id}}/listClusterUserCredential{_VERSION}")
    found = listed(api.call("POST", path).body, "kubeconfigs", path, is_optional=True)
    try:
        kubeconfig = base64.b64decode(found[0]["value"], validate=True).decode()
    except (LookupError, TypeError, binascii.Error, UnicodeError):
        return _Closed("Azure gives no kubeconfig for it")
    try:
        return Cluster(access_of(kubeconfig))
    except Refused as refused:
        # A kubeconfig for Entra's users names a program (kubelogin), and none is run.
        return _Closed(f"its kubeconfig can't be used here: {refused}")


_KINDS: dict[str, ArmKind] = {"azure:cluster": CLUSTER, "azure:node_resource_group": NodeGroup()}
KINDS: dict[str, ResourceKind] = {**_KINDS, **kubernetes_objects.kinds(_reach)}

NOTES = OperatorNotes(
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
        "No ownership mark is set for Azure: being named is ownership. By a deployment's own mark the clusters of the whole subscription are looked through, each with its resource group as the place. Most of what its objects made is in the node resource group and goes with "
        "it; that group is never asked to go, and named if it stays. A cluster that can't be asked (private, stopped, or Entra's, whose "
        "kubeconfig wants kubelogin to be run) is deleted all the same, and the list says what may be left. Its log workspaces and its own "
        "addresses outside of that group are kept and shown by name; disks, identities, private zones and registries outside of that group stay. A group whose cluster is gone before its first cleanup "
        "isn't known."
    ),
    sources=arm.SOURCES,
)


def _outside(cluster: Resource, properties: Any, node_group: str) -> Iterator[Resource]:
    """Yield what the cluster itself names that is outside of the group of its nodes: it stays, and is billed on."""
    addons = {name.lower(): addon for name, addon in (properties.get("addonProfiles") or {}).items()}
    agent = (addons.get("omsagent") or {}).get("config") or {}
    defender = (properties.get("securityProfile") or {}).get("defender") or {}
    network = properties.get("networkProfile") or {}
    balancer, gateway = network.get("loadBalancerProfile") or {}, network.get("natGatewayProfile") or {}
    addresses = [
        *(balancer.get("effectiveOutboundIPs") or ()),
        *((balancer.get("outboundIPs") or {}).get("publicIPs") or ()),
        *((balancer.get("outboundIPPrefixes") or {}).get("publicIPPrefixes") or ()),
        *(gateway.get("effectiveOutboundIPs") or ()),
    ]
    workspaces = (agent.get("logAnalyticsWorkspaceResourceID"), defender.get("logAnalyticsWorkspaceResourceId"))
    named = [("azure:log_workspace", each) for each in workspaces]
    named += [("azure:public_ip", each.get("id")) for each in addresses]
    # Azure spells one id in several cases.
    found = dict.fromkeys((kind, str(id_).lower()) for kind, id_ in named if id_)
    for kind, id_ in found:
        if f"/resourcegroups/{node_group.lower()}/" not in id_:
            yield kept(Resource(kind, id_, {"account": cluster.place.get("account", "")}), _BILLED_ON)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return the cluster, what would outlive it, and the group of its nodes, which only the cluster names."""
    group = deployment.metadata.get("resource_group", "")
    if not _ENTRY.metadata["resource_group"].matches(group):
        raise Refused("bad_id", f"{group!r} can't be the name of a resource group")

    def dependents(api: Api, cluster: Resource, body: Any) -> Iterator[Resource]:
        yield from inside(deployment, cluster, lambda: _opened(api, cluster))
        name = _node_group(body)
        if name:
            place = cluster.place | {"cluster": cluster.id}
            yield Resource("azure:node_resource_group", name, place, stage=AFTER_OBJECTS + 1)
        yield from _outside(cluster, properties_of(body), name)

    return discover_with_dependents(deployment, settings, _KINDS, {"azure:cluster": AFTER_OBJECTS}, dependents)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the clusters of the subscription that are tagged with the mark, whichever resource group they are in."""
    clusters = tagged(
        "azure:cluster",
        "Microsoft.ContainerService/managedClusters",
        arm.CONTAINERS_VERSION,
        id="name",
        # "/subscriptions/<id>/resourcegroups/<group>/providers/...", in any case.
        place=lambda item: {"resource_group": item["id"].split("/")[4]},
    )
    return find_listed(deployment, settings, generation, _KINDS, [clusters])
