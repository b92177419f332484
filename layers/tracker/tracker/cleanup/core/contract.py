"""The contract between the engine and the deployment types.

A deployment type is a module with `discover(deployment, settings) -> list[Resource]` and `KINDS`, a mapping from the
kind of a resource to an object that reads and deletes one such resource (`kind.py`). The engine calls them; they
never call it. A type tells what a provider's answer means by what it returns, or by raising one of the exceptions
below. Anything else that is raised counts as `Unreachable`: it is tried again, and never taken for gone.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol, runtime_checkable

import msgspec

from tracker.model.deployment import Deployment, ErrorClass, Resource
from tracker.model.settings import Settings

# The key of a resource's place that says by which mark of the deployment it was found: so it is the deployment's.
MARKED = "mark"
Progress = Literal["present", "leaving", "gone"]


class Observation(msgspec.Struct, frozen=True):
    """The state of a resource, as the provider's own read shows it.

    `proof` names the read that proved a resource gone ("DescribeInstances: terminated"). `described` says that the provider
    still describes the one that is gone; else it is a not-found, which the engine believes only once it can't be the
    provider's delay in showing what was just made. `unproven` marks a
    not-found of which neither the record nor a setting says that it was asked for in the right place: the engine
    accepts it only for a resource that was seen before. `place` adds what was learned of where the resource is, and is
    kept on it. `failure` says that a deletion failed after the provider had accepted it: the engine counts it as one of
    the round's attempts. It is reported once, since the resource is present again. `same` says that what is there is certainly the
    resource of the record, and not a later one of its id: only then can it be back after it was proven gone.
    """

    state: Progress
    proof: str = ""
    detail: str = ""
    described: bool = False
    unproven: bool = False
    place: dict[str, str] = {}
    failure: str = ""
    same: bool = False


class Found(msgspec.Struct, frozen=True):
    """A resource that carries a deployment's mark, as its provider lists it.

    `key` is the key of `resource_ids` that would name it, empty if it is a dependent that no record names. `mark` is the value that
    it carries: a generation, or the first 12 hex digits of one where the mark is a name. `made_at` is the time at which the provider
    says that it was made (RFC 3339), None if it doesn't say.
    """

    resource: Resource
    key: str
    mark: str
    made_at: str | None = None


class Refused(Exception):
    """No retry can help: the round ends with this class. The text names the resource, and what to do."""

    def __init__(self, error_class: ErrorClass, message: str) -> None:
        super().__init__(message)
        self.error_class: ErrorClass = error_class


class Busy(Exception):
    """The provider can't do it now: the resource is in use, an operation runs, or calls are throttled.

    The engine asks again after at least `retry_after` seconds. No attempt is spent.
    """

    def __init__(self, message: str, retry_after: float = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unreachable(Exception):
    """The provider didn't answer, or its answer can't be read: one of the round's attempts is spent."""


class Stuck(Unreachable):
    """The resource can't go where it is, though the provider of that place answers: in a cluster that fails, say.

    An attempt is spent on it. The next time in the same round, a kind that is `Dispensable` lets the resource be.
    """


class ResourceKind(Protocol):
    """This is how the engine reads and deletes one kind of resource. `kind.Kind` is the base class that does both safely.

    Each call has a time limit and may be repeated without harm. If `one_at_a_time` is set, the engine lets only one
    resource of this kind leave at once within a stage. `settles_in` are the seconds for which the provider may still answer
    "not found" for what exists; 0 if its reads are consistent. Unless `asks_again` is false, each new round requests the
    deletion once more, though it is under way: the provider may have dropped it.
    """

    @property
    def one_at_a_time(self) -> bool: ...

    @property
    def settles_in(self) -> int: ...

    @property
    def asks_again(self) -> bool: ...

    def state(self, resource: Resource, settings: Settings) -> Observation:
        """Read it. A name that belongs to another resource now is gone, or a refusal, and is never deleted."""
        ...

    def delete(self, resource: Resource, settings: Settings) -> None:
        """Request its deletion; that it is gone already is success."""
        ...


@runtime_checkable
class Dispensable(Protocol):
    """A kind whose resources go with what holds them, in a later stage, so that one that is stuck mustn't hold that up for ever."""

    def patience(self, resource: Resource) -> float:
        """Return the share of a round's time for which later stages wait for the resource; 1: they wait for ever.

        They wait all of the first round. After it the resource is kept, and its detail says what it waited for.
        """
        ...


class OperatorNotes(msgspec.Struct, frozen=True, kw_only=True):
    """The sentences and lists that docs/deployment-types.md has of a type, besides its catalogue entry."""

    credentials: str
    permissions: tuple[str, ...]
    # A line for each stage, first to last.
    order: tuple[str, ...]
    gone: str
    duration: str
    limits: str
    sources: str


class DeploymentTypeModule(Protocol):
    """The members of a deployment type's file."""

    KINDS: Mapping[str, ResourceKind]
    NOTES: OperatorNotes

    def discover(self, deployment: Deployment, settings: Settings) -> list[Resource]:
        """Look up every resource of a deployment, before anything is deleted.

        The result holds each id that the record names, found or not, with the stage in which it must go. A resource
        that was only found, and isn't the deployment's to delete, has the state "kept", and its `detail` says why.
        Raises Refused if the main resource isn't the deployment's, or an id is missing or malformed.
        """
        ...


@runtime_checkable
class Finder(Protocol):
    """A deployment type that can look for what carries a mark. Its catalogue entry says how things are marked."""

    def find(self, deployment: Deployment, settings: Settings, generation: str | None) -> Iterable[Found]:
        """Yield what carries the mark of a generation in the deployment's place, or of any generation if it is None.

        `deployment` gives the place alone (region, metadata): its ids may be missing. All pages of all lists are read. Raises
        Refused (the credential may not look, or the account is another one), Busy or Unreachable if the place can't be seen: a
        list that is cut short is never taken for a whole one. A list may not show yet what was just made.
        """
        ...
