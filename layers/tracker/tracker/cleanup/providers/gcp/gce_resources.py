"""The kinds of resources of Compute Engine: how an instance, a disk, an address and a firewall rule are read and deleted.

Used by `gce`. Names come again: the numeric id tells two apart.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from google.cloud import compute_v1

from tracker.cleanup.core.contract import Busy, Observation, Progress, Refused, Unreachable
from tracker.cleanup.core.kind import Gone, Kind
from tracker.cleanup.providers.gcp import session
from tracker.cleanup.providers.gcp.compute import COMPUTE, after, call, deletion, listed, where
from tracker.cleanup.transport.rest.provider import Api
from tracker.model.deployment import Resource
from tracker.model.settings import Settings


class GceKind(Kind[Api, Any]):
    """One kind of resource of Compute Engine, in the scope of its place. Names come again: the numeric id tells two apart.

    `noun` and `plural` are the client's words for it, `clients` its clients by the scopes that it can be in.
    """

    mark_key = "gcp"
    mark_noun = "label"
    settles_in = 60
    plural: ClassVar[str]
    clients: ClassVar[Mapping[str, Any]]

    @contextmanager
    def open(self, resource: Resource, settings: Settings) -> Iterator[Api]:
        """Open the project of the resource."""
        yield COMPUTE.open(resource.place, settings)

    def read(self, connection: Api, resource: Resource) -> Any:
        """Get it by its name. Raises Gone only if the credential may see the zone."""
        try:
            found = self._call(connection, resource, "get", resource.id)
        except Gone:
            check_zone(connection, resource.place["location"])
            raise
        if not found.id or found.name != resource.id:
            raise Unreachable(f"get {self.noun} {resource.id}: the answer isn't that")
        return found

    def request_deletion(self, connection: Api, resource: Resource, body: Any) -> None:
        """Request the deletion."""
        self._call(connection, resource, "delete_unary", self.target(body))

    def progress(self, body: Any) -> tuple[Progress, str]:
        """Return the status of an instance, disk or address. The operation says whether it is on its way out."""
        return "present", str(getattr(body, "status", ""))

    def identity(self, body: Any) -> dict[str, str]:
        """Return the numeric id."""
        return {"id": str(body.id)}

    def has_mark(self, body: Any, mark: str) -> bool:
        """Return whether the mark is among its labels."""
        return session.has_label(body.labels, mark)

    def observe(self, connection: Api, resource: Resource, body: Any) -> Observation:
        """Say what was read, and what became of its deletion."""
        observation = super().observe(connection, resource, body)
        return after(connection, resource, observation, deletion(connection, resource.place["scope"], body.id))

    def target(self, body: Any) -> str:
        """Return what a deletion names it by."""
        return str(body.name)

    def elsewhere(self, api: Api, name: str) -> list[tuple[str, Any]]:
        """Return all of this name in the project, each with the scope that it is in."""
        asked = {"project": api.account, "filter": f"name = {name}"}
        groups = listed(api, self.clients["zones" if "zones" in self.clients else "regions"], "aggregated_list", asked)
        return [
            (scope, found) for scope, group in groups for found in getattr(group, self.plural) if found.name == name
        ]

    def _call(self, api: Api, resource: Resource, method: str, name: str) -> Any:
        scope = resource.place["scope"]
        client = self.clients[scope.partition("/")[0]]
        return call(api, client, method, project=api.account, **where(scope), **{self.noun: name})


class Instance(GceKind):
    noun, plural, needs_mark = "instance", "instances", True
    clients: ClassVar = {"zones": compute_v1.InstancesClient}

    def target(self, body: Any) -> str:
        # Its number: another one that got the name since isn't meant.
        return str(body.id)

    def protection(self, connection: Api, resource: Resource, body: Any) -> str:
        if body.deletion_protection:
            return f"{resource.id} is protected against deletion: lift deletionProtection first"
        group = next((item.value for item in body.metadata.items if item.key == "created-by"), "")
        if "/instanceGroupManagers/" in group:
            name = group.rpartition("/")[2]
            return f"the managed instance group {name} would replace {resource.id}: take it out first"
        return ""


class Dependent(GceKind):
    """This is what instances use. A user is named by its scope and name, "zones/europe-west1-b/instances/blueprint-1"."""

    def users(self, body: Any) -> Iterable[str]:
        """Return its users."""
        return [short(user) for user in body.users]

    def strangers(self, resource: Resource, body: Any) -> Iterable[str]:
        """Return its users that aren't the deployment's, those in other projects among them."""
        ours = resource.place.get("used_by", "").split(",")
        project = f"/projects/{resource.place['account']}/"
        return (short(user) for user in body.users if short(user) not in ours or project not in user)

    def check_deletable(self, connection: Api, resource: Resource, body: Any, settings: Settings) -> None:
        """Wait for the instances that it goes with, whosever it is."""
        strangers = set(self.strangers(resource, body))
        if user := next((user for user in self.users(body) if user not in strangers), ""):
            goes = resource.place.get("goes_with")
            raise Busy(f"still to go with {goes}" if goes else f"still attached to {user}")
        super().check_deletable(connection, resource, body, settings)

    def objection(self, resource: Resource, body: Any, settings: Settings) -> str:
        """Return why it isn't the deployment's. One that was to go with its instance, and didn't, was kept by someone."""
        return super().objection(resource, body, settings) or resource.place.get("stays", "")


class Disk(Dependent):
    noun, plural = "disk", "disks"
    clients: ClassVar = {"zones": compute_v1.DisksClient, "regions": compute_v1.RegionDisksClient}


class Address(Dependent):
    noun, plural = "address", "addresses"
    clients: ClassVar = {"regions": compute_v1.AddressesClient, "global": compute_v1.GlobalAddressesClient}


class Firewall(GceKind):
    """A firewall rule. It can't be labelled, and is only ever named."""

    noun, plural = "firewall", "firewalls"
    clients: ClassVar = {"global": compute_v1.FirewallsClient}

    def elsewhere(self, api: Api, name: str) -> list[tuple[str, Any]]:
        return []


def short(url: str) -> str:
    """Return a resource's URL after its project: "zones/europe-west1-b/instances/blueprint-1"."""
    return url.partition("/projects/")[2].partition("/")[2]


def check_zone(api: Api, zone: str) -> None:
    """Raise Refused if the credential may not see the project and its zone: to such a credential nothing would be there."""
    try:
        found = call(api, compute_v1.ZonesClient, "get", project=api.account, zone=zone)
    except Gone as gone:
        text = f"{gone}: there is no such zone in project {api.account}, or the credential may not see it"
        raise Refused("credentials", text) from None
    if found.name != zone:
        raise Unreachable(f"get zone {zone}: the answer isn't that")
