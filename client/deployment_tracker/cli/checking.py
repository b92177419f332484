"""`tracker whoami` and `doctor`: who calls, and what is wrong. Each check is one line: ok, or what to do."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec

from deployment_tracker.cli.asked import Asked, verb
from deployment_tracker.cli.braking import read_brake
from deployment_tracker.cli.screen import Cell
from deployment_tracker.errors import CREDENTIALS, FAILED, ApiError, Denied, NoCredentials, TrackerError
from deployment_tracker.keys import path_of
from deployment_tracker.times import length

# Seconds by which a clock may be off before it is said, and before signatures fail.
_SKEW_SAID = 30
_QUEUES = {
    "DeadLetterQueueUrl": "events that nobody could handle",
    "SetAsideQueueUrl": "announcements that couldn't be made",
    "UndeliveredQueueUrl": "webhook deliveries that were given up",
}


class Check(msgspec.Struct, frozen=True):
    """The outcome of a look: `ok`, `wrong`, or `unknown` where it can't be known here."""

    name: str
    state: str
    text: str


@verb()
def whoami(asked: Asked) -> int:
    """Show who calls, and what that role may do.

    It asks by calls that change nothing: of a key that nobody has, and with an empty registration.
    """
    client, screen = asked.client, asked.screen
    found: dict[str, Any] = {
        "stack": client.place.stack,
        "url": client.place.url,
        "region": client.place.region,
        "profile": client.aws.profile,
        "credentials": client.aws.source,
    }
    with suppress(TrackerError):
        who = client.aws.call("sts", "get_caller_identity")
        found |= {"account": who["Account"], "arn": who["Arn"]}
    found["may"] = dict(_probed(asked))
    if not screen.is_table:
        screen.data(found)
    else:
        for name, value in found.items():
            text = ", ".join(each for each, may in value.items() if may) or "nothing" if name == "may" else value
            screen.line(f"{name:<12} {text or '-'}")
        denied = [name for name, may in found["may"].items() if not may]
        if denied:
            screen.line(f"{'may not':<12} {', '.join(denied)}", "bad")
    return 0 if any(found["may"].values()) else CREDENTIALS


def _probed(asked: Asked) -> Iterator[tuple[str, bool]]:
    """Yield what the caller may do, by calls that change nothing: of a key that nobody has, and an empty registration."""
    nobody = f"whoami-{uuid4()}"
    calls: dict[str, tuple[str, str, Any]] = {
        "ls": ("GET", "/deployments", None),
        "show": ("GET", path_of(nobody), None),
        "register": ("POST", "/deployments", {}),
        "amend": ("PATCH", path_of(nobody), {}),
        "extend": ("POST", path_of(nobody, "extend"), {}),
        "end": ("DELETE", path_of(nobody), None),
        "forget": ("POST", path_of(nobody, "forget"), {"reason": "whoami"}),
    }
    for name, (method, path, body) in calls.items():
        try:
            asked.client.transport.call(method, path, body, may_repeat=True)
        except Denied as error:
            yield name, error.code == "not_yours"
            continue
        except ApiError as error:
            if error.status >= 500:  # noqa: PLR2004 - the API's own fault
                raise
        yield name, True


@verb()
def doctor(asked: Asked) -> int:
    """Look for what is wrong, and say what to do."""
    screen = asked.screen
    found = list(_checks(asked))
    if screen.is_table:
        looks = {"ok": "", "wrong": "bad", "unknown": "soon"}
        screen.table(
            ("CHECK", "RESULT", "WHAT"), [(each.name, Cell(each.state, looks[each.state]), each.text) for each in found]
        )
    else:
        screen.data([msgspec.to_builtins(each) for each in found])
    return FAILED if any(each.state == "wrong" for each in found) else 0


def _checks(asked: Asked) -> Iterator[Check]:
    try:
        client = asked.client
        client.aws.credentials()
    except TrackerError as error:
        yield Check("credentials" if isinstance(error, NoCredentials) else "stack", "wrong", error.said)
        return
    yield Check("credentials", "ok", f"from {client.aws.source}")
    yield _tried("api", lambda: _api(asked))
    yield _clock(client.transport.skew)
    if not client.place.outputs:
        yield Check("brake, sweep, queues", "unknown", "a URL doesn't name them: name the stack with --stack")
        return
    yield _tried("brake", lambda: _brake(asked))
    yield _tried("sweep", lambda: _sweep(asked))
    yield _tried("alarms", lambda: _alarms(asked))
    yield _tried("who hears alarms", lambda: _listeners(asked))
    for queue, what in _QUEUES.items():
        yield _tried(what, partial(_queue, asked, queue))
    yield _tried("cleanups", lambda: _cleanups(asked))


def _tried(name: str, look: Callable[[], tuple[str, str]]) -> Check:
    """Return what a look came to; a role that may not look knows nothing."""
    try:
        state, text = look()
    except NoCredentials as error:
        state, text = "unknown", error.said
    except TrackerError as error:
        state, text = "wrong", error.said
    return Check(name, state, text)


def _api(asked: Asked) -> tuple[str, str]:
    try:
        asked.client.page(limit=1)
    except Denied as error:
        return "wrong", f"it refuses the caller: {error.said}"
    return "ok", f"{asked.client.place.url} answers"


def _clock(skew: float | None) -> Check:
    if skew is None:
        return Check("clock", "unknown", "the API didn't say what time it is")
    way = f"{length(abs(skew))} {'ahead' if skew > 0 else 'behind'}"
    if abs(skew) > _SKEW_SAID:
        return Check("clock", "wrong", f"this machine is {way}: set its clock, or signatures are refused beyond 5 min")
    return Check("clock", "ok", f"less than {_SKEW_SAID} s off")


def _brake(asked: Asked) -> tuple[str, str]:
    text, found = read_brake(asked)
    if found is None:
        return "wrong", f"{text!r} can't be read, and so all is paused: `tracker brake resume`"
    if found.text != "enforce":
        return "wrong", f"{found.text}: `tracker brake resume` lets cleanups run again"
    return "ok", "enforce"


def _sweep(asked: Asked) -> tuple[str, str]:
    rule = asked.client.place.outputs.get("SweepRuleName")
    if not rule:
        return "unknown", "the stack doesn't name its rule"
    state = asked.client.aws.call("events", "describe_rule", Name=rule.rpartition("|")[2]).get("State")
    if state != "ENABLED":
        return (
            "wrong",
            f"its rule is {state}: set the parameter SweepState to ENABLED, or nothing ends by its time but by leases",
        )
    return "ok", "it looks every minute"


def _alarms(asked: Asked) -> tuple[str, str]:
    place = asked.client.place
    if place.is_local:
        return "unknown", "a stack on one machine has no alarms"
    answer = asked.client.aws.call(
        "cloudwatch", "describe_alarms", AlarmNamePrefix=f"{place.stack}-", StateValue="ALARM", MaxRecords=100
    )
    # Another stack's name may begin as this one's. Behind it stand a logical id and letters of CloudFormation's own.
    ours = re.compile(rf"{re.escape(place.stack or '')}-[A-Za-z0-9]+-[A-Za-z0-9]+")
    found = {each["AlarmName"]: each.get("StateValue") for each in answer.get("MetricAlarms", [])}
    raised = [name for name, state in found.items() if state == "ALARM" and ours.fullmatch(name)]
    if raised:
        return "wrong", f"{', '.join(raised)}: docs/runbook.md says what to do about each"
    return "ok", "none is raised"


def _listeners(asked: Asked) -> tuple[str, str]:
    place = asked.client.place
    if place.is_local:
        return "unknown", "a stack on one machine has no alarms"
    topics = [place.outputs[name] for name in ("AlarmEmailTopicArn", "AlarmTopicArn") if name in place.outputs]
    if not topics:
        return "wrong", "nobody: set the parameter AlarmEmail, or AlarmTopicArn"
    for topic in topics:
        answer = asked.client.aws.call("sns", "list_subscriptions_by_topic", TopicArn=topic)
        # In an ARN's place, one that nobody confirmed has words.
        if any(each["SubscriptionArn"].startswith("arn:") for each in answer.get("Subscriptions", [])):
            return "ok", f"subscribers of {topic}"
    return "wrong", f"nobody has confirmed a subscription of {' or '.join(topics)}: follow the link in AWS's mail"


def _queue(asked: Asked, queue: str) -> tuple[str, str]:
    attribute = "ApproximateNumberOfMessages"
    url = asked.client.place.outputs.get(queue)
    if not url:
        return "unknown", "the stack doesn't name it"
    answer = asked.client.aws.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=[attribute])
    number = int(answer["Attributes"][attribute])
    return ("wrong", f"{number}: find the cause in the logs, then `make replay`") if number else ("ok", "none")


def _cleanups(asked: Asked) -> tuple[str, str]:
    quarantined = sum(1 for _ in asked.client.deployments(quarantined=True))
    overdue = sum(1 for _ in asked.client.deployments(overdue=True))
    if quarantined:
        return "wrong", f"{quarantined} given up: `tracker ls --quarantined -v`, then `tracker retry` or `forget`"
    return "ok", f"none is given up, {overdue} are late"
