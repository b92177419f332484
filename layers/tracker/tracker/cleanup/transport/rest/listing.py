"""This is how what carries a deployment's mark is found at a REST API: all that its lists show is read, and each item's mark looked at.

The types call `find_listed` with a `Listing` for each kind that can carry a mark. No list is filtered by its provider: what a filter
doesn't match, or doesn't know yet, would look like nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tracker.cleanup.core.contract import Found, Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.transport.rest.kind import RestKind
from tracker.cleanup.transport.rest.provider import Api
from tracker.model.catalogue import Entry, entry
from tracker.model.deployment import Deployment, Resource
from tracker.model.marks import is_mark_of, mark_in_name, mark_in_tags, mark_in_words
from tracker.model.settings import Settings

# Takes a type's entry and an item of a list; returns the mark that the item carries, None if it carries none.
type Reader = Callable[[Entry, Any], str | None]


@dataclass(frozen=True)
class Listing:
    """The list of all resources of one kind in an account.

    `every` yields its items, of all pages. `mark` reads the mark of one. `id` and `made_at` are the keys of an item's id and of the time
    at which it was made: RFC 3339, or seconds since 1970. `made_at` is empty if an item doesn't say that. `place` adds to the place of the
    record what an item says of its own.
    """

    kind: str
    every: Callable[[Api], Iterable[Any]]
    mark: Reader
    made_at: str = ""
    id: str = "id"
    place: Callable[[Any], dict[str, str]] = lambda _item: {}


def in_tags(key: str) -> Reader:
    """Return what reads the mark of an item that has tags or labels with keys at `key`."""
    return lambda type_, item: mark_in_tags(type_, item.get(key) or {})


def in_words(key: str) -> Reader:
    """Return what reads the mark of an item that has a list of tags without keys at `key`."""
    return lambda type_, item: mark_in_words(type_, item.get(key) or [])


def in_name(key: str = "name") -> Reader:
    """Return what reads the mark of an item whose name is at `key`."""
    return lambda _type, item: mark_in_name(item.get(key))


def find_listed(
    deployment: Deployment,
    settings: Settings,
    generation: str | None,
    kinds: Mapping[str, RestKind],
    listings: Iterable[Listing],
) -> Iterator[Found]:
    """Yield what the lists show that carries the mark of a generation, or of any if it is None, and isn't gone.

    `kinds` are the type's. Raises the contract's exceptions; an item that can't be read is Unreachable, since it may be what is looked for.
    """
    type_ = entry(deployment.deployment_type)
    keys = {form.kind: key for key, form in type_.ids.items() if form.kind}
    provider = next(iter(kinds.values())).provider
    place = provider.place_of(deployment, settings)
    api = provider.open(place, settings)
    for listing in listings:
        kind = kinds[listing.kind]
        try:
            for item in listing.every(api):
                mark = listing.mark(type_, item)
                if mark is None or not is_sought(mark, generation) or kind.progress(item)[0] == "gone":
                    continue
                where = place | listing.place(item) | kind.location(api) | kind.identity(item)
                resource = Resource(listing.kind, str(item[listing.id]), where)
                yield Found(resource, keys.get(listing.kind, ""), mark, moment(item.get(listing.made_at)))
        except Gone as gone:
            raise Unreachable(str(gone)) from None
        except (LookupError, TypeError, AttributeError) as error:
            raise Unreachable(f"the list of each {kind.noun}: an item that can't be read: {error!r}") from None


def is_sought(mark: str, generation: str | None) -> bool:
    """Return whether a mark is that of a generation, or any will do."""
    return generation is None or is_mark_of(mark, generation)


def moment(said: Any) -> str | None:
    """Return a time as RFC 3339, None if none is said that can be read."""
    try:
        moment = datetime.fromtimestamp(said, UTC) if isinstance(said, int | float) else datetime.fromisoformat(said)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return moment.isoformat() if moment.tzinfo else None
