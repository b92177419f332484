"""`tracker types`, `completion` and `ui`: what needs no stack, or only shows one."""

from difflib import get_close_matches
from importlib import import_module

import click
from click.shell_completion import get_completion_class

from deployment_tracker.cli.asked import Asked, verb
from deployment_tracker.errors import TrackerError, Usage

SHELLS = ("bash", "zsh", "fish")


@verb()
@click.argument("type", required=False)
@click.option("-q", "--quiet", is_flag=True, help="Names alone.")
def types(asked: Asked, type: str | None, *, quiet: bool) -> None:
    """List the deployment types, or what one of them needs."""
    from deployment_tracker.catalogue import catalogue, raw_catalogue  # noqa: PLC0415

    known = catalogue().types
    if type is not None and type not in known:
        near = get_close_matches(type.lower(), {each.lower(): each for each in known}, 1)
        meant = next((each for each in known if near and each.lower() == near[0]), "")
        hint = f"Did you mean {meant}? " if meant else ""
        raise Usage(f"{type!r} is no deployment type.", f"{hint}`tracker types` lists them.")
    if quiet:
        click.echo("\n".join([type] if type else known))
    elif not asked.screen.is_table:
        raw = raw_catalogue()["types"]
        asked.screen.data(raw[type] if type else raw)
    elif type:
        _one(asked, type)
    else:
        asked.screen.table(
            ("TYPE", "PLATFORM", "WHAT GOES"), [(name, each.platform, each.summary) for name, each in known.items()]
        )


@verb()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(asked: Asked, shell: str) -> None:
    """Print what completes `tracker` in a shell.

    Put `source <(tracker completion bash)` into the shell's start file; the same with zsh, and for fish
    `tracker completion fish | source`.
    """
    kind = get_completion_class(shell)
    root = click.get_current_context().find_root().command
    if kind is None:
        raise Usage(f"{shell!r} is no shell that can be completed.", f"One of {', '.join(SHELLS)}.")
    click.echo(kind(root, {}, "tracker", "_TRACKER_COMPLETE").source())


@verb()
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Default: any that is free.")
@click.option("--no-browser", is_flag=True, help="Only say where it is.")
def ui(asked: Asked, port: int, *, no_browser: bool) -> None:
    """Show the stack in a browser."""
    try:
        serve = import_module("deployment_tracker.ui.server").serve
    except ModuleNotFoundError:
        raise TrackerError("This installation has no page.", "Install a newer one.") from None
    serve(asked.client, port=port, opens_browser=not no_browser)


def _one(asked: Asked, name: str) -> None:
    from deployment_tracker.catalogue import Form, catalogue  # noqa: PLC0415

    found, screen = catalogue().types[name], asked.screen
    screen.line(f"{name}: {found.summary}")
    screen.line(f"  platform  {found.platform}")
    screen.line(
        f"  region    {'needed' if found.needs_region else 'none'}{f', such as {found.region}' if found.region else ''}"
    )
    if found.mark:
        screen.line(f"  mark      {found.mark.by}{f' {found.mark.key}' if found.mark.key else ''}")

    def rows(forms: dict[str, Form], groups: list[list[str]]) -> list[tuple[str, ...]]:
        lines: list[tuple[str, ...]] = []
        for key, form in forms.items():
            group: list[str] = next((each for each in groups if key in each), [])
            needed = "needed" if len(group) == 1 else f"one of {', '.join(group)}" if group else ""
            lines.append((f"  {key}", form.example + (" ..." if form.many else ""), needed, form.kind))
        return lines

    screen.line()
    screen.table(("  ID", "SUCH AS", "", "KIND"), rows(found.ids, found.needs_one_of))
    screen.line()
    screen.table(("  METADATA", "SUCH AS", "", ""), rows(found.metadata, found.needs_metadata))
