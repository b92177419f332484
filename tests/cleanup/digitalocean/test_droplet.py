"""DigitalOceanDroplet, against a server that keeps to DigitalOcean's API document."""

from typing import ClassVar

from tests.cleanup.digitalocean.server import MARK, DigitalOceanTarget
from tests.cleanup.rest_target import Thing
from tests.conformance.target import Key, Made

DROPLET, OTHER = "3164444", "3164445"
VOLUMES = [f"506f78a4-e098-11e5-ad9f-000f53306ae{n}" for n in range(4)]
IPS = ["45.55.96.47", "45.55.96.48"]


def droplet(id_: str = DROPLET) -> Thing:
    body = {"id": int(id_), "name": f"droplet-{id_}", "status": "active", "created_at": "2026-01-01T00:00:00Z"}
    return Thing(body | {"tags": [MARK], "volume_ids": []})


def volume(id_: str, user: str = DROPLET, *, tags: list[str] | None = None) -> Thing:
    return Thing({"id": id_, "name": f"volume-{id_[-1]}", "tags": tags}, user)


class StandIn(DigitalOceanTarget):
    """A droplet with a named, a marked and a strange volume, a named and a strange address."""

    deployment_type = "DigitalOceanDroplet"
    na: ClassVar[dict[str, str]] = {
        "wrong-place": "ids are the team's own and no URL names a region",
        "other-one": "DigitalOcean gives the number of a droplet to no other",
        "false-success": "a deletion is answered 204 without a body, and no operation tells of it",
        "protected": "droplets have no protection against deletion",
    }

    def make(self) -> Made:
        main: Key = ("digitalocean:droplet", DROPLET)
        things = {
            main: droplet(),
            ("digitalocean:droplet", OTHER): droplet(OTHER),
            ("digitalocean:volume", VOLUMES[0]): volume(VOLUMES[0]),
            ("digitalocean:volume", VOLUMES[1]): volume(VOLUMES[1], tags=[MARK]),
            ("digitalocean:volume", VOLUMES[2]): volume(VOLUMES[2], tags=["someone's"]),
            ("digitalocean:volume", VOLUMES[3]): volume(VOLUMES[3], OTHER),
            ("digitalocean:reserved_ip", IPS[0]): Thing({"ip": IPS[0]}, DROPLET),
            ("digitalocean:reserved_ip", IPS[1]): Thing({"ip": IPS[1]}, DROPLET),
        }
        self.server.things |= things
        kept = [("digitalocean:droplet", OTHER), *(("digitalocean:volume", each) for each in VOLUMES[2:])]
        kept.append(("digitalocean:reserved_ip", IPS[1]))
        ours = [key for key in things if key not in kept]
        ids = {"instance_id": DROPLET, "volume": VOLUMES[0], "reserved_ip": IPS[0]}
        return Made(main, ours, kept, dict(ids))


TARGETS = [StandIn]
