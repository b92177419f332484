"""This is what the page tells people to type is what the command line takes."""

import re
from importlib.resources import files

import pytest
from click.testing import CliRunner

from deployment_tracker.cli.app import tracker
from tests.client.api import REGION
from tests.ui.stand import Stand

ASSETS = files("deployment_tracker.ui").joinpath("assets")


def test_the_command_that_registers_is_one(api: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_URL", api.url)
    monkeypatch.setenv("AWS_REGION", REGION)
    (command,) = re.findall(r'REGISTER = "tracker ([^"]+)"', ASSETS.joinpath("list.js").read_text())
    result = CliRunner().invoke(tracker, command.split())
    assert result.exit_code == 0, result.output
    assert list(api.records) == ["my-service"]


def test_every_command_that_the_page_names_is_a_verb() -> None:
    text = "".join(each.read_text() for each in ASSETS.iterdir() if each.name.endswith(".js"))
    named = re.findall(r"\btracker ((?:ui|whoami|brake|register|ls|end)\b)", text)
    assert {"ui", "brake", "register"} <= set(named)
    assert set(named) <= set(tracker.list_commands(None))  # type: ignore[arg-type]
