"""The ids and metadata of objects in a namespace of a Kubernetes cluster, for the types of several platforms.

Names are RFC 1123 subdomains of at most 253 characters, whatever the length of a label in them; namespaces and services have labels of
at most 63. Source: Kubernetes' validation of names (apimachinery).

No deployment has anything in the namespaces of Kubernetes itself and of what serves a whole cluster: `kube-...`, `openshift...`, and by
custom `...-system` (gatekeeper-system, flux-system). Objects in `default` may be a deployment's, the namespace never is.
"""

from tracker.model.catalogue.forms import COMMON, NO_DOTS, UUID, UUID_EXAMPLE, secret
from tracker.model.catalogue.vocabulary import Form

LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PART = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
SUBDOMAIN = rf"(?!.{{254}}){_PART}(?:\.{_PART})*"
WORKLOADS = ("deployment", "statefulset", "daemonset", "job", "cronjob", "pod")
_KINDS = (*WORKLOADS, "service", "ingress", "configmap", "secret", "persistentvolumeclaim")

IDS = {
    "namespace": Form(rf"(?!(?:kube-.*|openshift|openshift-.*|.*-system)$){LABEL}", "blueprints"),
    # A plain name, or the one that `aws eks update-kubeconfig` writes.
    "context": Form(
        rf"{NO_DOTS}[A-Za-z0-9][A-Za-z0-9@:._-]{{0,252}}"
        r"|arn:aws[a-z-]{0,16}:eks:[a-z0-9-]{1,32}:[0-9]{12}:cluster/[A-Za-z0-9][A-Za-z0-9_-]{0,99}",
        "kind-blueprints",
    ),
    **{
        kind: Form(LABEL if kind == "service" else SUBDOMAIN, f"blueprint-{kind}", kind=f"kubernetes:{kind}", many=True)
        for kind in _KINDS
    },
}
METADATA = {
    **COMMON,
    "kubeconfig_secret": secret("tracker/kubernetes/eu"),
    # The uid of the namespace kube-system, which identifies a cluster. With it, "not found" proves something at once.
    "cluster_uid": Form(UUID, UUID_EXAMPLE),
    # "true": the deployment made its namespace, and the namespace is deleted with it.
    "delete_namespace": Form("true", "true"),
}
