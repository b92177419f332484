"""Azure, as far as machines and AKS clusters go: Resource Manager, and what hands out tokens for it, on loopback.

What goes takes its looks; what hangs on something that is there doesn't go before it. Ids are compared as Azure does, without regard to
case, and answered in capitals where Azure is known to do that.
"""

import base64
import itertools
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.cleanup.rest_target import LOOKS, Account, AccountTarget, Thing
from tests.conformance.target import Key, Made
from tests.kubernetes_api import KubernetesApi
from tests.standin import Fault, Reply, Request, route
from tracker.model.settings import LocalPlace, Settings

SUBSCRIPTION = "0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f"
OTHER = "99999999-8d2a-4c7e-9f60-1a2b3c4d5e6f"
TENANT = "11111111-2222-4333-8444-555555555555"
CLIENT = "66666666-7777-4888-8999-000000000000"
CLIENT_SECRET = "Q~secret-of-the-application"
TOKEN = "eyJ0eXAi.token-of-the-application"
GROUP = "blueprints"
LOCATION = "westeurope"
# Seconds for which an interface is kept for a machine that is gone.
RESERVED_FOR = 180.0
TYPES = {
    "azure:snapshot": "Microsoft.Compute/snapshots",
    "azure:restore_points": "Microsoft.Compute/restorePointCollections",
    "azure:load_balancer": "Microsoft.Network/loadBalancers",
    "azure:vm": "Microsoft.Compute/virtualMachines",
    "azure:disk": "Microsoft.Compute/disks",
    "azure:nic": "Microsoft.Network/networkInterfaces",
    "azure:public_ip": "Microsoft.Network/publicIPAddresses",
    "azure:security_group": "Microsoft.Network/networkSecurityGroups",
    "azure:cluster": "Microsoft.ContainerService/managedClusters",
}
IN_USE = {
    "azure:disk": (409, "OperationNotAllowed"),
    "azure:nic": (400, "NicInUse"),
    "azure:public_ip": (400, "PublicIPAddressCannotBeDeleted"),
    "azure:security_group": (400, "InUseNetworkSecurityGroupCannotBeDeleted"),
}
CODES = {
    400: "BadRequest",
    401: "InvalidAuthenticationToken",
    403: "AuthorizationFailed",
    404: "ResourceNotFound",
    409: "Conflict",
    422: "UnprocessableEntity",
    423: "Locked",
    429: "TooManyRequests",
    500: "InternalServerError",
    502: "BadGateway",
    503: "ServiceUnavailable",
}


def error(status: int, text: str, code: str = "") -> Reply:
    """A failure, as Resource Manager words it."""
    return Reply(status, {"error": {"code": code or CODES[status], "message": text}})


def no_token(status: int, code: str, text: str) -> Reply:
    """A failure, as those word it who hand out tokens."""
    return Reply(status, {"error": code, "error_description": text})


def arm_id(kind: str, name: str, group: str = GROUP) -> str:
    """The whole id of something."""
    return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/providers/{TYPES[kind]}/{name}"


def group_path(name: str) -> str:
    """Return where a resource group is."""
    return f"/subscriptions/{SUBSCRIPTION}/resourcegroups/{name}"


@dataclass
class Existing(Thing):
    """Something at a path. `goes` says that its deleteOption is Delete; `fails` is the code with which its deletion does."""

    path: str = ""
    goes: bool = False
    fails: str = ""
    failed: str = ""
    reserved_until: float = 0.0


class ArmServer(Account):
    """The API. An account is a subscription; `users` of something are the paths of what it hangs on.

    `is_reserving` keeps interfaces for a machine that is gone, until `now` got on; `locks` are scopes that nothing is deleted in.
    `tokens` are valid for as long as they are there.
    """

    HOME = SUBSCRIPTION
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://management.azure.com"
    things: dict[Key, Existing]  # type: ignore[assignment]

    def __init__(self) -> None:
        self.groups = {GROUP}
        self.locks: set[str] = set()
        self.is_reserving = False
        self.expires_in = 3599
        self.now = 0.0
        self.kubernetes = KubernetesApi()
        self.kubeconfig = ""
        self.operations: dict[str, Key] = {}
        self.ended: dict[str, Key] = {}
        self._tokens = itertools.count(1)
        self.tokens: set[str] = set()
        super().__init__()
        # Whatever is asked first is seen in one list.
        self.kubernetes.calls = self.calls

    def stop(self) -> None:
        super().stop()

    def key_at(self, path: str) -> Key | None:
        """Return what is or was at a path."""
        known = self.ended | {thing.path.lower(): key for key, thing in self.things.items()}
        return known.get(path.lower())

    def get(self, path: str) -> Existing | None:
        """Return what is at a path, or was to go until now."""
        key = self.key_at(path)
        thing = self.things.get(key) if key else None
        if key is None or thing is None or thing.looks is None or thing.looks > 0:
            return thing
        if thing.fails:
            thing.looks, thing.failed, thing.fails = None, thing.fails, ""
            return thing
        self._end(key)
        return None

    def _end(self, key: Key) -> None:
        """It goes, with all that is to go with it."""
        thing = self.things.pop(key)
        self.ended[thing.path.lower()] = key
        for other_key, other in list(self.things.items()):
            if other.user.lower() == thing.path.lower():
                other.user = ""
                if other.goes:
                    self._end(other_key)
                elif key[0] == "azure:vm" and other_key[0] == "azure:nic" and self.is_reserving:
                    other.reserved_until = self.now + RESERVED_FOR
        if key[0] == "azure:cluster":
            self.kubernetes.objects.clear()

    # What is asked

    def not_found(self, request: Request) -> Reply:
        return error(404, f"{request.path} isn't known", "InvalidResourceType")

    def handle(self, request: Request) -> Reply:
        # Its controllers get on whenever something is asked.
        self.kubernetes.advance()
        if not request.path.startswith("/subscriptions/"):
            return super().handle(request)
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens or not self.valid:
            return error(401, "The access token is invalid.")
        if "api-version" not in request.query:
            return error(400, "The api-version query parameter is required.", "MissingApiVersionParameter")
        subscription = request.path.split("/")[2]
        if subscription.lower() != self.account:
            return error(404, f"The subscription '{subscription}' could not be found.", "SubscriptionNotFound")
        if self.account != self.HOME and request.path.count("/") > 2:
            return error(404, "Resource group could not be found.", "ResourceGroupNotFound")
        return super().handle(request)

    @route("POST", "/(?P<tenant>[^/]+)/oauth2/v2.0/token")
    def token(self, request: Request, tenant: str) -> Reply:
        form = {key: values[0] for key, values in parse_qs(request.raw.decode()).items()}
        if tenant != TENANT:
            return no_token(400, "invalid_request", f"AADSTS90002: Tenant '{tenant}' not found.")
        if (form["client_id"], form["client_secret"]) != (CLIENT, CLIENT_SECRET) or not self.valid:
            text = f"AADSTS7000215: Invalid client secret provided: {form['client_secret']}"
            return no_token(401, "invalid_client", text)
        return self._issued(self.expires_in)

    @route("GET", "/metadata/identity/oauth2/token")
    def machine_token(self, request: Request) -> Reply:
        if request.query.get("client_id", CLIENT) != CLIENT:
            return no_token(400, "invalid_request", "Identity not found")
        return self._issued(str(self.expires_in))

    def _issued(self, expires_in: object) -> Reply:
        token = f"{TOKEN}-{next(self._tokens)}"
        self.tokens.add(token)
        return Reply(body={"token_type": "Bearer", "expires_in": expires_in, "access_token": token})

    @route("GET", "/subscriptions/(?P<id>[^/]+)")
    def subscription(self, request: Request, id: str) -> Reply:
        body = {"id": request.path, "subscriptionId": id, "displayName": "Blueprints", "state": "Enabled"}
        return Reply(body=body | {"tenantId": TENANT})

    @route("GET", "/subscriptions/[^/]+/resourcegroups/(?P<name>[^/]+)")
    def group(self, request: Request, name: str) -> Reply:
        thing = self.get(request.path)
        if thing is None:
            return error(404, f"Resource group '{name}' could not be found.", "ResourceGroupNotFound")
        return Reply(body=self._shown(thing))

    @route("GET", "/subscriptions/[^/]+/resourceGroups/(?P<group>[^/]+)/providers/[^/]+/[^/]+/[^/]+")
    def look(self, request: Request, group: str) -> Reply:
        thing = self.get(request.path)
        return Reply(body=self._shown(thing)) if thing else self._missing(request, group)

    @route("DELETE", "/subscriptions/[^/]+/resourceGroups/(?P<group>[^/]+)/providers/[^/]+/[^/]+/[^/]+")
    def delete(self, request: Request, group: str) -> Reply:
        thing, key = self.get(request.path), self.key_at(request.path)
        if thing is None or key is None:
            missing = self._missing(request, group)
            return Reply(204) if "ResourceNotFound" in str(missing.body) else missing
        locked = next((scope for scope in self.locks if request.path.lower().startswith(scope.lower())), None)
        if locked:
            text = f"The scope '{request.path}' cannot perform delete operation because '{locked}' is locked."
            return error(409, text, "ScopeLocked")
        if thing.user and key[0] in IN_USE:
            status, code = IN_USE[key[0]]
            return error(status, f"{thing.path} is used by existing resource {thing.user}.", code)
        if thing.reserved_until > self.now:
            text = "Nic(s) in request is reserved for another Virtual Machine for 180 seconds."
            return error(400, text, "NicReservedForAnotherVm")
        self._begin(thing)
        return self._accepted(request, key)

    def _begin(self, thing: Existing) -> None:
        if thing.looks is None:
            thing.looks, thing.failed = LOOKS, ""
        if "nodeResourceGroup" in thing.body["properties"]:
            # Its nodes go with the cluster.
            nodes = self.get(group_path(thing.body["properties"]["nodeResourceGroup"]))
            if nodes and nodes.looks is None:
                nodes.looks = LOOKS + 1

    def _accepted(self, request: Request, key: Key) -> Reply:
        operation, provider = str(uuid.uuid4()), TYPES[key[0]].partition("/")[0]
        self.operations[operation] = key
        url = (
            f"{self.url}/subscriptions/{SUBSCRIPTION}/providers/{provider}/locations/{LOCATION}/operations/{operation}"
        )
        url += f"?api-version={request.query['api-version']}&t=1&c=MIIH&s=signed&h=x"
        headers = {"Azure-AsyncOperation": url, "Location": f"{url}&monitor=true", "Retry-After": "10"}
        return Reply(202, headers=headers)

    @route("GET", "/subscriptions/[^/]+/providers/[^/]+/locations/[^/]+/operations/(?P<id>[^/]+)")
    def operation(self, request: Request, id: str) -> Reply:
        key = self.operations.get(id)
        if key is None:
            return error(404, f"The operation '{id}' was not found.", "NotFound")
        thing = self.things.get(key)
        body: dict[str, Any] = {"name": id, "status": "InProgress", "startTime": "2026-01-01T00:00:00Z"}
        if thing is None:
            body["status"] = "Succeeded"
        elif thing.failed:
            body |= {"status": "Failed", "error": {"code": thing.failed, "message": "it could not be deleted"}}
        return Reply(body=body)

    @route("GET", "/subscriptions/[^/]+/providers/(?P<type>[A-Za-z.]+/[A-Za-z]+)")
    def everything(self, request: Request, type: str) -> Reply:
        """One a page, so that there are several."""
        kind = next(kind for kind, each in TYPES.items() if each == type)
        if self.account != self.HOME:
            return Reply(body={"value": []})
        found = [self._shown(thing) for key, thing in self.things.items() if key[0] == kind]
        number = int(request.query.get("$skiptoken", "0"))
        link = f"{self.PUBLIC_URL}:443{request.path}?api-version={request.query['api-version']}&$skiptoken={number + 1}"
        return Reply(
            body={"value": found[number : number + 1]} | ({"nextLink": link} if number + 1 < len(found) else {})
        )

    @route("POST", "/subscriptions/[^/]+/resourceGroups/(?P<group>[^/]+)/providers/.*/listClusterUserCredential")
    def credential(self, request: Request, group: str) -> Reply:
        if self.get(request.path.removesuffix("/listClusterUserCredential")) is None:
            return self._missing(request, group)
        value = base64.b64encode(self.kubeconfig.encode()).decode()
        return Reply(body={"kubeconfigs": [{"name": "clusterUser", "value": value}]})

    def _missing(self, request: Request, group: str) -> Reply:
        if group.lower() not in self.groups:
            return error(404, f"Resource group '{group}' could not be found.", "ResourceGroupNotFound")
        text = f"The Resource '{request.path.partition('/providers/')[2]}' was not found."
        return error(404, text, "ResourceNotFound")

    def _shown(self, thing: Existing) -> dict[str, Any]:
        """Return what it says of itself, looked at once more."""
        if thing.looks is not None and not thing.stays:
            thing.looks -= 1
        body = deepcopy(thing.body)
        state = "Deleting" if thing.looks is not None else "Failed" if thing.failed else "Succeeded"
        properties: dict[str, Any] = body["properties"]
        properties["provisioningState"] = state
        if thing.failed and "vmId" in properties:
            code = f"ProvisioningState/failed/{thing.failed}"
            said = {"code": code, "level": "Error", "displayStatus": "Provisioning failed", "message": "host is down"}
            properties["instanceView"] = {"statuses": [said]}
        if thing.failed and "nodeResourceGroup" in properties:
            properties["status"] = {"provisioningError": {"code": thing.failed, "message": "nodes are left"}}
        return body


def existing(kind: str, name: str, properties: dict[str, Any], **more: Any) -> Existing:
    """A resource of the group."""
    path = arm_id(kind, name)
    body = {"id": path, "name": name, "type": TYPES[kind], "location": LOCATION, "properties": properties}
    return Existing(body, path=path, **more)


def reference(kind: str, name: str, **more: Any) -> dict[str, Any]:
    """Return how others name it: not as it was written."""
    return {"id": arm_id(kind, name, GROUP.upper()), **more}


class ArmTarget(AccountTarget):
    """This is what the types in Azure share of their target."""

    server: ArmServer
    server_class = ArmServer
    elsewhere = OTHER
    secrets: tuple[str, ...] = (CLIENT_SECRET, TOKEN)

    def start(self) -> None:
        super().start()
        self.patch.setenv("AZURE_TENANT_ID", TENANT)
        self.patch.setenv("AZURE_CLIENT_ID", CLIENT)
        self.patch.setenv("AZURE_CLIENT_SECRET", CLIENT_SECRET)
        self.settings = Settings(
            base_urls=dict.fromkeys(("azure", "azure-login", "azure-machine"), self.server.url),
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def stop(self) -> None:
        super().stop()
        if self._is_first:
            self.server.kubernetes.stop()

    def wait(self, seconds: float) -> None:
        self.server.now += seconds

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        return self.server.key_at(call.path) if call.method == "DELETE" else None

    def misplaced(self, made: Made) -> Made:
        ids = {
            key: [re.sub(SUBSCRIPTION, OTHER, each) for each in ([value] if isinstance(value, str) else value)]
            for key, value in made.ids.items()
        }
        metadata = {key: value.replace(SUBSCRIPTION, OTHER) for key, value in made.metadata.items()}
        return replace(
            made, ids={key: value if len(value) > 1 else value[0] for key, value in ids.items()}, metadata=metadata
        )

    def protect(self, made: Made) -> None:
        self.server.locks.add(self.server.things[made.main].path)

    @contextmanager
    def busy(self, made: Made, times: int) -> Iterator[None]:
        path = self.server.things[made.main].path
        answer = error(409, "Another operation is in progress.", "AnotherOperationInProgress")
        with self.server.failing(Fault("answer", "DELETE", f"(?i){re.escape(path)}$", answer, times=times)):
            yield

    @contextmanager
    def false_success(self, made: Made) -> Iterator[None]:
        thing = self.server.things[made.main]
        thing.fails = "InternalExecutionError"
        yield
        thing.fails = thing.failed = ""
