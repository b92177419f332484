"""The main job, shown: `python -m local.demo` starts a stack of its own and lets real things be registered, end and go.

Each scene tells its timeline from what the tracker's API says, and is checked by asking EC2 and Docker themselves.
Exits 1 if anything is not as it should be.
"""

import io
import json
import shutil
import sys
import tarfile
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, NamedTuple, Self
from uuid import uuid4

import docker
from docker.errors import DockerException, NotFound
from standardwebhooks import Webhook, WebhookVerificationError

from local.api import path_of
from local.processes import LocalError
from local.stack import Stack
from tracker.deployment import parse_time

MARK = "BlueprintDeployment"
# Those that need nothing but the stack.
SCENES = 8
# Seconds from one attempt at a webhook to the next; without it they are 5, 300, 1800 ...
GAPS = "3,3,10"
STARTED = datetime.now(UTC)

_out = Lock()


class WrongError(Exception):
    """Something is not as it should be."""


class Scene:
    """One deployment's story: its lines, and what the tracker's API says of it."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.stack = stack
        self.name = name
        self.key = f"{name}-{uuid4().hex[:6]}"
        self._told = 0

    def say(self, text: str, at: datetime | None = None) -> None:
        """A line of the timeline: seconds since the stack stood, and what was then, by default now."""
        seconds = ((at or datetime.now(UTC)) - STARTED).total_seconds()
        with _out:
            print(f"{seconds:7.1f} s  {self.name:<10} {text}", flush=True)

    def expect(self, what: str, *, is_so: bool) -> None:
        """Say it if it is so."""
        if not is_so:
            raise WrongError(f"{self.name}: not so: {what}")
        self.say(f"checked: {what}")

    def call(self, method: str, *more: str, body: Any = None, expected: int = 200) -> Any:
        """Call the API about this deployment."""
        path = "/deployments" if method == "POST" and not more else path_of(self.key, *more)
        status, answer = self.stack.api(method, path, body)
        if status != expected:
            raise WrongError(f"{self.name}: {method} {path} answered {status}, not {expected}: {answer}")
        return answer

    def registration(self, ids: dict[str, Any], **more: Any) -> dict[str, Any]:
        """What is posted for rented EC2 things."""
        return {
            "blueprint_id": self.key,
            "deployment_type": "AwsEc2",
            "provider": "AWS",
            "region": self.stack.running.region,
            "resource_ids": ids,
            **more,
        }

    def follow(self, until: Callable[[dict[str, Any]], bool], *, seconds: float = 150) -> dict[str, Any]:
        """Tell each new fact until the record is so."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status, record = self.stack.api("GET", path_of(self.key))
            if status == 200:  # noqa: PLR2004
                for event in record["events"]:
                    if event["sequence"] > self._told:
                        self._told = event["sequence"]
                        self.say(told(event), parse_time(event["at"]))
                if until(record):
                    return dict(record)
            time.sleep(0.3)
        raise WrongError(f"{self.name}: after {seconds} s still {record.get('status', record)}")

    def follow_to_the_end(self, *, seconds: float = 150) -> dict[str, Any]:
        """Until it is Terminated; its receipt is told."""
        record = self.follow(lambda found: found["status"] == "Terminated", seconds=seconds)
        for resource in record["resources"]:
            self.say(f"receipt: {resource['kind']} {resource['id'][:24]}: {resource['state']}, {proof_of(resource)}")
        return record


def proof_of(resource: dict[str, Any]) -> str:
    """What a receipt's line says."""
    return str(resource.get("proof") or resource.get("detail") or "")[:90]


def told(event: dict[str, Any]) -> str:
    """One fact in words."""
    detail = event.get("detail", {})
    words = [f"{name} {str(value)[:70]}" for name, value in detail.items() if name != "proof" and value]
    return f"{event['type']} -> {event['status']}" + (f" ({', '.join(words)})" if words else "")


class Rented:
    """An instance with an address and a volume, rented from the EC2 of the stack."""

    def __init__(self, stack: Stack, *, marked: bool = True) -> None:
        self.ec2 = stack.client("ec2")
        zone = stack.running.region + "a"
        tags = [{"Key": MARK if marked else "Owner", "Value": "demo"}]

        def tagged(kind: str) -> list[dict[str, Any]]:
            return [{"ResourceType": kind, "Tags": tags}]

        image = self.ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        placed = {"InstanceType": "t3.micro", "Placement": {"AvailabilityZone": zone}}
        instance = self.ec2.run_instances(
            ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tagged("instance"), **placed
        )["Instances"][0]["InstanceId"]
        self.ec2.get_waiter("instance_running").wait(InstanceIds=[instance])
        volume = self.ec2.create_volume(AvailabilityZone=zone, Size=1, TagSpecifications=tagged("volume"))["VolumeId"]
        self.ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
        address = self.ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip"))["AllocationId"]
        self.ec2.associate_address(AllocationId=address, InstanceId=instance)
        self.ids = {"instance_id": instance, "elastic_ip": address, "ebs_volume": volume}

    def state(self) -> str:
        """The instance's, by EC2."""
        found = self.ec2.describe_instances(InstanceIds=[self.ids["instance_id"]])["Reservations"]
        return str(found[0]["Instances"][0]["State"]["Name"])

    def is_gone(self) -> bool:
        """Whether EC2 itself says that all of it is."""
        volumes = {volume["VolumeId"] for volume in self.ec2.describe_volumes()["Volumes"]}
        addresses = {address["AllocationId"] for address in self.ec2.describe_addresses()["Addresses"]}
        left = self.ids["ebs_volume"] in volumes or self.ids["elastic_ip"] in addresses
        return self.state() == "terminated" and not left


def fails_and_is_mended(stack: Stack, between: Callable[[], None]) -> None:
    """Its cleanup fails 3 times 5 seconds apart, comes back with its error, and goes once the cause is mended."""
    scene = Scene(stack, "failing")
    rented = Rented(stack)
    scene.call("POST", body=scene.registration(rented.ids), expected=201)
    faults(stack, [{"action": "TerminateInstances", "kind": "error", "code": "InternalError", "status": 500}])
    scene.say("EC2 now answers TerminateInstances with 500")
    scene.call("DELETE", expected=202)
    record = scene.follow(lambda found: found["cleanup"].get("failures", 0) == 1)
    attempts = apart(calls(stack, "TerminateInstances", rented.ids["instance_id"]))
    gaps = waited(stack, f"{record['generation']}-{record['cleanup']['round']}")
    scene.expect("EC2 was asked in 3 attempts", is_so=len(attempts) == 3)  # noqa: PLR2004
    pauses = " and ".join(f"{gap:.1f} s" for gap in gaps)
    scene.expect(f"the workflow waited {pauses} in between", is_so=len(gaps) == 2 and all(5 <= g < 7 for g in gaps))  # noqa: PLR2004
    error = record["cleanup"]["last_error"]
    scene.expect(f"Active again, with its error: {error['class']}: {error['message'][:90]}", is_so=is_live(record))
    scene.expect("the instance still runs", is_so=rented.state() == "running")
    faults(stack, [])
    scene.say(f"EC2 is mended; the tracker will try again by itself at {record['cleanup']['next_attempt_at']}")
    between()
    scene.follow_to_the_end()
    scene.expect("EC2 itself says that instance, address and volume are gone", is_so=rented.is_gone())


def expires_by_its_lease(stack: Stack) -> None:
    """Its lease is removed and the stream tells; the sweep is off."""
    scene = Scene(stack, "lease")
    rented = Rented(stack)
    record = scene.call("POST", body=scene.registration(rented.ids, ttl_seconds=5), expected=201)
    scene.say(f"registered with address and volume, expires at {record['expires_at']}; the sweep is off")
    record = scene.follow_to_the_end()
    scene.expect("it ended because its time was over", is_so=record["cleanup"]["reason"] == "expired")
    scene.expect("EC2 itself says that instance, address and volume are gone", is_so=rented.is_gone())


def found_by_the_sweep(stack: Stack) -> None:
    """Its lease is removed but nothing listens; the sweep finds it."""
    scene = Scene(stack, "sweep")
    rented = Rented(stack)
    scene.call("POST", body=scene.registration(rented.ids, ttl_seconds=5), expected=201)
    scene.say("registered for 5 seconds; the stream is off, so the sweep of every minute must find it")
    record = scene.follow_to_the_end()
    scene.expect("it ended because its time was over", is_so=record["cleanup"]["reason"] == "expired")
    scene.expect("EC2 itself says that instance, address and volume are gone", is_so=rented.is_gone())


def terminated_by_a_call(stack: Stack) -> None:
    """DELETE, twice; then its receipt."""
    scene = Scene(stack, "call")
    rented = Rented(stack)
    scene.call("POST", body=scene.registration(rented.ids), expected=201)
    scene.call("DELETE", expected=202)
    scene.call("DELETE", expected=202)
    scene.follow_to_the_end()
    scene.call("DELETE")
    scene.expect("EC2 itself says that instance, address and volume are gone", is_so=rented.is_gone())


def ended_by_events(stack: Stack) -> None:
    """`Service Initiated` registers, `Service Terminated` terminates; both come twice."""
    scene = Scene(stack, "events")
    rented = Rented(stack)
    put_events(stack, "Service Initiated", scene.registration(rented.ids))
    scene.follow(lambda found: found["status"] == "Active")
    time.sleep(1)
    put_events(stack, "Service Terminated", {"blueprint_id": scene.key, "reason": "service ended"})
    record = scene.follow_to_the_end()
    registered = [event for event in record["events"] if event["type"] == "registered"]
    scene.expect("each event came twice and counted once", is_so=len(registered) == record["cleanup"]["round"] == 1)
    scene.expect("EC2 itself says that instance, address and volume are gone", is_so=rented.is_gone())


def not_ours(stack: Stack) -> None:
    """It doesn't carry the mark: refused, and untouched."""
    scene = Scene(stack, "not-ours")
    rented = Rented(stack, marked=False)
    scene.call("POST", body=scene.registration(rented.ids), expected=201)
    plan = scene.call("GET", "plan")
    scene.say(f"its plan says so beforehand: {plan['refusal']}")
    scene.call("DELETE", expected=202)
    record = scene.follow(lambda found: found["cleanup"].get("failures", 0) == 1)
    error = record["cleanup"]["last_error"]
    scene.expect(f"refused: {error['class']}: {error['message'][:110]}", is_so=error["class"] == "not_ours")
    scene.expect("the instance still runs", is_so=rented.state() == "running")
    asked = calls(stack, "TerminateInstances", rented.ids["instance_id"])
    scene.expect("EC2 was never asked to end it", is_so=not asked)
    record = scene.call("POST", "forget", body={"reason": "registered by mistake: it isn't ours"})
    scene.expect("forgotten by hand, with a reason", is_so=record["status"] == "Terminated")


def told_to_its_webhook(stack: Stack) -> None:
    """A receiver knows by the signature who called, and a changed copy from the real thing."""
    scene = Scene(stack, "webhook")
    with Receiver(stack, [200]) as receiver:
        scene.call("POST", body=scene.registration(Rented(stack).ids, cleanup_webhook=receiver.url), expected=201)
        scene.call("DELETE", expected=202)
        scene.follow_to_the_end()
        (call,) = receiver.calls(1)
        scene.say(f"its webhook was posted {call.body[:118].decode()} ...")
        scene.expect("the signature is the tracker's, by the public standardwebhooks library", is_so=call.is_genuine)
        changed = call.body.replace(b"success", b"failed!")
        scene.expect("a changed copy of it is not", is_so=not receiver.verifies(call.headers, changed))


def told_to_a_webhook_that_fails(stack: Stack) -> None:
    """It answers 500, then 503; what it missed comes again by itself."""
    scene = Scene(stack, "patience")
    with Receiver(stack, [500, 503, 200]) as receiver:
        scene.call("POST", body=scene.registration(Rented(stack).ids, cleanup_webhook=receiver.url), expected=201)
        scene.call("DELETE", expected=202)
        scene.follow_to_the_end()
        scene.say(f"attempts are {GAPS} s apart here; by default 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h")
        calls_ = receiver.calls(3)
        for n, call in enumerate(calls_, 1):
            scene.say(f"attempt {n} at its webhook: answered {call.answer}", call.at)
        is_same = len({(call.headers["webhook-id"], call.body) for call in calls_}) == 1
        scene.expect("all had the same id and body, each signed anew", is_so=is_same)
        scene.expect("and every signature verifies", is_so=all(call.is_genuine for call in calls_))
        (delivery,) = until(lambda: delivered(scene))
        attempts = [attempt["status"] for attempt in delivery["attempts"]]
        scene.expect(f"the tracker has the delivery with its attempts: {attempts}", is_so=attempts == [500, 503, 200])


def delivered(scene: Scene) -> list[dict[str, Any]]:
    """The deliveries of a deployment that are done."""
    return [each for each in scene.call("GET", "deliveries")["deliveries"] if each["state"] == "delivered"]


def until[T](what: Callable[[], T], seconds: float = 60) -> T:
    """It, once it is something."""
    end = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > end:
            raise WrongError(f"nothing came in {seconds} s")
        time.sleep(0.3)
    return found


class Call(NamedTuple):
    """What a receiver heard, how it answered, and whether the signature is good."""

    at: datetime
    headers: dict[str, str]
    body: bytes
    answer: int
    is_genuine: bool


class Receiver:
    """An HTTP server on loopback that checks signatures. It answers so, one after the other, and then goes on with the last."""

    def __init__(self, stack: Stack, answers: list[int]) -> None:
        arn = stack.outputs["WebhookSecretArn"]
        secret = json.loads(stack.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])
        self._webhook = Webhook(f"whsec_{secret['current']}")
        self._heard: list[Call] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                is_genuine = receiver.verifies(headers, body)
                receiver._heard.append(Call(datetime.now(UTC), headers, body, answer, is_genuine))
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def verifies(self, headers: dict[str, str], body: bytes) -> bool:
        """Whether the stack signed this."""
        try:
            self._webhook.verify(body, headers)
        except WebhookVerificationError:
            return False
        return True

    def calls(self, number: int) -> list[Call]:
        """What it heard, once that is so much."""
        return until(lambda: self._heard if len(self._heard) >= number else [])


def a_container(stack: Stack) -> None:
    """A real container with a volume and a network, where a Docker engine answers."""
    scene = Scene(stack, "container")
    try:
        engine = docker.from_env(timeout=10)
        engine.ping()
    except DockerException:
        scene.say("left out: no Docker engine answers here")
        return
    name = f"tracker-demo-{uuid4().hex[:8]}"
    image = an_image(engine, name)
    made: list[Any] = [image]
    try:
        network, volume = engine.networks.create(name), engine.volumes.create(name)
        made += [network, volume]
        container = engine.containers.create(
            image.id, ["/bin/busybox", "sleep", "600"], network=name, volumes={name: {"bind": "/data", "mode": "rw"}}
        )
        made.append(container)
        if shutil.which("busybox"):
            container.start()
        id_ = str(container.id)
        ids = {"container_id": id_, "network": name, "volume": name}
        body = {"blueprint_id": scene.key, "deployment_type": "LocalDocker", "resource_ids": ids, "ttl_seconds": 3}
        scene.call("POST", body=body, expected=201)
        scene.say(f"a {engine.containers.get(id_).status} container, its network and its volume, for 3 s")
        scene.follow_to_the_end()
        scene.expect("Docker itself says that container, network and volume are gone", is_so=no_docker(engine, ids))
    finally:
        tidy(made)
        engine.close()


def an_image(engine: Any, name: str) -> Any:
    """An image from nothing but busybox, if that is here."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        busybox = shutil.which("busybox")
        if busybox:
            archive.add(busybox, "bin/busybox", recursive=False)
        else:
            archive.addfile(tarfile.TarInfo("empty"))
    engine.api.import_image_from_data(buffer.getvalue(), repository=name, tag="demo")
    return engine.images.get(f"{name}:demo")


def no_docker(engine: Any, ids: dict[str, str]) -> bool:
    """Whether the engine knows none of them any more."""
    for find, id_ in (
        (engine.containers.get, ids["container_id"]),
        (engine.networks.get, ids["network"]),
        (engine.volumes.get, ids["volume"]),
    ):
        try:
            find(id_)
        except NotFound:
            continue
        return False
    return True


def tidy(made: list[Any]) -> None:
    """Remove what a scene that went wrong left, and the image."""
    for thing in reversed(made):
        with suppress(DockerException):
            thing.remove(force=True) if hasattr(thing, "image") or hasattr(thing, "tags") else thing.remove()


class Topic:
    """A subscriber that hears everything: a queue on the stack's topic."""

    def __init__(self, stack: Stack) -> None:
        self._sqs = stack.client("sqs")
        self._url = self._sqs.create_queue(QueueName="demo-listener")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        topic = stack.outputs["TopicArn"]
        allowed = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        self._sqs.set_queue_attributes(QueueUrl=self._url, Attributes={"Policy": policy})
        stack.client("sns").subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=arn,
            Attributes={"RawMessageDelivery": "true"},
        )

    def heard(self) -> list[dict[str, Any]]:
        """Everything so far, each once, by deployment and in its order."""
        found: dict[str, dict[str, Any]] = {}
        while messages := self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                body = json.loads(message["Body"])
                found[body["id"]] = body
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return sorted(found.values(), key=lambda body: (body["data"]["blueprint_id"], body["data"]["sequence"]))


class Subscriber:
    """An HTTP server on loopback that subscribes to the topic, confirms, and hears of good ends alone."""

    def __init__(self, stack: Stack, receiver: Receiver) -> None:
        self._receiver = receiver
        topic, sns = stack.outputs["TopicArn"], stack.client("sns")
        attributes = {"FilterPolicy": json.dumps({"event": ["cleanup_succeeded"]}), "RawMessageDelivery": "true"}
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=receiver.url, Attributes=attributes)
        (asked,) = receiver.calls(1)
        sns.confirm_subscription(TopicArn=topic, Token=json.loads(asked.body)["Token"])
        print(f"\n{receiver.url} subscribed to the topic, was asked to confirm, and did.")

    def heard(self, number: int) -> list[dict[str, Any]]:
        """What the topic posted since, once that is so much."""
        return [json.loads(call.body) for call in self._receiver.calls(number + 1)[1:]]


def what_was_announced(stack: Stack, heard: list[dict[str, Any]], subscriber: Subscriber) -> None:
    """Print what came out of the topic, and check that it is what the records say, to the last fact."""
    print("\nWhat came out of the topic:")
    by_deployment: dict[str, list[dict[str, Any]]] = {}
    for announcement in heard:
        by_deployment.setdefault(announcement["data"]["blueprint_id"], []).append(announcement)
    for key, found in by_deployment.items():
        print(f"  {key:<22} {', '.join(a['type'].removeprefix('deployment.') for a in found)}")
        facts = [event["sequence"] for event in stack.api("GET", path_of(key)).body["events"]]
        if [a["data"]["sequence"] for a in found] != facts:
            raise WrongError(f"{key}: not every fact was announced")
    if len(by_deployment) < SCENES:
        raise WrongError(f"only {len(by_deployment)} deployments were announced")
    outcomes = [a for a in heard if a["type"] == "deployment.cleanup_succeeded"]
    print(f"  {len(heard)} announcements of {len(by_deployment)} deployments, none missing; {len(outcomes)} receipts")
    posted = {announcement["id"] for announcement in subscriber.heard(len(outcomes))}
    if posted != {announcement["id"] for announcement in outcomes}:
        raise WrongError("the HTTP subscriber didn't hear the good ends, and them alone")
    print(f"  {len(posted)} were posted to the HTTP subscriber: the good ends, as its filter policy says")


def faults(stack: Stack, wanted: list[dict[str, Any]]) -> None:
    """Make the EC2 of the stack fail so, and no other way."""
    request = urllib.request.Request(stack.running.ec2_faults, json.dumps(wanted).encode(), method="PUT")  # noqa: S310
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - a loopback address of our own stack
        return


def calls(stack: Stack, action: str, id_: str) -> list[float]:
    """When EC2 was called so about it."""
    url = stack.running.ec2_faults.replace("faults", "calls")
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - a loopback address of our own stack
        found = json.loads(answer.read())
    return [call["at"] for call in found if call["action"] == action and id_ in call["parameters"].values()]


def waited(stack: Stack, execution: str) -> list[float]:
    """Seconds from each failed attempt of a round to the next, by the workflow's own history."""
    arn = stack.outputs["StateMachineArn"].replace(":stateMachine:", ":execution:") + ":" + execution
    history = stack.client("stepfunctions").get_execution_history(executionArn=arn, maxResults=100)["events"]
    found, failed_at = [], None
    for event in history:
        if event["type"] in ("TaskFailed", "LambdaFunctionFailed"):
            failed_at = event["timestamp"]
        elif failed_at and event["type"] in ("TaskScheduled", "LambdaFunctionScheduled"):
            found.append((event["timestamp"] - failed_at).total_seconds())
            failed_at = None
    # The last of them is Restore's start, right after the last attempt.
    return [gap for gap in found if gap > 1]


def apart(times: list[float]) -> list[float]:
    """The first of each burst: an SDK may ask twice within one attempt."""
    return [at for n, at in enumerate(times) if n == 0 or at - times[n - 1] > 3]  # noqa: PLR2004


def is_live(record: dict[str, Any]) -> bool:
    """Whether it came back."""
    return bool(record["status"] == "Active" and record["cleanup"]["last_error"])


def put_events(stack: Stack, detail_type: str, detail: dict[str, Any]) -> None:
    """The same detail twice, as a bus may bring it."""
    entry = {
        "Source": "demo",
        "DetailType": detail_type,
        "Detail": json.dumps(detail),
        "EventBusName": stack.outputs["BusName"],
        "Time": datetime.now(UTC),
    }
    stack.client("events").put_events(Entries=[entry, entry])


def sweep(stack: Stack, *, is_on: bool) -> None:
    """Turn the sweep on or off."""
    events = stack.client("events")
    name = stack.outputs["SweepRuleName"]
    events.enable_rule(Name=name) if is_on else events.disable_rule(Name=name)


def leases(stack: Stack, *, are_heard: bool) -> None:
    """Turn the stream of removed leases on or off."""
    stack.client("lambda").update_event_source_mapping(UUID=stack.outputs["LeaseMappingId"], Enabled=are_heard)


def play(stack: Stack) -> None:
    """All scenes, side by side where they don't disturb each other."""
    topic = Topic(stack)
    with Receiver(stack, [200]) as receiver:
        play_scenes(stack, topic, Subscriber(stack, receiver))


def play_scenes(stack: Stack, topic: Topic, subscriber: Subscriber) -> None:
    """While both listen."""
    sweep(stack, is_on=False)
    print("\nThe sweep is off: what expires now does so by its removed lease.\n")

    def the_others() -> None:
        scenes = [expires_by_its_lease, terminated_by_a_call, ended_by_events, not_ours, a_container]
        scenes += [told_to_its_webhook, told_to_a_webhook_that_fails]
        with ThreadPoolExecutor(len(scenes)) as pool:
            for done in [pool.submit(scene, stack) for scene in scenes]:
                done.result()
        leases(stack, are_heard=False)
        sweep(stack, is_on=True)
        print("\nNow the stream of removed leases is off, and the sweep of every minute is on.\n")
        found_by_the_sweep(stack)

    fails_and_is_mended(stack, the_others)
    time.sleep(2)
    what_was_announced(stack, topic.heard(), subscriber)


def main() -> None:
    """Set up, play, tidy up."""
    global STARTED  # noqa: PLW0603 - the one clock of the timeline
    try:
        with Stack(parameters={"WebhookGaps": GAPS}) as stack:
            STARTED = datetime.now(UTC)
            play(stack)
            print(f"\nAll as it should be, in {(datetime.now(UTC) - STARTED).total_seconds():.0f} s after set-up.")
    except (WrongError, LocalError) as error:
        sys.exit(f"\nNOT as it should be: {error}")


if __name__ == "__main__":
    main()
