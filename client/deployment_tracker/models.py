"""This is what the API answers, as types.

A field that this client doesn't know is ignored, and kept in `raw`; what an older stack doesn't answer has its default. So either
side may be newer than the other. States and types are plain text for the same reason.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

LIVE = ("Active", "Failed", "Unknown")
OVER = "Terminated"
ENDING = "Terminating"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of the API. `raw` is its JSON as it came."""

    raw: dict[str, Any] = msgspec.field(default_factory=dict, name="$raw")


class Cost(msgspec.Struct, frozen=True):
    """The cost of a deployment so far, and the part of it since its time was over."""

    currency: str
    so_far: float
    late: float = 0


class Rate(msgspec.Struct, frozen=True):
    """The price of a deployment for an hour, as its owner said it."""

    amount: float
    currency: str = "USD"


class Hold(msgspec.Struct, frozen=True):
    """This is why neither time nor a call ends a deployment, and until when."""

    reason: str = ""
    by: str = ""
    at: str | None = None
    until: str | None = None

    def is_on(self, at: datetime) -> bool:
        """Return whether it holds at that time: one that is over may still be in the record."""
        until = moment(self.until)
        return until is None or until > at


class Mark(msgspec.Struct, frozen=True):
    """This is how what is made for a deployment is marked: a tag or a label, or how its name begins."""

    by: str
    key: str = ""
    value: str = ""


class CleanupError(msgspec.Struct, frozen=True, rename={"error_class": "class"}):
    """This is why a round of a cleanup failed."""

    error_class: str
    message: str = ""
    at: str = ""
    round: int = 0


class Cleanup(msgspec.Struct, frozen=True):
    """The progress of a cleanup."""

    round: int = 0
    reason: str = ""
    requested_by: str = ""
    requested_at: str | None = None
    deadline: str | None = None
    failures: int = 0
    total_failures: int = 0
    last_error: CleanupError | None = None
    next_attempt_at: str | None = None
    quarantined: bool = False
    ended_at: str | None = None


class Resource(msgspec.Struct, frozen=True):
    """One thing that belongs to a deployment, as it was last seen, and what proved it gone."""

    kind: str
    id: str
    place: dict[str, str] = {}
    stage: int = 0
    named_by: str = ""
    state: str = "unseen"
    seen: bool = False
    never_seen: bool = False
    detail: str = ""
    proof: str = ""
    gone_at: str | None = None


class Event(msgspec.Struct, frozen=True):
    """One fact of a deployment's history. `sequence` counts from 1, without gaps unless the record was lost and put back."""

    sequence: int
    type: str
    at: str
    status: str = ""
    round: int = 0
    detail: dict[str, Any] = {}


class Brake(msgspec.Struct, frozen=True):
    """The mode that is in force for a platform: enforce, pause or observe."""

    mode: str = "enforce"
    message: str = ""


class Described(Answer, frozen=True, kw_only=True):
    """This is what a list and a record say alike of a deployment."""

    blueprint_id: str
    deployment_type: str
    status: str
    id: str = ""
    generation: str = ""
    deployed_at: str = ""
    provider: str | dict[str, Any] | None = None
    region: str | None = None
    ttl_seconds: int | None = None
    expires_at: str | None = None
    registered_by: str = ""
    incomplete: bool = False
    owner: str | None = None
    labels: dict[str, str] | None = None
    cost_per_hour: Rate | None = None
    cost: Cost | None = None
    hold: Hold | None = None

    @property
    def is_live(self) -> bool:
        """Return whether it isn't being ended, and hasn't ended."""
        return self.status in LIVE

    @property
    def ends(self) -> datetime | None:
        """Return when its time is over, None if never."""
        return moment(self.expires_at)


class Summary(Described, frozen=True, kw_only=True):
    """A deployment as a list shows it."""

    quarantined: bool = False
    failures: int = 0
    last_error: CleanupError | None = None
    next_attempt_at: str | None = None
    ended_at: str | None = None


class Deployment(Described, frozen=True, kw_only=True):
    """The record of a deployment."""

    resource_spec: dict[str, Any] | None = None
    resource_ids: dict[str, str | list[str]] = {}
    cleanup_webhook: str | None = None
    webhook_events: list[str] = []
    metadata: dict[str, str] = {}
    version: int = 0
    registered_at: str = ""
    resources: list[Resource] = []
    cleanup: Cleanup = Cleanup()
    due_at: str | None = None
    sequence: int = 0
    events: list[Event] = []
    warn_before: list[int] | None = None
    mark: Mark | None = None
    brake: Brake | None = None

    @property
    def quarantined(self) -> bool:
        """Return whether its cleanup isn't tried again until someone asks for it."""
        return self.cleanup.quarantined

    @property
    def failures(self) -> int:
        """Return how many rounds of its cleanup failed since someone last asked for it."""
        return self.cleanup.failures

    @property
    def last_error(self) -> CleanupError | None:
        """Return why the last round failed."""
        return self.cleanup.last_error

    @property
    def next_attempt_at(self) -> str | None:
        """Return when the cleanup is tried again."""
        return self.cleanup.next_attempt_at


class Registered(msgspec.Struct, frozen=True):
    """A registered deployment; `is_new` is false if the very same registration was there already."""

    deployment: Deployment
    is_new: bool


class Extension(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}):
    """The end that a deployment had (None if it had none), and the one that it has now."""

    before: str | None
    after: str


class Extended(Deployment, frozen=True, kw_only=True):
    """A deployment whose end was moved."""

    extended: Extension


class Plan(Answer, frozen=True, kw_only=True):
    """This is what a cleanup would delete and what it would keep. `digest` names exactly this plan, if the stack makes one."""

    blueprint_id: str
    status: str = ""
    resources: list[Resource] = []
    not_looked_at: list[str] = []
    problems: list[str] = []
    refusal: dict[str, str] | None = None
    brake: Brake | None = None
    digest: str | None = None

    @property
    def goes(self) -> list[Resource]:
        """Return what would be deleted, or looked for."""
        return [each for each in self.resources if each.state not in ("kept", "gone")]

    @property
    def stays(self) -> list[Resource]:
        """Return what would be kept; each says why in its `detail`."""
        return [each for each in self.resources if each.state == "kept"]


class Attempt(msgspec.Struct, frozen=True):
    """One call of a webhook."""

    at: str
    seconds: float = 0
    series: int = 1
    status: int | None = None
    error: str = ""


class Delivery(Answer, frozen=True, kw_only=True):
    """One announcement on its way to a deployment's own webhook."""

    id: str
    blueprint_id: str = ""
    url: str = ""
    state: str = ""
    created_at: str = ""
    series: int = 1
    attempts: list[Attempt] = []
    next_attempt_at: str | None = None


class Stray(Answer, frozen=True, kw_only=True):
    """Something that carries the mark and that no record claims."""

    key: str = ""
    kind: str = ""
    id: str = ""
    place: dict[str, str] = {}
    deployment_type: str = ""
    generation: str = ""
    first_seen_at: str | None = None
    last_seen_at: str | None = None
    exempt: Hold | None = None

    @property
    def name(self) -> str:
        """The key by which it is adopted or exempted."""
        return self.key or f"stray:{self.kind}:{self.id}"


class Page[T](msgspec.Struct, frozen=True):
    """A part of a list, and the cursor of the next part (None at the end)."""

    items: list[T]
    cursor: str | None = None


def read[T: Answer](type_: type[T], body: Mapping[str, Any]) -> T:
    """Return an answer's JSON as its type. msgspec.ValidationError if it isn't one."""
    return msgspec.convert({**body, "$raw": dict(body)}, type_)


def moment(text: str | None) -> datetime | None:
    """Return a time of the API, None if there is none."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
