"""Every deployment type through the doors of a whole stack: registered, terminated and proven gone by its functions.

Each is cleaned up where its own test does it: on the real thing where that is there, else on its stand-in. `make types` shows it.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from local.processes import PATIENCE
from local.stack import Stack
from tests.conformance.matrix import targets
from tests.conformance.target import Made, Target
from tests.real_targets import REQUIRED, busybox, docker_engine, labels, make_key, make_sshd, sshd
from tests.stack.caller import Caller
from tracker.model.catalogue import CATALOGUE

__all__ = ["busybox", "docker_engine", "labels", "make_key", "make_sshd", "sshd"]

PREFIX = "tracker/"
AT_ONCE = 4
# A parameter of the template, and what it joins of the settings that lead to each target.
LISTS = {
    "AllowedKeyFiles": "allowed_key_files",
    "AllowedFiles": "allowed_files",
    "AllowedEndpoints": "allowed_endpoints",
    "AllowedHosts": "allowed_hosts",
    "AllowedTapDevices": "allowed_tap_devices",
    "AllowedExecutables": "allowed_executables",
}
MAPS = {"Credentials": "credentials", "Accounts": "accounts", "Marks": "marks", "BaseUrls": "base_urls"}


class Secrets:
    """Keeps what is put until there is a stack to put it into."""

    def __init__(self) -> None:
        self.kept: list[dict[str, str]] = []

    def create_secret(self, **secret: str) -> None:
        self.kept.append(secret)


def of_each_type(*, real: bool) -> list[type[Target]]:
    """One target of each type; of those that have a real one, if that is wished."""
    return list({target.deployment_type: target for target in targets() if target.is_real == real}.values())


def parameters(running: list[Target]) -> dict[str, str]:
    """The template's, so that its functions reach every target."""
    every = [target.settings for target in running]
    found = {
        parameter: ",".join(dict.fromkeys(value for each in every for value in getattr(each, name)))
        for parameter, name in LISTS.items()
    }
    for parameter, name in MAPS.items():
        joined: dict[str, str] = {}
        for each in every:
            joined |= getattr(each, name)
        found[parameter] = json.dumps(joined) if joined else ""
    found["AwsMark"] = next((mark for each in every if (mark := each.mark("aws"))), "")
    for target in running:
        found |= target.parameters()
    return {"SecretsPrefix": PREFIX, **found}


def went(caller: Caller, target: Target, made: Made) -> dict[str, Any]:
    """Registered, planned, terminated, over; its record."""
    key = f"svc-{target.deployment_type}"
    wanted = {"blueprint_id": key, "deployment_type": target.deployment_type, "region": made.region}
    status, answer = caller.ask("POST", "/deployments", wanted | {"resource_ids": made.ids, "metadata": made.metadata})
    assert status == 201, answer
    plan = caller.call("GET", key, "plan")
    assert not plan["refusal"], plan
    caller.call("DELETE", key, expected=202)

    def is_over(record: dict[str, Any]) -> bool:
        # What a target's own controllers do while it waits (a stand-in for Kubernetes has some).
        target.wait(1)
        return record["status"] in ("Terminated", "Active")

    return caller.until(key, is_over, seconds=2 * PATIENCE)


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.real)], ids=["stand-ins", "real"])
def test_every_type_is_registered_terminated_and_proven_gone(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, real: bool
) -> None:
    if real and not REQUIRED:
        pytest.skip("REQUIRE_REAL=1 isn't set: each real target is tried by itself")
    with ExitStack() as stack:
        secrets, running = Secrets(), []
        for target_class in of_each_type(real=real):
            target = target_class(request, monkeypatch)
            target.secrets_manager = secrets
            running.append(stack.enter_context(target))
        deployed = stack.enter_context(Stack(wait_scale=0.1, parameters=parameters(running)))
        for secret in secrets.kept:
            deployed.client("secretsmanager").create_secret(**secret)
        caller = Caller(deployed)

        def is_proven_gone(target: Target) -> None:
            made, began = target.make(), time.monotonic()
            record = went(caller, target, made)
            with capsys.disabled():
                print(line(target, record, time.monotonic() - began))
            assert record["status"] == "Terminated", record["cleanup"]
            assert set(made.ours) & target.left() == set()
            assert set(made.kept) <= target.left()
            assert all(resource.get("proof") or resource["state"] == "kept" for resource in record["resources"])

        # They mostly wait.
        with ThreadPoolExecutor(AT_ONCE) as pool:
            assert list(pool.map(is_proven_gone, running))
    if not real:
        assert {target.deployment_type for target in running} == {name for name, t in CATALOGUE.items() if t.module}


def line(target: Target, record: dict[str, Any], seconds: float) -> str:
    """Return what a person sees of one."""
    resources = record["resources"]
    counts = [sum(each["state"] == state for each in resources) for state in ("gone", "kept")]
    proof = next((each.get("proof", "") for each in resources), "")
    first = f"{record['deployment_type']:22} {target.evidence:9} {record['status']:11} {seconds:5.1f} s"
    return f"{first}  {counts[0]} gone, {counts[1]} kept; {proof[:90]}"
