"""This is which things a record claims, in a form that an index can carry: by a survey, what is claimed is told from what is stray. Pure."""

import base64
import hashlib

from tracker.model.catalogue import entry
from tracker.model.deployment import Deployment

# 60 bits: of a million claims and a thousand strays, one in a billion surveys would take one for another.
_BYTES, _DIGITS = 8, 10


def claims_of(deployment: Deployment) -> str:
    """Return the hashes of all that a record names or has found, in words; of one that is Terminated an empty text: it claims nothing.

    A resource that is kept is claimed like any other.
    """
    if deployment.status == "Terminated":
        return ""
    named = {(kind, id_) for _, kind, id_ in entry(deployment.deployment_type).named(deployment)}
    return " ".join(sorted(claim(kind, id_) for kind, id_ in named | {each.key for each in deployment.resources}))


def claim(kind: str, id_: str) -> str:
    """Return the hash of one resource."""
    raw = hashlib.blake2b(f"{kind}\0{id_}".encode(), digest_size=_BYTES).digest()
    return base64.urlsafe_b64encode(raw).decode()[:_DIGITS]
