"""The verbs that change something: what is sent, what is asked before, what is said after."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import time_machine

from deployment_tracker.errors import NOT_FOUND
from deployment_tracker.times import rfc3339
from tests.client.api import Api, encoded
from tests.client.conftest import Run
from tests.client.test_ls import HOLD, failed
from tracker.model.delivery import Delivery
from tracker.model.deployment import parse_time

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
TTL = 7200


@pytest.fixture
def svc(api: Api) -> Api:
    api.add("svc-1", ttl_seconds=TTL, cost_per_hour={"amount": 0.5, "currency": "USD"})
    return api


# register


def test_options_become_a_registration(api: Api, run: Run) -> None:
    said = run(
        *("register", "team/svc 1", "AwsEc2", "--in", "eu-central-1", "--ttl", "1h30m", "--owner", "ann"),
        *("--id", "instance_id=i-0123456789abcdef0", "--id", "ebs_volume=vol-0123456789abcdef0"),
        *("--id", "ebs_volume=vol-0123456789abcdef1", "--label", "team=x", "--cost", "0.42 EUR", "--warn", "10m"),
    )
    assert said.code == 0
    assert "is registered; it ends" in said.out
    # What has all its ids needs no mark to be found.
    assert said.err == ""
    assert api.last.body == {
        "blueprint_id": "team/svc 1",
        "deployment_type": "AwsEc2",
        "resource_ids": {
            "instance_id": "i-0123456789abcdef0",
            "ebs_volume": ["vol-0123456789abcdef0", "vol-0123456789abcdef1"],
        },
        "region": "eu-central-1",
        "ttl_seconds": 5400,
        "labels": {"team": "x"},
        "cost_per_hour": {"amount": 0.42, "currency": "EUR"},
        "warn_before": [600],
        "owner": "ann",
    }
    run("show", "team/svc 1")
    assert api.last.path == f"/v1/deployments/{encoded('team/svc 1')}"


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_a_registration_is_read_from_json_and_options_go_before_it(
    api: Api, run: Run, tmp_path: Path, source: str
) -> None:
    body = {
        "blueprint_id": "svc-9",
        "deployment_type": "AwsEc2",
        "region": "eu-central-1",
        "resource_ids": {"instance_id": "i-0123456789abcdef0"},
        "ttl_seconds": 60,
    }
    (tmp_path / "svc.json").write_text(json.dumps(body))
    file = str(tmp_path / "svc.json") if source == "file" else "-"
    said = run("register", "-f", file, "--ttl", "2h", "--json", input=json.dumps(body))
    assert json.loads(said.out)["ttl_seconds"] == TTL
    again = run("register", "-f", file, "--ttl", "2h", input=json.dumps(body))
    assert "was registered already" in again.out


def test_an_intent_may_lack_ids_and_says_the_mark(api: Api, run: Run) -> None:
    said = run("register", "svc-2", "AwsEc2", "--in", "eu-central-1", "--ttl", "1h", "--intent")
    assert (said.code, api.last.body["status"]) == (0, "Unknown")
    assert "Ids are still missing" in said.out
    assert "tracker amend svc-2 --id KEY=ID --active" in said.err
    assert "BlueprintDeployment=" in said.err


# amend


def test_what_was_created_for_an_intent_is_handed_in(api: Api, run: Run) -> None:
    run("register", "svc-2", "AwsEc2", "--in", "eu-central-1", "--ttl", "1h", "--intent")
    said = run("amend", "svc-2", "--id", "instance_id=i-0123456789abcdef0", "--active")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("svc-2 is amended; it ends ")
    assert api.last.body == {"resource_ids": {"instance_id": "i-0123456789abcdef0"}, "status": "Active"}
    assert json.loads(run("show", "svc-2", "--json").out)["status"] == "Active"


def test_a_merge_patch_removes_and_renames(api: Api, run: Run) -> None:
    api.add("svc-1")
    said = run("amend", "svc-1", "-f", "-", "--to", "svc 9", input='{"expires_at": null}')
    assert said.out.splitlines() == ["svc-1 is amended, and is svc 9 from now on; it has no end."]
    assert run("show", "svc-1").code == NOT_FOUND


@pytest.mark.parametrize(
    "arguments",
    [
        ("register", "svc-1"),
        ("register", "svc-1", "AwsEc2", "--id", "i-1"),
        ("register", "svc-1", "AwsEc2", "--ttl", "90"),
        ("register", "svc-1", "AwsEc2", "--ttl", "1h", "--until", "in 2h"),
        ("register", "svc-1", "AwsEc2", "--until", "2020-01-01T00:00:00Z"),
        ("register", "svc-1", "AwsEc2", "--until", "2027-01-01 12:00"),
        ("register", "svc-1", "AwsEc2", "--cost", "cheap"),
        ("register", "svc-1", "AwsEc2", "--label", "x"),
        ("register", "-f", "/nowhere.json"),
        ("amend",),
        ("amend", "svc-1"),
        ("amend", "svc-1", "--ttl", "1h", "--until", "in 2h"),
        ("amend", "svc-1", "--id", "i-1"),
        ("extend", "svc-1"),
        ("extend", "svc-1", "2h", "--until", "in 2h"),
        ("extend", "svc-1", "--until", "2020-01-01T00:00:00Z"),
        ("hold", "svc-1", "--reason", "x"),
        ("hold", "svc-1", "--for", "1h"),
        ("retry",),
        ("retry", "svc-1", "--all"),
        ("retry", "svc-1", "--type", "AwsEc2"),
        ("brake", "pause", "venus"),
        ("types", "Venus"),
        ("ls", "--status", "Venus"),
        ("no-such-verb",),
    ],
)
def test_what_cant_be_meant_is_refused_before_anything_is_called(
    api: Api, run: Run, arguments: tuple[str, ...]
) -> None:
    said = run(*arguments)
    assert (said.code, said.out, api.calls) == (2, "", [])
    assert said.err


# extend, hold


def test_extend_says_both_ends(svc: Api, run: Run) -> None:
    before = svc.records["svc-1"].expires_at
    said = run("extend", "svc-1", "2h", "--json")
    assert svc.last.body == {"by": TTL}
    assert json.loads(said.out)["extended"]["from"] == before
    with time_machine.travel(NOW, tick=False):
        said = run("extend", "svc-1", "--until", "2026-12-01 18:00 Europe/Berlin")
    assert svc.last.body == {"until": "2026-12-01T17:00:00Z"}
    assert "the end was " in said.out
    assert "and is 2026-12-01T17:00:00Z." in said.out


def test_a_hold_ends_and_can_be_ended(svc: Api, run: Run) -> None:
    with time_machine.travel(NOW, tick=False):
        said = run("hold", "svc-1", "--reason", "a demo", "--for", "2d")
    assert svc.last.body == {"reason": "a demo", "until": "2026-12-03T12:00:00Z"}
    assert "a demo" in said.out
    held = run("end", "svc-1", "-y")
    assert (held.code, "is held" in held.err, "--over-hold" in held.err) == (6, True, True)
    assert run("end", "svc-1", "-y", "--over-hold", "it costs too much").code == 0
    assert svc.last.body == {"over_hold": "it costs too much"}
    assert run("unhold", "svc-1").code == 0
    assert (svc.last.method, svc.last.path) == ("DELETE", "/v1/deployments/svc-1/hold")


# end


def test_end_is_refused_where_nobody_can_be_asked(svc: Api, run: Run) -> None:
    said = run("end", "svc-1")
    assert (said.code, svc.called("DELETE")) == (2, [])
    assert "-y" in said.err


@pytest.mark.usefixtures("at_terminal")
@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("\n", 2), ("", 2)])
def test_end_shows_what_goes_and_asks(svc: Api, run: Run, answer: str, code: int) -> None:
    svc.plan = {
        "resources": [
            {"kind": "aws:instance", "id": "i-1", "state": "present"},
            {"kind": "aws:volume", "id": "vol-1", "state": "kept", "detail": "no mark"},
        ],
        "digest": "d-7",
    }
    said = run("end", "svc-1", input=answer)
    assert said.code == code
    assert all(text in said.err for text in ("Goes", "i-1", "Stays", "vol-1", "no mark", "0.50 an hour", "[y/N]"))
    assert [call.query for call in svc.called("DELETE")] == ([{"plan": "d-7"}] if code == 0 else [])
    if code == 0:
        assert "svc-1 is ending." in said.err
        assert "deleted" not in said.out + said.err


@pytest.mark.parametrize(("status", "word"), [("Terminated", "over"), ("Terminating", "ending")])
def test_what_has_ended_or_is_ending_is_asked_nothing(svc: Api, run: Run, status: str, word: str) -> None:
    svc.looks = -1
    svc.records["svc-1"] = msgspec.structs.replace(svc.records["svc-1"], status=status)
    said = run("end", "svc-1")
    assert (said.code, said.out, svc.called("DELETE")) == (0, f"svc-1  {status}\n", [])
    assert f"svc-1 is {word} already" in said.err


@pytest.mark.usefixtures("at_terminal")
@pytest.mark.parametrize(("answer", "code"), [("svc-1\n", 0), ("y\n", 2)])
def test_what_was_given_up_wants_its_name_typed(svc: Api, run: Run, answer: str, code: int) -> None:
    svc.records["svc-1"] = msgspec.structs.replace(svc.records["svc-1"], cleanup=failed("not_ours", 8))
    assert run("end", "svc-1", input=answer).code == code
    assert run("retry", "svc-1", input=answer).code in (code, 6)


def test_a_plan_that_has_changed_is_a_conflict_that_says_how(svc: Api, run: Run) -> None:
    said = run("end", "svc-1", "-y", "--plan", "d-0")
    assert said.code == 6
    assert "aws:volume vol-1 appeared" in said.err
    svc.plan["digest"] = None
    said = run("end", "svc-1", "-y", "--plan", "d-0")
    assert (said.code, len(svc.called("DELETE"))) == (1, 1)


@pytest.mark.parametrize("digest", ["d-1", None])
def test_a_digest_that_a_script_did_not_get_is_not_no_digest(svc: Api, run: Run, digest: str | None) -> None:
    svc.plan["digest"] = digest
    assert run("end", "svc-1", "-y", "--plan", "").code != 0
    assert svc.records["svc-1"].status == "Active"


def test_end_waits_until_it_is_over_and_says_what_changes(svc: Api, run: Run, looks: list[float]) -> None:
    svc.looks = 3
    said = run("end", "svc-1", "-y", "--wait", "--reason", "the contract ended")
    assert (said.code, said.out) == (0, "svc-1  Terminated\n")
    assert svc.called("DELETE")[0].body == {"reason": "the contract ended"}
    assert said.err.splitlines() == ["svc-1 is ending.", "svc-1: Terminating", "svc-1: Terminated"]
    assert looks == sorted(looks)


def test_the_brake_is_said(svc: Api, run: Run) -> None:
    svc.brake = {"mode": "pause", "message": "Cleanups are paused."}
    said = run("end", "svc-1", "-y")
    assert (said.code, "the brake holds it up (pause)" in said.err) == (0, True)


def test_wait_that_runs_out_of_time_is_3(svc: Api, run: Run) -> None:
    said = run("wait", "svc-1", "--timeout", "1s", "--json")
    assert said.code == 3
    assert f"svc-1: Active; it ends {rfc3339(parse_time(str(svc.records['svc-1'].expires_at)))}" in said.err
    assert "`tracker end svc-1` does" in said.err
    svc.looks = -1
    svc.records["svc-1"] = msgspec.structs.replace(svc.records["svc-1"], status="Terminating")
    assert "Its cleanup goes on" in run("wait", "svc-1", "--timeout", "1s").err


def test_wait_ends_when_the_cleanup_was_given_up(svc: Api, run: Run) -> None:
    svc.records["svc-1"] = msgspec.structs.replace(svc.records["svc-1"], cleanup=failed("not_ours", 8))
    said = run("wait", "svc-1")
    assert (said.code, "not_ours: it says why" in said.err) == (1, True)


# retry, forget


def test_retry_of_one_that_hasnt_failed_is_a_conflict(svc: Api, run: Run) -> None:
    assert run("retry", "svc-1").code == 6
    assert svc.called("DELETE") == []


def test_many_are_listed_first_and_one_that_fails_doesnt_stop_the_others(api: Api, run: Run) -> None:
    for n in range(4):
        api.add(f"svc-{n}", cleanup=failed("credentials" if n else "unreachable", 2))
    api.more["svc-1"]["hold"] = HOLD
    said = run("retry", "--all", "--error-class", "credentials", "-y", "--json")
    found = [json.loads(line) for line in said.out.splitlines()]
    assert said.code == 1
    assert {each["blueprint_id"]: each["outcome"] == "is tried again" for each in found} == {
        "svc-1": False,
        "svc-2": True,
        "svc-3": True,
    }
    assert "svc-0" not in said.err
    assert all(f"svc-{n}" in said.err for n in (1, 2, 3))


@pytest.mark.usefixtures("at_terminal")
@pytest.mark.parametrize(("answer", "number"), [("1 cleanups\n", 1), ("y\n", 0)])
def test_many_want_their_number_typed(api: Api, run: Run, answer: str, number: int) -> None:
    api.add("svc-1", cleanup=failed("credentials", 2))
    run("retry", "--all", input=answer)
    assert len(api.called("DELETE")) == number


@pytest.mark.usefixtures("at_terminal")
@pytest.mark.parametrize(("answer", "code"), [("svc-1\n", 0), ("y\n", 2)])
def test_forget_wants_the_name_typed(svc: Api, run: Run, answer: str, code: int) -> None:
    said = run("forget", "svc-1", "--reason", "removed by hand", input=answer)
    assert (said.code, len(svc.called("POST"))) == (code, int(code == 0))


# deliveries, strays


def test_a_delivery_is_sent_again(svc: Api, run: Run) -> None:
    svc.deliveries["svc-1"] = [
        Delivery(blueprint_id="svc-1", id="g-7", url="https://x.example", body="", created_at="2026-12-01T12:00:00Z")
    ]
    assert run("deliveries", "svc-1", "-q").out == "g-7\n"
    assert "g-7" in run("deliveries", "svc-1").out
    assert run("redeliver", "svc-1", "g-7").code == 0
    assert run("redeliver", "svc-1", "g-8").code == 5


def test_events_are_announced_again(svc: Api, run: Run) -> None:
    assert run("announce", "svc-1").out == "1 event is announced again.\n"
    assert svc.last.body == {"from_sequence": 1}
    announced = json.loads(run("announce", "svc-1", "--from", "3", "--json").out)["announced"]
    assert (svc.last.body, announced) == ({"from_sequence": 3}, [f"{svc.records['svc-1'].generation}-3"])
    assert run("announce", "svc-1", "--from", "0").code == 2
    assert run("announce", "nobody").code == 5


def test_strays_are_listed_adopted_and_exempted(api: Api, run: Run) -> None:
    key = "stray:aws:instance:i-1"
    api.strays = [{"key": key, "kind": "aws:instance", "id": "i-1", "place": {"region": "eu-central-1"}}]
    assert run("strays", "-q").out == f"{key}\n"
    assert "eu-central-1" in run("strays").out
    assert run("adopt", key, "--reason", "nobody's", "--ttl", "2h").code == 2
    assert run("adopt", key, "--reason", "nobody's", "--ttl", "2h", "-y").code == 0
    assert (api.last.path, api.last.body) == (
        f"/v1/strays/{encoded(key)}/adopt",
        {"reason": "nobody's", "ttl_seconds": TTL},
    )
    with time_machine.travel(NOW, tick=False):
        assert run("exempt", key, "--reason", "theirs", "--for", "30d").code == 0
    assert api.last.body == {"reason": "theirs", "until": "2026-12-31T12:00:00Z"}


def test_every_end_that_was_said_is_an_end_with_a_zone(svc: Api, run: Run) -> None:
    found: Any = run("extend", "svc-1", "--until", "in 1d").out
    end = datetime.now(UTC) + timedelta(days=1)
    assert re.search(rf"and is {end:%Y-%m-%d}T[0-9:]+Z\.", found)
