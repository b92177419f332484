"""Whole cleanups of every type with a REST API, each with one answer that no document has: a proxy's page, another type, a new state.

Whatever is answered, nothing counts as gone that is there, nothing is asked to go that isn't the deployment's, and no
credential is sent to another host.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.cleanup.answers import changing, members, with_value
from tests.cleanup.cleanups import TARGETS, Cleanups, cleanups, none_of, without_network
from tests.cleanup.rest_target import AccountTarget
from tests.conformance.conftest import target
from tests.standin import Reply, Request

__all__ = ["cleanups", "target", "without_network"]

pytestmark = pytest.mark.parametrize("target_class", TARGETS, ids=lambda each: each.deployment_type)


def unsound(cleanups: Cleanups, request: Request, answer: Reply | Callable[[Request], Reply]) -> list[str]:
    """Return what came of an answer that never may: a false end, or someone else's resource asked to go."""
    course = cleanups.run(request, answer)
    return [each for each in course.problems if "can't be read" not in each]


# Of an operation's members so many are tried, evenly spread.
MEMBERS_MAX = 25


# As Vast.ai's document says it of an instance that is gone.
GONE = ("instances",)


def test_a_member_that_is_null_proves_nothing(target: AccountTarget, cleanups: Cleanups) -> None:
    problems = []
    for name, (request, reply) in cleanups.exchanges.items():
        ways = list(members(reply.body)) if reply.raw else []
        for way in ways[:: len(ways) // MEMBERS_MAX + 1]:
            change = partial(with_value, way=way, value=None)
            found = unsound(cleanups, request, changing(target.server, change)) if way != GONE else []
            problems += [f"{name}, {'.'.join(way)} is null: {each}" for each in found]
    none_of(problems)


@pytest.mark.parametrize(
    "body", [None, b"<html>Please log in</html>", {}, [], b'"ok"'], ids=["empty", "html", "object", "list", "text"]
)
def test_a_success_that_holds_nothing_of_the_kind_proves_nothing(
    target: AccountTarget, cleanups: Cleanups, body: Any
) -> None:
    problems = []
    for name, (request, _) in cleanups.exchanges.items():
        found = unsound(cleanups, request, Reply(200, body))
        problems += [f"{name}: {each}" for each in found]
    none_of(problems)


# As gateways and web frameworks in front of an API say it, of a path; and an answer without any word.
FOREIGN: dict[str, tuple[int, Any]] = {
    "kong": (404, {"message": "no Route matched with those values"}),
    "aws": (404, {"message": "Missing Authentication Token"}),
    "fastapi": (404, {"detail": "Not Found"}),
    "nest": (404, {"statusCode": 404, "message": "Cannot GET /v1/things", "error": "Not Found"}),
    "nulls": (410, dict.fromkeys(("error", "message", "detail", "msg", "id", "code", "title"))),
}


@pytest.mark.parametrize("form", FOREIGN)
def test_a_not_found_that_is_not_of_the_resource_proves_nothing(
    target: AccountTarget, cleanups: Cleanups, form: str
) -> None:
    problems = []
    for name, (request, _) in cleanups.exchanges.items():
        if request.method == "GET":
            problems += [f"{name}: {each}" for each in unsound(cleanups, request, Reply(*FOREIGN[form]))]
    none_of(problems)


def test_an_error_in_the_providers_words_proves_nothing_of_another_call(
    target: AccountTarget, cleanups: Cleanups
) -> None:
    problems = []
    for name, (request, _) in cleanups.exchanges.items():
        for status in (404, 409, 500):
            if status == 404 and is_of_a_resource(cleanups, request):
                continue
            found = unsound(cleanups, request, target.error(status, "it is what it is"))
            problems += [f"{name}, {status}: {each}" for each in found]
    none_of(problems)


def is_of_a_resource(cleanups: Cleanups, request: Request) -> bool:
    """Return whether a call is about one resource alone, so that its "not found" is one's own."""
    ids = [part for _, id_ in (*cleanups.made.ours, *cleanups.made.kept) for part in id_.split("/")]
    return any(request.path.rstrip("/").endswith(f"/{id_}") for id_ in ids)


@pytest.mark.parametrize("status", [302, 307])
def test_a_redirection_is_not_followed(
    target: AccountTarget, cleanups: Cleanups, without_network: list[str], status: int
) -> None:
    problems = []
    for name, (request, _) in cleanups.exchanges.items():
        location = {"Location": f"{target.server.url.replace('127.0.0.1', 'localhost')}{request.path}"}
        found = unsound(cleanups, request, Reply(status, {}, location))
        problems += [f"{name}: {each}" for each in found]
    none_of(problems + without_network)


STATE = re.compile("state|status|phase", re.IGNORECASE)


@pytest.mark.parametrize("state", ["archived", "UNKNOWN"])
def test_a_state_that_no_document_calls_the_end_is_none(target: AccountTarget, cleanups: Cleanups, state: str) -> None:
    problems = []
    for name, (request, reply) in cleanups.exchanges.items():
        for way in members(reply.body) if reply.raw else ():
            if STATE.search(way[-1]):
                change = partial(with_value, way=way, value=state)
                found = unsound(cleanups, request, changing(target.server, change))
                problems += [f"{name}, {'.'.join(way)}: {each}" for each in found]
    none_of(problems)
