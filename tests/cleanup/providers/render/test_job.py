"""RenderDispersedNode, against a server that answers as the vendor's examples expect it, and checks their signature."""

import hashlib
import hmac
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
import requests

from tests.cleanup.rest_target import LOOKS, NO_ACCOUNT, Account, AccountTarget, Thing
from tests.conformance.target import Key, Made
from tests.standin import Fault, Reply, Request, route
from tracker.cleanup.providers.render import job
from tracker.cleanup.providers.render.signature import RenderSignature
from tracker.model.settings import LocalPlace, Settings

ID, OTHER = "0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e01", "0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e02"
PUBLIC, SECRET = "pk_test_42", "sk_test_secret"
_PATH = "/v1/jobs/(?P<id>[^/]+)"


def error(status: int, text: str) -> Reply:
    return Reply(status, {"error": "Error", "message": text})


class Dispersed(Account):
    """The API. A cancelled job is CANCELLED, and one of its runs is running for a little longer."""

    HOME = "42"
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://api.compute.x.io"

    def __init__(self) -> None:
        self.cancelled: set[str] = set()
        super().__init__()

    def handle(self, request: Request) -> Reply:
        parts = [request.headers.get(name, "") for name in ("X-API-Key", "X-Time", "X-Nonce")]
        query = requests.Request("GET", "https://x", params=sorted(request.query.items())).prepare().url or ""
        signed = "|".join(
            (*parts, request.method, request.path, query.partition("?")[2], hashlib.sha256(request.raw).hexdigest())
        )
        signature = hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).hexdigest()
        if request.headers.get("X-Signature") != signature or parts[0] != PUBLIC or not self.valid:
            return error(401, "bad signature")
        return super().handle(request)

    @route("GET", _PATH)
    def look(self, request: Request, id: str) -> Reply:
        thing = self.seen("render:job", id)
        if thing is None and not (id in self.cancelled and self.account == self.HOME):
            return error(404, "no such job")
        status = "CANCELLED" if thing is None or (thing.looks is not None and not thing.stays) else "RUNNING"
        return Reply(body={"uuid": id, "status": status})

    @route("GET", "/v1/job-runs")
    def runs(self, request: Request) -> Reply:
        running = self.found("render:job", request.query["filter[job_uuid]"])
        return Reply(body={"data": [{"status": "RUNNING"}] if running else []})

    @route("PUT", f"{_PATH}/cancel")
    def cancel(self, request: Request, id: str) -> Reply:
        thing = self.found("render:job", id)
        if thing is None:
            return error(404, "no such job")
        thing.looks = LOOKS
        self.cancelled.add(id)
        return Reply(body={"data": {"uuid": id}})


class StandIn(AccountTarget):
    """A job, and somebody else's."""

    deployment_type = "RenderDispersedNode"
    server: Dispersed
    server_class = Dispersed
    elsewhere = "43"
    deleting: ClassVar[tuple[str, str]] = ("PUT", "/cancel$")
    secrets: tuple[str, ...] = (SECRET,)
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
        self.patch.setenv("ZER_PUBLIC_KEY", PUBLIC)
        self.patch.setenv("ZER_SECRET_KEY", SECRET)
        self.settings = Settings(
            base_urls={"render": self.server.url},
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        return ("render:job", call.path.split("/")[3]) if call.method == "PUT" else None

    def make(self) -> Made:
        main: Key = ("render:job", ID)
        kept: list[Key] = [("render:job", OTHER)]
        for key in (main, *kept):
            self.server.things[key] = Thing({})
            self.server.cancelled.discard(key[1])
        return Made(main, [main], kept, {"instance_id": ID})

    @contextmanager
    def false_success(self, made: Made) -> Iterator[None]:
        with self.server.failing(Fault("answer", "PUT", "/cancel$", Reply(200, {"success": False, "error": "no"}))):
            yield


TARGETS = [StandIn]


@pytest.mark.parametrize(
    ("status", "running", "expected"),
    [
        ("PENDING", 0, "present"),
        ("RUNNING", 1, "present"),
        ("CANCELLED", 1, "leaving"),
        ("CANCELLED", 0, "gone"),
        ("COMPLETED", 0, "gone"),
        ("FAILED", 0, "gone"),
        ("SOMETHING_NEW", 0, "present"),
    ],
)
def test_what_a_status_means(status: str, running: int, expected: str) -> None:
    assert job.Job().progress({"status": status, "running": running})[0] == expected


JOB = "0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f"


@pytest.mark.parametrize(
    ("method", "path", "params", "body", "signature"),
    [
        (
            "PUT",
            f"/v1/jobs/{JOB}/cancel",
            {},
            {"reason": "Cancelled by user"},
            "7f0303d52c38ea427fc490a392626058a5231eeccfe8838da1840559be84a5fe",
        ),
        (
            "GET",
            "/v1/job-runs",
            {"page": "1", "limit": "50", "filter[job_uuid]": JOB},
            None,
            "fcd3d488c9ed09f598d1861cf0701638079554ca9df337094d52ad48ac49e885",
        ),
        ("GET", f"/v1/jobs/{JOB}", {}, None, "8a8c61d020a490291e9c329f15693f154a6f751fcc6896f8524b8f6f1778cb5f"),
    ],
)
def test_the_signature_is_that_of_the_vendors_client(
    method: str, path: str, params: dict[str, str], body: dict[str, str] | None, signature: str
) -> None:
    """Computed with `generate_auth_headers` of dispersed.py, at this time and with this nonce, and kept."""
    signer = RenderSignature(PUBLIC, SECRET, lambda: 1764172800000, lambda: "0123456789abcdef0123456789abcdef")
    request = requests.Request(method, f"https://api.compute.x.io{path}", params=params, json=body).prepare()
    assert signer(request).headers["X-Signature"] == signature
    assert request.headers["Content-Length"] == str(len(request.body)) if request.body else True
