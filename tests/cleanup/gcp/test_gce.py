"""GcpGce, through the official client, against a server that answers in Google's own message types."""

from dataclasses import replace
from typing import Any

from tests.cleanup.gcp.server import LABELS, OTHER_ZONE, REGION, ZONE, GoogleTarget, error
from tests.conformance.target import Key, Made
from tests.standin import Reply, Request

VM, OTHER = "blueprint-1", "someone-elses"


class StandIn(GoogleTarget):
    """An instance with a boot disk that goes with it, named, marked and strange disks and addresses, and a named firewall rule."""

    deployment_type = "GcpGce"

    def make(self) -> Made:
        server = self.server
        regional = f"regions/{REGION}"
        main = server.put(
            "instances", VM, **self.machine(VM, ("boot", True), ("data", False), ("marked", False), ("strange", False))
        )
        other = server.put("instances", OTHER, **self.machine(OTHER, ("others", False)))
        disks = {
            name: server.put("disks", name, user=user, status="READY", labels=labels)
            for name, user, labels in (
                ("boot", VM, {}),
                ("data", VM, {}),
                ("marked", VM, LABELS),
                ("strange", VM, {"team": "b"}),
                ("others", OTHER, LABELS),
            )
        }
        addresses = {
            name: server.put("addresses", name, regional, user, address=ip, addressType="EXTERNAL", labels=labels)
            for name, user, ip, labels in (
                ("ip", VM, "34.76.0.1", {}),
                ("ip-marked", VM, "10.132.0.2", LABELS),
                ("ip-strange", VM, "34.76.0.3", {}),
            )
        }
        firewalls = [
            server.put("firewalls", name, "global", sourceRanges=["0.0.0.0/0"]) for name in ("allow-1", "allow-2")
        ]
        self.numbers = {thing.body["id"]: key for key, thing in server.things.items()}
        ours = [
            main,
            disks["boot"],
            disks["data"],
            disks["marked"],
            addresses["ip"],
            addresses["ip-marked"],
            firewalls[0],
        ]
        kept = [other, disks["strange"], disks["others"], addresses["ip-strange"], firewalls[1]]
        ids: dict[str, str | list[str]] = {
            "instance_id": server.things[main].body["id"],
            "instance_name": VM,
            "disk": ["data"],
            "address": "ip",
            "firewall": "allow-1",
        }
        return Made(main, ours, kept, ids, self.metadata, ZONE)

    def machine(self, name: str, *disks: tuple[str, bool]) -> dict[str, Any]:
        """What an instance has, besides its name."""
        natted = {"type": "ONE_TO_ONE_NAT", "natIP": "34.76.0.1"}
        interfaces = [
            {"networkIP": "10.132.0.2", "accessConfigs": [natted]},
            {"networkIP": "10.133.0.2", "accessConfigs": [natted | {"natIP": "34.76.0.3"}]},
        ]
        return {
            "status": "RUNNING",
            "labels": dict(LABELS),
            "deletionProtection": False,
            "metadata": {"kind": "compute#metadata", "items": [{"key": "startup-script", "value": "#!/bin/sh"}]},
            "networkInterfaces": interfaces if name == VM else [],
            "disks": [
                {"source": self.server.link(f"zones/{ZONE}/disks/{disk}"), "autoDelete": goes} for disk, goes in disks
            ]
            + [{"type": "SCRATCH", "autoDelete": True, "interface": "NVME"}],
        }

    def key_of(self, call: Request) -> Key | None:
        if call.method != "DELETE":
            return None
        plural, name = call.path.split("/")[-2:]
        return self.numbers.get(
            name, (f"gcp:{plural.removesuffix('es') if plural == 'addresses' else plural[:-1]}", name)
        )

    def misplaced(self, made: Made) -> Made:
        return replace(made, region=OTHER_ZONE)

    def disown(self, made: Made) -> None:
        self.server.things[made.main].body["labels"] = {"team": "a"}

    def replace(self, made: Made) -> None:
        for thing in self.server.things.values():
            thing.user = "" if thing.user == VM else thing.user
        del self.server.things["gcp:disk", "boot"]
        self.server.put("instances", VM, **self.machine(VM))

    def protect(self, made: Made) -> None:
        self.server.things[made.main].body["deletionProtection"] = True

    def deletion_of(self, made: Made) -> str:
        return f"/instances/{self.server.things[made.main].body['id']}$"

    def busy_reply(self) -> Reply:
        return error(400, "The resource is not ready", "resourceNotReady")


TARGETS = [StandIn]
