"""A machine that is reached through SSH: what a record names on it, the way there, and what its commands answer.

Used by every type whose deployments are on one. It is the machine that shows the pinned host key, and only that.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

import paramiko

from tracker.catalogue import entry
from tracker.cleanup import secrets
from tracker.cleanup.contract import Refused, Unreachable
from tracker.cleanup.ssh_connection import PORT, Answer, Login, connect, run
from tracker.deployment import Deployment, Resource, clipped, ids_named
from tracker.settings import Settings

# Seconds: the runtimes give a container's processes ten to end by themselves.
DELETION_TIMEOUT = 25.0
STDERR_SHOWN = 300

# What a shell and `env` answer, and what programs say (POSIX, "Exit Status for Commands").
_NO_SUCH_PROGRAM = 127
_NOT_PERMITTED = ("permission denied", "password is required", "authentication required", "access denied", "sudoers")
# Of a place's keys those that the record must say rightly, and those that an earlier look learned.
_SAID = ("ssh_host", "ssh_port", "ssh_user", "jump_host", "jump_port", "jump_user", "runtime", "namespace")
_LEARNED = ("identity", "engine", "mount")
_SAME_PLACE = ("host", "port", "user", "runtime", "namespace")


def named(deployment: Deployment, settings: Settings, stages: Mapping[str, int]) -> list[Resource]:
    """What the record names, with what is known of it; `stages` by the key of `resource_ids`. Refused before any call."""
    type_ = entry(deployment.deployment_type)
    place = _place(deployment)
    found = []
    for key, stage in stages.items():
        form = type_.ids[key]
        for name in ids_named(deployment, key):
            if not form.matches(name):
                raise Refused("bad_id", f"{name!r} can't be the {form.kind} of a deployment")
            if form.guard and not settings.allows(form.guard, name):
                raise Refused("bad_id", f"{form.guard} {name} isn't among the allowed ones")
            if form.kind == "ssh:container" and place["runtime"] == "systemd":
                raise Refused("bad_id", f"runtime systemd has no containers, so {name} can't be one of its")
            learned = _learned(deployment, (form.kind, name), place)
            found.append(Resource(form.kind, name, place | learned, stage=stage, named_by=key))
    if not found:
        raise Refused("missing_id", f"none of resource_ids.{', '.join(stages)} is there")
    return found


class Machine(NamedTuple):
    """A machine that is logged in to."""

    client: paramiko.SSHClient
    user: str

    def run(self, *argv: str) -> Answer:
        return run(self.client, list(argv))

    def ask(self, *argv: str) -> Answer:
        """Run what may take a while, for something has to end by it."""
        return run(self.client, list(argv), DELETION_TIMEOUT)

    def read(self, *argv: str) -> str:
        """What a command prints that has to succeed."""
        answer = self.run(*argv)
        if answer.exit:
            complain(argv, answer)
        return answer.stdout

    def as_root(self, *argv: str) -> list[str]:
        """The same command with root's rights, which are there already or without a password."""
        return list(argv) if self.user == "root" else ["sudo", "-n", *argv]


@contextmanager
def reached(place: dict[str, str], settings: Settings) -> Iterator[Machine]:
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
        yield Machine(client, place["user"])


def complain(argv: Sequence[str], answer: Answer) -> NoReturn:
    """Raise what a command's failure means."""
    program = argv[2] if argv[0] == "sudo" else argv[0]
    text = f"{program}: {said(answer)}"
    if answer.exit == _NO_SUCH_PROGRAM or "command not found" in answer.stderr:
        raise Refused("bad_id", f"{text}; the machine lacks a program: is metadata.runtime right?")
    if any(words in answer.stderr.lower() for words in _NOT_PERMITTED):
        raise Refused("credentials", text)
    raise Unreachable(text)


def said(answer: Answer) -> str:
    """A command's answer in a few words."""
    return f"exit {answer.exit}, {clipped(answer.stderr.strip(), STDERR_SHOWN)}"


def _place(deployment: Deployment) -> dict[str, str]:
    """Where the record says that it is. `assumed` says what it doesn't, so that a not-found there proves nothing."""
    said = deployment.metadata
    if not said.get("ssh_host") or not said.get("ssh_user"):
        raise Refused("missing_id", "metadata.ssh_host or metadata.ssh_user is missing")
    forms = entry(deployment.deployment_type).metadata
    for key in _SAID:
        if said.get(key) and not forms[key].matches(said[key]):
            raise Refused("bad_id", f"metadata.{key} can't be {said[key]!r}")
    runtime = said.get("runtime", "docker")
    needed = {"containerd": ["runtime", "namespace"]}.get(runtime, ["runtime"])
    return {
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


def _learned(deployment: Deployment, key: tuple[str, str], place: dict[str, str]) -> dict[str, str]:
    """What an earlier look learned, unless the record was amended to say that it is somewhere else."""
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
