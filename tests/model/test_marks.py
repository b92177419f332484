"""The marks by which what was made for a deployment is found again."""

import msgspec
import pytest

from tests.fakes import a_deployment
from tracker.model.catalogue import entry
from tracker.model.deployment import Resource
from tracker.model.marks import (
    MARK_KIND,
    Mark,
    is_mark_of,
    mark_in_name,
    mark_in_tags,
    mark_in_words,
    mark_of,
    name_prefix,
    with_marked,
    without_mark_line,
)

GENERATION = "0f8fad5b-d9cb-469f-a165-70867728950e"
DIGITS = "0f8fad5bd9cb"


def test_a_name_begins_with_the_first_digits() -> None:
    assert name_prefix(GENERATION) == f"bp-{DIGITS}"
    assert mark_in_name(f"bp-{DIGITS}") == mark_in_name(f"bp-{DIGITS}-web") == DIGITS
    assert is_mark_of(DIGITS, GENERATION)
    assert is_mark_of(GENERATION, GENERATION)
    assert not is_mark_of(DIGITS[:-1], GENERATION)


@pytest.mark.parametrize(
    "name", [None, "", "bp-", f"xbp-{DIGITS}", f"bp-{DIGITS[:-1]}", f"bp-{DIGITS}a", f"BP-{DIGITS}"]
)
def test_another_name_is_no_mark(name: str | None) -> None:
    assert mark_in_name(name) is None


@pytest.mark.parametrize("value", ["", "x", DIGITS, GENERATION.upper(), f"{GENERATION} "])
def test_a_tag_of_another_value_is_no_mark(value: str) -> None:
    type_ = entry("AwsEc2")
    assert mark_in_tags(type_, {type_.mark_key: GENERATION}) == GENERATION
    assert mark_in_tags(type_, {type_.mark_key: value}) is None
    assert mark_in_words(type_, [type_.mark_key + value]) is None


def test_a_type_that_says_nothing_has_no_mark() -> None:
    type_ = msgspec.structs.replace(entry("AwsEc2"), marked_by=None)
    assert mark_of(type_, GENERATION) is None
    tagged = msgspec.structs.replace(type_, marked_by="tag")
    assert mark_of(tagged, GENERATION) == Mark("tag", "BlueprintDeployment", GENERATION)
    words = msgspec.structs.replace(type_, marked_by="tag", mark_key="BlueprintDeployment:")
    assert mark_of(words, GENERATION) == Mark("tag", "", f"BlueprintDeployment:{GENERATION}")
    named = msgspec.structs.replace(type_, marked_by="name")
    assert mark_of(named, GENERATION) == Mark("name", "", f"bp-{DIGITS}")


MACHINE = Resource("aws:instance", "i-0123456789abcdef0", named_by="instance_id")
DISK = Resource("aws:volume", "vol-0123456789abcdef0", named_by="ebs_volume")
PORT = Resource("aws:network_interface", "eni-0123456789abcdef0")


def test_of_what_was_found_only_the_needed_ids_go_into_the_ids() -> None:
    """Whoever made the rest may still hand it in, under keys that are free."""
    intent = a_deployment(resource_ids={}, incomplete=True)
    found = with_marked(intent, [DISK, PORT])
    assert (found.resource_ids, found.incomplete) == ({}, True)
    found = with_marked(found, [MACHINE])
    assert (found.resource_ids, found.incomplete) == ({"instance_id": MACHINE.id}, False)
    assert found.resources == [DISK, PORT, MACHINE]


def test_what_was_found_replaces_no_id_that_was_handed_in() -> None:
    said = a_deployment(resource_ids={"instance_id": "i-00000000"})
    found = with_marked(said, [MACHINE])
    assert found.resource_ids == {"instance_id": "i-00000000"}
    named = list(entry("AwsEc2").named(found))
    assert {id_ for _, _, id_ in named} == {"i-00000000", MACHINE.id}


def test_the_line_about_the_mark_is_no_thing() -> None:
    deployment = a_deployment(resources=[MACHINE, Resource(MARK_KIND, "BlueprintDeployment=g")])
    assert without_mark_line(deployment).resources == [MACHINE]


def test_a_mark_in_one_word() -> None:
    assert Mark("tag", "BlueprintDeployment", "g").text == "BlueprintDeployment=g"
    assert Mark("name", "", "bp-1").text == "bp-1"
