"""`tracker show`, `plan` and `events`."""

import json
import re
from datetime import UTC, datetime

import msgspec
import pytest
import time_machine

from tests.client.api import Api, event
from tests.client.conftest import Run
from tracker.model.delivery import Attempt, Delivery
from tracker.model.deployment import Cleanup, Resource

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
GOLDEN = """\
svc-1
  type      AwsEc2
  place     eu-central-1
  status    Terminating
  deployed  2026-12-01T00:00:00Z
  now       round 1 of its cleanup runs, reason expired: 2 gone, 1 kept (a round is one run of the cleanup)
  $/h       0.50
  cost      6.00, 0.25 of it late
  owner     ann
  labels    team=x
  mark      tag BlueprintDeployment=b7b9629c-42e3-5be2-a0fb-c01c2ec080e5 (what carries it is this deployment's)
  webhook   https://hooks.example.org/tracker
  by        arn:aws:iam::1:user/ann, 2026-12-01T12:00:00Z

Resources
  KIND          ID                   STATE             PROOF
  aws:instance  i-0123456789abcdef0  gone              DescribeInstances: terminated (2026-12-01T11:31:00Z)
  aws:volume    vol-1                gone, never seen  DescribeVolumes: not found (2026-12-01T11:32:00Z)
  aws:address   eipalloc-1           kept              it doesn't carry the mark

Deliveries
  ID   STATE    ATTEMPTS
  w-1  pending  1, last 500

What happened
  2026-12-01T00:00:00Z     Registered
  2026-12-01T11:30:01Z     Cleanup began: reason expired
"""


@pytest.fixture
def one(api: Api) -> Api:
    with time_machine.travel(NOW, tick=False):
        api.add(
            "svc-1",
            deployed_at="2026-12-01T00:00:00Z",
            ttl_seconds=11 * 3600 + 1800,
            status="Terminating",
            cleanup_webhook="https://hooks.example.org/tracker",
            cleanup=Cleanup(round=1, reason="expired"),
            resources=[
                Resource(
                    "aws:instance",
                    "i-0123456789abcdef0",
                    state="gone",
                    seen=True,
                    proof="DescribeInstances: terminated",
                    gone_at="2026-12-01T11:31:00Z",
                ),
                Resource(
                    "aws:volume",
                    "vol-1",
                    state="gone",
                    never_seen=True,
                    proof="DescribeVolumes: not found",
                    gone_at="2026-12-01T11:32:00Z",
                ),
                Resource("aws:address", "eipalloc-1", state="kept", detail="it doesn't carry the mark"),
            ],
            events=[
                event(1, "registered", "2026-12-01T00:00:00Z"),
                event(2, "terminating", "2026-12-01T11:30:01Z", "Terminating", reason="expired"),
            ],
            owner="ann",
            labels={"team": "x"},
            cost_per_hour={"amount": 0.5, "currency": "USD"},
            cost={"currency": "USD", "so_far": 6, "late": 0.25},
        )
    api.looks = 100
    api.deliveries["svc-1"] = [
        Delivery(
            blueprint_id="svc-1",
            id="w-1",
            url="https://hooks.example.org/tracker",
            body="{}",
            created_at="2026-12-01T11:30:02Z",
            attempts=[Attempt("2026-12-01T11:30:03Z", 0.2, status=500)],
        )
    ]
    return api


def test_a_deployment_is_shown_with_all_that_is_known(one: Api, run: Run) -> None:
    with time_machine.travel(NOW, tick=False):
        assert run("show", "svc-1").out == GOLDEN


@pytest.mark.usefixtures("at_terminal")
def test_a_terminal_shows_how_far_times_are(one: Api, run: Run) -> None:
    with time_machine.travel(NOW, tick=False):
        found = run("show", "svc-1").out
    assert "UTC (12 h ago)" in found
    assert "30 min ago       Cleanup began" in found


def test_what_is_late_and_what_nobody_priced_are_said_once(api: Api, run: Run) -> None:
    with time_machine.travel(NOW, tick=False):
        api.add("svc-2", "LocalDocker", deployed_at="2026-12-01T00:00:00Z", ttl_seconds=11 * 3600 + 1800)
        found = run("show", "svc-2").out
    assert "ends      2026-12-01T11:30:00Z, 30 min late\n" in found
    assert found.count("unknown") == 1
    assert not re.search(r"(?m)^  \S+ +-$", found), "a line of which nothing is known"


def test_what_a_proof_repeats_is_said_once(api: Api, run: Run) -> None:
    id_ = "4" * 64
    place = {"host": "unix:///var/run/docker.sock", "secret": "", "engine": "E", "full_id": id_}
    proof = f"inspect_container {id_}: none on engine E"
    api.add(
        "svc-2",
        "LocalDocker",
        status="Terminated",
        resources=[Resource("docker:container", id_[:12], place, state="gone", proof=proof)],
        events=[event(1, "resource_gone", "2026-12-01T11:30:01Z", kind="docker:container", id=id_, proof=proof)],
    )
    found = run("show", "svc-2").out
    assert "inspect_container: none on engine E" in found
    assert f"docker:container, {id_}, inspect_container: none on engine E" in found
    assert found.count(id_) == 1


def test_json_is_the_record_and_its_deliveries(one: Api, run: Run) -> None:
    found = json.loads(run("show", "svc-1", "--json").out)
    assert found["generation"] == one.records["svc-1"].generation
    assert [each["id"] for each in found["deliveries"]] == ["w-1"]


def test_a_field_of_a_newer_stack_is_kept_and_no_obstacle(one: Api, run: Run) -> None:
    one.more["svc-1"]["resonance"] = {"q": 7}
    assert json.loads(run("show", "svc-1", "--json").out)["resonance"] == {"q": 7}
    assert run("show", "svc-1").code == 0


def test_events_are_written_as_they_come_until_it_is_over(one: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # The stack goes on while the command waits.
    def pause(_seconds: float) -> None:
        record = one.records["svc-1"]
        more = event(3, "cleanup_succeeded", "2026-12-01T11:33:00Z", "Terminated")
        one.records["svc-1"] = msgspec.structs.replace(record, status="Terminated", events=[*record.events, more])

    monkeypatch.setattr("deployment_tracker.cli.showing.time.sleep", pause)
    lines = [json.loads(line) for line in run("events", "svc-1", "-f", "--json").out.splitlines()]
    assert [each["sequence"] for each in lines] == [1, 2, 3]


@pytest.mark.parametrize(("status", "word"), [("Terminated", "over"), ("Terminating", "ending already")])
def test_what_is_over_has_nothing_to_plan(api: Api, run: Run, status: str, word: str) -> None:
    api.add("svc-1", status=status)
    assert run("plan", "svc-1").out == f"svc-1 is {word}: there is nothing to plan.\n"
    assert json.loads(run("plan", "svc-1", "--json").out)["status"] == status


def test_a_plan_shows_what_goes_and_what_stays(api: Api, run: Run) -> None:
    api.add("svc-1")
    api.plan = {
        "resources": [
            {"kind": "aws:instance", "id": "i-1", "state": "present"},
            {"kind": "aws:volume", "id": "vol-1", "state": "kept", "detail": "no mark"},
        ],
        "digest": "d-7",
    }
    said = run("plan", "svc-1")
    goes, _, stays = said.out.partition("Stays")
    assert (said.code, "i-1" in goes, "vol-1" in stays, "no mark" in stays) == (0, True, True, True)
    assert "digest d-7 (it stands for exactly this plan" in said.out
    assert run("plan", "svc-1", "-q").out == "d-7\n"


def test_a_plan_that_is_refused_fails_and_says_why(api: Api, run: Run) -> None:
    api.add("svc-1")
    api.plan = {
        "resources": [],
        "refusal": {"class": "not_ours", "message": "i-1 doesn't carry the mark"},
        "digest": "",
    }
    said = run("plan", "svc-1")
    assert said.code == 1
    assert "i-1 doesn't carry the mark" in said.out
