"""What a deployment is: pure data and what follows from it alone.

Everything else points here; this module knows no store, no cloud and no clock. The field names are the
Rust tracker's JSON names, so that a record of its can be posted as it is.
"""

import base64
import binascii
import math
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import msgspec

from tracker.errors import Invalid

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
    "planned",
    "terminating",
    "resource_gone",
    "cleanup_succeeded",
    "cleanup_failed",
    "cleanup_paused",
    "quarantined",
    "forgotten",
]
EVENT_TYPES: tuple[str, ...] = get_args(EventType)
OUTCOMES: frozenset[str] = frozenset({"cleanup_succeeded", "cleanup_failed"})

# Of an error's class decides how often a failed round is tried again (docs/architecture.md).
ErrorClass = Literal[
    "missing_id",
    "bad_id",
    "protected",
    "not_ours",
    "unproven",
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


class QosParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Quality of service that the deployment was asked for; kept, never acted on."""

    priority: int | None = None
    sla_target: float | None = None
    reliability_multiplier: float | None = None


class ResourceSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The size that was asked for: virtual CPUs, gigabytes of memory and storage, GPUs."""

    cpu: float = 2.0
    memory_gb: float = 4.0
    storage_gb: float = 20.0
    gpu_count: int | None = None
    allow_spot: bool = False
    qos: QosParameters | None = None


class Resource(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that must be gone: plain data, also the plan's line and the receipt's.

    `place` says where it is (account, region, engine, host ...), never a secret. Resources of a lower
    `stage` must be gone before a higher one begins. `named_by` is the key of `resource_ids` that names it,
    empty when it was only discovered. `seen` says that it was once seen present. `proof` is what proved it
    gone, `gone_at` when; of one that is kept, `detail` says why.
    """

    kind: str
    id: str
    place: dict[str, str] = {}
    stage: int = 0
    named_by: str = ""
    state: State = "unseen"
    seen: bool = False
    detail: str = ""
    proof: str = ""
    gone_at: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same resource when it is discovered again."""
        return (self.kind, self.id)

    @property
    def is_done(self) -> bool:
        """Whether the cleanup has nothing left to do with it."""
        return self.state in ("gone", "kept")


class CleanupError(msgspec.Struct, frozen=True, rename={"error_class": "class"}):
    """Why a round failed; `round` tells a stale one."""

    error_class: ErrorClass
    message: str
    at: str
    round: int = 0


class Cleanup(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far the cleanup is. Times are RFC 3339 in UTC."""

    round: int = 0
    reason: str = ""
    requested_by: str = ""
    requested_at: str | None = None
    deadline: str | None = None
    discovered_in: int = 0
    failures: int = 0
    first_failed_at: str | None = None
    last_error: CleanupError | None = None
    next_attempt_at: str | None = None
    quarantined: bool = False
    observed_at: str | None = None
    ended_at: str | None = None


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One committed fact. `sequence` counts the facts of a generation from 1, without gaps."""

    sequence: int
    type: EventType
    at: str
    status: Status
    round: int = 0
    detail: dict[str, Any] = {}


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What was deployed for one Blueprint service instance."""

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

    generation: str
    version: int = 0
    registered_by: str = ""
    registered_at: str
    # Of the request that registered it: its content, and what says when it was made ("" if nothing does).
    fingerprint: str = ""
    made_at: str = ""
    incomplete: bool = False
    resources: list[Resource] = []
    cleanup: Cleanup = Cleanup()
    due_at: int | None = None
    webhook_events: list[str] = []
    sequence: int = 0
    events: list[Event] = []
    news: list[Event] = []

    @property
    def is_live(self) -> bool:
        """Active, or what a caller said of one that didn't start or can't be seen."""
        return self.status in LIVE


def ids_named(deployment: Deployment, key: str) -> list[str]:
    """Every id that the record names, or ever named, under a key of `resource_ids`: current ones first."""
    value = deployment.resource_ids.get(key, [])
    current = [value] if isinstance(value, str) else list(value)
    former = [r.id for r in deployment.resources if r.named_by == key and r.id not in current]
    return current + former


def parse_time(text: str) -> datetime:
    """Read RFC 3339 with up to nine decimals, the last three of them dropped. ValueError if it isn't that."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or len(text) < len("2024-01-01T00:00:00Z"):
        raise ValueError(text)
    return moment.astimezone(UTC)


def format_time(moment: datetime) -> str:
    """Write RFC 3339 in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch(moment: datetime) -> int:
    """Whole seconds since 1970, rounded up: never before the moment itself."""
    return math.ceil(moment.timestamp())


def expiry(deployment: Deployment) -> int | None:
    """Epoch seconds at which its time is over, None if never."""
    return epoch(parse_time(deployment.expires_at)) if deployment.expires_at else None


def lifetime(deployment: Deployment) -> timedelta | None:
    """From `deployed_at` to `expires_at`, None if it has no end."""
    if deployment.expires_at is None:
        return None
    return parse_time(deployment.expires_at) - parse_time(deployment.deployed_at)


def clipped(text: str, limit: int = ERROR_TEXT_MAX) -> str:
    """Cut a text to that many UTF-8 bytes, never inside a character."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return text
    return raw[: limit - 3].decode("utf-8", "ignore") + "..."


def encode_key(key: str) -> str:
    """A key as one path segment: itself, or `~` and base64url where a gateway would misroute it."""
    # "." and ".." are path segments of their own: clients and gateways resolve them.
    if key.strip(".") and all((c.isalnum() and c.isascii()) or c in "-._" for c in key):
        return key
    return "~" + base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decode_key(segment: str) -> str:
    """The key that a path segment (already percent-decoded) stands for. Invalid if it is none."""
    if not segment.startswith("~"):
        return segment
    encoded = segment[1:]
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        return raw.decode()
    except (binascii.Error, ValueError) as error:
        raise Invalid("blueprint_id", segment, "a key, or '~' and its base64url form") from error
