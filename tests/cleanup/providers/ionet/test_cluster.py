"""IoNetCluster, against a server that keeps to io.net's API document."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from tests.cleanup.rest_target import LOOKS, NO_ACCOUNT, Account, AccountTarget, Thing
from tests.conformance.target import Key, Made
from tests.standin import Fault, Reply, Request, route
from tracker.cleanup.providers.ionet import cluster
from tracker.model.settings import LocalPlace, Settings

ID, OTHER = "0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e01", "0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e02"
API_KEY = "io-secret-of-account-42"
_PATH = "/enterprise/v1/io-cloud/caas/deployment/(?P<id>[^/]+)"


def error(status: int, text: str) -> Reply:
    return Reply(status, {"detail": text})


class IoNet(Account):
    """The API. What was destroyed is found no more."""

    HOME = "42"
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://api.io.solutions"

    def handle(self, request: Request) -> Reply:
        if request.headers.get("x-api-key") != API_KEY or not self.valid:
            return error(401, "Invalid API key")
        return super().handle(request)

    @route("GET", "/enterprise/v1/io-cloud/caas/deployments")
    def every(self, request: Request) -> Reply:
        # Pages of two, whatever is asked for.
        start = 2 * int(request.query["page"]) - 2
        plain = {"status": "running", "created_at": "2026-01-01T00:00:00Z"}
        found = [
            {"id": id_, "name": thing.body.get("name", "x"), **plain}
            for id_, thing in self.all("ionet:deployment").items()
        ]
        data = {"deployments": found[start : start + 2], "total": len(found), "statuses": []}
        return Reply(body={"data": data})

    @route("GET", _PATH)
    def look(self, request: Request, id: str) -> Reply:
        thing = self.seen("ionet:deployment", id)
        if thing is None:
            return error(404, "Not found")
        status = "running" if thing.looks is None else "termination requested"
        return Reply(body={"data": {"id": id, "status": status, "created_at": "2026-01-01", "finished_at": None}})

    @route("DELETE", _PATH)
    def destroy(self, request: Request, id: str) -> Reply:
        thing = self.found("ionet:deployment", id)
        if thing is None:
            return error(404, "Not found")
        thing.looks = LOOKS
        return Reply(body={"status": "success", "deployment_id": id})


class StandIn(AccountTarget):
    """A deployment, and somebody else's."""

    deployment_type = "IoNetCluster"
    server: IoNet
    server_class = IoNet
    elsewhere = "43"
    secrets: tuple[str, ...] = (API_KEY,)
    marked: ClassVar = {"ionet:deployment": "name"}
    na: ClassVar[dict[str, str]] = {
        **NO_ACCOUNT,
        "wrong-place": "ids are the account's own and no URL names a region",
        "not-ours": "no mark is set for it: being named is ownership",
        "other-one": "an id is a UUID, which no other gets",
        "protected": "there is no protection against deletion",
        "order": "it has no dependents that go after it",
        "stuck": "it has no dependents that go after it",
        "half-done": "it has no dependents that go after it",
    }

    def start(self) -> None:
        super().start()
        self.patch.setenv("IOCLOUD_API_KEY", API_KEY)
        self.settings = Settings(
            base_urls={"ionet": self.server.url},
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        return ("ionet:deployment", call.path.rpartition("/")[2]) if call.method == "DELETE" else None

    def another(self, number: int) -> tuple[str, Thing]:
        return f"1b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d00{number:02}", Thing({})

    def make(self) -> Made:
        main: Key = ("ionet:deployment", ID)
        kept: list[Key] = [("ionet:deployment", OTHER)]
        for key in (main, *kept):
            self.server.things[key] = Thing({})
        return Made(main, [main], kept, {"instance_id": ID})

    @contextmanager
    def false_success(self, made: Made) -> Iterator[None]:
        failed = Reply(200, {"status": "failed", "deployment_id": ID})
        with self.server.failing(Fault("answer", "DELETE", f"/{ID}$", failed)):
            yield


TARGETS = [StandIn]


@pytest.mark.parametrize(
    ("status", "finished_at", "expected"),
    [
        ("running", None, "present"),
        ("deployment requested", None, "present"),
        ("termination requested", None, "leaving"),
        ("destroyed", "2026-01-02", "gone"),
        ("completed", "2026-01-02", "gone"),
        ("failed", "2026-01-02", "gone"),
        ("failed", None, "present"),
        ("STOPPED", "2026-01-02", "present"),
        ("something new", "2026-01-02", "present"),
    ],
)
def test_what_a_status_means(status: str, finished_at: str | None, expected: str) -> None:
    assert cluster.Cluster().progress({"status": status, "finished_at": finished_at})[0] == expected
