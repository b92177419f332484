"""Docker engines to test on: a stand-in that answers as version 20.10 was seen to, and a proxy in front of the real one."""

import http.client
import json
import re
import socket
import ssl
import uuid
from typing import Any
from urllib.parse import urlencode

from tests.standin import Reply, Request, StandIn, route

SOCKET = "/var/run/docker.sock"
_VERSIONED = r"/v1\.41"


class Engine(StandIn):
    """Containers, networks and volumes. What is in `held` can't be removed: someone else is about it, or uses it."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.id = "STAND:IN"
        self.version = "1.41"
        self.containers: dict[str, dict[str, Any]] = {}
        self.networks: dict[str, str] = {}
        self.volumes: set[str] = set()
        self.held: set[str] = set()
        # By the name of a thing.
        self.labels: dict[str, dict[str, str]] = {}
        super().__init__(tls=tls)

    def not_found(self, request: Request) -> Reply:
        return Reply(404, {"message": "page not found"})

    # What is there

    def container(self, name: str, *, id: str = "", **more: Any) -> str:
        """Make one; its full id. `networks` and `volumes` are names of what it uses, `labels` its labels."""
        full_id = id or uuid.uuid4().hex * 2
        self.volumes |= set(more.get("volumes", ()))
        self.containers[full_id] = {
            "Id": full_id,
            "Name": f"/{name}",
            "State": {"Status": "running"},
            "Config": {"Labels": more.get("labels")},
            "HostConfig": {},
            "Mounts": [{"Type": "volume", "Name": volume} for volume in more.get("volumes", ())],
            "NetworkSettings": {
                "Networks": {network: {"NetworkID": self.networks[network]} for network in more.get("networks", ())}
            },
        }
        return full_id

    def network(self, name: str) -> str:
        """Make one; its full id."""
        self.networks[name] = uuid.uuid4().hex * 2
        return self.networks[name]

    def find(self, reference: str) -> dict[str, Any] | None:
        """A container by its name or the beginning of its id."""
        found = [
            body
            for full_id, body in self.containers.items()
            if full_id.startswith(reference) or body["Name"] == f"/{reference}"
        ]
        return found[0] if found else None

    # The API

    @route("GET", "/version")
    def _version(self, request: Request) -> Reply:
        return Reply(200, {"ApiVersion": self.version} if self.version else {})

    @route("GET", f"{_VERSIONED}/info")
    def _info(self, request: Request) -> Reply:
        return Reply(200, {"ID": self.id})

    @route("GET", f"{_VERSIONED}/containers/json")
    def _list(self, request: Request) -> Reply:
        filters = json.loads(request.query["filters"])
        found = [
            {"Id": body["Id"], "Names": [body["Name"]], "Created": 1767225600, **self._labels_of(body["Name"][1:])}
            for body in self.containers.values()
            if "volume" not in filters or {m["Name"] for m in body["Mounts"]} & set(filters["volume"])
        ]
        return Reply(200, self._filtered(found, filters))

    @route("GET", f"{_VERSIONED}/networks")
    def _list_networks(self, request: Request) -> Reply:
        created = "2026-01-01T00:00:00.123456789Z"
        found = [
            {"Id": id_, "Name": name, "Created": created, **self._labels_of(name)}
            for name, id_ in self.networks.items()
        ]
        return Reply(200, self._filtered(found, json.loads(request.query["filters"])))

    @route("GET", f"{_VERSIONED}/volumes")
    def _list_volumes(self, request: Request) -> Reply:
        found = [{"Name": name, "CreatedAt": "2026-01-01T00:00:00Z", **self._labels_of(name)} for name in self.volumes]
        found = self._filtered(found, json.loads(request.query["filters"]))
        # As the engine has it.
        return Reply(200, {"Volumes": found or None, "Warnings": None})

    def _labels_of(self, name: str) -> dict[str, Any]:
        return {"Labels": self.labels.get(name)}

    def _filtered(self, found: list[dict[str, Any]], filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        def carries(body: dict[str, Any], label: str) -> bool:
            key, _, value = label.partition("=")
            labels = body["Labels"] or {}
            return key in labels and value in ("", labels[key])

        return [body for body in found if all(carries(body, label) for label in filters.get("label", []))]

    @route("GET", f"{_VERSIONED}/containers/(?P<reference>[^/]+)/json")
    def _inspect_container(self, request: Request, reference: str) -> Reply:
        body = self.find(reference)
        return Reply(200, body) if body else Reply(404, {"message": f"No such container: {reference}"})

    @route("DELETE", f"{_VERSIONED}/containers/(?P<reference>[^/]+)")
    def _remove_container(self, request: Request, reference: str) -> Reply:
        body = self.find(reference)
        if not body:
            return Reply(404, {"message": f"No such container: {reference}"})
        if body["Id"] in self.held:
            body["State"]["Status"] = "removing"
            return Reply(409, {"message": f"removal of container {reference} is already in progress"})
        del self.containers[body["Id"]]
        # With v=true anonymous volumes go, too.
        self.volumes -= {m["Name"] for m in body["Mounts"] if re.fullmatch("[0-9a-f]{64}", m["Name"])}
        return Reply(204)

    @route("GET", f"{_VERSIONED}/networks/(?P<reference>[^/]+)")
    def _inspect_network(self, request: Request, reference: str) -> Reply:
        name = self._network_named(reference)
        if name is None:
            return Reply(404, {"message": f"network {reference} not found"})
        return Reply(200, {"Name": name, "Id": self.networks[name]})

    @route("DELETE", f"{_VERSIONED}/networks/(?P<reference>[^/]+)")
    def _remove_network(self, request: Request, reference: str) -> Reply:
        name = self._network_named(reference)
        if name is None:
            return Reply(404, {"message": f"network {reference} not found"})
        users = [c for c in self.containers.values() if name in c["NetworkSettings"]["Networks"]]
        if users or name in self.held:
            return Reply(403, {"message": f"error while removing network: network {name} has active endpoints"})
        del self.networks[name]
        return Reply(204)

    @route("GET", f"{_VERSIONED}/volumes/(?P<name>[^/]+)")
    def _inspect_volume(self, request: Request, name: str) -> Reply:
        if name not in self.volumes:
            return Reply(404, {"message": f"get {name}: no such volume"})
        return Reply(200, {"Name": name, "Driver": "local"})

    @route("DELETE", f"{_VERSIONED}/volumes/(?P<name>[^/]+)")
    def _remove_volume(self, request: Request, name: str) -> Reply:
        if name not in self.volumes:
            return Reply(404, {"message": f"get {name}: no such volume"})
        users = [c["Id"] for c in self.containers.values() if name in {m["Name"] for m in c["Mounts"]}]
        if users or name in self.held:
            return Reply(409, {"message": f"remove {name}: volume is in use - {users}"})
        self.volumes.remove(name)
        return Reply(204)

    def _network_named(self, reference: str) -> str | None:
        return next((name for name, full_id in self.networks.items() if reference in (name, full_id)), None)


class Proxy(StandIn):
    """In front of the real engine: what it isn't told to fail, that engine answers."""

    def handle(self, request: Request) -> Reply:
        connection = _Connection("engine", timeout=30)
        try:
            connection.request(request.method, f"{request.path}?{urlencode(request.query)}", request.raw or None)
            answer = connection.getresponse()
            raw = answer.read()
            return Reply(
                answer.status, raw or None, {"Content-Type": answer.headers.get("Content-Type", "")} if raw else {}
            )
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)
