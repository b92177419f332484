"""Whose credential a provider is called with: the record's, else the stack's own for that provider.

Used by the files of every provider that hands out keys or tokens (on AWS: roles, `aws/session.py`). A credential is a JSON
object of texts in Secrets Manager, read anew whenever a session is opened; on a stack of one machine the environment
variables that the provider's own tools read serve too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tracker.cleanup import secrets
from tracker.cleanup.calls import redacted
from tracker.cleanup.contract import Refused
from tracker.settings import Settings


@dataclass(frozen=True)
class Credential:
    """The texts, which are never shown, and where they are from."""

    texts: dict[str, str] = field(repr=False)
    source: str

    def redacted(self, text: str) -> str:
        """A text in which nothing of the credential is left, should a provider have quoted it."""
        return redacted(text, self.texts.values())


def find(
    provider: str, named: str, settings: Settings, *needed: str, variables: Mapping[str, tuple[str, ...]]
) -> Credential:
    """The credential for a provider: the secret that is `named` (`metadata.credential`), else the stack's.

    `needed` are the keys that it must have; `variables` says which environment variables serve for each key, the first
    that is set. Refused, if there is none, or it lacks something.
    """
    name = named or settings.credentials.get(provider, "")
    if name:
        return Credential(secrets.read(name, settings, *needed), f"secret {name}")
    found = {
        key: next((value for each in names if (value := settings.customary(each))), "")
        for key, names in variables.items()
    }
    lacking = [key for key in needed if not found.get(key)]
    if lacking:
        text = f"metadata.credential names no secret, and this stack has none for {provider}"
        raise Refused("credentials", text)
    return Credential({key: value for key, value in found.items() if value}, "the environment")
