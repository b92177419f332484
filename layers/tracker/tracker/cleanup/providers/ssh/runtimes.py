"""Containers on a machine that is reached through SSH, by the runtime's own program: docker, podman, or ctr of containerd.

`docker rm -f` exits 0 even when nothing was removed, so "gone" is always read from a list that the runtime itself could
give. A container is remembered by its full id or, with containerd, where ids come again, by the moment it was made. Its anonymous
volumes go with it; all else is left.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, NamedTuple, Protocol

import msgspec

from tracker.cleanup.core.contract import Busy, Observation, Progress, Refused, Unreachable
from tracker.cleanup.core.kind import Gone, Kind
from tracker.cleanup.providers.ssh.machine import Machine, open_machine, raise_failure, summary
from tracker.cleanup.transport.containers import SWARM_SERVICE, is_called, swarm_protection
from tracker.model.catalogue import entry
from tracker.model.deployment import Resource
from tracker.model.settings import Settings


class Found(NamedTuple):
    """A container: what tells it from another of its name, the runtime's word for its state, and its swarm service."""

    identity: str
    status: str = ""
    service: str = ""


class Runtime(Protocol):
    """A runtime on a machine. `store` says where it keeps its containers, empty if it doesn't say: another store proves nothing."""

    store: str

    def find(self, resource: Resource) -> Found:
        """Return the container. Raises Gone with the proof."""
        ...

    def remove(self, resource: Resource, found: Found) -> None:
        """Request the removal; that it is gone already is success."""
        ...


class Container(Kind[Runtime, Found]):
    """A container of any runtime."""

    noun = "container"
    form = entry("SshRemote").ids["container_id"].pattern
    anchor = "host"

    def check_id(self, resource: Resource, settings: Settings) -> None:
        super().check_id(resource, settings)
        if resource.place["runtime"] == "systemd":
            raise Refused("bad_id", f"runtime systemd has no containers, so {resource.id} can't be one of its")

    @contextmanager
    def open(self, resource: Resource, settings: Settings) -> Iterator[Runtime]:
        with open_machine(resource.place, settings) as machine:
            yield RUNTIMES[resource.place["runtime"]](machine, resource.place)

    def address(self, connection: Runtime, resource: Resource) -> str:
        return f"{resource.place['host']}:{resource.place['port']}"

    def read(self, connection: Runtime, resource: Resource) -> Found:
        return connection.find(resource)

    def progress(self, body: Found) -> tuple[Progress, str]:
        is_leaving = body.status.lower().startswith(("removal in progress", "removing"))
        return ("leaving" if is_leaving else "present"), body.status

    def location(self, connection: Runtime) -> dict[str, str]:
        return {"engine": connection.store}

    def identity(self, body: Found) -> dict[str, str]:
        return {"identity": body.identity}

    def observe_absence(self, connection: Runtime, resource: Resource, gone: Gone) -> Observation:
        """Say what it means that the container isn't there: nothing, if the record didn't say where to look."""
        assumed = resource.place["assumed"]
        return Observation(
            "gone", proof=f"{gone} (assumed: {assumed})" if assumed else str(gone), unproven=bool(assumed)
        )

    def protection(self, connection: Runtime, resource: Resource, body: Found) -> str:
        return swarm_protection(body.identity, body.service)

    def request_deletion(self, connection: Runtime, resource: Resource, body: Found) -> None:
        connection.remove(resource, body)


class DockerLike:
    """Docker or Podman, by three commands: `asking_store` prints the store, `listing` the containers, `removal` removes one."""

    asking_store: ClassVar[tuple[str, ...]]
    listing: ClassVar[tuple[str, ...]]
    removal: ClassVar[tuple[str, ...]]

    def __init__(self, machine: Machine, place: Mapping[str, str]) -> None:
        self._machine = machine
        self._program = self.listing[0]
        self.store = machine.read(*self.asking_store).strip()
        if not self.store:
            raise Unreachable(f"{self._program} doesn't say where it keeps its containers")
        if place["engine"] not in ("", self.store):
            text = f"{self._program} keeps its containers in {self.store}, not in {place['engine']}"
            raise Refused("not_ours", f"{text}: nothing there is the record's")

    def find(self, resource: Resource) -> Found:
        identity = resource.place["identity"]
        other = ""
        for line in self._machine.read(*self.listing).splitlines():
            try:
                full_id, names, status, service = line.split("|")
            except ValueError as error:
                raise Unreachable(f"{self._program} ps: a line that can't be read") from error
            if identity == full_id or (not identity and is_called(resource.id, full_id, *names.split(","))):
                return Found(full_id, status, service)
            if resource.id in names.split(","):
                other = f"; {resource.id} is another one now, {full_id[:12]}"
        raise Gone(f"{' '.join(self.listing[:3])} of {self.store}: {identity or resource.id} isn't listed{other}")

    def remove(self, resource: Resource, found: Found) -> None:
        result = self._machine.run_deletion(*self.removal, found.identity)
        if "already in progress" in result.stderr:
            raise Busy(summary(result))
        if result.exit and "no such container" not in result.stderr.lower():
            raise_failure(self.removal, result)


class Docker(DockerLike):
    asking_store = ("docker", "info", "--format", "{{.ID}}")
    listing = (
        *("docker", "ps", "--all", "--no-trunc", "--format"),
        f'{{{{.ID}}}}|{{{{.Names}}}}|{{{{.Status}}}}|{{{{.Label "{SWARM_SERVICE}"}}}}',
    )
    removal = ("docker", "rm", "--force", "--volumes")


class Podman(DockerLike):
    asking_store = ("podman", "info", "--format", "{{.Store.GraphRoot}}")
    listing = ("podman", "ps", "--all", "--no-trunc", "--format", "{{.ID}}|{{.Names}}|{{.Status}}|")
    removal = ("podman", "rm", "--force", "--ignore", "--volumes")


class _Info(msgspec.Struct):
    """The part of `ctr containers info` that tells containers of one id apart."""

    made: str = msgspec.field(name="CreatedAt")


class Containerd:
    """containerd through its own `ctr`, which only root may use."""

    store = ""

    def __init__(self, machine: Machine, place: Mapping[str, str]) -> None:
        self._machine = machine
        self._namespace = place["namespace"]
        self._ctr = machine.as_root("ctr", "--connect-timeout", "3s", "--namespace", self._namespace)

    def find(self, resource: Resource) -> Found:
        info = self._machine.run(*self._ctr, "containers", "info", resource.id)
        if info.exit == 0:
            try:
                made = msgspec.json.decode(info.stdout, type=_Info).made
            except msgspec.DecodeError as error:
                raise Unreachable("ctr containers info: not to be read") from error
            if resource.place["identity"] in ("", made):
                return Found(made)
            raise Gone(f"ctr containers info {resource.id}: another one, made {made}")
        if resource.id in self._machine.read(*self._ctr, "containers", "ls", "-q").split():
            raise_failure(self._ctr, info)
        raise Gone(f"ctr --namespace {self._namespace} containers ls: {resource.id} isn't listed")

    def remove(self, resource: Resource, found: Found) -> None:
        # Its exit status is that of the process that it killed; whether it did, the next command says.
        self._machine.run_deletion(*self._ctr, "tasks", "delete", "--force", resource.id)
        result = self._machine.run(*self._ctr, "containers", "delete", resource.id)
        if "non stopped container" in result.stderr:
            raise Busy(summary(result))
        if result.exit and "not found" not in result.stderr:
            raise_failure(self._ctr, result)


RUNTIMES: dict[str, Callable[[Machine, Mapping[str, str]], Runtime]] = {
    "docker": Docker,
    "podman": Podman,
    "containerd": Containerd,
}
