"""VultrInstance: an instance, with its block storage and reserved addresses.

The instance goes first, then what was attached to it. No mark is set for Vultr: being named is ownership.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

from tracker.cleanup import rest
from tracker.cleanup.contract import Busy, Facts, Kind, Refused
from tracker.cleanup.rest import Api
from tracker.cleanup.vultr.api import BLOCK, UUID, VULTR, VultrKind, every
from tracker.deployment import Deployment, Resource
from tracker.settings import Settings


def _status(found: Any) -> tuple[Literal["present"], str]:
    return "present", f"{found.get('status')}, server {found.get('server_status')}"


def _user(found: Any) -> str:
    """The instance that block storage, or an address, is attached to."""
    return str(found.get("attached_to_instance") or found.get("instance_id") or "").lower()


def _is_free(resource: Resource, found: Any, _settings: Settings) -> None:
    if _user(found) not in ("", *resource.place.get("used_by", "").lower().split(",")):
        raise Refused("not_ours", f"attached to instance {_user(found)}, which the record doesn't name")


def _detach_or_delete(api: Api, resource: Resource, found: Any) -> None:
    """Its instance is gone by now: what Vultr still shows as attached to that is detached from nothing in use."""
    path = _KINDS[resource.kind].at(resource)
    if not _user(found):
        api.call("DELETE", path)
        return
    api.call("POST", f"{path}/detach", json={"live": True} if resource.kind == "vultr:block" else None)
    raise Busy(f"being detached from instance {_user(found)}")


INSTANCE = VultrKind(
    VULTR,
    noun="instance",
    path="/v2/instances/{id}",
    form=UUID,
    item="instance",
    items="instances",
    status=_status,
)
RESERVED_IP = VultrKind(
    VULTR,
    noun="reserved address",
    path="/v2/reserved-ips/{id}",
    form=UUID,
    item="reserved_ip",
    items="reserved_ips",
    allow=_is_free,
    ask=_detach_or_delete,
)
_KINDS = {
    "vultr:instance": INSTANCE,
    "vultr:block": dataclasses.replace(BLOCK, allow=_is_free, ask=_detach_or_delete),
    "vultr:reserved_ip": RESERVED_IP,
}
KINDS: dict[str, Kind] = dict(_KINDS)
_STAGES = {
    "instance_id": ("vultr:instance", 0),
    "block": ("vultr:block", 1),
    "reserved_ip": ("vultr:reserved_ip", 1),
}
_ONLY_FOUND = 'only found, and not named by the record; metadata.delete_dependents = "all" would delete it'

FACTS = Facts(
    credentials="An API key: secret key `token`; on one machine VULTR_API_KEY.",
    permissions=(
        "subscriptions_view, subscriptions, provisioning: Vultr's documents don't say which of them a call needs",
        "the function's addresses, where the key's access control names addresses",
    ),
    order=("the instance", "its block storage and reserved addresses, detached if Vultr hasn't done so"),
    gone="A GET that fails, and its kind's list, read to its end, that hasn't got it.",
    duration="Under a minute; minutes, while an instance is being installed and is locked.",
    limits=(
        "Snapshots, backups, firewall groups and VPCs stay. Local disks go with the instance. An account is known by its "
        "e-mail address: if that changes, metadata.account or the setting must follow."
    ),
    sources=(
        "Vultr's OpenAPI document (vultr-python-client, c547827); texts of failures: issues of its Terraform provider "
        "and Ansible collection."
    ),
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """What the record names, and what is attached to its instances that are still there."""
    dependents = deployment.metadata.get("delete_dependents")

    def hanging(api: Api, instance: Resource, _found: Any) -> Iterator[Resource]:
        lists = {"vultr:block": ("/v2/blocks", "blocks"), "vultr:reserved_ip": ("/v2/reserved-ips", "reserved_ips")}
        for kind, (path, items) in lists.items():
            for each in every(api, path, items):
                if _user(each) == instance.id.lower():
                    resource = Resource(kind, str(each["id"]), stage=1)
                    yield resource if dependents == "all" else rest.kept(resource, _ONLY_FOUND)

    return rest.discovered(deployment, settings, _KINDS, _STAGES, hanging)
