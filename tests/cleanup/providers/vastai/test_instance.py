"""VastAiInstance, against a server that keeps to Vast.ai's API description."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.cleanup.rest_target import LOOKS, Account, AccountTarget, Thing
from tests.conformance.conftest import life, target
from tests.conformance.life import Life
from tests.conformance.target import Key, Made
from tests.standin import Fault, Reply, Request, route
from tracker.cleanup.core.contract import Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.vastai import instance
from tracker.cleanup.transport.credentials import Credential
from tracker.cleanup.transport.rest.client import Client, Response
from tracker.model.deployment import Resource
from tracker.model.settings import LocalPlace, Settings

__all__ = ["life", "target"]

KEY = "vast-secret-of-user-42"
INSTANCE, OTHER, VOLUME, STRANGE = "4012345", "4012346", "700", "701"


def error(status: int, text: str) -> Reply:
    return Reply(status, {"success": False, "error": {404: "no_such_instance"}.get(status, "error"), "msg": text})


class VastAi(Account):
    """The API. An account is a user."""

    HOME = "42"
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://console.vast.ai"

    def handle(self, request: Request) -> Reply:
        if request.headers.get("Authorization") != f"Bearer {KEY}" or not self.valid:
            return error(401, "Invalid user key")
        return super().handle(request)

    @route("GET", "/api/v0/users/current/")
    def whose(self, request: Request) -> Reply:
        return Reply(body={"id": int(self.account), "email": "a@b.example"})

    @route("GET", "/api/v1/instances/")
    def every(self, request: Request) -> Reply:
        start = int(request.query.get("after_token", "t0").removeprefix("t"))
        found = [thing.body for thing in self.all("vastai:instance").values()]
        # Pages of two, whatever is asked for.
        following = f"t{start + 2}" if start + 2 < len(found) else None
        return Reply(
            body={"instances": found[start : start + 2], "next_token": following, "total_instances": len(found)}
        )

    @route("GET", r"/api/v0/instances/(?P<id>\d+)/")
    def look(self, request: Request, id: str) -> Reply:
        thing = self.seen("vastai:instance", id)
        return Reply(body={"instances": thing.body if thing else None})

    @route("DELETE", r"/api/v0/instances/(?P<id>\d+)/")
    def destroy(self, request: Request, id: str) -> Reply:
        return self._go("vastai:instance", id)

    @route("GET", "/api/v0/volumes/")
    def volumes(self, request: Request) -> Reply:
        for id_ in self.all("vastai:volume"):
            self.seen("vastai:volume", id_)
        shown = [
            thing.body | ({"instances": [{"id": int(each)} for each in thing.user.split(",")]} if thing.user else {})
            for thing in self.all("vastai:volume").values()
        ]
        return Reply(body={"volumes": shown})

    @route("DELETE", "/api/v0/volumes/")
    def delete_volume(self, request: Request) -> Reply:
        id_ = str(request.body["id"])
        thing = self.found("vastai:volume", id_)
        if thing and any(self.found("vastai:instance", each) for each in thing.user.split(",")):
            return error(409, "existing instances use that volume!")
        return self._go("vastai:volume", id_)

    def _go(self, kind: str, id_: str) -> Reply:
        thing = self.found(kind, id_)
        if thing is None:
            return error(404, f"{id_} not found.")
        thing.looks = LOOKS
        return Reply(body={"success": True})


class StandIn(AccountTarget):
    """An instance with a named volume and a strange one."""

    deployment_type = "VastAiInstance"
    server_class = VastAi
    elsewhere = "43"
    secrets: tuple[str, ...] = (KEY,)
    marked: ClassVar = {"vastai:instance": "label", "vastai:volume": "label"}
    na: ClassVar[dict[str, str]] = {
        "wrong-place": "ids are the account's own and no URL names a region",
        "not-ours": "no mark is set for it: being named is ownership",
        "other-one": "Vast.ai gives the number of an instance to no other",
        "protected": "instances have no protection against deletion",
    }

    def start(self) -> None:
        super().start()
        self.patch.setenv("VAST_API_KEY", KEY)
        self.settings = Settings(
            base_urls={"vastai": self.server.url},
            accounts={"vastai": VastAi.HOME},
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        if call.method != "DELETE":
            return None
        if "/volumes/" in call.path:
            return "vastai:volume", str(call.body["id"])
        return "vastai:instance", call.path.split("/")[4]

    def another(self, number: int) -> tuple[str, Thing]:
        return f"50123{number:02}", Thing({"id": int(f"50123{number:02}"), "actual_status": "running"})

    def make(self) -> Made:
        main: Key = ("vastai:instance", INSTANCE)
        ours, kept = [main, ("vastai:volume", VOLUME)], [("vastai:instance", OTHER), ("vastai:volume", STRANGE)]
        for kind, id_ in (*ours, *kept):
            body = {"id": int(id_), "actual_status": "running", "start_date": 1767225600.5}
            self.server.things[kind, id_] = Thing(body, INSTANCE if kind == "vastai:volume" else "")
        return Made(main, ours, kept, {"instance_id": INSTANCE, "volume": VOLUME})

    @contextmanager
    def false_success(self, made: Made) -> Iterator[None]:
        failed = Reply(200, {"success": False, "msg": "try again"})
        with self.server.failing(Fault("answer", "DELETE", f"/{INSTANCE}/", failed)):
            yield


TARGETS = [StandIn]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"success": False, "error": "no_such_instance", "msg": "Instance 1 not found."}),
        (404, {"success": False, "msg": "Instance 1 not found."}),
        (404, {"message": "no_such_instance"}),
        (400, {"error": "no_such_instance", "msg": "Instance 1 not found."}),
    ],
)
def test_every_form_in_which_an_instance_is_not_found_is_gone(status: int, body: dict[str, Any]) -> None:
    client = Client(instance.VAST_AI.endpoint, Credential({}, "none"), Settings())
    assert isinstance(client.error("GET", "/api/v0/instances/1/", Response(status, body, {})), Gone)


@pytest.mark.parametrize("body", [None, "<html>", {"detail": "x"}, []])
def test_a_404_in_nobodys_words_proves_nothing(body: Any) -> None:
    client = Client(instance.VAST_AI.endpoint, Credential({}, "none"), Settings())
    assert isinstance(client.error("GET", "/api/v0/instances/1/", Response(404, body, {})), Unreachable)


@pytest.mark.parametrize("target_class", TARGETS)
@pytest.mark.parametrize("users", [INSTANCE, f"{INSTANCE},{OTHER}", OTHER])
@pytest.mark.parametrize("dependents", ["", "all"])
def test_a_volume_that_an_instance_uses_is_found(target: StandIn, life: Life, users: str, dependents: str) -> None:
    made = target.make()
    strange = ("vastai:volume", STRANGE)
    target.server.things[strange].user = users
    life.clean_up(made, metadata={"delete_dependents": "all"} if dependents else {})
    assert life.record.status == "Terminated"
    goes = dependents == "all" and users == INSTANCE
    assert (strange in target.left()) == (not goes)
    assert life.states.get(strange) == (None if users == OTHER else "gone" if goes else "kept")


@pytest.mark.parametrize("target_class", TARGETS)
def test_a_list_that_is_not_found_says_nothing_of_a_volume(target: StandIn) -> None:
    target.make()
    volume = Resource("vastai:volume", VOLUME, {"account": VastAi.HOME})
    missing = Fault("answer", "GET", "/volumes/$", error(404, "not found"))
    with target.server.failing(missing), pytest.raises(Unreachable):
        instance.KINDS[volume.kind].state(volume, target.settings)
