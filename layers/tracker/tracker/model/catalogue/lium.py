"""The deployment type at Lium."""

from tracker.model.catalogue.forms import COMMON, machine, uuid
from tracker.model.catalogue.vocabulary import Entry

ENTRIES = {
    "BittensorLiumMiner": Entry(
        platform="lium",
        summary="A pod at Lium",
        module="lium.pod",
        ids=machine(uuid("lium:pod"), volume=uuid("lium:volume", many=True)),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
        marked_by="name",
    ),
}
