"""This is what a cluster's controllers and nodes leave in the account, found by the tags that name the cluster; and what EKS itself leaves.

Used by `eks`. Interfaces that are attached to nothing any more go before the node groups, whose security group they keep. Volumes and load
balancers are looked for where the cluster doesn't answer: else its own objects say what they are. All else is shown and kept.

The tags are those of EKS (`eks:...`), of the VPC CNI plugin and the VPC resource controller (`cluster.k8s.amazonaws.com/name`,
`node.k8s.amazonaws.com/instance_id`), of the AWS Load Balancer Controller (`elbv2.k8s.aws/cluster`), of the EBS CSI driver
(`KubernetesCluster`, `ebs.csi.aws.com/cluster`), and of Kubernetes' cloud provider (`kubernetes.io/cluster/<name>`).
"""

from contextlib import suppress
from functools import cached_property

from tracker.cleanup.core.contract import Refused
from tracker.cleanup.core.discovery import judged, kept
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.aws.ec2_api import Body, asked, condition, tags
from tracker.cleanup.providers.aws.ec2_resources import Ec2Kind, NetworkInterface, Volume, wish
from tracker.cleanup.providers.aws.eks_resources import CLUSTER, CLUSTER_KIND, cluster_of, listed, member
from tracker.cleanup.providers.aws.leftovers import looked, shown
from tracker.cleanup.providers.aws.load_balancers import LOAD_BALANCERS, LoadBalancer
from tracker.cleanup.providers.aws.session import NotOffered, Session, translated
from tracker.cleanup.transport.kubernetes.objects import AFTER_OBJECTS, MAYBE_RETAINED
from tracker.model.deployment import Deployment, Resource, format_time
from tracker.model.settings import Settings

# Tags whose value is a cluster's name, and the one whose key holds it.
_NAMING = (
    "cluster.k8s.amazonaws.com/name",
    "eks:cluster-name",
    "eks:eks-cluster-name",
    "aws:eks:cluster-name",
    "elbv2.k8s.aws/cluster",
    "ebs.csi.aws.com/cluster",
    "KubernetesCluster",
)
_OF_DRIVERS = ("KubernetesCluster", "ebs.csi.aws.com/cluster", "eks:eks-cluster-name")
_OWNED = "kubernetes.io/cluster/"
_OF_A_NODE = "node.k8s.amazonaws.com/instance_id"
_LIVING = ("pending", "running", "stopping", "stopped")
# So many of each kind go with a cluster: a record has its limits.
MANY = 50
_AFTER_CLUSTER = AFTER_OBJECTS + 2
_ANSWERED = "the cluster answers again: its claims and services say whether it goes"
_MADE_FOR_IT = 'made for a service or an ingress; metadata.delete_dependents = "all" would delete it'


def clusters_of(own: dict[str, str]) -> set[str]:
    """Return the names of the clusters whose tags these are. A cluster that only shares something says so by another value."""
    named = {own[key] for key in _NAMING if key in own}
    owning = {key.removeprefix(_OWNED) for key, value in own.items() if key.startswith(_OWNED) and value == "owned"}
    # The EBS CSI driver's tag says "true" unless it was told the cluster's name.
    return (named | owning) - {"true"}


class LeftInterface(NetworkInterface):
    """An interface that a cluster's controllers left. It is the deployment's if its cluster is, while it carries the cluster's tag."""

    def check_deletable(self, connection: Session, resource: Resource, body: Body, settings: Settings) -> None:
        """Look at its cluster, too: it mustn't be protected, and must still carry the mark."""
        name, created_at = resource.place["cluster"], resource.place.get("created_at", "")
        place = {key: value for key, value in resource.place.items() if key != "created_at"}
        with suppress(Gone):
            cluster = cluster_of(connection.client("eks"), Resource(CLUSTER, name, place))
            if format_time(cluster["createdAt"]) != created_at:
                raise Refused("not_ours", f"cluster {name} is another one now, and may have made {resource.id}")
            CLUSTER_KIND.check_deletable(
                connection, Resource(CLUSTER, name, place), cluster | {"cluster": cluster}, settings
            )
        super().check_deletable(connection, resource, body, settings)

    def objection(self, resource: Resource, body: Body, settings: Settings) -> str:
        own = tags(body)
        name, names = resource.place["cluster"], clusters_of(own)
        if others := names - {name}:
            return f"it carries the tag of cluster {min(others)}"
        return "" if names or _OF_A_NODE in own else f"it carries no tag of cluster {name} any more"


_MADE: dict[str, Ec2Kind] = {"aws:volume": Volume(), **LOAD_BALANCERS}
KINDS: dict[str, Ec2Kind] = {"aws:network_interface": LeftInterface(), **_MADE}


class _Traces:
    """This is what in an account carries the tags of one cluster."""

    def __init__(self, aws: Session, cluster: Resource) -> None:
        self.aws = aws
        self.cluster = cluster

    @cached_property
    def instances(self) -> list[Body]:
        """Its nodes, those too that are gone since a short while."""
        reservations = self.asked(
            "DescribeInstances", "Reservations", "tag-key", f"{_OWNED}{self.cluster.id}", *_NAMING
        )
        instances = [instance for one in reservations for instance in one.get("Instances", [])]
        return [instance for instance in instances if self.names(instance)]

    def volumes(self) -> list[Body]:
        """Those that its drivers made."""
        tagged = {f"{_OWNED}{self.cluster.id}": "owned", **dict.fromkeys(_OF_DRIVERS, self.cluster.id)}
        found = [
            body
            for key, value in tagged.items()
            for body in self.asked("DescribeVolumes", "Volumes", f"tag:{key}", value)
        ]
        return list({body["VolumeId"]: body for body in found}.values())

    @cached_property
    def staying(self) -> dict[str, str]:
        """The living nodes that go neither with a node group nor with the cluster (Auto Mode's): they outlive both. Why, by their ids."""
        found = {}
        for instance in self.instances:
            own = tags(instance)
            goes = "eks:nodegroup-name" in own or instance.get("Operator", {}).get("Managed")
            if not goes and condition(instance) in _LIVING:
                pool = own.get("karpenter.sh/nodepool") or own.get("karpenter.sh/provisioner-name")
                group = own.get("aws:autoscaling:groupName")
                by = f" of Karpenter's pool {pool}" if pool else f" of the Auto Scaling group {group}" if group else ""
                found[str(instance["InstanceId"])] = (
                    f"a node{by}, in no node group: it outlives cluster {self.cluster.id}"
                )
        return found

    def asked(self, call: str, items: str, filter_: str, *values: str) -> list[Body]:
        """Return what EC2 lists under a filter."""
        filters = [{"Name": filter_, "Values": list(values)}]
        return asked(self.aws.client("ec2"), call, items, Filters=filters)

    def names(self, body: Body) -> bool:
        """Return whether a tag names the cluster."""
        return self.cluster.id in clusters_of(tags(body))


def dependents(
    deployment: Deployment, settings: Settings, aws: Session, cluster: Resource, *, is_answering: bool
) -> list[Resource]:
    """Return what a cluster that is there leaves: what is to go with it, and what is kept."""
    traces = _Traces(aws, cluster)
    looks = [
        lambda: shown("aws:instance", traces.staying.items(), cluster.place),
        lambda: _interfaces(traces),
        lambda: _log_group(traces),
        lambda: _capabilities(traces),
    ]
    if not is_answering:
        looks += [lambda kind=kind: _made(kind, traces, deployment, settings) for kind in _MADE]  # type: ignore[misc]
        return looked(looks, cluster)
    kept_before = [one for one in deployment.resources if one.kind in _MADE and one.state == "kept"]
    return [*looked(looks, cluster), *(kept(one, _ANSWERED) for one in kept_before)]


def left_behind(deployment: Deployment, settings: Settings, aws: Session, cluster: Resource) -> list[Resource]:
    """Return what a cluster that isn't there (any more) left: all of it is kept, since only a name says whose it was."""
    traces = _Traces(aws, cluster)
    looks = [lambda: shown("aws:instance", traces.staying.items(), cluster.place), lambda: _log_group(traces)]
    looks += [lambda kind=kind: _made(kind, traces, deployment, settings) for kind in _MADE]  # type: ignore[misc]
    known = {one.key for one in deployment.resources if not one.is_done}
    why = f"it has a tag of cluster {cluster.id}, which isn't there"
    found = [one if one.state == "kept" else kept(one, why) for one in looked(looks, cluster)]
    return [one for one in found if one.key not in known]


def _interfaces(traces: _Traces) -> list[Resource]:
    """Return the interfaces that are attached to nothing, and carry a tag of the cluster or of one of its nodes."""
    nodes = {instance["InstanceId"] for instance in traces.instances}
    found = traces.asked("DescribeNetworkInterfaces", "NetworkInterfaces", "status", "available")
    place = traces.cluster.place | {"cluster": traces.cluster.id}
    ours = [
        _unshared(
            Resource("aws:network_interface", body["NetworkInterfaceId"], place, stage=AFTER_OBJECTS, seen=True),
            clusters_of(tags(body)),
            traces.cluster,
        )
        for body in found
        if traces.names(body) or (not clusters_of(tags(body)) and tags(body).get(_OF_A_NODE) in nodes)
    ]
    return _bounded("aws:network_interface", ours, traces.cluster)


def _made(kind: str, traces: _Traces, deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the objects of a cluster made, which can't be asked: what carries the mark goes, or all if the record asks for that."""
    mark, cluster, how = settings.mark("aws"), traces.cluster, KINDS[kind]
    place = cluster.place | {"cluster": cluster.id} | wish(deployment)
    is_liftable = not (mark and settings.require_mark)
    why = MAYBE_RETAINED if kind == "aws:volume" else _MADE_FOR_IT
    why += "" if is_liftable else f"; but RequireMark is on, and it lacks the tag {mark}"
    found = []
    for body in how.every(traces.aws) if isinstance(how, LoadBalancer) else traces.volumes():
        if not traces.names(body) or how.progress(body)[0] != "present":
            continue
        resource = Resource(kind, body[how.id_field], place, stage=_AFTER_CLUSTER, seen=True)
        users = traces.staying.keys() & {str(each.get("InstanceId")) for each in body.get("Attachments", [])}
        if users:
            found.append(kept(resource, f"attached to {min(users)}, which stays"))
            continue
        is_marked = bool(mark) and how.has_mark(body, mark)
        resource = judged(deployment, resource, is_marked=is_marked, is_liftable=is_liftable, why=why)
        found.append(_unshared(resource, clusters_of(tags(body)), cluster))
    return _bounded(kind, found, cluster)


def _bounded(kind: str, found: list[Resource], cluster: Resource) -> list[Resource]:
    """Return at most MANY resources that are to go, and of all others the first ones' names and the number."""
    going = [one for one in found if one.state != "kept"]
    staying = [(one.id, one.detail) for one in found if one.state == "kept"]
    staying += [(one.id, f"more than {MANY} at once are too many: it stays") for one in going[MANY:]]
    return [*going[:MANY], *shown(kind, staying, cluster.place)]


def _unshared(resource: Resource, names: set[str], cluster: Resource) -> Resource:
    """Return a resource; to be kept if another cluster's tags are on it, too."""
    others = names - {cluster.id}
    return kept(resource, f"it carries the tag of cluster {min(others)}, too") if others else resource


def _log_group(traces: _Traces) -> list[Resource]:
    """Return the log group of the control plane, if it has one."""
    name = f"/aws/eks/{traces.cluster.id}/cluster"
    with translated("DescribeLogGroups"):
        answer = traces.aws.client("logs").describe_log_groups(logGroupNamePrefix=name)
    groups = [one for one in member("DescribeLogGroups", answer, "logGroups") if one.get("logGroupName") == name]
    found = [(name, f"the log group stays, and {_retention(group)}") for group in groups]
    return shown("aws:log_group", found, traces.cluster.place)


def _retention(group: Body) -> str:
    days = group.get("retentionInDays")
    return f"keeps each event for {days} days" if days else "keeps every event for ever, since no retention is set"


def _capabilities(traces: _Traces) -> list[Resource]:
    """Return the cluster's capabilities (Argo CD, ACK, kro), if they are offered where it is."""
    try:
        found = listed(traces.aws.client("eks"), "ListCapabilities", "capabilities", traces.cluster.id)
    except NotOffered:
        return []
    why = "EKS runs it for the cluster: what it manages elsewhere stays"
    return shown("aws:eks_capability", ((str(one["capabilityName"]), why) for one in found), traces.cluster.place)
