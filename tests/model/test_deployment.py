"""Keys in paths, times, and what follows from a record alone."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.model.deployment import (
    DEPLOYMENT_TYPES,
    Deployment,
    Resource,
    clipped,
    decode_key,
    encode_key,
    epoch,
    expiry,
    format_time,
    ids_named,
    parse_time,
)
from tracker.model.errors import Invalid, shown

DEPLOYMENT = Deployment(
    id="dep-1",
    blueprint_id="service-7",
    deployment_type="AwsEc2",
    deployed_at="2026-01-01T00:00:00Z",
    generation="g",
    registered_at="2026-01-01T00:00:00Z",
)
KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=200)


@given(KEYS)
def test_a_key_comes_back_from_its_path_segment(key: str) -> None:
    assert decode_key(encode_key(key)) == key


@given(KEYS)
def test_a_path_segment_holds_nothing_that_is_routed_or_resolved(key: str) -> None:
    segment = encode_key(key)
    assert segment.isascii()
    assert set(segment) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
    assert segment.strip(".")


@pytest.mark.parametrize("key", ["i-0123456789abcdef0", "service-7", "a.b_c", "0", "-x"])
def test_a_plain_key_is_its_own_segment(key: str) -> None:
    assert encode_key(key) == key


@pytest.mark.parametrize("key", ["a/b", "100%", "~x", "~", ".", "..", "a b", "ä", "?", "#", "/subscriptions/1/x"])
def test_a_key_that_a_gateway_would_misroute_is_encoded(key: str) -> None:
    assert encode_key(key).startswith("~")
    assert decode_key(encode_key(key)) == key


@pytest.mark.parametrize("segment", ["~!", "~a", "~abc d", "~_w", "~ä", "~YQ\n", "~YQ=x"])
def test_a_broken_encoded_key_is_invalid(segment: str) -> None:
    with pytest.raises(Invalid) as error:
        decode_key(segment)
    assert error.value.field == "blueprint_id"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-01T00:00:00Z", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-01-01T00:00:00.123456789Z", datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)),
        ("2024-01-01T02:00:00.5+02:00", datetime(2024, 1, 1, 0, 0, 0, 500000, tzinfo=UTC)),
        ("2024-01-01T00:00:00.000000001+00:00", datetime(2024, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_are_read_with_up_to_nine_decimals(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment


@pytest.mark.parametrize("text", ["", "2024-01-01", "2024-01-01T00:00:00", "2024-13-01T00:00:00Z", "yesterday", "0"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)


def test_times_are_written_in_utc_with_milliseconds() -> None:
    moment = datetime(2024, 1, 1, 1, 0, 0, 123999, tzinfo=timezone(timedelta(hours=1)))
    assert format_time(moment) == "2024-01-01T00:00:00.123Z"


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_an_epoch_is_never_before_its_moment_and_less_than_a_second_after(moment: datetime) -> None:
    assert timedelta(0) <= datetime.fromtimestamp(epoch(moment), UTC) - moment < timedelta(seconds=1)


def test_expiry_follows_from_expires_at_alone() -> None:
    assert expiry(DEPLOYMENT) is None
    ends = msgspec.structs.replace(DEPLOYMENT, expires_at="2026-01-01T00:01:00.200Z")
    assert expiry(ends) == 1767225661


def test_former_ids_are_named_after_the_current_ones() -> None:
    resources = [
        Resource("aws:volume", "vol-1", named_by="ebs_volume"),
        Resource("aws:volume", "vol-2", named_by="ebs_volume"),
        Resource("aws:volume", "vol-3"),
    ]
    deployment = msgspec.structs.replace(DEPLOYMENT, resource_ids={"ebs_volume": "vol-2"}, resources=resources)
    assert ids_named(deployment, "ebs_volume") == ["vol-2", "vol-1"]
    assert ids_named(deployment, "elastic_ip") == []


@given(st.text(), st.integers(3, 100))
def test_a_clipped_text_fits_and_begins_as_the_whole_does(text: str, limit: int) -> None:
    cut = clipped(text, limit)
    assert len(cut.encode("utf-8", "replace")) <= limit
    assert cut == text or text.encode("utf-8", "replace").decode().startswith(cut.removesuffix("..."))


@pytest.mark.parametrize(
    ("status", "is_live"),
    [("Active", True), ("Failed", True), ("Unknown", True), ("Terminating", False), ("Terminated", False)],
)
def test_only_what_can_still_be_terminated_is_live(status: str, is_live: bool) -> None:
    assert msgspec.structs.replace(DEPLOYMENT, status=status).is_live is is_live


def test_there_are_twenty_nine_types() -> None:
    assert len(set(DEPLOYMENT_TYPES)) == 29


def test_an_error_shows_no_more_than_the_beginning_of_a_long_value() -> None:
    assert shown("x" * 200) == "x" * 200
    assert shown("x" * 5000) == "x" * 200 + "... (5000 characters)"
