"""What the stand-ins of REST providers share: an account with things in it, which take a few looks to go."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tests.conformance.target import HttpTarget, Key, Made
from tests.standin import StandIn

# How many looks it takes until something that was asked to go is gone.
LOOKS = 2


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
        self.account = self.HOME
        self.valid = True
        super().__init__(contract=self.CONTRACT, public_url=self.PUBLIC_URL)

    def found(self, kind: str, id_: str) -> Thing | None:
        """What is there under an id, for this token."""
        thing = self.things.get((kind, id_)) if self.account == self.HOME else None
        if thing and thing.looks is not None and thing.looks <= 0:
            del self.things[kind, id_]
            return None
        return thing

    def seen(self, kind: str, id_: str) -> Thing | None:
        """The same, looked at once more."""
        thing = self.found(kind, id_)
        if thing and thing.looks is not None and not thing.stays:
            thing.looks -= 1
        return thing

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
    _running: ClassVar[dict[type[Account], Account]] = {}

    def start(self) -> None:
        running = self._running.get(self.server_class)
        self._is_first = running is None
        self.server = running or self._running.setdefault(self.server_class, self.server_class())

    def stop(self) -> None:
        if self._is_first:
            del self._running[self.server_class]
            super().stop()

    def left(self) -> set[Key]:
        return {
            key for key, thing in self.server.things.items() if thing.stays or thing.looks is None or thing.looks > 0
        }

    def vanish(self, made: Made) -> None:
        for key in made.ours:
            self.server.things.pop(key, None)

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
