"""BareMetal: containers, services and installed files on a machine of one's own; the machine itself stays.

Containers and services go as with SshRemote, and the files after them. A file or folder is what has its path, whoever made
it: a new version of it has another inode and is the deployment's still. So its path alone decides, as the machine
resolves it, and only below what the settings allow; a link goes itself, never what it leads to.
"""

import re
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from msgspec.structs import replace

from tracker.cleanup.core.contract import Observation, OperatorNotes, Progress, Refused, ResourceKind, Unreachable
from tracker.cleanup.core.kind import Gone, Kind
from tracker.cleanup.providers.ssh import remote
from tracker.cleanup.providers.ssh.machine import Machine, MachineKind, named_on_machine, raise_failure
from tracker.model.catalogue import entry
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

# Folders that a system can't be without, whatever the settings allow: file-hierarchy(7), and where runtimes and package
# managers keep their state.
_SYSTEM = re.compile(
    r"/(?:bin|boot|dev|lib(?:32|64|x32)?|proc|sbin|sys)(?:/.*)?"
    r"|/usr(?!/local/[^/]+/)(?:/.*)?"
    r"|/(?:etc|run|var/lib)/(?:systemd|dbus(?:-1)?|ssh|ssl|pam\.d|apt|dpkg|rpm|docker|containers|containerd)(?:/.*)?"
)


class Found(NamedTuple):
    """A file: its type, its path as the machine resolves it, and where its file system is mounted."""

    type: str
    path: str
    mount: str


class File(MachineKind[Found]):
    """A file, a folder with all that is in it, or a link."""

    reuses_ids = True
    noun = "file"
    form = entry("BareMetal").ids["file"].pattern
    guard = "file"

    def read(self, connection: Machine, resource: Resource) -> Found:
        """Return what has this path on the machine. Raises Gone; Refused if it isn't where it may be removed."""
        path = PurePosixPath(resource.id)
        _check_allowed(resource.id, connection.settings)
        realpath = connection.as_root("realpath", "--canonicalize-missing", "--", str(path.parent))
        resolved = str(PurePosixPath(connection.read(*realpath).strip(), path.name))
        _check_allowed(resolved, connection.settings)
        stat = connection.as_root("stat", "--printf=%F|%m", "--")
        result = connection.run(*stat, resolved)
        if result.exit == 0:
            type_, separator, mount = result.stdout.partition("|")
            if not separator or not mount.startswith("/"):
                raise Unreachable(f"stat {resolved}: not to be read")
            return Found(type_, resolved, mount)
        not_found = rf"'{re.escape(resolved)}': (?:No such file or directory|Not a directory)$"
        if not re.search(not_found, result.stderr.strip()):
            raise_failure(stat, result)
        mount = resource.place.get("mount", "")
        if mount and connection.read(*connection.as_root("stat", "--printf=%m", "--", mount)) != mount:
            raise Unreachable(f"{resolved} was on what is mounted at {mount}, and nothing is now")
        raise Gone(f"stat {resource.id}: no such file")

    def progress(self, body: Found) -> tuple[Progress, str]:
        return "present", body.type

    def observe(self, connection: Machine, resource: Resource, body: Found) -> Observation:
        """Say what was read, and where its file system is mounted: a not-found counts only while it is."""
        return replace(super().observe(connection, resource, body), place={"mount": body.mount})

    def protection(self, connection: Machine, resource: Resource, body: Found) -> str:
        use = _use_of(connection, body.path)
        return f"{body.path} isn't removed: {use}" if use else ""

    def request_deletion(self, connection: Machine, resource: Resource, body: Found) -> None:
        rm = connection.as_root("rm", "--recursive", "--force", "--one-file-system", "--", body.path)
        result = connection.run_deletion(*rm)
        if "Operation not permitted" in result.stderr:
            raise Refused("protected", f"{body.path} is immutable (chattr), or something in it is")
        if result.exit:
            raise_failure(rm, result)


_KINDS: dict[str, Kind[Any, Any]] = {**remote.MACHINE_KINDS, "ssh:file": File()}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
# What still runs uses its files.
_STAGES = {**remote.STAGES, "ssh:file": 1}

NOTES = OperatorNotes(
    credentials=remote.NOTES.credentials,
    permissions=(*remote.NOTES.permissions, "files: root, or sudo without a password for realpath, stat and rm"),
    order=(*remote.NOTES.order, "files"),
    gone=(
        f"{remote.NOTES.gone} A file: `stat` says that there is none of its path, while the file system that it was seen on is "
        "mounted."
    ),
    duration=f"{remote.NOTES.duration} A large folder may take several attempts.",
    limits=(
        f"{remote.NOTES.limits} A file's identity is its path: nobody else may be able to write in the folders above it. A "
        "link is removed, not what it leads to. Refused are paths that the machine resolves to what the setting "
        "AllowedFiles doesn't allow, the system's own folders, the homes of its accounts, and whatever has something mounted "
        "on or below it. The machine needs GNU coreutils."
    ),
    sources=f"{remote.NOTES.sources} GNU coreutils' manual (realpath, stat, rm); file-hierarchy(7).",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names."""
    return named_on_machine(deployment, settings, _STAGES, _KINDS)


def _check_allowed(path: str, settings: Settings) -> None:
    """Raise Refused if a path, as written or as resolved, isn't one that may be removed."""
    if not re.fullmatch(File.form, path, re.ASCII) or not settings.allows("file", path):
        raise Refused("bad_id", f"{path} isn't among the allowed files")
    if _SYSTEM.fullmatch(path):
        raise Refused("protected", f"{path} is the system's own")


def _use_of(machine: Machine, path: str) -> str:
    """Return what is mounted, or has its home, at a path or below it; empty if nothing is."""
    mounts = machine.read("cut", "--delimiter= ", "--fields=5", "/proc/self/mountinfo").splitlines()
    if not mounts:
        raise Unreachable("/proc/self/mountinfo doesn't say what is mounted")
    homes = machine.read("cut", "--delimiter=:", "--fields=6", "/etc/passwd").splitlines()
    for used, how in ((mounts, "something is mounted at"), (homes, "an account has its home at")):
        inside = next((each for each in used if each.rstrip("/") == path or each.startswith(f"{path}/")), None)
        if inside is not None:
            return f"{how} {inside}"
    return ""
