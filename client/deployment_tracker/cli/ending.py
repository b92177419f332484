"""`tracker end`, `wait` and `forget`: how a deployment comes to its end."""

import click

from deployment_tracker.cli import words
from deployment_tracker.cli.asked import Asked, key_argument, reason_option, verb, yes_option
from deployment_tracker.cli.confirming import confirm, confirm_name
from deployment_tracker.cli.showing import planned
from deployment_tracker.cli.values import DURATION
from deployment_tracker.errors import FAILED, TrackerError
from deployment_tracker.models import ENDING, OVER, Deployment
from deployment_tracker.times import now

timeout_option = click.option(
    "--timeout", type=DURATION, metavar="DURATION", help="How long to wait at most; then exit 3."
)
over_hold_option = click.option("--over-hold", metavar="TEXT", default="", help="Why it is ended though it is held.")


@verb()
@key_argument
@reason_option()
@over_hold_option
@click.option("--plan", "digest", metavar="DIGEST", help="Only if its plan is still this one (`tracker plan -q`).")
@click.option("--wait", "waits", is_flag=True, help="Wait until everything is proven gone.")
@timeout_option
@yes_option
def end(
    asked: Asked,
    key: str,
    reason: str,
    over_hold: str,
    digest: str | None,
    timeout: int | None,
    *,
    waits: bool,
    yes: bool,
) -> int:
    """End a deployment.

    It shows what goes, what stays and what it costs an hour, asks, and begins the cleanup.
    """
    client, screen = asked.client, asked.screen
    if not yes:
        there = client.get(key)
        if not there.is_live:
            return _ended_already(asked, there, timeout, waits=waits)
        digest = _review(asked, there, digest)
    elif digest is not None:
        # Also an empty one: a script got none, and mustn't end more than it asked for.
        _check_digests(asked, key)
    found = client.end(key, reason=reason, over_hold=over_hold, plan=digest)
    if found.brake and found.brake.mode != "enforce":
        screen.hint(f"{key}: the brake holds it up ({found.brake.mode}). {found.brake.message}".strip())
    elif found.status == OVER:
        screen.hint(f"{key} is over: everything is proven gone.")
    else:
        screen.hint(f"{key} is ending.")
    if waits and found.status != OVER:
        return watched(asked, key, timeout)
    _answered(asked, found)
    return 0


@verb()
@key_argument
@timeout_option
def wait(asked: Asked, key: str, timeout: int | None) -> int:
    """Wait until a deployment is over.

    Exit 1 if its cleanup is given up, 3 if --timeout is over.
    """
    return watched(asked, key, timeout)


@verb()
@key_argument
@reason_option(required=True, why="Why no cleanup is needed.")
@over_hold_option
@yes_option
def forget(asked: Asked, key: str, reason: str, over_hold: str, *, yes: bool) -> None:
    """End a record without a cleanup.

    For what someone removed by hand. Nothing is deleted.
    """
    if not yes:
        found = asked.client.get(key)
        ids = ", ".join(str(each) for each in found.resource_ids.values()) or "nothing"
        confirm_name(f"{key} ({found.deployment_type}: {ids}) is forgotten. Nothing is deleted.", key, yes=yes)
    forgotten = asked.client.forget(key, reason=reason, over_hold=over_hold)
    if asked.screen.is_table:
        asked.screen.line(f"{key} is forgotten. What still runs of it, runs on.")
    else:
        asked.screen.data(forgotten.raw)


def watched(asked: Asked, key: str, seconds: float | None) -> int:
    """Wait for the end of a deployment, and say to stderr what changes. Return the exit code."""
    said = [""]

    def seen(found: Deployment) -> None:
        text = _progress(found)
        if text != said[0]:
            said[0] = text
            asked.screen.hint(f"{key}: {text}")

    try:
        found = asked.client.wait(key, seconds=seconds, seen=seen)
    except KeyboardInterrupt:
        asked.screen.hint("Nobody waits any more; what was begun goes on.")
        raise
    _answered(asked, found)
    return 0 if found.status == OVER else FAILED


def _ended_already(asked: Asked, found: Deployment, seconds: float | None, *, waits: bool) -> int:
    """Say that there is nothing to begin, and so nothing to ask."""
    key, is_over = found.blueprint_id, found.status == OVER
    asked.screen.hint(f"{key} is {'over' if is_over else 'ending'} already, and so nothing was begun.")
    if waits and not is_over:
        return watched(asked, key, seconds)
    _answered(asked, found)
    return 0


def _review(asked: Asked, found: Deployment, digest: str | None) -> str | None:
    """Show what goes, what stays and what it costs, and ask. Return the digest of what was shown."""
    key = found.blueprint_id
    plan = asked.client.plan(key)
    planned(asked.screen.aside, plan)
    costs = words.rate(found.cost_per_hour)
    price = "at an unknown price" if costs == words.UNKNOWN else f"at {costs} an hour"
    question = f"{key} ({found.deployment_type}, {price}) will be ended."
    if found.quarantined:
        confirm_name(question, key, yes=False)
    else:
        confirm(f"{question} Go on?", yes=False)
    # A stack that knows no better has an empty digest for a plan of nothing.
    return plan.digest or None if digest is None else digest


def _check_digests(asked: Asked, key: str) -> None:
    """Refuse to go on if the stack would overlook the digest, since it makes none."""
    if asked.client.plan(key).digest is None:
        raise TrackerError(
            f"The plan of {key!r} has no digest, and so nothing was done.",
            f"`tracker plan {key}` shows whether it is refused, or the stack is too old.",
        )


def _answered(asked: Asked, found: Deployment) -> None:
    if not asked.screen.is_table:
        asked.screen.data(found.raw)
    else:
        status = words.status(found, now())
        asked.screen.line(f"{found.blueprint_id}  {status.text}", status.look)


def _progress(found: Deployment) -> str:
    states = words.counts(found.resources)
    text = f"{found.status}{f' ({states})' if states else ''}"
    if found.status in (ENDING, OVER):
        return text
    if found.quarantined:
        return f"{text}, given up: {words.error(found)}. `tracker retry {found.blueprint_id}` tries again"
    if found.last_error:
        return f"{text}, failed {found.failures} times: {words.error(found)}; next try {found.next_attempt_at}"
    # Nobody has ended it yet: so long it may have to be waited for.
    return f"{text}; {words.end(found, now(), is_terminal=False)}"
