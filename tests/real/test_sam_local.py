"""Every function under `sam local invoke`, as the table of docs/sam-local.md tells it: in Lambda's image, over a stack of this machine.

The exit code is 0 also when a handler raises or its time is over, so what counts is what was printed.
"""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import pytest

from local.api import path_of
from local.build import CREDENTIALS, REGION, ROOT, SAM, built, environment
from local.listener import Listener
from local.processes import PATIENCE
from local.stack import Stack
from tests.real_targets import REQUIRED, docker_engine, lacking
from tests.table import template

__all__ = ["docker_engine"]

IMAGE = "/lambda/python:3.13-x86_64"
INVOKE_SECONDS = 300


# An image is built for the layer at each invocation.
@dataclass(frozen=True)
class Row:
    """One line of the table: what is invoked with what, and the texts that it prints."""

    function: str
    event: str
    seen: tuple[str, ...]


def table() -> list[Row]:
    """The table of docs/sam-local.md."""
    section = (ROOT / "docs/sam-local.md").read_text().partition("\n## Functions and events\n")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    rows = [[re.findall(r"`([^`]+)`", cell) for cell in line] for line in lines]
    return [Row(function, event, tuple(seen)) for (function,), (event,), seen in rows]


@dataclass
class SamLocal:
    """Runs functions over a stack. `took` is the seconds of each invocation."""

    stack: Stack
    folder: Path
    has_image: bool
    took: list[float] = field(default_factory=list)

    def variables(self) -> dict[str, str]:
        """env.local.json, with the ports of this stack instead of those of `make up`."""
        text = (ROOT / "env.local.json").read_text()
        for usual, ours in (("4566", self.stack.running.endpoint), ("4567", self.stack.running.ec2_endpoint)):
            text = text.replace(f"http://172.17.0.1:{usual}", ours)
        found: dict[str, str] = json.loads(text)["Parameters"]
        return found

    def invoke(self, function: str, event: Path, **variables: str) -> str:
        """Return what the handler answered. AssertionError, with all that was printed, if it answered nothing."""
        env_vars = self.folder / "env.json"
        env_vars.write_text(json.dumps({"Parameters": self.variables() | variables}))
        command: list[str | Path] = [SAM, "local", "invoke", function, "--event", event, "--env-vars", env_vars]
        env = environment(
            **CREDENTIALS,
            AWS_CONFIG_FILE="/dev/null",
            AWS_SHARED_CREDENTIALS_FILE="/dev/null",
            AWS_EC2_METADATA_DISABLED="true",
            AWS_ENDPOINT_URL="http://127.0.0.1:9",
            AWS_MAX_ATTEMPTS="1",
            SAM_CLI_TELEMETRY="0",
            SAM_SKIP_PULL_IMAGE=str(int(self.has_image)),
        )
        since = time.monotonic()
        # No `--template`: samconfig.toml says which, as it does to whoever follows docs/sam-local.md.
        with built():
            done = subprocess.run(
                command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=INVOKE_SECONDS
            )
        self.took.append(time.monotonic() - since)
        assert done.stdout.strip(), done.stderr
        assert "errorType" not in done.stdout, done.stdout + done.stderr
        return done.stdout.strip()

    def of(self, event: str, key: str, generation: str, **changes: Any) -> Path:
        """A file of events/, but about this deployment."""
        text = (ROOT / "events" / f"{event}.json").read_text()
        found = json.loads(text.replace("svc-7", key).replace("0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f", generation))
        file = self.folder / f"{event}.json"
        file.write_text(json.dumps(found | changes))
        return file


@pytest.fixture(scope="module")
def has_image(docker_engine: docker.DockerClient) -> bool:
    """Return whether the engine has Lambda's image, or a stand-in; the SAM CLI pulls it only where nothing may be skipped."""
    found = any(tag.endswith(IMAGE) for image in docker_engine.images.list() for tag in image.tags)
    if not found and not REQUIRED:
        lacking(f"Lambda's image isn't there (...{IMAGE})")
    return found


@pytest.fixture(scope="module")
def stack(docker_engine: docker.DockerClient, has_image: bool) -> Iterator[Stack]:
    """One that containers reach, in which nothing but `sam local` notices that time is over."""
    (bridge,) = docker_engine.networks.list(names=["^bridge$"])
    network = bridge.attrs["IPAM"]["Config"][0]
    # An engine that made the bridge by itself doesn't name its own address: it is the network's first.
    host = network.get("Gateway") or str(next(ip_network(network["Subnet"]).hosts()))
    with Stack(host=host, parameters={"SweepState": "DISABLED"}) as found:
        found.client("lambda").update_event_source_mapping(UUID=found.outputs["LeaseMappingId"], Enabled=False)
        yield found


@pytest.fixture(scope="module")
def sam_local(stack: Stack, has_image: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SamLocal]:
    found = SamLocal(stack, tmp_path_factory.mktemp("sam-local"), has_image)
    yield found
    if found.took:
        took = sorted(found.took)
        print(f"\n{len(took)} invocations: {took[0]:.1f} to {took[-1]:.1f} s, median {took[len(took) // 2]:.1f} s")


@pytest.fixture
def listener(stack: Stack) -> Iterator[Listener]:
    found = Listener(stack)
    yield found
    found.close()


def messages(stack: Stack, url: str) -> list[dict[str, Any]]:
    """All that waits in a queue, taken out of it."""
    sqs, found = stack.client("sqs"), []
    while batch := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]).get(
        "Messages"
    ):
        found += batch
        for message in batch:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def until_terminated(stack: Stack, key: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while True:
        record: dict[str, Any] = stack.api("GET", path_of(key)).body
        if record["status"] == "Terminated":
            return record
        assert time.monotonic() < deadline, record
        time.sleep(0.3)


def test_the_table_holds_every_function_and_every_event() -> None:
    functions = {name for name, each in template()["Resources"].items() if each["Type"] == "AWS::Serverless::Function"}
    assert {row.function for row in table()} == functions
    assert {row.event for row in table()} == {file.name for file in (ROOT / "events").iterdir()}
    assert all(row.seen for row in table())


def is_same(ours: str, made: str) -> bool:
    """Return whether both name one thing: a queue whatever its host is called, a secret with or without its ARN."""
    if made.startswith("arn:aws:secretsmanager:"):
        return made.rpartition(":")[2].startswith(f"{ours}-")
    if "Queue-" in made:
        return urlsplit(ours).path == urlsplit(made).path
    return ours == made


def test_the_variables_are_those_of_a_stack_on_this_machine(stack: Stack, sam_local: SamLocal) -> None:
    """The SAM CLI passes on only what the template declares, and knows no name of anything that a stack made."""
    ours, named = sam_local.variables(), set()
    for output, function in stack.outputs.items():
        if not output.endswith("FunctionName"):
            continue
        made = stack.client("lambda").get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        for name, value in made.items():
            if name in ours:
                named.add(name)
                assert is_same(ours[name], value), name
            else:
                assert "deployment-tracker-" not in value, name
    assert named == set(ours)


def test_every_row_of_the_table_prints_what_it_says(stack: Stack, sam_local: SamLocal, listener: Listener) -> None:
    """In the table's order, since what one row registers the next one reads."""
    printed, wrong = {}, []
    for row in table():
        # A body is JSON in JSON: its quotes are printed with backslashes.
        printed[row.event] = sam_local.invoke(row.function, ROOT / "events" / row.event).replace("\\", "")
        print(f"{sam_local.took[-1]:5.1f} s  {row.function} {row.event}")
        wrong += [(row, text, printed[row.event]) for text in row.seen if text not in printed[row.event]]
    announced = {message["id"] for message in listener.heard()}
    assert wrong == []
    # And what they did is so.
    assert json.loads(printed["expire-sweep.json"])["queued"] >= 0
    assert until_terminated(stack, "svc-6")["cleanup"]["reason"] == "expired"
    assert until_terminated(stack, "svc-8")["cleanup"]["reason"] == "the service ended"
    assert until_terminated(stack, "akash/123/1/1")["cleanup"]["reason"] == "the service ended"
    assert "0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f-1" in announced


@pytest.fixture
def waiting_machine(stack: Stack) -> Iterator[str]:
    """A workflow that waits, so that its steps can be taken by hand."""
    states = stack.client("stepfunctions")
    role = states.describe_state_machine(stateMachineArn=stack.outputs["StateMachineArn"])["roleArn"]
    definition = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}
    arn = states.create_state_machine(name="waits", definition=json.dumps(definition), roleArn=role)["stateMachineArn"]
    yield arn
    for execution in states.list_executions(stateMachineArn=arn, statusFilter="RUNNING")["executions"]:
        states.stop_execution(executionArn=execution["executionArn"])
    states.delete_state_machine(stateMachineArn=arn)


def test_a_deployment_goes_all_its_way_by_hand(stack: Stack, sam_local: SamLocal, waiting_machine: str) -> None:
    """The events name a generation that nothing has. With that of a living one, the functions do their work."""
    ec2, states = stack.client("ec2"), stack.client("stepfunctions")
    mark = {"ResourceType": "instance", "Tags": [{"Key": "BlueprintDeployment", "Value": "test"}]}
    image = ec2.describe_images()["Images"][0]["ImageId"]
    run = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=[mark])
    instance = run["Instances"][0]["InstanceId"]
    wanted = {"blueprint_id": "by-hand", "deployment_type": "AwsEc2", "region": REGION, "ttl_seconds": 60}
    answer = stack.api(
        "POST",
        "/deployments",
        wanted | {"deployed_at": "2026-01-01T00:00:00Z", "resource_ids": {"instance_id": instance}},
    )
    assert answer.status == 201, answer.body
    generation = answer.body["generation"]

    def invoke(function: str, event: str, **changes: Any) -> Any:
        file = sam_local.of(event, "by-hand", generation, **changes)
        return json.loads(sam_local.invoke(function, file, STATE_MACHINE_ARN=waiting_machine))

    def record() -> dict[str, Any]:
        found: dict[str, Any] = stack.api("GET", path_of("by-hand")).body
        return found

    def started() -> list[str]:
        return sorted(each["name"] for each in states.list_executions(stateMachineArn=waiting_machine)["executions"])

    assert invoke("PlanFunction", "plan-observe") == {"planned": True}
    assert (instance, "present") in [(each["id"], each["state"]) for each in record()["resources"]]

    assert invoke("ExpireFunction", "expire-lease-removed") == {"batchItemFailures": []}
    assert (record()["status"], record()["cleanup"]["reason"]) == ("Terminating", "expired")
    assert started() == [f"{generation}-1"]

    assert invoke("RestoreFunction", "restore-caught") == {"restored": True, "quarantined": False}
    assert (record()["status"], record()["cleanup"]["failures"]) == ("Active", 1)

    assert invoke("TerminateFunction", "terminate-delete")["statusCode"] == 202
    assert started() == [f"{generation}-1", f"{generation}-2"]

    outcomes = [invoke("ReleaseFunction", "release-step", round=2)["outcome"]]
    while outcomes[-1] == "remains":
        assert len(outcomes) < 10, record()
        outcomes.append(invoke("ReleaseFunction", "release-step", round=2)["outcome"])
    assert outcomes[0] == "remains"
    assert outcomes[-1] == "gone"
    found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    assert found["State"]["Name"] == "terminated"
    assert record()["status"] == "Terminated"
    assert started() == [f"{generation}-1", f"{generation}-2"]


@pytest.mark.parametrize(
    ("function", "event", "queue"),
    [
        ("RegisterFunction", {"messageId": "1", "body": "{}", "attributes": {}}, "DeadLetterQueueUrl"),
        (
            "AnnounceFunction",
            {"eventName": "INSERT", "dynamodb": {"NewImage": {"id": {"S": "x"}}, "SequenceNumber": "1"}},
            "SetAsideQueueUrl",
        ),
    ],
    ids=["an event", "a version of a record"],
)
def test_what_can_never_be_handled_is_set_aside(
    stack: Stack, sam_local: SamLocal, function: str, event: dict[str, Any], queue: str
) -> None:
    file = sam_local.folder / "malformed.json"
    file.write_text(json.dumps({"Records": [event]}))
    assert json.loads(sam_local.invoke(function, file)) == {"batchItemFailures": []}
    (message,) = messages(stack, stack.outputs[queue])
    assert message["MessageAttributes"]["reason"]["StringValue"]
