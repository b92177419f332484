"""This is how EC2's resources are read and deleted: instances, addresses, volumes, network interfaces, security groups and key pairs.

Used by `ec2`, which knows how they belong together.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tracker.cleanup.core.contract import Busy, Progress, Refused
from tracker.cleanup.core.discovery import deletes_dependents
from tracker.cleanup.core.kind import Gone, Kind
from tracker.cleanup.providers.aws import session
from tracker.cleanup.providers.aws.ec2_api import Body, asked, condition, listed, tags
from tracker.cleanup.providers.aws.ec2_replacement import replacement
from tracker.cleanup.providers.aws.session import Session, translated
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings


class Ec2Kind(Kind[Session, Body]):
    """One kind of EC2 resource, or of another service that is like it, where the ownership mark is a tag.

    `call`, `by`, `items` and `id_field` are how it is described. `is_spared` says that the parameter RequireMark and
    `metadata.delete_dependents` have a say in whether it goes.

    AWS's own documents call EC2's API eventually consistent: an id may be unknown to it for minutes after it was given out ("Eventual
    consistency in the Amazon EC2 API").
    """

    mark_key = "aws"
    settles_in = 300
    service = "ec2"
    call: str
    by: str
    items: str
    id_field: str
    is_spared: bool = False

    @contextmanager
    def open(self, resource: Resource, settings: Settings) -> Iterator[Session]:
        """Open the account and region of the resource."""
        yield session.opened(resource.place, settings)

    def read(self, connection: Session, resource: Resource) -> Body:
        """Describe it. Whatever else is answered, only the very id counts."""
        found = [
            one
            for one in self.described(connection.client(self.service), resource.id)
            if one.get(self.id_field) == resource.id
        ]
        if not found:
            raise Gone(f"{self.call}: none of this id")
        return found[0]

    def described(self, ec2: Any, id: str) -> list[Body]:
        """Return what EC2 answers when this id is asked for."""
        return asked(ec2, self.call, self.items, **{self.by: [id]})

    def request_deletion(self, connection: Session, resource: Resource, body: Body) -> None:
        """Request the deletion."""
        self.ask(connection.client(self.service), resource, body)

    def ask(self, ec2: Any, resource: Resource, body: Body) -> None:
        """Call the API for the deletion."""
        raise NotImplementedError

    def progress(self, body: Body) -> tuple[Progress, str]:
        """Return that it is present, and EC2's word for its state."""
        return "present", condition(body)

    def location(self, connection: Session) -> dict[str, str]:
        """Return the account."""
        return {"account": connection.account}

    def source(self, resource: Resource) -> str:
        """Name the describing call."""
        return self.call

    def has_mark(self, body: Body, mark: str) -> bool:
        """Return whether it has the tag."""
        return mark in tags(body)

    def objection(self, resource: Resource, body: Body, settings: Settings) -> str:
        """Return why it isn't the deployment's to delete; empty if it is.

        On AWS everything can carry the mark, and has to: also what the record names, unless RequireMark lifts that of it.
        """
        mark = settings.mark(self.mark_key)
        if mark and self.has_mark(body, mark):
            return ""
        lacks = f"it doesn't carry the {self.mark_noun} {mark}" if mark else "no tag is set that would make it ours"
        if not is_wished(resource, self):
            return f"only found, not named by the record, and {lacks}"
        if not mark:
            return ""
        if not self.is_spared:
            return lacks
        return f"{lacks}, and RequireMark is on: tag it, or turn that off" if settings.require_mark else ""


class Instance(Ec2Kind):
    noun = "instance"
    call, by, items, id_field = "DescribeInstances", "InstanceIds", "Reservations", "InstanceId"

    def described(self, ec2: Any, id: str) -> list[Body]:
        reservations = super().described(ec2, id)
        return [instance for reservation in reservations for instance in listed(self.call, reservation, "Instances")]

    def progress(self, body: Body) -> tuple[Progress, str]:
        return {"terminated": "gone", "shutting-down": "leaving"}.get(condition(body), "present"), condition(body)  # type: ignore[return-value]

    def protection(self, connection: Session, resource: Resource, body: Body) -> str:
        """Return why it wouldn't go, or would come again."""
        if self.progress(body)[0] != "present":
            return ""
        ec2, name = connection.client("ec2"), body["InstanceId"]
        if reason := replacement(ec2, body):
            return reason
        with translated("DescribeInstanceAttribute"):
            answer = ec2.describe_instance_attribute(InstanceId=name, Attribute="disableApiTermination")
        if answer.get("DisableApiTermination", {}).get("Value"):
            return f"{name} is protected from termination: lift disableApiTermination first"
        return ""

    def ask(self, ec2: Any, resource: Resource, body: Body) -> None:
        asked(ec2, "TerminateInstances", "TerminatingInstances", InstanceIds=[resource.id])


class Address(Ec2Kind):
    """An elastic IP address. Only what is associated with a terminated instance is taken from it."""

    noun = "address"
    call, by, items, id_field = "DescribeAddresses", "AllocationIds", "Addresses", "AllocationId"
    is_spared = True

    def ask(self, ec2: Any, resource: Resource, body: Body) -> None:
        if body.get("AssociationId"):
            # In a default VPC a release would take it from whoever uses it now.
            self._disassociate(ec2, body)
        try:
            with translated("ReleaseAddress"):
                ec2.release_address(AllocationId=resource.id)
        except Refused as refused:
            # EC2 says AuthFailure also of one that was released meanwhile, and is someone else's now.
            if refused.error_class == "credentials" and not self.described(ec2, resource.id):
                raise Gone(f"{self.call}: none of this id") from None
            raise

    def _disassociate(self, ec2: Any, body: Body) -> None:
        user = body.get("InstanceId") or body.get("NetworkInterfaceId", "something")
        if not body.get("InstanceId") or not _is_gone(ec2, user):
            raise Busy(f"associated with {user}")
        with translated("DisassociateAddress"):
            ec2.disassociate_address(AssociationId=body["AssociationId"])


class Volume(Ec2Kind):
    """A volume. One that goes with its instance (`goes_with`) is waited for, ours or not."""

    noun = "volume"
    call, by, items, id_field = "DescribeVolumes", "VolumeIds", "Volumes", "VolumeId"
    is_spared = True

    def progress(self, body: Body) -> tuple[Progress, str]:
        return {"deleted": "gone", "deleting": "leaving"}.get(condition(body), "present"), condition(body)  # type: ignore[return-value]

    def check_deletable(self, connection: Session, resource: Resource, body: Body, settings: Settings) -> None:
        if "goes_with" in resource.place and condition(body) == "in-use":
            raise Busy(f"still to go with {resource.place['goes_with']}")
        super().check_deletable(connection, resource, body, settings)

    def ask(self, ec2: Any, resource: Resource, body: Body) -> None:
        with translated("DeleteVolume"):
            ec2.delete_volume(VolumeId=resource.id)


class NetworkInterface(Ec2Kind):
    noun = "network interface"
    # No record can name one.
    form = "eni-[0-9a-f]{8,17}"
    call, by, items = "DescribeNetworkInterfaces", "NetworkInterfaceIds", "NetworkInterfaces"
    id_field = "NetworkInterfaceId"

    def users(self, body: Body) -> Iterable[str]:
        """Return what holds it, while something does."""
        attachment = body.get("Attachment") or {}
        holder = attachment.get("InstanceId") or attachment.get("AttachmentId") or "something of AWS's own"
        return [str(holder)] if body.get("Status") == "in-use" else []

    def ask(self, ec2: Any, resource: Resource, body: Body) -> None:
        with translated("DeleteNetworkInterface"):
            ec2.delete_network_interface(NetworkInterfaceId=resource.id)


class SecurityGroup(Ec2Kind):
    """A security group. EC2 keeps one that another group's rules refer to, and so two that refer to each other for ever."""

    noun = "security group"
    call, by, items, id_field = "DescribeSecurityGroups", "GroupIds", "SecurityGroups", "GroupId"

    def ask(self, ec2: Any, resource: Resource, body: Body) -> None:
        """Request the deletion; of one that nothing wears any more, but others refer to, first revoke its rules about others.

        Each of two groups that refer to each other frees the other one so. A rule is its own group's: no other group is changed.
        """
        try:
            self._delete(ec2, resource)
        except Busy:
            rules = {direction: _about_others(body, key) for direction, key in _RULES.items()}
            if not any(rules.values()) or _is_worn(ec2, resource.id):
                raise
            for direction, found in rules.items():
                if found:
                    _revoke(ec2, direction, resource.id, found)
            self._delete(ec2, resource)

    def _delete(self, ec2: Any, resource: Resource) -> None:
        with translated("DeleteSecurityGroup"):
            ec2.delete_security_group(GroupId=resource.id)


class KeyPair(Ec2Kind):
    noun = "key pair"
    call, by, items, id_field = "DescribeKeyPairs", "KeyPairIds", "KeyPairs", "KeyPairId"

    def ask(self, ec2: Any, resource: Resource, body: Body) -> None:
        with translated("DeleteKeyPair"):
            ec2.delete_key_pair(KeyPairId=resource.id)


INSTANCE = Instance()
KINDS: dict[str, Ec2Kind] = {
    "aws:instance": INSTANCE,
    "aws:address": Address(),
    "aws:volume": Volume(),
    "aws:network_interface": NetworkInterface(),
    "aws:security_group": SecurityGroup(),
    "aws:key_pair": KeyPair(),
}


# The directions of a group's rules, and where its description has them.
_RULES = {"ingress": "IpPermissions", "egress": "IpPermissionsEgress"}


def _about_others(group: Body, key: str) -> list[Body]:
    """Return a group's rules of one direction that refer to other groups, without what else they allow."""
    found = []
    for rule in group.get(key, []):
        pairs = [
            {name: pair[name] for name in ("GroupId", "UserId") if pair.get(name)}
            for pair in rule.get("UserIdGroupPairs", [])
            if pair.get("GroupId") not in (None, group["GroupId"])
        ]
        ports = {name: rule[name] for name in ("IpProtocol", "FromPort", "ToPort") if name in rule}
        found += [ports | {"UserIdGroupPairs": pairs}] if pairs else []
    return found


def _is_worn(ec2: Any, group: str) -> bool:
    """Return whether an interface, or what has one, is in a group."""
    worn_by = [{"Name": "group-id", "Values": [group]}]
    interfaces = asked(ec2, "DescribeNetworkInterfaces", "NetworkInterfaces", Filters=worn_by)
    return bool(interfaces)


def _revoke(ec2: Any, direction: str, group: str, rules: list[Body]) -> None:
    """Revoke a group's rules of one direction; that somebody did so meanwhile is success."""
    with suppress(Gone), translated(f"RevokeSecurityGroup{direction.capitalize()}"):
        getattr(ec2, f"revoke_security_group_{direction}")(GroupId=group, IpPermissions=rules)


def wish(deployment: Deployment) -> dict[str, str]:
    """Return what the place of a resource that was only found says of the operator's wish. It is needed at its deletion again."""
    return {"dependents": "all"} if deletes_dependents(deployment) else {}


def is_wished(resource: Resource, kind: Ec2Kind) -> bool:
    """Return whether someone asked for it to go: by naming it, or with `delete_dependents`."""
    return bool(resource.named_by) or (kind.is_spared and resource.place.get("dependents") == "all")


def _is_gone(ec2: Any, instance_id: str) -> bool:
    try:
        return all(INSTANCE.progress(one)[0] == "gone" for one in INSTANCE.described(ec2, instance_id))
    except Gone:
        return True
