"""The items of the table keep their shape: what an earlier version of the tracker stored is read, and written the same."""

import json
from pathlib import Path

from tests.fakes import Engine, a_deployment
from tests.store.test_records import everything_set
from tracker.store.records import Records
from tracker.store.table import SCHEMA, read_image

# As it was stored before any field of the code was renamed.
STORED = json.loads((Path(__file__).parent / "record.json").read_text())
# The number of its shape stands beside that since.
SHAPE = {"schema": {"N": str(SCHEMA)}}
# What a survey reads of it.
SURVEYED_SINCE = {"place": {"S": "864f0d8e88c1ab49"}, "claims": {"S": "0k_mDTa6Ly gF1vfRd9OW gmCf0nBHUD"}}
# What lists show of a failing one stands beside that since.
LISTED_SINCE = {"progress": {"S": '{"quarantined":true,"failures":1,"last_error":{"class":"not_ours"}}'}}
# It was an attribute of its own.
LISTED_NO_MORE = "quarantined"


def test_a_record_as_it_was_always_stored_is_read() -> None:
    assert read_image(STORED) == read_image(STORED | LISTED_SINCE) == everything_set()


def test_a_record_is_stored_as_it_always_was(store: Records, engine: Engine) -> None:
    store.create(everything_set())
    kept = {name: value for name, value in STORED.items() if name != LISTED_NO_MORE}
    assert engine.items()["record"] == kept | LISTED_SINCE | SURVEYED_SINCE | SHAPE


def test_an_empty_outbox_is_not_stored(store: Records, engine: Engine) -> None:
    store.create(a_deployment())
    assert not {"news", "outbox"} & engine.items()["record"].keys()


def test_an_item_from_before_lists_showed_failures_is_listed(store: Records, engine: Engine) -> None:
    engine.client.put_item(TableName=engine.table, Item=STORED)
    (line,) = store.by_status("Unknown", limit=5).items
    assert (line.failures, line.last_error, line.next_attempt_at) == (0, None, None)
