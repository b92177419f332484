"""Google Cloud, as far as instances and clusters go with what hangs on them: Compute Engine, GKE and the exchange of keys for tokens.

Answers of Compute Engine are read by Google's own message types, which know every field; those of GKE keep to `contract.yaml`.
"""

import base64
import itertools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from google.auth import jwt

from tests.cleanup.rest_target import LOOKS, Account, AccountTarget, Thing
from tests.conformance.target import Key, Made
from tests.standin import Fault, Reply, Request, route
from tracker.model.settings import Settings

PROJECT = "blueprints-1"
OTHER_PROJECT = "someone-elses-2"
MARK = "managed_by=blueprint_remote_providers"
LABELS = {"managed_by": "blueprint_remote_providers", "team": "a"}
ZONE, OTHER_ZONE, REGION = "europe-west1-b", "europe-west1-c", "europe-west1"
TOKEN = "ya29.token-of-the-service-account"
EMAIL = f"tracker@{PROJECT}.iam.gserviceaccount.com"
# What a key's assertion is for, wherever it is sent.
AUDIENCE = "https://oauth2.googleapis.com/token"
SECRET = "tracker/gcp/key"

PLURALS = {
    "instances": "gcp:instance",
    "disks": "gcp:disk",
    "addresses": "gcp:address",
    "firewalls": "gcp:firewall",
    "clusters": "gcp:cluster",
    "snapshots": "gcp:snapshot",
    "images": "gcp:image",
    "machineImages": "gcp:machine_image",
    "targetInstances": "gcp:target_instance",
}
_COMPUTE = r"/compute/v1/projects/(?P<project>[^/]+)"
_SCOPE = r"(?P<scope>zones/[^/]+|regions/[^/]+|global)"
_THINGS = rf"{_COMPUTE}/{_SCOPE}/(?P<plural>instances|disks|addresses|firewalls)"
_CLUSTERS = r"/v1/projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)"
# Which message answers a path of Compute Engine, by the last part of it that is a word of the API's.
_MESSAGES = {
    "delete": "Operation",
    "instances": "Instance",
    "disks": "Disk",
    "addresses": "Address",
    "firewalls": "Firewall",
    "zones": "Zone",
    "aggregated/instances": "InstanceAggregatedList",
    "aggregated/disks": "DiskAggregatedList",
    "aggregated/addresses": "AddressAggregatedList",
    "list/addresses": "AddressList",
    "global/addresses": "AddressList",
    "list/instances": "InstanceList",
    "list/disks": "DiskList",
    "global/snapshots": "SnapshotList",
    "global/images": "ImageList",
    "global/machineImages": "MachineImageList",
    "list/targetInstances": "TargetInstanceList",
    "list/operations": "OperationList",
}
_STATUSES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
_REASONS = {400: "invalid", 401: "authError", 403: "forbidden", 404: "notFound", 429: "rateLimitExceeded"}


def error(status: int, text: str, reason: str = "", code: str = "") -> Reply:
    """A failure, as Google words it."""
    one = {"message": text, "domain": "global", "reason": reason or _REASONS.get(status, "backendError")}
    status_text = code or _STATUSES.get(status, "RESOURCE_EXHAUSTED" if status == 429 else "UNAVAILABLE")
    return Reply(status, {"error": {"code": status, "message": text, "errors": [one], "status": status_text}})


@cache
def key_pair() -> tuple[str, str]:
    """A service account's private key, and the public one, in PEM."""
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def key_file(server_url: str) -> dict[str, str]:
    """A service account's key file, whose tokens come from there."""
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "6f1e",
        "private_key": key_pair()[0],
        "client_email": EMAIL,
        "client_id": "1234567890",
        "token_uri": f"{server_url}/token",
        "universe_domain": "googleapis.com",
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass
class Operation:
    """A deletion that was accepted: of this very thing. `error` is what it ended with."""

    name: str
    key: Key
    thing: Thing
    begun: str
    error: tuple[str, str] | None = None


class GoogleServer(Account):
    """The APIs. `fails` holds what accepts its deletion and stays, as the operation says; `missing_zones` what GKE can't list."""

    HOME = PROJECT
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://container.googleapis.com"

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.fails: dict[Key, tuple[str, str]] = {}
        self.missing_zones: list[str] = []
        self._numbers = itertools.count(7_000_000_000_000_000_001)
        super().__init__()

    def not_found(self, request: Request) -> Reply:
        return error(404, f"no route {request}")

    def handle(self, request: Request) -> Reply:
        self.settle()
        bearer = request.headers.get("authorization", request.headers.get("Authorization"))
        if request.path != "/token" and (bearer != f"Bearer {TOKEN}" or not self.valid):
            return error(401, "Request had invalid authentication credentials.")
        return super().handle(request)

    @route("POST", "/token")
    def token(self, request: Request) -> Reply:
        form = parse_qs(request.raw.decode())
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        claims = jwt.decode(form["assertion"][0], certs=key_pair()[1], audience=AUDIENCE)  # type: ignore[no-untyped-call]
        if not self.valid or claims["iss"] != EMAIL:
            return Reply(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
        assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
        return Reply(body={"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"})

    def put(self, plural: str, name: str, scope: str = f"zones/{ZONE}", user: str = "", **more: Any) -> Key:
        """Something that exists from now on, with a number of its own."""
        where = {"zone": scope} if scope.startswith("zones/") else {"region": scope} if scope != "global" else {}
        body = {
            "kind": f"compute#{plural.removesuffix('es') if plural == 'addresses' else plural[:-1]}",
            "id": str(next(self._numbers)),
            "name": name,
            "selfLink": self.link(f"{scope}/{plural}/{name}"),
            **{key: self.link(value) for key, value in where.items()},
            **more,
        }
        self.things[PLURALS[plural], name] = Thing(body, user)
        return PLURALS[plural], name

    def link(self, path: str) -> str:
        return f"https://www.googleapis.com/compute/v1/projects/{PROJECT}/{path}"

    def settle(self) -> None:
        """What is over goes: with an instance its disks that have autoDelete."""
        for key, thing in list(self.things.items()):
            if thing.looks is not None and thing.looks <= 0 and not thing.stays:
                del self.things[key]
                for disk in thing.body.get("disks", []):
                    if disk["autoDelete"]:
                        self.things.pop(("gcp:disk", disk.get("source", "").rpartition("/")[2]), None)

    # Compute Engine

    @route("GET", f"{_COMPUTE}/zones/(?P<zone>[^/]+)")
    def zone(self, request: Request, project: str, zone: str) -> Reply:
        if unseen := self._unseen(project):
            return unseen
        if zone not in (ZONE, OTHER_ZONE):
            return error(404, f"The resource 'projects/{project}/zones/{zone}' was not found")
        return Reply(body={"kind": "compute#zone", "id": "2300", "name": zone, "status": "UP"})

    @route("GET", rf"{_THINGS}/(?P<name>[^/]+)")
    def look(self, request: Request, project: str, scope: str, plural: str, name: str) -> Reply:
        found = self._at(project, scope, plural, name)
        if isinstance(found, Reply):
            self.missed(PLURALS[plural], name)
            return found
        self.seen(PLURALS[plural], found.body["name"])
        return Reply(body=self._shown(found))

    @route("GET", rf"{_COMPUTE}/aggregated/(?P<plural>instances|disks|addresses)")
    def everywhere(self, request: Request, project: str, plural: str) -> Reply:
        if unseen := self._unseen(project):
            return unseen
        name = request.query["filter"].removeprefix("name = ")
        scopes: dict[str, Any] = {f"zones/{OTHER_ZONE}": {"warning": {"code": "NO_RESULTS_ON_PAGE", "message": "none"}}}
        for thing in self.all(PLURALS[plural]).values():
            if thing.body["name"] == name:
                scopes.setdefault(_scope_of(thing), {})[plural] = [self._shown(thing)]
        kind = f"compute#{plural.removesuffix('es') if plural == 'addresses' else plural[:-1]}AggregatedList"
        return Reply(body={"kind": kind, "id": f"projects/{project}/aggregated/{plural}", "items": scopes})

    @route("GET", rf"{_COMPUTE}/regions/(?P<region>[^/]+)/addresses")
    def addresses(self, request: Request, project: str, region: str) -> Reply:
        if not (wanted := re.findall(r'\(address = "([^"]+)"\)', request.query.get("filter", ""))):
            return self.filtered(request, project, f"regions/{region}", "addresses")
        if unseen := self._unseen(project):
            return unseen
        shown = [self._shown(thing) for thing in self.all("gcp:address").values() if thing.body["address"] in wanted]
        items = {"items": shown} if shown else {}
        return Reply(
            body={"kind": "compute#addressList", "id": f"projects/{project}/regions/{region}/addresses", **items}
        )

    @route(
        "GET",
        rf"{_COMPUTE}/{_SCOPE}/(?P<plural>instances|disks|addresses|snapshots|images|machineImages|targetInstances)",
    )
    def filtered(self, request: Request, project: str, scope: str, plural: str) -> Reply:
        """Filtered by a regular expression for a member, or by a label."""
        if unseen := self._unseen(project):
            return unseen
        in_scope = [thing for thing in self.all(PLURALS[plural]).values() if _scope_of(thing) == scope]
        following = {}
        if "filter" not in request.query:
            # Pages of two, whatever is asked for.
            start = int(request.query.get("pageToken", "t0").removeprefix("t"))
            found = in_scope[start : start + 2]
            following = {"nextPageToken": f"t{start + 2}"} if start + 2 < len(in_scope) else {}
        elif label := re.fullmatch(r'labels\.(\w+) = "(.*)"', request.query["filter"]):
            found = [thing for thing in in_scope if thing.body.get("labels", {}).get(label[1]) == label[2]]
        else:
            member, pattern = re.findall(r'(\w+) eq "(.*)"', request.query["filter"])[0]
            found = [thing for thing in in_scope if re.fullmatch(pattern, thing.body.get(member, ""))]
        items = {"items": [self._shown(thing) for thing in found]} if found else {}
        kind = f"compute#{plural.removesuffix('es') if plural == 'addresses' else plural[:-1]}List"
        return Reply(body={"kind": kind, "id": f"projects/{project}/{scope}/{plural}", **items, **following})

    @route("DELETE", rf"{_THINGS}/(?P<name>[^/]+)")
    def delete(self, request: Request, project: str, scope: str, plural: str, name: str) -> Reply:
        found = self._at(project, scope, plural, name)
        if isinstance(found, Reply):
            return found
        path = f"projects/{project}/{scope}/{plural}/{name}"
        if found.body.get("deletionProtection"):
            text = "Invalid resource usage: 'Resource cannot be deleted if it's protected against deletion.'."
            return error(400, text, "invalidResourceUsage")
        if found.looks is not None:
            return error(400, f"The resource '{path}' is not ready", "resourceNotReady")
        if users := self._users(found):
            text = f"The {plural[:-1]} resource '{path}' is already being used by '{users[0]}'"
            return error(400, text, "resourceInUseByAnotherResource")
        return Reply(body=self._operation(self._begun(PLURALS[plural], found), scope))

    @route("GET", rf"{_COMPUTE}/{_SCOPE}/operations")
    def deletions(self, request: Request, project: str, scope: str) -> Reply:
        if unseen := self._unseen(project):
            return unseen
        assert request.query["orderBy"] == "creationTimestamp desc"
        target = request.query["filter"].removeprefix("targetId = ")
        items = [self._operation(each, scope) for each in reversed(self.operations) if each.thing.body["id"] == target]
        body = {"kind": "compute#operationList", "id": f"projects/{project}/{scope}/operations"}
        return Reply(body=body | ({"items": items} if items else {}))

    def _unseen(self, project: str) -> Reply | None:
        """Return what a project looks like that the token may not see."""
        if project == self.HOME and self.account == self.HOME:
            return None
        return error(404, f"The resource 'projects/{project}' was not found")

    def _at(self, project: str, scope: str, plural: str, name: str) -> Thing | Reply:
        """By its name, or by its number."""
        if unseen := self._unseen(project):
            return unseen
        for thing in self.all(PLURALS[plural]).values():
            if name in (thing.body["name"], thing.body["id"]) and _scope_of(thing) == scope:
                return thing
        return error(404, f"The resource 'projects/{project}/{scope}/{plural}/{name}' was not found")

    def _shown(self, thing: Thing) -> dict[str, Any]:
        body = dict(thing.body)
        if body["kind"] in ("compute#disk", "compute#address"):
            users = self._users(thing)
            body |= {"users": users} if users else {}
            if body["kind"] == "compute#address":
                body["status"] = "IN_USE" if users else "RESERVED"
        if body["kind"] == "compute#instance" and thing.looks is not None:
            body["status"] = "STOPPING"
        return body

    def _users(self, thing: Thing) -> list[str]:
        user = self.things.get(("gcp:instance", thing.user))
        return [user.body["selfLink"]] if user else []

    def _begun(self, kind: str, thing: Thing) -> Operation:
        key = (kind, thing.body["name"])
        operation = Operation(f"operation-{len(self.operations)}", key, thing, now(), self.fails.get(key))
        self.operations.append(operation)
        if not operation.error:
            thing.looks = LOOKS
        return operation

    def _operation(self, operation: Operation, scope: str) -> dict[str, Any]:
        is_over = operation.error is not None or self.things.get(operation.key) is not operation.thing
        where, _, name = scope.partition("/")
        body = {
            "kind": "compute#operation",
            "id": "9" + operation.name.rpartition("-")[2],
            "name": operation.name,
            "operationType": "delete",
            "targetId": operation.thing.body["id"],
            "targetLink": operation.thing.body["selfLink"],
            "status": "DONE" if is_over else "RUNNING",
            "progress": 100 if is_over else 0,
            "insertTime": operation.begun,
            **({where.removesuffix("s"): self.link(scope)} if name else {}),
        }
        if operation.error:
            code, text = operation.error
            body |= {
                "error": {"errors": [{"code": code, "message": text}]},
                "httpErrorStatusCode": 503,
                "httpErrorMessage": "SERVICE UNAVAILABLE",
            }
        return body | ({"endTime": now()} if is_over else {})

    # GKE

    def put_cluster(self, name: str, location: str, endpoint: str, authority: str) -> Key:
        body = {
            "name": name,
            "id": f"{next(self._numbers):x}",
            "location": location,
            "status": "RUNNING",
            "createTime": "2026-01-01T00:00:00+00:00",
            "resourceLabels": dict(LABELS),
            "endpoint": endpoint,
            "masterAuth": {"clusterCaCertificate": base64.b64encode(authority.encode()).decode()},
            "selfLink": f"https://container.googleapis.com/v1/projects/{PROJECT}/locations/{location}/clusters/{name}",
        }
        self.things["gcp:cluster", name] = Thing(body)
        return "gcp:cluster", name

    @route("GET", f"{_CLUSTERS}/clusters")
    def clusters(self, request: Request, project: str, location: str) -> Reply:
        if forbidden := self._forbidden(project):
            return forbidden
        assert location == "-"
        found = [thing.body for thing in self.all("gcp:cluster").values()]
        body: dict[str, Any] = {"clusters": found} if found else {}
        return Reply(body=body | ({"missingZones": self.missing_zones} if self.missing_zones else {}))

    @route("GET", f"{_CLUSTERS}/clusters/(?P<name>[^/]+)")
    def cluster(self, request: Request, project: str, location: str, name: str) -> Reply:
        if forbidden := self._forbidden(project):
            return forbidden
        thing = self._cluster(location, name)
        if thing is None:
            self.missed("gcp:cluster", name)
            return error(404, f"Not found: projects/{project}/locations/{location}/clusters/{name}.")
        self.seen("gcp:cluster", name)
        return Reply(body=thing.body)

    @route("DELETE", f"{_CLUSTERS}/clusters/(?P<name>[^/]+)")
    def delete_cluster(self, request: Request, project: str, location: str, name: str) -> Reply:
        if forbidden := self._forbidden(project):
            return forbidden
        thing = self._cluster(location, name)
        if thing is None:
            return error(404, f"Not found: projects/{project}/locations/{location}/clusters/{name}.")
        if thing.looks is not None:
            return incompatible()
        operation = self._begun("gcp:cluster", thing)
        thing.body["status"] = "ERROR" if operation.error else "STOPPING"
        return Reply(body=self._cluster_operation(operation))

    @route("GET", f"{_CLUSTERS}/operations")
    def cluster_operations(self, request: Request, project: str, location: str) -> Reply:
        if forbidden := self._forbidden(project):
            return forbidden
        found = [each for each in self.operations if each.thing.body.get("location") == location]
        body = {"operations": [self._cluster_operation(each) for each in found]} if found else {}
        return Reply(body=body)

    def _forbidden(self, project: str) -> Reply | None:
        if project == self.HOME and self.account == self.HOME:
            return None
        text = f'Required "container.clusters.list" permission(s) for "projects/{project}".'
        return error(403, text)

    def _cluster(self, location: str, name: str) -> Thing | None:
        thing = self.found("gcp:cluster", name)
        return thing if thing and thing.body["location"] == location else None

    def _cluster_operation(self, operation: Operation) -> dict[str, Any]:
        is_over = operation.error is not None or self.things.get(operation.key) is not operation.thing
        failed = {"error": {"code": 13, "message": ": ".join(operation.error)}} if operation.error else {}
        return {
            "name": operation.name,
            "operationType": "DELETE_CLUSTER",
            "status": "DONE" if is_over else "RUNNING",
            "location": operation.thing.body["location"],
            "targetLink": operation.thing.body["selfLink"],
            "startTime": operation.begun,
            **({"endTime": now()} if is_over else {}),
            **failed,
        }

    def _check(self, request: Request, reply: Reply) -> None:
        if not request.path.startswith("/compute/"):
            super()._check(request, reply)
        elif reply.status == 200:
            try:
                _message(request).from_json(json.dumps(reply.body), ignore_unknown_fields=False)
            except Exception as broken:
                self.violations.append(f"{request}: {broken}")


def incompatible() -> Reply:
    """Return what GKE says while something else is done with a cluster."""
    text = "Cluster is running incompatible operation operation-1718024305921-fd4f65ea."
    return error(400, text, "failedPrecondition", "FAILED_PRECONDITION")


def _scope_of(thing: Thing) -> str:
    where = thing.body.get("zone") or thing.body.get("region") or ""
    return "/".join(where.rsplit("/", 2)[-2:]) if where else "global"


def _message(request: Request) -> Any:
    *_, before, last = request.path.split("/")
    keys = ("delete" if request.method == "DELETE" else "", f"{before}/{last}", f"list/{last}", before)
    name = next(_MESSAGES[key] for key in keys if key in _MESSAGES)
    # Not before it is needed: this import takes seconds.
    return getattr(import_module("google.cloud.compute_v1"), name)


class GoogleTarget(AccountTarget):
    """This is what the Google types share of their target: one service account, whose key is in a secret."""

    server: GoogleServer
    server_class = GoogleServer
    elsewhere = OTHER_PROJECT
    secrets = (TOKEN, key_pair()[0].splitlines()[1])

    def start(self) -> None:
        super().start()
        name = self.put_secret(f"{SECRET}-{self.deployment_type}", **key_file(self.server.url))
        self.metadata = {"project_id": PROJECT, "credential": name}
        self.settings = Settings(
            marks={"gcp": MARK},
            allowed_secrets=[f"{SECRET}-*"],
            base_urls={"gcp-compute": self.server.url, "gcp-container": self.server.url},
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def left(self) -> set[Key]:
        self.server.settle()
        return set(self.server.things)

    @contextmanager
    def busy(self, made: Made, times: int) -> Iterator[None]:
        with self.server.failing(Fault("answer", "DELETE", self.deletion_of(made), self.busy_reply(), times=times)):
            yield

    def deletion_of(self, made: Made) -> str:
        """The path that asks for the main resource's deletion."""
        raise NotImplementedError

    def busy_reply(self) -> Reply:
        raise NotImplementedError

    @contextmanager
    def false_success(self, made: Made) -> Iterator[None]:
        self.server.fails[made.main] = ("INTERNAL_ERROR", "Internal error. Please try again.")
        yield
        del self.server.fails[made.main]
