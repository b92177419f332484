"""BittensorLiumMiner, against a server that answers as Lium's own SDK expects it."""

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
from tracker.cleanup.core.contract import Refused, Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.lium import pod
from tracker.cleanup.transport.credentials import Credential
from tracker.cleanup.transport.rest.client import Client, Response
from tracker.model.settings import LocalPlace, Settings

__all__ = ["life", "target"]
API_KEY = "lium-secret-of-workspace-42"
POD, OTHER = "6f1f4d6e-0c5e-4f0e-9d0b-0d7a3f2b1c01", "6f1f4d6e-0c5e-4f0e-9d0b-0d7a3f2b1c02"
VOLUME, STRANGE = "6f1f4d6e-0c5e-4f0e-9d0b-0d7a3f2b1c03", "6f1f4d6e-0c5e-4f0e-9d0b-0d7a3f2b1c04"
ITEMS = {"pods": "pod", "volumes": "volume"}
_PATH = "/api/(?P<items>pods|volumes)/(?P<id>[^/]+)"


def error(status: int, text: str) -> Reply:
    code = {401: "UNAUTHORIZED", 404: "NOT_FOUND"}.get(status, "ERROR")
    return Reply(status, {"success": False, "error": {"code": code, "message": text, "request_id": "r-1"}})


class Lium(Account):
    """The API. An account is a workspace; a deleted pod is DELETING until it is found no more."""

    HOME = "ws-42"
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://lium.io"

    def handle(self, request: Request) -> Reply:
        if request.headers.get("X-API-KEY") != API_KEY or not self.valid:
            return error(401, "Invalid API key")
        return super().handle(request)

    @route("GET", "/api/users/me")
    def whose(self, request: Request) -> Reply:
        return Reply(body={"id": "user-1", "balance": 1.5, "workspace": {"id": self.account, "name": "team"}})

    @route("GET", "/api/(?P<items>pods|volumes)")
    def every(self, request: Request, items: str) -> Reply:
        return Reply(body=[thing.body for thing in self.all(f"lium:{ITEMS[items]}").values()])

    @route("GET", _PATH)
    def look(self, request: Request, items: str, id: str) -> Reply:
        thing = self.seen(f"lium:{ITEMS[items]}", id)
        if thing is None:
            return error(404, f"{ITEMS[items]} {id} not found")
        return Reply(body={**thing.body, "status": thing.body["status"] if thing.looks is None else "DELETING"})

    @route("DELETE", _PATH)
    def delete(self, request: Request, items: str, id: str) -> Reply:
        thing = self.found(f"lium:{ITEMS[items]}", id)
        if thing is None or (thing.looks is not None and not thing.stays):
            return error(404, f"{ITEMS[items]} {id} not found")
        if thing.user and self.found("lium:pod", thing.user):
            return error(409, "the volume is in use")
        thing.looks = LOOKS
        return Reply(body={"success": True, "message": "accepted"})


class StandIn(AccountTarget):
    """A pod with a named volume and a strange one; and somebody else's pod."""

    deployment_type = "BittensorLiumMiner"
    server_class = Lium
    elsewhere = "ws-43"
    secrets: tuple[str, ...] = (API_KEY,)
    marked: ClassVar = {"lium:pod": "pod_name", "lium:volume": "name"}
    unpaged = "the vendor's SDK reads all pods and volumes in one piece"
    na: ClassVar[dict[str, str]] = {
        "wrong-place": "ids are the workspace's own and no URL names a region",
        "not-ours": "no mark is set for it: being named is ownership",
        "other-one": "a pod's id is a UUID, which no other gets",
        "protected": "pods have no protection against deletion",
    }

    def start(self) -> None:
        super().start()
        self.patch.setenv("LIUM_API_KEY", API_KEY)
        self.settings = Settings(
            base_urls={"lium": self.server.url},
            accounts={"lium": Lium.HOME},
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        if call.method != "DELETE":
            return None
        _, _, items, id_ = call.path.split("/")
        return f"lium:{ITEMS[items]}", id_

    def another(self, number: int) -> tuple[str, Thing]:
        id_ = f"7f1f4d6e-0c5e-4f0e-9d0b-0d7a3f2b00{number:02}"
        return id_, Thing({"id": id_, "status": "RUNNING"})

    def make(self) -> Made:
        main: Key = ("lium:pod", POD)
        ours, kept = [main, ("lium:volume", VOLUME)], [("lium:pod", OTHER), ("lium:volume", STRANGE)]
        for kind, id_ in (*ours, *kept):
            user = POD if kind == "lium:volume" else ""
            self.server.things[kind, id_] = Thing({"id": id_, "status": "RUNNING"}, user)
        return Made(main, ours, kept, {"instance_id": POD, "volume": VOLUME})

    @contextmanager
    def busy(self, made: Made, times: int) -> Iterator[None]:
        pending = error(409, "the pod is still being created")
        with self.server.failing(Fault("answer", "DELETE", f"/{POD}$", pending, times=times)):
            yield

    @contextmanager
    def false_success(self, made: Made) -> Iterator[None]:
        failed = Reply(200, {"success": False, "message": "the node didn't answer"})
        with self.server.failing(Fault("answer", "DELETE", f"/{POD}$", failed)):
            yield


TARGETS = [StandIn]


@pytest.mark.parametrize("target_class", [StandIn])
def test_a_deletion_that_ended_in_a_5xx_is_not_repeated_before_a_read(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    lost = Fault("answer", "DELETE", f"/{POD}$", error(502, "bad gateway"), times=1, after=True)
    with target.server.failing(lost):
        state = life.begin()
        with pytest.raises(Unreachable):
            life.run(state)
    life.give_back(state)
    life.run(life.begin())
    assert life.record.status == "Terminated"
    assert target.asked().count(made.main) == 1


@pytest.mark.parametrize("status", ["STOPPED", "FAILED", "BROKEN", "CREATION_FAILED", "running", "SOMETHING_NEW"])
def test_a_pod_that_does_not_run_is_still_present(status: str) -> None:
    assert pod.Pod().progress({"status": status})[0] == "present"


@pytest.mark.parametrize("status", ["TERMINATED", "DELETED", "removed"])
def test_a_pod_that_ended_is_gone_and_described(status: str) -> None:
    assert pod.Pod().progress({"status": status})[0] == "gone"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, {"detail": "Pod not found"}, Gone),
        (404, {"error": {"code": "NOT_FOUND", "message": "Pod not found"}}, Gone),
        (404, {"detail": "Not Found"}, Unreachable),
        (404, {"title": "nginx"}, Unreachable),
        (404, None, Unreachable),
        (402, {"error": {"code": "API_KEY_BUDGET_EXCEEDED", "message": "daily"}}, Refused),
        (403, {"message": "API key 'x' does not have the 'manage' scope"}, Refused),
    ],
)
def test_what_an_error_means(status: int, body: Any, expected: type[Exception]) -> None:
    client = Client(pod.LIUM.endpoint, Credential({}, "none"), Settings())
    assert isinstance(client.error("GET", "/api/pods/1", Response(status, body, {})), expected)


def test_a_key_without_a_workspace_is_its_users() -> None:
    class Answers:
        def get(self, path: str) -> Any:
            return {"id": "user-1", "workspace": None}

    assert pod.LIUM.identify_account(Answers()) == "user-1"  # type: ignore[arg-type]
