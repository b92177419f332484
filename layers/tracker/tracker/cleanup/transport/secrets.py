"""Reads the secrets that records and settings name: a record's only as far as the settings allow, and only for what they are kept for.

Called by deployment types whose place needs a key, a certificate or a token of its own. A secret is read anew for
each step, so that a rotated one is used at once, and its content never reaches an error, a log or a record.
"""

import re

from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.model.settings import Settings
from tracker.secrets import SecretError, SecretFormatError, read_secret

# The key of a secret's content that says what it is kept for, where its name doesn't.
PROVIDER_KEY = "provider"
# Below this part of a name are the secrets that sign webhooks.
WEBHOOKS = "webhooks"
# What Secrets Manager adds to the name in an ARN.
_ARN_SUFFIX = re.compile(r"-[A-Za-z0-9]{6}$", re.ASCII)


def read(name: str, settings: Settings, provider: str, *needed: str) -> dict[str, str]:
    """Return the secret of that name or ARN, which a record names for a `provider`: a JSON object of strings with the `needed` keys.

    Raises Refused if no setting allows it, if it isn't kept for that provider, if it can't be read, or if it isn't such an object.
    """
    if not settings.allows("secret", name):
        raise Refused("credentials", f"secret {name} isn't among the allowed ones")
    if WEBHOOKS in _parts(name):
        raise Refused("credentials", f"secret {name} signs webhooks, and is no credential")
    content = read_trusted(name, *needed)
    kept_for = content.get(PROVIDER_KEY) or (provider if provider in _parts(name) else "")
    if kept_for != provider:
        wanted = f"let its key `{PROVIDER_KEY}` or a part of its name between slashes be {provider}"
        raise Refused("credentials", f"secret {name} isn't kept for {provider}: {wanted}")
    return content


def read_trusted(name: str, *needed: str) -> dict[str, str]:
    """Return the secret of that name or ARN, which a setting names. Raises Refused if it can't be read, or lacks a key."""
    try:
        content = read_secret(name)
    except SecretFormatError:
        raise Refused("credentials", f"secret {name} isn't a JSON object of strings") from None
    except SecretError as error:
        text = f"secret {name}: {error}"
        match error.fault:
            case "throttled":
                raise Busy(text) from error
            case "unreachable":
                raise Unreachable(text) from error
            case "refused":
                raise Refused("credentials", text) from error
    missing = [key for key in needed if not content.get(key)]
    if missing:
        raise Refused("credentials", f"secret {name} lacks {', '.join(missing)}")
    return content


def _parts(name: str) -> list[str]:
    """Return the parts of a secret's name between slashes; of an ARN those of the name in it."""
    if name.startswith("arn:"):
        name = _ARN_SUFFIX.sub("", name.rpartition(":")[2])
    return name.split("/")
