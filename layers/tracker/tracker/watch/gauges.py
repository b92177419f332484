"""This is how many deployments there are in which state, and what they cost: read every five minutes by the sweep's function from the index by status.

One pass feeds all gauges. The pages that it reads are bounded, so that a large table costs no more than `PAGES` of them. What is
counted then is too little, and is logged as such; a sum of money that isn't whole isn't shown at all.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from aws_lambda_powertools import Logger

from tracker.model.deployment import LIVE, parse_time
from tracker.store.records import Listed, Records
from tracker.watch.measures import Measure

# Minutes from one count to the next.
EVERY = 5
# Some 300 bytes for each deployment: a page of a thousand costs 40 read units.
PAGE = 1000
PAGES = 50
# Seconds that a call leaves itself.
RESERVE = 15
STATES = ("Live", "TerminatingNow", "Overdue", "Failing", "HeldNow", "QuarantinedNow", "UnprovenNow")

logger = Logger(child=True)


class Gauges:
    """This is what is counted of the deployments that haven't ended, as of a time."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._states: Counter[str] = Counter(dict.fromkeys(STATES, 0))
        self._types: Counter[str] = Counter()
        self._oldest = 0.0
        self._running: dict[str, float] = defaultdict(float)
        self._late: dict[str, float] = defaultdict(float)
        self._unpriced = 0

    def add(self, found: Listed) -> None:
        """Count a deployment."""
        overdue = _overdue(found, self._now)
        self._states.update(_states(found, overdue))
        if found.status in LIVE:
            self._types[found.deployment_type] += 1
        if not found.quarantined and found.hold is None:
            self._oldest = max(self._oldest, overdue)
        price = found.cost_per_hour
        if price is None:
            self._unpriced += 1
            return
        self._running[price.currency] += price.amount
        self._late[price.currency] += price.amount if overdue else 0

    def measures(self, *, are_whole: bool) -> list[Measure]:
        """Return the gauges. Unless they are whole, `CostsUnknown` stands for all sums of money."""
        return [
            *(Measure(name, value) for name, value in self._states.items()),
            Measure("OldestOverdue", self._oldest, "Seconds"),
            *(Measure("LiveByType", value, dimensions={"type": name}) for name, value in sorted(self._types.items())),
            *(self._costs() if are_whole else [Measure("CostsUnknown")]),
        ]

    def _costs(self) -> Iterator[Measure]:
        """Yield what everything costs per hour, by currency: all that runs, what of it runs though its time is over, and how many have no price."""
        yield Measure("Unpriced", self._unpriced)
        for name, amounts in (("CostPerHour", self._running), ("LateCostPerHour", self._late)):
            for currency, amount in sorted(amounts.items()):
                yield Measure(name, amount, "None", {"currency": currency})


def is_time_for_gauges(minute: int) -> bool:
    """Return whether the tick of that minute counts."""
    return minute % EVERY == 0


def gauges(records: Records, now: datetime, time_left: Callable[[], float] = lambda: 60.0) -> list[Measure]:
    """Count the deployments that haven't ended. `time_left` returns the seconds that this call has."""
    found = Gauges(now)
    starts: list[tuple[str, dict[str, Any] | None]] = [(status, None) for status in ("Terminating", *reversed(LIVE))]
    pages = 0
    while starts and pages < PAGES and time_left() >= RESERVE:
        status, start = starts.pop()
        page = records.by_status(status, limit=PAGE, start=start)
        for each in page.items:
            found.add(each)
        if page.next_key is not None:
            starts.append((status, page.next_key))
        pages += 1
    if starts:
        logger.warning("there are more deployments than were counted", extra={"pages": pages})
    return found.measures(are_whole=not starts)


def _states(found: Listed, overdue: float) -> list[str]:
    """Return the names of what a deployment counts for."""
    error = (found.last_error or {}).get("class")
    states = {
        "Live": found.status in LIVE,
        "TerminatingNow": found.status == "Terminating",
        "Overdue": overdue > 0,
        "Failing": found.failures > 0,
        "HeldNow": found.hold is not None,
        "QuarantinedNow": found.quarantined,
        "UnprovenNow": found.failures > 0 and error == "unproven",
    }
    return [name for name, is_so in states.items() if is_so]


def _overdue(found: Listed, now: datetime) -> float:
    """Return for how many seconds a deployment's time has been over."""
    return max(0.0, (now - parse_time(found.expires_at)).total_seconds()) if found.expires_at else 0.0
