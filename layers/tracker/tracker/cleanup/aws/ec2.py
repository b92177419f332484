"""AwsEc2: an instance, with its addresses, volumes, interfaces, security groups and key pairs.

Loaded by the engine. The instance goes first: with it go its volumes that are marked so, and only then are the
others free. Whose something is, is judged twice: before anything is deleted, and at each deletion again, since time passes
between. A terminated instance names its dependents no longer: from then on the record's list is what knows them.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from tracker.cleanup.aws import session
from tracker.cleanup.aws.session import Gone, translated
from tracker.cleanup.contract import Busy, Facts, Kind, Look, Refused, Unreachable
from tracker.deployment import Deployment, Resource, ids_named
from tracker.settings import Settings

# What a describe says of one resource, in botocore's shapes.
type Found = dict[str, Any]

_HEX = "[0-9a-f]{8,17}"


class Ec2Kind:
    """How one kind of EC2 resource goes: read by its id, judged again, then asked to go.

    `call`, `by`, `items` and `id_field` are how it is described. `is_spared` says that the parameter RequireMark and
    `metadata.delete_dependents` have a say in it.
    """

    one_at_a_time: bool = False
    noun: str
    form: str
    call: str
    by: str
    items: str
    id_field: str
    is_spared: bool = False

    def check(self, resource: Resource) -> None:
        """Refuse what can't be an id, before anything is asked."""
        if not re.fullmatch(self.form, resource.id, re.ASCII):
            raise Refused("bad_id", f"{resource.id!r} isn't the id of a {self.noun}")

    def find(self, ec2: Any, resource: Resource) -> Found:
        """Describe it. Gone, if there is none; whatever else is answered, only the very id counts."""
        found = [one for one in self.described(ec2, resource.id) if one.get(self.id_field) == resource.id]
        if not found:
            raise Gone(f"{self.call}: none of this id")
        return found[0]

    def described(self, ec2: Any, id: str) -> list[Found]:
        """What is answered when this id is asked for."""
        method = re.sub("(?<=[a-z])(?=[A-Z])", "_", self.call).lower()
        return _asked(ec2, method, self.call, self.items, **{self.by: [id]})

    def status(self, found: Found) -> Literal["present", "leaving", "gone"]:
        """How far it has gone."""
        return "present"

    def ask(self, ec2: Any, resource: Resource, found: Found) -> None:
        """Ask for its deletion."""
        raise NotImplementedError

    def state(self, resource: Resource, settings: Settings) -> Look:
        """Read it, in the account and region of its place."""
        self.check(resource)
        aws = session.opened(resource.place, settings)
        try:
            found = self.find(aws.client("ec2"), resource)
        except Gone as gone:
            return Look("gone", proof=str(gone), unproven="account" not in resource.place)
        status, detail = self.status(found), _condition(found)
        if status == "gone":
            return Look("gone", proof=f"{self.call}: {detail}")
        return Look(status, detail=detail, place={"account": aws.account})

    def delete(self, resource: Resource, settings: Settings) -> None:
        """Ask it to go, if it is still there and still may go."""
        self.check(resource)
        ec2 = session.opened(resource.place, settings).client("ec2")
        try:
            found = self.find(ec2, resource)
            if self.status(found) == "present":
                self.allow(resource, found, settings)
                self.ask(ec2, resource, found)
        except Gone:
            return

    def allow(self, resource: Resource, found: Found, settings: Settings) -> None:
        """Refuse what isn't ours, as it is now."""
        objection = _objection(resource, found, settings)
        if objection:
            raise Refused("not_ours", f"this {self.noun} isn't deleted: {objection}")


class Instance(Ec2Kind):
    noun = "instance"
    form = f"i-{_HEX}"
    call, by, items, id_field = "DescribeInstances", "InstanceIds", "Reservations", "InstanceId"

    def described(self, ec2: Any, id: str) -> list[Found]:
        reservations = super().described(ec2, id)
        return [instance for reservation in reservations for instance in _listed(self.call, reservation, "Instances")]

    def status(self, found: Found) -> Literal["present", "leaving", "gone"]:
        match _condition(found):
            case "terminated":
                return "gone"
            case "shutting-down":
                return "leaving"
            case _:
                return "present"

    def ask(self, ec2: Any, resource: Resource, found: Found) -> None:
        _asked(ec2, "terminate_instances", "TerminateInstances", "TerminatingInstances", InstanceIds=[resource.id])


class Address(Ec2Kind):
    """An elastic IP address. Only what is associated with a terminated instance is taken from it."""

    noun = "address"
    form = f"eipalloc-{_HEX}"
    call, by, items, id_field = "DescribeAddresses", "AllocationIds", "Addresses", "AllocationId"
    is_spared = True

    def ask(self, ec2: Any, resource: Resource, found: Found) -> None:
        if found.get("AssociationId"):
            # In a default VPC a release would take it from whoever uses it now.
            self._disassociate(ec2, found)
        try:
            with translated("ReleaseAddress"):
                ec2.release_address(AllocationId=resource.id)
        except Refused as refused:
            # EC2 says AuthFailure also of one that was released meanwhile, and is someone else's now.
            if refused.error_class == "credentials":
                self.find(ec2, resource)
            raise

    def _disassociate(self, ec2: Any, found: Found) -> None:
        user = found.get("InstanceId") or found.get("NetworkInterfaceId", "something")
        if not found.get("InstanceId") or not _is_gone(ec2, user):
            raise Busy(f"associated with {user}")
        with translated("DisassociateAddress"):
            ec2.disassociate_address(AssociationId=found["AssociationId"])


class Volume(Ec2Kind):
    """A volume. One that goes with its instance (`goes_with`) is waited for, ours or not."""

    noun = "volume"
    form = f"vol-{_HEX}"
    call, by, items, id_field = "DescribeVolumes", "VolumeIds", "Volumes", "VolumeId"
    is_spared = True

    def status(self, found: Found) -> Literal["present", "leaving", "gone"]:
        match _condition(found):
            case "deleted":
                return "gone"
            case "deleting":
                return "leaving"
            case _:
                return "present"

    def allow(self, resource: Resource, found: Found, settings: Settings) -> None:
        if "goes_with" in resource.place and _condition(found) == "in-use":
            raise Busy(f"still to go with {resource.place['goes_with']}")
        super().allow(resource, found, settings)

    def ask(self, ec2: Any, resource: Resource, found: Found) -> None:
        with translated("DeleteVolume"):
            ec2.delete_volume(VolumeId=resource.id)


class NetworkInterface(Ec2Kind):
    noun = "network interface"
    form = f"eni-{_HEX}"
    call, by, items = "DescribeNetworkInterfaces", "NetworkInterfaceIds", "NetworkInterfaces"
    id_field = "NetworkInterfaceId"

    def ask(self, ec2: Any, resource: Resource, found: Found) -> None:
        with translated("DeleteNetworkInterface"):
            ec2.delete_network_interface(NetworkInterfaceId=resource.id)


class SecurityGroup(Ec2Kind):
    noun = "security group"
    form = f"sg-{_HEX}"
    call, by, items, id_field = "DescribeSecurityGroups", "GroupIds", "SecurityGroups", "GroupId"

    def ask(self, ec2: Any, resource: Resource, found: Found) -> None:
        with translated("DeleteSecurityGroup"):
            ec2.delete_security_group(GroupId=resource.id)


class KeyPair(Ec2Kind):
    noun = "key pair"
    form = f"key-{_HEX}"
    call, by, items, id_field = "DescribeKeyPairs", "KeyPairIds", "KeyPairs", "KeyPairId"

    def ask(self, ec2: Any, resource: Resource, found: Found) -> None:
        with translated("DeleteKeyPair"):
            ec2.delete_key_pair(KeyPairId=resource.id)


_INSTANCE = Instance()
_KINDS: dict[str, Ec2Kind] = {
    "aws:instance": _INSTANCE,
    "aws:address": Address(),
    "aws:volume": Volume(),
    "aws:network_interface": NetworkInterface(),
    "aws:security_group": SecurityGroup(),
    "aws:key_pair": KeyPair(),
}
KINDS: dict[str, Kind] = dict(_KINDS)

_STAGES = {
    "aws:instance": 0,
    "aws:address": 1,
    "aws:volume": 1,
    "aws:network_interface": 1,
    "aws:security_group": 2,
    "aws:key_pair": 3,
}
_NAMED = {
    "instance_id": "aws:instance",
    "elastic_ip": "aws:address",
    "ebs_volume": "aws:volume",
    "security_group": "aws:security_group",
    "key_pair": "aws:key_pair",
}

FACTS = Facts(
    credentials=(
        "The stack's own role; a record may name another one (`role`, `external_id`), which AllowedRoles must allow. "
        "Before anything else STS is asked which account the credentials are for."
    ),
    permissions=(
        "ec2:DescribeInstances, ec2:DescribeInstanceAttribute, ec2:DescribeSpotInstanceRequests",
        "ec2:DescribeAddresses, ec2:DescribeVolumes, ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups, ec2:DescribeKeyPairs",
        "ec2:TerminateInstances",
        "ec2:DisassociateAddress, ec2:ReleaseAddress, ec2:DeleteVolume, ec2:DeleteNetworkInterface",
        "ec2:DeleteSecurityGroup, ec2:DeleteKeyPair",
        "sts:AssumeRole for records that name a role",
    ),
    order=(
        "the instance, and with it the volumes that are marked to go with it",
        "its addresses, other volumes and network interfaces",
        "its security groups",
        "its key pair",
    ),
    gone=(
        "DescribeInstances says `terminated`, DescribeVolumes `deleted`; or the describing call of its kind answers "
        "`Invalid....NotFound`, in the account that the place names."
    ),
    duration="Half a minute to several minutes; a GPU or bare metal instance takes up to twenty.",
    limits=(
        "In the wrong region an instance isn't found, and so counts as gone: the record alone knows its region. "
        "An instance of an Auto Scaling group or of a persistent spot request is refused, since another one would come. "
        "Snapshots, images and launch templates stay."
    ),
    sources=(
        "botocore's model of EC2 of 2016-11-15; the codes also from Terraform's AWS provider (internal/service/ec2). "
        "Tried against moto's EC2, mended by local/ec2.py where it is kinder than AWS; never against AWS itself."
    ),
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """The instances, what the record names besides, what was known of before, and what hangs on a living instance."""
    place = session.place_of(deployment, settings)
    named = [
        _resource(kind, one, place, named_by=key) for key, kind in _NAMED.items() for one in ids_named(deployment, key)
    ]
    instances = [one for one in named if one.kind == "aws:instance"]
    if not instances:
        raise Refused("missing_id", "the record names no instance_id")
    for one in named:
        _KINDS[one.kind].check(one)
    aws = session.opened(place, settings)
    ec2 = aws.client("ec2")

    found = list(_found(ec2, instances))
    living = {one["InstanceId"]: one for one in found if _INSTANCE.status(one) != "gone"}
    for instance in instances:
        if instance.id in living:
            _INSTANCE.allow(instance, living[instance.id], settings)
            _refuse_protected(ec2, living[instance.id])
    if found:
        # Seen here: so this is the account in which a "not found" of the others counts.
        place |= {"account": aws.account}
    instances = [msgspec.structs.replace(instance, place=place, seen=instance.id in living) for instance in instances]
    others = [one for one in named if one.kind != "aws:instance"]
    dependents = _dependents(deployment, settings, aws, living, others, place)
    return sorted([*instances, *dependents], key=lambda resource: resource.stage)


def _dependents(
    deployment: Deployment,
    settings: Settings,
    aws: session.Session,
    living: dict[str, Found],
    named: list[Resource],
    place: dict[str, str],
) -> list[Resource]:
    """What the record names besides its instances, what hangs on these, and what was known of before: each judged."""
    hanging = [resource for one in living.values() for resource in _hanging(aws.client("ec2"), one, place)]
    going = {resource.key: resource.place for resource in hanging if "goes_with" in resource.place}
    known = [r for r in deployment.resources if r.kind != "aws:instance" and r.state != "gone"]
    lifted = {"dependents": "all"} if deployment.metadata.get("delete_dependents") == "all" else {}
    judged: dict[tuple[str, str], Resource] = {}
    for resource in [*named, *hanging, *known]:
        if resource.key not in judged:
            here = place | ({} if resource.named_by else lifted) | going.get(resource.key, {})
            judged[resource.key] = _judged(aws, _placed(resource, here), set(living), settings)
    return list(judged.values())


def _found(ec2: Any, instances: list[Resource]) -> Iterator[Found]:
    """Those of the instances that EC2 still knows, terminated ones too."""
    for instance in instances:
        try:
            yield _INSTANCE.find(ec2, instance)
        except Gone:
            continue


def _refuse_protected(ec2: Any, instance: Found) -> None:
    """Refuse an instance that wouldn't go, or would come again."""
    if _INSTANCE.status(instance) != "present":
        return
    name = instance["InstanceId"]
    group = _tags(instance).get("aws:autoscaling:groupName")
    if group is not None:
        raise Refused("protected", f"the Auto Scaling group {group} would replace {name}: detach it first")
    request = instance.get("SpotInstanceRequestId")
    if request and _comes_again(ec2, request):
        raise Refused("protected", f"the persistent spot request {request} would replace {name}: cancel it first")
    try:
        with translated("DescribeInstanceAttribute"):
            answer = ec2.describe_instance_attribute(InstanceId=name, Attribute="disableApiTermination")
    except Gone:
        return
    if answer.get("DisableApiTermination", {}).get("Value"):
        raise Refused("protected", f"{name} is protected from termination: lift disableApiTermination first")


def _comes_again(ec2: Any, request: str) -> bool:
    try:
        found = _asked(
            ec2,
            "describe_spot_instance_requests",
            "DescribeSpotInstanceRequests",
            "SpotInstanceRequests",
            SpotInstanceRequestIds=[request],
        )
    except Gone:
        return False
    return any(one.get("Type") == "persistent" and one.get("State") in ("open", "active", "disabled") for one in found)


def _hanging(ec2: Any, instance: Found, place: dict[str, str]) -> Iterator[Resource]:
    """What hangs on an instance that isn't terminated yet, and won't go with it; of volumes also what will."""
    name = instance["InstanceId"]
    for mapping in instance.get("BlockDeviceMappings", []):
        volume = mapping["Ebs"]
        goes = {"goes_with": name} if volume.get("DeleteOnTermination") else {}
        yield _resource("aws:volume", volume["VolumeId"], place | goes)
    associated = [{"Name": "instance-id", "Values": [name]}]
    for address in _asked(ec2, "describe_addresses", "DescribeAddresses", "Addresses", Filters=associated):
        yield _resource("aws:address", address["AllocationId"], place)
    for interface in instance.get("NetworkInterfaces", []):
        if not interface.get("Attachment", {}).get("DeleteOnTermination"):
            yield _resource("aws:network_interface", interface["NetworkInterfaceId"], place)
    for group in instance.get("SecurityGroups", []):
        yield _resource("aws:security_group", group["GroupId"], place)
    yield from _key_pair(ec2, instance.get("KeyName"), place)


def _key_pair(ec2: Any, name: str | None, place: dict[str, str]) -> Iterator[Resource]:
    """The key pair that now has this name."""
    if not name:
        return
    try:
        found = _asked(ec2, "describe_key_pairs", "DescribeKeyPairs", "KeyPairs", KeyNames=[name])
    except Gone:
        return
    for pair in found:
        if pair.get("KeyName") == name:
            yield _resource("aws:key_pair", pair["KeyPairId"], place)


def _judged(aws: session.Session, resource: Resource, ids_ours: set[str], settings: Settings) -> Resource:
    """A dependent that may go, or is kept. Refused, if it is wished gone and isn't ours to delete."""
    kind, ec2 = _KINDS[resource.kind], aws.client("ec2")
    try:
        found = kind.find(ec2, resource)
    except Gone:
        return resource
    resource = msgspec.structs.replace(resource, seen=True, place=resource.place | {"account": aws.account})
    if kind.status(found) != "present" or ("goes_with" in resource.place and _condition(found) == "in-use"):
        return resource
    if _is_wished(resource):
        kind.allow(resource, found, settings)
        return resource
    objection = _objection(resource, found, settings) or _shared(ec2, resource, found, ids_ours)
    return msgspec.structs.replace(resource, state="kept", detail=objection) if objection else resource


def _is_wished(resource: Resource) -> bool:
    """Whether someone asked for it to go: by naming it, or with `delete_dependents`."""
    lifted = _KINDS[resource.kind].is_spared and resource.place.get("dependents") == "all"
    return bool(resource.named_by) or lifted


def _objection(resource: Resource, found: Found, settings: Settings) -> str:
    """Why it may not be deleted; empty if it may."""
    mark = settings.aws_mark
    if mark and mark in _tags(found):
        return ""
    lacks = f"it doesn't carry the tag {mark}" if mark else "no tag is set that would make it ours"
    if not _is_wished(resource):
        return f"only found, not named by the record, and {lacks}"
    if not mark:
        return ""
    if not _KINDS[resource.kind].is_spared:
        return lacks
    return f"{lacks}, and RequireMark is on: tag it, or turn that off" if settings.require_mark else ""


def _shared(ec2: Any, resource: Resource, found: Found, ids_ours: set[str]) -> str:
    """Which other instances use a group or key that was only found; empty if none does."""
    match resource.kind:
        case "aws:security_group":
            filter_ = {"Name": "instance.group-id", "Values": [resource.id]}
        case "aws:key_pair":
            filter_ = {"Name": "key-name", "Values": [found["KeyName"]]}
        case _:
            return ""
    living = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
    reservations = _asked(ec2, "describe_instances", "DescribeInstances", "Reservations", Filters=[filter_, living])
    others = {instance["InstanceId"] for one in reservations for instance in one.get("Instances", [])} - ids_ours
    return f"only found, and also used by {', '.join(sorted(others)[:3])}" if others else ""


def _is_gone(ec2: Any, instance_id: str) -> bool:
    try:
        return _INSTANCE.status(_INSTANCE.find(ec2, _resource("aws:instance", instance_id, {}))) == "gone"
    except Gone:
        return True


def _resource(kind: str, id: str, place: dict[str, str], named_by: str = "") -> Resource:
    return Resource(kind=kind, id=id, place=place, stage=_STAGES[kind], named_by=named_by)


def _placed(resource: Resource, place: dict[str, str]) -> Resource:
    """Where it is now said to be; what was learned before of an instance that it goes with stays."""
    goes = {key: value for key, value in resource.place.items() if key == "goes_with"}
    return msgspec.structs.replace(resource, place=goes | place, state="unseen", detail="")


def _asked(ec2: Any, method: str, call: str, items: str, **request: Any) -> list[Found]:
    with translated(call):
        answer = getattr(ec2, method)(**request)
    return _listed(call, answer, items)


def _listed(call: str, answer: dict[str, Any], items: str) -> list[Found]:
    """The list that an answer must hold: an answer without it, some proxy's page for instance, proves nothing."""
    found: list[Found] | None = answer.get(items)
    if found is None:
        raise Unreachable(f"{call}: the answer holds no {items}")
    return found


def _condition(found: Found) -> str:
    """EC2's own word for an instance's or a volume's state; empty for what has none."""
    state = found.get("State", "")
    return str(state["Name"] if isinstance(state, dict) else state)


def _tags(found: Found) -> dict[str, str]:
    # Interfaces alone have a TagSet.
    return {tag["Key"]: tag["Value"] for tag in found.get("Tags") or found.get("TagSet") or []}
