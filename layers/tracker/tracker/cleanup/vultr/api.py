"""Vultr's API: its credential, its answers, its lists, and how block storage goes.

Source: Vultr's OpenAPI document as vultr/vultr-python-client has it (c547827, 2025-08-13); what failures say, which it doesn't
tell: issues of vultr/terraform-provider-vultr and vultr/ansible-collection-vultr.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from requests.auth import AuthBase

from tracker.cleanup.contract import Busy, Refused
from tracker.cleanup.credentials import Credential
from tracker.cleanup.rest import Api, BearerToken, Gone, Meant, RestKind, Service
from tracker.deployment import Resource
from tracker.settings import Settings

UUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
# The most that a page may hold.
PER_PAGE = 500
# What a 500 says of a server that can't go yet: that it is "currently locked", or "already pending destruction".
_NOT_NOW = "locked|pending"


def _authorize(_api: Api, credential: Credential) -> AuthBase:
    return BearerToken(credential.texts["token"])


def _whose(api: Api) -> str:
    """An account has no other id than its address."""
    return str(api.get("/v2/account")["account"]["email"])


def _said(body: Any) -> str:
    return str(body["error"])


VULTR = Service(
    provider="vultr",
    base_url="https://api.vultr.com",
    variables={"token": ("VULTR_API_KEY",)},
    authorize=_authorize,
    whose=_whose,
    said=_said,
    meanings=(Meant(500, _NOT_NOW, "busy"),),
)


def every(api: Api, path: str, items: str) -> Iterator[Any]:
    """All items of a list, whose pages are led to by a cursor."""

    def following(body: Any) -> str | None:
        cursor = str(body["meta"]["links"]["next"])
        return f"{path}?per_page={PER_PAGE}&cursor={quote(cursor, safe='')}" if cursor else None

    return api.pages(path, items, following, per_page=PER_PAGE)


@dataclass(frozen=True)
class VultrKind(RestKind):
    """One that is gone when the list of its kind, `items`, hasn't got it any more.

    What a GET or a DELETE says of one that is missing is documented for some only, and was seen to be 400 ("invalid instance
    ID") where 404 is.
    """

    items: str = ""

    def find(self, api: Api, resource: Resource) -> Any:
        """The resource as the provider shows it, or else as the list does. Gone, if neither does."""
        try:
            return super().find(api, resource)
        except (Gone, Refused) as failed:
            path = self.path.removesuffix("/{id}")
            id_ = resource.id.lower()
            found = next((each for each in every(api, path, self.items) if each["id"].lower() == id_), None)
            if found is None:
                raise Gone(f"{failed}; GET {path} hasn't got it") from None
            return found

    def delete(self, resource: Resource, settings: Settings) -> None:
        """Ask it to go. A 400 for one that is there can only mean that it can't go now, whatever it says."""
        try:
            super().delete(resource, settings)
        except Refused as refused:
            if self.state(resource, settings).state == "gone":
                return
            if refused.error_class == "bad_id":
                raise Busy(str(refused)) from None
            raise


BLOCK = VultrKind(VULTR, noun="block storage", path="/v2/blocks/{id}", form=UUID, item="block", items="blocks")
