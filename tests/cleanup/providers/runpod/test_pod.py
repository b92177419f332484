"""RunPodInstance, against a server that keeps to RunPod's API description."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.cleanup.rest_target import LOOKS, Account, AccountTarget, Thing
from tests.conformance.target import Key, Made
from tests.standin import Fault, Reply, Request, route
from tracker.cleanup.core.contract import Refused, Unreachable
from tracker.cleanup.providers.runpod import pod
from tracker.model.deployment import Resource
from tracker.model.settings import LocalPlace, Settings

KEY = "rpa_key-of-user-42"
POD, OTHER, NAMED, STRANGE = "xedezhzb9la3ye", "xedezhzb9la3yf", "agv6w2qcg7", "agv6w2qcg8"
_PATH = "/v2/(?P<items>pods|network-volumes)/(?P<id>[^/]+)"
KINDS = {"pods": "runpod:pod", "network-volumes": "runpod:network_volume"}


def error(status: int, text: str) -> Reply:
    return Reply(status, {"title": {404: "Not Found"}.get(status, "Error"), "status": status, "detail": text})


class RunPod(Account):
    """The API. An account is a user."""

    HOME = "user_42"
    CONTRACT = Path(__file__).with_name("contract.yaml")
    PUBLIC_URL = "https://api.runpod.io"

    def __init__(self) -> None:
        self.endpoints: list[dict[str, Any]] = []
        super().__init__()

    def handle(self, request: Request) -> Reply:
        if request.headers.get("Authorization") != f"Bearer {KEY}" or not self.valid:
            return error(401, "missing bearer token")
        return super().handle(request)

    @route("POST", "/graphql")
    def myself(self, request: Request) -> Reply:
        return Reply(body={"data": {"myself": {"id": self.account}}})

    @route("GET", "/v2/pods")
    def pods(self, request: Request) -> Reply:
        return Reply(body={"pods": [thing.body for thing in self.all("runpod:pod").values()]})

    @route("GET", "/v2/network-volumes")
    def volumes(self, request: Request) -> Reply:
        return Reply(body={"networkVolumes": [thing.body for thing in self.all("runpod:network_volume").values()]})

    @route("GET", "/v2/serverless")
    def serverless(self, request: Request) -> Reply:
        return Reply(body={"endpoints": self.endpoints})

    @route("GET", _PATH)
    def look(self, request: Request, items: str, id: str) -> Reply:
        thing = self.seen(KINDS[items], id)
        return Reply(body=thing.body) if thing else error(404, "resource not found")

    @route("DELETE", _PATH)
    def delete(self, request: Request, items: str, id: str) -> Reply:
        thing = self.found(KINDS[items], id)
        if thing is None:
            return error(404, "resource not found")
        if thing.body.get("cluster"):
            return error(409, "Pod belongs to a cluster and cannot be terminated via the pod endpoints.")
        thing.looks = LOOKS
        return Reply(204)


class StandIn(AccountTarget):
    """A pod with a network volume that the record names; another pod, another volume."""

    server: RunPod
    deployment_type = "RunPodInstance"
    server_class = RunPod
    elsewhere = "user_43"
    secrets: tuple[str, ...] = (KEY,)
    marked: ClassVar = {"runpod:pod": "name", "runpod:network_volume": "name"}
    unpaged = "RunPod's document has all pods and network volumes in one piece"
    na: ClassVar[dict[str, str]] = {
        "wrong-place": "ids are the user's own and no URL names a region",
        "not-ours": "no mark is set for it: being named is ownership",
        "other-one": "RunPod gives the id of a pod to no other",
        "false-success": "a deletion is answered 204 without a body, and no operation tells of it",
    }

    def start(self) -> None:
        super().start()
        self.patch.setenv("RUNPOD_API_KEY", KEY)
        self.settings = Settings(
            base_urls={"runpod": self.server.url},
            accounts={"runpod": RunPod.HOME},
            local_place=LocalPlace(host="here", boot_id=str(uuid.uuid4())),
        )

    def error(self, status: int, text: str) -> Reply:
        return error(status, text)

    def key_of(self, call: Request) -> Key | None:
        if call.method != "DELETE":
            return None
        _, _, items, id_ = call.path.split("/")
        return KINDS[items], id_

    def another(self, number: int) -> tuple[str, Thing]:
        return f"pod{number:02}", Thing(_pod(f"pod{number:02}"))

    def make(self) -> Made:
        main: Key = ("runpod:pod", POD)
        ours = [main, ("runpod:network_volume", NAMED)]
        kept = [("runpod:pod", OTHER), ("runpod:network_volume", STRANGE)]
        for kind, id_ in (*ours, *kept):
            self.server.things[kind, id_] = Thing(_pod(id_) if kind == "runpod:pod" else _volume(id_))
        self.server.things[main].body["mounts"] = {"network": [{"volumeId": NAMED, "path": "/workspace"}]}
        return Made(main, ours, kept, {"instance_id": POD, "network_volume": NAMED})

    def protect(self, made: Made) -> None:
        self.server.things[made.main].body["cluster"] = {"id": "cluster_abc123"}


TARGETS = [StandIn]


def _pod(id_: str) -> dict[str, Any]:
    return {"id": id_, "name": "training", "createdAt": "2026-01-01T00:00:00Z", "status": "RUNNING", "mounts": {}}


def _volume(id_: str) -> dict[str, Any]:
    return {"id": id_, "name": id_, "size": 50, "dataCenter": "EU-RO-1", "type": "HIGH_PERFORMANCE"}


@pytest.fixture
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with StandIn(request, monkeypatch) as found:
        found.make()
        yield found


def resource(kind: str, id_: str) -> Resource:
    return Resource(kind, id_, {"account": RunPod.HOME, "used_by": POD})


def test_a_volume_that_only_the_pod_names_is_kept_unless_the_record_asks_for_it(target: StandIn) -> None:
    found = pod.discover(target.record({"instance_id": POD}), target.settings)
    assert [(each.id, each.state) for each in found] == [(POD, "unseen"), (NAMED, "kept")]
    found = pod.discover(target.record({"instance_id": POD}, {"delete_dependents": "all"}), target.settings)
    assert [(each.id, each.state) for each in found] == [(POD, "unseen"), (NAMED, "unseen")]


def test_a_volume_that_another_pod_uses_stays(target: StandIn) -> None:
    mounted = {"network": [{"volumeId": NAMED, "path": "/data"}]}
    target.server.things["runpod:pod", OTHER].body |= {"mounts": mounted, "cluster": {"id": "cluster_abc123"}}
    with pytest.raises(Refused, match=f"attached to {OTHER}"):
        pod.KINDS["runpod:network_volume"].delete(resource("runpod:network_volume", NAMED), target.settings)
    assert target.asked() == []


def test_a_volume_that_an_endpoint_uses_stays(target: StandIn) -> None:
    target.server.endpoints = [{"id": "ep_abc", "networkVolumes": [STRANGE]}]
    with pytest.raises(Refused, match="attached to ep_abc"):
        pod.KINDS["runpod:network_volume"].delete(resource("runpod:network_volume", STRANGE), target.settings)
    assert target.asked() == []


@pytest.mark.parametrize(
    ("status", "state", "detail"),
    [("EXITED", "present", "paid for"), ("ERROR", "present", "ERROR"), ("TERMINATED", "gone", "")],
)
def test_a_pod_that_is_stopped_is_present_and_paid_for(target: StandIn, status: str, state: str, detail: str) -> None:
    target.server.things["runpod:pod", POD].body["status"] = status
    found = pod.KINDS["runpod:pod"].state(resource("runpod:pod", POD), target.settings)
    assert found.state == state
    assert detail in found.detail


def test_a_pod_that_belongs_to_a_cluster_by_the_answer_to_its_deletion_alone_is_protected(target: StandIn) -> None:
    belongs = error(409, "Pod belongs to a cluster and cannot be terminated via the pod endpoints.")
    with target.server.failing(Fault("answer", "DELETE", "", belongs)), pytest.raises(Refused) as refused:
        pod.KINDS["runpod:pod"].delete(resource("runpod:pod", POD), target.settings)
    assert refused.value.error_class == "protected"


def test_a_key_of_which_nobody_says_whose_it_is_proves_nothing(target: StandIn) -> None:
    denied = Reply(200, {"errors": [{"message": "not allowed"}], "data": None})
    with target.server.failing(Fault("answer", "POST", "/graphql", denied)), pytest.raises(Unreachable, match="whose"):
        pod.KINDS["runpod:pod"].state(resource("runpod:pod", "nobodys"), target.settings)
