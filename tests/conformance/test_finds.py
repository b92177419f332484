"""This is what every type keeps that looks for marks, tried on every place that its test brings along. A test is a fault of `FINDING`."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.conformance.faults import fault
from tests.conformance.finding import OTHERS, OURS, find, keys, reads
from tests.conformance.life import Life
from tests.conformance.target import Target
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.model.catalogue import entry
from tracker.model.marks import MARK_KIND, is_mark_of

# More than the pages of any stand-in hold.
MANY = 5


@fault("finds-marked")
def test_what_carries_the_mark_is_found_and_can_be_cleaned_up(target: Target, life: Life) -> None:
    made = target.make()
    assert find(target, made) == []
    marked = target.put_mark(made, OURS)
    assert made.main in marked
    target.crowd(1)
    target.crowd(1, OTHERS)
    found = find(target, made)
    assert keys(found) == sorted(marked)
    type_ = entry(target.deployment_type)
    ids: dict[str, list[str]] = {}
    for each in found:
        assert is_mark_of(each.mark, OURS)
        named = [key for key, form in type_.ids.items() if form.kind == each.resource.kind]
        assert each.key in (named or [""])
        assert each.made_at is None or datetime.fromisoformat(each.made_at) <= datetime.now(UTC)
        target.module().KINDS[each.resource.kind].check_id(each.resource, target.settings)
        if each.key:
            ids.setdefault(each.key, []).append(each.resource.id)
    life.clean_up(
        made,
        resource_ids=target.where(made) | {key: some if type_.ids[key].many else some[0] for key, some in ids.items()},
    )
    assert life.answers[-1].outcome == "gone", life.record.cleanup.last_error
    assert set(marked) & target.left() == set()
    assert find(target, made) == []


@fault("finds-marked")
def test_an_intent_that_nobody_completed_goes_by_its_mark(target: Target, life: Life) -> None:
    made = target.make()
    intent = life.register(target.sought(made), resource_ids=target.where(made), status="Unknown")
    marked = target.put_mark(made, intent.generation)
    neighbours = target.crowd(1)
    life.run(life.begin())
    assert life.answers[-1].outcome == "gone", life.record.cleanup.last_error
    assert not life.record.incomplete
    assert {life.states[key] for key in marked} == {"gone"}
    assert set(marked) & target.left() == set()
    assert set(neighbours) <= target.left()
    assert life.record.resources[-1].kind == MARK_KIND


@fault("finds-marked")
def test_an_intent_of_which_nothing_was_made_ends_after_two_looks(target: Target, life: Life) -> None:
    made = target.make()
    life.register(target.sought(made), resource_ids=target.where(made), status="Unknown")
    target.forget()
    began = life.clock.now
    life.run(life.begin())
    assert life.answers[-1].outcome == "gone", life.record.cleanup.last_error
    assert life.clock.now - began >= timedelta(minutes=10)
    assert target.asked() == []
    (line,) = life.record.resources
    assert (line.kind, line.state, line.never_seen) == (MARK_KIND, "gone", True)


@fault("finds-any")
def test_what_carries_any_mark_is_found_each_with_its_own(target: Target) -> None:
    made = target.make()
    marked = target.put_mark(made, OURS)
    others = target.crowd(2, OTHERS)
    target.crowd(1)
    # No generation: as someone may write by hand.
    target.crowd(1, "by-hand")
    found = find(target, made, None)
    assert keys(found) == sorted([*marked, *others])
    assert all(is_mark_of(each.mark, OTHERS if each.resource.key in others else OURS) for each in found)


@fault("finds-every-page")
def test_what_is_on_a_later_page_is_found(target: Target) -> None:
    target.crowd(MANY)
    made = target.make()
    marked = target.put_mark(made, OURS)
    target.crowd(MANY)
    assert keys(find(target, made)) == sorted(marked)
    assert target.unpaged or max(reads(target, made).values()) > 1


@fault("find-cut")
def test_a_list_that_is_not_read_to_its_end_is_not_nothing(target: Target) -> None:
    target.crowd(MANY)
    made = target.make()
    target.put_mark(made, OURS)
    for read, times in reads(target, made).items():
        for name in target.breaks(times):
            with target.failing(name, read), pytest.raises(Unreachable):
                pytest.fail(f"{name} of {read}: {keys(find(target, made))}")


@fault("find-throttled")
def test_a_list_that_is_throttled_waits_for_as_long_as_it_says(target: Target) -> None:
    made = target.make()
    for read in reads(target, made):
        with target.throttled_read(read, 37), pytest.raises(Busy) as busy:
            find(target, made)
        assert busy.value.retry_after >= 37, read


@fault("find-denied")
def test_a_list_that_is_denied_is_a_refusal(target: Target) -> None:
    made = target.make()
    for read in reads(target, made):
        for way in target.denials():
            with target.failing(f"denied:{way}", read), pytest.raises(Refused) as refused:
                find(target, made)
            assert refused.value.error_class == "credentials", read


@fault("find-other-account")
def test_for_another_account_nothing_is_found_by_a_refusal(target: Target) -> None:
    made = target.make()
    target.put_mark(made, OURS)
    with target.change_account(made), pytest.raises(Refused) as refused:
        find(target, made)
    assert refused.value.error_class in ("credentials", "not_ours")
