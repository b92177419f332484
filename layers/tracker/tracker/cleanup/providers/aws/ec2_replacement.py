"""This is what would replace an instance that is terminated: it would come again, and so its deletion is refused.

Used by `ec2_resources`. By the tags that AWS itself gives to instances of Auto Scaling groups, EC2 fleets and spot fleets, and by the types of
fleets and spot requests ("Request types of EC2 Fleet and Spot Fleet" and "Persistent Spot requests" in EC2's user guide).
"""

from typing import Any, NamedTuple

from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.aws.ec2_api import Body, asked, tags


class _Source(NamedTuple):
    """A sort of request that starts instances: how one is described, which type starts others, while it is in which states.

    `default` is the type of one that was requested without any.
    """

    noun: str
    call: str
    items: str
    by: str
    type: str
    default: str
    state: str
    living: frozenset[str]
    remedy: str


_FLEET_LIVES = frozenset({"submitted", "active", "modifying"})
_FLEET = _Source(
    "EC2 fleet",
    call="DescribeFleets",
    items="Fleets",
    by="FleetIds",
    type="maintain",
    default="maintain",
    state="FleetState",
    living=_FLEET_LIVES,
    remedy="delete it first",
)
_SPOT_FLEET = _Source(
    "spot fleet",
    call="DescribeSpotFleetRequests",
    items="SpotFleetRequestConfigs",
    by="SpotFleetRequestIds",
    type="maintain",
    default="maintain",
    state="SpotFleetRequestState",
    living=_FLEET_LIVES,
    remedy="cancel it first",
)
_SPOT_REQUEST = _Source(
    "spot request",
    call="DescribeSpotInstanceRequests",
    items="SpotInstanceRequests",
    by="SpotInstanceRequestIds",
    type="persistent",
    default="one-time",
    state="State",
    living=frozenset({"open", "active", "disabled"}),
    remedy="cancel it first",
)


def replacement(ec2: Any, instance: Body) -> str:
    """Return what would replace an instance, and how that is ended; empty if nothing would."""
    name, own = instance["InstanceId"], tags(instance)
    if (group := own.get("aws:autoscaling:groupName")) is not None:
        return f"the Auto Scaling group {group} would replace {name}: detach it first"
    for source, id_ in (
        (_FLEET, own.get("aws:ec2:fleet-id")),
        (_SPOT_FLEET, own.get("aws:ec2spot:fleet-request-id")),
        (_SPOT_REQUEST, instance.get("SpotInstanceRequestId")),
    ):
        if id_ and _starts_others(ec2, source, id_):
            return f"the {source.noun} {id_} of type {source.type} would replace {name}: {source.remedy}"
    return ""


def _starts_others(ec2: Any, source: _Source, id_: str) -> bool:
    try:
        found = asked(ec2, source.call, source.items, **{source.by: [id_]})
    except Gone:
        return False
    for one in found:
        # A spot fleet's type is in its configuration.
        type_ = one.get("SpotFleetRequestConfig", one).get("Type", source.default)
        if type_ == source.type and one.get(source.state) in source.living:
            return True
    return False
