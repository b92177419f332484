"""`tracker ls`: what a stack tracks."""

import time
from typing import TYPE_CHECKING, Any

import click

from deployment_tracker.cli import words
from deployment_tracker.cli.asked import Asked, verb
from deployment_tracker.cli.screen import Cell, table_of
from deployment_tracker.cli.values import DURATION
from deployment_tracker.errors import Usage
from deployment_tracker.models import Summary
from deployment_tracker.times import now

if TYPE_CHECKING:
    from rich.table import Table

HEADS = ("NAME", "TYPE", "PLACE", "OWNER", "STATUS", "ENDS", "$/H", "COST")
MORE = ("ATTEMPT", "NEXT", "ERROR")
RIGHT = ("$/H", "COST", "ATTEMPT")
# Seconds between two looks.
LIVE_PAUSE = 3
STATUSES = ("Active", "Failed", "Unknown", "Terminating", "Terminated")
EMPTY = "Nothing is registered that isn't over. `tracker register NAME TYPE --id KEY=ID --ttl 2h` registers something, `tracker ls --status Terminated` lists what is over."
NO_MATCH = "Nothing matches. `tracker ls` without filters shows all that isn't over."


@verb()
@click.option("--status", type=click.Choice(STATUSES), help="Default: all but Terminated.")
@click.option("--type", "deployment_type", metavar="TYPE", help="A deployment type, such as AwsEc2.")
@click.option("--owner", help="Of this owner.")
@click.option("--label", metavar="KEY[=VALUE]", help="With this label.")
@click.option("--id", "id_", help="With this id of the caller's own.")
@click.option(
    "--expiring", "expiring_within", type=DURATION, metavar="DURATION", help="Whose time is over within, say, 2h."
)
@click.option("--overdue", is_flag=True, help="Whose time is over.")
@click.option("--failing", is_flag=True, help="Of which a cleanup failed.")
@click.option("--quarantined", is_flag=True, help="Given up until someone looks.")
@click.option("--held", is_flag=True, help="That are held.")
@click.option("--no-end", "without_ttl", is_flag=True, help="That live until someone ends them.")
@click.option("-v", "--verbose", is_flag=True, help="With attempts, the next one, and the error.")
@click.option("-q", "--quiet", is_flag=True, help="Names alone, one on a line.")
@click.option("-w", "--watch", is_flag=True, help="Live, until Ctrl-C.")
def ls(asked: Asked, *, verbose: bool, quiet: bool, watch: bool, **options: Any) -> None:
    """List deployments that aren't over."""
    filters = _filters(**options)
    if watch:
        _watch(asked, filters, verbose=verbose)
        return
    found = list(asked.client.deployments(**filters))
    screen = asked.screen
    if quiet:
        for each in found:
            click.echo(each.blueprint_id)
    elif not screen.is_table:
        screen.data([each.raw for each in found])
    elif found:
        heads, rows = drawn(found, verbose=verbose, is_terminal=screen.is_terminal)
        screen.table(heads, rows, RIGHT)
    else:
        screen.hint(NO_MATCH if filters else EMPTY)


def drawn(found: list[Summary], *, verbose: bool, is_terminal: bool) -> tuple[tuple[str, ...], list[list[Cell | str]]]:
    """Return the heads and the rows of a list."""
    at = now()
    rows: list[list[Cell | str]] = []
    for each in found:
        row: list[Cell | str] = [
            each.blueprint_id,
            each.deployment_type,
            words.place(each),
            each.owner or words.UNKNOWN,
            words.status(each, at),
            words.ends(each, at, is_terminal=is_terminal),
            words.rate(each.cost_per_hour),
            words.cost(each.cost),
        ]
        if verbose:
            next_at = words.when(each.next_attempt_at, at, is_terminal=is_terminal)
            row += [str(each.failures or words.UNKNOWN), next_at, words.error(each)]
        rows.append(row)
    return HEADS + (MORE if verbose else ()), rows


def _filters(*, expiring_within: int | None, id_: str | None, **more: Any) -> dict[str, Any]:
    found = {name: value for name, value in more.items() if value not in (None, False)}
    if expiring_within is not None:
        found["expiring_within"] = expiring_within
    if id_ is not None:
        found["id"] = id_
    return found


def _watch(asked: Asked, filters: dict[str, Any], *, verbose: bool) -> None:
    screen = asked.screen
    if not (screen.is_terminal and screen.is_table):
        raise Usage("-w needs a terminal.", "Without it, the list is written once.")
    client = asked.client

    def draw() -> "Table":
        heads, rows = drawn(list(client.deployments(**filters)), verbose=verbose, is_terminal=True)
        return table_of(heads, rows, RIGHT, has_color=screen.has_color)

    screen.live(draw, lambda: time.sleep(LIVE_PAUSE))
