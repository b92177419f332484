"""This is what in a cluster would outlive it at its provider: found by what still holds something there, not by what it is declared to be.

Used by `objects`. Balancers are held by services, ingresses and gateways, disks by claims and volumes, copies of disks by snapshots.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from tracker.cleanup.core.contract import Refused, Unreachable
from tracker.cleanup.transport.bounds import LIST_LIMIT
from tracker.cleanup.transport.kubernetes.cluster import Cluster, NotServed, uid_of
from tracker.cleanup.transport.kubernetes.nouns import (
    Body,
    at,
    claims_of,
    controller_of,
    each_at,
    finalizers_of,
    is_leaving,
    kind_of,
    listed,
    name_of,
    namespace_of,
    pods,
    topmost,
)
from tracker.model.deployment import RESOURCE_DETAIL_MAX, Resource, clipped

# The permissions in a cluster that the search and the deletion of what it finds need.
PERMISSIONS = (
    "get namespaces (kube-system)",
    "list, get, delete services, ingresses, persistentvolumeclaims",
    "list, get persistentvolumes",
    "list, get, delete pods; get, delete deployments, replicasets, statefulsets, daemonsets, jobs, cronjobs",
    "list, get, delete gateways (gateway.networking.k8s.io)",
    "list volumesnapshotcontents; to delete them: get, delete volumesnapshotcontents, delete volumesnapshots (snapshot.storage.k8s.io)",
)
SYSTEM = "kube-system"
# It still has a disk, though no claim has it any more, and its driver is to delete that.
_UNCLAIMED = ("Released", "Failed")


class Found(NamedTuple):
    """A resource, and the description of its object."""

    resource: Resource
    body: Body


def search(cluster: Cluster, place: Mapping[str, str], *, takes_snapshots: bool = False) -> list[Found]:
    """Return what would outlive a cluster and be paid for, and what keeps that from going, stage by stage.

    First go gateways and services that hold a balancer, all ingresses, since only their controller knows whether one has a balancer,
    and the workloads whose pods mount a claim; then the claims. Volumes whose claim is gone already are waited for. Kept are what is
    to be retained, what is of kube-system, and, unless it `takes_snapshots`, the snapshots of volumes.
    """
    place = {**place, "cluster_uid": cluster.uid}
    claims = listed(cluster, "persistentvolumeclaim")
    volumes = listed(cluster, "persistentvolume")
    retained = {name_of(each) for each in volumes if not _is_to_be_deleted(each)}
    disks = {name_of(each): str(at(each, "spec", "csi", "volumeHandle") or "") for each in volumes}
    going = [each for each in claims if at(each, "spec", "volumeName") not in retained]
    return [
        *_gateways(cluster, place),
        *(_found("service", each, place) for each in listed(cluster, "service") if _holds_balancer(each)),
        *_ingresses(cluster, place),
        *(_found(*each, place) for each in _mounting(cluster, [each for each in going if not _is_system(each)])),
        *_snapshots(cluster, place, takes_snapshots=takes_snapshots),
        *(_claim(each, disks, place) for each in going),
        *_volumes(volumes, claims, place),
    ]


def outliving(cluster: Cluster, place: Mapping[str, str]) -> list[Resource]:
    """Return the resources that `search` finds."""
    return [each.resource for each in search(cluster, place)]


def _found(noun: str, body: Body, place: Mapping[str, str], stage: int = 0) -> Found:
    namespace, name = namespace_of(body), name_of(body)
    here = {**place, "uid": uid_of(body)} | ({"namespace": namespace} if namespace else {})
    return Found(Resource(kind_of(noun), f"{namespace}/{name}" if namespace else name, here, stage=stage), body)


def _placed(found: Found, more: Mapping[str, str]) -> Found:
    return found._replace(resource=replace(found.resource, place={**found.resource.place, **more}))


def _kept(found: Found, why: str) -> Found:
    return found._replace(resource=replace(found.resource, state="kept", detail=clipped(why, RESOURCE_DETAIL_MAX)))


def _is_system(body: Body) -> bool:
    return namespace_of(body) == SYSTEM


# Balancers


def _holds_balancer(body: Body) -> bool:
    """Return whether a service has or gets a balancer, or some controller still has something of it to clean up."""
    return at(body, "spec", "type") == "LoadBalancer" or _has_address(body) or bool(finalizers_of(body))


def _has_address(body: Body) -> bool:
    return bool(each_at(body, "status", "loadBalancer", "ingress"))


def _ingresses(cluster: Cluster, place: Mapping[str, str]) -> Iterator[Found]:
    for each in listed(cluster, "ingress"):
        found = _found("ingress", each, place)
        if not _is_system(each):
            yield found
        elif _has_address(each):
            yield _kept(found, "it is the cluster's own, in kube-system; its load balancer may be left")


def _gateways(cluster: Cluster, place: Mapping[str, str]) -> Iterator[Found]:
    bodies, refusal = _listed_if_served(cluster, "gateway")
    if refusal:
        yield _unlisted("gateway", place, f"a load balancer that a gateway made may be left: {refusal}")
    yield from (_found("gateway", each, place) for each in bodies)


# Disks


def _claim(body: Body, disks: Mapping[str, str], place: Mapping[str, str]) -> Found:
    found = _found("persistentvolumeclaim", body, place, stage=1)
    if volume := str(at(body, "spec", "volumeName") or ""):
        disk = {"disk": disks[volume]} if disks.get(volume) else {}
        found = _placed(found, {"volume": volume, **disk})
    if _is_system(body):
        return _kept(found, "it is the cluster's own, in kube-system; its disk may be left")
    return found


def _is_to_be_deleted(volume: Body) -> bool:
    return bool(at(volume, "spec", "persistentVolumeReclaimPolicy") == "Delete")


def _volumes(volumes: Iterable[Body], claims: Iterable[Body], place: Mapping[str, str]) -> Iterator[Found]:
    """Yield the volumes that go with no claim: those that are to be retained, and those that no claim has."""
    claimed = {uid_of(each) for each in claims}
    for body in sorted(volumes, key=name_of):
        found = _found("persistentvolume", body, place, stage=1)
        claim = "/".join(str(at(body, "spec", "claimRef", key) or "?") for key in ("namespace", "name"))
        if not _is_to_be_deleted(body):
            why = f"it is to be retained, whatever becomes of its claim {claim}: its disk outlives the cluster"
            yield _kept(_placed(found, {"retained": name_of(body)}), why)
        elif at(body, "status", "phase") in _UNCLAIMED or is_leaving(body):
            if at(body, "spec", "claimRef", "uid") not in claimed:
                yield found
        elif not at(body, "spec", "claimRef"):
            yield _kept(found, "no claim has it, so that nothing deletes it: its disk outlives the cluster")


def _mounting(cluster: Cluster, claims: Iterable[Body]) -> list[tuple[str, Body]]:
    """Return what must go so that nothing mounts the claims: for each pod that does, its topmost owner of a known kind."""
    wanted = {(namespace_of(each), name_of(each)) for each in claims}
    mounting = [
        pod
        for pod in (pods(cluster) if wanted else ())
        if any((namespace_of(pod), claim) in wanted for claim in claims_of(pod))
    ]
    until = time.monotonic() + LIST_LIMIT
    found: dict[str, tuple[str, Body]] = {}
    tops: dict[Any, tuple[str, Body]] = {}
    for pod in mounting:
        above = namespace_of(pod), controller_of(pod)
        noun, body = tops.get(above) or topmost(cluster, "pod", pod)
        if body is not pod:
            tops[above] = noun, body
        found.setdefault(uid_of(body), (noun, body))
        if time.monotonic() > until:
            raise Unreachable(f"it takes more than {LIST_LIMIT:.0f} s to find what mounts its claims")
    return list(found.values())


def _snapshots(cluster: Cluster, place: Mapping[str, str], *, takes_snapshots: bool) -> Iterator[Found]:
    bodies, refusal = _listed_if_served(cluster, "volumesnapshotcontent")
    if refusal:
        yield _unlisted("volumesnapshotcontent", place, f"a snapshot of a volume may be left: {refusal}")
    for body in bodies:
        found = _found("volumesnapshotcontent", body, place)
        what = "/".join(str(at(body, "spec", "volumeSnapshotRef", key) or "?") for key in ("namespace", "name"))
        if handle := at(body, "status", "snapshotHandle"):
            what = f"{what}, at the provider {handle}"
        if at(body, "spec", "deletionPolicy") != "Delete":
            yield _kept(found, f"it is to be retained, and outlives the cluster: {what}")
        elif takes_snapshots:
            yield found
        else:
            why = 'snapshots outlive the cluster; metadata.delete_dependents = "all" would delete this one'
            yield _kept(found, f"{why}: {what}")


def _listed_if_served(cluster: Cluster, noun: str) -> tuple[list[Body], str]:
    """Return all objects of a kind that not every cluster has, and why they can't be listed, if they can't."""
    try:
        return listed(cluster, noun), ""
    except NotServed:
        return [], ""
    except Refused as refused:
        # Whoever may list the rest was let in: this alone mustn't keep the cluster for ever.
        return [], str(refused)


def _unlisted(noun: str, place: Mapping[str, str], why: str) -> Found:
    return _kept(Found(Resource(kind_of(noun), "*", dict(place)), {}), f"it can't be listed, so that {why}")
