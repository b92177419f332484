"""`tracker verify-webhook`: what the tracker signs is taken, and nothing else."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from standardwebhooks import Webhook

from tests.client.api import Api
from tests.client.conftest import Run
from tracker.model.delivery import Delivery
from tracker.notify.deliveries import keys_of, signed

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
BODY = '{"type": "deployment.cleanup_succeeded", "data": "ü"}'


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("TRACKER_WEBHOOK_SECRET", SECRET)
    with time_machine.travel(NOW, tick=False):
        yield


def headers(secret: dict[str, str], at: datetime = NOW) -> list[str]:
    delivery = Delivery(
        blueprint_id="svc-1", id="g-7", url="https://x.example", body=BODY, created_at="2026-12-01T12:00:00Z"
    )
    found = signed(delivery, keys_of(secret), at)
    return [part for name, value in found.items() for part in ("-H", f"{name}: {value}")]


def test_what_the_tracker_signs_is_taken(run: Run, tmp_path: Path) -> None:
    said = run("verify-webhook", *headers({"current": SECRET}), input=BODY)
    assert (said.code, said.out) == (0, "g-7 was sent by the tracker.\n")
    (tmp_path / "body").write_text(BODY)
    said = run("verify-webhook", str(tmp_path / "body"), *headers({"current": SECRET}), "--json")
    assert json.loads(said.out) == {"webhook_id": "g-7", "is_valid": True}


def test_while_secrets_change_both_are_taken(run: Run, tmp_path: Path) -> None:
    both = {"current": OTHER, "previous": SECRET}
    assert run("verify-webhook", *headers(both), input=BODY).code == 0
    (tmp_path / "secret").write_text(json.dumps({"current": SECRET, "previous": OTHER}))
    file = ("--secret-file", str(tmp_path / "secret"))
    assert run("verify-webhook", *file, *headers({"current": OTHER}), input=BODY).code == 0


def test_what_another_library_signs_is_taken(run: Run, tmp_path: Path) -> None:
    signature = Webhook(SECRET).sign("g-8", NOW, BODY)
    text = (
        f"Host: x\nWebhook-Id: g-8\nWEBHOOK-TIMESTAMP: {int(NOW.timestamp())}\nwebhook-signature: v1a,x {signature}\n"
    )
    (tmp_path / "headers").write_text(text)
    assert run("verify-webhook", "--headers-file", str(tmp_path / "headers"), input=BODY).code == 0


@pytest.mark.parametrize("age", [301, -301])
def test_an_old_signature_is_no_proof(run: Run, age: int) -> None:
    old = headers({"current": SECRET}, NOW - timedelta(seconds=age))
    said = run("verify-webhook", *old, input=BODY)
    assert (said.code, "--tolerance" in said.err) == (1, True)
    assert run("verify-webhook", *old, "--tolerance", "6m", input=BODY).code == 0


def test_another_body_or_secret_or_none_is_no_proof(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given = headers({"current": SECRET})
    assert run("verify-webhook", *given, input=BODY + " ").code == 1
    assert run("verify-webhook", *given[:4], input=BODY).code == 1
    name, _, signature = given[5].partition(": v1,")
    for wrong in (signature[:-2] + "A=", signature[:8], "", f"{signature} x"[-3:]):
        assert run("verify-webhook", *given[:5], f"{name}: v1,{wrong}", input=BODY).code == 1
    assert run("verify-webhook", *headers({"current": OTHER}), input=BODY).code == 1
    for secret in ("", "short", "whsec_***", "{}", '{"current": 7}', "{"):
        monkeypatch.setenv("TRACKER_WEBHOOK_SECRET", secret)
        said = run("verify-webhook", *given, input=BODY)
        assert said.code == 2, secret
        assert len(secret) < 3 or secret not in said.err


def test_it_calls_nobody(api: Api, run: Run) -> None:
    run("verify-webhook", *headers({"current": SECRET}), input=BODY)
    assert api.calls == []
