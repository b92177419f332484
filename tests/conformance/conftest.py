"""This is what the conformance suite stands on."""

from collections.abc import Iterator

import pytest
from moto import mock_aws

from tests.conformance.life import Life
from tests.conformance.matrix import TRIED
from tests.conformance.target import Target
from tests.real_targets import busybox, docker_engine, labels, make_key, make_sshd, sshd
from tests.table import create_table

__all__ = ["busybox", "docker_engine", "labels", "make_key", "make_sshd", "sshd"]


@pytest.fixture
def target(
    target_class: type[Target], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Target]:
    """The place where it is cleaned up, with nothing on it."""
    with mock_aws(), target_class(request, monkeypatch) as found:
        yield found


@pytest.fixture
def life(target: Target) -> Life:
    """A deployment's life there, over an empty table."""
    create_table("tracker")
    return Life(target, "tracker")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say in each test's report what it tries."""
    for item in items:
        mark, callspec = item.get_closest_marker("fault"), getattr(item, "callspec", None)
        if mark and callspec and not callspec.params["target_class"].label:
            item.user_properties.append((TRIED, f"{callspec.params['target_class'].deployment_type} {mark.args[0]}"))
