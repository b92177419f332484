"""The types whose provider doesn't say whose a credential is: a not-found proves nothing there until the thing was seen."""

import pytest

from tests.cleanup.rest_target import NO_ACCOUNT
from tests.conformance.conftest import life, target
from tests.conformance.life import Life
from tests.conformance.matrix import targets
from tests.conformance.target import Target

__all__ = ["life", "target"]

NAMELESS = [each for each in targets() if each.na.items() >= NO_ACCOUNT.items()]


def test_these_types_are_known() -> None:
    assert {each.deployment_type for each in NAMELESS} == {
        "LambdaLabsInstance",
        "TensorDockServer",
        "IoNetCluster",
        "RenderDispersedNode",
        "HetznerServer",
    }


@pytest.mark.parametrize("target_class", NAMELESS, ids=lambda each: each.deployment_type)
def test_what_was_never_seen_is_not_gone(target: Target, life: Life) -> None:
    made = target.make()
    life.register(made)
    with target.change_account(made):
        life.run(life.begin())
    problem = life.record.cleanup.last_error
    assert problem
    assert problem.error_class == "unproven"
    assert target.asked() == []


@pytest.mark.parametrize("target_class", NAMELESS, ids=lambda each: each.deployment_type)
def test_an_account_cannot_be_confirmed(target: Target, life: Life) -> None:
    made = target.make()
    life.register(made, metadata=made.metadata | {"account": "team-1"})
    life.run(life.begin())
    problem = life.record.cleanup.last_error
    assert problem
    assert problem.error_class == "credentials"
    assert target.asked() == []
