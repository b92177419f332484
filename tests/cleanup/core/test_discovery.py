"""The discovery of every type names what the record names, and refuses a record that names too little."""

from collections.abc import Collection

import pytest

from tracker.cleanup.core.contract import Refused
from tracker.cleanup.core.discovery import named_resources
from tracker.cleanup.core.kind import Kind
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

STAGES = {"ssh:container": 0, "ssh:unit": 0}


class Anything(Kind[None, None]):
    form = ".+"


def named(ids: dict[str, str | list[str]], mains: Collection[str] = ()) -> list[Resource]:
    record = Deployment(
        id="dep-1",
        blueprint_id="bp-1",
        deployment_type="SshRemote",
        resource_ids=ids,
        metadata={},
        deployed_at="2026-01-01T00:00:00Z",
        registered_at="2026-01-01T00:00:00Z",
        generation="g",
    )
    return named_resources(record, {}, STAGES, dict.fromkeys(STAGES, Anything()), Settings(), mains=mains)


def test_the_first_kind_is_the_main_one_and_one_of_it_is_needed() -> None:
    with pytest.raises(Refused, match=r"resource_ids\.container_id is missing") as refusal:
        named({"unit": "a.service"})
    assert refusal.value.error_class == "missing_id"


def test_where_several_kinds_are_main_one_of_any_is_needed() -> None:
    assert [each.key for each in named({"unit": "a.service"}, STAGES)] == [("ssh:unit", "a.service")]
    with pytest.raises(Refused, match=r"resource_ids\.container_id or unit is missing") as refusal:
        named({}, STAGES)
    assert refusal.value.error_class == "missing_id"
