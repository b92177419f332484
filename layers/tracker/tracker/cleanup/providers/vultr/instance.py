"""VultrInstance: an instance, with its block storage and reserved addresses.

The instance goes first, then what was attached to it. No ownership mark is set for Vultr: what the record names is the deployment's.
"""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar
from urllib.parse import quote

from tracker.cleanup.core.contract import Busy, Found, OperatorNotes, Progress, Refused, ResourceKind
from tracker.cleanup.core.discovery import judged, kept
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.vultr.api import Block, VultrKind, every, users_of
from tracker.cleanup.transport.bounds import in_time
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents, unless_denied
from tracker.cleanup.transport.rest.listing import Listing, find_listed, in_name, in_words
from tracker.cleanup.transport.rest.provider import Api
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings


class Instance(VultrKind):
    noun = "instance"
    path = "/v2/instances/{id}"
    envelope = "instance"
    items = "instances"

    def progress(self, body: Any) -> tuple[Progress, str]:
        return "present", f"{body.get('status')}, server {body.get('server_status')}"


class Attachable(VultrKind):
    """A resource that Vultr may still show as attached to its instance, which is gone by now. It is detached first."""

    detaches = True
    # The JSON of the request that detaches it.
    detaching: ClassVar[Any] = None

    def users(self, body: Any) -> Iterable[str]:
        return users_of(body)

    def strangers(self, resource: Resource, body: Any) -> Iterable[str]:
        """Return the instance that it is attached to, unless the record names that, in whatever letters."""
        ours = resource.place.get("used_by", "").lower().split(",")
        return (user for user in self.users(body) if user not in ours)

    def request_deletion(self, connection: Api, resource: Resource, body: Any) -> None:
        if user := next(iter(self.users(body)), ""):
            self.request(connection, resource, "POST", "/detach", self.detaching)
            raise Busy(f"being detached from instance {user}")
        super().request_deletion(connection, resource, body)


class InstanceBlock(Attachable, Block):
    detaching: ClassVar = {"live": True}


class ReservedIp(Attachable):
    noun = "reserved address"
    path = "/v2/reserved-ips/{id}"
    envelope = "reserved_ip"
    items = "reserved_ips"


INSTANCE, BLOCK, RESERVED_IP = Instance(), InstanceBlock(), ReservedIp()
_KINDS: dict[str, RestKind] = {
    "vultr:instance": INSTANCE,
    "vultr:block": BLOCK,
    "vultr:reserved_ip": RESERVED_IP,
}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
_STAGES = {"vultr:instance": 0, "vultr:block": 1, "vultr:reserved_ip": 1}
# Instances alone have tags. What else there is has a label.
_LISTINGS = [
    Listing("vultr:instance", INSTANCE.every, in_words("tags"), "date_created"),
    Listing("vultr:block", BLOCK.every, in_name("label"), "date_created"),
    Listing("vultr:reserved_ip", RESERVED_IP.every, in_name("label")),
]
_BILLED_ON = "a backup of the instance ({}), billed on after that is gone: what was saved of it is never deleted"
_SHARED = "a file system that is attached to the instance ({}), billed on; others may use it, and it isn't deleted"
_ONLY_FOUND = 'only found, and not named by the record; metadata.delete_dependents = "all" would delete it'

NOTES = OperatorNotes(
    credentials="An API key: secret key `token`; on one machine VULTR_API_KEY.",
    permissions=(
        "subscriptions_view, subscriptions, provisioning: Vultr's documents don't say which of them a call needs",
        "the function's addresses, where the key's access control names addresses",
    ),
    order=("the instance", "its block storage and reserved addresses, detached if Vultr hasn't done so"),
    gone="A GET that fails, and its kind's list, read to its end, that hasn't got it.",
    duration="Under a minute; minutes, while an instance is being installed and is locked.",
    limits=(
        "By a mark instances are found, and block storage and reserved addresses whose label begins with `bp-` and the generation's first 12 hex digits, since they have no tags. Backups and attached file systems (VFS) are kept and shown by name. Snapshots, which don't say of which instance they are, firewall groups and VPCs stay. Local disks go with the instance. An account is known by its "
        "e-mail address: if that changes, metadata.account or the setting must follow."
    ),
    sources=(
        "Vultr's OpenAPI document (vultr-python-client, c547827); tags with colons: cluster-api-provider-vultr, since no document gives their characters; its Go client, for file systems; texts of failures: issues of its "
        "Terraform provider and Ansible collection."
    ),
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names, and what is attached to its instances that are still there."""

    def dependents(api: Api, instance: Resource, _body: Any) -> Iterator[Resource]:
        for kind, one in (("vultr:block", BLOCK), ("vultr:reserved_ip", RESERVED_IP)):
            for each in one.every(api):
                if instance.id.lower() in one.users(each):
                    yield judged(deployment, Resource(kind, str(each["id"]), stage=1), why=_ONLY_FOUND)
        backups = (
            kept(
                Resource("vultr:backup", str(each["id"])),
                _BILLED_ON.format(each.get("description") or "without a name"),
            )
            for each in every(api, "/v2/backups", "backups", instance_id=instance.id)
        )
        yield from unless_denied("vultr:backup", backups)
        file_systems = (
            kept(Resource("vultr:vfs", str(each["id"])), _SHARED.format(each.get("label") or "without a label"))
            for each in in_time("GET /v2/vfs", every(api, "/v2/vfs", "vfs"))
            if _is_attached(api, str(each["id"]), instance.id)
        )
        yield from unless_denied("vultr:vfs", file_systems)

    return discover_with_dependents(deployment, settings, _KINDS, _STAGES, dependents)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the instances that are tagged with the mark, and the block storage and addresses that are labelled with it."""
    return find_listed(deployment, settings, generation, _KINDS, _LISTINGS)


def _is_attached(api: Api, file_system: str, instance: str) -> bool:
    """Return whether a file system is attached to an instance. That an attachment is missing may be a 400, as elsewhere at Vultr."""
    try:
        api.get(f"/v2/vfs/{quote(file_system, safe='')}/attachments/{quote(instance, safe='')}")
    except Gone:
        return False
    except Refused as refused:
        if refused.error_class != "bad_id":
            raise
        return False
    return True
