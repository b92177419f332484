"""The brake: what its parameter may say, and that a mistyped one lets nothing go."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import boto3
import pytest
import time_machine
from aws_lambda_powertools.utilities.parameters.constants import DEFAULT_PROVIDERS
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from deployment_tracker.brakes import parse_brakes
from tracker.model import brakes
from tracker.model.brakes import ENFORCED, PAUSED, parse


@pytest.fixture
def ssm() -> Iterator[Any]:
    DEFAULT_PROVIDERS.clear()
    brakes._absent.clear()
    with mock_aws():
        yield boto3.client("ssm")
    DEFAULT_PROVIDERS.clear()


@pytest.mark.parametrize(
    ("text", "aws", "gcp"),
    [
        ("enforce", "enforce", "enforce"),
        ("pause", "pause", "pause"),
        ("observe", "observe", "observe"),
        ("enforce, gcp=pause", "enforce", "pause"),
        ("pause,aws=enforce", "enforce", "pause"),
        (" enforce ,  gcp = observe , aws=pause ", "pause", "observe"),
    ],
)
def test_a_mode_is_for_all_and_its_exceptions_are_by_platform(text: str, aws: str, gcp: str) -> None:
    modes = parse(text)
    assert (modes.mode("aws"), modes.mode("gcp")) == (aws, gcp)


@pytest.mark.parametrize(
    "text", ["", "go", "Enforce", "enforce,", "enforce, aws", "enforce, aws=", "aws=pause", "enforce;aws=pause"]
)
def test_what_is_no_mode_is_an_error_that_shows_the_form(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse(text)


def test_a_platform_that_is_none_is_an_error_that_shows_which_there_are() -> None:
    assert parse("enforce, aws=pause", {"aws", "gcp"}).mode("aws") == "pause"
    with pytest.raises(ValueError, match="'asw' is none of aws, gcp"):
        parse("enforce, asw=pause", {"aws", "gcp"})


@pytest.mark.parametrize("text", ["enforce, aws=pause, aws=enforce", "pause,aws=enforce,gcp=pause, aws =enforce"])
def test_a_platform_that_is_there_twice_is_an_error_for_the_stack_and_the_client(text: str) -> None:
    """Which mode is meant can't be known, so cleanups are paused."""
    with pytest.raises(ValueError, match="'aws' is there twice"):
        parse(text)
    with pytest.raises(ValueError, match=text):
        parse_brakes(text, {"aws", "gcp"})


@given(text=st.text(max_size=40))
def test_no_text_is_more_than_an_error(text: str) -> None:
    try:
        parse(text)
    except ValueError:
        return
    assert text.partition(",")[0].strip() in brakes.MODES


def test_the_parameter_is_read_and_not_again_within_five_seconds(ssm: Any) -> None:
    ssm.put_parameter(Name="/stack/mode", Value="enforce, gcp=pause", Type="String")
    assert brakes.read("/stack/mode") == parse("enforce, gcp=pause")
    ssm.put_parameter(Name="/stack/mode", Value="pause", Type="String", Overwrite=True)
    assert brakes.read("/stack/mode").default == "enforce"
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=5, milliseconds=1)):
        assert brakes.read("/stack/mode").default == "pause"


def test_a_mistyped_brake_is_a_pause(ssm: Any, caplog: pytest.LogCaptureFixture) -> None:
    ssm.put_parameter(Name="/stack/mode", Value="paws", Type="String")
    assert brakes.read("/stack/mode") == PAUSED
    assert PAUSED.mode("aws") == "pause"
    assert "paused" in caplog.text


def test_who_asks_is_told_of_a_brake_that_cannot_be_read(ssm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    unreadable = Mock()
    ssm.put_parameter(Name="/stack/mode", Value="enforce, gcp=pause", Type="String")
    brakes.read("/stack/mode", unreadable)
    brakes.read("/stack/none", unreadable)
    assert not unreadable.called
    ssm.put_parameter(Name="/stack/mistyped", Value="paws", Type="String")
    brakes.read("/stack/mistyped", unreadable)
    assert unreadable.call_count == 1
    denied = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetParameter")
    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", Mock(side_effect=denied))
    with pytest.raises(GetParameterError):
        brakes.read("/stack/denied", unreadable)
    assert unreadable.call_count == 2


def test_ssm_is_not_waited_for_longer_than_a_plan_can_spare(ssm: Any) -> None:
    brakes.read("/stack/none")
    config = DEFAULT_PROVIDERS["ssm"].client.meta.config
    tries = config.retries["total_max_attempts"]
    assert tries * (config.connect_timeout + config.read_timeout) <= 8


def test_without_a_brake_cleanups_are_enforced(ssm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert brakes.read("/stack/none") == ENFORCED
    # As fresh as one that is there.
    ssm.put_parameter(Name="/stack/none", Value="pause", Type="String")
    assert brakes.read("/stack/none") == ENFORCED
    monkeypatch.setattr(brakes, "_absent", {})
    assert brakes.read("/stack/none") == PAUSED


def test_a_brake_that_cannot_be_read_is_an_error_and_no_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    denied = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetParameter")
    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", Mock(side_effect=denied))
    with mock_aws(), pytest.raises(GetParameterError):
        brakes.read("/stack/denied")
