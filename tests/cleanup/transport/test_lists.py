"""A list that isn't found says nothing of what may be in it, whichever way a kind reads its list."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from tests.standin import Reply, Request, StandIn
from tracker.cleanup.core.contract import Unreachable
from tracker.cleanup.transport.credentials import Credential
from tracker.cleanup.transport.rest.client import Client, NotTold
from tracker.cleanup.transport.rest.kind import RestKind
from tracker.model.catalogue import CATALOGUE
from tracker.model.deployment import Resource
from tracker.model.settings import Settings

# In the words of each of the providers for what isn't there.
SAID = "the thing does not exist"
BODY = {"id": "not_found", "code": "not_found", "message": SAID, "error": {"code": "not_found", "message": SAID}}


def listed_kinds() -> dict[str, RestKind]:
    """Return each kind that has a list of its own, by the name of it."""
    modules = {type_.module for type_ in CATALOGUE.values() if type_.module}
    kinds = {
        name: kind
        for each in modules
        for name, kind in import_module(f"tracker.cleanup.providers.{each}").KINDS.items()
    }
    return {
        name: kind
        for name, kind in sorted(kinds.items())
        if isinstance(kind, RestKind) and type(kind).every is not RestKind.every
    }


class Opened(Client):
    account = "one"


class Empty(StandIn):
    """Nothing is here, and it says so like a provider of a thing."""

    def handle(self, request: Request) -> Reply:
        return Reply(404, BODY)


@pytest.fixture
def empty() -> Iterator[StandIn]:
    with Empty() as server:
        yield server


@pytest.mark.parametrize("name", listed_kinds())
def test_a_list_that_is_not_found_proves_nothing_of_a_resource(empty: StandIn, name: str) -> None:
    kind: Any = listed_kinds()[name]
    endpoint = kind.provider.endpoint
    api = Opened(endpoint, Credential({}, "none"), Settings(base_urls={endpoint.name: empty.url}))
    with pytest.raises(Unreachable):
        kind.listed(api, Resource(name, "1"), NotTold("404, without a word"))
