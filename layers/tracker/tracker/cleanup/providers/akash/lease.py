"""AkashLease: a deployment on Akash with all its leases, closed by its dseq through the Console's API.

Leases end with their deployment. A closed deployment stays readable, and that it is closed is what proves its end.
"""

from typing import Any, ClassVar

import msgspec

from tracker.cleanup.core.contract import OperatorNotes, Progress, ResourceKind
from tracker.cleanup.transport.rest.client import Endpoint, ErrorRule, KeyHeader, listed
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

_WALLETS = "/v1/wallets"
# The states of a lease that don't change any more (akash-network/chain-sdk, market v1, Lease.State).
_ENDED = ("closed", "insufficient_funds")


def _identify_account(api: Api) -> str:
    """Return the address of the wallet that the key's user signs with: it owns the deployments."""
    user = str(api.get("/v1/user/me")["data"]["id"])
    addresses = [str(each["address"]) for each in listed(api.get(_WALLETS, userId=user), "data", _WALLETS)]
    return api.expected_account if api.expected_account in addresses else addresses[0]


AKASH = Provider(
    name="akash",
    endpoint=Endpoint(
        name="akash",
        base_url="https://console-api.akash.network",
        error_text=lambda body: f"{body['error']}: {body['message']}",
        error_rules=(
            ErrorRule(404, "deployment not found", "gone"),
            # A wallet or a route that isn't found says nothing of the deployment.
            ErrorRule(404, "", "unreachable"),
            # It was closed meanwhile, which the next read shows; or its escrow can be settled only with a later block.
            ErrorRule(400, "deployment closed|cannot be settled yet", "busy"),
            ErrorRule(400, "insufficient funds|trial expired", "credentials"),
        ),
    ),
    authorize=lambda _api, credential: KeyHeader("x-api-key", credential.texts["token"]),
    identify_account=_identify_account,
    variables={"token": ("AKASH_CONSOLE_API_KEY",)},
    account_key="owner",
)


class Lease(RestKind):
    """A deployment. The id of a record is its dseq, or a lease's dseq/gseq/oseq."""

    provider: ClassVar = AKASH
    noun, path, envelope = "deployment", "/v1/deployments/{id}", "data"

    def path_of(self, resource: Resource, path: str = "") -> str:
        """Return the path by the dseq alone."""
        return super().path_of(msgspec.structs.replace(resource, id=resource.id.partition("/")[0]), path)

    def progress(self, body: Any) -> tuple[Progress, str]:
        """Return "gone" once it is closed and all of its leases have ended. One without funds is present."""
        state = str(body["deployment"]["state"])
        left = sum(each.get("state") not in _ENDED for each in body.get("leases") or [])
        if state != "closed":
            return "present", f"{state}, {left} leases that haven't ended"
        return ("leaving", f"closed, {left} leases haven't ended yet") if left else ("gone", "terminated (closed)")

    def failure_in(self, answer: dict[str, Any]) -> str:
        """Return that it isn't closed, unless the answer says that it is."""
        data = answer.get("data")
        return "" if isinstance(data, dict) and data.get("success") is True else "not a success"


_KINDS: dict[str, RestKind] = {"akash:deployment": Lease()}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
_STAGES = {"akash:deployment": 0}

NOTES = OperatorNotes(
    credentials="An API key of the Console: secret key `token`; on one machine AKASH_CONSOLE_API_KEY (the vendor documents no name).",
    permissions=("the key's user: its managed wallet owns the deployments",),
    order=("the deployment, with all its leases",),
    gone=(
        "The state `closed`, and of its leases too (or `insufficient_funds`); or 404 `Deployment not found`. The address of the key's wallet was asked for "
        "before: that is the `account`, and so is metadata `owner`."
    ),
    duration="A few blocks: half a minute.",
    limits=(
        "Nothing that the chain keeps of a deployment is a name or a tag: nothing is found by a mark. Only deployments of the Console's managed wallets: one that a wallet of your own signed for is refused, since the key isn't its "
        "owner's. Persistent storage ends with the lease."
    ),
    sources="akash-network/console, commit d84c9e9 (2026-08-22): its OpenAPI document, the services that read and close, its error handler.",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return the deployment that the record names, in the account of its owner."""
    return discover_with_dependents(deployment, settings, _KINDS, _STAGES)
