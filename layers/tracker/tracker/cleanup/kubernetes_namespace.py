"""What a record names in one namespace of a Kubernetes cluster, and what hangs on that.

For the types that are objects in a cluster which stays: they differ in how it is reached.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from tracker.catalogue import entry
from tracker.cleanup.contract import Refused
from tracker.cleanup.kubernetes_cluster import Cluster, Gone, uid_of
from tracker.cleanup.kubernetes_objects import (
    Body,
    KubernetesKind,
    Reach,
    at,
    claims_of,
    controller_of,
    is_leaving,
    kind_of,
    kinds,
    listed,
    name_of,
    named,
    read,
    refuse_another,
    topmost,
)
from tracker.deployment import Deployment, Resource, ids_named
from tracker.settings import Settings

WORKLOADS = ("deployment", "statefulset", "daemonset", "job", "cronjob", "pod")
NAMESPACE_STAGE = 4
# What has a load balancer goes first, while what serves it is there; a service's own stage is that of the others.
_STAGES = {
    "ingress": 0,
    **dict.fromkeys(WORKLOADS, 1),
    **dict.fromkeys(("service", "configmap", "secret"), 2),
    "persistentvolumeclaim": 3,
}
ORDER = (
    "ingresses, and services of type LoadBalancer",
    "deployments, stateful sets, daemon sets, jobs, cron jobs and pods, each after the pods that it owns",
    "other services, config maps and secrets",
    "persistent volume claims, each with its volume",
    "the namespace, if the deployment made it",
)
PERMISSIONS = (
    "get namespaces (kube-system)",
    "get, delete what the record names in its namespace (deployments, services, persistentvolumeclaims ...)",
    "list pods and persistentvolumeclaims in its namespace, get its replicasets; get persistentvolumes, for claims",
    "with `delete_namespace`: get, delete namespaces, and list all workloads in that one",
)


def kinds_in(reach: Reach) -> dict[str, KubernetesKind]:
    """How every kind of object goes; a namespace only with nothing of others in it."""
    return kinds(reach) | {kind_of("namespace"): KubernetesKind("namespace", reach, allow=_refuse_others)}


def discover(deployment: Deployment, place: Mapping[str, str], reach: Reach, settings: Settings) -> list[Resource]:
    """What the record names, and the claims that its workloads mount; `place` is what leads `reach` to the cluster.

    A claim that only was found is kept, unless `metadata.delete_dependents` is "all" and nothing else mounts it. The namespace goes
    only if `metadata.delete_namespace` says that the deployment made it, and nothing else lives there.
    """
    namespace = _named_namespace(deployment)
    place = _placed(deployment, {**place, "namespace": namespace})
    found = {each.key: each for each in _named(deployment, place)}
    whole = Resource(kind_of("namespace"), namespace, place, stage=NAMESPACE_STAGE, named_by="namespace")
    named(whole)
    with reach(whole, settings) as cluster:
        refuse_another(cluster, place)
        bodies = {each.key: body for each in found.values() if (body := _body(cluster, each)) is not None}
        if bodies:
            # What was seen there vouches for the cluster: its "not found" counts from now on, too.
            place = place | {"cluster_uid": cluster.uid}
        ours = {uid_of(body) for body in bodies.values()}
        for key, body in bodies.items():
            _refuse_controlled(cluster, key, body, ours)
            found[key] = _seen(found[key], body)
        every = deployment.metadata.get("delete_dependents") == "all"
        for claim in _claims(cluster, namespace, bodies, ours, every=every):
            found.setdefault(claim.key, claim)
        if deployment.metadata.get("delete_namespace") == "true":
            _refuse_strangers(
                cluster, namespace, {each.place["uid"] for each in found.values() if each.state != "kept"}
            )
            found[whole.key] = whole
    return [replace(each, place=each.place | place) for each in found.values()]


def _named_namespace(deployment: Deployment) -> str:
    namespace = deployment.resource_ids.get("namespace")
    if not namespace:
        raise Refused("missing_id", "resource_ids.namespace is missing")
    form = entry(deployment.deployment_type).ids["namespace"]
    if not isinstance(namespace, str) or not form.matches(namespace):
        raise Refused("bad_id", f"{namespace!r} can't be the namespace of a deployment")
    return namespace


def _placed(deployment: Deployment, place: dict[str, str]) -> dict[str, str]:
    """With the cluster that the record names, or in which something of it was seen at this very place."""
    seen = (
        each.place["cluster_uid"]
        for each in deployment.resources
        if each.place.get("cluster_uid") and place.items() <= each.place.items()
    )
    return place | {"cluster_uid": deployment.metadata.get("cluster_uid") or next(seen, "")}


def _named(deployment: Deployment, place: dict[str, str]) -> Iterator[Resource]:
    """What the record names, with what is known of it in this place. Refused before any call."""
    if not any(ids_named(deployment, noun) for noun in WORKLOADS):
        raise Refused("missing_id", f"none of resource_ids.{', '.join(WORKLOADS)} is there")
    known = {each.key: each.place for each in deployment.resources}
    for noun, stage in _STAGES.items():
        for name in ids_named(deployment, noun):
            before = known.get((kind_of(noun), name), {})
            is_same = all(before.get(key, "") in ("", place[key]) for key in ("namespace", "cluster_uid"))
            learned = {key: before.get(key, "") if is_same else "" for key in ("uid", "volume")}
            resource = Resource(kind_of(noun), name, place | learned, stage=stage, named_by=noun)
            if "/" in name:
                raise Refused("bad_id", f"{name!r} can't be the name of a {noun}")
            named(resource)
            yield resource


def _body(cluster: Cluster, resource: Resource) -> Body | None:
    """What the cluster says of ours, None if it has it no more."""
    noun = resource.kind.removeprefix("kubernetes:")
    try:
        _, body = read(cluster, noun, *named(resource))
    except Gone:
        return None
    return body if resource.place["uid"] in ("", uid_of(body)) else None


def _seen(resource: Resource, body: Body) -> Resource:
    has_balancer = resource.kind == kind_of("service") and at(body, "spec", "type") == "LoadBalancer"
    return replace(
        resource,
        place=resource.place | {"uid": uid_of(body)},
        stage=_STAGES["ingress"] if has_balancer else resource.stage,
        seen=True,
    )


def _refuse_controlled(cluster: Cluster, key: tuple[str, str], body: Body, ours: set[str]) -> None:
    """Refused, if something else controls it, and would make another one."""
    owner = next((each for each in at(body, "metadata", "ownerReferences") or [] if each.get("controller")), None)
    if owner is None or is_leaving(body):
        return
    _, top = topmost(cluster, key[0].removeprefix("kubernetes:"), body)
    # Its own topmost, though something known here controls it: that is gone, and makes nothing any more.
    if controller_of(body) and (top is body or uid_of(top) in ours):
        return
    text = f"{key[0]} {key[1]} is controlled by {owner.get('kind')} {owner.get('name')}, which would make another: remove that"
    raise Refused("protected", text)


def _claims(
    cluster: Cluster, namespace: str, bodies: Mapping[tuple[str, str], Body], ours: set[str], *, every: bool
) -> Iterator[Resource]:
    """The claims that the workloads mount, and why each is kept."""
    workloads = [(kind.removeprefix("kubernetes:"), body) for (kind, _), body in bodies.items()]
    mounted = {claim for noun, body in workloads if noun in WORKLOADS for claim in _mounted(noun, body)}
    patterns = [pattern for noun, body in workloads if noun == "statefulset" for pattern in _templates(body)]
    if not mounted and not patterns:
        return
    pods = [(pod, claims_of(pod)) for pod in listed(cluster, "pod", namespace)]
    for body in listed(cluster, "persistentvolumeclaim", namespace):
        name = name_of(body)
        if name not in mounted and not any(re.fullmatch(pattern, name) for pattern in patterns):
            continue
        others = [pod for pod, claims in pods if name in claims and uid_of(topmost(cluster, "pod", pod)[1]) not in ours]
        if others:
            why = f"pod {name_of(others[0])} mounts it, too"
        elif every:
            why = ""
        else:
            why = 'the record doesn\'t name it; metadata.delete_dependents = "all" would delete it, and its volume'
        yield Resource(
            kind_of("persistentvolumeclaim"),
            name,
            {"uid": uid_of(body)},
            stage=_STAGES["persistentvolumeclaim"],
            state="kept" if why else "unseen",
            detail=why,
        )


def _mounted(noun: str, body: Body) -> set[Any]:
    """The claims that a workload's pods name. Those that a pod has of its own go with it."""
    spec = at(body, "spec")
    if noun == "cronjob":
        spec = at(spec, "jobTemplate", "spec")
    pod = spec if noun == "pod" else at(spec, "template", "spec")
    claims = {at(each, "persistentVolumeClaim", "claimName") for each in at(pod, "volumes") or []}
    return claims - {None}


def _templates(stateful_set: Body) -> list[str]:
    """How the claims are called that a stateful set made ("Stable Storage"), unless they go with it anyway."""
    if at(stateful_set, "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted") == "Delete":
        return []
    templates = at(stateful_set, "spec", "volumeClaimTemplates") or []
    return [f"{re.escape(name_of(each))}-{re.escape(name_of(stateful_set))}-[0-9]+" for each in templates]


def _refuse_others(cluster: Cluster, resource: Resource, _: Body) -> None:
    """When the namespace's turn comes, what was the deployment's is gone: whatever lives there is someone else's."""
    _refuse_strangers(cluster, resource.id, set())


def _refuse_strangers(cluster: Cluster, namespace: str, ours: set[str]) -> None:
    """Refused, if workloads or claims are in the namespace that aren't ours, by uid: they would go with it."""
    for noun in (*WORKLOADS, "replicaset", "persistentvolumeclaim"):
        for body in listed(cluster, noun, namespace):
            if is_leaving(body) or controller_of(body) or uid_of(body) in ours:
                continue
            text = f"{noun} {name_of(body)} isn't the record's, and would go with namespace {namespace}"
            raise Refused("not_ours", f"{text}: name it, remove it, or take metadata.delete_namespace back")
