"""The page's calls reach the real handlers: what it sends they take, and what they answer it reads."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.client.api import serving
from tests.fakes import MemoryProvider, a_deployment, a_thing
from tests.functions.conftest import Stack, stack
from tests.functions.test_plan import invoked
from tests.ui.conftest import Browser
from tests.ui.gateway import Gateway
from tests.ui.stand import page_of
from tracker.model.clock import utc_now

__all__ = ["invoked", "stack"]
LATER = (datetime.now(UTC) + timedelta(days=2)).isoformat()

GENERATION = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.fixture
def page(stack: Stack, provider: MemoryProvider, invoked: list[dict[str, Any]]) -> Iterator[Browser]:
    """The page of a stack in which one thing runs."""
    new = a_deployment(
        "team/svc-7", now=utc_now(), generation=GENERATION, deployment_type="BareMetal", resource_ids={"box": "a"}
    )
    stack.lifecycle.register(new)
    provider.has(a_thing("a"))
    with serving(Gateway(stack)) as api, page_of(api) as server:
        found = Browser(server)
        found.open()
        yield found


@pytest.mark.parametrize(
    ("query", "is_there"),
    [
        ("", True), ("overdue=true", False), ("quarantined=true", False), ("failing=true", False), ("held=true", False),
        ("without_ttl=true", False), ("expiring_within=7200", True), ("owner=ann", False), ("label=team%3Dml", False),
        ("status=Active", True), ("deployment_type=BareMetal", True),
    ],
)  # fmt: skip
def test_every_filter_is_taken(page: Browser, query: str, *, is_there: bool) -> None:
    answer = page.ask("GET", f"/api/deployments?{query}" if query else "/api/deployments")
    assert answer.status == 200, answer.body
    assert [each["blueprint_id"] for each in answer.body["deployments"]] == ["team/svc-7"] * is_there


def test_a_life_by_the_page(page: Browser, stack: Stack) -> None:
    at = "/api/deployments/team%2Fsvc-7"

    def made(method: str, path: str = "", body: Any = None, status: int = 200) -> Any:
        answer = page.ask(method, at + path, body)
        assert answer.status == status, answer.body
        return answer.body

    before = made("GET")["expires_at"]
    extended = made("POST", "/extend", {"by": 3600})["extended"]
    assert (extended["from"], extended["to"] > before) == (before, True)
    assert made("POST", "/extend", {"until": "2020-01-01T00:00:00Z"}, 422)["error"]["field"] == "until"
    assert made("POST", "/hold", {"reason": "demo", "until": LATER})["hold"]["reason"] == "demo"
    plan = made("GET", "/plan")
    assert [(each["id"], each["state"]) for each in plan["resources"]] == [("a", "present")]
    assert made("DELETE", "", {"reason": "r", "plan": plan["digest"]}, 409)["error"]["hold"]["reason"] == "demo"
    assert made("POST", "/forget", {"reason": "r"}, 409)["error"]["code"] == "held"
    assert made("DELETE", "/hold")["hold"] is None
    ended = made("DELETE", "", {"reason": "not needed", "plan": plan["digest"]})
    assert ended["status"] == "Terminating"
    assert stack.record("team/svc-7").cleanup.reason == "not needed"
    assert made("GET", "/deliveries") == {"deliveries": []}
    assert made("POST", "/extend", {"by": 60}, 409)["error"]["code"] == "conflict"


def test_a_plan_that_changed_meanwhile_ends_nothing(page: Browser, stack: Stack, provider: MemoryProvider) -> None:
    at = "/api/deployments/team%2Fsvc-7"
    digest = page.ask("GET", f"{at}/plan").body["digest"]
    provider.has(a_thing("another"))
    answer = page.ask("DELETE", at, {"plan": digest})
    assert (answer.status, answer.code) == (409, "plan_changed")
    assert "another" in answer.body["error"]["changed"][0]
    assert stack.record("team/svc-7").is_live


def test_a_stack_without_strays_has_an_empty_list(page: Browser) -> None:
    assert page.ask("GET", "/api/strays").body == {"strays": []}
    answer = page.ask("POST", "/api/strays/stray%3Aaws%3Ainstance%3Ai-1/exempt", {"reason": "r", "until": LATER})
    assert (answer.status, answer.code) == (404, "not_found")
