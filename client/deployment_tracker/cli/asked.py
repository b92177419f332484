"""This is what was asked for beside the verb: which stack, which output, which colours. Every verb takes these options, and so does `tracker` itself."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any

import click

from deployment_tracker.cli.screen import Screen
from deployment_tracker.cli.values import DURATION, TIME, Verb, empty
from deployment_tracker.errors import Usage
from deployment_tracker.times import now

if TYPE_CHECKING:
    from deployment_tracker.client import Client

OUTPUTS = ("table", "json", "yaml")


class Asked:
    """The common options, and what follows from them."""

    def __init__(self) -> None:
        self.stack: str | None = None
        self.region: str | None = None
        self.profile: str | None = None
        self.url: str | None = None
        self.output = "table"
        self.no_color = False

    @cached_property
    def screen(self) -> Screen:
        """Return where data and hints go."""
        return Screen(self.output, no_color=self.no_color)

    @cached_property
    def client(self) -> "Client":
        """The client of the stack that is meant. It says so, if it was found by itself."""
        from deployment_tracker.client import Client  # noqa: PLC0415 - verbs that call nobody don't wait for it

        found = Client.connect(self.stack, self.region, self.profile, self.url)
        if found.place.is_local and not self.stack:
            self.screen.hint(f"On {found.place.found}.")
        return found


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    asked = ctx.ensure_object(Asked)
    if value is None or value is False:
        return
    if value == "":
        # Of the environment, an empty one is none.
        raise empty(param)
    if param.name == "as_json":
        asked.output = "json"
    else:
        setattr(asked, str(param.name), value)


_OPTIONS = (
    click.option("--stack", metavar="NAME", help="The CloudFormation stack (TRACKER_STACK)."),
    click.option("--region", help="Its AWS region (AWS_REGION, or the profile's)."),
    click.option("--profile", help="The AWS profile that signs (AWS_PROFILE)."),
    click.option("--url", help="The API's URL, instead of a stack (TRACKER_URL)."),
    click.option("-o", "--output", type=click.Choice(OUTPUTS), help="How data is written. Default: table."),
    click.option("--json", "as_json", is_flag=True, help="The same as -o json."),
    click.option("--no-color", is_flag=True, help="No colours (NO_COLOR)."),
)


def common[F: Callable[..., Any]](function: F) -> F:
    """Give a verb the common options. They aren't handed to it: it asks the `Asked` of its context."""
    for option in reversed(_OPTIONS):
        function = option(function)
    for each in getattr(function, "__click_params__", ()):
        if each.name in {"stack", "region", "profile", "url", "output", "as_json", "no_color"}:
            each.expose_value, each.callback = False, _remember
    return function


_pass_asked: Callable[..., Any] = click.make_pass_decorator(Asked, ensure=True)


def verb(name: str | None = None, **more: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a verb: its first argument is the `Asked`, the others are its own options."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        with_asked: Callable[..., Any] = _pass_asked(function)
        made: Callable[..., click.Command] = click.command(name, cls=Verb, **more)
        return made(common(with_asked))

    return decorate


def key_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """The key of a deployment."""
    return click.argument("key")(function)


def yes_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`-y`."""
    return click.option("-y", "--yes", is_flag=True, help="Don't ask.")(function)


def reason_option(*, required: bool = False, why: str = "Why, for the record.") -> Callable[[Callable[..., Any]], Any]:
    """`--reason`."""
    # To click None would be a default, too.
    more: dict[str, Any] = {"required": True} if required else {"default": ""}
    return click.option("--reason", metavar="TEXT", help=why, **more)


def until_options(example: str) -> Callable[[Callable[..., Any]], Any]:
    """`--until` and `--for`, as one `until` in what is decorated: one of them must be said. `example` is a duration."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @click.option("--until", type=TIME, metavar="TIME", help="Until when; or say --for.")
        @click.option("--for", "for_", type=DURATION, metavar="DURATION", help="For how long, from now on.")
        @wraps(function)
        def with_until(*given: Any, until: datetime | None, for_: int | None, **named: Any) -> Any:
            if (until is None) == (for_ is None):
                raise Usage("Either --until or --for is needed.", f"Say --for {example}, or --until TIME.")
            return function(*given, until=until or now() + timedelta(seconds=for_ or 0), **named)

        return with_until

    return decorate
