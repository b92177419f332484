"""DigitalOcean's API: its credential, its errors, and how the volumes go that droplets and clusters use.

Source: DigitalOcean's OpenAPI document (digitalocean/openapi, 7c1300c).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

from requests.auth import AuthBase

from tracker.cleanup.core.contract import Found, Refused
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.transport.credentials import Credential
from tracker.cleanup.transport.rest.client import WHILE_BUSY, BearerToken, Endpoint, ErrorRule
from tracker.cleanup.transport.rest.kind import RestKind
from tracker.cleanup.transport.rest.listing import Listing, find_listed, in_words
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

# The most that a page may hold.
PER_PAGE = 200
# So many are asked for one by one.
ONE_BY_ONE = 50
UUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


def _authorize(_api: Api, credential: Credential) -> AuthBase:
    return BearerToken(credential.texts["token"])


def _identify_account(api: Api) -> str:
    """Return the team that a token is for, or the account where there are no teams."""
    account = api.get("/v2/account")["account"]
    return str((account.get("team") or account)["uuid"])


def _error_text(body: Any) -> str:
    return f"{body['id']}: {body['message']}"


DIGITALOCEAN = Provider(
    name="digitalocean",
    endpoint=Endpoint(
        name="digitalocean",
        base_url="https://api.digitalocean.com",
        error_text=_error_text,
        # Terraform's provider meets it so: another event of the same resource is still under way. The answer of a cluster that
        # is being made or upgraded isn't documented.
        error_rules=(
            *WHILE_BUSY,
            ErrorRule(422, "pending event|is still|currently|provisioning|upgrading|in progress", "busy"),
        ),
    ),
    authorize=_authorize,
    identify_account=_identify_account,
    variables={"token": ("DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN")},
)


class DigitalOceanKind(RestKind):
    """One kind of resource at DigitalOcean, where the ownership mark is a tag."""

    provider: ClassVar = DIGITALOCEAN
    mark_key = "digitalocean"

    def objection(self, resource: Resource, body: Any, settings: Settings) -> str:
        """Return why it isn't the deployment's to delete. A token that may not read tags is shown none, of anything."""
        objection = super().objection(resource, body, settings)
        if objection and self.needs_mark and not body.get("tags") and settings.mark(self.mark_key):
            return f"{objection}, and no tag at all is shown: does the token have the scope tag:read?"
        return objection

    def has_mark(self, body: Any, mark: str) -> bool:
        """Return whether the mark is among its tags."""
        return mark in (body.get("tags") or [])


def every(api: Api, path: str, items: str, **filters: str) -> Iterator[Any]:
    """Yield all items of a list, `filters` being its parameters; each page names the next by its URL."""

    def next_page(body: Any) -> str | None:
        url = str(((body.get("links") or {}).get("pages") or {}).get("next") or "")
        parts = urlsplit(url)
        # Wherever the API was led to: the path and the query of it.
        return f"{parts.path}?{parts.query}" if url else None

    return api.pages(path, items, next_page, per_page=PER_PAGE, **filters)


def tagged(kind: str, path: str, items: str, **filters: str) -> Listing:
    """Return the list of a kind whose items have tags."""
    return Listing(kind, lambda api: every(api, path, items, **filters), in_words("tags"), "created_at")


def descriptions(api: Api, kind: RestKind, resources: Collection[Resource]) -> Callable[[Resource], Any]:
    """Return what describes each of the resources, or raises Gone: its own GET, or, of very many, the list of their kind, which is read once."""
    if len(resources) <= ONE_BY_ONE:
        return lambda resource: kind.find(api, resource)
    try:
        listed = {str(each["id"]): each for each in kind.every(api) or ()}
    except Refused as refused:
        failure = refused

        def refuse(_: Resource) -> Any:
            raise failure

        return refuse

    def described(resource: Resource) -> Any:
        if resource.id not in listed:
            raise Gone(f"the list of each {kind.noun} hasn't got {resource.id}")
        return listed[resource.id]

    return described


VOLUMES = tagged("digitalocean:volume", "/v2/volumes", "volumes")


def find_tagged(
    deployment: Deployment,
    settings: Settings,
    generation: str | None,
    kinds: Mapping[str, RestKind],
    listings: Iterable[Listing],
) -> Iterator[Found]:
    """Yield what is tagged with the mark. Raises Refused if the token may not read tags: it is shown none, of anything."""
    api = DIGITALOCEAN.open(DIGITALOCEAN.place_of(deployment, settings), settings)
    next(api.pages("/v2/tags", "tags", per_page=1), None)
    yield from find_listed(deployment, settings, generation, kinds, listings)


class Volume(DigitalOceanKind):
    """A volume. DigitalOcean deletes none that is attached."""

    noun = "volume"
    path = "/v2/volumes/{id}"
    form = UUID
    envelope = "volume"

    def every(self, connection: Api) -> Iterable[Any]:
        return VOLUMES.every(connection)

    def users(self, body: Any) -> Iterable[str]:
        """Return the droplets that it is attached to."""
        return [str(each) for each in body.get("droplet_ids") or []]
