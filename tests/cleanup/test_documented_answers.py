"""Whole cleanups of every type with a REST API, each with one answer that the provider's document allows, and that is awkward.

The answers are made of those that the stand-in gives in an ordinary cleanup, call by call, and its contract says which of their members may
be absent: those without which the answer still keeps to it. Whatever is answered, nothing counts as gone that is there, no
answer is one that "can't be read", and what the record names is gone in the end.
"""

import re
from functools import partial, reduce

import pytest

from tests.cleanup.answers import MAPS, Members, changing, in_turn, members, with_unknown, without
from tests.cleanup.cleanups import (
    TARGETS,
    Cleanups,
    cleanups,
    none_of,
    setbacks,
    unfinished,
    without_network,
)
from tests.cleanup.rest_target import AccountTarget
from tests.conformance.conftest import target
from tests.conformance.finding import OURS, find, keys, reads
from tests.conformance.target import CANT_FIND
from tests.standin import Fault, Reply, Request
from tracker.cleanup.core.contract import Finder, Unreachable

__all__ = ["cleanups", "target", "without_network"]

pytestmark = pytest.mark.parametrize("target_class", TARGETS, ids=lambda each: each.deployment_type)

# Google's document requires no member. Without these an answer tells of nothing.
IDENTITY = {"kind", "id", "name", "targetId", "operationType"}


# Without these an answer doesn't say whose a credential is, or where a list goes on, whatever its contract requires.
NEEDED = {"data", "myself", "nextPage", "workspace"}


def optional_members(cleanups: Cleanups, request: Request, reply: Reply) -> list[Members]:
    """Return the members that an answer may do without."""
    if not reply.raw or not isinstance(reply.body, dict):
        return []
    is_google = request.path.startswith("/compute/")
    return [
        way
        for way in members(reply.body)
        if not MAPS.intersection(way)
        and way[-1] not in NEEDED
        and not (is_google and way[-1] in IDENTITY)
        and cleanups.allows(request, Reply(reply.status, without(reply.body, way), reply.headers))
    ]


def test_members_that_may_be_absent_change_nothing(target: AccountTarget, cleanups: Cleanups) -> None:
    problems = []
    for name, (request, reply) in cleanups.exchanges.items():
        ways = optional_members(cleanups, request, reply)
        variants = {".".join(way): [way] for way in ways} | ({"all of them": ways} if ways else {})
        for dropped, each in variants.items():
            course = cleanups.run(request, changing(target.server, partial(reduce, without, each)))
            problems += [f"{name} without {dropped}: {one}" for one in setbacks(course) + unfinished(course, target)]
    none_of(problems)


def test_members_that_no_document_has_change_nothing(target: AccountTarget, cleanups: Cleanups) -> None:
    problems = []
    for name, (request, _) in cleanups.exchanges.items():
        course = cleanups.run(request, changing(target.server, with_unknown))
        problems += [f"{name}: {each}" for each in setbacks(course) + unfinished(course, target)]
    none_of(problems)


# Errors that pass: their statuses, and the classes that a round may be refused with. None: no attempt may be spent either.
ERRORS: dict[str, tuple[tuple[int, ...], set[str] | None]] = {
    "busy": ((409, 423, 429, 503), None),
    "down": ((500, 502, 503), set()),
    "denied": ((401, 403), {"credentials", "not_ours"}),
    "invalid": ((400, 422), {"bad_id", "credentials"}),
    # Google says so to whoever may not see a project.
    # Where no call says whose the credential is, what nobody saw is unproven.
    "not found": ((404, 404), {"credentials", "unproven"}),
}


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_that_passes_is_got_over(target: AccountTarget, cleanups: Cleanups, error: str) -> None:
    statuses, classes = ERRORS[error]
    problems = []
    for name, (request, _) in cleanups.exchanges.items():
        if request.path.endswith("/token"):
            continue
        replies = [target.error(status, "try it later") for status in statuses]
        wait = {"Retry-After": "7"} if error == "busy" else {}
        answers = in_turn([Reply(each.status, each.body, each.headers | wait) for each in replies])
        course = cleanups.run(request, answers, times=len(statuses))
        met = setbacks(course) if classes is None else []
        met += [f"{each.error_class}: {each}" for each in course.refusals if each.error_class not in (classes or ())]
        problems += [f"{name}: {each}" for each in met + unfinished(course, target)]
    none_of(problems)


@pytest.mark.parametrize("body", [None, b"<html>404 Not Found</html>"], ids=["empty", "html"])
def test_a_404_without_the_providers_words_proves_nothing(
    target: AccountTarget, cleanups: Cleanups, body: bytes | None
) -> None:
    problems = []
    for name, (request, _) in cleanups.exchanges.items():
        course = cleanups.run(request, Reply(404, body))
        problems += [f"{name}: {each}" for each in course.problems]
    none_of(problems)


def test_a_find_goes_by_members_that_no_document_has(target: AccountTarget) -> None:
    if not isinstance(target.module(), Finder):
        pytest.skip(CANT_FIND)
    made = target.make()
    marked = target.put_mark(made, OURS)
    with target.server.failing(Fault("answer", "GET", "", changing(target.server, with_unknown))):
        assert keys(find(target, made)) == sorted(marked)


@pytest.mark.parametrize("body", [None, b"<html>404 Not Found</html>"], ids=["empty", "html"])
def test_a_404_without_the_providers_words_is_not_nothing_found(target: AccountTarget, body: bytes | None) -> None:
    if not isinstance(target.module(), Finder):
        pytest.skip(CANT_FIND)
    made = target.make()
    for read in reads(target, made):
        method, path = read.split(" ")
        with (
            target.server.failing(Fault("answer", method, f"^{re.escape(path)}$", Reply(404, body))),
            pytest.raises(Unreachable),
        ):
            pytest.fail(f"{read}: {keys(find(target, made))}")
