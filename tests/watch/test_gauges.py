"""This is how many deployments there are, in which state."""

from datetime import timedelta

import pytest

from tests.fakes import NOW, Clock, a_deployment
from tracker.lifecycle.transitions import Lifecycle
from tracker.model import brakes
from tracker.model.deployment import Price
from tracker.model.settings import Settings
from tracker.store.records import Records
from tracker.watch import gauges as module
from tracker.watch.gauges import gauges, is_time_for_gauges
from tracker.watch.measures import Measure


def values(store: Records, clock: Clock, **more: float) -> dict[str, float]:
    found = gauges(store, clock(), lambda: more.get("left", 60))
    return {each.name: each.value for each in found if not each.dimensions}


def test_an_empty_table_has_zeros_and_no_gaps(store: Records, clock: Clock) -> None:
    assert values(store, clock) == {
        "Live": 0,
        "TerminatingNow": 0,
        "Overdue": 0,
        "Failing": 0,
        "HeldNow": 0,
        "QuarantinedNow": 0,
        "UnprovenNow": 0,
        "OldestOverdue": 0,
        "Unpriced": 0,
    }


def test_each_state_is_counted(lifecycle: Lifecycle, store: Records, clock: Clock, settings: Settings) -> None:
    for key, ttl in (("a", 60), ("b", 3600), ("c", None), ("d", 90)):
        lifecycle.register(a_deployment(key, ttl=ttl))
    lifecycle.register(a_deployment("x", ttl=None, status="Unknown"))
    for key in ("a", "c"):
        lifecycle.terminate(key, reason="r", requested_by="arn:bob")
    ended = store.require("a")
    lifecycle.failing(ended, "unproven", "nobody knows")
    lifecycle.restored("a", ended.generation, 1, "X")
    clock.forward(seconds=100)
    found = values(store, clock)
    assert found["Live"] == 4
    assert (found["TerminatingNow"], found["Overdue"], found["OldestOverdue"]) == (1, 2, 40)
    assert (found["Failing"], found["UnprovenNow"], found["QuarantinedNow"]) == (1, 1, 0)
    types = [each for each in gauges(store, clock()) if each.dimensions]
    assert types == [Measure("LiveByType", 4, dimensions={"type": "AwsEc2"})]


def test_what_is_quarantined_is_not_the_oldest_that_is_overdue(
    lifecycle: Lifecycle, store: Records, clock: Clock, settings: Settings
) -> None:
    lifecycle.register(a_deployment(ttl=60))
    clock.forward(seconds=61)
    for _ in range(settings.unmendable_rounds):
        clock.forward(hours=2)
        assert lifecycle.due("svc-1", brakes.parse("enforce"))
        current = store.require("svc-1")
        lifecycle.failing(current, "protected", "it is protected")
        lifecycle.restored("svc-1", current.generation, current.cleanup.round, "X")
    found = values(store, clock)
    assert (found["QuarantinedNow"], found["Overdue"], found["OldestOverdue"]) == (1, 1, 0)


def test_the_pages_and_the_time_are_bounded(
    lifecycle: Lifecycle, store: Records, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        lifecycle.register(a_deployment(f"svc-{n}"))
    monkeypatch.setattr(module, "PAGE", 2)
    assert values(store, clock)["Live"] == 5
    monkeypatch.setattr(module, "PAGES", 2)
    assert values(store, clock)["Live"] == 4
    assert values(store, clock, left=1)["Live"] == 0


def test_money_that_is_not_summed_to_its_end_is_not_shown(
    lifecycle: Lifecycle, store: Records, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        lifecycle.register(a_deployment(f"svc-{n}", cost_per_hour=Price(2, "USD")))
    priced = [each for each in gauges(store, clock()) if each.unit == "None"]
    assert priced == [
        Measure("CostPerHour", 6, "None", {"currency": "USD"}),
        Measure("LateCostPerHour", 0, "None", {"currency": "USD"}),
    ]
    monkeypatch.setattr(module, "PAGE", 2)
    monkeypatch.setattr(module, "PAGES", 1)
    found = gauges(store, clock())
    assert Measure("CostsUnknown") in found
    assert not [each for each in found if each.unit == "None" or each.name == "Unpriced"]


def test_one_tick_of_five_counts() -> None:
    ticks = [NOW + timedelta(minutes=n) for n in range(60)]
    assert sum(is_time_for_gauges(tick.minute) for tick in ticks) == 12
