"""FluidstackServer: an instance at Fluidstack, by Atlas, the newest generation of its API, with its filesystems.

It is stopped before it is deleted, as the vendor's own example does. A filesystem outlives its instances.
"""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from tracker.cleanup.core.contract import Busy, Found, OperatorNotes, Progress, ResourceKind
from tracker.cleanup.core.discovery import judged
from tracker.cleanup.providers.fluidstack.api import FLUIDSTACK, ROOT, every
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents
from tracker.cleanup.transport.rest.listing import Listing, find_listed, in_tags
from tracker.cleanup.transport.rest.provider import Api
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

# Seconds, as the vendor's example waits.
STOPS_IN = 5


class Server(RestKind):
    provider: ClassVar = FLUIDSTACK
    noun, path = "instance", f"{ROOT}/instances/{{id}}"
    needs_mark, mark_key = True, "fluidstack"

    def every(self, connection: Api) -> Iterator[Any]:
        return every(connection, f"{ROOT}/instances")

    def progress(self, body: Any) -> tuple[Progress, str]:
        state = str(body["state"])
        stopped = "stopped, and what it keeps is still paid for" if state == "stopped" else state
        return ("leaving" if state == "deleting" else "present"), stopped

    def has_mark(self, body: Any, mark: str) -> bool:
        return any(mark in (key, f"{key}={value}") for key, value in (body.get("tags") or {}).items())

    def request_deletion(self, connection: Api, resource: Resource, body: Any) -> None:
        """Stop it, if it runs; else request its deletion."""
        if body["state"] == "running":
            connection.call("POST", self.path_of(resource, f"{self.path}/actions/stop"))
        if body["state"] in ("running", "stopping"):
            raise Busy("it is stopped first", STOPS_IN)
        super().request_deletion(connection, resource, body)


class Filesystem(RestKind):
    provider: ClassVar = FLUIDSTACK
    noun, path = "filesystem", f"{ROOT}/filesystems/{{id}}"

    def read(self, connection: Api, resource: Resource) -> Any:
        """Return the filesystem, with the instances that use it: only they tell."""
        body = super().read(connection, resource)
        using = [
            each["id"]
            for each in every(connection, f"{ROOT}/instances")
            if resource.id.lower() in (str(id_).lower() for id_ in each.get("filesystems") or [])
        ]
        return body | {"users": using}

    def users(self, body: Any) -> Iterable[str]:
        return map(str, body["users"])


_KINDS: dict[str, RestKind] = {"fluidstack:server": Server(), "fluidstack:filesystem": Filesystem()}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
_STAGES = {"fluidstack:server": 0, "fluidstack:filesystem": 1}
_LISTINGS = [Listing("fluidstack:server", lambda api: every(api, f"{ROOT}/instances"), in_tags("tags"))]

NOTES = OperatorNotes(
    credentials="A client of the organization: secret keys `client_id` and `client_secret`; on one machine ATLAS_CLIENT_ID and ATLAS_CLIENT_SECRET.",
    permissions=("instances and filesystems of the project, and the project itself: read and write",),
    order=("the instance, stopped first", "its filesystems, once no instance uses them"),
    gone="404 to a GET, with a credential that may read the record's project.",
    duration="Minutes.",
    limits=(
        "By a mark instances are found; filesystems have no tags. Refused unless BaseUrls names the region's URL as `fluidstack` and the record has the metadata `generation` `atlas` and a `project_id`. The older "
        "generations (platform.fluidstack.io, and version 1 at api.fluidstack.io) aren't served: what they answer isn't documented."
    ),
    sources="fluidstackio/atlas-client-go 0fbc711 (2025-06-09): v1alpha1, and the example of an instance's life.",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names, and the filesystems that its instance has."""

    def dependents(_api: Api, _server: Resource, body: Any) -> Iterator[Resource]:
        for id_ in body.get("filesystems") or []:
            yield judged(deployment, Resource("fluidstack:filesystem", str(id_), stage=1))

    return discover_with_dependents(deployment, settings, _KINDS, _STAGES, dependents)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the instances of the project that are tagged with the mark."""
    return find_listed(deployment, settings, generation, _KINDS, _LISTINGS)
