"""On which targets a test of the suite is tried: `fault` marks it with what it tries."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.matrix import targets
from tests.conformance.target import FAULTS, Target
from tests.sample import test_example_machine as sample

SERVED = targets()
# Of the sample in CONTRIBUTING.md, too: what it shows to people holds.
TARGETS: list[type[Target]] = [*SERVED, *sample.TARGETS]


def fault(*names: str) -> Callable[[Any], Any]:
    """Tries a fault on every target where it can be. A test that tries several takes the `name` of each."""
    if not set(names) <= FAULTS.keys():
        raise ValueError(names)
    params = [
        pytest.param(
            *((target, name) if len(names) > 1 else (target,)),
            id=f"{target.label or target.deployment_type}{'-real' if target.is_real else ''}{f'-{name}' if len(names) > 1 else ''}",
            marks=[pytest.mark.fault(name), *([pytest.mark.real] if target.is_real else [])],
        )
        for name in names
        for target in TARGETS
        if name not in target.reasons()
    ]
    arguments = ["target_class", "name"] if len(names) > 1 else ["target_class"]
    return pytest.mark.parametrize(arguments, params)
