"""LocalKubernetes: objects in a namespace of a Kubernetes cluster, reached by a kubeconfig.

That is a secret's, or, on a stack of one machine, the machine's own. The cluster says which one it is at every look, so that
another cluster's "not found" never counts as proof.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from tracker.catalogue import entry
from tracker.cleanup import kubernetes_namespace, secrets
from tracker.cleanup.contract import Facts, Refused
from tracker.cleanup.kubernetes_cluster import Access, Cluster, access_of
from tracker.deployment import Deployment, Resource
from tracker.settings import Settings

FACTS = Facts(
    credentials=(
        "A kubeconfig with a token, or with a certificate and its key: the key `kubeconfig` of `kubeconfig_secret`; on a stack of "
        "one machine else the machine's own (KUBECONFIG, ~/.kube/config). Nothing is run for it: what names a program (`exec`, "
        "`auth-provider`) is refused, and so is what turns verification off. A secret's can't name files."
    ),
    permissions=kubernetes_namespace.PERMISSIONS,
    order=kubernetes_namespace.ORDER,
    gone=(
        "The API server answers NotFound for this very object, in the cluster whose namespace kube-system has the uid that was "
        "seen before, or that `cluster_uid` names; or another object has its name, with another uid. A claim: its volume is gone, "
        "too, unless that is to be retained."
    ),
    duration="Seconds to a minute for pods (30 seconds of grace by default); minutes for load balancers and volumes.",
    limits=(
        "Custom resources, roles, service accounts and network policies stay, unless the namespace goes with all that is in it: "
        "`delete_namespace` is refused while others' workloads or claims are there. Finalizers are never removed, but named. Of a "
        "claim that was gone before it was first seen, the volume isn't looked for. Of several files in KUBECONFIG the first is read "
        "that has the context; parts of it can't be in others."
    ),
    sources=(
        "Kubernetes' API reference and API conventions; its pages on garbage collection, finalizers, persistent volumes and "
        "organizing access by kubeconfig files. Seen with a control plane of 1.20."
    ),
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """What the record names in the namespace of its context, and the claims that its workloads mount."""
    context = deployment.resource_ids.get("context")
    if not context:
        raise Refused("missing_id", "resource_ids.context is missing")
    if not isinstance(context, str) or not entry("LocalKubernetes").ids["context"].matches(context):
        raise Refused("bad_id", f"{context!r} can't be a context of a kubeconfig")
    place = {"context": context, "secret": deployment.metadata.get("kubeconfig_secret", "")}
    return kubernetes_namespace.discover(deployment, place, _reach, settings)


def _reach(resource: Resource, settings: Settings) -> Cluster:
    return Cluster(_access(resource.place["context"], resource.place["secret"], settings))


KINDS = kubernetes_namespace.kinds_in(_reach)


def _access(context: str, secret: str, settings: Settings) -> Access:
    if secret:
        return access_of(secrets.read(secret, settings, "kubeconfig")["kubeconfig"], context)
    if settings.local_place is None:
        text = "metadata.kubeconfig_secret names no secret, and this stack has no machine of its own"
        raise Refused("credentials", text)
    lacking = Refused(
        "credentials", "this machine has no kubeconfig: neither KUBECONFIG nor ~/.kube/config leads to one"
    )
    for path, kubeconfig in _of_this_machine(settings):
        try:
            return access_of(kubeconfig, context, folder=path.parent)
        except Refused as refused:
            if refused.error_class != "bad_id":
                raise
            lacking = refused
    raise lacking


def _of_this_machine(settings: Settings) -> Iterator[tuple[Path, str]]:
    """The machine's own kubeconfigs: each file that is there, and its content."""
    home = settings.customary("HOME")
    named = settings.customary("KUBECONFIG") or f"{home}/.kube/config"
    for path in (Path(name) for name in named.split(os.pathsep) if name):
        try:
            yield path, path.read_text()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeError) as error:
            raise Refused("credentials", f"the kubeconfig {path} can't be read: {type(error).__name__}") from None
