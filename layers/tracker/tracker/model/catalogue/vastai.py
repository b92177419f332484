"""The deployment type at Vast.ai."""

from tracker.model.catalogue.forms import COMMON, machine, number
from tracker.model.catalogue.vocabulary import Entry

ENTRIES = {
    "VastAiInstance": Entry(
        platform="vastai",
        summary="An instance at Vast.ai, with its volumes",
        module="vastai.instance",
        ids=machine(number("vastai:instance"), volume=number("vastai:volume", many=True)),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
        marked_by="name",
    ),
}
