"""The deployment type at Crusoe."""

from tracker.model.catalogue.forms import COMMON, UUID, UUID_EXAMPLE, machine, uuid
from tracker.model.catalogue.vocabulary import Entry, Form

ENTRIES = {
    "CrusoeVm": Entry(
        platform="crusoe",
        summary="A machine at Crusoe, with its disks",
        module="crusoe.vm",
        ids=machine(uuid("crusoe:vm"), disk=uuid("crusoe:disk", many=True)),
        needs_one_of=(("instance_id",),),
        metadata={**COMMON, "project_id": Form(UUID, UUID_EXAMPLE)},
        needs_metadata=(("project_id", "account"),),
        marked_by="name",
    ),
}
