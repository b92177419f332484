"""Whole cleanups of every type with a REST API, in which the provider answers some calls otherwise than in an ordinary one.

Used by the tests of answers that providers' documents allow, and of those that no document has.
"""

import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
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

from tests.cleanup.providers.akash import test_lease
from tests.cleanup.providers.azure import test_aks, test_vm
from tests.cleanup.providers.crusoe import test_vm as test_crusoe
from tests.cleanup.providers.digitalocean import test_doks, test_droplet
from tests.cleanup.providers.fluidstack import test_server as test_fluidstack
from tests.cleanup.providers.gcp import test_gce, test_gke
from tests.cleanup.providers.hetzner import test_server as test_hetzner
from tests.cleanup.providers.ionet import test_cluster
from tests.cleanup.providers.lambdalabs import test_instance as test_lambda
from tests.cleanup.providers.lium import test_pod as test_lium
from tests.cleanup.providers.paperspace import test_machine
from tests.cleanup.providers.primeintellect import test_pod as test_prime_intellect
from tests.cleanup.providers.render import test_job
from tests.cleanup.providers.runpod import test_pod as test_runpod
from tests.cleanup.providers.tensordock import test_server as test_tensordock
from tests.cleanup.providers.vastai import test_instance as test_vastai
from tests.cleanup.providers.vultr import test_instance, test_vke
from tests.cleanup.rest_target import Account, AccountTarget
from tests.conformance.target import Made
from tests.fakes import Clock, a_deployment
from tests.standin import Fault, Reply, Request
from tracker.cleanup.core import engine
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.model.deployment import Cleanup, Resource
from tracker.model.settings import Settings

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
        test_lease,
        test_crusoe,
        test_fluidstack,
        test_hetzner,
        test_cluster,
        test_lambda,
        test_lium,
        test_machine,
        test_prime_intellect,
        test_job,
        test_runpod,
        test_tensordock,
    )
]

STEPS_MAX = 60
# So many refusals and lost attempts end a cleanup, as rounds would be given up.
SETBACKS_MAX = 4
COLLECTIONS = "projects|instances|disks|addresses|firewalls"


@dataclass
class Course:
    """This is how a cleanup went: what it met, and what became of the resources."""

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
        self._states: list[Any] = [
            getattr(self._server, name)
            for name in ("things", "operations", "ended", "actions", "events")
            if hasattr(self._server, name)
        ]
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
        """Return whether the contract allows an answer."""
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
        course.problems += [
            f"{key} isn't the deployment's, and was asked to go" for key in target.asked() if key in made.kept
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
def without_network(target: AccountTarget, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answer the provider's calls in this process: hundreds of cleanups go through no socket. Return the URLs of all other calls."""
    over_network, strayed = HTTPAdapter.send, list[str]()

    def send(adapter: HTTPAdapter, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        url = request.url or ""
        if not url.startswith(target.server.url):
            strayed.append(url)
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
    return strayed


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
