"""The world that proofs run in."""

import os
from collections.abc import Iterator

import pytest
import time_machine
from moto import mock_aws

from tests.proof.world import START, World
from tests.table import create_table

# Thousands of images, read anew for each region and world, are most of a world's time.
os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A fresh small AWS at a fixed time."""
    with time_machine.travel(START, tick=False) as clock, mock_aws():
        yield World(clock, monkeypatch, create_table)
