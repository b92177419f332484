"""`tracker` as a process: what it imports, a pipe that ends, Ctrl-C, a person at a real terminal."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployment_tracker import __version__
from tests.client.api import Api
from tests.client.conftest import Run

TRACKER = [sys.executable, "-m", "deployment_tracker"]
# The terminal becomes the session's own, so that Ctrl-C reaches the process.
AT_TERMINAL = "import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); os.execv(sys.argv[1], sys.argv[1:])"
HEAVY = {"rich", "botocore", "urllib3", "http", "ssl"}
# Seconds: only for what hangs.
PATIENCE = 120


@pytest.mark.parametrize("arguments", [["--version"], ["-h"], ["ls", "-h"], ["end", "--help"], ["completion", "bash"]])
def test_help_needs_neither_rich_nor_botocore(arguments: list[str]) -> None:
    code = f"""
import sys
sys.argv = ["tracker", *{arguments!r}]
from deployment_tracker.cli import main
try:
    main()
finally:
    print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert done.stdout


def test_the_installed_command_says_its_version() -> None:
    command = shutil.which("tracker", path=str(Path(sys.executable).parent))
    assert command
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"tracker {__version__}\n"


def test_a_table_needs_no_botocore_of_its_own(run: Run) -> None:
    said = run("types")
    assert (said.code, "An EC2 instance" in said.out) == (0, True)


def test_a_reader_that_has_enough_is_no_error(api: Api) -> None:
    for n in range(400):
        # More than a pipe holds.
        api.add(f"svc-{n:03}-{'x' * 1000}")
    with subprocess.Popen([*TRACKER, "ls", "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith("svc-000")
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
        assert process.stderr.read() == ""


def test_ctrl_c_while_it_waits_says_what_goes_on(api: Api) -> None:
    api.add("svc-1")
    api.looks = -1
    with subprocess.Popen(
        [*TRACKER, "end", "svc-1", "-y", "--wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + PATIENCE
        while len(api.called("GET")) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, "")
    assert "goes on" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("typed", "code", "text"), [(b"y\n", 0, "is ending"), (b"n\n", 2, "Nothing was done"), (b"\x03", 130, "")]
)
def test_a_person_at_a_terminal_is_asked(api: Api, typed: bytes, code: int, text: str) -> None:
    api.add("svc-1")
    here, there = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", AT_TERMINAL, *TRACKER, "end", "svc-1"],
        stdin=there,
        stdout=there,
        stderr=there,
        start_new_session=True,
    ) as process:
        os.close(there)
        seen = _read_until(here, b"[y/N]")
        os.write(here, typed)
        seen += _read_until(here, None)
        assert process.wait(PATIENCE) == code
    os.close(here)
    assert text in seen.decode()
    assert "Traceback" not in seen.decode()
    assert len(api.called("DELETE")) == (code == 0)


def _read_until(terminal: int, text: bytes | None) -> bytes:
    seen = b""
    while text is None or text not in seen:
        try:
            part = os.read(terminal, 4096)
        except OSError:
            break
        if not part:
            break
        seen += part
    return seen


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_is_completed(run: Run, shell: str) -> None:
    said = run("completion", shell)
    assert (said.code, "_TRACKER_COMPLETE" in said.out) == (0, True)


def test_completion_knows_the_verbs() -> None:
    env = {**os.environ, "_TRACKER_COMPLETE": "bash_complete", "COMP_WORDS": "tracker ex", "COMP_CWORD": "1"}
    done = subprocess.run(TRACKER, env=env, capture_output=True, text=True, check=False)
    assert {line.partition(",")[2] for line in done.stdout.split()} == {"extend", "export", "exempt"}


def test_types_say_what_each_needs(run: Run) -> None:
    assert "instance_id" in run("types", "AwsEc2").out
    assert json.loads(run("types", "--json").out)["AwsEc2"]["needs_one_of"] == [["instance_id"]]
    assert "AwsEc2" in run("types", "-q").out.split()
