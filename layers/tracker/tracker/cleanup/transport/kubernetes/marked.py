"""This is what in a namespace carries the mark of a deployment: found by its label.

Used by the types that are objects in a cluster which stays. What an object of the deployment controls goes with it, and isn't found by itself.
"""

from collections.abc import Iterator, Mapping

from tracker.cleanup.core.contract import Found
from tracker.cleanup.core.discovery import check_vouched
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.transport.kubernetes.cluster import Cluster, uid_of
from tracker.cleanup.transport.kubernetes.kinds import Reach
from tracker.cleanup.transport.kubernetes.namespace import (
    NAMESPACE_STAGE,
    STAGES,
    kinds_in,
    named_namespace,
    placed,
)
from tracker.cleanup.transport.kubernetes.nouns import (
    Body,
    at,
    controller_of,
    kind_of,
    labelled,
    name_of,
    read,
    topmost,
)
from tracker.model.catalogue import entry
from tracker.model.deployment import Deployment, Resource
from tracker.model.marks import mark_in_tags
from tracker.model.settings import Settings


def find(
    deployment: Deployment, place: Mapping[str, str], reach: Reach, settings: Settings, generation: str | None
) -> Iterator[Found]:
    """Yield the objects that carry the label, of the kinds that a record can name; and the namespace, if the deployment made that."""
    namespace = named_namespace(deployment)
    here = placed(deployment, {**place, "namespace": namespace})
    whole = Resource(kind_of("namespace"), namespace, here, stage=NAMESPACE_STAGE)
    kind = kinds_in(reach)[whole.kind]
    kind.check_id(whole, settings)
    type_ = entry(deployment.deployment_type)
    label = type_.mark_key if generation is None else f"{type_.mark_key}={generation}"
    has_found = False
    with kind.open(whole, settings) as cluster:
        bodies = [(noun, body) for noun in STAGES for body in labelled(cluster, noun, namespace, label)]
        ours = {uid_of(body) for _, body in bodies}
        if deployment.metadata.get("delete_namespace") == "true":
            bodies += [("namespace", body) for body in _itself(cluster, namespace)]
        for noun, body in bodies:
            mark = mark_in_tags(type_, _labels(body))
            if mark is None or generation not in (None, mark) or _is_controlled(cluster, noun, body, ours):
                continue
            has_found = True
            stage = STAGES.get(noun, NAMESPACE_STAGE)
            there = here | {"cluster_uid": cluster.uid, "uid": uid_of(body)}
            key = noun if noun in type_.ids else ""
            made_at = at(body, "metadata", "creationTimestamp")
            yield Found(Resource(kind_of(noun), name_of(body), there, stage=stage), key, mark, made_at)
        if not has_found:
            check_vouched(generation, here["cluster_uid"], f"namespace {namespace} of cluster {cluster.uid}")


def _itself(cluster: Cluster, namespace: str) -> list[Body]:
    try:
        return [read(cluster, "namespace", "", namespace)]
    except Gone:
        return []


def _labels(body: Body) -> dict[str, str]:
    found = at(body, "metadata", "labels")
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _is_controlled(cluster: Cluster, noun: str, body: Body, ours: set[str]) -> bool:
    """Return whether another object that was found controls this one, and takes it along."""
    if not controller_of(body):
        return False
    _, top = topmost(cluster, noun, body)
    return top is not body and uid_of(top) in ours
