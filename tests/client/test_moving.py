"""`tracker import` and `export`: files of the Rust tracker, and from one stack to another."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import time_machine

from deployment_tracker.states import judge, read_state
from tests.client.api import Api, Fault
from tests.client.conftest import Run
from tests.intake.test_model_records import SERVED, SETTINGS, a_record
from tracker.intake.registration import parse_registration

NOW = datetime(2029, 12, 31, 23, 30, tzinfo=UTC)
LATER = "2030-01-01T23:30:00Z"


def state(tmp_path: Path, **records: Any) -> str:
    file = tmp_path / "deployment_state.json"
    file.write_text(json.dumps(records))
    return str(file)


def a_vm(**changes: Any) -> dict[str, Any]:
    return a_record("AwsEc2") | changes


@pytest.fixture(autouse=True)
def new_year() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


def test_what_would_be_due_within_a_day_is_given_a_day(api: Api, run: Run, tmp_path: Path) -> None:
    file = state(
        tmp_path,
        soon=a_vm(),
        far=a_vm(ttl_seconds=900_000, expires_at=None),
        never=a_vm(ttl_seconds=None, expires_at=None),
    )
    said = run("import", file, "-y", "--json")
    found = {call.body["blueprint_id"]: call.body for call in api.called("POST")}
    assert said.code == 0
    assert (found["soon"]["expires_at"], found["soon"].get("ttl_seconds")) == (LATER, None)
    assert (found["far"]["ttl_seconds"], found["far"].get("expires_at")) == (900_000, None)
    assert {"ttl_seconds", "expires_at"}.isdisjoint(found["never"])
    assert "-> 2030-01-01T23:30:00Z" in said.err
    assert [json.loads(line)["is_registered"] for line in said.out.splitlines()] == [True] * 3


def test_grace_can_be_longer_or_none(api: Api, run: Run, tmp_path: Path) -> None:
    file = state(tmp_path, soon=a_vm())
    assert run("import", file, "-y", "--grace", "3d").code == 0
    assert api.last.body["expires_at"] == "2030-01-03T23:30:00Z"
    api.records.clear()
    assert run("import", file, "-y", "--expire-now").code == 0
    assert (api.last.body["ttl_seconds"], api.last.body["expires_at"]) == (3600, "2030-01-01T00:00:00.123456789Z")
    assert run("import", file, "-y", "--expire-now", "--grace", "1d").code == 2
    api.records.clear()
    # A grace is never less time than there was.
    assert run("import", file, "-y", "--grace", "10m").code == 0
    assert api.last.body["ttl_seconds"] == 3600


def test_it_is_safe_to_do_it_again(api: Api, run: Run, tmp_path: Path) -> None:
    file = state(tmp_path, one=a_vm(id="dep-1"), two=a_vm(id="dep-2"))
    assert run("import", file, "-y").code == 0
    with time_machine.travel(datetime(2030, 1, 1, 5, tzinfo=UTC), tick=False):
        said = run("import", file, "-y")
    assert (said.code, len(api.called("POST"))) == (0, 2)
    assert said.err.count("it is there already") == 2


def test_one_bad_record_doesnt_stop_the_others(api: Api, run: Run, tmp_path: Path) -> None:
    api.add("taken", "VultrInstance")
    file = state(
        tmp_path,
        bad_type=a_vm(deployment_type="Venus"),
        bad_id=a_vm(resource_ids={"instance_id": "--all"}),
        bad_time=a_vm(deployed_at="yesterday", expires_at=None),
        none=7,
        taken=a_vm(),
        over=a_vm(status="Terminated"),
        good=a_vm(status="Terminating"),
    )
    said = run("import", file, "-y")
    assert said.code == 1
    assert sorted(api.records) == ["good", "taken"]
    assert "1 of 7 registered, 5 failed" in said.err
    assert "another deployment has its key" in said.err
    assert "its status was Terminating" in said.err


def test_a_report_alone_registers_nothing(api: Api, run: Run, tmp_path: Path) -> None:
    file = state(tmp_path, one=a_vm(), two=a_vm())
    assert run("import", file, "-n").code == 0
    assert run("import", file).code == 2
    assert api.called("POST") == []


def test_without_permission_it_ends_at_once(api: Api, run: Run, tmp_path: Path) -> None:
    api.faults = [Fault(403, {"error": {"code": "ACCESS_DENIED", "message": "no"}})] * 9
    assert run("import", state(tmp_path, one=a_vm(), two=a_vm()), "-y").code == 4
    assert len(api.calls) == 1


@pytest.mark.parametrize("text", ["", "x", "7", '"x"', "null", "[1", "true"])
def test_what_holds_no_deployments_is_said_to_be(api: Api, run: Run, text: str) -> None:
    said = run("import", "-", "-y", input=text)
    assert (said.code, api.calls) == (2, [])


def test_the_key_of_the_file_counts(api: Api, run: Run, tmp_path: Path) -> None:
    said = run("import", state(tmp_path, rekeyed=a_vm(blueprint_id="old")), "-y")
    assert list(api.records) == ["rekeyed"]
    assert "its blueprint_id is 'old'" in said.err


@pytest.mark.parametrize("deployment_type", SERVED)
def test_a_record_of_every_type_is_taken_by_the_layer(deployment_type: str) -> None:
    text = json.dumps({"svc": a_record(deployment_type, ttl_seconds=900_000, expires_at=None)})
    (entry,) = judge(read_state(text), NOW, None)
    found = parse_registration(json.dumps(entry.registration), SETTINGS, now=NOW, registered_by="x", generation="g")
    assert (found.blueprint_id, found.deployment_type, entry.problem) == ("svc", deployment_type, "")


@pytest.mark.parametrize("options", [(), ("--ndjson",)])
def test_what_was_exported_is_imported(api: Api, run: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    api.add(
        "svc-1", ttl_seconds=900_000, owner="ann", labels={"team": "x"}, cost_per_hour={"amount": 1, "currency": "USD"}
    )
    api.add("team/svc-2", "VultrInstance")
    api.add("gone", status="Terminated")
    before = {key: api.shown(key) for key in ("svc-1", "team/svc-2")}
    exported = run("export", *options).out
    api.records.clear()
    said = run("import", "-", "-y", input=exported)
    assert (said.code, sorted(api.records)) == (0, ["svc-1", "team/svc-2"])
    for key, shown in before.items():
        again = api.shown(key)
        same = (
            "id",
            "deployment_type",
            "resource_ids",
            "deployed_at",
            "expires_at",
            "owner",
            "labels",
            "cost_per_hour",
        )
        assert {name: again.get(name) for name in same} == {name: shown.get(name) for name in same}


def test_an_export_is_a_state_file_of_the_rust_tracker(api: Api, run: Run, tmp_path: Path) -> None:
    api.add("svc-1", ttl_seconds=900_000)
    file = tmp_path / "state.json"
    assert run("export", "-f", str(file)).code == 0
    assert list(json.loads(file.read_text())["svc-1"]) == list(a_record("AwsEc2"))
