"""The deployment type at io.net."""

from tracker.model.catalogue.forms import COMMON, machine, uuid
from tracker.model.catalogue.vocabulary import Entry

ENTRIES = {
    "IoNetCluster": Entry(
        platform="ionet",
        summary="Containers at io.net",
        module="ionet.cluster",
        ids=machine(uuid("ionet:deployment")),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
        marked_by="name",
    ),
}
