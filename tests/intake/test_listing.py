"""Lists: every filter, every page, and cursors that are no cursors."""

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.fakes import NOW, Clock, Engine, Wire, a_deployment
from tracker.intake.listing import CURRENT, Query, listed, parse_query
from tracker.model.deployment import Cleanup, CleanupError, Hold, Price, format_time
from tracker.model.errors import Invalid
from tracker.model.money import Cost
from tracker.store.records import Records

ENDED = Cleanup(round=1, ended_at=format_time(NOW))
# Key, status, type, has it an end, is it quarantined.
ALL = [
    ("a1", "Active", "AwsEc2", True, False),
    ("a2", "Active", "GcpGce", False, False),
    ("a3", "Active", "AwsEc2", True, True),
    ("a4", "Active", "AwsEc2", False, True),
    ("f1", "Failed", "AwsEc2", True, False),
    ("t1", "Terminating", "GcpGce", True, False),
    ("u1", "Unknown", "AzureVm", False, False),
    ("x1", "Terminated", "AwsEc2", True, False),
    ("x2", "Terminated", "GcpGce", False, False),
]


@pytest.fixture
def several(store: Records) -> Records:
    for key, status, type_, ends, quarantined in ALL:
        cleanup = Cleanup(quarantined=quarantined)
        new = a_deployment(
            key, ttl=3600 if ends else None, deployment_type=type_, id="same" if key[1] == "1" else key, cleanup=cleanup
        )
        store.create(new)
        if status != "Active":
            changed = msgspec.structs.replace(new, version=1, status=status)
            if status == "Terminated":
                changed = msgspec.structs.replace(changed, cleanup=ENDED)
            store.replace(new, changed)
    return store


def through(records: Records, **query: str) -> list[str]:
    """The keys of all pages."""
    keys: list[str] = []
    pages = 0
    while True:
        page = listed(records, parse_query(query))
        keys += [item.blueprint_id for item in page["deployments"]]
        assert len(page["deployments"]) <= int(query.get("limit", 50))
        pages += 1
        assert pages < 100
        if page["cursor"] is None:
            return keys
        query["cursor"] = page["cursor"]


@pytest.mark.parametrize("limit", ["1", "3", "50"])
@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ({}, ["a1", "a2", "a3", "a4", "f1", "t1", "u1"]),
        ({"status": "Active"}, ["a1", "a2", "a3", "a4"]),
        ({"status": "Terminated"}, ["x1", "x2"]),
        ({"status": "Terminating"}, ["t1"]),
        ({"deployment_type": "GcpGce"}, ["a2", "t1"]),
        ({"deployment_type": "GcpGce", "status": "Terminated"}, ["x2"]),
        ({"deployment_type": "BareMetal"}, []),
        ({"quarantined": "true"}, ["a3", "a4"]),
        ({"quarantined": "false", "status": "Active"}, ["a1", "a2"]),
        ({"without_ttl": "true"}, ["a2", "a4", "u1"]),
        ({"without_ttl": "false"}, ["a1", "a3", "f1", "t1"]),
        ({"without_ttl": "true", "quarantined": "true"}, ["a4"]),
        ({"id": "same"}, ["a1", "f1", "t1", "u1", "x1"]),
        ({"id": "same", "status": "Terminated"}, ["x1"]),
        ({"id": "a2"}, ["a2"]),
        ({"id": "nobody"}, []),
    ],
    ids=str,
)
def test_each_filter_gives_just_what_it_names_through_all_pages(
    several: Records, query: dict[str, str], keys: list[str], limit: str
) -> None:
    assert sorted(through(several, **query, limit=limit)) == keys


def test_an_empty_table_is_one_empty_page(store: Records) -> None:
    assert listed(store, Query()) == {"deployments": [], "cursor": None}


def test_a_list_asks_each_status_once_and_never_scans(several: Records, wire: Wire) -> None:
    listed(several, Query())
    assert wire.counted == {"Query": len(CURRENT)}


def test_a_line_shows_no_more_than_its_index_carries(several: Records) -> None:
    page = listed(several, parse_query({"status": "Active", "limit": "1"}))
    shown: dict[str, Any] = msgspec.to_builtins(page["deployments"][0])
    assert shown.keys() == {
        "blueprint_id",
        "id",
        "deployment_type",
        "status",
        "generation",
        "deployed_at",
        "provider",
        "region",
        "ttl_seconds",
        "expires_at",
        "registered_by",
        "quarantined",
        "incomplete",
        "failures",
        "last_error",
        "next_attempt_at",
        "ended_at",
        "owner",
        "labels",
        "cost_per_hour",
        "hold",
        # Not carried: it follows from what is.
        "cost",
    }


FAILED = Cleanup(
    round=3,
    failures=2,
    last_error=CleanupError(error_class="protected", message="i-1 is protected", at=format_time(NOW), round=3),
    next_attempt_at=format_time(NOW + timedelta(minutes=2)),
)


@pytest.fixture
def ending(store: Records) -> Records:
    """Deployments with ends from an hour ago to two hours ahead, some of which fail."""
    for key, ttl, cleanup in (
        ("never", None, Cleanup()),
        ("ahead", 7200, Cleanup()),
        ("soon", 60, Cleanup()),
        ("soon-failing", 60, FAILED),
        ("over", 1, Cleanup()),
        ("over-failing", 1, FAILED),
        ("ended", 1, Cleanup()),
    ):
        new = a_deployment(key, ttl=ttl, now=NOW if (ttl or 60) > 1 else NOW - timedelta(hours=1), cleanup=cleanup)
        store.create(new)
    ended = store.get("ended")
    assert ended
    over = msgspec.structs.replace(FAILED, ended_at=format_time(NOW))
    store.replace(ended, msgspec.structs.replace(ended, version=1, status="Terminated", cleanup=over))
    return store


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ({"failing": "true"}, ["over-failing", "soon-failing"]),
        ({"failing": "false"}, ["ahead", "never", "over", "soon"]),
        ({"failing": "true", "status": "Terminated"}, []),
        ({"overdue": "true"}, ["over", "over-failing"]),
        ({"overdue": "false"}, ["ahead", "never", "soon", "soon-failing"]),
        ({"overdue": "true", "failing": "true"}, ["over-failing"]),
        ({"overdue": "true", "status": "Terminated"}, []),
        ({"expiring_within": "59"}, []),
        ({"expiring_within": "60"}, ["soon", "soon-failing"]),
        ({"expiring_within": "7200"}, ["ahead", "soon", "soon-failing"]),
        ({"expiring_within": "7200", "overdue": "true"}, []),
        ({"expiring_within": "60", "failing": "true"}, ["soon-failing"]),
        ({"expiring_within": "60", "failing": "true", "limit": "1"}, ["soon-failing"]),
    ],
    ids=str,
)
def test_what_fails_what_is_overdue_and_what_ends_soon_can_be_listed(
    ending: Records, query: dict[str, str], keys: list[str]
) -> None:
    found: list[str] = []
    while True:
        page = listed(ending, parse_query(query, now=NOW))
        found += [item.blueprint_id for item in page["deployments"]]
        if page["cursor"] is None:
            break
        query = query | {"cursor": page["cursor"]}
    assert sorted(found) == keys


def test_a_line_says_why_it_fails_when_it_is_tried_again_and_whose_it_is(ending: Records) -> None:
    (line, _) = listed(ending, parse_query({"failing": "true"}, now=NOW))["deployments"]
    assert (line.last_error, line.failures) == ({"class": "protected"}, 2)
    assert (line.next_attempt_at, line.registered_by) == (FAILED.next_attempt_at, "tests")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"failing": "true"}, {"failing": "false"}),
        ({"overdue": "false"}, {}),
        ({"expiring_within": "7200"}, {"expiring_within": "7201"}),
        ({"status": "Active"}, {"status": "Active", "quarantined": "false"}),
    ],
)
def test_a_cursor_with_other_filters_is_refused(ending: Records, first: dict[str, str], second: dict[str, str]) -> None:
    cursor = listed(ending, parse_query(first | {"limit": "1"}, now=NOW))["cursor"]
    assert cursor
    parse_query(first | {"cursor": cursor}, now=NOW)
    with pytest.raises(Invalid) as invalid:
        parse_query(second | {"cursor": cursor}, now=NOW)
    assert invalid.value.field == "cursor"


@pytest.mark.parametrize(
    "spoil",
    [lambda c: c + "=", lambda c: "*" + c, lambda c: c[:-4], lambda c: c[1:]],
    ids=["padded", "with a sign that is no base64", "cut", "begun later"],
)
def test_a_cursor_that_was_changed_is_refused(ending: Records, spoil: Callable[[str], str]) -> None:
    cursor = listed(ending, parse_query({"limit": "1"}))["cursor"]
    with pytest.raises(Invalid):
        listed(ending, parse_query({"cursor": spoil(cursor), "limit": "1"}))


def test_what_is_past_its_retention_is_not_listed(several: Records, clock: Clock) -> None:
    clock.forward(days=31)
    assert through(several, status="Terminated") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"status": "active"}, "status"),
        ({"status": ""}, "status"),
        ({"deployment_type": "AwsEC2"}, "deployment_type"),
        ({"quarantined": "1"}, "quarantined"),
        ({"failing": "yes"}, "failing"),
        ({"overdue": ""}, "overdue"),
        ({"expiring_within": "0"}, "expiring_within"),
        ({"expiring_within": "-5"}, "expiring_within"),
        ({"expiring_within": "1h"}, "expiring_within"),
        ({"expiring_within": "9" * 30}, "expiring_within"),
        ({"id": chr(0)}, "id"),
        ({"without_ttl": "True"}, "without_ttl"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"limit": "1.5"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"limit": "٣"}, "limit"),
        ({"limit": "0000000005000"}, "limit"),
        ({"limit": "9" * 5000}, "limit"),
        ({"id": ""}, "id"),
        ({"id": "x" * 1025}, "id"),
        ({"page": "2"}, "page"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_no_filter_is_names_the_parameter(query: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as invalid:
        parse_query(query)
    assert invalid.value.field == field
    assert invalid.value.status in (400, 422)


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


PLACE = {"blueprint_id": {"S": "a1"}, "item": {"S": "record"}, "status": {"S": "Active"}}


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "ä",
        "AAAA",
        encoded({}),
        encoded([-1, None]),
        encoded([4, None]),
        encoded([10**30, None]),
        encoded(["0", None]),
        encoded([0, {}]),
        encoded([0, {"blueprint_id": {"S": "a1"}}]),
        encoded([0, PLACE | {"more": {"S": "x"}}]),
        encoded([0, PLACE | {"status": {"S": "Failed"}}]),
        encoded([0, PLACE | {"status": {"N": "1"}}]),
        encoded([0, PLACE | {"blueprint_id": {"S": ""}}]),
        encoded([0, PLACE | {"blueprint_id": {"S": "x" * 3000}}]),
        encoded([1, PLACE]),
        encoded([0, {"blueprint_id": {"S": "a1"}, "item": {"S": "record"}, "id": {"S": "same"}}]),
    ],
)
def test_a_cursor_of_ones_own_making_is_refused(several: Records, cursor: str) -> None:
    with pytest.raises(Invalid) as invalid:
        listed(several, parse_query({"cursor": cursor}))
    assert invalid.value.field == "cursor"
    assert invalid.value.status == 422


def test_a_cursor_of_another_list_is_refused(several: Records) -> None:
    of_id = listed(several, parse_query({"id": "same", "limit": "1"}))["cursor"]
    of_status = listed(several, parse_query({"status": "Active", "limit": "1"}))["cursor"]
    for query in ({"cursor": of_id}, {"cursor": of_status, "id": "same"}, {"cursor": of_status, "status": "Failed"}):
        with pytest.raises(Invalid):
            listed(several, parse_query(query))


@given(cursor=st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
@examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_as_a_cursor_is_more_than_a_refusal(store: Records, cursor: str) -> None:
    with suppress(Invalid):
        listed(store, parse_query({"cursor": cursor}))


def test_a_cursor_goes_on_after_what_it_stood_on_is_gone(several: Records, clock: Clock) -> None:
    page = listed(several, parse_query({"status": "Active", "limit": "2"}))
    third = several.get("a3")
    assert third
    ended = msgspec.structs.replace(third, version=1, status="Terminated", cleanup=ENDED)
    several.replace(third, ended)
    rest = listed(several, parse_query({"status": "Active", "cursor": page["cursor"]}))
    assert [item.blueprint_id for item in rest["deployments"]] == ["a4"]


def test_what_is_no_record_hides_no_other(several: Records, engine: Engine) -> None:
    for key, provider in (("a0", {"S": "[garbage"}), ("a9", {"S": "null"})):
        item = {"blueprint_id": {"S": key}, "item": {"S": "record"}, "status": {"S": "Active"}, "provider": provider}
        engine.client.put_item(TableName=engine.table, Item=item)
    assert through(several, status="Active", limit="2") == ["a1", "a2", "a3", "a4"]


# whose it is, what it is labelled with, and what it costs


@pytest.fixture
def owned(several: Records) -> Records:
    hour = {"reason": "r", "by": "b", "at": format_time(NOW)}
    changes: dict[str, dict[str, Any]] = {
        "a1": {"owner": "team-1", "labels": {"env": "prod", "app": "x"}, "cost_per_hour": Price(2, "USD")},
        "a2": {"owner": "team-2", "labels": {"env": "test"}, "hold": Hold(**hour, until=format_time(NOW + HOUR))},
        "a3": {"owner": "team-1", "labels": {"env": ""}, "hold": Hold(**hour, until=format_time(NOW))},
        "t1": {"owner": "team-1", "labels": {"env": "prod"}},
        "x1": {"owner": "team-1", "cost_per_hour": Price(2, "USD")},
    }
    for key, changed in changes.items():
        old = several.get(key)
        assert old
        several.replace(old, msgspec.structs.replace(old, version=old.version + 1, **changed))
    return several


HOUR = timedelta(hours=1)


@pytest.mark.parametrize("limit", ["1", "50"])
@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ({"owner": "team-1"}, ["a1", "a3", "t1"]),
        ({"owner": "team-1", "status": "Terminated"}, ["x1"]),
        ({"owner": "team-1", "id": "same"}, ["a1", "t1", "x1"]),
        ({"owner": "team-1", "label": "env=prod"}, ["a1", "t1"]),
        ({"owner": "team"}, []),
        ({"label": "env"}, ["a1", "a2", "a3", "t1"]),
        ({"label": "env=prod"}, ["a1", "t1"]),
        ({"label": "env="}, ["a3"]),
        ({"label": "app=y"}, []),
        ({"held": "true"}, ["a2"]),
        ({"held": "false", "status": "Active"}, ["a1", "a3", "a4"]),
    ],
    ids=str,
)
def test_owner_label_and_hold_are_filters(owned: Records, query: dict[str, str], keys: list[str], limit: str) -> None:
    assert sorted(through_at(owned, NOW, **query, limit=limit)) == keys


def through_at(records: Records, now: datetime, **query: str) -> list[str]:
    keys: list[str] = []
    while True:
        page = listed(records, parse_query(query, now=now))
        keys += [item.blueprint_id for item in page["deployments"]]
        if page["cursor"] is None:
            return keys
        query["cursor"] = page["cursor"]


def test_the_list_of_an_owner_reads_one_index_once(owned: Records, wire: Wire) -> None:
    wire.calls.clear()
    wire.bodies.clear()
    listed(owned, parse_query({"owner": "team-1"}))
    assert [body["IndexName"] for body in wire.bodies] == ["by_owner"]


@pytest.mark.parametrize(
    "query", [{"owner": ""}, {"owner": "x" * 257}, {"label": "=x"}, {"label": "a b"}, {"held": "1"}]
)
def test_a_filter_that_can_match_nothing_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(Invalid) as raised:
        parse_query(query)
    assert raised.value.field == next(iter(query))


def test_a_line_says_what_it_has_cost_until_now_or_until_its_end(owned: Records) -> None:
    now = NOW + timedelta(hours=3)
    found = [
        each
        for status in ("Active", "Terminated")
        for each in listed(owned, parse_query({"status": status}, now=now))["deployments"]
    ]
    costs = {each.blueprint_id: each.cost for each in found}
    assert costs["a1"] == Cost("USD", 6.0, 4.0)
    assert costs["x1"] == Cost("USD", 0.0, 0.0)
    assert costs["a2"] is None
