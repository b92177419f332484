"""Processes on loopback that outlive the command that started them, and are ended by their id alone.

A pid is believed only together with the moment at which the kernel says that it started: a stale file can't end
somebody else's process. Used by the stack and whoever needs one more server beside it.
"""

import errno
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

GRACE = 20.0

# Seconds after which what should come is given up: a wait ends as soon as it comes, so only what never comes takes them all.
# More than the 360 that a message stays hidden whose function had no worker.
PATIENCE = 600.0

# Ports that Linux gives to no client: its own begin at 32768 (ip_local_port_range).
OURS = range(10_240, 32_766)
# TCP_LISTEN, as /proc/net/tcp spells it.
LISTEN = "0A"


class LocalError(Exception):
    """Something of the local stack doesn't work; the text says what to look at."""


class Process(msgspec.Struct, frozen=True):
    """One process that we started, leader of its own group. `started` is in the kernel's ticks since boot."""

    name: str
    pid: int
    started: int
    log: str

    def is_running(self) -> bool:
        """Return whether it is still the one that we started."""
        return _started(self.pid) == self.started

    def listens_on(self, port: int) -> bool:
        """Return whether it runs and is itself the one that accepts connections on that TCP port."""
        return self.is_running() and not _sockets_of(self.pid).isdisjoint(_listening_on(port))

    def stop(self, grace: float = GRACE) -> None:
        """End it and what it started: asked first, killed after `grace` seconds."""
        if not self.is_running():
            return
        os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while self.is_running() and time.monotonic() < deadline:
            time.sleep(0.05)
        # The number isn't given again while one of the group lives: who has it now is ours, or nobody.
        if self.is_running() or _started(self.pid) is None:
            _kill_group(self.pid)


def launch(name: str, command: Sequence[str | Path], *, env: Mapping[str, str], log: Path, cwd: Path) -> Process:
    """Start one in a session of its own, so that Ctrl-C reaches only us, and its log in a file."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started = _started(child.pid)
    if started is None:
        raise LocalError(f"{name} ended at once: see {log}")
    # Reaped by `_started`, or by init once we are gone.
    child.returncode = 0
    return Process(name=name, pid=child.pid, started=started, log=str(log))


def wait_until(ready: Callable[[], bool], process: Process, seconds: float = PATIENCE) -> None:
    """Wait for a process to serve. LocalError, with the end of its log, if it ends or takes too long."""
    deadline = time.monotonic() + seconds
    while not ready():
        if not process.is_running() or time.monotonic() > deadline:
            ended = "doesn't answer" if process.is_running() else "ended"
            raise LocalError(f"{process.name} {ended}:\n{tail(Path(process.log))}")
        time.sleep(0.05)


def answers(url: str) -> bool:
    """Return whether something there answers a GET with success."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as answer:
            return bool(answer.status < 400)  # noqa: PLR2004 - HTTP's own line
    except OSError:
        return False


def listens(path: str) -> bool:
    """Return whether something accepts connections on a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


def free_port(host: str = "127.0.0.1") -> int:
    """A port of that address that nothing listens on."""
    with socket.socket() as probe:
        _bind(probe, host, 0)
        return int(probe.getsockname()[1])


def free_port_pair(host: str = "127.0.0.1") -> int:
    """Return a port of that address that nothing listens on, nor on the next one.

    The kernel gives neither to a client meanwhile: of those that it gives, one that is free now may be a connection's by the time
    that a server wants it.
    """
    while True:
        port = secrets.choice(OURS)
        if is_free(host, port) and is_free(host, port + 1):
            return port


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen there. LocalError if that address isn't this machine's, or the port not ours to take."""
    with socket.socket() as probe:
        # A container's published port may be led on by the kernel, with nothing that listens: so it is called first.
        probe.settimeout(1)
        if probe.connect_ex((host, port)) == 0:
            return False
    with socket.socket() as probe:
        # As servers do: connections that have just ended don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return _bind(probe, host, port)


def _bind(probe: socket.socket, host: str, port: int) -> bool:
    try:
        probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise LocalError(f"can't listen on {host}, port {port}: {error.strerror}") from error
    return True


def tail(log: Path, lines: int = 20) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _started(pid: int) -> int | None:
    """Return when a process started, None if there is none (a zombie is none)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may hold anything: what is of interest comes after it, from field 3 on.
    state, *rest = text.rpartition(")")[2].split()
    if state == "Z":
        _reap(pid)
        return None
    return int(rest[18])


def _sockets_of(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    found = set()
    for file in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            target = str(file.readlink())
        except OSError:
            # Closed meanwhile.
            continue
        if target.startswith("socket:["):
            found.add(target[len("socket:[") : -1])
    return found


def _listening_on(port: int) -> set[str]:
    """The inodes of the sockets that accept connections on a TCP port, at any address."""
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        # The first line is the head. Fields: slot, local address, remote address, state ..., and the inode as the tenth.
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            _, local, _, state, *rest = line.split()
            if state == LISTEN and int(local.rpartition(":")[2], 16) == port:
                found.add(rest[5])
    return found


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        # Somebody else's child: theirs to reap.
        return


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
