"""The page says what the command line says, and as the API calls it: times, statuses, events, places."""

import random
import re
from typing import Any

import pytest

from deployment_tracker.cli.listing import STATUSES
from deployment_tracker.cli.telling import EVENTS
from deployment_tracker.times import length
from tests.ui.browser.conftest import OpenPage
from tests.ui.stand import EC2, HOUR, Stand, ago
from tracker.model.deployment import Cleanup, Resource


def words(page: Any, script: str, argument: Any = None) -> Any:
    """Run a script with the page's own words."""
    return page.evaluate(f"async (it) => {{ const words = await import('/assets/words.js'); {script} }}", argument)


def test_every_length_of_time_is_the_command_lines(page: OpenPage, api: Stand) -> None:
    edges = [
        0,
        0.4,
        0.5,
        59.5,
        299.4,
        299.5,
        300,
        329,
        330,
        3569,
        3570,
        3599,
        3600,
        7199,
        86_369,
        86_370,
        86_399,
        86_400,
    ]
    some = [random.uniform(0, 10 ** random.uniform(0, 8)) for _ in range(500)]
    shown = words(page(), "return it.map(words.length)", edges + some)
    assert dict(zip(edges + some, shown, strict=True)) == {each: length(each) for each in edges + some}


def test_every_event_and_every_status_has_the_command_lines_word(page: OpenPage, api: Stand) -> None:
    shown = page()
    assert words(shown, "return words.EVENTS") == EVENTS
    said = words(shown, "return it.map((status) => words.state({ status }, Date.now()).word)", STATUSES)
    assert tuple(said) == STATUSES


def test_an_end_is_rounded_up_to_the_second(page: OpenPage, api: Stand) -> None:
    exact, early = words(page(), "return it.map(words.absolute)", ["2026-12-01T13:00:00Z", "2026-12-01T12:59:59.001Z"])
    assert exact == early


def test_what_is_ending_counts_down_no_more_and_says_what_happens(page: OpenPage, filled: Stand) -> None:
    key = "ending-early"
    gone = Resource("aws:instance", "i-1", EC2, state="gone")
    there = Resource("aws:instance", "i-2", EC2, state="leaving")
    cleanup = Cleanup(round=2, reason="requested", requested_at=ago(60))
    filled.has(key, "AwsEc2", age=HOUR, ttl=9 * HOUR, status="Terminating", cleanup=cleanup, resources=[gone, there])
    shown = page()
    row = shown.locator("tr", has=shown.locator(f'a.row[data-key="{key}"]'))
    assert row.locator(".countdown").inner_text() == "ending"
    row.locator("a.row").click()
    shown.wait_for_selector(".facts")
    assert shown.locator(".head .countdown").inner_text() == "ending"
    note = shown.locator(".note", has_text="Its cleanup runs").inner_text()
    assert re.search(r"round 2, begun 1 min( \d+ s)? ago, reason requested\.", note)
    assert "So far 1 gone, 1 leaving." in note
    assert "A round is one run of the cleanup" in note
    shown.get_by_role("tab", name="Plan").click()
    assert "there is nothing to plan" in shown.locator("#tabpanel").inner_text()
    assert not [call for call in filled.calls if call.path.endswith("/plan")]


def test_what_is_over_has_a_receipt_and_no_plan(page: OpenPage, filled: Stand) -> None:
    id_ = "4" * 64
    place = {"host": "unix:///var/run/docker.sock", "secret": "", "engine": "E", "full_id": id_}
    proof = f"inspect_container {id_}: none on engine E"
    thing = Resource("docker:container", id_, place, state="gone", proof=proof, gone_at=ago(60))
    ended = Cleanup(round=1, reason="requested", ended_at=ago(60))
    filled.has("gone", "LocalDocker", age=HOUR, ttl=HOUR, status="Terminated", cleanup=ended, resources=[thing],
               resource_ids={"container_id": id_})  # fmt: skip
    shown = page("/d/gone")
    shown.wait_for_selector("#tabpanel code")
    cells = shown.locator("#tabpanel tbody td").all_inner_texts()
    assert "secret" not in cells[3]
    assert cells.count(id_) == 1
    assert sum(id_ in each for each in cells) == 1
    assert cells[4].startswith("inspect_container: none on engine E")
    facts = shown.locator(".facts").inner_text()
    assert facts.count("unknown") == 1
    assert "It tells this deployment from a later one under the same name." in facts
    shown.get_by_role("tab", name="Plan").click()
    assert "It is over: there is nothing to plan." in shown.locator("#tabpanel").inner_text()
    assert not [call for call in filled.calls if call.path.endswith("/plan")]


def test_a_digest_and_a_round_are_explained_where_they_are_shown(page: OpenPage, filled: Stand) -> None:
    shown = page("/d/staging-eks?tab=plan")
    shown.wait_for_selector("#tabpanel .digest")
    assert "stands for exactly this plan" in shown.locator("#tabpanel .digest").inner_text()
    filled.records["staging-eks"].events[0] = type(filled.records["staging-eks"].events[0])(
        1, "cleanup_failed", ago(60), "Active", round=1, detail={"class": "credentials"}
    )
    shown.get_by_role("tab", name=re.compile("Timeline")).click()
    shown.wait_for_selector("#tabpanel >> text=round 1")
    assert "A round is one run of the cleanup" in shown.locator("#tabpanel").inner_text()


@pytest.mark.parametrize("button", ["Extend", "Hold", "End", "Forget"])
def test_an_unknown_price_is_said_once_in_each_dialog(page: OpenPage, filled: Stand, button: str) -> None:
    shown = page("/d/docs-preview")
    shown.get_by_role("button", name=button, exact=True).click()
    text = shown.locator("dialog").inner_text()
    assert (text.count("unknown"), "unknown cost" in text) == (1, False)
