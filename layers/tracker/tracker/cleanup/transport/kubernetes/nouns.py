"""The kinds of objects that a cluster may have, how they are read, and what a description says.

Used by `kinds`, `outliving`, `objects` and `namespace`. A description is plain JSON: a server may leave anything out of it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tracker.cleanup.core.contract import Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.transport.kubernetes.cluster import JSON, METADATA, METADATA_LIST, Cluster, NotServed, uid_of

type Body = dict[str, Any]


@dataclass(frozen=True)
class Noun:
    """A kind of object: its plural, and the versions of the API that have it, the newest first."""

    plural: str
    versions: tuple[str, ...] = ("v1",)
    is_namespaced: bool = True
    accept: str = JSON

    def paths(self, namespace: str, name: str = "") -> Iterator[str]:
        """Yield the path of an object, or of the list of all in a namespace ("": in the cluster), in each version, every part quoted."""
        for version in self.versions:
            parts = ["/api" if version == "v1" else "/apis", version]
            parts += ["namespaces", quote(namespace, safe="")] if self.is_namespaced and namespace else []
            yield "/".join([*parts, self.plural, *([quote(name, safe="")] if name else [])])


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
_SNAPSHOTS = ("snapshot.storage.k8s.io/v1", "snapshot.storage.k8s.io/v1beta1")
# Only clusters to which someone added these APIs have such objects.
EXTENSIONS = {
    "gateway": Noun("gateways", ("gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1")),
    "volumesnapshot": Noun("volumesnapshots", _SNAPSHOTS),
    "volumesnapshotcontent": Noun("volumesnapshotcontents", _SNAPSHOTS, is_namespaced=False),
}
NOUNS = OBJECTS | EXTENSIONS


def kind_of(noun: str) -> str:
    """Return the kind that a resource has for a kind of object."""
    return f"kubernetes:{noun}"


def read(cluster: Cluster, noun: str, namespace: str, name: str) -> Body:
    """Return an object. Raises Gone if there is none."""
    how = NOUNS[noun]
    return first_served(how.paths(namespace, name), lambda path: cluster.get(path, accept=how.accept))


def listed(cluster: Cluster, noun: str, namespace: str = "") -> list[Body]:
    """Return all objects of a kind in a namespace, or in the whole cluster."""
    return first_served(NOUNS[noun].paths(namespace), lambda path: list(cluster.items(path)))


def labelled(cluster: Cluster, noun: str, namespace: str, label: str) -> list[Body]:
    """Return the metadata of all objects of a kind in a namespace that carry a label, `key` or `key=value`."""
    paths = NOUNS[noun].paths(namespace)
    return first_served(paths, lambda path: list(cluster.items(path, label=label, accept=METADATA_LIST)))


def pods(cluster: Cluster, namespace: str = "") -> Iterator[Body]:
    """Yield all pods of a namespace, or of the whole cluster, one page after the other: a cluster may have very many."""
    for path in NOUNS["pod"].paths(namespace):
        yield from cluster.items(path)


def first_served[Result](paths: Iterable[str], call: Callable[[str], Result]) -> Result:
    """Return the result of `call` for the first path whose version of the API the server has. Raises NotServed if it has none."""
    missing = ""
    for path in paths:
        try:
            return call(path)
        except NotServed as not_served:
            missing = str(not_served)
    raise NotServed(missing)


def topmost(cluster: Cluster, noun: str, body: Body) -> tuple[str, Body]:
    """Return an object's topmost controller of a known kind, which would make another such object; else the object itself."""
    seen = {uid_of(body)}
    while above := controller_of(body):
        try:
            found = read(cluster, above[0], namespace_of(body), above[1])
        except Gone:
            break
        if uid_of(found) != above[2]:
            break
        if above[2] in seen:
            raise Unreachable(f"{above[0]} {above[1]} controls itself")
        seen.add(above[2])
        noun, body = above[0], found
    return noun, body


def controller_of(body: Body) -> tuple[str, str, str] | None:
    """Return kind, name and uid of an object's controller, if that is of a known kind."""
    for owner in each_at(body, "metadata", "ownerReferences"):
        noun = str(owner.get("kind", "")).lower()
        if owner.get("controller") and noun in OBJECTS and owner.get("apiVersion") in OBJECTS[noun].versions:
            return noun, str(owner.get("name", "")), str(owner.get("uid", ""))
    return None


def claims_of(pod: Body) -> set[str]:
    """Return the names of the claims that a pod holds. A pod that has ended holds none."""
    if at(pod, "status", "phase") in ("Succeeded", "Failed"):
        return set()
    volumes = each_at(pod, "spec", "volumes")
    claims = {str(at(each, "persistentVolumeClaim", "claimName") or "") for each in volumes}
    # Source of the names of a pod's own claims: Kubernetes' page "Generic ephemeral volumes".
    own = {f"{name_of(pod)}-{each.get('name')}" for each in volumes if "ephemeral" in each}
    return (claims | own) - {""}


def is_leaving(body: Body) -> bool:
    """Return whether the deletion of an object has begun."""
    return bool(at(body, "metadata", "deletionTimestamp"))


def finalizers_of(body: Body) -> list[str]:
    """Return what keeps an object until someone has cleaned up after it; the garbage collector's own two aren't among it."""
    found = at(body, "metadata", "finalizers") or at(body, "spec", "finalizers")
    names = [str(each) for each in found] if isinstance(found, list) else []
    return [each for each in names if each not in ("foregroundDeletion", "orphan")]


def name_of(body: Body) -> str:
    """Return an object's name."""
    return str(at(body, "metadata", "name") or "")


def namespace_of(body: Body) -> str:
    """Return an object's namespace, empty if it is in none."""
    return str(at(body, "metadata", "namespace") or "")


def each_at(body: Any, *keys: str) -> list[Body]:
    """Return the objects of the list below these keys, none if there is no list."""
    found = at(body, *keys)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def at(body: Any, *keys: str) -> Any:
    """Return the value below these keys, None if there is none."""
    for key in keys:
        body = body.get(key) if isinstance(body, dict) else None
    return body
