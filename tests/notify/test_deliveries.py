"""This is what a delivery is: its schedule, and its signature as the public Standard Webhooks library sees it."""

import base64
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import time_machine
from hypothesis import assume, given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from tests.fakes import NOW
from tracker.model.delivery import Attempt, Delivery
from tracker.model.deployment import format_time, parse_time
from tracker.model.settings import Settings
from tracker.notify.deliveries import (
    ATTEMPTS_KEPT,
    HIDDEN_MAX,
    JITTER,
    DeliveryRef,
    begin_series,
    key_of,
    keys_of,
    read_ref,
    record_attempt,
    signed,
    wait_asked,
)
from tracker.secrets import SecretFormatError, parse_secret

GAPS = Settings().webhook_gaps
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()


def a_delivery(**changes: Any) -> Delivery:
    found: dict[str, Any] = {
        "blueprint_id": "svc-1",
        "id": "generation-1",
        "url": "https://hooks.example.org/x",
        "body": "{}",
        "created_at": format_time(NOW),
    }
    return Delivery(**found | changes)


def an_attempt(status: int | None = 500, **changes: Any) -> Attempt:
    return Attempt(at=format_time(NOW), seconds=0.1, status=status, **changes)


def after(delivery: Delivery, status: int | None, *, jitter: float = 0, wait: float = 0) -> Delivery:
    return record_attempt(delivery, an_attempt(status), GAPS, now=NOW, jitter=jitter, wait=timedelta(seconds=wait))


def gap(delivery: Delivery) -> float:
    """Seconds until its next attempt."""
    assert delivery.next_attempt_at
    return (parse_time(delivery.next_attempt_at) - NOW).total_seconds()


# The schedule


def test_a_webhook_is_tried_at_growing_gaps_and_then_given_up() -> None:
    delivery, gaps = a_delivery(), []
    while delivery.state == "pending":
        delivery = after(delivery, 500)
        if delivery.state == "pending":
            gaps.append(gap(delivery))
    assert gaps == [5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600]
    assert delivery.state == "dead"
    assert len(delivery.attempts) == 8
    assert delivery.next_attempt_at is None


@given(st.floats(0, 1), st.integers(1, 7))
def test_a_webhooks_gaps_are_jittered_upwards_and_never_longer_than_a_queue_hides(jitter: float, tried: int) -> None:
    delivery = a_delivery(attempts=[an_attempt()] * (tried - 1))
    found = gap(after(delivery, None, jitter=jitter))
    assert GAPS[tried - 1] - 0.001 <= found <= GAPS[tried - 1] * (1 + JITTER) + 0.001
    assert timedelta(seconds=found) <= HIDDEN_MAX


@pytest.mark.parametrize("status", range(200, 300, 7))
def test_any_2xx_of_a_webhook_is_delivered(status: int) -> None:
    found = after(a_delivery(), status)
    assert (found.state, found.next_attempt_at) == ("delivered", None)


@pytest.mark.parametrize(
    "status", [None, 101, 300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 409, 422, 500, 502, 599]
)
def test_anything_else_of_a_webhook_is_tried_again(status: int | None) -> None:
    assert after(a_delivery(), status).state == "pending"


def test_a_webhook_that_is_gone_is_stopped_for_good() -> None:
    found = after(a_delivery(), 410)
    assert (found.state, found.next_attempt_at) == ("stopped", None)


@pytest.mark.parametrize("status", [429, 503])
def test_a_webhook_is_not_tried_before_it_asks_to_be(status: int) -> None:
    assert wait_asked(status, "120") == timedelta(seconds=120)
    with time_machine.travel(NOW, tick=False):
        until = format_datetime(NOW + timedelta(minutes=10), usegmt=True)
        assert wait_asked(status, until) == timedelta(minutes=10)
    assert gap(after(a_delivery(), status, wait=120)) == 120
    # Never earlier than the schedule, so that one that asks for nothing isn't worn out in seconds.
    assert gap(after(a_delivery(), status, wait=1)) == 5


def test_a_webhook_puts_nothing_off_for_longer_than_a_day() -> None:
    assert gap(after(a_delivery(), 503, wait=10_000_000)) == 24 * 3600
    assert wait_asked(503, "999999999999999999999") == timedelta(days=1)
    assert wait_asked(503, "Fri, 31 Dec 9999 23:59:59 GMT") == timedelta(days=1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "-5",
        "1.5",
        "1e3",
        "٣",
        "9" * 5000,
        "Mon, 99 Foo 2030 00:00:00 GMT",
        "\x00",
        "0x10",
    ],
)
def test_a_webhooks_retry_after_that_is_none_is_none(text: str) -> None:
    assert wait_asked(503, text) == timedelta()


def test_a_webhooks_retry_after_that_is_past_is_none() -> None:
    assert wait_asked(503, "Mon, 01 Jan 2001 00:00:00 GMT") == timedelta()


@given(st.text(max_size=50))
def test_no_retry_after_of_a_webhook_breaks_the_sender(text: str) -> None:
    assert timedelta() <= wait_asked(429, text) <= timedelta(days=1)


@pytest.mark.parametrize("status", [200, 301, 500, 404])
def test_only_an_overloaded_webhook_says_when(status: int) -> None:
    assert wait_asked(status, "3600") == timedelta()


def test_a_later_series_of_a_webhook_begins_anew_and_remembers_what_was() -> None:
    delivery = a_delivery()
    for _ in range(8):
        delivery = after(delivery, 500)
    again = after(begin_series(delivery, 2), 500)
    assert (again.state, gap(again)) == ("pending", 5)
    assert [each.series for each in again.attempts] == [1] * 8 + [2]


def test_a_webhooks_log_is_bounded_and_its_series_still_ends() -> None:
    delivery = a_delivery()
    for series in range(1, 20):
        delivery, tries = begin_series(delivery, series), 0
        while delivery.state == "pending":
            delivery, tries = after(delivery, 500), tries + 1
        assert tries == 8
        assert len(delivery.attempts) <= ATTEMPTS_KEPT


# What the queue says


def test_an_announcement_says_which_webhook_delivery_it_is() -> None:
    body = json.dumps(
        {"id": "g-7", "type": "deployment.moved", "timestamp": "x", "data": {"blueprint_id": "svc/1", "n": 1}}
    )
    assert read_ref(body) == DeliveryRef("svc/1", "g-7", 1)


def test_a_webhooks_reference_is_read_as_it_was_written() -> None:
    wanted = DeliveryRef("svc/1", "g-7", 3)
    assert read_ref(wanted.text) == wanted


@pytest.mark.parametrize(
    "body", ["", "x", "[]", "{}", '{"id": "g-7"}', '{"id": "g-7", "data": {}}', '{"webhook_id": 7}', "\x00"]
)
def test_what_is_no_webhook_delivery_says_so(body: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        read_ref(body)


# The signature

IDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=80)
KEYS = st.binary(min_size=24, max_size=64)
BODIES = st.dictionaries(st.text(max_size=10), st.text(max_size=40), max_size=4).map(json.dumps)


def secret_of(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


@given(IDS, BODIES, KEYS, st.integers(-290, 290))
def test_what_is_signed_for_a_webhook_verifies(id_: str, body: str, key: bytes, skew: int) -> None:
    now = datetime.now(UTC) + timedelta(seconds=skew)
    headers = signed(a_delivery(id=id_, body=body), [key], now)
    assert Webhook(secret_of(key)).verify(body, headers) == json.loads(body)


@given(IDS, BODIES, KEYS, KEYS)
def test_while_a_webhooks_secret_changes_both_verify_and_no_other(id_: str, body: str, new: bytes, old: bytes) -> None:
    assume(new != old)
    headers = signed(a_delivery(id=id_, body=body), [new, old], datetime.now(UTC))
    for key in (new, old):
        Webhook(secret_of(key)).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_of(bytes(24))).verify(body, headers)


@given(IDS, BODIES, KEYS, st.sampled_from(["id", "timestamp", "body", "signature", "key"]), st.integers(1, 10**6))
def test_what_is_changed_after_it_was_signed_for_a_webhook_does_not_verify(
    id_: str, body: str, key: bytes, what: str, where: int
) -> None:
    headers = signed(a_delivery(id=id_, body=body), [key], datetime.now(UTC))
    match what:
        case "id":
            headers["webhook-id"] = flipped(id_, where)
        case "timestamp":
            headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) + (where % 200 + 1) * (-1) ** where)
        case "body":
            body = flipped(body, where)
        case "signature":
            raw = bytearray(base64.b64decode(headers["webhook-signature"].removeprefix("v1,")))
            raw[where % len(raw)] ^= 1 + where % 255
            headers["webhook-signature"] = "v1," + base64.b64encode(raw).decode()
        case "key":
            changed = bytearray(key)
            changed[where % len(key)] ^= 1 + where % 255
            key = bytes(changed)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_of(key)).verify(body, headers)


def flipped(text: str, where: int) -> str:
    """With another character at one place."""
    n = where % len(text)
    return text[:n] + ("x" if text[n] != "x" else "y") + text[n + 1 :]


@pytest.mark.parametrize("age", [-400, 400])
def test_an_old_post_to_a_webhook_can_not_be_played_again(age: int) -> None:
    headers = signed(a_delivery(), [key_of(SECRET)], datetime.now(UTC) + timedelta(seconds=age))
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify("{}", headers)


def test_a_webhooks_signature_is_the_one_of_the_standards_own_example() -> None:
    """The vector of the reference libraries' tests."""
    delivery = a_delivery(id="msg_p5jXN8AQM9LWM0D4loKWxJek", body='{"test": 2432232314}')
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed(delivery, [key], datetime.fromtimestamp(1614265330, UTC))
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_webhooks_secret_has_a_current_key_and_maybe_a_previous_one() -> None:
    other = secret_of(b"x" * 32)
    assert keys_of({"current": SECRET}) == [key_of(SECRET)]
    assert keys_of({"current": SECRET, "previous": other}) == [key_of(SECRET), b"x" * 32]
    assert keys_of({"current": SECRET, "previous": ""}) == [key_of(SECRET)]
    assert key_of(SECRET.removeprefix("whsec_")) == key_of(SECRET.rstrip("=")) == key_of(SECRET)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        SECRET,
        "[]",
        "{}",
        '{"current": 7}',
        json.dumps({"previous": SECRET}),
        json.dumps({"current": ""}),
        json.dumps({"current": "whsec_hush hush!"}),
        json.dumps({"current": "whsec_c2hvcnQ="}),
        json.dumps({"current": base64.b64encode(b"x" * 23).decode()}),
        json.dumps({"current": base64.b64encode(b"x" * 65).decode()}),
        json.dumps({"current": SECRET, "previous": "hush-hush"}),
    ],
)
def test_a_webhooks_secret_that_is_none_is_refused_without_being_quoted(secret: str) -> None:
    with pytest.raises((ValueError, SecretFormatError), match="a secret") as caught:
        keys_of(parse_secret(secret))
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None
