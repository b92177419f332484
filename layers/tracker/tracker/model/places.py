"""A place where deployments of a type are: what a survey looks at as a whole. Pure.

Every record says its place by its type, its region and a part of its metadata. Records of one place share its digest, which the
index of the table carries.
"""

import hashlib
from typing import Any

import msgspec

from tracker.model.catalogue import entry
from tracker.model.deployment import Deployment

# What metadata that a type knows says of one deployment, and not of its place. A machine's boot is looked up by who surveys it.
NOT_OF_PLACE = frozenset(
    {"boot_id", "delete_dependents", "delete_namespace", "executable", "process_start_time", "webhook_secret"}
)
DIGEST_DIGITS = 16


class Place(msgspec.Struct, frozen=True):
    """A deployment type, a region, and the metadata that says by which way and in which account the place is reached."""

    deployment_type: str
    region: str | None = None
    metadata: dict[str, str] = {}

    @property
    def digest(self) -> str:
        """16 hex digits that two different places don't share."""
        return digest((self.deployment_type, self.region, self.metadata))[:DIGEST_DIGITS]

    @property
    def name(self) -> str:
        """The place in words, for logs: the names of its metadata without the values."""
        ways = ", ".join(sorted(self.metadata))
        return " ".join(part for part in (self.deployment_type, self.region or "", f"({ways})" if ways else "") if part)


def place_of(deployment: Deployment) -> Place:
    """Return the place that a record names."""
    known = entry(deployment.deployment_type).metadata
    return Place(
        deployment_type=deployment.deployment_type,
        region=deployment.region,
        metadata={key: value for key, value in deployment.metadata.items() if key in known and key not in NOT_OF_PLACE},
    )


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's JSON, in hex digits. The order of keys doesn't matter."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()
