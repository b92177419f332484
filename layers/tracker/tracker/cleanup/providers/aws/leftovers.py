"""This is what stays of an instance or a cluster, and goes on being paid for: shown by name in plan and receipt, and deleted by nobody here.

Used by `ec2` and `eks_dependents`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import batched
from typing import Any

from tracker.cleanup.core.contract import Refused, Unreachable
from tracker.cleanup.core.discovery import kept
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.aws.ec2_api import Body, asked
from tracker.model.deployment import RESOURCE_DETAIL_MAX, Resource, clipped

# Of each kind so many are named: a record has its limits, and a volume may have a snapshot of each hour.
NAMED_MAX = 20
# EC2's limit for the values of one filter.
FILTER_MAX = 200


def shown(kind: str, found: Iterable[tuple[str, str]], place: Mapping[str, str]) -> list[Resource]:
    """Return resources of one kind that stay. `found` are their ids, each with why it stays; beyond NAMED_MAX they are only counted."""
    every = list(found)
    here = {key: place[key] for key in ("region", "account") if key in place}
    result = [kept(Resource(kind, id_, here), why) for id_, why in every[:NAMED_MAX]]
    if len(every) > NAMED_MAX:
        last_id, why = every[NAMED_MAX - 1]
        result[-1] = kept(Resource(kind, last_id, here), f"{why}; and so do {len(every) - NAMED_MAX} more")
    return result


def copies(ec2: Any, volumes: Iterable[str], place: Mapping[str, str]) -> list[Resource]:
    """Return the account's own snapshots of volumes, the latest first, and the images that are made of those."""
    snapshots = [
        snapshot
        for some in batched(dict.fromkeys(volumes), FILTER_MAX, strict=False)
        for snapshot in asked(
            ec2,
            "DescribeSnapshots",
            "Snapshots",
            OwnerIds=["self"],
            Filters=[{"Name": "volume-id", "Values": list(some)}],
        )
    ]
    snapshots.sort(key=lambda snapshot: str(snapshot.get("StartTime", "")), reverse=True)
    if not snapshots:
        return []
    ids = {snapshot["SnapshotId"] for snapshot in snapshots}
    images = asked(ec2, "DescribeImages", "Images", Owners=["self"])
    made = [(image["ImageId"], used) for image in images if (used := ids & set(_snapshots_of(image)))]
    return [
        *shown(
            "aws:snapshot", ((one["SnapshotId"], f"a snapshot of {one['VolumeId']} stays") for one in snapshots), place
        ),
        *shown(
            "aws:image", ((id_, f"an image made of {', '.join(sorted(used)[:3])} stays") for id_, used in made), place
        ),
    ]


def hosts(instances: Iterable[Body], place: Mapping[str, str]) -> list[Resource]:
    """Return the dedicated hosts that instances are on: they are paid for by the hour, used or not."""
    on = {host: one["InstanceId"] for one in instances if (host := one.get("Placement", {}).get("HostId"))}
    return shown(
        "aws:dedicated_host", ((host, f"{name} is on this host, which stays") for host, name in on.items()), place
    )


def _snapshots_of(image: Body) -> Iterator[str]:
    for mapping in image.get("BlockDeviceMappings", []):
        if snapshot := mapping.get("Ebs", {}).get("SnapshotId"):
            yield snapshot


def looked(looks: Iterable[Callable[[], list[Resource]]], parent: Resource) -> list[Resource]:
    """Return what several looks found. One that is refused or not answered is noted: what stays mustn't keep what is to go."""
    found: list[Resource] = []
    failed = []
    for look in looks:
        try:
            found += look()
        except Gone:
            continue
        except (Refused, Unreachable) as error:
            failed.append(str(error))
    if failed:
        text = clipped(f"what is left of {parent.id} isn't all in this list: {'; '.join(failed)}", RESOURCE_DETAIL_MAX)
        found += shown("aws:leftovers", [(parent.id, text)], parent.place)
    return found
