"""`tracker brake`: shows and sets the brake, an SSM parameter that stops cleanups within seconds (docs/settings.md)."""

import click

from deployment_tracker.brakes import Brakes, parse_brakes
from deployment_tracker.catalogue import catalogue
from deployment_tracker.cli.asked import Asked, common, verb
from deployment_tracker.cli.confirming import confirm
from deployment_tracker.cli.values import Verbs
from deployment_tracker.errors import Usage
from deployment_tracker.places import AwsError

OBEYED = "It is obeyed within 5 seconds by whatever begins then; a step that runs may go on for 5 minutes."

MEANING = {
    "enforce": "cleanups run",
    "pause": "no cleanup begins or goes on",
    "observe": "plans of what is due are written, and nothing is deleted",
}


@click.group(cls=Verbs, invoke_without_command=True)
@common
@click.pass_context
def brake(ctx: click.Context) -> None:
    """Show or set the brake on cleanups. Without a verb of its own it is shown."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)


@verb()
def show(asked: Asked) -> None:
    """Show the mode for all platforms, and the exceptions."""
    text, found = read_brake(asked)
    if not asked.screen.is_table:
        asked.screen.data(
            {
                "value": text,
                "mode": found.default if found else "pause",
                "exceptions": found.exceptions if found else {},
            }
        )
    elif found is None:
        asked.screen.line(f"{text!r} can't be read, and so all cleanups are paused.", "bad")
        asked.screen.hint("`tracker brake resume` sets it to enforce.")
    else:
        asked.screen.line(found.text + ("" if text is not None else " (nobody has set it)"))
        modes = dict.fromkeys([found.default, *found.exceptions.values()])
        asked.screen.hint(" ".join(f"{mode}: {MEANING[mode]}." for mode in modes))


@verb()
@click.argument("platform", required=False)
def pause(asked: Asked, platform: str | None) -> None:
    """Let no cleanup begin or go on: for one platform, or for all."""
    _put(asked, "pause", platform)


@verb()
@click.argument("platform", required=False)
def observe(asked: Asked, platform: str | None) -> None:
    """Write plans of what is due, and delete nothing."""
    _put(asked, "observe", platform)


@verb()
@click.argument("platform", required=False)
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
def resume(asked: Asked, platform: str | None, *, yes: bool) -> None:
    """Let cleanups run again: for one platform, or for all."""
    _checked(platform)
    confirm(f"Cleanups of {platform or 'all platforms'} run again, and delete what is due. Go on?", yes=yes)
    _put(asked, "enforce", platform)


for _each in (show, pause, observe, resume):
    brake.add_command(_each)


def parameter_of(asked: Asked) -> str:
    """Return the name of the SSM parameter. Usage if only a URL is known."""
    name = asked.client.place.outputs.get("ModeParameter")
    if not name:
        raise Usage("The brake isn't known by a URL.", "Name the stack with --stack.")
    return name


def read_brake(asked: Asked) -> tuple[str | None, Brakes | None]:
    """Return the value, None if nobody has set it, and what it means, None if it can't be read."""
    try:
        text = str(asked.client.aws.call("ssm", "get_parameter", Name=parameter_of(asked))["Parameter"]["Value"])
    except AwsError as error:
        if error.code == "ParameterNotFound":
            return None, Brakes()
        raise
    try:
        return text, parse_brakes(text, catalogue().platforms)
    except ValueError:
        return text, None


def _put(asked: Asked, mode: str, platform: str | None) -> None:
    _checked(platform)
    text, found = read_brake(asked)
    if found is None and platform:
        raise Usage(
            f"The brake is {text!r}, which can't be read.", "Set it for all platforms first: `tracker brake pause`."
        )
    new = (found or Brakes()).changed(mode, platform)
    # A stack that may only be overwritten refuses what isn't there, and the other way round: this does both.
    asked.client.aws.call(
        "ssm", "put_parameter", Name=parameter_of(asked), Value=new.text, Type="String", Overwrite=True
    )
    if asked.screen.is_table:
        asked.screen.line(f"The brake was {text or 'never set'}, and is {new.text}.")
        asked.screen.hint(OBEYED)
    else:
        asked.screen.data({"value": new.text, "mode": new.default, "exceptions": new.exceptions, "before": text})


def _checked(platform: str | None) -> None:
    known = catalogue().platforms
    if platform is not None and platform not in known:
        raise Usage(
            f"{platform!r} is no platform.",
            f"It is one of {', '.join(known)}; `tracker types` shows the platform of each type.",
        )
