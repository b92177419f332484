"""AwsEks: an EKS cluster, with its node groups and Fargate profiles.

What its objects made that would outlive it goes first, as its own API server does that (`kubernetes_objects`); then node groups, all at
once, and Fargate profiles, one at a time; then the cluster. All of it is ours if the cluster is. Names come again: a cluster is
told apart from a later one by when it was created, and its parts by their cluster.
"""

import base64
import binascii
import re
from typing import Any

from msgspec.structs import replace

from tracker.cleanup.aws import session
from tracker.cleanup.aws.session import Gone, translated
from tracker.cleanup.contract import Facts, Kind, Look, Refused, Unreachable
from tracker.cleanup.kubernetes_objects import (
    AFTER_OBJECTS,
    OUTLIVING_PERMISSIONS,
    Access,
    Cluster,
    ClusterGone,
    inside,
    kinds,
)
from tracker.deployment import Deployment, Resource, clipped, format_time, ids_named
from tracker.settings import Settings

# What a describe says of one resource, in botocore's shapes.
type Found = dict[str, Any]

CLUSTER, NODEGROUP, FARGATE_PROFILE = "aws:eks_cluster", "aws:eks_nodegroup", "aws:eks_fargate_profile"
DETAIL_MAX = 512
# Seconds that a token for the cluster's API server may be used to open a session: as `aws eks get-token` has it.
TOKEN_LASTS = 60
CLUSTER_ID_HEADER = "x-k8s-aws-id"

_NAME = "[0-9A-Za-z][0-9A-Za-z_-]{0,99}"


class EksKind:
    """How one kind of EKS resource goes. The `cluster` of a resource's place is the one that it is part of."""

    one_at_a_time = False
    noun = "cluster"

    def find(self, eks: Any, resource: Resource, cluster: Found) -> Found:
        """Describe it, as it is in its cluster. Gone, if there is none."""
        return cluster

    def ask(self, eks: Any, resource: Resource) -> None:
        """Ask for its deletion."""
        with translated("DeleteCluster"):
            _item("DeleteCluster", eks.delete_cluster(name=resource.id), "cluster")

    def state(self, resource: Resource, settings: Settings) -> Look:
        """Read it, in the account and region of its place."""
        self.check(resource)
        aws = session.opened(resource.place, settings)
        eks = aws.client("eks")
        try:
            found = self.find(eks, resource, _described(eks, resource))
        except Gone as gone:
            return Look("gone", proof=str(gone), unproven="account" not in resource.place)
        detail, place = _condition(found), {"account": aws.account}
        if found["status"] == "DELETING":
            return Look("leaving", detail=detail, place=place)
        has_failed = resource.state == "leaving" and found["status"].endswith("FAILED")
        return Look("present", detail=detail, place=place, failure=detail if has_failed else "")

    def delete(self, resource: Resource, settings: Settings) -> None:
        """Ask it to go, if it is still there and its cluster still may go."""
        self.check(resource)
        eks = session.opened(resource.place, settings).client("eks")
        try:
            cluster = _described(eks, resource)
            if self.find(eks, resource, cluster)["status"] != "DELETING":
                _allow(cluster, settings)
                self.ask(eks, resource)
        except Gone:
            return

    def check(self, resource: Resource) -> None:
        """Refuse what can't be a name, before anything is asked."""
        for name in (resource.id, _cluster_name(resource)):
            if not re.fullmatch(_NAME, name, re.ASCII):
                raise Refused("bad_id", f"{name!r} can't be the name of a {self.noun}")


class Nodegroup(EksKind):
    """A managed node group: one whose deletion or creation failed is asked again."""

    noun = "node group"

    def find(self, eks: Any, resource: Resource, cluster: Found) -> Found:
        with translated("DescribeNodegroup"):
            answer = eks.describe_nodegroup(clusterName=cluster["name"], nodegroupName=resource.id)
        return _item("DescribeNodegroup", answer, "nodegroup")

    def ask(self, eks: Any, resource: Resource) -> None:
        with translated("DeleteNodegroup"):
            answer = eks.delete_nodegroup(clusterName=_cluster_name(resource), nodegroupName=resource.id)
        _item("DeleteNodegroup", answer, "nodegroup")


class FargateProfile(EksKind):
    """A Fargate profile: EKS deletes one of a cluster at a time."""

    one_at_a_time = True
    noun = "Fargate profile"

    def find(self, eks: Any, resource: Resource, cluster: Found) -> Found:
        with translated("DescribeFargateProfile"):
            answer = eks.describe_fargate_profile(clusterName=cluster["name"], fargateProfileName=resource.id)
        return _item("DescribeFargateProfile", answer, "fargateProfile")

    def ask(self, eks: Any, resource: Resource) -> None:
        with translated("DeleteFargateProfile"):
            answer = eks.delete_fargate_profile(clusterName=_cluster_name(resource), fargateProfileName=resource.id)
        _item("DeleteFargateProfile", answer, "fargateProfile")


def _reach(resource: Resource, settings: Settings) -> Cluster:
    """The API server of a resource's cluster, as our role may use it. ClusterGone, if EKS has none such any more."""
    aws = session.opened(resource.place, settings)
    try:
        found = _described(aws.client("eks"), resource)
    except Gone as gone:
        raise ClusterGone(str(gone)) from None
    _allow(found, settings)
    try:
        authority = base64.b64decode(found["certificateAuthority"]["data"], validate=True).decode()
        server = str(found["endpoint"])
    except (LookupError, TypeError, binascii.Error, UnicodeError):
        raise Unreachable("DescribeCluster: the answer holds no endpoint, or no authority of it") from None
    return Cluster(Access(server, ca=authority, token=_token(aws.client("sts"), found["name"])))


_PARTS: dict[str, EksKind] = {NODEGROUP: Nodegroup(), FARGATE_PROFILE: FargateProfile()}
_KINDS: dict[str, EksKind] = {CLUSTER: EksKind(), **_PARTS}
KINDS: dict[str, Kind] = {**_KINDS, **kinds(_reach)}
_NAMED = {"cluster_name": CLUSTER, "nodegroup": NODEGROUP, "fargate_profile": FARGATE_PROFILE}
_STAGES = {NODEGROUP: AFTER_OBJECTS, FARGATE_PROFILE: AFTER_OBJECTS, CLUSTER: AFTER_OBJECTS + 1}

FACTS = Facts(
    credentials=(
        "The stack's own role; a record may name another one (`role`, `external_id`), which AllowedRoles must allow. "
        "Before anything else STS is asked which account the credentials are for. The same role signs the token for the "
        "cluster's API server, which needs an access entry for it."
    ),
    permissions=(
        "eks:DescribeCluster, eks:ListNodegroups, eks:ListFargateProfiles",
        "eks:DescribeNodegroup, eks:DescribeFargateProfile",
        "eks:DeleteNodegroup, eks:DeleteFargateProfile, eks:DeleteCluster",
        "sts:AssumeRole for records that name a role",
        *(f"in the cluster, by an access entry: {each}" for each in OUTLIVING_PERMISSIONS),
    ),
    order=(
        "in the cluster: services of type LoadBalancer, ingresses, and workloads that mount a claim",
        "in the cluster: claims, with their volumes",
        "node groups, all at once, and Fargate profiles, one at a time",
        "the cluster, with its add-ons and with the nodes of its Auto Mode",
    ),
    gone=(
        "The describing call answers ResourceNotFoundException (or ClientException `No cluster found for name`), in the "
        "account that the place names; or the cluster of that name was created at another time."
    ),
    duration="Node groups 3 to 10 minutes, the cluster 5 to 15.",
    limits=(
        "Left are self-managed nodes and their stacks, the OIDC provider in IAM, the log group, launch templates, scrapers of "
        "Prometheus, and what add-ons' or capabilities' controllers made. A cluster whose API server doesn't answer (a private "
        "endpoint, say) goes all the same, and the receipt says what may be left; one that refuses our token is a refusal. "
        "In the wrong region a cluster isn't found, and so counts as gone: the record alone knows its region."
    ),
    sources=(
        "botocore's model of EKS of 2017-11-01; EKS' user guide on deleting and protecting clusters; Terraform's AWS provider "
        "(internal/service/eks); the token: the AWS CLI's `eks get-token`. Durations are operators' experience. Tried against "
        "moto's EKS, mended where it is kinder than AWS; never against AWS itself."
    ),
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """The cluster that the record names, and all that there is of it; what it names besides; and what was known of before."""
    place = session.place_of(deployment, settings)
    named = [
        Resource(kind, one, place, named_by=key) for key, kind in _NAMED.items() for one in ids_named(deployment, key)
    ]
    clusters = [_remembered(deployment, one) for one in named if one.kind == CLUSTER]
    if not clusters:
        raise Refused("missing_id", "the record names no cluster_name")
    within = place | {"cluster": clusters[0].id}
    parts = [replace(one, place=within) for one in named if one.kind in _PARTS]
    for one in [*clusters, *parts]:
        _KINDS[one.kind].check(one)

    found: dict[tuple[str, str], Resource] = {}
    for cluster in clusters:
        for one in _whole(deployment, cluster, settings):
            if one.key in found:
                text = f"{one.kind} {one.id} is in {cluster.id} and in a cluster that the record names or named besides"
                raise Refused("bad_id", f"{text}: register each cluster by itself")
            found[one.key] = one
    for one in parts:
        found[one.key] = replace(found.get(one.key, one), named_by=one.named_by)
    for one in deployment.resources:
        if one.kind in _PARTS and not one.is_done:
            found.setdefault(one.key, replace(one, place=one.place | place, state="unseen", detail=""))
    staged = [replace(one, stage=_STAGES.get(one.kind, one.stage)) for one in found.values()]
    return sorted(staged, key=lambda one: one.stage)


def _whole(deployment: Deployment, cluster: Resource, settings: Settings) -> list[Resource]:
    """A cluster, and if there is one, its node groups, its Fargate profiles, and what in it would outlive it."""
    aws = session.opened(cluster.place, settings)
    eks = aws.client("eks")
    try:
        found = _described(eks, cluster)
        _allow(found, settings)
        names = {
            NODEGROUP: _listed(eks, "ListNodegroups", "list_nodegroups", "nodegroups", cluster.id),
            FARGATE_PROFILE: _listed(
                eks, "ListFargateProfiles", "list_fargate_profiles", "fargateProfileNames", cluster.id
            ),
        }
    except Gone:
        return [cluster]
    here = cluster.place | {"account": aws.account, "created_at": format_time(found["createdAt"])}
    cluster = replace(cluster, place=here, seen=True)
    within = here | {"cluster": cluster.id}
    parts = [Resource(kind, name, within, seen=True) for kind, every in names.items() for name in every]
    return [cluster, *parts, *_objects(deployment, cluster, found, settings)]


def _objects(deployment: Deployment, cluster: Resource, found: Found, settings: Settings) -> list[Resource]:
    """What in a cluster has to go before it. Of one that was leaving already nothing more, unless that isn't over."""
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
    """A cluster that the record names, with when it was created, if it was seen before."""
    known = next((one.place for one in deployment.resources if one.key == cluster.key), {})
    return replace(cluster, place=cluster.place | {key: known[key] for key in ("created_at",) if key in known})


def _cluster_name(resource: Resource) -> str:
    return resource.id if resource.kind == CLUSTER else resource.place.get("cluster", "")


def _described(eks: Any, resource: Resource) -> Found:
    """The cluster that a resource is, or is a part of. Gone, if there is none, or another one has its name now."""
    name = _cluster_name(resource)
    with translated("DescribeCluster"):
        answer = eks.describe_cluster(name=name)
    found = _item("DescribeCluster", answer, "cluster")
    created_at = format_time(found["createdAt"])
    if resource.place.get("created_at", created_at) != created_at:
        raise Gone(f"DescribeCluster: {name} is another one now, created at {created_at}")
    return found


def _allow(cluster: Found, settings: Settings) -> None:
    """Refuse a cluster that isn't ours, or wouldn't go, as it is now."""
    mark = settings.aws_mark
    if mark and mark not in cluster.get("tags", {}):
        raise Refused("not_ours", f"cluster {cluster['name']} doesn't carry the tag {mark}")
    if cluster.get("deletionProtection") and cluster["status"] != "DELETING":
        raise Refused("protected", f"cluster {cluster['name']} is protected: lift its deletionProtection first")


def _listed(eks: Any, call: str, method: str, items: str, cluster: str) -> list[str]:
    """All names of a list."""
    names: list[str] = []
    request = {"clusterName": cluster}
    while True:
        with translated(call):
            answer = getattr(eks, method)(**request)
        names += _item(call, answer, items)
        if not answer.get("nextToken"):
            return names
        request["nextToken"] = answer["nextToken"]


def _item(call: str, answer: dict[str, Any], item: str) -> Found:
    """What an answer must hold: one without it, some proxy's page for instance, proves nothing."""
    found: Found | None = answer.get(item)
    if found is None:
        raise Unreachable(f"{call}: the answer holds no {item}")
    return found


def _condition(found: Found) -> str:
    """EKS' own word for a state, and what is wrong."""
    issues = found.get("health", {}).get("issues", [])
    said = [
        f"{one.get('code')}: {one.get('message')} ({', '.join(one.get('resourceIds', []))})".removesuffix(" ()")
        for one in issues
    ]
    return clipped("; ".join([found["status"], *said]), DETAIL_MAX)


def _token(sts: Any, cluster: str) -> str:
    """A token for a cluster's API server: a presigned GetCallerIdentity, as `aws eks get-token` makes it."""

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
