"""DigitalOcean, as far as droplets, their volumes and their addresses go: what its API document says, on loopback."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cleanup.rest_target import LOOKS, Account, AccountTarget, Thing
from tests.conformance.target import Key, Made
from tests.standin import Fault, Reply, Request, route
from tracker.settings import LocalPlace, Settings

TOKEN = "dop_v1_secret-of-the-team"
TEAM = "11111111-1111-4111-8111-111111111111"
OTHER_TEAM = "22222222-2222-4222-8222-222222222222"
MARK = "blueprint"
PATHS = {
    "droplets": "digitalocean:droplet",
    "volumes": "digitalocean:volume",
    "reserved_ips": "digitalocean:reserved_ip",
}


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

    @route("GET", r"/v2/droplets/(?P<id>\d+)/destroy_with_associated_resources")
    def hanging(self, request: Request, id: str) -> Reply:
        if self.found("digitalocean:droplet", id) is None:
            return self.not_found(request)
        by_kind = {
            name: [
                {"id": "6186916" if name == "reserved_ips" else thing_id, "name": thing_id, "cost": "1.00"}
                for thing_id, thing in self.all(PATHS[name]).items()
                if thing.user == id
            ]
            for name in ("reserved_ips", "volumes")
        }
        return Reply(body={"floating_ips": [], "snapshots": [], "volume_snapshots": [], **by_kind})

    @route("GET", "/v2/(?P<kind>droplets|volumes|reserved_ips)/(?P<id>[^/]+)")
    def look(self, request: Request, kind: str, id: str) -> Reply:
        thing = self.seen(PATHS[kind], id)
        if thing is None:
            return self.not_found(request)
        return Reply(body={kind.removesuffix("s"): thing.body | self._user(kind, thing)})

    @route("DELETE", "/v2/(?P<kind>droplets|volumes|reserved_ips)/(?P<id>[^/]+)")
    def delete(self, request: Request, kind: str, id: str) -> Reply:
        thing = self.found(PATHS[kind], id)
        if thing is None:
            return self.not_found(request)
        if self._user_of(thing):
            return error(409, "attached")
        thing.looks = LOOKS
        return Reply(204)

    def _user(self, kind: str, thing: Thing) -> dict[str, Any]:
        user = self._user_of(thing)
        match kind:
            case "volumes":
                return {"droplet_ids": [int(user)] if user else []}
            case "reserved_ips":
                return {"droplet": {"id": int(user)} if user else None}
        return {}

    def _user_of(self, thing: Thing) -> str:
        return thing.user if thing.user and self.found("digitalocean:droplet", thing.user) else ""


class DigitalOceanTarget(AccountTarget):
    """What the types at DigitalOcean share of their target."""

    server: DigitalOceanServer
    server_class = DigitalOceanServer
    elsewhere = OTHER_TEAM
    secrets = (TOKEN,)

    def start(self) -> None:
        super().start()
        self.patch.setenv("DIGITALOCEAN_TOKEN", TOKEN)
        self.settings = Settings(
            digitalocean_mark=MARK,
            base_urls={"digitalocean": self.server.url},
            accounts={"digitalocean": TEAM},
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        if call.method != "DELETE":
            return None
        kind, id_ = call.path.split("/")[2:4]
        return PATHS[kind], id_

    def disown(self, made: Made) -> None:
        self.server.things[made.main].body["tags"] = []

    @contextmanager
    def busy(self, made: Made, times: int) -> Iterator[None]:
        pending = error(422, "Droplet already has a pending event.")
        with self.server.failing(Fault("answer", "DELETE", f"/{made.main[1]}$", pending, times=times)):
            yield
