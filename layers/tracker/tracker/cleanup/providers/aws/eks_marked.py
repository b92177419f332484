"""This is which EKS clusters carry the mark of a deployment: all of the region are described, since no list of them can be filtered by a tag.

Used by `eks`. What belongs to a cluster is looked up by the discovery.
"""

from collections.abc import Iterator
from contextlib import suppress

from tracker.cleanup.core.contract import Found
from tracker.cleanup.core.discovery import check_vouched
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.aws import session
from tracker.cleanup.providers.aws.eks_resources import CLUSTER, cluster_of, every_cluster
from tracker.model.catalogue import entry
from tracker.model.deployment import Deployment, Resource, format_time
from tracker.model.marks import mark_in_tags
from tracker.model.settings import Settings


def find(deployment: Deployment, settings: Settings, generation: str | None, stage: int) -> Iterator[Found]:
    """Yield the clusters that carry the tag, also those that are being deleted."""
    vouched = session.place_of(deployment, settings)
    aws = session.opened(vouched, settings)
    place = vouched | {"account": aws.account}
    has_found = False
    eks = aws.client("eks")
    for name in every_cluster(eks):
        cluster = Resource(CLUSTER, name, dict(place), stage=stage)
        # One may go between the two calls.
        with suppress(Gone):
            body = cluster_of(eks, cluster)
            mark = mark_in_tags(entry(deployment.deployment_type), body.get("tags") or {})
            if mark is not None and generation in (None, mark):
                has_found = True
                yield Found(cluster, "cluster_name", mark, format_time(body["createdAt"]))
    if not has_found:
        check_vouched(generation, vouched.get("account", ""), f"account {aws.account}")
