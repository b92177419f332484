"""The world that proofs run in."""

from collections.abc import Iterator

import pytest
import time_machine
from moto import mock_aws

from tests.proof.world import START, World
from tests.table import create_table


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A fresh small AWS at a fixed time."""
    with time_machine.travel(START, tick=False) as clock, mock_aws():
        yield World(clock, monkeypatch, create_table)
