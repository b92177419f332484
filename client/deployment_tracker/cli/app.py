"""The command itself: finds a verb's module when the verb is asked for, and turns errors into a sentence and an exit code.

No stack trace ever reaches a person; TRACKER_DEBUG=1 shows it to whoever mends this program.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, override

import click

from deployment_tracker.cli.asked import common
from deployment_tracker.cli.values import Verbs
from deployment_tracker.errors import BROKEN_PIPE, FAILED, INTERRUPTED, TrackerError
from deployment_tracker.version import __version__

# By the headings of the help: verb, its module, and the name of its command there.
VERBS: dict[str, dict[str, str]] = {
    "Deployments": {
        "register": "registering:register",
        "ls": "listing:ls",
        "show": "showing:show",
        "plan": "showing:plan",
        "amend": "registering:amend",
        "extend": "keeping:extend",
        "hold": "keeping:hold",
        "unhold": "keeping:unhold",
        "end": "ending:end",
        "wait": "ending:wait",
        "retry": "retrying:retry",
        "forget": "ending:forget",
    },
    "What happened": {
        "events": "showing:events",
        "deliveries": "delivering:deliveries",
        "redeliver": "delivering:redeliver",
        "announce": "delivering:announce",
        "verify-webhook": "delivering:verify_webhook",
    },
    "Strays": {
        "strays": "straying:strays",
        "adopt": "straying:adopt",
        "exempt": "straying:exempt",
    },
    "The stack": {
        "brake": "braking:brake",
        "doctor": "checking:doctor",
        "whoami": "checking:whoami",
        "types": "knowing:types",
        "import": "moving:import_",
        "export": "moving:export",
        "ui": "knowing:ui",
        "completion": "knowing:completion",
    },
}
_MODULES = {name: place for verbs in VERBS.values() for name, place in verbs.items()}


class Tracker(Verbs):
    """The verbs, each loaded when it is asked for."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        module, _, name = _MODULES[cmd_name].partition(":")
        found: click.Command = getattr(import_module(f"deployment_tracker.cli.{module}"), name)
        return found

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, _MODULES))
        for heading, verbs in VERBS.items():
            with formatter.section(heading):
                lines = [(name.ljust(width), self.get_command(ctx, name)) for name in verbs]
                formatter.write_dl([(name, verb.get_short_help_str(80)) for name, verb in lines if verb])

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            found = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever reads has enough (`| head`). What is still buffered must not be tried again at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE
        return found

    # click overloads it by what it returns.
    @override
    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        stands_alone = extra.pop("standalone_mode", True)
        code = self._run(args, prog_name or "tracker", **extra)
        if stands_alone:
            sys.exit(code)
        return code

    def _run(self, args: Sequence[str] | None, prog_name: str, **extra: Any) -> int:
        try:
            found = super().main(args, prog_name, standalone_mode=False, **extra)
        except TrackerError as error:
            click.echo(f"error: {error.said}", err=True)
            return error.exit_code
        except click.Abort:
            # Ctrl-C; click has ended the line.
            return INTERRUPTED
        except click.ClickException as error:
            click.echo(f"error: {_said(error)}", err=True)
            return error.exit_code
        except Exception as error:
            if os.environ.get("TRACKER_DEBUG"):
                raise
            kind = type(error).__name__
            click.echo(
                f"error: this program has a fault ({kind}: {error}). Nothing more was done; TRACKER_DEBUG=1 shows where.",
                err=True,
            )
            return FAILED
        return found if isinstance(found, int) else 0


def _said(error: click.ClickException) -> str:
    """Return what click refuses in one line, and how to go on."""
    said = " ".join(error.format_message().split()).rstrip(".?")
    end = "?" if "Did you mean" in said else "."
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{said}{end} `{context.command_path} -h` shows what it takes." if context else f"{said}{end}"


@click.group(cls=Tracker, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tracker", message="%(prog)s %(version)s")
@common
def tracker() -> None:
    """See, extend and end the deployments that a stack tracks.

    The stack is --stack, TRACKER_STACK, or that of `make up` in this folder or one above it. Exit codes: 0 done, 1 failed, 2 wrong usage or
    a no, 3 `wait` ran out of time, 4 credentials, 5 not found, 6 conflict.
    """
