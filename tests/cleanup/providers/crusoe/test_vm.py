"""CrusoeVm, against a server that keeps to Crusoe's API document, and checks the signatures by the vendor's published example."""

import base64
import hashlib
import hmac
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests
from msgspec.structs import replace

from tests.cleanup.rest_target import LOOKS, Account, AccountTarget, Thing
from tests.conformance.conftest import life, target
from tests.conformance.life import Life
from tests.conformance.target import Key, Made
from tests.standin import Fault, Reply, Request, route
from tracker.cleanup.core.contract import Refused, Unreachable
from tracker.cleanup.providers.crusoe import vm
from tracker.cleanup.providers.crusoe.api import CRUSOE
from tracker.cleanup.providers.crusoe.signature import CrusoeSignature
from tracker.model.settings import LocalPlace, Settings

__all__ = ["life", "target"]
KEY_ID, SECRET = "key-of-project-42", "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA"
HOME, ELSEWHERE, VM, OTHER, NAMED, DATA, BOOT = (f"0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e0{n}" for n in range(7))
KINDS = {"compute/vms/instances": "crusoe:vm", "storage/disks": "crusoe:disk"}
_PATH = "/v1alpha5/projects/(?P<project>[^/]+)/(?P<items>compute/vms/instances|storage/disks)"


def error(status: int, text: str) -> Reply:
    return Reply(status, {"code": {401: "bad_credential"}.get(status, "error"), "message": text, "error_id": "e-1"})


def expected_signature(path: str, query: str, verb: str, timestamp: str) -> str:
    """The vendor's own example in Python (support article 37166958525467, `generate_signature`)."""
    payload = f"{path}\n{query}\n{verb}\n{timestamp}\n"
    decoded = base64.urlsafe_b64decode(SECRET + "=" * (-len(SECRET) % 4))
    digest = hmac.new(decoded, msg=payload.encode("ascii"), digestmod=hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


class Crusoe(Account):
    """The API. An account is a project; what isn't there is answered with `missing`, and lists come in pages of one."""

    HOME = HOME
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://api.cloud.crusoe.ai"

    def __init__(self) -> None:
        self.missing = error(404, "it isn't there")
        super().__init__()

    def handle(self, request: Request) -> Reply:
        query = "&".join(f"{key}={value}" for key, value in request.query.items())
        timestamp = request.headers.get("X-Crusoe-Timestamp", "")
        signature = expected_signature(request.path, query, request.method, timestamp)
        if request.headers.get("Authorization") != f"Bearer 1.0:{KEY_ID}:{signature}" or not self.valid:
            return error(401, "bad signature")
        return super().handle(request)

    @route("GET", "/v1alpha5/organizations/projects")
    def projects(self, request: Request) -> Reply:
        return Reply(body={"items": [{"id": self.account, "name": "team"}]})

    @route("GET", _PATH)
    def page(self, request: Request, project: str, items: str) -> Reply:
        every = [self.shown(KINDS[items], id_, thing) for id_, thing in self.all(KINDS[items]).items()]
        if items == "storage/disks":
            wanted = request.query.get("disk_ids")
            return Reply(body={"items": [each for each in every if wanted in (None, each["id"])]})
        # A server that doesn't know the filter: the list has to be read to its end.
        start = int(request.query.get("next_token", "0"))
        following = {"next_page_token": str(start + 1)} if start + 1 < len(every) else {}
        return Reply(body={"items": every[start : start + 1], **following})

    @route("GET", f"{_PATH}/operations/(?P<id>[^/]+)")
    def operation(self, request: Request, project: str, items: str, id: str) -> Reply:
        return Reply(body={"operation_id": id, "state": "IN_PROGRESS"})

    @route("GET", f"{_PATH}/(?P<id>[^/]+)")
    def look(self, request: Request, project: str, items: str, id: str) -> Reply:
        thing = self.seen(KINDS[items], id)
        return Reply(body=self.shown(KINDS[items], id, thing)) if thing else self.missing

    @route("DELETE", f"{_PATH}/(?P<id>[^/]+)")
    def delete(self, request: Request, project: str, items: str, id: str) -> Reply:
        thing = self.found(KINDS[items], id)
        if thing is None:
            return self.missing
        thing.looks = LOOKS
        return Reply(body={"operation": {"operation_id": f"op-{id}", "state": "IN_PROGRESS"}})

    def shown(self, kind: str, id_: str, thing: Thing) -> dict[str, Any]:
        body = {"id": id_, "name": thing.body.get("name", "m"), "created_at": thing.body["created_at"]}
        if kind == "crusoe:disk":
            return {**body, "attached_to": [{"vm_id": thing.user}] if self.found("crusoe:vm", thing.user) else []}
        disks = [
            {"id": each, "attachment_type": disk.body["attachment_type"]}
            for each, disk in self.all("crusoe:disk").items()
            if disk.user == id_
        ]
        return {**body, "project_id": self.HOME, "state": "STATE_RUNNING", "disks": disks}


class StandIn(AccountTarget):
    """A machine with a named disk, its boot disk and one that was only attached; and somebody else's machine."""

    deployment_type = "CrusoeVm"
    server: Crusoe
    server_class = Crusoe
    elsewhere = ELSEWHERE
    secrets: tuple[str, ...] = (SECRET,)
    marked: ClassVar = {"crusoe:vm": "name", "crusoe:disk": "name"}
    na: ClassVar[dict[str, str]] = {
        "not-ours": "nothing can carry a mark: being named is ownership",
        "protected": "machines have no protection against deletion",
    }

    def start(self) -> None:
        super().start()
        self.patch.setenv("CRUSOE_ACCESS_KEY_ID", KEY_ID)
        self.patch.setenv("CRUSOE_SECRET_KEY", SECRET)
        self.settings = Settings(
            base_urls={"crusoe": self.server.url},
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        if call.method != "DELETE":
            return None
        parts = call.path.split("/")
        return KINDS["/".join(parts[4:-1])], parts[-1]

    def another(self, number: int) -> tuple[str, Thing]:
        return f"1b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d00{number:02}", Thing({"created_at": "2026-01-01T00:00:00Z"})

    def make(self) -> Made:
        main: Key = ("crusoe:vm", VM)
        ours: list[Key] = [main, ("crusoe:disk", NAMED), ("crusoe:disk", BOOT)]
        kept: list[Key] = [("crusoe:vm", OTHER), ("crusoe:disk", DATA)]
        for kind, id_ in (*kept, *ours):
            body = {"created_at": "2026-01-01T00:00:00Z", "attachment_type": "os" if id_ == BOOT else "data"}
            self.server.things[kind, id_] = Thing(body, VM if kind == "crusoe:disk" else "")
        return Made(main, ours, kept, {"instance_id": VM, "disk": NAMED}, metadata={"project_id": HOME})

    def misplaced(self, made: Made) -> Made:
        return Made(made.main, made.ours, made.kept, made.ids, metadata={"project_id": ELSEWHERE})

    def replace(self, made: Made) -> None:
        for thing in self.server.things.values():
            thing.user = ""
        self.server.things[made.main] = Thing({"created_at": "2026-02-02T00:00:00Z"})

    @contextmanager
    def false_success(self, made: Made) -> Iterator[None]:
        failed = Reply(200, {"operation_id": "op", "state": "FAILED", "result": {"code": "internal_error"}})
        lost = Fault(
            "answer", "DELETE", f"/{VM}$", Reply(200, {"operation": {"operation_id": "op", "state": "IN_PROGRESS"}})
        )
        with self.server.failing(lost, Fault("answer", "GET", "/operations/", failed)):
            yield


TARGETS = [StandIn]
FORBIDDEN, BROKEN = error(403, "unauthorized"), error(500, "internal_error: VM not found")


@pytest.mark.parametrize("target_class", [StandIn])
@pytest.mark.parametrize("missing", [FORBIDDEN, BROKEN], ids=["403", "500"])
def test_what_was_seen_is_gone_once_the_list_lacks_it_too(target: StandIn, life: Life, missing: Reply) -> None:
    made = target.make()
    target.server.missing = missing
    life.clean_up(made)
    assert life.record.status == "Terminated", life.record.cleanup.last_error


@pytest.mark.parametrize("target_class", [StandIn])
def test_a_403_for_what_nobody_ever_saw_is_not_gone(target: StandIn, life: Life) -> None:
    made = target.make()
    target.server.missing = FORBIDDEN
    life.register(made)
    target.vanish(made)
    life.run(life.begin())
    assert life.record.status != "Terminated"
    assert life.states[made.main] != "gone"


@pytest.mark.parametrize("target_class", [StandIn])
@pytest.mark.parametrize(
    "answer",
    [FORBIDDEN, BROKEN, error(404, "x"), Reply(404, {"message": "no Route"})],
    ids=["403", "500", "404", "route"],
)
def test_what_the_list_has_is_there_whatever_a_read_says(target: StandIn, life: Life, answer: Reply) -> None:
    made = target.make()
    life.register(made)
    with target.server.failing(Fault("answer", "GET", f"/instances/{VM}$", answer, times=3)):
        state = life.begin()
        life.run(state)
    assert life.record.status == "Terminated"
    assert made.main in target.asked()


@pytest.mark.parametrize("target_class", [StandIn])
def test_a_list_of_what_has_no_id_proves_nothing(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    nameless = Reply(200, {"items": [{"created_at": "2026-01-01T00:00:00Z"}]})
    faults = (
        Fault("answer", "GET", f"/instances/{VM}$", error(404, "x")),
        Fault("answer", "GET", "/instances$", nameless),
    )
    with target.server.failing(*faults), suppress(Unreachable):
        life.run(life.begin())
    assert life.record.status == "Terminating"
    assert life.states.get(made.main) != "gone"


@pytest.mark.parametrize(
    ("method", "url", "sent", "signature"),
    [
        (
            "DELETE",
            "https://api.cloud.crusoe.ai/v1alpha5/projects/p-1/compute/vms/instances/vm-1",
            "https://api.cloud.crusoe.ai/v1alpha5/projects/p-1/compute/vms/instances/vm-1",
            "UDonhIiDKcF0ZpnSWatii6BNG3GQU3Ko21wNam5lVjw",
        ),
        (
            "GET",
            "https://api.cloud.crusoe.ai/v1alpha5/projects/p-1/compute/vms/instances?sort=created_at&limit=10&ids=vm-1",
            "https://api.cloud.crusoe.ai/v1alpha5/projects/p-1/compute/vms/instances?ids=vm-1&limit=10&sort=created_at",
            "ts-ElWcwMRahnINgmJMxmB79g6XSGibhS7WTxlXBxF8",
        ),
    ],
)
def test_the_signature_is_that_of_the_vendors_example(method: str, url: str, sent: str, signature: str) -> None:
    """Computed with the Python example of Crusoe's API reference, and kept."""
    signer = CrusoeSignature("key-1", SECRET, lambda: datetime(2026, 11, 26, 17, tzinfo=UTC))
    request = signer(requests.Request(method, url).prepare())
    assert request.url == sent
    assert request.headers["X-Crusoe-Timestamp"] == "2026-11-26T17:00:00+00:00"
    assert request.headers["Authorization"] == f"Bearer 1.0:key-1:{signature}"


@pytest.mark.parametrize("secret", ["no base64!", "abcde", "ähnlich"])
def test_a_secret_that_cannot_be_one_is_refused(secret: str) -> None:
    with pytest.raises(Refused) as refused:
        CrusoeSignature("key-1", secret)
    assert secret not in str(refused.value)


def test_shut_off_is_present_and_says_that_it_is_billed() -> None:
    state, detail = vm.Vm().progress({"state": "STATE_SHUTOFF"})
    assert state == "present"
    assert "billed" in detail


def test_without_the_key_there_is_a_refusal() -> None:
    settings = replace(Settings(), base_urls={})
    with pytest.raises(Refused):
        CRUSOE.open({"account": HOME}, settings)
