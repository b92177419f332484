"""`tracker import` and `export`: between stacks, and from the Rust tracker's `deployment_state.json`."""

import json
from datetime import timedelta
from typing import IO, TYPE_CHECKING

import click
import msgspec

from deployment_tracker.cli import words
from deployment_tracker.cli.asked import Asked, verb, yes_option
from deployment_tracker.cli.confirming import confirm
from deployment_tracker.cli.screen import Cell, Screen
from deployment_tracker.cli.values import DURATION
from deployment_tracker.errors import (
    FAILED,
    Conflict,
    Denied,
    NoCredentials,
    NotFound,
    TrackerError,
    Unreachable,
    Usage,
)
from deployment_tracker.states import Entry, is_same, judge, read_state, registration_of
from deployment_tracker.times import now, rfc3339

if TYPE_CHECKING:
    from deployment_tracker.client import Client

GRACE = "24h"
_GRACE_SECONDS = 86_400


@verb("import")
@click.argument("file")
@click.option(
    "--grace",
    type=DURATION,
    metavar="DURATION",
    help=f"What would be due within 24 h ends so long from now instead. Default: {GRACE}.",
)
@click.option("--expire-now", is_flag=True, help="Leave all ends as they are: what is over is ended at once.")
@click.option("-n", "--dry-run", is_flag=True, help="Only the report.")
@yes_option
def import_(asked: Asked, file: str, grace: int | None, *, expire_now: bool, dry_run: bool, yes: bool) -> int:
    """Register the deployments of a file.

    A report comes first, then all are registered that can be. Use - for stdin.

    FILE is a deployment_state.json of the Rust tracker, or what `tracker export` wrote. It is safe to do it again.
    """
    if grace and expire_now:
        raise Usage("--grace and --expire-now are opposites.", "Say one of them.")
    given = None if expire_now else timedelta(seconds=grace or _GRACE_SECONDS)
    entries = judge(read_state(_text(file)), now(), given)
    # What is there already is known before anyone is asked, and isn't given another end.
    entries = [_looked_up(asked.client, each) for each in entries]
    _report(asked.screen.aside, entries)
    todo = [each for each in entries if not (each.problem or each.skipped)]
    problems = sum(bool(each.problem) for each in entries)
    if dry_run or not todo:
        asked.screen.hint(f"{len(todo)} would be registered." if todo else "Nothing is left to register.")
        return FAILED if problems else 0
    confirm(f"Register {len(todo)} in {asked.client.place.name}?", yes=yes)
    failed = sum(not _registered(asked, each) for each in todo)
    asked.screen.hint(f"{len(todo) - failed} of {len(entries)} registered, {failed + problems} failed.")
    return FAILED if failed or problems else 0


@verb()
@click.option("--all", "every", is_flag=True, help="Also what is over.")
@click.option("--ndjson", is_flag=True, help="One record on a line, as it comes.")
@click.option("-f", "--file", type=click.File("w", encoding="utf-8", lazy=True), default="-", help="Default: stdout.")
def export(asked: Asked, file: IO[str], *, every: bool, ndjson: bool) -> None:
    """Write deployments to a file.

    `tracker import` reads it, and so does the Rust tracker, where no record has a list of ids.
    """
    client = asked.client
    keys = [each.blueprint_id for each in client.deployments()]
    if every:
        keys += [each.blueprint_id for each in client.deployments(status="Terminated")]
    found = {}
    for key in keys:
        try:
            record = registration_of(client.get(key))
        except NotFound:
            # It went meanwhile.
            continue
        if ndjson:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
        found[key] = record
    if not ndjson:
        file.write(json.dumps(found, ensure_ascii=False, indent=2) + "\n")
    asked.screen.hint(f"{len(found)} exported.")


def _text(file: str) -> str:
    try:
        with click.open_file(file, encoding="utf-8") as opened:
            return str(opened.read())
    except OSError as error:
        raise Usage(f"{file} can't be read: {error.strerror}.", "Name a file that is there, or - for stdin.") from None
    except UnicodeDecodeError:
        raise Usage(f"{file} isn't text in UTF-8.", "Name another file.") from None


def _looked_up(client: "Client", entry: Entry) -> Entry:
    if entry.problem or entry.skipped:
        return entry
    try:
        there = client.get(entry.key)
    except NotFound:
        return entry
    except (Denied, NoCredentials, Unreachable):
        # So will be all the others.
        raise
    except TrackerError as error:
        return msgspec.structs.replace(entry, problem=error.message)
    if is_same(there, entry.registration):
        return msgspec.structs.replace(entry, skipped=True, note=f"it is there already, {there.status}", moved_to=None)
    if there.status == "Terminated":
        return entry
    return msgspec.structs.replace(entry, problem="another deployment has its key")


def _report(screen: Screen, entries: list[Entry]) -> None:
    rows = []
    for each in entries:
        end = rfc3339(each.ends) if each.ends else "no end"
        if each.moved_to:
            end += f" -> {rfc3339(each.moved_to)}"
        what = (
            Cell("can't be registered", "bad")
            if each.problem
            else Cell("skipped", "over")
            if each.skipped
            else Cell("register")
        )
        type_ = str(each.registration.get("deployment_type", words.UNKNOWN))
        rows.append((each.key or words.UNKNOWN, type_, end, what, each.problem or each.note))
    screen.table(("KEY", "TYPE", "ENDS", "WHAT", "WHY"), rows)


def _registered(asked: Asked, entry: Entry) -> bool:
    try:
        is_new = asked.client.register(entry.registration).is_new
        outcome = "registered" if is_new else "it was there already"
    except Conflict:
        outcome, is_new = "another deployment has its key", False
    except (Denied, NoCredentials, Unreachable):
        raise
    except TrackerError as error:
        outcome, is_new = error.message, False
    is_done = is_new or outcome.startswith("it was")
    if asked.screen.is_table:
        asked.screen.line(f"{entry.key}  {outcome}", "" if is_done else "bad")
    else:
        asked.screen.row({"blueprint_id": entry.key, "outcome": outcome, "is_registered": is_done})
    return is_done
