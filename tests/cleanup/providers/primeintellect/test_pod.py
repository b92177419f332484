"""PrimeIntellectPod, against a server that keeps to Prime Intellect's API description."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.cleanup.rest_target import LOOKS, Account, AccountTarget, Thing
from tests.conformance.target import Key, Made
from tests.standin import Reply, Request, route
from tracker.cleanup.core.contract import Refused, Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.primeintellect import pod
from tracker.cleanup.transport.credentials import Credential
from tracker.cleanup.transport.rest.client import Client, Response
from tracker.model.deployment import Resource
from tracker.model.settings import LocalPlace, Settings

KEY = "pit_key-of-user-42"
POD, OTHER = "cm3k2v9xq0001", "cm3k2v9xq0009"
NAMED, STRANGE = "cm3k2v9xq0002", "cm3k2v9xq0003"
_PATH = "/api/v1/(?P<items>pods|disks)/(?P<id>[^/]+)"


def error(status: int, text: str) -> Reply:
    return Reply(status, {"detail": text})


class PrimeIntellect(Account):
    """The API, with lists that come in pages of one. An account is a user."""

    HOME = "user42"
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://api.primeintellect.ai"

    def handle(self, request: Request) -> Reply:
        if request.headers.get("Authorization") != f"Bearer {KEY}" or not self.valid:
            return error(401, "Invalid API key")
        return super().handle(request)

    @route("GET", "/api/v1/user/whoami")
    def whoami(self, request: Request) -> Reply:
        return Reply(body={"data": {"id": self.account, "email": "a@b.example"}})

    @route("GET", "/api/v1/(?P<items>pods|disks)/")
    def page(self, request: Request, items: str) -> Reply:
        every = [self.shown(items, id_, thing) for id_, thing in self.all(f"primeintellect:{items[:-1]}").items()]
        start = int(request.query.get("offset", "0"))
        page = {"offset": start, "limit": 1, "total_count": len(every)}
        return Reply(body=page | {"data": every[start : start + 1]})

    @route("GET", _PATH)
    def look(self, request: Request, items: str, id: str) -> Reply:
        thing = self.seen(f"primeintellect:{items[:-1]}", id)
        return Reply(body=self.shown(items, id, thing)) if thing else error(404, f"{items[:-1]} not found")

    @route("DELETE", _PATH)
    def delete(self, request: Request, items: str, id: str) -> Reply:
        thing = self.found(f"primeintellect:{items[:-1]}", id)
        if thing is None:
            return error(404, f"{items[:-1]} not found")
        thing.looks = LOOKS
        # Whoever does the work isn't done yet.
        return Reply(body={"status": "TERMINATED"})

    def shown(self, items: str, id_: str, thing: Thing) -> dict[str, Any]:
        plain: dict[str, Any] = {
            "id": id_,
            "status": "ACTIVE",
            "createdAt": "2026-01-01T00:00:00Z",
            "providerType": "primecompute",
        }
        if items == "disks":
            plain |= {"name": "d", "size": 100, "pods": [thing.user] if thing.user else []}
        return plain | thing.body


class StandIn(AccountTarget):
    """A pod with a named and a strange disk."""

    deployment_type = "PrimeIntellectPod"
    server_class = PrimeIntellect
    elsewhere = "user43"
    secrets: tuple[str, ...] = (KEY,)
    marked: ClassVar = {"primeintellect:pod": "name", "primeintellect:disk": "name"}
    na: ClassVar[dict[str, str]] = {
        "wrong-place": "ids are the account's own and no URL names a region",
        "not-ours": "no mark is set for it: being named is ownership",
        "other-one": "Prime Intellect gives the id of a pod to no other",
        "false-success": "a deletion is always answered TERMINATED: only the next look tells what became of it",
        "protected": "pods have no protection against deletion",
    }

    def start(self) -> None:
        super().start()
        self.patch.setenv("PRIME_API_KEY", KEY)
        self.settings = Settings(
            base_urls={"primeintellect": self.server.url},
            accounts={"primeintellect": PrimeIntellect.HOME},
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        if call.method != "DELETE":
            return None
        *_, items, id_ = call.path.split("/")
        return f"primeintellect:{items[:-1]}", id_

    def another(self, number: int) -> tuple[str, Thing]:
        return f"cm3k2v9xq01{number:02}", Thing({})

    def make(self) -> Made:
        main: Key = ("primeintellect:pod", POD)
        ours = [main, ("primeintellect:disk", NAMED)]
        kept = [("primeintellect:disk", STRANGE), ("primeintellect:pod", OTHER)]
        for kind, id_ in (*ours, *kept):
            self.server.things[kind, id_] = Thing({}, POD if kind == "primeintellect:disk" else "")
        return Made(main, ours, kept, {"instance_id": POD, "disk": NAMED})


TARGETS = [StandIn]


@pytest.fixture
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with StandIn(request, monkeypatch) as found:
        found.make()
        yield found


PLACE = {"account": PrimeIntellect.HOME, "used_by": POD}


def test_the_disks_of_a_pod_are_found_through_all_pages_and_go_if_the_record_asks_for_it(target: StandIn) -> None:
    record = target.record({"instance_id": POD}, {"delete_dependents": "all"})
    assert {each.id: each.state for each in pod.discover(record, target.settings)} == dict.fromkeys(
        (POD, NAMED, STRANGE), "unseen"
    )


@pytest.mark.parametrize(
    ("status", "state", "detail"),
    [("STOPPED", "present", "paid for"), ("ERROR", "present", "ERROR"), ("TERMINATED", "gone", "")],
)
def test_a_stopped_pod_is_present_and_a_terminated_one_gone(
    target: StandIn, status: str, state: str, detail: str
) -> None:
    target.server.things["primeintellect:pod", POD].body["status"] = status
    look = pod.KINDS["primeintellect:pod"].state(Resource("primeintellect:pod", POD, PLACE), target.settings)
    assert look.state == state
    assert detail in look.detail


def test_a_disk_that_another_pod_uses_stays(target: StandIn) -> None:
    target.server.things["primeintellect:disk", NAMED].body["pods"] = [POD, OTHER]
    with pytest.raises(Refused, match=f"attached to {OTHER}"):
        pod.KINDS["primeintellect:disk"].delete(Resource("primeintellect:disk", NAMED, PLACE), target.settings)
    assert target.asked() == []


@pytest.mark.parametrize(
    ("body", "meant"),
    [
        ({"detail": "Pod not found"}, Gone),
        ({"errors": [{"param": "pod_id", "details": "not found"}]}, Gone),
        ({"message": "no such page"}, Unreachable),
        (None, Unreachable),
    ],
)
def test_a_404_counts_in_the_provider_s_words_only(body: Any, meant: type[Exception]) -> None:
    client = Client(pod.PRIME_INTELLECT.endpoint, Credential({}, "none"), Settings())
    assert isinstance(client.error("GET", "/api/v1/pods/1", Response(404, body, {})), meant)
