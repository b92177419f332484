"""GcpGce: an instance of Compute Engine, with its disks and addresses, and firewall rules that the record names.

The instance goes first: disks with autoDelete go with it, and only then are the others free. Names come again: what is remembered is
the numeric id. Deletions are operations, which may fail after they were accepted, and then the resource is simply still there.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from google.cloud import compute_v1
from msgspec.structs import replace

from tracker.cleanup.core.contract import Found, OperatorNotes, Refused, ResourceKind
from tracker.cleanup.core.discovery import judged, kept, named_resources
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.gcp.compute import COMPUTE, listed
from tracker.cleanup.providers.gcp.gce_leftovers import labelled, saved
from tracker.cleanup.providers.gcp.gce_marked import marked
from tracker.cleanup.providers.gcp.gce_resources import Address, Disk, Firewall, GceKind, Instance, short
from tracker.cleanup.transport.rest.provider import Api
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

ZONE = r"[a-z]{2,16}-[a-z]{3,16}[0-9]{1,2}-(ai[0-9])?[a-z]"
NUMBER = r"[1-9][0-9]{0,19}"


INSTANCE, DISK, ADDRESS = Instance(), Disk(), Address()
_KINDS: dict[str, GceKind] = {
    "gcp:instance": INSTANCE,
    "gcp:disk": DISK,
    "gcp:address": ADDRESS,
    "gcp:firewall": Firewall(),
}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
_STAGES = {"gcp:instance": 0, "gcp:disk": 1, "gcp:address": 1, "gcp:firewall": 2}

NOTES = OperatorNotes(
    credentials=(
        "A service account's key: the secret's keys are those of the key file (`type`, `client_email`, `private_key`, `token_uri`, ...). Or "
        "workload identity federation with AWS: those of an `external_account` configuration, without its `credential_source`, which is "
        "always the function's own role. On one machine the file that GOOGLE_APPLICATION_CREDENTIALS names. The account is the project."
    ),
    permissions=(
        "compute.zones.get",
        "compute.{instances,disks,addresses}.{get,list,delete}; compute.globalAddresses.{get,list,delete}",
        "compute.firewalls.{get,delete}, compute.networks.updatePolicy, if records name firewall rules",
        "compute.{zoneOperations,regionOperations,globalOperations}.list",
        "compute.{snapshots,images,machineImages,targetInstances}.list: to show what stays",
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
        "By a mark only the record's zone, its region and global addresses are looked through. TERMINATED is stopped, and is deleted. Snapshots and images of its disks, its machine images and target instances are kept and "
        "shown by name; so are free disks and addresses with the label, if the instance is gone before its first cleanup. Instance templates and DNS names stay. Instances of a managed instance "
        "group are refused. Firewall rules and forwarding rules are never discovered."
    ),
    sources=(
        "Google's discovery document compute.v1 and google-cloud-compute 1.57 (paths, forms, states, operations; labels of lower case letters, digits, `-`, `_`, up to 63); the wording of "
        "deletionProtection's and resourceInUse's 400: Terraform's provider; retry times: not documented."
    ),
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names, and what its instances that are still there use."""
    place = _place_of(deployment, settings)
    named = [_in_scope(each) for each in named_resources(deployment, place, _STAGES, _KINDS, settings)]
    instances = [each for each in named if each.kind == "gcp:instance"]
    numbers = _number(deployment, instances[0].id)

    api = COMPUTE.open(place, settings)
    known = {each.key: each for each in deployment.resources}
    found: dict[tuple[str, str], Resource] = {}
    dependents: list[Resource] = []
    leftovers: list[Resource] = []
    for each in instances:
        resource, instance = _looked_up(api, each, known, numbers.get(each.id, {}), settings)
        if instance is not None:
            INSTANCE.check_deletable(api, resource, instance, settings)
            dependents += _dependents(api, resource, instance)
            leftovers += saved(
                api, resource, {f"{d.place['scope']}/disks/{d.id}" for d in dependents if d.kind == "gcp:disk"}
            )
        else:
            leftovers += labelled(api, resource, _region(place["location"]), settings.mark("gcp"))
        found[resource.key] = resource
    used_by = {"used_by": ",".join(f"{each.place['scope']}/instances/{each.id}" for each in instances)}
    going = {each.key: each.place for each in dependents if "goes_with" in each.place}
    for each in [*named, *dependents]:
        if each.key not in found:
            resource = replace(each, place=each.place | used_by | going.get(each.key, {}))
            found[each.key] = _judged(api, resource, deployment, known, settings)
    found = {each.key: each for each in leftovers if each.key not in known} | found
    return sorted(found.values(), key=lambda each: each.stage)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the instances and disks of the record's zone, and the regional disks and the addresses, that are labelled with the mark."""
    place = _place_of(deployment, settings)
    kinds = {kind: _KINDS[kind] for kind in ("gcp:instance", "gcp:disk", "gcp:address")}
    return marked(COMPUTE.open(place, settings), deployment, place, generation, kinds)


def _place_of(deployment: Deployment, settings: Settings) -> dict[str, str]:
    place = COMPUTE.place_of(deployment, settings)
    if not re.fullmatch(ZONE, place["location"], re.ASCII):
        raise Refused("bad_id", f"an instance is in a zone, and the record's region, {place['location']!r}, isn't one")
    return place


def _number(deployment: Deployment, name: str) -> dict[str, dict[str, str]]:
    """Return the numeric id that the record may have of the instance, as its `instance_id`. Raises Refused if that names another one."""
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
    """Return a resource with what is known of it, and Google's description of it, None if it isn't there.

    Raises Refused if one that was never seen isn't where the record says, but elsewhere: that it isn't here proves nothing then.
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
            return replace(resource, absent=1), None
        return _elsewhere(api, kind, resource, settings)
    return replace(resource, seen=True, place=resource.place | {"id": str(found.id)}), found


def _elsewhere(api: Api, kind: GceKind, resource: Resource, settings: Settings) -> tuple[Resource, Any]:
    """Look for one that isn't where it should be: a regional disk, say, or one that the record has in the wrong zone."""
    here = resource.place["scope"]
    near = {f"zones/{resource.place['location']}", f"regions/{_region(resource.place['location'])}", "global"} - {here}
    number = resource.place.get("id")
    for scope, found in kind.elsewhere(api, resource.id):
        if scope == here or (number and number != str(found.id)):
            continue
        if scope in near:
            return replace(resource, seen=True, place=resource.place | {"scope": scope, "id": str(found.id)}), found
        if number or not settings.mark("gcp") or kind.has_mark(found, settings.mark("gcp")):
            text = (
                f"{kind.noun} {resource.id} isn't in {here}, but there is one in {scope}: correct the record's region"
            )
            raise Refused("bad_id", text)
    return replace(resource, absent=1), None


def _dependents(api: Api, resource: Resource, instance: Any) -> Iterator[Resource]:
    """Yield the disks of an instance, and the addresses that are reserved for it."""
    shared = ("account", "credential", "location")
    place = {key: value for key, value in resource.place.items() if key in shared}
    for disk in instance.disks:
        scope, _, name = short(disk.source).partition("/disks/")
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
        if f"{resource.place['scope']}/instances/{resource.id}" in map(short, address.users):
            yield _in_scope(Resource("gcp:address", address.name, place, stage=_STAGES["gcp:address"]))


def _addresses(instance: Any) -> Iterator[str]:
    for interface in instance.network_interfaces:
        yield from (interface.network_i_p, interface.ipv6_address)
        for access in chain(interface.access_configs, interface.ipv6_access_configs):
            yield from (access.nat_i_p, access.external_ipv6)


def _judged(
    api: Api, resource: Resource, deployment: Deployment, known: Mapping[tuple[str, str], Resource], settings: Settings
) -> Resource:
    """Return a dependent, to go or to be kept. Raises Refused if the record names it and it isn't the deployment's to delete."""
    kind = _KINDS[resource.kind]
    if resource.named_by:
        resource, found = _looked_up(api, resource, known, {}, settings)
        if found is not None and (objection := kind.objection(resource, found, settings)):
            raise Refused("not_ours", f"{kind.noun} {resource.id} isn't deleted: {objection}")
        return resource
    resource = replace(resource, place=(known[resource.key].place if resource.key in known else {}) | resource.place)
    try:
        found = kind.find(api, resource)
    except Gone:
        return resource
    resource = replace(resource, seen=True, place=resource.place | kind.identity(found))
    goes_with = "goes_with" in resource.place
    if not goes_with and (objection := kind.objection(resource, found, settings)):
        return kept(resource, objection)
    result = judged(deployment, resource, is_marked=kind.has_mark(found, settings.mark("gcp")))
    if goes_with and result.state == "kept":
        # It is waited for. Should it stay behind, it isn't the deployment's to delete.
        return replace(resource, place=resource.place | {"stays": result.detail})
    return result


def _in_scope(resource: Resource) -> Resource:
    """Return a resource with the scope that its kind is in where nothing else says so."""
    zone = resource.place["location"]
    scope = {"gcp:address": f"regions/{_region(zone)}", "gcp:firewall": "global"}.get(resource.kind, f"zones/{zone}")
    return replace(resource, place=resource.place | {"scope": scope})


def _region(zone: str) -> str:
    return zone.rpartition("-")[0]
