"""LocalKubernetes: objects in a namespace of a Kubernetes cluster, reached by a kubeconfig.

The kubeconfig is a secret's, or, on a stack of one machine, the machine's own. The cluster is identified whenever it is opened, so that
another cluster's "not found" never counts as proof.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from tracker.cleanup.core.contract import Found, OperatorNotes, Refused, ResourceKind
from tracker.cleanup.transport import secrets
from tracker.cleanup.transport.kubernetes import marked
from tracker.cleanup.transport.kubernetes import namespace as kubernetes_namespace
from tracker.cleanup.transport.kubernetes.cluster import Access, Cluster, access_of
from tracker.model.catalogue import entry
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

NOTES = OperatorNotes(
    credentials=(
        "A kubeconfig with a token, or with a certificate and its key: the key `kubeconfig` of `kubeconfig_secret`; on a stack of "
        "one machine else the machine's own (KUBECONFIG, ~/.kube/config). Nothing is run for it: what names a program (`exec`, "
        "`auth-provider`) is refused, and so is what turns verification off. A secret's can't name files."
    ),
    permissions=kubernetes_namespace.PERMISSIONS,
    order=kubernetes_namespace.ORDER,
    gone=kubernetes_namespace.GONE,
    duration=kubernetes_namespace.DURATION,
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
    """Return what the record names in the namespace of its context, and the claims that its workloads mount."""
    return kubernetes_namespace.discover(deployment, _place_of(deployment), _reach, settings)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield what carries the label in the namespace that the record names."""
    return marked.find(deployment, _place_of(deployment), _reach, settings, generation)


def _place_of(deployment: Deployment) -> dict[str, str]:
    context = deployment.resource_ids.get("context")
    if not context:
        raise Refused("missing_id", "resource_ids.context is missing")
    if not isinstance(context, str) or not entry("LocalKubernetes").ids["context"].matches(context):
        raise Refused("bad_id", f"{context!r} can't be a context of a kubeconfig")
    return {"context": context, "secret": deployment.metadata.get("kubeconfig_secret", "")}


def _reach(resource: Resource, settings: Settings) -> Cluster:
    return Cluster(_access(resource.place["context"], resource.place["secret"], settings))


KINDS: dict[str, ResourceKind] = {**kubernetes_namespace.kinds_in(_reach)}


def _access(context: str, secret: str, settings: Settings) -> Access:
    if secret:
        return access_of(secrets.read(secret, settings, "kubernetes", "kubeconfig")["kubeconfig"], context)
    if settings.local_place is None:
        text = "metadata.kubeconfig_secret names no secret, and this stack has no machine of its own"
        raise Refused("credentials", text)
    failure = Refused(
        "credentials", "this machine has no kubeconfig: neither KUBECONFIG nor ~/.kube/config leads to one"
    )
    for path, kubeconfig in _kubeconfigs(settings):
        try:
            return access_of(kubeconfig, context, folder=path.parent)
        except Refused as refused:
            if refused.error_class != "bad_id":
                raise
            failure = refused
    raise failure


def _kubeconfigs(settings: Settings) -> Iterator[tuple[Path, str]]:
    """Yield the machine's own kubeconfigs: each file that exists, and its content."""
    home = settings.fallback_env("HOME")
    named = settings.fallback_env("KUBECONFIG") or f"{home}/.kube/config"
    for path in (Path(name) for name in named.split(os.pathsep) if name):
        try:
            yield path, path.read_text()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeError) as error:
            raise Refused("credentials", f"the kubeconfig {path} can't be read: {type(error).__name__}") from None
