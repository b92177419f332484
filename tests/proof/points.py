"""The calls at which the proofs end a process. TRACKER_CRASH_POINTS chooses: `few` of them, as many `others`, or `all`."""

import os

CHOSEN = os.environ.get("TRACKER_CRASH_POINTS", "few")


def crash_points(number: int, *, every: int, first: int = 0) -> range:
    """Return the chosen ones of so many calls: of each `every`, one (another one for `others`), or all."""
    if CHOSEN == "all":
        return range(number)
    shift = {"few": 0, "others": every // 2}[CHOSEN]
    return range((first + shift) % every, number, every)
