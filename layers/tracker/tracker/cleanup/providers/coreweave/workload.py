"""CoreWeaveWorkload: objects in a tenant's namespace of a CoreWeave cluster, reached by a kubeconfig or a token of a secret.

CoreWeave's clusters are plain Kubernetes, and an object goes there as it does anywhere. The namespace is the tenant's, and always stays.
"""

from collections.abc import Iterator

import msgspec

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
        "The secret that `kubeconfig_secret`, or else `credential`, names: its key `kubeconfig`, as CoreWeave's console gives it, of which "
        "`context` or else the current context counts; or an API access token: keys `server` (the cluster's API endpoint) and `token`, "
        "with `ca` (PEM) if its authority isn't a public one. Nothing is run for it: a kubeconfig that names a program is refused."
    ),
    permissions=tuple(each for each in kubernetes_namespace.PERMISSIONS if "delete_namespace" not in each),
    order=kubernetes_namespace.ORDER[:-1],
    gone=kubernetes_namespace.GONE,
    duration=kubernetes_namespace.DURATION,
    limits=(
        "The namespace stays, whatever the record says, and so do custom resources, roles and service accounts. Claims that were only found are "
        "kept unless the record says `delete_dependents`. A private cluster can't be reached from outside its network. The cluster itself, its node pools "
        "and object storage are no part of a deployment. `instance_id` names nothing here."
    ),
    sources=(
        "CoreWeave's documentation (docs.coreweave.com: CKS clusters, API access tokens and kubeconfigs); Kubernetes' API reference and API "
        "conventions. Tried with the stand-in of LocalKubernetes, not at CoreWeave."
    ),
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names in its namespace, and the claims that its workloads mount."""
    return kubernetes_namespace.discover(_tenant(deployment), _place_of(deployment), _reach, settings)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield what carries the label in the namespace that the record names."""
    return marked.find(_tenant(deployment), _place_of(deployment), _reach, settings, generation)


def _tenant(deployment: Deployment) -> Deployment:
    """Return a deployment without what a record may say of a namespace that it made."""
    metadata = {key: value for key, value in deployment.metadata.items() if key != "delete_namespace"}
    return msgspec.structs.replace(deployment, metadata=metadata)


def _place_of(deployment: Deployment) -> dict[str, str]:
    context = deployment.resource_ids.get("context", "")
    if not isinstance(context, str) or (context and not entry("CoreWeaveWorkload").ids["context"].matches(context)):
        raise Refused("bad_id", f"{context!r} can't be a context of a kubeconfig")
    secret = deployment.metadata.get("kubeconfig_secret") or deployment.metadata.get("credential", "")
    return {"context": context, "secret": secret}


def _reach(resource: Resource, settings: Settings) -> Cluster:
    return Cluster(_access(resource.place["context"], resource.place["secret"], settings))


KINDS: dict[str, ResourceKind] = {**kubernetes_namespace.kinds_in(_reach)}


def _access(context: str, secret: str, settings: Settings) -> Access:
    found = secrets.read(secret, settings, "coreweave")
    if found.get("kubeconfig"):
        return access_of(found["kubeconfig"], context)
    if not (found.get("server") and found.get("token")):
        raise Refused("credentials", f"secret {secret} has neither kubeconfig, nor server and token")
    return Access(found["server"], ca=found.get("ca", ""), token=found["token"])
