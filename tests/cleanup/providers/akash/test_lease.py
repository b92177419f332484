"""AkashLease, against a server that keeps to the Console's API document."""

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
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.akash import lease
from tracker.cleanup.transport.credentials import Credential
from tracker.cleanup.transport.rest.client import Client, Response
from tracker.model.settings import LocalPlace, Settings

__all__ = ["life", "target"]
API_KEY = "akash-secret-of-wallet-42"
OWNER, ELSEWHERE = "akash1" + "q" * 38, "akash1" + "z" * 38
DSEQ, OTHER = "1763900000001", "1763900000002"
USER = "0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f"


def error(status: int, text: str) -> Reply:
    name = {401: "UnauthorizedError", 404: "NotFoundError"}.get(status, "Error")
    return Reply(status, {"error": name, "message": text, "code": "c", "type": "client_error"})


class Console(Account):
    """The API. An account is a wallet; a closed deployment stays readable, and its leases end a little later."""

    HOME = OWNER
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://console-api.akash.network"

    def __init__(self) -> None:
        self.closed: set[str] = set()
        super().__init__()

    def handle(self, request: Request) -> Reply:
        if request.headers.get("x-api-key") != API_KEY or not self.valid:
            return error(401, "Invalid API key")
        return super().handle(request)

    @route("GET", "/v1/user/me")
    def whose(self, request: Request) -> Reply:
        return Reply(body={"data": {"id": USER, "userId": "auth0|1"}})

    @route("GET", "/v1/wallets")
    def wallets(self, request: Request) -> Reply:
        return Reply(body={"data": [{"id": 1, "userId": USER, "address": self.account}]})

    @route("GET", r"/v1/deployments/(?P<dseq>\d+)")
    def look(self, request: Request, dseq: str) -> Reply:
        thing = self.seen("akash:deployment", dseq)
        if thing is None and dseq in self.closed and self.account == self.HOME:
            return self._shown(dseq, "closed", "closed")
        if thing is None:
            return error(404, "Deployment not found")
        return self._shown(dseq, "active" if thing.looks is None or thing.stays else "closed", "active")

    @route("DELETE", r"/v1/deployments/(?P<dseq>\d+)")
    def close(self, request: Request, dseq: str) -> Reply:
        thing = self.found("akash:deployment", dseq)
        if thing is None:
            return error(404, "Deployment not found")
        thing.looks = LOOKS
        self.closed.add(dseq)
        return Reply(body={"data": {"success": True}})

    def _shown(self, dseq: str, state: str, of_lease: str) -> Reply:
        deployment = {"id": {"owner": self.HOME, "dseq": dseq}, "state": state, "hash": "x", "created_at": "1"}
        return Reply(body={"data": {"deployment": deployment, "leases": [{"state": of_lease}], "escrow_account": {}}})


class StandIn(AccountTarget):
    """A deployment, and somebody else's."""

    deployment_type = "AkashLease"
    server: Console
    server_class = Console
    elsewhere = ELSEWHERE
    secrets: tuple[str, ...] = (API_KEY,)
    na: ClassVar[dict[str, str]] = {
        "wrong-place": "a dseq is its owner's own and no URL names a region",
        "not-ours": "no mark is set for it: being named is ownership",
        "other-one": "the chain gives an owner's dseq to no second deployment",
        "protected": "deployments have no protection against being closed",
        "order": "leases end with their deployment, nothing goes after it",
        "stuck": "leases end with their deployment, nothing goes after it",
        "half-done": "leases end with their deployment, nothing goes after it",
    }

    def start(self) -> None:
        super().start()
        self.patch.setenv("AKASH_CONSOLE_API_KEY", API_KEY)
        self.settings = Settings(
            base_urls={"akash": self.server.url},
            accounts={"akash": OWNER},
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        return ("akash:deployment", f"{call.path.split('/')[3]}/1/1") if call.method == "DELETE" else None

    def left(self) -> set[Key]:
        return {(kind, f"{id_}/1/1") for kind, id_ in super().left()}

    def vanish(self, made: Made) -> None:
        self.server.things.pop(("akash:deployment", DSEQ), None)

    def hide(self, made: Made, looks: int) -> None:
        self.server.hidden["akash:deployment", DSEQ] = looks

    @contextmanager
    def stuck(self, made: Made, key: Key) -> Iterator[None]:
        with super().stuck(made, ("akash:deployment", DSEQ)):
            yield

    def make(self) -> Made:
        main: Key = ("akash:deployment", f"{DSEQ}/1/1")
        for dseq in (DSEQ, OTHER):
            self.server.things["akash:deployment", dseq] = Thing({})
            self.server.closed.discard(dseq)
        kept: list[Key] = [("akash:deployment", f"{OTHER}/1/1")]
        return Made(main, [main], kept, {"instance_id": main[1]}, metadata={"owner": OWNER})

    @contextmanager
    def busy(self, made: Made, times: int) -> Iterator[None]:
        pending = error(400, "Deployment escrow cannot be settled yet")
        with self.server.failing(Fault("answer", "DELETE", f"/{DSEQ}$", pending, times=times)):
            yield

    @contextmanager
    def false_success(self, made: Made) -> Iterator[None]:
        with self.server.failing(Fault("answer", "DELETE", f"/{DSEQ}$", Reply(200, {"data": {"success": False}}))):
            yield


TARGETS = [StandIn]


@pytest.mark.parametrize("target_class", [StandIn])
def test_closed_is_gone_and_the_receipt_says_that_it_was_described(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(made)
    (resource,) = life.record.resources
    assert resource.state == "gone"
    assert "closed" in resource.proof


@pytest.mark.parametrize("target_class", [StandIn])
def test_another_owner_than_the_keys_is_refused(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made, metadata={"owner": ELSEWHERE})
    life.run(life.begin())
    error_ = life.record.cleanup.last_error
    assert error_
    assert error_.error_class == "credentials"
    assert target.asked() == []


@pytest.mark.parametrize(
    ("state", "of_lease", "expected"),
    [
        ("active", "active", "present"),
        ("active", "closed", "present"),
        ("active", "insufficient_funds", "present"),
        ("closed", "active", "leaving"),
        ("closed", "closed", "gone"),
        ("paused", "closed", "present"),
    ],
)
def test_a_deployment_is_gone_once_it_is_closed_with_its_leases(state: str, of_lease: str, expected: str) -> None:
    body = {"deployment": {"state": state}, "leases": [{"state": of_lease}]}
    assert lease.Lease().progress(body)[0] == expected


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (404, "Deployment not found", Gone),
        (404, "UserWallet Not Found", Unreachable),
        (404, "Not Found", Unreachable),
        (400, "Deployment closed", Busy),
        (400, "Insufficient funds", Refused),
        (402, "Not enough balance", Refused),
        (500, "account sequence mismatch", Unreachable),
    ],
)
def test_what_an_error_means(status: int, text: str, expected: type[Exception]) -> None:
    client = Client(lease.AKASH.endpoint, Credential({}, "none"), Settings())
    body: Any = {"error": "X", "message": text}
    assert isinstance(client.error("GET", "/v1/deployments/1", Response(status, body, {})), expected)
