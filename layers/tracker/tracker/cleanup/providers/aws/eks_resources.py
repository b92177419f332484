"""This is how EKS' resources are read and deleted: a cluster, its node groups and Fargate profiles.

Used by `eks`, which knows how they belong together, and by `eks_dependents`. A part is ours if its cluster is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore import xform_name
from msgspec.structs import replace

from tracker.cleanup.core.contract import Observation, Progress, Refused, Unreachable
from tracker.cleanup.core.kind import Gone, Kind
from tracker.cleanup.providers.aws import session
from tracker.cleanup.providers.aws.session import Session, translated
from tracker.model.catalogue import form_of
from tracker.model.deployment import RESOURCE_DETAIL_MAX, Resource, clipped, format_time
from tracker.model.settings import Settings

# A description of one resource, in botocore's shapes.
type Body = dict[str, Any]

CLUSTER, NODEGROUP, FARGATE_PROFILE = "aws:eks_cluster", "aws:eks_nodegroup", "aws:eks_fargate_profile"


class EksKind(Kind[Session, Body]):
    """A cluster, or a part of one. The `cluster` of a part's place is the cluster's name, and the part is ours if its cluster is.

    `item` is the key of the description in an answer, `verb` what the calls have in their names.
    """

    noun, verb, item = "cluster", "Cluster", "cluster"
    reuses_ids = True
    mark_key = "aws"
    needs_mark = True
    settles_in = 60

    @contextmanager
    def open(self, resource: Resource, settings: Settings) -> Iterator[Session]:
        """Open the account and region of the resource."""
        yield session.opened(resource.place, settings)

    def read(self, connection: Session, resource: Resource) -> Body:
        """Describe it, together with its cluster. Raises Gone if there is none, or its cluster is another one now."""
        eks = connection.client("eks")
        cluster = cluster_of(eks, resource)
        return self.described(eks, resource, cluster) | {"cluster": cluster}

    def described(self, eks: Any, resource: Resource, cluster: Body) -> Body:
        """Return its description. Raises Gone."""
        return cluster

    def request_deletion(self, connection: Session, resource: Resource, body: Body) -> None:
        """Request the deletion."""
        call = f"Delete{self.verb}"
        with translated(call):
            answer = self.ask(connection.client("eks"), resource)
        member(call, answer, self.item)

    def ask(self, eks: Any, resource: Resource) -> dict[str, Any]:
        """Call the API for the deletion, and return its answer."""
        answer: dict[str, Any] = eks.delete_cluster(name=resource.id)
        return answer

    def progress(self, body: Body) -> tuple[Progress, str]:
        """Return its status, with the health issues that it names."""
        return ("leaving" if body["status"] == "DELETING" else "present"), _condition(body)

    def location(self, connection: Session) -> dict[str, str]:
        """Return the account."""
        return {"account": connection.account}

    def protection(self, connection: Session, resource: Resource, body: Body) -> str:
        """Return that its cluster is protected, if it is and isn't going already."""
        cluster = body["cluster"]
        if cluster.get("deletionProtection") and cluster["status"] != "DELETING":
            return f"cluster {cluster['name']} is protected: lift its deletionProtection first"
        return ""

    def has_mark(self, body: Body, mark: str) -> bool:
        """Return whether its cluster has the tag."""
        return mark in body["cluster"].get("tags", {})

    def observe(self, connection: Session, resource: Resource, body: Body) -> Observation:
        """Say what was read. A deletion that failed is reported once."""
        observation = super().observe(connection, resource, body)
        has_failed = resource.state == "leaving" and body["status"].endswith("FAILED")
        return replace(observation, failure=observation.detail) if has_failed else observation

    def check_id(self, resource: Resource, settings: Settings) -> None:
        """Raise Refused if its name, or its cluster's, can't be one."""
        super().check_id(resource, settings)
        if not form_of(CLUSTER).matches(cluster_name(resource)):
            raise Refused("bad_id", f"{cluster_name(resource)!r} can't be the name of a cluster")


class Nodegroup(EksKind):
    """A managed node group. One whose deletion or creation failed is requested to go again."""

    noun, verb, item = "node group", "Nodegroup", "nodegroup"

    def described(self, eks: Any, resource: Resource, cluster: Body) -> Body:
        with translated("DescribeNodegroup"):
            answer = eks.describe_nodegroup(clusterName=cluster["name"], nodegroupName=resource.id)
        found: Body = member("DescribeNodegroup", answer, self.item)
        return found

    def ask(self, eks: Any, resource: Resource) -> dict[str, Any]:
        answer: dict[str, Any] = eks.delete_nodegroup(clusterName=cluster_name(resource), nodegroupName=resource.id)
        return answer


class FargateProfile(EksKind):
    """A Fargate profile. EKS deletes one of a cluster at a time."""

    one_at_a_time = True
    noun, verb, item = "Fargate profile", "FargateProfile", "fargateProfile"

    def described(self, eks: Any, resource: Resource, cluster: Body) -> Body:
        with translated("DescribeFargateProfile"):
            answer = eks.describe_fargate_profile(clusterName=cluster["name"], fargateProfileName=resource.id)
        found: Body = member("DescribeFargateProfile", answer, self.item)
        return found

    def ask(self, eks: Any, resource: Resource) -> dict[str, Any]:
        answer: dict[str, Any] = eks.delete_fargate_profile(
            clusterName=cluster_name(resource), fargateProfileName=resource.id
        )
        return answer


PARTS: dict[str, EksKind] = {NODEGROUP: Nodegroup(), FARGATE_PROFILE: FargateProfile()}
CLUSTER_KIND = EksKind()


def cluster_name(resource: Resource) -> str:
    return resource.id if resource.kind == CLUSTER else resource.place.get("cluster", "")


def cluster_of(eks: Any, resource: Resource) -> Body:
    """Describe the cluster that a resource is, or is a part of. Raises Gone if there is none, or another one has its name now."""
    name = cluster_name(resource)
    with translated("DescribeCluster"):
        answer = eks.describe_cluster(name=name)
    found: Body = member("DescribeCluster", answer, "cluster")
    created_at = format_time(found["createdAt"])
    if resource.place.get("created_at", created_at) != created_at:
        raise Gone(f"DescribeCluster: {name} is another one now, created at {created_at}")
    return found


def listed(eks: Any, call: str, items: str, cluster: str) -> list[Any]:
    """Return all items of a list that a cluster has."""
    return _all_pages(eks, call, items, {"clusterName": cluster})


def every_cluster(eks: Any) -> list[str]:
    """Return the names of all clusters of the region."""
    return _all_pages(eks, "ListClusters", "clusters", {})


def _all_pages(eks: Any, call: str, items: str, request: dict[str, str]) -> list[Any]:
    found: list[Any] = []
    while True:
        with translated(call):
            answer = getattr(eks, xform_name(call))(**request)
        found += member(call, answer, items)
        before, following = request.get("nextToken"), answer.get("nextToken")
        if not following:
            return found
        if following == before:
            raise Unreachable(f"{call}: its pages lead in a circle")
        request["nextToken"] = following


def member(call: str, answer: dict[str, Any], key: str) -> Any:
    """Return what an answer must hold. An answer without it, a proxy's page for instance, proves nothing."""
    found = answer.get(key)
    if found is None:
        raise Unreachable(f"{call}: the answer holds no {key}")
    return found


def _condition(found: Body) -> str:
    """Return EKS' own word for a state, and what is wrong."""
    issues = found.get("health", {}).get("issues", [])
    said = [
        f"{one.get('code')}: {one.get('message')} ({', '.join(one.get('resourceIds', []))})".removesuffix(" ()")
        for one in issues
    ]
    return clipped("; ".join([found["status"], *said]), RESOURCE_DETAIL_MAX)
