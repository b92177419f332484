"""LocalDocker: containers, their networks and volumes on one Docker engine.

The engine is reached through a unix socket, TCP with TLS, or SSH. It says its own id at every look, so that another
engine's "no such container" never counts as proof; and a container or network is remembered by its full id as soon
as it was seen, so that another one that got its name is let alone. A volume has no identity besides its name: what
the engine calls its creation time moves with every file that is made in it.
"""

import re
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import Any, cast

import docker
import requests
from docker.errors import APIError
from msgspec.structs import replace
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from tracker.cleanup import secrets
from tracker.cleanup.calls import is_loopback
from tracker.cleanup.containers import NAME, SWARM_SERVICE, is_called, refuse_swarm
from tracker.cleanup.contract import Busy, Facts, Kind, Look, Refused, Unreachable
from tracker.cleanup.ssh_connection import PORT, Login, channel, connect, understood
from tracker.deployment import Deployment, Resource, ids_named
from tracker.settings import Settings

DEFAULT_HOST = "unix:///var/run/docker.sock"
# Seconds: for an answer, and for that to a deletion, which comes when the container's processes are killed.
TIMEOUT = 10
DELETION_TIMEOUT = 20

_HOST = re.compile(
    r"(?P<scheme>tcp|ssh)://(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?"
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
)
_PREDEFINED_NETWORKS = frozenset({"bridge", "host", "none"})
_FULL_ID = re.compile(r"[0-9a-f]{64}")


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """What the record names, and what its containers use.

    Anonymous volumes go with their container, as with `docker rm -v`. A named volume that the record doesn't name is
    kept, unless `metadata.delete_dependents` is "all"; a network, and what others use too, always.
    """
    place = _place(deployment, settings)
    found = _named(deployment, place["engine"])
    with _engine(place, settings) as engine:
        containers = []
        for resource in [resource for resource in found.values() if resource.kind == "docker:container"]:
            body, _ = _KINDS[resource.kind].find(engine, resource)
            if body:
                _refuse_swarm(body)
                containers.append(body)
                found[resource.key] = replace(resource, place={"full_id": body["Id"]}, seen=True)
        if containers:
            # What was seen there vouches for the engine: its "no such volume" counts from now on, too.
            place["engine"] = engine.id
        networks = [name for kind, name in found if kind == "docker:network"]
        ours = {container["Id"] for container in containers}
        every_volume = deployment.metadata.get("delete_dependents") == "all"
        for container in containers:
            for dependent in chain(
                _networks_of(container, networks), _volumes_of(container, engine, ours, every_volume=every_volume)
            ):
                found.setdefault(dependent.key, dependent)
    return [replace(resource, place=place | resource.place) for resource in found.values()]


@dataclass(frozen=True)
class _Kind:
    """How a container, a network or a volume goes: all the same way, by different calls."""

    named_by: str
    stage: int
    inspect: Callable[[docker.APIClient, str], Any]
    remove: Callable[[docker.APIClient, str], None]
    one_at_a_time: bool = False

    def state(self, resource: Resource, settings: Settings) -> Look:
        with _engine(resource.place, settings) as engine:
            body, proof = self.find(engine, resource)
            if body is None:
                return Look("gone", proof=proof, unproven=not resource.place.get("engine"))
            status = body.get("State", {}).get("Status", "")
            return Look(
                "leaving" if status == "removing" else "present",
                detail=status,
                place={"engine": engine.id, "full_id": body.get("Id", resource.id)},
            )

    def delete(self, resource: Resource, settings: Settings) -> None:
        with _engine(resource.place, settings) as engine:
            body, _ = self.find(engine, resource)
            if body is not None:
                _refuse_swarm(body)
                engine.timeout = DELETION_TIMEOUT
                engine.ask(self.remove, body.get("Id", resource.id))

    def find(self, engine: "_Engine", resource: Resource) -> tuple[dict[str, Any] | None, str]:
        """What the engine says of ours, or None and the proof that it is gone."""
        full_id = resource.place.get("full_id")
        body = self._read(engine, full_id or resource.id)
        if body is not None:
            return body, ""
        proof = f"{self.inspect.__name__} {full_id or resource.id}: none on engine {engine.id}"
        if full_id not in (None, "", resource.id) and (other := self._read(engine, resource.id)):
            proof += f"; {resource.id} is another one now, {other['Id'][:12]}"
        return None, proof

    def _read(self, engine: "_Engine", reference: str) -> dict[str, Any] | None:
        body: dict[str, Any] | None = engine.ask(self.inspect, reference)
        return body if body and is_called(reference, body.get("Id", ""), body["Name"].removeprefix("/")) else None


def _remove_container(client: docker.APIClient, full_id: str) -> None:
    client.remove_container(full_id, v=True, force=True)


def _users_of(client: docker.APIClient, volume: str) -> Any:
    return client.containers(all=True, filters={"volume": volume})


# A network or a volume is in use until the containers are gone.
_KINDS = {
    "docker:container": _Kind("container_id", 0, docker.APIClient.inspect_container, _remove_container),
    "docker:network": _Kind("network", 1, docker.APIClient.inspect_network, docker.APIClient.remove_network),
    "docker:volume": _Kind("volume", 2, docker.APIClient.inspect_volume, docker.APIClient.remove_volume),
}
KINDS: dict[str, Kind] = dict(_KINDS)

FACTS = Facts(
    credentials=(
        "A unix socket on this machine: none. TCP: `docker_tls_secret`, with the keys `ca`, `cert` and `key`. SSH: "
        "`docker_ssh_secret`, with the keys `private_key` and `host_key`. Nothing of this machine's own Docker configuration counts."
    ),
    permissions=("access to the engine's API, which is root's rights on its machine",),
    order=("containers, with their anonymous volumes", "networks", "volumes"),
    gone=(
        "404 in the engine's own words to an inspection, from the engine whose id the record, the stack or an earlier look "
        "names; another engine at that address is refused."
    ),
    duration="Seconds.",
    limits=(
        "Images stay. A task of a swarm service is refused, and what restarts containers otherwise (Compose, a "
        "supervisor) has to be stopped by whoever runs it. A volume has no identity besides its name."
    ),
    sources="Docker Engine API's reference, docker-py 7.2, and engine 20.10 as it was seen to answer.",
)


def _named(deployment: Deployment, engine: str) -> dict[tuple[str, str], Resource]:
    """What the record names, by the resource's key, with the full ids that are known of this engine already."""
    known = {
        each.key: each.place.get("full_id", "") for each in deployment.resources if each.place.get("engine") == engine
    }
    found = {}
    for kind, how in _KINDS.items():
        for name in ids_named(deployment, how.named_by):
            if not NAME.fullmatch(name) or (kind == "docker:network" and name in _PREDEFINED_NETWORKS):
                raise Refused("bad_id", f"{name!r} can't be the {kind} of a deployment")
            place = {"full_id": known.get((kind, name), "")}
            found[kind, name] = Resource(kind, name, place, stage=how.stage, named_by=how.named_by)
    if not ids_named(deployment, "container_id"):
        raise Refused("missing_id", "resource_ids.container_id is missing")
    return found


def _networks_of(container: dict[str, Any], named: list[str]) -> Iterator[Resource]:
    for name, attachment in container["NetworkSettings"]["Networks"].items():
        if name in _PREDEFINED_NETWORKS or any(is_called(each, attachment["NetworkID"], name) for each in named):
            continue
        why = f"container {container['Id'][:12]} is attached to it, but the record doesn't name it"
        yield Resource("docker:network", name, stage=1, state="kept", detail=why)


def _volumes_of(
    container: dict[str, Any], engine: "_Engine", ours: set[str], *, every_volume: bool
) -> Iterator[Resource]:
    for mount in container["Mounts"]:
        if mount["Type"] != "volume":
            continue
        name = mount["Name"]
        others = [user["Id"] for user in engine.ask(_users_of, name) if user["Id"] not in ours]
        if others:
            why = f"container {others[0][:12]} mounts it, too"
        elif {".", ".."} & set(name.split("/")):
            # Some volume drivers allow it; in the path of a request it would lead to something else.
            why = "its name can't be asked for safely"
        elif every_volume or _FULL_ID.fullmatch(name):
            why = ""
        else:
            why = 'the record doesn\'t name it; metadata.delete_dependents = "all" would delete it'
        yield Resource("docker:volume", name, stage=2, state="kept" if why else "unseen", detail=why)


def _refuse_swarm(container: dict[str, Any]) -> None:
    labels = container.get("Config", {}).get("Labels") or {}
    refuse_swarm(container.get("Id", ""), labels.get(SWARM_SERVICE, ""))


def _place(deployment: Deployment, settings: Settings) -> dict[str, str]:
    """Where the record says that it is: host, the secret for it, the engine's id, each empty if unknown."""
    metadata = deployment.metadata
    host = metadata.get("docker_host") or DEFAULT_HOST
    secret = metadata.get("docker_ssh_secret" if host.startswith("ssh:") else "docker_tls_secret", "")
    engine = metadata.get("docker_engine", "")
    if not engine and host == DEFAULT_HOST and settings.local_place:
        engine = settings.local_place.docker_engine
    seen_on = [resource.place["engine"] for resource in deployment.resources if resource.place.get("engine")]
    return {"host": host, "secret": secret, "engine": engine or (seen_on[0] if seen_on else "")}


class _Engine(docker.APIClient):
    """One Docker engine: docker-py's client, without its own `__init__`.

    That one reads ~/.docker, and sends the headers that it finds there. Here nothing of this machine counts, neither
    that nor ~/.netrc nor the environment's proxies and authorities: the way says what is reached, and who is trusted.
    """

    def __init__(self, host: str, way: "_Way") -> None:
        super(docker.APIClient, self).__init__()
        self.trust_env = False
        self.adapters.clear()
        self.base_url = "http+docker://engine"
        self.mount(self.base_url, way)
        self.hooks["response"].append(_refuse_redirect)
        self.timeout = TIMEOUT
        self._general_configs: dict[str, Any] = {}
        self.host = host

    def meet(self) -> None:
        """Learn its id, and the version of the API that it speaks."""
        with _in_our_terms(self.host):
            self._version = self.version(api_version=False)["ApiVersion"]
            self.id: str = self.info()["ID"]

    def ask(self, call: Callable[[docker.APIClient, str], Any], reference: str) -> Any:
        """What it answers, None if it has no such thing."""
        with _in_our_terms(self.host):
            try:
                return call(self, reference)
            except docker.errors.NotFound as error:
                if _message(error) in ("", "page not found"):
                    raise
                return None


@contextmanager
def _engine(place: dict[str, str], settings: Settings) -> Iterator[_Engine]:
    """The engine at a place, if it is the one that the place names."""
    with ExitStack() as stack:
        engine = stack.enter_context(_Engine(place["host"], _way(place, settings, stack)))
        engine.meet()
        if place["engine"] not in ("", engine.id):
            text = f"the engine at {place['host']} is {engine.id}, not {place['engine']}: nothing on it is the record's"
            raise Refused("not_ours", text)
        yield engine


@contextmanager
def _in_our_terms(host: str) -> Iterator[None]:
    """Say what docker-py raises in the contract's terms; `understood` does for the rest, requests' errors among them."""
    with understood(host):
        try:
            yield
        except APIError as error:
            raise _complaint(error, host) from error
        except requests.exceptions.SSLError as error:
            # An alert about a certificate, the other side's or ours, is an answer; a cut handshake isn't. Only the
            # alert is looked at: requests puts the host's name around it.
            alert = str(getattr(error.args[0], "reason", error))
            if "CERT" in alert.upper() or "UNKNOWN_CA" in alert:
                raise Refused("credentials", f"{host}: {alert}") from error
            raise Unreachable(f"{host}: {alert}") from error
        except (requests.JSONDecodeError, KeyError, TypeError) as error:
            raise Unreachable(f"{host}: what answers there isn't a Docker engine ({error!r})") from error


def _complaint(error: APIError, host: str) -> Exception:
    """The exception that an answer stands for. Which status means what: the engine's API reference."""
    message = _message(error)
    text = f"{host}: {error}"
    match error.status_code:
        # Of networks only: the engine's word for "in use", and for those that come with it.
        case HTTPStatus.FORBIDDEN if "active endpoints" in message:
            return Busy(text)
        case HTTPStatus.FORBIDDEN if "pre-defined" in message:
            return Refused("protected", text)
        # A plugin of the engine's, or a proxy before it.
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return Refused("credentials", text)
        case _ if not message:
            return Unreachable(text)
        case HTTPStatus.CONFLICT:
            return Busy(text)
        case HTTPStatus.BAD_REQUEST:
            return Refused("bad_id", text)
        case _:
            return Unreachable(text)


def _message(error: APIError) -> str:
    """The engine's own words, none if it wasn't the engine that answered: docker-py takes any text for them."""
    try:
        return str(error.response.json()["message"]) if error.response is not None else ""
    except (requests.JSONDecodeError, KeyError, TypeError):
        return ""


def _refuse_redirect(response: requests.Response, *_: Any, **__: Any) -> None:
    """An engine never redirects; requests would follow, and docker-py takes what isn't an error for the answer."""
    if HTTPStatus.MULTIPLE_CHOICES <= response.status_code < HTTPStatus.BAD_REQUEST:
        raise APIError(f"{response.status_code} Redirection of {response.url}", response)


def _way(place: dict[str, str], settings: Settings, stack: ExitStack) -> "_Way":
    """The way to the engine; `stack` closes what it goes through."""
    host, secret = place["host"], place["secret"]
    if host != DEFAULT_HOST and not settings.allows("endpoint", host):
        raise Refused("bad_id", f"docker_host {host} isn't among the allowed endpoints")
    if host.startswith("unix:///"):
        return _Way(_Opened(lambda: _unix_socket(host.removeprefix("unix://"))))
    parts = _HOST.fullmatch(host)
    if parts is None:
        raise Refused("bad_id", f"docker_host {host!r} is neither unix:///path, tcp://host:port nor ssh://user@host")
    name, port = parts["name"].strip("[]"), int(parts["port"] or 0)
    if parts["scheme"] == "ssh" and parts["user"] and secret:
        keys = secrets.read(secret, settings, "private_key", "host_key")
        login = Login(name, parts["user"], keys["private_key"], keys["host_key"], port or PORT)
        client = stack.enter_context(connect(login))
        # As the docker client itself reaches an engine through SSH.
        argv = ["docker", "system", "dial-stdio"]
        return _Way(_Opened(lambda: cast(socket.socket, channel(client, argv, TIMEOUT))))
    if parts["scheme"] == "tcp" and port and secret:
        return _Way(HTTPSConnectionPool(name, port, ssl_context=_tls(secret, settings)))
    if parts["scheme"] == "tcp" and port and is_loopback(name):
        return _Way(HTTPConnectionPool(name, port))
    needed = "a port and docker_tls_secret" if parts["scheme"] == "tcp" else "a user and docker_ssh_secret"
    raise Refused("missing_id", f"docker_host {host} needs {needed}")


class _Way(HTTPAdapter):
    """Requests through one pool, which alone decides whom to trust: requests would add public authorities to it."""

    def __init__(self, pool: HTTPConnectionPool) -> None:
        super().__init__()
        self._pool = pool

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> HTTPConnectionPool:
        return self._pool

    def cert_verify(self, *_: Any) -> None:
        """Leave the pool's own context as it is."""

    def close(self) -> None:
        super().close()
        self._pool.close()


class _Connection(HTTPConnection):
    """HTTP over whatever was opened for it.

    docker-py's own takes SSH keys and hosts from the home, and leaves a Unix socket open that it couldn't connect.
    """

    def __init__(self, host: str, *, opened: Callable[[], socket.socket], **options: Any) -> None:
        super().__init__(host, **options)
        self._opened = opened

    def connect(self) -> None:
        self.sock = self._opened()


class _Opened(HTTPConnectionPool):
    ConnectionCls = _Connection

    def __init__(self, opened: Callable[[], socket.socket]) -> None:
        super().__init__("docker", opened=opened)


def _unix_socket(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _tls(secret: str, settings: Settings) -> ssl.SSLContext:
    """A context that trusts the secret's authority alone and shows the secret's certificate."""
    pems = secrets.read(secret, settings, "ca", "cert", "key")
    # Not create_default_context, whose strict mode refuses the certificates that Docker's own guide makes.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=pems["ca"])
        # OpenSSL takes a certificate and its key from files only: they are there for this one call.
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
            certificate.write_text(pems["cert"])
            key.write_text(pems["key"])
            context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError):
        raise Refused("credentials", f"secret {secret} holds no usable authority, certificate and key") from None
    return context
