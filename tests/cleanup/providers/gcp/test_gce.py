"""GcpGce, through the official client, against a server that answers in Google's own message types."""

from dataclasses import replace
from typing import Any, ClassVar

import pytest

from tests.cleanup.providers.gcp.server import LABELS, OTHER_ZONE, PROJECT, REGION, ZONE, GoogleTarget, error
from tests.cleanup.rest_target import Thing
from tests.conformance.conftest import life, target
from tests.conformance.life import Life
from tests.conformance.target import Key, Made
from tests.standin import Fault, Reply, Request
from tracker.cleanup.core.contract import Unreachable

__all__ = ["life", "target"]

VM, OTHER = "blueprint-1", "someone-elses"


class StandIn(GoogleTarget):
    """An instance with a boot disk that goes with it, named, marked and strange disks and addresses, and a named firewall rule."""

    deployment_type = "GcpGce"

    marked: ClassVar = dict.fromkeys(("gcp:instance", "gcp:disk", "gcp:address"), "labels")

    def another(self, number: int) -> tuple[str, Thing]:
        kind, name = self.server.put("instances", f"more-{number}", **self.machine(f"more-{number}"))
        return name, self.server.things[kind, name]

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
        saved = [
            server.put("snapshots", f"snap-{disk}", "global", sourceDisk=server.link(f"zones/{ZONE}/disks/{disk}"))
            for disk in ("boot", "data", "others")
        ]
        saved += [server.put("images", "golden", "global", sourceDisk=server.link(f"zones/{ZONE}/disks/boot"))]
        saved += [
            server.put(plural, f"{name}-{VM}", scope, **{member: server.link(f"zones/{ZONE}/instances/{VM}")})
            for plural, name, scope, member in (
                ("machineImages", "whole", "global", "sourceInstance"),
                ("targetInstances", "target", f"zones/{ZONE}", "instance"),
            )
        ]
        self.saved = [key for key in saved if key[1] != "snap-others"]
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
        kept = [other, disks["strange"], disks["others"], addresses["ip-strange"], firewalls[1], *saved]
        ids: dict[str, str | list[str]] = {
            "instance_id": server.things[main].body["id"],
            "instance_name": VM,
            "disk": ["data"],
            "address": "ip",
            "firewall": "allow-1",
        }
        return Made(main, ours, kept, ids, self.metadata, ZONE)

    def machine(self, name: str, *disks: tuple[str, bool]) -> dict[str, Any]:
        """Return what an instance has, besides its name."""
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
pytestmark = pytest.mark.parametrize("target_class", TARGETS)


def message(life: Life, error_class: str) -> str:
    """Return what the last round was refused with."""
    assert life.answers[-1].outcome == "refused"
    found = life.record.cleanup.last_error
    assert found
    assert found.error_class == error_class, found.message
    return found.message


def test_an_instance_goes_by_its_number(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(made)
    assert life.record.status == "Terminated"
    deletions = [call.path for call in target.server.calls if call.method == "DELETE" and "instances" in call.path]
    assert deletions == [f"/compute/v1/projects/{PROJECT}/zones/{ZONE}/instances/{made.ids['instance_id']}"]


def test_a_protected_instance_is_not_even_asked_to_go(target: StandIn, life: Life) -> None:
    made = target.make()
    target.protect(made)
    life.clean_up(made)
    assert message(life, "protected") == f"{VM} is protected against deletion: lift deletionProtection first"
    assert target.asked() == []


def test_google_is_asked_without_what_the_environment_puts_between(
    target: StandIn, life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    life.clean_up(target.make())
    assert life.record.status == "Terminated"


@pytest.mark.parametrize("status", ["TERMINATED", "STOPPING", "SUSPENDED", "DEPROVISIONING"])
def test_what_is_stopped_or_stopping_is_not_gone(target: StandIn, life: Life, status: str) -> None:
    made = target.make()
    target.server.things[made.main].body["status"] = status
    life.clean_up(made)
    assert life.record.status == "Terminated"
    assert made.main in target.asked()
    assert made.main not in target.left()


def test_an_instance_in_another_zone_is_named(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(target.misplaced(made))
    text = message(life, "bad_id")
    assert f"instance {VM} isn't in zones/{OTHER_ZONE}, but there is one in zones/{ZONE}" in text
    assert target.asked() == []


def test_an_instance_in_a_zone_for_ai_is_looked_for_there(target: StandIn, life: Life) -> None:
    life.clean_up(replace(target.make(), region="us-central1-ai1a"))
    assert "no such zone" in message(life, "credentials")
    assert "/zones/us-central1-ai1a/instances/" in target.server.calls[-2].path


def test_a_zone_that_is_not_there_proves_nothing(target: StandIn, life: Life) -> None:
    life.clean_up(replace(target.make(), region="europe-west9-a"))
    assert "there is no such zone in project" in message(life, "credentials")


def test_an_instance_of_a_managed_group_is_refused(target: StandIn, life: Life) -> None:
    made = target.make()
    group = f"projects/123456/zones/{ZONE}/instanceGroupManagers/fleet"
    target.server.things[made.main].body["metadata"]["items"].append({"key": "created-by", "value": group})
    life.clean_up(made)
    assert "managed instance group fleet" in message(life, "protected")
    assert target.asked() == []


def test_another_number_under_the_name_is_another_instance(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(replace(made, ids=made.ids | {"instance_id": "4242"}))
    # It holds what the record names besides: nothing of that is touched either.
    assert made.main not in target.asked()
    assert life.states[made.main] == "gone"
    assert {made.main, ("gcp:disk", "data")} <= target.left()


def test_a_record_whose_two_ids_name_two_instances_is_refused_before_any_call(target: StandIn, life: Life) -> None:
    made = target.make()
    target.forget()
    life.clean_up(replace(made, ids=made.ids | {"instance_id": "blueprint-2"}))
    assert "instance_id is 'blueprint-2', and instance_name 'blueprint-1'" in message(life, "bad_id")
    assert target.contacts() == 0


def test_a_named_disk_that_someone_else_uses_is_refused_before_anything_goes(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(replace(made, ids=made.ids | {"disk": ["data", "others"]}))
    text = message(life, "not_ours")
    assert (
        text == f"disk others isn't deleted: attached to zones/{ZONE}/instances/{OTHER}, which the record doesn't name"
    )
    assert target.asked() == []


def test_all_disks_and_addresses_go_when_all_dependents_should_and_nothing_else(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(replace(made, metadata=made.metadata | {"delete_dependents": "all"}))
    assert life.record.status == "Terminated"
    strange = {("gcp:instance", OTHER), ("gcp:disk", "others"), ("gcp:firewall", "allow-2")}
    assert target.left() == strange | {*target.saved, ("gcp:snapshot", "snap-others")}


def test_what_goes_on_being_billed_is_kept_by_name(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(made)
    kept = {each.key: each.detail for each in life.record.resources if each.state == "kept"}
    assert all("billed on" in kept[key] for key in target.saved)
    assert ("gcp:snapshot", "snap-others") not in life.states


def test_what_may_not_be_listed_keeps_nothing_else_from_going(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    denied = error(403, "Required 'compute.snapshots.list' permission")
    lists = "/(snapshots|images|machineImages|targetInstances)$"
    with target.server.failing(Fault("answer", "GET", lists, denied)):
        life.run(life.begin())
    assert life.record.status == "Terminated"
    for kind in ("snapshot", "image", "machine_image", "target_instance"):
        assert life.states[f"gcp:{kind}", "unseen"] == "kept"


def test_what_a_preempted_instance_left_is_found_by_the_label(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made, resource_ids={"instance_name": VM})
    for key in [made.main, ("gcp:disk", "boot")]:
        del target.server.things[key]
    life.run(life.begin())
    kept = {each.key: each.detail for each in life.record.resources if each.state == "kept"}
    assert kept.keys() == {("gcp:disk", "marked"), ("gcp:address", "ip-marked")}
    assert all("it may be left of the instance" in detail for detail in kept.values())


def test_a_regional_disk_is_found_where_it_is(target: StandIn, life: Life) -> None:
    made = target.make()
    disk = target.server.put("disks", "replicated", f"regions/{REGION}", status="READY")
    life.clean_up(replace(made, ids=made.ids | {"disk": ["data", "replicated"]}))
    assert life.record.status == "Terminated"
    assert disk not in target.left()
    assert f"/regions/{REGION}/disks/replicated: 404" in next(r.proof for r in life.record.resources if r.key == disk)


def test_a_disk_of_that_name_in_a_zone_far_away_is_not_the_records(target: StandIn, life: Life) -> None:
    made = target.make()
    disk = target.server.put("disks", "far", f"zones/{OTHER_ZONE}", status="READY")
    life.clean_up(replace(made, ids=made.ids | {"disk": ["data", "far"]}))
    assert life.record.status == "Terminated"
    assert disk in target.left()


def test_a_deletion_that_failed_is_told_once_and_asked_for_again(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    state = life.begin()
    with target.false_success(made), pytest.raises(Unreachable) as told:
        life.run(state)
    assert str(told.value) == f"gcp:instance {VM}: operation-0: INTERNAL_ERROR: Internal error. Please try again."
    assert life.run(state).outcome == "gone"


def test_a_deletion_that_failed_since_it_is_in_use_waits(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    target.server.fails[made.main] = ("RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", "The instance is in use.")
    state = life.begin()
    assert [life.step(state).outcome for _ in range(3)] == ["remains"] * 3
    target.server.fails.clear()
    assert life.run(state).outcome == "gone"


@pytest.mark.parametrize("reason", ["rateLimitExceeded", "quotaExceeded"])
def test_a_limit_that_is_said_with_403_waits(target: StandIn, life: Life, reason: str) -> None:
    made = target.make()
    with target.server.failing(Fault("answer", "GET", "/instances/", error(403, "Rate exceeded", reason), times=2)):
        life.clean_up(made)
    assert [answer.outcome for answer in life.answers].count("remains") >= 2
    assert life.record.status == "Terminated"


@pytest.mark.parametrize(
    "answer", [Reply(404, b"<html>not found"), Reply(404, {"message": "no"}), Reply(200, {}), Reply(200, b"<html>")]
)
def test_an_answer_that_is_not_googles_proves_nothing(target: StandIn, life: Life, answer: Reply) -> None:
    life.register(target.make())
    for path in (f"/instances/{VM}$", "/operations$", "/addresses$"):
        with target.server.failing(Fault("answer", "GET", path, answer)), pytest.raises(Unreachable):
            life.run(state := life.begin())
        life.give_back(state)
    assert "gone" not in life.states.values()
