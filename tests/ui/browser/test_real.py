"""From the list to an end, in a browser, with the functions' real handlers behind the API."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.client.api import serving
from tests.fakes import MemoryProvider, a_deployment, a_thing
from tests.functions.conftest import Stack, stack
from tests.functions.test_plan import invoked
from tests.ui.browser.conftest import OpenPage
from tests.ui.gateway import Gateway
from tracker.model.clock import utc_now
from tracker.model.deployment import Hold, Price

__all__ = ["invoked", "stack"]
GENERATION = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.fixture
def api(stack: Stack, provider: MemoryProvider, invoked: list[dict[str, Any]]) -> Iterator[Gateway]:
    new = a_deployment(
        "team/svc-7", now=utc_now(), deployment_type="BareMetal", resource_ids={"box": "a"}, owner="ann",
        labels={"team": "ml"}, cost_per_hour=Price(1.5, "USD"), generation=GENERATION,
    )  # fmt: skip
    stack.lifecycle.register(new)
    provider.has(a_thing("a"))
    found = Gateway(stack)
    with serving(found):
        yield found


def test_extended_held_released_and_ended_by_its_plan(page: OpenPage, api: Gateway, stack: Stack) -> None:
    shown = page()
    row = shown.locator("tr", has=shown.locator('a.row[data-key="team/svc-7"]'))
    text = row.inner_text()
    for each in ("BareMetal", "ann", "ml", "Expiring soon", "$1.50"):
        assert each in text
    shown.locator("a.row").click()
    dialog = shown.locator("dialog")
    before = stack.record("team/svc-7").expires_at
    shown.get_by_role("button", name="Extend", exact=True).click()
    dialog.get_by_role("button", name="Extend").click()
    shown.wait_for_selector(".said >> text=instead of")
    assert str(stack.record("team/svc-7").expires_at) > str(before)
    shown.get_by_role("button", name="Hold", exact=True).click()
    shown.get_by_label("Why").fill("demo")
    dialog.get_by_role("button", name="Hold").click()
    shown.wait_for_selector(".note.held >> text=demo")
    assert isinstance(stack.record("team/svc-7").hold, Hold)
    shown.get_by_role("button", name="Release the hold").click()
    dialog.get_by_role("button", name="Release").click()
    shown.wait_for_selector(".note.held", state="detached")
    shown.locator("#tab-timeline").click()
    said = shown.locator(".timeline strong").all_inner_texts()
    assert said == ["No longer held", "Held", "Extended", "Registered"]
    shown.get_by_role("button", name="End", exact=True).click()
    shown.wait_for_selector("dialog .goes >> text=memory:thing")
    shown.get_by_label("Reason").fill("not needed")
    dialog.get_by_role("button", name="End").click()
    shown.wait_for_selector("text=team/svc-7 is ending.")
    record = stack.record("team/svc-7")
    assert (record.status, record.cleanup.reason) == ("Terminating", "not needed")
    shown.locator("header .state", has_text="Terminating").wait_for()
