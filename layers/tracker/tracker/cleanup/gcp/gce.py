"""GcpGce: an instance of Compute Engine, with its disks and addresses, and firewall rules that the record names.

The instance goes first: disks with autoDelete go with it, and only then are the others free. Names come again: what is remembered is
the numeric id. Deletions are operations, which may fail after they were accepted, and then the resource is simply still there.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, ClassVar

from google.cloud import compute_v1
from msgspec.structs import replace

from tracker.cleanup.contract import Busy, Facts, Kind, Look, Refused, Unreachable
from tracker.cleanup.gcp import session
from tracker.cleanup.gcp.compute import COMPUTE, after, call, deletion, listed, where
from tracker.cleanup.rest import Api, Gone
from tracker.deployment import Deployment, Resource, ids_named
from tracker.settings import Settings

ZONE = r"[a-z]{2,16}-[a-z]{3,16}[0-9]{1,2}-(ai[0-9])?[a-z]"
# RFC 1035, as Compute Engine wants names.
NAME = r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
NUMBER = r"[1-9][0-9]{0,19}"


class GceKind:
    """How one kind of resource goes: read by its name, judged again, then asked to go.

    `noun` is what the client calls it, `clients` which of them know it, by the scope that it is in.
    """

    one_at_a_time: bool = False
    noun: str
    plural: str
    clients: ClassVar[Mapping[str, Any]]

    def check(self, resource: Resource) -> None:
        """Refused, if its name can't be one."""
        if not re.fullmatch(NAME, resource.id, re.ASCII):
            raise Refused("bad_id", f"{resource.id!r} can't be the name of a {self.noun}")

    def find(self, api: Api, resource: Resource) -> Any:
        """It, as Google shows it. Gone, if there is none in its scope, or another one has its name now."""
        try:
            found = self._asked(api, resource, "get", resource.id)
        except Gone:
            _prove(api, resource)
            raise
        if not found.id or found.name != resource.id:
            raise Unreachable(f"get {self.noun} {resource.id}: the answer isn't that")
        known = resource.place.get("id", str(found.id))
        if known != str(found.id):
            raise Gone(f"get {self.noun} {resource.id}: another one has the name now, {found.id}, and it was {known}")
        return found

    def state(self, resource: Resource, settings: Settings) -> Look:
        """Read it, in the project and scope of its place."""
        self.check(resource)
        api = COMPUTE.open(resource.place, settings)
        try:
            found = self.find(api, resource)
        except Gone as gone:
            return Look("gone", proof=str(gone))
        look = Look("present", detail=getattr(found, "status", ""), place={"id": str(found.id)})
        return after(api, resource, look, deletion(api, resource.place["scope"], found.id))

    def delete(self, resource: Resource, settings: Settings) -> None:
        """Ask it to go, if it is still there and still may go. On its way it isn't asked again: Google would refuse."""
        self.check(resource)
        api = COMPUTE.open(resource.place, settings)
        try:
            found = self.find(api, resource)
            self.allow(resource, found, settings)
            self._asked(api, resource, "delete_unary", self.target(found))
        except Gone:
            return

    def target(self, found: Any) -> str:
        """What a deletion names it by."""
        return str(found.name)

    def allow(self, resource: Resource, found: Any, settings: Settings) -> None:
        """Refused or Busy, if it may not be deleted, as it is now."""
        if objection := self.objection(resource, found, settings):
            raise Refused("not_ours", f"this {self.noun} isn't deleted: {objection}")

    def objection(self, resource: Resource, found: Any, settings: Settings) -> str:
        """Why it isn't the deployment's to delete; empty if it is."""
        return ""

    def elsewhere(self, api: Api, name: str) -> list[tuple[str, Any]]:
        """All of this name in the project, each with the scope that it is in."""
        asked = {"project": api.account, "filter": f"name = {name}"}
        groups = listed(api, self.clients["zones" if "zones" in self.clients else "regions"], "aggregated_list", asked)
        return [
            (scope, found) for scope, group in groups for found in getattr(group, self.plural) if found.name == name
        ]

    def _asked(self, api: Api, resource: Resource, method: str, name: str) -> Any:
        scope = resource.place["scope"]
        client = self.clients[scope.partition("/")[0]]
        return call(api, client, method, project=api.account, **where(scope), **{self.noun: name})


class Instance(GceKind):
    noun, plural = "instance", "instances"
    clients: ClassVar = {"zones": compute_v1.InstancesClient}

    def target(self, found: Any) -> str:
        # Its number: another one that got the name since isn't meant.
        return str(found.id)

    def allow(self, resource: Resource, found: Any, settings: Settings) -> None:
        super().allow(resource, found, settings)
        if found.deletion_protection:
            raise Refused("protected", f"{resource.id} is protected against deletion: lift deletionProtection first")
        group = next((item.value for item in found.metadata.items if item.key == "created-by"), "")
        if "/instanceGroupManagers/" in group:
            name = group.rpartition("/")[2]
            raise Refused(
                "protected", f"the managed instance group {name} would replace {resource.id}: take it out first"
            )

    def objection(self, resource: Resource, found: Any, settings: Settings) -> str:
        mark = settings.google_mark
        return f"it doesn't carry the label {mark}" if mark and not session.is_marked(found.labels, settings) else ""


class Dependent(GceKind):
    """What instances use: it goes if it is named, marked, or wished gone with `delete_dependents`, and nobody else uses it."""

    def allow(self, resource: Resource, found: Any, settings: Settings) -> None:
        if any(self._is_ours(resource, each) for each in found.users):
            goes = resource.place.get("goes_with")
            raise Busy(f"still to go with {goes}" if goes else f"still used by {_short(found.users[0])}")
        super().allow(resource, found, settings)

    def objection(self, resource: Resource, found: Any, settings: Settings) -> str:
        strangers = [each for each in found.users if not self._is_ours(resource, each)]
        if strangers:
            return f"used by {_short(strangers[0])}, which the record doesn't name"
        wished = resource.named_by or resource.place.get("dependents") == "all"
        if wished or session.is_marked(found.labels, settings):
            return ""
        return 'only found, not named by the record, and not marked; metadata.delete_dependents = "all" would delete it'

    def _is_ours(self, resource: Resource, user: str) -> bool:
        ours = resource.place.get("used_by", "").split(",")
        return _short(user) in ours and f"/projects/{resource.place['account']}/" in user


class Disk(Dependent):
    noun, plural = "disk", "disks"
    clients: ClassVar = {"zones": compute_v1.DisksClient, "regions": compute_v1.RegionDisksClient}


class Address(Dependent):
    noun, plural = "address", "addresses"
    clients: ClassVar = {"regions": compute_v1.AddressesClient, "global": compute_v1.GlobalAddressesClient}


class Firewall(GceKind):
    """A firewall rule, which can't be labelled: being named is ownership."""

    noun, plural = "firewall", "firewalls"
    clients: ClassVar = {"global": compute_v1.FirewallsClient}

    def elsewhere(self, api: Api, name: str) -> list[tuple[str, Any]]:
        return []


INSTANCE, DISK, ADDRESS = Instance(), Disk(), Address()
_KINDS: dict[str, GceKind] = {
    "gcp:instance": INSTANCE,
    "gcp:disk": DISK,
    "gcp:address": ADDRESS,
    "gcp:firewall": Firewall(),
}
KINDS: dict[str, Kind] = dict(_KINDS)
_STAGES = {"gcp:instance": 0, "gcp:disk": 1, "gcp:address": 1, "gcp:firewall": 2}
_NAMED = {"disk": "gcp:disk", "address": "gcp:address", "firewall": "gcp:firewall"}

FACTS = Facts(
    credentials=(
        "A service account's key: the secret's keys are those of the key file (`type`, `client_email`, `private_key`, `token_uri`, ...). Or "
        "workload identity federation with AWS: those of an `external_account` configuration, without its `credential_source`, which is "
        "always the function's own role. On one machine the file that GOOGLE_APPLICATION_CREDENTIALS names. The account is the project."
    ),
    permissions=(
        "compute.zones.get",
        "compute.{instances,disks,addresses}.{get,list,delete}; compute.globalAddresses.{get,delete}",
        "compute.firewalls.{get,delete}, compute.networks.updatePolicy, if records name firewall rules",
        "compute.{zoneOperations,regionOperations,globalOperations}.list",
    ),
    order=(
        "the instance; disks with autoDelete go with it",
        "the other disks, and reserved addresses, once nothing uses them",
        "firewall rules that the record names",
    ),
    gone=(
        "404 `notFound` to a get of the name, or another numeric id under it; while the same credential may see the zone. An instance that "
        "was never seen isn't in any other zone either."
    ),
    duration="1 to 5 minutes.",
    limits=(
        "TERMINATED is stopped, and is deleted. Snapshots, images, instance templates and DNS names stay. Instances of a managed instance "
        "group are refused. Firewall rules and forwarding rules are never discovered."
    ),
    sources=(
        "Google's discovery document compute.v1 and google-cloud-compute 1.57 (paths, forms, states, operations); the wording of "
        "deletionProtection's and resourceInUse's 400: Terraform's provider; retry times: not documented."
    ),
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """What the record names, and what its instances that are still there use."""
    place = COMPUTE.place_of(deployment, settings)
    if not re.fullmatch(ZONE, place["location"], re.ASCII):
        raise Refused("bad_id", f"an instance is in a zone, and the record's region, {place['location']!r}, isn't one")
    names = ids_named(deployment, "instance_name")
    if not names:
        raise Refused("missing_id", "resource_ids.instance_name is missing")
    instances = [_resource("gcp:instance", name, place, named_by="instance_name") for name in names]
    named = [
        _resource(kind, id_, place, named_by=key) for key, kind in _NAMED.items() for id_ in ids_named(deployment, key)
    ]
    for resource in chain(instances, named):
        _KINDS[resource.kind].check(resource)
    numbers = _number(deployment, names[0])

    api = COMPUTE.open(place, settings)
    known = {each.key: each for each in deployment.resources}
    ours = {"used_by": ",".join(f"{each.place['scope']}/instances/{each.id}" for each in instances)}
    wish = {"dependents": "all"} if deployment.metadata.get("delete_dependents") == "all" else {}
    found: dict[tuple[str, str], Resource] = {}
    hanging: list[Resource] = []
    for each in instances:
        resource, instance = _looked_up(api, each, known, numbers.get(each.id, {}), settings)
        if instance is not None:
            INSTANCE.allow(resource, instance, settings)
            hanging += _hanging(api, resource, instance)
        found[resource.key] = resource
    going = {each.key: each.place for each in hanging if "goes_with" in each.place}
    for each in [*named, *hanging]:
        if each.key not in found:
            more = ours | going.get(each.key, {}) | (wish if each.kind != "gcp:firewall" else {})
            found[each.key] = _judged(api, replace(each, place=each.place | more), known, settings)
    return sorted(found.values(), key=lambda each: each.stage)


def _number(deployment: Deployment, name: str) -> dict[str, dict[str, str]]:
    """The numeric id that the record may have of the instance as its `instance_id`. Refused, if that names another instance."""
    given = deployment.resource_ids.get("instance_id", name)
    if given == name:
        return {}
    if isinstance(given, str) and re.fullmatch(NUMBER, given, re.ASCII):
        return {name: {"id": given}}
    raise Refused("bad_id", f"instance_id is {given!r}, and instance_name {name!r}: which is it?")


def _looked_up(
    api: Api,
    resource: Resource,
    known: Mapping[tuple[str, str], Resource],
    identity: dict[str, str],
    settings: Settings,
) -> tuple[Resource, Any]:
    """A resource with what is known of it, and what Google shows of it: None if it is gone.

    Refused, if one that was never seen isn't where the record says, but elsewhere: that it isn't here proves nothing then.
    """
    before = known.get(resource.key)
    kind = _KINDS[resource.kind]
    place = (before.place if before else {}) | resource.place | identity
    if before and "scope" in before.place and before.seen:
        place |= {"scope": before.place["scope"]}
    resource = replace(resource, place=place)
    try:
        found = kind.find(api, resource)
    except Gone:
        if before and before.seen:
            return resource, None
        return _elsewhere(api, kind, resource, settings)
    return replace(resource, seen=True, place=resource.place | {"id": str(found.id)}), found


def _elsewhere(api: Api, kind: GceKind, resource: Resource, settings: Settings) -> tuple[Resource, Any]:
    """One that isn't where it was looked for: a regional disk, say, or one that the record has in the wrong zone."""
    here = resource.place["scope"]
    near = {f"zones/{resource.place['location']}", f"regions/{_region(resource.place['location'])}", "global"} - {here}
    number = resource.place.get("id")
    for scope, found in kind.elsewhere(api, resource.id):
        if scope == here or (number and number != str(found.id)):
            continue
        if scope in near:
            return replace(resource, seen=True, place=resource.place | {"scope": scope, "id": str(found.id)}), found
        if number or not settings.google_mark or session.is_marked(found.labels, settings):
            text = (
                f"{kind.noun} {resource.id} isn't in {here}, but there is one in {scope}: correct the record's region"
            )
            raise Refused("bad_id", text)
    return resource, None


def _hanging(api: Api, resource: Resource, instance: Any) -> Iterator[Resource]:
    """The disks of an instance, and the addresses that are reserved for it."""
    kept = ("account", "credential", "location")
    place = {key: value for key, value in resource.place.items() if key in kept}
    for disk in instance.disks:
        scope, _, name = _short(disk.source).partition("/disks/")
        # A local SSD has no source, and goes with the instance.
        if name:
            goes = {"goes_with": resource.id} if disk.auto_delete else {}
            yield Resource("gcp:disk", name, place | {"scope": scope} | goes, stage=_STAGES["gcp:disk"])
    addresses = sorted(filter(None, _addresses(instance)))
    if not addresses:
        return
    region = _region(place["location"])
    asked = {
        "project": api.account,
        "region": region,
        "filter": " OR ".join(f'(address = "{each}")' for each in addresses),
    }
    for address in listed(api, compute_v1.AddressesClient, "list", asked):
        if f"{resource.place['scope']}/instances/{resource.id}" in map(_short, address.users):
            yield _resource("gcp:address", address.name, place)


def _addresses(instance: Any) -> Iterator[str]:
    for interface in instance.network_interfaces:
        yield from (interface.network_i_p, interface.ipv6_address)
        for access in chain(interface.access_configs, interface.ipv6_access_configs):
            yield from (access.nat_i_p, access.external_ipv6)


def _judged(api: Api, resource: Resource, known: Mapping[tuple[str, str], Resource], settings: Settings) -> Resource:
    """A dependent that may go, or is kept. Refused, if the record names it and it isn't the deployment's to delete."""
    kind = _KINDS[resource.kind]
    if not resource.named_by:
        resource = replace(
            resource, place=(known[resource.key].place if resource.key in known else {}) | resource.place
        )
        try:
            found = kind.find(api, resource)
        except Gone:
            return resource
        resource = replace(resource, seen=True, place=resource.place | {"id": str(found.id)})
    else:
        resource, found = _looked_up(api, resource, known, {}, settings)
        if found is None:
            return resource
    objection = "" if "goes_with" in resource.place else kind.objection(resource, found, settings)
    if objection and resource.named_by:
        raise Refused("not_ours", f"{kind.noun} {resource.id} isn't deleted: {objection}")
    return replace(resource, state="kept", detail=objection) if objection else resource


def _resource(kind: str, id: str, place: dict[str, str], named_by: str = "") -> Resource:
    zone = place["location"]
    scope = {"gcp:address": f"regions/{_region(zone)}", "gcp:firewall": "global"}.get(kind, f"zones/{zone}")
    return Resource(kind, id, place | {"scope": scope}, stage=_STAGES[kind], named_by=named_by)


def _region(zone: str) -> str:
    return zone.rpartition("-")[0]


def _short(url: str) -> str:
    """What a resource's URL says after its project: "zones/europe-west1-b/instances/blueprint-1"."""
    return url.partition("/projects/")[2].partition("/")[2]


def _prove(api: Api, resource: Resource) -> None:
    """Refused, if the credential may not see the project and its zone, to which nothing would be there."""
    zone = resource.place["location"]
    try:
        found = call(api, compute_v1.ZonesClient, "get", project=api.account, zone=zone)
    except Gone as gone:
        text = f"{gone}: there is no such zone in project {api.account}, or the credential may not see it"
        raise Refused("credentials", text) from None
    if found.name != zone:
        raise Unreachable(f"get zone {zone}: the answer isn't that")
