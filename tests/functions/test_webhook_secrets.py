"""This is who may have a deployment's webhook calls signed with which secret, through the handlers that take such a name."""

import json
from typing import Any

import pytest

from tests.fresh import forget_process
from tests.functions.conftest import Stack, an_event, answered, with_body

ROLE = "arn:aws:sts::123456789012:assumed-role"
OURS, SHARED = "deployment-tracker/webhooks/team-1", "deployment-tracker/webhooks/shared/a"
HOOK = "https://93.184.216.34/hook"


@pytest.fixture(autouse=True)
def callers(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = {OURS: f"{ROLE}/team-1/*", "deployment-tracker/webhooks/shared/*": f"{ROLE}/*/*"}
    monkeypatch.setenv("WEBHOOK_SECRET_CALLERS", json.dumps(pairs))
    monkeypatch.setenv("ALLOWED_WEBHOOK_SECRETS", "deployment-tracker/webhooks/**")
    forget_process()


def by(caller: str, event: dict[str, Any]) -> dict[str, Any]:
    return event | {"requestContext": event["requestContext"] | {"identity": {"userArn": caller}}}


def register(stack: Stack, caller: str, secret: str) -> tuple[int, Any]:
    event = with_body(an_event("register-post"), metadata={"webhook_secret": secret}, cleanup_webhook=HOOK)
    return answered(stack.call("register", by(caller, event)))


def amend(stack: Stack, caller: str, **changes: Any) -> tuple[int, Any]:
    return answered(stack.call("amend", by(caller, an_event("amend-patch") | {"body": json.dumps(changes)})))


@pytest.mark.parametrize(("secret", "caller"), [(OURS, "team-1/deployer"), (SHARED, "team-2/deployer")])
def test_a_caller_names_a_secret_that_is_for_it(stack: Stack, secret: str, caller: str) -> None:
    status, body = register(stack, f"{ROLE}/{caller}", secret)
    assert status == 201, body


@pytest.mark.parametrize(
    ("secret", "caller"),
    [
        (OURS, f"{ROLE}/team-2/deployer"),
        (OURS, f"{ROLE}/team-1"),
        (OURS, f"{ROLE}/team-1/a/b"),
        (OURS, "arn:aws:iam::123456789012:user/team-1"),
        (OURS + "-b", f"{ROLE}/team-1/deployer"),
        ("deployment-tracker/webhooks/shared/a/b", f"{ROLE}/team-1/deployer"),
    ],
)
def test_a_secret_that_is_not_for_the_caller_is_refused(stack: Stack, secret: str, caller: str) -> None:
    status, body = register(stack, caller, secret)
    assert (status, body["error"]["field"]) == (422, "metadata.webhook_secret")
    assert stack.records.get("svc-7") is None


def test_an_event_may_name_none_unless_its_source_may(stack: Stack) -> None:
    event = an_event("register-service-initiated")
    message = json.loads(event["Records"][0]["body"])
    message["detail"]["metadata"] = {"webhook_secret": OURS}
    event["Records"][0]["body"] = json.dumps(message)
    stack.call("register", event)
    assert stack.records.get("svc-8") is None


def test_who_may_not_name_the_secret_may_not_lead_its_calls_elsewhere(stack: Stack) -> None:
    register(stack, f"{ROLE}/team-1/deployer", OURS)
    stranger = f"{ROLE}/team-2/deployer"
    for changes in ({"cleanup_webhook": "https://93.184.216.35/mine"}, {"metadata": {"webhook_secret": SHARED + "/x"}}):
        status, body = amend(stack, stranger, **changes)
        assert (status, body["error"]["field"]) == (422, "metadata.webhook_secret")
    assert amend(stack, stranger, ttl_seconds=86_400 * 365)[0] == 200
    assert amend(stack, f"{ROLE}/team-1/other", cleanup_webhook="https://93.184.216.35/ours")[0] == 200
