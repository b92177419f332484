"""A provider: which credential it is called with, and which account that is for.

No answer counts before the provider itself said whose the credential is: a "not found" to a wrong key, or in another
account, proves nothing.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from requests.auth import AuthBase

from tracker.cleanup.core.contract import Refused, Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.transport import credentials
from tracker.cleanup.transport.credentials import Credential
from tracker.cleanup.transport.rest.client import Client, Endpoint
from tracker.model.deployment import Deployment
from tracker.model.settings import Settings

# Seconds that an open API is kept, with what is known of its account.
KEPT_FOR = 120


class Api(Client):
    """A provider's API with one credential, which the provider itself said is for `account`.

    `expected_account` is the account that it is opened for, empty if neither the record nor a setting names one.
    """

    def __init__(
        self, provider: "Provider", credential: Credential, settings: Settings, expected_account: str = ""
    ) -> None:
        super().__init__(provider.endpoint, credential, settings)
        self.expected_account = expected_account
        self.authorization = provider.authorize(self, credential)
        self.account = provider.identify_account(self)


@dataclass(frozen=True)
class Provider:
    """A provider, made once by its file.

    `name` is its key in the settings (accounts, credentials). `authorize` makes what signs the requests. `identify_account` asks the
    provider, with that credential, which account it is for; where one credential is for several, it confirms `expected_account`;
    and where the provider has no call for it, the file says in its notes what a not-found is worth.
    `account_key` is the key of metadata that names the account in the provider's own word ("project_id"), before `account` does.
    `needed` are the keys that a credential must have, `variables` the environment variables that the provider's own tools
    read for each key.
    """

    name: str
    endpoint: Endpoint
    authorize: Callable[[Api, Credential], AuthBase | None]
    identify_account: Callable[[Api], str]
    variables: Mapping[str, tuple[str, ...]]
    needed: tuple[str, ...] = ("token",)
    account_key: str = "account"

    def place_of(self, deployment: Deployment, settings: Settings, **more: str) -> dict[str, str]:
        """Return where the record says that it is: the account, if something names one, and the credential that it names."""
        seen_in = next((r.place["account"] for r in deployment.resources if r.seen and "account" in r.place), "")
        named = deployment.metadata.get(self.account_key) or deployment.metadata.get("account")
        account = named or settings.account(self.name) or seen_in
        place = {"account": account, "credential": deployment.metadata.get("credential", ""), **more}
        return {key: value for key, value in place.items() if value}

    def open(self, place: Mapping[str, str], settings: Settings) -> Api:
        """Return the API with the credential for a place. Raises Refused if that is for another account than the place names."""
        credential, account = place.get("credential", ""), place.get("account", "")
        api = _opened(self, credential, account, _Identity(settings), int(time.monotonic() // KEPT_FOR))
        if place.get("account", api.account) != api.account:
            text = f"the credential is for {self.name} account {api.account}, and it is in {place['account']}"
            raise Refused("credentials", f"{text}: correct metadata.account, or name a credential for it")
        return api

    def credential(self, named: str, settings: Settings) -> Credential:
        """Return the credential that is `named`, else the stack's own. Raises Refused if there is none."""
        return credentials.find(self.name, named, settings, *self.needed, variables=self.variables)

    def __hash__(self) -> int:
        return hash(self.name)


class _Identity:
    """Settings as a cache's key: compared by identity, since they don't change while a function's process lives."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.settings is self.settings

    def __hash__(self) -> int:
        return id(self.settings)


@lru_cache(maxsize=32)
def _opened(provider: Provider, credential: str, account: str, settings: _Identity, _period: int) -> Api:
    """Return an API whose account is known. The cache forgets it when `_period` changes."""
    found = provider.credential(credential, settings.settings)
    try:
        return Api(provider, found, settings.settings, account)
    except Gone as gone:
        raise Unreachable(f"{provider.name} doesn't say whose the credential is: {gone}") from None
    except (LookupError, TypeError, AttributeError):
        raise Unreachable(f"{provider.name} doesn't say whose the credential is") from None
