"""This is what is counted and measured of each committed fact. Called by `announce`, which hears of all facts, whoever committed them.

The names are those of the metrics in CloudWatch. A fact that is announced again is counted again.
"""

from typing import Literal

import msgspec

from tracker.model.catalogue import CATALOGUE
from tracker.model.deployment import Deployment, Event, parse_time


class Measure(msgspec.Struct, frozen=True):
    """A value of a metric. One with `dimensions` is a metric of its own for each of their values."""

    name: str
    value: float = 1
    unit: Literal["Count", "Seconds", "None"] = "Count"
    dimensions: dict[str, str] = {}


# The names of what is measured in seconds, by the fields of a transition's log line.
SECONDS = {"lag_seconds": "Lag", "gone_seconds": "DueToGone"}


def counted(event: str) -> Measure:
    """Return the count of a fact, which is named after its type: `ResourceGone` for "resource_gone"."""
    return Measure("".join(word.capitalize() for word in event.split("_")))


def measures(deployment: Deployment, event: Event) -> list[Measure]:
    """Return what is counted of a fact: itself, and what it says besides."""
    found = [counted(event.type)]
    if event.detail.get("never_seen"):
        found.append(Measure("NeverSeen"))
    found += [
        Measure(SECONDS[name], value, "Seconds")
        for name, value in seconds_of(deployment, event).items()
        if name in SECONDS
    ]
    if event.type == "cleanup_succeeded":
        found.append(Measure("Rounds", event.round))
    if event.type == "cleanup_failed":
        of_class = {"class": str(event.detail.get("class", "workflow"))}
        platform = CATALOGUE[deployment.deployment_type].platform
        found.append(Measure("FailedRounds", dimensions=of_class | {"platform": platform}))
    return found


def seconds_of(deployment: Deployment, event: Event) -> dict[str, float]:
    """Return the times that end with a fact, in seconds.

    `lag_seconds` is from the expiry to the first round, `gone_seconds` from when the cleanup was due to its end. It was due when the
    deployment expired, or when someone asked for its end before that.
    """
    if event.type == "terminating" and event.detail.get("reason") == "expired" and deployment.expires_at:
        # What was held at its end is due when the hold is over.
        ends = [each.at for each in deployment.events if each.type == "unheld" and each.sequence < event.sequence]
        return {"lag_seconds": min(_between(since, event.at) for since in [deployment.expires_at, *ends])}
    if event.type == "cleanup_succeeded":
        begun = _begun(deployment, event)
        return {"gone_seconds": _between(begun, event.at)} if begun else {}
    return {}


def _begun(deployment: Deployment, end: Event) -> str | None:
    """Return when the cleanup that ends with `end` was due. None if the record's events don't go back so far."""
    begun = None
    for event in reversed(deployment.events):
        if event.sequence >= end.sequence:
            continue
        if event.type in ("cleanup_succeeded", "registered"):
            break
        if event.type in ("terminating", "resurrected"):
            begun = event
    if begun is None:
        return None
    if begun.detail.get("reason") == "expired" and deployment.expires_at:
        return deployment.expires_at
    return begun.at


def _between(start: str, end: str) -> float:
    return max(0.0, round((parse_time(end) - parse_time(start)).total_seconds(), 3))
