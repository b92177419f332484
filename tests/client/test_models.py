"""The client's types know what the layer's have, and what the client carries of the catalogue is the catalogue."""

import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

import deployment_tracker
from deployment_tracker import models
from deployment_tracker.brakes import MODES, Brakes, parse_brakes
from deployment_tracker.catalogue import catalogue
from deployment_tracker.errors import error_of
from docs.client import catalogue as written
from tracker.intake import api
from tracker.model import brakes, delivery, deployment, errors
from tracker.model.catalogue import CATALOGUE
from tracker.store.records import Listed

ROOT = Path(__file__).parent.parent.parent
# What the client needs nothing of: the store's own, and what only the cleanup reads.
UNUSED = {
    "Deployment": {"fingerprint", "made_at", "news", "warned"},
    "Cleanup": {
        "discovered_in",
        "first_failed_at",
        "observed_at",
        "looks",
        "plan",
        "without_plan",
        "by_mark",
        "nothing_found_at",
        "waited",
        "renumbered",
    },
    "Resource": {"absent", "asked_in"},
    "Delivery": {"secret", "body", "version"},
}
PAIRS: list[tuple[Any, Any]] = [
    (deployment.Deployment, models.Deployment),
    (deployment.Cleanup, models.Cleanup),
    (deployment.CleanupError, models.CleanupError),
    (deployment.Resource, models.Resource),
    (deployment.Event, models.Event),
    (delivery.Delivery, models.Delivery),
    (delivery.Attempt, models.Attempt),
    (Listed, models.Summary),
]


def fields(type_: Any) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(type_)}


@pytest.mark.parametrize(("theirs", "ours"), PAIRS, ids=[theirs.__name__ for theirs, _ in PAIRS])
def test_every_field_that_is_answered_is_known(theirs: Any, ours: Any) -> None:
    assert fields(theirs) - UNUSED.get(theirs.__name__, set()) <= fields(ours)


def test_a_record_of_the_layer_is_read_whole() -> None:
    given = deployment.Deployment(
        id="dep-1",
        blueprint_id="svc-1",
        deployment_type="AwsEc2",
        deployed_at="2026-12-01T12:00:00Z",
        generation="g-1",
        registered_at="2026-12-01T12:00:00Z",
        due_at=1_800_000_000,
        resources=[deployment.Resource("aws:instance", "i-1", {"region": "x"}, state="gone", proof="p")],
        events=[deployment.Event(1, "registered", "2026-12-01T12:00:00Z", "Active", detail={"a": 1})],
        cleanup=deployment.Cleanup(last_error=deployment.CleanupError("protected", "m", "2026-12-01T12:00:00Z")),
    )
    found = models.read(models.Deployment, json.loads(msgspec.json.encode(api.shown(given))))
    assert found.resources[0].proof == "p"
    assert found.last_error
    assert found.last_error.error_class == "protected"
    assert found.due_at == "2027-01-15T08:00:00.000Z"
    assert found.events[0].detail == {"a": 1}
    assert found.raw["generation"] == "g-1"


@pytest.mark.parametrize("kind", [errors.Invalid, errors.NotFound, errors.Conflict, errors.Contended])
def test_every_error_of_the_layer_is_read(kind: type[errors.Problem]) -> None:
    problem = errors.Invalid("f", 1, "two") if kind is errors.Invalid else kind("It is so.")
    found = error_of(problem.status, json.loads(msgspec.json.encode(api.explain(problem))))
    assert (found.code, found.message) == (problem.code, problem.message)
    assert found.details == problem.details


@pytest.mark.parametrize(
    "body", [None, [], "x", {}, {"error": "x"}, {"error": {}}, {"message": "Forbidden"}, {"message": 7}]
)
def test_an_error_of_any_form_is_read(body: Any) -> None:
    assert error_of(403, body).message


def test_the_catalogue_is_the_layers() -> None:
    text = (ROOT / "client" / "deployment_tracker" / "catalogue.json").read_text()
    assert text == written()
    assert set(catalogue().types) == set(CATALOGUE)
    assert set(catalogue().platforms) == {entry.platform for entry in CATALOGUE.values()}


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert deployment_tracker.__version__ == project["version"]


def test_everything_that_is_offered_is_there() -> None:
    assert all(getattr(deployment_tracker, name) for name in deployment_tracker.__all__)
    with pytest.raises(AttributeError):
        _ = deployment_tracker.venus


PLATFORMS = catalogue().platforms


@pytest.mark.parametrize(
    "text", ["enforce", "pause", "observe, aws=enforce", "enforce, aws=pause, gcp = observe", "pause,aws=enforce"]
)
def test_the_brake_is_read_as_the_layer_reads_it(text: str) -> None:
    theirs, ours = brakes.parse(text, PLATFORMS), parse_brakes(text, PLATFORMS)
    assert (theirs.default, dict(theirs.exceptions)) == (ours.default, ours.exceptions)
    assert brakes.parse(ours.text, PLATFORMS) == theirs
    assert MODES == brakes.MODES


@pytest.mark.parametrize(
    "text", ["", "stop", "enforce aws=pause", "enforce, venus=pause", "enforce, aws=stop", "enforce,", "aws=pause"]
)
def test_what_the_layer_cant_read_isnt_read(text: str) -> None:
    for parse in (brakes.parse, parse_brakes):
        with pytest.raises(ValueError):
            parse(text, PLATFORMS)


def test_a_mode_for_all_leaves_no_exception() -> None:
    found = Brakes("enforce", {"aws": "pause"})
    assert found.changed("pause", None) == Brakes("pause")
    assert found.changed("enforce", "aws") == Brakes("enforce")
    assert found.changed("observe", "gcp").text == "enforce, aws=pause, gcp=observe"
    assert Brakes("pause").changed("enforce", "aws").text == "pause, aws=enforce"
