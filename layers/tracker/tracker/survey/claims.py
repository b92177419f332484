"""Tells what is stray from what is claimed, by one pass over the index of the records.

What was seen in a place is held, and what a page of the index claims is struck off, page by page. So memory depends on what a
place has, never on how many records there are.
"""

from collections.abc import Iterable

from tracker.model.claims import claim, claims_of
from tracker.model.marks import first_digits
from tracker.model.strays import Sighting, stray_key
from tracker.store.strays import CLAIMING, Line, Strays
from tracker.store.table import UnreadableError


class Unclaimed:
    """This is what was seen in a place of a region, by the key that a stray of it has. What is struck off is claimed."""

    def __init__(self, seen: Iterable[Sighting], region: str | None) -> None:
        self.left = {stray_key(each.resource): each for each in seen}
        self._region = region
        self._by_mark: dict[str, list[str]] = {}
        self._by_claim: dict[str, list[str]] = {}
        for key, each in self.left.items():
            self._by_mark.setdefault(first_digits(each.mark), []).append(key)
            self._by_claim.setdefault(claim(each.resource.kind, each.resource.id), []).append(key)

    def strike_off(self, strays: Strays) -> None:
        """Strike off what a record claims that is live or Terminating, by its generation or by an id.

        An index lags behind the table by moments, so a claim may be missed. Nobody is told of a stray that a single pass found.
        """
        if not self.left:
            return
        for line in strays.lines(*CLAIMING):
            self._strike(line, _claims(line, strays))
            if not self.left:
                return

    def _strike(self, line: Line, claims: Iterable[str]) -> None:
        for key in self._by_mark.get(first_digits(line.generation), ()):
            seen = self.left.get(key)
            if seen and (seen.mark == line.generation or "-" not in seen.mark):
                del self.left[key]
        # Names come again elsewhere: a record in another region claims nothing here.
        if self._region is None or line.region in (None, self._region):
            for each in claims:
                for key in self._by_claim.get(each, ()):
                    self.left.pop(key, None)


def _claims(line: Line, strays: Strays) -> Iterable[str]:
    """Return what a line claims; of an older record, which the index doesn't say it of, what the record itself does."""
    if line.place:
        return line.claims
    try:
        record = strays.record(line)
    except UnreadableError:
        return ()
    return claims_of(record).split() if record else ()
