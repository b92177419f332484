"""This is how Azure Resource Manager is asked: whose token, for how long, and which subscription."""

import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.cleanup.providers.azure.server import CLIENT, CLIENT_SECRET, OTHER, SUBSCRIPTION, TENANT, ArmServer, no_token
from tests.standin import Fault, Reply
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.providers.azure.arm import ARM, MANAGED_IDENTITY
from tracker.model.settings import LocalPlace, Settings

PLACE = {"account": SUBSCRIPTION}
SECRET = {"tenant_id": TENANT, "client_id": CLIENT, "client_secret": CLIENT_SECRET}


@pytest.fixture
def server() -> Iterator[ArmServer]:
    """Azure, with one subscription for the client."""
    with ArmServer() as found:
        yield found
        assert found.violations == []
    found.kubernetes.stop()


@pytest.fixture
def settings(server: ArmServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a stack of one machine, with the client in its environment."""
    for name, value in SECRET.items():
        monkeypatch.setenv(f"AZURE_{name.upper()}", value)
    return of(server)


def of(server: ArmServer, **more: object) -> Settings:
    return Settings(
        base_urls=dict.fromkeys(("azure", "azure-login", "azure-machine"), server.url),
        local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        allowed_secrets=["tracker/*"],
        **more,  # type: ignore[arg-type]
    )


def paths(server: ArmServer) -> list[str]:
    return [call.path for call in server.calls]


TOKENS = f"/{TENANT}/oauth2/v2.0/token"
SUBSCRIPTIONS = f"/subscriptions/{SUBSCRIPTION}"


def test_a_token_is_asked_for_once_and_the_subscription_read_before_anything(
    server: ArmServer, settings: Settings
) -> None:
    for _ in range(3):
        assert ARM.open(PLACE, settings).account == SUBSCRIPTION
    assert paths(server) == [TOKENS, SUBSCRIPTIONS]


def test_a_token_is_not_used_beyond_its_time(server: ArmServer, settings: Settings) -> None:
    server.expires_in = 60
    api = ARM.open(PLACE, settings)
    server.tokens.clear()
    api.get(SUBSCRIPTIONS, **{"api-version": "2022-12-01"})
    assert paths(server) == [TOKENS, SUBSCRIPTIONS, TOKENS, SUBSCRIPTIONS]


def test_a_credential_of_several_subscriptions_is_opened_for_each(server: ArmServer, settings: Settings) -> None:
    assert ARM.open(PLACE, settings).account == SUBSCRIPTION
    server.account = OTHER
    assert ARM.open({"account": OTHER}, settings).account == OTHER


def test_a_subscription_that_may_not_be_read_is_a_refusal(server: ArmServer, settings: Settings) -> None:
    with pytest.raises(Refused, match="SubscriptionNotFound") as refused:
        ARM.open({"account": OTHER}, settings)
    assert refused.value.error_class == "credentials"


def test_a_secret_of_the_record_comes_first(
    server: ArmServer, monkeypatch: pytest.MonkeyPatch, put_secret: Callable[..., str]
) -> None:
    name = put_secret("tracker/azure", **SECRET)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "another one")
    assert ARM.open(PLACE | {"credential": name}, of(server)).account == SUBSCRIPTION


def test_a_machine_of_azure_has_an_identity_of_its_own(server: ArmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = of(server, credentials={"azure": MANAGED_IDENTITY})
    assert ARM.open(PLACE, settings).account == SUBSCRIPTION
    (asked, _) = server.calls
    assert (asked.path, asked.headers["Metadata"]) == ("/metadata/identity/oauth2/token", "true")
    assert "client_id" not in asked.query
    monkeypatch.setenv("AZURE_CLIENT_ID", str(uuid.uuid4()))
    with pytest.raises(Refused, match="Identity not found") as refused:
        ARM.open(PLACE, of(server, credentials={"azure": MANAGED_IDENTITY}))
    assert refused.value.error_class == "credentials"


def test_without_any_credential_nothing_is_asked(server: ArmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRET:
        monkeypatch.delenv(f"AZURE_{name.upper()}", raising=False)
    with pytest.raises(Refused, match="has none for azure"):
        ARM.open(PLACE, of(server))
    assert server.calls == []


def test_a_wrong_secret_is_a_refusal_that_does_not_tell_it(server: ArmServer, settings: Settings) -> None:
    server.valid = False
    with pytest.raises(Refused, match="AADSTS7000215") as refused:
        ARM.open(PLACE, settings)
    assert refused.value.error_class == "credentials"
    assert CLIENT_SECRET not in str(refused.value)


@pytest.mark.parametrize("tenant", ["", "../common", "a/b", "a?b", "a..b"])
def test_a_tenant_that_cannot_be_one_is_a_refusal(
    server: ArmServer, monkeypatch: pytest.MonkeyPatch, settings: Settings, tenant: str
) -> None:
    monkeypatch.setenv("AZURE_TENANT_ID", tenant)
    with pytest.raises(Refused) as refused:
        ARM.open(PLACE, settings)
    assert refused.value.error_class == "credentials"
    assert server.calls == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (no_token(404, "invalid_request", "there is no such path"), Unreachable),
        (no_token(503, "temporarily_unavailable", "later"), Unreachable),
        (no_token(429, "throttled", "later"), Busy),
        (Reply(404, b"<html>"), Unreachable),
        (Reply(200, {"token_type": "Bearer"}), Unreachable),
    ],
)
def test_a_token_that_is_not_to_be_had_says_nothing_of_a_resource(
    server: ArmServer, settings: Settings, answer: Reply, expected: type[Exception]
) -> None:
    with server.failing(Fault("answer", "POST", "", answer)), pytest.raises(expected):
        ARM.open(PLACE, settings)


@pytest.mark.parametrize("provider", ["azure", "azure-login", "azure-machine"])
def test_nothing_is_sent_to_others_without_tls(server: ArmServer, settings: Settings, provider: str) -> None:
    managed = {"azure": MANAGED_IDENTITY} if provider == "azure-machine" else {}
    away = of(server, credentials=managed)
    away.base_urls[provider] = "http://192.0.2.1"
    with pytest.raises(Refused, match="https only") as refused:
        ARM.open(PLACE, away)
    assert refused.value.error_class == "credentials"
    assert server.calls == []
