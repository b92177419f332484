"""The dry run, over a provider in memory: reads alone, twenty seconds at most, and why something wasn't seen."""

import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from tests.fakes import MemoryProvider, a_deployment, a_thing
from tracker.cleanup.core import plans
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.model.deployment import Deployment
from tracker.model.settings import Settings

A, B, C = a_thing("a"), a_thing("b"), a_thing("c")


@pytest.fixture
def deployment(provider: MemoryProvider) -> Deployment:
    return a_deployment(deployment_type="BareMetal", resource_ids={"box": "a"})


class Stopwatch:
    """It takes so many seconds from look to look."""

    def __init__(self, seconds: float = 0) -> None:
        self._seconds = seconds
        self._now = 100.0

    def __call__(self) -> float:
        self._now += self._seconds
        return self._now


def test_a_plan_shows_what_would_go_and_what_would_stay_and_deletes_nothing(
    provider: MemoryProvider, deployment: Deployment, settings: Settings
) -> None:
    kept = a_thing("shared", state="kept", detail="it carries no mark")
    provider.has(A, kept)
    provider.found.append(B)
    plan = plans.draw(deployment, settings, Stopwatch())
    assert {each.id: each.state for each in plan.resources} == {"a": "present", "shared": "kept", "b": "gone"}
    assert provider.asked("delete") == []
    assert (plan.not_looked_at, plan.problems, plan.refusal) == ([], [], None)


@pytest.mark.parametrize(
    ("error", "problem"),
    [(Busy("throttled"), "throttled"), (Unreachable("no answer"), "no answer"), (KeyError("x"), "KeyError")],
)
def test_what_cannot_be_discovered_now_is_said(
    provider: MemoryProvider, deployment: Deployment, settings: Settings, error: Exception, problem: str
) -> None:
    provider.raises["discover", ""] = error
    plan = plans.draw(deployment, settings, Stopwatch())
    assert plan.problems == [problem]
    assert plan.resources == []


def test_a_refusal_says_that_nothing_would_be_deleted_and_why(
    provider: MemoryProvider, deployment: Deployment, settings: Settings
) -> None:
    provider.raises["discover", ""] = Refused("not_ours", "a carries no mark")
    plan = plans.draw(deployment, settings, Stopwatch())
    assert plan.as_dict() == {
        "resources": [],
        "not_looked_at": [],
        "problems": [],
        "refusal": {"class": "not_ours", "message": "a carries no mark"},
        "digest": None,
    }


@pytest.mark.parametrize(
    "error", [Busy("throttled"), Unreachable("no answer"), Refused("unproven", "?"), ValueError("x")]
)
def test_one_that_cannot_be_seen_keeps_no_other_from_being_seen(
    provider: MemoryProvider, deployment: Deployment, settings: Settings, error: Exception
) -> None:
    provider.has(A, B)
    provider.raises["state", "a"] = error
    plan = plans.draw(deployment, settings, Stopwatch())
    assert {each.id: each.state for each in plan.resources} == {"a": "unseen", "b": "present"}
    assert len(plan.problems) == 1
    assert plan.problems[0].startswith("memory:thing a: ")


def test_after_twenty_seconds_a_plan_says_what_it_has_not_looked_at(
    provider: MemoryProvider, deployment: Deployment, settings: Settings
) -> None:
    provider.has(A, B, C)
    plan = plans.draw(deployment, settings, Stopwatch(9))
    assert provider.asked("state") == ["a", "b"]
    assert plan.not_looked_at == ["memory:thing c"]
    assert [each.id for each in plan.resources] == ["a", "b", "c"]


# A provider that hangs


@pytest.fixture
def hanging(provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[tuple[str, str]]]:
    """The calls that the provider never answers. A plan has a second here."""
    monkeypatch.setattr(plans, "SECONDS", 0.5)
    monkeypatch.setattr(plans, "LONGER", 0.5)
    answer, calls = threading.Event(), set[tuple[str, str]]()

    def before(call: str, id_: str) -> None:
        if (call, id_) in calls:
            answer.wait(20)

    provider.before = before
    begun = time.monotonic()
    yield calls
    assert time.monotonic() - begun < 5, "the caller was kept waiting"
    answer.set()


def test_what_a_provider_that_hangs_does_not_show_is_a_problem_of_the_plan(
    provider: MemoryProvider, deployment: Deployment, settings: Settings, hanging: set[tuple[str, str]]
) -> None:
    hanging.add(("discover", ""))
    known = msgspec.structs.replace(deployment, resources=[A])
    plan = plans.draw(known, settings, time.monotonic)
    assert (plan.resources, plan.problems, plan.digest) == ([A], [plans.TOO_LONG], None)
    assert plans.compare(known, settings, "digest") == {"problem": plans.TOO_LONG}


def test_one_that_a_provider_never_shows_takes_no_plan_longer_than_its_time(
    provider: MemoryProvider, deployment: Deployment, settings: Settings, hanging: set[tuple[str, str]]
) -> None:
    provider.has(A, B, C)
    hanging.add(("state", "b"))
    plan = plans.draw(deployment, settings, time.monotonic)
    assert {each.id: each.state for each in plan.resources} == {"a": "present", "b": "unseen", "c": "unseen"}
    assert plan.problems == [f"memory:thing b: {plans.TOO_LONG}"]
    assert plan.not_looked_at == ["memory:thing c"]


def test_another_look_at_what_a_provider_never_shows_says_so(
    provider: MemoryProvider, deployment: Deployment, settings: Settings, hanging: set[tuple[str, str]]
) -> None:
    gone = msgspec.structs.replace(A, state="gone", proof="seen")
    hanging.add(("state", "a"))
    (seen,) = plans.look_again(msgspec.structs.replace(deployment, resources=[gone]), settings, time.monotonic)
    assert seen.state == "gone"
    assert seen.detail.endswith(plans.TOO_LONG)
