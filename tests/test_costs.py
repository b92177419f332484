"""This is what one lifecycle is billed for, counted over the real functions: no more than docs/costs.md multiplies."""

from functools import cache

import pytest

from bench import costs, units

INVOCATIONS = {"register": 1, "announce": 5, "expire": 10, "release": 1, "plan": 2}


@pytest.fixture(scope="module")
def life() -> units.Life:
    return units.life()


@cache
def idle() -> units.Step:
    return units.idle_minute()


def test_a_lifecycle_is_billed_for_what_is_published_and_no_more(life: units.Life) -> None:
    assert dict(life.invocations()) == INVOCATIONS
    counted = costs.of_life(life)
    assert {name: counted[name] for name in costs.COUNTED} == costs.COUNTED
    assert life.calls("StartExecution") == 1


def test_a_step_writes_the_record_twice_and_its_generations_end_once_in_no_transaction(life: units.Life) -> None:
    (release,) = life.of("release")
    writes = [call for call in release.calls if call in ("PutItem", "UpdateItem", "TransactWriteItems", "DeleteItem")]
    assert writes == ["PutItem", "PutItem", "PutItem"]


def test_a_minute_in_which_nothing_is_due_costs_four_small_reads() -> None:
    step = idle()
    assert step.calls.count("Query") == 4
    assert (step.reads, step.writes) == (2, 0)
    assert not set(step.calls) - {"Query", "GetParameter"}


def test_the_size_of_an_item_is_counted_as_dynamodb_counts_it() -> None:
    assert units.size({"ab": {"S": "é"}, "n": {"N": "1234"}, "b": {"BOOL": True}}) == (2 + 2) + (1 + 3) + (1 + 1)
