"""Many that are due in one minute, on a clock that jumps: how late each begins, when all are asked for and gone, and how many fail.

What is simulated is AWS, by the quotas that it publishes; what the tracker does there is its own: the sweep's horizon, the queue's
delays, the jitter of a throttled start, the retriers of statemachine/cleanup.asl.json, and the steps that its functions take for an
instance with a volume and an address (`bench.units`). That a call on AWS takes 25 ms is an assumption.
"""

import heapq
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from bench import units
from bench.rows import Row, Rows
from local.build import ROOT
from tracker.lifecycle.base import THROTTLED
from tracker.lifecycle.horizon import BATCH, HORIZON, LATER
from tracker.model.settings import Settings

MINUTE = 60
CALL = 0.025
# Starting a function that isn't warm.
COLD = 1.5
# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html and
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html and .../services-sqs-scaling.html, of which only the last was looked up (2026-11-26): of
# StartExecution in the large regions; environments of a function; invocations of a queue's mapping at first, and a second.
STARTS_BURST, STARTS_PER_SECOND = 1300, 300
ENVIRONMENTS, ENVIRONMENTS_EVERY = 1000, 10
POLLERS, POLLERS_PER_SECOND = 5, 300 / 60
# An execution ends that has more events: three for each try of a task.
HISTORY, TRY_EVENTS = 25_000, 3
# Seconds until what was asked to go is gone.
GOING = 60
AIM_LAG = 5


@dataclass
class Round:
    """One deployment that is due, and what became of it."""

    due: float
    begun: float | None = None
    asked: float | None = None
    gone: float | None = None
    failed: bool = False
    throttles: int = 0
    tries: int = 0
    step: int = 0


@dataclass
class Cloud:
    """A stack on AWS: `slots` for the release function, and as many batches of what is due as `expiring`."""

    rounds: list[Round]
    slots: int
    expiring: int
    # The calls on AWS of each step of a round, and the seconds to the next.
    steps: list[tuple[int, int]]
    chance: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311 - no secret
    now: float = 0
    transitions: int = 0

    def __post_init__(self) -> None:
        """Read the state machine's own retrier for what Lambda has no room for."""
        machine = json.loads((ROOT / "statemachine/cleanup.asl.json").read_text())
        self._retrier = machine["States"]["Release"]["Retry"][0]
        self._deadline = Settings().deadline
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._queue: list[tuple[float, int, Round]] = []
        self._expirers = 0
        self._tokens, self._refilled = float(STARTS_BURST), 0.0
        self._running = self._environments = 0

    def run(self) -> None:
        """Let it all happen."""
        # The worst moment for a sweep: just before the first is within its horizon.
        self._at(-HORIZON.total_seconds() - 1, self._sweep)
        while self._events and any(each.gone is None and not each.failed for each in self.rounds):
            self.now, _, act = heapq.heappop(self._events)
            act()

    def _at(self, when: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(when, self.now) if self._events else when, next(self._order), act))

    def _sweep(self) -> None:
        found = [each for each in self.rounds if each.begun is None and each.due <= self.now + HORIZON.total_seconds()]
        for n, each in enumerate(sorted(found, key=lambda each: each.due)):
            sent = self.now + (n // BATCH + 1) * CALL
            self._enqueue(each, max(sent, each.due + LATER))
        self._at(self.now + MINUTE, self._sweep)

    def _enqueue(self, each: Round, when: float) -> None:
        heapq.heappush(self._queue, (when, next(self._order), each))
        self._at(when, self._poll)

    def _poll(self) -> None:
        """Take batches from the queue, as many at once as the mapping does by now."""
        most = min(self.expiring, POLLERS + max(0.0, self.now) * POLLERS_PER_SECOND)
        while self._expirers < most and self._queue and self._queue[0][0] <= self.now:
            batch: list[Round] = []
            while len(batch) < BATCH and self._queue and self._queue[0][0] <= self.now:
                batch.append(heapq.heappop(self._queue)[2])
            self._expirers += 1
            self._take(batch, self.now)

    def _take(self, batch: list[Round], when: float) -> None:
        for each in batch:
            # GetItem, PutItem, StartExecution; what has begun already is only looked at.
            when += CALL if each.begun is not None else 3 * CALL
            self._at(when, lambda each=each: self._begin(each))  # type: ignore[misc]
        self._at(when, self._taken)

    def _taken(self) -> None:
        self._expirers -= 1
        self._poll()

    def _begin(self, each: Round) -> None:
        if each.begun is not None:
            return
        self._tokens = min(STARTS_BURST, self._tokens + (self.now - self._refilled) * STARTS_PER_SECOND)
        self._refilled = self.now
        if self._tokens < 1:
            self._enqueue(each, self.now + self.chance.uniform(*THROTTLED) + LATER)
            return
        self._tokens -= 1
        each.begun = self.now
        self._release(each)

    def _release(self, each: Round) -> None:
        """Invoke the function once; while it has no room, as the state machine says."""
        self.transitions += 1
        each.tries += 1
        grown = ENVIRONMENTS * (1 + int(max(0.0, self.now) / ENVIRONMENTS_EVERY))
        if self._running >= min(self.slots, grown):
            longest = self._retrier["IntervalSeconds"] * self._retrier["BackoffRate"] ** min(each.throttles, 20)
            each.throttles += 1
            if each.tries * TRY_EVENTS > HISTORY:
                each.failed = True
                return
            gap = self.chance.uniform(0, min(longest, self._retrier["MaxDelaySeconds"]))
            self._at(self.now + gap, lambda: self._release(each))
            return
        each.throttles = 0
        self._running += 1
        calls, _ = self.steps[min(each.step, len(self.steps) - 1)]
        took = calls * CALL
        if self._running > self._environments:
            self._environments += 1
            took += COLD
        self._at(self.now + took, lambda: self._released(each))

    def _released(self, each: Round) -> None:
        self._running -= 1
        # Decide, and Wait or Done.
        self.transitions += 2
        assert each.begun is not None  # noqa: S101
        if self.now > each.begun + self._deadline:
            each.failed = True
            return
        if each.step == 0:
            each.asked = self.now
        _, wait = self.steps[each.step]
        each.step += 1
        if each.step == len(self.steps):
            each.gone = self.now
            return
        self._at(self.now + wait, lambda: self._release(each))


def simulated(many: int, slots: int, expiring: int, steps: list[tuple[int, int]]) -> Cloud:
    """Return the cloud after so many that were due in one minute have gone."""
    chance = random.Random(many)  # noqa: S311 - no secret
    cloud = Cloud([Round(chance.uniform(0, MINUTE)) for _ in range(many)], slots, expiring, steps)
    cloud.run()
    return cloud


def real_steps() -> list[tuple[int, int]]:
    """Return the calls of each step of a round and the seconds to the next, as the real function takes them.

    On moto an instance is gone at once. Here a second step finds it gone, after the first step's wait.
    """
    first = units.life().of("release")[0]
    looks = sum(call.startswith("Describe") for call in first.calls) // 2 + 3
    return [(len(first.calls), GOING), (looks, 0)]


# How many slots, and the `ExpireConcurrency` that goes with them.
SIZES = ((10, 2), (100, 20), (1000, 100))


def rows() -> Rows:
    """Rounds that fail for want of room, and the lag of ten thousand."""
    steps = real_steps()
    for many in (100, 1000, 10_000):
        for slots, expiring in SIZES:
            cloud = simulated(many, slots, expiring, steps)
            lags = sorted((each.begun or float("inf")) - each.due for each in cloud.rounds)
            asked = max(each.asked or float("inf") for each in cloud.rounds)
            gone = max(each.gone or float("inf") for each in cloud.rounds)
            failed = sum(each.failed for each in cloud.rounds)
            p99 = lags[-(-99 * many // 100) - 1]
            seen = (
                f"asked for after {asked:.0f} s, gone after {gone:.0f} s, lag p50 {lags[many // 2]:.1f} s, p99 {p99:.1f} s, "
                f"{cloud.transitions / many:.1f} transitions each"
            )
            yield Row(f"simulated: {many:,} due, {slots} slots: rounds failed", failed / many, 0.0, seen)
            if (many, slots) == (10_000, 1000):
                yield Row("simulated: lag of 10,000, p99, against 5 s", p99 / AIM_LAG, 1.0, f"{p99:.1f} s : 5 s")
