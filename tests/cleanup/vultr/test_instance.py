"""VultrInstance, against a server that keeps to Vultr's API document."""

from typing import ClassVar

from tests.cleanup.rest_target import Thing
from tests.cleanup.vultr.server import VultrTarget
from tests.conformance.target import Key, Made

INSTANCE, OTHER = (f"4f0f12e5-1f84-404f-aa84-85f431ea5ec{n}" for n in range(2))
BLOCKS = [f"8692c434-08fa-4efb-a0fb-966a338aee0{n}" for n in range(3)]
IPS = [f"4be2bd35-4bcf-4c9c-9a4f-4d1e3e9c2b0{n}" for n in range(3)]


def instance(label: str = "blueprint") -> Thing:
    body = {"label": label, "date_created": "2026-01-01T00:00:00+00:00", "tags": []}
    return Thing(body | {"status": "active", "server_status": "ok"})


def block(user: str = INSTANCE) -> Thing:
    return Thing({"label": "data", "status": "active"}, user)


def address(user: str = INSTANCE) -> Thing:
    return Thing({"ip_type": "v4", "subnet": "203.0.113.7"}, user)


class StandIn(VultrTarget):
    """An instance with a named and a strange one of each: block storage and reserved addresses; and someone else's."""

    deployment_type = "VultrInstance"
    na: ClassVar[dict[str, str]] = {
        "wrong-place": "ids are the account's own and no URL names a region",
        "not-ours": "no mark is set for Vultr: what the record names is the deployment's",
        "other-one": "Vultr gives the uuid of an instance to no other",
        "false-success": "a deletion is answered 204 without a body, and no operation tells of it",
        "protected": "instances have no protection against deletion",
    }

    def make(self) -> Made:
        main: Key = ("vultr:instance", INSTANCE)
        things = {
            main: instance(),
            ("vultr:block", BLOCKS[0]): block(),
            ("vultr:reserved_ip", IPS[0]): address(),
            ("vultr:instance", OTHER): instance("other"),
            ("vultr:block", BLOCKS[1]): block(),
            ("vultr:block", BLOCKS[2]): block(OTHER),
            ("vultr:reserved_ip", IPS[1]): address(),
            ("vultr:reserved_ip", IPS[2]): address(OTHER),
        }
        self.server.things |= things
        ours = list(things)[:3]
        kept = list(things)[3:]
        return Made(main, ours, kept, {"instance_id": INSTANCE, "block": BLOCKS[0], "reserved_ip": [IPS[0]]})


TARGETS = [StandIn]
