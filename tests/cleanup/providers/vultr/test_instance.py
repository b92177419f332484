"""VultrInstance, against a server that keeps to Vultr's API document."""

from typing import ClassVar

import pytest

from tests.cleanup.providers.vultr.server import EMAIL, VultrTarget, error
from tests.cleanup.rest_target import Thing
from tests.conformance.conftest import life, target
from tests.conformance.life import Life
from tests.conformance.target import Key, Made
from tests.standin import Fault
from tracker.cleanup.core.contract import Unreachable
from tracker.cleanup.providers.vultr import instance
from tracker.model.deployment import Resource

__all__ = ["life", "target"]

INSTANCE, OTHER = (f"4f0f12e5-1f84-404f-aa84-85f431ea5ec{n}" for n in range(2))
BLOCKS = [f"8692c434-08fa-4efb-a0fb-966a338aee0{n}" for n in range(3)]
BACKUPS: list[Key] = [("vultr:backup", f"cb676a46-66fd-4dfb-b839-443f2e6c0b6{n}") for n in range(3)]
VFS: list[Key] = [("vultr:vfs", f"d2e2b6e0-6c3c-4a3e-9d7c-3f5a1f1b7c2{n}") for n in range(2)]
IPS = [f"4be2bd35-4bcf-4c9c-9a4f-4d1e3e9c2b0{n}" for n in range(3)]


def an_instance(label: str = "blueprint") -> Thing:
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

    marked: ClassVar = {"vultr:instance": "tags", "vultr:block": "label", "vultr:reserved_ip": "label"}

    def another(self, number: int) -> tuple[str, Thing]:
        return f"5f0f12e5-1f84-404f-aa84-85f431ea00{number:02}", an_instance("other")

    def make(self) -> Made:
        main: Key = ("vultr:instance", INSTANCE)
        things = {
            main: an_instance(),
            ("vultr:block", BLOCKS[0]): block(),
            ("vultr:reserved_ip", IPS[0]): address(),
            ("vultr:instance", OTHER): an_instance("other"),
            ("vultr:block", BLOCKS[1]): block(),
            ("vultr:block", BLOCKS[2]): block(OTHER),
            ("vultr:reserved_ip", IPS[1]): address(),
            ("vultr:reserved_ip", IPS[2]): address(OTHER),
            **{key: Thing({"label": "shared"}, user) for key, user in zip(VFS, (INSTANCE, OTHER), strict=True)},
            **{key: Thing({"description": "nightly", "status": "complete"}, INSTANCE) for key in BACKUPS},
        }
        self.server.things |= things
        ours = list(things)[:3]
        kept = list(things)[3:]
        return Made(main, ours, kept, {"instance_id": INSTANCE, "block": BLOCKS[0], "reserved_ip": [IPS[0]]})


TARGETS = [StandIn]
pytestmark = pytest.mark.parametrize("target_class", TARGETS)


def test_what_clings_to_a_gone_instance_is_detached_first(target: StandIn, life: Life) -> None:
    made = target.make()
    target.server.clinging = {("vultr:block", BLOCKS[0]), ("vultr:reserved_ip", IPS[0])}
    life.clean_up(made)
    assert life.record.status == "Terminated"
    posted = [(call.path, call.body) for call in target.server.calls if call.method == "POST"]
    assert posted == [
        (f"/v2/blocks/{BLOCKS[0]}/detach", {"live": True}),
        (f"/v2/reserved-ips/{IPS[0]}/detach", None),
    ]


def test_what_is_attached_to_a_strange_instance_is_not_ours(target: StandIn, life: Life) -> None:
    made = target.make()
    target.server.things["vultr:block", BLOCKS[0]].user = OTHER
    answer = life.clean_up(made)
    assert answer.outcome == "refused"
    error = life.record.cleanup.last_error
    assert error
    assert error.error_class == "not_ours"
    assert OTHER in error.message
    assert ("vultr:block", BLOCKS[0]) not in target.asked()
    assert not [call for call in target.server.calls if call.method == "POST"]


@pytest.mark.parametrize("status", [400, 403, 404])
def test_what_a_get_cannot_find_but_the_list_has_is_still_there(target: StandIn, life: Life, status: int) -> None:
    made = target.make()
    life.register(made)
    missing = Fault("answer", "GET", f"/v2/blocks/{BLOCKS[0]}$", error(status, "Invalid block ID"))
    with target.server.failing(missing):
        life.run(life.begin())
    # Its list leads to it: it was asked to go, and is gone only now.
    assert ("vultr:block", BLOCKS[0]) in target.asked()
    assert life.record.status == "Terminated"
    block = next(each for each in life.record.resources if each.id == BLOCKS[0])
    assert "the list of each block storage hasn't got it" in block.proof


def test_a_list_that_cannot_be_had_proves_nothing(target: StandIn) -> None:
    """That an item isn't found, and its list isn't either, is some mistake about where it is."""
    target.make()
    del target.server.things["vultr:block", BLOCKS[0]]
    block = Resource("vultr:block", BLOCKS[0], {"account": EMAIL})
    assert instance.KINDS[block.kind].state(block, target.settings).state == "gone"
    with (
        target.server.failing(Fault("answer", "GET", "/v2/blocks$", error(404, "Not found"))),
        pytest.raises(Unreachable),
    ):
        instance.KINDS[block.kind].state(block, target.settings)


def test_all_dependents_go_when_all_should(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(made, metadata={"delete_dependents": "all"})
    assert life.record.status == "Terminated"
    assert target.left() == {
        ("vultr:instance", OTHER),
        ("vultr:block", BLOCKS[2]),
        ("vultr:reserved_ip", IPS[2]),
        *BACKUPS,
        *VFS,
    }


def test_an_instance_that_was_asked_to_go_and_still_is_pending_is_waited_for(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    pending = error(500, "Unable to destroy server: Server is already pending destruction.")
    with target.server.failing(Fault("answer", "DELETE", "/v2/instances/", pending, times=3)):
        assert life.run(life.begin()).outcome == "gone"


def test_backups_and_file_systems_are_kept_by_name(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(made)
    details = {each.key: each.detail for each in life.record.resources if each.state == "kept"}
    assert all("(nightly), billed on" in details[key] for key in BACKUPS)
    assert "(shared), billed on" in details[VFS[0]]
    assert VFS[1] not in life.states


def test_backups_that_may_not_be_seen_keep_nothing_else_from_going(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    with target.server.failing(Fault("answer", "GET", "/v2/backups", error(403, "Unauthorized"))):
        life.run(life.begin())
    assert life.record.status == "Terminated"
    assert life.states["vultr:backup", "unseen"] == "kept"
