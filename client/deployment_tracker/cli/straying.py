"""`tracker strays`, `adopt` and `exempt`: what carries the mark, and no record claims."""

from datetime import datetime

import click

from deployment_tracker.cli import words
from deployment_tracker.cli.asked import Asked, key_argument, reason_option, until_options, verb, yes_option
from deployment_tracker.cli.confirming import confirm_name
from deployment_tracker.cli.values import DURATION
from deployment_tracker.times import now


@verb()
@click.option("-q", "--quiet", is_flag=True, help="Keys alone, one on a line.")
def strays(asked: Asked, *, quiet: bool) -> None:
    """List what carries the mark and no record claims."""
    screen, at = asked.screen, now()
    found = list(asked.client.strays())
    if quiet:
        for each in found:
            click.echo(each.name)
    elif not screen.is_table:
        screen.data([each.raw for each in found])
    elif found:
        rows = [
            (
                each.name,
                each.deployment_type or words.UNKNOWN,
                words.where(each.place, each.id) or words.UNKNOWN,
                words.when(each.first_seen_at, at, is_terminal=screen.is_terminal),
                f"exempt: {each.exempt.reason}" if each.exempt else words.UNKNOWN,
            )
            for each in found
        ]
        screen.table(("KEY", "TYPE", "PLACE", "SEEN", "NOTE"), rows)
    else:
        screen.hint("There are no strays.")


@verb()
@key_argument
@reason_option(required=True, why="Why it may go.")
@click.option(
    "--ttl",
    type=DURATION,
    metavar="DURATION",
    help="Time to live from now on. Default: none, it is cleaned up at once.",
)
@yes_option
def adopt(asked: Asked, key: str, reason: str, ttl: int | None, *, yes: bool) -> None:
    """Register a stray, so that it is ended as any deployment."""
    confirm_name(f"{key} is registered, and deleted once its time is over.", key, yes=yes)
    found = asked.client.adopt(key, reason=reason, ttl_seconds=ttl)
    if asked.screen.is_table:
        end = (
            f"ends {words.told(found.ends, now(), is_terminal=asked.screen.is_terminal)}"
            if found.ends
            else "has no end"
        )
        asked.screen.line(f"{key} is registered as {found.blueprint_id}, and {end}.")
    else:
        asked.screen.data(found.raw)


@verb()
@key_argument
@reason_option(required=True, why="Why it is left alone.")
@until_options("30d")
def exempt(asked: Asked, key: str, reason: str, until: datetime) -> None:
    """Leave a stray alone until a time."""
    found = asked.client.exempt(key, reason=reason, until=until)
    if asked.screen.is_table:
        asked.screen.line(
            f"{key} is left alone until {words.told(until, now(), is_terminal=asked.screen.is_terminal)}: {reason}"
        )
    else:
        asked.screen.data(found.raw)
