"""The deployment type at Hetzner."""

from tracker.model.catalogue.forms import COMMON, machine, number
from tracker.model.catalogue.vocabulary import Entry

ENTRIES = {
    "HetznerServer": Entry(
        platform="hetzner",
        summary="A server at Hetzner, with its volumes and addresses",
        module="hetzner.server",
        ids=machine(
            number("hetzner:server"),
            volume=number("hetzner:volume", many=True),
            primary_ip=number("hetzner:primary_ip", many=True),
            floating_ip=number("hetzner:floating_ip", many=True),
        ),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
        marked_by="label",
    ),
}
