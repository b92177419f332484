"""The brake: what its parameter may say, and that a mistyped one lets nothing go."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from aws_lambda_powertools.utilities.parameters.constants import DEFAULT_PROVIDERS
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from tracker import brakes
from tracker.brakes import PAUSED, parse


@pytest.fixture
def ssm() -> Iterator[Any]:
    DEFAULT_PROVIDERS.clear()
    with mock_aws():
        yield boto3.client("ssm")
    DEFAULT_PROVIDERS.clear()
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
    DEFAULT_PROVIDERS.clear()
    assert brakes.read("/stack/mode").default == "pause"
    assert brakes.CACHED_SECONDS <= 5


def test_a_mistyped_brake_is_a_pause(ssm: Any, caplog: pytest.LogCaptureFixture) -> None:
    ssm.put_parameter(Name="/stack/mode", Value="paws", Type="String")
    assert brakes.read("/stack/mode") == PAUSED
    assert PAUSED.mode("aws") == "pause"
    assert "paused" in caplog.text


def test_a_parameter_that_is_not_there_is_an_error_and_no_mode(ssm: Any) -> None:
    with pytest.raises(GetParameterError):
        brakes.read("/stack/none")
