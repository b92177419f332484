"""LocalHypervisor: real processes, disks and taps, behind a stand-in for Cloud Hypervisor's API that keeps to its document."""

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EACCES
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest
from msgspec.structs import replace

from tests.conformance.target import Evidence, HttpTarget, Key, Made
from tests.real_targets import lacking, program
from tests.standin import Fault, Reply, Request, StandIn, route
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.providers.local import cloud_hypervisor, devices, hypervisor, machine, virtual_machine
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import LocalPlace, Settings

HOST = "machine-1"
OTHER_BOOT = "b00710ad-0000-4000-8000-000000000001"
TUN = "/dev/net/tun"
TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB
TAP = 0x1002
ioctl = fcntl.ioctl


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def started(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


class Vmm(Protocol):
    """This is what runs a VM: a real process."""

    process: "subprocess.Popen[bytes]"

    def state(self) -> str: ...
    def shut_down(self) -> None: ...
    def end(self) -> None: ...


class Sleeping:
    """One that only sleeps, and doesn't end when it is told to: SIGTERM ends it."""

    def __init__(self, path: Path, code: str = "pass") -> None:
        code = f"import time; {code}; print(flush=True); time.sleep(600)"
        command = [sys.executable, "-S", "-c", code, "--api-socket", f"path={path}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert self.process.stdout
        with self.process.stdout as ready:
            ready.readline()
        self._state = "Running"

    def state(self) -> str:
        return self._state

    def shut_down(self) -> None:
        self._state = "Created"

    def end(self) -> None: ...


class Qemu:
    """A real virtual machine: QEMU without a board, with disks and taps, driven by QMP."""

    def __init__(self, path: Path, disks: list[Path], taps: list[str]) -> None:
        self._qmp = path.with_suffix(".qmp")
        command = [
            *(
                program("qemu-system-x86_64", "qemu-system-x86"),
                "-accel",
                "tcg",
                "-machine",
                "none",
                "-display",
                "none",
            ),
            *("-nodefaults", "-name", str(path), "-qmp", f"unix:{self._qmp},server=on,wait=off"),
            *(arg for n, disk in enumerate(disks) for arg in ("-drive", f"if=none,id=d{n},format=raw,file={disk}")),
            *(
                arg
                for n, tap in enumerate(taps)
                for arg in ("-netdev", f"tap,id=n{n},ifname={tap},script=no,downscript=no")
            ),
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(500):
            with suppress(OSError):
                self.ask("query-version")
                return
            time.sleep(0.01)
        raise RuntimeError("QEMU doesn't answer")

    def ask(self, command: str) -> Any:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self._qmp))
            with connection.makefile("rw") as lines:
                lines.readline()
                for each in ("qmp_capabilities", command):
                    lines.write(json.dumps({"execute": each}) + "\n")
                    lines.flush()
                    while "return" not in (answer := json.loads(lines.readline())):
                        pass
                return answer["return"]

    def state(self) -> str:
        return "Running" if self.ask("query-status")["status"] == "running" else "Created"

    def shut_down(self) -> None:
        self.ask("stop")

    def end(self) -> None:
        self.ask("quit")


class CloudHypervisor(StandIn):
    """The API of one VMM, whose process is another one."""

    def __init__(self, path: Path, vmm: Vmm, config: dict[str, Any], asked: Callable[[], None]) -> None:
        self.vmm = vmm
        self.config: dict[str, Any] | None = config
        self._asked = asked
        contract = Path(__file__).with_name("cloud_hypervisor.yaml")
        super().__init__(contract=contract, public_url="http://localhost", socket_path=path)

    def answered(self, request: Request) -> Reply | Fault:
        if request.method == "PUT":
            self._asked()
        return super().answered(request)

    @route("GET", r"/api/v1/vmm\.ping")
    def ping(self, request: Request) -> Reply:
        pid = self.vmm.process.pid
        return Reply(body={"build_version": "v48.0", "version": "48.0.0", "pid": pid, "features": ["kvm"]})

    @route("GET", r"/api/v1/vm\.info")
    def info(self, request: Request) -> Reply:
        if self.config is None:
            return failed(404, "The VM info is not available", "VM is not created")
        return Reply(body={"config": self.config, "state": self.vmm.state(), "memory_actual_size": 536870912})

    @route("PUT", r"/api/v1/vm\.shutdown")
    def shut_down(self, request: Request) -> Reply:
        if self.config is None:
            return failed(404, "The VM could not shut down", "VM is not created")
        if self.vmm.state() != "Running":
            return failed(500, "The VM could not shut down", "VM is not running")
        self.vmm.shut_down()
        return Reply(204)

    @route("PUT", r"/api/v1/vm\.delete")
    def delete(self, request: Request) -> Reply:
        self.config = None
        return Reply(204)

    @route("PUT", r"/api/v1/vmm\.shutdown")
    def end(self, request: Request) -> Reply:
        self.config = None
        self.vmm.end()
        self.stop()
        return Reply(204)


def failed(status: int, *chain: str) -> Reply:
    return Reply(status, ["Error from API", *chain])


def make_tap(name: str) -> None:
    """A persistent tap device."""
    with Path(TUN).open("r+b", buffering=0) as tun:
        ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), TAP))
        ioctl(tun, TUNSETPERSIST, 1)


def remove_tap(name: str) -> None:
    if Path("/sys/class/net", name).exists():
        with Path(TUN).open("r+b", buffering=0) as tun:
            ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), TAP))
            ioctl(tun, TUNSETPERSIST, 0)


class Sleep(HttpTarget):
    """A VMM with a named disk, one that only its configuration names, and one that it only reads."""

    deployment_type = "LocalHypervisor"
    evidence: ClassVar[Evidence] = "contract"
    deleting: ClassVar[tuple[str, str]] = ("PUT", "")
    unmade: ClassVar[dict[str, str]] = {"tap_device": "making one needs root; a test of its own does"}
    na: ClassVar[dict[str, str]] = {
        "bad-credential": "there is no credential but the permissions of the socket, without which nothing answers",
        "appears-late": "a socket, a process or a file is there as soon as it exists",
        "throttled": "the API throttles nothing that a cleanup asks for",
        "false-success": "success is 204 without a body, which holds no failure; what came of it is read again",
        "protected": "a VM has no protection against deletion",
        "discreet": "there is no credential that could be seen",
    }
    server: CloudHypervisor

    def start(self) -> None:
        self.folder = Path(os.path.realpath(self.own_folder))
        self.path = self.folder / "vm-1.sock"
        self.settings = Settings(
            local_place=LocalPlace(HOST, boot_id()), allowed_files=[f"{self.folder}/**"], allowed_tap_devices=["**"]
        )
        self.vmms: list[Vmm] = []
        self.users: list[subprocess.Popen[bytes]] = []
        self.taps: list[str] = []
        self.log: list[Key] = []
        self._watch()

    def _watch(self) -> None:
        """Note what is asked of the kernel."""
        send, remove = machine.Process.send, machine.File.remove

        def sent(process: machine.Process, number: signal.Signals) -> None:
            self.log.append(("hypervisor:process", process.pid))
            send(process, number)

        def removed(file: machine.File) -> None:
            self.log.append(("hypervisor:vm" if file.path.endswith(".sock") else "hypervisor:disk", file.path))
            remove(file)

        def asked(tun: int, request: int, argument: Any) -> Any:
            if request == TUNSETIFF:
                self.log.append(("hypervisor:tap", argument[:16].rstrip(b"\0").decode()))
            return ioctl(tun, request, argument)

        self.patch.setattr(machine.Process, "send", sent)
        self.patch.setattr(machine.File, "remove", removed)
        self.patch.setattr(fcntl, "ioctl", asked)

    def stop(self) -> None:
        for process in [*(vmm.process for vmm in self.vmms), *self.users]:
            process.kill()
            process.wait()
        for tap in self.taps:
            remove_tap(tap)
        super().stop()

    def run(self, disks: list[Path]) -> Vmm:
        """Start what the VM runs in."""
        return Sleeping(self.path)

    def make(self) -> Made:
        disks = [self.folder / f"{name}.raw" for name in ("root", "data", "base")]
        for disk in disks:
            disk.write_bytes(bytes(4096))
        vmm = self.run(disks)
        self.vmms.append(vmm)
        config: dict[str, Any] = {
            "payload": {"kernel": "/boot/vmlinux"},
            "disks": [{"path": str(disk), "readonly": disk is disks[2]} for disk in disks],
            "net": [{"tap": tap} for tap in self.taps],
        }
        self.server = CloudHypervisor(self.path, vmm, config, lambda: self.log.append(main))
        main: Key = ("hypervisor:vm", str(self.path))
        pid = str(vmm.process.pid)
        ids: dict[str, str | list[str]] = {"vm_id": "vm-1", "api_socket": str(self.path), "pid": pid}
        ids["disk_image"] = [str(disks[0])]
        ours: list[Key] = [main, ("hypervisor:process", pid)]
        if self.taps:
            ids["tap_device"] = self.taps
            ours += [("hypervisor:tap", tap) for tap in self.taps]
        ours += [("hypervisor:disk", str(disk)) for disk in disks[:2]]
        metadata = {"process_start_time": started(vmm.process.pid), "delete_dependents": "all"}
        return Made(main, ours, [("hypervisor:disk", str(disks[2]))], ids, metadata)

    def left(self) -> set[Key]:
        return {
            *(("hypervisor:vm", str(each)) for each in self.folder.glob("*.sock")),
            *(("hypervisor:disk", str(each)) for each in self.folder.glob("*.raw")),
            *(("hypervisor:process", str(vmm.process.pid)) for vmm in self.vmms if vmm.process.poll() is None),
            *(("hypervisor:tap", tap) for tap in self.taps if Path("/sys/class/net", tap).exists()),
        }

    def asked(self) -> list[Key]:
        return list(self.log)

    def contacts(self) -> int:
        return super().contacts() + len(self.log)

    def forget(self) -> None:
        super().forget()
        self.log.clear()

    def vanish(self, made: Made) -> None:
        self.server.stop()
        for vmm in self.vmms:
            vmm.process.kill()
            vmm.process.wait()
        for tap in self.taps:
            remove_tap(tap)
        for kind, id_ in made.ours:
            if kind == "hypervisor:disk":
                Path(id_).unlink()

    def wait(self, seconds: float) -> None:
        if not self.path.exists():
            time.sleep(0.01)

    def error(self, status: int, text: str) -> Reply:
        return failed(status, text)

    def hasten(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(cloud_hypervisor, "TIMEOUT", 0.4)
        patch.setattr(cloud_hypervisor, "ACTION_TIMEOUT", 0.4)

    def denials(self) -> list[str]:
        return ["EACCES"]

    @contextmanager
    def failing(self, fault: str, when: str) -> Iterator[None]:
        if fault != "denied:EACCES":
            with super().failing(fault, when):
                yield
            return
        connection = cloud_hypervisor._Connection
        request = connection.putrequest
        denied = "GET" if when == "look" else "PUT"

        def refuse(self: Any, method: str, *args: Any, **options: Any) -> None:
            if method == denied:
                raise PermissionError(EACCES, "Permission denied")
            request(self, method, *args, **options)

        with self.patch.context() as patch:
            patch.setattr(connection, "putrequest", refuse)
            yield

    def misplaced(self, made: Made) -> Made:
        """As if their file system weren't mounted."""
        ids = {
            key: value.replace(str(self.folder), f"{self.folder}/mnt") if isinstance(value, str) else value
            for key, value in made.ids.items()
        }
        disks = made.ids["disk_image"]
        ids["disk_image"] = [disk.replace(str(self.folder), f"{self.folder}/mnt") for disk in disks]
        return Made(made.main, made.ours, made.kept, ids, made.metadata)

    @contextmanager
    def change_account(self, made: Made) -> Iterator[None]:
        """The stack is on another machine."""
        here = self.settings
        self.settings = replace(here, local_place=LocalPlace("machine-2", boot_id()))
        yield
        self.settings = here

    def disown(self, made: Made) -> None:
        """Another process answers on its socket."""
        other = Sleeping(self.path)
        self.vmms.append(other)
        self.server.vmm = other

    def replace(self, made: Made) -> None:
        self.vmms[0].process.kill()
        self.vmms[0].process.wait()
        self.disown(made)

    @contextmanager
    def busy(self, made: Made, times: int) -> Iterator[None]:
        answer = failed(500, "The VM could not be deleted", "VM is migrating")
        with self.server.failing(Fault("answer", "PUT", r"/vm\.", answer, times=times)):
            yield

    @contextmanager
    def stuck(self, made: Made, key: Key) -> Iterator[None]:
        if key == made.main:
            with self.server.failing(Fault("answer", "PUT", "", Reply(204))):
                yield
            return
        with Path(key[1]).open("rb") as disk:
            user = subprocess.Popen(["sleep", "600"], stdin=disk)
        self.users.append(user)
        yield
        user.kill()
        user.wait()


class RealMachine(Sleep):
    """The same with QEMU for the VMM, which has the disks and a tap device open."""

    evidence = "engine"
    is_real = True

    def run(self, disks: list[Path]) -> Vmm:
        program("qemu-system-x86_64", "qemu-system-x86")
        name = f"trk{uuid.uuid4().hex[:8]}"
        self.taps.append(name)
        try:
            make_tap(name)
        except OSError as error:
            lacking(f"a tap device can't be made here: {error}")
        return Qemu(self.path, disks, self.taps)


TARGETS = [Sleep, RealMachine]


# Beside the suite


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(os.path.realpath(tmp_path))


@pytest.fixture
def settings(folder: Path) -> Settings:
    """Those of a stack on this machine."""
    return Settings(local_place=LocalPlace(HOST, boot_id()), allowed_files=[f"{folder}/**"], allowed_tap_devices=["**"])


@pytest.fixture
def run(folder: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts processes whose command line names `vm-1.sock`; they end with the test."""
    processes = []

    def start(code: str = "pass", path: Path = folder / "vm-1.sock") -> subprocess.Popen[bytes]:
        processes.append(Sleeping(path, code).process)
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def serve(folder: Path, run: Callable[..., subprocess.Popen[bytes]]) -> Iterator[Callable[..., CloudHypervisor]]:
    """Starts the API of a VM with this configuration at `vm-1.sock`."""
    servers = []

    def start(path: Path = folder / "vm-1.sock", **config: Any) -> CloudHypervisor:
        vmm = Sleeping(path)
        servers.append(CloudHypervisor(path, vmm, {"payload": {}, **config}, lambda: None))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
        server.vmm.process.kill()
        server.vmm.process.wait()
        assert server.violations == []


@pytest.fixture
def tap() -> Iterator[str]:
    """The name of a persistent tap device."""
    name = f"trk{uuid.uuid4().hex[:8]}"
    try:
        make_tap(name)
    except OSError as error:
        lacking(f"a tap device can't be made here: {error}")
    yield name
    remove_tap(name)


def deployment(ids: dict[str, str | list[str]], resources: list[Resource] | None = None, **metadata: str) -> Deployment:
    return Deployment(
        id="dep-1",
        blueprint_id="bp-1",
        deployment_type="LocalHypervisor",
        resource_ids={"vm_id": "vm-1", **ids},
        metadata={"host": HOST, "boot_id": boot_id(), **metadata},
        resources=resources or [],
        deployed_at="2026-01-01T00:00:00Z",
        registered_at="2026-01-01T00:00:00Z",
        generation="g",
    )


def found(record: Deployment, settings: Settings) -> dict[str, Resource]:
    """Return what is discovered, by id."""
    return {resource.id: resource for resource in hypervisor.discover(record, settings)}


def looked(resource: Resource, settings: Settings) -> Resource:
    """As the cleanup remembers it after a look."""
    look = hypervisor.KINDS[resource.kind].state(resource, settings)
    return replace(resource, state=look.state, proof=look.proof, seen=True, place=resource.place | look.place)


def delete(resource: Resource, settings: Settings) -> None:
    hypervisor.KINDS[resource.kind].delete(resource, settings)


@contextmanager
def refused(error_class: str, text: str | None = None) -> Iterator[None]:
    with pytest.raises(Refused, match=text) as refusal:
        yield
    assert refusal.value.error_class == error_class


def executable(pid: int) -> str:
    return str(Path(f"/proc/{pid}/exe").readlink())


def runs(process: "subprocess.Popen[bytes]") -> bool:
    return process.poll() is None


def ended(process: "subprocess.Popen[bytes]") -> int:
    """The signal that ended it."""
    return -process.wait(60)


# The process


def test_a_pid_that_another_process_has_now_is_let_alone(
    settings: Settings, run: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    other = run()
    pid = str(other.pid)
    record = deployment({"pid": pid}, process_start_time=str(int(started(other.pid)) - 1))
    resource = found(record, settings)[pid]
    delete(resource, settings)
    look = hypervisor.KINDS[resource.kind].state(resource, settings)
    assert (look.state, look.unproven) == ("gone", False)
    assert f"started at tick {started(other.pid)}" in look.proof
    assert runs(other)


def test_a_process_with_another_executable_is_refused(
    settings: Settings, run: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    process = run()
    pid = str(process.pid)
    record = deployment({"pid": pid}, process_start_time=started(process.pid), executable="/usr/bin/cloud-hypervisor")
    for call in (looked, delete):
        with refused("not_ours", "executable"):
            call(found(record, settings)[pid], settings)
    assert runs(process)


def test_a_process_that_nothing_identifies_is_refused(
    settings: Settings, run: Callable[..., "subprocess.Popen[bytes]"], folder: Path
) -> None:
    process = run(path=folder / "vm-2.sock")
    pid = str(process.pid)
    for ids in ({"pid": pid}, {"pid": pid, "api_socket": str(folder / "vm-1.sock")}):
        with refused("unproven", "command line"):
            delete(found(deployment(dict(ids)), settings)[pid], settings)
    assert runs(process)


@pytest.mark.parametrize("more", [{}, {"executable": "its own"}])
def test_a_strangers_process_is_refused_though_the_record_knows_all_of_it(
    settings: Settings, run: Callable[..., "subprocess.Popen[bytes]"], folder: Path, more: dict[str, str]
) -> None:
    """Whoever can read /proc knows number, start time and executable of any process."""
    process = run(path=folder / "vm-2.sock")
    pid = str(process.pid)
    known: dict[str, Any] = {"process_start_time": started(process.pid)} | {
        key: executable(process.pid) for key in more
    }
    for ids in ({"pid": pid}, {"pid": pid, "api_socket": str(folder / "vm-1.sock")}):
        resource = looked(found(deployment(dict(ids), **known), settings)[pid], settings)
        with refused("not_ours", "AllowedExecutables"):
            delete(resource, settings)
    # A socket that no setting allows says nothing either.
    names = deployment({"pid": pid, "api_socket": str(folder / "vm-2.sock")}, **known)
    resource = looked(found(names, settings)[pid], settings)
    with refused("not_ours", "AllowedExecutables"):
        delete(resource, replace(settings, allowed_files=["/elsewhere/**"]))
    assert runs(process)


def test_a_process_of_an_allowed_executable_is_ended(
    settings: Settings, run: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    process = run()
    pid = str(process.pid)
    settings = replace(settings, allowed_executables=[executable(process.pid)])
    record = deployment({"pid": pid}, process_start_time=started(process.pid))
    delete(looked(found(record, settings)[pid], settings), settings)
    assert ended(process) == signal.SIGTERM


def test_a_tap_device_that_no_pattern_allows_is_refused(settings: Settings) -> None:
    settings = replace(settings, allowed_tap_devices=["bp-*"])
    with refused("bad_id", "allowed tap_devices"):
        found(deployment({"vm_id": "vm-1", "pid": "4242", "tap_device": "wg0"}), settings)


def test_a_process_that_names_the_socket_is_ended(
    settings: Settings, run: Callable[..., "subprocess.Popen[bytes]"], folder: Path
) -> None:
    process = run()
    pid = str(process.pid)
    record = deployment({"pid": pid, "api_socket": str(folder / "vm-1.sock")})
    resource = looked(found(record, settings)[pid], settings)
    assert resource.place["started"] == started(process.pid)
    delete(resource, settings)
    assert ended(process) == signal.SIGTERM
    assert looked(resource, settings).state == "gone"


def test_a_process_that_ignores_sigterm_is_killed_at_a_later_look(
    settings: Settings, run: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    process = run("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    settings = replace(settings, allowed_executables=[executable(process.pid)])
    pid = str(process.pid)
    record = deployment({"pid": pid}, process_start_time=started(process.pid))
    resource = looked(found(record, settings)[pid], settings)
    for _ in range(2):
        delete(resource, settings)
        time.sleep(0.05)
        assert runs(process)
        resource = looked(resource, settings)
    since = str(int(resource.place["since"]) - virtual_machine.GRACE - 1)
    again = found(replace(record, resources=[replace(resource, place=resource.place | {"since": since})]), settings)
    delete(looked(again[pid], settings), settings)
    assert ended(process) == signal.SIGKILL


def test_a_process_that_has_ended_and_waits_for_its_parent_is_gone(
    settings: Settings, run: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    process = run()
    pid = str(process.pid)
    record = deployment({"pid": pid}, process_start_time=started(process.pid))
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert looked(found(record, settings)[pid], settings).state == "gone"


def test_a_process_that_is_ending_is_not_signalled(
    settings: Settings, run: Callable[..., "subprocess.Popen[bytes]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = run()
    record = deployment({"pid": str(process.pid)}, process_start_time=started(process.pid), executable="/usr/bin/x")
    monkeypatch.setattr(machine, "_executable", lambda _: "")
    resource = found(record, settings)[str(process.pid)]
    assert looked(resource, settings).state == "leaving"
    delete(resource, settings)
    time.sleep(0.05)
    assert runs(process)


def test_the_tracker_itself_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.Process, "send", lambda *_: pytest.fail("it was signalled"))
    for pid in (os.getpid(), os.getppid()):
        record = deployment({"pid": str(pid)}, process_start_time=started(pid))
        with refused("not_ours", "the tracker"):
            delete(found(record, settings)[str(pid)], settings)


def test_a_process_of_another_user_is_not_gone(
    settings: Settings, run: Callable[..., "subprocess.Popen[bytes]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = run()

    def not_permitted(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(signal, "pidfd_send_signal", not_permitted)
    settings = replace(settings, allowed_executables=[executable(process.pid)])
    record = deployment({"pid": str(process.pid)}, process_start_time=started(process.pid))
    resource = found(record, settings)[str(process.pid)]
    with refused("credentials"):
        delete(resource, settings)
    assert looked(resource, settings).state == "present"


# The API


def test_what_the_record_does_not_name_is_kept(
    settings: Settings, serve: Callable[..., CloudHypervisor], folder: Path
) -> None:
    data, base, foreign = folder / "data.raw", folder / "base.raw", Path("/srv/shared.raw")
    disks = [{"path": str(data)}, {"path": str(base), "readonly": True}, {"path": str(foreign)}, {"vhost_user": True}]
    server = serve(disks=disks, net=[{"tap": "tap0"}, {}])
    ids: dict[str, str | list[str]] = {"api_socket": str(folder / "vm-1.sock")}
    kept = found(deployment(ids), settings)
    pid = str(server.vmm.process.pid)
    assert {id_: resource.state for id_, resource in kept.items() if resource.state == "kept"} == dict.fromkeys(
        [str(data), str(base), str(foreign), "tap0"], "kept"
    )
    assert kept[pid].key == ("hypervisor:process", pid), "its API says which process it is"
    every = found(deployment(ids, delete_dependents="all"), settings)
    assert [id_ for id_, resource in every.items() if resource.state == "kept"] == [str(base), str(foreign), "tap0"]


def test_a_vmm_that_counts_processes_in_its_own_way_is_refused(
    settings: Settings,
    serve: Callable[..., CloudHypervisor],
    run: Callable[..., "subprocess.Popen[bytes]"],
    folder: Path,
) -> None:
    server = serve()
    ours = server.vmm
    server.vmm = Sleeping(folder / "vm-2.sock")
    try:
        with refused("unproven", "name its pid"):
            found(deployment({"api_socket": str(folder / "vm-1.sock")}), settings)
    finally:
        ours.process.kill()
        ours.process.wait()


def test_a_vmm_that_ends_before_it_has_answered_is_gone(
    settings: Settings, serve: Callable[..., CloudHypervisor], folder: Path
) -> None:
    server = serve()
    resource = found(deployment({"api_socket": str(folder / "vm-1.sock")}), settings)[str(folder / "vm-1.sock")]
    with server.failing(Fault("cut", "PUT", r"/vmm\.shutdown")):
        for _ in range(3):
            resource = looked(resource, settings)
            delete(resource, settings)
    assert [str(call).partition("v1/")[2] for call in server.calls if call.method == "PUT"] == [
        *("vm.shutdown", "vm.delete", "vmm.shutdown")
    ]
    assert looked(resource, settings).state == "gone"


def test_a_vmm_that_comes_up_after_it_was_looked_for_is_not_ended_without_its_process(
    settings: Settings, serve: Callable[..., CloudHypervisor], folder: Path
) -> None:
    resource = found(deployment({"api_socket": str(folder / "vm-1.sock")}), settings)[str(folder / "vm-1.sock")]
    serve()
    with pytest.raises(Unreachable, match="answers now"):
        looked(resource, settings)


def test_a_vmm_without_a_vm_that_hangs_is_ended_as_its_process(
    settings: Settings, serve: Callable[..., CloudHypervisor], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud_hypervisor, "TIMEOUT", 0.1)
    server = serve()
    process = server.vmm.process
    resource = found(deployment({"api_socket": str(folder / "vm-1.sock")}), settings)[str(folder / "vm-1.sock")]
    with server.failing(Fault("hang")), pytest.raises(Unreachable):
        delete(looked(resource, settings), settings)
    for _ in range(2):
        delete(looked(resource, settings), settings)
    resource = looked(resource, settings)
    with server.failing(Fault("hang")):
        assert runs(process)
        resource = looked(resource, settings)
        assert resource.state == "present"
        delete(resource, settings)
        assert ended(process) == signal.SIGTERM
    server.stop()
    assert looked(resource, settings).state == "gone"


@pytest.mark.parametrize("status", [404, 405, 500])
def test_a_shutdown_that_was_done_already_is_a_success(
    settings: Settings, serve: Callable[..., CloudHypervisor], folder: Path, status: int
) -> None:
    server = serve()
    resource = found(deployment({"api_socket": str(folder / "vm-1.sock")}), settings)[str(folder / "vm-1.sock")]
    answer = failed(status, "The VM could not shut down", "VM is not running")
    with server.failing(Fault("answer", "PUT", answer=answer, after=True)):
        delete(resource, settings)
    with server.failing(Fault("answer", "PUT", answer=answer)), pytest.raises(Unreachable, match="not running"):
        delete(resource, settings)


def test_an_older_release_says_500_when_there_is_no_vm(
    settings: Settings, serve: Callable[..., CloudHypervisor], folder: Path
) -> None:
    server = serve()
    answer = Reply(500, b"Error from API: The VM info is not available: VM is not created")
    with server.failing(Fault("answer", "GET", r"/vm\.info", answer)):
        resource = found(deployment({"api_socket": str(folder / "vm-1.sock")}), settings)[str(folder / "vm-1.sock")]
        delete(resource, settings)
    assert server.calls[-1].path == "/api/v1/vmm.shutdown"


def test_another_server_on_the_socket_is_unreachable(
    settings: Settings, serve: Callable[..., CloudHypervisor], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    record = deployment({"api_socket": str(folder / "vm-1.sock")})
    for answer in (Reply(200, {"version": "48.0.0"}), Reply(200, b"<html>"), Reply(404, b"not found")):
        with server.failing(Fault("answer", "GET", r"ping", answer)), pytest.raises(Unreachable):
            found(record, settings)
    monkeypatch.setattr(cloud_hypervisor, "ANSWER_MAX", 10)
    with pytest.raises(Unreachable, match="of a length"):
        found(record, settings)


def test_an_amended_pid_is_looked_at_anew(
    settings: Settings, serve: Callable[..., CloudHypervisor], folder: Path
) -> None:
    server = serve()
    path = str(folder / "vm-1.sock")
    first = found(deployment({"api_socket": path}), settings)
    old = server.vmm
    server.vmm = Sleeping(folder / "vm-1.sock")
    old.process.kill()
    old.process.wait()
    resources = list(first.values())
    with refused("not_ours", "answered by process"):
        found(deployment({"api_socket": path}, resources), settings)
    pid = str(server.vmm.process.pid)
    again = found(deployment({"api_socket": path, "pid": pid}, resources), settings)
    assert again[path].place["started"] == started(server.vmm.process.pid)
    assert looked(again[path], settings).state == "present"


# The socket's file


def stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def test_a_stale_socket_is_removed(settings: Settings, folder: Path) -> None:
    path = folder / "vm-1.sock"
    stale(path)
    resource = looked(found(deployment({"api_socket": str(path)}), settings)[str(path)], settings)
    assert resource.state == "present"
    delete(resource, settings)
    assert not path.exists()
    assert looked(resource, settings).state == "gone"


def test_what_is_no_socket_is_let_alone(settings: Settings, folder: Path) -> None:
    path, target = folder / "vm-1.sock", folder / "vm-2.sock"
    resource = found(deployment({"api_socket": str(path)}), settings)[str(path)]
    stale(target)
    for make in (lambda: path.write_text("precious"), lambda: path.symlink_to(target)):
        make()
        for call in (looked, delete):
            with refused("bad_id", "isn't a socket"):
                call(resource, settings)
        path.unlink()
    assert target.exists()


def test_a_socket_that_may_not_be_connected_to_is_not_gone(
    settings: Settings, serve: Callable[..., CloudHypervisor], folder: Path
) -> None:
    serve()
    is_root = os.geteuid() == 0
    folder.chmod(0o711)
    (folder / "vm-1.sock").chmod(0o700 if is_root else 0)
    if is_root:
        os.seteuid(65534)
    try:
        with refused("credentials"):
            found(deployment({"api_socket": str(folder / "vm-1.sock")}), settings)
    finally:
        if is_root:
            os.seteuid(0)


# Disks


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_symbolic_link_is_refused_and_its_target_let_alone(settings: Settings, folder: Path, what: str) -> None:
    (folder / "elsewhere").mkdir()
    target = folder / "elsewhere" / "precious.raw"
    target.write_text("precious")
    if what == "file":
        path = folder / "root.raw"
        path.symlink_to(target)
    else:
        (folder / "disks").symlink_to(folder / "elsewhere")
        path = folder / "disks" / "precious.raw"
    resource = found(deployment({"disk_image": str(path)}), settings)[str(path)]
    for call in (looked, delete):
        with refused("bad_id"):
            call(resource, settings)
    assert target.read_text() == "precious"


def test_a_path_that_is_not_allowed_any_more_is_refused(settings: Settings, folder: Path) -> None:
    disk = folder / "root.raw"
    disk.write_text("")
    ids: dict[str, str | list[str]] = {"disk_image": str(disk), "api_socket": str(folder / "vm-1.sock")}
    before = found(deployment(ids), settings)
    settings = replace(settings, allowed_files=["/srv/**"])
    with refused("bad_id", "allowed files"):
        found(deployment(ids), settings)
    for resource in before.values():
        for call in (looked, delete):
            with refused("bad_id", "allowed files"):
                call(resource, settings)
    assert disk.exists()


def test_a_file_in_a_folder_that_is_not_there_is_unproven(settings: Settings, folder: Path) -> None:
    ids: dict[str, str | list[str]] = {"disk_image": f"{folder}/mnt/root.raw", "api_socket": f"{folder}/mnt/vm-1.sock"}
    for resource in found(deployment(ids), settings).values():
        look = hypervisor.KINDS[resource.kind].state(resource, settings)
        assert (look.state, look.unproven) == ("gone", True)


def test_a_disk_on_another_file_system_than_before_is_unproven(settings: Settings, folder: Path) -> None:
    disk = folder / "root.raw"
    disk.write_text("")
    resource = looked(found(deployment({"disk_image": str(disk)}), settings)[str(disk)], settings)
    disk.unlink()
    assert looked(resource, settings).state == "gone"
    with refused("unproven", "another file system"):
        looked(replace(resource, place=resource.place | {"device": "1"}), settings)


def test_another_disk_of_that_name_is_let_alone(settings: Settings, folder: Path) -> None:
    disk = folder / "root.raw"
    disk.write_text("")
    resource = looked(found(deployment({"disk_image": str(disk)}), settings)[str(disk)], settings)
    (folder / "new.raw").write_text("precious")
    (folder / "new.raw").rename(disk)
    with refused("not_ours", "another file"):
        delete(resource, settings)
    assert disk.exists()


def test_a_disk_that_is_no_file_is_refused(settings: Settings, folder: Path) -> None:
    (folder / "root.raw").mkdir()
    resource = found(deployment({"disk_image": f"{folder}/root.raw"}), settings)[f"{folder}/root.raw"]
    with refused("bad_id", "regular file"):
        delete(resource, settings)


# The machine


def test_after_a_reboot_processes_and_devices_are_gone_and_files_are_not(
    settings: Settings, run: Callable[..., "subprocess.Popen[bytes]"], folder: Path
) -> None:
    process = run()
    pid, disk = str(process.pid), folder / "root.raw"
    disk.write_text("")
    stale(folder / "vm-1.sock")
    ids: dict[str, str | list[str]] = {"api_socket": str(folder / "vm-1.sock"), "pid": pid, "tap_device": "lo"}
    ids["disk_image"] = str(disk)
    record = deployment(ids, process_start_time=started(process.pid), boot_id=OTHER_BOOT)
    resources = found(record, settings)
    for resource in resources.values():
        delete(resource, settings)
        look = hypervisor.KINDS[resource.kind].state(resource, settings)
        assert (look.state, look.unproven) == ("gone", False)
        assert OTHER_BOOT in look.proof or resource.kind == "hypervisor:disk"
    assert runs(process)
    assert not disk.exists()
    assert not (folder / "vm-1.sock").exists()


def test_what_answers_after_a_reboot_is_not_ours(
    settings: Settings, serve: Callable[..., CloudHypervisor], folder: Path
) -> None:
    serve()
    with refused("not_ours", "booted again"):
        found(deployment({"api_socket": str(folder / "vm-1.sock")}, boot_id=OTHER_BOOT), settings)


@pytest.mark.parametrize("wrong", ["host", "boot_id", "process_start_time", "executable"])
def test_metadata_is_looked_at_again(settings: Settings, wrong: str) -> None:
    with refused("bad_id", wrong):
        found(replace(deployment({}), metadata={wrong: "../x"}), settings)


@pytest.mark.parametrize("missing", ["host", "boot_id"])
def test_a_record_that_names_no_machine_is_refused(settings: Settings, missing: str) -> None:
    record = deployment({"pid": "4242"})
    metadata = {key: value for key, value in record.metadata.items() if key != missing}
    with refused("unproven", missing):
        found(replace(record, metadata=metadata), settings)


def test_another_machine_is_refused(settings: Settings) -> None:
    resource = found(deployment({"pid": "4242"}), settings)["4242"]
    for place in (LocalPlace("machine-2", boot_id()), None):
        for call in (looked, delete):
            with refused("not_ours", f"it is on {HOST}"):
                call(resource, replace(settings, local_place=place))


# Tap devices


def test_a_persistent_tap_is_deleted(settings: Settings, tap: str) -> None:
    resource = looked(found(deployment({"tap_device": tap}), settings)[tap], settings)
    delete(resource, settings)
    assert not Path("/sys/class/net", tap).exists()
    assert looked(resource, settings).state == "gone"
    delete(resource, settings)


def test_a_tap_that_this_user_may_not_remove_is_refused(
    settings: Settings, tap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_TUN", "/dev/net/none")
    with refused("credentials"):
        delete(found(deployment({"tap_device": tap}), settings)[tap], settings)
    assert Path("/sys/class/net", tap).exists()


def test_a_tap_that_a_process_has_open_waits(settings: Settings, tap: str) -> None:
    resource = found(deployment({"tap_device": tap}), settings)[tap]
    with Path(TUN).open("r+b", buffering=0) as tun:
        ioctl(tun, TUNSETIFF, struct.pack("16sH22x", tap.encode(), TAP))
        with pytest.raises(Busy):
            delete(resource, settings)
        ioctl(tun, TUNSETPERSIST, 0)
        with pytest.raises(Busy, match="with whose end"):
            delete(resource, settings)
    assert looked(resource, settings).state == "gone"


def test_another_tap_of_that_name_is_let_alone(settings: Settings, tap: str) -> None:
    resource = looked(found(deployment({"tap_device": tap}), settings)[tap], settings)
    remove_tap(tap)
    make_tap(tap)
    delete(resource, settings)
    look = hypervisor.KINDS[resource.kind].state(resource, settings)
    assert look.state == "gone"
    assert "another interface" in look.proof
    assert Path("/sys/class/net", tap).exists()


def test_an_interface_that_is_no_tap_is_refused(settings: Settings) -> None:
    with refused("bad_id", "isn't a tap"):
        delete(found(deployment({"tap_device": "lo"}), settings)["lo"], settings)
