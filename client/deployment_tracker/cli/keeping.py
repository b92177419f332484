"""`tracker extend`, `hold` and `unhold`: more time for a deployment, or none of it counted."""

from datetime import timedelta

import click

from deployment_tracker.cli import words
from deployment_tracker.cli.asked import Asked, key_argument, reason_option, verb
from deployment_tracker.errors import Usage
from deployment_tracker.times import future, now, parse_duration, rfc3339


@verb()
@key_argument
@click.argument("by", required=False)
@click.option(
    "--until", metavar="TIME", help="A new end instead: RFC 3339, '2026-12-01 18:00 Europe/Berlin', or 'in 2h'."
)
def extend(asked: Asked, key: str, by: str | None, until: str | None) -> None:
    """Give a deployment more time.

    `tracker extend svc-1 2h` adds two hours to its end; --until sets it.
    """
    if (by is None) == (until is None):
        raise Usage("Either a duration or --until is needed.", "Say `tracker extend NAME 2h`, or --until TIME.")
    if by is not None:
        found = asked.client.extend(key, by=parse_duration(by))
    else:
        found = asked.client.extend(key, until=future(until or "", now()))
    if asked.screen.is_table:
        before, after = found.extended.before, found.extended.after
        asked.screen.line(f"{key}: the end was {_said(asked, before)}, and is {_said(asked, after)}.")
    else:
        asked.screen.data(found.raw)


@verb()
@key_argument
@reason_option(required=True, why="Why it must not end.")
@click.option("--until", metavar="TIME", help="Until when; or say --for.")
@click.option("--for", "for_", metavar="DURATION", help="For how long, from now on.")
def hold(asked: Asked, key: str, reason: str, until: str | None, for_: str | None) -> None:
    """Keep a deployment from ending, for a while.

    Neither its time nor a call ends it then, but `end --over-hold`.
    """
    if (until is None) == (for_ is None):
        raise Usage("Either --until or --for is needed.", "Say --for 3d, or --until TIME.")
    at = now()
    end = future(until, at) if until else at + timedelta(seconds=parse_duration(for_ or ""))
    found = asked.client.hold(key, reason=reason, until=end)
    if asked.screen.is_table:
        told = found.hold.until if found.hold and found.hold.until else rfc3339(end)
        asked.screen.line(f"{key} is held until {_said(asked, told)}: {reason}")
    else:
        asked.screen.data(found.raw)


@verb()
@key_argument
def unhold(asked: Asked, key: str) -> None:
    """End the hold of a deployment."""
    found = asked.client.unhold(key)
    if asked.screen.is_table:
        asked.screen.line(f"{key} isn't held any more; it ends {_said(asked, found.expires_at)}.")
    else:
        asked.screen.data(found.raw)


def _said(asked: Asked, text: str | None) -> str:
    return "never" if text is None else words.told(text, now(), is_terminal=asked.screen.is_terminal)
