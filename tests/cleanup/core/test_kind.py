"""This is what the base of all kinds does before any call is made: an id's form and what the settings allow."""

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tracker.cleanup.core.contract import Progress, Refused
from tracker.cleanup.core.kind import Kind
from tracker.model.catalogue import CATALOGUE, form_of
from tracker.model.deployment import Resource
from tracker.model.settings import Settings


class Volume(Kind[Any, Any]):
    noun = "volume"


class Interface(Kind[Any, Any]):
    noun = "network interface"
    form = "eni-[0-9a-f]{8,17}"


@pytest.mark.parametrize(
    ("kind", "resource"),
    [
        (Volume(), Resource("aws:volume", "vol-0123456789abcdef0", {})),
        (Volume(), Resource("vultr:block", "0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f", {})),
        (Interface(), Resource("aws:network_interface", "eni-01234567", {})),
    ],
)
def test_an_id_of_the_right_form_is_taken(kind: Kind[Any, Any], resource: Resource) -> None:
    kind.check_id(resource, Settings())


@pytest.mark.parametrize(
    ("kind", "resource"),
    [
        (Volume(), Resource("aws:volume", "i-0123456789abcdef0", {})),
        (Volume(), Resource("aws:volume", "vol-0123456789abcdef0\n", {})),
        (Volume(), Resource("vultr:block", "vol-0123456789abcdef0", {})),
        (Interface(), Resource("aws:network_interface", "eni-01234567/..", {})),
    ],
)
def test_an_id_of_another_form_is_refused_by_its_name(kind: Kind[Any, Any], resource: Resource) -> None:
    with pytest.raises(Refused) as refused:
        kind.check_id(resource, Settings())
    assert refused.value.error_class == "bad_id"
    assert str(refused.value) == f"{resource.id!r} can't be the id of a {kind.noun}"


def test_a_kind_without_any_form_is_a_programming_error() -> None:
    with pytest.raises(KeyError, match="aws:network_interface"):
        Volume().check_id(Resource("aws:network_interface", "eni-01234567", {}), Settings())


class Guarded(Kind[None, str]):
    """A file that is there, and notes that its place was opened."""

    noun = "file"
    form = "/[a-z/]+"
    guard = "file"

    def __init__(self) -> None:
        self.opened = 0

    @contextmanager
    def open(self, resource: Resource, settings: Settings) -> Iterator[None]:
        self.opened += 1
        yield

    def read(self, connection: None, resource: Resource) -> str:
        return "there"

    def request_deletion(self, connection: None, resource: Resource, body: str) -> None: ...


@pytest.mark.parametrize("call", ["state", "delete"])
def test_an_id_that_no_setting_allows_is_refused_before_its_place_is_opened(call: str) -> None:
    kind = Guarded()
    settings = Settings(allowed_files=["/opt/*"])
    getattr(kind, call)(Resource("ssh:file", "/opt/ours"), settings)
    assert kind.opened == 1
    with pytest.raises(Refused, match="/srv/theirs isn't among the allowed files") as refusal:
        getattr(kind, call)(Resource("ssh:file", "/srv/theirs"), settings)
    assert refusal.value.error_class == "bad_id"
    assert kind.opened == 1


class Leaving(Kind[None, bool]):
    """Something on its way out. Its description is whether it carries the mark."""

    form = "[a-z]"
    mark_key = "memory"
    needs_mark = True

    def __init__(self, *, is_marked: bool = True, **attributes: Any) -> None:
        self.is_marked = is_marked
        self.asked = 0
        vars(self).update(attributes)

    @contextmanager
    def open(self, resource: Resource, settings: Settings) -> Iterator[None]:
        yield

    def read(self, connection: None, resource: Resource) -> bool:
        return self.is_marked

    def has_mark(self, body: bool, mark: str) -> bool:
        return body

    def progress(self, body: bool) -> tuple[Progress, str]:
        return "leaving", "removing"

    def request_deletion(self, connection: None, resource: Resource, body: bool) -> None:
        self.asked += 1


@pytest.mark.parametrize(
    ("kind", "asked"),
    [(Leaving(), 1), (Leaving(asks_again=False), 0), (Leaving(is_marked=False), 0)],
    ids=["ours", "asking does harm", "not ours"],
)
def test_what_is_on_its_way_out_is_asked_again_if_that_does_no_harm_and_it_is_ours(kind: Leaving, asked: int) -> None:
    kind.delete(Resource("memory:thing", "a"), Settings(marks={"memory": "ours"}))
    assert kind.asked == asked


# whether what has the id is the same


class Named(Leaving):
    """Its name may be another's later; it remembers when it was made."""

    def identity(self, body: bool) -> dict[str, str]:
        return {"made_at": "yesterday"} if body else {}


@pytest.mark.parametrize(
    ("kind", "place", "same"),
    [
        (Leaving(), {}, True),
        (Leaving(reuses_ids=True), {}, False),
        (Named(), {"made_at": "yesterday"}, True),
        (Named(), {}, False),
    ],
)
def test_what_is_there_is_the_same_only_if_that_is_certain(kind: Leaving, place: dict[str, str], same: bool) -> None:
    resource = Resource(kind="memory:thing", id="a", place=place)
    assert kind.observe(None, resource, True).same is same
    # Without an identity nothing tells a name's bearers apart.
    assert not Named().observe(None, resource, False).same


def test_an_id_that_nothing_tells_apart_is_one_that_a_provider_gives_once() -> None:
    """Names, paths and addresses, which another may have later, are told apart or marked so."""
    unmarked = {
        name: (kind.form or form_of(name).pattern)
        for each in CATALOGUE.values()
        for name, kind in importlib.import_module(f"tracker.cleanup.providers.{each.module}").KINDS.items()
        if isinstance(kind, Kind) and type(kind).identity is Kind.identity and not kind.reuses_ids
    }
    given_once = re.compile(
        r"^(i|vol|eni|sg|key|eipalloc)-|0-9a-f|^\[1-9\]\[0-9\]\{0,18\}|^\[A-Za-z0-9\]\[A-Za-z0-9_-\]\{2,127\}$|^arn:"
    )
    assert {name: form for name, form in unmarked.items() if not given_once.search(form)} == {}
