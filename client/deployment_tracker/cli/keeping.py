"""`tracker extend`, `hold` and `unhold`: more time for a deployment, or none of it counted."""

from datetime import datetime

import click

from deployment_tracker.cli import words
from deployment_tracker.cli.asked import Asked, key_argument, reason_option, until_options, verb
from deployment_tracker.cli.values import DURATION, TIME
from deployment_tracker.errors import Usage
from deployment_tracker.times import now, rfc3339


@verb()
@key_argument
@click.argument("by", type=DURATION, required=False)
@click.option(
    "--until",
    type=TIME,
    metavar="TIME",
    help="A new end instead: RFC 3339, '2026-12-01 18:00 Europe/Berlin', or 'in 2h'.",
)
def extend(asked: Asked, key: str, by: int | None, until: datetime | None) -> None:
    """Give a deployment more time.

    `tracker extend svc-1 2h` adds two hours to its end; --until sets it.
    """
    if (by is None) == (until is None):
        raise Usage("Either a duration or --until is needed.", "Say `tracker extend NAME 2h`, or --until TIME.")
    found = asked.client.extend(key, by=by, until=until)
    if asked.screen.is_table:
        before, after = found.extended.before, found.extended.after
        asked.screen.line(f"{key}: the end was {_said(asked, before)}, and is {_said(asked, after)}.")
    else:
        asked.screen.data(found.raw)


@verb()
@key_argument
@reason_option(required=True, why="Why it must not end.")
@until_options("3d")
def hold(asked: Asked, key: str, reason: str, until: datetime) -> None:
    """Keep a deployment from ending, for a while.

    Neither its time nor a call ends it then, but `end --over-hold`.
    """
    found = asked.client.hold(key, reason=reason, until=until)
    if asked.screen.is_table:
        told = found.hold.until if found.hold and found.hold.until else rfc3339(until)
        asked.screen.line(f"{key} is held until {_said(asked, told)}: {reason}")
    else:
        asked.screen.data(found.raw)


@verb()
@key_argument
def unhold(asked: Asked, key: str) -> None:
    """End the hold of a deployment."""
    found = asked.client.unhold(key)
    if asked.screen.is_table:
        asked.screen.line(
            f"{key} isn't held any more; {words.end(found, now(), is_terminal=asked.screen.is_terminal)}."
        )
    else:
        asked.screen.data(found.raw)


def _said(asked: Asked, text: str | None) -> str:
    return "none" if text is None else words.told(text, now(), is_terminal=asked.screen.is_terminal)
