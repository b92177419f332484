"""ExampleMachine, against a server that keeps to Example Cloud's API description; the conformance suite tries it with every fault."""

import sys
import uuid
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

from tests.cleanup.rest_target import LOOKS, Account, AccountTarget, Thing
from tests.conformance.target import Key, Made
from tests.sample import example_machine
from tests.standin import Reply, Request, route
from tracker.model.catalogue import CATALOGUE, COMMON
from tracker.model.catalogue.forms import machine, opaque
from tracker.model.catalogue.vocabulary import MARK_KEY, Entry
from tracker.model.settings import LocalPlace, Settings

# What stands in the catalogue, in the file of the platform.
ENTRY = Entry(
    platform="example",
    summary="A machine at Example Cloud, with its volumes and addresses",
    module="example.machine",
    ids=machine(
        opaque("example:machine", "m-4012345"),
        volume=opaque("example:volume", "v-700", many=True),
        address=opaque("example:address", "a-700", many=True),
    ),
    needs_one_of=(("instance_id",),),
    metadata=COMMON,
    marked_by="label",
    # A label has no key at Example Cloud.
    mark_key=f"{MARK_KEY}:",
)
TOKEN, MARK = "example-token-of-account-42", "blueprint"
ITEMS = {"machines": "machine", "volumes": "volume", "addresses": "address"}
_PATH = "/v1/(?P<items>machines|volumes|addresses)"


def error(status: int, text: str) -> Reply:
    return Reply(status, {"error": {"code": {404: "not_found"}.get(status, "error"), "message": text}})


class ExampleCloud(Account):
    """The API, with lists that come in pages of one."""

    HOME = "42"
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://api.example.com"

    def handle(self, request: Request) -> Reply:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}" or not self.valid:
            return error(401, "unknown token")
        return super().handle(request)

    @route("GET", "/v1/account")
    def identify(self, request: Request) -> Reply:
        return Reply(body={"id": self.account})

    @route("GET", _PATH)
    def page(self, request: Request, items: str) -> Reply:
        every = [
            self.shown(id_, thing)
            for id_, thing in self.all(f"example:{ITEMS[items]}").items()
            if thing.user == request.query.get("machine", thing.user)
        ]
        start = int(request.query.get("after", "0"))
        following = f"/v1/{items}?{urlencode(request.query | {'after': start + 1})}"
        return Reply(body={items: every[start : start + 1], "next": following if start + 1 < len(every) else None})

    @route("GET", f"{_PATH}/(?P<id>[^/]+)")
    def look(self, request: Request, items: str, id: str) -> Reply:
        thing = self.seen(f"example:{ITEMS[items]}", id)
        return Reply(body={ITEMS[items]: self.shown(id, thing)}) if thing else error(404, f"no {id}")

    @route("DELETE", f"{_PATH}/(?P<id>[^/]+)")
    def delete(self, request: Request, items: str, id: str) -> Reply:
        thing = self.found(f"example:{ITEMS[items]}", id)
        if thing is None:
            return error(404, f"no {id}")
        if thing.body.get("protected"):
            return error(409, "it is protected")
        thing.looks = LOOKS
        return Reply(202)

    def shown(self, id_: str, thing: Thing) -> dict[str, Any]:
        user = thing.user if self.found("example:machine", thing.user) else None
        body = {name: value for name, value in thing.body.items() if name != "protected"}
        return {"id": id_, "state": "running" if thing.looks is None else "deleting", "machine": user, **body}


class StandIn(AccountTarget):
    """A machine with a named, a marked and a strange volume, and a named and a marked address; and somebody else's."""

    # The name of a type is borrowed, and its entry replaced, while this target is up.
    deployment_type = "PaperspaceMachine"
    label = "ExampleMachine"
    server_class = ExampleCloud
    elsewhere = "43"
    secrets: tuple[str, ...] = (TOKEN,)
    marked: ClassVar = dict.fromkeys(("example:machine", "example:volume", "example:address"), "labels")
    na: ClassVar[dict[str, str]] = {
        "wrong-place": "ids are the account's own and no URL names a region",
        "false-success": "a deletion is answered 202 without a body, and no operation tells of it",
    }

    @classmethod
    def module(cls) -> Any:
        return example_machine

    def start(self) -> None:
        super().start()
        # The sample is no type that is served: in its tests it takes the place of one.
        self.patch.setitem(CATALOGUE, self.deployment_type, ENTRY)
        self.patch.setitem(sys.modules, f"tracker.cleanup.providers.{ENTRY.module}", example_machine)
        self.patch.setenv("EXAMPLE_TOKEN", TOKEN)
        self.settings = Settings(
            base_urls={"example": self.server.url},
            accounts={"example": ExampleCloud.HOME},
            marks={"example": MARK},
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        if call.method != "DELETE":
            return None
        _, _, items, id_ = call.path.split("/")
        return f"example:{ITEMS[items]}", id_

    def make(self) -> Made:
        main: Key = ("example:machine", "m-4012345")
        ours = [
            main,
            *(("example:volume", f"v-70{n}") for n in range(2)),
            *(("example:address", f"a-70{n}") for n in range(2)),
        ]
        kept: list[Key] = [("example:volume", "v-702"), ("example:machine", "m-4012346")]
        for kind, id_ in (*ours, *kept):
            labels = [MARK] if (kind, id_) in ours and not id_.endswith("700") else []
            body = {"created": "2026-01-01T00:00:00Z", "labels": labels}
            self.server.things[kind, id_] = Thing(body, "" if kind == "example:machine" else main[1])
        return Made(main, ours, kept, {"instance_id": main[1], "volume": "v-700", "address": ["a-700"]})

    def another(self, number: int) -> tuple[str, Thing]:
        return f"m-50000{number:02}", Thing({"created": "2026-01-01T00:00:00Z", "labels": []})

    def disown(self, made: Made) -> None:
        self.server.things[made.main].body["labels"] = ["other"]

    def replace(self, made: Made) -> None:
        for thing in self.server.things.values():
            thing.user = ""
        self.server.things[made.main] = Thing({"created": "2026-02-02T00:00:00Z", "labels": [MARK]})

    def protect(self, made: Made) -> None:
        self.server.things[made.main].body["protected"] = True


TARGETS = [StandIn]
