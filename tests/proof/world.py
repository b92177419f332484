"""A small AWS for proofs: the real functions and the real state machine over moto, with a clock that jumps.

Everything that would run the functions in production runs them here: callers that try again, the queues, the
table's stream with its checkpoints, DynamoDB's TTL, the sweep's tick and Step Functions (an interpreter of
statemachine/cleanup.asl.json). A process may die at any of its calls (`Deaths`), and is then run again by the same.
"""

import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import botocore.client
import time_machine
from moto.dynamodb.models import dynamodb_backends
from moto.ec2.models import ec2_backends

from tests.fresh import forget_process
from tracker.model.deployment import parse_time

ROOT = Path(__file__).parents[2]
REGION = "eu-west-1"
ACCOUNT = "123456789012"
START = datetime(2030, 1, 1, tzinfo=UTC)
MARK = "BlueprintDeployment"


class Died(BaseException):
    """The process is gone: no handler of its own sees this."""


@dataclass
class Deaths:
    """Counts every call to AWS that a function makes, and ends its process at one of them."""

    at: int | None = None
    after: bool = False
    calls: list[str] = field(default_factory=list)
    # What functions were invoked with by others, without waiting for them.
    invoked: list[dict[str, Any]] = field(default_factory=list)
    armed: bool = False
    fired: bool = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While a function runs."""
        self.armed = True
        try:
            yield
        finally:
            self.armed = False

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Botocore's one way out, PynamoDB's too."""

        def watched(client: Any, operation: str, kwargs: Any) -> Any:
            if not self.armed:
                return call(client, operation, kwargs)
            number = len(self.calls)
            self.calls.append(operation)
            dies = number == self.at and not self.fired
            if dies and not self.after:
                self.fired = True
                raise Died(operation)
            if operation == "Invoke":
                self.invoked.append(json.loads(kwargs["Payload"]))
                answer = {"StatusCode": 202}
            else:
                answer = call(client, operation, kwargs)
            if dies:
                self.fired = True
                raise Died(operation)
            return answer

        return watched


class Context:
    """This is what Lambda hands to a handler beside the event."""

    function_name = "function"
    memory_limit_in_mb = 256
    invoked_function_arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:function"
    aws_request_id = "request"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Always enough."""
        return 290_000


@dataclass
class Execution:
    """One run of the state machine."""

    name: str
    state: str
    data: dict[str, Any]
    wake_at: datetime
    attempts: dict[int, int] = field(default_factory=dict)
    transitions: int = 0
    status: str = "RUNNING"


class World:
    """Call within `mock_aws`; `clock` is a time_machine traveller."""

    def __init__(self, clock: time_machine.Traveller, monkeypatch: Any, table: Callable[[str], None]) -> None:
        self.clock = clock
        self.deaths = Deaths()
        self.executions: dict[str, Execution] = {}
        self.announced: list[dict[str, Any]] = []
        self.queues: dict[str, list[dict[str, Any]]] = {"register": [], "terminate": []}
        self.revived: set[str] = set()
        # How often a deployment must have been warned of.
        self.warned: dict[str, int] = {}
        self.sweeps = True
        self.streams = True
        self._real_call = botocore.client.BaseClient._make_api_call
        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", self.deaths.wrap(self._real_call))
        table("tracker")
        self.dynamodb = boto3.client("dynamodb")
        self._streams = boto3.client("dynamodbstreams")
        self._states = boto3.client("stepfunctions")
        self.ec2 = boto3.client("ec2")
        self._image = self.ec2.register_image(Name="any")["ImageId"]
        self.sqs = boto3.client("sqs")
        sns = boto3.client("sns")
        self.machine = json.loads((ROOT / "statemachine/cleanup.asl.json").read_text())
        definition = '{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}'
        machine = self._states.create_state_machine(
            name="cleanup", definition=definition, roleArn=f"arn:aws:iam::{ACCOUNT}:role/cleanup"
        )["stateMachineArn"]
        self._machine_arn = machine
        topic = sns.create_topic(Name="announcements")["TopicArn"]
        self._heard = self._queue("heard")
        arn = self.sqs.get_queue_attributes(QueueUrl=self._heard, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
        self.dead_letters = self._queue("dead-letters")
        self.due_queue = self._queue("due")
        boto3.client("ssm").put_parameter(Name="mode", Value="enforce", Type="String")
        environment = {
            "TABLE_NAME": "tracker",
            "TOPIC_ARN": topic,
            "STATE_MACHINE_ARN": machine,
            "PLAN_FUNCTION": "plan",
            "LOOK_AGAIN": "0",
            "MODE_PARAMETER": "mode",
            "SET_ASIDE_QUEUE_URL": self._queue("set-aside"),
            "DEAD_LETTER_QUEUE_URL": self.dead_letters,
            "DUE_QUEUE_URL": self.due_queue,
            "AWS_MARK": MARK,
            "AWS_ACCOUNT": ACCOUNT,
            "POWERTOOLS_TRACE_DISABLED": "true",
            "POWERTOOLS_SERVICE_NAME": "tracker",
            "POWERTOOLS_METRICS_NAMESPACE": "DeploymentTracker",
            "POWERTOOLS_LOG_LEVEL": "WARNING",
            "AWS_MAX_ATTEMPTS": "1",
            "POWERTOOLS_METRICS_DISABLED": "true",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        self._monkeypatch = monkeypatch
        forget_process()
        names = [
            "register",
            "inspect",
            "amend",
            "terminate",
            "expire",
            "release",
            "restore",
            "announce",
            "plan",
            "survey",
        ]
        self.functions = {name: load(name) for name in names}
        self._stream = self.dynamodb.describe_table(TableName="tracker")["Table"]["LatestStreamArn"]
        # The sequence number of the last stream record that each consumer was handed.
        self._read: dict[str, str] = {}
        self._pending: dict[str, list[dict[str, Any]]] = {"announce": [], "expire": []}

    # What the world holds

    @property
    def now(self) -> datetime:
        """The one clock."""
        return datetime.now(UTC)

    def rent_instance(self, mark: str = "yes") -> str:
        """Rent an instance alone."""
        tags = [{"ResourceType": "instance", "Tags": [{"Key": MARK, "Value": mark}]}]
        found = self.ec2.run_instances(
            ImageId=self._image, MinCount=1, MaxCount=1, InstanceType="t3.micro", TagSpecifications=tags
        )
        instance: str = found["Instances"][0]["InstanceId"]
        return instance

    def rent(self, *, marked: bool = True, mark: str = "yes") -> dict[str, str]:
        """Rent an instance with an address and a volume, as `resource_ids`."""
        tags = [{"Key": MARK, "Value": mark}] if marked else [{"Key": "Name", "Value": "someone's"}]

        def tagged(kind: str) -> list[dict[str, Any]]:
            return [{"ResourceType": kind, "Tags": tags}]

        instance = self.ec2.run_instances(
            ImageId=self._image, MinCount=1, MaxCount=1, InstanceType="t3.micro", TagSpecifications=tagged("instance")
        )["Instances"][0]
        zone = instance["Placement"]["AvailabilityZone"]
        volume = self.ec2.create_volume(AvailabilityZone=zone, Size=1, TagSpecifications=tagged("volume"))["VolumeId"]
        self.ec2.attach_volume(VolumeId=volume, InstanceId=instance["InstanceId"], Device="/dev/sdf")
        address = self.ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip"))["AllocationId"]
        self.ec2.associate_address(AllocationId=address, InstanceId=instance["InstanceId"])
        return {"instance_id": instance["InstanceId"], "elastic_ip": address, "ebs_volume": volume}

    def is_gone(self, ids: dict[str, str]) -> bool:
        """Return whether EC2 itself says that all of it is gone."""
        found = self.ec2.describe_instances(InstanceIds=[ids["instance_id"]])["Reservations"][0]["Instances"][0]
        volumes = [v["VolumeId"] for v in self.ec2.describe_volumes()["Volumes"]]
        addresses = [a["AllocationId"] for a in self.ec2.describe_addresses()["Addresses"]]
        is_over = found["State"]["Name"] == "terminated"
        return is_over and ids["ebs_volume"] not in volumes and ids["elastic_ip"] not in addresses

    def marked(self, generation: str) -> list[str]:
        """Return what EC2 itself has that carries the mark of a generation, and isn't gone."""
        tag = [{"Name": f"tag:{MARK}", "Values": [generation]}]
        runs = [run for one in self.ec2.describe_instances(Filters=tag)["Reservations"] for run in one["Instances"]]
        found = [run["InstanceId"] for run in runs if run["State"]["Name"] != "terminated"]
        found += [volume["VolumeId"] for volume in self.ec2.describe_volumes(Filters=tag)["Volumes"]]
        return found + [address["AllocationId"] for address in self.ec2.describe_addresses(Filters=tag)["Addresses"]]

    def is_over(self, key: str) -> bool:
        """Return whether the record under a key is Terminated."""
        status = {"S": "Terminated"}
        return any(item["item"]["S"] == "record" and item["status"] == status for item in self._of(key))

    def status_of(self, key: str) -> str:
        """The status of the record under a key, for looking at."""
        (found,) = [item["status"]["S"] for item in self._of(key) if item["item"]["S"] == "record"]
        return str(found)

    def look_again(self, *after: int) -> None:
        """Have what is gone looked at again so many seconds after its end."""
        self._monkeypatch.setenv("LOOK_AGAIN", ",".join(map(str, after)))
        forget_process()

    def revive(self, instance: str) -> None:
        """Let a terminated instance run again, under its id."""
        state = ec2_backends[ACCOUNT][REGION].get_instance(instance)._state
        state.name, state.code = "running", 16

    def items(self) -> list[dict[str, Any]]:
        """All the table's items, for looking at: no function may do this."""
        table = dynamodb_backends[ACCOUNT][REGION].get_table("tracker")
        return [item.to_json()["Attributes"] for item in table.all_items()]

    # Who calls

    def call(self, function: str, method: str, key: str = "", body: Any = None, suffix: str = "") -> tuple[int, Any]:
        """A caller over HTTPS who tries again until there is an answer."""
        resource = "/deployments" + ("/{blueprint_id}" if key else "") + suffix
        event = {
            "httpMethod": method,
            "resource": resource,
            "path": resource,
            "pathParameters": {"blueprint_id": key} if key else None,
            "queryStringParameters": None,
            "body": None if body is None else json.dumps(body),
            "requestContext": {"identity": {"userArn": "arn:aws:iam::123456789012:user/operator"}},
        }
        for _ in range(5):
            try:
                answer = self.invoke(function, event)
            except Died:
                continue
            if answer["statusCode"] < 500:
                return answer["statusCode"], json.loads(answer["body"])
        raise AssertionError("no answer")

    def send(self, detail_type: str, detail: dict[str, Any], *, id_: str, at: datetime | None = None) -> None:
        """An event, put on its queue; `deliver_queues` brings it."""
        function = {"Service Initiated": "register", "Service Terminated": "terminate"}[detail_type]
        time = (at or self.now).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {"id": id_, "time": time, "source": "blueprint", "detail-type": detail_type, "detail": detail}
        sent = str(int(self.now.timestamp() * 1000))
        message = {"messageId": f"m-{id_}-{len(self.queues[function])}", "body": json.dumps(body)}
        self.queues[function].append({**message, "attributes": {"SentTimestamp": sent}})

    def invoke(self, function: str, event: dict[str, Any]) -> Any:
        """Run a function's handler, as a process that may die."""
        with self.deaths.watching():
            return self.functions[function].handler(event, Context())

    # What runs by itself

    def deliver_queues(self) -> bool:
        """One delivery of what is on the queues."""
        moved = False
        for function, messages in self.queues.items():
            if not messages:
                continue
            try:
                answer = self.invoke(function, {"Records": list(messages)})
            except Died:
                return True
            again = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
            kept = [message for message in messages if message["messageId"] in again]
            moved = moved or len(kept) < len(messages)
            self.queues[function] = kept
        return moved

    def deliver_due(self) -> bool:
        """One delivery of what the queue of the sweep doesn't hide any more."""
        found = self.sqs.receive_message(QueueUrl=self.due_queue, MaxNumberOfMessages=10).get("Messages", [])
        if not found:
            return False
        try:
            failed = self.invoke(
                "expire", {"Records": [{"messageId": m["MessageId"], "body": m["Body"]} for m in found]}
            )
        except Died:
            # They come again once they have been hidden.
            return True
        again = {each["itemIdentifier"] for each in failed["batchItemFailures"]}
        for message in found:
            if message["MessageId"] not in again:
                self.sqs.delete_message(QueueUrl=self.due_queue, ReceiptHandle=message["ReceiptHandle"])
        return True

    def look(self) -> bool:
        """Run what was invoked without waiting for it; Lambda tries a plan twice more if it fails, and a survey's lane never."""
        waiting, self.deaths.invoked = self.deaths.invoked, []
        for event in waiting:
            is_lane = "places" in event
            for _ in range(1 if is_lane else 3):
                try:
                    self.invoke("survey" if is_lane else "plan", event)
                except Died:
                    continue
                break
        return bool(waiting)

    def deliver_streams(self) -> bool:
        """Hand what is new on the stream to its consumers, each at its own pace and in order."""
        moved = False
        for function, wanted in (("announce", _is_record_version), ("expire", _is_lease_removal)):
            pending = self._pending[function]
            pending += [
                json.loads(json.dumps(r, default=datetime.timestamp))
                for r in self._new_on_stream(function)
                if wanted(r)
            ]
            if function == "expire" and not self.streams:
                pending.clear()
            while pending:
                moved = True
                try:
                    failed = self.invoke(function, {"Records": pending[:10]})["batchItemFailures"]
                except Died:
                    continue
                if failed:
                    numbers = [record["dynamodb"]["SequenceNumber"] for record in pending]
                    del pending[: numbers.index(failed[0]["itemIdentifier"])]
                    break
                del pending[:10]
        return moved

    def lapse_leases(self) -> bool:
        """DynamoDB's TTL: remove the leases whose time is over."""
        moved = False
        for item in self.items():
            if item["item"]["S"] == "lease" and float(item["ttl"]["N"]) < self.now.timestamp():
                key = {"blueprint_id": item["blueprint_id"], "item": item["item"]}
                self.dynamodb.delete_item(TableName="tracker", Key=key)
                moved = True
        return moved

    def sweep(self) -> None:
        """The tick of every minute; EventBridge tries twice more if it dies."""
        for _ in range(3):
            try:
                self.invoke("expire", {"source": "aws.events", "detail-type": "Scheduled Event"})
            except Died:
                continue
            return

    def survey(self) -> None:
        """The tick of every hour, which nobody repeats."""
        with suppress(Died):
            self.invoke("survey", {"named_places": []})

    def run_executions(self) -> bool:
        """Let every execution go as far as it can now."""
        self._take_up()
        moved = False
        for execution in list(self.executions.values()):
            while execution.status == "RUNNING" and execution.wake_at <= self.now:
                self._transition(execution)
                moved = True
        return moved

    def turn(self) -> bool:
        """All that can happen without time passing; whether anything did."""
        moved = [
            self.deliver_queues(),
            self.deliver_due(),
            self.look(),
            self.lapse_leases(),
            self.deliver_streams(),
            self.run_executions(),
        ]
        self._listen()
        return any(moved)

    def settle(self, limit: timedelta = timedelta(days=10)) -> None:
        """Let time pass until nothing is left to happen."""
        until = self.now + limit
        while self.now < until:
            while self.turn():
                pass
            following = self._next_moment()
            if following is None:
                return
            self.pass_time(max(following - self.now, timedelta(seconds=1)))
        raise AssertionError(f"still not settled after {limit}")

    def pass_time(self, by: timedelta) -> None:
        """Let time pass, and sweep if something is due then."""
        self.clock.shift(by)
        if self.sweeps and any(float(item["due_at"]["N"]) <= self.now.timestamp() for item in self._due()):
            self.sweep()

    # Within

    def _queue(self, name: str) -> str:
        url: str = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        return url

    def _new_on_stream(self, consumer: str) -> list[dict[str, Any]]:
        # Found anew each time: moto makes another shard when it rolls a transaction back.
        shard = self._streams.describe_stream(StreamArn=self._stream)["StreamDescription"]["Shards"][0]["ShardId"]
        last = self._read.get(consumer)
        start = {"ShardIteratorType": "TRIM_HORIZON"}
        if last:
            start = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": last}
        iterator = self._streams.get_shard_iterator(StreamArn=self._stream, ShardId=shard, **start)["ShardIterator"]
        found: list[dict[str, Any]] = self._streams.get_records(ShardIterator=iterator)["Records"]
        if found:
            self._read[consumer] = found[-1]["dynamodb"]["SequenceNumber"]
        return found

    def _listen(self) -> None:
        while messages := self.sqs.receive_message(QueueUrl=self._heard, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                self.announced.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self._heard, ReceiptHandle=message["ReceiptHandle"])

    def _of(self, key: str) -> list[dict[str, Any]]:
        return [item for item in self.items() if item["blueprint_id"]["S"] == key]

    def _due(self) -> list[dict[str, Any]]:
        return [item for item in self.items() if "due_at" in item]

    def _next_moment(self) -> datetime | None:
        moments = [e.wake_at for e in self.executions.values() if e.status == "RUNNING"]
        if self.sweeps:
            moments += [datetime.fromtimestamp(float(item["due_at"]["N"]), UTC) for item in self._due()]
        moments += [
            datetime.fromtimestamp(float(item["ttl"]["N"]) + 1, UTC)
            for item in self.items()
            if item["item"]["S"] == "lease"
        ]
        if any(self.queues.values()):
            moments.append(self.now + timedelta(minutes=1))
        return min(moments, default=None)

    def _take_up(self) -> None:
        listed = self._states.list_executions(stateMachineArn=self._machine_arn, statusFilter="RUNNING")["executions"]
        for execution in listed:
            if execution["name"] in self.executions:
                continue
            found = self._states.describe_execution(executionArn=execution["executionArn"])
            self.executions[execution["name"]] = Execution(
                name=execution["name"],
                state=self.machine["StartAt"],
                data=json.loads(found["input"]),
                wake_at=self.now,
            )

    def _transition(self, execution: Execution) -> None:
        state = self.machine["States"][execution.state]
        execution.transitions += 1
        kind = state["Type"]
        if kind == "Task":
            self._task(execution, state)
        elif kind == "Choice":
            chosen = [choice["Next"] for choice in state["Choices"] if _holds(choice, execution.data)]
            execution.state = (chosen or [state["Default"]])[0]
        elif kind == "Wait":
            seconds = execution.data[state["SecondsPath"].removeprefix("$.")]
            execution.wake_at = self.now + timedelta(seconds=seconds)
            execution.state = state["Next"]
        else:
            execution.status = kind
            arn = self._machine_arn.replace(":stateMachine:", ":execution:") + ":" + execution.name
            self._states.stop_execution(executionArn=arn)

    def _task(self, execution: Execution, state: dict[str, Any]) -> None:
        function = "release" if "Release" in state["Parameters"]["FunctionName"] else "restore"
        try:
            answer = self.invoke(function, dict(execution.data))
        except (Exception, Died) as error:
            self._caught(execution, state, type(error).__name__)
            return
        execution.attempts.clear()
        if state.get("ResultPath", "$") == "$":
            execution.data = answer
        execution.state = state["Next"]

    def _caught(self, execution: Execution, state: dict[str, Any], error: str) -> None:
        for number, retrier in enumerate(state["Retry"]):
            if not {error, "States.ALL"} & set(retrier["ErrorEquals"]):
                continue
            attempt = execution.attempts.get(number, 0)
            if attempt < retrier["MaxAttempts"]:
                gap = retrier["IntervalSeconds"] * retrier.get("BackoffRate", 2) ** attempt
                execution.attempts[number] = attempt + 1
                execution.wake_at = self.now + timedelta(seconds=min(gap, retrier.get("MaxDelaySeconds", gap)))
                return
            break
        catcher = state["Catch"][0]
        if catcher.get("ResultPath") == "$.error":
            execution.data = {**execution.data, "error": {"Error": error, "Cause": ""}}
        execution.attempts.clear()
        execution.state = catcher["Next"]


def look_at_its_terms(facts: list[dict[str, Any]]) -> None:
    """No warning twice or after the end, no round while it is held, and none before the end that an extension gave."""
    told: set[tuple[str, int]] = set()
    end, is_held = "", False
    for fact in facts:
        detail = fact["detail"]
        match fact["type"]:
            case "expiring":
                which = (detail["expires_at"], detail["before"])
                assert which not in told, f"warned twice: {which}"
                assert parse_time(fact["at"]) < parse_time(detail["expires_at"])
                told.add(which)
            case "extended":
                end = detail["to"]
            case "amended":
                end = "" if "expires_at" in detail["fields"] else end
            case "held":
                is_held = True
            case "unheld":
                is_held = False
            case "terminating" | "forgotten":
                assert not is_held, "a round began while it was held"
                if detail["reason"] == "expired" and end:
                    assert parse_time(fact["at"]) >= parse_time(end), "a round began before the extended end"


def load(function: str) -> ModuleType:
    """A function's module, fresh, under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"proof_{function}", ROOT / f"functions/{function}/app.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _is_record_version(record: dict[str, Any]) -> bool:
    return bool(
        record["dynamodb"]["Keys"]["item"]["S"] in ("record", "stray") and record["eventName"] in ("INSERT", "MODIFY")
    )


def _is_lease_removal(record: dict[str, Any]) -> bool:
    return bool(record["dynamodb"]["Keys"]["item"]["S"] == "lease" and record["eventName"] == "REMOVE")


def _holds(rule: dict[str, Any], data: dict[str, Any]) -> bool:
    """A Choice rule of the state machine's own vocabulary."""
    if "And" in rule:
        return all(_holds(part, data) for part in rule["And"])
    if "Or" in rule:
        return any(_holds(part, data) for part in rule["Or"])
    value = data.get(rule["Variable"].removeprefix("$."))
    if "IsPresent" in rule:
        return bool((value is not None) == rule["IsPresent"])
    if "IsNumeric" in rule:
        return bool(isinstance(value, int | float) == rule["IsNumeric"])
    if "StringEquals" in rule:
        return bool(value == rule["StringEquals"])
    if "NumericGreaterThanEquals" in rule:
        return bool(value is not None and value >= rule["NumericGreaterThanEquals"])
    raise AssertionError(f"the interpreter doesn't know {rule}")
