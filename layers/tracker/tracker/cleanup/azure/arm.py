"""Azure Resource Manager: whose credential it is asked with, what its answers mean, and how a resource of it goes.

A deletion is accepted (202) long before it is done, and an operation tells of it; but an operation's URL is signed, long and soon
forgotten. So what counts is what the resource itself says, its `provisioningState`, until it isn't found; the operation is looked at
once, for what fails at once.

Sources: azure-mgmt-compute 39.0.0, -network 33.1.0, -containerservice 41.8.0, -resource 26.0.0 and azure-identity 1.27.0; Microsoft
Learn, "Track asynchronous Azure operations"; the codes of failures: issues of terraform-provider-azurerm, bosh-azure-cpi-release and
karpenter-provider-azure, which disagree on their statuses. So a code is what counts, never the status alone.
"""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import quote

import requests
from msgspec.structs import replace
from requests.auth import AuthBase

from tracker.cleanup.contract import Look, Refused
from tracker.cleanup.credentials import Credential
from tracker.cleanup.rest import METADATA_SERVICE, Answer, Api, Meant, RestKind, Service
from tracker.deployment import Deployment, Resource, clipped, ids_named
from tracker.settings import Settings

# What the SDKs named above ask with.
COMPUTE_VERSION = "2026-04-01"
DISKS_VERSION = "2026-03-02"
NETWORK_VERSION = "2026-03-01"
CONTAINERS_VERSION = "2026-08-01"
GROUPS_VERSION = "2025-04-01"
SUBSCRIPTIONS_VERSION = "2022-12-01"
METADATA_VERSION = "2018-02-01"

UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
# "Naming rules and restrictions for Azure resources", without what isn't ASCII.
GROUP = r"(?!.*\.\.)[A-Za-z0-9_(](?:[A-Za-z0-9._()-]{0,88}[A-Za-z0-9_()-])?"
NAME = r"(?!.*\.\.)[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,88}[A-Za-z0-9_-])?"
_TENANT = r"[A-Za-z0-9](?:[A-Za-z0-9-]|\.(?!\.)){0,252}"

# `settings.credentials["azure"]`, where the stack runs on a machine of Azure that has an identity.
MANAGED_IDENTITY = "managed-identity"
RESOURCE = "https://management.azure.com"
# Seconds before its end at which a token isn't used any more.
TOKEN_SPARE = 60.0
# NicReservedForAnotherVm says: for 180 seconds.
RESERVED_FOR = 180.0
DETAIL_MAX = 300

_NOT_NOW = (
    "NicInUse|PublicIPAddressCannotBeDeleted|InUseNetworkSecurityGroupCannotBeDeleted|AnotherOperationInProgress"
    # A disk that is attached; a cluster, or a machine, that something else is being done to.
    "|OperationNotAllowed|OperationPreempted|AttachDiskWhileBeingDetached|EtagMismatch|PreconditionFailed"
)


class EntraToken(AuthBase):
    """A token of Microsoft Entra: asked for when one is needed, and again before its time is over."""

    def __init__(self, credential: Credential, ask: Callable[[], Any]) -> None:
        self._credential = credential
        self._ask = ask
        self._token = ""
        self._until = 0.0

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if not self._token or time.monotonic() >= self._until:
            answer = self._ask()
            self._token = str(answer["access_token"])
            self._until = time.monotonic() + float(answer["expires_in"]) - TOKEN_SPARE
            # As little to be shown as what it was had with.
            self._credential.texts["access_token"] = self._token
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _authorize(api: Api, credential: Credential) -> AuthBase:
    texts = dict(credential.texts)
    if not texts:
        machine = Api(MACHINE, credential, api.settings)
        query = {"api-version": METADATA_VERSION, "resource": RESOURCE}
        # One that was made on its own is named by its client; else it is the machine's.
        client = api.settings.customary("AZURE_CLIENT_ID")
        query |= {"client_id": client} if client else {}
        return EntraToken(credential, lambda: machine.get("/metadata/identity/oauth2/token", **query))
    tenant = texts["tenant_id"]
    if not re.fullmatch(_TENANT, tenant, re.ASCII):
        raise Refused("credentials", f"{credential.source}: tenant_id is neither an id nor a domain")
    login = Api(LOGIN, credential, api.settings)
    form = {
        "grant_type": "client_credentials",
        "client_id": texts["client_id"],
        "client_secret": texts["client_secret"],
        "scope": f"{RESOURCE}/.default",
    }
    return EntraToken(credential, lambda: login.call("POST", f"/{tenant}/oauth2/v2.0/token", data=form).body)


def _whose(api: Api) -> str:
    """The subscription that is wanted, if the credential may read it: of such it may have several."""
    if not api.wanted:
        raise Refused("missing_id", "neither the record nor a setting names a subscription")
    path = f"/subscriptions/{quote(api.wanted, safe='')}"
    return str(api.get(path, **{"api-version": SUBSCRIPTIONS_VERSION})["subscriptionId"]).lower()


def _said(body: Any) -> str:
    return f"{body['error']['code']}: {body['error']['message']}"


def _said_of_tokens(body: Any) -> str:
    return f"{body['error']}: {body['error_description']}"


class Arm(Service):
    """Azure Resource Manager, where the account is a subscription."""

    def place_of(self, deployment: Deployment, settings: Settings, **more: str) -> dict[str, str]:
        """The subscription that the record's ids are in, and the group that it names. Refused, if it names several, or what can't be one."""
        ids = [id_ for key in deployment.resource_ids for id_ in ids_named(deployment, key)]
        named = [deployment.metadata.get(key, "") for key in ("account", "subscription_id")]
        named += [found[1] for id_ in ids if (found := re.match(f"/subscriptions/({UUID})/", id_))]
        subscriptions = sorted({each.lower() for each in named if each})
        if len(subscriptions) > 1:
            raise Refused("bad_id", f"the record names several subscriptions: {', '.join(subscriptions)}")
        group = deployment.metadata.get("resource_group", "")
        place = super().place_of(deployment, settings, resource_group=group, **more)
        account = (subscriptions or [place.get("account", "").lower()])[0]
        if account and not re.fullmatch(UUID, account, re.ASCII):
            raise Refused("bad_id", f"{account!r} can't be the id of a subscription")
        return place | ({"account": account} if account else {})

    def credential(self, named: str, settings: Settings) -> Credential:
        """A client and its secret, or nothing, for the identity of the machine that the stack runs on."""
        if not named and settings.credentials.get(self.provider) == MANAGED_IDENTITY:
            return Credential({}, "the machine's managed identity")
        return super().credential(named, settings)


ARM = Arm(
    provider="azure",
    base_url=RESOURCE,
    variables={
        "tenant_id": ("AZURE_TENANT_ID",),
        "client_id": ("AZURE_CLIENT_ID",),
        "client_secret": ("AZURE_CLIENT_SECRET",),
    },
    authorize=_authorize,
    whose=_whose,
    said=_said,
    meanings=(
        Meant(None, "^(ScopeLocked|RequestDisallowedByPolicy):", "protected"),
        Meant(None, "^NicReservedForAnotherVm:", "busy", RESERVED_FOR),
        Meant(None, f"^({_NOT_NOW}):", "busy"),
        Meant(None, "^(SubscriptionNotFound|InvalidAuthenticationToken|ExpiredAuthenticationToken)", "credentials"),
        # Said of an entity while AKS still deletes: no proof, and no failure (azure-powershell, issue 7119).
        Meant(404, "^NotFound:", "busy"),
        # Of what isn't found, only this is the resource itself: not its provider, its type or this version of the API.
        Meant(404, "^(?!(ResourceNotFound|ResourceGroupNotFound):)", "unreachable"),
    ),
    needed=("tenant_id", "client_id", "client_secret"),
)
_OF_TOKENS = (
    Meant(400, "", "credentials"),
    # Nothing that isn't there tells of a resource.
    Meant(404, "", "unreachable"),
    Meant(410, "", "unreachable"),
)
LOGIN = Service(
    provider="azure-login",
    base_url="https://login.microsoftonline.com",
    variables={},
    authorize=lambda *_: None,
    whose=lambda _: "",
    said=_said_of_tokens,
    meanings=_OF_TOKENS,
)
MACHINE = Service(
    provider="azure-machine",
    base_url=f"http://{METADATA_SERVICE}",
    variables={},
    authorize=lambda *_: None,
    whose=lambda _: "",
    said=_said_of_tokens,
    meanings=_OF_TOKENS,
    headers={"Metadata": "true"},
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
    """How one kind of resource goes. `form` may name parts of an id for `path`; one in another subscription is no id here."""

    def at(self, resource: Resource, path: str = "") -> str:
        """The path of a resource, every part of it quoted, in the spelling that Azure documents."""
        parts = self._parts(resource.id)
        account = resource.place.get("account", "")
        if parts.get("subscription", account).lower() != account.lower():
            raise Refused("bad_id", f"{resource.id!r} isn't in subscription {account or 'that the record names'}")
        quoted = {key: quote(value, safe="") for key, value in {**resource.place, **parts}.items()}
        return (path or self.path).format_map(quoted)

    def canonical(self, id_: str) -> str:
        """An id in one spelling of the several in which Azure itself has it."""
        parts = {key: value.lower() for key, value in self._parts(id_).items()}
        return self.path.partition("?")[0].format_map(parts | {"account": parts["subscription"]})

    def state(self, resource: Resource, settings: Settings) -> Look:
        """Read it. What was on its way out, and isn't any more, has failed to go."""
        look = super().state(resource, settings)
        if resource.state == "leaving" and look.state == "present":
            return replace(look, failure=f"its deletion was accepted, and failed: {look.detail}")
        return look

    def request(self, api: Api, resource: Resource) -> Answer:
        """Ask for its deletion, and look once at what tells of it."""
        answer = super().request(api, resource)
        operation = answer.headers.get("Azure-AsyncOperation", "")
        if operation.startswith(f"{api.base_url}/"):
            told = api.send("GET", operation)
            if isinstance(told.body, dict) and told.body.get("status") in ("Failed", "Canceled"):
                raise api.meaning("GET", operation, told)
        return answer

    def _parts(self, id_: str) -> dict[str, str]:
        found = re.fullmatch(self.form, id_, re.ASCII | re.IGNORECASE)
        if found is None:
            raise Refused("bad_id", f"{id_!r} can't be the id of a {self.noun}")
        return {"id": id_, **found.groupdict()}


def status(found: Any, failed: str = "") -> tuple[Literal["present", "leaving"], str]:
    """How far a resource has gone; `failed` is what it says itself of what went wrong with it."""
    state = str(found["properties"]["provisioningState"])
    detail = clipped(" ".join(filter(None, (f"provisioningState {state}", failed))), DETAIL_MAX)
    return ("leaving" if state.lower() == "deleting" else "present"), detail


def arm_kind(
    noun: str,
    type_: str,
    version: str,
    keep: Callable[[Any], dict[str, str]],
    *,
    expand: str = "",
    status: Callable[[Any], tuple[Literal["present", "leaving"], str]] = status,
    allow: Callable[[Resource, Any, Settings], None] = lambda *_: None,
) -> ArmKind:
    """A kind whose ids are whole ARM ids. `keep` is its identity: names come again. `expand` is what a read asks for besides."""
    path = f"/subscriptions/{{account}}/resourceGroups/{{group}}/providers/{type_}/{{name}}?api-version={version}"
    form = (
        rf"/subscriptions/(?P<subscription>{UUID})/resourceGroups/(?P<group>{GROUP})"
        rf"/providers/{re.escape(type_)}/(?P<name>{NAME})"
    )
    return ArmKind(
        ARM,
        noun,
        f"{path}&$expand={expand}" if expand else path,
        form,
        status=status,
        allow=allow,
        delete_by=("DELETE", path),
        keep=keep,
    )


def is_delete(options: Mapping[str, Any]) -> bool:
    """Whether something goes with the machine that it is attached to."""
    return str(options.get("deleteOption", "")).lower() == "delete"
