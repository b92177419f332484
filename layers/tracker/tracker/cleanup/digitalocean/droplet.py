"""DigitalOceanDroplet: a droplet, with its volumes and reserved addresses.

The droplet goes first, then what hung on it. Droplets and volumes carry the ownership mark as a tag; addresses can't.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal

from tracker.cleanup import rest
from tracker.cleanup.contract import Busy, Facts, Kind, Refused
from tracker.cleanup.digitalocean.api import DIGITALOCEAN, VOLUME, is_marked, must_be_marked
from tracker.cleanup.rest import Api, Gone, RestKind
from tracker.deployment import Deployment, Resource
from tracker.settings import Settings


def _status(found: Any) -> tuple[Literal["present"], str]:
    return "present", str(found.get("status", ""))


def _assigned(resource: Resource, found: Any, _settings: Settings) -> None:
    user = str((found.get("droplet") or {}).get("id", ""))
    if user in resource.place.get("used_by", "").split(",") and user:
        raise Busy(f"still assigned to droplet {user}")
    if user:
        raise Refused("not_ours", f"assigned to droplet {user}, which the record doesn't name")


DROPLET = RestKind(
    DIGITALOCEAN,
    noun="droplet",
    path="/v2/droplets/{id}",
    form=r"[1-9][0-9]{0,18}",
    item="droplet",
    status=_status,
    allow=must_be_marked,
)
RESERVED_IP = RestKind(
    DIGITALOCEAN,
    noun="reserved address",
    path="/v2/reserved_ips/{id}",
    form=r"([0-9]{1,3}\.){3}[0-9]{1,3}",
    item="reserved_ip",
    allow=_assigned,
)
_KINDS = {
    "digitalocean:droplet": DROPLET,
    "digitalocean:volume": VOLUME,
    "digitalocean:reserved_ip": RESERVED_IP,
}
KINDS: dict[str, Kind] = dict(_KINDS)
_STAGES = {
    "instance_id": ("digitalocean:droplet", 0),
    "volume": ("digitalocean:volume", 1),
    "reserved_ip": ("digitalocean:reserved_ip", 1),
}
_ONLY_FOUND = 'only found, not named by the record, and not marked; metadata.delete_dependents = "all" would delete it'

FACTS = Facts(
    credentials="A token: secret key `token`; on one machine DIGITALOCEAN_TOKEN or DIGITALOCEAN_ACCESS_TOKEN.",
    permissions=(
        "account:read",
        "droplet:read, droplet:delete",
        "block_storage:read, block_storage:delete",
        "reserved_ip:read, reserved_ip:delete",
    ),
    order=("the droplet", "its volumes and reserved addresses, once they are free"),
    gone="404 `not_found` to a GET, with a token whose account was asked for before.",
    duration="Under a minute.",
    limits="Snapshots and backups stay. A reserved address can't be marked: unless it is named, it is kept.",
    sources="DigitalOcean's OpenAPI document (7c1300c); the pending event's 422: Terraform's provider.",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """What the record names, and what hangs on its droplets that are still there."""
    every = deployment.metadata.get("delete_dependents") == "all"

    def hanging(api: Api, droplet: Resource, _found: Any) -> Iterator[Resource]:
        path = DROPLET.at(droplet, DROPLET.path + "/destroy_with_associated_resources")
        body = api.get(path)
        for volume in rest.listed(body, "volumes", path):
            resource = Resource("digitalocean:volume", str(volume["id"]), stage=1)
            with suppress(Gone):
                ours = every or is_marked(VOLUME.find(api, resource), settings)
                yield resource if ours else rest.kept(resource, _ONLY_FOUND)
        for address in rest.listed(body, "reserved_ips", path):
            # Its `id` is a number of the bill's; the address itself is its name.
            resource = Resource("digitalocean:reserved_ip", str(address["name"]), stage=1)
            yield resource if every else rest.kept(resource, _ONLY_FOUND)

    return rest.discovered(deployment, settings, _KINDS, _STAGES, hanging)
