"""`tracker show`, `plan` and `events`: one deployment, what its cleanup would do, and what happened to it."""

import json
import time
from datetime import datetime

import click

from deployment_tracker.cli import words
from deployment_tracker.cli.asked import Asked, key_argument, verb
from deployment_tracker.cli.screen import Cell, Screen
from deployment_tracker.errors import FAILED
from deployment_tracker.models import OVER, Delivery, Deployment, Event, Plan, Resource
from deployment_tracker.times import length, now, rfc3339, spoken

_STATE_LOOKS = {"present": "moving", "leaving": "moving", "gone": "over", "kept": "soon"}
# Seconds between two looks of `events -f`.
FOLLOW_PAUSE = 2.0


@verb()
@key_argument
@click.option("-q", "--quiet", is_flag=True, help="Its status alone.")
def show(asked: Asked, key: str, *, quiet: bool) -> None:
    """Show a deployment.

    Time left, cost, resources with what proves them gone, deliveries, and what happened.
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
        screen.line(f"  {_event(event, at, is_terminal=screen.is_terminal)}")


@verb()
@key_argument
@click.option("-q", "--quiet", is_flag=True, help="The plan's digest alone, for `end --plan`.")
def plan(asked: Asked, key: str, *, quiet: bool) -> int:
    """Show what a cleanup would delete and what it would keep. Nothing is deleted."""
    found = asked.client.plan(key)
    if quiet:
        click.echo(found.digest or "")
    elif asked.screen.is_table:
        planned(asked.screen, found)
    else:
        asked.screen.data(found.raw)
    return FAILED if found.refusal or found.problems else 0


@verb()
@key_argument
@click.option("-f", "--follow", is_flag=True, help="Go on as more happens, until it is over or Ctrl-C.")
def events(asked: Asked, key: str, *, follow: bool) -> None:
    """Show what happened to a deployment.

    Its last 100 events at most, from the first to the last.
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
                screen.line(_event(event, now(), is_terminal=False))
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
        screen.line(f"digest {plan.digest}")


def resources(screen: Screen, found: list[Resource], title: str) -> None:
    """Write resources for people: state, kind, id, and what proves or explains it."""
    if not found:
        return
    screen.line()
    screen.line(title)
    rows = []
    for each in found:
        state = each.state + (", never seen" if each.never_seen else "")
        why = each.proof or each.detail
        when = f" ({each.gone_at})" if each.gone_at and each.proof else ""
        rows.append((f"  {each.kind}", each.id, Cell(state, _STATE_LOOKS.get(each.state, "")), f"{why}{when}"))
    screen.table(("  KIND", "ID", "STATE", "PROOF"), rows)


def _facts(screen: Screen, found: Deployment, at: datetime) -> None:
    end = found.ends
    ended = found.cleanup.ended_at
    lines: list[tuple[str, str, str]] = [
        ("type", found.deployment_type, ""),
        ("place", words.place(found), ""),
        ("status", *words.status(found, at)),
        ("deployed", _time(found.deployed_at, at, screen), ""),
    ]
    if found.status == OVER:
        lines.append(("ended", _time(ended or "", at, screen), "over"))
    elif end is None:
        lines.append(("ends", "no end: it lives until someone ends it", "soon"))
    else:
        left = (end - at).total_seconds()
        told = f"{length(left)} left" if left >= 0 else f"{length(-left)} late"
        lines.append(
            (
                "ends",
                f"{spoken(end, at) if screen.is_terminal else rfc3339(end)}, {told}",
                words.ends(found, at, is_terminal=True).look,
            )
        )
    lines.append(("owner", found.owner or words.UNKNOWN, ""))
    if found.labels:
        lines.append(("labels", ", ".join(f"{name}={value}" for name, value in found.labels.items()), ""))
    lines.append(("$/h", words.rate(found.cost_per_hour), ""))
    late = words.late_cost(found.cost)
    lines.append(
        ("cost", words.cost(found.cost) + (f", {late} of it late" if found.cost and found.cost.late else ""), "")
    )
    if found.hold and found.hold.is_on(at):
        until = _time(found.hold.until or "", at, screen)
        lines.append(("held", f"until {until} by {found.hold.by}: {found.hold.reason}", "soon"))
    if found.mark:
        lines.append(
            ("mark", f"{found.mark.by} {found.mark.key + '=' if found.mark.key else ''}{found.mark.value}", "")
        )
    if found.last_error:
        lines.append(("error", words.error(found), "bad"))
        lines.append(("failed", f"{found.failures} rounds", ""))
    if found.next_attempt_at:
        lines.append(("next try", _time(found.next_attempt_at, at, screen), ""))
    if found.cleanup_webhook:
        lines.append(("webhook", found.cleanup_webhook, ""))
    lines.append(("by", f"{found.registered_by}, {_time(found.registered_at, at, screen)}", ""))
    screen.line(found.blueprint_id)
    for name, text, look in lines:
        screen.line(f"  {name:<9} {text}", look)


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


def _event(event: Event, at: datetime, *, is_terminal: bool) -> str:
    detail = "" if not event.detail else json.dumps(event.detail, ensure_ascii=False)
    when = words.when(event.at, at, is_terminal=is_terminal)
    return f"{when:<{12 if is_terminal else 24}} {event.type:<18} {event.status:<12} {detail}".rstrip()


def _time(text: str, at: datetime, screen: Screen) -> str:
    if not text:
        return words.UNKNOWN
    return spoken(datetime.fromisoformat(text), at) if screen.is_terminal else text
