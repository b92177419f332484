"""VastAiInstance, against a server that keeps to Vast.ai's API description."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from tests.cleanup.rest_target import LOOKS, Account, AccountTarget, Thing
from tests.conformance.target import Key, Made
from tests.standin import Fault, Reply, Request, route
from tracker.settings import LocalPlace, Settings

KEY = "vast-secret-of-user-42"
INSTANCE, OTHER, VOLUME, STRANGE = "4012345", "4012346", "700", "701"


def error(status: int, text: str) -> Reply:
    return Reply(status, {"success": False, "error": {404: "no_such_instance"}.get(status, "error"), "msg": text})


class VastAi(Account):
    """The API. An account is a user."""

    HOME = "42"
    CONTRACT = Path(__file__).with_name("vast_ai.yaml")
    PUBLIC_URL = "https://console.vast.ai"

    def handle(self, request: Request) -> Reply:
        if request.headers.get("Authorization") != f"Bearer {KEY}" or not self.valid:
            return error(401, "Invalid user key")
        return super().handle(request)

    @route("GET", "/api/v0/users/current/")
    def whose(self, request: Request) -> Reply:
        return Reply(body={"id": int(self.account), "email": "a@b.example"})

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
        return Reply(body={"volumes": [thing.body for thing in self.all("vastai:volume").values()]})

    @route("DELETE", "/api/v0/volumes/")
    def delete_volume(self, request: Request) -> Reply:
        id_ = str(request.body["id"])
        thing = self.found("vastai:volume", id_)
        if thing and self.found("vastai:instance", thing.user):
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

    def make(self) -> Made:
        main: Key = ("vastai:instance", INSTANCE)
        ours, kept = [main, ("vastai:volume", VOLUME)], [("vastai:instance", OTHER), ("vastai:volume", STRANGE)]
        for kind, id_ in (*ours, *kept):
            body = {"id": int(id_), "actual_status": "running"}
            self.server.things[kind, id_] = Thing(body, INSTANCE if kind == "vastai:volume" else "")
        return Made(main, ours, kept, {"instance_id": INSTANCE, "volume": VOLUME})

    @contextmanager
    def busy(self, made: Made, times: int) -> Iterator[None]:
        pending = error(409, "another operation is in progress")
        with self.server.failing(Fault("answer", "DELETE", f"/{INSTANCE}/", pending, times=times)):
            yield

    @contextmanager
    def false_success(self, made: Made) -> Iterator[None]:
        failed = Reply(200, {"success": False, "msg": "try again"})
        with self.server.failing(Fault("answer", "DELETE", f"/{INSTANCE}/", failed)):
            yield


TARGETS = [StandIn]
