"""AwsEc2: an instance, with its addresses, volumes, interfaces, security groups and key pairs.

The instance goes first: with it go its volumes that are marked so, and only then are the others free. Whose something is, is judged
twice: before anything is deleted, and at each deletion again, since time passes between. A terminated instance names its dependents no
longer: from then on the record's list is what knows them.
"""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from tracker.cleanup.core.contract import Found, OperatorNotes, Refused, ResourceKind
from tracker.cleanup.core.discovery import kept, named_resources
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.aws import ec2_marked, ec2_resources, session
from tracker.cleanup.providers.aws.ec2_api import Body, asked, condition
from tracker.cleanup.providers.aws.ec2_resources import INSTANCE, is_wished, wish
from tracker.cleanup.providers.aws.leftovers import copies, hosts, looked
from tracker.cleanup.providers.aws.session import Session
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

KINDS: dict[str, ResourceKind] = dict(ec2_resources.KINDS)
_STAGES = {
    "aws:instance": 0,
    "aws:address": 1,
    "aws:volume": 1,
    "aws:network_interface": 1,
    "aws:security_group": 2,
    "aws:key_pair": 3,
}
_DEPENDENTS = _STAGES.keys() - {"aws:instance"}

NOTES = OperatorNotes(
    credentials=(
        "The stack's own role; a record may name another one (`role`, `external_id`), which AllowedRoles must allow. "
        "Before anything else STS is asked which account the credentials are for."
    ),
    permissions=(
        "ec2:DescribeInstances, ec2:DescribeInstanceAttribute",
        "ec2:DescribeSpotInstanceRequests, ec2:DescribeFleets, ec2:DescribeSpotFleetRequests",
        "ec2:DescribeAddresses, ec2:DescribeVolumes, ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups, ec2:DescribeKeyPairs, ec2:DescribeSnapshots, ec2:DescribeImages",
        "ec2:TerminateInstances",
        "ec2:DisassociateAddress, ec2:ReleaseAddress, ec2:DeleteVolume, ec2:DeleteNetworkInterface",
        "ec2:DeleteSecurityGroup, ec2:DeleteKeyPair",
        "ec2:RevokeSecurityGroupIngress, ec2:RevokeSecurityGroupEgress",
        "sts:AssumeRole for records that name a role",
    ),
    order=(
        "the instance, and with it the volumes that are marked to go with it",
        "its addresses, other volumes and network interfaces",
        "its security groups; their rules about each other are revoked if they keep one",
        "its key pair",
    ),
    gone=(
        "DescribeInstances says `terminated`, DescribeVolumes `deleted`; or the describing call of its kind answers "
        "`Invalid....NotFound`, in the account that the place names."
    ),
    duration="Half a minute to several minutes; a GPU or bare metal instance takes up to twenty.",
    limits=(
        "By the mark are found: instances, addresses, volumes, interfaces, security groups and key pairs; snapshots aren't. "
        "In the wrong region an instance isn't found, and so counts as gone: the record alone knows its region. "
        "An instance of an Auto Scaling group, of a fleet that is maintained or of a persistent spot request is refused, since "
        "another one would come. Its volumes' snapshots, the images made of those and its dedicated host are shown as kept, "
        "up to twenty of each; launch templates stay."
    ),
    sources=(
        "botocore's model of EC2 of 2016-11-15; the codes also from Terraform's AWS provider (internal/service/ec2). "
        "Tried against moto's EC2, mended by local/ec2.py where it is kinder than AWS; never against AWS itself."
    ),
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return the instances, what the record names besides, the dependents of living instances, and what was known before."""
    place = session.place_of(deployment, settings)
    named = named_resources(deployment, place, _STAGES, ec2_resources.KINDS, settings)
    aws = session.opened(place, settings)
    found = {one.id: body for one in named if one.kind == "aws:instance" and (body := _described(aws, one))}
    living = {id_: body for id_, body in found.items() if INSTANCE.progress(body)[0] != "gone"}
    if found:
        # Seen here: so this is the account in which a "not found" of the others counts.
        place |= {"account": aws.account}
    instances = []
    for one in named:
        if one.kind == "aws:instance":
            if one.id in living:
                INSTANCE.check_deletable(aws, one, living[one.id], settings)
            instances.append(replace(one, place=place, seen=one.id in living, absent=0 if one.id in found else 1))
    others = [one for one in named if one.kind != "aws:instance"]
    dependents = _dependents(deployment, settings, aws, living, others, place)
    volumes = [one.id for one in dependents if one.kind == "aws:volume"]
    looks = (lambda: copies(aws.client("ec2"), volumes, place), lambda: hosts(living.values(), place))
    staying = looked(looks, instances[0])
    return sorted([*instances, *dependents, *staying], key=lambda resource: resource.stage)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield what carries the mark of a generation, or of any."""
    return ec2_marked.find(deployment, settings, generation, _STAGES)


def _described(aws: Session, instance: Resource) -> Body | None:
    """Return EC2's description of an instance, a terminated one too; None if there is none."""
    try:
        return INSTANCE.find(aws, instance)
    except Gone:
        return None


def _dependents(
    deployment: Deployment,
    settings: Settings,
    aws: Session,
    living: dict[str, Body],
    named: list[Resource],
    place: dict[str, str],
) -> list[Resource]:
    """Return what the record names besides its instances, the dependents of these, and what was known before: each judged."""
    attached = [resource for one in living.values() for resource in _attached(aws.client("ec2"), one, place)]
    going = {resource.key: resource.place for resource in attached if "goes_with" in resource.place}
    known = [r for r in deployment.resources if r.kind in _DEPENDENTS and r.state != "gone"]
    judged: dict[tuple[str, str], Resource] = {}
    for resource in [*named, *attached, *known]:
        if resource.key not in judged:
            here = place | ({} if resource.named_by else wish(deployment)) | going.get(resource.key, {})
            judged[resource.key] = _judged(aws, _placed(resource, here), set(living), settings)
    return list(judged.values())


def _attached(ec2: Any, instance: Body, place: dict[str, str]) -> Iterator[Resource]:
    """Yield the dependents of an instance that isn't terminated yet, without those that go with it, but for volumes."""
    name = instance["InstanceId"]
    for mapping in instance.get("BlockDeviceMappings", []):
        volume = mapping["Ebs"]
        goes = {"goes_with": name} if volume.get("DeleteOnTermination") else {}
        yield _resource("aws:volume", volume["VolumeId"], place | goes)
    associated = [{"Name": "instance-id", "Values": [name]}]
    for address in asked(ec2, "DescribeAddresses", "Addresses", Filters=associated):
        yield _resource("aws:address", address["AllocationId"], place)
    for interface in instance.get("NetworkInterfaces", []):
        if not interface.get("Attachment", {}).get("DeleteOnTermination"):
            yield _resource("aws:network_interface", interface["NetworkInterfaceId"], place)
    for group in instance.get("SecurityGroups", []):
        yield _resource("aws:security_group", group["GroupId"], place)
    yield from _key_pair(ec2, instance.get("KeyName"), place)


def _key_pair(ec2: Any, name: str | None, place: dict[str, str]) -> Iterator[Resource]:
    """Yield the key pair that has this name now."""
    if not name:
        return
    try:
        found = asked(ec2, "DescribeKeyPairs", "KeyPairs", KeyNames=[name])
    except Gone:
        return
    for pair in found:
        if pair.get("KeyName") == name:
            yield _resource("aws:key_pair", pair["KeyPairId"], place)


def _judged(aws: Session, resource: Resource, ids_ours: set[str], settings: Settings) -> Resource:
    """Return a dependent, to go or to be kept. Raises Refused if someone wishes it gone and it isn't the deployment's to delete."""
    kind = ec2_resources.KINDS[resource.kind]
    try:
        body = kind.find(aws, resource)
    except Gone:
        return resource
    resource = replace(resource, seen=True, place=resource.place | kind.location(aws))
    if kind.progress(body)[0] != "present" or ("goes_with" in resource.place and condition(body) == "in-use"):
        return resource
    objection = kind.objection(resource, body, settings)
    if is_wished(resource, kind):
        if objection:
            raise Refused("not_ours", f"{kind.noun} {resource.id} isn't deleted: {objection}")
        return resource
    objection = objection or _sharing(aws.client("ec2"), resource, body, ids_ours)
    return kept(resource, objection) if objection else resource


def _sharing(ec2: Any, resource: Resource, body: Body, ids_ours: set[str]) -> str:
    """Return which other instances use a group or key that was only found; empty if none does."""
    match resource.kind:
        case "aws:security_group":
            filter_ = {"Name": "instance.group-id", "Values": [resource.id]}
        case "aws:key_pair":
            filter_ = {"Name": "key-name", "Values": [body["KeyName"]]}
        case _:
            return ""
    living = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
    reservations = asked(ec2, "DescribeInstances", "Reservations", Filters=[filter_, living])
    others = {instance["InstanceId"] for one in reservations for instance in one.get("Instances", [])} - ids_ours
    return f"only found, and also used by {', '.join(sorted(others)[:3])}" if others else ""


def _resource(kind: str, id: str, place: dict[str, str]) -> Resource:
    return Resource(kind=kind, id=id, place=place, stage=_STAGES[kind])


def _placed(resource: Resource, place: dict[str, str]) -> Resource:
    """Return a resource in its place of now; what was learned before of an instance that it goes with stays."""
    goes = {key: value for key, value in resource.place.items() if key == "goes_with"}
    return replace(resource, place=goes | place, state="unseen", seen=False, detail="")
