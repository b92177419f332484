"""BareMetal: containers, services and installed files on a machine of one's own; the machine itself stays.

Containers and services go as with SshRemote, and the files after them. A file or folder is what has its path, whoever made
it: a new version of it has another inode and is the deployment's still. So its path alone decides, as the machine
resolves it, and only below what the settings allow; a link goes itself, never what it leads to.
"""

import re
from pathlib import PurePosixPath
from typing import NamedTuple

from tracker.catalogue import entry
from tracker.cleanup.contract import Facts, Kind, Look, Refused, Unreachable
from tracker.cleanup.ssh import remote
from tracker.cleanup.ssh.machine import Machine, complain, named, reached
from tracker.deployment import Deployment, Resource
from tracker.settings import Settings

# Folders that a system can't be without, whatever the settings allow: file-hierarchy(7), and where runtimes and package
# managers keep their state.
_SYSTEM = re.compile(
    r"/(?:bin|boot|dev|lib(?:32|64|x32)?|proc|sbin|sys)(?:/.*)?"
    r"|/usr(?!/local/[^/]+/)(?:/.*)?"
    r"|/(?:etc|run|var/lib)/(?:systemd|dbus(?:-1)?|ssh|ssl|pam\.d|apt|dpkg|rpm|docker|containers|containerd)(?:/.*)?"
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """What the record names."""
    return named(deployment, settings, STAGES)


class _Found(NamedTuple):
    """What has a path: what sort of file it is, where it really is, and where the file system that it is on is mounted."""

    sort: str
    path: str
    mount: str


class _File:
    """A file, a folder with all that is in it, or a link."""

    one_at_a_time = False

    def state(self, resource: Resource, settings: Settings) -> Look:
        with reached(resource.place, settings) as machine:
            found = _find(machine, resource, settings)
        if found is None:
            return Look("gone", proof=f"stat {resource.id}: no such file")
        return Look("present", detail=found.sort, place={"mount": found.mount})

    def delete(self, resource: Resource, settings: Settings) -> None:
        with reached(resource.place, settings) as machine:
            found = _find(machine, resource, settings)
            if found is None:
                return
            _must_be_unused(machine, found.path)
            rm = machine.as_root("rm", "--recursive", "--force", "--one-file-system", "--", found.path)
            answer = machine.ask(*rm)
            if "Operation not permitted" in answer.stderr:
                raise Refused("protected", f"{found.path} is immutable (chattr), or something in it is")
            if answer.exit:
                complain(rm, answer)


KINDS: dict[str, Kind] = {**remote.KINDS, "ssh:file": _File()}
# What still runs uses its files.
STAGES = {**remote.STAGES, "file": 1}

FACTS = Facts(
    credentials=remote.FACTS.credentials,
    permissions=(*remote.FACTS.permissions, "files: root, or sudo without a password for realpath, stat and rm"),
    order=(*remote.FACTS.order, "files"),
    gone=(
        f"{remote.FACTS.gone} A file: `stat` says that there is none of its path, while the file system that it was seen on is "
        "mounted."
    ),
    duration=f"{remote.FACTS.duration} A large folder may take several attempts.",
    limits=(
        f"{remote.FACTS.limits} A file's identity is its path: nobody else may be able to write in the folders above it. A "
        "link is removed, not what it leads to. Refused are paths that the machine resolves to what the setting "
        "AllowedFiles doesn't allow, the system's own folders, the homes of its accounts, and whatever has something mounted "
        "on or below it. The machine needs GNU coreutils."
    ),
    sources=f"{remote.FACTS.sources} GNU coreutils' manual (realpath, stat, rm); file-hierarchy(7).",
)


def _find(machine: Machine, resource: Resource, settings: Settings) -> _Found | None:
    """What has this path on the machine, None if nothing has. Refused, if it isn't where it may be removed."""
    path = PurePosixPath(resource.id)
    _must_be_allowed(resource.id, settings)
    folder = machine.read(*machine.as_root("realpath", "--canonicalize-missing", "--", str(path.parent))).strip()
    where = str(PurePosixPath(folder, path.name))
    _must_be_allowed(where, settings)
    stat = machine.as_root("stat", "--printf=%F|%m", "--")
    answer = machine.run(*stat, where)
    if answer.exit == 0:
        sort, separator, mount = answer.stdout.partition("|")
        if not separator or not mount.startswith("/"):
            raise Unreachable(f"stat {where}: not to be read")
        return _Found(sort, where, mount)
    if not re.search(rf"'{re.escape(where)}': (?:No such file or directory|Not a directory)$", answer.stderr.strip()):
        complain(stat, answer)
    mount = resource.place.get("mount", "")
    if mount and machine.read(*machine.as_root("stat", "--printf=%m", "--", mount)) != mount:
        raise Unreachable(f"{where} was on what is mounted at {mount}, and nothing is now")
    return None


def _must_be_allowed(path: str, settings: Settings) -> None:
    if not entry("BareMetal").ids["file"].matches(path) or not settings.allows("file", path):
        raise Refused("bad_id", f"{path} isn't among the allowed files")
    if _SYSTEM.fullmatch(path):
        raise Refused("protected", f"{path} is the system's own")


def _must_be_unused(machine: Machine, path: str) -> None:
    """Refused, if something is mounted there, or an account has its home there."""
    mounts = machine.read("cut", "--delimiter= ", "--fields=5", "/proc/self/mountinfo").splitlines()
    if not mounts:
        raise Unreachable("/proc/self/mountinfo doesn't say what is mounted")
    homes = machine.read("cut", "--delimiter=:", "--fields=6", "/etc/passwd").splitlines()
    for used, how in ((mounts, "something is mounted at"), (homes, "an account has its home at")):
        inside = next((each for each in used if each.rstrip("/") == path or each.startswith(f"{path}/")), None)
        if inside is not None:
            raise Refused("protected", f"{path} isn't removed: {how} {inside}")
