"""AwsEks: an EKS cluster, with its node groups and Fargate profiles.

What its objects made that would outlive it goes first, as its own API server does that (`transport/kubernetes`); then node groups, all at
once, and Fargate profiles, one at a time; then the cluster. All of it is ours if the cluster is. Names come again: a cluster is
told apart from a later one by when it was created, and its parts by their cluster.
"""

import base64
import binascii
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from tracker.cleanup.core.contract import Found, OperatorNotes, Refused, ResourceKind, Unreachable
from tracker.cleanup.core.discovery import named_resources
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.aws import eks_dependents, eks_marked, session
from tracker.cleanup.providers.aws.eks_dependents import dependents, left_behind
from tracker.cleanup.providers.aws.eks_resources import (
    CLUSTER,
    CLUSTER_KIND,
    FARGATE_PROFILE,
    NODEGROUP,
    PARTS,
    Body,
    EksKind,
    cluster_of,
    listed,
)
from tracker.cleanup.providers.aws.session import translated
from tracker.cleanup.transport.kubernetes.objects import (
    AFTER_OBJECTS,
    OUTLIVING_PERMISSIONS,
    Access,
    Cluster,
    ClusterGone,
    inside,
    is_answered,
    kinds,
)
from tracker.model.deployment import Deployment, Resource, format_time
from tracker.model.settings import Settings

# Seconds that a token for the cluster's API server may be used to open a session: as `aws eks get-token` has it.
TOKEN_LASTS = 60
CLUSTER_ID_HEADER = "x-k8s-aws-id"


def _reach(resource: Resource, settings: Settings) -> Cluster:
    """Return the API server of a resource's cluster, as our role may use it. Raises ClusterGone if EKS has no such cluster any more."""
    aws = session.opened(resource.place, settings)
    try:
        found = cluster_of(aws.client("eks"), resource)
    except Gone as gone:
        raise ClusterGone(str(gone)) from None
    CLUSTER_KIND.check_deletable(aws, resource, found | {"cluster": found}, settings)
    try:
        authority = base64.b64decode(found["certificateAuthority"]["data"], validate=True).decode()
        server = str(found["endpoint"])
    except (LookupError, TypeError, binascii.Error, UnicodeError):
        raise Unreachable("DescribeCluster: the answer holds no endpoint, or no authority of it") from None
    return Cluster(Access(server, ca=authority, token=_token(aws.client("sts"), found["name"])))


_KINDS: dict[str, EksKind] = {CLUSTER: CLUSTER_KIND, **PARTS}
KINDS: dict[str, ResourceKind] = {**_KINDS, **eks_dependents.KINDS, **kinds(_reach)}
# The main kind first.
_STAGES = {CLUSTER: AFTER_OBJECTS + 1, NODEGROUP: AFTER_OBJECTS, FARGATE_PROFILE: AFTER_OBJECTS}

NOTES = OperatorNotes(
    credentials=(
        "The stack's own role; a record may name another one (`role`, `external_id`), which AllowedRoles must allow. "
        "Before anything else STS is asked which account the credentials are for. The same role signs the token for the "
        "cluster's API server, which needs an access entry for it."
    ),
    permissions=(
        "eks:DescribeCluster, eks:ListNodegroups, eks:ListFargateProfiles",
        "eks:DescribeNodegroup, eks:DescribeFargateProfile",
        "eks:DeleteNodegroup, eks:DeleteFargateProfile, eks:DeleteCluster",
        "eks:ListClusters, to find a cluster by its mark",
        "eks:ListCapabilities, logs:DescribeLogGroups",
        "ec2:DescribeInstances, ec2:DescribeNetworkInterfaces, ec2:DescribeVolumes",
        "elasticloadbalancing:DescribeLoadBalancers, elasticloadbalancing:DescribeTags",
        "ec2:DeleteNetworkInterface, ec2:DeleteVolume, elasticloadbalancing:DeleteLoadBalancer",
        "sts:AssumeRole for records that name a role",
        *(f"in the cluster, by an access entry: {each}" for each in OUTLIVING_PERMISSIONS),
    ),
    order=(
        "in the cluster: services of type LoadBalancer, ingresses, and workloads that mount a claim",
        "in the cluster: claims, with their volumes",
        "node groups, all at once, Fargate profiles, one at a time, and interfaces with the cluster's tag that nothing has any more",
        "the cluster, with its add-ons and with the nodes of its Auto Mode",
        "volumes and load balancers with the cluster's tag, if it didn't answer, and they are marked or the record asks for that",
    ),
    gone=(
        "The describing call answers ResourceNotFoundException (or ClientException `No cluster found for name`), in the "
        "account that the place names; or the cluster of that name was created at another time."
    ),
    duration="Node groups 3 to 10 minutes, the cluster 5 to 15.",
    limits=(
        "Shown as kept, up to twenty of each: nodes with the cluster's tag that no node group has (Karpenter's, self-managed), its log "
        "group, with its retention, and its capabilities. Left are the OIDC provider in IAM, stacks, launch templates, scrapers of "
        "Prometheus, and what add-ons' or capabilities' controllers made. A cluster whose API server doesn't answer (a private "
        "endpoint, say) goes all the same: what carries its tag is looked for then, and kept unless it carries the mark, too, or "
        "`delete_dependents` is `all` while RequireMark is off. One that refuses our token is a refusal. "
        "In the wrong region a cluster isn't found, and so counts as gone: the record alone knows its region."
    ),
    sources=(
        "botocore's model of EKS of 2017-11-01; EKS' user guide on deleting and protecting clusters; Terraform's AWS provider "
        "(internal/service/eks); the token: the AWS CLI's `eks get-token`. Durations are operators' experience. Tried against "
        "moto's EKS, mended where it is kinder than AWS; never against AWS itself."
    ),
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return the clusters that the record names, and all parts of each; what it names besides; and what was known before."""
    place = session.place_of(deployment, settings)
    ids = dict(deployment.resource_ids)
    within = place | {"cluster": str(ids.get("cluster_name", ""))}
    named = named_resources(deployment, within, _STAGES, _KINDS, settings)
    clusters = [_remembered(deployment, replace(one, place=place)) for one in named if one.kind == CLUSTER]
    within = place | {"cluster": clusters[0].id}
    parts = [replace(one, place=within) for one in named if one.kind in PARTS]

    found: dict[tuple[str, str], Resource] = {}
    for cluster in clusters:
        for one in _whole(deployment, cluster, settings):
            if one.key in found and one.kind not in eks_dependents.KINDS:
                text = f"{one.kind} {one.id} is in {cluster.id} and in a cluster that the record names or named besides"
                raise Refused("bad_id", f"{text}: register each cluster by itself")
            found[one.key] = one
    for one in parts:
        found[one.key] = replace(found.get(one.key, one), named_by=one.named_by)
    for one in deployment.resources:
        if (one.kind in PARTS or one.kind in eks_dependents.KINDS) and not one.is_done:
            found.setdefault(one.key, replace(one, place=one.place | place, state="unseen", seen=False, detail=""))
    staged = [replace(one, stage=_STAGES.get(one.kind, one.stage)) for one in found.values()]
    return sorted(staged, key=lambda one: one.stage)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the clusters that carry the mark of a generation, or of any."""
    return eks_marked.find(deployment, settings, generation, _STAGES[CLUSTER])


def _whole(deployment: Deployment, cluster: Resource, settings: Settings) -> list[Resource]:
    """Return a cluster, and if it is there, its node groups, its Fargate profiles, and what in it would outlive it."""
    aws = session.opened(cluster.place, settings)
    eks = aws.client("eks")
    try:
        found = cluster_of(eks, cluster)
        CLUSTER_KIND.check_deletable(aws, cluster, found | {"cluster": found}, settings)
        names = {
            NODEGROUP: listed(eks, "ListNodegroups", "nodegroups", cluster.id),
            FARGATE_PROFILE: listed(eks, "ListFargateProfiles", "fargateProfileNames", cluster.id),
        }
    except Gone:
        gone = replace(cluster, absent=1)
        return [gone] if _is_anothers_name(eks, cluster) else [gone, *left_behind(deployment, settings, aws, cluster)]
    here = cluster.place | {"account": aws.account, "created_at": format_time(found["createdAt"])}
    cluster = replace(cluster, place=here, seen=True)
    within = here | {"cluster": cluster.id}
    parts = [Resource(kind, name, within, seen=True) for kind, every in names.items() for name in every]
    objects = _objects(deployment, cluster, found, settings)
    others = dependents(deployment, settings, aws, cluster, is_answering=is_answered(objects))
    return [cluster, *parts, *objects, *others]


def _is_anothers_name(eks: Any, cluster: Resource) -> bool:
    """Return whether a later cluster has the name of one that is gone: what its tags name is that one's."""
    if "created_at" not in cluster.place:
        return False
    place = {key: value for key, value in cluster.place.items() if key != "created_at"}
    with suppress(Gone):
        cluster_of(eks, replace(cluster, place=place))
        return True
    return False


def _objects(deployment: Deployment, cluster: Resource, found: Body, settings: Settings) -> list[Resource]:
    """Return what in a cluster has to go before it. Of one that was leaving already it is nothing more, unless that isn't over."""
    known = [
        one
        for one in deployment.resources
        if one.kind.startswith("kubernetes:") and one.place.get("cluster", one.id) == cluster.id
    ]
    was_leaving = any(one.key == cluster.key and one.state == "leaving" for one in deployment.resources)
    if not found.get("endpoint") or (was_leaving and all(one.is_done for one in known)):
        return []
    return inside(replace(deployment, resources=known), cluster, lambda: _reach(cluster, settings))


def _remembered(deployment: Deployment, cluster: Resource) -> Resource:
    """Return a cluster that the record names, with when it was created, if it was seen before."""
    known = next((one.place for one in deployment.resources if one.key == cluster.key), {})
    return replace(cluster, place=cluster.place | {key: known[key] for key in ("created_at",) if key in known})


def _token(sts: Any, cluster: str) -> str:
    """Return a token for a cluster's API server: a presigned GetCallerIdentity, as `aws eks get-token` makes it."""

    def names_cluster(request: Any, **_: Any) -> None:
        request.headers[CLUSTER_ID_HEADER] = cluster

    events, event = sts.meta.events, "before-sign.sts.GetCallerIdentity"
    events.register(event, names_cluster, unique_id=CLUSTER_ID_HEADER)
    try:
        with translated("GetCallerIdentity"):
            url: str = sts.generate_presigned_url("get_caller_identity", ExpiresIn=TOKEN_LASTS, HttpMethod="GET")
    finally:
        events.unregister(event, unique_id=CLUSTER_ID_HEADER)
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")
