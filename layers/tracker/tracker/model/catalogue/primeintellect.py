"""The deployment type at Prime Intellect."""

from tracker.model.catalogue.forms import COMMON, machine, opaque
from tracker.model.catalogue.vocabulary import Entry

ENTRIES = {
    "PrimeIntellectPod": Entry(
        platform="primeintellect",
        summary="A pod at Prime Intellect, with its disks",
        module="primeintellect.pod",
        ids=machine(
            opaque("primeintellect:pod", "cm3k2v9xq0001"),
            disk=opaque("primeintellect:disk", "cm3k2v9xq0002", many=True),
        ),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
        marked_by="name",
    ),
}
