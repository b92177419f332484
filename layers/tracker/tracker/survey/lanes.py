"""Hands the places of a survey out: in a few lanes that run side by side, each place after place, so that a slow one holds up only its own.

Nothing is kept by a lane. What one that dies doesn't come to, the next survey does, in another order.
"""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from tracker.clients import client
from tracker.model.places import Place

# How many places are looked at at once. An account that was opened today runs ten functions at once in all.
LANES = 2
# An asynchronous call of a function takes 256 KB.
PAYLOAD_BYTES = 200_000
# The seconds that one place may take, and those that an invocation keeps to hand on the rest.
PLACE_SECONDS = 100
RESERVE = 20
# The seconds after which a lane is over: by default there is another survey then.
LANE_SECONDS = 3600

logger = Logger(child=True)


class Lane(msgspec.Struct, frozen=True):
    """Places that are looked at one after the other, until an epoch second after which a later survey has them anyway."""

    places: list[Place]
    until: int


def lanes(places: Iterable[Place], now: float) -> list[Lane]:
    """Return lanes of about the same length, in a random order, so that no place is always behind the same other one."""
    until = int(now) + LANE_SECONDS
    shuffled = list(places)
    random.shuffle(shuffled)
    number = max(LANES, -(-len(msgspec.json.encode(shuffled)) // PAYLOAD_BYTES))
    return [Lane(found, until) for n in range(number) if (found := shuffled[n::number])]


def hand_out(some: Sequence[Lane], function: str) -> int:
    """Have each lane run, without waiting for it. Return how many places couldn't be handed out: the next survey has them."""
    lost = 0
    for lane in some:
        try:
            client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=msgspec.json.encode(lane))
        except Exception:
            # One lane that can't begin must not keep the others from it.
            logger.exception("places can't be handed out", extra={"places": len(lane.places)})
            lost += len(lane.places)
    return lost


def is_lane(event: dict[str, Any]) -> bool:
    """Return whether an event is a lane, and not a tick."""
    return "places" in event


def read_lane(event: dict[str, Any]) -> Lane:
    """Return the lane in an event. msgspec.ValidationError if it holds none."""
    return msgspec.convert(event, Lane)


def run(
    lane: Lane,
    survey: Callable[[Place, Callable[[], float]], object],
    *,
    time_left: Callable[[], float],
    hand_on: Callable[[Lane], object],
    clock: Callable[[], float] = time.time,
) -> int:
    """Survey the places of a lane one after the other, and hand on those for which no time is left. Return how many were surveyed.

    `survey` is called with a place and with what returns the seconds that are left for it.
    """
    for number, place in enumerate(lane.places):
        if clock() >= lane.until:
            logger.warning(
                "the next survey begins before this one has ended", extra={"left": len(lane.places) - number}
            )
            return number
        if number and time_left() < PLACE_SECONDS + RESERVE:
            hand_on(Lane(lane.places[number:], lane.until))
            return number
        over_at = time_left() - PLACE_SECONDS
        survey(place, lambda over_at=over_at: min(time_left() - over_at, time_left() - RESERVE))  # type: ignore[misc]
    return len(lane.places)
