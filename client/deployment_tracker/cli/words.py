"""This is how a deployment is put into words: its status, its end, its place, its money. Columns and colours follow from these alone."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from deployment_tracker.catalogue import catalogue
from deployment_tracker.cli.screen import Cell
from deployment_tracker.models import ENDING, OVER, Cost, Deployment, Rate, Resource, Summary
from deployment_tracker.times import relative, rfc3339, spoken

SOON = 3600
UNKNOWN = "-"
Shown = Summary | Deployment


def status(of: Shown, at: datetime) -> Cell:
    """Return its status, with what needs attention."""
    if of.status == OVER:
        return Cell(of.status, "over")
    if of.status == ENDING:
        return Cell(of.status, "moving")
    notes = [
        *(["quarantined"] if of.quarantined else []),
        *(["failing"] if of.last_error and not of.quarantined else []),
        *(["held"] if of.hold and of.hold.is_on(at) else []),
        *(["incomplete"] if of.incomplete else []),
    ]
    look = "bad" if of.quarantined or of.last_error or of.status == "Failed" else ""
    return Cell(", ".join([of.status, *notes]), look)


def ends(of: Shown, at: datetime, *, is_terminal: bool) -> Cell:
    """Return when its time is over: `in 2 h`, `3 min late`; in RFC 3339 where no person looks. What is ending already has no such time."""
    end = of.ends
    if of.status == OVER:
        return Cell("over", "over")
    if of.status == ENDING:
        return Cell("ending", "moving")
    if end is None:
        return Cell("no end")
    left = (end - at).total_seconds()
    look = "bad" if left < 0 else "soon" if left < SOON else ""
    if not is_terminal:
        return Cell(rfc3339(end), look)
    return Cell(relative(end, at, past="late"), look)


def end(of: Shown, at: datetime, *, is_terminal: bool) -> str:
    """Return a clause about its end: `it ends 2026-12-01T14:00:00Z`, `it has no end`."""
    if of.status == OVER:
        return "it is over"
    if of.status == ENDING:
        return "it is ending"
    return "it has no end" if of.ends is None else f"it ends {told(of.ends, at, is_terminal=is_terminal)}"


def place(of: Shown) -> str:
    """Return its region, else its provider, else the platform of its type."""
    if of.region:
        return of.region
    provider = next(iter(of.provider), "") if isinstance(of.provider, dict) else of.provider
    if provider:
        return provider
    type_ = catalogue().types.get(of.deployment_type)
    return type_.platform if type_ else UNKNOWN


def rate(of: Rate | None) -> str:
    """Return what it costs an hour: `0.42`, with the currency if that isn't USD."""
    return UNKNOWN if of is None else money(of.amount, of.currency)


def cost(of: Cost | None) -> str:
    """Return what it has cost so far. An unknown cost is no number."""
    return UNKNOWN if of is None else money(of.so_far, of.currency)


def late_cost(of: Cost | None) -> str:
    """Return what it has cost since its time was over."""
    return UNKNOWN if of is None else money(of.late, of.currency)


def error(of: Shown) -> str:
    """Return why its cleanup failed, as far as the list tells."""
    if of.last_error is None:
        return UNKNOWN
    return of.last_error.error_class + (f": {of.last_error.message}" if of.last_error.message else "")


def when(text: str | None, at: datetime, *, is_terminal: bool) -> str:
    """Return a time of the API: `3 min ago` on a terminal, as it is elsewhere."""
    if not text:
        return UNKNOWN
    return relative(datetime.fromisoformat(text), at) if is_terminal else text


def told(time: str | datetime | None, at: datetime, *, is_terminal: bool) -> str:
    """Return a time whole: with its zone and how far it is for a person, in RFC 3339 elsewhere."""
    if not time:
        return UNKNOWN
    moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    return spoken(moment, at) if is_terminal else rfc3339(moment)


def where(place: Mapping[str, str], *said: str) -> str:
    """Return a place in one line: only what is known of it, and nothing twice, nor what is `said` beside it."""
    return ", ".join(dict.fromkeys(value for value in place.values() if value and value not in said))


def proof(of: Resource) -> str:
    """Return what proved a resource gone, or explains its state, without its id, which stands beside it."""
    return without_id(of.proof or of.detail, of.id, of.place.get("full_id", ""))


def counts(found: Iterable[Resource]) -> str:
    """Return how many resources are in each state: `2 gone, 1 kept`."""
    return ", ".join(f"{number} {state}" for state, number in Counter(each.state for each in found).items())


def without_id(text: str, *ids: str) -> str:
    """Return what a provider said without the ids that it repeats: `inspect_container 4a5b...: none` is `inspect_container: none`."""
    for each in filter(None, ids):
        text = text.replace(f" {each}:", ":")
    return text


def who(arn: str) -> str:
    """Return the end of an ARN, which says who it is: `user/ann`."""
    return arn.rpartition(":")[2].removeprefix("assumed-role/") or UNKNOWN


def money(amount: float, currency: str) -> str:
    """Return an amount: `0.42`, with the currency if that isn't USD."""
    text = f"{amount:,.2f}" if amount == 0 or amount >= 0.01 else f"{amount:.2g}"  # noqa: PLR2004 - a cent
    return text if currency == "USD" else f"{text} {currency}"
