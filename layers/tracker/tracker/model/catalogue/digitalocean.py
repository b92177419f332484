"""The deployment types at DigitalOcean."""

from tracker.model.catalogue.forms import COMMON, NAME, ipv4, machine, number, uuid
from tracker.model.catalogue.vocabulary import MARK_KEY, Entry

ENTRIES = {
    "DigitalOceanDroplet": Entry(
        platform="digitalocean",
        summary="A droplet, with its volumes and reserved addresses",
        module="digitalocean.droplet",
        ids=machine(
            number("digitalocean:droplet"),
            volume=uuid("digitalocean:volume", many=True),
            reserved_ip=ipv4("digitalocean:reserved_ip"),
        ),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
        marked_by="tag",
        mark_key=f"{MARK_KEY}:",
    ),
    "DigitalOceanDoks": Entry(
        platform="digitalocean",
        summary="A DOKS cluster, with its load balancers, volumes and snapshots",
        module="digitalocean.doks",
        ids={
            "cluster_id": uuid("digitalocean:cluster"),
            "cluster_name": NAME,
            "load_balancer": uuid("digitalocean:load_balancer", many=True),
            "volume": uuid("digitalocean:volume", many=True),
            "volume_snapshot": uuid("digitalocean:volume_snapshot", many=True),
        },
        needs_one_of=(("cluster_id",),),
        metadata=COMMON,
        marked_by="tag",
        mark_key=f"{MARK_KEY}:",
        cluster=True,
    ),
}
