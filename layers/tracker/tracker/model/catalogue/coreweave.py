"""The deployment type at CoreWeave."""

from tracker.model.catalogue import kubernetes
from tracker.model.catalogue.forms import NAME, machine
from tracker.model.catalogue.vocabulary import Entry

ENTRIES = {
    "CoreWeaveWorkload": Entry(
        platform="coreweave",
        marked_by="label",
        summary="Objects at CoreWeave",
        module="coreweave.workload",
        # `instance_id` is the Rust tracker's own slot, nothing at CoreWeave.
        ids={**machine(NAME), **kubernetes.IDS},
        needs_one_of=(("namespace",), kubernetes.WORKLOADS),
        # The namespace is the tenant's: no deployment takes it along.
        metadata={key: form for key, form in kubernetes.METADATA.items() if key != "delete_namespace"},
        needs_metadata=(("kubeconfig_secret", "credential"),),
    ),
}
