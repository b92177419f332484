"""A scene of the demo: one deployment's story as the tracker's API tells it, and the EC2 of the stack to check it by."""

import json
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from threading import Event, Lock
from typing import Any
from uuid import uuid4

from local.api import Answer, path_of
from local.processes import PATIENCE
from local.stack import Stack
from tracker.model.deployment import parse_time

MARK = "BlueprintDeployment"

_out = Lock()
# The scenes are over, or one of them went wrong.
broken_off = Event()


class WrongError(Exception):
    """Something is not as it should be."""


class Timeline:
    """The clock that all lines count from."""

    began = datetime.now(UTC)

    @classmethod
    def begin(cls) -> None:
        """Count from now on."""
        cls.began = datetime.now(UTC)

    @classmethod
    def seconds(cls, at: datetime | None = None) -> float:
        """Return the seconds since the beginning, at that time or now."""
        return ((at or datetime.now(UTC)) - cls.began).total_seconds()


class Scene:
    """One deployment's story: its lines, and what the tracker's API says of it."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.stack = stack
        self.name = name
        self.key = f"{name}-{uuid4().hex[:6]}"
        self._told = 0

    def say(self, text: str, at: datetime | None = None) -> None:
        """A line of the timeline: seconds since the stack stood, and what was then, by default now."""
        seconds = Timeline.seconds(at)
        with _out:
            print(f"{seconds:7.1f} s  {self.name:<10} {text}", flush=True)

    def expect(self, what: str, *, is_so: bool) -> None:
        """Say it if it is so."""
        if not is_so:
            raise WrongError(f"{self.name}: not so: {what}")
        self.say(f"checked: {what}")

    def call(self, method: str, *more: str, body: Any = None, expected: int | tuple[int, ...] = 200) -> Any:
        """Call the API about this deployment. Raises WrongError unless it answers with an `expected` status."""
        path = "/deployments" if method == "POST" and not more else path_of(self.key, *more)
        status, answer = ask(self.stack, method, path, body)
        if status not in (expected if isinstance(expected, tuple) else (expected,)):
            raise WrongError(f"{self.name}: {method} {path} answered {status}, not {expected}: {answer}")
        return answer

    def registration(self, ids: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Return what is posted for rented EC2 things."""
        return {
            "blueprint_id": self.key,
            "deployment_type": "AwsEc2",
            "provider": "AWS",
            "region": self.stack.running.region,
            "resource_ids": ids,
            **more,
        }

    def follow(self, until: Callable[[dict[str, Any]], bool], *, seconds: float = PATIENCE) -> dict[str, Any]:
        """Tell each new fact until the record is so."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status, record = ask(self.stack, "GET", path_of(self.key))
            if status == 200:  # noqa: PLR2004
                for event in record["events"]:
                    if event["sequence"] > self._told:
                        self._told = event["sequence"]
                        self.say(told(event), parse_time(event["at"]))
                if until(record):
                    return dict(record)
            pause()
        raise WrongError(f"{self.name}: after {seconds} s still {record.get('status', record)}")

    def follow_to_the_end(self, *, seconds: float = PATIENCE) -> dict[str, Any]:
        """Until it is Terminated; its receipt is told."""
        record = self.follow(lambda found: found["status"] == "Terminated", seconds=seconds)
        for resource in record["resources"]:
            self.say(f"receipt: {resource['kind']} {resource['id'][:24]}: {resource['state']}, {proof_of(resource)}")
        return record


def ask(stack: Stack, method: str, path: str, body: Any = None) -> Answer:
    """Call the API, again while it has no worker to spare, as a stack on one machine may."""

    def answered() -> Answer | None:
        answer = stack.api(method, path, body)
        return None if answer.status == HTTPStatus.TOO_MANY_REQUESTS else answer

    return until(answered)


def proof_of(resource: dict[str, Any]) -> str:
    """Return what a receipt's line says."""
    return str(resource.get("proof") or resource.get("detail") or "")[:90]


def told(event: dict[str, Any]) -> str:
    """One fact in words."""
    detail = event.get("detail", {})
    words = [f"{name} {str(value)[:70]}" for name, value in detail.items() if name != "proof" and value]
    return f"{event['type']} -> {event['status']}" + (f" ({', '.join(words)})" if words else "")


class Rented:
    """An instance with an address and a volume, rented from the EC2 of the stack."""

    def __init__(self, stack: Stack, *, marked: bool = True, mark: str = "demo") -> None:
        self.ec2 = stack.client("ec2")
        zone = stack.running.region + "a"
        tags = [{"Key": MARK if marked else "Owner", "Value": mark}]

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
        """Return whether EC2 itself says that all of it is."""
        volumes = {volume["VolumeId"] for volume in self.ec2.describe_volumes()["Volumes"]}
        addresses = {address["AllocationId"] for address in self.ec2.describe_addresses()["Addresses"]}
        left = self.ids["ebs_volume"] in volumes or self.ids["elastic_ip"] in addresses
        return self.state() == "terminated" and not left


def until[T](what: Callable[[], T | None], seconds: float = PATIENCE) -> T:
    """It, once it is something."""
    end = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > end:
            raise WrongError(f"nothing came in {seconds} s")
        pause()
    return found


def pause() -> None:
    """Wait a little before the next look. WrongError if the demo has been broken off: its stack is ending."""
    if broken_off.wait(0.3):
        raise WrongError("broken off")


def faults(stack: Stack, wanted: list[dict[str, Any]]) -> None:
    """Make the EC2 of the stack fail so, and no other way."""
    request = urllib.request.Request(stack.running.ec2_faults, json.dumps(wanted).encode(), method="PUT")  # noqa: S310
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - a loopback address of our own stack
        return


def calls(stack: Stack, action: str, id_: str) -> list[float]:
    """Return when EC2 was called so about it."""
    url = stack.running.ec2_faults.replace("faults", "calls")
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - a loopback address of our own stack
        found = json.loads(answer.read())
    return [call["at"] for call in found if call["action"] == action and id_ in call["parameters"].values()]


def is_live(record: dict[str, Any]) -> bool:
    """Return whether it came back."""
    return bool(record["status"] == "Active" and record["cleanup"]["last_error"])


def sweep(stack: Stack, *, is_on: bool) -> None:
    """Turn the sweep on or off."""
    events = stack.client("events")
    name = stack.outputs["SweepRuleName"]
    events.enable_rule(Name=name) if is_on else events.disable_rule(Name=name)


def leases(stack: Stack, *, are_heard: bool) -> None:
    """Turn the stream of removed leases on or off."""
    stack.client("lambda").update_event_source_mapping(UUID=stack.outputs["LeaseMappingId"], Enabled=are_heard)
