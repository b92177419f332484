"""CrusoeVm: a virtual machine in a project at Crusoe, with its disks.

A deletion is an operation that may fail after it was accepted.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from tracker.cleanup.core.contract import Found, OperatorNotes, Progress, ResourceKind
from tracker.cleanup.core.discovery import judged
from tracker.cleanup.providers.crusoe.api import PROJECT, CrusoeKind
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents
from tracker.cleanup.transport.rest.listing import Listing, find_listed, in_name
from tracker.cleanup.transport.rest.provider import Api
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings


class Vm(CrusoeKind):
    noun, path, ids = "virtual machine", PROJECT + "/compute/vms/instances/{id}", "ids"

    def progress(self, body: Any) -> tuple[Progress, str]:
        state = str(body["state"])
        if "SHUTOFF" in state or "STOP" in state:
            return "present", f"{state}: shut off, and its disks are still billed"
        return ("leaving" if "DELET" in state else "present"), state


class Disk(CrusoeKind):
    noun, path, ids = "disk", PROJECT + "/storage/disks/{id}", "disk_ids"

    def users(self, body: Any) -> Iterable[str]:
        return [str(each["vm_id"]) for each in body.get("attached_to") or []]


VM, DISK = Vm(), Disk()
_KINDS: dict[str, RestKind] = {"crusoe:vm": VM, "crusoe:disk": DISK}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
_STAGES = {"crusoe:vm": 0, "crusoe:disk": 1}
_LISTINGS = [
    Listing("crusoe:vm", VM.every, in_name(), "created_at"),
    Listing("crusoe:disk", DISK.every, in_name(), "created_at"),
]

NOTES = OperatorNotes(
    credentials="An access key: secret keys `key_id` and `secret`; on one machine CRUSOE_ACCESS_KEY_ID and CRUSOE_SECRET_KEY.",
    permissions=(
        "list the key's projects",
        "get, list, delete virtual machines and disks of the project, get their operations",
    ),
    order=("the virtual machine", "its disks, once they are free"),
    gone=(
        "404, or 500 `not found`, to GET, and not in the project's list, which is read to its end. With 403 instead, only what was seen "
        "before is gone. The key's projects were listed before, this one among them."
    ),
    duration="Minutes.",
    limits=(
        "What GET answers for what is gone isn't documented. Found disks: that of the operating system goes, others are kept unless the record names "
        "them or says `delete_dependents`. Nothing can carry an ownership mark. Snapshots, images and shared networks stay."
    ),
    sources="crusoecloud/client-go, commit e23c062 (2026-07-20): swagger v1alpha5, auth.go; Crusoe's API reference and support article 37166958525467.",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names in its project, and the disks of its machine."""

    def dependents(_api: Api, _machine: Resource, body: Any) -> Iterator[Resource]:
        for each in body.get("disks") or []:
            disk = Resource("crusoe:disk", str(each["id"]), stage=1)
            yield judged(deployment, disk, is_marked=each.get("attachment_type") == "os")

    return discover_with_dependents(deployment, settings, _KINDS, _STAGES, dependents)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the machines and disks of the project whose name begins with the mark."""
    return find_listed(deployment, settings, generation, _KINDS, _LISTINGS)
