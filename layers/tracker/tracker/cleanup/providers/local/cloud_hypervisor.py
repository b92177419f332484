"""Cloud Hypervisor's API, as far as it ends a VM: HTTP on a Unix socket, whose permissions are its only credential.

Used by `virtual_machine`. The status of a failure differs between releases, and from their own document: so what became of
the VM is read, not concluded from it.
"""

import re
import socket
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

import msgspec

from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.model.deployment import clipped

# Seconds: for the answer to a read, and to an action.
TIMEOUT = 10.0
ACTION_TIMEOUT = 20.0
ANSWER_MAX = 8 * 1024 * 1024
ERROR_TEXT_MAX = 300


class NobodyListensError(Exception):
    """There is no socket, or nobody listens on it: the kernel's own answer."""


class CutError(Unreachable):
    """The connection ended before the answer was complete."""


class Disk(msgspec.Struct):
    """A disk of a VM's configuration; one of another process's (vhost-user) has no path."""

    path: str | None = None
    readonly: bool = False


class Net(msgspec.Struct):
    """A network device, with the tap that it was told to use."""

    tap: str | None = None


class Config(msgspec.Struct):
    """The parts of a VM's configuration that may have to go with it."""

    disks: list[Disk] | None = None
    net: list[Net] | None = None


class Vm(msgspec.Struct):
    """The answer to `vm.info`."""

    state: str
    config: Config

    @property
    def is_off(self) -> bool:
        """Return whether it was shut down, after which it is as before its first boot."""
        return self.state in ("Created", "Shutdown")


class _Ping(msgspec.Struct):
    pid: int


def ping(path: str) -> str:
    """Return the pid that the VMM says it has. Raises NobodyListensError."""
    status, raw = _call(path, "GET", "vmm.ping")
    if status != HTTPStatus.OK:
        raise Unreachable(_failure(path, "GET", "vmm.ping", status, raw))
    return str(_decoded(raw, _Ping, path).pid)


def info(path: str) -> Vm | None:
    """Return the VM, None if the VMM has none."""
    status, raw = _call(path, "GET", "vm.info")
    is_older = status == HTTPStatus.INTERNAL_SERVER_ERROR and re.search(rb"not ?created", raw, re.IGNORECASE)
    if status == HTTPStatus.NOT_FOUND or is_older:
        return None
    if status != HTTPStatus.OK:
        raise Unreachable(_failure(path, "GET", "vm.info", status, raw))
    return _decoded(raw, Vm, path)


def act(path: str, action: str, before: Vm | None) -> None:
    """Request `vm.shutdown`, `vm.delete` or `vmm.shutdown`; that it was done already is success. `before` is the VM as last read."""
    status, raw = _call(path, "PUT", action)
    if status in (HTTPStatus.OK, HTTPStatus.NO_CONTENT):
        return
    text = _failure(path, "PUT", action, status, raw)
    if re.search(rb"migrat", raw, re.IGNORECASE):
        raise Busy(text)
    now = info(path)
    if (now and now.state) == (before and before.state):
        raise Unreachable(text)


class _Connection(HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _call(path: str, method: str, name: str) -> tuple[int, bytes]:
    """Return status and body of an answer, read to its end."""
    asked = f"{method} {name} at {path}"
    with closing(_Connection(path, TIMEOUT if method == "GET" else ACTION_TIMEOUT)) as connection:
        try:
            connection.request(method, f"/api/v1/{name}")
            response = connection.getresponse()
            if response.length is None or response.length > ANSWER_MAX:
                raise Unreachable(f"{asked}: {response.status}, and not of a length that can be read")
            return response.status, response.read()
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NobodyListensError(f"connect {path}: {error.strerror}") from None
        except PermissionError:
            raise Refused("credentials", f"this user may not connect to {path}") from None
        except TimeoutError:
            raise Unreachable(f"{asked}: no answer in time") from None
        except (OSError, HTTPException) as error:
            raise CutError(f"{asked}: {type(error).__name__}") from None


def _decoded[T](raw: bytes, type_: type[T], path: str) -> T:
    try:
        return msgspec.json.decode(raw, type=type_)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Unreachable(f"{path}: the answer isn't Cloud Hypervisor's ({error})") from None


def _failure(path: str, method: str, name: str, status: int, raw: bytes) -> str:
    return f"{method} {name} at {path}: {status} {clipped(raw.decode(errors='replace'), ERROR_TEXT_MAX)}"
