"""A VM of Cloud Hypervisor on this machine: its API socket, and the process (VMM) that runs it.

A number or a path alone doesn't say what it means now. So both are remembered by what tells the process apart from a later one (start time
and executable), and another one is let alone.
"""

import signal
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Literal, NamedTuple

from msgspec.structs import replace

from tracker.cleanup.core.contract import Observation, Progress, Refused, Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.local import cloud_hypervisor
from tracker.cleanup.providers.local.cloud_hypervisor import CutError, NobodyListensError, Vm
from tracker.cleanup.providers.local.machine import (
    File,
    MachineKind,
    Process,
    check_boot,
    file_at,
    is_rebooted,
    ourselves,
    process_of,
)
from tracker.model.catalogue import entry
from tracker.model.deployment import Resource
from tracker.model.settings import Settings

# From SIGTERM to SIGKILL, in seconds.
GRACE = 10

_IDS = entry("LocalHypervisor").ids


class Found(NamedTuple):
    """The VMM behind a socket: one that answers, one that hangs after it said that it has no VM, or only the socket's file.

    `learned` is remembered in the place of the resource.
    """

    condition: Literal["answers", "hangs", "ended"]
    detail: str
    learned: dict[str, str]
    vm: Vm | None = None


class VirtualMachine(MachineKind[File, Found]):
    """A VM and the VMM that runs it, by the VMM's socket. Each step requests the next of several actions.

    A VMM that said that it has no VM any more, and then neither ends nor answers, is ended as its process.
    """

    reuses_ids = True
    noun = "VM"
    form = _IDS["api_socket"].pattern
    guard = _IDS["api_socket"].guard

    @contextmanager
    def open(self, resource: Resource, settings: Settings) -> Iterator[File]:
        """Open the folder of the socket. Raises Refused if the path is that of something else."""
        with file_at(resource.id) as file:
            if file.status and not stat.S_ISSOCK(file.status.st_mode):
                raise Refused("bad_id", f"{file.path} isn't a socket")
            yield file

    def read(self, connection: File, resource: Resource) -> Found:
        place = resource.place
        try:
            process, vm = meet(resource)
        except NobodyListensError as nobody:
            return _ended(resource, connection, str(nobody))
        except Unreachable as unreachable:
            if place.get("vm") != "none":
                raise
            return Found("hangs", str(unreachable), {"since": place.get("since") or _now()})
        if not place.get("pid"):
            raise Unreachable(f"{resource.id} answers now, and didn't when its process was looked for")
        return Found("answers", vm.state if vm else "no VM", {**process, "vm": vm.state if vm else "none"}, vm)

    def progress(self, body: Found) -> tuple[Progress, str]:
        return "present", body.detail

    def observe(self, connection: File, resource: Resource, body: Found) -> Observation:
        return replace(super().observe(connection, resource, body), place=body.learned)

    def observe_absence(self, connection: File, resource: Resource, gone: Gone) -> Observation:
        """Say what it means that nobody listens: nothing, if the folder isn't there either, and no process or reboot proves it."""
        is_known = is_rebooted(resource.place) or bool(resource.place.get("pid"))
        return Observation("gone", proof=str(gone), unproven=connection.folder is None and not is_known)

    def objection(self, resource: Resource, body: Found, settings: Settings) -> str:
        """Return why the VMM isn't ended as a process, if that is what comes next."""
        if body.condition == "hangs":
            with process_of(resource.place["pid"]) as process:
                return (
                    _why_not_ended(process, {**resource.place, "api_socket": resource.id}, settings) if process else ""
                )
        return ""

    def request_deletion(self, connection: File, resource: Resource, body: Found) -> None:
        """Request the next action: shut the VM down, delete it, end the VMM, or remove what the VMM left behind."""
        match body.condition:
            case "ended":
                connection.remove()
            case "hangs":
                _end(resource.place["pid"], resource.place)
            case "answers" if body.vm is None:
                # It may be gone before it has answered.
                with suppress(CutError, NobodyListensError):
                    cloud_hypervisor.act(resource.id, "vmm.shutdown", None)
            case "answers":
                cloud_hypervisor.act(resource.id, "vm.delete" if body.vm.is_off else "vm.shutdown", body.vm)


class VmProcess(MachineKind[Process | None, Process]):
    """The process of a VMM."""

    noun = "process"
    form = _IDS["pid"].pattern

    @contextmanager
    def open(self, resource: Resource, settings: Settings) -> Iterator[Process | None]:
        check_boot(resource.place)
        with process_of(resource.id) as process:
            yield process

    def read(self, connection: Process | None, resource: Resource) -> Process:
        """Return the process. Raises Gone if another one has its number now, Refused if nothing says that it is the VM's."""
        if connection is None:
            raise Gone(f"pidfd_open {resource.id}: no such process")
        known = resource.place.get("started") or connection.started
        if connection.started != known:
            text = f"another process, started at tick {connection.started}, not {known}"
            raise Gone(f"/proc/{resource.id}/stat: {text}")
        _check_ours(connection, resource.place)
        return connection

    def progress(self, body: Process) -> tuple[Progress, str]:
        return ("leaving", "it is ending") if body.executable == "" else ("present", f"{body.executable} runs")

    def identity(self, body: Process) -> dict[str, str]:
        return {"started": body.started}

    def observe(self, connection: Process | None, resource: Resource, body: Process) -> Observation:
        """Say what was read, and since when the process has to go."""
        observation = super().observe(connection, resource, body)
        return replace(observation, place=observation.place | {"since": resource.place.get("since") or _now()})

    def objection(self, resource: Resource, body: Process, settings: Settings) -> str:
        return _why_not_ended(body, resource.place, settings)

    def request_deletion(self, connection: Process | None, resource: Resource, body: Process) -> None:
        _signal(body, resource.place)


def meet(resource: Resource) -> tuple[dict[str, str], Vm | None]:
    """Return the process that answers on a socket, and its VM.

    Raises NobodyListensError, or Refused if it isn't the process that is known.
    """
    path, place = resource.id, resource.place
    pid = cloud_hypervisor.ping(path)
    if is_rebooted(place):
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


def _ended(resource: Resource, file: File, nobody: str) -> Found:
    """Return what is left of a VMM on whose socket nobody listens. Raises Gone if nothing is.

    That alone doesn't prove the VM gone, while its process is there and wasn't seen without a VM.
    """
    place = resource.place
    proof = nobody
    if is_rebooted(place):
        proof += f"; the machine was booted again since {place['boot_id']}"
    elif place.get("pid"):
        with process_of(place["pid"]) as process:
            known = place.get("started")
            is_ours = process and (process.started == known if known else process.names(resource.id))
        if is_ours and place.get("vm") != "none":
            raise Unreachable(f"{nobody}, and its process {place['pid']} is there")
        proof += "; vm.info before: no VM" if is_ours else f"; process {place['pid']} isn't there"
    if file.status:
        return Found("ended", "nobody listens on it any more", {})
    raise Gone(proof)


def _check_ours(process: Process, place: Mapping[str, str]) -> None:
    """Raise Refused unless the process's start time is the known one, or else its command line names the socket."""
    other = process.differs(place)
    if other:
        raise Refused("not_ours", f"process {process.pid} {other}")
    if not place.get("started") and not process.names(place.get("api_socket", "")):
        text = "neither metadata.process_start_time nor its command line says that it is the VM's"
        raise Refused("unproven", f"process {process.pid}: {text}")
    if process.pid in ourselves():
        raise Refused("not_ours", f"process {process.pid} is the tracker, or what started it")


def _why_not_ended(process: Process, place: Mapping[str, str], settings: Settings) -> str:
    """Return why a process isn't ended: it is no VMM that the settings name, and doesn't say itself that the socket is its own.

    A record names any number and start time. `api_socket`, which the settings allow, is the record's as well.
    """
    socket = place.get("api_socket", "")
    if process.names(socket) and settings.allows("file", socket):
        return ""
    if process.executable and settings.allows("executable", process.executable):
        return ""
    return "its executable isn't among AllowedExecutables, and its command line doesn't name the record's api_socket"


def _end(pid: str, place: Mapping[str, str]) -> None:
    """Signal the known process of this number, if it is still that one."""
    with process_of(pid) as process:
        if process and process.started == place["started"] and not process.differs(place):
            _signal(process, place)


def _signal(process: Process, place: Mapping[str, str]) -> None:
    """Send SIGTERM to a process, or SIGKILL if it has had to go for longer than the time of grace."""
    waited = time.time() - int(place.get("since") or _now())
    process.send(signal.SIGTERM if waited < GRACE else signal.SIGKILL)


def _now() -> str:
    return str(int(time.time()))
