"""The deployment type at RunPod."""

from tracker.model.catalogue.forms import COMMON, machine, opaque
from tracker.model.catalogue.vocabulary import Entry

ENTRIES = {
    "RunPodInstance": Entry(
        platform="runpod",
        summary="A pod at RunPod, with its network volumes",
        module="runpod.pod",
        ids=machine(
            opaque("runpod:pod", "xedezhzb9la3ye"),
            network_volume=opaque("runpod:network_volume", "agv6w2qcg7", many=True),
        ),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
        marked_by="name",
    ),
}
