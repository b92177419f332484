"""This is what a caller says of owner, labels, price and warnings, and how an extension and a hold are read."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.fakes import NOW, a_deployment
from tests.intake.test_registration import ec2, refusal, register
from tracker.intake.amendment import parse_amendment
from tracker.intake.terms import parse_extension, parse_hold
from tracker.model.deployment import Deployment, Price, format_time
from tracker.model.errors import Invalid
from tracker.model.settings import Settings

ALL = {
    "owner": "team-1",
    "labels": {"team/Name_1": "a b", "empty": ""},
    "cost_per_hour": {"amount": 0.5, "currency": "USD"},
    "warn_before": [600, 60],
}


def extended(body: str, deployment: Deployment, **limits: Any) -> Deployment:
    return parse_extension(body).lengthen(deployment, Settings(**limits), NOW)


def text(body: Any) -> str:
    return msgspec.json.encode(body).decode()


def after(**by: float) -> str:
    return format_time(NOW + timedelta(**by))


# owner, labels, price, warnings


def test_all_of_it_is_kept_and_none_of_it_is_needed() -> None:
    found = register(ec2(**ALL))
    assert (found.owner, found.labels, found.warn_before) == (ALL["owner"], ALL["labels"], ALL["warn_before"])
    assert found.cost_per_hour == Price(0.5, "USD")
    bare = register(ec2())
    assert (bare.owner, bare.labels, bare.cost_per_hour, bare.warn_before) == (None, {}, None, None)


@pytest.mark.parametrize(
    ("field", "value", "named", "status"),
    [
        ("owner", "", "owner", 422),
        ("owner", "  ", "owner", 422),
        ("owner", "a\nb", "owner", 422),
        ("owner", "x" * 257, "owner", 422),
        ("owner", 7, "owner", 400),
        ("labels", {"a b": "x"}, "labels", 422),
        ("labels", {"": "x"}, "labels", 422),
        ("labels", {"k" * 64: "x"}, "labels", 422),
        ("labels", {"k": "x" * 129}, "labels.k", 422),
        ("labels", {"k": "a\tb"}, "labels.k", 422),
        ("labels", {"k": 7}, "labels.k", 400),
        ("labels", {f"k{n}": "x" for n in range(21)}, "labels", 422),
        ("cost_per_hour", 7, "cost_per_hour", 400),
        ("cost_per_hour", {"amount": 1}, "cost_per_hour.currency", 400),
        ("cost_per_hour", {"amount": "1", "currency": "USD"}, "cost_per_hour.amount", 400),
        ("cost_per_hour", {"amount": -1, "currency": "USD"}, "cost_per_hour.amount", 422),
        ("cost_per_hour", {"amount": 1e7, "currency": "USD"}, "cost_per_hour.amount", 422),
        ("cost_per_hour", {"amount": float("nan"), "currency": "USD"}, "cost_per_hour.amount", 422),
        ("cost_per_hour", {"amount": 1, "currency": "usd"}, "cost_per_hour.currency", 422),
        ("cost_per_hour", {"amount": 1, "currency": "USD", "per": "day"}, "cost_per_hour.per", 400),
        ("warn_before", [59], "warn_before[0]", 422),
        ("warn_before", [60, 31_536_001], "warn_before[1]", 422),
        ("warn_before", [60, 60], "warn_before[1]", 422),
        ("warn_before", [60, 61, 62, 63, 64, 65], "warn_before", 422),
        ("warn_before", 60, "warn_before", 400),
        ("warn_before", [1.5], "warn_before[0]", 400),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(field: str, value: Any, named: str, status: int) -> None:
    found = refusal(ec2(**{field: value}))
    assert (found.field, found.status) == (named, status)


def test_a_patch_merges_labels_and_price_and_null_takes_away() -> None:
    settings = Settings()
    before = register(ec2(**ALL))
    patch = {"labels": {"empty": None, "new": "x"}, "cost_per_hour": {"amount": 2}, "owner": None, "warn_before": []}
    found, _ = parse_amendment(text(patch), before, settings, now=NOW)
    assert found.labels == {"team/Name_1": "a b", "new": "x"}
    assert (found.cost_per_hour, found.owner, found.warn_before) == (Price(2, "USD"), None, [])
    patch = {"labels": None, "cost_per_hour": None, "warn_before": None}
    found, _ = parse_amendment(text(patch), found, settings, now=NOW)
    assert (found.labels, found.cost_per_hour, found.warn_before) == ({}, None, None)


# extend


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"by": 1800}, after(minutes=90)),
        ({"until": after(hours=2)}, after(hours=2)),
        ({"until": "2030-01-01T03:00:00+01:00"}, after(hours=2)),
        ({"until": after(hours=1)}, after(hours=1)),
    ],
    ids=str,
)
def test_a_later_end_by_seconds_or_by_time(body: Any, expected: str) -> None:
    found = extended(text(body), a_deployment())
    assert found.expires_at == expected
    assert found.ttl_seconds == {after(minutes=90): 5400, after(hours=2): 7200, after(hours=1): 3600}[expected]


def test_what_has_no_end_gets_one_by_a_time_alone() -> None:
    endless = a_deployment(ttl=None)
    assert extended(text({"until": after(hours=1)}), endless).ttl_seconds == 3600
    with pytest.raises(Invalid, match="the deployment has no end to count from") as raised:
        extended('{"by": 60}', endless)
    assert raised.value.status == 422


@pytest.mark.parametrize(
    ("body", "ttl", "field"),
    [
        ({"until": after(hours=-1)}, 3600, "until"),
        ({"until": after()}, None, "until"),
        ({"until": after(minutes=59)}, 3600, "until"),
        ({"until": after(hours=2, seconds=1)}, 3600, "until"),
        ({"by": 3601}, 3600, "by"),
        ({"until": "tomorrow"}, 3600, "until"),
        ({"by": 0}, 3600, "by"),
        ({"by": 400_000_000}, 3600, "by"),
    ],
    ids=str,
)
def test_an_end_in_the_past_an_earlier_one_and_one_beyond_the_most_are_refused(
    body: Any, ttl: int | None, field: str
) -> None:
    with pytest.raises(Invalid) as raised:
        extended(text(body), a_deployment(ttl=ttl), max_ttl=7200)
    assert (raised.value.field, raised.value.status) == (field, 422)


def test_an_end_that_has_passed_is_extended_into_the_future_or_not_at_all() -> None:
    over = a_deployment(now=NOW - timedelta(hours=3), ttl=3600)
    with pytest.raises(Invalid, match="an end that isn't in the past"):
        extended('{"by": 7200}', over)
    assert extended('{"by": 7201}', over).expires_at == after(seconds=1)


@pytest.mark.parametrize(
    "body", ["", "{}", "[]", '{"by": 1, "until": "x"}', '{"by": "1"}', '{"by": true}', '{"until": 7}', '{"for": 1}']
)
def test_an_extension_of_the_wrong_shape_is_malformed(body: str) -> None:
    with pytest.raises(Invalid) as raised:
        parse_extension(body)
    assert raised.value.status == 400


# hold


def test_a_hold_needs_a_reason_and_an_end_within_the_most() -> None:
    settings = Settings(max_hold=3600)
    assert parse_hold(text({"reason": "why", "until": after(hours=1)}), settings, NOW) == ("why", after(hours=1))
    for body, field, status in (
        ({"until": after(hours=1)}, "reason", 422),
        ({"reason": " ", "until": after(hours=1)}, "reason", 422),
        ({"reason": "why"}, "until", 400),
        ({"reason": "why", "until": 7}, "until", 400),
        ({"reason": "why", "until": after()}, "until", 422),
        ({"reason": "why", "until": after(hours=1, seconds=1)}, "until", 422),
        ({"reason": "x" * 513, "until": after(hours=1)}, "reason", 422),
        ({"reason": "why", "until": after(hours=1), "by": "me"}, "by", 400),
    ):
        with pytest.raises(Invalid) as raised:
            parse_hold(text(body), settings, NOW)
        assert (raised.value.field, raised.value.status) == (field, status)
