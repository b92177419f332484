"""Changes: each behind a dialog that says what goes, what stays and what it costs, with the focus on the safe button."""

import re
from typing import Any

import pytest

from tests.client.api import Fault
from tests.ui.browser.conftest import OpenPage
from tests.ui.stand import Stand


def opened(page: OpenPage, key: str, button: str) -> Any:
    shown = page(f"/d/{key}")
    shown.get_by_role("button", name=button, exact=True).click()
    shown.wait_for_selector("dialog")
    return shown


def focused(page: Any) -> str:
    return str(page.evaluate("document.activeElement.innerText"))


def confirm(page: Any, name: str) -> Any:
    return page.locator("dialog").get_by_role("button", name=re.compile(f"^{name}"))


def is_disabled(button: Any) -> bool:
    return bool(button.get_attribute("aria-disabled") == "true")


def test_end_lists_what_goes_and_hands_back_the_plan(page: OpenPage, filled: Stand) -> None:
    shown = opened(page, "staging-eks", "End")
    assert focused(shown) == "Keep it"
    shown.locator("dialog .goes code").first.wait_for()
    assert shown.locator("dialog .goes code").all_inner_texts() == ["staging-eks-a", "staging-eks"]
    assert "$0.41 an hour" in shown.locator("dialog").inner_text()
    shown.get_by_label("Reason").fill("not needed")
    confirm(shown, "End").click()
    shown.wait_for_selector("text=staging-eks is ending.")
    (call,) = filled.called("DELETE")
    assert (call.body, call.query) == ({"reason": "not needed"}, {"plan": "d-staging-eks"})
    shown.locator("header .state.moving", has_text="Terminating").wait_for()
    # A 202 is no end: nothing says that it is gone.
    assert not re.search("deleted|is over", shown.locator("main").inner_text())


def test_the_safe_button_and_escape_change_nothing(page: OpenPage, filled: Stand) -> None:
    shown = opened(page, "staging-eks", "End")
    shown.keyboard.press("Enter")
    shown.wait_for_selector("dialog", state="detached")
    assert focused(shown) == "End"
    shown.keyboard.press("Enter")
    shown.wait_for_selector("dialog")
    shown.keyboard.press("Escape")
    shown.wait_for_selector("dialog", state="detached")
    assert filled.called("DELETE") == []
    assert shown.url.endswith("/d/staging-eks")


def test_a_plan_that_changed_is_shown_anew_before_anything_goes(page: OpenPage, filled: Stand) -> None:
    shown = opened(page, "staging-eks", "End")
    shown.locator("dialog .goes code").first.wait_for()
    filled.faults = [
        Fault(
            409,
            {
                "error": {
                    "code": "plan_changed",
                    "message": "The plan has changed.",
                    "changed": ["now it would delete vol-2"],
                }
            },
        )
    ]
    confirm(shown, "End").click()
    shown.wait_for_selector("text=The plan above was drawn again")
    assert "now it would delete vol-2" in shown.locator("dialog").inner_text()
    shown.locator("dialog .goes code").first.wait_for()
    confirm(shown, "End").click()
    shown.wait_for_selector("text=staging-eks is ending.")


def test_what_is_held_ends_only_with_a_word_why(page: OpenPage, filled: Stand) -> None:
    shown = opened(page, "license-server", "End")
    shown.locator("dialog .goes").wait_for()
    assert is_disabled(confirm(shown, "End"))
    assert "audit until Friday" in shown.locator("dialog").inner_text()
    shown.get_by_label("Why it ends though it is held").fill("the audit is over")
    confirm(shown, "End").click()
    shown.wait_for_selector("text=license-server is ending.")
    assert filled.last.body or filled.called("DELETE")[-1].body == {"over_hold": "the audit is over"}


def test_a_hold_that_came_meanwhile_is_asked_about(page: OpenPage, filled: Stand) -> None:
    shown = opened(page, "staging-eks", "End")
    shown.locator("dialog .goes code").first.wait_for()
    filled.more["staging-eks"]["hold"] = {
        "reason": "wait for me",
        "by": "arn:aws:iam::1:user/mia",
        "at": "",
        "until": "",
    }
    confirm(shown, "End").click()
    shown.wait_for_selector("text=Why it ends though it is held")
    assert "wait for me" in shown.locator("dialog").inner_text()


def test_what_was_given_up_is_tried_again_once_its_name_is_typed(page: OpenPage, filled: Stand) -> None:
    shown = opened(page, "ml-batch-eu-7", "Retry the cleanup")
    assert focused(shown) == "Keep it"
    shown.locator("dialog .stays code").first.wait_for()
    assert "eipalloc-04f0c2b8d5e6a7f19" in shown.locator("dialog .stays").inner_text()
    assert is_disabled(confirm(shown, "Retry"))
    shown.get_by_label("Type ml-batch-eu-7 to go on").fill("ml-batch-eu-7")
    confirm(shown, "Retry").click()
    shown.wait_for_selector("text=ml-batch-eu-7 is ending.")
    assert filled.called("DELETE")[0].body == {"reason": "retry"}


def test_forget_says_that_nothing_is_deleted_and_wants_the_name(page: OpenPage, filled: Stand) -> None:
    shown = opened(page, "ml-batch-eu-7", "Forget")
    text = shown.locator("dialog").inner_text()
    assert "Nothing is deleted" in text
    assert "vol-09ad27c3310be42f1" in text
    assert "i-00000" not in text
    shown.get_by_label("Why no cleanup is needed").fill("removed by hand")
    assert is_disabled(confirm(shown, "Forget"))
    shown.get_by_label("Type ml-batch-eu-7 to go on").fill("ml-batch")
    assert is_disabled(confirm(shown, "Forget"))
    shown.get_by_label("Type ml-batch-eu-7 to go on").fill("ml-batch-eu-7")
    confirm(shown, "Forget").click()
    shown.wait_for_selector("text=ml-batch-eu-7 is forgotten.")
    assert filled.called("POST")[-1].body == {"reason": "removed by hand"}


def test_what_is_held_is_not_forgotten_before_it_is_released(page: OpenPage, filled: Stand) -> None:
    shown = opened(page, "license-server", "Forget")
    shown.get_by_label("Why no cleanup is needed").fill("removed by hand")
    shown.get_by_label("Type license-server to go on").fill("license-server")
    assert is_disabled(confirm(shown, "Forget"))
    assert "release the hold first" in shown.locator("dialog").inner_text()


def test_extend_shows_the_old_end_and_the_new_one(page: OpenPage, filled: Stand) -> None:
    shown = opened(page, "notebook-ben", "Extend")
    before = filled.records["notebook-ben"].expires_at
    assert focused(shown) == "Cancel"
    shown.get_by_role("radio", name="4 h").check()
    said = shown.locator("dialog .change").inner_text()
    assert [each for each in said.splitlines() if each.endswith("end")] == ["Old end", "New end"]
    confirm(shown, "Extend").click()
    shown.wait_for_selector(".said >> text=notebook-ben ends")
    assert "instead of" in shown.locator(".said").inner_text()
    assert filled.called("POST")[-1].body == {"by": 4 * 3600}
    assert str(filled.records["notebook-ben"].expires_at) > str(before)


def test_an_end_in_the_past_is_refused_before_it_is_sent(page: OpenPage, filled: Stand) -> None:
    shown = opened(page, "notebook-ben", "Extend")
    shown.get_by_label("Or until").fill("2020-01-01T10:00")
    assert is_disabled(confirm(shown, "Extend"))
    assert "in the past" in shown.locator("dialog").inner_text()
    shown.get_by_label("Or until").fill("2099-01-01T10:00")
    confirm(shown, "Extend").click()
    shown.wait_for_selector(".said >> text=notebook-ben ends")
    assert filled.called("POST")[-1].body == {"until": "2099-01-01T10:00:00Z"}


@pytest.mark.parametrize("key", ["ci-runner-4410", "old-gateway"])
def test_what_is_late_or_has_no_end_is_given_time_from_now(page: OpenPage, filled: Stand, key: str) -> None:
    shown = opened(page, key, "Extend")
    assert "From now on" in shown.locator("dialog").inner_text()
    confirm(shown, "Extend").click()
    shown.wait_for_selector(f".said >> text={key} ends")
    assert set(filled.called("POST")[-1].body) == {"until"}


def test_hold_and_release(page: OpenPage, filled: Stand) -> None:
    shown = opened(page, "notebook-ben", "Hold")
    assert is_disabled(confirm(shown, "Hold"))
    shown.get_by_label("Why").fill("demo tomorrow")
    shown.get_by_role("radio", name="7 days").check()
    confirm(shown, "Hold").click()
    shown.wait_for_selector(".note.held >> text=demo tomorrow")
    shown.get_by_role("button", name="Release the hold").click()
    confirm(shown, "Release").click()
    shown.wait_for_selector(".note.held", state="detached")
    assert filled.called("DELETE")[-1].path.endswith("/hold")


def test_a_refusal_is_shown_in_the_dialog_with_its_code(page: OpenPage, filled: Stand) -> None:
    shown = opened(page, "staging-eks", "End")
    shown.locator("dialog .goes code").first.wait_for()
    filled.faults = [Fault(403, {"error": {"code": "not_yours", "message": "It is platform's.", "owner": "platform"}})]
    confirm(shown, "End").click()
    shown.wait_for_selector("dialog .note.bad")
    text = shown.locator("dialog .note.bad").inner_text()
    assert "It is platform's." in text
    assert "not_yours" in text


def test_the_brake_that_holds_an_end_up_is_said(page: OpenPage, filled: Stand) -> None:
    filled.brake = {"mode": "pause", "message": "Cleanups are paused."}
    shown = opened(page, "staging-eks", "End")
    shown.locator("dialog .goes code").first.wait_for()
    confirm(shown, "End").click()
    shown.wait_for_selector("text=staging-eks begins to end once the brake is let go.")


def test_many_end_after_a_review_of_each(page: OpenPage, filled: Stand) -> None:
    shown = page()
    for key in ("staging-eks", "notebook-ben", "license-server"):
        shown.get_by_role("checkbox", name=f"Select {key}").check()
    assert "3 deployments selected" in shown.locator(".selection").inner_text()
    shown.locator(".selection").get_by_role("button", name="End…", exact=True).click()
    shown.locator(".review code").first.wait_for()
    assert focused(shown) == "Keep them"
    lines = {each.split("\n")[0].split()[0]: each for each in shown.locator(".review li").all_inner_texts()}
    assert set(lines) == {"staging-eks", "notebook-ben", "license-server"}
    assert "left out: It is held" in lines["license-server"]
    assert "staging-eks-a" in lines["staging-eks"]
    assert "$2.90 an hour" in shown.locator("dialog").inner_text()
    assert is_disabled(confirm(shown, "End"))
    shown.get_by_label("Type end 2 to go on").fill("end 2")
    confirm(shown, "End").click()
    shown.wait_for_selector("text=2 of 2 are ending.")
    assert sorted(call.query["plan"] for call in filled.called("DELETE")) == ["d-notebook-ben", "d-staging-eks"]
    assert shown.locator(".selection").count() == 0


def test_one_of_many_that_fails_is_named_and_the_others_go_on(page: OpenPage, filled: Stand) -> None:
    shown = page()
    for key in ("demo-tuesday", "notebook-ben"):
        shown.get_by_role("checkbox", name=f"Select {key}").check()
    shown.locator(".selection").get_by_role("button", name="Extend…").click()
    shown.wait_for_selector("dialog")
    filled.records["demo-tuesday"] = filled.records["team-a/preview-1187"]
    confirm(shown, "Extend").click()
    shown.wait_for_selector("dialog .note.bad")
    shown.wait_for_selector("text=1 of 2 were extended; the others say why not.")
    assert "extended" in shown.locator(".review li", has_text="notebook-ben").inner_text()
    shown.locator("dialog").get_by_role("button", name="Close").click()


def test_a_stray_is_adopted_once_its_id_is_typed(page: OpenPage, filled: Stand) -> None:
    shown = page("/strays")
    shown.get_by_role("button", name="Adopt i-0c41f0a9d2e87b635").click()
    assert "deleted once its time is over" in shown.locator("dialog").inner_text()
    shown.get_by_label("Why it may go").fill("a test left it")
    assert is_disabled(confirm(shown, "Adopt"))
    shown.get_by_label("Type i-0c41f0a9d2e87b635 to go on").fill("i-0c41f0a9d2e87b635")
    confirm(shown, "Adopt").click()
    shown.wait_for_selector("text=is registered as adopted.")
    assert filled.called("POST")[-1].body == {"reason": "a test left it", "ttl_seconds": 3600}


def test_a_delivery_is_sent_again(page: OpenPage, filled: Stand) -> None:
    shown = page("/d/ml-batch-eu-7?tab=deliveries")
    shown.get_by_role("button", name="Send again").first.click()
    shown.wait_for_selector("text=is sent again.")
    assert filled.called("POST")[-1].path.endswith("/deliveries/5f0c2b8d-6/redeliver")
