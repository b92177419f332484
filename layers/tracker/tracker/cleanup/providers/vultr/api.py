"""Vultr's API: its credential, its errors, its lists, and how its resources are found and deleted.

Source: Vultr's OpenAPI document as vultr/vultr-python-client has it (c547827, 2025-08-13). The document doesn't give the texts of
errors: they are from issues of vultr/terraform-provider-vultr and vultr/ansible-collection-vultr.
"""

from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import urlencode

from requests.auth import AuthBase

from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.transport.credentials import Credential
from tracker.cleanup.transport.rest.client import WHILE_BUSY, BearerToken, Endpoint, ErrorRule, NotTold
from tracker.cleanup.transport.rest.kind import RestKind
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.catalogue import entry
from tracker.model.deployment import Resource

# The most that a page may hold.
PER_PAGE = 500


def _authorize(_api: Api, credential: Credential) -> AuthBase:
    return BearerToken(credential.texts["token"])


def _identify_account(api: Api) -> str:
    """Return the e-mail address of an account, which has no other id."""
    return str(api.get("/v2/account")["account"]["email"])


def _error_text(body: Any) -> str:
    return str(body["error"])


VULTR = Provider(
    name="vultr",
    endpoint=Endpoint(
        name="vultr",
        base_url="https://api.vultr.com",
        error_text=_error_text,
        # A server that can't go yet is "currently locked", or "already pending destruction".
        error_rules=(
            *WHILE_BUSY,
            ErrorRule(500, "locked|pending|attached|in use", "busy"),
            # "Not found", without saying what: a kind's list tells.
            ErrorRule(404, "", "gone"),
        ),
    ),
    authorize=_authorize,
    identify_account=_identify_account,
    variables={"token": ("VULTR_API_KEY",)},
)


def every(api: Api, path: str, items: str, **filters: str) -> Iterator[Any]:
    """Yield all items of a list, `filters` being its parameters. A cursor leads from page to page.

    Raises Unreachable if one has no id: then nobody knows what is absent.
    """
    query = {"per_page": str(PER_PAGE), **filters}

    def next_page(body: Any) -> str | None:
        # Of one page the document lets `meta` be absent.
        links = (body.get("meta") or {}).get("links") or {}
        cursor = str(links.get("next") or "")
        return f"{path}?{urlencode(query | {'cursor': cursor})}" if cursor else None

    for each in api.pages(path, items, next_page, **query):
        if not each.get("id"):
            raise Unreachable(f"GET {path}: one of the {items} has no id")
        yield each


class VultrKind(RestKind):
    """One kind of resource at Vultr. A resource is gone when the list of its kind, `items`, doesn't hold it any more.

    The document says for some kinds only what GET and DELETE answer if the resource is missing. It was seen to be 400 ("invalid
    instance ID") instead of 404.
    """

    provider: ClassVar = VULTR
    form = entry("VultrInstance").ids["instance_id"].pattern
    items: ClassVar[str]
    doubted = (NotTold, Gone, Refused)

    @property
    def list_path(self) -> str:
        """The path of the list of all resources of this kind."""
        return self.path.removesuffix("/{id}")

    def every(self, connection: Api) -> Iterator[Any]:
        """Yield all resources of this kind, as their list shows them."""
        return every(connection, self.list_path, self.items)

    def request_deletion(self, connection: Api, resource: Resource, body: Any) -> None:
        """Request the deletion. Raises Gone or Busy as `request` does."""
        self.request(connection, resource, "DELETE")

    def request(self, connection: Api, resource: Resource, method: str, action: str = "", json: Any = None) -> None:
        """Send a request for a resource, to its path or to that of an `action`. Raises Gone if it is gone meanwhile.

        Raises Busy at a 400: if the resource is there, that can only mean that it can't be done now, whatever the text says.
        """
        try:
            connection.call(method, self.path_of(resource, self.path + action), json=json)
        except Refused as refused:
            self.find(connection, resource)
            if refused.error_class == "bad_id":
                raise Busy(str(refused)) from None
            raise


class Block(VultrKind):
    """A block storage."""

    noun = "block storage"
    path = "/v2/blocks/{id}"
    envelope = "block"
    items = "blocks"


def users_of(body: Any) -> list[str]:
    """Return the id, in small letters, of the instance that a block storage or an address is attached to; empty if it is free."""
    user = body.get("attached_to_instance") or body.get("instance_id")
    return [str(user).lower()] if user else []
