"""`make up` and `make down`: whose port it is, whose processes end, and what a stack that runs takes over."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest

from local import __main__ as local_main
from local import build
from local import stack as local_stack
from local.processes import LocalError, Process, free_port, free_port_pair, is_free, launch, wait_until
from local.stack import Running, Stack

SERVER = "import http.server, sys; http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()"
PLACE = {"host": "h", "boot_id": "b", "docker_engine": ""}


class Healthy(BaseHTTPRequestHandler):
    """Says of everything that it is well, as another's stack would."""

    def do_GET(self) -> None:
        """Answer 200."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which someone else's server answers."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def sleeper(folder: Path, name: str) -> Process:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    return launch(name, command, env=dict(os.environ), log=folder / f"{name}.log", cwd=folder)


def running(folder: Path, *processes: Process, port: int = 4566) -> Running:
    """A stack that consists of these processes."""
    return Running(
        folder=str(folder),
        scratch=str(folder / "scratch"),
        endpoint=f"http://127.0.0.1:{port}",
        ec2_endpoint=f"http://127.0.0.1:{port + 1}",
        ec2_faults="",
        api=f"http://127.0.0.1:{port}/_aws/execute-api/a/v1",
        region="us-east-1",
        parameters={"LocalPlace": json.dumps(PLACE), "RetryDays": "7"},
        outputs={"ApiUrl": "x"},
        processes=list(processes),
        built="of now",
    )


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone in which nothing runs yet, on a machine without a Docker engine."""
    for name, file in (("FOLDER", "stack"), ("OUTPUTS", "outputs.json"), ("ENVIRONMENT", "env")):
        monkeypatch.setattr(local_main, name, tmp_path / file)
    monkeypatch.setattr(local_main, "this_machine", lambda: PLACE)
    monkeypatch.setattr(local_main, "check_parameters", lambda _: None)
    monkeypatch.setattr(local_main, "build", lambda: False)
    monkeypatch.setattr(local_main, "fingerprint", lambda: "of now")
    return tmp_path


@pytest.fixture
def started(clone: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ports of the stacks that are started, which are processes that sleep."""
    ports: list[int] = []

    def start(stack: Any) -> Running:
        ports.append(stack._port)
        return running(clone, port=stack._port)

    monkeypatch.setattr(Stack, "start", start)
    return ports


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The parameters of each deployment to a stack that runs."""
    found: list[dict[str, str]] = []

    def deploy(_: Path, __: str, parameters: dict[str, str]) -> dict[str, str]:
        found.append(parameters)
        return {"ApiUrl": "y"}

    monkeypatch.setattr(local_main, "deploy", deploy)
    return found


@pytest.fixture
def runs(clone: Path) -> Iterator[Running]:
    """A stack of this clone that runs."""
    found = running(clone, sleeper(clone, "ministack"), sleeper(clone, "ec2"))
    (clone / "outputs.json").write_bytes(msgspec.json.encode(found))
    yield found
    for process in found.processes:
        process.stop()


# Ports


def test_a_port_that_someone_listens_on_is_not_free_at_any_address_that_covers_it(taken: int) -> None:
    assert not is_free("127.0.0.1", taken)
    assert not is_free("0.0.0.0", taken)
    assert is_free("127.0.0.1", free_port())


def test_an_address_of_another_machine_is_said_to_be_one() -> None:
    with pytest.raises(LocalError, match=r"can't listen on 192\.0\.2\.1"):
        is_free("192.0.2.1", 4566)


def test_a_pair_of_ports_is_free_both() -> None:
    port = free_port_pair()
    assert is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port + 1)


def test_a_process_listens_on_its_own_port_and_not_on_anothers(tmp_path: Path, taken: int) -> None:
    port = free_port()
    process = launch(
        "server", [sys.executable, "-c", SERVER, str(port)], env=dict(os.environ), log=tmp_path / "log", cwd=tmp_path
    )
    try:
        wait_until(lambda: process.listens_on(port), process)
        assert not process.listens_on(taken)
    finally:
        process.stop()
    assert not process.listens_on(port)


def test_the_usual_port_is_taken_if_it_is_free(
    started: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local_main, "USUAL_PORT", free_port_pair())
    local_main.up("127.0.0.1", None, {})
    assert started == [local_main.USUAL_PORT]
    assert "something else" not in capsys.readouterr().out


@pytest.mark.parametrize("which", [0, 1], ids=["the usual port", "the one after it"])
def test_with_another_stack_on_the_usual_port_a_free_one_is_taken_and_said(
    started: list[int],
    taken: int,
    which: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(local_main, "USUAL_PORT", taken - which)
    local_main.up("127.0.0.1", None, {})
    (port,) = started
    assert port not in (taken, taken - which)
    assert f"this stack takes {port} and {port + 1}" in capsys.readouterr().out


def test_a_named_port_that_is_taken_is_a_sentence_and_nothing_is_started(tmp_path: Path, taken: int) -> None:
    with pytest.raises(LocalError, match=f"something else listens on port {taken} .*: choose another with --port"):
        Stack(tmp_path / "stack", port=taken).start()
    assert not list(tmp_path.rglob("*.log"))


def test_what_answers_in_place_of_our_own_process_does_not_count(
    tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took the port after that was looked at."""
    monkeypatch.setattr(local_stack, "is_free", lambda *_: True)
    monkeypatch.setattr(local_stack, "build", lambda: False)
    monkeypatch.setattr(local_stack, "check_parameters", lambda _: None)
    # As MiniStack does when the port is another's: it says so, and ends.
    program = tmp_path / "ministack"
    program.write_text("#!/bin/sh\nsleep 0.5; echo address already in use; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(local_stack, "MINISTACK", program)
    with pytest.raises(LocalError, match="ministack ended:\naddress already in use"):
        Stack(tmp_path / "stack", port=taken).start()


# Down


def test_down_ends_what_this_clone_started_and_nothing_else(
    clone: Path, runs: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        local_main.down(discard=True)
        assert not any(process.is_running() for process in runs.processes)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    assert capsys.readouterr().out == "ec2 ended\nministack ended\nended; state: discarded\n"
    assert not (clone / "outputs.json").exists()


def test_down_says_that_there_was_none(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    local_main.down(discard=False)
    assert capsys.readouterr().out == "no stack of this folder was running; state: nothing\n"
    assert not (clone / "outputs.json").exists()


def test_down_tells_what_it_ended_from_what_had_ended_before(runs: Running, capsys: pytest.CaptureFixture[str]) -> None:
    runs.processes[0].stop()
    local_main.down(discard=True)
    assert "ec2 ended\nministack had ended before\n" in capsys.readouterr().out


def test_down_says_nothing_of_ending_when_all_had_ended_before(
    runs: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    for process in runs.processes:
        process.stop()
    local_main.down(discard=True)
    assert "no stack of this folder was running" in capsys.readouterr().out


# Up again


def test_up_again_takes_a_docker_engine_that_is_there_now(
    clone: Path,
    runs: Running,
    deployed: list[dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(local_main, "this_machine", lambda: PLACE | {"docker_engine": "engine-1"})
    local_main.up("127.0.0.1", None, {})
    (parameters,) = deployed
    assert json.loads(parameters["LocalPlace"])["docker_engine"] == "engine-1"
    assert parameters["RetryDays"] == "7"
    assert "Docker engine engine-1 is there now" in capsys.readouterr().out
    recorded = msgspec.json.decode((clone / "outputs.json").read_bytes(), type=Running)
    assert (recorded.docker_engine, recorded.outputs) == ("engine-1", {"ApiUrl": "y"})
    assert all(process.is_running() for process in runs.processes)
    # One that is away for a moment is still its own.
    monkeypatch.setattr(local_main, "this_machine", lambda: PLACE)
    local_main.up("127.0.0.1", None, {})
    assert len(deployed) == 1
    assert "Docker   found, engine engine-1" in capsys.readouterr().out


def test_up_says_that_no_docker_engine_answers_and_what_to_do(
    started: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    local_main.up("127.0.0.1", free_port(), {})
    assert len(started) == 1
    assert "none answers at /var/run/docker.sock: start one, and run `make up` again" in capsys.readouterr().out


def test_up_again_without_anything_new_deploys_nothing(
    runs: Running, deployed: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    local_main.up("127.0.0.1", None, {"RetryDays": "7"})
    assert deployed == []
    said = capsys.readouterr().out
    assert said.startswith("runs already\n")
    assert f"API      {runs.api}\n" in said


def test_up_again_with_a_parameter_updates_the_stack_that_runs(runs: Running, deployed: list[dict[str, str]]) -> None:
    local_main.up("127.0.0.1", None, {"RetryDays": "0"})
    assert deployed == [runs.parameters | {"RetryDays": "0"}]


def test_up_again_after_the_sources_changed_updates_the_stack_that_runs_once(
    runs: Running, deployed: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local_main, "fingerprint", lambda: "of later")
    local_main.up("127.0.0.1", None, {})
    assert deployed == [runs.parameters]
    local_main.up("127.0.0.1", None, {})
    assert len(deployed) == 1
    assert "runs already" in capsys.readouterr().out


def test_up_again_with_another_port_says_that_it_stays(
    runs: Running, deployed: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    local_main.up("127.0.0.1", 5000, {})
    assert "its port stays as it is: `make down` ends it first" in capsys.readouterr().out


# The environment of a shell


def test_what_up_exports_leads_every_call_to_the_stack_whatever_the_shell_had_before(
    clone: Path, runs: Running
) -> None:
    local_main.up("127.0.0.1", None, {})
    before = {"PATH": os.environ["PATH"], "AWS_PROFILE": "prod", "AWS_SESSION_TOKEN": "t", "AWS_ACCESS_KEY_ID": "AKIAX"}
    said = subprocess.run(
        ["bash", "-euc", f"source {clone / 'env'}; env -0"], env=before, capture_output=True, text=True, check=True
    ).stdout
    after = dict(line.split("=", 1) for line in said.split("\0") if line)
    assert after.keys().isdisjoint({"AWS_PROFILE", "AWS_SESSION_TOKEN"})
    assert after["API"] == runs.api
    assert {after[name] for name in ("REGION", "AWS_REGION", "AWS_DEFAULT_REGION")} == {"us-east-1"}
    assert (after["AWS_ENDPOINT_URL"], after["AWS_ENDPOINT_URL_EC2"]) == (runs.endpoint, runs.ec2_endpoint)
    assert (after["AWS_ACCESS_KEY_ID"], after["AWS_SECRET_ACCESS_KEY"]) == ("test", "test")


def test_up_ends_with_the_commands_to_paste(clone: Path, runs: Running, capsys: pytest.CaptureFixture[str]) -> None:
    local_main.up("127.0.0.1", None, {})
    said = capsys.readouterr().out
    commands = [line.strip() for line in said.splitlines() if line.startswith("  ") and "   " not in line.strip()]
    assert commands[-1] == f"source {clone / 'env'}"
    assert "tracker ls" in commands
    assert "export AWS" not in said
    assert said.splitlines()[-1] == "`make down` ends it."


def test_after_down_no_environment_is_left_that_leads_nowhere(clone: Path, runs: Running) -> None:
    local_main.up("127.0.0.1", None, {})
    assert (clone / "env").exists()
    local_main.down(discard=True)
    assert not (clone / "env").exists()


@pytest.mark.parametrize("text", ["RetryDays", ""])
def test_a_parameter_without_a_value_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main_with("up", "--parameter", text)
    assert "isn't NAME=VALUE" in capsys.readouterr().err


def test_a_parameter_that_the_template_does_not_have_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "template.yaml").write_text("Parameters: {RetryDays: {Type: Number}}")
    monkeypatch.setattr(build, "BUILD", tmp_path)
    monkeypatch.setattr(build, "STATE", tmp_path)
    build.check_parameters(["RetryDays"])
    with pytest.raises(LocalError, match="the template has no parameter RetryDay;"):
        build.check_parameters({"RetryDay": "0"})


def main_with(*arguments: str) -> None:
    before = sys.argv
    sys.argv = ["local", *arguments]
    try:
        local_main.main()
    finally:
        sys.argv = before
