"""A stray: what a survey saw that carries our mark and that no record claims. Pure."""

import hashlib
from datetime import datetime
from typing import Any, Literal

import msgspec

from tracker.model.deployment import Resource, parse_time
from tracker.model.places import Place, digest

KEY_PREFIX = "stray:"
ADOPTED_PREFIX = "adopted:"
# An exemption always ends; one that is still right then is made anew.
EXEMPT_DAYS_MAX = 366
# So that the keys of a stray and of its adoption are keys that a path can name.
_ID_BYTES_MAX = 800
# What a resource's place may say of how it is reached: the same thing may be seen by two credentials.
_WAYS = frozenset({"credential", "external_id", "role"})

StrayEventType = Literal["found", "gone"]


class Exemption(msgspec.Struct, frozen=True):
    """The wish that a stray be left alone: whose it is, why, and until when."""

    reason: str
    by: str
    until: str


class StrayEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One committed fact about a stray. `sequence` numbers the facts of a stray from 1."""

    sequence: int
    type: StrayEventType
    at: str
    detail: dict[str, Any] = {}


class Sighting(msgspec.Struct, frozen=True):
    """A resource that a survey saw, the key of `resource_ids` that would name it, its mark, and when the provider says that it was made."""

    resource: Resource
    resource_key: str
    mark: str
    made_at: str | None = None


class Stray(msgspec.Struct, frozen=True, kw_only=True):
    """A thing that carries a mark of ours in a place, and is claimed by no record.

    `resource_key` is the key of `resource_ids` that would name it, empty if no record can. `mark` is the generation that it carries, or
    the first 12 hex digits of one. `made_at` is the provider's word. Nobody has said what it costs. One that is over has `ended_at`.
    """

    key: str
    kind: str
    id: str
    place: dict[str, str]
    stage: int = 0
    deployment_type: str
    region: str | None = None
    metadata: dict[str, str] = {}
    resource_key: str = ""
    mark: str
    made_at: str | None = None
    first_seen_at: str
    last_seen_at: str
    seen: int = 1
    announced_at: str | None = None
    exempt: Exemption | None = None
    cost_per_hour: None = None
    ended_at: str | None = None
    version: int = 1
    sequence: int = 0
    # The facts of the latest write alone, which the table's stream brings to be announced. It is stored as `news`.
    outbox: list[StrayEvent] = msgspec.field(default_factory=list, name="news")

    @property
    def surveyed(self) -> Place:
        """The place whose survey saw it."""
        return Place(self.deployment_type, self.region, self.metadata)

    @property
    def resource(self) -> Resource:
        """It as a resource of a record, once seen."""
        return Resource(self.kind, self.id, self.place, stage=self.stage, named_by=self.resource_key, seen=True)

    def is_exempt(self, now: datetime) -> bool:
        """Return whether it is to be left alone."""
        return self.exempt is not None and parse_time(self.exempt.until) > now

    def is_told(self, now: datetime) -> bool:
        """Return whether it waits for someone: it was announced, and isn't exempt."""
        return self.announced_at is not None and self.ended_at is None and not self.is_exempt(now)


def stray_key(resource: Resource) -> str:
    """Return the key of a stray: `stray:<kind>:<id>`, and the place's digest after "@" where the provider says a place.

    Names, paths and numbers come again in another place. By which way the place is reached makes no difference.
    """
    id_ = resource.id
    if len(id_.encode()) > _ID_BYTES_MAX:
        id_ = f"sha256-{hashlib.sha256(id_.encode()).hexdigest()}"
    place = {name: value for name, value in resource.place.items() if name not in _WAYS}
    where = f"@{digest(place)[:8]}" if place else ""
    return f"{KEY_PREFIX}{resource.kind}:{id_}{where}"


def adopted_key(key: str) -> str:
    """Return the `blueprint_id` of the deployment that adopts the stray under a key."""
    return ADOPTED_PREFIX + key.removeprefix(KEY_PREFIX)
