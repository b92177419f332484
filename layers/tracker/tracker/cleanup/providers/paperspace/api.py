"""Paperspace's API: its credential, its errors, its lists. The older API at api.paperspace.io isn't used."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from tracker.cleanup.core.contract import Refused, Unreachable
from tracker.cleanup.transport.rest.client import BearerToken, Endpoint, ErrorRule
from tracker.cleanup.transport.rest.provider import Api, Provider


def _identify_account(api: Api) -> str:
    """Return the id of the key's team. The session is null, with 200, for a key that is nobody's."""
    session = api.get("/v1/auth/session")
    if session is None:
        raise Refused("credentials", "GET /v1/auth/session: null, so the key is nobody's")
    return str(session["team"]["id"])


PAPERSPACE = Provider(
    name="paperspace",
    endpoint=Endpoint(
        name="paperspace",
        base_url="https://api.paperspace.com",
        error_text=lambda body: f"{body['code']}: {body['message']}",
        error_rules=(ErrorRule(412, "", "busy"),),
    ),
    authorize=lambda _api, credential: BearerToken(credential.texts["token"]),
    identify_account=_identify_account,
    variables={"token": ("PAPERSPACE_API_KEY",)},
)


def every(api: Api, path: str, **params: str) -> Iterator[Any]:
    """Yield all items of a list. A page names the cursor of the next one."""

    def next_page(body: Any) -> str | None:
        cursor = body.get("nextPage")
        if body.get("hasMore") and not cursor:
            raise Unreachable(f"GET {path}: a page has more after it, and doesn't say where")
        return f"{path}?{urlencode({**params, 'after': cursor})}" if cursor and body.get("hasMore", True) else None

    return api.pages(path, "items", next_page, **params)
