"""LocalHypervisor: a Cloud Hypervisor machine on this machine: its API socket, its process, its disks and tap devices.

A number, a path or a name says by itself nothing of what it means now. So each is remembered by what the kernel tells it apart
by (start time and executable, inode, interface index), and another one is let alone. A reboot ends processes and devices,
never files.
"""

import fcntl
import os
import signal
import stat
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import EACCES, EBUSY, ENOENT, EPERM
from pathlib import Path

from msgspec.structs import replace

from tracker.catalogue import entry
from tracker.cleanup.contract import Busy, Facts, Kind, Look, Refused, Unreachable
from tracker.cleanup.local import cloud_hypervisor
from tracker.cleanup.local.cloud_hypervisor import CutError, NobodyListensError, Vm
from tracker.cleanup.local.machine import File, Process, boot_id, file_at, ourselves, process_of, users_of
from tracker.deployment import Deployment, Resource, ids_named
from tracker.settings import Settings

# From SIGTERM to SIGKILL, in seconds.
GRACE = 10

FACTS = Facts(
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
_INTERFACES = Path("/sys/class/net")
# linux/if_tun.h
_TUN = "/dev/net/tun"
_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_IFF_PERSIST = 0x0800


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """What the record names, the process that the API names, and the disks and devices of the VM's configuration."""
    _must_be_well_formed(deployment)
    place = {key: deployment.metadata.get(key, "") for key in ("host", "boot_id")}
    found = {resource.key: resource for resource in _named(deployment, place)}
    for resource in found.values():
        _check(resource, settings)
    for resource in [each for each in found.values() if each.kind == "hypervisor:vm"]:
        try:
            process, vm = _met(resource)
        except NobodyListensError:
            continue
        found[resource.key] = replace(resource, place=resource.place | process)
        key = ("hypervisor:process", process["pid"])
        known = found.get(key, Resource(*key, place, stage=1))
        found[key] = replace(known, place=known.place | process | {"api_socket": resource.id})
        for dependent in _dependents(vm, deployment, settings):
            found.setdefault(dependent.key, replace(dependent, place=place))
    return list(found.values())


class _VmKind:
    """A VM and the VMM that runs it: each call asks for the next thing.

    A VMM that said that it has no VM any more, and then neither ends nor answers, is ended as its process.
    """

    one_at_a_time = False

    def state(self, resource: Resource, settings: Settings) -> Look:
        place = resource.place
        with _socket(resource, settings) as file:
            try:
                process, vm = _met(resource)
            except NobodyListensError as nobody:
                return _unheard(resource, file, str(nobody))
            except Unreachable as unreachable:
                if place.get("vm") != "none":
                    raise
                return Look("present", detail=str(unreachable), place={"since": place.get("since") or _now()})
        if not place.get("pid"):
            raise Unreachable(f"{resource.id} answers now, and didn't when its process was looked for")
        return Look("present", detail=vm.state if vm else "no VM", place={**process, "vm": vm.state if vm else "none"})

    def delete(self, resource: Resource, settings: Settings) -> None:
        place = resource.place
        with _socket(resource, settings) as file:
            try:
                _, vm = _met(resource)
            except NobodyListensError as nobody:
                if _unheard(resource, file, str(nobody)).state == "present":
                    file.remove()
                return
            except Unreachable:
                if place.get("vm") != "none":
                    raise
                _end(place["pid"], place)
                return
        if vm is None:
            # It may be gone before it has answered.
            with suppress(CutError, NobodyListensError):
                cloud_hypervisor.act(resource.id, "vmm.shutdown", vm)
        else:
            cloud_hypervisor.act(resource.id, "vm.delete" if vm.is_off else "vm.shutdown", vm)


class _ProcessKind:
    """A VM's process."""

    one_at_a_time = False

    def state(self, resource: Resource, settings: Settings) -> Look:
        _check(resource, settings)
        if _is_rebooted(resource.place):
            return _gone_by_reboot(resource)
        with process_of(resource.id) as process:
            if process is None:
                return Look("gone", proof=f"pidfd_open {resource.id}: no such process")
            started = resource.place.get("started") or process.started
            if process.started != started:
                proof = f"/proc/{resource.id}/stat: another process, started at tick {process.started}, not {started}"
                return Look("gone", proof=proof)
            _must_be_ours(process, resource.place)
            place = {"started": started, "since": resource.place.get("since") or _now()}
            if process.executable == "":
                return Look("leaving", detail="it is ending", place=place)
            return Look("present", detail=f"{process.executable} runs", place=place)

    def delete(self, resource: Resource, settings: Settings) -> None:
        look = self.state(resource, settings)
        if look.state == "present":
            _end(resource.id, resource.place | look.place)


class _DiskKind:
    """An image: a regular file that nobody has open."""

    one_at_a_time = False

    def state(self, resource: Resource, settings: Settings) -> Look:
        _check(resource, settings)
        with file_at(resource.id) as file:
            if file.folder is None:
                proof = f"the folder of {file.path} isn't there, its file system may not be mounted"
                return Look("gone", proof=proof, unproven=True)
            if file.status is None:
                if resource.place.get("device", file.device) != file.device:
                    text = f"{file.path} was on another file system than the one that is mounted there now"
                    raise Refused("unproven", text)
                return Look("gone", proof=f"stat {file.path}: its folder holds no such file")
            inode = str(file.status.st_ino)
            if not stat.S_ISREG(file.status.st_mode):
                raise Refused("bad_id", f"{file.path} isn't a regular file")
            if resource.place.get("inode", inode) != inode:
                raise Refused("not_ours", f"{file.path} is another file than the one that was there")
            size = f"{file.status.st_size} bytes"
            return Look("present", detail=size, place={"inode": inode, "device": file.device})

    def delete(self, resource: Resource, settings: Settings) -> None:
        look = self.state(resource, settings)
        if look.state == "gone":
            return
        users = users_of(resource.id)
        if users:
            raise Busy(f"process {users[0]} has it open")
        with file_at(resource.id) as file:
            if file.status and str(file.status.st_ino) == look.place["inode"]:
                file.remove()


class _TapKind:
    """A tap device of this network namespace: it is gone when it isn't persistent, and nobody has it open."""

    one_at_a_time = False

    def state(self, resource: Resource, settings: Settings) -> Look:
        _check(resource, settings)
        if _is_rebooted(resource.place):
            return _gone_by_reboot(resource)
        if not _INTERFACES.is_dir():
            raise Unreachable(f"{_INTERFACES} isn't there")
        interface = _INTERFACES / resource.id
        try:
            index = (interface / "ifindex").read_text().strip()
            flags = _flags(interface)
        except FileNotFoundError:
            return Look("gone", proof=f"{interface}: no such interface")
        known = resource.place.get("ifindex") or index
        if index != known:
            return Look("gone", proof=f"{interface}: another interface, with index {index}, not {known}")
        return Look("present", detail="persistent" if flags & _IFF_PERSIST else "open", place={"ifindex": index})

    def delete(self, resource: Resource, settings: Settings) -> None:
        if self.state(resource, settings).state == "gone":
            return
        flags = _flags(_INTERFACES / resource.id)
        if not flags & _IFF_PERSIST:
            raise Busy("a process has it open, with whose end it goes")
        try:
            tun = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", resource.id.encode(), flags & ~_IFF_PERSIST))
                fcntl.ioctl(tun, _TUNSETPERSIST, 0)
            finally:
                os.close(tun)
        except OSError as error:
            if error.errno == EBUSY:
                raise Busy("a process has it open") from None
            if error.errno in (EPERM, EACCES, ENOENT):
                raise Refused("credentials", f"{_TUN}: {error.strerror}") from None
            raise


def _flags(interface: Path) -> int:
    try:
        return int((interface / "tun_flags").read_text(), 16)
    except FileNotFoundError:
        if interface.exists():
            raise Refused("bad_id", f"{interface.name} isn't a tap device") from None
        raise


KINDS: dict[str, Kind] = {
    "hypervisor:vm": _VmKind(),
    "hypervisor:process": _ProcessKind(),
    "hypervisor:disk": _DiskKind(),
    "hypervisor:tap": _TapKind(),
}
# A disk or a device is in use until the process is gone.
_STAGES = {"api_socket": 0, "pid": 1, "disk_image": 2, "tap_device": 2}


# What is ours


def _must_be_well_formed(deployment: Deployment) -> None:
    for key, form in _TYPE.metadata.items():
        value = deployment.metadata.get(key)
        if value is not None and not form.matches(value):
            raise Refused("bad_id", f"metadata.{key} can't be {value!r}")


def _check(resource: Resource, settings: Settings) -> None:
    """Refused, if the id can't be one, may not be removed, or is of another machine."""
    form = next(form for form in _TYPE.ids.values() if form.kind == resource.kind)
    if not form.matches(resource.id):
        raise Refused("bad_id", f"{resource.id!r} can't be the {resource.kind} of a deployment")
    if form.guard and not settings.allows(form.guard, resource.id):
        raise Refused("bad_id", f"{resource.id} isn't among the allowed {form.guard}s")
    host = settings.local_place.host if settings.local_place else ""
    if not resource.place.get("host") or not resource.place.get("boot_id"):
        raise Refused("unproven", "metadata.host and metadata.boot_id don't say which machine it is on")
    if resource.place["host"] != host:
        raise Refused(
            "not_ours", f"it is on {resource.place['host']}, and this is {host or 'a stack without a machine'}"
        )


def _is_rebooted(place: Mapping[str, str]) -> bool:
    return place["boot_id"] != boot_id()


def _gone_by_reboot(resource: Resource) -> Look:
    return Look("gone", proof=f"boot_id: the machine was booted again since {resource.place['boot_id']}")


def _must_be_ours(process: Process, place: Mapping[str, str]) -> None:
    """Refused, unless its start time is the known one, or else its command line names the socket."""
    other = process.differs(place)
    if other:
        raise Refused("not_ours", f"process {process.pid} {other}")
    if not place.get("started") and not process.names(place.get("api_socket", "")):
        text = "neither metadata.process_start_time nor its command line says that it is the VM's"
        raise Refused("unproven", f"process {process.pid}: {text}")
    if process.pid in ourselves():
        raise Refused("not_ours", f"process {process.pid} is the tracker, or what started it")


def _end(pid: str, place: Mapping[str, str]) -> None:
    """Signal the process that is known: SIGTERM, and SIGKILL when it was seen that long ago that it has to go."""
    waited = time.time() - int(place.get("since") or _now())
    with process_of(pid) as process:
        if process and process.started == place["started"] and not process.differs(place):
            process.send(signal.SIGTERM if waited < GRACE else signal.SIGKILL)


def _now() -> str:
    return str(int(time.time()))


def _met(resource: Resource) -> tuple[dict[str, str], Vm | None]:
    """The process behind a socket, and its VM. NobodyListensError; Refused, if it isn't the one that is known."""
    path, place = resource.id, resource.place
    pid = cloud_hypervisor.ping(path)
    if _is_rebooted(place):
        text = f"{path} is answered by process {pid}, and the machine was booted again since {place['boot_id']}"
        raise Refused("not_ours", text)
    with process_of(pid) as process:
        if process is None:
            raise Refused("unproven", f"{path} is answered by process {pid}, and this machine has none")
        other = process.differs(place)
        if other:
            raise Refused("not_ours", f"{path} is answered by process {pid}, which {other}")
        # In a container a VMM counts processes in its own way: here the number may be a stranger's.
        if not place.get("pid") and not place.get("started") and not process.names(path):
            text = f"{path} is answered by process {pid}, whose command line doesn't name it: name its pid"
            raise Refused("unproven", text)
        learned = {"pid": pid, "started": process.started, "executable": process.executable or ""}
    return learned, cloud_hypervisor.info(path)


@contextmanager
def _socket(resource: Resource, settings: Settings) -> Iterator[File]:
    """The file of a socket. Refused, if it is something else."""
    _check(resource, settings)
    with file_at(resource.id) as file:
        if file.status and not stat.S_ISSOCK(file.status.st_mode):
            raise Refused("bad_id", f"{file.path} isn't a socket")
        yield file


def _unheard(resource: Resource, file: File, nobody: str) -> Look:
    """What it means that nobody listens: not that the VM is gone, while its process is there and wasn't seen without a VM."""
    place = resource.place
    proof = nobody
    if _is_rebooted(place):
        proof += f"; the machine was booted again since {place['boot_id']}"
    elif place.get("pid"):
        with process_of(place["pid"]) as process:
            known = place.get("started")
            is_ours = process and (process.started == known if known else process.names(resource.id))
        if is_ours and place.get("vm") != "none":
            raise Unreachable(f"{nobody}, and its process {place['pid']} is there")
        proof += "; vm.info before: no VM" if is_ours else f"; process {place['pid']} isn't there"
    if file.status:
        return Look("present", detail="nobody listens on it any more")
    return Look("gone", proof=proof, unproven=file.folder is None and proof == nobody)


# What there is


def _named(deployment: Deployment, place: dict[str, str]) -> Iterator[Resource]:
    """Every id that the record names, with what the record says and earlier looks learned of each."""
    current = (deployment.resource_ids.get("api_socket"), deployment.resource_ids.get("pid"))
    for key, stage in _STAGES.items():
        kind = _TYPE.ids[key].kind
        for id_ in ids_named(deployment, key):
            known = _learned(deployment, (kind, id_), place)
            if id_ in current:
                said = _said_of_process(deployment)
                if said.get("pid", "") not in ("", known.get("pid", "")):
                    known = dict.fromkeys(known, "")
                known |= said
            yield Resource(kind, id_, place | known, stage=stage, named_by=key)


def _said_of_process(deployment: Deployment) -> dict[str, str]:
    said = {
        "pid": deployment.resource_ids.get("pid"),
        "api_socket": deployment.resource_ids.get("api_socket"),
        "started": deployment.metadata.get("process_start_time"),
        "executable": deployment.metadata.get("executable"),
    }
    return {key: value for key, value in said.items() if isinstance(value, str)}


def _learned(deployment: Deployment, key: tuple[str, str], place: Mapping[str, str]) -> dict[str, str]:
    """What earlier looks learned of a resource: empty, where the record says another boot now; but a file is the same."""
    known = next((resource.place for resource in deployment.resources if resource.key == key), {})
    holds = known.get("boot_id") == place["boot_id"] or key[0] == "hypervisor:disk"
    return {name: value if holds else "" for name, value in known.items() if name not in place}


def _dependents(vm: Vm | None, deployment: Deployment, settings: Settings) -> Iterator[Resource]:
    """The disks and devices of a VM's configuration: what only it names is kept.

    Unless `metadata.delete_dependents` is "all": then a disk goes that may be removed, and isn't attached read-only, as
    one is that several VMs start from.
    """
    form = _TYPE.ids["disk_image"]
    for disk in (vm and vm.config.disks) or []:
        if disk.path is None:
            continue
        if not form.matches(disk.path) or not settings.allows("file", disk.path):
            why = "it isn't among the files that may be removed"
        elif disk.readonly:
            why = "it is attached read-only, and others may use it"
        elif deployment.metadata.get("delete_dependents") != "all":
            why = 'the record doesn\'t name it; metadata.delete_dependents = "all" would delete it'
        else:
            why = ""
        yield Resource("hypervisor:disk", disk.path, stage=2, state="kept" if why else "unseen", detail=why)
    for net in (vm and vm.config.net) or []:
        if net.tap:
            yield Resource("hypervisor:tap", net.tap, stage=2, state="kept", detail="the record doesn't name it")
