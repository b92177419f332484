"""`tracker show`, `plan` and `events`: one deployment, what its cleanup would do, and what happened to it."""

import time
from datetime import datetime

import click

from deployment_tracker.cli import telling, words
from deployment_tracker.cli.asked import Asked, key_argument, verb
from deployment_tracker.cli.screen import Cell, Screen
from deployment_tracker.errors import FAILED
from deployment_tracker.models import ENDING, OVER, Delivery, Deployment, Plan, Resource
from deployment_tracker.times import length, now

_STATE_LOOKS = {"present": "moving", "leaving": "moving", "gone": "over", "kept": "soon"}
NOTHING_TO_PLAN = {OVER: "is over", ENDING: "is ending already"}
DIGEST = "it stands for exactly this plan: `tracker end --plan DIGEST` ends nothing if it has changed"
ROUND = "a round is one run of the cleanup"
# Seconds between two looks of `events -f`.
FOLLOW_PAUSE = 2.0


@verb()
@key_argument
@click.option("-q", "--quiet", is_flag=True, help="Its status alone.")
def show(asked: Asked, key: str, *, quiet: bool) -> None:
    """Show a deployment.

    Time left, cost, resources with what proves them gone, deliveries, and what happened. A round is one run of the cleanup.
    """
    screen, client = asked.screen, asked.client
    found = client.get(key)
    if quiet:
        click.echo(found.status)
        return
    deliveries = list(client.deliveries(key)) if found.cleanup_webhook else []
    if not screen.is_table:
        screen.data(found.raw | ({"deliveries": [each.raw for each in deliveries]} if deliveries else {}))
        return
    at = now()
    _facts(screen, found, at)
    resources(screen, found.resources, "Resources")
    _deliveries(screen, deliveries)
    screen.line()
    screen.line("What happened")
    for event in found.events:
        screen.line(f"  {telling.line(event, at, is_terminal=screen.is_terminal)}")


@verb()
@key_argument
@click.option("-q", "--quiet", is_flag=True, help="The plan's digest alone, for `end --plan`.")
def plan(asked: Asked, key: str, *, quiet: bool) -> int:
    """Show what a cleanup would delete and what it would keep. Nothing is deleted.

    Its digest stands for exactly this plan: `tracker end --plan DIGEST` ends nothing if it has changed.
    """
    found = asked.client.plan(key)
    if quiet:
        click.echo(found.digest or "")
    elif not asked.screen.is_table:
        asked.screen.data(found.raw)
    elif found.status in NOTHING_TO_PLAN:
        asked.screen.line(f"{key} {NOTHING_TO_PLAN[found.status]}: there is nothing to plan.")
        asked.screen.hint(f"`tracker show {key}` has what is gone, and what proved it.")
    else:
        planned(asked.screen, found)
    return FAILED if found.refusal or found.problems else 0


@verb()
@key_argument
@click.option("-f", "--follow", is_flag=True, help="Go on as more happens, until it is over or Ctrl-C.")
def events(asked: Asked, key: str, *, follow: bool) -> None:
    """Show what happened to a deployment.

    Its last 100 events at most, from the first to the last. A round is one run of the cleanup.
    """
    screen, client = asked.screen, asked.client
    last, generation = 0, ""
    while True:
        found = client.get(key)
        if found.generation != generation:
            # Another one under the same key begins anew.
            last, generation = 0, found.generation
        raw = found.raw.get("events", [])
        for number, event in enumerate(found.events):
            if event.sequence <= last:
                continue
            if screen.is_table:
                screen.line(telling.line(event, now(), is_terminal=False))
            else:
                screen.row(raw[number])
            last = event.sequence
        if not follow or found.status == OVER:
            return
        time.sleep(FOLLOW_PAUSE)


def planned(screen: Screen, plan: Plan) -> None:
    """Write a plan for people."""
    if plan.refusal:
        screen.line(
            f"Nothing would be deleted: {plan.refusal.get('message', '')} ({plan.refusal.get('class', '')})", "bad"
        )
    if plan.brake and plan.brake.mode != "enforce":
        screen.line(f"The brake is on ({plan.brake.mode}): nothing is deleted until `tracker brake resume`.", "bad")
    resources(screen, plan.goes, "Goes")
    resources(screen, plan.stays, "Stays")
    resources(screen, [each for each in plan.resources if each.state == "gone"], "Gone already")
    if not plan.resources and not plan.refusal:
        screen.line("Nothing was found that would be deleted.")
    for problem in plan.problems:
        screen.line(f"Can't be looked at: {problem}", "bad")
    for name in plan.not_looked_at:
        screen.line(f"No time was left to look at {name}", "soon")
    if plan.digest:
        screen.line()
        screen.line(f"digest {plan.digest} ({DIGEST})")


def resources(screen: Screen, found: list[Resource], title: str) -> None:
    """Write resources for people: state, kind, id, and what proves or explains it."""
    if not found:
        return
    screen.line()
    screen.line(title)
    rows = []
    for each in found:
        state = each.state + (", never seen" if each.never_seen else "")
        why = words.proof(each)
        when = f" ({words.when(each.gone_at, now(), is_terminal=screen.is_terminal)})" if each.gone_at and why else ""
        rows.append((f"  {each.kind}", each.id, Cell(state, _STATE_LOOKS.get(each.state, "")), f"{why}{when}"))
    screen.table(("  KIND", "ID", "STATE", "PROOF"), rows)


def _facts(screen: Screen, found: Deployment, at: datetime) -> None:
    """Write what is known of it, and nothing of what isn't but its cost."""

    def told(time: str | None) -> str:
        return words.told(time, at, is_terminal=screen.is_terminal)

    lines: list[tuple[str, str, str]] = [
        ("type", found.deployment_type, ""),
        ("place", words.place(found), ""),
        ("status", *words.status(found, at)),
        ("deployed", told(found.deployed_at), ""),
        _end(found, at, is_terminal=screen.is_terminal),
        *_money(found),
    ]
    if found.owner:
        lines.append(("owner", found.owner, ""))
    if found.labels:
        lines.append(("labels", ", ".join(f"{name}={value}" for name, value in found.labels.items()), ""))
    if found.hold and found.hold.is_on(at):
        until = f"until {told(found.hold.until)} by {words.who(found.hold.by)}: {found.hold.reason}"
        lines.append(("held", until, "soon"))
    if found.mark:
        mark = f"{found.mark.by} {found.mark.key + '=' if found.mark.key else ''}{found.mark.value}"
        lines.append(("mark", f"{mark}{'' if found.status == OVER else " (what carries it is this deployment's)"}", ""))
    if found.last_error:
        lines.append(("error", words.error(found), "bad"))
    if found.failures:
        lines.append(("failed", f"{found.failures} round{'s' * (found.failures > 1)} ({ROUND})", ""))
    if found.next_attempt_at:
        lines.append(("next try", told(found.next_attempt_at), ""))
    if found.cleanup_webhook:
        lines.append(("webhook", found.cleanup_webhook, ""))
    if found.registered_by:
        lines.append(("by", f"{found.registered_by}, {told(found.registered_at)}", ""))
    screen.line(found.blueprint_id)
    for name, text, look in lines:
        screen.line(f"  {name:<9} {text}", look)


def _end(found: Deployment, at: datetime, *, is_terminal: bool) -> tuple[str, str, str]:
    """Return the line about its end, or about what happens now if its end has begun."""
    if found.status == OVER:
        return "ended", words.told(found.cleanup.ended_at, at, is_terminal=is_terminal), "over"
    if found.status == ENDING:
        return "now", _now(found, at, is_terminal=is_terminal), "moving"
    if found.ends is None:
        return "ends", "no end: it lives until someone ends it", "soon"
    text = words.told(found.ends, at, is_terminal=is_terminal)
    left = (found.ends - at).total_seconds()
    if left < 0:
        text += f", {length(-left)} late"
    elif not is_terminal:
        text += f", {length(left)} left"
    return "ends", text, words.ends(found, at, is_terminal=True).look


def _now(found: Deployment, at: datetime, *, is_terminal: bool) -> str:
    cleanup = found.cleanup
    since = f" since {words.told(cleanup.requested_at, at, is_terminal=is_terminal)}" if cleanup.requested_at else ""
    far = f": {words.counts(found.resources)}" if found.resources else ""
    why = f", reason {cleanup.reason}" if cleanup.reason else ""
    return f"round {cleanup.round} of its cleanup runs{since}{why}{far} ({ROUND})"


def _money(found: Deployment) -> list[tuple[str, str, str]]:
    if found.cost_per_hour is None and found.cost is None:
        hint = f"; `tracker amend {found.blueprint_id} --cost 0.42` says what an hour costs" if found.is_live else ""
        return [("cost", f"unknown{hint}", "")]
    late = f", {words.late_cost(found.cost)} of it late" if found.cost and found.cost.late else ""
    return [("$/h", words.rate(found.cost_per_hour), ""), ("cost", f"{words.cost(found.cost)}{late}", "")]


def _deliveries(screen: Screen, found: list[Delivery]) -> None:
    if not found:
        return
    screen.line()
    screen.line("Deliveries")
    rows = [(f"  {each.id}", Cell(each.state, delivery_look(each)), attempts(each)) for each in found]
    screen.table(("  ID", "STATE", "ATTEMPTS"), rows)


def delivery_look(of: Delivery) -> str:
    """Return how the state of a delivery looks."""
    return {"dead": "bad", "pending": "moving", "delivered": "over", "stopped": "over"}.get(of.state, "")


def attempts(of: Delivery) -> str:
    """Return how many attempts there were at a delivery, and what the last one came to."""
    if not of.attempts:
        return "none"
    last = of.attempts[-1]
    return f"{len(of.attempts)}, last {last.status or last.error or '?'}"
