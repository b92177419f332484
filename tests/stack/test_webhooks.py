"""The whole path to a webhook on a stack: record, stream, topic, queue, signature, receiver, and back from the dead."""

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from standardwebhooks import Webhook

from local.api import path_of
from local.processes import PATIENCE
from local.replay import replay
from local.stack import Stack
from tests.receivers import Heard, Receiver, answers, late, receiving, silent
from tests.stack.caller import Caller, Record, Topic


def until[T](what: Callable[[], T], seconds: float = PATIENCE) -> T:
    """It, once it is something."""
    deadline = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < deadline
        time.sleep(0.2)


def secret_of(stack: Stack) -> str:
    answer = stack.client("secretsmanager").get_secret_value(SecretId=stack.outputs["WebhookSecretArn"])
    return str(json.loads(answer["SecretString"])["current"])


def verified(stack: Stack, heard: Heard) -> Record:
    """Return what was posted, if the stack signed it."""
    body: Record = Webhook(f"whsec_{secret_of(stack)}").verify(heard.body, heard.headers)
    return body


def deliveries(caller: Caller, key: str) -> list[Record]:
    found: list[Record] = caller.call("GET", key, "deliveries")["deliveries"]
    return found


def in_state(caller: Caller, key: str, state: str) -> Callable[[], list[Record]]:
    """The deliveries under a key, if there are any and all are so."""

    def look() -> list[Record]:
        found = deliveries(caller, key)
        return found if found and all(each["state"] == state for each in found) else []

    return look


@contextmanager
def gaps(stack: Stack, text: str) -> Iterator[None]:
    """The sender tries at these gaps meanwhile."""
    functions, name = stack.client("lambda"), stack.outputs["DeliverFunctionName"]
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]

    def put(value: str) -> None:
        functions.update_function_configuration(
            FunctionName=name, Environment={"Variables": {**variables, "WEBHOOK_GAPS": value}}
        )

    put(text)
    yield
    put(variables["WEBHOOK_GAPS"])


def test_the_outcome_reaches_the_webhook_signed_and_nothing_else_does(stack: Stack, caller: Caller, key: str) -> None:
    with receiving(answers(200)) as receiver:
        record = caller.register(key, cleanup_webhook=receiver.url)
        caller.call("DELETE", key, expected=202)
        caller.terminated(key)
        (heard,) = until(lambda: receiver.heard)
        (delivery,) = until(in_state(caller, key, "delivered"))
        body = verified(stack, heard)
        assert (body["type"], body["blueprint_id"]) == ("deployment.cleanup_succeeded", key)
        assert (body["event"], body["status"]) == ("cleanup", "success")
        assert body["data"]["generation"] == record["generation"]
        assert body["data"]["counts"] == {"gone": 1}
        assert heard.headers["webhook-id"] == delivery["id"]
        assert [attempt["status"] for attempt in delivery["attempts"]] == [200]
        time.sleep(1)
        assert len(receiver.heard) == 1


def test_a_webhook_that_fails_twice_gets_its_delivery_by_itself(stack: Stack, caller: Caller, key: str) -> None:
    with gaps(stack, "1,1"), receiving(answers(500), answers(429, Retry_After="2"), answers(204)) as receiver:
        caller.register(key, cleanup_webhook=receiver.url, webhook_events=["registered"])
        (delivery,) = until(in_state(caller, key, "delivered"))
    assert [attempt["status"] for attempt in delivery["attempts"]] == [500, 429, 204]
    first, second, third = receiver.heard
    assert second.at - first.at >= 1
    assert third.at - second.at >= 2
    assert first.body == second.body == third.body
    assert len({heard.headers["webhook-id"] for heard in receiver.heard}) == 1
    for heard in receiver.heard:
        verified(stack, heard)


def test_a_webhook_given_up_is_a_dead_letter_and_replayed_from_there(stack: Stack, caller: Caller, key: str) -> None:
    with gaps(stack, "1"), receiving(answers(500), answers(500), answers(200)) as receiver:
        caller.register(key, cleanup_webhook=receiver.url, webhook_events=["registered"])
        until(in_state(caller, key, "dead"))
        queues = stack.outputs["UndeliveredQueueUrl"], stack.outputs["DeliveriesQueueUrl"]
        reasons = until(lambda: replay(stack.client("sqs"), *queues))
        assert "answered 500" in reasons
        (delivery,) = until(in_state(caller, key, "delivered"))
    assert delivery["series"] == 2
    assert len({heard.body for heard in receiver.heard}) == 1


def test_a_webhook_that_is_gone_is_called_no_more_until_someone_asks(stack: Stack, caller: Caller, key: str) -> None:
    with receiving(answers(410), answers(200)) as receiver:
        caller.register(key, cleanup_webhook=receiver.url, webhook_events=["registered"])
        (delivery,) = until(in_state(caller, key, "stopped"))
        caller.call("POST", key, "deliveries", delivery["id"], "redeliver", expected=202)
        until(in_state(caller, key, "delivered"))
        assert len(receiver.heard) == 2


def test_a_slow_webhook_delays_nobody_elses(caller: Caller, key: str) -> None:
    def wants(name: str, url: str) -> None:
        caller.register(f"{key}-{name}", cleanup_webhook=url, webhook_events=["registered"])

    with receiving(late(4, answers(200))) as warming:
        # So that what is waited for below is no worker's start.
        for n in range(4):
            wants(f"warm-{n}", warming.url)
        until(lambda: len(warming.heard) == 4)
        for n in range(4):
            until(in_state(caller, f"{key}-warm-{n}", "delivered"))

    def quick_overtakes(nth: int) -> bool:
        with receiving(silent) as slow, receiving(answers(200)) as quick:
            for n in range(3):
                wants(f"slow-{nth}-{n}", slow.url)
            until(lambda: len(slow.heard) == 3)
            wants(f"quick-{nth}", quick.url)
            until(lambda: quick.heard)
            return not any(each["attempts"] for n in range(3) for each in deliveries(caller, f"{key}-slow-{nth}-{n}"))

    # A busy machine may give the slow ones up before the quick one is even registered, but not always.
    assert any(quick_overtakes(nth) for nth in range(5))


def test_a_silent_webhook_is_given_up_after_fifteen_seconds(stack: Stack, caller: Caller, key: str) -> None:
    with receiving(silent) as receiver:
        caller.register(key, cleanup_webhook=receiver.url, webhook_events=["registered"])
        (attempt,) = until(lambda: [a for each in deliveries(caller, key) for a in each["attempts"]])
    assert attempt["error"] == "no answer in time"
    # No later than the function itself has time, which a busy machine may take.
    assert 14.5 < attempt["seconds"] < 60


def test_while_the_stacks_webhook_secret_changes_both_verify(stack: Stack, caller: Caller, key: str) -> None:
    secrets, name = stack.client("secretsmanager"), stack.outputs["WebhookSecretArn"]
    before = secret_of(stack)
    secrets.put_secret_value(SecretId=name, SecretString=json.dumps({"current": "B" * 48, "previous": before}))
    try:
        with receiving(answers(200)) as receiver:
            caller.register(key, cleanup_webhook=receiver.url, webhook_events=["registered"])
            (heard,) = until(lambda: receiver.heard)
    finally:
        secrets.put_secret_value(SecretId=name, SecretString=json.dumps({"current": before}))
    for secret in (before, "B" * 48):
        Webhook(f"whsec_{secret}").verify(heard.body, heard.headers)


def test_a_deployments_own_webhook_secret_signs_its_own_alone(stack: Stack, caller: Caller, key: str) -> None:
    name = f"deployment-tracker/webhooks/{key}"
    stack.client("secretsmanager").create_secret(Name=name, SecretString=json.dumps({"current": "C" * 48}))
    with receiving(answers(200)) as receiver:
        more: dict[str, Any] = {"webhook_events": ["registered"], "metadata": {"webhook_secret": name}}
        caller.register(key, cleanup_webhook=receiver.url, **more)
        (heard,) = until(lambda: receiver.heard)
    Webhook("whsec_" + "C" * 48).verify(heard.body, heard.headers)


@pytest.mark.parametrize("name", ["deployment-tracker/ssh", "payroll/webhooks/x"])
def test_a_webhook_is_signed_with_no_secret_of_another_kind(caller: Caller, key: str, name: str) -> None:
    wanted = caller.wanted(key, metadata={"webhook_secret": name})
    status, answer = caller.ask("POST", "/deployments", wanted)
    assert (status, answer["error"]["field"]) == (422, "metadata.webhook_secret")


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:127.0.0.1]/x",
        "https://2130706433/x",
        "https://metadata.google.internal/",
        "http://hooks.example.org/x",
        "https://user:word@hooks.example.org/x",
        "https://hooks.example.org:25/x",
        "file:///etc/passwd",
    ],
)
def test_a_hostile_webhook_url_is_refused_before_anything_is_stored(caller: Caller, key: str, url: str) -> None:
    status, answer = caller.ask("POST", "/deployments", caller.wanted(key, cleanup_webhook=url))
    assert (status, answer["error"]["field"]) == (422, "cleanup_webhook")
    assert caller.ask("GET", path_of(key)).status == 404


def test_a_record_is_announced_again_under_the_same_ids_and_its_webhook_hears_it_once(
    stack: Stack, caller: Caller, topic: Topic, key: str
) -> None:
    with receiving(answers(200)) as receiver:
        record = caller.register(key, cleanup_webhook=receiver.url, webhook_events=["registered"])
        (first,) = topic.of(record["generation"], 1)
        until(in_state(caller, key, "delivered"))
        assert caller.call("POST", key, "announce") == {"announced": [first["id"]]}
        time.sleep(3)
        assert len(receiver.heard) == 1


def test_an_http_subscriber_of_the_topic_confirms_and_hears_what_its_filter_lets_through(
    stack: Stack, caller: Caller, key: str
) -> None:
    """As docs/webhooks.md shows it, on loopback."""
    with receiving(answers(200)) as subscriber:
        sns, arn = stack.client("sns"), stack.outputs["TopicArn"]
        policy = json.dumps({"event": ["registered"], "blueprint_id": [{"prefix": key}]})
        attributes = {"FilterPolicy": policy, "RawMessageDelivery": "true"}
        sns.subscribe(TopicArn=arn, Protocol="http", Endpoint=subscriber.url, Attributes=attributes)
        (asked,) = until(lambda: subscriber.heard)
        confirmation = json.loads(asked.body)
        assert confirmation["Type"] == "SubscriptionConfirmation"
        answer = sns.confirm_subscription(TopicArn=arn, Token=confirmation["Token"])
        record = caller.register(key)
        caller.call("DELETE", key, expected=202)
        caller.terminated(key)
        heard = until(lambda: subscriber.heard[1:])
        assert [json.loads(each.body)["id"] for each in heard] == [f"{record['generation']}-1"]
        sns.unsubscribe(SubscriptionArn=answer["SubscriptionArn"])


SUBSCRIBER = """
import boto3, json, os
def handler(event, context):
    for record in event["Records"]:
        boto3.client("sqs").send_message(QueueUrl=os.environ["HEARD"], MessageBody=record["Sns"]["Message"])
"""


def test_a_function_that_subscribes_is_invoked_with_what_its_filter_lets_through(
    stack: Stack, caller: Caller, key: str
) -> None:
    """As docs/webhooks.md shows it."""
    sqs, sns, functions, arn = (
        stack.client("sqs"),
        stack.client("sns"),
        stack.client("lambda"),
        stack.outputs["TopicArn"],
    )
    queue = sqs.create_queue(QueueName=f"heard-{key}")["QueueUrl"]
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("subscriber.py", SUBSCRIBER)
    trusted = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    allowed = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}
    iam = stack.client("iam")
    role = iam.create_role(RoleName=key, AssumeRolePolicyDocument=policy(trusted))["Role"]["Arn"]
    iam.put_role_policy(RoleName=key, PolicyName="send", PolicyDocument=policy(allowed))
    function = functions.create_function(
        FunctionName=key,
        Role=role,
        Runtime="python3.13",
        Handler="subscriber.handler",
        Timeout=30,
        Code={"ZipFile": code.getvalue()},
        Environment={"Variables": {"HEARD": queue}},
    )["FunctionArn"]
    functions.add_permission(
        FunctionName=key,
        StatementId="tracker",
        Action="lambda:InvokeFunction",
        Principal="sns.amazonaws.com",
        SourceArn=arn,
    )
    wanted = json.dumps({"event": ["cleanup_succeeded"], "blueprint_id": [{"prefix": key[:12]}]})
    found = sns.subscribe(TopicArn=arn, Protocol="lambda", Endpoint=function, Attributes={"FilterPolicy": wanted})
    caller.register(key)
    caller.call("DELETE", key, expected=202)
    caller.terminated(key)
    messages = until(lambda: sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"))
    assert [json.loads(message["Body"])["type"] for message in messages] == ["deployment.cleanup_succeeded"]
    sns.unsubscribe(SubscriptionArn=found["SubscriptionArn"])


def policy(statement: Record) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_an_e_mail_address_may_subscribe_with_a_filter_beside_the_webhooks(stack: Stack) -> None:
    """As docs/webhooks.md shows it."""
    sns, arn = stack.client("sns"), stack.outputs["TopicArn"]
    wanted = json.dumps({"event": ["quarantined"]})
    found = sns.subscribe(
        TopicArn=arn, Protocol="email", Endpoint="ops@example.org", Attributes={"FilterPolicy": wanted}
    )
    kept = sns.get_subscription_attributes(SubscriptionArn=found["SubscriptionArn"])["Attributes"]
    assert json.loads(kept["FilterPolicy"]) == {"event": ["quarantined"]}
    sns.unsubscribe(SubscriptionArn=found["SubscriptionArn"])


def test_a_late_webhook_is_delivered_within_its_time(caller: Caller, key: str) -> None:
    with receiving(late(3, answers(200))) as receiver:
        caller.register(key, cleanup_webhook=receiver.url, webhook_events=["registered"])
        (delivery,) = until(in_state(caller, key, "delivered"))
    assert delivery["attempts"][0]["seconds"] >= 3


def test_a_webhook_where_nobody_listens_says_so(caller: Caller, key: str) -> None:
    url = closed().url
    caller.register(key, cleanup_webhook=url, webhook_events=["registered"])
    (attempt,) = until(lambda: [a for each in deliveries(caller, key) for a in each["attempts"]])
    assert attempt["error"] == "no connection: Connection refused"


def closed() -> Receiver:
    with receiving(answers(200)) as receiver:
        return receiver
