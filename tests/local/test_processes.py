"""Processes of the local stack end when they should, and nobody else's ever."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from local.processes import PATIENCE, LocalError, Process, launch, listens, wait_until

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
)
PARENT = (
    "import subprocess, sys, time; c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(c.pid, flush=True); time.sleep(600)"
)


def started(tmp_path: Path, code: str) -> Process:
    return launch("sample", [sys.executable, "-c", code], env=dict(os.environ), log=tmp_path / "log", cwd=tmp_path)


def said(process: Process) -> str:
    wait_until(lambda: Path(process.log).read_text().endswith("\n"), process)
    return Path(process.log).read_text().strip()


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_there(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_a_process_runs_until_it_is_stopped(tmp_path: Path) -> None:
    process = started(tmp_path, "import time; time.sleep(600)")
    assert process.is_running()
    process.stop()
    assert not process.is_running()


def test_one_that_will_not_end_is_killed(tmp_path: Path) -> None:
    process = started(tmp_path, STUBBORN)
    said(process)
    process.stop(grace=0.2)
    until(lambda: not process.is_running())


def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    process = started(tmp_path, PARENT)
    child = int(said(process))
    assert is_there(child)
    process.stop()
    until(lambda: not is_there(child))


def test_a_number_that_belongs_to_another_process_now_is_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        # The kernel counts in hundredths of a second.
        time.sleep(0.05)
        real = started(tmp_path, "import time; time.sleep(600)")
        stale = msgspec.structs.replace(real, pid=other.pid)
        real.stop()
        assert not stale.is_running()
        stale.stop()
        assert other.poll() is None
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()


def test_one_that_ends_early_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    process = started(tmp_path, "print('no such option'); raise SystemExit(2)")
    with pytest.raises(LocalError, match="sample ended:\nno such option"):
        wait_until(lambda: False, process)


def test_a_unix_socket_listens_only_while_someone_accepts(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    assert not listens(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        assert not listens(path)
        server.listen()
        assert listens(path)
    assert not listens(path)
