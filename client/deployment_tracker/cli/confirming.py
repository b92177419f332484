"""Asks a person before something happens. Without a terminal nobody can be asked: then only `-y` goes on."""

import sys

import click

from deployment_tracker.errors import Declined


def is_interactive() -> bool:
    """Return whether a person is there to answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Go on if the person says so. Declined otherwise."""
    if yes:
        return
    if _answer(f"{question} [y/N] ").lower() not in ("y", "yes"):
        raise Declined("Nothing was done.")


def confirm_name(question: str, name: str, *, yes: bool) -> None:
    """Go on if the person types a name. Declined otherwise."""
    if yes:
        return
    if _answer(f"{question}\nType {name} to go on: ") != name:
        raise Declined("Nothing was done.", f"It goes on only if {name} is typed.")


def _answer(question: str) -> str:
    if not is_interactive():
        raise Declined("Nobody is there to ask, and so nothing was done.", "-y goes on without asking.")
    click.echo(question, nl=False, err=True)
    line = sys.stdin.readline()
    if not line:
        # Ctrl-D leaves the cursor behind the question.
        click.echo(err=True)
    return line.strip()
