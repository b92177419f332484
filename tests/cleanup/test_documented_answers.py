"""Whole cleanups of every type with a REST API, each with one answer that the provider's document allows, and that is awkward.

The answers are made of those that the stand-in gives in an ordinary cleanup, call by call, and its contract says which of their members may
be absent: those without which the answer still keeps to it. Whatever is answered, nothing counts as gone that is there, no
answer is one that "can't be read", and what the record names is gone in the end.
"""

import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial, reduce
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
import requests
import yaml
from requests.adapters import HTTPAdapter

from tests.cleanup.providers.azure import test_aks, test_vm
from tests.cleanup.providers.digitalocean import test_doks, test_droplet
from tests.cleanup.providers.gcp import test_gce, test_gke
from tests.cleanup.providers.vastai import test_instance as test_vastai
from tests.cleanup.providers.vultr import test_instance, test_vke
from tests.cleanup.rest_target import Account, AccountTarget
from tests.conformance.conftest import target
from tests.conformance.finding import OURS, find, keys, reads
from tests.conformance.target import Made
from tests.fakes import Clock, a_deployment
from tests.standin import Fault, Reply, Request
from tracker.cleanup.core import engine
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.model.deployment import Cleanup, Resource
from tracker.model.settings import Settings

__all__ = ["target"]

TARGETS: list[type[AccountTarget]] = [
    each.StandIn
    for each in (
        test_droplet,
        test_doks,
        test_vm,
        test_aks,
        test_instance,
        test_vke,
        test_gce,
        test_gke,
        test_vastai,
    )
]
pytestmark = pytest.mark.parametrize("target_class", TARGETS, ids=lambda each: each.deployment_type)

STEPS_MAX = 60
# So many refusals and lost attempts end a cleanup, as rounds would be given up.
SETBACKS_MAX = 4
# Google's document requires no member. Without these an answer tells of nothing.
COLLECTIONS = "projects|instances|disks|addresses|firewalls"
IDENTITY = {"kind", "id", "name", "targetId", "operationType"}
# What of an answer is a map with keys of anyone's choice. Without its labels a main resource isn't the deployment's.
MAPS = {"labels", "resourceLabels"}

type Members = tuple[str, ...]


@dataclass
class Course:
    """How a cleanup went: what it met, and what became of the resources."""

    resources: list[Resource] = field(default_factory=list)
    refusals: list[Refused] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    is_done: bool = False
    problems: list[str] = field(default_factory=list)


class Cleanups:
    """Cleans the same deployment up again and again, each time as it was made."""

    def __init__(self, target: AccountTarget, monkeypatch: pytest.MonkeyPatch) -> None:
        self._target = target
        self._server = target.server
        self.made = target.make()
        self._settings = target.settings
        self._unread: list[str] = []
        monkeypatch.setattr(engine.logger, "exception", lambda *_, **more: self._unread.append(str(more["extra"])))
        clusters = [getattr(self._server, "kubernetes", None), getattr(target, "cluster", None)]
        self._states: list[Any] = [self._server.things]
        self._states += [getattr(self._server, name) for name in ("operations", "ended") if hasattr(self._server, name)]
        for cluster in filter(None, clusters):
            # What is inside of a cluster is asked over a socket, which takes its time, and is no concern of this.
            cluster.objects.clear()
        self._saved = deepcopy(self._states)
        # That the stand-ins keep to their contracts in an ordinary cleanup is seen elsewhere.
        self._check = self._server._check
        monkeypatch.setattr(self._server, "_check", lambda *_: None)
        self.exchanges, self._opening = self._ordinary()

    def run(self, request: Request, answer: Reply | Callable[[Request], Reply], times: int | None = None) -> Course:
        """Return how a cleanup goes while the calls of the operation that `request` is of are answered so."""
        pattern = f"^{path_pattern(self._server, request)}$"
        if operation(self._server, request) in self._opening:
            self._forget_accounts()
        with self._server.failing(Fault("answer", request.method, pattern, answer, times=times)):
            return self._cleaned()

    def allows(self, request: Request, reply: Reply) -> bool:
        """Whether the contract allows an answer."""
        self._check(request, reply)
        is_kept_to = self._server.violations == []
        self._server.violations.clear()
        return is_kept_to

    def _ordinary(self) -> tuple[dict[str, tuple[Request, Reply]], set[str]]:
        """Return each operation of an ordinary cleanup, with its longest answer, and those that only open the API."""
        self._forget_accounts()
        first, second = self._watched(), self._watched()
        return first, first.keys() - second.keys()

    def _watched(self) -> dict[str, tuple[Request, Reply]]:
        found: dict[str, tuple[Request, Reply]] = {}

        def keep(request: Request) -> Reply:
            reply, name = self._server.handle(request), operation(self._server, request)
            is_success = reply.status < HTTPStatus.MULTIPLE_CHOICES
            if is_success and (name not in found or len(reply.raw) > len(found[name][1].raw)):
                found[name] = (request, reply)
            return reply

        with self._server.failing(Fault("answer", answer=keep)):
            course = self._cleaned()
        assert course.is_done, course
        return found

    def _forget_accounts(self) -> None:
        # What is known of accounts is kept with the settings: these are a copy.
        self._settings = msgspec.structs.replace(self._target.settings)

    def _cleaned(self) -> Course:
        for state, saved in zip(self._states, deepcopy(self._saved), strict=True):
            state.clear()
            (state.extend if isinstance(state, list) else state.update)(saved)
        self._target.forget()
        self._unread.clear()
        course = _life(self._target, self.made, self._settings)
        course.problems += [f"can't be read: {each}" for each in self._unread]
        return course


def _life(target: AccountTarget, made: Made, settings: Settings) -> Course:
    """Clean a deployment up that was registered just now, as rounds do, and return how that went."""
    clock = Clock(datetime.now(UTC))
    deployment = a_deployment(
        deployment_type=target.deployment_type,
        region=made.region,
        resource_ids=made.ids,
        metadata=made.metadata,
        cleanup=Cleanup(round=1),
        now=clock.now,
    )
    course, is_discovered = Course(), False
    for _ in range(STEPS_MAX):
        try:
            if not is_discovered or engine.is_incomplete(deployment):
                found = engine.discover(deployment, settings).resources
                deployment, is_discovered = msgspec.structs.replace(deployment, resources=found), True
            step = engine.step(deployment, settings, clock=clock, time_left=lambda: 300.0)
            deployment = msgspec.structs.replace(deployment, resources=step.resources)
            course.refusals += step.refusals
            course.failures += step.failures
            course.is_done = step.is_done
            # A new round looks for everything again.
            is_discovered = not step.refusals
        except Busy:
            pass
        except Refused as refused:
            course.refusals.append(refused)
        except Unreachable as unreachable:
            course.failures.append(unreachable)
        course.resources, there = deployment.resources, target.left()
        course.problems += [
            f"{each.key} counts as gone, and is there: {each.proof}"
            for each in course.resources
            if each.state == "gone" and each.key in there
        ]
        if course.is_done or course.problems or len(course.refusals) + len(course.failures) > SETBACKS_MAX:
            break
        clock.forward(seconds=30)
        target.wait(200)
    return course


@pytest.fixture
def cleanups(target: AccountTarget, monkeypatch: pytest.MonkeyPatch) -> Cleanups:
    """The cleanups of one deployment."""
    return Cleanups(target, monkeypatch)


@pytest.fixture(autouse=True)
def without_network(target: AccountTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer the provider's calls in this process: hundreds of cleanups go through no socket."""
    over_network = HTTPAdapter.send

    def send(adapter: HTTPAdapter, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        url = request.url or ""
        if not url.startswith(target.server.url):
            return over_network(adapter, request, **options)
        parts, sent = urlsplit(url), request.body or b""
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        raw = sent.encode() if isinstance(sent, str) else bytes(sent)
        reply = target.server.answered(Request(request.method or "", parts.path, query, dict(request.headers), raw))
        assert isinstance(reply, Reply)
        response = requests.Response()
        response.status_code, response.raw, response.url, response.request = (
            reply.status,
            BytesIO(reply.raw),
            url,
            request,
        )
        response.headers.update(reply.headers)
        return response

    monkeypatch.setattr(HTTPAdapter, "send", send)


@cache
def paths_of(contract: Path) -> list[str]:
    """Return the paths of a contract, those first that name the fewest parts by a parameter."""
    document = yaml.safe_load(contract.read_text())
    return sorted(document["paths"], key=lambda path: path.count("{"))


def path_pattern(server: Account, request: Request) -> str:
    """Return a regular expression for the paths of the operation that a call is of."""
    if request.path.startswith("/compute/"):
        # An operation that was begun is the same for all kinds.
        path = re.sub(r"(zones|regions)/[^/]+|global", "SCOPE", request.path)
        path = re.sub(rf"({COLLECTIONS})/[^/]+", r"\1/[^/]+", path).replace(
            "SCOPE", "(?:(?:zones|regions)/[^/]+|global)"
        )
        return "/compute/.*" if request.method == "DELETE" else path
    patterns = (re.sub(r"\{.*?\}", "[^/]+", path) for path in paths_of(server.CONTRACT))
    return next(pattern for pattern in patterns if re.fullmatch(pattern, request.path))


def operation(server: Account, request: Request) -> str:
    """Name the operation that a call is of."""
    return f"{request.method} {path_pattern(server, request).replace('[^/]+', '*')}"


def members(body: Any, before: Members = ()) -> Iterator[Members]:
    """Yield the way to every member of a JSON text; a star stands for each item of a list."""
    if isinstance(body, dict):
        for name, value in body.items():
            yield (*before, name)
            yield from members(value, (*before, name))
    elif isinstance(body, list):
        yield from {way: None for item in body for way in members(item, (*before, "*"))}


def without(body: Any, way: Members) -> Any:
    """Return a JSON text without a member."""
    name, *rest = way
    if name == "*" and isinstance(body, list):
        return [without(item, tuple(rest)) for item in body]
    if not isinstance(body, dict) or name not in body:
        return body
    if not rest:
        return {key: value for key, value in body.items() if key != name}
    return body | {name: without(body[name], tuple(rest))}


def with_unknown(body: Any) -> Any:
    """Return a JSON text with members in all of its objects that no document has."""
    if isinstance(body, list):
        return [with_unknown(item) for item in body]
    if not isinstance(body, dict):
        return body
    if all(isinstance(value, dict) for value in body.values()) and any("/" in key for key in body):
        return {key: with_unknown(value) for key, value in body.items()}
    return {"a_new_member": {"of": ["a", "later", "version"]}} | {
        key: value if key in MAPS else with_unknown(value) for key, value in body.items()
    }


def optional_members(cleanups: Cleanups, request: Request, reply: Reply) -> list[Members]:
    """Return the members that an answer may do without."""
    if not reply.raw or not isinstance(reply.body, dict):
        return []
    is_google = request.path.startswith("/compute/")
    return [
        way
        for way in members(reply.body)
        if not MAPS.intersection(way)
        and not (is_google and way[-1] in IDENTITY)
        and cleanups.allows(request, Reply(reply.status, without(reply.body, way), reply.headers))
    ]


def changing(server: Account, change: Callable[[Any], Any]) -> Callable[[Request], Reply]:
    """Return what answers a call as ever, but for that change of the body."""

    def answer(call: Request) -> Reply:
        reply = server.handle(call)
        is_success = reply.status < HTTPStatus.MULTIPLE_CHOICES
        return Reply(reply.status, change(reply.body), reply.headers) if is_success else reply

    return answer


def in_turn(replies: list[Reply]) -> Callable[[Request], Reply]:
    """Return what answers calls with these, one after the other."""
    left = iter(replies)
    return lambda _: next(left)


def unfinished(course: Course, target: AccountTarget) -> list[str]:
    """Return what is wrong with a cleanup that should have got over everything."""
    there = target.left()
    left = [f"{each.key} is still there" for each in course.resources if each.named_by and each.key in there]
    return course.problems + left + ([] if course.is_done else ["it isn't over"])


def setbacks(course: Course) -> list[str]:
    """Return the refusals and the lost attempts of a cleanup."""
    refusals = [f"refused, {each.error_class}: {each}" for each in course.refusals]
    return refusals + [f"failed: {each}" for each in course.failures]


def none_of(problems: list[str]) -> None:
    """Fail with all problems, each once."""
    assert problems == [], "\n".join(dict.fromkeys(problems))


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
    "not found": ((404, 404), {"credentials"}),
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
    made = target.make()
    marked = target.put_mark(made, OURS)
    with target.server.failing(Fault("answer", "GET", "", changing(target.server, with_unknown))):
        assert keys(find(target, made)) == sorted(marked)


@pytest.mark.parametrize("body", [None, b"<html>404 Not Found</html>"], ids=["empty", "html"])
def test_a_404_without_the_providers_words_is_not_nothing_found(target: AccountTarget, body: bytes | None) -> None:
    made = target.make()
    for read in reads(target, made):
        method, path = read.split(" ")
        with (
            target.server.failing(Fault("answer", method, f"^{re.escape(path)}$", Reply(404, body))),
            pytest.raises(Unreachable),
        ):
            pytest.fail(f"{read}: {keys(find(target, made))}")
