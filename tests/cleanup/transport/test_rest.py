"""This is what the errors of REST providers mean that pass by themselves: each in its provider's own form."""

from collections.abc import Callable
from typing import Any

import pytest

from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.providers.azure.arm import ARM
from tracker.cleanup.providers.digitalocean.api import DIGITALOCEAN
from tracker.cleanup.providers.gcp.session import google_api
from tracker.cleanup.providers.vastai.instance import VAST_AI
from tracker.cleanup.providers.vultr.api import VULTR
from tracker.cleanup.transport.credentials import Credential
from tracker.cleanup.transport.rest.client import Client, Endpoint, Response
from tracker.model.settings import Settings

GOOGLE = google_api("gcp-compute", "https://compute.googleapis.com")
# A provider's endpoint, and the body of an error in its form.
PROVIDERS: dict[str, tuple[Endpoint, Callable[[str], Any]]] = {
    "azure": (ARM.endpoint, lambda text: {"error": {"code": "SomeCode", "message": text}}),
    "digitalocean": (DIGITALOCEAN.endpoint, lambda text: {"id": "some_id", "message": text}),
    "gcp": (GOOGLE.endpoint, lambda text: {"error": {"code": 400, "message": text, "status": "SOME_STATUS"}}),
    "vastai": (VAST_AI.endpoint, lambda text: {"success": False, "error": "some_error", "msg": text}),
    "vultr": (VULTR.endpoint, lambda text: {"error": text, "status": 400}),
}
PASSING = [
    "Unable to delete block storage: block storage is currently attached to a server",
    "Unable to destroy server: Unable to remove VM: Server is currently locked",
    "Server is already pending destruction.",
    "The resource is being deleted",
    "The resource group is marked for deletion and can't be changed",
    "Droplet already has a pending event.",
    "another operation is in progress on this resource",
    "the volume is still in use",
    "cluster is currently being upgraded",
    "The resource is not ready",
]


def meaning(provider: str, status: int, text: str, headers: dict[str, str] | None = None) -> Exception:
    """Return what an error of a provider stands for."""
    endpoint, body = PROVIDERS[provider]
    client = Client(endpoint, Credential({}, "none"), Settings())
    return client.error("DELETE", "/things/1", Response(status, body(text), headers or {}))


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("status", [400, 409, 412, 422, 423, 500])
@pytest.mark.parametrize("text", PASSING)
def test_what_passes_by_itself_is_waited_for(provider: str, status: int, text: str) -> None:
    assert isinstance(meaning(provider, status, text), Busy)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("status", [409, 423, 429, 503])
def test_what_says_when_to_come_again_is_waited_for_so_long(provider: str, status: int) -> None:
    found = meaning(provider, status, "come again", {"Retry-After": "37"})
    assert isinstance(found, Busy)
    assert found.retry_after == 37


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failure_that_says_nothing_of_passing_is_an_attempt(provider: str, status: int) -> None:
    assert isinstance(meaning(provider, status, "internal server error"), Unreachable)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("text", ["invalid id", "Invalid instance ID", "the name must be lower case"])
def test_a_request_that_is_wrong_is_a_refusal(provider: str, text: str) -> None:
    assert isinstance(meaning(provider, 400, text), Refused)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_who_may_not_delete_it_is_refused_whatever_it_is_doing(provider: str) -> None:
    assert isinstance(meaning(provider, 403, "forbidden while it is being deleted"), Refused)


@pytest.mark.parametrize(
    "code",
    [
        "ResourceGroupBeingDeleted",
        "InUseSubnetCannotBeDeleted",
        "RetryableError",
        "LoadBalancerInUseByVirtualMachineScaleSet",
    ],
)
def test_what_azure_says_by_a_code_is_waited_for(code: str) -> None:
    client = Client(ARM.endpoint, Credential({}, "none"), Settings())
    body = {"error": {"code": code, "message": "no"}}
    assert isinstance(client.error("DELETE", "/x", Response(400, body, {})), Busy)
