"""Processes on loopback that outlive the command that started them, and are ended by their id alone.

A pid is believed only together with the moment at which the kernel says that it started: a stale file can't end
somebody else's process. Used by the stack and whoever needs one more server beside it.
"""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

GRACE = 20.0


class LocalError(Exception):
    """Something of the local stack doesn't work; the text says what to look at."""


class Process(msgspec.Struct, frozen=True):
    """One process that we started, leader of its own group. `started` is in the kernel's ticks since boot."""

    name: str
    pid: int
    started: int
    log: str

    def is_running(self) -> bool:
        """Whether it is still the one that we started."""
        return _started(self.pid) == self.started

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


def wait_until(ready: Callable[[], bool], process: Process, seconds: float = 30.0) -> None:
    """Wait for a process to serve. LocalError, with the end of its log, if it ends or takes too long."""
    deadline = time.monotonic() + seconds
    while not ready():
        if not process.is_running() or time.monotonic() > deadline:
            ended = "doesn't answer" if process.is_running() else "ended"
            raise LocalError(f"{process.name} {ended}:\n{tail(Path(process.log))}")
        time.sleep(0.05)


def answers(url: str) -> bool:
    """Whether something there answers a GET with success."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as answer:
            return bool(answer.status < 400)  # noqa: PLR2004 - HTTP's own line
    except OSError:
        return False


def listens(path: str) -> bool:
    """Whether something accepts connections on a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


def free_port(host: str = "127.0.0.1") -> int:
    """A port of that address that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def tail(log: Path, lines: int = 20) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _started(pid: int) -> int | None:
    """When a process started, None if there is none (a zombie is none)."""
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
