"""Every refusal speaks of JSON: no word of Python's, of a library or of a parser is in a text that a caller reads."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.fakes import NOW
from tracker.intake import api, events
from tracker.intake.amendment import AMENDABLE, parse_amendment
from tracker.intake.listing import FILTERS, parse_query
from tracker.intake.registration import parse_registration
from tracker.intake.requests import RegistrationRequest
from tracker.model.deployment import Deployment
from tracker.model.errors import Problem
from tracker.model.settings import Settings

SETTINGS = Settings(aws_account="123456789012")
FOREIGN = re.compile(
    r"NoneType|\bNone\b|\bTrue\b|\bFalse\b|\b(?:int|str|dict|bool|float|tuple)\b|msgspec|\bDecode|Traceback"
    r"|recursion|truncated|codec|surrogate|[a-z]Error\b|Exception|<[a-z]+ |0x[0-9a-f]+|\bgot *(?:,|$)|^: |expected *,"
)
EC2 = {
    "blueprint_id": "svc-1",
    "deployment_type": "AwsEc2",
    "region": "eu-central-1",
    "resource_ids": {"instance_id": "i-0123456789abcdef0"},
    "resource_spec": {"cpu": 2.0, "qos": {"priority": 1.0}},
    "metadata": {"owner": "ops"},
    "webhook_events": ["moved"],
}
ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e300,
    10**30,
    "",
    "x",
    "\x00",
    [],
    ["x"],
    [None],
    [[]],
    {},
    {"x": None},
    {"x": {}},
]
EVENT = {"id": "1", "time": "2030-01-01T00:00:00Z", "source": "s", "detail": {}}
DEEP = "[" * 100_000
BODIES = [
    "",
    "{",
    "[",
    "nul",
    "tru",
    '"',
    "{}{}",
    "[]",
    "1",
    "null",
    "true",
    '"x"',
    DEEP,
    '{"a":' * 20_000,
    '{"a": 1, "a": 2}',
    "NaN",
    "\ud800",
]


def deployment() -> Deployment:
    return parse_registration(json.dumps(EC2), SETTINGS, now=NOW, registered_by="b", generation="g")


def register(body: Any) -> object:
    return parse_registration(body, SETTINGS, now=NOW, registered_by="b", generation="g")


def amend(body: Any) -> object:
    return parse_amendment(body, deployment(), SETTINGS, now=NOW)


def text_of(call: Callable[[], object]) -> str:
    """Return what a caller would be told; empty if nothing is wrong."""
    try:
        call()
    except Problem as found:
        problem = found
    else:
        return ""
    assert problem.status in (400, 409, 422), problem.message
    for text in (problem.message, *(str(problem.details.get(name, "-")) for name in ("got", "expected"))):
        assert not FOREIGN.search(text), text
        assert text.isprintable(), text
        assert text.strip()
        assert len(text) < 4_000, text
    json.dumps(api.explain(problem)).encode()
    return problem.message


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of each part of a value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in parts for place in places(each, (*path, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The value with another part there."""
    if not path:
        return new
    changed: Any = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = put(value[path[0]], path[1:], new)
    return changed


@pytest.mark.parametrize("new", ODD, ids=repr)
def test_each_part_of_a_registration_that_is_wrong_is_told_in_words_of_json(new: Any) -> None:
    every = EC2 | {name: EC2.get(name) for name in RegistrationRequest.__struct_fields__}
    for path in places(every):
        body = put(every, path, new)
        text_of(lambda body=body: register(json.dumps(body)))  # type: ignore[misc]
        # As an event's detail, which is decoded already.
        text_of(lambda body=body: register(body))  # type: ignore[misc]


@pytest.mark.parametrize("new", ODD, ids=repr)
def test_each_part_of_an_amendment_that_is_wrong_is_told_in_words_of_json(new: Any) -> None:
    every = {name: EC2.get(name, "x") for name in AMENDABLE}
    for path in places(every):
        if path:
            body = {path[0]: put(every, path, new)[path[0]]}
            text_of(lambda body=body: amend(json.dumps(body)))  # type: ignore[misc]
    text_of(lambda: amend(json.dumps(new)))


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body[:12])
def test_what_is_no_json_is_told_in_words_of_json(body: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: register(body),
        lambda: amend(body),
        lambda: api.read_reasons(body),
        lambda: api.json_object(body, allowed={"from_sequence"}),
        lambda: events.read(body, NOW),
    ]
    for call in calls:
        text_of(call)
    assert text_of(lambda: register(body))


def test_an_events_detail_that_is_nested_too_deeply_is_told_so() -> None:
    detail: Any = {}
    for _ in range(100_000):
        detail = {"a": detail}
    assert "nested too deeply" in text_of(lambda: register(detail))


@pytest.mark.parametrize("new", ODD, ids=repr)
def test_each_part_of_an_event_that_is_wrong_is_told_in_words_of_json(new: Any) -> None:
    for path in places(EVENT):
        body = json.dumps(put(EVENT, path, new))
        text_of(lambda body=body: events.read(body, NOW))  # type: ignore[misc]


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("value", ["", "x", "\x00", "0", "-1", "\u0663", "9" * 500])
def test_each_filter_that_is_wrong_is_told_in_words(name: str, value: str) -> None:
    with suppress(AssertionError):
        assert text_of(lambda: parse_query({name: value})) or name == "id"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("abcäöü-/. \x00\u202e", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc.~", max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(place=st.sampled_from(places(EC2)), new=JSON)
@examples(max_examples=300, deadline=None)
def test_whatever_stands_anywhere_is_told_in_words_of_json(place: tuple[Any, ...], new: Any) -> None:
    text_of(lambda: register(json.dumps(put(EC2, place, new))))
    text_of(lambda: register(put(EC2, place, new)))
    if place:
        text_of(lambda: amend(json.dumps({place[0]: put(EC2, place, new)[place[0]]})))


def test_a_type_that_is_not_served_is_told_which_are() -> None:
    few = Settings(enabled_types=["LocalDocker", "AwsEc2"])
    for type_ in ("GcpGce", "HetznerServer", "awsec2", "x"):
        body = json.dumps(EC2 | {"deployment_type": type_})
        text = text_of(lambda body=body: parse_registration(body, few, now=NOW, registered_by="b", generation="g"))  # type: ignore[misc]
        assert text.startswith("deployment_type: expected a type that this stack serves: LocalDocker, AwsEc2"), text
    none = Settings(enabled_types=[])
    text = text_of(lambda: parse_registration(json.dumps(EC2), none, now=NOW, registered_by="b", generation="g"))
    assert "this stack serves no type" in text


@pytest.mark.parametrize("type_", ["LocalDocker", "LocalKubernetes", "LocalHypervisor"])
def test_a_region_of_a_type_that_has_none_is_refused(type_: str) -> None:
    body = {"blueprint_id": "svc-1", "deployment_type": type_, "region": "eu-central-1"}
    assert text_of(lambda: register(json.dumps(body))).startswith("region: expected no region")
