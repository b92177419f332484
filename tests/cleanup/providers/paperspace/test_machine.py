"""PaperspaceMachine, against a server that keeps to Paperspace's API description."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.cleanup.rest_target import LOOKS, Account, AccountTarget, Thing
from tests.conformance.target import Key, Made
from tests.standin import Fault, Reply, Request, route
from tracker.cleanup.core.contract import Refused, Unreachable
from tracker.cleanup.providers.paperspace import machine
from tracker.model.deployment import Resource
from tracker.model.settings import LocalPlace, Settings

KEY = "paperspace-key-of-team-42"
MACHINE, OTHER = "psvrgw1s5yoo", "psvrgw1s5yop"
KINDS = {"machines": "machine", "public-ips": "public_ip", "snapshots": "snapshot", "shared-drives": "shared_drive"}
_PATH = "/v1/(?P<items>machines|public-ips|snapshots|shared-drives)/(?P<id>[^/]+)"
CODES = {401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT_FOUND", 409: "CONFLICT", 412: "PRECONDITION_FAILED"}


def error(status: int, text: str) -> Reply:
    return Reply(status, {"code": CODES.get(status, "INTERNAL_SERVER_ERROR"), "message": text})


class Paperspace(Account):
    """The API, with lists that come in pages of one. An account is a team."""

    HOME = "team42"
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://api.paperspace.com"

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        # Whether the next deletion of a machine fails once it was accepted.
        self.fails = False
        super().__init__()

    def handle(self, request: Request) -> Reply:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return error(401, "unknown key")
        return super().handle(request)

    @route("GET", "/v1/auth/session")
    def session(self, request: Request) -> Reply:
        if not self.valid:
            return Reply(body=b"null")
        user = {"id": "u1", "email": "a@b.example"}
        return Reply(body={"team": {"id": self.account, "namespace": "t"}, "user": user})

    @route("GET", "/v1/machine-events")
    def every_event(self, request: Request) -> Reply:
        if request.query.get("order") != "desc":
            return error(400, "not in this order")
        of_machine = [each for each in reversed(self.events) if each["machineId"] == request.query["machineId"]]
        return self.page(request, of_machine)

    @route("GET", "/v1/(?P<items>machines|public-ips|snapshots|shared-drives)")
    def every(self, request: Request, items: str) -> Reply:
        things = self.all(f"paperspace:{KINDS[items]}")
        for id_ in things:
            self.seen(f"paperspace:{KINDS[items]}", id_)
        wanted = request.query.get("machineId")
        return self.page(
            request, [self.shown(items, id_, each) for id_, each in things.items() if wanted in (None, each.user)]
        )

    @route("GET", _PATH)
    def look(self, request: Request, items: str, id: str) -> Reply:
        thing = self.seen(f"paperspace:{KINDS[items]}", id)
        return Reply(body=self.shown(items, id, thing)) if thing else error(404, f"{id} not found")

    @route("DELETE", _PATH)
    def delete(self, request: Request, items: str, id: str) -> Reply:
        thing = self.found(f"paperspace:{KINDS[items]}", id)
        if thing is None:
            return error(404, f"{id} not found")
        event = {"id": f"e{len(self.events)}", "name": "deactivate", "machineId": id, "error": None}
        if items == "machines":
            self.events.append(event | {"state": "error" if self.fails else "in progress"})
        if not self.fails:
            thing.looks = LOOKS
        if items in ("public-ips", "shared-drives"):
            return Reply(body={"id": id})
        return Reply(body={"data": self.shown(items, id, thing), "event": event | {"state": "new"}})

    def page(self, request: Request, every: list[dict[str, Any]]) -> Reply:
        start = int(request.query.get("after", "0"))
        has_more = start + 1 < len(every)
        following = {"nextPage": str(start + 1)} if has_more else {}
        return Reply(body={"items": every[start : start + 1], "hasMore": has_more, **following})

    def shown(self, items: str, id_: str, thing: Thing) -> dict[str, Any]:
        at = {"dtCreated": "2026-01-01T00:00:00Z"}
        match items:
            case "machines":
                return {"id": id_, "name": "m", "state": "ready", "dtDeleted": None, **at, **thing.body}
            case "public-ips":
                return {"ip": id_, "region": "ny2", **at} | ({"assignedMachineId": thing.user} if thing.user else {})
            case "snapshots":
                return {"id": id_, "machineId": thing.user, "name": "s", "isAutoSnapshot": False, **thing.body}
        return {"id": id_, "name": "d", "networkId": "n1", **at, **thing.body}


class StandIn(AccountTarget):
    """A machine with a named and a strange address and snapshot each, and a named shared drive."""

    deployment_type = "PaperspaceMachine"
    server: Paperspace
    server_class = Paperspace
    elsewhere = "team43"
    secrets: tuple[str, ...] = (KEY,)
    marked: ClassVar = dict.fromkeys(("paperspace:machine", "paperspace:snapshot", "paperspace:shared_drive"), "name")
    na: ClassVar[dict[str, str]] = {
        "wrong-place": "ids are the team's own and no URL names a region",
        "not-ours": "no mark is set for it: being named is ownership",
        "other-one": "Paperspace gives the id of a machine to no other",
        "protected": "machines have no protection against deletion",
    }

    def start(self) -> None:
        super().start()
        self.patch.setenv("PAPERSPACE_API_KEY", KEY)
        self.settings = Settings(
            base_urls={"paperspace": self.server.url},
            accounts={"paperspace": Paperspace.HOME},
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        if call.method != "DELETE":
            return None
        _, _, items, id_ = call.path.split("/")
        return f"paperspace:{KINDS[items]}", id_

    def another(self, number: int) -> tuple[str, Thing]:
        return f"psmore{number:02}", Thing({})

    def make(self) -> Made:
        main: Key = ("paperspace:machine", MACHINE)
        named = [("paperspace:public_ip", "203.0.113.7"), ("paperspace:snapshot", "snap1")]
        kept = [("paperspace:public_ip", "203.0.113.8"), ("paperspace:snapshot", "snap2")]
        drive: Key = ("paperspace:shared_drive", "drive1")
        others = [("paperspace:machine", OTHER), ("paperspace:shared_drive", "drive2")]
        for key in (main, *named, *kept, drive, *others):
            self.server.things[key] = Thing({}, MACHINE if key in named + kept else "")
        ids: dict[str, str | list[str]] = {"instance_id": MACHINE, "static_ip": "203.0.113.7"}
        return Made(
            main, [main, *named, drive], [*kept, *others], ids | {"snapshot": "snap1", "shared_drive": ["drive1"]}
        )

    @contextmanager
    def false_success(self, made: Made) -> Iterator[None]:
        self.server.fails = True
        yield
        self.server.fails = False


TARGETS = [StandIn]


@pytest.fixture
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with StandIn(request, monkeypatch) as found:
        found.make()
        yield found


PLACE = {"account": Paperspace.HOME, "used_by": MACHINE}


def test_what_the_machine_has_is_found_through_all_pages_and_goes_if_the_record_asks_for_it(target: StandIn) -> None:
    record = target.record({"instance_id": MACHINE}, {"delete_dependents": "all"})
    found = {each.id: each.state for each in machine.discover(record, target.settings)}
    assert found == dict.fromkeys((MACHINE, "203.0.113.7", "203.0.113.8", "snap1", "snap2"), "unseen")


def test_a_machine_with_a_date_of_deletion_is_gone(target: StandIn) -> None:
    target.server.things["paperspace:machine", MACHINE].body["dtDeleted"] = "2026-11-01T00:00:00Z"
    look = machine.KINDS["paperspace:machine"].state(Resource("paperspace:machine", MACHINE, PLACE), target.settings)
    assert (look.state, look.described) == ("gone", True)


def test_a_machine_that_is_off_is_present_and_paid_for(target: StandIn) -> None:
    target.server.things["paperspace:machine", MACHINE].body["state"] = "off"
    look = machine.KINDS["paperspace:machine"].state(Resource("paperspace:machine", MACHINE, PLACE), target.settings)
    assert (look.state, look.detail) == ("present", "off: stopped, and still paid for")


@pytest.mark.parametrize("state", ["error", "cancelled"])
def test_a_deletion_whose_event_failed_at_once_is_a_failure(target: StandIn, state: str) -> None:
    answer = Reply(200, {"data": {}, "event": {"id": "e1", "name": "deactivate", "state": state}})
    with target.server.failing(Fault("answer", "DELETE", "", answer)), pytest.raises(Unreachable, match=state):
        machine.KINDS["paperspace:machine"].delete(Resource("paperspace:machine", MACHINE, PLACE), target.settings)


def test_an_event_that_failed_is_reported_once(target: StandIn) -> None:
    target.server.fails = True
    kind, asked = machine.KINDS["paperspace:machine"], Resource("paperspace:machine", MACHINE, PLACE, asked_in=1)
    kind.delete(asked, target.settings)
    first = kind.state(asked, target.settings)
    assert (first.state, first.failure) == ("present", "event deactivate: error")
    again = Resource("paperspace:machine", MACHINE, PLACE | first.place, asked_in=1)
    assert kind.state(again, target.settings).failure == ""


def test_an_address_of_another_machine_stays(target: StandIn) -> None:
    target.server.things["paperspace:public_ip", "203.0.113.7"].user = OTHER
    kind = machine.KINDS["paperspace:public_ip"]
    with pytest.raises(Refused, match=f"attached to {OTHER}"):
        kind.delete(Resource("paperspace:public_ip", "203.0.113.7", PLACE), target.settings)
    assert target.asked() == []


def test_a_key_that_is_nobody_s_is_refused(target: StandIn) -> None:
    target.server.valid = False
    with pytest.raises(Refused) as refused:
        machine.discover(target.record({"instance_id": MACHINE}), target.settings)
    assert refused.value.error_class == "credentials"
