"""This is how one resource is safely deleted: the order of the steps, the same for every provider.

    id checked -> place opened -> resource found, and told apart from another of its name
               -> may it go? (protected, not ours, still used) -> deletion requested -> read again (by the engine)

A provider's kind is a subclass of `Kind` that says only what is the provider's own. Called by the engine, and by the
discovery of the types.
"""

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress

from msgspec.structs import replace

from tracker.cleanup.core.contract import MARKED, Busy, Observation, Progress, Refused
from tracker.model.catalogue import Guard, form_of
from tracker.model.deployment import Resource
from tracker.model.settings import Settings

# The key of a resource's place that says at which address it was seen last.
SEEN_AT = "seen_at"


class Gone(Exception):
    """The provider has no such resource. The text is the proof."""


class PlaceGone(Gone):
    """The whole place is gone (a cluster, say), and everything in it with it. Raised when a place is opened."""


class Kind[Connection, Body]:
    """One kind of resource at a provider.

    `Connection` is an open way to a place (an API client with a known account, an engine, a machine), `Body` the provider's
    description of one resource. `noun` is the provider's word for it. The catalogue gives the form of an id; `form`, a regular
    expression that matches a whole id, is for a kind that no record can name, because it is only ever found.

    `detaches` is set where `request_deletion` detaches a resource that is still attached. Else that is waited for.

    `needs_mark` is set for what a deployment consists of (its main resources), which must carry the ownership mark. `mark_key` is
    the key of that mark in the settings (empty: the platform has none), `mark_noun` the platform's word for it. `anchor` is
    the key of a resource's place without which a not-found proves nothing ("account", "engine").

    `guard` names the list of allowed patterns in the settings that an id must match, too: for files on a machine.

    `settles_in` are the seconds for which a read may still answer "not found" for what was just made (0: reads are
    consistent). `reuses_ids` is set where a later resource may have the id of an earlier one (a name, a path, an address) and nothing
    tells the two apart. `asks_again` is false only where requesting a deletion that is under way would do harm.
    """

    noun: str = "resource"
    form: str = ""
    needs_mark: bool = False
    mark_key: str = ""
    mark_noun: str = "tag"
    guard: Guard | None = None
    anchor: str = "account"
    detaches: bool = False
    one_at_a_time: bool = False
    settles_in: int = 0
    asks_again: bool = True
    reuses_ids: bool = False

    # The provider's own part

    def open(self, resource: Resource, settings: Settings) -> AbstractContextManager[Connection]:
        """Open the place of a resource. Raises Refused if it isn't the place that the resource names."""
        raise NotImplementedError

    def read(self, connection: Connection, resource: Resource) -> Body:
        """Return the provider's description of the resource. Raises Gone."""
        raise NotImplementedError

    def request_deletion(self, connection: Connection, resource: Resource, body: Body) -> None:
        """Request the deletion. Raises Gone if the resource is gone already."""
        raise NotImplementedError

    def progress(self, body: Body) -> tuple[Progress, str]:
        """Return how far the resource has gone, and the provider's own word for its state."""
        return "present", ""

    def identity(self, body: Body) -> dict[str, str]:
        """Return what tells the resource apart from a later one of its name. It is remembered in the resource's place."""
        return {}

    def location(self, connection: Connection) -> dict[str, str]:
        """Return what the open place says of itself, the `anchor` among it. It is remembered in the resource's place."""
        return {}

    def address(self, connection: Connection, resource: Resource) -> str:
        """Return the address of a machine that a copy with the same identity may have been made of; empty if there are no copies."""
        return ""

    def source(self, resource: Resource) -> str:
        """Name the read that shows the state of the resource. A proof begins with it."""
        return f"{self.noun} {resource.id}"

    def protection(self, connection: Connection, resource: Resource, body: Body) -> str:
        """Return why the provider won't delete it, or would replace it, and what lifts that; empty if nothing does."""
        return ""

    def has_mark(self, body: Body, mark: str) -> bool:
        """Return whether the resource carries the ownership mark."""
        return False

    def users(self, body: Body) -> Iterable[str]:
        """Return the ids of the resources that it is attached to."""
        return ()

    def strangers(self, resource: Resource, body: Body) -> Iterable[str]:
        """Return those of its users that aren't the deployment's: it mustn't be taken from them."""
        ours = resource.place.get("used_by", "").split(",")
        return (user for user in self.users(body) if user not in ours)

    # The same for all

    def state(self, resource: Resource, settings: Settings) -> Observation:
        """Read a resource in its place."""
        self.check_id(resource, settings)
        try:
            with self.open(resource, settings) as connection:
                try:
                    body = self.find(connection, resource)
                except Gone as gone:
                    self._check_address(connection, resource, gone)
                    return self.observe_absence(connection, resource, gone)
                look = self.observe(connection, resource, body)
                at = self.address(connection, resource)
                return replace(look, place=look.place | {SEEN_AT: at}) if at and look.state != "gone" else look
        except PlaceGone as gone:
            return Observation("gone", proof=str(gone))

    def _check_address(self, connection: Connection, resource: Resource, gone: Gone) -> None:
        """Raise Refused if it was seen at another address: who answers here may be a copy of that machine."""
        before, now = resource.place.get(SEEN_AT, ""), self.address(connection, resource)
        if before and now and before != now:
            text = f"it was seen at {before}, and not at {now}, where a copy may answer: a copy has the same identity"
            raise Refused(
                "unproven",
                f"{gone}; {text}. Correct the record; if the machine has moved, forget the record and register it again",
            )

    def delete(self, resource: Resource, settings: Settings) -> None:
        """Request the deletion of a resource, if it is still there, and still may go."""
        self.check_id(resource, settings)
        with suppress(Gone), self.open(resource, settings) as connection:
            body = self.find(connection, resource)
            if self.is_to_be_asked(resource, body, settings):
                self.check_deletable(connection, resource, body, settings)
                self.request_deletion(connection, resource, body)

    def check_id(self, resource: Resource, settings: Settings) -> None:
        """Raise Refused if the id can't be one, or no setting allows it, before any call is made."""
        form = self.form or form_of(resource.kind).pattern
        if not re.fullmatch(form, resource.id, re.ASCII):
            raise Refused("bad_id", f"{resource.id!r} can't be the id of a {self.noun}")
        if self.guard and not settings.allows(self.guard, resource.id):
            raise Refused("bad_id", f"{resource.id} isn't among the allowed {self.guard}s")

    def find(self, connection: Connection, resource: Resource) -> Body:
        """Return the provider's description of this very resource. Raises Gone if there is none, or another has its name."""
        body = self.read(connection, resource)
        for key, value in self.identity(body).items():
            known = resource.place.get(key, "")
            if known not in ("", value):
                raise Gone(f"{self.noun} {resource.id} is another one now: its {key} is {value}, and was {known}")
        return body

    def is_to_be_asked(self, resource: Resource, body: Body, settings: Settings) -> bool:
        """Return whether its deletion has to be requested: of what is on its way out only if that does no harm, and it is ours."""
        state, _ = self.progress(body)
        if state == "leaving":
            return self.asks_again and not self.objection(resource, body, settings)
        return state == "present"

    def observe(self, connection: Connection, resource: Resource, body: Body) -> Observation:
        """Say what was read of a resource that is there."""
        state, detail = self.progress(body)
        if state == "gone":
            return Observation("gone", proof=f"{self.source(resource)}: {detail}", described=True)
        identity = self.identity(body)
        same = self._is_same(resource, identity)
        return Observation(state, detail=detail, place=self.location(connection) | identity, same=same)

    def _is_same(self, resource: Resource, identity: dict[str, str]) -> bool:
        """Return whether what was found is certainly the resource, and not a later one of its id."""
        if type(self).identity is not Kind.identity:
            return bool(identity) and all(resource.place.get(key) for key in identity)
        return not self.reuses_ids

    def observe_absence(self, connection: Connection, resource: Resource, gone: Gone) -> Observation:
        """Say what it means that a resource isn't there."""
        return Observation("gone", proof=str(gone), unproven=not resource.place.get(self.anchor))

    def check_deletable(self, connection: Connection, resource: Resource, body: Body, settings: Settings) -> None:
        """Raise Refused or Busy if the resource may not be deleted, as it is now: protected, not ours, still used."""
        if reason := self.protection(connection, resource, body):
            raise Refused("protected", reason)
        if objection := self.objection(resource, body, settings):
            raise Refused("not_ours", f"{self.noun} {resource.id} isn't deleted: {objection}")
        if not self.detaches and (user := next(iter(self.users(body)), "")):
            raise Busy(f"still attached to {user}")

    def objection(self, resource: Resource, body: Body, settings: Settings) -> str:
        """Return why it isn't the deployment's to delete; empty if it is.

        Nobody else may use it, and a main resource must carry the mark, if one is set, unless it was found by the mark of this very
        deployment. A dependent goes because the record names
        it, or because the discovery saw its mark or the operator's wish, and so didn't keep it.
        """
        if stranger := next(iter(self.strangers(resource, body)), ""):
            return f"attached to {stranger}, which the record doesn't name"
        mark = settings.mark(self.mark_key)
        if self.needs_mark and mark and not self.has_mark(body, mark) and not resource.place.get(MARKED):
            return f"it doesn't carry the {self.mark_noun} {mark}"
        return ""
