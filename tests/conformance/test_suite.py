"""The suite itself: it tries all types, and says why where it can't."""

import pytest

from tests.conformance.faults import SERVED, TARGETS
from tests.conformance.target import FAULTS, Target
from tracker.model.catalogue import CATALOGUE


@pytest.mark.parametrize(
    "target", TARGETS, ids=lambda target: f"{target.label or target.deployment_type}-{target.is_real}"
)
def test_what_cannot_be_tried_says_why(target: type[Target]) -> None:
    assert set(target.reasons()) <= set(FAULTS)
    assert all(len(reason.split()) >= 4 for reason in target.reasons().values())


def test_every_type_that_is_served_is_tried() -> None:
    served = [name for name, type_ in CATALOGUE.items() if type_.module]
    assert served == [target.deployment_type for target in SERVED if not target.is_real]
