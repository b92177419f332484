"""A deployment and its parts as pure data, and the functions that need nothing else: times, keys, limits.

Every other module may import this one. The field names are the Rust tracker's JSON names, so that one of its records can be
posted as it is.
"""

import base64
import binascii
import math
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import msgspec

from tracker.model.errors import Conflict, Invalid

Status = Literal["Active", "Terminating", "Terminated", "Failed", "Unknown"]
STATUSES: tuple[str, ...] = get_args(Status)
LIVE: tuple[str, ...] = ("Active", "Failed", "Unknown")

DeploymentType = Literal[
    "LocalDocker",
    "LocalKubernetes",
    "LocalHypervisor",
    "AwsEc2",
    "GcpGce",
    "AzureVm",
    "DigitalOceanDroplet",
    "VultrInstance",
    "AwsEks",
    "GcpGke",
    "AzureAks",
    "DigitalOceanDoks",
    "VultrVke",
    "LambdaLabsInstance",
    "RunPodInstance",
    "VastAiInstance",
    "CoreWeaveWorkload",
    "PaperspaceMachine",
    "FluidstackServer",
    "TensorDockServer",
    "AkashLease",
    "IoNetCluster",
    "PrimeIntellectPod",
    "RenderDispersedNode",
    "BittensorLiumMiner",
    "HetznerServer",
    "CrusoeVm",
    "SshRemote",
    "BareMetal",
]
DEPLOYMENT_TYPES: tuple[str, ...] = get_args(DeploymentType)

State = Literal["unseen", "present", "leaving", "gone", "kept"]
EventType = Literal[
    "registered",
    "amended",
    "moved",
    "expiring",
    "extended",
    "held",
    "unheld",
    "planned",
    "terminating",
    "resource_gone",
    "cleanup_succeeded",
    "cleanup_failed",
    "cleanup_paused",
    "quarantined",
    "forgotten",
    "resurrected",
]
EVENT_TYPES: tuple[str, ...] = get_args(EventType)
OUTCOMES: frozenset[str] = frozenset({"cleanup_succeeded", "cleanup_failed"})

# The class of an error decides how often a failed round is tried again (docs/architecture.md).
ErrorClass = Literal[
    "missing_id",
    "bad_id",
    "protected",
    "not_ours",
    "unproven",
    "plan_changed",
    "credentials",
    "unreachable",
    "deadline",
    "workflow",
]
CANT_MEND_ITSELF: frozenset[str] = frozenset({"missing_id", "bad_id", "protected", "not_ours", "unproven"})

KEY_MAX = 1024
EVENTS_KEPT = 100
RESOURCES_MAX = 200
ERROR_TEXT_MAX = 2048
EVENT_DETAIL_MAX = 1024
# The bytes of what a resource says of its state.
RESOURCE_DETAIL_MAX = 512


class QosParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The quality of service that was requested for the deployment. It is recorded, and the tracker never acts on it."""

    priority: float | None = None
    sla_target: float | None = None
    reliability_multiplier: float | None = None


class ResourceSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The size that was requested: virtual CPUs, gigabytes of memory and of storage, GPUs."""

    cpu: float = 2.0
    memory_gb: float = 4.0
    storage_gb: float = 20.0
    gpu_count: int | None = None
    allow_spot: bool = False
    qos: QosParameters | None = None


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cost of a deployment per hour, as the caller said it. The tracker looks up no price and guesses none."""

    amount: float
    currency: str


class Hold(msgspec.Struct, frozen=True):
    """A hold: until its end neither time nor a call begins a cleanup. Its times are RFC 3339 in UTC."""

    reason: str
    by: str
    at: str
    until: str


class Resource(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that must be gone. Plans and receipts list it in the same form.

    `place` says where it is (account, region, engine, host ...) and never holds a secret. All resources of a lower `stage` must
    be gone before those of a higher one are deleted. `named_by` is the key of `resource_ids` that names it, empty if it was only
    discovered. `seen` says that it was once seen present. `absent` counts the looks in a row that didn't find it, including that
    of its discovery. `asked_in` is the round in which its deletion was last requested. `proof` and `gone_at` say what proved it
    gone, and when. `never_seen` marks one that counts as gone though nobody ever saw it, so that a mistyped id doesn't read like
    a success. If it is kept, `detail` says why.
    """

    kind: str
    id: str
    place: dict[str, str] = {}
    stage: int = 0
    named_by: str = ""
    state: State = "unseen"
    seen: bool = False
    absent: int = 0
    asked_in: int = 0
    never_seen: bool = False
    detail: str = ""
    proof: str = ""
    gone_at: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """The kind and the id, by which a resource is recognized when it is discovered again."""
        return (self.kind, self.id)

    @property
    def is_done(self) -> bool:
        """Return whether the cleanup has nothing left to do with the resource."""
        return self.state in ("gone", "kept")


class CleanupError(msgspec.Struct, frozen=True, rename={"error_class": "class"}):
    """The reason why a round failed. `round` is the number of that round, so that a later one can tell a stale error."""

    error_class: ErrorClass
    message: str
    at: str
    round: int = 0


class Cleanup(msgspec.Struct, frozen=True, omit_defaults=True):
    """The progress of the cleanup. Times are RFC 3339 in UTC.

    `failures` counts the failed rounds since someone last asked for the cleanup by hand: the gaps between rounds and the
    quarantine follow from it. `waited` are the seconds since `first_failed_at` in which a round was due and didn't begin, since the
    deployment was held or the brake was on: it wasn't tried then. `total_failures` counts all that ever failed. `looks` counts how often what was proven gone was looked
    at again. `plan` is the digest of the plan that the caller approved: nothing else may be deleted. `without_plan` says what was to become
    of the deployment when that plan was approved, and still is if another one is found: a cleanup without a plan (`retry`), none before
    someone looks at it (`quarantine`), or nothing but its end. `by_mark` says that the deployment
    was looked for by its mark, because ids were missing; `nothing_found_at` is when that first found nothing in this round.
    `renumbered` is the epoch second since which rounds are counted under a generation that may have had others of the same numbers.
    """

    round: int = 0
    reason: str = ""
    requested_by: str = ""
    requested_at: str | None = None
    deadline: str | None = None
    discovered_in: int = 0
    failures: int = 0
    total_failures: int = 0
    first_failed_at: str | None = None
    waited: int = 0
    last_error: CleanupError | None = None
    next_attempt_at: str | None = None
    quarantined: bool = False
    observed_at: str | None = None
    ended_at: str | None = None
    looks: int = 0
    by_mark: bool = False
    nothing_found_at: str | None = None
    plan: str = ""
    without_plan: Literal["", "retry", "quarantine"] = ""
    renumbered: int = 0

    @property
    def is_failing(self) -> bool:
        """Return whether a round failed and another is to come: also if its failures are counted anew since someone amended the record."""
        return self.failures > 0 or self.next_attempt_at is not None

    @property
    def has_met_error(self) -> bool:
        """Return whether the latest round has met an error already."""
        return self.last_error is not None and self.last_error.round == self.round


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One committed fact. `sequence` numbers the facts of a generation from 1, without gaps unless it was renumbered."""

    sequence: int
    type: EventType
    at: str
    status: Status
    round: int = 0
    detail: dict[str, Any] = {}


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """The record of what was deployed for one Blueprint service instance."""

    id: str
    blueprint_id: str
    deployment_type: DeploymentType
    provider: str | dict[str, str | list[str]] | None = None
    region: str | None = None
    resource_spec: ResourceSpec = ResourceSpec()
    resource_ids: dict[str, str | list[str]] = {}
    deployed_at: str
    ttl_seconds: int | None = None
    expires_at: str | None = None
    status: Status = "Active"
    cleanup_webhook: str | None = None
    metadata: dict[str, str] = {}
    owner: str | None = None
    labels: dict[str, str] = {}
    cost_per_hour: Price | None = None
    # Seconds before the end at which it is announced; None means the default (`model/moments.py`).
    warn_before: list[int] | None = None

    generation: str
    version: int = 0
    registered_by: str = ""
    registered_at: str
    # They identify the request that registered it: a hash of its content, and what says when it was made ("" if nothing does).
    fingerprint: str = ""
    made_at: str = ""
    incomplete: bool = False
    resources: list[Resource] = []
    cleanup: Cleanup = Cleanup()
    due_at: int | None = None
    webhook_events: list[str] = []
    hold: Hold | None = None
    # Warnings whose moment was by then (epoch seconds) are announced, or aren't any more.
    warned: int = 0
    sequence: int = 0
    events: list[Event] = []
    # The facts of the latest write alone, which the table's stream brings to be announced. It is stored as `news`.
    outbox: list[Event] = msgspec.field(default_factory=list, name="news")

    @property
    def is_live(self) -> bool:
        """Return whether it is Active, or Failed or Unknown, which callers say of a deployment that didn't start or can't be seen."""
        return self.status in LIVE


def renumbered(deployment: Deployment, now: datetime) -> Deployment:
    """Return a deployment whose generation may have had rounds and facts that its record doesn't know of: no name of theirs comes again.

    Facts are numbered on from the minutes since 1970: no deployment has had more of them than one a minute.
    """
    at = int(now.timestamp())
    cleanup = msgspec.structs.replace(deployment.cleanup, renumbered=at)
    return msgspec.structs.replace(deployment, sequence=max(deployment.sequence, at // 60), cleanup=cleanup)


def ids_named(deployment: Deployment, key: str) -> list[str]:
    """Return every id that the record names, or ever named, under a key of `resource_ids`, the current ones first."""
    current = _listed(deployment.resource_ids.get(key, []))
    former = [r.id for r in deployment.resources if r.named_by == key and r.id not in current]
    return current + former


def adds_ids_only(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Return whether a map of `resource_ids` still has every id of another, under the same keys."""
    return all(
        key in after and all(each in _listed(after[key]) for each in _listed(value)) for key, value in before.items()
    )


def only_adding(deployment: Deployment, field: str = "resource_ids") -> Conflict:
    """Return the error for an amendment of a record that isn't live, if the amendment does more than to add ids."""
    text = (
        f"{deployment.blueprint_id!r} is {deployment.status}: only ids may be added to it now, in resource_ids, under a key"
        " that the record lacks or to a list that keeps all it has. Anything else needs a registration of its own"
    )
    return Conflict(text, field=field, deployment=deployment)


def cleanup_failed(deployment: Deployment, field: str) -> Conflict:
    """Return the error for an amendment of the expiry or the key of a deployment whose cleanup has failed."""
    next_at = deployment.cleanup.next_attempt_at
    text = (
        f"{field} can't change, since the cleanup of {deployment.blueprint_id!r} has begun and failed. "
        f"{f'It is tried again at {next_at}' if next_at else 'It is not tried again by itself'}; "
        "DELETE tries it at once, and POST .../forget ends the record without it"
    )
    return Conflict(text, field=field, deployment=deployment)


def outcome_of(resources: list[Resource]) -> dict[str, int]:
    """Return how many resources are in each state. One that is gone and was never seen counts as `never_seen`, not as `gone`."""
    return dict(Counter("never_seen" if resource.never_seen else resource.state for resource in resources))


def _listed(value: str | list[str]) -> list[str]:
    return list(value) if isinstance(value, list) else [value]


def parse_time(text: str) -> datetime:
    """Parse RFC 3339 with up to nine decimals, of which six are used. ValueError if the text isn't RFC 3339."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or len(text) < len("2024-01-01T00:00:00Z"):
        raise ValueError(text)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(text) from None


def format_time(moment: datetime) -> str:
    """Return a time as RFC 3339 in UTC, with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch(moment: datetime) -> int:
    """Return the whole seconds since 1970, rounded up, so never before the moment itself."""
    return math.ceil(moment.timestamp())


def expiry(deployment: Deployment) -> int | None:
    """Return the epoch seconds at which a deployment expires, None if it never does."""
    return epoch(parse_time(deployment.expires_at)) if deployment.expires_at else None


def clipped(text: str, limit: int = ERROR_TEXT_MAX) -> str:
    """Return a text cut to at most `limit` UTF-8 bytes, never inside a character."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return text
    return raw[: limit - 3].decode("utf-8", "ignore") + "..."


def printable(text: str) -> str:
    """Return a text with a blank for each character that can't be seen: controls, and what turns the direction of others."""
    return "".join(c if c.isprintable() else " " for c in text)


def encode_key(key: str) -> str:
    """Return a key as one path segment: as it is, or as `~` and base64url if a gateway would misroute it."""
    # "." and ".." are path segments of their own: clients and gateways resolve them.
    if key.strip(".") and all((c.isalnum() and c.isascii()) or c in "-._" for c in key):
        return key
    return "~" + base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decode_key(segment: str) -> str:
    """Return the key that a path segment (already percent-decoded) stands for. Invalid if it stands for none."""
    if not segment.startswith("~"):
        return segment
    encoded = segment[1:]
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        return raw.decode()
    except (binascii.Error, ValueError) as error:
        raise Invalid("blueprint_id", segment, "a key, or '~' and its base64url form") from error
