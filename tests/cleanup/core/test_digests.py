"""This is what the digest of a plan stands for, and what it says of a change."""

import re

from msgspec.structs import replace

from tests.fakes import a_thing
from tracker.cleanup.core.digests import changed_since, digest_of, not_approved
from tracker.model.deployment import Resource

A, B, KEPT = a_thing("a", place={"region": "x"}), a_thing("b"), a_thing("k", state="kept")


def places(*found: Resource) -> dict[tuple[str, str], dict[str, str]]:
    return {each.key: each.place for each in found}


FOUND = places(A, B, KEPT)
DIGEST = digest_of([A, B, KEPT], FOUND)


def test_it_is_the_same_whatever_the_order_the_state_and_what_looks_have_shown() -> None:
    seen = replace(A, state="present", seen=True, detail="running", place=A.place | {"created": "then"}, asked_in=3)
    assert digest_of([KEPT, seen, replace(B, stage=4)], FOUND) == DIGEST
    assert changed_since(DIGEST, [KEPT, seen, B], FOUND) == []
    assert len(DIGEST) == 30


def test_another_resource_another_place_and_another_fate_are_changes() -> None:
    new = a_thing("new")
    assert changed_since(DIGEST, [A, B, KEPT, new], FOUND | places(new)) == ["now it would delete memory:thing new"]
    goes = replace(KEPT, state="unseen")
    assert changed_since(DIGEST, [A, B, goes], FOUND) == [
        "now it would delete memory:thing k",
        "it wouldn't keep memory:thing k any more",
    ]
    moved = FOUND | {A.key: {"region": "y"}}
    assert changed_since(DIGEST, [A, B, KEPT], moved) == [
        "now it would delete memory:thing a",
        "1 of the plan's resources aren't found any more, or are elsewhere",
    ]


def test_what_is_gone_is_no_part_of_a_plan() -> None:
    gone = replace(B, state="gone", proof="seen")
    assert changed_since(DIGEST, [A, gone, KEPT], FOUND) == ["it wouldn't delete memory:thing b any more"]


def test_less_than_was_approved_may_go_and_nothing_else() -> None:
    assert not_approved(DIGEST, [A, KEPT], places(A, KEPT)) == []
    assert not_approved(DIGEST, [A, B, replace(KEPT, state="unseen")], FOUND) == ["memory:thing k"]
    # What this discovery doesn't find any more is only to be seen gone.
    known = a_thing("known", state="leaving")
    assert not_approved(DIGEST, [A, B, known], FOUND) == []
    assert not_approved(DIGEST, [A, B, known], FOUND | places(known)) == ["memory:thing known"]
    assert not_approved(DIGEST, [replace(known, state="gone")], places(known)) == []


def test_a_plan_of_nothing_can_be_approved_too() -> None:
    nothing = digest_of([replace(A, state="gone", proof="seen")], places(A))
    assert nothing == digest_of([], {})
    # As the API takes it.
    assert re.fullmatch("[A-Za-z0-9_-]{10}", nothing)
    assert changed_since(nothing, [], {}) == []
    assert changed_since(nothing, [A], places(A)) == ["now it would delete memory:thing a"]
    assert not_approved(nothing, [A], places(A)) == ["memory:thing a"]
