"""Surveys one place: all that carries our mark there, less what is claimed, becomes or stays stray; what was stray and isn't there is over.

A place that can't be seen as a whole is blind, and nothing there changes.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

import msgspec
from aws_lambda_powertools import Logger

from tracker.cleanup.core import engine
from tracker.cleanup.core.contract import Busy, Finder, Refused, Unreachable
from tracker.cleanup.core.kind import PlaceGone
from tracker.cleanup.core.waiting import within
from tracker.intake.strays import adoption, at_place
from tracker.lifecycle.strays import TRACKER, StrayLifecycle
from tracker.model.errors import Problem
from tracker.model.places import Place
from tracker.model.settings import Settings
from tracker.model.strays import Sighting, Stray
from tracker.store.strays import STATUS, Strays
from tracker.store.table import UnreadableError
from tracker.survey.claims import Unclaimed

# `unable`: the type's file can't look for marks.
Outcome = Literal["surveyed", "blind", "unable"]

TOO_LONG = "it can't be seen as a whole in the time of a survey"

logger = Logger(child=True)


class Survey(msgspec.Struct, frozen=True):
    """This is what a look at a place came to: how many things carry a mark there, how many of them are stray, how many were adopted."""

    outcome: Outcome
    marked: int = 0
    strays: int = 0
    adopted: int = 0


class Surveyor:
    """Looks at places, one at a time."""

    def __init__(
        self, strays: Strays, lifecycle: StrayLifecycle, settings: Settings, clock: Callable[[], datetime]
    ) -> None:
        self._strays = strays
        self._lifecycle = lifecycle
        self._settings = settings
        self._clock = clock

    def survey(self, place: Place, time_left: Callable[[], float]) -> Survey:
        """Survey a place. `time_left` returns the seconds for it, after which it is blind."""
        try:
            seen = self._look(place, time_left)
        except (Busy, Refused, Unreachable, Problem) as error:
            logger.warning(
                "a place can't be seen", extra={"place": place.name, "class": type(error).__name__, "why": str(error)}
            )
            return Survey("blind")
        if seen is None:
            return Survey("unable")
        unclaimed = Unclaimed(seen, place.region)
        marked = set(unclaimed.left)
        unclaimed.strike_off(self._strays)
        strays = [self._sighted(each, place) for each in unclaimed.left.values()]
        self._end_others(place, marked, set(unclaimed.left))
        adopted = sum(self._adopted(stray) for stray in strays if stray and self._lifecycle.is_to_be_adopted(stray))
        return Survey("surveyed", len(marked), len(unclaimed.left), adopted)

    def _look(self, place: Place, time_left: Callable[[], float]) -> list[Sighting] | None:
        """Return all that carries a mark in a place, None if its type can't look. Raises Busy, Refused, Unreachable or Problem."""
        deployment = at_place(place, self._settings, self._clock())
        finder = engine.module_of(deployment)
        if not isinstance(finder, Finder):
            return None

        def find() -> list[Sighting]:
            seen = []
            with engine.translated(place.deployment_type):
                try:
                    for found in finder.find(deployment, self._settings, None):
                        seen.append(Sighting(found.resource, found.key, found.mark, found.made_at))
                        if time_left() <= 0:
                            raise Busy(TOO_LONG)
                except PlaceGone:
                    # And everything in it.
                    return []
            return seen

        # A provider that hangs must not take the next place's turn.
        return within(time_left(), find, TOO_LONG)

    def _sighted(self, seen: Sighting, place: Place) -> Stray | None:
        """Record a sighting. None if it comes to nothing, also if what is stored of the stray can't be read."""
        try:
            return self._lifecycle.sighted(seen, place)
        except UnreadableError:
            logger.exception("a stray can't be read", extra={"kind": seen.resource.kind, "id": seen.resource.id})
            return None

    def _end_others(self, place: Place, marked: set[str], left: set[str]) -> None:
        """End the strays of a place that was seen as a whole, unless they are still there and still stray."""
        digest = place.digest
        for line in self._strays.lines(STATUS):
            if line.place != digest or line.key in left:
                continue
            old = self._strays.readable(line.key)
            if old is not None and not old.ended_at:
                self._lifecycle.lost(old, "claimed by a record" if line.key in marked else "it isn't there any more")

    def _adopted(self, stray: Stray) -> bool:
        """Adopt a stray that has waited for too long. Return False if it can't be."""
        reason = f"nobody took care of it since it was announced at {stray.announced_at}"
        described = adoption(None, self._settings, now=self._clock(), by=TRACKER)
        try:
            self._lifecycle.adopt(stray.key, described, reason=reason, requested_by=TRACKER)
        except Problem as problem:
            logger.warning("a stray can't be adopted", extra={"stray": stray.key, "why": problem.message})
            return False
        return True
