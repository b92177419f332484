"""DigitalOcean, as far as droplets and clusters go with what hangs on them: what its API document says, on loopback."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlencode

from tests.cleanup.rest_target import LOOKS, Account, AccountTarget, Thing
from tests.conformance.target import Key, Made
from tests.standin import Fault, Reply, Request, route
from tracker.model.settings import LocalPlace, Settings

TOKEN = "dop_v1_secret-of-the-team"
TEAM = "11111111-1111-4111-8111-111111111111"
OTHER_TEAM = "22222222-2222-4222-8222-222222222222"
MARK = "blueprint"
NODE = "3164999"
# A path, its kind, and the key of one.
PATHS = {
    "droplets": ("digitalocean:droplet", "droplet"),
    "volumes": ("digitalocean:volume", "volume"),
    "reserved_ips": ("digitalocean:reserved_ip", "reserved_ip"),
    "reserved_ipv6": ("digitalocean:reserved_ipv6", "reserved_ipv6"),
    "kubernetes/clusters": ("digitalocean:cluster", "kubernetes_cluster"),
    "load_balancers": ("digitalocean:load_balancer", "load_balancer"),
    "snapshots": ("digitalocean:volume_snapshot", "snapshot"),
}
CLUSTER = "digitalocean:cluster"
_PATH = f"/v2/(?P<path>{'|'.join(PATHS)})/(?P<id>[^/]+)"


def error(status: int, text: str) -> Reply:
    """A failure, as DigitalOcean words it."""
    ids = {
        401: "Unauthorized",
        403: "Forbidden",
        404: "not_found",
        422: "unprocessable_entity",
        429: "too_many_requests",
    }
    return Reply(status, {"id": ids.get(status, "server_error"), "message": text})


class DigitalOceanServer(Account):
    """The API. An account is a team."""

    HOME = TEAM
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://api.digitalocean.com"

    def __init__(self) -> None:
        # By cluster: how its API server is reached, as its credentials say.
        self.access: dict[str, dict[str, Any]] = {}
        super().__init__()

    def not_found(self, request: Request) -> Reply:
        return error(404, "The resource you requested could not be found.")

    def handle(self, request: Request) -> Reply:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}" or not self.valid:
            return error(401, "Unable to authenticate you")
        return super().handle(request)

    @route("GET", "/v2/account")
    def whose(self, request: Request) -> Reply:
        team = {"uuid": self.account, "name": "team"}
        return Reply(body={"account": {"uuid": "u-1", "email": "a@b.example", "status": "active", "team": team}})

    @route("GET", "/v2/(?P<path>droplets|kubernetes/clusters)/(?P<id>[^/]+)/destroy_with_associated_resources")
    def hanging(self, request: Request, path: str, id: str) -> Reply:
        thing = self.found(PATHS[path][0], id)
        if thing is None or thing.body["status"] == {"state": "deleted"}:
            return self.not_found(request)
        names = {"droplets": ("reserved_ips", "volumes"), "kubernetes/clusters": ("load_balancers", "volumes")}[path]
        kinds = {name: PATHS[name][0] for name in names} | {"volume_snapshots": "digitalocean:volume_snapshot"}
        kinds |= {"snapshots": "digitalocean:snapshot"} if path == "droplets" else {}
        listed = {
            name: [
                {
                    "id": "6186916" if name == "reserved_ips" else thing_id,
                    "name": thing.body.get("name", thing_id),
                    "cost": "1.00",
                }
                for thing_id, thing in self.all(kind).items()
                if thing.user == id
            ]
            for name, kind in kinds.items()
        }
        return Reply(body={"floating_ips": []} | listed)

    @route("GET", "/v2/droplets/(?P<id>[^/]+)/backups")
    def backups(self, request: Request, id: str) -> Reply:
        found = [
            {"id": int(each), "name": thing.body["name"], "type": "backup"}
            for each, thing in self.all("digitalocean:backup").items()
            if thing.user == id
        ]
        return (
            self._page(request, "backups", found) if self.found("digitalocean:droplet", id) else self.not_found(request)
        )

    @route("GET", "/v2/tags")
    def tags(self, request: Request) -> Reply:
        return Reply(body={"tags": [], "links": {}, "meta": {"total": 0}})

    @route("GET", "/v2/(?P<path>droplets|volumes|kubernetes/clusters|snapshots)")
    def every(self, request: Request, path: str) -> Reply:
        kind = PATHS[path][0]
        # A droplet with a GPU isn't among those without.
        is_gpu = request.query.get("type") == "gpus"
        found = [
            {"id": id_, **{key: value for key, value in thing.body.items() if key != "gpu"}, **self._shown(kind, thing)}
            for id_, thing in self.all(kind).items()
            if bool(thing.body.get("gpu")) == is_gpu
        ]
        return self._page(request, path.replace("/", "_"), found)

    @route("GET", "/v2/reserved_ipv6")
    def reserved_ipv6s(self, request: Request) -> Reply:
        kind = "digitalocean:reserved_ipv6"
        return self._page(
            request, "reserved_ipv6s", [self._shown(kind, each) | each.body for each in self.all(kind).values()]
        )

    def _page(self, request: Request, items: str, found: list[Any]) -> Reply:
        """One item a page, so that there are several."""
        number = int(request.query.get("page", "1"))
        query = urlencode(request.query | {"page": number + 1})
        following = {"next": f"{self.PUBLIC_URL}{request.path}?{query}"} if number < len(found) else {}
        body = {items: found[number - 1 : number], "links": {"pages": following}, "meta": {"total": len(found)}}
        return Reply(body=body)

    @route("GET", "/v2/kubernetes/clusters/(?P<id>[^/]+)/credentials")
    def credentials(self, request: Request, id: str) -> Reply:
        if self.found(CLUSTER, id) is None or id not in self.access:
            return self.not_found(request)
        return Reply(body=self.access[id])

    @route("GET", _PATH)
    def look(self, request: Request, path: str, id: str) -> Reply:
        kind, item = PATHS[path]
        thing = self.seen(kind, unquote(id))
        if thing is None:
            return self.not_found(request)
        return Reply(body={item: {"id": id} | thing.body | self._shown(kind, thing)})

    @route("DELETE", _PATH)
    def delete(self, request: Request, path: str, id: str) -> Reply:
        kind, _ = PATHS[path]
        thing = self.found(kind, unquote(id))
        if thing is None:
            return self.not_found(request)
        if kind in ("digitalocean:volume", "digitalocean:reserved_ip", "digitalocean:reserved_ipv6") and self._user_of(
            thing
        ):
            return error(409, "attached")
        thing.looks = LOOKS
        return Reply(204)

    def _shown(self, kind: str, thing: Thing) -> dict[str, Any]:
        """Return what changes of a thing while it goes, or what it is with does."""
        user = self._user_of(thing)
        match kind:
            case "digitalocean:volume":
                return {"droplet_ids": [int(user)] if user else []}
            case "digitalocean:reserved_ip" | "digitalocean:reserved_ipv6":
                return {"droplet": {"id": int(user)} if user else None}
            case "digitalocean:cluster" if thing.looks is not None:
                return {"status": {"state": "deleting"}}
        return {}

    def _user_of(self, thing: Thing) -> str:
        """The droplet that it is attached to: its user, or a node of the cluster that its user is."""
        if self.found("digitalocean:droplet", thing.user):
            return thing.user
        cluster = self.found(CLUSTER, thing.user)
        return NODE if cluster and cluster.body["status"]["state"] != "deleted" else ""


class DigitalOceanTarget(AccountTarget):
    """This is what the types at DigitalOcean share of their target."""

    server: DigitalOceanServer
    server_class = DigitalOceanServer
    elsewhere = OTHER_TEAM
    secrets: tuple[str, ...] = (TOKEN,)
    # What is said while another operation runs.
    pending: ClassVar[str] = "Droplet already has a pending event."

    def start(self) -> None:
        super().start()
        self.patch.setenv("DIGITALOCEAN_TOKEN", TOKEN)
        self.settings = Settings(
            marks={"digitalocean": MARK},
            base_urls={"digitalocean": self.server.url},
            accounts={"digitalocean": TEAM},
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        if call.method != "DELETE":
            return None
        path, _, id_ = call.path.removeprefix("/v2/").rpartition("/")
        return PATHS[path][0], unquote(id_)

    def disown(self, made: Made) -> None:
        self.server.things[made.main].body["tags"] = []

    @contextmanager
    def busy(self, made: Made, times: int) -> Iterator[None]:
        with self.server.failing(Fault("answer", "DELETE", f"/{made.main[1]}$", error(422, self.pending), times=times)):
            yield
