"""The page is for everyone: axe finds nothing wrong in any view or dialog, light or dark, wide or narrow."""

from typing import Any

import pytest

from tests.client.api import Fault
from tests.ui.browser.conftest import NARROW, WIDE, OpenPage
from tests.ui.stand import Stand

LOOKS = [("light", WIDE), ("dark", WIDE), ("light", NARROW), ("dark", NARROW)]
IDS = ["light", "dark", "light-narrow", "dark-narrow"]


def violations(page: Any, axe: str) -> list[str]:
    page.evaluate("document.fonts.ready")
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize(("scheme", "viewport"), LOOKS, ids=IDS)
def test_no_view_has_a_violation(
    page: OpenPage, filled: Stand, axe: str, scheme: str, viewport: dict[str, int]
) -> None:
    shown = page(brake="enforce, vultr=pause", color_scheme=scheme, viewport=viewport, reduced_motion="reduce")
    shown.wait_for_selector("a.row")
    shown.wait_for_selector(".brake")
    assert violations(shown, axe) == []
    shown.get_by_role("checkbox", name="Select staging-eks").check()
    assert violations(shown, axe) == []
    shown.locator('a.row[data-key="ml-batch-eu-7"]').click()
    for tab, selector in (
        ("resources", ".plain-table"),
        ("timeline", ".timeline"),
        ("deliveries", ".plain-table"),
        ("plan", ".goes"),
    ):
        shown.locator(f"#tab-{tab}").click()
        shown.wait_for_selector(f"#tabpanel {selector}")
        assert violations(shown, axe) == []
    shown.locator("nav a", has_text="Strays").click()
    shown.wait_for_selector(".strays")
    assert violations(shown, axe) == []
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(("scheme", "viewport"), LOOKS, ids=IDS)
def test_no_dialog_has_a_violation(
    page: OpenPage, filled: Stand, axe: str, scheme: str, viewport: dict[str, int]
) -> None:
    shown = page(color_scheme=scheme, viewport=viewport, reduced_motion="reduce")
    shown.wait_for_selector("a.row")
    for key, buttons in {
        "ml-batch-eu-7": ["Retry the cleanup", "Forget"],
        "license-server": ["End", "Release the hold", "Extend"],
        "notebook-ben": ["Hold"],
    }.items():
        shown.locator(f'a.row[data-key="{key}"]').click()
        for button in buttons:
            shown.locator(".head").get_by_role("button", name=button, exact=True).click()
            shown.wait_for_selector("dialog")
            shown.wait_for_selector("dialog .loading", state="detached")
            assert violations(shown, axe) == []
            shown.keyboard.press("Escape")
            shown.wait_for_selector("dialog", state="detached")
        shown.keyboard.press("Escape")
        shown.wait_for_selector("a.row")
    shown.keyboard.press("?")
    assert violations(shown, axe) == []
    shown.keyboard.press("Escape")
    for name in ("staging-eks", "license-server"):
        shown.get_by_role("checkbox", name=f"Select {name}").check()
    for word in ("End…", "Extend…"):
        shown.locator(".selection").get_by_role("button", name=word, exact=True).click()
        shown.wait_for_selector(".review li")
        assert violations(shown, axe) == []
        shown.keyboard.press("Escape")
        shown.wait_for_selector("dialog", state="detached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_empty_state_has_a_violation(page: OpenPage, api: Stand, axe: str, scheme: str) -> None:
    shown = page(color_scheme=scheme)
    shown.wait_for_selector("text=Nothing is registered")
    assert violations(shown, axe) == []
    api.faults = [Fault(403, {"error": {"code": "AccessDenied", "message": "No."}})] * 1000
    shown.wait_for_selector(".stale")
    assert violations(shown, axe) == []
    shown.reload()
    shown.wait_for_selector(".away")
    assert violations(shown, axe) == []
    api.faults = []
    api.has("one", "AwsEc2", age=60, ttl=3600)
    shown.goto(f"{shown.server.session.url}?q=nothing-like-that")
    shown.wait_for_selector("text=Nothing matches")
    assert violations(shown, axe) == []
