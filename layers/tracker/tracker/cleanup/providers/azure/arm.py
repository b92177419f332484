"""Azure Resource Manager: which credential it is called with, what its errors mean, and how a resource of it is deleted.

Used by the files of the types. A deletion is accepted (202) long before it is done. The operation's URL tells of its progress, but that is
signed, long and soon forgotten. So the resource itself is read, its `provisioningState`, until it isn't found; the operation is read
once, for what fails at once.

Sources: azure-mgmt-compute 39.0.0, -network 33.1.0, -containerservice 41.8.0, -resource 26.0.0 and azure-identity 1.27.0; Microsoft
Learn, "Track asynchronous Azure operations"; the error codes: issues of terraform-provider-azurerm, bosh-azure-cpi-release and
karpenter-provider-azure, which disagree on the statuses. So the code of an error counts, never its status alone.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import requests
from msgspec.structs import replace
from requests.auth import AuthBase

from tracker.cleanup.core.contract import Observation, Progress, Refused
from tracker.cleanup.transport.credentials import Credential
from tracker.cleanup.transport.rest.client import METADATA_SERVICE, WHILE_BUSY, Client, Endpoint, ErrorRule
from tracker.cleanup.transport.rest.kind import RestKind
from tracker.cleanup.transport.rest.listing import Listing
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.catalogue import Entry, entry
from tracker.model.deployment import Deployment, Resource, clipped, ids_named
from tracker.model.marks import mark_in_tags
from tracker.model.settings import Settings

# The API versions of the SDKs named above.
COMPUTE_VERSION = "2026-04-01"
DISKS_VERSION = "2026-03-02"
NETWORK_VERSION = "2026-03-01"
CONTAINERS_VERSION = "2026-08-01"
GROUPS_VERSION = "2025-04-01"
SUBSCRIPTIONS_VERSION = "2022-12-01"
METADATA_VERSION = "2018-02-01"

_SUBSCRIPTION = entry("AzureVm").metadata["subscription_id"]
_TENANT = r"[A-Za-z0-9](?:[A-Za-z0-9-]|\.(?!\.)){0,252}"

# The value of `settings.credentials["azure"]` on a stack that runs on a machine of Azure with an identity.
MANAGED_IDENTITY = "managed-identity"
RESOURCE = "https://management.azure.com"
# Seconds before its end from which on a token isn't used any more.
TOKEN_SPARE = 60.0
# NicReservedForAnotherVm says: for 180 seconds.
RESERVED_FOR = 180.0
DETAIL_MAX = 300

_BUSY_CODES = (
    "NicInUse|PublicIPAddressCannotBeDeleted|InUseNetworkSecurityGroupCannotBeDeleted|AnotherOperationInProgress"
    # A disk that is attached; a cluster, or a machine, that something else is being done to.
    "|OperationNotAllowed|OperationPreempted|AttachDiskWhileBeingDetached|EtagMismatch|PreconditionFailed"
    r"|RetryableError|\w*InUse\w*|\w*BeingDeleted|CanceledAndSupersededDueToAnotherOperation"
)


class EntraToken(AuthBase):
    """Sign requests with a token of Microsoft Entra, requested when one is needed, and again before it expires."""

    def __init__(self, credential: Credential, request_token: Callable[[], Any]) -> None:
        self._credential = credential
        self._request_token = request_token
        self._token = ""
        self._until = 0.0

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if not self._token or time.monotonic() >= self._until:
            granted = self._request_token()
            self._token = str(granted["access_token"])
            self._until = time.monotonic() + float(granted["expires_in"]) - TOKEN_SPARE
            # It is as secret as the credential that it was requested with.
            self._credential.texts["access_token"] = self._token
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _error_text(body: Any) -> str:
    return f"{body['error']['code']}: {body['error']['message']}"


def _token_error_text(body: Any) -> str:
    return f"{body['error']}: {body['error_description']}"


_TOKEN_ERROR_RULES = (
    ErrorRule(400, "", "credentials"),
    # That a token endpoint isn't found says nothing of a resource.
    ErrorRule(404, "", "unreachable"),
    ErrorRule(410, "", "unreachable"),
)
LOGIN = Endpoint(
    name="azure-login",
    base_url="https://login.microsoftonline.com",
    error_text=_token_error_text,
    error_rules=_TOKEN_ERROR_RULES,
)
INSTANCE_METADATA = Endpoint(
    name="azure-machine",
    base_url=f"http://{METADATA_SERVICE}",
    error_text=_token_error_text,
    error_rules=_TOKEN_ERROR_RULES,
    headers={"Metadata": "true"},
)


def _authorize(api: Api, credential: Credential) -> AuthBase:
    texts = dict(credential.texts)
    if not texts:
        machine = Client(INSTANCE_METADATA, credential, api.settings)
        query = {"api-version": METADATA_VERSION, "resource": RESOURCE}
        # A user-assigned identity is named by its client id; without one it is the machine's own.
        client = api.settings.fallback_env("AZURE_CLIENT_ID")
        query |= {"client_id": client} if client else {}
        return EntraToken(credential, lambda: machine.get("/metadata/identity/oauth2/token", **query))
    tenant = texts["tenant_id"]
    if not re.fullmatch(_TENANT, tenant, re.ASCII):
        raise Refused("credentials", f"{credential.source}: tenant_id is neither an id nor a domain")
    login = Client(LOGIN, credential, api.settings)
    form = {
        "grant_type": "client_credentials",
        "client_id": texts["client_id"],
        "client_secret": texts["client_secret"],
        "scope": f"{RESOURCE}/.default",
    }
    return EntraToken(credential, lambda: login.call("POST", f"/{tenant}/oauth2/v2.0/token", data=form).body)


def _identify_account(api: Api) -> str:
    """Return the expected subscription, if the credential may read it: a credential may be for several."""
    if not api.expected_account:
        raise Refused("missing_id", "neither the record nor a setting names a subscription")
    path = f"/subscriptions/{quote(api.expected_account, safe='')}"
    return str(api.get(path, **{"api-version": SUBSCRIPTIONS_VERSION})["subscriptionId"]).lower()


class Arm(Provider):
    """Azure Resource Manager, where the account is a subscription."""

    def place_of(self, deployment: Deployment, settings: Settings, **more: str) -> dict[str, str]:
        """Return the subscription of the record's ids, and the group that it names.

        Raises Refused if it names several subscriptions, or what can't be one.
        """
        ids = [id_ for key in deployment.resource_ids for id_ in ids_named(deployment, key)]
        named = [deployment.metadata.get(key, "") for key in ("account", "subscription_id")]
        named += [found[1] for id_ in ids if (found := re.match(f"/subscriptions/({_SUBSCRIPTION.pattern})/", id_))]
        subscriptions = sorted({each.lower() for each in named if each})
        if len(subscriptions) > 1:
            raise Refused("bad_id", f"the record names several subscriptions: {', '.join(subscriptions)}")
        group = deployment.metadata.get("resource_group", "")
        place = super().place_of(deployment, settings, resource_group=group, **more)
        account = (subscriptions or [place.get("account", "").lower()])[0]
        if account and not _SUBSCRIPTION.matches(account):
            raise Refused("bad_id", f"{account!r} can't be the id of a subscription")
        return place | ({"account": account} if account else {})

    def credential(self, named: str, settings: Settings) -> Credential:
        """Return a client and its secret, or an empty credential for the identity of the stack's own machine."""
        if not named and settings.credentials.get(self.name) == MANAGED_IDENTITY:
            return Credential({}, "the machine's managed identity")
        return super().credential(named, settings)


ARM = Arm(
    name="azure",
    endpoint=Endpoint(
        name="azure",
        base_url=RESOURCE,
        error_text=_error_text,
        error_rules=(
            ErrorRule(None, "^(ScopeLocked|RequestDisallowedByPolicy):", "protected"),
            ErrorRule(None, "^NicReservedForAnotherVm:", "busy", RESERVED_FOR),
            ErrorRule(None, f"^({_BUSY_CODES}):", "busy"),
            *WHILE_BUSY,
            ErrorRule(
                None, "^(SubscriptionNotFound|InvalidAuthenticationToken|ExpiredAuthenticationToken)", "credentials"
            ),
            # Answered for an entity that AKS still deletes: no proof, and no failure (azure-powershell, issue 7119).
            ErrorRule(404, "^NotFound:", "busy"),
            # Only these two mean the resource itself, and not its provider, its type or this version of the API.
            ErrorRule(404, "^(?!(ResourceNotFound|ResourceGroupNotFound):)", "unreachable"),
        ),
    ),
    authorize=_authorize,
    identify_account=_identify_account,
    variables={
        "tenant_id": ("AZURE_TENANT_ID",),
        "client_id": ("AZURE_CLIENT_ID",),
        "client_secret": ("AZURE_CLIENT_SECRET",),
    },
    needed=("tenant_id", "client_id", "client_secret"),
)

CREDENTIALS = (
    "An application's: secret keys `tenant_id`, `client_id` and `client_secret`; on one machine AZURE_TENANT_ID, AZURE_CLIENT_ID and "
    f"AZURE_CLIENT_SECRET. Or, with the setting credentials `azure: {MANAGED_IDENTITY}` on a machine of Azure, that machine's "
    "identity. Azure's public cloud."
)
SUBSCRIPTION_PERMISSION = "Microsoft.Resources/subscriptions/read"
GONE = (
    "404 with the code `ResourceNotFound` or `ResourceGroupNotFound` to a GET, with a credential that could read the "
    "subscription just before; another id of the resource's own under the same name."
)
SOURCES = (
    "azure-mgmt-compute 39.0.0, azure-mgmt-network 33.1.0, azure-mgmt-containerservice 41.8.0, azure-mgmt-resource 26.0.0; Microsoft "
    'Learn, "Track asynchronous Azure operations"; the codes of failures: issues of terraform-provider-azurerm, '
    "bosh-azure-cpi-release, karpenter-provider-azure."
)


class ArmKind(RestKind):
    """One kind of resource of Azure Resource Manager. Azure has no ownership mark here: being named is ownership."""

    provider: ClassVar = ARM

    def progress(self, body: Any) -> tuple[Progress, str]:
        """Return how far the deletion is, by the `provisioningState`."""
        state = str(properties_of(body).get("provisioningState") or "")
        detail = clipped(" ".join(filter(None, (f"provisioningState {state}", self.failure(body)))), DETAIL_MAX)
        return ("leaving" if state.lower() == "deleting" else "present"), detail

    def failure(self, body: Any) -> str:
        """Return what the resource says of its last failed operation, in Azure's words; empty if it says nothing."""
        return ""

    def observe(self, connection: Api, resource: Resource, body: Any) -> Observation:
        """Say what was read. The deletion of a resource that was leaving, and isn't any more, has failed."""
        observation = super().observe(connection, resource, body)
        has_state = "provisioningState" in properties_of(body)
        if resource.state == "leaving" and observation.state == "present" and has_state:
            return replace(observation, failure=f"its deletion was accepted, and failed: {observation.detail}")
        return observation

    def request_deletion(self, connection: Api, resource: Resource, body: Any) -> None:
        """Request the deletion, and read its operation once."""
        method, path = self.deletion
        response = connection.call(method, self.path_of(resource, path))
        operation = response.headers.get("Azure-AsyncOperation", "")
        if operation.startswith(f"{connection.base_url}/"):
            status = connection.send("GET", operation)
            if isinstance(status.body, dict) and status.body.get("status") in ("Failed", "Canceled"):
                raise connection.error("GET", operation, status)


class ArmResource(ArmKind):
    """A kind whose ids are whole ARM ids, of the subscription of their place. Azure itself spells one in several cases."""

    def check_id(self, resource: Resource, settings: Settings) -> None:
        """Raise Refused if the id can't be one, or is in another subscription."""
        subscription = self._parts(resource.id)["subscription"]
        account = resource.place.get("account", "")
        if subscription.lower() != account.lower():
            raise Refused("bad_id", f"{resource.id!r} isn't in subscription {account or 'that the record names'}")

    def path_of(self, resource: Resource, path: str = "") -> str:
        """Return the path of a resource in the spelling that Azure documents, with every part quoted."""
        return super().path_of(replace(resource, place=resource.place | self._parts(resource.id)), path)

    def canonical(self, id_: str) -> str:
        """Return an id in the one spelling that it is compared in."""
        parts = {key: value.lower() for key, value in self._parts(id_).items()}
        return self.path.partition("?")[0].format_map(parts | {"account": parts["subscription"]})

    def _parts(self, id_: str) -> dict[str, str]:
        if not re.fullmatch(self.form, id_, re.ASCII | re.IGNORECASE):
            raise Refused("bad_id", f"{id_!r} can't be the id of a {self.noun}")
        _, _, subscription, _, group, *_, name = id_.split("/")
        return {"subscription": subscription, "group": group, "name": name}


def every(api: Api, resource_type: str, version: str) -> Iterator[Any]:
    """Yield all resources of a type in the subscription."""

    def next_page(body: Any) -> str | None:
        parts = urlsplit(str(body.get("nextLink") or ""))
        # Wherever the API was led to: the path and the query of it.
        return f"{parts.path}?{parts.query}" if parts.path else None

    path = f"/subscriptions/{quote(api.account, safe='')}/providers/{resource_type}"
    return api.pages(path, "value", next_page, **{"api-version": version})


def tagged(kind: str, resource_type: str, version: str, **more: Any) -> Listing:
    """Return the list of a kind in the subscription, whose items have tags. Azure ignores the case of a tag's name, not of its value."""

    def mark(type_: Entry, item: Any) -> str | None:
        tags = {name.lower(): value for name, value in (item.get("tags") or {}).items()}
        return mark_in_tags(type_, {type_.mark_key: tags.get(type_.mark_key.lower(), "")})

    return Listing(kind, lambda api: every(api, resource_type, version), mark, **more)


def properties_of(body: Any) -> Any:
    """Return the properties of a resource. The documents require neither them nor any of them."""
    return body.get("properties") or {}


def arm_path(resource_type: str, version: str) -> str:
    """Return the path of a resource of this type, in this version of its API."""
    return (
        f"/subscriptions/{{account}}/resourceGroups/{{group}}/providers/{resource_type}/{{name}}?api-version={version}"
    )


def has_delete_option(options: Mapping[str, Any]) -> bool:
    """Return whether Azure deletes something together with what it is attached to (deleteOption `Delete`)."""
    return str(options.get("deleteOption", "")).lower() == "delete"
