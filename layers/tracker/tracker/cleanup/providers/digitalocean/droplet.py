"""DigitalOceanDroplet: a droplet, with its volumes and reserved addresses.

The droplet goes first, then its dependents. Droplets and volumes carry the ownership mark as a tag; addresses can't.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any

from tracker.cleanup.core.contract import Found, OperatorNotes, Progress, ResourceKind
from tracker.cleanup.core.discovery import judged, kept
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.digitalocean.api import (
    VOLUMES,
    DigitalOceanKind,
    Volume,
    descriptions,
    every,
    find_tagged,
    tagged,
)
from tracker.cleanup.transport.rest.client import listed
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents, unless_denied
from tracker.cleanup.transport.rest.provider import Api
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

# Droplets with a GPU are in a list of their own.
_TYPES = ("droplets", "gpus")


class Droplet(DigitalOceanKind):
    noun = "droplet"
    path = "/v2/droplets/{id}"
    form = r"[1-9][0-9]{0,18}"
    envelope = "droplet"
    needs_mark = True

    def every(self, connection: Api) -> Iterable[Any]:
        return chain.from_iterable(every(connection, "/v2/droplets", "droplets", type=each) for each in _TYPES)

    def progress(self, body: Any) -> tuple[Progress, str]:
        return "present", str(body.get("status", ""))


class ReservedIp(DigitalOceanKind):
    noun = "reserved address"
    reuses_ids = True
    path = "/v2/reserved_ips/{id}"
    form = r"([0-9]{1,3}\.){3}[0-9]{1,3}"
    envelope = "reserved_ip"

    def users(self, body: Any) -> Iterable[str]:
        user = (body.get("droplet") or {}).get("id")
        return [str(user)] if user else []


class ReservedIpv6(ReservedIp):
    path = "/v2/reserved_ipv6/{id}"
    form = r"[0-9a-fA-F:]{2,39}"
    envelope = "reserved_ipv6"


DROPLET, VOLUME, ADDRESS = Droplet(), Volume(), ReservedIpv6()
_KINDS: dict[str, RestKind] = {
    "digitalocean:droplet": DROPLET,
    "digitalocean:volume": VOLUME,
    "digitalocean:reserved_ip": ReservedIp(),
    "digitalocean:reserved_ipv6": ADDRESS,
}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
_STAGES = {"digitalocean:droplet": 0} | dict.fromkeys(list(_KINDS)[1:], 1)
_LISTINGS = [*(tagged("digitalocean:droplet", "/v2/droplets", "droplets", type=each) for each in _TYPES), VOLUMES]
_BILLED_ON = "{}, billed on after the droplet is gone: what was saved of it is never deleted"

NOTES = OperatorNotes(
    credentials="A token: secret key `token`; on one machine DIGITALOCEAN_TOKEN or DIGITALOCEAN_ACCESS_TOKEN.",
    permissions=(
        "account:read; tag:read, without which no mark is shown and nothing is looked for",
        "droplet:read, droplet:delete",
        "block_storage:read, block_storage:delete",
        "reserved_ip:read, reserved_ip:delete",
        "image:read, block_storage_snapshot:read: to show which snapshots and backups stay",
    ),
    order=("the droplet", "its volumes and reserved addresses, once they are free"),
    gone="404 `not_found` to a GET, with a token whose account was asked for before.",
    duration="Under a minute.",
    limits=(
        "By a mark droplets and volumes are found; addresses have no tags. Snapshots of the droplet and of its volumes, and backups, are kept and shown by name. A reserved address can't be marked: "
        "unless it is named, it is kept; one of IPv6 can't be named, and goes only with delete_dependents."
    ),
    sources="DigitalOcean's OpenAPI document (7c1300c), for tags too (letters, digits, `:`, `-`, `_`; 255); the pending event's 422: Terraform's provider.",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names, and the dependents of its droplets that are still there."""

    def dependents(api: Api, droplet: Resource, _body: Any) -> Iterator[Resource]:
        path = DROPLET.path_of(droplet, DROPLET.path + "/destroy_with_associated_resources")
        body = api.get(path)
        volumes = [
            Resource("digitalocean:volume", str(each["id"]), stage=1)
            for each in listed(body, "volumes", path, is_optional=True)
        ]
        describe = descriptions(api, VOLUME, volumes)
        for resource in volumes:
            with suppress(Gone):
                is_marked = VOLUME.has_mark(describe(resource), settings.mark("digitalocean"))
                yield judged(deployment, resource, is_marked=is_marked)
        for address in listed(body, "reserved_ips", path, is_optional=True):
            # Its `id` is a number of the bill's; the address itself is its name.
            yield judged(deployment, Resource("digitalocean:reserved_ip", str(address["name"]), stage=1))
        for items, kind in (("snapshots", "snapshot"), ("volume_snapshots", "volume_snapshot")):
            for each in listed(body, items, path, is_optional=True):
                yield _saved(f"digitalocean:{kind}", each)
        backups = every(api, DROPLET.path_of(droplet, DROPLET.path + "/backups"), "backups")
        yield from unless_denied("digitalocean:backup", (_saved("digitalocean:backup", each) for each in backups))
        addresses = (
            judged(deployment, Resource("digitalocean:reserved_ipv6", str(each["ip"]), stage=1))
            for each in every(api, "/v2/reserved_ipv6", "reserved_ipv6s")
            if droplet.id in ADDRESS.users(each)
        )
        yield from unless_denied("digitalocean:reserved_ipv6", addresses)

    return discover_with_dependents(deployment, settings, _KINDS, _STAGES, dependents)


def _saved(kind: str, body: Any) -> Resource:
    """Return what was saved of a droplet or its volumes: it stays, and is shown by its name."""
    return kept(Resource(kind, str(body["id"])), _BILLED_ON.format(body.get("name") or "without a name"))


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the droplets, those with a GPU too, and the volumes of the team that are tagged with the mark."""
    return find_tagged(deployment, settings, generation, _KINDS, _LISTINGS)
