"""This is what a deployment type's test brings along for the conformance suite: a place to clean up, which can be bent.

A type's test file (`tests/cleanup/providers/<platform>/test_<type>.py`) holds `TARGETS`, a list of subclasses of `Target`: the stand-in or
emulator that is always there, and, where it can be had, the real thing (`is_real`). `HttpTarget` has what all HTTP stand-ins share.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import boto3
import pytest

from tests.standin import Fault, Reply, Request, StandIn
from tracker.cleanup.core.contract import Finder
from tracker.cleanup.transport.rest import client
from tracker.model.catalogue import entry
from tracker.model.settings import Settings

Evidence = Literal["real", "engine", "emulator", "contract"]
When = Literal["look", "delete"]
# How one read of a find fails, if it isn't answered from a page that is whole.
BREAKS = ("server-error", "refused", "reset", "hung", "cut")
type Key = tuple[str, str]

# What the suite tries. The ids are those of `make matrix`.
FAULTS: dict[str, str] = {
    "deleted": "everything that is the deployment's is deleted and proven gone, the rest is kept",
    "already-gone": "what was gone already is a success, and nothing is asked to go",
    "appears-late": "what the provider shows only at the third look isn't taken for gone before, and goes with all that hangs on it",
    "again": "a second cleanup of the same thing changes nothing",
    "missing-id": "a needed id that is missing is a refusal, and no call is made",
    "malformed-id": "a malformed id is a refusal, and no call is made",
    "denied": "401 and 403 are a refusal of class credentials",
    "bad-credential": "not found, to a credential that isn't valid, isn't gone",
    "wrong-place": "not found in another place than where it is isn't gone",
    "other-account": "not found in another account isn't gone, and nothing is asked to go there",
    "not-ours": "what isn't ours is a refusal, and stays",
    "other-one": "another thing that has the name now is let alone",
    "in-progress": "a deletion that can't be begun yet waits, and no attempt is spent",
    "throttled": "a throttle waits for as long as it says, and no attempt is spent",
    "server-error": "5xx is an attempt, not gone",
    "refused": "a refused connection is an attempt, not gone",
    "reset": "a reset connection is an attempt, not gone",
    "hung": "an answer that never comes is an attempt, not gone",
    "cut": "an answer that is cut short is an attempt, not gone",
    "never-ends": "a deletion that was accepted and never ends is refused at the deadline, naming the resource",
    "false-success": "a failure inside a 200, or inside an operation that is done, is a failure",
    "protected": "what is protected is a refusal, and stays",
    "order": "dependents go in their order",
    "stuck": "one dependent that won't go is named, and the others are gone",
    "half-done": "a second round knows what the first knew, though its parent is gone",
    "discreet": "nothing of a credential is in a log, a record or an error, even if the provider quotes it",
    "finds-marked": "what carries a generation's mark is found, dependents too, and nothing else; it can be cleaned up by its ids",
    "finds-any": "what carries any mark is found, each with its own",
    "finds-every-page": "what is on a later page is found",
    "find-cut": "a list that isn't read to its end isn't nothing",
    "find-throttled": "a throttle of a list waits for as long as it says, and isn't nothing",
    "find-denied": "401 and 403 to a list are a refusal of class credentials, not nothing",
    "find-other-account": "nothing is found for another account: it is a refusal, and not nothing",
}
# Those of a type that looks for marks. They can't be tried of one that doesn't.
FINDING = [name for name in FAULTS if name.startswith("find")]
CANT_FIND = "the type doesn't look for marks, as it says itself"


@dataclass(frozen=True)
class Made:
    """A deployment that someone made on a target, with all that can hang on one.

    `main` is the key (kind, id) of its main resource, `ours` are those that have to go, main included, in an order in which they
    may, `kept` those that have to stay. `ids` is the record's `resource_ids`, the rest of the record's beside it.
    """

    main: Key
    ours: list[Key]
    kept: list[Key]
    ids: dict[str, str | list[str]]
    metadata: dict[str, str] = field(default_factory=dict)
    region: str | None = None


class Target:
    """One place where one deployment type is cleaned up.

    Each test makes a new one, enters it, and leaves it. `na` says of each fault that can't be why: a sentence for people.
    """

    deployment_type: ClassVar[str]
    # The name in a test's id, if it isn't the type's.
    label: ClassVar[str] = ""
    evidence: ClassVar[Evidence]
    is_real: ClassVar[bool] = False
    na: ClassVar[dict[str, str]] = {}
    # Why lists come in one piece here, if they do.
    unpaged: ClassVar[str] = ""
    # The ids that can't be made on it, and why.
    unmade: ClassVar[dict[str, str]] = {}
    # What must never be seen: the credential's texts.
    secrets: tuple[str, ...] = ()
    # Where secrets are put, if not in this process's own.
    secrets_manager: Any = None
    settings: Settings

    def __init__(self, request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> None:
        self.request = request
        self.patch = patch
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._stack.close()

    @classmethod
    def module(cls) -> Any:
        """The file of its type."""
        return import_module(f"tracker.cleanup.providers.{entry(cls.deployment_type).module}")

    @classmethod
    def reasons(cls) -> dict[str, str]:
        """The faults that can't be, each with why: `na`, and those of a find if the type has none."""
        if not isinstance(cls.module(), Finder):
            return cls.na | dict.fromkeys(FINDING, CANT_FIND)
        also = {"find-other-account": cls.na["other-account"]} if "other-account" in cls.na else {}
        return also | cls.na

    @cached_property
    def own_folder(self) -> Path:
        """A folder of its own: several targets may be up at once."""
        made: Path = self.request.getfixturevalue("tmp_path_factory").mktemp(self.deployment_type)
        return made

    def put_secret(self, name: str, **content: str) -> str:
        """Put a secret where the tracker reads it, and say its name."""
        client = self.secrets_manager or boto3.client("secretsmanager")
        client.create_secret(Name=name, SecretString=json.dumps(content))
        return name

    def start(self) -> None:
        """Bring it up, and set `settings` so that they lead to it."""
        raise NotImplementedError

    def parameters(self) -> dict[str, str]:
        """Parameters of the template, by which a whole stack reaches it, besides what `settings` say."""
        return {}

    def stop(self) -> None:
        """Take it down, with all that is left on it; fail, if anything was called that its contract doesn't allow."""

    def make(self) -> Made:
        """Make a deployment with all that can hang on one. Called once in most tests, twice in some."""
        raise NotImplementedError

    def left(self) -> set[Key]:
        """The keys of everything that is there, whoever's it is."""
        raise NotImplementedError

    def asked(self) -> list[Key]:
        """The keys of what was asked to go since `forget`, in order; asked again counts again."""
        raise NotImplementedError

    def contacts(self) -> int:
        """Return how many calls, connections or the like came since `forget`, of any sort."""
        raise NotImplementedError

    def forget(self) -> None:
        """Count from here."""
        raise NotImplementedError

    def vanish(self, made: Made) -> None:
        """All of `ours` is deleted by someone's hand."""
        raise NotImplementedError

    def hide(self, made: Made, looks: int) -> None:
        """The next so many looks at the main resource find nothing, as right after it was made; then it shows."""
        raise NotImplementedError

    def wait(self, seconds: float) -> None:
        """Time passes: what is leaving gets on."""

    # What carries a mark. A target of a type that has `find` must have these

    def where(self, made: Made) -> dict[str, str | list[str]]:
        """Those of a record's ids that name no resource, and only say where it is."""
        ids = entry(self.deployment_type).ids
        return {key: value for key, value in made.ids.items() if not ids[key].kind}

    def put_mark(self, made: Made, generation: str) -> list[Key]:
        """Put the mark of a generation on its main resource, and on each dependent that can carry one; return the keys of all of them."""
        raise NotImplementedError

    def crowd(self, number: int, generation: str | None = None) -> list[Key]:
        """Make so many more things of the main kind in the same place, unmarked or marked; return their keys."""
        raise NotImplementedError

    def sought(self, made: Made) -> Made:
        """The same, as a record without ids has it: where its place is known from ids, something else has to name that."""
        return made

    def reads(self) -> dict[str, int]:
        """The reads since `forget`, and how often each was made. `failing` takes one as `when`, and breaks it alone."""
        return {"look": 1}

    def breaks(self, times: int) -> tuple[str, ...]:
        """Return how a read of a find that is made so often can fail, as the names of `failing`."""
        return BREAKS

    def throttled_read(self, read: str, seconds: int) -> AbstractContextManager[object]:
        """One of `reads` is throttled, for so many seconds."""
        raise NotImplementedError

    # How it is bent, where `na` doesn't say that it can't be

    def misplaced(self, made: Made) -> Made:
        """The same, as a record has it that names another place."""
        raise NotImplementedError

    def disown(self, made: Made) -> None:
        """Its main resource isn't ours any more."""
        raise NotImplementedError

    def replace(self, made: Made) -> None:
        """Its main resource goes, and another one gets its name: it stays in `left` under the same key."""
        raise NotImplementedError

    def protect(self, made: Made) -> None:
        """Its main resource can't be deleted until someone lifts that."""
        raise NotImplementedError

    def lose_credential(self, made: Made) -> AbstractContextManager[object]:
        """The credential isn't valid, and the provider answers as it does then, be it "not found"."""
        raise NotImplementedError

    def change_account(self, made: Made) -> AbstractContextManager[object]:
        """The credential is for another account, where nothing of this is."""
        raise NotImplementedError

    def failing(self, fault: str, when: str) -> AbstractContextManager[object]:
        """Calls that look, or that ask for a deletion, or one of `reads`, fail: "denied", "server-error", "refused", "reset", "hung", "cut"."""
        raise NotImplementedError

    def denials(self) -> list[str]:
        """The ways in which `failing("denied")` denies; each is tried with `failing("denied:<way>")`."""
        return ["401", "403"]

    def busy(self, made: Made, times: int) -> AbstractContextManager[object]:
        """Deletions of the main resource are answered so many times as the provider does while another operation runs."""
        raise NotImplementedError

    def throttled(self, seconds: int, times: int) -> AbstractContextManager[object]:
        """So many deletions are throttled, for so many seconds each."""
        raise NotImplementedError

    def stuck(self, made: Made, key: Key) -> AbstractContextManager[object]:
        """This resource accepts its deletion and stays."""
        raise NotImplementedError

    def false_success(self, made: Made) -> AbstractContextManager[object]:
        """The deletion of the main resource is answered with success, and fails."""
        raise NotImplementedError

    def dependent(self, made: Made) -> Key:
        """One of `ours` that isn't the main resource, and goes after it."""
        return next(key for key in reversed(made.ours) if key != made.main)


class HttpTarget(Target):
    """One whose stand-in is a `StandIn`: what fails of HTTP is the same for all.

    `deleting` is the method (regular expression) and the path of calls that ask for a deletion, `looking` of those that read.
    `error(status, text)` is a failure in the provider's own words.
    """

    server: StandIn
    deleting: ClassVar[tuple[str, str]] = ("DELETE", "")
    looking: ClassVar[tuple[str, str]] = ("GET", "")

    def error(self, status: int, text: str) -> Reply:
        """A failure as the provider words it."""
        raise NotImplementedError

    def key_of(self, call: Request) -> Key | None:
        """The key of what a call asks to go, None if it asks for no deletion."""
        raise NotImplementedError

    def stop(self) -> None:
        self.server.stop()
        assert self.server.violations == [], self.server.violations

    def asked(self) -> list[Key]:
        return [key for call in self.server.calls if (key := self.key_of(call))]

    def contacts(self) -> int:
        return len(self.server.calls)

    def forget(self) -> None:
        self.server.calls.clear()

    def reads(self) -> dict[str, int]:
        method, path = self.looking
        calls = [call for call in self.server.calls if re.fullmatch(method, call.method) and re.search(path, call.path)]
        return dict(Counter(map(str, calls)))

    def breaks(self, times: int) -> tuple[str, ...]:
        return (*BREAKS, "empty", *(("circle", "later") if times > 1 and not self.unpaged else ()))

    @contextmanager
    def throttled_read(self, read: str, seconds: int) -> Iterator[None]:
        with self.server.failing(Fault("answer", *_call(read), self._throttle(seconds))):
            yield

    @contextmanager
    def failing(self, fault: str, when: str) -> Iterator[None]:
        calls = {"look": self.looking, "delete": self.deleting}
        method, path = calls[when] if when in calls else _call(when)
        if fault == "refused":
            # A deletion is refused once the look before it was answered: as if the provider went down in between.
            if when == "look":
                self.server.stop()
                yield
                self.server.start()
                return
            fault = "reset"
        kind, _, way = fault.partition(":")
        match kind:
            case "denied":
                found = Fault("answer", method, path, self.error(int(way), "denied"))
            case "server-error":
                found = Fault("answer", method, path, lambda request: self.error(503, f"broken {_quoted(request)}"))
            case "hung":
                found = Fault("hang", method, path)
            case "reset":
                found = Fault("reset", method, path)
            case "cut":
                found = Fault("cut", method, path)
            case "empty":
                found = Fault("answer", method, path, Reply(200, {}))
            case "circle" | "later":
                found = Fault("answer", method, path, _after_the_first(self, kind))
            case _:
                raise ValueError(fault)
        with self.server.failing(found), pytest.MonkeyPatch.context() as patch:
            if kind == "hung":
                self.hasten(patch)
            yield

    def hasten(self, patch: pytest.MonkeyPatch) -> None:
        """Make the limits of time short that calls have, so that a test of them is: no longer than the fault lasts."""
        patch.setattr(client, "READ_TIMEOUT", 0.4)

    @contextmanager
    def throttled(self, seconds: int, times: int) -> Iterator[None]:
        with self.server.failing(Fault("answer", *self.deleting, self._throttle(seconds), times=times)):
            yield

    def _throttle(self, seconds: int) -> Reply:
        reply = self.error(429, "too many requests")
        return Reply(reply.status, reply.body, {**reply.headers, "Retry-After": str(seconds)})


def _call(read: str) -> tuple[str, str]:
    """The method and the path, as a fault has them, of a call that `reads` names."""
    method, path = read.split(" ")
    return method, f"^{re.escape(path)}$"


def _after_the_first(target: HttpTarget, kind: str) -> Callable[[Request], Reply]:
    """Return what answers a list's first page as ever, and then the same page again and again, or with an error."""
    first: list[Reply] = []

    def answer(request: Request) -> Reply:
        if not first:
            first.append(target.server.handle(request))
            return first[0]
        return first[0] if kind == "circle" else target.error(503, "no further page")

    return answer


def _quoted(request: Request) -> str:
    """Return what a careless provider says of a request: its credential, too."""
    return " ".join(
        value for name, value in request.headers.items() if re.search("auth|key|token|cookie", name, re.IGNORECASE)
    )


def served(module: Any) -> list[type[Target]]:
    """The targets that a test file brings along."""
    found: list[type[Target]] = getattr(module, "TARGETS", [])
    return found
