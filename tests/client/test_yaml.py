"""YAML that any reader takes for the same value."""

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from deployment_tracker.block_yaml import dump

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
@example({"a": [[{"b": []}, {}], {"c": {"d": "no"}}], "": [{"x": 1, "y": [2]}]})
@example({"yes": "yes", "n": "null", "t": "2026-12-01", "f": 1e16, "g": 5e-324, "u": "\u2028\ufeff\x85\U0001f600\x7f"})
def test_every_json_value_comes_back(value: Any) -> None:
    assert yaml.safe_load(dump(value)) == value


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"a": 1, "b": ["x", {"c": None}]}, '"a": 1\n"b":\n  - "x"\n  - "c": null\n'),
        ([], "[]\n"),
        ({"a": {}}, '"a": {}\n'),
    ],
)
def test_it_is_blocks(value: Any, wanted: str) -> None:
    assert dump(value) == wanted
