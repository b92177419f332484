"""LocalDocker: containers, their networks and volumes on one Docker engine.

The engine says its own id whenever it is asked for something, so that another engine's "no such container" never counts as proof; and a
container or network is remembered by its full id as soon as it was seen, so that another one that got its name is let alone. A volume
has no identity besides its name: what the engine calls its creation time moves with every file that is made in it.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from msgspec.structs import replace

from tracker.cleanup.core.contract import Found, OperatorNotes, Progress, Refused, ResourceKind, Unreachable
from tracker.cleanup.core.discovery import check_vouched, judged, kept, named_resources
from tracker.cleanup.core.kind import Gone, Kind
from tracker.cleanup.transport.containers import SWARM_SERVICE, is_called, swarm_protection
from tracker.cleanup.transport.docker import DEFAULT_HOST, Engine, connect
from tracker.model.catalogue import entry
from tracker.model.deployment import Deployment, Resource, format_time, parse_time
from tracker.model.marks import mark_in_tags
from tracker.model.settings import Settings

type Body = dict[str, Any]

# Seconds for the answer to a deletion, which comes when the container's processes are killed.
DELETION_TIMEOUT = 20

_IDS = entry("LocalDocker").ids
_PREDEFINED_NETWORKS = frozenset({"bridge", "host", "none"})
_FULL_ID = re.compile(r"[0-9a-f]{64}")


@contextmanager
def _engine(place: Mapping[str, str], settings: Settings) -> Iterator[Engine]:
    """Open the engine of a place. Raises Refused if another one answers there."""
    with connect(place["host"], place["secret"], settings) as engine:
        if place["engine"] not in ("", engine.id):
            text = f"the engine at {place['host']} is {engine.id}, not {place['engine']}: nothing on it is the record's"
            raise Refused("not_ours", text)
        yield engine


class DockerKind(Kind[Engine, Body]):
    """One kind of thing on a Docker engine. No ownership mark is set for Docker: being named is ownership."""

    anchor = "engine"

    def inspect(self, engine: Engine, reference: str) -> Body | None:
        """Return what the engine says of a name or id, None if it has no such thing."""
        raise NotImplementedError

    def remove(self, engine: Engine, reference: str) -> None:
        """Request the removal."""
        raise NotImplementedError

    def labelled(self, engine: Engine, label: str) -> list[Body]:
        """Return all that carry a label, `key` or `key=value`. Raises Unreachable if the engine doesn't list them."""
        answer = self.listed(engine, {"label": label})
        if not isinstance(answer, list):
            raise Unreachable(f"{engine.host}: it doesn't list its {self.noun}s")
        return answer

    def listed(self, engine: Engine, filters: dict[str, str]) -> Any:
        """Return the engine's list."""
        raise NotImplementedError

    def open(self, resource: Resource, settings: Settings) -> AbstractContextManager[Engine]:
        return _engine(resource.place, settings)

    def address(self, connection: Engine, resource: Resource) -> str:
        return resource.place["host"]

    def location(self, connection: Engine) -> dict[str, str]:
        return {"engine": connection.id}

    def identity(self, body: Body) -> dict[str, str]:
        return {"full_id": body["Id"]} if "Id" in body else {}

    def progress(self, body: Body) -> tuple[Progress, str]:
        status = body.get("State", {}).get("Status", "")
        return ("leaving" if status == "removing" else "present"), status

    def read(self, connection: Engine, resource: Resource) -> Body:
        """Return what the engine says of the resource, asked by its full id if that is known."""
        full_id = resource.place.get("full_id")
        body = self._read(connection, full_id or resource.id)
        if body is not None:
            return body
        proof = f"inspect_{self.noun} {full_id or resource.id}: none on engine {connection.id}"
        if full_id not in (None, "", resource.id) and (other := self._read(connection, resource.id)):
            proof += f"; {resource.id} is another one now, {other['Id'][:12]}"
        raise Gone(proof)

    def request_deletion(self, connection: Engine, resource: Resource, body: Body) -> None:
        connection.timeout = DELETION_TIMEOUT
        self.remove(connection, body.get("Id", resource.id))

    def _read(self, engine: Engine, reference: str) -> Body | None:
        body = self.inspect(engine, reference)
        return body if body and is_called(reference, body.get("Id", ""), body["Name"].removeprefix("/")) else None


class Container(DockerKind):
    noun = "container"
    form = _IDS["container_id"].pattern

    def inspect(self, engine: Engine, reference: str) -> Body | None:
        return engine.ask(engine.inspect_container, reference)

    def remove(self, engine: Engine, reference: str) -> None:
        """Request the removal, with the container's anonymous volumes as with `docker rm -v`."""
        engine.ask(engine.remove_container, reference, v=True, force=True)

    def listed(self, engine: Engine, filters: dict[str, str]) -> Any:
        return engine.ask(engine.containers, all=True, filters=filters)

    def protection(self, connection: Engine, resource: Resource, body: Body) -> str:
        labels = body.get("Config", {}).get("Labels") or {}
        return swarm_protection(body.get("Id", ""), labels.get(SWARM_SERVICE, ""))


class Network(DockerKind):
    noun = "network"
    form = _IDS["network"].pattern

    def inspect(self, engine: Engine, reference: str) -> Body | None:
        return engine.ask(engine.inspect_network, reference)

    def remove(self, engine: Engine, reference: str) -> None:
        engine.ask(engine.remove_network, reference)

    def listed(self, engine: Engine, filters: dict[str, str]) -> Any:
        return engine.ask(engine.networks, filters=filters)


class Volume(DockerKind):
    noun = "volume"
    form = _IDS["volume"].pattern

    def check_id(self, resource: Resource, settings: Settings) -> None:
        """Raise Refused for a malformed name of the record's. A name from the engine itself may have any form."""
        if resource.named_by:
            super().check_id(resource, settings)

    def inspect(self, engine: Engine, reference: str) -> Body | None:
        return engine.ask(engine.inspect_volume, reference)

    def remove(self, engine: Engine, reference: str) -> None:
        engine.ask(engine.remove_volume, reference)

    def listed(self, engine: Engine, filters: dict[str, str]) -> Any:
        answer = engine.ask(engine.volumes, filters=filters)
        # An engine without volumes says null.
        return answer and (answer["Volumes"] if answer["Volumes"] is not None else [])


CONTAINER = Container()
_KINDS: dict[str, DockerKind] = {
    "docker:container": CONTAINER,
    "docker:network": Network(),
    "docker:volume": Volume(),
}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
# A network or a volume is in use until the containers are gone.
_STAGES = {"docker:container": 0, "docker:network": 1, "docker:volume": 2}
_KEYS = {"docker:container": "container_id", "docker:network": "network", "docker:volume": "volume"}

NOTES = OperatorNotes(
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


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names, and what its containers use.

    An anonymous volume goes with its container. A named volume that the record doesn't name is kept, unless
    `metadata.delete_dependents` is "all"; networks, and what other containers use too, always are.
    """
    place = _place_of(deployment, settings)
    known = {each.key: each.place for each in deployment.resources if each.place.get("engine") == place["engine"]}
    found = {
        each.key: replace(each, place={"full_id": known.get(each.key, {}).get("full_id", "")})
        for each in named_resources(deployment, place, _STAGES, _KINDS, settings)
    }
    containers = []
    with _engine(place, settings) as engine:
        for resource in [each for each in found.values() if each.kind == "docker:container"]:
            try:
                body = CONTAINER.find(engine, resource)
            except Gone:
                continue
            CONTAINER.check_deletable(engine, resource, body, settings)
            containers.append(body)
            found[resource.key] = replace(resource, place=CONTAINER.identity(body), seen=True)
        if containers:
            # A container seen there vouches for the engine: its "no such volume" counts from now on, too.
            place["engine"] = engine.id
        networks = [name for kind, name in found if kind == "docker:network"]
        ours = {container["Id"] for container in containers}
        for container in containers:
            volumes = _volumes_of(deployment, container, engine, ours)
            for dependent in chain(_networks_of(container, networks), volumes):
                found.setdefault(dependent.key, dependent)
    placed = [replace(resource, place=place | resource.place) for resource in found.values()]
    return sorted(placed, key=lambda resource: resource.stage)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the containers, stopped ones too, networks and volumes that carry the label."""
    place = _place_of(deployment, settings)
    type_ = entry(deployment.deployment_type)
    label = type_.mark_key if generation is None else f"{type_.mark_key}={generation}"
    has_found = False
    with _engine(place, settings) as engine:
        vouched, place = place["engine"], place | {"engine": engine.id}
        for kind, key in _KEYS.items():
            for body in _KINDS[kind].labelled(engine, label):
                mark = mark_in_tags(type_, body.get("Labels") or {})
                if mark is not None and generation in (None, mark):
                    has_found = True
                    yield Found(_labelled(kind, body, place), key, mark, _made_at(body))
        if not has_found:
            check_vouched(generation, vouched, f"engine {engine.id}")


def _labelled(kind: str, body: Body, place: dict[str, str]) -> Resource:
    """Return what a list shows: under its name, if a record could name it so, else under its id."""
    name = str((body.get("Names") or [body.get("Name")])[0]).removeprefix("/")
    id_ = name if _IDS[_KEYS[kind]].matches(name) else body.get("Id") or name
    return Resource(kind, id_, place | {"full_id": body.get("Id", "")}, stage=_STAGES[kind])


def _made_at(body: Body) -> str | None:
    """Return when the engine says that something was made. Containers alone have a number of seconds."""
    created = body.get("Created") or body.get("CreatedAt")
    with suppress(ValueError):
        if isinstance(created, int):
            return format_time(datetime.fromtimestamp(created, UTC))
        if isinstance(created, str):
            return format_time(parse_time(created))
    return None


def _networks_of(container: Body, named: list[str]) -> Iterator[Resource]:
    """Yield the networks that a container is attached to, and that aren't named: they are kept."""
    for name, attachment in container["NetworkSettings"]["Networks"].items():
        if name in _PREDEFINED_NETWORKS or any(is_called(each, attachment["NetworkID"], name) for each in named):
            continue
        why = f"container {container['Id'][:12]} is attached to it, but the record doesn't name it"
        yield kept(Resource("docker:network", name, stage=_STAGES["docker:network"]), why)


def _volumes_of(deployment: Deployment, container: Body, engine: Engine, ours: set[str]) -> Iterator[Resource]:
    """Yield the volumes that a container mounts; `ours` are the full ids of the deployment's containers."""
    for mount in container["Mounts"]:
        if mount["Type"] != "volume":
            continue
        name = mount["Name"]
        volume = Resource("docker:volume", name, stage=_STAGES["docker:volume"])
        users = engine.ask(engine.containers, all=True, filters={"volume": name})
        if users is None:
            raise Unreachable(f"{engine.host}: it doesn't list its containers")
        others = [user["Id"] for user in users if user["Id"] not in ours]
        if others:
            yield kept(volume, f"container {others[0][:12]} mounts it, too")
        elif {".", ".."} & set(name.split("/")):
            # Some volume drivers allow it; in the path of a request it would lead to something else.
            yield kept(volume, "its name can't be asked for safely")
        else:
            is_anonymous = bool(_FULL_ID.fullmatch(name))
            why = 'the record doesn\'t name it; metadata.delete_dependents = "all" would delete it'
            yield judged(deployment, volume, is_marked=is_anonymous, why=why)


def _place_of(deployment: Deployment, settings: Settings) -> dict[str, str]:
    """Return where the record says that it is: host, the secret for it, the engine's id, each empty if unknown."""
    metadata = deployment.metadata
    host = metadata.get("docker_host") or DEFAULT_HOST
    secret = metadata.get("docker_ssh_secret" if host.startswith("ssh:") else "docker_tls_secret", "")
    engine = metadata.get("docker_engine", "")
    if not engine and host == DEFAULT_HOST and settings.local_place:
        engine = settings.local_place.docker_engine
    seen_on = [resource.place["engine"] for resource in deployment.resources if resource.place.get("engine")]
    return {"host": host, "secret": secret, "engine": engine or (seen_on[0] if seen_on else "")}
