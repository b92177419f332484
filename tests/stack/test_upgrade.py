"""An upgrade in place: the last release's stack is made, filled, and replaced by what is here, while its rounds run.

The release is the newest commit whose subject begins with `Release` and a digit. `UPGRADE_FROM` names another.
"""

import json
import os
import shutil
import subprocess
import tarfile
from io import BytesIO
from itertools import product
from pathlib import Path
from socket import socket
from threading import Event
from typing import Any

import msgspec
import pytest
import yaml

from local.build import ROOT, build, environment
from local.demo.scene import MARK, Rented, calls, faults, until
from local.stack import Running, Stack, deploy
from tests.real_targets import REQUIRED
from tests.receivers import answers, receiving
from tests.stack.caller import Caller, Topic, heard_in_order

NAMES = ("lasting", "extended", "held", "quarantined", "ended", "intent", "due", "failed", "round", "another-round")
# Time or a round changes these meanwhile, and these fields of them.
MOVING = ("due", "failed", "round", "another-round")
MOVED = ("status", "version", "sequence", "due_at", "cleanup", "resources")
# What isn't ours is quarantined at once. Nothing is given up that takes long.
PARAMETERS = {"UnmendableRounds": "1", "WebhookGaps": ",".join(["15"] * 100)}

# Run by the release itself, in its folder.
SCRIPT = """
import json, pathlib, sys, msgspec
from local.stack import Stack, deploy, end_on_sigterm
end_on_sigterm()
folder, given = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
if "endpoint" in given:
    deploy(folder, **given)
else:
    running = Stack(folder, wait_scale=0.1, **given).start()
    (folder / "running.json").write_bytes(msgspec.json.encode(running))
"""


def last_release() -> str:
    """The commit of it. Skips where there is none, as in a tarball."""
    log = ["git", "log", "-1", "--format=%H", "--grep=^Release [0-9]"]
    found = subprocess.run(log, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return os.environ.get("UPGRADE_FROM") or found or pytest.skip("this folder's history has no commit of a release")


def unpack(commit: str, folder: Path) -> None:
    """Put the source of a commit there, with tools to build and run it: ours, if it locks the same."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    if (folder / "uv.lock").read_bytes() != (ROOT / "uv.lock").read_bytes():
        subprocess.run(["local/setup"], cwd=folder, check=True)
    else:
        (folder / ".local").mkdir()
        for tool in (".venv", ".local/ministack", ".local/sam"):
            (folder / tool).symlink_to(ROOT / tool)


class Released(Stack):
    """A stack that the source of a release makes, with the cloud below it, and that either version can be deployed to."""

    def __init__(self, folder: Path, release: Path) -> None:
        super().__init__(folder)
        self._release = release

    def _start(self) -> Running:
        self._run(parameters=PARAMETERS)
        found = msgspec.json.decode((self.folder / "running.json").read_bytes(), type=Running)
        self._running, self._processes, self._scratch = found, list(found.processes), found.scratch
        return found

    def upgrade(self) -> None:
        """Deploy what is here, as to a stack that runs."""
        build()
        outputs = deploy(self.folder, self.running.endpoint, self.running.parameters)
        self._running = msgspec.structs.replace(self.running, outputs=outputs)

    def take_back(self) -> None:
        """Deploy the release again."""
        self._run(endpoint=self.running.endpoint, parameters=self.running.parameters)

    def _run(self, **given: Any) -> None:
        command = [str(self._release / ".venv/bin/python"), "-c", SCRIPT, str(self.folder), json.dumps(given)]
        with subprocess.Popen(command, cwd=self._release, env=environment(), start_new_session=True) as release:
            try:
                assert release.wait() == 0
            finally:
                release.terminate()  # At Ctrl-C: it ends what it has started.
                release.wait()


def filled(caller: Caller, webhook: str) -> dict[str, Rented]:
    """A machine by each name, and its record in the state that the name says."""
    stack = caller.stack
    machines = {name: Rented(stack, marked=name != "quarantined") for name in NAMES if name != "intent"}
    for name, machine in machines.items():
        if name != "due":
            caller.register(name, machine.ids, ttl_seconds=86400, metadata={"note": name}, cleanup_webhook=webhook)
    intent = caller.register("intent", resource_ids={}, status="Unknown", ttl_seconds=86400)
    machines["intent"] = Rented(stack, mark=intent["mark"]["value"])
    caller.call("DELETE", "ended", expected=202)
    caller.terminated("ended")
    refused = {"failed": "error", "round": "throttle", "another-round": "throttle"}
    wanted = [{"kind": kind, "id": machines[name].ids["instance_id"]} for name, kind in refused.items()]
    faults(stack, [{"action": "TerminateInstances", **fault} for fault in wanted])
    for name in ("quarantined", *refused):
        caller.call("DELETE", name, expected=202)
    caller.until("quarantined", lambda record: bool(record["cleanup"].get("quarantined")))
    caller.until("failed", lambda record: bool(record["cleanup"].get("failures")))
    until(lambda: all(asked(stack, machines[name]) for name in ("round", "another-round")))
    caller.call("POST", "extended", "extend", body={"by": 3600})
    caller.call("POST", "held", "hold", body={"reason": "an incident", "until": intent["expires_at"]})
    caller.register("due", machines["due"].ids, ttl_seconds=20)
    # The moments of these are told to the queue by the release, and heard there by what comes after it.
    assert caller.sweep() >= 1
    return machines


def asked(stack: Stack, machine: Rented) -> int:
    """Return how often EC2 was asked to terminate it."""
    return len(calls(stack, "TerminateInstances", machine.ids["instance_id"]))


def holds(after: Any, before: Any) -> bool:
    """Return whether all is said that was said before: a later version may say more, and a history grows at its end."""
    if isinstance(before, dict):
        return all(name in after and holds(after[name], value) for name, value in before.items())
    if isinstance(before, list):
        return len(after) >= len(before) and all(map(holds, after, before))
    return bool(after == before)


def keys_of_table(source: Path) -> set[str]:
    """The table's key and each of its indexes, as the built template has them."""
    table = yaml.safe_load((source / ".local/build/template.yaml").read_text())["Resources"]["Table"]["Properties"]
    return {json.dumps(part) for part in (table["KeySchema"], *table["GlobalSecondaryIndexes"])}


@pytest.mark.real
@pytest.mark.skipif(not REQUIRED, reason="REQUIRE_REAL=1 isn't set: another stack takes its time")
def test_what_the_last_release_holds_is_there_after_an_upgrade_and_everything_still_goes(tmp_path: Path) -> None:
    release, is_upgraded = tmp_path / "release", Event()
    unpack(last_release(), release)

    def hook(connection: socket) -> None:
        answers(200 if is_upgraded.is_set() else 500)(connection)

    with Released(tmp_path / "stack", release) as stack, receiving(hook) as receiver:
        caller, topic = Caller(stack), Topic(stack)
        machines = filled(caller, receiver.url)
        until(lambda: receiver.heard)
        before = {name: caller.call("GET", name) for name in NAMES}
        for name, field in product(MOVING, MOVED):
            del before[name][field]
        stack.upgrade()
        is_upgraded.set()
        # MiniStack takes more than AWS, where an update makes or removes one index, and no index is changed.
        assert len(keys_of_table(release) ^ keys_of_table(ROOT)) <= 1
        for name, record in before.items():
            assert holds(caller.call("GET", name), record), name
        # Rounds go on, and no sooner are the machines let go.
        so_far = asked(stack, machines["round"])
        until(lambda: asked(stack, machines["round"]) > so_far)
        faults(stack, [])
        assert caller.call("DELETE", "held", expected=409)["error"]["code"] == "held"
        caller.call("DELETE", "held", "hold")
        ids = list(machines["quarantined"].ids.values())
        stack.client("ec2").create_tags(Resources=ids, Tags=[{"Key": MARK, "Value": "ours after all"}])
        for name in ("extended", "held", "intent", "quarantined"):
            caller.call("DELETE", name, expected=202)
        ends = {name: caller.terminated(name) for name in NAMES if name != "lasting"}
        assert [name for name in ends if not machines[name].is_gone()] == []
        assert ends["due"]["cleanup"]["reason"] == "expired"
        assert {ends[name]["cleanup"]["round"] for name in ("round", "another-round")} == {1}
        for name, record in ends.items():
            assert holds(record["events"], before[name]["events"]), name
            heard_in_order(topic, record)
        until(lambda: caller.call("GET", "ended", "deliveries")["deliveries"][0]["state"] == "delivered")
        # The way back: what this version wrote is read, what it left alone is ended.
        late = caller.register("late")
        stack.take_back()
        assert holds(caller.call("GET", "late"), late)
        assert holds(caller.call("GET", "lasting"), before["lasting"])
        caller.call("DELETE", "lasting", expected=202)
        heard_in_order(topic, caller.terminated("lasting"))
        assert machines["lasting"].is_gone()
        given_up = [stack.outputs[f"{queue}QueueUrl"] for queue in ("DeadLetter", "SetAside", "Undelivered")]
        assert [url for url in given_up if "Messages" in stack.client("sqs").receive_message(QueueUrl=url)] == []
    shutil.rmtree(release)
