"""The deployment type at TensorDock."""

from tracker.model.catalogue.forms import COMMON, machine, uuid
from tracker.model.catalogue.vocabulary import Entry

ENTRIES = {
    "TensorDockServer": Entry(
        platform="tensordock",
        summary="An instance at TensorDock",
        module="tensordock.server",
        ids=machine(uuid("tensordock:server")),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
        marked_by="name",
    ),
}
