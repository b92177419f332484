"""The world that proofs run in."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import time_machine
from moto import mock_aws

from tests.proof.world import START, World
from tests.table import create_table


@pytest.fixture
def make_world(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[World]]:
    """A fresh small AWS at a fixed time, each time it is called."""

    @contextmanager
    def made() -> Iterator[World]:
        with time_machine.travel(START, tick=False) as clock, mock_aws():
            yield World(clock, monkeypatch, create_table)

    return made


@pytest.fixture
def world(make_world: Callable[[], AbstractContextManager[World]]) -> Iterator[World]:
    """One of them."""
    with make_world() as made:
        yield made
