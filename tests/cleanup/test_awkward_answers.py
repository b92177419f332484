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


VALUES: dict[str, Any] = {
    "null": None,
    "empty": "",
    "number": 7,
    "list": [],
    "object": {},
    "true": True,
    "false": False,
    "state": "A_NEW_STATE",
}


@pytest.mark.parametrize("value", VALUES)
def test_a_member_of_another_type_proves_nothing(target: AccountTarget, cleanups: Cleanups, value: str) -> None:
    problems = []
    for name, (request, reply) in cleanups.exchanges.items():
        if not reply.raw:
            continue
        for way in members(reply.body):
            change = partial(with_value, way=way, value=VALUES[value])
            found = unsound(cleanups, request, changing(target.server, change))
            problems += [f"{name}, {'.'.join(way)} is {VALUES[value]!r}: {each}" for each in found]
    none_of(problems)


BODIES: dict[str, Any] = {
    "nothing": None,
    "html": b"<html><body>Please log in</body></html>",
    "null": b"null",
    "object": {},
    "list": [],
    "text": b'"ok"',
    "number": b"0",
    "cut": b'{"items": [',
    "error": {"error": {"code": 404, "message": "not found"}},
}


@pytest.mark.parametrize("body", BODIES)
def test_a_success_that_holds_nothing_of_the_kind_proves_nothing(
    target: AccountTarget, cleanups: Cleanups, body: str
) -> None:
    problems = []
    for name, (request, _) in cleanups.exchanges.items():
        for status in (200, 201, 202, 204):
            found = unsound(cleanups, request, Reply(status, BODIES[body]))
            problems += [f"{name}, {status}: {each}" for each in found]
    none_of(problems)


# As gateways, load balancers and web frameworks in front of an API say it, of a path, not of a resource.
FOREIGN: dict[str, Any] = {
    "empty": None,
    "html": b"<html>404 page not found</html>",
    "text": b"404 page not found",
    "kong": {"message": "no Route matched with those values"},
    "aws": {"message": "Missing Authentication Token"},
    "fastapi": {"detail": "Not Found"},
    "express": {"message": "Cannot GET /v1/things"},
    "spring": {"timestamp": "2026-01-01T00:00:00Z", "status": 404, "error": "Not Found", "path": "/v1/things"},
    "nest": {"statusCode": 404, "message": "Cannot GET /v1/things", "error": "Not Found"},
    "nulls": {"error": None, "message": None, "detail": None, "msg": None, "id": None, "code": None, "title": None},
    "empties": {"error": {}, "message": "", "detail": [], "msg": "", "id": "", "code": "", "title": ""},
}


@pytest.mark.parametrize("body", FOREIGN)
def test_an_error_that_is_not_of_the_resource_proves_nothing(
    target: AccountTarget, cleanups: Cleanups, body: str
) -> None:
    problems = []
    for name, (request, _) in cleanups.exchanges.items():
        for status in (400, 403, 404, 405, 410):
            found = unsound(cleanups, request, Reply(status, FOREIGN[body]))
            problems += [f"{name}, {status}: {each}" for each in found]
    none_of(problems)


STATUSES = (
    400,
    401,
    402,
    403,
    404,
    405,
    406,
    408,
    409,
    410,
    411,
    412,
    413,
    415,
    418,
    421,
    422,
    423,
    424,
    425,
    428,
    429,
)
SERVERS = (431, 451, 499, 500, 501, 502, 503, 504, 505, 507, 511, 520, 522, 524, 529, 598)


@pytest.mark.parametrize("statuses", [STATUSES, SERVERS], ids=["4xx", "5xx"])
def test_an_error_in_the_providers_words_proves_nothing_of_another_call(
    target: AccountTarget, cleanups: Cleanups, statuses: tuple[int, ...]
) -> None:
    problems = []
    for name, (request, _) in cleanups.exchanges.items():
        for status in statuses:
            if status in (404, 410) and is_of_a_resource(cleanups, request):
                continue
            found = unsound(cleanups, request, target.error(status, "it is what it is"))
            problems += [f"{name}, {status}: {each}" for each in found]
    none_of(problems)


def is_of_a_resource(cleanups: Cleanups, request: Request) -> bool:
    """Whether a call is about one resource alone, so that its "not found" is one's own."""
    ids = [part for _, id_ in cleanups.made.ours for part in id_.split("/")]
    return any(request.path.rstrip("/").endswith(f"/{id_}") for id_ in ids)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
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
STATES = (
    "stopped",
    "STOPPED",
    "archived",
    "suspended",
    "error",
    "terminating",
    "unknown",
    "EVICTED",
    "not_found",
    "inactive",
    "halted",
)


@pytest.mark.parametrize("state", STATES)
def test_a_state_that_no_document_calls_the_end_is_none(target: AccountTarget, cleanups: Cleanups, state: str) -> None:
    problems = []
    for name, (request, reply) in cleanups.exchanges.items():
        if not reply.raw:
            continue
        for way in members(reply.body):
            if STATE.search(way[-1]):
                change = partial(with_value, way=way, value=state)
                found = unsound(cleanups, request, changing(target.server, change))
                problems += [f"{name}, {'.'.join(way)}: {each}" for each in found]
    none_of(problems)
