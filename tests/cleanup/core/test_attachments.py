"""This is what is attached to something: whose that is, and whether it is waited for or detached; and how a proof names its source."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest

from tracker.cleanup.core.contract import Busy, Progress, Refused
from tracker.cleanup.core.kind import Kind
from tracker.model.deployment import Resource
from tracker.model.settings import Settings

SETTINGS = Settings()
VOLUME = Resource("memory:volume", "v-1", {"used_by": "vm-1,vm-2"})


class Volume(Kind[None, list[str]]):
    """A volume, whose description is the list of the machines that use it."""

    noun = "volume"
    form = "v-[0-9]"

    def __init__(self, *users: str) -> None:
        self.attached = list(users)
        self.requests: list[str] = []

    @contextmanager
    def open(self, resource: Resource, settings: Settings) -> Iterator[None]:
        yield

    def read(self, connection: None, resource: Resource) -> list[str]:
        return self.attached

    def users(self, body: list[str]) -> Iterable[str]:
        return body

    def request_deletion(self, connection: None, resource: Resource, body: list[str]) -> None:
        self.requests.append(resource.id)


class DetachedVolume(Volume):
    detaches = True


class NodesVolume(Volume):
    def strangers(self, resource: Resource, body: list[str]) -> Iterable[str]:
        return ()


class DeletedVolume(Volume):
    def progress(self, body: list[str]) -> tuple[Progress, str]:
        return "gone", "deleted"

    def source(self, resource: Resource) -> str:
        return f"GET /volumes/{resource.id}"


def test_what_nothing_uses_is_deleted() -> None:
    kind = Volume()
    kind.delete(VOLUME, SETTINGS)
    assert kind.requests == ["v-1"]


def test_what_is_attached_to_the_deployments_own_is_waited_for() -> None:
    kind = Volume("vm-2")
    with pytest.raises(Busy, match="still attached to vm-2"):
        kind.delete(VOLUME, SETTINGS)
    assert kind.requests == []


def test_what_its_kind_detaches_isnt_waited_for() -> None:
    kind = DetachedVolume("vm-2")
    kind.delete(VOLUME, SETTINGS)
    assert kind.requests == ["v-1"]


@pytest.mark.parametrize("kind", [Volume("vm-1", "vm-9"), DetachedVolume("vm-1", "vm-9")])
def test_what_a_stranger_uses_isnt_ours(kind: Volume) -> None:
    with pytest.raises(Refused, match="attached to vm-9, which the record doesn't name") as refusal:
        kind.delete(VOLUME, SETTINGS)
    assert refusal.value.error_class == "not_ours"
    assert kind.requests == []


def test_whoever_its_kind_knows_to_be_no_stranger_is_waited_for() -> None:
    kind = NodesVolume("vm-9")
    with pytest.raises(Busy, match="still attached to vm-9"):
        kind.delete(VOLUME, SETTINGS)
    assert kind.requests == []


@pytest.mark.parametrize(
    ("kind", "proof"), [(DeletedVolume(), "GET /volumes/v-1: deleted"), (Volume(), "")], ids=["gone", "present"]
)
def test_a_proof_begins_with_the_read_that_shows_it(kind: Volume, proof: str) -> None:
    assert kind.state(VOLUME, SETTINGS).proof == proof
