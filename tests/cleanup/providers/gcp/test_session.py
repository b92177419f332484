"""Whose token it is: service accounts' keys and federated credentials, exchanged with a server that checks what it is sent."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest

from tests.cleanup.providers.gcp.server import EMAIL, SECRET, TOKEN, GoogleServer, key_file, key_pair
from tests.fakes import a_deployment
from tests.standin import Fault, Reply, Request, StandIn, route
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.providers.gcp import session
from tracker.model.settings import LocalPlace, Settings

AUDIENCE = "//iam.googleapis.com/projects/1234567890/locations/global/workloadIdentityPools/aws/providers/tracker"
AWS = "urn:ietf:params:aws:token-type:aws4_request"
CONTAINER = session.google_api("gcp-container", "https://container.googleapis.com")


@pytest.fixture
def server() -> Iterator[GoogleServer]:
    with GoogleServer() as found:
        yield found


@pytest.fixture
def token(put_secret: Callable[..., str]) -> Callable[..., str]:
    """The token for a secret of these texts."""

    def fetched(*, name: str = SECRET, **texts: str) -> str:
        put_secret(name, **texts)
        settings = Settings(allowed_secrets=[f"{SECRET}*"])
        text: str = CONTAINER.open({"account": "blueprints-1", "credential": name}, settings).authorization.text
        return text

    return fetched


def test_a_key_is_exchanged_for_a_token(server: GoogleServer, token: Callable[..., str]) -> None:
    assert token(**key_file(server.url)) == TOKEN
    assert server.violations == []


def test_a_key_that_google_does_not_take_is_refused_and_not_told(
    server: GoogleServer, token: Callable[..., str]
) -> None:
    server.valid = False
    with pytest.raises(Refused) as refused:
        token(**key_file(server.url))
    assert refused.value.error_class == "credentials"
    assert str(refused.value) == f"POST 127.0.0.1/token: 400 invalid_grant: Google gives no token for secret {SECRET}"


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (503, {}, Unreachable),
        (302, {"Location": "https://example.org/"}, Unreachable),
        (429, {"Retry-After": "7"}, Busy),
    ],
)
def test_a_token_that_cannot_be_had_now_is_asked_for_once(
    server: GoogleServer, token: Callable[..., str], status: int, headers: dict[str, str], expected: type[Exception]
) -> None:
    reply = Reply(status, {"error": "internal_failure"}, headers)
    with server.failing(Fault("answer", "POST", "/token", reply)), pytest.raises(expected) as raised:
        token(**key_file(server.url))
    assert len(server.calls) == 1
    assert getattr(raised.value, "retry_after", 7.0) == 7.0


def test_an_answer_that_is_no_token_is_unreachable(server: GoogleServer, token: Callable[..., str]) -> None:
    for number, page in enumerate((Reply(200, {"hello": "world"}), Reply(200, b"<html>"))):
        with server.failing(Fault("answer", "POST", "/token", page)), pytest.raises(Unreachable, match="is no token"):
            token(name=f"{SECRET}-{number}", **key_file(server.url))


@pytest.mark.parametrize(
    "leads",
    [
        "https://oauth2.googleapis.com.example.org/token",
        "http://oauth2.googleapis.com/token",
        "https://10.0.0.1/",
        "",
        "file:///etc/passwd",
    ],
)
def test_a_key_goes_to_google_alone(token: Callable[..., str], leads: str) -> None:
    with pytest.raises(Refused, match="token_uri leads to"):
        token(**key_file("") | {"token_uri": leads})


@pytest.mark.parametrize(
    "broken",
    [
        {"private_key": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----"},
        {"client_email": ""},
        {"type": "gdch_service_account"},
    ],
)
def test_what_is_no_key_is_refused_and_not_told(
    server: GoogleServer, token: Callable[..., str], broken: dict[str, str]
) -> None:
    with pytest.raises(Refused) as refused:
        token(**{key: value for key, value in (key_file(server.url) | broken).items() if value})
    assert refused.value.error_class == "credentials"
    assert "c2VjcmV0" not in str(refused.value)
    assert key_pair()[0].splitlines()[1] not in str(refused.value)
    assert server.calls == []


class TokenService(StandIn):
    """Google's Security Token Service, and the service account that is impersonated with what it gives."""

    denies = False

    @route("POST", "/v1/token")
    def exchange(self, request: Request) -> Reply:
        form = {key: values[0] for key, values in parse_qs(request.raw.decode()).items()}
        assert form["audience"] == AUDIENCE
        assert form["subject_token_type"] == AWS
        self.signed: dict[str, Any] = json.loads(unquote(form["subject_token"]))
        kind = "urn:ietf:params:oauth:token-type:access_token"
        return Reply(
            body={"access_token": "federated", "issued_token_type": kind, "token_type": "Bearer", "expires_in": 3600}
        )

    @route("POST", "/v1/projects/-/serviceAccounts/.*:generateAccessToken")
    def impersonate(self, request: Request) -> Reply:
        if request.headers["authorization"] != "Bearer federated" or self.denies:
            text = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource"
            return Reply(403, {"error": {"code": 403, "message": text, "status": "PERMISSION_DENIED"}})
        return Reply(body={"accessToken": TOKEN, "expireTime": "2099-01-01T00:00:00Z"})


def federation(url: str) -> dict[str, str]:
    return {
        "type": "external_account",
        "audience": AUDIENCE,
        "subject_token_type": AWS,
        "token_url": f"{url}/v1/token",
        "service_account_impersonation_url": f"{url}/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken",
    }


def test_a_federated_credential_is_our_own_role(token: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session-token-of-the-role")
    with TokenService() as service:
        assert token(**federation(service.url)) == TOKEN
    headers = {each["key"].lower(): each["value"] for each in service.signed["headers"]}
    assert service.signed["url"].startswith("https://sts.eu-central-1.amazonaws.com?Action=GetCallerIdentity")
    assert headers["x-goog-cloud-target-resource"] == AUDIENCE
    assert headers["x-amz-security-token"] == "session-token-of-the-role"


def test_a_role_that_may_not_impersonate_is_refused(token: Callable[..., str]) -> None:
    with TokenService() as service:
        service.denies = True
        with pytest.raises(Refused, match="403 PERMISSION_DENIED") as refused:
            token(**federation(service.url))
    assert refused.value.error_class == "credentials"


@pytest.mark.parametrize(
    "changed",
    [
        {"token_url": "https://sts.example.org/v1/token"},
        {"service_account_impersonation_url": "https://example.org/x:generateAccessToken"},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"},
        {"audience": ""},
    ],
)
def test_a_federated_credential_leads_nowhere_else(token: Callable[..., str], changed: dict[str, str]) -> None:
    with TokenService() as service:
        texts = {key: value for key, value in (federation(service.url) | changed).items() if value}
        with pytest.raises(Refused) as refused:
            token(**texts)
        assert service.calls == []
    assert refused.value.error_class == "credentials"


def test_the_file_of_googles_own_tools_serves_on_one_machine_alone(
    server: GoogleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key.json"
    file.write_text(json.dumps(key_file(server.url) | {"nested": {"a": 1}}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    place = {"account": "blueprints-1"}
    with pytest.raises(Refused, match="names no secret"):
        CONTAINER.open(place, Settings())
    here = LocalPlace(host="here", boot_id="1")
    assert CONTAINER.open(place, Settings(local_place=here)).authorization.text == TOKEN
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(Refused, match="can't be read: FileNotFoundError"):
        CONTAINER.open(place, Settings(local_place=here))


@pytest.mark.parametrize(
    ("metadata", "error_class"),
    [
        ({"project_id": "blueprints-1", "account": "blueprints-2"}, "bad_id"),
        ({"project_id": "../x"}, "bad_id"),
        ({}, "missing_id"),
    ],
)
def test_a_record_that_does_not_name_one_project_is_refused(metadata: dict[str, str], error_class: str) -> None:
    with pytest.raises(Refused) as refused:
        CONTAINER.place_of(a_deployment(metadata=metadata, region="europe-west1"), Settings())
    assert refused.value.error_class == error_class


def test_the_account_is_the_project() -> None:
    named = a_deployment(metadata={"account": "blueprints-1"}, region="europe-west1")
    assert CONTAINER.place_of(named, Settings()) == {"account": "blueprints-1", "location": "europe-west1"}
    unnamed = a_deployment(metadata={}, region="europe-west1")
    settings = Settings(accounts={"gcp": "blueprints-3"})
    assert CONTAINER.place_of(unnamed, settings)["account"] == "blueprints-3"
