"""The deployment type at Lambda."""

from tracker.model.catalogue.forms import COMMON, machine
from tracker.model.catalogue.vocabulary import Entry, Form

_ID = "[0-9a-f]{32}"

ENTRIES = {
    "LambdaLabsInstance": Entry(
        platform="lambdalabs",
        summary="An instance at Lambda, with its file systems",
        module="lambdalabs.instance",
        ids=machine(
            Form(_ID, "0920582c7ff041399e34823a0be62549", kind="lambdalabs:instance"),
            file_system=Form(_ID, "398578a2336b49079e74043f0bd2cfe8", kind="lambdalabs:file_system", many=True),
        ),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
        marked_by="name",
    ),
}
