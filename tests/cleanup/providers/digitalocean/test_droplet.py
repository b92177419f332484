"""DigitalOceanDroplet, against a server that keeps to DigitalOcean's API document."""

from typing import ClassVar

import pytest

from tests.cleanup.providers.digitalocean.server import MARK, DigitalOceanTarget, error
from tests.cleanup.rest_target import Thing
from tests.conformance.conftest import life, target
from tests.conformance.life import Life
from tests.conformance.target import Key, Made
from tests.standin import Fault, Reply
from tracker.cleanup.providers.digitalocean import droplet as droplets

__all__ = ["life", "target"]

GENERATION = "3f2a9c1e-5b74-4d08-9e61-7c0d5a8b2e43"
DROPLET, OTHER = "3164444", "3164445"
VOLUMES = [f"506f78a4-e098-11e5-ad9f-000f53306ae{n}" for n in range(4)]
IPS = ["45.55.96.47", "45.55.96.48"]

# Each with the droplet that it is attached to.
IPV6 = {"2409:40d0:f7:1017:74b4:3a96:105e:4c6e": DROPLET, "2409:40d0:f7:1017:74b4:3a96:105e:4c6f": OTHER}
# What was saved of the droplet and its volumes.
SAVED: list[Key] = [
    ("digitalocean:snapshot", "61486916"),
    ("digitalocean:volume_snapshot", "edb0478d-7436-11ea-86e6-0a58ac144b91"),
    ("digitalocean:backup", "67539192"),
    ("digitalocean:backup", "67539193"),
]


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

    marked: ClassVar = {"digitalocean:droplet": "tags", "digitalocean:volume": "tags"}

    def another(self, number: int) -> tuple[str, Thing]:
        return f"41000{number:02}", droplet(f"41000{number:02}")

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
            **{("digitalocean:reserved_ipv6", each): Thing({"ip": each}, user) for each, user in IPV6.items()},
            **{key: Thing({"name": f"saved-{key[1]}"}, DROPLET) for key in SAVED},
        }
        self.server.things |= things
        kept = [("digitalocean:droplet", OTHER), *(("digitalocean:volume", each) for each in VOLUMES[2:])]
        kept += [("digitalocean:reserved_ip", IPS[1]), *(("digitalocean:reserved_ipv6", each) for each in IPV6), *SAVED]
        ours = [key for key in things if key not in kept]
        ids = {"instance_id": DROPLET, "volume": VOLUMES[0], "reserved_ip": IPS[0]}
        return Made(main, ours, kept, dict(ids))


TARGETS = [StandIn]


@pytest.mark.parametrize("target_class", TARGETS)
def test_lists_that_the_document_lets_be_absent_are_empty_ones(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    with target.server.failing(Fault("answer", "GET", "/destroy_with_associated_resources$", Reply(200, {}))):
        life.run(life.begin())
    assert made.main in target.asked()


@pytest.mark.parametrize("target_class", TARGETS)
def test_what_goes_on_being_billed_is_kept_by_name(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(made)
    details = {each.key: each.detail for each in life.record.resources if each.state == "kept"}
    for key in SAVED:
        assert details[key].startswith(f"saved-{key[1]}, billed on")
    assert ("digitalocean:reserved_ipv6", next(iter(IPV6))) in details
    assert ("digitalocean:reserved_ipv6", list(IPV6)[1]) not in life.states


@pytest.mark.parametrize("target_class", TARGETS)
def test_addresses_go_when_all_should_and_what_was_saved_stays(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(made, metadata={"delete_dependents": "all"})
    assert life.record.status == "Terminated"
    assert ("digitalocean:reserved_ipv6", next(iter(IPV6))) not in target.left()
    assert {("digitalocean:reserved_ipv6", list(IPV6)[1]), *SAVED} <= target.left()


@pytest.mark.parametrize("target_class", TARGETS)
def test_what_the_token_may_not_look_for_keeps_nothing_else_from_going(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    denied = error(403, "You are not authorized to perform this operation")
    with target.server.failing(Fault("answer", "GET", "/v2/reserved_ipv6$|/backups$", denied)):
        life.run(life.begin())
    assert life.record.status == "Terminated"
    details = {each.key: each.detail for each in life.record.resources if each.state == "kept"}
    assert "the credential may not" in details["digitalocean:reserved_ipv6", "unseen"]
    assert "the credential may not" in details["digitalocean:backup", "unseen"]


@pytest.mark.parametrize("target_class", TARGETS)
@pytest.mark.parametrize("tags", [[], None, ["someone's"]])
def test_a_token_that_is_shown_no_tag_at_all_is_told_which_scope_it_lacks(
    target: StandIn, life: Life, tags: list[str] | None
) -> None:
    made = target.make()
    target.server.things[made.main].body["tags"] = tags
    life.register(made)
    with target.server.failing(
        Fault("answer", "GET", f"/droplets/{DROPLET}$", Reply(200, {"droplet": droplet().body | {"tags": tags}}))
    ):
        life.run(life.begin())
    error = life.record.cleanup.last_error
    assert error
    assert error.error_class == "not_ours"
    assert ("tag:read" in error.message) == (not tags)


@pytest.mark.parametrize("target_class", TARGETS)
def test_a_droplet_with_a_gpu_is_found_though_the_list_of_droplets_leaves_it_out(target: StandIn) -> None:
    made = target.make()
    target.put_mark(made, GENERATION)
    target.server.things[made.main].body["gpu"] = True
    found = droplets.find(target.record(made.ids), target.settings, GENERATION)
    assert made.main in [each.resource.key for each in found]
