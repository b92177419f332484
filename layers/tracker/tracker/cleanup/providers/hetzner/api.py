"""Hetzner's API: its credential, its errors, and how its resources are found and deleted."""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from msgspec.structs import replace

from tracker.cleanup.core.contract import Observation
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.transport.rest.client import BearerToken, Endpoint, ErrorRule, listed
from tracker.cleanup.transport.rest.kind import RestKind
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.deployment import Resource

# The most that a page may hold.
PER_PAGE = 50


def _identify_account(api: Api) -> str:
    """Return no project, since no call names one; but the token must be good."""
    listed(api.get("/v1/servers", per_page=1), "servers", "/v1/servers")
    return ""


HETZNER = Provider(
    name="hetzner",
    endpoint=Endpoint(
        name="hetzner",
        base_url="https://api.hetzner.cloud",
        error_text=lambda body: f"{body['error']['code']}: {body['error']['message']}",
        # The document gives codes rather than statuses.
        error_rules=(
            ErrorRule(None, "^not_found:", "gone"),
            ErrorRule(404, "", "unreachable"),
            ErrorRule(None, "^(locked|conflict|must_be_unassigned|server_not_stopped|resource_in_use):", "busy"),
            ErrorRule(None, "^protected:", "protected"),
            ErrorRule(None, "^rate_limit_exceeded:", "throttled"),
        ),
    ),
    authorize=lambda _api, credential: BearerToken(credential.texts["token"]),
    identify_account=_identify_account,
    variables={"token": ("HCLOUD_TOKEN",)},
)


def every(api: Api, items: str) -> Iterator[Any]:
    """Yield all items of a list; each page has the number of the next."""
    path = f"/v1/{items}"

    def next_page(body: Any) -> str | None:
        number = body["meta"]["pagination"]["next_page"]
        return f"{path}?page={number}&per_page={PER_PAGE}" if number else None

    return api.pages(path, items, next_page, per_page=PER_PAGE)


class HetznerKind(RestKind):
    """One kind of resource at Hetzner, where the ownership mark is a label: its key, or "key=value"."""

    provider: ClassVar = HETZNER
    mark_key, mark_noun = "hetzner", "label"

    def every(self, connection: Api) -> Iterator[Any]:
        return every(connection, self.path.removeprefix("/v1/").removesuffix("/{id}"))

    def protection(self, connection: Api, resource: Resource, body: Any) -> str:
        """Return that it is protected, if it is."""
        is_protected = (body.get("protection") or {}).get("delete")
        return f"{self.noun} {resource.id} is protected against deletion: lift that first" if is_protected else ""

    def has_mark(self, body: Any, mark: str) -> bool:
        """Return whether a label is the mark."""
        return any(mark in (key, f"{key}={value}") for key, value in (body.get("labels") or {}).items())

    def users(self, body: Any) -> Iterable[str]:
        """Return the server that a volume or an address is assigned to."""
        user = body.get("assignee_id") or body.get("server")
        return [str(user)] if user else []

    def observe_absence(self, connection: Api, resource: Resource, gone: Gone) -> Observation:
        """Say that it is gone. What goes with its server was seen there."""
        look = super().observe_absence(connection, resource, gone)
        return replace(look, unproven=look.unproven and "goes_with" not in resource.place)
