"""This is which credential a provider is called with: the record's, else the stack's own for that provider.

Used by the files of every provider that hands out keys or tokens (on AWS: roles, `aws/session.py`). A credential is a JSON
object of texts in Secrets Manager, read anew whenever an API is opened. A stack of one machine also takes the environment
variables that the provider's own tools read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tracker.cleanup.core.contract import Refused
from tracker.cleanup.transport import redaction, secrets
from tracker.model.settings import Settings


@dataclass(frozen=True)
class Credential:
    """A credential: its texts, which are never shown, and where they come from."""

    texts: dict[str, str] = field(repr=False)
    source: str

    def redacted(self, text: str) -> str:
        """Return the text without anything of the credential, should a provider have quoted it."""
        return redaction.redacted(text, self.texts.values())


def find(
    provider: str, named: str, settings: Settings, *needed: str, variables: Mapping[str, tuple[str, ...]]
) -> Credential:
    """Return the credential for a provider: the secret that is `named` (`metadata.credential`) and kept for it, else the stack's.

    `needed` are the keys that it must have. `variables` are the environment variables that may hold each key; the first
    that is set counts. Raises Refused if there is no credential, or it lacks a key.
    """
    if named:
        return Credential(secrets.read(named, settings, provider, *needed), f"secret {named}")
    if name := settings.credentials.get(provider, ""):
        return Credential(secrets.read_trusted(name, *needed), f"secret {name}")
    found = {
        key: next((value for each in names if (value := settings.fallback_env(each))), "")
        for key, names in variables.items()
    }
    missing = [key for key in needed if not found.get(key)]
    if missing:
        text = f"metadata.credential names no secret, and this stack has none for {provider}"
        raise Refused("credentials", text)
    return Credential({key: value for key, value in found.items() if value}, "the environment")
