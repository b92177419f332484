"""LambdaLabsInstance, against a server that keeps to Lambda's API description."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.cleanup.rest_target import LOOKS, NO_ACCOUNT, Account, AccountTarget, Thing
from tests.conformance.target import Key, Made
from tests.standin import Fault, Reply, Request, route
from tracker.cleanup.core.contract import Busy, Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.lambdalabs import instance
from tracker.cleanup.transport.credentials import Credential
from tracker.cleanup.transport.rest.client import Client, Response
from tracker.model.deployment import Resource
from tracker.model.settings import LocalPlace, Settings

KEY = "secret_lambda-key-of-team-42"
INSTANCE, OTHER = "0920582c7ff041399e34823a0be62549", "1920582c7ff041399e34823a0be62549"
# One that the record names, one that only the instance names, one of that name elsewhere.
NAMED, FOUND, ELSEWHERE = (f"{n}98578a2336b49079e74043f0bd2cfe8" for n in range(3, 6))
REGION = {"name": "us-east-1", "description": "Virginia, USA"}


def error(status: int, text: str, code: str = "") -> Reply:
    named = code or {404: "global/object-does-not-exist", 409: "global/conflict"}.get(status, "global/unknown")
    return Reply(status, {"error": {"code": named, "message": text, "suggestion": "look again"}})


class Lambda(Account):
    """The API, which says of nobody whose the key is."""

    HOME = "42"
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://cloud.lambda.ai"

    def handle(self, request: Request) -> Reply:
        if request.headers.get("Authorization") != f"Bearer {KEY}" or not self.valid:
            return error(401, "API key was invalid", "global/invalid-api-key")
        return super().handle(request)

    @route("GET", "/api/v1/ssh-keys")
    def keys(self, request: Request) -> Reply:
        return Reply(body={"data": []})

    @route("GET", "/api/v1/instances")
    def every(self, request: Request) -> Reply:
        return Reply(body={"data": [self.shown(thing) for thing in self.all("lambdalabs:instance").values()]})

    @route("GET", "/api/v1/instances/(?P<id>[0-9a-f]+)")
    def look(self, request: Request, id: str) -> Reply:
        thing = self.seen("lambdalabs:instance", id)
        if thing is None:
            return error(404, "Specified instance does not exist.")
        return Reply(body={"data": self.shown(thing)})

    @route("POST", "/api/v1/instance-operations/terminate")
    def terminate(self, request: Request) -> Reply:
        found = [thing for id_ in request.body["instance_ids"] if (thing := self.found("lambdalabs:instance", id_))]
        if not found:
            return error(404, "Specified instance does not exist.")
        for thing in found:
            thing.looks = LOOKS
        return Reply(body={"data": {"terminated_instances": [self.shown(thing) for thing in found]}})

    @route("GET", "/api/v1/file-systems")
    def file_systems(self, request: Request) -> Reply:
        for id_ in self.all("lambdalabs:file_system"):
            self.seen("lambdalabs:file_system", id_)
        every = self.all("lambdalabs:file_system").values()
        used = [bool(self.found("lambdalabs:instance", thing.user)) for thing in every]
        return Reply(
            body={"data": [thing.body | {"is_in_use": is_used} for thing, is_used in zip(every, used, strict=True)]}
        )

    @route("DELETE", "/api/v1/filesystems/(?P<id>[0-9a-f]+)")
    def delete(self, request: Request, id: str) -> Reply:
        thing = self.found("lambdalabs:file_system", id)
        if thing is None:
            return error(404, "Filesystem was not found.")
        thing.looks = LOOKS
        return Reply(body={"data": {"deleted_ids": [id]}})

    def shown(self, thing: Thing) -> dict[str, Any]:
        return thing.body | {"status": "active" if thing.looks is None else "terminating"}


class StandIn(AccountTarget):
    """An instance with a file system that the record names, and one that it doesn't."""

    deployment_type = "LambdaLabsInstance"
    server_class = Lambda
    elsewhere = "43"
    deleting = ("POST|DELETE", "/terminate$|/filesystems/")
    secrets: tuple[str, ...] = (KEY,)
    marked: ClassVar = {"lambdalabs:instance": "name", "lambdalabs:file_system": "name"}
    unpaged = "Lambda's document has all instances and file systems in one piece"
    na: ClassVar[dict[str, str]] = NO_ACCOUNT | {
        "wrong-place": "ids are the account's own and no URL names a region",
        "not-ours": "no mark is set for it: being named is ownership",
        "other-one": "Lambda gives the id of an instance to no other",
        "protected": "instances have no protection against deletion",
    }

    def start(self) -> None:
        super().start()
        self.patch.setenv("LAMBDA_API_KEY", KEY)
        self.settings = Settings(
            base_urls={"lambdalabs": self.server.url},
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        if call.method == "POST":
            return "lambdalabs:instance", call.body["instance_ids"][0]
        return ("lambdalabs:file_system", call.path.split("/")[4]) if call.method == "DELETE" else None

    def another(self, number: int) -> tuple[str, Thing]:
        id_ = f"{number:032x}"
        return id_, Thing({"id": id_, "ssh_key_names": ["k"], "file_system_names": [], "region": REGION})

    def make(self) -> Made:
        main: Key = ("lambdalabs:instance", INSTANCE)
        ours = [main, ("lambdalabs:file_system", NAMED)]
        kept = [("lambdalabs:instance", OTHER), ("lambdalabs:file_system", FOUND)]
        for _, id_ in (main, kept[0]):
            body = {"id": id_, "ssh_key_names": ["k"], "file_system_names": ["data", "more"], "region": REGION}
            self.server.things["lambdalabs:instance", id_] = Thing(body)
        for id_, name in ((NAMED, "data"), (FOUND, "more")):
            self.server.things["lambdalabs:file_system", id_] = Thing(file_system(id_, name, REGION), INSTANCE)
        return Made(main, ours, kept, {"instance_id": INSTANCE, "file_system": NAMED})

    @contextmanager
    def false_success(self, made: Made) -> Iterator[None]:
        fewer = Reply(200, {"data": {"terminated_instances": []}})
        with self.server.failing(Fault("answer", "POST", "/terminate$", fewer)):
            yield


TARGETS = [StandIn]


def file_system(id_: str, name: str, region: dict[str, str]) -> dict[str, Any]:
    person = {"id": "a" * 32, "email": "a@b.example", "status": "active"}
    plain = {"id": id_, "name": name, "created": "2026-01-01T00:00:00Z", "created_by": person}
    return plain | {"mount_point": f"/home/ubuntu/{name}", "region": region, "is_in_use": False}


@pytest.fixture
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with StandIn(request, monkeypatch) as found:
        yield found


@pytest.mark.parametrize(("kind", "id_"), [("lambdalabs:instance", INSTANCE), ("lambdalabs:file_system", NAMED)])
def test_a_not_found_of_what_nobody_saw_is_unproven(target: StandIn, kind: str, id_: str) -> None:
    found = instance.KINDS[kind].state(Resource(kind, id_), target.settings)
    assert (found.state, found.unproven) == ("gone", True)


def test_a_file_system_of_the_same_name_in_another_region_is_not_the_instance_s(target: StandIn) -> None:
    target.make()
    elsewhere = {"name": "us-west-1", "description": "California, USA"}
    target.server.things["lambdalabs:file_system", ELSEWHERE] = Thing(file_system(ELSEWHERE, "more", elsewhere))
    found = instance.discover(target.record({"instance_id": INSTANCE}), target.settings)
    assert [(each.id, each.state) for each in found] == [(INSTANCE, "unseen"), (NAMED, "kept"), (FOUND, "kept")]


def test_every_file_system_that_an_instance_names_goes_if_the_record_asks_for_it(target: StandIn) -> None:
    target.make()
    record = target.record({"instance_id": INSTANCE}, {"delete_dependents": "all"})
    assert [each.id for each in instance.discover(record, target.settings) if each.state != "kept"] == [
        INSTANCE,
        NAMED,
        FOUND,
    ]


def test_a_file_system_in_use_waits(target: StandIn) -> None:
    target.make()
    kind = instance.KINDS["lambdalabs:file_system"]
    with pytest.raises(Busy, match="an instance uses it"):
        kind.delete(Resource("lambdalabs:file_system", NAMED), target.settings)


@pytest.mark.parametrize(
    ("status", "code", "meant"),
    [
        (404, "global/object-does-not-exist", Gone),
        (400, "global/object-does-not-exist", Gone),
        # Of a path that there isn't, a wrong base URL for instance.
        (404, "global/not-found", Unreachable),
        (400, "global/conflict", Busy),
        (400, "filesystems/filesystem-in-use", Busy),
        (500, "global/unknown", Unreachable),
    ],
)
def test_a_code_says_what_an_error_means(status: int, code: str, meant: type[Exception]) -> None:
    client = Client(instance.LAMBDA.endpoint, Credential({}, "none"), Settings())
    answer = Response(status, error(status, "x", code).body, {})
    assert isinstance(client.error("GET", "/api/v1/instances/1", answer), meant)
