"""`tracker deliveries`, `redeliver`, `announce` and `verify-webhook`: what was sent, sending it again, and whether it was us."""

import os
import time

import click

from deployment_tracker.cli import words
from deployment_tracker.cli.asked import Asked, key_argument, verb
from deployment_tracker.cli.screen import Cell
from deployment_tracker.cli.showing import attempts, delivery_look
from deployment_tracker.cli.values import DURATION
from deployment_tracker.errors import Usage
from deployment_tracker.signatures import TOLERANCE, read_secret, verify
from deployment_tracker.times import now

SECRET = "TRACKER_WEBHOOK_SECRET"


@verb()
@key_argument
@click.option("-q", "--quiet", is_flag=True, help="Ids alone, one on a line.")
def deliveries(asked: Asked, key: str, *, quiet: bool) -> None:
    """List what a webhook was sent.

    Each delivery is pending (on its way), delivered, stopped (its receiver wants no more) or dead (given up; `tracker redeliver` sends it again).
    """
    found = list(asked.client.deliveries(key))
    screen, at = asked.screen, now()
    if quiet:
        for each in found:
            click.echo(each.id)
    elif not screen.is_table:
        screen.data([each.raw for each in found])
    elif found:
        rows = [
            (
                each.id,
                Cell(each.state, delivery_look(each)),
                words.when(each.created_at, at, is_terminal=screen.is_terminal),
                attempts(each),
                words.when(each.next_attempt_at, at, is_terminal=screen.is_terminal),
                each.url,
            )
            for each in found
        ]
        screen.table(("ID", "STATE", "CREATED", "ATTEMPTS", "NEXT", "URL"), rows)
    else:
        screen.hint("Its webhook was sent nothing.")


@verb()
@key_argument
@click.argument("webhook_id")
def redeliver(asked: Asked, key: str, webhook_id: str) -> None:
    """Send a delivery again."""
    found = asked.client.redeliver(key, webhook_id)
    if asked.screen.is_table:
        asked.screen.line(f"{webhook_id} is sent again.")
    else:
        asked.screen.data(found)


@verb()
@key_argument
@click.option(
    "--from",
    "first",
    metavar="NUMBER",
    type=click.IntRange(min=1),
    default=1,
    help="The first event, by its number: `sequence` in `tracker events KEY --json`. Default: all that its record keeps.",
)
def announce(asked: Asked, key: str, *, first: int) -> None:
    """Announce a deployment's events again.

    They go to the topic and to the deployment's webhook under the same ids, so that whoever heard them knows them.
    """
    found = asked.client.announce(key, from_sequence=first)
    if not asked.screen.is_table:
        asked.screen.data({"announced": found})
    elif found:
        asked.screen.line(f"{len(found)} {'event is' if len(found) == 1 else 'events are'} announced again.")
    else:
        asked.screen.line(f"Its record keeps no event from {first} on.")


@verb("verify-webhook")
@click.argument("file", default="-")
@click.option(
    "-H",
    "--header",
    "headers",
    metavar="'NAME: VALUE'",
    multiple=True,
    help="A header of the call: all that begin with webhook-.",
)
@click.option("--headers-file", metavar="FILE", help="The headers, one on a line.")
@click.option(
    "--secret-env", metavar="NAME", default=SECRET, show_default=True, help="The variable that holds the secret."
)
@click.option("--secret-file", metavar="FILE", help="The file that holds the secret.")
@click.option("--tolerance", type=DURATION, metavar="DURATION", help="How old it may be. Default: 5 min.")
def verify_webhook(
    asked: Asked,
    file: str,
    headers: tuple[str, ...],
    headers_file: str | None,
    secret_env: str,
    secret_file: str | None,
    tolerance: int | None,
) -> None:
    """Check that a webhook call came from the tracker.

    Its body is read from FILE or stdin, its headers and its secret come by options; the secret is never one itself.
    """
    text = _text(secret_file) if secret_file else os.environ.get(secret_env, "")
    if not text:
        raise Usage(
            "There is no secret.", f"Put it into the variable {secret_env}, or a file that --secret-file names."
        )
    lines = list(headers)
    if headers_file:
        lines += [line for line in _text(headers_file).splitlines() if ":" in line]
    named = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = _bytes(file)
    age = tolerance or TOLERANCE
    id_ = verify(named, body, read_secret(text), time.time(), age)
    if asked.screen.is_table:
        asked.screen.line(f"{id_} was sent by the tracker.")
    else:
        asked.screen.data({"webhook_id": id_, "is_valid": True})


def _bytes(file: str) -> bytes:
    try:
        with click.open_file(file, "rb") as opened:
            return bytes(opened.read())
    except OSError as error:
        raise Usage(f"{file} can't be read: {error.strerror}.", "Name a file that is there, or - for stdin.") from None


def _text(file: str) -> str:
    try:
        return _bytes(file).decode()
    except UnicodeDecodeError:
        raise Usage(f"{file} isn't text in UTF-8.", "Name another file.") from None
