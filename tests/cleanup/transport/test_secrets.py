"""Secrets that a record names."""

from collections.abc import Callable

import boto3
import pytest
from pytest_httpserver import HTTPServer

from tests.real_targets import free_port
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.transport import credentials, secrets
from tracker.model.settings import Settings

ALLOWED = Settings(allowed_secrets=["ours/**", "arn:aws:secretsmanager:eu-west-1:1:secret:ours/**"])


def test_a_secret_is_read_whole(put_secret: Callable[..., str]) -> None:
    name = put_secret("ours/ssh", private_key="p", host_key="h", other="o")
    assert secrets.read(name, ALLOWED, "ssh", "private_key", "host_key") == {
        "private_key": "p",
        "host_key": "h",
        "other": "o",
    }


def test_a_secret_that_is_not_allowed_is_never_asked_for(put_secret: Callable[..., str]) -> None:
    with pytest.raises(Refused, match="isn't among the allowed") as refusal:
        secrets.read(put_secret("theirs/key", k="v"), ALLOWED, "ssh")
    assert refusal.value.error_class == "credentials"


def test_a_missing_secret_is_a_refusal(put_secret: Callable[..., str]) -> None:
    with pytest.raises(Refused, match="ResourceNotFound") as refusal:
        secrets.read("ours/none", ALLOWED, "ssh")
    assert refusal.value.error_class == "credentials"


@pytest.mark.parametrize("missing", [{}, {"cert": ""}])
def test_a_secret_that_lacks_a_key_says_which(put_secret: Callable[..., str], missing: dict[str, str]) -> None:
    with pytest.raises(Refused, match=r"lacks cert$"):
        secrets.read(put_secret("ours/docker/tls", ca="c", **missing), ALLOWED, "docker", "ca", "cert")


@pytest.mark.parametrize("text", ["hunter2", '"hunter2"', '["hunter2"]', '{"key": {"hunter2": 2}}', '{"hunter2": 2}'])
def test_a_secret_that_is_no_object_of_texts_is_refused_and_never_shown(
    put_secret: Callable[..., str], text: str
) -> None:
    put_secret("ours/first")
    boto3.client("secretsmanager").create_secret(Name="ours/broken", SecretString=text)
    with pytest.raises(Refused, match="isn't a JSON object") as refusal:
        secrets.read("ours/broken", ALLOWED, "ssh")
    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ours/vultr", {}),
        ("ours/vultr/team-1", {}),
        ("ours/eu/vultr/team-1", {}),
        ("ours/token", {"provider": "vultr"}),
        # What it says itself counts more than its name.
        ("ours/digitalocean", {"provider": "vultr"}),
    ],
)
def test_a_secret_is_read_for_the_provider_that_it_is_kept_for(
    put_secret: Callable[..., str], name: str, content: dict[str, str]
) -> None:
    assert secrets.read(put_secret(name, token="t", **content), ALLOWED, "vultr", "token")["token"] == "t"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ours/digitalocean", {}),
        ("ours/token", {}),
        ("ours/vultr-2", {}),
        ("ours/Vultr", {}),
        ("ours/vultr", {"provider": "digitalocean"}),
        ("ours/webhooks/vultr", {"provider": "vultr"}),
        ("ours/vultr/webhooks/x", {"provider": "vultr"}),
    ],
)
def test_a_secret_is_read_for_no_other_provider(
    put_secret: Callable[..., str], name: str, content: dict[str, str]
) -> None:
    with pytest.raises(Refused, match=r"isn.t kept for vultr|is no credential") as refusal:
        secrets.read(put_secret(name, token="hunter2", **content), ALLOWED, "vultr", "token")
    assert refusal.value.error_class == "credentials"
    assert "hunter2" not in str(refusal.value)


def test_an_arn_is_taken_as_the_name_in_it(put_secret: Callable[..., str]) -> None:
    put_secret("first")
    arn = boto3.client("secretsmanager").create_secret(Name="ours/vultr", SecretString='{"token": "t"}')["ARN"]
    allowed = Settings(allowed_secrets=[arn.rpartition("-")[0] + "*"])
    assert secrets.read(arn, allowed, "vultr", "token") == {"token": "t"}
    with pytest.raises(Refused, match="isn't kept for hetzner"):
        secrets.read(arn, allowed, "hetzner", "token")


def test_a_setting_s_own_secret_needs_no_pattern(put_secret: Callable[..., str]) -> None:
    settings = Settings(credentials={"vultr": put_secret("any/name", token="t")})
    assert credentials.find("vultr", "", settings, "token", variables={}).texts == {"token": "t"}


def test_a_service_that_is_not_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unreachable):
        secrets.read("ours/key", ALLOWED, "ssh")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [(400, "ThrottlingException", Busy), (500, "InternalServiceError", Unreachable), (400, "AccessDenied", Refused)],
)
def test_an_error_of_the_service_is_told_apart(
    httpserver: HTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: str,
    expected: type[Exception],
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", httpserver.url_for(""))
    httpserver.expect_request("/").respond_with_json({"__type": code, "message": "no"}, status=status)
    with pytest.raises(expected, match=code):
        secrets.read("ours/key", ALLOWED, "ssh")
