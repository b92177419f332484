"""Someone who makes things on EC2's stand-in, and looks at what became of them."""

from typing import Any
from uuid import uuid4

import boto3

from local.ec2 import Ec2, Fault
from tracker.cleanup.aws import session

REGION = "eu-west-1"
MARK = "BlueprintDeployment"
TAGS = [{"Key": MARK, "Value": "b-1"}]


class Cloud:
    """Someone who makes things on EC2, and looks at what became of them. `mark`: whether they carry the mark."""

    def __init__(self, server: Ec2) -> None:
        self.server = server
        self.ec2 = boto3.client("ec2", region_name=REGION, endpoint_url=server.url)

    def instance(self, *, mark: bool = True, **request: Any) -> str:
        """Run one, with one volume that goes with it."""
        tags = _specified("instance", mark=mark)
        run = self.ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, TagSpecifications=tags, **request)
        return str(run["Instances"][0]["InstanceId"])

    def volume(self, instance: str = "", *, mark: bool = True, device: str = "/dev/sdf") -> str:
        """Make one that outlives the instance that it is attached to."""
        made = self.ec2.create_volume(
            AvailabilityZone=f"{REGION}a", Size=1, TagSpecifications=_specified("volume", mark=mark)
        )["VolumeId"]
        if instance:
            self.ec2.attach_volume(VolumeId=made, InstanceId=instance, Device=device)
        return str(made)

    def address(self, instance: str = "", *, mark: bool = True) -> str:
        """Allocate one, and associate it with an instance."""
        tags = _specified("elastic-ip", mark=mark)
        made = self.ec2.allocate_address(Domain="vpc", TagSpecifications=tags)["AllocationId"]
        if instance:
            self.ec2.associate_address(AllocationId=made, InstanceId=instance)
        return str(made)

    def group(self, *, mark: bool = True) -> str:
        """Make one in the default VPC."""
        tags = _specified("security-group", mark=mark)
        made = self.ec2.create_security_group(GroupName=uuid4().hex, Description="a test's", TagSpecifications=tags)
        return str(made["GroupId"])

    def key_pair(self, *, mark: bool = True) -> tuple[str, str]:
        """Make one; its id and its name."""
        tags = _specified("key-pair", mark=mark)
        made = self.ec2.create_key_pair(KeyName=uuid4().hex, KeyType="ed25519", TagSpecifications=tags)
        return str(made["KeyPairId"]), str(made["KeyName"])

    def unmark(self, id: str) -> None:
        """Take the mark from something."""
        self.ec2.delete_tags(Resources=[id], Tags=[{"Key": MARK}])

    def condition(self, instance: str) -> str:
        """An instance's state."""
        found = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        return str(found["State"]["Name"])

    def volumes(self) -> set[str]:
        """The ids of those that there are; likewise below."""
        return {volume["VolumeId"] for volume in self.ec2.describe_volumes()["Volumes"]}

    def addresses(self) -> set[str]:
        return {address["AllocationId"] for address in self.ec2.describe_addresses()["Addresses"]}

    def groups(self) -> set[str]:
        return {group["GroupId"] for group in self.ec2.describe_security_groups()["SecurityGroups"]}

    def key_pairs(self) -> set[str]:
        return {pair["KeyPairId"] for pair in self.ec2.describe_key_pairs()["KeyPairs"]}

    def fails(self, action: str, kind: Any = "error", **more: Any) -> None:
        """From now on, this call fails."""
        self.server.faults.append(Fault(action, kind, **more))

    def calls(self) -> list[str]:
        """The calls since `forget`, in order."""
        return [call.action for call in self.server.calls]

    def deletions(self) -> list[str]:
        """Those of them that take something away."""
        takes = ("Terminate", "Delete", "Release", "Disassociate", "Detach", "Modify", "Stop")
        return [call for call in self.calls() if call.startswith(takes)]

    def forget(self) -> None:
        """Count the calls from here."""
        self.server.calls.clear()


def forget_sessions() -> None:
    """As after `KEPT_FOR`."""
    session._opened.cache_clear()


def _specified(kind: str, *, mark: bool) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": TAGS}] if mark else []
