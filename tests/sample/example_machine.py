"""ExampleMachine: a machine at Example Cloud, with its volumes and addresses.

The machine goes first, then what was attached to it. All of it can carry the ownership mark and a deployment's own, as labels.
"""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from tracker.cleanup.core.contract import Found, OperatorNotes, Progress, ResourceKind
from tracker.cleanup.core.discovery import judged
from tracker.cleanup.transport.rest.client import BearerToken, Endpoint, ErrorRule
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents
from tracker.cleanup.transport.rest.listing import Listing, find_listed, in_words
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

EXAMPLE = Provider(
    name="example",
    endpoint=Endpoint(
        name="example",
        base_url="https://api.example.com",
        error_text=lambda body: f"{body['error']['code']}: {body['error']['message']}",
        error_rules=(ErrorRule(409, "protected", "protected"),),
    ),
    authorize=lambda _api, credential: BearerToken(credential.texts["token"]),
    identify_account=lambda api: str(api.get("/v1/account")["id"]),
    variables={"token": ("EXAMPLE_TOKEN",)},
)


def every(api: Api, items: str, **filters: str) -> Iterator[Any]:
    """Yield all items of a list; each page has the path of the next."""
    return api.pages(f"/v1/{items}", items, lambda page: page.get("next"), **filters)


class ExampleKind(RestKind):
    """One kind of resource at Example Cloud, where the ownership mark is a label."""

    provider: ClassVar = EXAMPLE
    mark_key = "example"
    mark_noun = "label"
    settles_in = 60

    def progress(self, body: Any) -> tuple[Progress, str]:
        state = str(body["state"])
        return ("leaving" if state == "deleting" else "present"), state

    def identity(self, body: Any) -> dict[str, str]:
        return {"created": str(body["created"])}

    def has_mark(self, body: Any, mark: str) -> bool:
        return mark in (body.get("labels") or [])

    def users(self, body: Any) -> Iterable[str]:
        return [str(body["machine"])] if body.get("machine") else []


class Machine(ExampleKind):
    noun, path, envelope, needs_mark = "machine", "/v1/machines/{id}", "machine", True


class Volume(ExampleKind):
    noun, path, envelope = "volume", "/v1/volumes/{id}", "volume"


class Address(ExampleKind):
    noun, path, envelope = "address", "/v1/addresses/{id}", "address"


_KINDS: dict[str, RestKind] = {"example:machine": Machine(), "example:volume": Volume(), "example:address": Address()}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
# The main kind first; what has a higher number goes after what has a lower one.
_STAGES = {"example:machine": 0, "example:volume": 1, "example:address": 1}
_LISTINGS = [
    Listing("example:machine", lambda api: every(api, "machines"), in_words("labels"), made_at="created"),
    Listing("example:volume", lambda api: every(api, "volumes"), in_words("labels"), made_at="created"),
    Listing("example:address", lambda api: every(api, "addresses"), in_words("labels"), made_at="created"),
]

NOTES = OperatorNotes(
    credentials="A token: secret key `token`; on one machine EXAMPLE_TOKEN.",
    permissions=("account:read", "machines:read, machines:delete", "volumes:read, volumes:delete", "addresses:all"),
    order=("the machine", "its volumes and addresses, once they are free"),
    gone="404 to a GET, with a token whose account was asked for before.",
    duration="Under a minute.",
    limits="Snapshots stay.",
    sources="Example Cloud's API description, version 1.4 (2026-10-02).",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names, and the volumes and addresses that its machine has."""

    def dependents(api: Api, machine: Resource, _body: Any) -> Iterator[Resource]:
        for kind, items in (("example:volume", "volumes"), ("example:address", "addresses")):
            for each in every(api, items, machine=machine.id):
                is_marked = _KINDS[kind].has_mark(each, settings.mark("example"))
                yield judged(deployment, Resource(kind, str(each["id"]), stage=1), is_marked=is_marked)

    return discover_with_dependents(deployment, settings, _KINDS, _STAGES, dependents)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield what carries the mark of a generation, or of any if it is None."""
    return find_listed(deployment, settings, generation, _KINDS, _LISTINGS)
