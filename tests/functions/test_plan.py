"""Plans, through the function's own handler."""

import io
import json
import time
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ReadTimeoutError

from tests.fakes import MemoryProvider, a_deployment, a_thing
from tests.fresh import forget_process
from tests.functions.conftest import Stack, an_event, answered
from tests.receivers import dripping, receiving, silent
from tracker.cleanup.core import plans
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.lifecycle import workflow
from tracker.model.clock import utc_now
from tracker.model.deployment import Deployment, format_time


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
    assert [event.type for event in stack.record().outbox] == ["planned"]
    before = stack.record()
    assert stack.call("plan", an_event("plan-observe")) == {"planned": True}
    assert stack.record() == before
    assert provider.asked("delete") == []


def test_a_plan_of_another_generation_is_not_drawn(stack: Stack, live: Deployment, provider: MemoryProvider) -> None:
    assert stack.call("plan", an_event("plan-observe") | {"generation": "another"}) == {"planned": False}
    assert provider.calls == []


@pytest.mark.parametrize(
    ("value", "mode"), [("enforce", "enforce"), ("pause", "pause"), ("enforce, memory=observe", "observe")]
)
def test_a_plan_says_what_the_brake_makes_of_it(
    stack: Stack, live: Deployment, provider: MemoryProvider, value: str, mode: str
) -> None:
    provider.has(a_thing("a"))
    stack.set_mode(value)
    _, body = answered(stack.call("plan", an_event("plan-get")))
    assert body["brake"]["mode"] == mode
    assert "cleanups on memory" in body["brake"]["message"]


@pytest.mark.parametrize("behaviour", [silent, dripping], ids=["silent", "dripping"])
def test_a_provider_that_hangs_is_a_problem_of_the_plan_before_the_gateway_gives_up(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, behaviour: Any
) -> None:
    monkeypatch.setattr(plans, "SECONDS", 2)
    with receiving(behaviour) as hanging:
        monkeypatch.setenv("BASE_URLS", json.dumps({"digitalocean": hanging.url.partition("/hook")[0]}))
        monkeypatch.setenv("DIGITALOCEAN_TOKEN", "opens-nothing")
        monkeypatch.setenv(
            "LOCAL_PLACE", json.dumps({"host": "here", "boot_id": "b00710ad-0000-4000-8000-000000000001"})
        )
        forget_process()
        ids: dict[str, str | list[str]] = {"droplet_id": "1"}
        new = a_deployment("svc-7", now=utc_now(), deployment_type="DigitalOceanDroplet", resource_ids=ids)
        stack.lifecycle.register(new)
        begun = time.monotonic()
        status, body = answered(stack.call("plan", an_event("plan-get")))
        assert time.monotonic() - begun < 5
    assert (status, body["problems"], body["digest"]) == (200, [plans.TOO_LONG], None)


# another look at what is gone


@pytest.fixture
def ended(stack: Stack, live: Deployment) -> Deployment:
    terminating = stack.lifecycle.terminate("svc-7", reason="r", requested_by="b")
    gone = a_thing("a", state="gone", proof="seen", gone_at=format_time(utc_now()))
    over = stack.lifecycle.released(terminating, [gone, a_thing("b", state="kept")])
    # The time of its first look has come.
    cleanup = msgspec.structs.replace(over.cleanup, ended_at=format_time(utc_now() - timedelta(hours=2)))
    due = msgspec.structs.replace(over, version=over.version + 1, outbox=[], cleanup=cleanup)
    stack.records.replace(over, due)
    return due


def test_what_is_still_gone_says_so_on_the_receipt(stack: Stack, ended: Deployment, provider: MemoryProvider) -> None:
    assert stack.call("plan", an_event("plan-observe")) == {"planned": False, "resurrected": False}
    record = stack.record()
    assert (record.status, record.cleanup.looks) == ("Terminated", 1)
    assert record.resources[0].detail.startswith("still gone at ")
    # What was kept isn't looked at.
    assert provider.calls == [("state", "a")]


def test_what_is_back_is_terminating_again_and_deleted_by_no_look(
    stack: Stack, ended: Deployment, provider: MemoryProvider
) -> None:
    provider.has(a_thing("a"))
    assert stack.call("plan", an_event("plan-observe")) == {"planned": False, "resurrected": True}
    record = stack.record()
    assert (record.status, record.cleanup.reason) == ("Terminating", "resurrected")
    assert (record.resources[0].state, record.resources[0].proof) == ("present", "")
    assert provider.asked("delete") == []
    # The lookers' role may start nothing.
    assert stack.executions() == [f"{ended.generation}-1"]
    # Told twice, it looks at nothing more.
    assert stack.call("plan", an_event("plan-observe")) == {"planned": False}


def test_what_may_be_anothers_now_is_noted_and_left_alone(
    stack: Stack, ended: Deployment, provider: MemoryProvider
) -> None:
    provider.has(a_thing("a"))
    provider.doubtful.add("a")
    assert stack.call("plan", an_event("plan-observe")) == {"planned": False, "resurrected": False}
    assert stack.record().status == "Terminated"
    assert "nothing says that it is the same" in stack.record().resources[0].detail


@pytest.mark.parametrize("error", [Refused("credentials", "no key"), Unreachable("no answer"), Busy("later")])
def test_what_cannot_be_asked_for_is_noted_on_the_receipt(
    stack: Stack, ended: Deployment, provider: MemoryProvider, error: Exception
) -> None:
    provider.raises["state", "a"] = error
    assert stack.call("plan", an_event("plan-observe")) == {"planned": False, "resurrected": False}
    record = stack.record()
    assert (record.status, record.resources[0].state, record.cleanup.looks) == ("Terminated", "gone", 1)
    assert record.resources[0].detail.endswith(str(error))


# a cleanup that keeps to its plan


@pytest.fixture
def invoked(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what terminate invokes the function of the plans with: it runs here, as Lambda would run it."""
    heard: list[dict[str, Any]] = []

    class Lambda:
        def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
            heard.append(json.loads(Payload))
            return {"Payload": io.BytesIO(json.dumps(stack.call("plan", heard[-1])).encode())}

    monkeypatch.setattr(workflow, "patient_client", lambda _service: Lambda())
    return heard


def deleting(**query: str) -> dict[str, Any]:
    event: dict[str, Any] = an_event("terminate-delete")
    return event | {"queryStringParameters": query}


def test_a_plan_that_is_still_what_would_happen_begins_its_round(
    stack: Stack, live: Deployment, provider: MemoryProvider, invoked: list[dict[str, Any]]
) -> None:
    provider.has(a_thing("a"))
    digest = answered(stack.call("plan", an_event("plan-get")))[1]["digest"]
    assert digest == answered(stack.call("plan", an_event("plan-get")))[1]["digest"]
    status, body = answered(stack.call("terminate", deleting(plan=digest)))
    assert (status, body["cleanup"]["plan"]) == (202, digest)
    assert invoked == [{"blueprint_id": "svc-7", "generation": live.generation, "compare": digest}]
    # On its way, it is answered as ever.
    assert answered(stack.call("terminate", deleting(plan=digest)))[0] == 202
    assert len(invoked) == 1


def test_a_plan_that_has_changed_begins_nothing_and_says_what_changed(
    stack: Stack, live: Deployment, provider: MemoryProvider, invoked: list[dict[str, Any]]
) -> None:
    provider.has(a_thing("a"))
    digest = answered(stack.call("plan", an_event("plan-get")))[1]["digest"]
    provider.has(a_thing("b"))
    status, body = answered(stack.call("terminate", deleting(plan=digest)))
    assert (status, body["error"]["code"]) == (409, "plan_changed")
    assert body["error"]["changed"] == ["now it would delete memory:thing b"]
    assert stack.record() == live
    provider.raises["discover", ""] = Refused("not_ours", "a carries no mark")
    status, body = answered(stack.call("terminate", deleting(plan=digest)))
    assert (status, body["error"]["changed"]) == (409, ["now nothing would be deleted: a carries no mark"])


@pytest.mark.parametrize("error", [Unreachable("no answer"), Busy("throttled")])
def test_a_plan_that_cannot_be_drawn_now_begins_nothing(
    stack: Stack, live: Deployment, provider: MemoryProvider, invoked: list[dict[str, Any]], error: Exception
) -> None:
    provider.has(a_thing("a"))
    digest = answered(stack.call("plan", an_event("plan-get")))[1]["digest"]
    provider.raises["discover", ""] = error
    status, body = answered(stack.call("terminate", deleting(plan=digest)))
    assert (status, body["error"]["code"]) == (503, "plan_unseen")
    assert str(error) in body["error"]["message"]
    assert stack.record() == live


def test_without_an_answer_of_the_function_of_the_plans_nothing_begins(
    stack: Stack, live: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lambda:
        def invoke(self, **_: Any) -> dict[str, Any]:
            raise ReadTimeoutError(endpoint_url="https://lambda")

    monkeypatch.setattr(workflow, "patient_client", lambda _service: Lambda())
    status, body = answered(stack.call("terminate", deleting(plan="0123456789")))
    assert (status, body["error"]["code"]) == (503, "plan_unseen")
    assert stack.record() == live


@pytest.mark.parametrize(
    ("query", "status"),
    [({"plan": ""}, 422), ({"plan": "short"}, 422), ({"plan": "!" * 10}, 422), ({"plans": "x"}, 400)],
)
def test_what_is_no_digest_is_refused(stack: Stack, live: Deployment, query: dict[str, str], status: int) -> None:
    assert answered(stack.call("terminate", deleting(**query)))[0] == status
    assert stack.record() == live
