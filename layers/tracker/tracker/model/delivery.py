"""A delivery: one announcement for a deployment's own webhook, with the attempts at it and the time of the next one.

Pure. Made and scheduled in `notify`, kept as an item of the table by `store`. Its URL and body are fixed when it is made.
"""

from datetime import timedelta
from typing import Literal

import msgspec

KEPT = timedelta(days=30)

# `stopped`: the receiver said that it is gone for good. `dead`: given up, until it is asked for again.
DeliveryState = Literal["pending", "delivered", "stopped", "dead"]


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call of the webhook: when, for how many seconds, and the status or why there is none."""

    at: str
    seconds: float
    series: int = 1
    status: int | None = None
    error: str = ""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One announcement on its way to a webhook. `secret` names what signs it, "" for the stack's own.

    A series is one run of attempts with growing gaps; asking for a delivery again begins the next one.
    """

    blueprint_id: str
    id: str
    url: str
    secret: str = ""
    body: str
    created_at: str
    state: DeliveryState = "pending"
    series: int = 1
    attempts: list[Attempt] = []
    next_attempt_at: str | None = None
    version: int = 0
