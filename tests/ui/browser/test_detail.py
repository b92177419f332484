"""One deployment: its tabs, which the address names, and the keys that lead to it and back."""

import re
from typing import Any

import pytest

from tests.client.api import event
from tests.ui.browser.conftest import OpenPage
from tests.ui.stand import Stand, ago


def focused_key(page: Any) -> Any:
    return page.evaluate("document.activeElement.dataset.key")


def test_a_row_is_a_link_to_its_record(page: OpenPage, filled: Stand) -> None:
    shown = page("/?owner=ann")
    link = shown.locator('a.row[data-key="team-a/preview-1187"]')
    assert link.get_attribute("href") == "/d/team-a%2Fpreview-1187"
    link.click()
    shown.wait_for_selector(".facts")
    assert shown.locator("h1:visible").inner_text() == "team-a/preview-1187"
    shown.go_back()
    shown.wait_for_selector("a.row")
    assert shown.url.endswith("/?owner=ann")
    # The row that was left has the focus.
    assert focused_key(shown) == "team-a/preview-1187"


def test_the_tabs_are_in_the_address(page: OpenPage, filled: Stand) -> None:
    shown = page("/d/ml-batch-eu-7")
    assert shown.get_by_role("tab", name=re.compile("Resources")).inner_text().split() == ["Resources", "3"]
    assert "terminated, then not found by DescribeInstances" in shown.locator("#tabpanel").inner_text()
    shown.get_by_role("tab", name=re.compile("Timeline")).click()
    shown.wait_for_url("**/d/ml-batch-eu-7?tab=timeline")
    said = shown.locator(".timeline strong").all_inner_texts()
    assert said[0] == "Given up until someone looks"
    assert said[-1] == "Registered"
    text = shown.locator(".timeline").inner_text()
    assert "user/ann" in text
    assert "1 h 0 min before its end" in text or "1 h before its end" in text
    shown.keyboard.press("ArrowRight")
    shown.wait_for_url("**/d/ml-batch-eu-7?tab=deliveries")
    shown.wait_for_selector("text=HTTP 204")
    assert "no answer within 5 s" in shown.locator("#tabpanel").inner_text()
    shown.reload()
    shown.wait_for_selector("text=HTTP 204")
    shown.get_by_role("tab", name="Plan").click()
    shown.wait_for_selector("#tabpanel .goes code")
    assert shown.locator("#tabpanel .stays code").all_inner_texts() == ["eipalloc-04f0c2b8d5e6a7f19"]
    # The list is one step back: tabs are none.
    shown.go_back()


@pytest.mark.parametrize("first", ["registered", "held"])
def test_what_happened_is_counted_by_what_is_kept_and_by_no_number_of_an_event(
    page: OpenPage, filled: Stand, first: Any
) -> None:
    # So high are those of a stray that was adopted by its mark, and of a record that was put back.
    number = 29_738_241
    events = [event(number, first, ago(200)), event(number + 1, "amended", ago(100))]
    filled.has("adopted", "AwsEc2", age=300, ttl=None, events=events, sequence=number + 1)
    shown = page("/d/adopted?tab=timeline")
    shown.wait_for_selector(".timeline")
    assert shown.get_by_role("tab", name=re.compile("Timeline")).inner_text().split() == ["Timeline", "2"]
    text = shown.locator("#tabpanel").inner_text()
    assert ("What happened before isn't kept" in text) == (first != "registered")
    assert not re.search(r"29\D?7", text)


def test_a_record_says_why_it_failed_and_when_it_is_tried_again(page: OpenPage, filled: Stand) -> None:
    shown = page("/d/render-farm-2")
    text = shown.locator(".note.bad").inner_text()
    assert "The cleanup failed 3 times" in text
    assert "was refused (401)" in text
    assert re.search(r"Tried again in 1[12] min", text)


def test_what_is_not_recorded_is_said(page: OpenPage, filled: Stand) -> None:
    shown = page("/d/nobody")
    shown.wait_for_selector("text=nobody isn't recorded")


def test_a_label_and_an_owner_lead_to_their_lists(page: OpenPage, filled: Stand) -> None:
    shown = page("/d/staging-eks")
    shown.locator(".facts").get_by_role("link", name="platform", exact=True).click()
    shown.wait_for_url("**/?owner=platform")
    shown.locator('a.row[data-key="staging-eks"]').click()
    shown.locator(".facts a.label", has_text="env").click()
    shown.wait_for_url("**/?label=env%3Dstaging")
    shown.wait_for_selector("a.row")
    assert set(shown.locator("a.row").all_inner_texts()) == {"ml-batch-eu-7", "staging-eks"}


def test_an_end_is_heard_and_seen_without_a_reload(page: OpenPage, filled: Stand) -> None:
    shown = page("/d/team-a%2Fpreview-1187")
    shown.locator("header .state", has_text="Terminating").wait_for()
    filled.looks = 0
    shown.locator("header .state", has_text="Terminated").wait_for()
    assert "team-a/preview-1187: terminated" in shown.locator("[role=log]").inner_text()
    end = shown.get_by_role("button", name=re.compile("^End"))
    assert end.get_attribute("aria-disabled") == "true"


def test_keys_move_open_extend_and_lead_back(page: OpenPage, filled: Stand) -> None:
    shown = page()
    shown.wait_for_selector("a.row")
    shown.keyboard.press("j")
    assert focused_key(shown) == "ml-batch-eu-7"
    for _ in range(5):
        shown.keyboard.press("j")
    assert focused_key(shown) == "demo-tuesday"
    shown.keyboard.press("k")
    assert focused_key(shown) == "team-a/preview-1187"
    shown.keyboard.press("e")
    assert shown.locator("dialog").count() == 0, "it is ending"
    shown.keyboard.press("j")
    shown.keyboard.press("e")
    shown.wait_for_selector("dialog >> text=Extend demo-tuesday")
    shown.keyboard.press("Escape")
    shown.wait_for_selector("dialog", state="detached")
    assert focused_key(shown) == "demo-tuesday"
    shown.keyboard.press("x")
    assert shown.get_by_role("checkbox", name="Select demo-tuesday").is_checked()
    shown.keyboard.press("Enter")
    shown.wait_for_selector(".facts")
    shown.keyboard.press("e")
    shown.wait_for_selector("dialog >> text=Extend demo-tuesday")
    shown.keyboard.press("Escape")
    shown.keyboard.press("Escape")
    shown.wait_for_selector("a.row")
    assert focused_key(shown) == "demo-tuesday"


def test_the_filter_key_takes_letters_until_escape(page: OpenPage, filled: Stand) -> None:
    shown = page()
    shown.wait_for_selector("a.row")
    shown.keyboard.press("/")
    shown.keyboard.type("jek?")
    assert shown.locator("#filter").input_value() == "jek?"
    assert shown.locator("dialog").count() == 0
    shown.keyboard.press("Escape")
    shown.keyboard.press("?")
    shown.wait_for_selector("dialog >> text=Next, previous deployment")


def test_the_focus_is_seen(page: OpenPage, filled: Stand) -> None:
    shown = page()
    shown.wait_for_selector("a.row")
    shown.keyboard.press("j")
    outline = "getComputedStyle(document.activeElement, '::after').outlineStyle"
    assert shown.evaluate(outline) == "solid"
    shown.keyboard.press("Tab")
    assert shown.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
