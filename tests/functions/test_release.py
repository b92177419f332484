"""One step of a round, through the function's own handler."""

import pytest

from tests.fakes import MemoryProvider, a_deployment, a_thing
from tests.functions.conftest import Context, Stack, an_event
from tracker.cleanup.core.contract import Refused, Unreachable
from tracker.model.clock import utc_now
from tracker.model.deployment import Deployment


@pytest.fixture
def state(stack: Stack, provider: MemoryProvider) -> dict[str, object]:
    """Return what the workflow carries, of a round that has just begun."""
    event: dict[str, object] = an_event("release-step")
    stack.lifecycle.register(
        a_deployment(
            "svc-7",
            now=utc_now(),
            deployment_type="BareMetal",
            resource_ids={"box": "a"},
            generation=event["generation"],
        )
    )
    stack.lifecycle.terminate("svc-7", reason="requested", requested_by="someone")
    return event


def test_a_step_says_what_remains_and_the_next_that_it_is_gone(
    stack: Stack, provider: MemoryProvider, state: dict[str, object]
) -> None:
    provider.has(a_thing("a"), looks=1)
    assert stack.call("release", state) == {**state, "retry_after": 5, "outcome": "remains"}
    assert stack.call("release", {**state, "retry_after": 5, "outcome": "remains"})["outcome"] == "gone"
    assert stack.record().status == "Terminated"
    assert stack.call("release", state)["outcome"] == "gone"


def test_a_refusal_is_an_answer_and_an_unreachable_provider_an_error(
    stack: Stack, provider: MemoryProvider, state: dict[str, object]
) -> None:
    provider.has(a_thing("a"))
    provider.raises["state", "a"] = Unreachable("no answer")
    with pytest.raises(Unreachable):
        stack.call("release", state)
    provider.raises["state", "a"] = Refused("protected", "termination protection")
    assert stack.call("release", state)["outcome"] == "refused"


def test_with_little_time_left_it_asks_to_be_called_again(
    stack: Stack, provider: MemoryProvider, state: dict[str, object]
) -> None:
    provider.has(a_thing("a"))
    assert stack.call("release", state, Context(seconds_left=59))["outcome"] == "remains"
    assert provider.calls == []


def test_under_the_brake_a_round_ends_and_its_record_is_due(
    stack: Stack, provider: MemoryProvider, state: dict[str, object]
) -> None:
    provider.has(a_thing("a"))
    stack.set_mode("enforce, memory=pause")
    assert stack.call("release", state)["outcome"] == "superseded"
    assert stack.record().status == "Active"
    assert provider.calls == []


def test_a_step_of_nothing_known_is_superseded(stack: Stack) -> None:
    assert stack.call("release", an_event("release-step"))["outcome"] == "superseded"


def test_a_step_for_another_generation_touches_nothing(stack: Stack, registered: Deployment) -> None:
    assert stack.call("release", an_event("release-step"))["outcome"] == "superseded"
    assert stack.record() == registered
