"""Plans, through the function's own handler."""

import pytest

from tests.fakes import MemoryProvider, a_deployment, a_thing
from tests.functions.conftest import Stack, an_event, answered
from tracker.cleanup.contract import Refused
from tracker.deployment import Deployment
from tracker.records import utc_now


@pytest.fixture
def live(stack: Stack, provider: MemoryProvider) -> Deployment:
    generation = an_event("plan-observe")["generation"]
    new = a_deployment(
        "svc-7", now=utc_now(), deployment_type="BareMetal", resource_ids={"box": "a"}, generation=generation
    )
    return stack.lifecycle.register(new)[0]


def test_a_plan_shows_what_is_there_and_writes_nothing(
    stack: Stack, live: Deployment, provider: MemoryProvider
) -> None:
    provider.has(a_thing("a"))
    status, body = answered(stack.call("plan", an_event("plan-get")))
    assert status == 200
    assert [(each["id"], each["state"]) for each in body["resources"]] == [("a", "present")]
    assert body["refusal"] is None
    assert provider.asked("delete") == []
    assert stack.record() == live


def test_the_plan_of_one_on_its_way_is_the_stored_list(
    stack: Stack, live: Deployment, provider: MemoryProvider
) -> None:
    stack.lifecycle.terminate("svc-7", reason="r", requested_by="b")
    stack.lifecycle.progress(stack.record(), [a_thing("stored", state="leaving")])
    status, body = answered(stack.call("plan", an_event("plan-get")))
    assert (status, body["status"]) == (200, "Terminating")
    assert [each["id"] for each in body["resources"]] == ["stored"]
    assert provider.calls == []


def test_a_plan_that_would_be_refused_says_why(stack: Stack, live: Deployment, provider: MemoryProvider) -> None:
    provider.raises["discover", ""] = Refused("not_ours", "a carries no mark")
    status, body = answered(stack.call("plan", an_event("plan-get")))
    assert (status, body["refusal"]) == (200, {"class": "not_ours", "message": "a carries no mark"})


def test_a_plan_of_an_unknown_one_is_404(stack: Stack) -> None:
    status, _ = answered(stack.call("plan", an_event("plan-get")))
    assert status == 404


def test_while_observing_the_plan_is_kept_and_is_news_once(
    stack: Stack, live: Deployment, provider: MemoryProvider
) -> None:
    provider.has(a_thing("a"))
    assert stack.call("plan", an_event("plan-observe")) == {"planned": True}
    assert [event.type for event in stack.record().news] == ["planned"]
    before = stack.record()
    assert stack.call("plan", an_event("plan-observe")) == {"planned": True}
    assert stack.record() == before
    assert provider.asked("delete") == []


def test_a_plan_of_another_generation_is_not_drawn(stack: Stack, live: Deployment, provider: MemoryProvider) -> None:
    assert stack.call("plan", an_event("plan-observe") | {"generation": "another"}) == {"planned": False}
    assert provider.calls == []
