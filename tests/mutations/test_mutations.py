"""The list of mutations is true to the code: what it would break is there, once, and the tests that it names exist."""

import ast

import pytest

from tests.mutations.mutation import ROOT, Mutation, mutations


@pytest.mark.parametrize("mutation", [pytest.param(each, id=f"{n}-{each.name}") for n, each in enumerate(mutations())])
def test_a_mutation_breaks_what_is_there(mutation: Mutation) -> None:
    _, broken = mutation.applied()
    ast.parse(broken)
    assert mutation.why.endswith(".")
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert f"def {name.rpartition('::')[2].partition('[')[0]}" in (ROOT / file).read_text(), test


def test_enough_is_broken() -> None:
    assert len(mutations()) >= 40
    assert {"lifecycle", "store", "cleanup/core", "notify"} <= {mutation.room for mutation in mutations()}
