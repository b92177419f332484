"""`tracker register` and `amend`: what a deployment is, from options, a file or stdin."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import click

from deployment_tracker.cli import words
from deployment_tracker.cli.asked import Asked, key_argument, verb
from deployment_tracker.cli.values import DURATION, TIME
from deployment_tracker.errors import Usage
from deployment_tracker.models import Deployment, Mark, Registered
from deployment_tracker.times import now, rfc3339
from deployment_tracker.written import UnclearError, read

# The status of an intent.
INTENT = "Unknown"
_COST = re.compile(r"(?P<amount>[0-9]+(?:\.[0-9]+)?)(?: ?(?P<currency>[A-Z]{3}))?", re.ASCII)


# What describes a deployment, in the order of the help.
_DESCRIBING = (
    click.option(
        "-f", "--file", metavar="FILE", help="A JSON object, - for stdin; arguments and options go before it."
    ),
    click.option(
        "--id", "ids", metavar="KEY=ID", multiple=True, help="What was created; again for more, also of one key."
    ),
    click.option(
        "--in", "place", metavar="PLACE", help="The cloud region or zone that it is in (--region is the stack's)."
    ),
    click.option("--ttl", type=DURATION, metavar="DURATION", help="Time to live, from deployed_at on: 2h, 1d12h."),
    click.option(
        "--until",
        type=TIME,
        metavar="TIME",
        help="Its end instead: RFC 3339, '2026-12-01 18:00 Europe/Berlin', 'in 2h'.",
    ),
    click.option("--owner", help="Whose it is."),
    click.option("--label", "labels", metavar="KEY=VALUE", multiple=True, help="To find it by; again for more."),
    click.option("--cost", metavar="AMOUNT", help="What it costs an hour: 0.42, or '0.42 EUR'."),
    click.option(
        "--warn", "warnings", type=DURATION, metavar="DURATION", multiple=True, help="Announce the end so long before."
    ),
    click.option("--metadata", metavar="KEY=VALUE", multiple=True, help="What its type knows: `tracker types TYPE`."),
    click.option("--provider", help="The provider's name, kept with the record."),
    click.option("--webhook", "cleanup_webhook", metavar="URL", help="Where the outcome is posted."),
    click.option(
        "--webhook-event", "webhook_events", metavar="EVENT", multiple=True, help="What it wants to hear besides."
    ),
)


def describing[**P, T](command: Callable[P, T]) -> Callable[P, T]:
    """Give a command the options that describe a deployment."""
    for option in reversed(_DESCRIBING):
        command = option(command)
    return command


@verb()
@click.argument("key", required=False)
@click.argument("type", required=False)
@describing
@click.option(
    "--intent", is_flag=True, help="Before anything is created: ids may be missing, and the mark to put on it is said."
)
def register(
    asked: Asked, key: str | None, type: str | None, file: str | None, *, intent: bool, **options: Any
) -> None:
    """Register a deployment.

    `tracker register svc-1 AwsEc2 --id instance_id=i-0123456789abcdef0 --in eu-central-1 --ttl 2h`
    """
    given = {"blueprint_id": key, "deployment_type": type, "status": INTENT if intent else None}
    body = _described(file, given | _read_options(options))
    missing = [name for name in ("blueprint_id", "deployment_type") if not body.get(name)]
    if missing:
        raise Usage(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.",
            "Say `tracker register NAME TYPE ...`.",
        )
    found = asked.client.register(body)
    if asked.screen.is_table:
        _say(asked, found)
    else:
        asked.screen.data(found.deployment.raw)


@verb()
@key_argument
@describing
@click.option("--active", is_flag=True, help="All of its ids are there now: an intent becomes Active.")
@click.option("--to", metavar="NAME", help="The name that it has from now on.")
def amend(asked: Asked, key: str, file: str | None, *, active: bool, to: str | None, **options: Any) -> None:
    """Change what is recorded of a deployment.

    `tracker amend svc-1 --id instance_id=i-0123456789abcdef0 --active` hands in what was created for an intent. What isn't said stays; FILE
    is a JSON merge patch, in which null removes.
    """
    given = {"blueprint_id": to, "status": "Active" if active else None}
    changes = _described(file, given | _read_options(options))
    if not changes:
        raise Usage("There is nothing to change.", "`tracker amend -h` lists what can be.")
    found = asked.client.amend(key, changes)
    if asked.screen.is_table:
        moved = f", and is {found.blueprint_id} from now on" if found.blueprint_id != key else ""
        asked.screen.line(f"{key} is amended{moved}; {words.end(found, now(), is_terminal=asked.screen.is_terminal)}.")
        _say_what_is_missing(asked, found)
    else:
        asked.screen.data(found.raw)


def pairs(texts: Sequence[str], what: str) -> dict[str, str]:
    """Return KEY=VALUE texts as a mapping. Usage if one isn't that, or a key is there twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not (separator and name) or name in found:
            raise Usage(
                f"{what}: expected KEY=VALUE{' with a new key' if name in found else ''}, got {text!r}.",
                f"Say {what} KEY=VALUE, again for more.",
            )
        found[name] = value
    return found


def _read_options(given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that the options mean."""
    ttl, until, cost = given.pop("ttl"), given.pop("until"), given.pop("cost")
    if ttl and until:
        raise Usage("--ttl and --until are two ends.", "Say one of them.")
    return {
        "resource_ids": _ids(given.pop("ids")),
        "region": given.pop("place"),
        "ttl_seconds": ttl,
        "expires_at": rfc3339(until) if until else None,
        "labels": pairs(given.pop("labels"), "--label"),
        "cost_per_hour": _cost(cost) if cost else None,
        "warn_before": list(given.pop("warnings")),
        "metadata": pairs(given.pop("metadata"), "--metadata"),
        # The others are named as their fields.
        **{name: list(value) if isinstance(value, tuple) else value for name, value in given.items()},
    }


def _ids(texts: Sequence[str]) -> dict[str, str | list[str]]:
    listed: dict[str, list[str]] = {}
    for text in texts:
        name, separator, id_ = text.partition("=")
        if not (separator and name and id_):
            raise Usage(f"--id: expected KEY=ID, got {text!r}.", "`tracker types TYPE` lists the keys.")
        listed.setdefault(name, []).append(id_)
    return {name: each[0] if len(each) == 1 else each for name, each in listed.items()}


def _cost(text: str) -> dict[str, Any]:
    found = _COST.fullmatch(text.strip())
    if not found:
        raise Usage(f"--cost: expected an amount an hour, got {text!r}.", "Say 0.42, or '0.42 EUR'.")
    return {"amount": float(found["amount"]), "currency": found["currency"] or "USD"}


def _read_file(file: str) -> dict[str, Any]:
    try:
        with click.open_file(file, encoding="utf-8") as opened:
            found = read(opened.read())
    except OSError as error:
        raise Usage(f"{file} can't be read: {error.strerror}.", "Name a file that is there, or - for stdin.") from None
    except UnclearError as error:
        raise Usage(f"{'stdin' if file == '-' else file} {error}.") from None
    except ValueError as error:
        raise Usage(f"{'stdin' if file == '-' else file} isn't JSON: {error}.", "It must be one JSON object.") from None
    if not isinstance(found, dict):
        raise Usage(
            f"{file} isn't about one deployment.", "It must be a JSON object; `tracker import` takes files of many."
        )
    return found


def _described(file: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return what a file says, and over it what arguments and options do."""
    said = {name: value for name, value in given.items() if value not in (None, [], {})}
    return (_read_file(file) if file else {}) | said


def _say(asked: Asked, found: Registered) -> None:
    each = found.deployment
    asked.screen.line(
        f"{each.blueprint_id} {'is registered' if found.is_new else 'was registered already'}; {words.end(each, now(), is_terminal=asked.screen.is_terminal)}."
    )
    _say_what_is_missing(asked, each)
    if each.mark and (each.incomplete or each.status == INTENT):
        asked.screen.hint(
            f"Mark what you make for it with {mark_said(each.mark)}: so its end finds that, though no id was handed in."
        )


def _say_what_is_missing(asked: Asked, found: Deployment) -> None:
    if found.incomplete:
        asked.screen.line("Ids are still missing.", "soon")
        asked.screen.hint(f"Once it is made, say `tracker amend {found.blueprint_id} --id KEY=ID --active`.")


def mark_said(mark: Mark) -> str:
    """Return a mark in words."""
    if mark.by == "name":
        return f"a name that begins with {mark.value}"
    return f"the {mark.by} {f'{mark.key}={mark.value}' if mark.key else mark.value}"
