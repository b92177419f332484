"""Fluidstack's API: its URL and generation, its credential, its errors.

There were three generations with other URLs, paths and credentials, and each region has a URL of its own. So nothing is asked
before a setting names the URL and the record the generation. Only Atlas, the newest, is served.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import requests
from requests.auth import AuthBase

from tracker.cleanup.core.contract import Refused, Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.transport.credentials import Credential
from tracker.cleanup.transport.rest.client import Client, Endpoint, ErrorRule
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.deployment import Deployment
from tracker.model.settings import Settings

GENERATION = "atlas"
ROOT = "/api/v1alpha1"
AUDIENCE = "https://api.fluidstack.io"

LOGIN = Endpoint(
    name="fluidstack-login",
    base_url="https://oauth.fluidstack.io",
    # By RFC 6749, an error needs no description.
    error_text=lambda body: f"{body['error']}: {body.get('error_description', '')}",
    error_rules=(ErrorRule(400, "", "credentials"), ErrorRule(404, "", "unreachable")),
)


class ProjectToken(AuthBase):
    """Sign requests with a token, and name the project that they are about."""

    def __init__(self, token: str, project: str) -> None:
        self._headers = {"Authorization": f"Bearer {token}", "X-PROJECT-ID": project}

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


def _authorize(api: Api, credential: Credential) -> AuthBase:
    """Request a token. It lasts longer than an API is kept open."""
    form = {"grant_type": "client_credentials", "audience": AUDIENCE}
    form |= {key: credential.texts[key] for key in ("client_id", "client_secret")}
    granted = Client(LOGIN, credential, api.settings).call("POST", "/oauth/token", data=form).body
    token = str(granted["access_token"])
    # It is as secret as the credential that it was requested with.
    credential.texts["access_token"] = token
    return ProjectToken(token, api.expected_account)


def _identify_account(api: Api) -> str:
    """Return the expected project, if the credential may read it: a credential may be for several."""
    return str(api.get(f"{ROOT}/projects/{quote(api.expected_account, safe='')}")["id"]).lower()


class Atlas(Provider):
    """Atlas, where the account is a project."""

    def place_of(self, deployment: Deployment, settings: Settings, **more: str) -> dict[str, str]:
        """Return the project and the generation that the record names."""
        place = super().place_of(deployment, settings, generation=deployment.metadata.get("generation", ""), **more)
        return place | ({"account": place["account"].lower()} if "account" in place else {})

    def open(self, place: Mapping[str, str], settings: Settings) -> Api:
        """Return the API of a project. Raises Refused if its generation isn't served, or no setting names its URL."""
        if place.get("generation") != GENERATION:
            raise Refused("missing_id", f"metadata.generation must say {GENERATION}: no other generation is served")
        if not place.get("account"):
            raise Refused("missing_id", "metadata.project_id is missing")
        if not settings.base_urls.get(self.name):
            raise Refused("credentials", "the parameter BaseUrls must name the URL of the region, as fluidstack")
        return super().open(place, settings)


FLUIDSTACK = Atlas(
    name="fluidstack",
    endpoint=Endpoint(name="fluidstack", base_url="", error_text=lambda body: str(body["message"])),
    authorize=_authorize,
    identify_account=_identify_account,
    variables={"client_id": ("ATLAS_CLIENT_ID",), "client_secret": ("ATLAS_CLIENT_SECRET",)},
    needed=("client_id", "client_secret"),
    account_key="project_id",
)


def every(api: Api, path: str) -> Iterator[Any]:
    """Yield all items of a list, which comes in one piece. Raises Unreachable if there is none."""
    try:
        found = api.get(path)
    except Gone as gone:
        raise Unreachable(str(gone)) from None
    if not isinstance(found, list):
        raise Unreachable(f"GET {path}: the answer is no list")
    yield from found
