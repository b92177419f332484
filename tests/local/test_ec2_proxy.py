"""The local stack's EC2: what it adds to moto's, and that it fails when, and only when, it is told to."""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, ReadTimeoutError
from botocore.parsers import ResponseParserError

from local.ec2 import Ec2
from local.processes import PATIENCE

# Seconds: an instance shuts down until a test makes time pass.
TERMINATING = 3600.0
NOWHERE = "i-0123456789abcdef0"


@pytest.fixture
def server() -> Iterator[Ec2]:
    server = Ec2(terminating=TERMINATING).start()
    yield server
    server.stop()


@pytest.fixture
def ec2(server: Ec2) -> Any:
    return client(server.url)


def client(url: str, read_timeout: float = 30) -> Any:
    return boto3.client(
        "ec2",
        region_name="eu-west-1",
        endpoint_url=url,
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key="a-secret-key",
        config=Config(read_timeout=read_timeout, retries={"total_max_attempts": 1}),
    )


def run(ec2: Any, **request: Any) -> str:
    instances = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, **request)["Instances"]
    return str(instances[0]["InstanceId"])


def described(ec2: Any, instance: str) -> dict[str, Any]:
    found: dict[str, Any] = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return found


def condition(ec2: Any, instance: str) -> str:
    return str(described(ec2, instance)["State"]["Name"])


def until_terminated(ec2: Any, instance: str) -> None:
    until = time.monotonic() + PATIENCE
    while condition(ec2, instance) != "terminated":
        assert time.monotonic() < until
        time.sleep(0.02)


def code(act: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as caught:
        act()
    return str(caught.value.response["Error"]["Code"])


def control(server: Ec2, method: str, path: str, content: object = None) -> Any:
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(f"{server.url}/_local/{path}", data=body, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


class TestTerminating:
    def test_an_instance_shuts_down_for_a_while_and_then_is_terminated(self, server: Ec2, ec2: Any) -> None:
        instance = run(ec2)
        (change,) = ec2.terminate_instances(InstanceIds=[instance])["TerminatingInstances"]
        assert change["InstanceId"] == instance
        assert change["PreviousState"] == {"Code": 16, "Name": "running"}
        assert change["CurrentState"] == {"Code": 32, "Name": "shutting-down"}
        assert condition(ec2, instance) == "shutting-down"
        server.terminating = 0.1
        another = run(ec2)
        ec2.terminate_instances(InstanceIds=[another])
        until_terminated(ec2, another)
        assert condition(ec2, instance) == "shutting-down"

    def test_terminating_again_changes_nothing(self, server: Ec2, ec2: Any) -> None:
        instance = run(ec2)
        ec2.terminate_instances(InstanceIds=[instance])
        (again,) = ec2.terminate_instances(InstanceIds=[instance])["TerminatingInstances"]
        assert again["PreviousState"] == again["CurrentState"] == {"Code": 32, "Name": "shutting-down"}
        server.settle()
        assert condition(ec2, instance) == "terminated"
        (last,) = ec2.terminate_instances(InstanceIds=[instance])["TerminatingInstances"]
        assert last["CurrentState"] == {"Code": 48, "Name": "terminated"}

    def test_an_instance_is_terminated_at_once_when_time_is_made_to_pass(self, server: Ec2, ec2: Any) -> None:
        instance = run(ec2)
        ec2.terminate_instances(InstanceIds=[instance])
        assert condition(ec2, instance) == "shutting-down"
        server.settle()
        assert condition(ec2, instance) == "terminated"

    def test_what_moto_refuses_is_refused(self, ec2: Any) -> None:
        instance = run(ec2)
        assert code(lambda: ec2.terminate_instances(InstanceIds=[NOWHERE])) == "InvalidInstanceID.NotFound"
        assert code(lambda: ec2.terminate_instances(InstanceIds=[instance], DryRun=True)) == "DryRunOperation"
        ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": True})
        assert code(lambda: ec2.terminate_instances(InstanceIds=[instance])) == "OperationNotPermitted"
        assert condition(ec2, instance) == "running"

    def test_a_group_can_not_go_before_the_instance_that_uses_it(self, server: Ec2, ec2: Any) -> None:
        group = ec2.create_security_group(GroupName=uuid4().hex, Description="a test's")["GroupId"]
        instance = run(ec2, SecurityGroupIds=[group])
        assert code(lambda: ec2.delete_security_group(GroupId=group)) == "DependencyViolation"
        ec2.terminate_instances(InstanceIds=[instance])
        assert code(lambda: ec2.delete_security_group(GroupId=group)) == "DependencyViolation"
        server.settle()
        assert condition(ec2, instance) == "terminated"
        ec2.delete_security_group(GroupId=group)
        assert code(lambda: ec2.delete_security_group(GroupId=group)) == "InvalidGroup.NotFound"

    def test_an_address_can_not_go_before_its_instance_and_is_free_afterwards(self, server: Ec2, ec2: Any) -> None:
        instance = run(ec2)
        address = ec2.allocate_address(Domain="vpc")["AllocationId"]
        ec2.associate_address(AllocationId=address, InstanceId=instance)
        assert code(lambda: ec2.release_address(AllocationId=address)) == "InvalidIPAddress.InUse"
        ec2.terminate_instances(InstanceIds=[instance])
        assert code(lambda: ec2.release_address(AllocationId=address)) == "InvalidIPAddress.InUse"
        server.settle()
        assert condition(ec2, instance) == "terminated"
        (found,) = ec2.describe_addresses(AllocationIds=[address])["Addresses"]
        assert not found.get("AssociationId")
        ec2.release_address(AllocationId=address)

    def test_an_attached_volume_can_not_go_before_its_instance(self, server: Ec2, ec2: Any) -> None:
        instance = run(ec2)
        volume = ec2.create_volume(AvailabilityZone="eu-west-1a", Size=1)["VolumeId"]
        ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
        ec2.terminate_instances(InstanceIds=[instance])
        assert code(lambda: ec2.delete_volume(VolumeId=volume)) == "VolumeInUse"
        server.settle()
        assert condition(ec2, instance) == "terminated"
        ec2.delete_volume(VolumeId=volume)

    def test_the_volume_and_interface_that_it_was_made_with_go_with_it(self, server: Ec2, ec2: Any) -> None:
        instance = run(ec2)
        found = described(ec2, instance)
        volume = found["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
        (interface,) = found["NetworkInterfaces"]
        assert interface["Attachment"]["DeleteOnTermination"] is True
        ec2.terminate_instances(InstanceIds=[instance])
        server.settle()
        assert condition(ec2, instance) == "terminated"
        volumes = {one["VolumeId"] for one in ec2.describe_volumes()["Volumes"]}
        interfaces = {one["NetworkInterfaceId"] for one in ec2.describe_network_interfaces()["NetworkInterfaces"]}
        assert volume not in volumes
        assert interface["NetworkInterfaceId"] not in interfaces

    def test_an_interface_that_was_there_before_stays_and_is_free(self, server: Ec2, ec2: Any) -> None:
        subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        interface = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
        instance = run(ec2, NetworkInterfaces=[{"DeviceIndex": 0, "NetworkInterfaceId": interface}])
        ec2.terminate_instances(InstanceIds=[instance])
        server.settle()
        assert condition(ec2, instance) == "terminated"
        (found,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"]
        assert found["Status"] == "available"
        ec2.delete_network_interface(NetworkInterfaceId=interface)


class TestKeyPairs:
    def test_they_are_found_and_deleted_by_their_ids(self, ec2: Any) -> None:
        ours = ec2.create_key_pair(KeyName=uuid4().hex, KeyType="ed25519")["KeyPairId"]
        other = ec2.create_key_pair(KeyName=uuid4().hex, KeyType="ed25519")["KeyPairId"]
        (found,) = ec2.describe_key_pairs(KeyPairIds=[ours])["KeyPairs"]
        assert found["KeyPairId"] == ours
        ec2.delete_key_pair(KeyPairId=ours)
        assert code(lambda: ec2.describe_key_pairs(KeyPairIds=[ours])) == "InvalidKeyPair.NotFound"
        assert ec2.describe_key_pairs(KeyPairIds=[other])["KeyPairs"]


class TestFaults:
    def test_an_error_comes_as_often_as_it_was_asked_for(self, server: Ec2, ec2: Any) -> None:
        fault = {"action": "DescribeInstances", "kind": "error", "code": "Unavailable", "status": 503, "times": 2}
        control(server, "PUT", "faults", [fault])
        assert code(ec2.describe_instances) == "Unavailable"
        ec2.describe_volumes()
        assert code(ec2.describe_instances) == "Unavailable"
        ec2.describe_instances()
        (shown,) = control(server, "GET", "faults")
        assert shown["fired"] == 2

    def test_without_a_number_it_comes_until_it_is_cleared(self, server: Ec2, ec2: Any) -> None:
        control(server, "PUT", "faults", [{"action": "Describe*", "kind": "throttle", "times": None}])
        for _ in range(3):
            assert code(ec2.describe_instances) == "RequestLimitExceeded"
        assert control(server, "DELETE", "faults") == []
        ec2.describe_instances()

    def test_a_failed_deletion_deletes_nothing(self, server: Ec2, ec2: Any) -> None:
        instance = run(ec2)
        for kind in ("error", "throttle", "reset", "hang"):
            control(server, "PUT", "faults", [{"action": "TerminateInstances", "kind": kind}])
            with pytest.raises((ClientError, BotoCoreError)):
                client(server.url, read_timeout=0.5).terminate_instances(InstanceIds=[instance])
        assert condition(ec2, instance) == "running"

    def test_a_reset_is_a_closed_connection_and_a_hang_a_timeout(self, server: Ec2, ec2: Any) -> None:
        control(server, "PUT", "faults", [{"action": "DescribeInstances", "kind": "reset"}])
        with pytest.raises(ConnectionClosedError):
            ec2.describe_instances()
        control(server, "PUT", "faults", [{"action": "DescribeInstances", "kind": "hang"}])
        with pytest.raises(ReadTimeoutError):
            client(server.url, read_timeout=0.5).describe_instances()

    def test_an_answer_that_is_cut_was_meant(self, server: Ec2, ec2: Any) -> None:
        instance = run(ec2)
        control(server, "PUT", "faults", [{"action": "TerminateInstances", "kind": "cut"}])
        with pytest.raises(ResponseParserError):
            ec2.terminate_instances(InstanceIds=[instance])
        assert condition(ec2, instance) == "shutting-down"

    def test_a_deletion_can_be_accepted_and_not_done_for_one_thing_alone(self, server: Ec2, ec2: Any) -> None:
        stuck, other = (ec2.create_volume(AvailabilityZone="eu-west-1a", Size=1)["VolumeId"] for _ in range(2))
        control(server, "PUT", "faults", [{"action": "DeleteVolume", "kind": "accept", "id": stuck}])
        for volume in (stuck, other):
            ec2.delete_volume(VolumeId=volume)
        volumes = {one["VolumeId"] for one in ec2.describe_volumes()["Volumes"]}
        assert stuck in volumes
        assert other not in volumes

    def test_a_throttle_says_how_long_it_lasts_if_told_to(self, server: Ec2, ec2: Any) -> None:
        control(server, "PUT", "faults", [{"action": "DescribeInstances", "kind": "throttle", "retry_after": 7}])
        with pytest.raises(ClientError) as caught:
            ec2.describe_instances()
        assert caught.value.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "7"

    def test_a_fault_that_is_not_understood_is_said_so_and_the_others_stay(self, server: Ec2) -> None:
        control(server, "PUT", "faults", [{"action": "X", "kind": "reset"}])
        with pytest.raises(urllib.error.HTTPError) as caught:
            control(server, "PUT", "faults", [{"action": "X", "kind": "smoke"}])
        assert caught.value.code == 400
        assert "kind" in caught.value.read().decode()
        assert len(control(server, "GET", "faults")) == 1

    def test_other_services_fail_in_their_own_form(self, server: Ec2) -> None:
        sts = boto3.client(
            "sts",
            region_name="eu-west-1",
            endpoint_url=server.url,
            aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
            aws_secret_access_key="a-secret-key",
        )
        assert sts.get_caller_identity()["Account"] == "123456789012"
        fault = {"action": "GetCallerIdentity", "kind": "error", "code": "InvalidClientTokenId", "status": 403}
        control(server, "PUT", "faults", [fault])
        assert code(sts.get_caller_identity) == "InvalidClientTokenId"


class TestCalls:
    def test_each_call_is_kept_with_its_time_its_parameters_and_its_outcome(self, server: Ec2, ec2: Any) -> None:
        before = time.time()
        code(lambda: ec2.terminate_instances(InstanceIds=[NOWHERE]))
        control(server, "PUT", "faults", [{"action": "DescribeVolumes", "kind": "reset"}])
        with pytest.raises(BotoCoreError):
            ec2.describe_volumes()
        first, second = control(server, "GET", "calls")
        assert before <= first["at"] <= second["at"] <= time.time()
        assert (first["action"], first["parameters"]) == ("TerminateInstances", {"InstanceId.1": NOWHERE})
        assert (first["status"], first["fault"]) == (400, "")
        assert (second["status"], second["fault"]) == (None, "reset")
        assert control(server, "DELETE", "calls") == []
        assert control(server, "GET", "calls") == []


class TestCommand:
    def test_it_says_where_it_listens_serves_and_ends_when_told_to(self) -> None:
        root = Path(__file__).parents[2]
        command = [sys.executable, "-m", "local.ec2", "--terminating", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
            try:
                assert process.stdout
                said = process.stdout.readline().strip()
                assert said.startswith("EC2 at http://127.0.0.1:")
                ec2 = client(said.removeprefix("EC2 at "))
                assert code(lambda: ec2.terminate_instances(InstanceIds=[NOWHERE])) == "InvalidInstanceID.NotFound"
            finally:
                process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
