"""`tracker` on a deployed stack, which it finds as that of `make up`: a deployment from its registration to its receipt."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from local.__main__ import outputs_file
from local.demo.scene import Rented
from local.stack import Stack

type Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(stack: Stack, tmp_path: Path) -> Run:
    """`tracker ...` in a folder below the stack's. The user's own account is another one, and must not be called."""
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "outputs.json").write_bytes(outputs_file(stack.running))
    (tmp_path / "below").mkdir()
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "another",
        "AWS_SECRET_ACCESS_KEY": "x",
    }

    def call(*arguments: str, expected: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "deployment_tracker", *arguments]
        done = subprocess.run(command, cwd=tmp_path / "below", env=env, capture_output=True, text=True, check=False)
        assert done.returncode == expected, (arguments, done.stdout, done.stderr)
        assert "make up" in done.stderr
        return done

    return call


def test_a_deployment_is_registered_listed_extended_and_ended_by_the_command_line(
    stack: Stack, run: Run, key: str
) -> None:
    rented = Rented(stack)
    ids = [part for name, id_ in rented.ids.items() for part in ("--id", f"{name}={id_}")]
    said = run("register", key, "AwsEc2", "--in", stack.running.region, *ids, "--ttl", "2h")
    assert "is registered; it ends" in said.stdout
    assert key in run("ls", "-q").stdout.split()
    before = json.loads(run("show", key, "--json").stdout)["expires_at"]
    found = json.loads(run("extend", key, "1h", "--json").stdout)
    assert found["extended"]["from"] == before
    assert found["extended"]["to"] > before
    goes = run("plan", key).stdout
    assert all(id_ in goes for id_ in rented.ids.values())
    digest = run("plan", key, "-q").stdout.strip()
    ended = run("end", key, "--wait", "-y", "--reason", "the contract ended", *(["--plan", digest] if digest else []))
    assert ended.stdout == f"{key}  Terminated\n"
    assert f"{key} is ending." in ended.stderr
    receipt = run("show", key).stdout
    assert "DescribeInstances: terminated" in receipt
    assert rented.is_gone()
    run("show", f"{key}-nobodys", expected=5)
    run("extend", key, "1h", expected=6)


def test_the_stack_can_be_asked_how_it_is(run: Run) -> None:
    found = json.loads(run("whoami", "--json").stdout)
    assert all(found["may"].values())
    # This stack sweeps only when a test says so.
    said = run("doctor", "--json", expected=1)
    states = {each["name"]: each["state"] for each in json.loads(said.stdout)}
    assert (states["credentials"], states["api"], states["clock"], states["sweep"]) == ("ok", "ok", "ok", "wrong")
