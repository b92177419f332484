"""This is what may happen to a stray: it is seen, announced, exempted, adopted, and is gone. Each is one write on a condition.

Called by the survey, and by the functions behind the API. A stray that someone claims is never announced or adopted: that is looked
up by consistent reads before each of the two.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
from aws_lambda_powertools import Logger

from tracker.lifecycle.base import TRIES, Transitions, contended
from tracker.lifecycle.workflow import Workflow
from tracker.model.catalogue import missing
from tracker.model.clock import utc_now
from tracker.model.deployment import Deployment, clipped, format_time, parse_time, renumbered
from tracker.model.errors import Conflict, NotFound
from tracker.model.places import Place
from tracker.model.settings import Settings
from tracker.model.strays import Exemption, Sighting, Stray, StrayEvent, StrayEventType, adopted_key, stray_key
from tracker.store.records import Records
from tracker.store.strays import Strays
from tracker.store.table import VersionConflict

# An announced stray that waits for long enough is adopted in this name.
TRACKER = "tracker"

type StrayFact = tuple[StrayEventType, dict[str, Any]]

logger = Logger(child=True)


class StrayLifecycle(Transitions):
    """The transitions of strays, over the same table as those of deployments."""

    def __init__(
        self, strays: Strays, records: Records, settings: Settings, clock: Callable[[], datetime] = utc_now
    ) -> None:
        super().__init__(records, Workflow(""), settings, clock)
        self._strays = strays

    def require(self, key: str) -> Stray:
        """Return the stray under a key. NotFound if there is none, or it is over."""
        found = self._strays.get(key)
        if found is None or found.ended_at:
            raise NotFound(f"there is no stray {key!r}")
        return found

    def sighted(self, seen: Sighting, place: Place) -> Stray | None:
        """Record that a survey saw something that no record claims. It is announced once it is so for long enough.

        Return the stray; None if it turns out to be claimed, or if another survey has just recorded it.
        """
        key = stray_key(seen.resource)
        old = self._strays.get(key)
        new = self._seen(key, old, seen, place)
        try:
            if old is None:
                self._strays.create(new)
                return new
            if self._is_to_be_told(new):
                if holder := self._strays.holder(new.mark):
                    self.lost(old, f"claimed by {holder}")
                    return None
                new = self._told(new)
            self._strays.replace(old, new)
        except VersionConflict:
            return None
        return new

    def lost(self, old: Stray, why: str) -> None:
        """End a stray that isn't one any more. Only one that was announced is announced to be gone."""
        try:
            if old.announced_at is None:
                self._strays.remove(old)
            else:
                self._strays.replace(old, self._with(old, [("gone", {"why": clipped(why, 512)})], ended=True))
        except VersionConflict:
            # Another survey, or a caller, has just decided about it.
            return

    def exempt(self, key: str, exemption: Exemption) -> Stray:
        """Have a stray left alone until a time. NotFound if there is no such stray."""
        for _ in range(TRIES):
            old = self.require(key)
            new = self._with(old, [], exempt=exemption)
            try:
                self._strays.replace(old, new)
            except VersionConflict:
                continue
            return new
        raise contended(key)

    def adopt(
        self, key: str, describe: Callable[[Stray, str], Deployment], *, reason: str, requested_by: str
    ) -> tuple[Deployment, bool]:
        """Register a deployment for a stray, which is removed by the same transaction. Return it, and True if it is new.

        `describe` returns the deployment, given the stray and a generation. A stray that was adopted before is answered by its deployment.
        NotFound if there is no such stray; Conflict if it is exempt, claimed, or only its own record can take it.
        """
        for _ in range(TRIES):
            stray = self._strays.get(key)
            adopted = self._records.find(adopted_key(key)) if stray is None or stray.ended_at else None
            if adopted and _has_adopted(adopted, key):
                return adopted, False
            stray = self.require(key)
            self._check_adoptable(stray)
            over = self._records.get(adopted_key(key))
            if over and over.status != "Terminated":
                message = f"a deployment is registered under {over.blueprint_id!r} and is {over.status}"
                raise Conflict(message, deployment=over)
            wanted = self._of_its_generation(stray, describe)
            detail = {"adopted": clipped(key, 512), "reason": clipped(reason, 256), "by": clipped(requested_by, 128)}
            new = self._with_facts(self._timed(wanted), [("registered", detail)])
            try:
                self._records.create(new, over=over, over_marker=True, also=self._strays.removing(stray))
            except VersionConflict:
                continue
            return new, True
        raise contended(key)

    def is_to_be_adopted(self, stray: Stray) -> bool:
        """Return whether a stray has waited for someone for so long that it is adopted without anyone's word."""
        after, now = self._settings.stray_adoption, self._clock()
        if not after or stray.announced_at is None or stray.is_exempt(now):
            return False
        return (now - parse_time(stray.announced_at)).total_seconds() >= after

    # Within

    def _seen(self, key: str, old: Stray | None, seen: Sighting, place: Place) -> Stray:
        """Return a stray as it is after another look; anew if it was over."""
        at = format_time(self._clock())
        first = old is None or old.ended_at is not None
        return Stray(
            key=key,
            kind=seen.resource.kind,
            id=seen.resource.id,
            place=seen.resource.place,
            stage=seen.resource.stage,
            deployment_type=place.deployment_type,
            region=place.region,
            metadata=place.metadata,
            resource_key=seen.resource_key,
            mark=seen.mark,
            made_at=seen.made_at,
            first_seen_at=at if old is None or first else old.first_seen_at,
            last_seen_at=at,
            seen=1 if old is None or first else old.seen + 1,
            announced_at=None if old is None or first else old.announced_at,
            exempt=None if old is None or first else old.exempt,
            version=1 if old is None else old.version + 1,
            sequence=0 if old is None or first else old.sequence,
        )

    def _is_to_be_told(self, stray: Stray) -> bool:
        """Return whether it was seen twice, far enough apart, is old enough, and wasn't announced yet nor is exempt."""
        now = self._clock()
        if stray.announced_at is not None or stray.is_exempt(now):
            return False
        first = parse_time(stray.first_seen_at)
        if stray.seen < 2 or (now - first).total_seconds() < self._settings.stray_gap:  # noqa: PLR2004 - twice
            return False
        return (now - _made_at(stray, first)).total_seconds() >= self._settings.stray_grace

    def _told(self, stray: Stray) -> Stray:
        at = format_time(self._clock())
        event = StrayEvent(sequence=stray.sequence + 1, type="found", at=at)
        return msgspec.structs.replace(stray, announced_at=at, sequence=event.sequence, outbox=[event])

    def _with(self, old: Stray, facts: Sequence[StrayFact], *, ended: bool = False, **changes: Any) -> Stray:
        """Return the next version of a stray, with the facts that its write commits."""
        at = format_time(self._clock())
        outbox = [
            StrayEvent(sequence=old.sequence + n, type=type_, at=at, detail=detail)
            for n, (type_, detail) in enumerate(facts, 1)
        ]
        changes |= {"version": old.version + 1, "sequence": old.sequence + len(outbox), "outbox": outbox}
        return msgspec.structs.replace(old, ended_at=at if ended else None, **changes)

    def _check_adoptable(self, stray: Stray) -> None:
        if stray.is_exempt(self._clock()):
            assert stray.exempt is not None  # noqa: S101 - for the type checker
            text = f"{stray.key!r} is exempt until {stray.exempt.until}: {stray.exempt.reason}"
            raise Conflict(text, stray=msgspec.to_builtins(stray.exempt))
        if holder := self._strays.holder(stray.mark):
            raise Conflict(f"{stray.key!r} is claimed: it carries the mark of {holder!r}")

    def _of_its_generation(self, stray: Stray, describe: Callable[[Stray, str], Deployment]) -> Deployment:
        """Return the deployment for a stray, of the generation that its mark names unless another record had that.

        A generation is of one record for ever, since executions and announcements are named by it. By a generation with the mark,
        whatever else carries it is found, too; without, what lacks ids could never be found.
        """
        recorded = [generation for generation, _ in self._strays.generations(stray.mark)]
        if "-" not in stray.mark:
            return describe(stray, _beginning_with(stray.mark))
        if not recorded:
            # Its record may have been there, and be purged by now.
            return renumbered(describe(stray, stray.mark), self._clock())
        wanted = describe(stray, str(uuid4()))
        if lacking := missing(wanted):
            text = f"{stray.key!r} was left by a deployment that has ended. Hand its id in to that record by PATCH; alone it can't be adopted"
            raise Conflict(f"{text}: {lacking[0]}")
        return wanted


def _beginning_with(digits: str) -> str:
    """Return a new generation that begins with a mark's digits."""
    return str(UUID(hex=digits + uuid4().hex[len(digits) :]))


def _made_at(stray: Stray, first_seen: datetime) -> datetime:
    """Return when a stray was made, as far as anyone says so."""
    if stray.made_at:
        try:
            return min(parse_time(stray.made_at), first_seen)
        except ValueError:
            logger.warning(
                "a provider says when something was made in no time that can be read", extra={"kind": stray.kind}
            )
    return first_seen


def _has_adopted(deployment: Deployment, key: str) -> bool:
    """Return whether a deployment adopted the stray of that key, as far as it still knows how it was registered."""
    registered = [event.detail for event in deployment.events if event.type == "registered"]
    return all(detail.get("adopted") == clipped(key, 512) for detail in registered)
