"""The cost of a deployment, from the price per hour that its caller said. Where no price is known, no cost is.

Pure. Called where a deployment is shown, listed or announced, and by the sum of what runs.
"""

from datetime import datetime

import msgspec

from tracker.model.deployment import Deployment, Price, parse_time

HOUR = 3600
DECIMALS = 4


class Cost(msgspec.Struct, frozen=True):
    """The cost of a deployment so far, and the part of it since its end (`late`)."""

    currency: str
    so_far: float
    late: float


def cost(price: Price | None, *, since: str, end: str | None, until: datetime) -> Cost | None:
    """Return the cost from `since` until a time, None without a price. `end` is when the deployment should have ended."""
    if price is None:
        return None

    def amount(begin: str) -> float:
        hours = max(0.0, (until - parse_time(begin)).total_seconds()) / HOUR
        return round(price.amount * hours, DECIMALS)

    so_far = amount(since)
    return Cost(price.currency, so_far, min(so_far, amount(end)) if end else 0.0)


def cost_of(deployment: Deployment, now: datetime) -> Cost | None:
    """Return the cost of a deployment: until now, or until it was proven gone."""
    ended_at = deployment.cleanup.ended_at if deployment.status == "Terminated" else None
    until = parse_time(ended_at) if ended_at else now
    return cost(deployment.cost_per_hour, since=deployment.deployed_at, end=deployment.expires_at, until=until)
