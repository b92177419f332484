"""LocalHypervisor: a Cloud Hypervisor machine on this machine: its API socket, its process, its disks and tap devices.

The VM and its process go first (`virtual_machine`), then what it used (`devices`). A reboot ends processes and devices, never files.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from tracker.cleanup.core.contract import OperatorNotes, Refused, ResourceKind
from tracker.cleanup.core.discovery import judged, kept, named_resources
from tracker.cleanup.providers.local.cloud_hypervisor import NobodyListensError, Vm
from tracker.cleanup.providers.local.devices import Disk, Tap
from tracker.cleanup.providers.local.machine import MachineKind
from tracker.cleanup.providers.local.virtual_machine import GRACE, VirtualMachine, VmProcess, meet
from tracker.model.catalogue import entry
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

NOTES = OperatorNotes(
    credentials="None: what the user may do whom the functions run as.",
    permissions=(
        "to connect to the API socket",
        "to signal the process and to see its executable: as root, or as the user that it runs as",
        "to write to the folders of the socket and of the disks",
        "to own the tap devices, or CAP_NET_ADMIN, and to open /dev/net/tun",
    ),
    order=(
        "the VM, by its API: `vm.shutdown`, `vm.delete`, `vmm.shutdown`, and the file of its socket",
        f"its process, if it is still there: SIGTERM, and {GRACE} seconds later SIGKILL",
        "its disks and tap devices",
    ),
    gone=(
        "Nobody listens on the socket, and its file isn't there; no process has the pid, or one that was started at another "
        "time; the folder doesn't hold the disk; /sys/class/net doesn't hold the device, or another one. That the machine was "
        "booted again proves processes and devices gone."
    ),
    duration="Under a minute.",
    limits=(
        "The guest isn't asked to power down. A VMM that has a VM and doesn't answer, or whose socket was removed, isn't killed: "
        "its round fails. A VM that was migrated isn't followed. A release whose `vmm.ping` names no pid isn't served. A "
        "disk that a process has open waits; only processes that the user may look into are seen. A path with a symbolic "
        "link in it is refused. The lock file that newer releases put beside the socket stays."
    ),
    sources="Cloud Hypervisor's API document and source (ae44c29); proc(5), pidfd_open(2), unix(7); the kernel's tuntap document.",
)

_TYPE = entry("LocalHypervisor")
_KINDS: dict[str, MachineKind[Any, Any]] = {
    "hypervisor:vm": VirtualMachine(),
    "hypervisor:process": VmProcess(),
    "hypervisor:disk": Disk(),
    "hypervisor:tap": Tap(),
}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
# A disk or a device is in use until the process is gone.
_STAGES = {"hypervisor:vm": 0, "hypervisor:process": 1, "hypervisor:disk": 2, "hypervisor:tap": 2}


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names, the process that the API names, and the disks and devices of the VM's configuration."""
    _check_metadata(deployment)
    place = {key: deployment.metadata.get(key, "") for key in ("host", "boot_id")}
    named = named_resources(deployment, place, _STAGES, _KINDS, settings, mains=_STAGES)
    found = {each.key: replace(each, place=place | _known_of(deployment, each, place)) for each in named}
    for resource in [each for each in found.values() if each.kind == "hypervisor:vm"]:
        try:
            process, vm = meet(resource)
        except NobodyListensError:
            continue
        found[resource.key] = replace(resource, place=resource.place | process)
        key = ("hypervisor:process", process["pid"])
        known = found.get(key, Resource(*key, place, stage=_STAGES["hypervisor:process"]))
        found[key] = replace(known, place=known.place | process | {"api_socket": resource.id})
        for dependent in _dependents(vm, deployment, settings):
            found.setdefault(dependent.key, replace(dependent, place=place))
    return list(found.values())


def _check_metadata(deployment: Deployment) -> None:
    for key, form in _TYPE.metadata.items():
        value = deployment.metadata.get(key)
        if value is not None and not form.matches(value):
            raise Refused("bad_id", f"metadata.{key} can't be {value!r}")


def _known_of(deployment: Deployment, resource: Resource, place: Mapping[str, str]) -> dict[str, str]:
    """Return what the record says of a resource, and what earlier reads learned of it."""
    known = _learned(deployment, resource.key, place)
    if resource.id in (deployment.resource_ids.get("api_socket"), deployment.resource_ids.get("pid")):
        recorded = _recorded_process(deployment)
        if recorded.get("pid", "") not in ("", known.get("pid", "")):
            known = dict.fromkeys(known, "")
        known |= recorded
    return known


def _recorded_process(deployment: Deployment) -> dict[str, str]:
    """Return what the record itself says of the VM's process."""
    recorded = {
        "pid": deployment.resource_ids.get("pid"),
        "api_socket": deployment.resource_ids.get("api_socket"),
        "started": deployment.metadata.get("process_start_time"),
        "executable": deployment.metadata.get("executable"),
    }
    return {key: value for key, value in recorded.items() if isinstance(value, str)}


def _learned(deployment: Deployment, key: tuple[str, str], place: Mapping[str, str]) -> dict[str, str]:
    """Return what earlier reads learned of a resource, emptied if the record names another boot now; a file stays the same."""
    known = next((resource.place for resource in deployment.resources if resource.key == key), {})
    holds = known.get("boot_id") == place["boot_id"] or key[0] == "hypervisor:disk"
    return {name: value if holds else "" for name, value in known.items() if name not in place}


def _dependents(vm: Vm | None, deployment: Deployment, settings: Settings) -> Iterator[Resource]:
    """Yield the disks and devices of a VM's configuration, kept unless the record asks for all.

    Even then a disk is kept that may not be removed, or is attached read-only, as one is that several VMs start from.
    """
    form = _TYPE.ids["disk_image"]
    for disk in (vm and vm.config.disks) or []:
        if disk.path is None:
            continue
        resource = Resource("hypervisor:disk", disk.path, stage=_STAGES["hypervisor:disk"])
        if not form.matches(disk.path) or not settings.allows("file", disk.path):
            yield kept(resource, "it isn't among the files that may be removed")
        elif disk.readonly:
            yield kept(resource, "it is attached read-only, and others may use it")
        else:
            why = 'the record doesn\'t name it; metadata.delete_dependents = "all" would delete it'
            yield judged(deployment, resource, why=why)
    for net in (vm and vm.config.net) or []:
        if net.tap:
            yield kept(
                Resource("hypervisor:tap", net.tap, stage=_STAGES["hypervisor:tap"]), "the record doesn't name it"
            )
