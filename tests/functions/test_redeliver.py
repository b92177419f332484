"""Sending again on request: a delivery to a webhook, and a deployment's announcements."""

import json
from typing import Any

import boto3
import pytest

from tests.fresh import forget_process
from tests.functions.conftest import Stack, an_event, answered, with_body
from tests.functions.test_deliver import delivered, kept, registered
from tests.receivers import Receiver, answers, receiving
from tracker import runtime
from tracker.intake.listing import _placed
from tracker.model.deployment import Deployment


def redelivery(webhook_id: str, key: str = "svc-7") -> dict[str, Any]:
    return {**an_event("redeliver-delivery"), "pathParameters": {"blueprint_id": key, "webhook_id": webhook_id}}


def listing(**query: str) -> dict[str, Any]:
    return {**an_event("inspect-deliveries"), "queryStringParameters": query or None}


@pytest.mark.parametrize("before", [200, 500, 410])
def test_a_webhook_delivery_is_sent_again_whatever_became_of_it(stack: Stack, before: int) -> None:
    with receiving(answers(before), answers(200)) as receiver:
        registered(stack, receiver.url)
        delivered(stack)
        id_ = kept(stack).id
        status, answer = answered(stack.call("redeliver", redelivery(id_)))
        assert (status, answer) == (202, {"blueprint_id": "svc-7", "webhook_id": id_, "series": 2})
        assert delivered(stack)
        first, second = receiver.heard
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == id_
    assert (kept(stack).state, kept(stack).series) == ("delivered", 2)


def by(team: str, event: dict[str, Any]) -> dict[str, Any]:
    caller = f"arn:aws:sts::123456789012:assumed-role/{team}/someone"
    return event | {"requestContext": event["requestContext"] | {"identity": {"userArn": caller}}}


def test_a_delivery_is_sent_again_by_who_had_its_deployment_and_not_by_who_has_the_key_now(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACT_ON_EVERYTHING", "arn:aws:iam::123456789012:role/admin")
    forget_process()
    with receiving(answers(200)) as receiver:
        event = with_body(an_event("register-post"), cleanup_webhook=receiver.url, webhook_events=["registered"])
        ids = []
        for team in ("first", "second"):
            assert answered(stack.call("register", by(team, event)))[0] == 201
            record = stack.record()
            runtime.topic().announce(record, record.events[0])
            ids.append(f"{record.generation}-1")
            if team == "first":
                stack.lifecycle.forget("svc-7", reason="r", requested_by=record.registered_by)
                event = with_body(event, ttl_seconds=7200)
        may = {
            (team, n): answered(stack.call("redeliver", by(team, redelivery(id_))))[0]
            for team in ("first", "second", "admin")
            for n, id_ in enumerate(ids)
        }
        assert may == {
            ("first", 0): 202,
            ("first", 1): 403,
            ("second", 0): 403,
            ("second", 1): 202,
            ("admin", 0): 202,
            ("admin", 1): 202,
        }
        # Once the record is purged it is nobody's.
        boto3.client("dynamodb").delete_item(
            TableName=stack.table,
            Key={"blueprint_id": {"S": "svc-7"}, "item": {"S": f"past#{ids[0].removesuffix('-1')}"}},
        )
        assert [answered(stack.call("redeliver", by(team, redelivery(ids[0]))))[0] for team in ("first", "second")] == [
            404,
            404,
        ]
        assert answered(stack.call("redeliver", by("admin", redelivery(ids[0]))))[0] == 202


@pytest.mark.parametrize(
    ("webhook_id", "key"), [("none-1", "svc-7"), ("none-1", "nobody"), ("", "svc-7"), ("x" * 1016, "svc-7")]
)
def test_an_unknown_webhook_delivery_is_not_found(
    stack: Stack, registered_: Receiver, webhook_id: str, key: str
) -> None:
    status, answer = answered(stack.call("redeliver", redelivery(webhook_id, key)))
    assert (status, answer["error"]["code"]) == (404, "not_found")


@pytest.fixture
def registered_(stack: Stack) -> Any:
    with receiving(answers(200)) as receiver:
        registered(stack, receiver.url)
        yield receiver


def test_a_webhooks_deliveries_are_shown_with_each_attempt(stack: Stack) -> None:
    with receiving(answers(500)) as receiver:
        registered(stack, receiver.url)
        delivered(stack)
    status, answer = answered(stack.call("inspect", listing()))
    (shown,) = answer["deliveries"]
    assert (status, answer["cursor"]) == (200, None)
    assert (shown["state"], shown["url"], shown["series"]) == ("pending", receiver.url, 1)
    (attempt,) = shown["attempts"]
    assert attempt["status"] == 500
    assert attempt["seconds"] < 15
    assert "body" not in shown
    assert shown["next_attempt_at"]


def test_a_webhooks_deliveries_come_by_page(stack: Stack, registered_: Receiver) -> None:
    record = stack.record()
    topic = stack.loaded["announce"].topic()
    for n in range(4):
        event = record.events[0]
        topic.announce(record, type(event)(sequence=n + 2, type="registered", at=event.at, status="Active"))
    seen: list[str] = []
    query = {"limit": "2"}
    while True:
        _, answer = answered(stack.call("inspect", listing(**query)))
        seen += [each["id"] for each in answer["deliveries"]]
        if answer["cursor"] is None:
            break
        query["cursor"] = answer["cursor"]
    assert seen == [f"{record.generation}-{n}" for n in range(1, 6)]


@pytest.mark.parametrize("spoil", ["zzz", "cut", "of another key", "longer", "past any key"])
def test_a_cursor_that_no_list_of_deliveries_gave_is_a_bad_request(
    stack: Stack, registered_: Receiver, spoil: str
) -> None:
    record = stack.record()
    event = record.events[0]
    topic = stack.loaded["announce"].topic()
    topic.announce(record, type(event)(sequence=12, type="registered", at=event.at, status="Active"))
    cursor = answered(stack.call("inspect", listing(limit="1")))[1]["cursor"]
    past = _placed("svc-7", "x" * 1016)
    spoilt = {"zzz": "zzz", "cut": cursor[:-1], "longer": cursor + "A", "past any key": past}.get(spoil, cursor)
    call = listing(cursor=spoilt)
    if spoil == "of another key":
        call["pathParameters"] = {"blueprint_id": "svc-8"}
    status, answer = answered(stack.call("inspect", call))
    assert (status, answer["error"]["field"]) == (400, "cursor")


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "x"}, {"cursor": ""}, {"cursor": "a b"}, {"state": "dead"}]
)
def test_a_list_of_webhook_deliveries_says_which_parameter_is_wrong(stack: Stack, query: dict[str, str]) -> None:
    status, answer = answered(stack.call("inspect", listing(**query)))
    assert status in (400, 422)
    assert answer["error"]["field"] in query


def test_an_unknown_deployment_has_no_webhook_deliveries_to_list(stack: Stack, registered: Deployment) -> None:
    assert answered(stack.call("inspect", listing())) == (200, {"deliveries": [], "cursor": None})
    event = listing() | {"pathParameters": {"blueprint_id": "nobody"}}
    assert answered(stack.call("inspect", event))[0] == 404


def test_a_record_s_events_are_announced_again_under_their_ids_and_no_webhook_hears_them_twice(stack: Stack) -> None:
    with receiving(answers(200)) as receiver:
        registered(stack, receiver.url)
        assert delivered(stack)
        stack.call("amend", an_event("amend-patch"))
        before = [json.loads(message["Body"])["id"] for message in stack.messages(stack.subscriber)]
        status, answer = answered(stack.call("redeliver", an_event("redeliver-announce")))
        generation = stack.record().generation
        ids = [f"{generation}-{event.sequence}" for event in stack.record().events]
        assert (status, answer) == (200, {"announced": ids})
        assert before == ids[:1]
        assert [json.loads(message["Body"])["id"] for message in stack.messages(stack.subscriber)] == ids
        assert delivered(stack)
        assert len(receiver.heard) == 1


def test_what_the_webhook_never_got_is_sent_when_a_record_is_announced_again(stack: Stack) -> None:
    with receiving(answers(200)) as receiver:
        registered(stack, receiver.url)
        # Lost, as no failure of ours loses it.
        stack.messages(stack.deliveries)
        boto3.client("dynamodb").delete_item(
            TableName=stack.table,
            Key={"blueprint_id": {"S": "svc-7"}, "item": {"S": f"delivery#{kept(stack).id}"}},
        )
        stack.call("redeliver", an_event("redeliver-announce"))
        assert delivered(stack)
        assert len(receiver.heard) == 1


def test_announcing_again_begins_where_it_is_told_to(stack: Stack, registered: Deployment) -> None:
    stack.call("amend", an_event("amend-patch"))
    event = an_event("redeliver-announce") | {"body": json.dumps({"from_sequence": 2})}
    assert answered(stack.call("redeliver", event))[1] == {"announced": [f"{registered.generation}-2"]}


@pytest.mark.parametrize("first", [0, -1, "1", 1.5, True, None])
def test_announcing_again_says_what_is_wrong_with_where_to_begin(
    stack: Stack, registered: Deployment, first: object
) -> None:
    event = an_event("redeliver-announce") | {"body": json.dumps({"from_sequence": first})}
    status, answer = answered(stack.call("redeliver", event))
    assert (status, answer["error"]["field"]) == (400, "from_sequence")


def test_an_unknown_deployment_is_not_announced_again(stack: Stack) -> None:
    assert answered(stack.call("redeliver", an_event("redeliver-announce")))[0] == 404
