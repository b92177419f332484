"""One attempt after the other: what is kept of a delivery, signed, posted and decided."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import boto3
import pytest
from standardwebhooks import Webhook

from tests.fakes import NOW, Clock
from tests.notify.test_deliveries import SECRET, a_delivery, secret_of
from tracker.model.delivery import Delivery
from tracker.model.settings import Settings
from tracker.notify.deliveries import DeliveryRef
from tracker.notify.sender import Sender, Sent
from tracker.notify.targets import Forbidden, Unsent
from tracker.notify.webhooks import Response
from tracker.store.deliveries import Deliveries
from tracker.store.table import Table, VersionConflict

OTHER = secret_of(b"y" * 32)
REF = DeliveryRef("svc-1", "generation-1")
SETTINGS = Settings(webhook_secret="stack", allowed_webhook_secrets=["tracker/webhooks/*"])


class Receiver:
    """Hears what is posted, and answers what it is told to: a status, an answer, or nothing."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[Any] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, url: str, headers: dict[str, str], body: bytes, settings: Settings) -> Response:
        self.heard.append((url, headers, body))
        self.meanwhile()
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return Response(answer) if isinstance(answer, int) else answer


@pytest.fixture
def deliveries(moto_table: str, clock: Clock) -> Deliveries:
    return Deliveries(Table(moto_table, clock=clock))


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def sender(deliveries: Deliveries, receiver: Receiver, clock: Clock) -> Sender:
    secrets = boto3.client("secretsmanager")
    secrets.create_secret(Name="stack", SecretString=json.dumps({"current": SECRET}))
    secrets.create_secret(Name="tracker/webhooks/own", SecretString=json.dumps({"current": OTHER}))
    secrets.create_secret(Name="tracker/other", SecretString=json.dumps({"current": OTHER}))
    return Sender(deliveries, SETTINGS, clock=clock, post=receiver, jitter=lambda: 0.5)


def sent(sender: Sender, ref: DeliveryRef = REF) -> Sent:
    found = sender.send(ref)
    assert found
    return found


def kept(deliveries: Deliveries) -> Delivery:
    found = deliveries.get("svc-1", "generation-1")
    assert found
    return found


def test_a_webhook_that_answers_is_posted_to_once(sender: Sender, deliveries: Deliveries, receiver: Receiver) -> None:
    deliveries.keep(a_delivery(body='{"a":1}'))
    assert sent(sender).delivery.state == "delivered"
    assert not sent(sender).is_attempted
    ((url, headers, body),) = receiver.heard
    assert (url, body) == ("https://hooks.example.org/x", b'{"a":1}')
    assert headers["webhook-id"] == "generation-1"
    (attempt,) = kept(deliveries).attempts
    assert (attempt.status, attempt.error, attempt.at) == (200, "", "2030-01-01T00:00:00.000Z")


def test_a_webhook_is_tried_on_the_schedule_of_a_day_under_one_id(
    sender: Sender, deliveries: Deliveries, receiver: Receiver, clock: Clock
) -> None:
    deliveries.keep(a_delivery())
    receiver.answers = [500] * 8
    waits = []
    while (found := sent(sender)).delivery.state == "pending":
        waits.append(found.wait.total_seconds())
        clock.now += found.wait
    assert waits == [gap * 1.05 for gap in SETTINGS.webhook_gaps]
    assert found.delivery.state == "dead"
    assert {headers["webhook-id"] for _, headers, _ in receiver.heard} == {"generation-1"}
    times = [int(headers["webhook-timestamp"]) for _, headers, _ in receiver.heard]
    assert times == sorted(set(times))
    assert clock.now - NOW > timedelta(hours=27)


def test_a_webhook_is_not_tried_before_its_time_however_often_the_queue_asks(
    sender: Sender, deliveries: Deliveries, receiver: Receiver, clock: Clock
) -> None:
    deliveries.keep(a_delivery())
    receiver.answers = [500]
    sent(sender)
    for _ in range(5):
        found = sent(sender)
        assert not found.is_attempted
        clock.forward(seconds=1)
    assert found.wait == timedelta(seconds=1.25)
    clock.forward(seconds=1)
    assert sent(sender).delivery.state == "delivered"
    assert len(receiver.heard) == 2


def test_a_webhook_is_signed_with_the_stacks_secret_or_with_its_own(
    sender: Sender, deliveries: Deliveries, receiver: Receiver, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliveries.keep(a_delivery())
    deliveries.keep(a_delivery(id="generation-2", secret="tracker/webhooks/own"))
    for ref in (REF, DeliveryRef("svc-1", "generation-2")):
        sent(sender, ref)
    monkeypatch.setattr(Webhook, "_Webhook__verify_timestamp", lambda _self, _text: NOW)
    (_, first, body), (_, second, _) = receiver.heard
    Webhook(SECRET).verify(body, first)
    Webhook(OTHER).verify(body, second)


def test_a_webhooks_changed_secret_is_used_at_once(
    sender: Sender, deliveries: Deliveries, receiver: Receiver, clock: Clock
) -> None:
    deliveries.keep(a_delivery())
    receiver.answers = [500]
    sent(sender)
    boto3.client("secretsmanager").put_secret_value(
        SecretId="stack", SecretString=json.dumps({"current": OTHER, "previous": SECRET})
    )
    clock.forward(minutes=1)
    sent(sender)
    assert [len(headers["webhook-signature"].split()) for _, headers, _ in receiver.heard] == [1, 2]


@pytest.mark.parametrize(
    ("secret", "error"),
    [
        ("tracker/webhooks/none", "nothing to sign with: ResourceNotFoundException"),
        ("tracker/other", "nothing to sign with: the secret isn't among the allowed ones"),
        ("tracker/webhooks/torn", "nothing to sign with: a secret that isn't a JSON object of strings"),
    ],
)
def test_a_webhook_that_can_not_be_signed_is_not_called_and_says_why(
    sender: Sender, deliveries: Deliveries, receiver: Receiver, secret: str, error: str
) -> None:
    boto3.client("secretsmanager").create_secret(Name="tracker/webhooks/torn", SecretString="hush-hush")
    deliveries.keep(a_delivery(secret=secret))
    assert sent(sender).delivery.state == "pending"
    assert receiver.heard == []
    (attempt,) = kept(deliveries).attempts
    assert (attempt.status, attempt.error) == (None, error)


@pytest.mark.parametrize("why", [Unsent("no connection: Connection refused"), Forbidden("a public address")])
def test_a_webhook_that_can_not_be_called_is_tried_again_and_says_why(
    sender: Sender, deliveries: Deliveries, receiver: Receiver, why: Exception
) -> None:
    deliveries.keep(a_delivery())
    receiver.answers = [why]
    assert sent(sender).delivery.state == "pending"
    (attempt,) = kept(deliveries).attempts
    assert attempt.status is None
    assert str(why) in attempt.error


def test_an_overloaded_webhook_is_tried_when_it_asks_to_be(
    sender: Sender, deliveries: Deliveries, receiver: Receiver, clock: Clock
) -> None:
    deliveries.keep(a_delivery())
    receiver.answers = [Response(429, "90")]
    assert sent(sender).wait == timedelta(seconds=90)


def test_a_webhook_that_is_gone_is_never_called_again(
    sender: Sender, deliveries: Deliveries, receiver: Receiver
) -> None:
    deliveries.keep(a_delivery())
    receiver.answers = [410]
    assert sent(sender).delivery.state == "stopped"
    assert not sent(sender).is_attempted
    assert len(receiver.heard) == 1


def test_a_webhook_that_is_asked_for_again_begins_a_series_and_earlier_messages_are_void(
    sender: Sender, deliveries: Deliveries, receiver: Receiver, clock: Clock
) -> None:
    deliveries.keep(a_delivery())
    receiver.answers = [500, 500]
    sent(sender)
    again = DeliveryRef("svc-1", "generation-1", 2)
    assert sent(sender, again).is_attempted
    clock.forward(hours=1)
    assert not sent(sender).is_attempted
    found = sent(sender, again)
    assert (found.delivery.state, found.delivery.series) == ("delivered", 2)
    assert [each.series for each in kept(deliveries).attempts] == [1, 2, 2]


def test_a_delivered_webhook_is_delivered_again_when_asked_for(
    sender: Sender, deliveries: Deliveries, receiver: Receiver
) -> None:
    deliveries.keep(a_delivery())
    sent(sender)
    assert sent(sender, DeliveryRef("svc-1", "generation-1", 2)).is_attempted
    assert [headers["webhook-id"] for _, headers, _ in receiver.heard] == ["generation-1"] * 2


def test_a_webhooks_url_and_body_stay_what_they_were_when_it_was_made(
    sender: Sender, deliveries: Deliveries, receiver: Receiver
) -> None:
    deliveries.keep(a_delivery(body='{"n":1}'))
    deliveries.keep(a_delivery(body='{"n":2}', url="https://other.example.org/"))
    sent(sender)
    ((url, _, body),) = receiver.heard
    assert (url, body) == ("https://hooks.example.org/x", b'{"n":1}')


def test_two_attempts_at_a_webhook_in_one_moment_are_counted_as_one(
    sender: Sender, deliveries: Deliveries, receiver: Receiver, clock: Clock
) -> None:
    """Of a message that the queue brings twice; the second is void, and what is kept says how it goes on."""
    deliveries.keep(a_delivery())
    other = Sender(deliveries, SETTINGS, clock=clock, post=Receiver())
    receiver.meanwhile = lambda: sent(other)
    receiver.answers = [500]
    with pytest.raises(VersionConflict):
        sender.send(REF)
    assert kept(deliveries).state == "delivered"
    assert len(kept(deliveries).attempts) == 1


def test_who_dies_between_the_post_and_the_write_posts_to_the_webhook_again_under_the_same_id(
    sender: Sender, deliveries: Deliveries, receiver: Receiver
) -> None:
    class Died(BaseException):
        pass

    def die() -> None:
        receiver.meanwhile = lambda: None
        raise Died

    deliveries.keep(a_delivery())
    receiver.meanwhile = die
    with pytest.raises(Died):
        sender.send(REF)
    assert sent(sender).delivery.state == "delivered"
    assert [headers["webhook-id"] for _, headers, _ in receiver.heard] == ["generation-1"] * 2
    assert len(kept(deliveries).attempts) == 1


def test_no_webhook_is_called_for_what_is_not_there(sender: Sender, receiver: Receiver) -> None:
    assert sender.send(REF) is None
    assert receiver.heard == []
