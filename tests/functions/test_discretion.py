"""At LogLevel=DEBUG no function logs a secret, a webhook's URL, or what a caller keeps in metadata, whatever fails."""

import json
import logging
from contextlib import suppress
from pathlib import Path

import boto3
import pytest

from tests.functions.conftest import ROOT, WEBHOOK_SECRET, Stack, an_event, with_body
from tests.functions.test_deliver import received
from tracker import runtime

EVENTS = sorted(file.stem for file in (ROOT / "events").glob("*.json"))
URL = "https://127.0.0.1:8443/hook?token=canary-of-the-url"
CANARIES = (WEBHOOK_SECRET, "canary-of-the-url", "canary-of-the-metadata")


def verb_of(event: str) -> str:
    return event.partition("-")[0]


def everything(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr()
    return json.dumps([repr(record.__dict__) for record in caplog.records]) + caplog.text + printed.out + printed.err


@pytest.mark.parametrize("broken", ["", "table", "topic", "secret"])
def test_no_function_logs_what_is_secret(
    stack: Stack, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    caplog.set_level(logging.DEBUG)
    register = with_body(
        an_event("register-post"),
        cleanup_webhook=URL,
        webhook_events=["registered"],
        metadata={"note": "canary-of-the-metadata"},
    )
    assert stack.call("register", register)["statusCode"] == 201
    image = stack.image()
    match broken:
        case "table":
            boto3.client("dynamodb").delete_table(TableName=stack.table)
        case "topic":
            for topic in boto3.client("sns").list_topics()["Topics"]:
                boto3.client("sns").delete_topic(TopicArn=topic["TopicArn"])
        case "secret":
            boto3.client("secretsmanager").delete_secret(SecretId="webhooks", ForceDeleteWithoutRecovery=True)
    for name in EVENTS:
        event = register if name == "register-post" else an_event(name)
        if name == "announce-registered":
            event["Records"][0]["dynamodb"]["NewImage"] = image
        with suppress(Exception):
            stack.call(verb_of(name), event)
        with suppress(Exception):
            for message in received(stack):
                stack.call("deliver", {"Records": [message]})
    text = everything(caplog, capsys)
    assert len(text) > 1000
    assert [canary for canary in CANARIES if canary in text] == []


def test_what_logs_whole_requests_is_quiet_at_every_level() -> None:
    logging.getLogger().setLevel(logging.DEBUG)
    for name in runtime.LOUD:
        assert not logging.getLogger(f"{name}.some.module").isEnabledFor(logging.DEBUG), name


def test_every_function_has_what_quiets_them() -> None:
    for file in Path(ROOT / "functions").glob("*/app.py"):
        assert "from tracker.runtime import" in file.read_text(), file
