"""This is what will be due soon, put on a queue where each key stays hidden until its second has come.

Nothing is decided here: a key that comes back from the queue goes through the transition `due`, for which only the table's own
`due_at` counts. So a message that comes late, twice or never does no harm: the next sweep makes up for it.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import batched
from math import ceil

import msgspec
from aws_lambda_powertools import Logger

from tracker.clients import client
from tracker.store.records import DueKey, Records

# A sweep comes every minute; a quarter more, for one that comes late.
HORIZON = timedelta(seconds=75)
# Clocks differ: who is early finds a record that isn't due yet.
LATER = 1
# Of Amazon SQS: messages of a batch, and the seconds that a message can be hidden.
BATCH = 10
DELAY_MAX = 900
# Seconds that a sweep leaves itself for the last batches.
RESERVE = 10

logger = Logger(child=True)


class DueQueue:
    """The queue of keys that are due soon, by its URL. Without a URL nothing is put there, and keys wait for the sweep."""

    def __init__(self, url: str) -> None:
        self._url = url

    def put(self, keys: Iterable[DueKey], now: datetime) -> int:
        """Put keys on the queue, at most ten, each hidden until a second after it is due. Return how many the queue took."""
        entries = [
            {"Id": str(n), "MessageBody": msgspec.json.encode(key).decode(), "DelaySeconds": delay(key, now)}
            for n, key in enumerate(keys)
        ]
        if not self._url or not entries:
            return 0
        answer = client("sqs").send_message_batch(QueueUrl=self._url, Entries=entries)
        if failed := answer.get("Failed"):
            logger.warning("the queue didn't take all that is due soon", extra={"failed": len(failed)})
        return len(answer.get("Successful", ()))


def read_key(body: str) -> DueKey:
    """Return the key in a message's body. ValueError if it holds none."""
    return msgspec.json.decode(body, type=DueKey)


class Horizon:
    """The sweep: reads all that is due within the horizon, and puts it on the queue."""

    def __init__(self, records: Records, queue: DueQueue, clock: Callable[[], datetime]) -> None:
        self._records = records
        self._queue = queue
        self._clock = clock

    def sweep(self, time_left: Callable[[], float] = lambda: 60.0) -> int:
        """Put on the queue what is due within the horizon, oldest first. Return how many keys the queue took.

        `time_left` returns the seconds that this call has. What it doesn't come to, the next sweep does.
        """
        taken = 0
        for keys in batched(self._records.due(self._clock() + HORIZON), BATCH, strict=False):
            if time_left() < RESERVE:
                logger.warning("the time was too short for all that is due")
                break
            taken += self._queue.put(keys, self._clock())
        return taken


def delay(key: DueKey, now: datetime) -> int:
    """Return the seconds for which a key is hidden: until a second after it is due, as far as the queue can."""
    return min(max(0, ceil(key.due_at + LATER - now.timestamp())), DELAY_MAX)
