"""`tracker retry`: tries failed cleanups again, one or many."""

from collections.abc import Iterator

import click

from deployment_tracker.cli import words
from deployment_tracker.cli.asked import Asked, reason_option, verb, yes_option
from deployment_tracker.cli.confirming import confirm_name
from deployment_tracker.cli.listing import RIGHT, drawn
from deployment_tracker.errors import FAILED, Conflict, TrackerError, Usage
from deployment_tracker.models import Summary


@verb()
@click.argument("key", required=False)
@click.option("--all", "every", is_flag=True, help="All whose cleanup fails, or was given up.")
@click.option("--type", "deployment_type", metavar="TYPE", help="With --all: of this type.")
@click.option("--error-class", metavar="CLASS", help="With --all: that failed for this reason, such as credentials.")
@reason_option()
@yes_option
def retry(
    asked: Asked,
    key: str | None,
    deployment_type: str | None,
    error_class: str | None,
    reason: str,
    *,
    every: bool,
    yes: bool,
) -> int:
    """Try failed cleanups again, at once.

    The counting of their failures begins anew.
    """
    if (key is None) != every:
        raise Usage("Either a name or --all is needed.", "Say `tracker retry NAME`, or `tracker retry --all`.")
    if key is not None:
        if deployment_type or error_class:
            raise Usage("--type and --error-class choose among --all.", "Say `tracker retry --all --type TYPE`.")
        return _one(asked, key, reason, yes=yes)
    return _many(asked, list(_failed(asked, deployment_type, error_class)), reason, yes=yes)


def _one(asked: Asked, key: str, reason: str, *, yes: bool) -> int:
    found = asked.client.get(key)
    if not found.is_live or not (found.last_error or found.quarantined):
        hint = f"`tracker end {key}` ends it." if found.is_live else f"`tracker show {key}` shows how far it is."
        raise Conflict(409, "conflict", f"No cleanup of {key!r} has failed; it is {found.status}.", hint)
    if found.quarantined:
        confirm_name(f"{key} was given up: {words.error(found)}. Its cleanup is tried again.", key, yes=yes)
    ended = asked.client.end(key, reason=reason or "retry")
    if asked.screen.is_table:
        brake = ended.brake
        held = f", once the brake ({brake.mode}) lets it" if brake and brake.mode != "enforce" else ""
        asked.screen.line(f"{key} is tried again{held}.")
    else:
        asked.screen.data(ended.raw)
    return 0


def _failed(asked: Asked, deployment_type: str | None, error_class: str | None) -> Iterator[Summary]:
    for each in asked.client.deployments(failing=True, deployment_type=deployment_type):
        if each.is_live and error_class in (None, each.last_error and each.last_error.error_class):
            yield each


def _many(asked: Asked, found: list[Summary], reason: str, *, yes: bool) -> int:
    screen = asked.screen
    if not found:
        screen.hint("No cleanup fails that matches.")
        return 0
    aside = screen.aside
    heads, rows = drawn(found, verbose=True, is_terminal=aside.is_terminal)
    aside.table(heads, rows, RIGHT)
    what = f"{len(found)} cleanups"
    confirm_name(f"{what} are tried again.", what, yes=yes)
    failed = 0
    for each in found:
        try:
            asked.client.end(each.blueprint_id, reason=reason or "retry")
            outcome = "is tried again"
        except TrackerError as error:
            failed += 1
            outcome = f"isn't: {error.message}"
        if screen.is_table:
            screen.line(f"{each.blueprint_id} {outcome}", "bad" if outcome.startswith("isn't") else "")
        else:
            screen.row({"blueprint_id": each.blueprint_id, "outcome": outcome})
    if failed:
        screen.hint(f"{failed} of {what} weren't tried again.")
    return FAILED if failed else 0
