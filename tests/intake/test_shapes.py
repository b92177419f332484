"""This is which part of a JSON value is wrong, in JSON's words, and always the part that msgspec refuses."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.intake.events import ServiceEvent
from tracker.intake.requests import RegistrationRequest
from tracker.intake.shapes import convert, decode, describe
from tracker.model.errors import Invalid, shown

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SPEC = st.dictionaries(st.sampled_from(["cpu", "gpu_count", "allow_spot", "qos", "x"]), JSON, max_size=3)
REQUESTS = st.dictionaries(
    st.sampled_from([*RegistrationRequest.__struct_fields__, "x"]),
    JSON | SPEC | st.lists(st.text(max_size=3)),
    max_size=6,
).map(lambda found: {"blueprint_id": "svc-1", "deployment_type": "AwsEc2"} | found)
TYPES: list[Any] = [RegistrationRequest, ServiceEvent, dict[str, str], list[int | None], str | None]


class Sample(msgspec.Struct, forbid_unknown_fields=True):
    texts: list[str] = []
    numbers: dict[str, float] = {}
    flag: bool | None = None


@pytest.mark.parametrize(
    ("value", "field", "got", "expected"),
    [
        ([], "body", "an array", "an object"),
        ({"texts": "a"}, "texts", "a string", "an array"),
        ({"texts": ["a", True]}, "texts[1]", "true", "a string"),
        ({"numbers": {"a": 1, "b": None}}, "numbers.b", "null", "a number"),
        ({"numbers": {"a": False}}, "numbers.a", "false", "a number"),
        ({"flag": 1}, "flag", "1", "true or false or null"),
        ({"flag": {"a": 1}}, "flag", "an object", "true or false or null"),
        ({"flags": 1}, "flags", "an unknown field", "no field of that name"),
    ],
)
def test_the_first_wrong_part_is_named_in_the_words_of_json(value: Any, field: str, got: str, expected: str) -> None:
    with pytest.raises(Invalid) as caught:
        convert(value, Sample)
    assert (caught.value.status, caught.value.field) == (400, field)
    assert (caught.value.details["got"], caught.value.details["expected"]) == (got, expected)


def test_a_number_that_no_type_holds_is_refused() -> None:
    with pytest.raises(Invalid, match="values within their bounds"):
        convert({"numbers": {"a": 10**400}}, Sample)


@pytest.mark.parametrize("type_", TYPES)
@given(value=JSON | REQUESTS)
def test_what_msgspec_refuses_is_found_and_nothing_else(type_: Any, value: Any) -> None:
    try:
        expected = msgspec.convert(value, type_)
    except msgspec.ValidationError:
        with pytest.raises(Invalid) as caught:
            convert(value, type_, whole="event")
        # This is said where no part was found wrong.
        assert caught.value.details["expected"] != "values within their bounds"
        return
    assert convert(value, type_) == expected


@given(JSON)
def test_a_value_is_described_without_being_quoted_but_for_numbers(value: Any) -> None:
    words: dict[type[Any], str] = {str: "a string", list: "an array", dict: "an object"}
    assert describe(value) == words.get(type(value), msgspec.json.encode(value).decode()) or isinstance(
        value, float | int
    )


@pytest.mark.parametrize("text", ["", "{", '{"a": "\ud800"}', "[" * 50_000, b"\xff"])
def test_text_that_is_no_json_names_its_field(text: str | bytes) -> None:
    with pytest.raises(Invalid) as caught:
        decode(text, "an event", field="event")
    assert (caught.value.status, caught.value.field) == (400, "event")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (0.5, "0.5"), (["a", None], '["a", null]'), ({"é": 1}, '{"é": 1}'), ("x", "x")],
)
def test_what_came_is_shown_as_json(value: Any, text: str) -> None:
    assert shown(value) == text
    assert Invalid("field", value, "another").details["got"] == text
