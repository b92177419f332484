"""AzureVm: a virtual machine, with its interfaces, public addresses, disks and security groups.

The machine goes first, then its interfaces and disks, then what an interface uses. Azure itself deletes, together with a machine, what has
the deleteOption `Delete`: that is waited for, and requested if it stays. Azure refuses to delete what is still in use.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from tracker.cleanup.core.contract import Found, OperatorNotes, ResourceKind
from tracker.cleanup.core.discovery import judged, kept
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.azure import arm
from tracker.cleanup.providers.azure.arm import ArmResource, arm_path, every, has_delete_option, properties_of, tagged
from tracker.cleanup.transport.rest.kind import discover_with_dependents, unless_denied
from tracker.cleanup.transport.rest.listing import find_listed
from tracker.cleanup.transport.rest.provider import Api
from tracker.model.catalogue import entry
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

_ENTRY = entry("AzureVm")
_VM_PATH = arm_path("Microsoft.Compute/virtualMachines", arm.COMPUTE_VERSION)


class Vm(ArmResource):
    noun = "virtual machine"
    form = _ENTRY.ids["instance_id"].pattern
    path = f"{_VM_PATH}&$expand=instanceView"
    deletion = ("DELETE", _VM_PATH)

    def identity(self, body: Any) -> dict[str, str]:
        return _known(vm_id=properties_of(body).get("vmId"))

    def failure(self, body: Any) -> str:
        """Return the failed ones among the statuses of its instance view ("States and billing status")."""
        view = properties_of(body).get("instanceView") or {}
        return "; ".join(
            f"{each.get('code')} {each.get('message', '')}"
            for each in view.get("statuses") or []
            if str(each.get("code", "")).lower().startswith("provisioningstate/failed/")
        )

    def protection(self, connection: Api, resource: Resource, body: Any) -> str:
        scale_set = (properties_of(body).get("virtualMachineScaleSet") or {}).get("id")
        if not scale_set:
            return ""
        return f"{resource.id} is a machine of the scale set {scale_set}, which decides how many there are"


class Disk(ArmResource):
    noun = "disk"
    form = _ENTRY.ids["disk"].pattern
    path = arm_path("Microsoft.Compute/disks", arm.DISKS_VERSION)

    def identity(self, body: Any) -> dict[str, str]:
        return _known(unique_id=properties_of(body).get("uniqueId"))


class NetworkResource(ArmResource):
    """One kind of resource of Microsoft.Network."""

    def identity(self, body: Any) -> dict[str, str]:
        return _known(resource_guid=properties_of(body).get("resourceGuid"))


class Nic(NetworkResource):
    noun = "network interface"
    form = _ENTRY.ids["nic"].pattern
    path = arm_path("Microsoft.Network/networkInterfaces", arm.NETWORK_VERSION)


class PublicIp(NetworkResource):
    noun = "public address"
    form = _ENTRY.ids["public_ip_address"].pattern
    path = arm_path("Microsoft.Network/publicIPAddresses", arm.NETWORK_VERSION)


class SecurityGroup(NetworkResource):
    noun = "network security group"
    form = _ENTRY.ids["security_group"].pattern
    path = arm_path("Microsoft.Network/networkSecurityGroups", arm.NETWORK_VERSION)


_KINDS: dict[str, ArmResource] = {
    "azure:vm": Vm(),
    "azure:disk": Disk(),
    "azure:nic": Nic(),
    "azure:public_ip": PublicIp(),
    "azure:security_group": SecurityGroup(),
}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
_STAGES = {"azure:vm": 0, "azure:disk": 1, "azure:nic": 1, "azure:public_ip": 2, "azure:security_group": 2}
_LISTINGS = [
    tagged("azure:vm", "Microsoft.Compute/virtualMachines", arm.COMPUTE_VERSION),
    tagged("azure:disk", "Microsoft.Compute/disks", arm.DISKS_VERSION),
    tagged("azure:nic", "Microsoft.Network/networkInterfaces", arm.NETWORK_VERSION),
    tagged("azure:public_ip", "Microsoft.Network/publicIPAddresses", arm.NETWORK_VERSION),
    tagged("azure:security_group", "Microsoft.Network/networkSecurityGroups", arm.NETWORK_VERSION),
]

NOTES = OperatorNotes(
    credentials=arm.CREDENTIALS,
    permissions=(
        arm.SUBSCRIPTION_PERMISSION,
        "Microsoft.Compute/virtualMachines/read, /delete",
        "Microsoft.Compute/disks/read, /delete",
        "Microsoft.Network/networkInterfaces/read, /delete",
        "Microsoft.Network/publicIPAddresses/read, /delete",
        "Microsoft.Network/networkSecurityGroups/read, /delete",
        "Microsoft.Compute/snapshots/read, Microsoft.Compute/restorePointCollections/read, Microsoft.Network/loadBalancers/read: to show what stays",
    ),
    order=(
        "the virtual machine",
        "its network interfaces (up to three minutes after it, since Azure reserves them) and disks",
        "public addresses and security groups of the interfaces",
    ),
    gone=arm.GONE,
    duration="Two to ten minutes.",
    limits=(
        "No ownership mark is set for Azure: being named is ownership. By a deployment's own mark the whole subscription is looked through. What has the deleteOption Delete goes with the machine; of what has Detach, "
        "`delete_dependents` takes disks, and interfaces with their public addresses, since Azure lets go of an address only with its "
        "interface. A security group goes only if it is named. Snapshots of its disks, its restore points, and load balancers that it is "
        "behind, with their addresses, are kept and shown by name; virtual networks, resource groups and unmanaged disks stay. A machine of a scale set, and what a lock or a policy protects, is a refusal. What hung on a machine that is gone "
        "before its first cleanup isn't found unless it is named."
    ),
    sources=arm.SOURCES,
)

_DETACHED = (
    'only found, not named by the record, and its deleteOption is Detach; metadata.delete_dependents = "all" deletes it'
)
_SHARED = "only found, and others may use it: it is deleted only if the record names it"
_BILLED_ON = "billed on after the machine is gone: what was saved of it is never deleted"
_BALANCES = "the machine is behind it, and others may be: it is billed on, and not deleted"
_HELD = "only found, and its network interface is kept"


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names, and the dependents of its machine if that is still there."""
    named = {_KINDS[kind].canonical(id_): id_ for _, kind, id_ in _ENTRY.named(deployment)}

    def dependents(api: Api, vm: Resource, body: Any) -> Iterator[Resource]:
        place = {key: value for key, value in vm.place.items() if key in ("account", "credential")}
        return _Dependents(deployment, api, place, named, vm.id).of_machine(properties_of(body))

    return discover_with_dependents(deployment, settings, _KINDS, _STAGES, dependents)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the machines, disks, interfaces, addresses and security groups of the subscription that are tagged with the mark."""
    return find_listed(deployment, settings, generation, _KINDS, _LISTINGS)


@dataclass(frozen=True)
class _Dependents:
    """Finds what a machine, `vm`, uses. `named` are the ids that the record names, by their canonical spelling."""

    deployment: Deployment
    api: Api
    place: Mapping[str, str]
    named: Mapping[str, str]
    vm: str

    def of_machine(self, vm: Any) -> Iterator[Resource]:
        """Yield the disks and interfaces that a machine's properties name, and what the interfaces use."""
        storage = vm.get("storageProfile") or {}
        disks = set()
        for disk in (storage.get("osDisk") or {}, *(storage.get("dataDisks") or ())):
            id_ = (disk.get("managedDisk") or {}).get("id")
            if id_:
                disks.add(id_.lower())
                yield from self._unless_gone(self._judged(self._resource("azure:disk", id_), disk))
        yield from unless_denied("azure:snapshot", self._snapshots(disks))
        yield from unless_denied("azure:restore_points", self._restore_points())
        for reference in (vm.get("networkProfile") or {}).get("networkInterfaces") or ():
            if not reference.get("id"):
                continue
            nic = self._judged(self._resource("azure:nic", reference["id"]), properties_of(reference))
            with suppress(Gone):
                body = _KINDS[nic.kind].find(self.api, nic)
                yield _identified(nic, body)
                yield from self._of_interface(properties_of(body), is_kept=nic.state == "kept")

    def _of_interface(self, nic: Any, *, is_kept: bool) -> Iterator[Resource]:
        for configuration in nic.get("ipConfigurations") or ():
            yield from self._balancers(properties_of(configuration))
            id_ = (properties_of(configuration).get("publicIPAddress") or {}).get("id")
            if not id_:
                continue
            with suppress(Gone):
                address = self._resource("azure:public_ip", id_)
                body = _KINDS[address.kind].find(self.api, address)
                judgement = self._kept(address, _HELD) if is_kept else self._judged(address, properties_of(body))
                yield _identified(judgement, body)
        id_ = (nic.get("networkSecurityGroup") or {}).get("id")
        if id_:
            yield from self._unless_gone(self._kept(self._resource("azure:security_group", id_), _SHARED))

    def _snapshots(self, disks: Collection[str]) -> Iterator[Resource]:
        """Yield the snapshots of these disks, whose ids are in small letters: they stay."""
        for each in every(self.api, "Microsoft.Compute/snapshots", arm.DISKS_VERSION):
            source = str((properties_of(each).get("creationData") or {}).get("sourceResourceId") or "")
            if each.get("id") and source.lower() in disks:
                yield kept(Resource("azure:snapshot", str(each["id"]), dict(self.place)), _BILLED_ON)

    def _restore_points(self) -> Iterator[Resource]:
        """Yield the collections of restore points of the machine: they stay."""
        for each in every(self.api, "Microsoft.Compute/restorePointCollections", arm.COMPUTE_VERSION):
            source = str((properties_of(each).get("source") or {}).get("id") or "")
            if each.get("id") and source.lower() == self.vm.lower():
                yield kept(Resource("azure:restore_points", str(each["id"]), dict(self.place)), _BILLED_ON)

    def _balancers(self, configuration: Any) -> Iterator[Resource]:
        """Yield the load balancers that an interface's address is behind, with their own public addresses: they stay."""
        for pool in configuration.get("loadBalancerBackendAddressPools") or ():
            id_ = re.split("/backendAddressPools/", str(pool.get("id") or ""), flags=re.IGNORECASE)[0]
            if id_:
                yield kept(Resource("azure:load_balancer", id_.lower(), dict(self.place)), _BALANCES)
                yield from unless_denied("azure:public_ip", self._addresses(id_))

    def _addresses(self, balancer: str) -> Iterator[Resource]:
        with suppress(Gone):
            body = self.api.get(quote(balancer), **{"api-version": arm.NETWORK_VERSION})
            for frontend in properties_of(body).get("frontendIPConfigurations") or ():
                id_ = (properties_of(frontend).get("publicIPAddress") or {}).get("id")
                if id_:
                    yield self._kept(self._resource("azure:public_ip", str(id_)), _BALANCES)

    def _unless_gone(self, resource: Resource) -> Iterator[Resource]:
        """Yield a resource that is there. What is kept isn't even read: a role may not allow it."""
        if resource.state == "kept":
            yield resource
            return
        with suppress(Gone):
            yield _identified(resource, _KINDS[resource.kind].find(self.api, resource))

    def _judged(self, resource: Resource, options: Mapping[str, Any]) -> Resource:
        """Return a resource that goes if the record names it or asks for all, or if Azure itself would delete it."""
        goes = self._is_named(resource) or has_delete_option(options)
        return judged(self.deployment, resource, is_marked=goes, why=_DETACHED)

    def _kept(self, resource: Resource, why: str) -> Resource:
        """Return a resource that stays unless the record names it."""
        return resource if self._is_named(resource) else kept(resource, why)

    def _is_named(self, resource: Resource) -> bool:
        return resource.id in self.named.values()

    def _resource(self, kind: str, id_: str) -> Resource:
        canonical = _KINDS[kind].canonical(id_)
        return Resource(kind, self.named.get(canonical, canonical), dict(self.place), stage=_STAGES[kind])


def _known(**identity: Any) -> dict[str, str]:
    """Return what an answer tells of an identity: the documents require none of it."""
    return {key: str(value) for key, value in identity.items() if value}


def _identified(resource: Resource, body: Any) -> Resource:
    return replace(resource, place=resource.place | _KINDS[resource.kind].identity(body))
