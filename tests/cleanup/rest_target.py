"""This is what the stand-ins of REST providers share: an account with things in it, which take a few looks to go."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from tests.conformance.target import HttpTarget, Key, Made
from tests.standin import Fault, StandIn
from tracker.intake.registration import parse_registration
from tracker.model.catalogue import entry
from tracker.model.deployment import Deployment
from tracker.model.marks import mark_of, name_prefix

# How many looks it takes until something that was asked to go is gone.
LOOKS = 2
# Why these can't be tried where a provider has no call that says whose a credential is. The type's own test shows `unproven`.
NO_ACCOUNT = {
    "already-gone": "no call says whose a credential is: what nobody saw is refused as unproven",
    "appears-late": "no call says whose a credential is: what nobody saw yet is refused as unproven",
    "again": "no call says whose a credential is: what nobody saw in a second life is refused as unproven",
    "other-account": "no call says whose a credential is: what nobody saw there is refused as unproven",
    "find-other-account": "no call says whose a credential is: another account can't be told",
}


@dataclass
class Thing:
    """Something that exists. `user` is the id of what it is attached to, `looks` counts down to its end once it was asked to go.

    One that `stays` never goes, whatever is asked.
    """

    body: dict[str, Any]
    user: str = ""
    looks: int | None = None
    stays: bool = False


class Account(StandIn):
    """An API with one token. All things are in the account HOME; `account` is whose the token is, if it is `valid`."""

    HOME: ClassVar[str]
    CONTRACT: ClassVar[Path]
    PUBLIC_URL: ClassVar[str]

    def __init__(self) -> None:
        self.things: dict[Key, Thing] = {}
        # How many looks won't show a thing yet, though it is there.
        self.hidden: dict[Key, int] = {}
        self.account = self.HOME
        self.valid = True
        super().__init__(contract=self.CONTRACT, public_url=self.PUBLIC_URL)

    def found(self, kind: str, id_: str) -> Thing | None:
        """Return what is there under an id, for this token."""
        thing = self.things.get((kind, id_)) if self.account == self.HOME and not self.hidden.get((kind, id_)) else None
        if thing and thing.looks is not None and thing.looks <= 0:
            del self.things[kind, id_]
            return None
        return thing

    def seen(self, kind: str, id_: str) -> Thing | None:
        """The same, looked at once more."""
        thing = self.found(kind, id_)
        self.missed(kind, id_)
        if thing and thing.looks is not None and not thing.stays:
            thing.looks -= 1
        return thing

    def missed(self, kind: str, id_: str) -> None:
        """A look that found nothing, of those that a hidden thing takes to show."""
        if self.hidden.get((kind, id_)):
            self.hidden[kind, id_] -= 1

    def all(self, kind: str) -> dict[str, Thing]:
        """Everything of a kind, by its id."""
        ids = [id_ for each, id_ in list(self.things) if each == kind]
        return {id_: thing for id_ in ids if (thing := self.found(kind, id_))}


class AccountTarget(HttpTarget):
    """A target whose stand-in is an `Account`. `elsewhere` is another account.

    Targets that are up at once share one: a stack has one URL for a provider, whatever types it has.
    """

    evidence = "contract"
    server: Account
    server_class: ClassVar[type[Account]]
    elsewhere: ClassVar[str]
    # The kinds that can carry a mark, and the member of a thing's body where it is.
    marked: ClassVar[Mapping[str, str]] = {}
    _running: ClassVar[dict[type[Account], Account]] = {}

    def start(self) -> None:
        running = self._running.get(self.server_class)
        self._is_first = running is None
        self._made = 0
        self.server = running or self._running.setdefault(self.server_class, self.server_class())

    def stop(self) -> None:
        if self._is_first:
            del self._running[self.server_class]
            super().stop()

    def record(self, ids: dict[str, str | list[str]], metadata: Mapping[str, str] | None = None) -> Deployment:
        """A registered record of the target's type."""
        raw = {"blueprint_id": "svc-1", "deployment_type": self.deployment_type, "resource_ids": ids}
        return parse_registration(
            raw | {"metadata": dict(metadata or {})},
            self.settings,
            now=datetime.now(UTC),
            registered_by="a test",
            generation=str(uuid4()),
        )

    def put_mark(self, made: Made, generation: str) -> list[Key]:
        found = [key for key in made.ours if key[0] in self.marked]
        for key in found:
            self.mark_thing(key, generation)
        return found

    def mark_thing(self, key: Key, generation: str) -> None:
        """Put a mark on a thing, as callers do, beside what it has there."""
        mark, body, at = (
            mark_of(entry(self.deployment_type), generation),
            self.server.things[key].body,
            self.marked[key[0]],
        )
        assert mark
        # Where a platform tags machines alone, the rest is marked by its label.
        if mark.by == "name" or at in ("name", "label"):
            body[at] = f"{name_prefix(generation)}-web"
        elif mark.key:
            body[at] = (body.get(at) or {}) | {mark.key: mark.value}
        else:
            body[at] = [*(body.get(at) or []), mark.value]

    def crowd(self, number: int, generation: str | None = None) -> list[Key]:
        kind = next(iter(self.marked))
        found = []
        for _ in range(number):
            self._made += 1
            id_, thing = self.another(self._made)
            found.append((kind, id_))
            self.server.things[found[-1]] = thing
            if generation is not None:
                self.mark_thing(found[-1], generation)
        return found

    def another(self, number: int) -> tuple[str, Thing]:
        """The id of one more thing, and the thing: of the main kind, different for each number from 1 to 99."""
        raise NotImplementedError

    def left(self) -> set[Key]:
        return {
            key for key, thing in self.server.things.items() if thing.stays or thing.looks is None or thing.looks > 0
        }

    def vanish(self, made: Made) -> None:
        for key in made.ours:
            self.server.things.pop(key, None)

    def hide(self, made: Made, looks: int) -> None:
        self.server.hidden[made.main] = looks

    @contextmanager
    def busy(self, made: Made, times: int) -> Iterator[None]:
        """As most providers answer. Where one has words of its own, its target says them."""
        method, path = self.deleting
        pending = self.error(HTTPStatus.CONFLICT, "another operation is in progress")
        with self.server.failing(Fault("answer", method, path or f"/{made.main[1]}/?$", pending, times=times)):
            yield

    @contextmanager
    def lose_credential(self, made: Made) -> Iterator[None]:
        self.server.valid = False
        yield
        self.server.valid = True

    @contextmanager
    def change_account(self, made: Made) -> Iterator[None]:
        self.server.account = self.elsewhere
        yield
        self.server.account = self.server.HOME

    @contextmanager
    def stuck(self, made: Made, key: Key) -> Iterator[None]:
        self.server.things[key].stays = True
        yield
        self.server.things[key].stays = False
