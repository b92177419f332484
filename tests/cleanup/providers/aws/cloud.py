"""Someone who makes things on EC2's stand-in, and looks at what became of them."""

from typing import Any
from uuid import uuid4

import boto3
from moto.ec2.models import ec2_backends

from local.ec2 import Ec2, Fault
from tracker.cleanup.providers.aws import session

REGION = "eu-west-1"
ACCOUNT = "123456789012"
IMAGE = "ami-12c6146b"
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
        run = self.ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1, TagSpecifications=tags, **request)
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

    def let_in(self, group: str, source: str) -> None:
        """Add a rule to a group, that lets another one in; likewise out."""
        self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=_about(source))

    def let_out(self, group: str, target: str) -> None:
        self.ec2.authorize_security_group_egress(GroupId=group, IpPermissions=_about(target))

    def rules(self, group: str) -> set[str]:
        """The groups that a group lets in."""
        (found,) = self.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
        return {pair["GroupId"] for rule in found["IpPermissions"] for pair in rule["UserIdGroupPairs"]}

    def fleet(self, type_: str, state: str = "active") -> str:
        """An EC2 fleet that has started nothing yet; likewise a spot fleet."""
        backend = ec2_backends[ACCOUNT][REGION]
        template = self.ec2.create_launch_template(
            LaunchTemplateName=uuid4().hex, LaunchTemplateData={"ImageId": IMAGE, "InstanceType": "t2.micro"}
        )["LaunchTemplate"]["LaunchTemplateId"]
        made = self.ec2.create_fleet(
            Type=type_,
            LaunchTemplateConfigs=[
                {"LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "1"}},
            ],
            TargetCapacitySpecification={"TotalTargetCapacity": 0, "DefaultTargetCapacityType": "on-demand"},
        )["FleetId"]
        backend.fleets[made].state = state
        return str(made)

    def spot_fleet(self, state: str) -> str:
        config = {
            "IamFleetRole": f"arn:aws:iam::{ACCOUNT}:role/fleet",
            "TargetCapacity": 0,
            "SpotPrice": "0.1",
            "AllocationStrategy": "lowestPrice",
            "LaunchSpecifications": [{"ImageId": IMAGE, "InstanceType": "t2.micro"}],
        }
        made = self.ec2.request_spot_fleet(SpotFleetRequestConfig=config)["SpotFleetRequestId"]
        # moto's are maintained, all of them.
        ec2_backends[ACCOUNT][REGION].spot_fleet_requests[made].state = state
        return str(made)

    def tag(self, id: str, key: str, value: str) -> None:
        """Give something a tag: also one of AWS' own."""
        self.ec2.create_tags(Resources=[id], Tags=[{"Key": key, "Value": value}])

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


def _about(group: str) -> list[dict[str, Any]]:
    return [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "UserIdGroupPairs": [{"GroupId": group}]}]
