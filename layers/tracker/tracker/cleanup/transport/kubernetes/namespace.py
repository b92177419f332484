"""The objects that a record names in one namespace of a Kubernetes cluster, and the claims of its workloads.

Used by the types that are objects in a cluster which stays. They differ only in how the cluster is reached.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from tracker.cleanup.core.contract import Refused
from tracker.cleanup.core.discovery import judged, kept, named_resources
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.transport.kubernetes.cluster import Cluster, uid_of
from tracker.cleanup.transport.kubernetes.kinds import KubernetesKind, Reach
from tracker.cleanup.transport.kubernetes.kinds import kinds as kinds_of
from tracker.cleanup.transport.kubernetes.nouns import (
    Body,
    at,
    claims_of,
    controller_of,
    each_at,
    is_leaving,
    kind_of,
    listed,
    name_of,
    pods,
    topmost,
)
from tracker.model.catalogue import entry
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

type Kinds = dict[str, KubernetesKind]

WORKLOADS = ("deployment", "statefulset", "daemonset", "job", "cronjob", "pod")
NAMESPACE_STAGE = 4
# Ingresses go first, while their controllers are there, and so do services with a load balancer (`_seen`).
STAGES = {
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
GONE = (
    "The API server answers NotFound for this very object, in the cluster whose namespace kube-system has the uid that was "
    "seen before, or that `cluster_uid` names; or another object has its name, with another uid. A claim: its volume is gone, "
    "too, unless that is to be retained."
)
DURATION = "Seconds to a minute for pods (30 seconds of grace by default); minutes for load balancers and volumes."
_ONLY_FOUND = 'the record doesn\'t name it; metadata.delete_dependents = "all" would delete it, and its volume'
PERMISSIONS = (
    "get namespaces (kube-system)",
    "get, delete what the record names in its namespace (deployments, services, persistentvolumeclaims ...)",
    "to find it by its mark: list each of these kinds in its namespace",
    "list pods and persistentvolumeclaims in its namespace, get its replicasets; get persistentvolumes, for claims",
    "with `delete_namespace`: get, delete namespaces, and list all workloads in that one",
)


class Namespace(KubernetesKind):
    """A namespace. It goes last, and only with nothing of others in it."""

    def check_deletable(self, connection: Cluster, resource: Resource, body: Body, settings: Settings) -> None:
        """Raise Refused if any workload or claim is left in it: the deployment's own are gone by now."""
        super().check_deletable(connection, resource, body, settings)
        _refuse_strangers(connection, resource.id, set())


def kinds_in(reach: Reach) -> Kinds:
    """Return the kinds of all objects in a cluster that stays, where a namespace may have been someone else's, too."""
    return kinds_of(reach, is_going=False) | {kind_of("namespace"): Namespace("namespace", reach)}


def discover(deployment: Deployment, place: Mapping[str, str], reach: Reach, settings: Settings) -> list[Resource]:
    """Return what the record names, and the claims that its workloads mount. By `place` `reach` finds the cluster.

    A claim that was only found is kept, unless `metadata.delete_dependents` is "all" and nothing else mounts it. The namespace goes
    only if `metadata.delete_namespace` says that the deployment made it, and nothing else lives there.
    """
    namespace = named_namespace(deployment)
    place = placed(deployment, {**place, "namespace": namespace})
    object_kinds = kinds_in(reach)
    found = {each.key: each for each in _named(deployment, place, object_kinds, settings)}
    whole = Resource(kind_of("namespace"), namespace, place, stage=NAMESPACE_STAGE, named_by="namespace")
    object_kinds[whole.kind].check_id(whole, settings)
    with object_kinds[whole.kind].open(whole, settings) as cluster:
        bodies = {each.key: body for each in found.values() if (body := _body(object_kinds, cluster, each))}
        if bodies:
            # It is the right cluster, since something of the record's was seen there: now its "not found" is a proof, too.
            place = place | {"cluster_uid": cluster.uid}
        ours = {uid_of(body) for body in bodies.values()}
        for key, body in bodies.items():
            _refuse_controlled(cluster, key, body, ours)
            found[key] = _seen(found[key], body)
        for claim in _claims(cluster, deployment, namespace, bodies, ours):
            found.setdefault(claim.key, claim)
        if deployment.metadata.get("delete_namespace") == "true":
            _refuse_strangers(
                cluster, namespace, {each.place["uid"] for each in found.values() if each.state != "kept"}
            )
            found[whole.key] = whole
    return [replace(each, place=each.place | place) for each in found.values()]


def named_namespace(deployment: Deployment) -> str:
    """Return the namespace that a record names. Raises Refused if it names none, or it can't be one."""
    namespace = deployment.resource_ids.get("namespace")
    if not namespace:
        raise Refused("missing_id", "resource_ids.namespace is missing")
    form = entry(deployment.deployment_type).ids["namespace"]
    if not isinstance(namespace, str) or not form.matches(namespace):
        raise Refused("bad_id", f"{namespace!r} can't be the namespace of a deployment")
    return namespace


def placed(deployment: Deployment, place: dict[str, str]) -> dict[str, str]:
    """Return the place with the cluster that the record names, or in which something of it was seen at this very place."""
    seen = (
        each.place["cluster_uid"]
        for each in deployment.resources
        if each.place.get("cluster_uid") and place.items() <= each.place.items()
    )
    return place | {"cluster_uid": deployment.metadata.get("cluster_uid") or next(seen, "")}


def _named(
    deployment: Deployment, place: dict[str, str], object_kinds: Kinds, settings: Settings
) -> Iterator[Resource]:
    """Yield what the record names, with what is known of it in this place. Raises Refused, before any call is made."""
    known = {each.key: each.place for each in deployment.resources}
    stages = {kind_of(noun): stage for noun, stage in STAGES.items()}
    mains = [kind_of(noun) for noun in WORKLOADS]
    for resource in named_resources(deployment, place, stages, object_kinds, settings, mains):
        if "/" in resource.id:
            raise Refused("bad_id", f"{resource.id!r} can't be the name of a {resource.named_by}")
        before = known.get(resource.key, {})
        is_same = all(before.get(key, "") in ("", place[key]) for key in ("namespace", "cluster_uid"))
        learned = {key: before.get(key, "") if is_same else "" for key in ("uid", "volume")}
        yield replace(resource, place=place | learned)


def _body(object_kinds: Kinds, cluster: Cluster, resource: Resource) -> Body | None:
    """Return a resource's object, None if it is gone or another has its name."""
    try:
        return object_kinds[resource.kind].find(cluster, resource)
    except Gone:
        return None


def _seen(resource: Resource, body: Body) -> Resource:
    has_balancer = resource.kind == kind_of("service") and at(body, "spec", "type") == "LoadBalancer"
    return replace(
        resource,
        place=resource.place | {"uid": uid_of(body)},
        stage=STAGES["ingress"] if has_balancer else resource.stage,
        seen=True,
    )


def _refuse_controlled(cluster: Cluster, key: tuple[str, str], body: Body, ours: set[str]) -> None:
    """Raise Refused if something else controls an object, and would make another such object."""
    owner = next((each for each in each_at(body, "metadata", "ownerReferences") if each.get("controller")), None)
    if owner is None or is_leaving(body):
        return
    _, top = topmost(cluster, key[0].removeprefix("kubernetes:"), body)
    # If it is its own topmost, though its controller's kind is known, that controller is gone, and makes nothing any more.
    if controller_of(body) and (top is body or uid_of(top) in ours):
        return
    text = f"{key[0]} {key[1]} is controlled by {owner.get('kind')} {owner.get('name')}, which would make another: remove that"
    raise Refused("protected", text)


def _claims(
    cluster: Cluster,
    deployment: Deployment,
    namespace: str,
    bodies: Mapping[tuple[str, str], Body],
    ours: set[str],
) -> Iterator[Resource]:
    """Yield the claims that the workloads mount, and why each is kept. `ours` are the uids of what the record names."""
    workloads = [(kind.removeprefix("kubernetes:"), body) for (kind, _), body in bodies.items()]
    mounted = {claim for noun, body in workloads if noun in WORKLOADS for claim in _mounted(noun, body)}
    patterns = [pattern for noun, body in workloads if noun == "statefulset" for pattern in _templates(body)]
    if not mounted and not patterns:
        return
    mounting = [(pod, claims) for pod in pods(cluster, namespace) if (claims := claims_of(pod))]
    for body in listed(cluster, "persistentvolumeclaim", namespace):
        name = name_of(body)
        if name not in mounted and not any(re.fullmatch(pattern, name) for pattern in patterns):
            continue
        stage = STAGES["persistentvolumeclaim"]
        claim = Resource(kind_of("persistentvolumeclaim"), name, {"uid": uid_of(body)}, stage=stage)
        others = [
            pod for pod, claims in mounting if name in claims and uid_of(topmost(cluster, "pod", pod)[1]) not in ours
        ]
        if others:
            yield kept(claim, f"pod {name_of(others[0])} mounts it, too")
        else:
            yield judged(deployment, claim, why=_ONLY_FOUND)


def _mounted(noun: str, body: Body) -> set[Any]:
    """Return the claims that a workload's pods name. A pod's own claims go with it."""
    spec = at(body, "spec")
    if noun == "cronjob":
        spec = at(spec, "jobTemplate", "spec")
    pod = spec if noun == "pod" else at(spec, "template", "spec")
    claims = {at(each, "persistentVolumeClaim", "claimName") for each in each_at(pod, "volumes")}
    return claims - {None}


def _templates(stateful_set: Body) -> list[str]:
    """Return patterns for the names of the claims that a stateful set made, unless they go with it. Source: "Stable Storage"."""
    if at(stateful_set, "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted") == "Delete":
        return []
    templates = each_at(stateful_set, "spec", "volumeClaimTemplates")
    return [f"{re.escape(name_of(each))}-{re.escape(name_of(stateful_set))}-[0-9]+" for each in templates]


def _refuse_strangers(cluster: Cluster, namespace: str, ours: set[str]) -> None:
    """Raise Refused if there are workloads or claims in the namespace whose uids aren't among `ours`: they would go with it."""
    for noun in (*WORKLOADS, "replicaset", "persistentvolumeclaim"):
        for body in listed(cluster, noun, namespace):
            if is_leaving(body) or controller_of(body) or uid_of(body) in ours:
                continue
            text = f"{noun} {name_of(body)} isn't the record's, and would go with namespace {namespace}"
            raise Refused("not_ours", f"{text}: name it, remove it, or take metadata.delete_namespace back")
