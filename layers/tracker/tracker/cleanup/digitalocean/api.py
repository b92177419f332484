"""DigitalOcean's API: its credential, its answers, and how the volumes go that droplets and clusters use.

Source: DigitalOcean's OpenAPI document (digitalocean/openapi, 7c1300c).
"""

from typing import Any

from requests.auth import AuthBase

from tracker.cleanup.contract import Busy, Refused
from tracker.cleanup.credentials import Credential
from tracker.cleanup.rest import Api, BearerToken, Meant, RestKind, Service
from tracker.deployment import Resource
from tracker.settings import Settings

UUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


def _authorize(_api: Api, credential: Credential) -> AuthBase:
    return BearerToken(credential.texts["token"])


def _whose(api: Api) -> str:
    """The team that a token is for, or the account where there are no teams."""
    account = api.get("/v2/account")["account"]
    return str((account.get("team") or account)["uuid"])


def _said(body: Any) -> str:
    return f"{body['id']}: {body['message']}"


DIGITALOCEAN = Service(
    provider="digitalocean",
    base_url="https://api.digitalocean.com",
    variables={"token": ("DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN")},
    authorize=_authorize,
    whose=_whose,
    said=_said,
    # As Terraform's provider meets it: another event of the same thing is still under way. What a cluster that is being made or
    # upgraded says isn't documented.
    meanings=(Meant(422, "pending event|is still|currently|provisioning|upgrading|in progress", "busy"),),
)


def is_marked(found: Any, settings: Settings) -> bool:
    """Whether something carries the ownership mark, a tag."""
    return bool(settings.digitalocean_mark) and settings.digitalocean_mark in (found.get("tags") or [])


def must_be_marked(resource: Resource, found: Any, settings: Settings) -> None:
    """Refused, if a mark is set and this doesn't carry it."""
    if settings.digitalocean_mark and not is_marked(found, settings):
        noun = resource.kind.partition(":")[2]
        raise Refused("not_ours", f"{noun} {resource.id} doesn't carry the tag {settings.digitalocean_mark}")


def _attached(resource: Resource, found: Any, _settings: Settings) -> None:
    """A volume goes when nothing uses it any more: what it was with is on its way out; anyone else isn't ours to disturb."""
    users = [str(each) for each in found.get("droplet_ids") or []]
    ours = resource.place.get("used_by", "").split(",")
    strangers = [each for each in users if each not in ours]
    if strangers:
        raise Refused("not_ours", f"attached to droplet {strangers[0]}, which the record doesn't name")
    if users:
        raise Busy(f"still attached to droplet {users[0]}")


VOLUME = RestKind(
    DIGITALOCEAN,
    noun="volume",
    path="/v2/volumes/{id}",
    form=UUID,
    item="volume",
    allow=_attached,
)
