"""An EC2 to test against: the local stack's, over HTTP, which fails when told to."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import boto3
import pytest

from local.ec2 import Ec2, Fault
from tracker.cleanup.aws import session
from tracker.deployment import Deployment, Resource
from tracker.settings import Settings

REGION = "eu-west-1"
MARK = "BlueprintDeployment"
TAGS = [{"Key": MARK, "Value": "b-1"}]
# How long an instance shuts down here, in seconds.
TERMINATING = 0.3


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


@pytest.fixture(scope="module")
def server() -> Iterator[Ec2]:
    """One server and one session for all tests of a module, who each make things of their own."""
    with pytest.MonkeyPatch.context() as patch:
        server = Ec2(terminating=TERMINATING).start()
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ENDPOINT_URL_EC2", server.url)
        patch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key")
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setattr(session, "ATTEMPTS", 1)
        forget_sessions()
        yield server
        server.stop()
    forget_sessions()


@pytest.fixture(scope="module")
def whole_cloud(server: Ec2) -> Cloud:
    """The cloud, as the tests before have left it."""
    return Cloud(server)


@pytest.fixture
def cloud(whole_cloud: Cloud) -> Iterator[Cloud]:
    """The cloud, with nothing failing and no calls yet."""
    whole_cloud.forget()
    yield whole_cloud
    whole_cloud.server.faults.clear()


@pytest.fixture
def fresh_session(server: Ec2) -> Iterator[None]:
    """Nothing is known yet of whose the credentials are."""
    forget_sessions()
    yield
    forget_sessions()


@pytest.fixture
def impatient(cloud: Cloud, fresh_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short time limit for EC2, which may hang."""
    session.opened({"region": REGION}, Settings())
    cloud.forget()
    monkeypatch.setattr(session, "READ_TIMEOUT", 1)


@pytest.fixture
def deployment() -> Any:
    """Makes a deployment that names these ids."""

    def made(
        *, metadata: dict[str, str] | None = None, resources: list[Resource] | None = None, **ids: str | list[str]
    ) -> Deployment:
        return Deployment(
            id="dep-1",
            blueprint_id="b-1",
            deployment_type="AwsEc2",
            region=REGION,
            resource_ids=dict(ids),
            metadata=metadata or {},
            resources=resources or [],
            deployed_at="2030-01-01T00:00:00Z",
            registered_at="2030-01-01T00:00:00Z",
            generation=str(uuid4()),
        )

    return made


def forget_sessions() -> None:
    """As after `KEPT_FOR`."""
    session._opened.cache_clear()


def _specified(kind: str, *, mark: bool) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": TAGS}] if mark else []
