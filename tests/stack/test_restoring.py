"""The table is restored to a point in time: a whole stack is filled, loses its records, and gets them back by the commands of docs/deploying.md.

MiniStack copies a table as it is when it is asked, whatever time is named: so it is asked at the point in time itself, and the page's other
commands come after the loss, in their order.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import socket
from threading import Event
from typing import Any

import msgspec
import pytest

from local.__main__ import exports
from local.build import ROOT
from local.demo.scene import MARK, Rented, faults, until
from local.replay import waiting
from local.stack import Stack, deploy
from tests.real_targets import REQUIRED, lacking
from tests.receivers import Receiver, answers, receiving
from tests.stack.caller import Caller, Record, Topic
from tests.stack.test_readme import pasted
from tracker.model.deployment import parse_time
from tracker.store.table import generations

PAGE, HEADING = "docs/deploying.md", "## Restoring"
COPY = "deployment-tracker-restored"
ABROAD = "eu-west-1"
# The page's commands that make the copy.
COPYING = ("restore-table-to-point-in-time", "wait table-exists")
DAY = 86400
NAMES = (
    "lasting",
    "extended",
    "held",
    "quarantined",
    "intent",
    "ended",
    "ended-since",
    "failed-since",
    "pending",
    "moved",
)
PARAMETERS = {
    "UnmendableRounds": "1",
    "WebhookGaps": ",".join(["5"] * 100),
    "SurveyState": "DISABLED",
    "StrayGap": "1",
    "StrayGrace": "0",
}

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not REQUIRED, reason="REQUIRE_REAL=1 isn't set: another stack takes its time"),
]


class Operator:
    """This is who restores: a shell in a clone, signed in to the stack, with the AWS CLI."""

    def __init__(self, stack: Stack, home: Path) -> None:
        aws = ROOT / ".local/aws-cli/bin"
        if not (aws / "aws").exists():
            lacking("the AWS CLI isn't there (make aws-cli)")
        (home / "env").write_text(exports(stack.running))
        self._before = f"source {home}/env\nexport TRACKER_STACK=deployment-tracker\n"
        self._env = {"PATH": f"{aws}:{ROOT}/.venv/bin:{os.environ['PATH']}", "HOME": str(home)}
        self._lines = pasted(PAGE, HEADING).splitlines()

    def run(self, *lines: str) -> str:
        """Run lines of shell code. What they print."""
        code = self._before + "\n".join(lines)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code],
            cwd=ROOT,
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def copy(self) -> None:
        """Have the table copied, as the page says."""
        lines = [line for line in self._lines if line.startswith(("export", "table=")) or self._copies(line)]
        assert sum(map(self._copies, lines)) == len(COPYING)
        self.run(*lines)

    def put_back(self) -> str:
        """Run the page's commands after the copy's, up to the one that writes. What they print."""
        return self.run(*self._rest()[0])

    def go_on(self) -> None:
        """Run the page's commands after that."""
        begin, rest = self._rest()
        # Where nobody can be asked, -y is the answer.
        rest = [line.replace("brake resume ", "brake resume -y ") for line in rest]
        self.run(*[line for line in begin if line.startswith(("export", "table="))], *rest)

    def _rest(self) -> tuple[list[str], list[str]]:
        left = [line for line in self._lines if not self._copies(line)]
        (written,) = [n for n, line in enumerate(left, 1) if "--write" in line]
        return left[:written], left[written:]

    @staticmethod
    def _copies(line: str) -> bool:
        return any(words in line for words in COPYING)


def rented(stack: Stack) -> dict[str, Rented]:
    """A machine by each name but the intent's. Each takes a while to run."""
    names = [name for name in NAMES if name != "intent"]
    with ThreadPoolExecutor() as many:
        found = many.map(lambda name: Rented(stack, marked=name != "quarantined"), names)
        return dict(zip(names, found, strict=True))


def filled(caller: Caller, webhook: str) -> tuple[dict[str, Rented], dict[str, Record]]:
    """A machine by each name, and its record in the state that it has at the point in time."""
    stack = caller.stack
    machines = rented(stack)
    for name, machine in machines.items():
        asks = {"cleanup_webhook": webhook, "webhook_events": ["registered"]} if name == "pending" else {}
        caller.register(name, machine.ids, ttl_seconds=(2 * 3600 if name in ("extended", "held") else 30 * DAY), **asks)
    intent = caller.register("intent", resource_ids={}, status="Unknown", ttl_seconds=30 * DAY)
    machines["intent"] = Rented(stack, mark=intent["mark"]["value"])
    for name in ("ended", "quarantined"):
        caller.call("DELETE", name, expected=202)
    caller.until("quarantined", lambda record: bool(record["cleanup"].get("quarantined")))
    caller.terminated("ended")
    in_three_hours = caller.call("GET", "extended")["expires_at"]
    caller.call("POST", "held", "hold", body={"reason": "an incident", "until": in_three_hours})
    return machines, {name: caller.call("GET", name) for name in NAMES}


def changed_since(caller: Caller, machines: dict[str, Rented]) -> dict[str, Record]:
    """Return what happens after the point in time, and is lost. The records that are there then."""
    stack = caller.stack
    caller.call("POST", "extended", "extend", body={"by": 7 * DAY})
    caller.call("POST", "kept", "extend", body={"by": 7 * DAY})
    caller.call("PATCH", "moved", body={"blueprint_id": "moved-since"})
    since = caller.register("since", resource_ids={}, status="Unknown", ttl_seconds=30 * DAY)
    machines["since"] = Rented(stack, mark=since["mark"]["value"])
    failing = {"action": "TerminateInstances", "kind": "error", "id": machines["failed-since"].ids["instance_id"]}
    faults(stack, [failing])
    for name in ("ended-since", "failed-since"):
        caller.call("DELETE", name, expected=202)
    caller.until("failed-since", lambda record: bool(record["cleanup"].get("failures")))
    caller.terminated("ended-since")
    faults(stack, [])
    return {name: caller.call("GET", name) for name in (*NAMES, "since", "kept")}


def items_of(stack: Stack, table: str) -> Iterator[dict[str, Any]]:
    for page in stack.client("dynamodb").get_paginator("scan").paginate(TableName=table):
        yield from page["Items"]


def lose(stack: Stack, records: dict[str, Record]) -> None:
    """Delete all that the table has of these, but of what ended or moved since the items of their generations."""
    keys = {record["blueprint_id"] for record in records.values()}
    keys |= {generations(records[name]["generation"]) for name in records if name not in ("ended-since", "moved")}
    for item in [*items_of(stack, stack.outputs["TableName"])]:
        if item["blueprint_id"]["S"] in keys:
            key = {name: item[name] for name in ("blueprint_id", "item")}
            stack.client("dynamodb").delete_item(TableName=stack.outputs["TableName"], Key=key)


def records_of(stack: Stack) -> list[dict[str, Any]]:
    found = [item for item in items_of(stack, stack.outputs["TableName"]) if item["item"]["S"] in ("record", "lease")]
    return sorted(found, key=lambda item: (item["blueprint_id"]["S"], item["item"]["S"]))


def lapse(stack: Stack, key: str) -> None:
    """Put the lease that the copy has of a record beside it, as who copies the items does, and wait until it is removed."""
    dynamodb, table = stack.client("dynamodb"), stack.outputs["TableName"]
    keys = {"blueprint_id": {"S": key}, "item": {"S": "lease"}}
    lease = dynamodb.get_item(TableName=COPY, Key=keys)["Item"]
    dynamodb.put_item(TableName=table, Item=lease)
    until(lambda: "Item" not in dynamodb.get_item(TableName=table, Key=keys, ConsistentRead=True))


def heard_in_order(topic: Topic, record: Record) -> None:
    """What was announced of a record is in order, each number is of one fact, and what the record says is among it."""
    facts = [(fact["sequence"], f"deployment.{fact['type']}") for fact in record["events"]]

    def heard() -> list[tuple[int, str]]:
        found = [each["data"] | each for each in topic.heard(1) if "generation" in each["data"]]
        return [(each["sequence"], each["type"]) for each in found if each["generation"] == record["generation"]]

    until(lambda: facts[-1] in heard())
    assert heard() == sorted(heard())
    assert len({sequence for sequence, _ in heard()}) == len(heard())
    assert set(facts) <= set(heard())


def strays_of(caller: Caller, machine: Rented) -> dict[str, str]:
    """The strays that a survey finds of a machine, by the ids of its parts, once all are announced."""
    found: dict[str, str] = {}
    while len(found) < len(machine.ids):
        caller.stack.invoke("Survey", {})
        until(lambda: caller.ask("GET", "/strays").body["strays"])
        seen = caller.ask("GET", "/strays").body["strays"]
        found = {each["id"]: each["key"] for each in seen if each["announced_at"]}
    return found


class Abroad(Stack):
    """Another stack of the same template, in another region of the same emulator."""

    def __init__(self, home: Stack, folder: Path) -> None:
        super().__init__(folder)
        parameters = home.running.parameters
        outputs = deploy(self.folder, home.running.endpoint, parameters, ABROAD)
        self._running = msgspec.structs.replace(
            home.running, region=ABROAD, outputs=outputs, api=outputs["ApiUrl"], processes=[]
        )


def copied_to(stack: Stack, abroad: Stack) -> None:
    """The table of a stack, copied item by item to another region: the emulator restores into none."""
    table = stack.client("dynamodb").describe_table(TableName=stack.outputs["TableName"])["Table"]
    keys = {part["AttributeName"] for part in table["KeySchema"]}
    abroad.client("dynamodb").create_table(
        TableName=COPY,
        KeySchema=table["KeySchema"],
        AttributeDefinitions=[each for each in table["AttributeDefinitions"] if each["AttributeName"] in keys],
        BillingMode="PAY_PER_REQUEST",
    )
    for item in items_of(stack, stack.outputs["TableName"]):
        abroad.client("dynamodb").put_item(TableName=COPY, Item=item)


@pytest.fixture(scope="module")
def home() -> Iterator[Stack]:
    with Stack(wait_scale=0.1, parameters=PARAMETERS) as found:
        yield found


@pytest.fixture
def hook() -> Iterator[tuple[Receiver, Event]]:
    """A webhook that refuses until it is told to take."""
    takes = Event()

    def behaviour(connection: socket) -> None:
        answers(200 if takes.is_set() else 500)(connection)

    with receiving(behaviour) as receiver:
        yield receiver, takes


def test_what_was_lost_comes_back_by_the_pages_commands_and_everything_still_goes(
    home: Stack, tmp_path: Path, hook: tuple[Receiver, Event]
) -> None:
    stack, (receiver, takes) = home, hook
    caller, topic, operator = Caller(stack), Topic(stack), Operator(stack, tmp_path)
    machines, then = filled(caller, receiver.url)
    until(lambda: receiver.heard)
    machines["kept"] = Rented(stack)
    caller.register("kept", machines["kept"].ids, ttl_seconds=120)
    operator.copy()
    since = changed_since(caller, machines)
    lose(stack, {name: record for name, record in since.items() if name != "kept"})
    # The queue finds no delivery that it could attempt.
    until(lambda: waiting(stack.client("sqs"), stack.outputs)["deliveries"])

    said = operator.put_back()
    assert "ended since: ended-since" in said.splitlines()
    once = records_of(stack)
    operator.put_back()
    assert records_of(stack) == once
    lapse(stack, "kept")
    assert caller.call("GET", "kept") == since["kept"]
    for name in ("ended-since", "since"):
        assert caller.ask("GET", f"/deployments/{name}").status == 404
    back = {name: caller.call("GET", name) for name in NAMES if name != "ended-since"}
    for name in ("lasting", "intent", "pending", "failed-since", "held"):
        assert parse_time(back[name]["expires_at"]) >= parse_time(then[name]["expires_at"]), name
    assert parse_time(back["extended"]["expires_at"]).timestamp() > time.time() + 23 * 3600
    assert back["moved"]["blueprint_id"] == "moved-since"
    assert (back["ended"]["status"], back["ended"]["resources"]) == ("Terminated", then["ended"]["resources"])
    assert back["quarantined"]["cleanup"]["quarantined"]
    assert back["held"]["hold"] == then["held"]["hold"]

    takes.set()
    operator.go_on()
    assert COPY not in stack.client("dynamodb").list_tables()["TableNames"]
    until(lambda: caller.call("GET", "pending", "deliveries")["deliveries"][0]["state"] == "delivered")
    # What was made since the point in time is stray now.
    stray = strays_of(caller, machines["since"])[machines["since"].ids["instance_id"]]
    adopted = json.loads(operator.run(f"tracker adopt {stray} --reason 'lost with the table' -y --json"))
    assert caller.call("DELETE", "held", expected=409)["error"]["code"] == "held"
    caller.call("DELETE", "held", "hold")
    ids = list(machines["quarantined"].ids.values())
    stack.client("ec2").create_tags(Resources=ids, Tags=[{"Key": MARK, "Value": "ours after all"}])
    live = [name for name in back if name != "ended"]
    for name in live:
        caller.call("DELETE", name, expected=202)
    ends = {name: caller.terminated(name) for name in live}
    ends["since"] = caller.terminated(adopted["blueprint_id"])
    for name, record in ends.items():
        assert {each["state"] for each in record["resources"]} <= {"gone", "kept"}, name
        assert machines[name].is_gone(), name
        heard_in_order(topic, record)
    outcome = f"{ends['pending']['generation']}-{ends['pending']['sequence']}"
    until(lambda: outcome in {each.headers["webhook-id"] for each in receiver.heard})
    assert not machines["kept"].is_gone()
    assert caller.call("GET", "kept")["events"] == since["kept"]["events"]
    assert set(waiting(stack.client("sqs"), stack.outputs).values()) == {0}


def test_a_stack_of_another_region_takes_over_what_the_copy_there_holds(home: Stack, tmp_path: Path) -> None:
    machine = Rented(home)
    registered = Caller(home).register("svc", machine.ids, ttl_seconds=30 * DAY)
    # The old region's tracker does nothing any more.
    home.client("ssm").put_parameter(Name=home.outputs["ModeParameter"], Value="pause", Type="String", Overwrite=True)
    abroad = Abroad(home, tmp_path)
    copied_to(home, abroad)
    operator = Operator(abroad, tmp_path)
    # By the option alone: the shell is in the old region.
    said = operator.run(
        f"export AWS_REGION={home.running.region} AWS_DEFAULT_REGION={home.running.region}",
        f'make restore ARGS="--stack deployment-tracker --region {ABROAD} --from {COPY} --write"',
    )
    assert "put back: svc" in said.splitlines()
    caller = Caller(abroad)
    back = caller.call("GET", "svc")
    assert (back["expires_at"], back["region"]) == (registered["expires_at"], home.running.region)
    caller.call("DELETE", "svc", expected=202)
    ended = caller.terminated("svc")
    assert "gone" in {each["state"] for each in ended["resources"]}
    assert machine.is_gone()
