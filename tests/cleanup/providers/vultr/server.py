"""Vultr, as far as instances and clusters go with what hangs on them: what its API document says, on loopback.

Where that is silent, it is as awkward as reports have it: a GET of what is missing may be 400, and a locked server is a 500.
"""

import base64
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from tests.cleanup.rest_target import LOOKS, Account, AccountTarget, Thing
from tests.conformance.target import Key, Made
from tests.standin import Fault, Reply, Request, route
from tracker.model.settings import LocalPlace, Settings

TOKEN = "VULTRKEY-of-the-account"
EMAIL = "ops+vultr@example.org"
OTHER_EMAIL = "others@example.org"
NODE = "f2e11430-76e5-4dc6-a1c9-ef5682c21ddf"
CLUSTER = "vultr:cluster"
PAGE = 2
# A path, its kind, the key of one and of the list, and what a missing one is answered.
KINDS = {
    "instances": ("vultr:instance", "instance", "instances", 404),
    "blocks": ("vultr:block", "block", "blocks", 400),
    "reserved-ips": ("vultr:reserved_ip", "reserved_ip", "reserved_ips", 404),
    "load-balancers": ("vultr:load_balancer", "load_balancer", "load_balancers", 404),
    "kubernetes/clusters": ("vultr:cluster", "vke_cluster", "vke_clusters", 404),
}
USER = {"vultr:block": "attached_to_instance", "vultr:reserved_ip": "instance_id"}
_PATH = f"/v2/(?P<path>{'|'.join(KINDS)})"


def error(status: int, text: str) -> Reply:
    """A failure, as Vultr words it."""
    return Reply(status, {"error": text, "status": status})


def _page(request: Request, items: str, every: list[Any]) -> Reply:
    start = int(request.query.get("cursor", "n0").removeprefix("n"))
    following = f"n{start + PAGE}" if start + PAGE < len(every) else ""
    meta = {"total": len(every), "links": {"next": following, "prev": ""}}
    return Reply(body={items: every[start : start + PAGE], "meta": meta})


class VultrServer(Account):
    """The API. What is in `clinging` stays attached after its instance is gone, until it is detached.

    `access` is the kubeconfig of each cluster.
    """

    HOME = EMAIL
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://api.vultr.com"

    def __init__(self) -> None:
        self.clinging: set[Key] = set()
        self.access: dict[str, str] = {}
        super().__init__()

    def not_found(self, request: Request) -> Reply:
        return error(404, "Not found")

    def handle(self, request: Request) -> Reply:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}" or not self.valid:
            return error(401, "Invalid API token.")
        return super().handle(request)

    @route("GET", "/v2/account")
    def whose(self, request: Request) -> Reply:
        return Reply(body={"account": {"name": "Ops", "email": self.account, "acls": []}})

    @route("GET", _PATH)
    def list_all(self, request: Request, path: str) -> Reply:
        kind, _, items, _ = KINDS[path]
        every = [self._shown(kind, id_, thing) for id_ in self.all(kind) if (thing := self.seen(kind, id_))]
        return _page(request, items, every)

    @route("GET", f"{_PATH}/(?P<id>[^/]+)")
    def look(self, request: Request, path: str, id: str) -> Reply:
        kind, item, _, missing = KINDS[path]
        thing = self.seen(kind, id)
        if thing is None:
            return error(missing, f"Invalid {item} ID")
        return Reply(body={item: self._shown(kind, id, thing)})

    @route("DELETE", f"{_PATH}/(?P<id>[^/]+)")
    def delete(self, request: Request, path: str, id: str) -> Reply:
        kind, item, _, missing = KINDS[path]
        thing = self.found(kind, id)
        if thing is None:
            return error(missing, f"Invalid {item} ID")
        if thing.looks is not None and not thing.stays:
            return error(500, "Unable to destroy server: Server is already pending destruction.")
        if self.user_of(kind, id, thing):
            return error(400, "It is still attached")
        thing.looks = LOOKS
        return Reply(204)

    @route("GET", "/v2/backups")
    def backups(self, request: Request) -> Reply:
        every = [
            {"id": id_, **thing.body}
            for id_, thing in self.all("vultr:backup").items()
            if thing.user == request.query["instance_id"]
        ]
        return _page(request, "backups", every)

    @route("GET", "/v2/vfs")
    def file_systems(self, request: Request) -> Reply:
        return _page(request, "vfs", [{"id": id_, **thing.body} for id_, thing in self.all("vultr:vfs").items()])

    @route("GET", "/v2/vfs/(?P<id>[^/]+)/attachments/(?P<instance>[^/]+)")
    def attachment(self, request: Request, id: str, instance: str) -> Reply:
        thing = self.found("vultr:vfs", id)
        if thing is None or thing.user != instance:
            return error(404, "Invalid attachment")
        return Reply(body={"vfs_id": id, "state": "ATTACHED", "target_id": instance})

    @route("GET", "/v2/kubernetes/clusters/(?P<id>[^/]+)/resources")
    def linked(self, request: Request, id: str) -> Reply:
        if self.found(CLUSTER, id) is None:
            return self.not_found(request)
        kinds = {"block_storage": "vultr:block", "load_balancer": "vultr:load_balancer"}
        found = {
            name: [
                {"id": thing_id, "label": thing.body["label"], "date_created": "2026-01-01", "status": "active"}
                for thing_id, thing in self.all(kind).items()
                if thing.user == id
            ]
            for name, kind in kinds.items()
        }
        return Reply(body={"resources": found})

    @route("GET", "/v2/kubernetes/clusters/(?P<id>[^/]+)/config")
    def config(self, request: Request, id: str) -> Reply:
        if self.found(CLUSTER, id) is None or id not in self.access:
            return self.not_found(request)
        return Reply(body={"kube_config": base64.b64encode(self.access[id].encode()).decode()})

    @route("POST", "/v2/(?P<path>blocks|reserved-ips)/(?P<id>[^/]+)/detach")
    def detach(self, request: Request, path: str, id: str) -> Reply:
        kind, item, _, missing = KINDS[path]
        thing = self.found(kind, id)
        if thing is None:
            return error(missing, f"Invalid {item} ID")
        thing.user = ""
        return Reply(204)

    def user_of(self, kind: str, id_: str, thing: Thing) -> str:
        """The instance that it is attached to: its user, or a node of the cluster that its user is."""
        if self.found(CLUSTER, thing.user):
            return NODE if kind in USER else ""
        there = self.found("vultr:instance", thing.user) is not None or (kind, id_) in self.clinging
        return thing.user if there else ""

    def _shown(self, kind: str, id_: str, thing: Thing) -> dict[str, Any]:
        user = {USER[kind]: self.user_of(kind, id_, thing)} if kind in USER else {}
        return {"id": id_, **thing.body, **user}


class VultrTarget(AccountTarget):
    """This is what the types at Vultr share of their target."""

    server: VultrServer
    server_class = VultrServer
    elsewhere = OTHER_EMAIL
    secrets: tuple[str, ...] = (TOKEN,)
    # What is said of what can't go yet.
    locked: ClassVar[Reply] = error(500, "Unable to destroy server: Unable to remove VM: Server is currently locked")

    def start(self) -> None:
        super().start()
        self.patch.setenv("VULTR_API_KEY", TOKEN)
        self.settings = Settings(
            base_urls={"vultr": self.server.url},
            accounts={"vultr": EMAIL},
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        if call.method != "DELETE":
            return None
        path, _, id_ = call.path.removeprefix("/v2/").rpartition("/")
        return KINDS[path][0], id_

    @contextmanager
    def busy(self, made: Made, times: int) -> Iterator[None]:
        with self.server.failing(Fault("answer", "DELETE", f"/{made.main[1]}", self.locked, times=times)):
            yield
