"""This is what no call takes: a parameter or a field that it doesn't know. Who sends one means something by it, and must hear that nothing came of it."""

import json
from typing import Any

import pytest

from docs.operations import OPERATIONS, Operation
from tests.functions.conftest import Stack, an_event, answered
from tests.functions.test_answers import registered, stray

CHANGING = [each for each in OPERATIONS if each.method != "get"]
NO_OBJECTS = [
    "\ufeff{}",
    "{} x",
    "{}\x00",
    '{"a": "\\ud800"}',
    '{"\\ud800": 1}',
    '{"a": 1e400}',
    '{"a": NaN}',
    "{'a': 1}",
    "  ",
    "null",
    "[" * 5000,
]


@pytest.fixture
def there(stack: Stack) -> Stack:
    """A stack with what the examples are about, which no refused call changes."""
    registered(stack)
    stray(stack)
    return stack


def refused(stack: Stack, operation: Operation, **changes: Any) -> tuple[int, str, str]:
    """Return what a call is answered that is its example with these changes: the status, the code and the field."""
    answer = stack.call(operation.event.partition("-")[0], an_event(operation.event) | changes)
    status, body = answered(answer)
    error = body.get("error", {})
    return status, error.get("code"), error.get("field")


@pytest.mark.parametrize("name", ["force", "Status", "plan ", ""])
def test_no_call_takes_a_parameter_that_it_does_not_know(there: Stack, name: str) -> None:
    query = {"queryStringParameters": {name: "true"}, "multiValueQueryStringParameters": {name: ["true"]}}
    for operation in OPERATIONS:
        assert refused(there, operation, **query) == (400, "malformed", name), operation.id


@pytest.mark.parametrize("name", ["force", "Reason", "TTL_seconds", ""])
def test_no_call_takes_a_field_that_it_does_not_know(there: Stack, name: str) -> None:
    for operation in CHANGING:
        body = json.dumps(json.loads(an_event(operation.event)["body"] or "{}") | {name: True})
        assert refused(there, operation, body=body) == (400, "malformed", name), operation.id


def test_no_call_takes_what_is_no_json_object(there: Stack) -> None:
    for operation in CHANGING:
        for body in NO_OBJECTS:
            assert refused(there, operation, body=body) == (400, "malformed", "body"), (operation.id, body[:20])
