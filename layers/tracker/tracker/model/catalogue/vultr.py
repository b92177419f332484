"""The deployment types at Vultr."""

from tracker.model.catalogue.forms import COMMON, NAME, NO_DOTS, machine, uuid
from tracker.model.catalogue.vocabulary import MARK_KEY, Entry, Form

# GET /v2/account gives the e-mail address as the only id of an account.
_METADATA = {
    **COMMON,
    "account": Form(NO_DOTS + r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,190}", "ops@example.org"),
}

ENTRIES = {
    "VultrInstance": Entry(
        platform="vultr",
        summary="An instance, with its block storage and reserved addresses",
        module="vultr.instance",
        ids=machine(
            uuid("vultr:instance"),
            block=uuid("vultr:block", many=True),
            reserved_ip=uuid("vultr:reserved_ip", many=True),
        ),
        needs_one_of=(("instance_id",),),
        metadata=_METADATA,
        marked_by="tag",
        mark_key=f"{MARK_KEY}:",
    ),
    "VultrVke": Entry(
        platform="vultr",
        summary="A VKE cluster, with its block storage and load balancers",
        module="vultr.vke",
        ids={
            "cluster_id": uuid("vultr:cluster"),
            "cluster_name": NAME,
            "block": uuid("vultr:block", many=True),
            "load_balancer": uuid("vultr:load_balancer", many=True),
        },
        needs_one_of=(("cluster_id",),),
        metadata=_METADATA,
        marked_by="name",
        cluster=True,
    ),
}
