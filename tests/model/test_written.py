"""JSON that someone wrote is read by one reader, wherever it comes from, and is refused if it could mean two things."""

import msgspec
import pytest

from tracker.model.settings import JSON_FIELDS, from_environment
from tracker.model.written import TwiceError, read
from tracker.secrets import SecretFormatError, parse_secret


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "a": 2}}]', '{"\\u0061": 1, "a": 2}'])
def test_a_key_that_is_there_twice_is_named(text: str) -> None:
    with pytest.raises(TwiceError) as twice:
        read(text)
    assert twice.value.key == "a"


def test_what_json_says_is_returned() -> None:
    assert read('{"a": [{"b": 1}, {"b": 2}], "b": null}') == {"a": [{"b": 1}, {"b": 2}], "b": None}


@pytest.mark.parametrize("field", sorted(JSON_FIELDS))
def test_a_setting_that_has_a_key_twice_stops_the_function_and_is_named(field: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"{field.upper()} has the key 'gcp' twice"):
        from_environment({field.upper(): '{"gcp": "one", "gcp": "another"}'})


@pytest.mark.parametrize("text", ["{", "\udcff", "[" * 100_000], ids=["torn", "bytes", "deep"])
def test_a_setting_that_is_no_json_is_named(text: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="MARKS isn't JSON"):
        from_environment({"MARKS": text})


@pytest.mark.parametrize(
    "text", ['{"token": "one", "token": "another"}', '{"token": 1}', "torn", "", '"\udcff"', "[" * 100_000]
)
def test_a_secret_that_is_no_object_of_texts_or_has_a_key_twice_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(SecretFormatError) as refused:
        parse_secret(text)
    assert "token" not in str(refused.value)
