"""Writes one log line for each transition, after it was committed. The lifecycle calls it with each change of a record.

The queries that the stack saves read these lines. They hold no text of a caller but the reason, and no text of a provider: a record
has the errors in full.
"""

from typing import Any

from aws_lambda_powertools import Logger

from tracker.model.catalogue import CATALOGUE
from tracker.model.deployment import Deployment, Event, clipped
from tracker.watch.measures import seconds_of

REASON_MAX = 256
MESSAGE = "transition"
# The facts that the tracker itself commits. Of any other, the detail says who asked for it.
OUR_OWN = frozenset(
    {
        "expiring",
        "planned",
        "resource_gone",
        "cleanup_succeeded",
        "cleanup_failed",
        "cleanup_paused",
        "quarantined",
        "resurrected",
    }
)

logger = Logger(child=True)


def note(old: Deployment | None, new: Deployment) -> None:
    """Log a change that is a transition: one that commits a fact, or another status."""
    if new.outbox or old is None or old.status != new.status:
        logger.info(MESSAGE, extra=line(old, new))


def line(old: Deployment | None, new: Deployment) -> dict[str, Any]:
    """Return the fields of a transition's line. What doesn't apply to it is left out."""
    facts = [event.type for event in new.outbox]
    error = new.cleanup.last_error
    fields = {
        "blueprint_id": new.blueprint_id,
        "generation": new.generation,
        "deployment_type": new.deployment_type,
        "platform": CATALOGUE[new.deployment_type].platform,
        "round": new.cleanup.round,
        "version": new.version,
        "from": old.status if old else "",
        "to": new.status,
        "facts": facts,
        "why": why(new),
        "by": by(new.outbox, new),
        "class": error.error_class if error and "cleanup_failed" in facts else "",
        "failures": new.cleanup.failures or None,
    }
    for event in new.outbox:
        fields |= seconds_of(new, event)
    return {name: value for name, value in fields.items() if value not in ("", None)}


def why(new: Deployment) -> str:
    """Return the reason that was given for the change, else that of the round, if the change is one of a round."""
    given = next((str(event.detail["reason"]) for event in new.outbox if event.detail.get("reason")), "")
    return clipped(given or (new.cleanup.reason if new.status != "Active" else ""), REASON_MAX)


def by(facts: list[Event], new: Deployment) -> str:
    """Return who caused the change: the caller whom its facts name, or `tracker`. Empty if nothing says it."""
    named = next((str(event.detail["by"]) for event in facts if event.detail.get("by")), "")
    if named:
        return named
    if any(event.type == "registered" for event in facts):
        return new.registered_by
    return "tracker" if not facts or all(event.type in OUR_OWN for event in facts) else ""
