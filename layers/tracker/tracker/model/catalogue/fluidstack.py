"""The deployment type at Fluidstack."""

from tracker.model.catalogue.forms import COMMON, UUID, UUID_EXAMPLE, machine, uuid
from tracker.model.catalogue.vocabulary import Entry, Form

ENTRIES = {
    "FluidstackServer": Entry(
        platform="fluidstack",
        summary="An instance at Fluidstack (Atlas), with its filesystems",
        module="fluidstack.server",
        ids=machine(uuid("fluidstack:server"), filesystem=uuid("fluidstack:filesystem", many=True)),
        needs_one_of=(("instance_id",),),
        # Its API had three generations, which nothing of a record tells apart. Atlas is the newest.
        metadata={**COMMON, "generation": Form("atlas", "atlas"), "project_id": Form(UUID, UUID_EXAMPLE)},
        needs_metadata=(("generation",), ("project_id", "account")),
        marked_by="tag",
    ),
}
