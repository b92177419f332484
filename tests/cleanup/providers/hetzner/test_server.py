"""HetznerServer, against a server that keeps to Hetzner's API description."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.cleanup.rest_target import LOOKS, NO_ACCOUNT, Account, AccountTarget, Thing
from tests.conformance.target import Key, Made
from tests.standin import Fault, Reply, Request, route
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.hetzner import api, server
from tracker.cleanup.transport.credentials import Credential
from tracker.cleanup.transport.rest.client import Client, Response
from tracker.model.deployment import Resource
from tracker.model.settings import LocalPlace, Settings

TOKEN, MARK = "hcloud-token-of-project-42", "managed_by=blueprint"
SERVER, OTHER = "4012345", "4012346"
ITEMS = {
    "servers": "server",
    "volumes": "volume",
    "primary_ips": "primary_ip",
    "floating_ips": "floating_ip",
}
# Named by the record, marked, of nobody known.
NAMED, MARKED, STRANGE = "700", "701", "702"
AUTOMATIC = "800"
_PATH = "/v1/(?P<items>servers|volumes|primary_ips|floating_ips)/(?P<id>[0-9]+)"
CODES = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    422: "must_be_unassigned",
    423: "locked",
    429: "rate_limit_exceeded",
}


def error(status: int, text: str, code: str = "") -> Reply:
    return Reply(status, {"error": {"code": code or CODES.get(status, "unavailable"), "message": text}})


class Hetzner(Account):
    """The API of a project, which it doesn't name."""

    HOME = "42"
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://api.hetzner.cloud"

    def __init__(self) -> None:
        self.actions: list[dict[str, Any]] = []
        # Whether the next deletion of a server fails once it was accepted.
        self.fails = False
        super().__init__()

    def handle(self, request: Request) -> Reply:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}" or not self.valid:
            return error(401, "unable to authenticate")
        return super().handle(request)

    @route("GET", "/v1/(?P<items>servers|volumes|primary_ips|floating_ips)")
    def page(self, request: Request, items: str) -> Reply:
        number, every = int(request.query.get("page", "1")), self.all(f"hetzner:{ITEMS[items]}")
        # Pages of two, whatever is asked for.
        found = [self.shown(items, id_, thing) for id_, thing in list(every.items())[2 * number - 2 : 2 * number]]
        following = number + 1 if len(every) > 2 * number else None
        counts = {"page": number, "per_page": 2, "previous_page": None, "last_page": None, "total_entries": None}
        return Reply(body={items: found, "meta": {"pagination": counts | {"next_page": following}}})

    @route("GET", _PATH)
    def look(self, request: Request, items: str, id: str) -> Reply:
        thing = self.seen(f"hetzner:{ITEMS[items]}", id)
        if thing is None:
            return error(404, f"{ITEMS[items]} with ID '{id}' not found")
        return Reply(body={ITEMS[items]: self.shown(items, id, thing)})

    @route("GET", "/v1/servers/(?P<id>[0-9]+)/actions")
    def look_at_actions(self, request: Request, id: str) -> Reply:
        return Reply(body={"actions": self.actions[::-1]})

    @route("DELETE", _PATH)
    def delete(self, request: Request, items: str, id: str) -> Reply:
        thing = self.found(f"hetzner:{ITEMS[items]}", id)
        if thing is None:
            return error(404, f"{ITEMS[items]} with ID '{id}' not found")
        if items != "servers":
            if self.found("hetzner:server", thing.user):
                return error(422, "it is assigned")
            thing.looks = LOOKS
            return Reply(204)
        action = {"id": len(self.actions) + 1, "command": "delete_server", "progress": 0, "error": None}
        if self.fails:
            failure = {"code": "action_failed", "message": "Action failed"}
            self.actions.append(action | {"status": "error", "error": failure})
        else:
            self.actions.append(action | {"status": "running"})
            thing.looks = LOOKS
        return Reply(body={"action": action | {"status": "running"}})

    def shown(self, items: str, id_: str, thing: Thing) -> dict[str, Any]:
        user = int(thing.user) if self.found("hetzner:server", thing.user) else None
        body = {"id": int(id_), "created": "2026-01-01T00:00:00Z", "protection": {"delete": False}, **thing.body}
        if items == "servers":
            has = {
                name: [int(each) for each, other in self.all(f"hetzner:{name}").items() if other.user == id_]
                for name in ("volume", "primary_ip", "floating_ip")
            }
            first = [{"id": each, "ip": "203.0.113.7", "blocked": False} for each in has["primary_ip"]]
            net: dict[str, Any] = {"floating_ips": has["floating_ip"], "ipv4": None, "ipv6": None}
            net |= dict(zip(("ipv4", "ipv6"), first, strict=False))
            status = "running" if thing.looks is None else "deleting"
            return {"name": "x", "status": status, "volumes": has["volume"], "public_net": net} | body
        if items == "primary_ips":
            return {"assignee_id": user, "assignee_type": "server", "auto_delete": False} | body
        return {"server": user} | body

    def seen(self, kind: str, id_: str) -> Thing | None:
        thing = super().seen(kind, id_)
        if kind == "hetzner:server" and thing is None and not self.hidden.get((kind, id_)):
            for key in [key for key, each in self.things.items() if each.user == id_ and each.body.get("auto_delete")]:
                del self.things[key]
        return thing


class StandIn(AccountTarget):
    """A server with named, marked and strange volumes and floating addresses, and two primary addresses, one of which goes with it."""

    deployment_type = "HetznerServer"
    server: Hetzner
    server_class = Hetzner
    elsewhere = "43"
    secrets: tuple[str, ...] = (TOKEN,)
    marked: ClassVar = dict.fromkeys((f"hetzner:{item}" for item in ITEMS.values()), "labels")
    na: ClassVar[dict[str, str]] = NO_ACCOUNT | {
        "wrong-place": "ids are the project's own and no URL names a place",
        "other-one": "Hetzner gives the number of a server to no other",
    }

    def start(self) -> None:
        super().start()
        self.patch.setenv("HCLOUD_TOKEN", TOKEN)
        self.settings = Settings(
            base_urls={"hetzner": self.server.url},
            marks={"hetzner": MARK},
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        if call.method != "DELETE":
            return None
        _, _, items, id_ = call.path.split("/")
        return f"hetzner:{ITEMS[items]}", id_

    def make(self) -> Made:
        main: Key = ("hetzner:server", SERVER)
        marked = [("hetzner:volume", MARKED), ("hetzner:floating_ip", MARKED), ("hetzner:primary_ip", AUTOMATIC)]
        named = [(f"hetzner:{kind}", NAMED) for kind in ("volume", "floating_ip", "primary_ip")]
        kept = [("hetzner:volume", STRANGE), ("hetzner:floating_ip", STRANGE), ("hetzner:server", OTHER)]
        for kind, id_ in (main, *marked, *named, *kept):
            labels = {"managed_by": "blueprint"} if (kind, id_) in (main, *marked) else {"of": "others"}
            thing = Thing({"labels": labels}, "" if kind == "hetzner:server" else SERVER)
            self.server.things[kind, id_] = thing
        self.server.things["hetzner:primary_ip", AUTOMATIC].body["auto_delete"] = True
        ids: dict[str, str | list[str]] = {"instance_id": SERVER, "volume": [NAMED], "floating_ip": NAMED}
        return Made(main, [main, *marked, *named], kept, ids | {"primary_ip": NAMED})

    def another(self, number: int) -> tuple[str, Thing]:
        return f"50000{number:02}", Thing({"labels": {"of": "others"}})

    def dependent(self, made: Made) -> Key:
        return "hetzner:volume", MARKED

    def disown(self, made: Made) -> None:
        self.server.things[made.main].body["labels"] = {"managed_by": "others"}

    def protect(self, made: Made) -> None:
        self.server.things[made.main].body["protection"] = {"delete": True}

    @contextmanager
    def busy(self, made: Made, times: int) -> Iterator[None]:
        locked = error(423, "an action is already running")
        with self.server.failing(Fault("answer", "DELETE", f"/servers/{SERVER}$", locked, times=times)):
            yield

    @contextmanager
    def false_success(self, made: Made) -> Iterator[None]:
        self.server.fails = True
        yield
        self.server.fails = False


TARGETS = [StandIn]


@pytest.fixture
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with StandIn(request, monkeypatch) as found:
        yield found


@pytest.mark.parametrize("kind", server.KINDS)
def test_a_not_found_of_what_nobody_saw_is_unproven(target: StandIn, kind: str) -> None:
    found = server.KINDS[kind].state(Resource(kind, SERVER), target.settings)
    assert (found.state, found.unproven) == ("gone", True)


def test_a_primary_address_that_goes_with_its_server_is_proven_by_having_been_seen_there(target: StandIn) -> None:
    target.make()
    found = {each.key: each for each in server.discover(target.record({"instance_id": SERVER}), target.settings)}
    address = found["hetzner:primary_ip", AUTOMATIC]
    assert address.state != "kept"
    del target.server.things[address.key]
    look = server.KINDS["hetzner:primary_ip"].state(address, target.settings)
    assert (look.state, look.unproven) == ("gone", False)
    assert found["hetzner:primary_ip", NAMED].state == "kept"


def test_an_action_that_failed_is_reported_once(target: StandIn) -> None:
    target.make()
    target.server.fails = True
    kind, asked = server.KINDS["hetzner:server"], Resource("hetzner:server", SERVER, asked_in=1)
    kind.delete(asked, target.settings)
    first = kind.state(asked, target.settings)
    assert (first.state, first.failure) == ("present", "action 1: Action failed")
    assert kind.state(Resource(*asked.key, first.place, asked_in=1), target.settings).failure == ""


def test_a_volume_of_another_server_stays(target: StandIn) -> None:
    target.make()
    target.server.things["hetzner:volume", NAMED].user = OTHER
    with pytest.raises(Refused, match=f"attached to {OTHER}"):
        server.KINDS["hetzner:volume"].delete(Resource("hetzner:volume", NAMED, {"used_by": SERVER}), target.settings)
    assert target.asked() == []


def test_a_server_that_is_off_is_present_and_paid_for(target: StandIn) -> None:
    target.make()
    target.server.things["hetzner:server", SERVER].body["status"] = "off"
    look = server.KINDS["hetzner:server"].state(Resource("hetzner:server", SERVER), target.settings)
    assert (look.state, look.detail) == ("present", "off: stopped, and still paid for")


@pytest.mark.parametrize(
    ("status", "code", "meant"),
    [
        (404, "not_found", Gone),
        (404, "", Unreachable),
        (409, "conflict", Busy),
        (423, "locked", Busy),
        (422, "must_be_unassigned", Busy),
        (422, "server_not_stopped", Busy),
        (403, "protected", Refused),
        (423, "protected", Refused),
        (429, "rate_limit_exceeded", Busy),
        (502, "bad_gateway", Unreachable),
    ],
)
def test_a_code_says_what_an_error_means(status: int, code: str, meant: type[Exception]) -> None:
    client = Client(api.HETZNER.endpoint, Credential({}, "none"), Settings())
    answer = Response(status, {"error": {"code": code, "message": "x"}}, {})
    assert isinstance(client.error("GET", "/v1/servers/1", answer), meant)
