"""This machine's processes and files, for the types that remove them: what tells one apart from another of its number or path.

A number comes to mean another process, a path another file. So a process is held by a handle (pidfd) while it is read
and signalled, and a file's folder is open while the file is read and removed.
"""

import os
import re
import select
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EINVAL, ELOOP, ENOENT, ENOTDIR, ESRCH
from pathlib import Path, PurePosixPath

from tracker.cleanup.core.contract import Refused
from tracker.cleanup.core.kind import Kind, PlaceGone
from tracker.model.deployment import Resource
from tracker.model.settings import Settings

PROC = Path("/proc")


class MachineKind[Connection, Body](Kind[Connection, Body]):
    """One kind of thing on this machine, whose place names the machine (`host`) and its boot (`boot_id`)."""

    anchor = "boot_id"

    def check_id(self, resource: Resource, settings: Settings) -> None:
        """Raise Refused if the id can't be one, may not be removed, or is of another machine."""
        super().check_id(resource, settings)
        here = settings.local_place.host if settings.local_place else ""
        host = resource.place.get("host")
        if not host or not resource.place.get("boot_id"):
            raise Refused("unproven", "metadata.host and metadata.boot_id don't say which machine it is on")
        if host != here:
            raise Refused("not_ours", f"it is on {host}, and this is {here or 'a stack without a machine'}")


def check_boot(place: Mapping[str, str]) -> None:
    """Raise PlaceGone if the machine was booted again since: no process and no device outlives that."""
    if is_rebooted(place):
        raise PlaceGone(f"boot_id: the machine was booted again since {place['boot_id']}")


def is_rebooted(place: Mapping[str, str]) -> bool:
    """Return whether the machine was booted again since the boot that a place names."""
    return place["boot_id"] != (PROC / "sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class Process:
    """A process that exists. `started` is in clock ticks since boot.

    `executable` is None if this user may not see it, and empty when the process is ending: its memory goes first.
    """

    handle: int
    pid: str
    started: str
    executable: str | None
    arguments: tuple[str, ...]

    def differs(self, known: Mapping[str, str]) -> str:
        """Return which of `pid`, `started` and `executable` differs from what is known; empty if none. Raises Refused if it is hidden."""
        for key in ("pid", "started", "executable"):
            value, now = known.get(key), getattr(self, key)
            if value and now is None:
                raise Refused("credentials", f"this user may not see the {key} of process {self.pid}")
            if value and now and now != value:
                return f"has {key} {now}, not {value}"
        return ""

    def names(self, path: str) -> bool:
        """Return whether its command line names a path: `/x`, `path=/x`, `unix:/x`."""
        return bool(path) and any(re.search(rf"(^|[=:,]){re.escape(path)}($|,)", each) for each in self.arguments)

    def send(self, number: signal.Signals) -> None:
        """Signal this process, and no other; that it is gone already is success."""
        try:
            signal.pidfd_send_signal(self.handle, number)
        except ProcessLookupError:
            return
        except PermissionError:
            raise Refused("credentials", f"this user may not signal process {self.pid}") from None


@contextmanager
def process_of(pid: str) -> Iterator[Process | None]:
    """Open the process of a number; None if there is none, or if it has ended and only waits for its parent."""
    handle = _handle(pid)
    if handle is None:
        yield None
        return
    try:
        yield _read(pid, handle)
    finally:
        os.close(handle)


def ourselves() -> set[str]:
    """Return the pids of this process, and of those that it is a descendant of."""
    found: set[str] = set()
    pid = str(os.getpid())
    while pid != "0" and pid not in found:
        found.add(pid)
        pid = _stat(pid)[1]
    return found


def users_of(path: str) -> list[str]:
    """Return the pids of the processes that have a file open, as far as this user may see it."""
    found = []
    for process in PROC.iterdir():
        if process.name.isdecimal():
            # One that isn't this user's, or that ends meanwhile.
            with suppress(OSError):
                if any(_target(each) == path for each in (process / "fd").iterdir()):
                    found.append(process.name)
    return found


def _handle(pid: str) -> int | None:
    try:
        return os.pidfd_open(int(pid))
    except OSError as error:
        # The last two: it is the number of a thread.
        if error.errno in (ESRCH, EINVAL, ENOENT):
            return None
        raise


def _read(pid: str, handle: int) -> Process | None:
    """Return what /proc says of the process of this handle, None if it ended before that was read."""
    found = None
    with suppress(FileNotFoundError, ProcessLookupError):
        arguments = (PROC / pid / "cmdline").read_bytes().decode(errors="replace").split("\0")
        found = Process(handle, pid, _stat(pid)[19], _executable(pid), tuple(arguments))
    if select.select([handle], [], [], 0)[0]:
        return None
    if found is None:
        raise Refused("credentials", f"/proc doesn't show process {pid} to this user")
    return found


def _stat(pid: str) -> list[str]:
    """Return the fields of /proc/<pid>/stat after the name, which may hold anything: state, parent, and at 19 the start time."""
    return (PROC / pid / "stat").read_bytes().rpartition(b")")[2].decode().split()


def _executable(pid: str) -> str | None:
    try:
        return str((PROC / pid / "exe").readlink()).removesuffix(" (deleted)")
    except FileNotFoundError:
        return ""
    except PermissionError:
        return None


def _target(link: Path) -> str:
    with suppress(OSError):
        return str(link.readlink())
    return ""


@dataclass(frozen=True)
class File:
    """A name in a folder that is held open; `folder` is None if that isn't there, `status` if the file isn't."""

    path: str
    folder: int | None
    status: os.stat_result | None

    @property
    def device(self) -> str:
        """The number of the file system that its folder is on."""
        return "" if self.folder is None else str(os.fstat(self.folder).st_dev)

    def remove(self) -> None:
        """Remove the file; that it is gone already is success."""
        try:
            os.unlink(PurePosixPath(self.path).name, dir_fd=self.folder)
        except FileNotFoundError:
            return
        except PermissionError:
            raise Refused("credentials", f"this user may not remove {self.path}") from None


@contextmanager
def file_at(path: str) -> Iterator[File]:
    """Open the folder of an absolute path. Raises Refused if a symbolic link is on the way: the path alone says what may be removed."""
    try:
        folder = _folder(PurePosixPath(path))
    except PermissionError:
        raise Refused("credentials", f"this user may not look at {path}") from None
    except OSError as error:
        if error.errno in (ENOTDIR, ELOOP):
            raise Refused("bad_id", f"{path} leads through a symbolic link, or what isn't a folder") from None
        raise
    if folder is None:
        yield File(path, None, None)
        return
    try:
        status = None
        with suppress(FileNotFoundError):
            status = os.stat(PurePosixPath(path).name, dir_fd=folder, follow_symlinks=False)
        yield File(path, folder, status)
    finally:
        os.close(folder)


def _folder(path: PurePosixPath) -> int | None:
    """Open the folder of a path, step by step; None if it isn't there."""
    how = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open("/", how)
    for name in path.parts[1:-1]:
        try:
            inner = os.open(name, how, dir_fd=folder)
        except FileNotFoundError:
            return None
        finally:
            os.close(folder)
        folder = inner
    return folder
