"""What the engine and the deployment types promise each other.

A deployment type is a module with `discover(deployment, settings) -> list[Resource]` and `KINDS`, a mapping
from the kind of a resource to how one such thing goes. The engine calls them; they never call it. What
a provider's answer means is said by returning or by raising one of the exceptions below; anything else that
is raised counts as `Unreachable`: tried again, never taken for gone.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from tracker.deployment import Deployment, ErrorClass, Resource
from tracker.settings import Settings


class Look(msgspec.Struct, frozen=True):
    """What a provider's own read says of a resource.

    For "gone", `proof` says which read proved it ("DescribeInstances: terminated"). `unproven` marks a
    not-found for which neither the record nor a setting vouches that it was asked in the right place: the
    engine takes it for gone only if the resource was once seen. `place` adds what was learned of where the
    resource is, and is kept on it. `failure` says that a deletion which had been accepted has failed since: one of the
    round's attempts, told once, since the resource is present again.
    """

    state: Literal["present", "leaving", "gone"]
    proof: str = ""
    detail: str = ""
    unproven: bool = False
    place: dict[str, str] = {}
    failure: str = ""


class Refused(Exception):
    """No retry can mend it: ends the round with this class. The text names the resource and what to do."""

    def __init__(self, error_class: ErrorClass, message: str) -> None:
        super().__init__(message)
        self.error_class: ErrorClass = error_class


class Busy(Exception):
    """Not now: in use, in progress, or throttled. Asked again after at least so many seconds; no attempt spent."""

    def __init__(self, message: str, retry_after: float = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unreachable(Exception):
    """The provider didn't answer, or not in a way that can be read: one of the round's attempts."""


class Kind(Protocol):
    """How one kind of resource goes. Each call has a timeout and may be repeated without harm.

    Implement it as a small class with these two methods, and `one_at_a_time = True` if within a stage only
    one may be leaving at once.
    """

    @property
    def one_at_a_time(self) -> bool: ...

    def state(self, resource: Resource, settings: Settings) -> Look:
        """Read it. A name that now belongs to something else is gone, or a refusal, never deleted."""
        ...

    def delete(self, resource: Resource, settings: Settings) -> None:
        """Ask for its deletion; already gone is success."""
        ...


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What docs/deployment-types.md says of a type besides its catalogue entry: sentences and lists for operators."""

    credentials: str
    permissions: tuple[str, ...]
    # A line for each stage, first to last.
    order: tuple[str, ...]
    gone: str
    duration: str
    limits: str
    sources: str


class DeploymentTypeModule(Protocol):
    """What a deployment type's file holds."""

    KINDS: Mapping[str, Kind]
    FACTS: Facts

    def discover(self, deployment: Deployment, settings: Settings) -> list[Resource]:
        """Look up everything that belongs to it, before anything is deleted.

        Always holds each id that the record names (`ids_named`), found or not, with the stage in which it must go.
        What only was found, and isn't ours to delete, has the state "kept" and says why in `detail`.
        Refused, if the main resource isn't ours, or an id is missing or malformed.
        """
        ...
