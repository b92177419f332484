"""The deployment type at Render."""

from tracker.model.catalogue.forms import COMMON, machine, uuid
from tracker.model.catalogue.vocabulary import Entry

ENTRIES = {
    "RenderDispersedNode": Entry(
        platform="render",
        summary="A job at Render",
        module="render.job",
        ids=machine(uuid("render:job")),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
    ),
}
