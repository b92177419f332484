"""This is where a survey looks: in each place of a record that is kept or of a stray, once, and where an operator says."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.fakes import NOW, Engine, Wire
from tests.survey.conftest import PLACE, Surveyed
from tests.survey.test_look import ENDED
from tracker.model.deployment import Deployment, format_time
from tracker.model.places import Place, place_of
from tracker.model.settings import from_environment
from tracker.survey import places

MANY = 3_000
PAGES = -(-MANY // 1000)


def found(surveyed: Surveyed) -> list[Place]:
    return list(places.recorded(surveyed.strays))


@pytest.mark.parametrize("status", ["Active", "Failed", "Unknown", "Terminating"])
def test_the_place_of_a_record_is_its_type_region_and_the_metadata_that_leads_there(
    surveyed: Surveyed, status: str
) -> None:
    more = {"account": "one", "team": "blueprints", "webhook_secret": "signs"}
    surveyed.record(status=status, metadata=more)
    assert found(surveyed) == [PLACE]


def test_a_place_is_looked_at_as_long_as_a_terminated_record_of_it_is_kept(surveyed: Surveyed) -> None:
    live = surveyed.record(status="Terminating")
    surveyed.store.replace(live, msgspec.structs.replace(live, version=1, status="Terminated", cleanup=ENDED))
    surveyed.clock.forward(days=29)
    assert found(surveyed) == [PLACE]
    surveyed.clock.forward(days=2)
    assert found(surveyed) == []


def test_a_replaced_record_keeps_its_place_in_sight(surveyed: Surveyed) -> None:
    ended = surveyed.record(status="Terminated", cleanup=ENDED)
    new = msgspec.structs.replace(ended, generation="next", status="Active", metadata={"account": "two"})
    surveyed.store.create(new, over=ended)
    assert {place.metadata["account"] for place in found(surveyed)} == {"one", "two"}


def test_records_of_two_accounts_are_of_two_places(surveyed: Surveyed) -> None:
    for number, account in enumerate(("one", "two", "one", "two")):
        surveyed.record(f"svc-{number}", generation=f"g-{number}", metadata={"account": account})
    assert sorted(place.metadata["account"] for place in found(surveyed)) == ["one", "two"]


def test_the_place_of_a_stray_is_looked_at_when_no_record_is_there_any_more(surveyed: Surveyed) -> None:
    surveyed.shows()
    surveyed.survey()
    assert found(surveyed) == [PLACE]


def test_a_type_without_a_mark_has_no_place(surveyed: Surveyed, store: Any) -> None:
    surveyed.record(deployment_type="AkashLease")
    assert found(surveyed) == []


def test_a_machine_that_was_booted_again_is_the_same_place() -> None:
    def on(boot: str) -> Deployment:
        said: dict[str, Any] = {"deployment_type": "LocalDocker", "metadata": {"host": "h", "boot_id": boot}}
        at = format_time(NOW)
        return Deployment(id="d", blueprint_id="b", deployed_at=at, registered_at=at, generation="g", **said)

    assert place_of(on("1")) == place_of(on("2")) == Place("LocalDocker", None, {"host": "h"})


def test_the_record_of_a_line_that_has_gone_meanwhile_hides_no_place(surveyed: Surveyed, engine: Engine) -> None:
    surveyed.record("a", generation="g-a")
    surveyed.record("b", generation="g-b")
    get = surveyed.store.get
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surveyed.store, "get", lambda key: None if key == "a" else get(key))
        assert found(surveyed) == [PLACE]


def test_a_record_that_can_not_be_read_hides_no_place(surveyed: Surveyed, engine: Engine) -> None:
    surveyed.record("a", generation="g-a")
    surveyed.record("b", generation="g-b")
    engine.spoil("a", {"resources": {"S": "not JSON"}})
    assert found(surveyed) == [PLACE]


def older(surveyed: Surveyed, engine: Engine, **changes: Any) -> None:
    """A record from before there were surveys."""
    surveyed.record(**changes)
    item = engine.items()["record"]
    for name in ("place", "claims"):
        item.pop(name, None)
    engine.client.put_item(TableName=engine.table, Item=item)
    engine.client.delete_item(
        TableName=engine.table,
        Key={"blueprint_id": {"S": "generation#generationof"}, "item": {"S": "generation-of-svc-1"}},
    )


def test_an_older_record_has_a_place_and_claims_what_it_names(surveyed: Surveyed, engine: Engine) -> None:
    older(surveyed, engine, resource_ids={"box": "box-1"})
    assert found(surveyed) == [PLACE]
    surveyed.shows("box-1")
    surveyed.shows("box-2")
    assert surveyed.survey().strays == 1
    assert surveyed.only.id == "box-2"


# Named by an operator


def test_an_operator_names_places(surveyed: Surveyed) -> None:
    value = {"deployment_type": "BareMetal", "region": "eu-central-1", "metadata": {"account": "one"}}
    assert places.named([value, value, {"deployment_type": "BareMetal"}]) == ([PLACE, Place("BareMetal")], [])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("BareMetal", "SurveyPlaces[1]: expected an object, got a string"),
        ({}, "SurveyPlaces[1].deployment_type: expected a value, got nothing"),
        ({"deployment_type": 7}, "SurveyPlaces[1].deployment_type: expected a string, got 7"),
        (
            {"deployment_type": "Moon"},
            "SurveyPlaces[1].deployment_type: expected a type that is looked for by its mark: ",
        ),
        (
            {"deployment_type": "AkashLease"},
            "SurveyPlaces[1].deployment_type: expected a type that is looked for ",
        ),
        (
            {"deployment_type": "BareMetal", "metadata": {"account": 1}},
            "SurveyPlaces[1].metadata.account: expected a string, got 1",
        ),
        (
            {"deployment_type": "BareMetal", "place": "here"},
            "SurveyPlaces[1].place: expected no field of that name, got an unknown field",
        ),
    ],
)
def test_a_place_that_is_none_is_named_with_its_field_and_the_others_are_looked_at(
    surveyed: Surveyed, value: Any, message: str
) -> None:
    good, errors = places.named([{"deployment_type": "BareMetal"}, value])
    assert good == [Place("BareMetal")]
    assert [error.message.startswith(message) for error in errors] == [True], errors[0].message


def test_what_is_no_list_of_places_is_said_so() -> None:
    found, (error,) = places.named({"deployment_type": "BareMetal"})
    assert (found, error.message) == ([], "SurveyPlaces: expected an array of places, got an object")


def test_the_settings_of_strays_come_from_the_environment() -> None:
    found = from_environment({"STRAY_GAP": "5", "STRAY_GRACE": "0", "STRAY_ADOPTION": "60"})
    assert (found.stray_gap, found.stray_grace, found.stray_adoption) == (5, 0, 60)


# Many


def test_of_thousands_of_records_a_survey_holds_one_page_and_reads_each_once(
    surveyed: Surveyed, engine: Engine, wire: Wire
) -> None:
    surveyed.record("svc-00000")
    item = engine.items("svc-00000")["record"]
    for start in range(1, MANY, 25):
        puts = [
            {"PutRequest": {"Item": item | {"blueprint_id": {"S": f"svc-{n:05}"}, "generation": {"S": f"g-{n:05}"}}}}
            for n in range(start, min(start + 25, MANY))
        ]
        engine.client.batch_write_item(RequestItems={engine.table: puts})
    wire.calls.clear()
    assert found(surveyed) == [PLACE]
    # A page of each thousand, a last one of each status, and the one record that says what the place is.
    assert wire.counted["Query"] <= PAGES + 6 + 1
    assert wire.counted["GetItem"] == 1
    surveyed.shows("box-1")
    surveyed.shows("box-2", mark="g-02999")
    wire.calls.clear()
    assert surveyed.survey().strays == 1
    # And one of the place's strays.
    assert wire.counted["Query"] <= PAGES + 4 + 1
    assert wire.counted["GetItem"] == 1
    wire.calls.clear()
    lines = surveyed.strays.lines("Active")
    assert [next(lines).key for _ in range(1000)][-1] == "svc-00999"
    assert wire.counted == {"Query": 1}, "the next page is read when it is needed"


def test_where_nothing_carries_a_mark_no_record_is_read(surveyed: Surveyed, wire: Wire) -> None:
    surveyed.record()
    wire.calls.clear()
    surveyed.clock.forward(seconds=timedelta(hours=1).total_seconds())
    surveyed.survey()
    assert wire.counted == {"Query": 1}, "that of the place's strays"
