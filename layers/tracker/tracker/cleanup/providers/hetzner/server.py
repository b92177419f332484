"""HetznerServer: a server at Hetzner, with its volumes and addresses.

The deletion of a server is an action, which may fail after it was accepted. It unassigns volumes and addresses, which can't go before.
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from msgspec.structs import replace

from tracker.cleanup.core.contract import Found, Observation, OperatorNotes, Progress, ResourceKind
from tracker.cleanup.core.discovery import judged
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.hetzner.api import HetznerKind, every
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents
from tracker.cleanup.transport.rest.listing import Listing, find_listed, in_tags
from tracker.cleanup.transport.rest.provider import Api
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings


class Server(HetznerKind):
    noun, path, envelope, needs_mark = "server", "/v1/servers/{id}", "server", True

    def progress(self, body: Any) -> tuple[Progress, str]:
        state = str(body["status"])
        stopped = "off: stopped, and still paid for" if state == "off" else state
        return ("leaving" if state == "deleting" else "present"), stopped

    def observe(self, connection: Api, resource: Resource, body: Any) -> Observation:
        """Say what was read, and what became of the action by which the server was to go. That it failed is reported once."""
        look = super().observe(connection, resource, body)
        path = f"{self.path_of(resource)}/actions"
        newest = list(connection.pages(path, "actions", sort="id:desc")) if resource.asked_in else []
        none: dict[str, Any] = {"status": ""}
        action = next((each for each in newest if each["command"] == "delete_server"), none)
        if action["status"] == "running":
            return replace(look, state="leaving")
        if action["status"] != "error" or resource.place.get("failed") == str(action["id"]):
            return look
        text = f"action {action['id']}: {(action.get('error') or {}).get('message', 'failed')}"
        return replace(look, failure=text, place=look.place | {"failed": str(action["id"])})


class Volume(HetznerKind):
    noun, path, envelope = "volume", "/v1/volumes/{id}", "volume"


class PrimaryIp(HetznerKind):
    noun, path, envelope = "primary address", "/v1/primary_ips/{id}", "primary_ip"


class FloatingIp(HetznerKind):
    noun, path, envelope = "floating address", "/v1/floating_ips/{id}", "floating_ip"


_DEPENDENTS: dict[str, RestKind] = {
    "hetzner:volume": Volume(),
    "hetzner:primary_ip": PrimaryIp(),
    "hetzner:floating_ip": FloatingIp(),
}
_KINDS: dict[str, RestKind] = {"hetzner:server": Server(), **_DEPENDENTS}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
_STAGES = {"hetzner:server": 0} | dict.fromkeys(_DEPENDENTS, 1)
_LISTINGS = [
    Listing(kind, partial(every, items=f"{kind.removeprefix('hetzner:')}s"), in_tags("labels"), "created")
    for kind in _KINDS
]

NOTES = OperatorNotes(
    credentials="A project's token: secret key `token`; on one machine HCLOUD_TOKEN.",
    permissions=("read and write",),
    order=("the server", "its volumes, primary and floating addresses, once they are unassigned"),
    gone="`not_found` to a GET, with a token that is good.",
    duration="Seconds.",
    limits=(
        "No call says whose a token is: only what was once seen present can be gone, and what nobody saw is refused as `unproven`; so neither "
        "`metadata.account` nor the parameter `Accounts` may name one, and a token mustn't be replaced by another project's meanwhile. "
        "By a mark the servers, volumes and addresses of the token's project are found, whichever that is. Snapshots stay, and are paid for."
    ),
    sources="Hetzner's API (MaximilianKoestler/hcloud-openapi 5f93a6d, 2026-02-20), whose label values have up to 63 of letters, digits, `-`, `_`, `.`; hcloud 2.27.0.",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names, and the volumes and addresses that its server has."""

    def dependents(api: Api, server: Resource, body: Any) -> Iterator[Resource]:
        net = body["public_net"]
        addresses = [(net.get(each) or {}).get("id") for each in ("ipv4", "ipv6")]
        ids = (body.get("volumes") or [], filter(None, addresses), net.get("floating_ips") or [])
        for kind, each in [(kind, each) for kind, some in zip(_DEPENDENTS, ids, strict=True) for each in some]:
            resource = Resource(kind, str(each), stage=1)
            with suppress(Gone):
                found = _KINDS[kind].find(api, resource)
                if found.get("auto_delete"):
                    yield replace(resource, place={"goes_with": server.id})
                else:
                    yield judged(deployment, resource, is_marked=_KINDS[kind].has_mark(found, settings.mark("hetzner")))

    return discover_with_dependents(deployment, settings, _KINDS, _STAGES, dependents)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the servers, volumes and addresses of the project whose labels hold the mark."""
    return find_listed(deployment, settings, generation, _KINDS, _LISTINGS)
