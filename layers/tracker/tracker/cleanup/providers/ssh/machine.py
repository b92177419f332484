"""A machine that is reached through SSH: what a record names on it, how it is logged in to, and what its commands' results mean.

Used by every type whose deployments are on one. The pinned host key says which machine it is, and only that.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import paramiko
from msgspec.structs import replace

from tracker.cleanup.core.contract import Refused, Unreachable
from tracker.cleanup.core.discovery import named_resources
from tracker.cleanup.core.kind import Kind
from tracker.cleanup.transport import secrets
from tracker.cleanup.transport.ssh import PORT, CommandResult, Login, connect, run
from tracker.model.catalogue import entry
from tracker.model.deployment import Deployment, Resource, clipped
from tracker.model.settings import Settings

# Seconds: the runtimes give a container's processes ten to end by themselves.
DELETION_TIMEOUT = 25.0
STDERR_SHOWN = 300

# The exit status of a shell and of `env`, and words of programs' errors (POSIX, "Exit Status for Commands").
_NO_SUCH_PROGRAM = 127
_NOT_PERMITTED = ("permission denied", "password is required", "authentication required", "access denied", "sudoers")
# The keys of the metadata that must be well-formed; and those of a place that are learned by reading.
_METADATA = ("ssh_host", "ssh_port", "ssh_user", "jump_host", "jump_port", "jump_user", "runtime", "namespace")
_LEARNED = ("identity", "engine", "mount")
# What makes two places the same.
_SAME_PLACE = ("host", "port", "user", "runtime", "namespace")


class Machine(NamedTuple):
    """A machine that is logged in to, and the settings that it was reached with."""

    client: paramiko.SSHClient
    user: str
    settings: Settings

    def run(self, *argv: str) -> CommandResult:
        """Run a command and return its result, whatever its exit status."""
        return run(self.client, list(argv))

    def run_deletion(self, *argv: str) -> CommandResult:
        """Run a command that ends or deletes something, which may take a while."""
        return run(self.client, list(argv), DELETION_TIMEOUT)

    def read(self, *argv: str) -> str:
        """Return the output of a command that has to succeed."""
        result = self.run(*argv)
        if result.exit:
            raise_failure(argv, result)
        return result.stdout

    def as_root(self, *argv: str) -> list[str]:
        """Return the same command with root's rights, which the user has, or gets without a password."""
        return list(argv) if self.user == "root" else ["sudo", "-n", *argv]


@contextmanager
def open_machine(place: Mapping[str, str], settings: Settings) -> Iterator[Machine]:
    """Log in to the machine of a place. Raises Refused if no setting allows its host or the key, or no host key is pinned."""
    for host in (place["host"], place["jump_host"]):
        if host and not settings.allows("host", host):
            raise Refused("bad_id", f"{host} isn't among the allowed hosts")
    if place["secret"]:
        keys = secrets.read(place["secret"], settings, "ssh", "private_key")
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
        yield Machine(client, place["user"], settings)


class MachineKind[Body](Kind[Machine, Body]):
    """One kind of thing on a machine. Nothing there carries an ownership mark: being named is ownership."""

    anchor = "host"

    def address(self, connection: Machine, resource: Resource) -> str:
        return f"{resource.place['host']}:{resource.place['port']}"

    def open(self, resource: Resource, settings: Settings) -> AbstractContextManager[Machine]:
        """Log in to the machine."""
        return open_machine(resource.place, settings)


def named_on_machine(
    deployment: Deployment, settings: Settings, stages: Mapping[str, int], kinds: Mapping[str, Kind[Any, Any]]
) -> list[Resource]:
    """Return what the record names, with what is known of each already. Raises Refused, and makes no call."""
    place = _place_of(deployment)
    named = named_resources(deployment, place, stages, kinds, settings, mains=stages)
    return [replace(each, place=each.place | _learned(deployment, each.key, place)) for each in named]


def raise_failure(argv: Sequence[str], result: CommandResult) -> NoReturn:
    """Raise what a command's failure means."""
    program = argv[2] if argv[0] == "sudo" else argv[0]
    text = f"{program}: {summary(result)}"
    if result.exit == _NO_SUCH_PROGRAM or "command not found" in result.stderr:
        raise Refused("bad_id", f"{text}; the machine lacks a program: is metadata.runtime right?")
    if any(words in result.stderr.lower() for words in _NOT_PERMITTED):
        raise Refused("credentials", text)
    raise Unreachable(text)


def summary(result: CommandResult) -> str:
    """Return a command's result in a few words."""
    return f"exit {result.exit}, {clipped(result.stderr.strip(), STDERR_SHOWN)}"


def _place_of(deployment: Deployment) -> dict[str, str]:
    """Return where the record says that it is. `assumed` are the keys that it leaves out, so that a not-found proves nothing."""
    metadata = deployment.metadata
    if not metadata.get("ssh_host") or not metadata.get("ssh_user"):
        raise Refused("missing_id", "metadata.ssh_host or metadata.ssh_user is missing")
    forms = entry(deployment.deployment_type).metadata
    for key in _METADATA:
        if metadata.get(key) and not forms[key].matches(metadata[key]):
            raise Refused("bad_id", f"metadata.{key} can't be {metadata[key]!r}")
    runtime = metadata.get("runtime", "docker")
    needed = {"containerd": ["runtime", "namespace"]}.get(runtime, ["runtime"])
    return {
        "host": metadata["ssh_host"],
        "port": metadata.get("ssh_port", str(PORT)),
        "user": metadata["ssh_user"],
        "host_key": metadata.get("ssh_host_key", ""),
        "secret": metadata.get("ssh_key_secret", ""),
        "key_file": metadata.get("ssh_key_path", ""),
        "jump_host": metadata.get("jump_host", ""),
        "jump_port": metadata.get("jump_port", str(PORT)),
        "jump_user": metadata.get("jump_user", metadata["ssh_user"]),
        "jump_host_key": metadata.get("jump_host_key", ""),
        "runtime": runtime,
        "namespace": metadata.get("namespace", "default"),
        "assumed": ", ".join(key for key in needed if key not in metadata),
    }


def _learned(deployment: Deployment, key: tuple[str, str], place: dict[str, str]) -> dict[str, str]:
    """Return what earlier reads learned, unless the record was amended to say that the resource is somewhere else."""
    learned = dict.fromkeys(_LEARNED, "")
    for known in deployment.resources:
        if all(known.place.get(part) == place[part] for part in _SAME_PLACE):
            if known.key == key:
                learned |= {name: known.place.get(name, "") for name in _LEARNED if known.place.get(name)}
            learned["engine"] = learned["engine"] or known.place.get("engine", "")
    return learned


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
