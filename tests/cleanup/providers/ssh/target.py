"""This is what the targets of SshRemote and BareMetal have in common: a machine behind a proxy, with containers and services.

Connections break in the proxy, commands in the programs that the machine has (`machines`). The real one is a real sshd, where
those programs call the real Docker and note it; systemd is a stand-in there, too.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import docker as docker_sdk

from tests.cleanup.providers.ssh.machines import DOCKER, Programs
from tests.conformance.target import Evidence, Key, Made, Target
from tests.real_targets import Sshd
from tests.ssh_server import SshServer
from tests.tcp_proxy import TcpProxy
from tracker.cleanup.providers.ssh import machine
from tracker.cleanup.transport import ssh as ssh_connection
from tracker.model.settings import Settings

SWARM = "com.docker.swarm.service.id"
DOWN = "echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock' >&2; exit 1"
DENIED = "echo 'permission denied while trying to connect to the Docker daemon socket' >&2; exit 1"
IN_PROGRESS = """if [ "$(cat busy)" -gt 0 ]; then
  echo $(($(cat busy) - 1)) >busy
  echo 'Error response from daemon: removal of container is already in progress' >&2; exit 1
fi"""
REMOVING = 'for last; do :; done; sed -i "/^$last|/s/|Up[^|]*|/|Removal In Progress|/" containers; exit 0'

NA = {
    "appears-late": "a machine shows a container, a service or a file as soon as it exists",
    "other-account": "a machine has no accounts: its host key tells it from others",
    "not-ours": "a machine's containers and services carry no mark: being named is ownership",
    "throttled": "neither sshd nor a runtime asks a caller to wait",
    "order": "containers and services don't hang on each other",
}


class SshTarget(Target):
    """A container and a service that are named, and a container that isn't."""

    evidence: ClassVar[Evidence] = "emulator"
    na: ClassVar[dict[str, str]] = NA
    user = "ubuntu"

    def start(self) -> None:
        self.folder = self.own_folder
        self.programs = Programs(self.folder / "programs")
        self.keys: dict[str, Key] = {}
        self.count = 0
        self.serve()
        self.proxy = TcpProxy(self.server.port)
        self.secrets = tuple(self.server.private_key.splitlines()[1:-1])
        keys = {"private_key": self.server.private_key, "host_key": self.server.host_key}
        self.secret = self.put_secret(f"tracker/ssh/{self.deployment_type}", **keys)
        self.settings = Settings(
            allowed_hosts=["127.0.0.1"],
            allowed_secrets=["tracker/**"],
            allowed_files=[f"{self.folder}/files/**"],
            # A round with fewer looks: each is a connection.
            deadline=30,
        )

    def serve(self) -> None:
        """Start the server, and what runs containers there."""
        self.programs.program("docker", DOCKER)
        self.server: SshServer | Sshd = SshServer(PATH=self.programs.path)
        self._stack.callback(self.server.stop)

    def stop(self) -> None:
        self.proxy.stop()

    # What is there

    def make(self) -> Made:
        self.count += 1
        main, other, unit = (f"{noun}-{self.count}" for noun in ("ours", "theirs", "unit"))
        for name in (main, other):
            self.run_container(name)
        self.programs.unit(f"{unit}.service")
        ours: list[Key] = [("ssh:container", main), ("ssh:unit", f"{unit}.service")]
        metadata = {
            "ssh_host": "127.0.0.1",
            "ssh_port": str(self.proxy.port),
            "ssh_user": self.user,
            "ssh_key_secret": self.secret,
            "runtime": "docker",
        }
        return Made(
            ours[0], ours, [("ssh:container", other)], {"container_id": main, "unit": f"{unit}.service"}, metadata
        )

    def run_container(self, name: str, service: str = "") -> None:
        full_id = uuid.uuid4().hex * 2
        self.keys[full_id] = ("ssh:container", name)
        self.programs.containers = [*self.programs.containers, f"{full_id}|{name}|Up 2 hours|{service}"]

    def remove_container(self, name: str) -> None:
        self.programs.containers = [each for each in self.programs.containers if each.split("|")[1] != name]

    def container_names(self) -> list[str]:
        return [line.split("|")[1] for line in self.programs.containers]

    def left(self) -> set[Key]:
        units: set[Key] = {("ssh:unit", name) for name in self.programs.unit_names()}
        return units | {("ssh:container", name) for name in self.container_names()}

    def asked(self) -> list[Key]:
        return [key for call in self.programs.asked if (key := self.key_of(call.split()))]

    def key_of(self, call: list[str]) -> Key | None:
        match call:
            case ["docker", "rm", *_, full_id]:
                return self.keys[full_id]
            case ["systemctl", "stop" | "disable", *_, unit]:
                return ("ssh:unit", unit)
        return None

    def contacts(self) -> int:
        return self.proxy.connections

    def forget(self) -> None:
        self.programs.forget()
        self.proxy.connections = 0

    def vanish(self, made: Made) -> None:
        for kind, name in made.ours:
            if kind == "ssh:container":
                self.remove_container(name)
            elif kind == "ssh:unit":
                self.programs.state_of(name).unlink()

    # How it is bent

    def misplaced(self, made: Made) -> Made:
        other = SshServer(PATH="/usr/bin:/bin")
        self._stack.callback(other.stop)
        # Whoever answers there takes every key: only the host's own tells it from ours.
        other.let_in(self.server.public_key)
        return replace(made, metadata={**made.metadata, "ssh_port": str(other.port)})

    def replace(self, made: Made) -> None:
        self.remove_container(made.main[1])
        self.run_container(made.main[1])

    def protect(self, made: Made) -> None:
        self.remove_container(made.main[1])
        self.run_container(made.main[1], service="service-1")

    @contextmanager
    def lose_credential(self, made: Made) -> Iterator[None]:
        with self._locked_out(spared=0):
            yield

    @contextmanager
    def _locked_out(self, *, spared: int) -> Iterator[None]:
        """The machine takes another key, after so many connections."""
        known, other = self.server.public_key, SshServer()
        other.stop()
        with self.proxy.changing(lambda: self.server.let_in(other.public_key), spared=spared):
            yield
        self.server.let_in(known)

    def denials(self) -> list[str]:
        return ["key", "docker"]

    def docker_down(self, verbs: str) -> Any:
        return self.programs.failing("docker", verbs, DOWN)

    @contextmanager
    def failing(self, fault: str, when: str) -> Iterator[None]:
        # A deletion is a connection of its own: the one after that of the look.
        spared, verbs = (0, "info|ps") if when == "look" else (1, "rm")
        with ExitStack() as stack:
            match fault, when:
                case "denied:key", _:
                    stack.enter_context(self._locked_out(spared=spared))
                case "denied:docker", _:
                    stack.enter_context(self.programs.failing("docker", verbs, DENIED))
                case "server-error", _:
                    stack.enter_context(self.docker_down(verbs))
                case "hung", "delete":
                    stack.enter_context(_patched(machine, "DELETION_TIMEOUT", 0.4))
                    stack.enter_context(self.programs.failing("docker", verbs, "exec sleep 5"))
                case "cut", "delete":
                    # It did its work, and nobody heard of it.
                    stack.enter_context(self.programs.failing("docker", verbs, 'work "$@"; kill -9 $$'))
                case "refused" | "reset" | "hung" | "cut", _:
                    stack.enter_context(_patched(ssh_connection, "TIMEOUT", 0.4 if fault == "hung" else 10.0))
                    stack.enter_context(self.proxy.failing(fault, spared=spared))
                case _:
                    raise ValueError(fault)
            yield

    @contextmanager
    def busy(self, made: Made, times: int) -> Iterator[None]:
        (self.programs.folder / "busy").write_text(str(times))
        with self.programs.failing("docker", "rm", IN_PROGRESS):
            yield

    @contextmanager
    def stuck(self, made: Made, key: Key) -> Iterator[None]:
        if key[0] == "ssh:unit":
            slow = self.programs.folder / "slow"
            slow.touch()
            yield
            slow.unlink()
            # It ended at last.
            state = self.programs.state_of(key[1])
            state.write_text(state.read_text().replace("deactivating", "inactive").replace("MainPID=42", "MainPID=0"))
        else:
            with self.programs.failing("docker", "rm", REMOVING):
                yield
            self.remove_container(key[1])

    @contextmanager
    def false_success(self, made: Made) -> Iterator[None]:
        # As older versions of Docker's client do with --force.
        with self.programs.failing("docker", "rm", "echo 'Error response from daemon: device is busy' >&2; exit 0"):
            yield


class RealSshTarget(SshTarget):
    """A real sshd with the real Docker behind it."""

    evidence: ClassVar[Evidence] = "real"
    is_real: ClassVar[bool] = True
    na: ClassVar[dict[str, str]] = {
        **NA,
        "in-progress": "Docker can't be held within a removal: while a container's shim is stopped it doesn't answer at all",
        "never-ends": "Docker's client comes back when the container is gone: no deletion is accepted and goes on",
        "false-success": "this version of Docker's client fails when the removal does",
    }

    def serve(self) -> None:
        self.engine: docker_sdk.DockerClient = self.request.getfixturevalue("docker_engine")
        self.image: str = self.request.getfixturevalue("busybox")
        self.labels: dict[str, str] = self.request.getfixturevalue("labels")
        self.programs.real("docker")
        make_sshd: Callable[..., Sshd] = self.request.getfixturevalue("make_sshd")
        # With SHLVL a shell reads no start-up file of the user's, which may take its time, and change the path.
        self.server = make_sshd(f"SetEnv PATH={self.programs.path} SHLVL=1")
        self.user = self.server.user
        # Nobody else's containers are called so.
        self.suffix = uuid.uuid4().hex[:8]

    def make(self) -> Made:
        self.count = int(self.suffix, 16) + self.count
        return super().make()

    def run_container(self, name: str, service: str = "") -> None:
        labels = {**self.labels, **({SWARM: service} if service else {})}
        container = self.engine.containers.run(self.image, detach=True, name=name, labels=labels, network_mode="none")
        self.keys[str(container.id)] = ("ssh:container", name)

    def remove_container(self, name: str) -> None:
        self.engine.containers.get(name).remove(force=True)

    def container_names(self) -> list[str]:
        label = f"tracker.test={self.labels['tracker.test']}"
        return [str(each.name) for each in self.engine.containers.list(all=True, filters={"label": label})]

    def denials(self) -> list[str]:
        return ["key"]

    def docker_down(self, verbs: str) -> Any:
        return self.programs.failing("docker", verbs, "export DOCKER_HOST=unix:///nowhere/docker.sock")


@contextmanager
def _patched(module: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
