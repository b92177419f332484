"""From the queue to a webhook, through the function's own handler and a real receiver on loopback."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import msgspec
import pytest
from standardwebhooks import Webhook

from tests.functions.conftest import WEBHOOK_SECRET, Stack, an_event, answered, with_body
from tests.receivers import Receiver, answers, receiving, resets, silent
from tracker.clients import client
from tracker.model.clock import utc_now
from tracker.model.delivery import Delivery
from tracker.model.deployment import Event
from tracker.notify import targets, webhooks


@pytest.fixture
def failing() -> Iterator[Receiver]:
    with receiving(answers(500)) as receiver:
        yield receiver


def registered(stack: Stack, url: str, key: str = "svc-7", **more: Any) -> None:
    """One whose registration its webhook wants to hear of, announced."""
    wanted = {"blueprint_id": key, "cleanup_webhook": url, "webhook_events": ["registered"]}
    status, answer = answered(stack.call("register", with_body(an_event("register-post"), **wanted, **more)))
    assert status == 201, answer
    record = an_event("announce-registered")["Records"][0]
    record["dynamodb"]["NewImage"] = stack.image(key)
    stack.call("announce", {"Records": [record]})


def received(stack: Stack) -> list[dict[str, Any]]:
    """Return what is in the queue of deliveries now, as the mapping hands it over."""
    found = boto3.client("sqs").receive_message(QueueUrl=stack.deliveries, MaxNumberOfMessages=10)
    return [
        {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": {"ApproximateReceiveCount": "1"},
            "messageAttributes": {},
        }
        for message in found.get("Messages", [])
    ]


def delivered(stack: Stack) -> bool:
    """Attempt the one message that is in the queue; whether it is done."""
    (message,) = received(stack)
    failures = stack.call("deliver", {"Records": [message]})["batchItemFailures"]
    if not failures:
        boto3.client("sqs").delete_message(QueueUrl=stack.deliveries, ReceiptHandle=message["receiptHandle"])
    return not failures


def kept(stack: Stack, key: str = "svc-7") -> Delivery:
    (found,) = stack.delivery_store.page(key, limit=10).items
    return found


def hidden(stack: Stack) -> int:
    attributes = boto3.client("sqs").get_queue_attributes(
        QueueUrl=stack.deliveries, AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
    )["Attributes"]
    return int(attributes["ApproximateNumberOfMessagesNotVisible"])


def test_what_a_webhook_wants_reaches_it_signed_with_the_models_keys(stack: Stack) -> None:
    with receiving(answers(200)) as receiver:
        registered(stack, receiver.url)
        assert delivered(stack)
        (heard,) = receiver.heard
    body = Webhook(WEBHOOK_SECRET).verify(heard.body, heard.headers)
    record = stack.record()
    assert heard.headers["webhook-id"] == f"{record.generation}-1"
    assert body.keys() == {"type", "timestamp", "blueprint_id", "event", "status", "data"}
    assert (body["type"], body["blueprint_id"], body["event"], body["status"]) == (
        "deployment.registered",
        "svc-7",
        "registered",
        "Active",
    )
    assert body["data"]["generation"] == record.generation
    assert "token" not in heard.body.decode()
    assert kept(stack).state == "delivered"
    assert received(stack) == []


def test_a_webhook_that_does_not_want_it_hears_nothing(stack: Stack) -> None:
    with receiving(answers(200)) as receiver:
        event = with_body(an_event("register-post"), cleanup_webhook=receiver.url)
        stack.call("register", event)
        record = an_event("announce-registered")["Records"][0]
        record["dynamodb"]["NewImage"] = stack.image()
        stack.call("announce", {"Records": [record]})
        assert len(stack.messages(stack.subscriber)) == 1
        assert received(stack) == []
        assert stack.delivery_store.page("svc-7", limit=10).items == []


@pytest.mark.parametrize("behave", [answers(500), answers(302), resets()], ids=["500", "302", "reset"])
def test_what_a_webhook_does_not_take_stays_in_the_queue_out_of_sight(stack: Stack, behave: Any) -> None:
    with receiving(behave) as receiver:
        registered(stack, receiver.url)
        assert not delivered(stack)
    assert kept(stack).state == "pending"
    assert received(stack) == []
    assert hidden(stack) == 1


def test_what_a_webhook_is_to_get_in_hours_is_hidden_for_as_long_as_a_queue_can(
    stack: Stack, failing: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    registered(stack, failing.url)
    (message,) = received(stack)
    stack.call("deliver", {"Records": []})
    sqs = client("sqs")
    monkeypatch.setattr(sqs, "change_message_visibility", lambda **more: seen.append(more["VisibilityTimeout"]))
    for gap in stack.loaded["deliver"].settings().webhook_gaps:
        stack.call("deliver", {"Records": [message]})
        old = kept(stack)
        full = stack.delivery_store.get("svc-7", old.id)
        assert full
        # As if the time had passed.
        stack.delivery_store.replace(full, with_next(full))
        assert gap <= seen[-1] <= 11 * 3600
    stack.call("deliver", {"Records": [message]})
    assert kept(stack).state == "dead"
    assert len(failing.heard) == 8


def with_next(delivery: Delivery) -> Delivery:
    return msgspec.structs.replace(delivery, next_attempt_at=None, version=delivery.version + 1)


def test_a_webhook_that_asks_for_a_day_is_hidden_for_eleven_hours_at_a_time(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    with receiving(answers(503, Retry_After="86400")) as receiver:
        registered(stack, receiver.url)
        (message,) = received(stack)
        stack.call("deliver", {"Records": []})
        sqs = client("sqs")
        monkeypatch.setattr(sqs, "change_message_visibility", lambda **more: seen.append(more["VisibilityTimeout"]))
        for _ in range(3):
            stack.call("deliver", {"Records": [message]})
        assert seen == [11 * 3600] * 3
        assert len(receiver.heard) == 1


def test_a_webhook_given_up_is_a_dead_letter_that_asks_for_a_new_series(stack: Stack, failing: Receiver) -> None:
    registered(stack, failing.url)
    (message,) = received(stack)
    for _ in range(8):
        stack.call("deliver", {"Records": [message]})
        full = stack.delivery_store.get("svc-7", kept(stack).id)
        assert full
        if full.state == "pending":
            stack.delivery_store.replace(full, with_next(full))
    (letter,) = stack.messages(stack.undelivered)
    assert json.loads(letter["Body"]) == {"blueprint_id": "svc-7", "webhook_id": kept(stack).id, "series": 2}
    assert letter["MessageAttributes"]["reason"]["StringValue"] == "answered 500"
    # It comes again: who died before the queue forgot it makes no further attempt.
    assert stack.call("deliver", {"Records": [message]}) == {"batchItemFailures": []}
    assert len(failing.heard) == 8
    # And the dead letter, back in the queue however that came about, begins anew.
    boto3.client("sqs").send_message(QueueUrl=stack.deliveries, MessageBody=letter["Body"])
    assert not delivered(stack)
    assert len(failing.heard) == 9
    assert (kept(stack).state, kept(stack).series) == ("pending", 2)


def test_a_webhook_that_is_gone_leaves_no_message_and_no_dead_letter(stack: Stack) -> None:
    with receiving(answers(410)) as receiver:
        registered(stack, receiver.url)
        assert delivered(stack)
    assert kept(stack).state == "stopped"
    assert stack.messages(stack.undelivered) == []


@pytest.mark.parametrize("body", ["{", "{}", "[]", '{"id": 7, "data": {}}'])
def test_a_message_that_is_no_webhook_delivery_is_a_dead_letter_with_its_content(stack: Stack, body: str) -> None:
    boto3.client("sqs").send_message(QueueUrl=stack.deliveries, MessageBody=body)
    assert delivered(stack)
    (letter,) = stack.messages(stack.undelivered)
    assert letter["Body"] == body


def test_an_unknown_webhook_delivery_is_a_dead_letter(stack: Stack) -> None:
    event = an_event("deliver-announcement")
    assert stack.call("deliver", event) == {"batchItemFailures": []}
    (letter,) = stack.messages(stack.undelivered)
    assert letter["Body"] == event["Records"][0]["body"]
    assert letter["MessageAttributes"]["reason"]["StringValue"] == "no such delivery"


def test_when_the_table_can_not_be_reached_the_webhook_is_tried_later(stack: Stack, failing: Receiver) -> None:
    registered(stack, failing.url)
    boto3.client("dynamodb").delete_table(TableName=stack.table)
    assert not delivered(stack)
    assert failing.heard == []
    assert stack.messages(stack.undelivered) == []


def test_after_a_fault_a_webhook_is_tried_again_in_seconds_and_then_ever_later(
    stack: Stack, failing: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left to the queue's own time it would wait for minutes, as after a crash."""
    registered(stack, failing.url)
    (message,) = received(stack)
    boto3.client("dynamodb").delete_table(TableName=stack.table)
    seen: list[int] = []
    stack.call("deliver", {"Records": []})
    monkeypatch.setattr(
        client("sqs"), "change_message_visibility", lambda **more: seen.append(more["VisibilityTimeout"])
    )
    for times in (1, 2, 3, 6, 900):
        message["attributes"]["ApproximateReceiveCount"] = str(times)
        assert stack.call("deliver", {"Records": [message]})["batchItemFailures"]
    assert seen == [15, 30, 60, 360, 360]


def test_no_log_of_a_webhook_holds_its_url_or_its_secret(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    for n, behave in enumerate((answers(200), answers(500), resets(b"HTTP/1.1 2"))):
        with receiving(behave) as receiver:
            registered(stack, receiver.url, key=f"svc-{n}")
            for message in received(stack):
                stack.call("deliver", {"Records": [message]})
    said = " ".join(f"{vars(record)} {record.getMessage()}" for record in caplog.records)
    assert "a delivery is" in said
    assert "answered 500" in said
    assert "secret-token" not in said
    assert WEBHOOK_SECRET not in said


def test_a_slow_webhook_is_given_up_by_the_function(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving(silent) as receiver:
        registered(stack, receiver.url)
        stack.call("deliver", {"Records": []})
        sender = stack.loaded["deliver"].sender()
        monkeypatch.setattr(sender, "_post", lambda *args: webhooks.post(*args, limit=0.3))
        assert not delivered(stack)
    assert kept(stack).attempts[0].error == "no answer in time"


def test_each_outcome_reaches_the_webhook_with_the_models_words_and_its_receipt(stack: Stack) -> None:
    with receiving(answers(200)) as receiver:
        registered(stack, receiver.url)
        topic = stack.loaded["announce"].topic()
        at = utc_now().isoformat()
        topic.announce(stack.record(), Event(sequence=2, type="cleanup_failed", at=at, status="Active", round=2))
        topic.announce(stack.record(), Event(sequence=3, type="cleanup_succeeded", at=at, status="Terminated", round=3))
        for message in received(stack):
            assert stack.call("deliver", {"Records": [message]}) == {"batchItemFailures": []}
    found = {body["data"]["sequence"]: body for body in (json.loads(heard.body) for heard in receiver.heard)}
    assert [(found[n]["event"], found[n]["status"]) for n in (2, 3)] == [("cleanup", "failed"), ("cleanup", "success")]
    assert {"counts", "resources", "truncated", "reason", "round", "attempts"} <= found[3]["data"].keys()


def test_a_webhooks_url_that_is_not_allowed_is_refused_before_anything_is_stored(stack: Stack) -> None:
    event = with_body(an_event("register-post"), cleanup_webhook="https://169.254.169.254/latest?token=secret-token")
    status, answer = answered(stack.call("register", event))
    assert (status, answer["error"]["field"]) == (422, "cleanup_webhook")
    assert "public address" in answer["error"]["message"]
    assert "secret-token" not in json.dumps(answer)
    assert stack.records.get("svc-7") is None


@pytest.fixture
def leads_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "resolve_name", lambda _host, _seconds: ["10.0.0.7"])


@pytest.mark.usefixtures("leads_inside")
def test_a_webhooks_name_that_leads_inside_is_refused_at_every_door(stack: Stack) -> None:
    url = "https://hooks.example.org/x"
    status, answer = answered(stack.call("register", with_body(an_event("register-post"), cleanup_webhook=url)))
    assert (status, answer["error"]["field"]) == (422, "cleanup_webhook")

    batch = an_event("register-service-initiated")
    body = json.loads(batch["Records"][0]["body"])
    body["detail"]["cleanup_webhook"] = url
    batch["Records"][0]["body"] = json.dumps(body)
    assert stack.call("register", batch) == {"batchItemFailures": []}
    (letter,) = stack.messages(stack.dead_letters)
    assert "cleanup_webhook" in letter["MessageAttributes"]["reason"]["StringValue"]
    assert stack.records.get("svc-7") is None

    assert answered(stack.call("register", an_event("register-post")))[0] == 201
    patch = an_event("amend-patch") | {"body": json.dumps({"cleanup_webhook": url})}
    status, answer = answered(stack.call("amend", patch))
    assert (status, answer["error"]["field"]) == (422, "cleanup_webhook")
    assert stack.record().cleanup_webhook is None
