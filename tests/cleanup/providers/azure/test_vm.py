"""AzureVm, against a server that keeps to the documents of Azure's APIs."""

import re
import uuid
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from tests.cleanup.providers.azure.server import (
    GROUP,
    OTHER,
    RESERVED_FOR,
    SUBSCRIPTION,
    ArmTarget,
    Existing,
    arm_id,
    error,
    existing,
    reference,
)
from tests.cleanup.rest_target import Thing
from tests.conformance.conftest import life, target
from tests.conformance.life import Life
from tests.conformance.target import Key, Made
from tests.standin import Fault, Reply
from tracker.cleanup.core.contract import Unreachable

__all__ = ["life", "target"]


def machine(name: str, *, disks: dict[str, str], nics: dict[str, str], **more: Any) -> Existing:
    """A machine; each disk and interface with its deleteOption, the first disk with the system."""
    attached = [
        {"name": disk, "deleteOption": option, "managedDisk": reference("azure:disk", disk)}
        for disk, option in disks.items()
    ]
    properties = {
        "vmId": str(uuid.uuid4()),
        "storageProfile": {"osDisk": attached[0], "dataDisks": attached[1:]},
        "networkProfile": {
            "networkInterfaces": [
                reference("azure:nic", nic, properties={"primary": True, "deleteOption": option})
                for nic, option in nics.items()
            ]
        },
    }
    return existing("azure:vm", name, properties | more)


def disk(name: str, vm: str = "", *, goes: bool = False) -> Existing:
    user = arm_id("azure:vm", vm) if vm else ""
    return existing("azure:disk", name, {"uniqueId": str(uuid.uuid4())}, user=user, goes=goes)


def nic(
    name: str, vm: str = "", *, address: str = "", group: str = "", balancer: str = "", goes: bool = False
) -> Existing:
    public: dict[str, Any] = {"publicIPAddress": reference("azure:public_ip", address)} if address else {}
    if balancer:
        pool = reference("azure:load_balancer", balancer)["id"] + "/backendAddressPools/pool"
        public |= {"loadBalancerBackendAddressPools": [{"id": pool}]}
    properties = {
        "resourceGuid": str(uuid.uuid4()),
        "ipConfigurations": [{"name": "ipconfig1", "properties": public}],
        **({"networkSecurityGroup": reference("azure:security_group", group)} if group else {}),
    }
    return existing("azure:nic", name, properties, user=arm_id("azure:vm", vm) if vm else "", goes=goes)


def address(name: str, nic: str = "", *, option: str = "") -> Existing:
    properties = {"resourceGuid": str(uuid.uuid4()), **({"deleteOption": option} if option else {})}
    user = arm_id("azure:nic", nic) if nic else ""
    return existing("azure:public_ip", name, properties, user=user, goes=option == "Delete")


def security_group(name: str, nic: str = "") -> Existing:
    user = arm_id("azure:nic", nic) if nic else ""
    return existing("azure:security_group", name, {"resourceGuid": str(uuid.uuid4())}, user=user)


class StandIn(ArmTarget):
    """A machine with disks and interfaces that go with it, that are named, and that are neither; and its neighbour."""

    deployment_type = "AzureVm"
    na: ClassVar[dict[str, str]] = {
        "not-ours": "no mark is set for Azure: being named in the record is ownership",
    }

    marked: ClassVar = dict.fromkeys(
        ("azure:vm", "azure:disk", "azure:nic", "azure:public_ip", "azure:security_group"), "tags"
    )

    def put_mark(self, made: Made, generation: str) -> list[Key]:
        found = super().put_mark(made, generation)
        for key in found:
            # The list has an id in the spelling in which it was made.
            self.server.things[key].body["id"] = key[1]
        return found

    def sought(self, made: Made) -> Made:
        return replace(made, metadata={"subscription_id": SUBSCRIPTION})

    def another(self, number: int) -> tuple[str, Thing]:
        thing = machine(f"more-{number}", disks={f"os-more-{number}": "Delete"}, nics={})
        return thing.path, thing

    def make(self) -> Made:
        things = {
            "azure:vm": {
                "vm-1": machine(
                    "vm-1",
                    disks={"os": "Delete", "data": "Detach", "others": "Detach"},
                    nics={"nic-1": "Delete", "nic-2": "Detach", "nic-3": "Detach"},
                ),
                "vm-2": machine("vm-2", disks={"os-2": "Delete"}, nics={}),
            },
            "azure:disk": {
                "os": disk("os", "vm-1", goes=True),
                "data": disk("data", "vm-1"),
                "others": disk("others", "vm-1"),
                "os-2": disk("os-2", "vm-2", goes=True),
            },
            "azure:nic": {
                "nic-1": nic("nic-1", "vm-1", address="ip-1", group="nsg-1", goes=True),
                "nic-2": nic("nic-2", "vm-1", address="ip-2", group="nsg-2", balancer="front"),
                "nic-3": nic("nic-3", "vm-1", address="ip-3"),
            },
            "azure:public_ip": {
                "ip-1": address("ip-1", "nic-1", option="Delete"),
                "ip-2": address("ip-2", "nic-2", option="Detach"),
                "ip-3": address("ip-3", "nic-3"),
                "ip-front": address("ip-front", "front"),
            },
            "azure:load_balancer": {
                "front": existing(
                    "azure:load_balancer",
                    "front",
                    {
                        "frontendIPConfigurations": [
                            {"properties": {"publicIPAddress": reference("azure:public_ip", "ip-front")}}
                        ]
                    },
                )
            },
            "azure:snapshot": {
                f"snap-{disk}": existing(
                    "azure:snapshot",
                    f"snap-{disk}",
                    {"creationData": {"sourceResourceId": reference("azure:disk", disk)["id"]}},
                )
                for disk in ("os", "data", "os-2")
            },
            "azure:restore_points": {
                f"points-{vm}": existing("azure:restore_points", f"points-{vm}", {"source": reference("azure:vm", vm)})
                for vm in ("vm-1", "vm-2")
            },
            "azure:security_group": {
                "nsg-1": security_group("nsg-1", "nic-1"),
                "nsg-2": security_group("nsg-2", "nic-2"),
            },
        }
        keys = {name: self._key(kind, name) for kind, each in things.items() for name in each}
        self.server.things |= {keys[name]: thing for each in things.values() for name, thing in each.items()}
        kept = [keys[name] for name in ("vm-2", "others", "os-2", "nic-3", "ip-3", "nsg-1", *self.SAVED)]
        ids: dict[str, str | list[str]] = {
            "instance_id": keys["vm-1"][1],
            "disk": keys["data"][1],
            "nic": [keys["nic-2"][1]],
            "public_ip_address": keys["ip-2"][1],
            "security_group": keys["nsg-2"][1],
        }
        return Made(keys["vm-1"], [key for key in keys.values() if key not in kept], kept, ids)

    # What stays of a machine or its neighbour, whatever is asked.
    SAVED = ("front", "ip-front", "snap-os", "snap-data", "snap-os-2", "points-vm-1", "points-vm-2")
    # As the record writes them; what is only found has the spelling that is kept.
    NAMED = ("vm-1", "data", "nic-2", "ip-2", "nsg-2")

    def _key(self, kind: str, name: str) -> Key:
        return kind, arm_id(kind, name, GROUP.title() if name in self.NAMED else GROUP)

    def replace(self, made: Made) -> None:
        for key in made.ours:
            del self.server.things[key]
        self.server.things[made.main] = machine("vm-1", disks={"os": "Delete"}, nics={})


TARGETS = [StandIn]
pytestmark = pytest.mark.parametrize("target_class", TARGETS)


def said(life: Life) -> str:
    """Return what went wrong, with its class."""
    found = life.record.cleanup.last_error
    assert found
    return f"{found.error_class}: {found.message}"


def key(kind: str, name: str) -> Key:
    return kind, arm_id(kind, name)


def test_an_interface_that_azure_reserves_for_a_gone_machine_is_asked_again_when_it_is_free(
    target: StandIn, life: Life
) -> None:
    made = target.make()
    target.server.is_reserving = True
    life.clean_up(made)
    assert life.record.status == "Terminated"
    assert RESERVED_FOR in [answer.retry_after for answer in life.answers]
    asked = [asked for asked in target.asked() if asked[1] in made.ids["nic"]]
    assert len(asked) == 2


def test_what_is_only_found_is_kept_and_says_why(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(made)
    kept = {resource.key: resource.detail for resource in life.record.resources if resource.state == "kept"}
    assert "deleteOption is Detach" in kept[key("azure:disk", "others")]
    assert "deleteOption is Detach" in kept[key("azure:nic", "nic-3")]
    assert "interface is kept" in kept[key("azure:public_ip", "ip-3")]
    assert "others may use it" in kept[key("azure:security_group", "nsg-1")]


def test_what_goes_on_being_billed_is_kept_by_name(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(made)
    kept = {
        (kind, id_.lower()): each.detail
        for each in life.record.resources
        if each.state == "kept"
        for kind, id_ in [each.key]
    }

    def detail(kind: str, name: str) -> str:
        return kept[kind, arm_id(kind, name).lower()]

    assert "billed on" in detail("azure:snapshot", "snap-os")
    assert "billed on" in detail("azure:snapshot", "snap-data")
    assert "billed on" in detail("azure:restore_points", "points-vm-1")
    assert "billed on" in detail("azure:load_balancer", "front")
    assert "billed on" in detail("azure:public_ip", "ip-front")
    assert not [id_ for _, id_ in life.states if id_.endswith(("snap-os-2", "points-vm-2"))]


def test_what_may_not_be_looked_for_keeps_nothing_else_from_going(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    denied = error(403, "no authorization to perform action")
    with target.server.failing(
        Fault("answer", "GET", "(?i)/(snapshots|restorePointCollections|loadBalancers/front)$", denied)
    ):
        life.run(life.begin())
    assert life.record.status == "Terminated"
    for kind in ("azure:snapshot", "azure:restore_points", "azure:public_ip"):
        assert life.states[kind, "unseen"] == "kept"


def test_each_is_asked_once_when_it_is_free_and_not_what_goes_by_itself(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(made)
    (nic_id,) = _each(made.ids["nic"])
    assert [id_.rpartition("/")[2] for _, id_ in target.asked()[:1]] == ["vm-1"]
    assert {id_ for _, id_ in target.asked()[1:3]} == {made.ids["disk"], nic_id}
    assert {id_ for _, id_ in target.asked()[3:]} == {made.ids["public_ip_address"], made.ids["security_group"]}
    assert key("azure:nic", "nic-1") in life.states


def test_all_dependents_go_when_all_should_but_for_what_others_use(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(made, metadata={"delete_dependents": "all"})
    assert life.record.status == "Terminated"
    assert target.left() == {
        key("azure:vm", "vm-2"),
        key("azure:disk", "os-2"),
        key("azure:security_group", "nsg-1"),
        *(made_key for made_key in made.kept if made_key[1].rpartition("/")[2] in StandIn.SAVED),
    }


def test_an_id_in_another_spelling_is_the_same_thing(target: StandIn, life: Life) -> None:
    made = target.make()
    ids = {
        name: [re.sub("resourceGroups/.*?/", "resourcegroups/BluePrints/", each) for each in _each(value)]
        for name, value in made.ids.items()
    }
    life.clean_up(made, resource_ids={name: value if len(value) > 1 else value[0] for name, value in ids.items()})
    assert life.record.status == "Terminated"
    assert set(made.ours) & target.left() == set()
    lower = [(resource.kind, resource.id.lower()) for resource in life.record.resources]
    assert len(lower) == len(set(lower))


def _each(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_a_machine_of_a_scale_set_is_let_alone(target: StandIn, life: Life) -> None:
    made = target.make()
    scale_set = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/x/providers/Microsoft.Compute/virtualMachineScaleSets/s"
    target.server.things[made.main].body["properties"]["virtualMachineScaleSet"] = {"id": scale_set}
    assert life.clean_up(made).outcome == "refused"
    assert said(life).startswith("protected: ")
    assert scale_set in said(life)
    assert target.asked() == []


def test_a_deletion_that_failed_later_says_with_which_code_and_is_asked_again(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    with target.false_success(made):
        state = life.begin()
        with pytest.raises(Unreachable, match="ProvisioningState/failed/InternalExecutionError host is down"):
            life.run(state)
    assert life.run(state).outcome == "gone"
    assert target.asked().count(made.main) == 2


@pytest.mark.parametrize(
    ("code", "expected"),
    [("InternalExecutionError", "unreachable"), ("ScopeLocked", "protected"), (None, "unreachable")],
)
def test_an_operation_that_failed_at_once_is_no_success(
    target: StandIn, life: Life, code: str | None, expected: str
) -> None:
    made = target.make()
    life.register(made)
    told: dict[str, Any] = {"status": "Failed" if code else "Canceled"}
    told |= {"error": {"code": code, "message": "it could not be deleted"}} if code else {}
    with target.server.failing(Fault("answer", "GET", "/operations/", Reply(body=told), times=1)):
        state = life.begin()
        if expected == "unreachable":
            with pytest.raises(Unreachable, match=code):
                life.run(state)
        else:
            life.run(state)
    assert said(life).startswith(expected)
    assert life.states[made.main] != "gone"


def test_an_operation_that_may_not_be_read_spoils_nothing(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    denied = error(403, "no authorization to perform action 'Microsoft.Compute/locations/operations/read'")
    with target.server.failing(Fault("answer", "GET", "/operations/", denied)):
        assert life.run(life.begin()).outcome == "gone"


@pytest.mark.parametrize(
    ("code", "is_gone"),
    [
        ("ResourceNotFound", True),
        ("ResourceGroupNotFound", True),
        ("SubscriptionNotFound", False),
        ("InvalidResourceType", False),
        ("InvalidResourceNamespace", False),
        ("NoRegisteredProviderFound", False),
        ("InvalidAuthenticationTokenTenant", False),
    ],
)
def test_not_found_counts_only_if_it_is_the_resource(target: StandIn, life: Life, code: str, *, is_gone: bool) -> None:
    made = target.make()
    life.register(made, resource_ids={"instance_id": made.main[1]})
    with target.server.failing(Fault("answer", "GET", "/virtualMachines/", error(404, "not found", code))):
        state = life.begin()
        if is_gone:
            assert life.run(state).outcome == "gone"
        else:
            try:
                assert life.run(state).outcome == "refused"
            except Unreachable:
                assert code in said(life)
            assert life.states.get(made.main) != "gone"


def test_an_entity_that_is_not_found_is_no_proof_and_no_failure(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    missing = error(404, "The entity was not found.", "NotFound")
    with target.server.failing(Fault("answer", "GET", "/virtualMachines/", missing, times=2)):
        assert life.run(life.begin()).outcome == "gone"
    assert [answer.outcome for answer in life.answers][:2] == ["remains", "remains"]
    assert made.main in target.asked()


@pytest.mark.parametrize(
    "metadata",
    [{"account": OTHER}, {"subscription_id": OTHER}, {"account": OTHER, "subscription_id": SUBSCRIPTION}],
)
def test_a_subscription_that_is_not_that_of_the_ids_is_a_refusal_and_no_call_is_made(
    target: StandIn, life: Life, metadata: dict[str, str]
) -> None:
    life.register(target.make(), metadata=metadata)
    life.run(life.begin())
    assert said(life).startswith("bad_id: ")
    assert target.contacts() == 0


def test_what_has_the_name_of_a_gone_disk_is_let_alone(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    data: Key = ("azure:disk", str(made.ids["disk"]))
    state = life.begin()
    with target.server.failing(Fault("answer", "DELETE", "/disks/", error(503, "later"))), pytest.raises(Unreachable):
        life.run(state)
    target.server.things[data] = disk("data")
    target.forget()
    assert life.run(state).outcome == "gone"
    assert "is another one now" in next(each.proof for each in life.record.resources if each.key == data)
    assert data in target.left()
    assert data not in target.asked()


def test_an_address_whose_interface_is_still_leaving_waits(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    in_use = error(400, "it is still allocated", "PublicIPAddressCannotBeDeleted")
    with target.server.failing(Fault("answer", "DELETE", "/publicIPAddresses/ip-2$", in_use, times=2)):
        assert life.run(life.begin()).outcome == "gone"
