"""One stack for all tests of this folder, with each function held to its role. The sweep comes when a test says so."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from local.stack import Stack
from tests.real_targets import REQUIRED
from tests.stack.caller import Caller, Topic


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    # Many at once wait for each other: the more, the longer.
    with Stack(wait_scale=0.2 if REQUIRED else 0.1, parameters={"SweepState": "DISABLED"}) as found:
        yield found


@pytest.fixture(scope="session")
def caller(stack: Stack) -> Caller:
    return Caller(stack)


@pytest.fixture(scope="session")
def topic(stack: Stack) -> Topic:
    return Topic(stack)


@pytest.fixture
def key() -> str:
    """Nobody else's."""
    return f"service-{uuid4()}"
