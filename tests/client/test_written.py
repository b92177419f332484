"""JSON that someone wrote: refused wherever it could mean two things, before anything is registered by it."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployment_tracker.written import read
from tests.client.api import Api
from tests.client.conftest import Run
from tests.intake.test_model_records import a_record

RECORD = json.dumps(a_record("AwsEc2", blueprint_id="one", deployed_at=None, expires_at=None, ttl_seconds=360_000))
UNCLEAR = {
    "key twice": RECORD.replace('"blueprint_id"', '"blueprint_id": "another", "blueprint_id"'),
    "key twice, spelt otherwise": RECORD.replace('"blueprint_id"', '"blueprint_i\\u0064": "another", "blueprint_id"'),
    "key twice, deeper": RECORD.replace('"resource_ids": {', '"resource_ids": {"instance_id": "i-0aaaaaaaaaaaaaaa1", '),
    "key twice, deepest": RECORD.replace('"priority": 0.0', '"priority": 0.0, "priority": 0.0'),
    "NaN": RECORD.replace('"cpu": 2.0', '"cpu": NaN'),
    "infinity": RECORD.replace('"cpu": 2.0', '"cpu": -Infinity'),
    "too large": RECORD.replace('"cpu": 2.0', '"cpu": 1e400'),
    "too many digits": RECORD.replace("360000", "9" * 5000),
    "half a character": RECORD.replace("eu-central-1", "\\ud800"),
    "half a character for a key": RECORD.replace('"metadata"', '"\\ud800"'),
    "deep": RECORD.replace('"metadata": {}', '"metadata": ' + "[" * 50_000),
    "deep and closed": RECORD.replace('"metadata": {}', '"metadata": ' + "[" * 50_000 + "]" * 50_000),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_is_unclear_is_refused_and_nothing_registered(api: Api, run: Run, tmp_path: Path, name: str) -> None:
    assert UNCLEAR[name] != RECORD
    for text in (f'{{"one": {UNCLEAR[name]}}}', f"{RECORD.replace('one', 'two')}\n{UNCLEAR[name]}\n"):
        (tmp_path / "state.json").write_text(text)
        said = run("import", str(tmp_path / "state.json"), "-y")
        assert (said.code, api.calls) == (2, [])
        assert "Nothing of it was registered" in said.err
    said = run("register", "-f", "-", input=UNCLEAR[name])
    assert (said.code, api.calls) == (2, [])
    assert said.err.startswith("error: stdin ")


def test_a_key_of_the_file_that_is_there_twice_is_refused(api: Api, run: Run) -> None:
    other = RECORD.replace("i-0123456789abcdef0", "i-0aaaaaaaaaaaaaaa1")
    said = run("import", "-", "-y", input=f'{{"one": {RECORD}, "one": {other}}}')
    assert (said.code, api.calls) == (2, [])
    assert "the key 'one' twice" in said.err


def test_a_byte_order_mark_is_passed_over(api: Api, run: Run) -> None:
    """As PowerShell writes it."""
    assert run("import", "-", "-y", input=f'\ufeff{{"one": {RECORD}}}').code == 0
    assert list(api.records) == ["one"]


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_an_end_that_no_calendar_has_stops_no_other(api: Api, run: Run, text: str) -> None:
    bad = RECORD.replace('"expires_at": null', f'"expires_at": "{text}"')
    assert bad != RECORD
    said = run("import", "-", "-y", input=f'{{"bad": {bad}, "one": {RECORD}}}')
    assert (said.code, list(api.records)) == (1, ["one"])
    assert "is no time" in said.err


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=9,
)


@given(JSON, st.booleans())
def test_what_is_clear_is_read_as_it_is(value: object, ascii_: bool) -> None:
    assert read(json.dumps(value, ensure_ascii=ascii_)) == value


@given(st.text())
def test_nothing_else_is_raised(text: str) -> None:
    with suppress(ValueError):
        read(text)
