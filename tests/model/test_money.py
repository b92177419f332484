"""This is what a deployment costs, from the price that its caller said."""

from datetime import timedelta

import pytest

from tests.fakes import NOW, a_deployment
from tracker.model.deployment import Cleanup, Deployment, Price, format_time
from tracker.model.money import Cost, cost_of

PRICE = Price(2.5, "USD")


def ended(**after: float) -> Cleanup:
    return Cleanup(round=1, ended_at=format_time(NOW + timedelta(**after)))


@pytest.mark.parametrize(
    ("deployment", "expected"),
    [
        (a_deployment(), None),
        (a_deployment(cost_per_hour=PRICE), Cost("USD", 7.5, 5.0)),
        (a_deployment(cost_per_hour=PRICE, ttl=None), Cost("USD", 7.5, 0.0)),
        (a_deployment(cost_per_hour=PRICE, ttl=86400), Cost("USD", 7.5, 0.0)),
        (a_deployment(cost_per_hour=Price(0, "EUR")), Cost("EUR", 0.0, 0.0)),
        (a_deployment(cost_per_hour=PRICE, status="Terminated", cleanup=ended(hours=2)), Cost("USD", 5.0, 2.5)),
        # A round that failed has ended nothing.
        (a_deployment(cost_per_hour=PRICE, cleanup=ended(hours=2)), Cost("USD", 7.5, 5.0)),
        (a_deployment(cost_per_hour=PRICE, now=NOW + timedelta(hours=5)), Cost("USD", 0.0, 0.0)),
    ],
)
def test_it_runs_until_it_is_proven_gone_and_what_is_unknown_is_not_nothing(
    deployment: Deployment, expected: Cost | None
) -> None:
    assert cost_of(deployment, NOW + timedelta(hours=3)) == expected
