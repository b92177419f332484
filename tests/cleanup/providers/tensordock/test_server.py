"""TensorDockServer, against a server that keeps to descriptions of TensorDock's API, version 2."""

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
from tracker.cleanup.providers.tensordock import server
from tracker.model.deployment import Resource
from tracker.model.settings import LocalPlace, Settings

TOKEN = "tensordock-token-of-organization-42"
SERVER, OTHER = "550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440001"


def error(status: int, text: str) -> Reply:
    return Reply(status, {"errors": [{"status": str(status), "title": "Error", "detail": text}]})


class TensorDock(Account):
    """The API, which says of nobody whose the token is."""

    HOME = "42"
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://dashboard.tensordock.com"

    def handle(self, request: Request) -> Reply:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}" or not self.valid:
            return error(401, "invalid token")
        return super().handle(request)

    @route("GET", "/api/v2/instances")
    def every(self, request: Request) -> Reply:
        found = [
            {"type": "virtualmachine", "id": id_, "name": thing.body.get("name", "x"), "status": "running"}
            for id_, thing in self.all("tensordock:server").items()
        ]
        return Reply(body={"data": {"instances": found}})

    @route("GET", "/api/v2/instances/(?P<id>[^/]+)")
    def look(self, request: Request, id: str) -> Reply:
        thing = self.seen("tensordock:server", id)
        if thing is None:
            return error(404, "instance not found")
        status = "running" if thing.looks is None else "deleting"
        return Reply(body={"data": {"type": "virtualmachine", "id": id, "attributes": {"status": status}}})

    @route("DELETE", "/api/v2/instances/(?P<id>[^/]+)")
    def delete(self, request: Request, id: str) -> Reply:
        thing = self.found("tensordock:server", id)
        if thing is None:
            return error(404, "instance not found")
        thing.looks = LOOKS
        return Reply(body={"data": {"type": "success", "message": "it goes"}})


class StandIn(AccountTarget):
    """An instance, and somebody else's."""

    deployment_type = "TensorDockServer"
    server_class = TensorDock
    elsewhere = "43"
    secrets: tuple[str, ...] = (TOKEN,)
    marked: ClassVar = {"tensordock:server": "name"}
    unpaged = "TensorDock lists all instances in one piece"
    na: ClassVar[dict[str, str]] = NO_ACCOUNT | {
        "wrong-place": "ids are the organization's own and no URL names a place",
        "not-ours": "no mark is set for it: being named is ownership",
        "other-one": "an instance's id is a UUID, which no other gets",
        "protected": "instances have no protection against deletion",
        "order": "an instance has nothing that outlives it",
        "stuck": "an instance has nothing that outlives it",
        "half-done": "an instance has nothing that outlives it",
    }

    def start(self) -> None:
        super().start()
        self.patch.setenv("TENSORDOCK_API_TOKEN", TOKEN)
        self.settings = Settings(
            base_urls={"tensordock": self.server.url},
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        return ("tensordock:server", call.path.split("/")[4]) if call.method == "DELETE" else None

    def another(self, number: int) -> tuple[str, Thing]:
        return f"650e8400-e29b-41d4-a716-4466554400{number:02}", Thing({})

    def make(self) -> Made:
        main: Key = ("tensordock:server", SERVER)
        kept: list[Key] = [("tensordock:server", OTHER)]
        for key in (main, *kept):
            self.server.things[key] = Thing({})
        return Made(main, [main], kept, {"instance_id": SERVER})

    @contextmanager
    def false_success(self, made: Made) -> Iterator[None]:
        failed = Reply(200, {"status": 500, "message": "the host doesn't answer"})
        with self.server.failing(Fault("answer", "DELETE", "", failed)):
            yield


TARGETS = [StandIn]


@pytest.fixture
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with StandIn(request, monkeypatch) as found:
        found.make()
        yield found


KIND, OURS = server.KINDS["tensordock:server"], Resource("tensordock:server", SERVER)


@pytest.mark.parametrize(
    "body",
    [
        {"error": "not now"},
        {"status": 500, "message": "broken"},
        {"success": False},
        {"errors": [{"title": "x", "detail": "y"}]},
        {"data": {"type": "error", "message": "it stays"}},
    ],
)
def test_a_failure_inside_a_200_is_one(target: StandIn, body: dict[str, Any]) -> None:
    with target.server.failing(Fault("answer", "DELETE", "", Reply(200, body))), pytest.raises(Unreachable):
        KIND.delete(OURS, target.settings)


@pytest.mark.parametrize(
    ("body", "meant"),
    [
        ({"status": 401, "error": "invalid token"}, Refused),
        ({"status": 409, "error": "it is starting"}, Busy),
        ({"status": 429, "error": "too many requests"}, Busy),
        ({"error": "instance not found"}, Unreachable),
        ({"data": {"id": OTHER, "attributes": {"status": "deleted"}}}, Unreachable),
        ({"data": None}, Unreachable),
    ],
)
def test_what_a_look_answers_inside_a_200_is_taken_as_its_status_says(
    target: StandIn, body: dict[str, Any], meant: type[Exception]
) -> None:
    with target.server.failing(Fault("answer", "GET", f"/{SERVER}$", Reply(200, body))), pytest.raises(meant):
        KIND.state(OURS, target.settings)


def test_a_not_found_of_what_nobody_saw_is_unproven_also_inside_a_200(target: StandIn) -> None:
    missing = Reply(200, {"status": 404, "error": "instance not found"})
    with target.server.failing(Fault("answer", "GET", f"/{SERVER}$", missing)):
        look = KIND.state(OURS, target.settings)
    assert (look.state, look.unproven) == ("gone", True)


@pytest.mark.parametrize(
    ("body", "state", "detail"),
    [
        ({"id": SERVER, "status": "running"}, "present", "running"),
        ({"data": {"id": SERVER, "status": "stopped"}}, "present", "stopped, and its storage is still paid for"),
        ({"data": {"id": SERVER, "attributes": {"status": "StoppedDisassociated"}}}, "present", "still paid for"),
        ({"data": {"id": SERVER, "attributes": {"status": "deleting"}}}, "leaving", "deleting"),
        ({"data": {"id": SERVER, "attributes": {"status": "deleted"}}}, "gone", ""),
        ({"data": {"id": SERVER}}, "present", ""),
    ],
)
def test_an_instance_is_read_in_every_form_in_which_it_was_seen(
    target: StandIn, body: dict[str, Any], state: str, detail: str
) -> None:
    with target.server.failing(Fault("answer", "GET", f"/{SERVER}$", Reply(200, body))):
        look = KIND.state(OURS, target.settings)
    assert look.state == state
    assert detail in look.detail
