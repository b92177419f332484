"""This is how what was typed is read: durations, times, verbs. Every refusal names the option, what came and what is expected.

An empty value is refused: `--ttl "$TTL"` of a variable that isn't set must not make a deployment that never ends.
"""

from collections.abc import Callable
from datetime import datetime
from difflib import get_close_matches
from typing import Any, override

import click
from click.core import ParameterSource

from deployment_tracker.errors import Usage
from deployment_tracker.times import future, now, parse_duration


class _Read(click.ParamType[Any]):
    """A value that a function reads; what it refuses is said with the name of the option."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        if not value.strip():
            raise empty(param, f"a {self.name}")
        try:
            return self._read(value)
        except Usage as error:
            raise Usage(f"{said_name(param)}: {error.message}", error.hint) from None


def _future(text: str) -> datetime:
    return future(text, now())


# Seconds; and a time that lies ahead.
DURATION = _Read("duration", parse_duration)
TIME = _Read("time", _future)


def said_name(param: click.Parameter | None) -> str:
    """Return what a person calls a parameter: `--ttl`, `KEY`."""
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    return param.make_metavar(click.get_current_context()).strip("[]") if param else "a value"


def empty(param: click.Parameter | None, wanted: str = "a value") -> Usage:
    """Return the refusal of an empty value."""
    hint = "Is a variable not set?"
    if isinstance(param, click.Option) and not param.required:
        hint += " Leave the option out if it isn't meant."
    return Usage(f"{said_name(param)}: expected {wanted}, got an empty string.", hint)


class Verb(click.Command):
    """A verb. No value of it may be empty, unless that is its default."""

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        for param in self.params:
            name = param.name or ""
            value = ctx.params.get(name)
            # A file that isn't open yet has the name that was given.
            values = value if isinstance(value, tuple) else (value, getattr(value, "name", None))
            is_empty = "" in values
            if is_empty and param.default != "" and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise empty(param)
        return rest


class Verbs(click.Group):
    """Several verbs. One that it doesn't have is refused with the nearest that it has."""

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            known = self.list_commands(ctx)
            near = get_close_matches(args[0], known, 1)
            hint = f"Did you mean `{ctx.command_path} {near[0]}`? " if near else ""
            raise Usage(
                f"{args[0]!r} is no verb of `{ctx.command_path}`.", f"{hint}`{ctx.command_path} -h` lists them."
            )
        return super().resolve_command(ctx, args)
