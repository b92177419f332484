"""PaperspaceMachine: a machine at Paperspace, with its public addresses, snapshots and shared drives.

A machine that is off is still paid for. Its deletion is an event, which may fail after it was accepted. A shared drive belongs to a
network rather than to a machine: only those that the record names go.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, ClassVar

from msgspec.structs import replace

from tracker.cleanup.core.contract import Found, Observation, OperatorNotes, Progress, ResourceKind
from tracker.cleanup.core.discovery import judged
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.paperspace.api import PAPERSPACE, every
from tracker.cleanup.transport.rest.client import with_id
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents
from tracker.cleanup.transport.rest.listing import Listing, find_listed, in_name
from tracker.cleanup.transport.rest.provider import Api
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

_FAILED = ("error", "cancelled")


class PaperspaceKind(RestKind):
    """One kind of resource at Paperspace. Whether one that is gone is a 404 or has a date of deletion isn't documented: either is taken."""

    provider: ClassVar = PAPERSPACE

    def every(self, connection: Api) -> Iterator[Any]:
        return every(connection, self.path.removesuffix("/{id}"))

    def progress(self, body: Any) -> tuple[Progress, str]:
        if body.get("dtDeleted"):
            return "gone", f"dtDeleted is {body['dtDeleted']}"
        state = str(body.get("state", ""))
        return "present", "off: stopped, and still paid for" if state == "off" else state

    def failure_in(self, answer: dict[str, Any]) -> str:
        state = (answer.get("event") or {}).get("state")
        return f"its event is {state}" if state in _FAILED else ""


class Machine(PaperspaceKind):
    noun, path = "machine", "/v1/machines/{id}"

    def observe(self, connection: Api, resource: Resource, body: Any) -> Observation:
        """Say what was read, and what became of the newest event. That it failed is reported once."""
        look = super().observe(connection, resource, body)
        if look.state == "gone" or not resource.asked_in:
            return look
        events = every(connection, "/v1/machine-events", machineId=resource.id, orderBy="dtCreated", order="desc")
        event: dict[str, Any] = next(events, {})
        state, id_ = str(event.get("state", "")), str(event.get("id", ""))
        if state in ("new", "in progress"):
            return replace(look, state="leaving", detail=f"{look.detail}, event {event.get('name')} {state}")
        if state not in _FAILED or resource.place.get("failed") == id_:
            return look
        return replace(look, failure=f"event {event.get('name')}: {state}", place=look.place | {"failed": id_})


class Address(PaperspaceKind):
    """A public address, which is only shown by the list of all. It stays assigned to a machine until it is released."""

    noun, path, detaches = "public address", "/v1/public-ips/{id}", True
    reuses_ids = True

    def read(self, connection: Api, resource: Resource) -> Any:
        items = with_id(every(connection, "/v1/public-ips"), "GET /v1/public-ips", "ip")
        found = next((each for each in items if each["ip"] == resource.id), None)
        if found is None:
            raise Gone(f"GET /v1/public-ips: {resource.id} isn't listed")
        return found

    def users(self, body: Any) -> Iterable[str]:
        return [str(body["assignedMachineId"])] if body.get("assignedMachineId") else []


class Snapshot(PaperspaceKind):
    noun, path = "snapshot", "/v1/snapshots/{id}"


class SharedDrive(PaperspaceKind):
    noun, path = "shared drive", "/v1/shared-drives/{id}"


_DEPENDENTS = {"public_ip": Address(), "snapshot": Snapshot(), "shared_drive": SharedDrive()}
_KINDS: dict[str, RestKind] = {"paperspace:machine": Machine()} | {f"paperspace:{k}": v for k, v in _DEPENDENTS.items()}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
_STAGES = {kind: min(n, 1) for n, kind in enumerate(_KINDS)}
_LISTINGS = [
    Listing(f"paperspace:{kind}", partial(every, path=f"/v1/{kind.replace('_', '-')}s"), in_name(), "dtCreated")
    for kind in ("machine", "snapshot", "shared_drive")
]

NOTES = OperatorNotes(
    credentials="An API key of the team: secret key `token`; on one machine PAPERSPACE_API_KEY.",
    permissions=("an API key has no scopes",),
    order=("the machine", "its public addresses and snapshots, and the shared drives that the record names"),
    gone="404 `NOT_FOUND`, or `dtDeleted` is set, with a key whose team was asked for before; an address: absent from the team's list.",
    duration="A few minutes.",
    limits="By a mark machines, snapshots and shared drives are found; addresses have no name. Nobody says which machines use a shared drive: one goes if it is named. Private networks and startup scripts stay.",
    sources="Paperspace's API as Paperspace/cli has it (c7bdd42, 2026-02-08); the answer for a machine that is gone isn't documented.",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names, and the addresses and snapshots that its machine has."""

    def dependents(api: Api, machine: Resource, _body: Any) -> Iterator[Resource]:
        for each in every(api, "/v1/public-ips"):
            if each.get("assignedMachineId") == machine.id:
                yield judged(deployment, Resource("paperspace:public_ip", str(each["ip"]), stage=1))
        for each in every(api, "/v1/snapshots", machineId=machine.id):
            yield judged(deployment, Resource("paperspace:snapshot", str(each["id"]), stage=1))

    return discover_with_dependents(deployment, settings, _KINDS, _STAGES, dependents)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the machines, snapshots and shared drives whose name begins with the mark."""
    return find_listed(deployment, settings, generation, _KINDS, _LISTINGS)
