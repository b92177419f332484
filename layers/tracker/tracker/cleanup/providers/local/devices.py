"""Disk images and tap devices of a VM on this machine.

A path or a name alone doesn't say what it means now. So an image is remembered by its inode, a device by its interface index, and another
one is let alone.
"""

import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from errno import EACCES, EBUSY, ENOENT, EPERM
from pathlib import Path
from typing import NamedTuple

from tracker.cleanup.core.contract import Busy, Observation, Progress, Refused, Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.local.machine import File, MachineKind, check_boot, file_at, users_of
from tracker.model.catalogue import entry
from tracker.model.deployment import Resource
from tracker.model.settings import Settings

_IDS = entry("LocalHypervisor").ids
_INTERFACES = Path("/sys/class/net")
# linux/if_tun.h
_TUN = "/dev/net/tun"
_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_IFF_PERSIST = 0x0800


class Disk(MachineKind[File, os.stat_result]):
    """An image: a regular file, which is deleted when no process has it open."""

    noun = "disk image"
    form = _IDS["disk_image"].pattern
    guard = _IDS["disk_image"].guard

    def open(self, resource: Resource, settings: Settings) -> AbstractContextManager[File]:
        return file_at(resource.id)

    def read(self, connection: File, resource: Resource) -> os.stat_result:
        file, place = connection, resource.place
        if file.folder is None:
            raise Gone(f"the folder of {file.path} isn't there, its file system may not be mounted")
        if file.status is None:
            if place.get("device", file.device) != file.device:
                text = f"{file.path} was on another file system than the one that is mounted there now"
                raise Refused("unproven", text)
            raise Gone(f"stat {file.path}: its folder holds no such file")
        if not stat.S_ISREG(file.status.st_mode):
            raise Refused("bad_id", f"{file.path} isn't a regular file")
        inode = str(file.status.st_ino)
        if place.get("inode", inode) != inode:
            raise Refused("not_ours", f"{file.path} is another file than the one that was there")
        return file.status

    def progress(self, body: os.stat_result) -> tuple[Progress, str]:
        return "present", f"{body.st_size} bytes"

    def identity(self, body: os.stat_result) -> dict[str, str]:
        return {"inode": str(body.st_ino)}

    def location(self, connection: File) -> dict[str, str]:
        return {"device": connection.device}

    def observe_absence(self, connection: File, resource: Resource, gone: Gone) -> Observation:
        return Observation("gone", proof=str(gone), unproven=connection.folder is None)

    def request_deletion(self, connection: File, resource: Resource, body: os.stat_result) -> None:
        users = users_of(resource.id)
        if users:
            raise Busy(f"process {users[0]} has it open")
        # Looking for its users took a while.
        with file_at(resource.id) as file:
            if file.status and file.status.st_ino == body.st_ino:
                file.remove()


class Interface(NamedTuple):
    """A tap device: its index, and the flags of `tun_flags`."""

    ifindex: str
    flags: int

    @property
    def is_persistent(self) -> bool:
        return bool(self.flags & _IFF_PERSIST)


class Tap(MachineKind[Path, Interface]):
    """A tap device of this network namespace: it is gone when it isn't persistent, and no process has it open."""

    noun = "tap device"
    form = _IDS["tap_device"].pattern
    guard = _IDS["tap_device"].guard

    @contextmanager
    def open(self, resource: Resource, settings: Settings) -> Iterator[Path]:
        check_boot(resource.place)
        if not _INTERFACES.is_dir():
            raise Unreachable(f"{_INTERFACES} isn't there")
        yield _INTERFACES / resource.id

    def read(self, connection: Path, resource: Resource) -> Interface:
        try:
            index = (connection / "ifindex").read_text().strip()
            flags = _flags(connection)
        except FileNotFoundError:
            raise Gone(f"{connection}: no such interface") from None
        known = resource.place.get("ifindex") or index
        if index != known:
            raise Gone(f"{connection}: another interface, with index {index}, not {known}")
        return Interface(index, flags)

    def progress(self, body: Interface) -> tuple[Progress, str]:
        return "present", "persistent" if body.is_persistent else "open"

    def identity(self, body: Interface) -> dict[str, str]:
        return {"ifindex": body.ifindex}

    def request_deletion(self, connection: Path, resource: Resource, body: Interface) -> None:
        """Make the device not persistent, after which it goes with the last process that has it open."""
        if not body.is_persistent:
            raise Busy("a process has it open, with whose end it goes")
        try:
            tun = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", resource.id.encode(), body.flags & ~_IFF_PERSIST))
                fcntl.ioctl(tun, _TUNSETPERSIST, 0)
            finally:
                os.close(tun)
        except OSError as error:
            if error.errno == EBUSY:
                raise Busy("a process has it open") from None
            if error.errno in (EPERM, EACCES, ENOENT):
                raise Refused("credentials", f"{_TUN}: {error.strerror}") from None
            raise


def _flags(interface: Path) -> int:
    """Return the flags of a tap device. Raises Refused for another interface, FileNotFoundError if there is none."""
    try:
        return int((interface / "tun_flags").read_text(), 16)
    except FileNotFoundError:
        if interface.exists():
            raise Refused("bad_id", f"{interface.name} isn't a tap device") from None
        raise
