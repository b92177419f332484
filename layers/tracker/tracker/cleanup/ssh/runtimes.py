"""Containers on a machine that is reached through SSH, by the runtime's own program: docker, podman, or ctr of containerd.

`docker rm -f` exits 0 even when nothing was removed, so "gone" is always read from a list that the runtime itself could
give. A container is remembered by what makes it itself: its full id or, with containerd, where ids come again, the moment it
was made. Its anonymous volumes go with it; all else is left.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from tracker.cleanup.containers import SWARM_SERVICE, is_called, refuse_swarm
from tracker.cleanup.contract import Busy, Look, Refused, Unreachable
from tracker.cleanup.ssh.machine import Machine, complain, reached, said
from tracker.deployment import Resource
from tracker.settings import Settings


class Container:
    """A container of any runtime."""

    one_at_a_time = False

    def state(self, resource: Resource, settings: Settings) -> Look:
        with reached(resource.place, settings) as machine:
            found, proof = RUNTIMES[resource.place["runtime"]].find(machine, resource)
        if found is None:
            assumed = resource.place["assumed"]
            return Look("gone", proof=f"{proof} (assumed: {assumed})" if assumed else proof, unproven=bool(assumed))
        is_leaving = found.status.lower().startswith(("removal in progress", "removing"))
        place = {"identity": found.identity, "engine": found.engine}
        return Look("leaving" if is_leaving else "present", detail=found.status, place=place)

    def delete(self, resource: Resource, settings: Settings) -> None:
        with reached(resource.place, settings) as machine:
            runtime = RUNTIMES[resource.place["runtime"]]
            found, _ = runtime.find(machine, resource)
            if found is not None:
                runtime.delete(machine, resource, found)


class _Found(NamedTuple):
    """A container: what makes it itself, how it is, and the store that it was seen in."""

    identity: str
    status: str = ""
    engine: str = ""


class _Runtime(Protocol):
    def find(self, machine: Machine, resource: Resource) -> tuple[_Found | None, str]:
        """Ours, or None and the proof that it is gone."""
        ...

    def delete(self, machine: Machine, resource: Resource, found: _Found) -> None: ...


@dataclass(frozen=True)
class _DockerLike:
    """Docker or Podman. `store` is how it says where it keeps its containers: another store proves nothing."""

    store: tuple[str, ...]
    listing: tuple[str, ...]
    deletion: tuple[str, ...]

    def find(self, machine: Machine, resource: Resource) -> tuple[_Found | None, str]:
        engine = machine.read(*self.store).strip()
        if not engine:
            raise Unreachable(f"{self.store[0]} doesn't say where it keeps its containers")
        if resource.place["engine"] not in ("", engine):
            text = f"{self.store[0]} keeps its containers in {engine}, not in {resource.place['engine']}"
            raise Refused("not_ours", f"{text}: nothing there is the record's")
        identity = resource.place["identity"]
        other = ""
        for line in machine.read(*self.listing).splitlines():
            try:
                full_id, names, status, service = line.split("|")
            except ValueError as error:
                raise Unreachable(f"{self.listing[0]} ps: a line that can't be read") from error
            if identity == full_id or (not identity and is_called(resource.id, full_id, *names.split(","))):
                refuse_swarm(full_id, service)
                return _Found(full_id, status, engine), ""
            if resource.id in names.split(","):
                other = f"; {resource.id} is another one now, {full_id[:12]}"
        return None, f"{' '.join(self.listing[:3])} of {engine}: {identity or resource.id} isn't listed{other}"

    def delete(self, machine: Machine, resource: Resource, found: _Found) -> None:
        answer = machine.ask(*self.deletion, found.identity)
        if "already in progress" in answer.stderr:
            raise Busy(said(answer))
        if answer.exit and "no such container" not in answer.stderr.lower():
            complain(self.deletion, answer)


class _Made(msgspec.Struct):
    """What of `ctr containers info` says which container it is."""

    made: str = msgspec.field(name="CreatedAt")


_CTR = ("ctr", "--connect-timeout", "3s", "--namespace")


class _Containerd:
    """containerd through its own `ctr`, which only root may use."""

    def find(self, machine: Machine, resource: Resource) -> tuple[_Found | None, str]:
        ctr = machine.as_root(*_CTR, resource.place["namespace"])
        info = machine.run(*ctr, "containers", "info", resource.id)
        if info.exit == 0:
            try:
                made = msgspec.json.decode(info.stdout, type=_Made).made
            except msgspec.DecodeError as error:
                raise Unreachable("ctr containers info: not to be read") from error
            if resource.place["identity"] in ("", made):
                return _Found(made), ""
            return None, f"ctr containers info {resource.id}: another one, made {made}"
        if resource.id in machine.read(*ctr, "containers", "ls", "-q").split():
            complain(ctr, info)
        return None, f"ctr --namespace {resource.place['namespace']} containers ls: {resource.id} isn't listed"

    def delete(self, machine: Machine, resource: Resource, found: _Found) -> None:
        ctr = machine.as_root(*_CTR, resource.place["namespace"])
        # Its exit status is that of the process that it killed; whether it did, the next command says.
        machine.ask(*ctr, "tasks", "delete", "--force", resource.id)
        answer = machine.run(*ctr, "containers", "delete", resource.id)
        if "non stopped container" in answer.stderr:
            raise Busy(said(answer))
        if answer.exit and "not found" not in answer.stderr:
            complain(ctr, answer)


RUNTIMES: dict[str, _Runtime] = {
    "docker": _DockerLike(
        store=("docker", "info", "--format", "{{.ID}}"),
        listing=(
            *("docker", "ps", "--all", "--no-trunc", "--format"),
            f'{{{{.ID}}}}|{{{{.Names}}}}|{{{{.Status}}}}|{{{{.Label "{SWARM_SERVICE}"}}}}',
        ),
        deletion=("docker", "rm", "--force", "--volumes"),
    ),
    "podman": _DockerLike(
        store=("podman", "info", "--format", "{{.Store.GraphRoot}}"),
        listing=("podman", "ps", "--all", "--no-trunc", "--format", "{{.ID}}|{{.Names}}|{{.Status}}|"),
        deletion=("podman", "rm", "--force", "--ignore", "--volumes"),
    ),
    "containerd": _Containerd(),
}
