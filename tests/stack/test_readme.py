"""The first commands of the README and the first call of docs/api.md, as a newcomer pastes them: on the stack of the tests."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import docker
import pytest

from local.__main__ import exports, outputs_file
from local.build import ROOT
from local.stack import Stack
from tests.real_targets import busybox, docker_engine, labels, lacking
from tests.stack.caller import Caller

__all__ = ["busybox", "docker_engine", "labels"]


def pasted(page: str, heading: str) -> str:
    """The shell code below a heading, up to the next one of any level."""
    text = (ROOT / page).read_text()
    found = re.split(r"^##", text.partition(f"\n{heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return "\n".join(re.findall(r"^```sh\n(.*?)^```$", found, re.MULTILINE | re.DOTALL))


def run(folder: Path, where: Path, code: str, **replaced: str) -> list[str]:
    """Run the code in a shell that is set to an account, and return the lines that it prints."""
    for usual, ours in {"make up\n": "", **replaced}.items():
        assert usual in code
        code = code.replace(usual, ours)
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "AWS_PROFILE": "prod", "AWS_SESSION_TOKEN": "t"}
    done = subprocess.run(["bash", "-euc", code], cwd=where, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_the_first_call_of_the_api_registers_an_instance_and_shows_its_end(
    stack: Stack, caller: Caller, tmp_path: Path
) -> None:
    if not shutil.which("curl"):
        lacking("curl isn't there")
    environment = tmp_path / "env"
    environment.write_text(exports(stack.running))
    code = pasted("docs/api.md", "## Sign a call") + pasted("docs/api.md", "## A first call")
    answers = run(tmp_path, ROOT, code, **{".local/env": str(environment)})
    registered, plan, shown = (json.loads(line) for line in answers)
    assert (registered["status"], registered["ttl_seconds"]) == ("Active", 60)
    assert ("aws:instance", "present") in [(each["kind"], each["state"]) for each in plan["resources"]]
    assert plan["refusal"] is None
    assert (shown["blueprint_id"], shown["generation"]) == ("svc-2", registered["generation"])
    assert caller.call("DELETE", "svc-2", expected=202)["status"] == "Terminating"
    (receipt,) = [each for each in caller.terminated("svc-2")["resources"] if each["kind"] == "aws:instance"]
    assert (receipt["state"], receipt["proof"]) == ("gone", "DescribeInstances: terminated")


@pytest.mark.real
def test_the_first_commands_of_the_readme_rent_a_container_and_prove_it_gone(
    docker_engine: docker.DockerClient, busybox: str, labels: dict[str, str], stack: Stack, tmp_path: Path
) -> None:
    ((name, value),) = labels.items()
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "outputs.json").write_bytes(outputs_file(stack.running))
    said = run(
        tmp_path,
        tmp_path,
        pasted("README.md", "## First commands"),
        **{
            "$PWD/.venv": f"{ROOT}/.venv",
            "busybox sleep": f"--label {name}={value} {busybox} sleep",
            # Where nobody can be asked, -y is the answer.
            "--wait ": "--wait -y",
        },
    )
    assert "svc-1  Terminated" in said
    assert "docker:container" in "\n".join(said[said.index("svc-1  Terminated") :])
    # The last line shows what Docker has of it: nothing.
    assert not re.fullmatch("[0-9a-f]{64}", said[-1])
    assert docker_engine.containers.list(all=True, filters={"label": f"{name}={value}"}) == []
