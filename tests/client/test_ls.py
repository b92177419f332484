"""`tracker ls`: columns, words, colours, outputs."""

import json
import re
from datetime import UTC, datetime

import msgspec
import pytest
import time_machine
import yaml

from tests.client.api import Api
from tests.client.conftest import Run
from tracker.model.deployment import Cleanup, CleanupError

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
HOLD = {"reason": "a demo", "by": "ann", "at": "2026-12-01T11:00:00Z", "until": "2026-12-02T12:00:00Z"}
GOLDEN = """\
NAME    TYPE           PLACE         OWNER  STATUS               ENDS         $/H      COST
a-runs  AwsEc2         eu-central-1  ann    Active               in 2 h      0.42      5.04
b-soon  VultrInstance  vultr         -      Active, held         in 30 min      -         -
c-late  AwsEc2         eu-central-1  -      Active, failing      3 min late  0.10  1.20 EUR
d-held  LocalDocker    local         -      Active, quarantined  no end         -         -
e-ends  AwsEc2         eu-central-1  -      Terminating          ending         -         -
"""
PLAIN = """\
NAME    TYPE           PLACE         OWNER  STATUS               ENDS                   $/H      COST  ATTEMPT  NEXT                      ERROR
a-runs  AwsEc2         eu-central-1  ann    Active               2026-12-01T14:00:00Z  0.42      5.04        -  -                         -
b-soon  VultrInstance  vultr         -      Active, held         2026-12-01T12:30:00Z     -         -        -  -                         -
c-late  AwsEc2         eu-central-1  -      Active, failing      2026-12-01T11:57:00Z  0.10  1.20 EUR        2  2026-12-01T12:04:00.000Z  credentials
d-held  LocalDocker    local         -      Active, quarantined  no end                   -         -        8  -                         not_ours
e-ends  AwsEc2         eu-central-1  -      Terminating          ending                   -         -        -  -                         -
"""


def failed(error: str, failures: int, next_at: str | None = None) -> Cleanup:
    return Cleanup(
        failures=failures,
        last_error=msgspec.convert(
            {"class": error, "message": "it says why", "at": "2026-12-01T11:00:00Z"}, CleanupError
        ),
        next_attempt_at=next_at,
        quarantined=next_at is None,
    )


@pytest.fixture
def five(api: Api) -> Api:
    with time_machine.travel(NOW, tick=False):
        api.add(
            "a-runs",
            deployed_at="2026-12-01T00:00:00Z",
            ttl_seconds=14 * 3600,
            owner="ann",
            cost_per_hour={"amount": 0.42, "currency": "USD"},
            cost={"currency": "USD", "so_far": 5.04, "late": 0},
        )
        api.add("b-soon", "VultrInstance", ttl_seconds=1800, hold=HOLD)
        api.add(
            "c-late",
            deployed_at="2026-12-01T00:00:00Z",
            ttl_seconds=12 * 3600 - 180,
            cleanup=failed("credentials", 2, "2026-12-01T12:04:00.000Z"),
            cost_per_hour={"amount": 0.1, "currency": "USD"},
            cost={"currency": "EUR", "so_far": 1.2, "late": 0.01},
        )
        api.add("d-held", "LocalDocker", cleanup=failed("not_ours", 8))
        api.add("e-ends", ttl_seconds=3600, status="Terminating")
    return api


@pytest.mark.usefixtures("at_terminal")
def test_a_terminal_shows_names_places_ends_and_money(five: Api, run: Run) -> None:
    with time_machine.travel(NOW, tick=False):
        assert run("ls", "--no-color").out == GOLDEN


@pytest.mark.usefixtures("at_terminal")
@pytest.mark.parametrize(
    "arguments",
    [
        (
            "register",
            "svc-3",
            "AwsEc2",
            "--in",
            "eu-central-1",
            "--id",
            "instance_id=i-0123456789abcdef0",
            "--ttl",
            "1h",
        ),
        ("amend", "svc-1", "--ttl", "1h"),
        ("extend", "svc-1", "--until", "in 1h"),
        ("hold", "svc-1", "--reason", "a demo", "--for", "1h"),
        ("ls", "--no-color"),
        ("show", "svc-1"),
    ],
)
def test_every_verb_says_an_hour_alike(api: Api, run: Run, arguments: tuple[str, ...]) -> None:
    with time_machine.travel(NOW, tick=False) as clock:
        api.add("svc-1", ttl_seconds=3600)
        # What a person reads comes a moment later.
        clock.shift(0.8)
        assert "in 1 h" in run(*arguments).out


def test_elsewhere_times_are_rfc_3339_and_no_line_is_cut(five: Api, run: Run) -> None:
    with time_machine.travel(NOW, tick=False):
        assert run("ls", "-v").out == PLAIN


@pytest.mark.usefixtures("at_terminal")
def test_colours_say_what_a_word_says_too(five: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with time_machine.travel(NOW, tick=False):
        coloured = run("ls").out
        assert re.search(r"\x1b\[1;34mTerminating +\x1b\[0m", coloured)
        assert "\x1b[1;31m3 min late\x1b[0m" in coloured
        assert re.search(r"\x1b\[33min 30 min +\x1b\[0m", coloured)
        monkeypatch.setenv("NO_COLOR", "1")
        assert run("ls").out == GOLDEN


def test_a_hold_that_is_over_isnt_said(five: Api, run: Run) -> None:
    with time_machine.travel(datetime(2026, 12, 2, 12, 0, 1, tzinfo=UTC), tick=False):
        assert ", held" not in run("ls").out
        assert "  held" not in run("show", "b-soon").out


def test_keys_alone_are_one_on_a_line(five: Api, run: Run) -> None:
    assert run("ls", "-q").out.split() == ["a-runs", "b-soon", "c-late", "d-held", "e-ends"]


def test_json_and_yaml_are_what_the_api_said(five: Api, run: Run) -> None:
    found = json.loads(run("ls", "--json").out)
    assert [each["blueprint_id"] for each in found] == ["a-runs", "b-soon", "c-late", "d-held", "e-ends"]
    assert found[0]["cost_per_hour"] == {"amount": 0.42, "currency": "USD"}
    assert yaml.safe_load(run("ls", "-o", "yaml").out) == found
    assert json.loads(run("--json", "ls").out) == found


def test_pages_are_followed_to_the_end(five: Api, run: Run) -> None:
    five.page_size = 2
    assert len(run("ls", "-q").out.split()) == 5
    assert [call.query.get("cursor") for call in five.calls] == [None, "2", "4"]


def test_filters_are_the_apis(five: Api, run: Run) -> None:
    with time_machine.travel(NOW, tick=False):
        assert run("ls", "-q", "--overdue").out.split() == ["c-late"]
    run("ls", "--expiring", "1h30m", "--type", "AwsEc2", "--owner", "ann", "--label", "team=x", "--held", "--failing")
    assert five.last.query == {
        "expiring_within": "5400",
        "deployment_type": "AwsEc2",
        "owner": "ann",
        "label": "team=x",
        "held": "true",
        "failing": "true",
        "limit": "200",
    }


def test_nothing_registered_and_nothing_that_matches_are_told_apart(api: Api, run: Run) -> None:
    assert "tracker register" in run("ls").err
    said = run("ls", "--quarantined")
    assert (said.code, said.out) == (0, "")
    assert "Nothing matches" in said.err


def test_a_live_view_needs_a_terminal(api: Api, run: Run) -> None:
    said = run("ls", "-w")
    assert said.code == 2
    assert "terminal" in said.err


@pytest.mark.usefixtures("at_terminal")
def test_a_live_view_goes_on_until_ctrl_c(five: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def pause(_seconds: float) -> None:
        five.add("f-new")
        if len(five.calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("deployment_tracker.cli.listing.time.sleep", pause)
    said = run("ls", "-w")
    first, _, second = said.out.partition("f-new")
    assert (said.code, "a-runs" in first, "Traceback" in said.err) == (130, True, False)
    assert len(five.calls) == 2
    assert second


def test_control_characters_are_shown_and_not_obeyed(api: Api, run: Run) -> None:
    api.add("evil", owner="\x1b[2Jann\x07")
    assert "\\x1b[2Jann\\x07" in run("ls").out
    assert "\x1b" not in run("ls").out
