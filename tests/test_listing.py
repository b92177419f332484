"""Lists: every filter, every page, and cursors that are no cursors."""

import base64
import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.fakes import NOW, Clock, Engine, Wire, a_deployment
from tracker.deployment import Cleanup, format_time
from tracker.errors import Invalid
from tracker.listing import CURRENT, Query, listed, parse_query
from tracker.records import Records

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
        "quarantined",
        "incomplete",
    }


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
