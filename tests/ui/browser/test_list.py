"""The list: what needs someone first, filters in the address, and three ways to be empty."""

import re
import time
from typing import Any

import pytest

from tests.client.api import Fault
from tests.ui.browser.conftest import OpenPage
from tests.ui.stand import HOUR, MODE, Stand, ago, failing


def names(page: Any) -> list[str]:
    return [str(each) for each in page.locator("a.row").all_inner_texts()]


def row(page: Any, key: str) -> Any:
    return page.locator("tr", has=page.locator(f'a.row[data-key="{key}"]'))


def test_what_needs_someone_is_on_top_then_what_is_held(page: OpenPage, filled: Stand) -> None:
    shown = page()
    shown.wait_for_selector("a.row")
    assert names(shown)[:7] == [
        "ml-batch-eu-7", "render-farm-2", "ci-runner-4410", "license-server", "team-a/preview-1187", "demo-tuesday", "load-test-17",
    ]  # fmt: skip
    assert names(shown)[-1] == "old-gateway"
    groups = shown.locator("tr.group").all_inner_texts()
    assert [each.split()[0] for each in groups] == ["Needs", "Held", "Terminating", "Running"]


def test_a_row_says_all_that_a_glance_needs(page: OpenPage, filled: Stand) -> None:
    shown = page()
    text = row(shown, "ml-batch-eu-7").inner_text()
    for each in (
        "AwsEc2",
        "eu-central-1",
        "mia",
        "Quarantined",
        "protected",
        "2 d late",
        "$3.06",
        "$807.84",
        "$146.88 late",
    ):
        assert each in text
    assert "Expiring soon" in row(shown, "demo-tuesday").inner_text()
    assert "No end" in row(shown, "old-gateway").inner_text()
    assert "incomplete" in row(shown, "svc-unclear").inner_text()
    # What nobody knows is no number.
    assert not re.search(r"\$|0\.00", row(shown, "svc-billing").inner_text())


def test_the_end_is_a_time_with_its_absolute_form(page: OpenPage, filled: Stand) -> None:
    shown = page()
    time_ = row(shown, "demo-tuesday").locator("time")
    end = filled.records["demo-tuesday"].expires_at
    assert time_.get_attribute("datetime") == end
    assert re.search(r"\d{4}, \d\d:\d\d:\d\d UTC", time_.get_attribute("title"))


def test_filters_are_in_the_address_and_come_from_it(page: OpenPage, filled: Stand) -> None:
    shown = page("/?owner=ben&soon=")
    shown.wait_for_selector("a.row")
    assert set(names(shown)) == {"notebook-ben", "gpu-sweep-a100", "svc-unclear"}
    shown.get_by_role("button", name="Clear filters").click()
    shown.fill("#filter", "team=ml")
    shown.wait_for_url("**/?q=team%3Dml")
    assert set(names(shown)) == {"ml-batch-eu-7", "load-test-17", "notebook-ben"}
    shown.get_by_role("button", name=re.compile("Quarantined")).click()
    shown.wait_for_url("**/?q=team%3Dml&quarantined=1")
    assert names(shown) == ["ml-batch-eu-7"]
    assert shown.get_by_role("button", name=re.compile("Quarantined")).get_attribute("aria-pressed") == "true"
    shown.reload()
    shown.wait_for_selector("a.row")
    assert names(shown) == ["ml-batch-eu-7"]


def test_the_token_leaves_the_address_and_a_reload_needs_none(page: OpenPage, filled: Stand) -> None:
    shown = page()
    shown.wait_for_selector("a.row")
    assert "token" not in shown.url
    shown.reload()
    shown.wait_for_selector("a.row")
    again = shown.context.new_page()
    again.goto(shown.url)
    again.wait_for_selector("a.row")


def test_a_stranger_sees_nothing_and_is_told_how_to_come_in(page: OpenPage, filled: Stand, chromium: Any) -> None:
    shown = page()
    stranger = chromium.new_context().new_page()
    stranger.goto(shown.server.session.url)
    stranger.wait_for_selector(".away")
    assert "the link that `tracker ui` printed" in stranger.locator(".away").inner_text()
    assert "demo-tuesday" not in stranger.content()
    stranger.context.close()


def test_nothing_registered_shows_the_command_that_registers(page: OpenPage, api: Stand) -> None:
    shown = page()
    shown.wait_for_selector("text=Nothing is registered")
    assert "tracker register" in shown.locator("pre").inner_text()


def test_nothing_matching_offers_to_clear_the_filters(page: OpenPage, filled: Stand) -> None:
    shown = page("/?q=nothing-like-that")
    shown.wait_for_selector("text=Nothing matches")
    shown.locator(".empty").get_by_role("button", name="Clear filters").click()
    shown.wait_for_selector("a.row")
    assert shown.url.endswith("/")


def test_a_stack_that_is_not_reached_is_never_empty(page: OpenPage, filled: Stand) -> None:
    filled.faults = [Fault(403, {"error": {"code": "AccessDenied", "message": "No."}})] * 1000
    shown = page()
    shown.wait_for_selector(".away")
    text = shown.locator("main").inner_text()
    assert "Nothing" not in text
    assert "AccessDenied" in text
    filled.faults = []
    shown.get_by_role("button", name="Try again").click()
    shown.wait_for_selector("a.row")


def test_what_was_read_stays_with_a_warning_when_the_stack_goes_away(page: OpenPage, filled: Stand) -> None:
    shown = page()
    shown.wait_for_selector("a.row")
    filled.faults = [Fault(403, {"error": {"code": "AccessDenied", "message": "No."}})] * 1000
    shown.wait_for_selector(".stale")
    assert len(names(shown)) == 14
    filled.faults = []
    shown.wait_for_selector(".stale", state="detached")


def test_a_refresh_keeps_focus_and_selection_though_the_row_moves(page: OpenPage, filled: Stand) -> None:
    shown = page()
    shown.get_by_role("checkbox", name="Select svc-billing").check()
    shown.locator('a.row[data-key="svc-billing"]').focus()
    filled.has("svc-billing", "AwsEc2", age=HOUR, ttl=60)
    filled.has("brand-new", "AwsEc2", age=10, ttl=HOUR)
    shown.wait_for_selector('a.row[data-key="brand-new"]')
    assert names(shown)[:5].index("svc-billing") < 4
    assert shown.evaluate("document.activeElement.dataset.key") == "svc-billing"
    assert shown.get_by_role("checkbox", name="Select svc-billing").is_checked()
    heard = shown.locator("[role=log]").inner_text()
    assert "brand-new is new" in heard
    assert "svc-billing: overdue" in heard


@pytest.mark.parametrize(
    ("brake", "wanted"),
    [("pause", "All cleanups are paused"), ("enforce, vultr=pause", "Cleanups are paused at vultr"),
     ("observe, aws=enforce", "All cleanups are only observed, but running at aws")],
)  # fmt: skip
def test_the_brake_is_a_banner(page: OpenPage, filled: Stand, brake: str, wanted: str) -> None:
    shown = page(brake=brake)
    assert wanted in shown.locator(".brake").inner_text()


def test_a_loose_brake_says_nothing_and_an_unknown_one_says_so(page: OpenPage, filled: Stand) -> None:
    shown = page()
    shown.wait_for_selector("a.row")
    assert shown.locator(".brake").count() == 0
    shown.server.client.place.outputs.pop("ModeParameter")
    shown.wait_for_selector(".brake.unknown")
    assert "The brake isn't known" in shown.locator(".brake").inner_text()
    assert MODE not in shown.content()


def test_extend_stands_beside_the_countdown_and_says_why_not(page: OpenPage, filled: Stand) -> None:
    shown = page()
    button = row(shown, "render-farm-2").get_by_role("button")
    assert button.get_attribute("aria-disabled") == "true"
    assert "Its cleanup has begun and failed" in button.get_attribute("title")
    button.click(force=True)
    assert shown.locator("dialog").count() == 0
    row(shown, "notebook-ben").get_by_role("button").click()
    shown.wait_for_selector("dialog")


def test_many_are_read_page_by_page_and_what_is_left_out_is_said(page: OpenPage, api: Stand) -> None:
    for number in range(1250):
        api.add(f"svc-{number:04}", ttl_seconds=7 * 86400)
    api.has("zzz-overdue", "AwsEc2", age=HOUR, ttl=60)
    shown = page()
    shown.wait_for_selector("text=Only the first 1,000 deployments were read")
    # The API filters then, so that nothing is missed.
    began = time.monotonic()
    shown.get_by_role("button", name=re.compile("Overdue")).click()
    shown.wait_for_selector('a.row[data-key="zzz-overdue"]')
    assert time.monotonic() - began < 60
    assert names(shown) == ["zzz-overdue"]


def test_what_is_over_is_shown_when_it_is_asked_for(page: OpenPage, filled: Stand) -> None:
    filled.has("was-here", "AwsEc2", age=HOUR, ttl=60, status="Terminated")
    shown = page()
    shown.wait_for_selector("a.row")
    assert "was-here" not in names(shown)
    shown.get_by_label("Status").select_option("Terminated")
    shown.wait_for_selector('a.row[data-key="was-here"]')
    assert names(shown) == ["was-here"]


def test_a_name_is_text_whatever_it_holds(page: OpenPage, api: Stand) -> None:
    nasty = '<img src=x onerror="document.title=1">'
    api.has(
        nasty,
        "AwsEc2",
        age=HOUR,
        ttl=60,
        owner=nasty,
        labels={"a": nasty},
        cleanup=failing(1, "protected", nasty, next_in=60),
    )
    shown = page()
    shown.wait_for_selector("a.row")
    assert names(shown) == [nasty]
    shown.locator("a.row").click()
    shown.wait_for_selector(".note.bad")
    assert nasty in shown.locator(".note.bad").inner_text()
    assert shown.locator("img").count() == 0


def test_strays_are_listed_if_the_stack_has_them(page: OpenPage, filled: Stand) -> None:
    shown = page()
    shown.get_by_role("link", name=re.compile("Strays")).click()
    shown.wait_for_selector(".strays")
    assert shown.locator("nav .count").inner_text() == "1"
    text = shown.locator(".strays").inner_text()
    assert "Unclaimed" in text
    assert "kept for forensics" in text
    shown.get_by_role("button", name="Exempt i-0c41f0a9d2e87b635").click()
    shown.get_by_label("Why").fill("someone looks at it")
    shown.get_by_role("button", name="Leave it alone").click()
    shown.wait_for_selector("text=i-0c41f0a9d2e87b635 is left alone.")
    assert filled.called("POST")[-1].body["reason"] == "someone looks at it"


def test_a_stack_without_strays_has_no_such_view(
    page: OpenPage, filled: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filled, "answer", _without_strays(filled))
    shown = page()
    shown.wait_for_selector("a.row")
    assert shown.get_by_role("link", name=re.compile("Strays")).count() == 0


def _without_strays(api: Stand) -> Any:
    whole = api.answer

    def answer(call: Any) -> Any:
        if "/strays" in call.path:
            return 404, {"error": {"code": "not_found", "message": f"no such call: {call.method} {call.path}"}}
        return whole(call)

    return answer


def test_times_that_are_over_count_up(page: OpenPage, api: Stand) -> None:
    api.has("now-over", "AwsEc2", age=HOUR, ttl=HOUR + 3)
    shown = page()
    shown.wait_for_selector("text=now-over")
    row(shown, "now-over").locator(".state", has_text="Overdue").wait_for()
    assert "late" in row(shown, "now-over").locator("time").inner_text()
    assert ago(0) > str(api.records["now-over"].expires_at)
