"""This is what is kept of a deployment fits into its item, and nothing is lost by how resources are stored."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import NOW, a_deployment
from tracker.model.deployment import Cleanup, Event, Hold, Resource, format_time
from tracker.model.sizes import ITEM_MAX, Packed, fit, pack, unpack

PLACES = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["", "1", "2"]))
RESOURCES = st.lists(PLACES.map(lambda place: Resource("memory:thing", "a", place)), max_size=5)


@given(resources=RESOURCES)
def test_packed_resources_are_the_same_when_they_are_read(resources: list[Resource]) -> None:
    stored = msgspec.json.encode(pack(resources))
    assert unpack(msgspec.json.decode(stored, type=Packed | list[Resource])) == resources


def test_what_all_places_share_stands_once() -> None:
    place = {"account": "1", "role": "r" * 1000}
    resources = [Resource("memory:thing", str(n), place | {"zone": str(n)}) for n in range(200)]
    assert msgspec.json.encode(pack(resources)).count(b"rrr" * 300) == 1


def test_what_fits_stays_as_it_is() -> None:
    deployment = a_deployment(resources=[Resource("memory:thing", "a", proof="p" * 2000)])
    assert fit(deployment) is deployment


@pytest.mark.parametrize("letter", ["x", "\u00e4", "\u0001"])
def test_the_longest_record_fits_and_forgets_no_resource_and_no_fact(letter: str) -> None:
    place = {"role": "r" * 2048, "external_id": "e" * 1000, "jump": "k" * 2000}
    resources = [
        Resource("ssh:file", f"/opt/{n:03}/" + "f" * 240, place, state="gone", proof=letter * 1000, detail=letter * 500)
        for n in range(200)
    ]
    facts = [
        Event(
            sequence=n,
            type="resource_gone",
            at=format_time(NOW),
            status="Terminating",
            detail={"id": "f" * 400, "proof": letter * 400},
        )
        for n in range(200)
    ]
    wide = "\U0001f419"
    longest = a_deployment(
        owner=wide * 256,
        labels={f"{n:02}" + "k" * 61: wide * 128 for n in range(20)},
        hold=Hold(letter * 512, "a" * 256, format_time(NOW), format_time(NOW)),
        cleanup=Cleanup(round=1, plan="d" * 2000, reason=letter * 512),
        resource_ids={"file": [each.id for each in resources]},
        resources=resources,
        events=facts[-100:],
        outbox=facts,
    )
    fitted = fit(longest)
    packed = msgspec.structs.replace(fitted, resources=[])
    assert len(msgspec.json.encode(packed)) + len(msgspec.json.encode(pack(fitted.resources))) <= ITEM_MAX
    assert [each.key for each in fitted.resources] == [each.key for each in resources]
    assert all(each.proof for each in fitted.resources)
    assert [each.sequence for each in fitted.outbox] == list(range(200))
