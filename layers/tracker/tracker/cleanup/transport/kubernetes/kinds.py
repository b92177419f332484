"""This is how one object of each kind is read and deleted.

An object's uid is remembered as soon as it was seen, so that a later object of its name is never deleted. A workload is gone when its
pods are (foreground deletion), a claim when its volume is. Used by `objects` for clusters that go, by `namespace` for those that stay.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from msgspec.structs import replace

from tracker.cleanup.core.contract import Busy, Observation, Progress, Refused, Stuck, Unreachable
from tracker.cleanup.core.kind import Gone, Kind
from tracker.cleanup.transport.kubernetes.cluster import Cluster, NoAccess, uid_of
from tracker.cleanup.transport.kubernetes.nouns import (
    NOUNS,
    Body,
    at,
    claims_of,
    each_at,
    finalizers_of,
    first_served,
    is_leaving,
    kind_of,
    name_of,
    pods,
    read,
)
from tracker.cleanup.transport.loopback import is_loopback
from tracker.model.catalogue.kubernetes import LABEL, SUBDOMAIN
from tracker.model.deployment import RESOURCE_DETAIL_MAX, Resource, clipped
from tracker.model.settings import Settings

# What in a cluster that goes isn't gone after this share of a second round's time holds up the rest no longer, stage by stage.
PATIENCE = (0.25, 0.5)
# A label or annotation that begins so names what makes an object again that someone else deletes.
_MAKERS = {
    "argocd.argoproj.io/": "Argo CD",
    "kustomize.toolkit.fluxcd.io/": "Flux",
    "helm.toolkit.fluxcd.io/": "Flux",
    "meta.helm.sh/release-name": "Helm",
}

type Reach = Callable[[Resource, Settings], Cluster]


class Successor(Gone):
    """Another object has the name now."""

    def __init__(self, text: str, body: Body) -> None:
        super().__init__(text)
        self.body = body


def kinds(reach: Reach, *, is_going: bool) -> dict[str, "KubernetesKind"]:
    """Return the kinds of all objects, on the clusters that `reach` leads to. `is_going` says that these go with what is in them."""
    special = {
        "persistentvolumeclaim": Claim,
        "persistentvolume": Volume,
        "volumesnapshotcontent": SnapshotContent,
    }
    return {kind_of(noun): special.get(noun, KubernetesKind)(noun, reach, is_going=is_going) for noun in NOUNS}


class KubernetesKind(Kind[Cluster, Body]):
    """One kind of object, in the clusters that `reach` leads to. A resource's id is a name in the `namespace` of its place, or "namespace/name".

    If the cluster `is_going`, an object that doesn't go is left to it after a while.
    """

    anchor = "cluster_uid"

    def __init__(self, noun: str, reach: Reach, *, is_going: bool = False) -> None:
        self.noun = noun
        self._reach = reach
        self._is_going = is_going

    @contextmanager
    def open(self, resource: Resource, settings: Settings) -> Iterator[Cluster]:
        """Open the cluster of the resource's place. Raises Refused if it is another one, ClusterGone if there is none any more.

        If the cluster is going, what it can't do or doesn't answer raises Stuck.
        """
        try:
            opening = self._reach(resource, settings)
        except NoAccess as no_access:
            raise Stuck(str(no_access)) from None
        try:
            with opening as cluster:
                refuse_another(cluster, resource.place)
                yield cluster
        except (Refused, Unreachable) as error:
            # That an id is malformed can't be true of what the cluster itself listed.
            if self._is_going and (isinstance(error, Unreachable) or error.error_class == "bad_id"):
                raise Stuck(str(error)) from None
            raise

    def patience(self, resource: Resource) -> float:
        """Return the share of a round's time for which the rest waits until the object is gone."""
        return PATIENCE[min(resource.stage, len(PATIENCE) - 1)] if self._is_going else 1.0

    def check_id(self, resource: Resource, settings: Settings) -> None:
        """Raise Refused if namespace or name can't be one, or it is one of the cluster's own namespaces."""
        namespace_and_name(resource)

    def read(self, connection: Cluster, resource: Resource) -> Body:
        """Return the object."""
        return read(connection, self.noun, *namespace_and_name(resource))

    def find(self, connection: Cluster, resource: Resource) -> Body:
        """Return this very object. Raises Gone if there is none, Successor if another one has its name."""
        body = self.read(connection, resource)
        known, uid = resource.place.get("uid", ""), uid_of(body)
        if known not in ("", uid):
            raise Successor(f"{self.noun} {resource.id} is another one now: its uid is {uid}, and was {known}", body)
        return body

    def is_to_be_asked(self, resource: Resource, body: Body, settings: Settings) -> bool:
        """Return whether its deletion has to be requested: of what is being deleted only if a round asks once more, and notes that."""
        is_to_be = super().is_to_be_asked(resource, body, settings)
        return is_to_be and (resource.asked_in > 0 or self.progress(body)[0] == "present")

    def request_deletion(self, connection: Cluster, resource: Resource, body: Body) -> None:
        """Request the deletion of the object with the uid that was read."""
        delete(connection, self.noun, *namespace_and_name(resource), uid_of(body))

    def progress(self, body: Body) -> tuple[Progress, str]:
        """Return whether it is being deleted, since when, and which finalizers or conditions it waits for; or what would make it again."""
        if not is_leaving(body):
            maker = maker_of(body)
            return "present", f"under {maker}: it may come again" if maker else ""
        return "leaving", clipped("; ".join([_held_by(body), *_remaining(body)]), RESOURCE_DETAIL_MAX)

    def identity(self, body: Body) -> dict[str, str]:
        """Return the uid."""
        return {"uid": uid_of(body)}

    def address(self, connection: Cluster, resource: Resource) -> str:
        """Return the host of the API server, unless that is this machine, or a provider says where its cluster is."""
        host = urlsplit(connection.server).hostname or ""
        return "" if self._is_going or is_loopback(host) else host

    def location(self, connection: Cluster) -> dict[str, str]:
        """Return the uid of the cluster."""
        return {"cluster_uid": connection.uid}

    def observe_absence(self, connection: Cluster, resource: Resource, gone: Gone) -> Observation:
        """Say that it is gone, and from which cluster.

        What came back after its deletion is no success: raises Stuck in a cluster that is going, Refused if something is known to
        make it again.
        """
        observation = super().observe_absence(connection, resource, Gone(f"{gone}, in cluster {connection.uid}"))
        if not isinstance(gone, Successor) or not (resource.asked_in or resource.state == "leaving"):
            return observation
        maker = maker_of(gone.body)
        text = f"it came back after its deletion{f', under {maker}' if maker else ''}: {gone}"
        if self._is_going:
            raise Stuck(text)
        if maker:
            raise Refused("protected", f"{text}: remove it there")
        return replace(observation, detail=clipped(text, RESOURCE_DETAIL_MAX))


class Claim(KubernetesKind):
    """A persistent volume claim. It is gone when its volume is, with which the disk goes."""

    def observe(self, connection: Cluster, resource: Resource, body: Body) -> Observation:
        """Add the volume to the place, and to the detail the pods that keep a claim from going."""
        observation = super().observe(connection, resource, body)
        if volume := at(body, "spec", "volumeName"):
            observation = replace(observation, place=observation.place | {"volume": str(volume)})
        if observation.state != "leaving":
            return observation
        namespace, name = namespace_and_name(resource)
        users = [name_of(pod) for pod in pods(connection, namespace) if name in claims_of(pod)]
        mounted = f"; still mounted by pod {', '.join(users)}" if users else ""
        return replace(observation, detail=clipped(observation.detail + mounted, RESOURCE_DETAIL_MAX))

    def observe_absence(self, connection: Cluster, resource: Resource, gone: Gone) -> Observation:
        """Say that it is gone if its volume is gone too, is another claim's, or is to be retained; else that it is leaving."""
        observation = super().observe_absence(connection, resource, gone)
        name = resource.place.get("volume")
        if not name:
            return observation
        try:
            volume = read(connection, "persistentvolume", "", name)
        except Gone as also:
            return replace(observation, proof=f"{observation.proof}; {also}")
        if at(volume, "spec", "claimRef", "uid") != resource.place.get("uid"):
            return replace(observation, proof=f"{observation.proof}; its volume {name} is another claim's now")
        if at(volume, "spec", "persistentVolumeReclaimPolicy") != "Delete":
            return replace(observation, proof=f"{observation.proof}; its volume {name} stays, as it is to be retained")
        return Observation(
            "leaving", detail=clipped(f"its volume {name} isn't gone yet: {_phase(volume)}", RESOURCE_DETAIL_MAX)
        )


class Volume(KubernetesKind):
    """A volume whose claim is gone, and that is to be deleted: by its driver alone, since only that deletes the disk before."""

    def progress(self, body: Body) -> tuple[Progress, str]:
        """Return that it is leaving, and what its driver says."""
        return "leaving", clipped(f"its driver hasn't deleted it yet: {_phase(body)}", RESOURCE_DETAIL_MAX)

    def request_deletion(self, connection: Cluster, resource: Resource, body: Body) -> None:
        """Raise Busy: its driver deletes it."""
        raise Busy(f"its driver deletes it: {_phase(body)}")


class SnapshotContent(KubernetesKind):
    """This is what a snapshot of a volume is at the provider. It goes with the snapshot in the cluster that it was made for."""

    def request_deletion(self, connection: Cluster, resource: Resource, body: Body) -> None:
        """Request the deletion of its snapshot, or of the content itself if that is gone."""
        made_for = ("namespace", "name", "uid")
        namespace, name, uid = (str(at(body, "spec", "volumeSnapshotRef", key) or "") for key in made_for)
        try:
            if not (namespace and name and uid):
                raise Gone("no snapshot is named")
            delete(connection, "volumesnapshot", namespace, name, uid)
        except Gone:
            super().request_deletion(connection, resource, body)


def namespace_and_name(resource: Resource) -> tuple[str, str]:
    """Return the namespace (empty for what is in none) and the name of a resource.

    Raises Refused if they can't be that. What the cluster itself listed has the name that the cluster gave it, whatever its form.
    """
    noun = resource.kind.removeprefix("kubernetes:")
    is_found = "uid" in resource.place and not resource.named_by
    namespace, name = "", resource.id
    if NOUNS[noun].is_namespaced:
        before, _, name = resource.id.rpartition("/")
        namespace = before or resource.place.get("namespace", "")
        if is_found and resource.place.get("namespace"):
            namespace = resource.place["namespace"]
            name = resource.id.removeprefix(f"{namespace}/")
        if not _can_be(LABEL, namespace, is_found=is_found):
            raise Refused("bad_id", f"{namespace!r} can't be a namespace")
    if not _can_be(LABEL if noun in ("service", "namespace") else SUBDOMAIN, name, is_found=is_found):
        raise Refused("bad_id", f"{name!r} can't be the name of a {noun}")
    if noun == "namespace" and (name == "default" or name.startswith("kube-")):
        raise Refused("protected", f"namespace {name} is the cluster's own")
    return namespace, name


def _can_be(form: str, name: str, *, is_found: bool) -> bool:
    """Return whether this can be a name: of this form, or, if a cluster gave it, whatever isn't another path even if it is quoted."""
    return name not in ("", ".", "..") if is_found else re.fullmatch(form, name, re.ASCII) is not None


def delete(cluster: Cluster, noun: str, namespace: str, name: str, uid: str) -> None:
    """Request the deletion of the object that has this uid. Raises Gone if there is none."""
    first_served(NOUNS[noun].paths(namespace, name), lambda path: cluster.delete(path, uid))


def refuse_another(cluster: Cluster, place: Mapping[str, str]) -> None:
    """Raise Refused if it isn't the cluster that a place names."""
    known = place.get("cluster_uid", "")
    if known not in ("", cluster.uid):
        text = f"the cluster at {cluster.server} is {cluster.uid}, not {known}: nothing in it is the record's"
        raise Refused("not_ours", text)


def maker_of(body: Body) -> str:
    """Return what would make an object again that is deleted, with the label or annotation that says so; empty if nothing says so."""
    marks: Body = {}
    for where in ("labels", "annotations"):
        found = at(body, "metadata", where)
        marks |= found if isinstance(found, dict) else {}
    for prefix, maker in _MAKERS.items():
        for key, value in marks.items():
            if key.startswith(prefix):
                return clipped(f"{maker} ({key}: {value})", RESOURCE_DETAIL_MAX // 2)
    instance, manager = (marks.get(f"app.kubernetes.io/{name}") for name in ("instance", "managed-by"))
    return (
        clipped(f"{manager} (app.kubernetes.io/instance: {instance})", RESOURCE_DETAIL_MAX // 2)
        if instance and manager
        else ""
    )


def _phase(volume: Body) -> str:
    return str(at(volume, "status", "message") or at(volume, "status", "phase") or "")


def _held_by(body: Body) -> str:
    """Say since when an object is being deleted (of a pod: until when it has time), and what it waits for."""
    since = f"being deleted, {at(body, 'metadata', 'deletionTimestamp')}"
    holding = finalizers_of(body)
    # The garbage collector's finalizer of a foreground deletion stays while what the object owns is there.
    finalizers = at(body, "metadata", "finalizers")
    if isinstance(finalizers, list) and "foregroundDeletion" in finalizers:
        holding.append("what it owns")
    return f"{since}, waits for {', '.join(holding)}" if holding else since


def _remaining(body: Body) -> list[str]:
    """Return what a namespace's conditions say of the objects that are left in it."""
    return [
        str(each.get("message"))
        for each in each_at(body, "status", "conditions")
        if str(each.get("type", "")).startswith("Namespace") and each.get("status") == "True"
    ]
