"""The deployment type at Paperspace."""

from tracker.model.catalogue.forms import COMMON, ipv4, machine, opaque
from tracker.model.catalogue.vocabulary import Entry

ENTRIES = {
    "PaperspaceMachine": Entry(
        platform="paperspace",
        summary="A machine at Paperspace, with its addresses, snapshots and shared drives",
        module="paperspace.machine",
        ids=machine(
            opaque("paperspace:machine", "psvrgw1s5yoo"),
            static_ip=ipv4("paperspace:public_ip"),
            snapshot=opaque("paperspace:snapshot", "sn4f7a2c", many=True),
            shared_drive=opaque("paperspace:shared_drive", "sd4f7a2c", many=True),
        ),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
        marked_by="name",
    ),
}
