"""This is how deliveries are kept: each once, for thirty days, beside the record and in no list of deployments."""

import pytest

from tests.fakes import NOW, Clock, Engine, Wire
from tests.notify.test_deliveries import a_delivery, an_attempt
from tracker.notify.deliveries import record_attempt
from tracker.store.deliveries import ID_MAX, Deliveries
from tracker.store.table import VersionConflict


def test_a_delivery_is_over_after_thirty_days(delivery_store: Deliveries, engine: Engine, clock: Clock) -> None:
    delivery_store.keep(a_delivery())
    item = engine.items()["delivery#generation-1"]
    assert int(item["ttl"]["N"]) == int(NOW.timestamp()) + 30 * 24 * 3600
    # None that an index would carry.
    assert not item.keys() & {"id", "status", "due_at", "due_shard", "news"}
    clock.forward(days=30)
    assert delivery_store.get("svc-1", "generation-1") is None
    assert delivery_store.page("svc-1", limit=10).items == []
    delivery_store.keep(a_delivery(body="[]", created_at=clock.text))
    found = delivery_store.get("svc-1", "generation-1")
    assert found
    assert found.body == "[]"


def test_deliveries_are_listed_by_page_without_their_bodies(delivery_store: Deliveries) -> None:
    for n in range(5):
        delivery_store.keep(a_delivery(id=f"generation-{n}", body="x" * 1000))
    delivery_store.keep(a_delivery(blueprint_id="svc-2"))
    first = delivery_store.page("svc-1", limit=3)
    rest = delivery_store.page("svc-1", limit=3, after=first.last)
    assert [each.id for each in first.items + rest.items] == [f"generation-{n}" for n in range(5)]
    assert {each.body for each in first.items} == {""}
    assert rest.last is None


def test_a_delivery_is_made_once_and_changed_only_as_it_was_read(delivery_store: Deliveries, engine: Engine) -> None:
    first = a_delivery()
    delivery_store.keep(first)
    delivery_store.keep(a_delivery(url="https://other.example.org/"))
    found = delivery_store.get("svc-1", "generation-1")
    assert found == first
    tried = record_attempt(found, an_attempt(), [60], now=NOW, jitter=0)
    delivery_store.replace(found, tried)
    with pytest.raises(VersionConflict):
        delivery_store.replace(found, tried)
    assert delivery_store.get("svc-1", "generation-1") == tried
    delivery_store.keep(a_delivery(id="generation-2"))
    page = delivery_store.page("svc-1", limit=1)
    assert [each.id for each in page.items] == ["generation-1"]
    assert [each.id for each in delivery_store.page("svc-1", limit=1, after=page.last).items] == ["generation-2"]
    for index in ("by_id", "by_status", "due"):
        assert engine.client.scan(TableName=engine.table, IndexName=index)["Count"] == 0


def test_no_key_is_asked_for_that_is_longer_than_dynamodb_allows(delivery_store: Deliveries, wire: Wire) -> None:
    assert delivery_store.get("svc-1", "x" * ID_MAX) is None
    (asked,) = wire.bodies
    assert len(asked["Key"]["item"]["S"]) == 1024
    assert delivery_store.get("svc-1", "x" * (ID_MAX + 1)) is None
    assert delivery_store.get("svc-1", "\u00fc" * (ID_MAX // 2 + 1)) is None
    assert wire.counted == {"GetItem": 1}
