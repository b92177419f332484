"""One attempt after the other: what is kept of a delivery, signed, posted and decided."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import boto3
import pytest
from standardwebhooks import Webhook

from tests.fakes import NOW, Clock, Engine
from tests.test_deliveries import SECRET, a_delivery, an_attempt, secret_of
from tracker.deliveries import Delivery, Errand
from tracker.records import LostError, Records
from tracker.sender import Sender, Sent
from tracker.settings import Settings
from tracker.webhooks import Answer, Forbidden, Unsent

OTHER = secret_of(b"y" * 32)
ERRAND = Errand("svc-1", "generation-1")
SETTINGS = Settings(webhook_secret="stack", allowed_webhook_secrets=["tracker/webhooks/*"])


class Receiver:
    """Hears what is posted, and answers what it is told to: a status, an answer, or nothing."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[Any] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, url: str, headers: dict[str, str], body: bytes, settings: Settings) -> Answer:
        self.heard.append((url, headers, body))
        self.meanwhile()
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer) if isinstance(answer, int) else answer


@pytest.fixture
def records(moto_table: str, clock: Clock) -> Records:
    return Records(moto_table, clock=clock)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def sender(records: Records, receiver: Receiver, clock: Clock) -> Sender:
    secrets = boto3.client("secretsmanager")
    secrets.create_secret(Name="stack", SecretString=json.dumps({"current": SECRET}))
    secrets.create_secret(Name="tracker/webhooks/own", SecretString=json.dumps({"current": OTHER}))
    secrets.create_secret(Name="tracker/other", SecretString=json.dumps({"current": OTHER}))
    return Sender(records, SETTINGS, clock=clock, post=receiver, jitter=lambda: 0.5)


def sent(sender: Sender, errand: Errand = ERRAND) -> Sent:
    found = sender.send(errand)
    assert found
    return found


def kept(records: Records) -> Delivery:
    found = records.delivery("svc-1", "generation-1")
    assert found
    return found


def test_a_webhook_that_answers_is_posted_to_once(sender: Sender, records: Records, receiver: Receiver) -> None:
    records.keep(a_delivery(body='{"a":1}'))
    assert sent(sender).delivery.state == "delivered"
    assert not sent(sender).is_attempted
    ((url, headers, body),) = receiver.heard
    assert (url, body) == ("https://hooks.example.org/x", b'{"a":1}')
    assert headers["webhook-id"] == "generation-1"
    (attempt,) = kept(records).attempts
    assert (attempt.status, attempt.error, attempt.at) == (200, "", "2030-01-01T00:00:00.000Z")


def test_a_webhook_is_tried_on_the_schedule_of_a_day_under_one_id(
    sender: Sender, records: Records, receiver: Receiver, clock: Clock
) -> None:
    records.keep(a_delivery())
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
    sender: Sender, records: Records, receiver: Receiver, clock: Clock
) -> None:
    records.keep(a_delivery())
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
    sender: Sender, records: Records, receiver: Receiver, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.keep(a_delivery())
    records.keep(a_delivery(id="generation-2", secret="tracker/webhooks/own"))
    for errand in (ERRAND, Errand("svc-1", "generation-2")):
        sent(sender, errand)
    monkeypatch.setattr(Webhook, "_Webhook__verify_timestamp", lambda _self, _text: NOW)
    (_, first, body), (_, second, _) = receiver.heard
    Webhook(SECRET).verify(body, first)
    Webhook(OTHER).verify(body, second)


def test_a_webhooks_changed_secret_is_used_at_once(
    sender: Sender, records: Records, receiver: Receiver, clock: Clock
) -> None:
    records.keep(a_delivery())
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
        ("tracker/webhooks/torn", "nothing to sign with: a secret that isn't a JSON object of texts"),
    ],
)
def test_a_webhook_that_can_not_be_signed_is_not_called_and_says_why(
    sender: Sender, records: Records, receiver: Receiver, secret: str, error: str
) -> None:
    boto3.client("secretsmanager").create_secret(Name="tracker/webhooks/torn", SecretString="hush-hush")
    records.keep(a_delivery(secret=secret))
    assert sent(sender).delivery.state == "pending"
    assert receiver.heard == []
    (attempt,) = kept(records).attempts
    assert (attempt.status, attempt.error) == (None, error)


@pytest.mark.parametrize("why", [Unsent("no connection: Connection refused"), Forbidden("a public address")])
def test_a_webhook_that_can_not_be_called_is_tried_again_and_says_why(
    sender: Sender, records: Records, receiver: Receiver, why: Exception
) -> None:
    records.keep(a_delivery())
    receiver.answers = [why]
    assert sent(sender).delivery.state == "pending"
    (attempt,) = kept(records).attempts
    assert attempt.status is None
    assert str(why) in attempt.error


def test_an_overloaded_webhook_is_tried_when_it_asks_to_be(
    sender: Sender, records: Records, receiver: Receiver, clock: Clock
) -> None:
    records.keep(a_delivery())
    receiver.answers = [Answer(429, "90")]
    assert sent(sender).wait == timedelta(seconds=90)


def test_a_webhook_that_is_gone_is_never_called_again(sender: Sender, records: Records, receiver: Receiver) -> None:
    records.keep(a_delivery())
    receiver.answers = [410]
    assert sent(sender).delivery.state == "stopped"
    assert not sent(sender).is_attempted
    assert len(receiver.heard) == 1


def test_a_webhook_that_is_asked_for_again_begins_a_series_and_earlier_messages_are_void(
    sender: Sender, records: Records, receiver: Receiver, clock: Clock
) -> None:
    records.keep(a_delivery())
    receiver.answers = [500, 500]
    sent(sender)
    again = Errand("svc-1", "generation-1", 2)
    assert sent(sender, again).is_attempted
    clock.forward(hours=1)
    assert not sent(sender).is_attempted
    found = sent(sender, again)
    assert (found.delivery.state, found.delivery.series) == ("delivered", 2)
    assert [each.series for each in kept(records).attempts] == [1, 2, 2]


def test_a_delivered_webhook_is_delivered_again_when_asked_for(
    sender: Sender, records: Records, receiver: Receiver
) -> None:
    records.keep(a_delivery())
    sent(sender)
    assert sent(sender, Errand("svc-1", "generation-1", 2)).is_attempted
    assert [headers["webhook-id"] for _, headers, _ in receiver.heard] == ["generation-1"] * 2


def test_a_webhooks_url_and_body_stay_what_they_were_when_it_was_made(
    sender: Sender, records: Records, receiver: Receiver
) -> None:
    records.keep(a_delivery(body='{"n":1}'))
    records.keep(a_delivery(body='{"n":2}', url="https://other.example.org/"))
    sent(sender)
    ((url, _, body),) = receiver.heard
    assert (url, body) == ("https://hooks.example.org/x", b'{"n":1}')


def test_two_attempts_at_a_webhook_in_one_moment_are_counted_as_one(
    sender: Sender, records: Records, receiver: Receiver, clock: Clock
) -> None:
    """Of a message that the queue brings twice; the second is void, and what is kept says how it goes on."""
    records.keep(a_delivery())
    other = Sender(records, SETTINGS, clock=clock, post=Receiver())
    receiver.meanwhile = lambda: sent(other)
    receiver.answers = [500]
    with pytest.raises(LostError):
        sender.send(ERRAND)
    assert kept(records).state == "delivered"
    assert len(kept(records).attempts) == 1


def test_who_dies_between_the_post_and_the_write_posts_to_the_webhook_again_under_the_same_id(
    sender: Sender, records: Records, receiver: Receiver
) -> None:
    class Died(BaseException):
        pass

    def die() -> None:
        receiver.meanwhile = lambda: None
        raise Died

    records.keep(a_delivery())
    receiver.meanwhile = die
    with pytest.raises(Died):
        sender.send(ERRAND)
    assert sent(sender).delivery.state == "delivered"
    assert [headers["webhook-id"] for _, headers, _ in receiver.heard] == ["generation-1"] * 2
    assert len(kept(records).attempts) == 1


def test_no_webhook_is_called_for_what_is_not_there(sender: Sender, receiver: Receiver) -> None:
    assert sender.send(ERRAND) is None
    assert receiver.heard == []


def test_what_is_kept_of_a_webhook_is_over_after_thirty_days(
    sender: Sender, records: Records, clock: Clock, moto_table: str
) -> None:
    records.keep(a_delivery())
    key = {"blueprint_id": {"S": "svc-1"}, "item": {"S": "delivery#generation-1"}}
    item = boto3.client("dynamodb").get_item(TableName=moto_table, Key=key)["Item"]
    assert int(item["ttl"]["N"]) == int(NOW.timestamp()) + 30 * 24 * 3600
    # None that an index would carry.
    assert not item.keys() & {"id", "status", "due_at", "due_shard", "news"}
    clock.forward(days=30)
    assert records.delivery("svc-1", "generation-1") is None
    assert records.deliveries("svc-1", limit=10).items == []
    records.keep(a_delivery(body="[]", created_at=clock.text))
    assert kept(records).body == "[]"


def test_a_webhooks_deliveries_are_listed_by_page_without_their_bodies(records: Records) -> None:
    for n in range(5):
        records.keep(a_delivery(id=f"generation-{n}", body="x" * 1000))
    records.keep(a_delivery(blueprint_id="svc-2"))
    first = records.deliveries("svc-1", limit=3)
    rest = records.deliveries("svc-1", limit=3, after=first.last)
    assert [each.id for each in first.items + rest.items] == [f"generation-{n}" for n in range(5)]
    assert {each.body for each in first.items} == {""}
    assert rest.last is None


def test_what_is_kept_of_a_webhook_is_kept_by_the_real_engine_too(store: Records, engine: Engine) -> None:
    first = a_delivery()
    store.keep(first)
    store.keep(a_delivery(url="https://other.example.org/"))
    found = store.delivery("svc-1", "generation-1")
    assert found == first
    tried = found.attempted(an_attempt(), SETTINGS.webhook_gaps, now=NOW, jitter=0)
    store.attempted(found, tried)
    with pytest.raises(LostError):
        store.attempted(found, tried)
    assert store.delivery("svc-1", "generation-1") == tried
    store.keep(a_delivery(id="generation-2"))
    page = store.deliveries("svc-1", limit=1)
    assert [each.id for each in page.items] == ["generation-1"]
    assert [each.id for each in store.deliveries("svc-1", limit=1, after=page.last).items] == ["generation-2"]
    for index in ("by_id", "by_status", "due"):
        assert engine.client.scan(TableName=engine.table, IndexName=index)["Count"] == 0
