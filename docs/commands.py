"""The reference of docs/cli.md, from the commands themselves. `python -m docs` (`make docs`) writes it into that page."""

from collections.abc import Iterator

import click

from deployment_tracker.cli.app import VERBS, tracker
from deployment_tracker.cli.asked import common


def reference() -> Iterator[str]:
    """Yield a section for each verb, and one for the options that all of them take."""
    context = click.Context(tracker, info_name="tracker")
    yield "### Options of every command"
    yield ""
    yield from _options(click.command("x")(common(lambda: None)), context)
    for heading, verbs in VERBS.items():
        for name in verbs:
            command = tracker.get_command(context, name)
            if command is None:
                raise LookupError(name)
            yield ""
            yield from _section(heading, command, click.Context(command, context, name))


def _section(heading: str, command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"### `tracker {context.info_name}`"
    yield ""
    parts = [command] if not isinstance(command, click.Group) else list(command.commands.values())
    yield f"*{heading}.* " + " ".join((command.help or "").split())
    for part in parts:
        within = context if part is command else click.Context(part, context, part.name)
        yield ""
        yield "```"
        yield " ".join([within.command_path, *_pieces(part, within)])
        yield "```"
        if part is not command:
            yield ""
            yield " ".join((part.help or "").split())
        if any(_is_own(each) for each in part.params):
            yield ""
            yield from _options(part, within)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    yield "| option | |"
    yield "|---|---|"
    is_common = command.name == "x"
    for each in command.params:
        record = each.get_help_record(context) if is_common or _is_own(each) else None
        if record:
            yield f"| `{_cell(record[0])}` | {_cell(record[1])} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _is_own(parameter: click.Parameter) -> bool:
    """Return whether an option is the verb's own."""
    return isinstance(parameter, click.Option) and parameter.expose_value


def _pieces(command: click.Command, context: click.Context) -> Iterator[str]:
    if any(_is_own(each) for each in command.params):
        yield "[OPTIONS]"
    for each in command.params:
        if isinstance(each, click.Argument):
            yield each.make_metavar(context)
