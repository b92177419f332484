"""Calls: signed as the API checks it, repeated where that is safe, and every failure with its exit code and a sentence."""

import json
import re
from datetime import timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from deployment_tracker import (
    ApiError,
    Client,
    Conflict,
    Denied,
    Invalid,
    NoCredentials,
    NotFound,
    ServerFault,
    Throttled,
    Unreachable,
    Unsupported,
)
from deployment_tracker.keys import encode_key
from tests.client.api import REGION, Api, Fault
from tests.client.conftest import Run
from tracker.model import deployment

GONE = Fault(None)


def fault(status: int, code: str, **headers: str) -> Fault:
    body = {"error": {"code": code, "message": f"It is {code}."}}
    return Fault(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.fixture
def client(api: Api, waits: list[float]) -> Client:
    return Client.connect(url=api.url, region=REGION)


@pytest.mark.parametrize(
    "key", ["svc-1", "a.b_c", "..", "team/svc", "ü ñ", "a+b=c&d", "~x", "%2F", "stray:aws:instance:i-1", "#?"]
)
def test_a_key_of_any_characters_is_found_under_its_one_spelling(api: Api, client: Client, key: str) -> None:
    api.add(key)
    assert client.get(key).blueprint_id == key
    assert encode_key(key) == deployment.encode_key(key)


def test_signatures_hold_with_every_query_and_body(api: Api, client: Client) -> None:
    api.add("svc-1", labels={"team": "a b&c=d/ü~*"})
    assert list(client.deployments(owner="Ann O'Neill + co/ü~*", label="a b=c&d")) == []
    assert api.last.query["owner"] == "Ann O'Neill + co/ü~*"
    assert client.end("svc-1", reason="ü \n\U0001f600").status == "Terminating"


def test_a_session_token_is_sent(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-a-role")
    Client.connect(url=api.url, region=REGION).page()
    assert api.last.headers["x-amz-security-token"] == "of-a-role"
    assert "x-amz-security-token" in api.last.headers["authorization"]


def test_another_key_is_denied(api: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    said = run("ls")
    assert (said.code, "whoami" in said.err) == (4, True)


@pytest.mark.parametrize("kind", [500, 502, 503, 504, 429, None])
def test_what_passes_is_repeated(api: Api, client: Client, waits: list[float], kind: int | None) -> None:
    api.faults = [Fault(kind, {"message": "later"})] * 3
    assert client.page().items == []
    assert (len(api.calls), waits) == (4, [0.5, 1.0, 2.0])


@pytest.mark.parametrize("call", ["get", "amend", "end", "plan", "register", "hold"])
def test_calls_that_do_the_same_again_are_repeated(api: Api, client: Client, call: str) -> None:
    api.add("svc-1")
    api.faults = [GONE, fault(500, "internal")]
    arguments: dict[str, Any] = {"get": {}, "end": {}, "plan": {}, "amend": {"changes": {"region": "eu-central-1"}}}
    if call == "register":
        body = {"blueprint_id": "svc-2", "deployment_type": "LocalDocker", "resource_ids": {"container_id": "c1"}}
        assert client.register(body).is_new
    elif call == "hold":
        assert client.hold("svc-1", reason="x", until=api_time()).hold
    else:
        getattr(client, call)("svc-1", **arguments[call])
    assert len(api.calls) == 3


def api_time() -> Any:
    return deployment.parse_time("2027-01-01T00:00:00Z")


@pytest.mark.parametrize("first", [GONE, fault(500, "internal"), fault(504, "INTEGRATION_TIMEOUT")])
@pytest.mark.parametrize("call", ["extend", "forget", "redeliver"])
def test_calls_that_would_do_more_again_are_not_repeated(api: Api, client: Client, call: str, first: Fault) -> None:
    api.add("svc-1", ttl_seconds=3600)
    api.faults = [first]
    arguments: dict[str, Any] = {"extend": {"by": 60}, "forget": {"reason": "x"}, "redeliver": {"webhook_id": "g-1"}}
    with pytest.raises((Unreachable, ServerFault)) as raised:
        getattr(client, call)("svc-1", **arguments[call])
    assert len(api.calls) == 1
    assert "look before you repeat it" in raised.value.hint


@pytest.mark.parametrize("first", [fault(429, "THROTTLED"), fault(503, "contended")])
def test_what_certainly_did_nothing_is_repeated_always(api: Api, client: Client, first: Fault) -> None:
    api.add("svc-1", ttl_seconds=3600)
    api.faults = [first]
    assert client.extend("svc-1", by=60).extended.after


def test_retry_after_is_waited_for_up_to_a_bound(api: Api, client: Client, waits: list[float]) -> None:
    api.faults = [fault(429, "THROTTLED", Retry_After="7"), fault(503, "x", Retry_After=formatdate(0, usegmt=True))]
    client.page()
    assert waits == [7.0, 1.0]
    api.faults = [fault(429, "THROTTLED", Retry_After="3600")]
    with pytest.raises(Throttled):
        client.page()
    assert len(waits) == 2


def test_tries_have_an_end(api: Api, client: Client, waits: list[float]) -> None:
    api.faults = [fault(500, "internal")] * 9
    with pytest.raises(ServerFault):
        client.page()
    assert (len(api.calls), len(waits)) == (5, 4)


@pytest.mark.parametrize(
    ("status", "code", "kind", "exit_code"),
    [
        (400, "malformed", Invalid, 2),
        (422, "invalid", Invalid, 2),
        (403, "not_yours", Denied, 4),
        (401, "UNAUTHORIZED", Denied, 4),
        (404, "not_found", NotFound, 5),
        (409, "conflict", Conflict, 6),
        (409, "held", Conflict, 6),
        (429, "THROTTLED", Throttled, 1),
        (500, "internal", ServerFault, 1),
        (418, "teapot", ApiError, 1),
    ],
)
def test_each_refusal_has_its_type_and_its_exit_code(
    api: Api, run: Run, client: Client, status: int, code: str, kind: type[ApiError], exit_code: int
) -> None:
    api.faults = [fault(status, code)] * 10
    said = run("show", "svc-1")
    assert (said.code, said.out, said.err.startswith(f"error: It is {code}.")) == (exit_code, "", True)
    with pytest.raises(kind) as raised:
        client.get("svc-1")
    assert (raised.value.code, raised.value.status) == (code, status)


def test_a_call_that_an_older_stack_doesnt_know_says_so(api: Api, run: Run, client: Client) -> None:
    body = {"error": {"code": "not_found", "message": "no such call: POST /deployments/svc-1/extend"}}
    api.faults = [Fault(404, body)] * 2
    said = run("extend", "svc-1", "2h")
    assert (said.code, "Update the stack" in said.err) == (1, True)
    with pytest.raises(Unsupported):
        client.extend("svc-1", by=60)


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'"x"', b"null", b'{"deployments": 7}', b'{"deployments": [7]}', b"{}"]
)
def test_what_isnt_the_apis_json_is_said_to_be(api: Api, run: Run, body: bytes) -> None:
    api.faults = [Fault(200, body)]
    said = run("ls")
    assert (said.code, said.err.startswith("error: http")) == (1, True)


def test_a_wrong_clock_is_said_when_a_signature_is_refused(api: Api, run: Run) -> None:
    api.ahead = timedelta(minutes=20)
    api.faults = [fault(403, "INVALID_SIGNATURE")]
    said = run("ls")
    assert said.code == 4
    assert "19 min behind" in said.err or "20 min behind" in said.err


def test_what_doesnt_listen_is_unreachable(api: Api, run: Run, waits: list[float]) -> None:
    said = run("ls", "--url", "http://127.0.0.1:9/v1")
    assert (said.code, "doesn't answer" in said.err, len(waits)) == (1, True, 4)


def test_without_credentials_it_is_said_how_to_sign_in(api: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    said = run("ls")
    assert (said.code, "aws sso login" in said.err, api.calls) == (4, True, [])
    said = run("ls", "--profile", "nobody")
    assert (said.code, "nobody" in said.err) == (4, True)
    with pytest.raises(NoCredentials):
        Client.connect(url=api.url, region=REGION).page()


@pytest.mark.parametrize("url", ["http://example.org/v1", "ftp://x", "nonsense", "https://"])
def test_credentials_never_go_unencrypted_over_a_network(api: Api, run: Run, url: str) -> None:
    assert run("ls", "--url", url).code == 2


def test_a_fault_of_the_program_is_one_sentence(api: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "page", lambda *_, **__: 1 / 0)
    said = run("ls")
    assert (said.code, len(said.err.splitlines())) == (1, 1)
    assert "ZeroDivisionError" in said.err


def test_a_conflict_has_what_is_in_the_way(api: Api, client: Client) -> None:
    there = api.add("svc-1")
    body = {"blueprint_id": "svc-1", "deployment_type": "LocalDocker", "resource_ids": {"container_id": "c1"}}
    with pytest.raises(Conflict) as raised:
        client.register(body)
    assert raised.value.details["deployment"]["generation"] == there.generation
    assert json.dumps(raised.value.details)


def test_announcements_are_made_again(api: Api, client: Client) -> None:
    api.add("svc-1")
    assert client.announce("svc-1", from_sequence=3) == [f"{api.records['svc-1'].generation}-3"]


def test_the_python_of_the_page_runs(api: Api, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "cli.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    monkeypatch.setattr(Client, "connect", lambda *_, **__: client)
    api.add("svc-1")
    exec(code, {})
    assert api.records["svc-1"].cleanup.reason == "the contract ended"
