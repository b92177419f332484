"""Strays, stored as items of the table, and what a survey reads of the records: their lines in the index, and who has a generation.

Called by the lifecycle, by `survey`, and by `intake`, which lists strays.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from aws_lambda_powertools import Logger
from pynamodb.transactions import TransactWrite

from tracker.model.deployment import LIVE, Deployment, epoch, parse_time
from tracker.model.places import Place, place_of
from tracker.model.strays import Stray
from tracker.store.records import PAST, RECORD, Records
from tracker.store.table import (
    MALFORMED,
    STRAY,
    Record,
    StrayItem,
    Table,
    UnreadableError,
    generations,
    read_stray,
)

STATUS = "Stray"
# A stray that is over is kept for a day, so that who asks for it again is told.
KEPT_SECONDS = 86_400
# Lines of the index that are read at once: what a survey holds of the records.
PAGE = 1000
# Terminating comes last: a record that is taken up by its cleanup meanwhile is met there.
CLAIMING = (*LIVE, "Terminating")

logger = Logger(child=True)


class Line(msgspec.Struct, frozen=True):
    """This is what the index carries of a record or a stray. `claims` are hashes (`model/claims.py`), `place` is a digest."""

    key: str
    item: str
    deployment_type: str
    region: str | None
    generation: str
    place: str
    claims: tuple[str, ...]


class StrayPage(msgspec.Struct, frozen=True):
    """Strays, and the index key after which the next page begins (None on the last page)."""

    items: list[Stray]
    next_key: dict[str, Any] | None


class Strays:
    """The strays in the table."""

    def __init__(self, table: Table, records: Records) -> None:
        self._table = table
        self._records = records

    # Strays

    def get(self, key: str) -> Stray | None:
        """Return the stray under a key, also one that is over, by a consistent read."""
        model = self._table.stray
        try:
            found = model.get(key, STRAY, consistent_read=True)
        except model.DoesNotExist:
            return None
        except MALFORMED as error:
            raise UnreadableError(error) from error
        return None if self._table.is_over(found.ttl) else read_stray(found)

    def page(self, *, limit: int, start: dict[str, Any] | None = None) -> StrayPage:
        """Return the strays that aren't over, in the order of their keys."""
        found = self._table.record.by_status.query(STATUS, limit=limit, page_size=limit, last_evaluated_key=start)
        items = [self.readable(line.blueprint_id) for line in found]
        return StrayPage([each for each in items if each and not each.ended_at], found.last_evaluated_key)

    def readable(self, key: str) -> Stray | None:
        """Return the same stray as `get`; None, and a line of the log, if it can't be read: a malformed item must not hide the others."""
        try:
            return self.get(key)
        except UnreadableError:
            logger.exception("a stray can't be read", extra={"stray": key})
            return None

    def all(self) -> Iterator[Stray]:
        """Yield every stray that isn't over, page by page."""
        start = None
        while True:
            found = self.page(limit=PAGE, start=start)
            yield from found.items
            start = found.next_key
            if start is None:
                return

    def create(self, new: Stray) -> None:
        """Store a stray that nobody saw before. VersionConflict if there is one."""
        self._table.write(lambda: self._item(new).save(condition=self._table.is_absent()))

    def replace(self, old: Stray, new: Stray) -> None:
        """Change a stray. VersionConflict if it has changed since it was read."""
        self._table.write(lambda: self._item(new).save(condition=StrayItem.version == old.version))

    def remove(self, old: Stray) -> None:
        """Remove a stray that nobody was told of. VersionConflict if it has changed since it was read."""
        self._table.write(lambda: self._item(old).delete(condition=StrayItem.version == old.version))

    def removing(self, old: Stray) -> Callable[[TransactWrite], None]:
        """Return the write that removes a stray, to be added to a transaction."""

        def remove(transaction: TransactWrite) -> None:
            transaction.delete(self._item(old), condition=StrayItem.version == old.version)

        return remove

    # Records

    def lines(self, *statuses: str) -> Iterator[Line]:
        """Yield what the index has under these statuses, read page by page. A line without a place is one of an older record."""
        for status in statuses:
            found = self._table.record.by_status.query(status, page_size=PAGE)
            while True:
                try:
                    item = next(found)
                    if not self._table.is_over(item.ttl) and (
                        item.item in (RECORD, STRAY) or item.item.startswith(PAST)
                    ):
                        yield _line(item)
                except StopIteration:
                    break
                except MALFORMED:
                    # A malformed item must not hide the others.
                    logger.exception("a line of the index can't be read")

    def place(self, line: Line) -> Place | None:
        """Return the place of a line's record or stray, None if it isn't there any more."""
        if line.item == STRAY:
            stray = self.get(line.key)
            return stray.surveyed if stray else None
        is_past = line.item.startswith(PAST)
        record = self._records.past(line.key, line.generation) if is_past else self._records.get(line.key)
        return place_of(record) if record else None

    def record(self, line: Line) -> Deployment | None:
        """Return a line's record as it is now."""
        return self._records.get(line.key)

    def holder(self, mark: str) -> str | None:
        """Return the key of a record, live or Terminating, that has a generation with this mark, by consistent reads. None if none has.

        A record that can't be read holds its generation.
        """
        for generation, key in self.generations(mark):
            try:
                found = self._records.find(key)
            except UnreadableError:
                return key
            if found is not None and found.generation == generation and found.status != "Terminated":
                return found.blueprint_id
        return None

    def generations(self, mark: str) -> list[tuple[str, str]]:
        """Return (generation, key) for each generation that has the mark and is recorded, by a consistent read."""
        model = self._table.generation
        whole = model.item == mark if "-" in mark else None
        found = model.query(generations(mark), whole, consistent_read=True)
        return [(each.item, each.to) for each in found if not self._table.is_over(each.ttl)]

    def _item(self, stray: Stray) -> StrayItem:
        item = self._table.stray(stray.key, STRAY, version=stray.version)
        item.deployment_type = stray.deployment_type
        item.region = stray.region
        item.place = stray.surveyed.digest
        item.stray = msgspec.structs.replace(stray, outbox=[])
        item.outbox = stray.outbox or None
        if stray.ended_at:
            item.ttl = epoch(parse_time(stray.ended_at)) + KEPT_SECONDS
        else:
            item.status = STATUS
        return item


def _line(item: Record) -> Line:
    return Line(
        key=item.blueprint_id,
        item=item.item,
        deployment_type=item.deployment_type,
        region=item.region,
        generation=item.generation or "",
        place=item.place or "",
        claims=tuple((item.claims or "").split()),
    )
