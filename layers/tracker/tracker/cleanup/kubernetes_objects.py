"""Objects of Kubernetes: how each kind goes, and what has to go before a whole cluster may.

For LocalKubernetes, and for the types that are a managed cluster. Such a type says how its cluster is reached, and the rest
is here:

    def _reach(resource, settings) -> Cluster:       # not open yet; ClusterGone, if the provider has none such any more;
                                                     # NoAccess, if it says no way into it
        ... ask the provider, by resource.place ...  # for the endpoint, the authority and a token; or for a kubeconfig
        return Cluster(Access(server, ca=pem, token=token))    # or Cluster(access_of(kubeconfig))

    KINDS = {"aws:eks_cluster": ..., **kinds(_reach)}

    def discover(deployment, settings):
        cluster = Resource("aws:eks_cluster", name, place, stage=AFTER_OBJECTS, named_by="cluster_name")
        return [*inside(deployment, cluster, lambda: _reach(cluster, settings)), cluster]   # if the provider has it

The place of what is found is the cluster's, with `cluster` (its id), `namespace`, `uid`, `cluster_uid` and `volume` added.

An object is remembered by its uid as soon as it was seen, so that another one of its name is let alone, and deleted only if it still
has that uid. A deployment and its like are gone when their pods are (foreground deletion); a claim when its volume is, too.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from tracker.cleanup.contract import Look, Refused, Unreachable
from tracker.cleanup.kubernetes_cluster import (
    JSON,
    METADATA,
    Access,
    Cluster,
    ClusterGone,
    Gone,
    NoAccess,
    NotServed,
    access_of,
    uid_of,
)
from tracker.deployment import Deployment, Resource, clipped
from tracker.settings import Settings

__all__ = [
    "AFTER_OBJECTS",
    "OBJECTS",
    "OUTLIVING_PERMISSIONS",
    "Access",
    "Cluster",
    "ClusterGone",
    "KubernetesKind",
    "NoAccess",
    "access_of",
    "inside",
    "kinds",
    "outliving",
]

# The first stage after all that `inside` finds.
AFTER_OBJECTS = 2
# What `inside` asks of a cluster, besides that it says which one it is.
OUTLIVING_PERMISSIONS = (
    "get namespaces (kube-system)",
    "list, get, delete services, ingresses, persistentvolumeclaims",
    "list, get persistentvolumes",
    "list, get, delete pods; get, delete deployments, replicasets, statefulsets, daemonsets, jobs, cronjobs",
)

DETAIL_MAX = 512
# RFC 1123: labels and subdomains.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?!.{{254}}){_LABEL}(?:\.{_LABEL})*")
MAYBE_RETAINED = (
    "the cluster doesn't answer, and alone knows whether the volume is to be retained; "
    'metadata.delete_dependents = "all" would delete it'
)
_NO_ANSWER = "the cluster doesn't answer"
_UNANSWERED = "the cluster doesn't answer: a load balancer or a disk that this made may be left"

type Reach = Callable[[Resource, Settings], Cluster]
type Body = dict[str, Any]


@dataclass(frozen=True)
class Noun:
    """A kind of object: its plural, and the versions of the API that have it, the first that is served."""

    plural: str
    versions: tuple[str, ...] = ("v1",)
    is_namespaced: bool = True
    accept: str = JSON

    def paths(self, namespace: str, name: str = "") -> Iterator[str]:
        """Where it is, or where all of a namespace ("": of the cluster) are, in each version."""
        for version in self.versions:
            parts = ["/api" if version == "v1" else "/apis", version]
            parts += ["namespaces", namespace] if self.is_namespaced and namespace else []
            yield "/".join([*parts, self.plural, *([name] if name else [])])


OBJECTS = {
    "deployment": Noun("deployments", ("apps/v1",)),
    "replicaset": Noun("replicasets", ("apps/v1",)),
    "statefulset": Noun("statefulsets", ("apps/v1",)),
    "daemonset": Noun("daemonsets", ("apps/v1",)),
    "job": Noun("jobs", ("batch/v1",)),
    "cronjob": Noun("cronjobs", ("batch/v1", "batch/v1beta1")),
    "pod": Noun("pods"),
    "service": Noun("services"),
    "ingress": Noun("ingresses", ("networking.k8s.io/v1", "networking.k8s.io/v1beta1")),
    "configmap": Noun("configmaps", accept=METADATA),
    "secret": Noun("secrets", accept=METADATA),
    "persistentvolumeclaim": Noun("persistentvolumeclaims"),
    "persistentvolume": Noun("persistentvolumes", is_namespaced=False),
    "namespace": Noun("namespaces", is_namespaced=False),
}


def kind_of(noun: str) -> str:
    """A resource's kind for an object's."""
    return f"kubernetes:{noun}"


def kinds(reach: Reach) -> dict[str, "KubernetesKind"]:
    """How every kind of object goes, on the clusters that `reach` leads to. A volume goes with its claim alone."""
    return {kind_of(noun): KubernetesKind(noun, reach) for noun in OBJECTS if noun != "persistentvolume"}


@dataclass(frozen=True)
class KubernetesKind:
    """How one kind of object goes.

    A resource's id is a name in the `namespace` of its place, or "namespace/name". `reach` leads to the cluster of a place; is that
    gone, so is all that was in it. `allow` raises Refused or Busy, where one may not be deleted.
    """

    noun: str
    reach: Reach
    allow: Callable[[Cluster, Resource, Body], None] = lambda *_: None
    one_at_a_time: bool = False

    def state(self, resource: Resource, settings: Settings) -> Look:
        """Read it, in the cluster of its place."""
        named(resource)
        try:
            with self.reach(resource, settings) as cluster:
                try:
                    _, body = self._find(cluster, resource)
                except Gone as gone:
                    return self._without(cluster, resource, gone)
                return self._with(cluster, resource, body)
        except ClusterGone as gone:
            return Look("gone", proof=f"it went with its cluster: {gone}")

    def delete(self, resource: Resource, settings: Settings) -> None:
        """Ask it to go, if it is still there and still may go."""
        named(resource)
        try:
            with self.reach(resource, settings) as cluster:
                path, body = self._find(cluster, resource)
                if not is_leaving(body):
                    self.allow(cluster, resource, body)
                    cluster.delete(path, uid_of(body))
        except (Gone, ClusterGone):
            return

    def _find(self, cluster: Cluster, resource: Resource) -> tuple[str, Body]:
        """Where it is, and what it says. Gone, if there is none, or another one has its name now."""
        refuse_another(cluster, resource.place)
        path, body = read(cluster, self.noun, *named(resource))
        if resource.place.get("uid", "") not in ("", uid_of(body)):
            raise Gone(f"GET {path}: it is another one now, {uid_of(body)}")
        return path, body

    def _with(self, cluster: Cluster, resource: Resource, body: Body) -> Look:
        place = {"cluster_uid": cluster.uid, "uid": uid_of(body)}
        volume = at(body, "spec", "volumeName") if self.noun == "persistentvolumeclaim" else None
        if volume:
            place["volume"] = str(volume)
        if not is_leaving(body):
            return Look("present", place=place)
        detail = "; ".join([_held_by(body), *self._mounted_by(cluster, resource), *_remaining(body)])
        return Look("leaving", detail=clipped(detail, DETAIL_MAX), place=place)

    def _without(self, cluster: Cluster, resource: Resource, gone: Gone) -> Look:
        """What its absence says: of a claim, only with that of its volume, which the disk goes with."""
        proof, unproven = f"{gone}, in cluster {cluster.uid}", not resource.place.get("cluster_uid")
        name = resource.place.get("volume")
        if not name:
            return Look("gone", proof=proof, unproven=unproven)
        try:
            _, volume = read(cluster, "persistentvolume", "", name)
        except Gone as also:
            return Look("gone", proof=f"{proof}; {also}", unproven=unproven)
        if at(volume, "spec", "claimRef", "uid") != resource.place.get("uid"):
            return Look("gone", proof=f"{proof}; its volume {name} is another claim's now", unproven=unproven)
        if at(volume, "spec", "persistentVolumeReclaimPolicy") != "Delete":
            return Look("gone", proof=f"{proof}; its volume {name} stays, as it is to be retained", unproven=unproven)
        said = at(volume, "status", "message") or at(volume, "status", "phase") or ""
        return Look("leaving", detail=clipped(f"its volume {name} isn't gone yet: {said}", DETAIL_MAX))

    def _mounted_by(self, cluster: Cluster, resource: Resource) -> list[str]:
        if self.noun != "persistentvolumeclaim":
            return []
        namespace, name = named(resource)
        users = [name_of(pod) for pod in listed(cluster, "pod", namespace) if name in claims_of(pod)]
        return [f"still mounted by pod {', '.join(users)}"] if users else []


def named(resource: Resource) -> tuple[str, str]:
    """The namespace ("" for what is in none) and the name of a resource. Refused, if they can't be that."""
    noun = resource.kind.removeprefix("kubernetes:")
    namespace, _, name = resource.id.rpartition("/")
    if not OBJECTS[noun].is_namespaced:
        namespace, name = "", resource.id
    else:
        namespace = namespace or resource.place.get("namespace", "")
        if not re.fullmatch(_LABEL, namespace, re.ASCII):
            raise Refused("bad_id", f"{namespace!r} can't be a namespace")
    if not _NAME.fullmatch(name):
        raise Refused("bad_id", f"{name!r} can't be the name of a {noun}")
    if noun == "namespace" and (name == "default" or name.startswith("kube-")):
        raise Refused("protected", f"namespace {name} is the cluster's own")
    return namespace, name


def refuse_another(cluster: Cluster, place: Mapping[str, str]) -> None:
    """Refused, if it isn't the cluster that a place names."""
    known = place.get("cluster_uid", "")
    if known not in ("", cluster.uid):
        text = f"the cluster at {cluster.server} is {cluster.uid}, not {known}: nothing in it is the record's"
        raise Refused("not_ours", text)


def read(cluster: Cluster, noun: str, namespace: str, name: str) -> tuple[str, Body]:
    """An object, and its path in the version of the API that this server has. Gone, if there is none."""
    how = OBJECTS[noun]
    missing = ""
    for path in how.paths(namespace, name):
        try:
            return path, cluster.get(path, accept=how.accept)
        except NotServed as not_served:
            missing = str(not_served)
    raise Unreachable(missing)


def listed(cluster: Cluster, noun: str, namespace: str = "") -> list[Body]:
    """All objects of a kind in a namespace, or in the whole cluster."""
    missing = ""
    for path in OBJECTS[noun].paths(namespace):
        try:
            return list(cluster.items(path))
        except NotServed as not_served:
            missing = str(not_served)
    raise Unreachable(missing)


def inside(deployment: Deployment, cluster: Resource, reach: Callable[[], Cluster]) -> list[Resource]:
    """What has to go before `cluster`, while it still answers (`outliving`).

    One that doesn't answer, the second time in a round, mustn't stay for ever: nothing is added then, what was found in an earlier
    round is kept and says what may be left, and so does a resource "kubernetes:objects" for the whole of it. What else `reach`
    raises is the provider's word, and passes.
    """
    known = [each for each in deployment.resources if each.kind.startswith("kubernetes:")]
    note = Resource("kubernetes:objects", cluster.id, cluster.place, state="kept")
    try:
        opening = reach()
    except ClusterGone:
        return []
    except NoAccess as no_access:
        return _unanswered(known, note, no_access)
    try:
        with opening as answering:
            found = outliving(answering, {**cluster.place, "cluster": cluster.id})
    except Unreachable as unreachable:
        if _is_first_attempt(deployment):
            # What is lost once is soon there again; what the objects made would be paid for until someone finds it.
            raise
        return _unanswered(known, note, unreachable)
    keys = {each.key for each in found}
    again = [replace(each, state="unseen", detail="") for each in known if each.detail == _UNANSWERED]
    answered = replace(note, detail="the cluster answers again: what would outlive it is in this list")
    return [
        *found,
        *(each for each in again if each.key not in keys),
        *(answered for each in known if each.key == note.key),
    ]


def is_answered(objects: list[Resource]) -> bool:
    """Whether a cluster answered: what `inside` gave is all that there is in it."""
    return not any(each.kind == "kubernetes:objects" and each.detail.startswith(_NO_ANSWER) for each in objects)


def _is_first_attempt(deployment: Deployment) -> bool:
    """Whether this round has met no error yet. A plan attempts nothing, and shows what would become of it."""
    error, cleanup = deployment.cleanup.last_error, deployment.cleanup
    return deployment.status == "Terminating" and (error is None or error.round != cleanup.round)


def _unanswered(known: list[Resource], note: Resource, why: Unreachable) -> list[Resource]:
    text = f"{_NO_ANSWER} ({why}): a load balancer or a disk that its objects made may be left"
    kept = [replace(each, state="kept", detail=_UNANSWERED) for each in known if each.state not in ("gone", "kept")]
    return [*kept, replace(note, detail=clipped(text, DETAIL_MAX))]


def outliving(cluster: Cluster, place: Mapping[str, str]) -> list[Resource]:
    """What would outlive a cluster and be paid for, and what is in its way; stage by stage.

    Services of type LoadBalancer; ingresses, all of them, since only their controller knows whether a load balancer is behind one;
    the workloads whose pods mount a claim; then the claims. Kept are volumes that are to be retained, and what kube-system has.
    """
    place = {**place, "cluster_uid": cluster.uid}
    services = [each for each in listed(cluster, "service") if at(each, "spec", "type") == "LoadBalancer"]
    ingresses = [each for each in listed(cluster, "ingress") if namespace_of(each) != "kube-system"]
    volumes = {name_of(each): each for each in listed(cluster, "persistentvolume")}
    retained = {name for name, each in volumes.items() if at(each, "spec", "persistentVolumeReclaimPolicy") != "Delete"}
    claims = [
        each for each in listed(cluster, "persistentvolumeclaim") if at(each, "spec", "volumeName") not in retained
    ]
    ours = [each for each in claims if namespace_of(each) != "kube-system"]
    return [
        *(_resource("service", each, place) for each in services),
        *(_resource("ingress", each, place) for each in ingresses),
        *(_resource(noun, each, place) for noun, each in _mounting(cluster, ours)),
        *(_claim(each, place) for each in claims),
        *(_retained(volumes[name], place) for name in sorted(retained)),
    ]


def _resource(noun: str, body: Body, place: Mapping[str, str], stage: int = 0) -> Resource:
    namespace, name = namespace_of(body), name_of(body)
    place = {**place, "namespace": namespace, "uid": uid_of(body)}
    return Resource(kind_of(noun), f"{namespace}/{name}", place, stage=stage)


def _claim(body: Body, place: Mapping[str, str]) -> Resource:
    resource = _resource("persistentvolumeclaim", body, place, stage=1)
    volume = at(body, "spec", "volumeName")
    if volume:
        resource = replace(resource, place=resource.place | {"volume": str(volume)})
    if namespace_of(body) == "kube-system":
        return replace(resource, state="kept", detail="it is the cluster's own, in kube-system; its disk may be left")
    return resource


def _retained(body: Body, place: Mapping[str, str]) -> Resource:
    claim = "/".join(str(at(body, "spec", "claimRef", key) or "?") for key in ("namespace", "name"))
    detail = f"it is to be retained, whatever becomes of its claim {claim}: its disk outlives the cluster"
    volume = Resource(kind_of("persistentvolume"), name_of(body), {**place, "uid": uid_of(body)}, stage=1)
    return replace(volume, state="kept", detail=detail)


def _mounting(cluster: Cluster, claims: Iterable[Body]) -> list[tuple[str, Body]]:
    """What has to go so that nothing mounts the claims: of each pod that does, its topmost owner that is known here."""
    wanted = {(namespace_of(each), name_of(each)) for each in claims}
    found: dict[str, tuple[str, Body]] = {}
    for pod in listed(cluster, "pod") if wanted else []:
        if any((namespace_of(pod), claim) in wanted for claim in claims_of(pod)):
            noun, body = topmost(cluster, "pod", pod)
            found.setdefault(uid_of(body), (noun, body))
    return list(found.values())


def topmost(cluster: Cluster, noun: str, body: Body) -> tuple[str, Body]:
    """Follow what controls an object, as far as that is of a known kind: that would make another one."""
    above = controller_of(body)
    if above is None:
        return noun, body
    try:
        _, found = read(cluster, above[0], namespace_of(body), above[1])
    except Gone:
        return noun, body
    return topmost(cluster, above[0], found) if uid_of(found) == above[2] else (noun, body)


def controller_of(body: Body) -> tuple[str, str, str] | None:
    """What controls an object, if that is of a known kind: the kind, its name and uid."""
    for owner in at(body, "metadata", "ownerReferences") or []:
        noun = str(owner.get("kind", "")).lower()
        if owner.get("controller") and noun in OBJECTS and owner.get("apiVersion") in OBJECTS[noun].versions:
            return noun, str(owner.get("name", "")), str(owner.get("uid", ""))
    return None


def claims_of(pod: Body) -> set[Any]:
    """The claims that a pod holds. One that has ended holds none."""
    if at(pod, "status", "phase") in ("Succeeded", "Failed"):
        return set()
    volumes = at(pod, "spec", "volumes") or []
    claims = {at(each, "persistentVolumeClaim", "claimName") for each in volumes}
    # A pod's own claims are called after it: "Generic ephemeral volumes".
    return claims | {f"{name_of(pod)}-{each.get('name')}" for each in volumes if "ephemeral" in each}


def is_leaving(body: Body) -> bool:
    return bool(at(body, "metadata", "deletionTimestamp"))


def _held_by(body: Body) -> str:
    """Since when it is being deleted (a pod: until when it has time), and what it waits for."""
    since = f"being deleted, {at(body, 'metadata', 'deletionTimestamp')}"
    finalizers = [str(each) for each in at(body, "metadata", "finalizers") or at(body, "spec", "finalizers") or []]
    # Of foreground deletion: the garbage collector's, while what it owns is there.
    holding = ["what it owns" if each == "foregroundDeletion" else each for each in finalizers]
    return f"{since}, waits for {', '.join(holding)}" if holding else since


def _remaining(body: Body) -> list[str]:
    """What a namespace's conditions say of what is left in it."""
    conditions = at(body, "status", "conditions") or []
    return [
        str(each.get("message"))
        for each in conditions
        if str(each.get("type", "")).startswith("Namespace") and each.get("status") == "True"
    ]


def name_of(body: Body) -> str:
    return str(at(body, "metadata", "name") or "")


def namespace_of(body: Body) -> str:
    return str(at(body, "metadata", "namespace") or "")


def at(body: Any, *keys: str) -> Any:
    """What is there below these keys, None if nothing is."""
    for key in keys:
        body = body.get(key) if isinstance(body, dict) else None
    return body
