"""FluidstackServer, against a server that keeps to the API description of Fluidstack's Atlas."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

import msgspec
import pytest

from tests.cleanup.rest_target import LOOKS, Account, AccountTarget, Thing
from tests.conformance.target import Key, Made
from tests.standin import Reply, Request, route
from tracker.cleanup.core.contract import Refused
from tracker.cleanup.providers.fluidstack import server
from tracker.model.deployment import Resource
from tracker.model.errors import Invalid
from tracker.model.settings import LocalPlace, Settings

SECRET, TOKEN = "atlas-secret-of-organization-42", "atlas-token-of-organization-42"
PROJECT, ELSEWHERE = str(uuid.UUID(int=42)), str(uuid.UUID(int=43))
SERVER, OTHER, NAMED, STRANGE = (str(uuid.UUID(int=n)) for n in range(1, 5))
ROOT = "/api/v1alpha1"
MARK = "managed_by=blueprint"


def error(status: int, text: str) -> Reply:
    return Reply(status, {"message": text})


class Atlas(Account):
    """The API of one region, and where its tokens come from. An account is a project."""

    HOME = PROJECT
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://region.atlas.example"

    def handle(self, request: Request) -> Reply:
        if request.path == "/oauth/token":
            form = {key: values[0] for key, values in parse_qs(request.raw.decode()).items()}
            if not self.valid or (form["client_id"], form["client_secret"]) != ("client-42", SECRET):
                return Reply(401, {"error": "access_denied"})
            return Reply(body={"access_token": TOKEN, "expires_in": 86400, "token_type": "Bearer"})
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return error(401, "unknown token")
        return super().handle(request)

    @route("GET", f"{ROOT}/projects/(?P<id>[^/]+)")
    def project(self, request: Request, id: str) -> Reply:
        if id != self.account:
            return error(404, "project not found")
        return Reply(body={"id": id, "name": "p", "state": "active"})

    @route("GET", f"{ROOT}/instances")
    def every(self, request: Request) -> Reply:
        return Reply(body=[self.shown(id_, thing) for id_, thing in self.all("fluidstack:server").items()])

    @route("GET", f"{ROOT}/(?P<items>instances|filesystems)/(?P<id>[^/]+)")
    def look(self, request: Request, items: str, id: str) -> Reply:
        thing = self.seen(KINDS[items], id)
        if thing is None:
            return error(404, f"{id} not found")
        return Reply(body=self.shown(id, thing) if items == "instances" else {"id": id, "name": "f", "size": "100"})

    @route("POST", f"{ROOT}/instances/(?P<id>[^/]+)/actions/stop")
    def stop_it(self, request: Request, id: str) -> Reply:
        thing = self.found("fluidstack:server", id)
        if thing is None:
            return error(404, f"{id} not found")
        thing.body["state"] = "stopped"
        return Reply(202)

    @route("DELETE", f"{ROOT}/(?P<items>instances|filesystems)/(?P<id>[^/]+)")
    def delete(self, request: Request, items: str, id: str) -> Reply:
        thing = self.found(KINDS[items], id)
        if thing is None:
            return error(404, f"{id} not found")
        if thing.body.get("state") == "running":
            return error(400, "stop it first")
        thing.looks = LOOKS
        return Reply(204)

    def shown(self, id_: str, thing: Thing) -> dict[str, Any]:
        plain = {"id": id_, "name": "i", "tags": {}, "filesystems": [], "ephemeral": False, **thing.body}
        return plain if thing.looks is None else plain | {"state": "deleting"}


KINDS = {"instances": "fluidstack:server", "filesystems": "fluidstack:filesystem"}


class StandIn(AccountTarget):
    """An instance that runs, with a named and a strange filesystem."""

    deployment_type = "FluidstackServer"
    server_class = Atlas
    elsewhere = ELSEWHERE
    secrets: tuple[str, ...] = (SECRET, TOKEN)
    marked: ClassVar = {"fluidstack:server": "tags"}
    unpaged = "Atlas lists all instances of a project in one piece"
    na: ClassVar[dict[str, str]] = {
        "wrong-place": "ids are UUIDs, and a region is a URL of the settings, not of the record",
        "other-account": "the project is the record's, and a credential that may not read it proves nothing: shown in the type's test",
        "other-one": "an instance's id is a UUID, which no other gets",
        "false-success": "a deletion is answered 204 without a body, and no operation tells of it",
        "protected": "instances have no protection against deletion",
    }

    def start(self) -> None:
        super().start()
        self.patch.setenv("ATLAS_CLIENT_ID", "client-42")
        self.patch.setenv("ATLAS_CLIENT_SECRET", SECRET)
        self.settings = Settings(
            base_urls=dict.fromkeys(("fluidstack", "fluidstack-login"), self.server.url),
            marks={"fluidstack": MARK},
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        if call.method != "DELETE":
            return None
        *_, items, id_ = call.path.split("/")
        return KINDS[items], id_

    def another(self, number: int) -> tuple[str, Thing]:
        return str(uuid.UUID(int=100 + number)), Thing({"state": "running"})

    def make(self) -> Made:
        main: Key = ("fluidstack:server", SERVER)
        ours = [main, ("fluidstack:filesystem", NAMED)]
        kept = [("fluidstack:filesystem", STRANGE), ("fluidstack:server", OTHER)]
        for key in (*ours, *kept):
            self.server.things[key] = Thing({"state": "running"} if key[0] == "fluidstack:server" else {})
        self.server.things[main].body |= {"tags": {"managed_by": "blueprint"}, "filesystems": [NAMED, STRANGE]}
        ids: dict[str, str | list[str]] = {"instance_id": SERVER, "filesystem": NAMED}
        return Made(main, ours, kept, ids, {"generation": "atlas", "project_id": PROJECT})

    def disown(self, made: Made) -> None:
        self.server.things[made.main].body["tags"] = {"managed_by": "others"}


TARGETS = [StandIn]
METADATA = {"generation": "atlas", "project_id": PROJECT}
PLACE = {"account": PROJECT, "generation": "atlas", "used_by": SERVER}


@pytest.fixture
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with StandIn(request, monkeypatch) as found:
        found.make()
        yield found


def test_without_a_url_no_call_is_made(target: StandIn) -> None:
    record = target.record({"instance_id": SERVER}, METADATA)
    nowhere = msgspec.structs.replace(target.settings, base_urls={"fluidstack-login": target.server.url})
    with pytest.raises(Refused, match="BaseUrls must name the URL"):
        server.discover(record, nowhere)
    assert target.contacts() == 0


@pytest.mark.parametrize(
    "metadata",
    [{"project_id": PROJECT}, {"generation": "platform", "project_id": PROJECT}, {"generation": "atlas"}],
)
def test_without_a_generation_that_is_served_and_a_project_it_is_refused_at_the_door(
    target: StandIn, metadata: dict[str, str]
) -> None:
    with pytest.raises(Invalid):
        target.record({"instance_id": SERVER}, metadata)


@pytest.mark.parametrize("place", [{}, {"generation": "platform", "account": PROJECT}, {"generation": "atlas"}])
def test_without_them_no_call_is_made_either(target: StandIn, place: dict[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        server.KINDS["fluidstack:server"].state(Resource("fluidstack:server", SERVER, place), target.settings)
    assert refused.value.error_class == "missing_id"
    assert target.contacts() == 0


def test_not_found_proves_nothing_if_the_project_cannot_be_read(target: StandIn) -> None:
    target.server.account = ELSEWHERE
    with pytest.raises(Exception, match="doesn't say whose the credential is"):
        server.KINDS["fluidstack:server"].state(Resource("fluidstack:server", OTHER, PLACE), target.settings)
    assert target.asked() == []


def test_a_filesystem_that_another_instance_uses_stays(target: StandIn) -> None:
    target.server.things["fluidstack:server", OTHER].body["filesystems"] = [NAMED]
    with pytest.raises(Refused, match=f"attached to {OTHER}"):
        server.KINDS["fluidstack:filesystem"].delete(Resource("fluidstack:filesystem", NAMED, PLACE), target.settings)
    assert target.asked() == []


def test_a_stopped_instance_is_present_and_paid_for(target: StandIn) -> None:
    target.server.things["fluidstack:server", SERVER].body["state"] = "stopped"
    look = server.KINDS["fluidstack:server"].state(Resource("fluidstack:server", SERVER, PLACE), target.settings)
    assert (look.state, look.detail) == ("present", "stopped, and what it keeps is still paid for")
