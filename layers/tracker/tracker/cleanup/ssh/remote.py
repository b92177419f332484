"""SshRemote: containers and services on a machine reached through SSH; the machine itself stays.

The machine is the one that shows the pinned host key, and only that. `docker rm -f` exits 0 even when nothing was
removed, so "gone" is always read from a list that the runtime itself could give. A container is remembered by what
makes it itself: its full id or, with containerd, where ids come again, the moment it was made. A unit has no identity
besides its name. Nothing but these is looked for: a container's anonymous volumes go with it, all else is left.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, NoReturn, Protocol

import msgspec
import paramiko

from tracker.cleanup import secrets
from tracker.cleanup.containers import NAME, SWARM_SERVICE, is_called, refuse_swarm
from tracker.cleanup.contract import Busy, Kind, Look, Refused, Unreachable
from tracker.cleanup.ssh_connection import PORT, TIMEOUT, Answer, Login, connect, run
from tracker.deployment import Deployment, Resource, clipped, ids_named
from tracker.settings import Settings

# Seconds: the runtimes give a container's processes ten to end by themselves.
DELETION_TIMEOUT = 25.0
STDERR_SHOWN = 300

_UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.-]*(?:@[A-Za-z0-9:_.-]*)?\.service")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]*")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
# Where an administrator's units are; a unit elsewhere belongs to a package.
_UNIT_FOLDERS = frozenset({"/etc/systemd/system", "/run/systemd/system", "/run/systemd/transient"})
# What a shell answers, and what programs say (POSIX, "Exit Status for Commands").
_NO_SUCH_PROGRAM = 127
_NOT_PERMITTED = ("permission denied", "password is required", "authentication required", "access denied", "sudoers")


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """What the record names."""
    place = _place(deployment)
    found = []
    for key, kind in (("container_id", "ssh:container"), ("unit", "ssh:unit")):
        form = NAME if kind == "ssh:container" else _UNIT
        for name in ids_named(deployment, key):
            if not form.fullmatch(name):
                raise Refused("bad_id", f"{name!r} can't be the {kind} of a deployment")
            if kind == "ssh:container" and place["runtime"] not in RUNTIMES:
                raise Refused("bad_id", f"runtime {place['runtime']} has no containers, so {name} can't be one of its")
            found.append(Resource(kind, name, place | _remembered(deployment, kind, name, place), named_by=key))
    if not found:
        raise Refused("missing_id", "resource_ids.container_id or resource_ids.unit is missing")
    return found


class _Machine(NamedTuple):
    """A machine that is logged in to."""

    client: paramiko.SSHClient
    user: str

    def run(self, *argv: str, timeout: float = TIMEOUT) -> Answer:
        return run(self.client, list(argv), timeout)

    def read(self, *argv: str) -> str:
        """What a command prints that has to succeed."""
        answer = self.run(*argv)
        if answer.exit:
            _complain(argv, answer)
        return answer.stdout

    def as_root(self, *argv: str) -> list[str]:
        """The same command with root's rights, which are there already or without a password."""
        return list(argv) if self.user == "root" else ["sudo", "-n", *argv]


class _Found(NamedTuple):
    """A container: what makes it itself, how it is, and the store that it was seen in."""

    identity: str
    status: str = ""
    engine: str = ""


class _Runtime(Protocol):
    def find(self, machine: _Machine, resource: Resource) -> tuple[_Found | None, str]:
        """Ours, or None and the proof that it is gone."""
        ...

    def delete(self, machine: _Machine, resource: Resource, found: _Found) -> None: ...


@dataclass(frozen=True)
class _DockerLike:
    """Docker or Podman. `store` is how it says where it keeps its containers: another store proves nothing."""

    store: tuple[str, ...]
    listing: tuple[str, ...]
    deletion: tuple[str, ...]

    def find(self, machine: _Machine, resource: Resource) -> tuple[_Found | None, str]:
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

    def delete(self, machine: _Machine, resource: Resource, found: _Found) -> None:
        answer = machine.run(*self.deletion, found.identity, timeout=DELETION_TIMEOUT)
        if "already in progress" in answer.stderr:
            raise Busy(_said(answer))
        if answer.exit and "no such container" not in answer.stderr.lower():
            _complain(self.deletion, answer)


class _Made(msgspec.Struct):
    """What of `ctr containers info` says which container it is."""

    made: str = msgspec.field(name="CreatedAt")


_CTR = ("ctr", "--connect-timeout", "3s", "--namespace")


class _Containerd:
    """containerd through its own `ctr`, which only root may use."""

    def find(self, machine: _Machine, resource: Resource) -> tuple[_Found | None, str]:
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
            _complain(ctr, info)
        return None, f"ctr --namespace {resource.place['namespace']} containers ls: {resource.id} isn't listed"

    def delete(self, machine: _Machine, resource: Resource, found: _Found) -> None:
        ctr = machine.as_root(*_CTR, resource.place["namespace"])
        # Its exit status is that of the process that it killed; whether it did, the next command says.
        machine.run(*ctr, "tasks", "delete", "--force", resource.id, timeout=DELETION_TIMEOUT)
        answer = machine.run(*ctr, "containers", "delete", resource.id)
        if "non stopped container" in answer.stderr:
            raise Busy(_said(answer))
        if answer.exit and "not found" not in answer.stderr:
            _complain(ctr, answer)


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


class _Container:
    """A container of any runtime."""

    one_at_a_time = False

    def state(self, resource: Resource, settings: Settings) -> Look:
        with _machine(resource.place, settings) as machine:
            found, proof = RUNTIMES[resource.place["runtime"]].find(machine, resource)
        if found is None:
            assumed = resource.place["assumed"]
            return Look("gone", proof=f"{proof} (assumed: {assumed})" if assumed else proof, unproven=bool(assumed))
        is_leaving = found.status.lower().startswith(("removal in progress", "removing"))
        place = {"identity": found.identity, "engine": found.engine}
        return Look("leaving" if is_leaving else "present", detail=found.status, place=place)

    def delete(self, resource: Resource, settings: Settings) -> None:
        with _machine(resource.place, settings) as machine:
            runtime = RUNTIMES[resource.place["runtime"]]
            found, _ = runtime.find(machine, resource)
            if found is not None:
                runtime.delete(machine, resource, found)


class _Service(msgspec.Struct, rename="pascal"):
    """What `systemctl show` says of a unit."""

    load_state: str
    active_state: str
    main_pid: str = msgspec.field(name="MainPID")
    fragment_path: str = ""
    unit_file_state: str = ""

    @property
    def is_stopped(self) -> bool:
        return self.active_state in ("inactive", "failed") and self.main_pid in ("", "0")

    def is_gone(self, unit: str) -> bool:
        """Without its file; or, made from a template, which others use too, not started and not to be."""
        is_of_template = bool(self.fragment_path) and PurePosixPath(self.fragment_path).name != unit
        is_off = is_of_template and not self.unit_file_state.startswith("enabled")
        return self.is_stopped and (self.load_state == "not-found" or is_off)


class _Unit:
    """A systemd service: stopped, disabled, and its file removed where an administrator's files are."""

    one_at_a_time = False

    def state(self, resource: Resource, settings: Settings) -> Look:
        with _machine(resource.place, settings) as machine:
            service = _show(machine, resource.id)
        said = f"{service.load_state}, {service.active_state}"
        if service.is_gone(resource.id):
            return Look("gone", proof=f"systemctl show {resource.id}: {said}, no process")
        return Look("leaving" if service.active_state == "deactivating" else "present", detail=said)

    def delete(self, resource: Resource, settings: Settings) -> None:
        unit = resource.id
        with _machine(resource.place, settings) as machine:
            service = _show(machine, unit)
            if service.is_gone(unit):
                return
            path = PurePosixPath(service.fragment_path)
            if service.fragment_path and str(path.parent) not in _UNIT_FOLDERS:
                raise Refused("protected", f"{unit} is in {path.parent}, where packages have theirs")
            systemctl = machine.as_root("systemctl")
            # It fails for what can't be enabled at all; whether it was needed, the next look says.
            machine.run(*systemctl, "disable", unit)
            stop = machine.run(*systemctl, "stop", "--no-block", unit)
            if stop.exit and "not loaded" not in stop.stderr:
                _complain(systemctl, stop)
            if not _show(machine, unit).is_stopped:
                return
            if path.name == unit:
                machine.read(*machine.as_root("rm", "-f", "--", str(path)))
                machine.read(*systemctl, "daemon-reload")
            machine.run(*systemctl, "reset-failed", unit)


KINDS: dict[str, Kind] = {"ssh:container": _Container(), "ssh:unit": _Unit()}


def _show(machine: _Machine, unit: str) -> _Service:
    properties = "LoadState,ActiveState,MainPID,FragmentPath,UnitFileState"
    text = machine.read("systemctl", "show", f"--property={properties}", unit)
    try:
        return msgspec.convert(dict(line.split("=", 1) for line in text.splitlines() if line), _Service)
    except (msgspec.ValidationError, ValueError) as error:
        raise Unreachable(f"systemctl show {unit}: not to be read") from error


def _complain(argv: Sequence[str], answer: Answer) -> NoReturn:
    """Raise what a command's failure means."""
    program = argv[2] if argv[0] == "sudo" else argv[0]
    text = f"{program}: {_said(answer)}"
    if answer.exit == _NO_SUCH_PROGRAM or "command not found" in answer.stderr:
        raise Refused("bad_id", f"{text}; is metadata.runtime right?")
    if any(words in answer.stderr.lower() for words in _NOT_PERMITTED):
        raise Refused("credentials", text)
    raise Unreachable(text)


def _said(answer: Answer) -> str:
    return f"exit {answer.exit}, {clipped(answer.stderr.strip(), STDERR_SHOWN)}"


def _place(deployment: Deployment) -> dict[str, str]:
    """Where the record says that it is. `assumed` says what it doesn't, so that a not-found there proves nothing."""
    said = deployment.metadata
    if not said.get("ssh_host") or not said.get("ssh_user"):
        raise Refused("missing_id", "metadata.ssh_host or metadata.ssh_user is missing")
    runtime = said.get("runtime", "docker")
    needed = {"containerd": ["runtime", "namespace"]}.get(runtime, ["runtime"])
    place = {
        "host": said["ssh_host"],
        "port": said.get("ssh_port", str(PORT)),
        "user": said["ssh_user"],
        "host_key": said.get("ssh_host_key", ""),
        "secret": said.get("ssh_key_secret", ""),
        "key_file": said.get("ssh_key_path", ""),
        "jump_host": said.get("jump_host", ""),
        "jump_port": said.get("jump_port", str(PORT)),
        "jump_user": said.get("jump_user", said["ssh_user"]),
        "jump_host_key": said.get("jump_host_key", ""),
        "runtime": runtime,
        "namespace": said.get("namespace", "default"),
        "assumed": ", ".join(key for key in needed if key not in said),
    }
    for key, form in _PLACE_FORMS.items():
        if place[key] and not form.fullmatch(place[key]):
            raise Refused("bad_id", f"the {key.replace('_', ' ')} of the machine can't be {place[key]!r}")
    return place


def _remembered(deployment: Deployment, kind: str, name: str, place: dict[str, str]) -> dict[str, str]:
    """What an earlier look learned, unless the record was amended to say that it is somewhere else."""
    learned = {"identity": "", "engine": ""}
    for known in deployment.resources:
        if all(known.place.get(key) == place[key] for key in ("host", "port", "user", "runtime", "namespace")):
            learned["engine"] = learned["engine"] or known.place["engine"]
            if known.key == (kind, name):
                learned["identity"] = known.place["identity"]
    return learned


_PLACE_FORMS = {
    "host": _HOST,
    "port": _PORT,
    "user": _USER,
    "jump_host": _HOST,
    "jump_port": _PORT,
    "jump_user": _USER,
    "namespace": NAME,
}


@contextmanager
def _machine(place: dict[str, str], settings: Settings) -> Iterator[_Machine]:
    """The machine at a place: allowed, with its own host key, by a key that is allowed too."""
    for host in (place["host"], place["jump_host"]):
        if host and not settings.allows("host", host):
            raise Refused("bad_id", f"{host} isn't among the allowed hosts")
    if place["secret"]:
        keys = secrets.read(place["secret"], settings, "private_key")
    else:
        keys = {"private_key": _key_file(place["key_file"], settings)}
    login = Login(
        place["host"],
        place["user"],
        keys["private_key"],
        _pinned(place["host_key"], keys, "host_key"),
        int(place["port"]),
    )
    jump = None
    if place["jump_host"]:
        jump = Login(
            place["jump_host"],
            place["jump_user"],
            keys.get("jump_private_key", keys["private_key"]),
            _pinned(place["jump_host_key"], keys, "jump_host_key"),
            int(place["jump_port"]),
        )
    with connect(login, jump=jump) as client:
        yield _Machine(client, place["user"])


def _pinned(named: str, keys: dict[str, str], name: str) -> str:
    host_key = named or keys.get(name, "")
    if not host_key:
        raise Refused("missing_id", f"neither the metadata nor the secret has the {name.replace('_', ' ')} to pin")
    return host_key


def _key_file(path: str, settings: Settings) -> str:
    if not path:
        raise Refused("missing_id", "metadata.ssh_key_secret or metadata.ssh_key_path is missing")
    if ".." in Path(path).parts or not settings.allows("key_file", path):
        raise Refused("credentials", f"key file {path} isn't among the allowed ones")
    try:
        return Path(path).read_text()
    except (OSError, ValueError):
        raise Refused("credentials", f"key file {path} can't be read") from None
