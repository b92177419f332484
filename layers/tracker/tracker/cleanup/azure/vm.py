"""AzureVm: a virtual machine, with its interfaces, public addresses, disks and security groups.

The machine goes first, then its interfaces and disks, then what hung on an interface. Azure itself deletes with a machine what has the
deleteOption `Delete`, which is waited for, and asked for if it stays; and it refuses to delete what something still uses.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from msgspec.structs import replace

from tracker.cleanup import rest
from tracker.cleanup.azure import arm
from tracker.cleanup.azure.arm import ArmKind, arm_kind, is_delete
from tracker.cleanup.contract import Facts, Kind, Refused
from tracker.cleanup.rest import Api, Gone
from tracker.deployment import Deployment, Resource, ids_named
from tracker.settings import Settings


def _status(found: Any) -> tuple[Literal["present", "leaving"], str]:
    """As "States and billing status" has it: among the instance view's statuses is ProvisioningState/<state>[/<code>]."""
    view = found["properties"].get("instanceView") or {}
    failed = (
        f"{each['code']} {each.get('message', '')}"
        for each in view.get("statuses") or []
        if str(each.get("code", "")).lower().startswith("provisioningstate/failed/")
    )
    return arm.status(found, "; ".join(failed))


def _on_its_own(resource: Resource, found: Any, _settings: Settings) -> None:
    scale_set = (found["properties"].get("virtualMachineScaleSet") or {}).get("id")
    if scale_set:
        text = f"{resource.id} is a machine of the scale set {scale_set}, which decides how many there are"
        raise Refused("protected", text)


def _guid(found: Any) -> dict[str, str]:
    return {"resource_guid": str(found["properties"]["resourceGuid"])}


VM = arm_kind(
    "virtual machine",
    "Microsoft.Compute/virtualMachines",
    arm.COMPUTE_VERSION,
    keep=lambda found: {"vm_id": str(found["properties"]["vmId"])},
    expand="instanceView",
    status=_status,
    allow=_on_its_own,
)
DISK = arm_kind(
    "disk",
    "Microsoft.Compute/disks",
    arm.DISKS_VERSION,
    keep=lambda found: {"unique_id": str(found["properties"]["uniqueId"])},
)
NIC = arm_kind("network interface", "Microsoft.Network/networkInterfaces", arm.NETWORK_VERSION, keep=_guid)
PUBLIC_IP = arm_kind("public address", "Microsoft.Network/publicIPAddresses", arm.NETWORK_VERSION, keep=_guid)
SECURITY_GROUP = arm_kind(
    "network security group", "Microsoft.Network/networkSecurityGroups", arm.NETWORK_VERSION, keep=_guid
)
_KINDS: dict[str, ArmKind] = {
    "azure:vm": VM,
    "azure:disk": DISK,
    "azure:nic": NIC,
    "azure:public_ip": PUBLIC_IP,
    "azure:security_group": SECURITY_GROUP,
}
KINDS: dict[str, Kind] = dict(_KINDS)
_STAGES = {
    "instance_id": ("azure:vm", 0),
    "disk": ("azure:disk", 1),
    "nic": ("azure:nic", 1),
    "public_ip_address": ("azure:public_ip", 2),
    "security_group": ("azure:security_group", 2),
}
_STAGE_OF = dict(_STAGES.values())

FACTS = Facts(
    credentials=arm.CREDENTIALS,
    permissions=(
        arm.SUBSCRIPTION_PERMISSION,
        "Microsoft.Compute/virtualMachines/read, /delete",
        "Microsoft.Compute/disks/read, /delete",
        "Microsoft.Network/networkInterfaces/read, /delete",
        "Microsoft.Network/publicIPAddresses/read, /delete",
        "Microsoft.Network/networkSecurityGroups/read, /delete",
    ),
    order=(
        "the virtual machine",
        "its network interfaces (up to three minutes after it, since Azure reserves them) and disks",
        "public addresses and security groups of the interfaces",
    ),
    gone=arm.GONE,
    duration="Two to ten minutes.",
    limits=(
        "No mark is set for Azure: being named is ownership. What has the deleteOption Delete goes with the machine; of what has Detach, "
        "`delete_dependents` takes disks, and interfaces with their public addresses, since Azure lets go of an address only with its "
        "interface. A security group goes only if it is named; virtual networks, resource groups, snapshots and unmanaged disks "
        "stay. A machine of a scale set, and what a lock or a policy protects, is a refusal. What hung on a machine that is gone "
        "before its first cleanup isn't found unless it is named."
    ),
    sources=arm.SOURCES,
)

_DETACHED = (
    'only found, not named by the record, and its deleteOption is Detach; metadata.delete_dependents = "all" deletes it'
)
_SHARED = "only found, and others may use it: it is deleted only if the record names it"
_HELD = "only found, and its network interface is kept"


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """What the record names, and what hangs on its machine if that is still there."""
    every = deployment.metadata.get("delete_dependents") == "all"
    spelled = {
        _KINDS[kind].canonical(id_): id_ for key, (kind, _) in _STAGES.items() for id_ in ids_named(deployment, key)
    }

    def hanging(api: Api, vm: Resource, found: Any) -> Iterator[Resource]:
        return _Hanging(api, vm.place, spelled, every=every).on(found["properties"])

    return rest.discovered(deployment, settings, _KINDS, _STAGES, hanging)


@dataclass(frozen=True)
class _Hanging:
    """What hangs on a machine. `spelled` are the ids that the record names, by their canonical spelling."""

    api: Api
    place: Mapping[str, str]
    spelled: Mapping[str, str]
    every: bool

    def on(self, vm: Any) -> Iterator[Resource]:
        """By the machine's properties: its disks, its interfaces, and what hangs on these."""
        storage = vm["storageProfile"]
        for disk in (storage["osDisk"], *(storage.get("dataDisks") or ())):
            id_ = (disk.get("managedDisk") or {}).get("id")
            if id_:
                yield from self._one("azure:disk", id_, "" if is_delete(disk) or self.every else _DETACHED)
        for reference in (vm.get("networkProfile") or {}).get("networkInterfaces") or ():
            goes = is_delete(reference.get("properties") or {}) or self.every
            nic = self._resource("azure:nic", reference["id"], "" if goes else _DETACHED)
            with suppress(Gone):
                found = NIC.find(self.api, nic)
                yield replace(nic, place=nic.place | NIC.keep(found))
                yield from self._of_interface(found["properties"], is_kept=nic.state == "kept")

    def _of_interface(self, nic: Any, *, is_kept: bool) -> Iterator[Resource]:
        for configuration in nic.get("ipConfigurations") or ():
            id_ = (configuration["properties"].get("publicIPAddress") or {}).get("id")
            if not id_:
                continue
            address = self._resource("azure:public_ip", id_)
            with suppress(Gone):
                found = PUBLIC_IP.find(self.api, address)
                goes = is_delete(found["properties"]) or self.every
                why = _HELD if is_kept else "" if goes else _DETACHED
                address = self._resource("azure:public_ip", id_, why)
                yield replace(address, place=address.place | PUBLIC_IP.keep(found))
        id_ = (nic.get("networkSecurityGroup") or {}).get("id")
        if id_:
            yield from self._one("azure:security_group", id_, _SHARED)

    def _one(self, kind: str, id_: str, why: str) -> Iterator[Resource]:
        """One of which nothing hangs. What is kept isn't even read: a role may not allow it."""
        resource = self._resource(kind, id_, why)
        if resource.state == "kept":
            yield resource
            return
        with suppress(Gone):
            yield replace(resource, place=resource.place | _KINDS[kind].keep(_KINDS[kind].find(self.api, resource)))

    def _resource(self, kind: str, id_: str, why: str = "") -> Resource:
        """One of them; kept, if there is a reason for it and the record doesn't name it."""
        canonical = _KINDS[kind].canonical(id_)
        place = {key: self.place[key] for key in ("account", "credential") if key in self.place}
        resource = Resource(kind, self.spelled.get(canonical, canonical), place, stage=_STAGE_OF[kind])
        return rest.kept(resource, why) if why and canonical not in self.spelled else resource
