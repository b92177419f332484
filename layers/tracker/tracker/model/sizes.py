"""This is what of a deployment is kept so that its item fits into the table: DynamoDB takes at most 400 KB.

Pure. The lifecycle fits each version before it is written; the store writes resources as `pack` has them.
"""

from typing import Any

import msgspec
from msgspec.structs import replace

from tracker.model.deployment import Deployment, Event, Resource, clipped

# DynamoDB's limit is 409,600 bytes, names of attributes and what the indexes need included.
ITEM_MAX = 380_000
# What is given up, step by step: texts of so many bytes, and so many of the last facts.
STEPS = ((256, 50), (128, 20), (64, 5), (32, 0))


class Packed(msgspec.Struct, frozen=True, omit_defaults=True):
    """Resources without the part of their places that is the same for all, which stands once."""

    place: dict[str, str]
    each: list[Resource]


def pack(resources: list[Resource]) -> Packed | list[Resource]:
    """Return the resources as they are stored. What all their places share stands once."""
    if len(resources) < 2:  # noqa: PLR2004 - nothing is shared by one
        return resources
    shared = dict(set.intersection(*(set(resource.place.items()) for resource in resources)))
    if not shared:
        return resources
    own = [{key: value for key, value in resource.place.items() if key not in shared} for resource in resources]
    return Packed(shared, [replace(resource, place=place) for resource, place in zip(resources, own, strict=True)])


def unpack(stored: Packed | list[Resource]) -> list[Resource]:
    """Return the resources that were stored."""
    if isinstance(stored, list):
        return stored
    return [replace(resource, place=stored.place | resource.place) for resource in stored.each]


def fit(deployment: Deployment) -> Deployment:
    """Return the deployment, with texts clipped and older facts left out as far as its item wouldn't fit otherwise."""
    fitted = deployment
    for longest, facts in STEPS:
        if _size(fitted) <= ITEM_MAX:
            break
        fitted = replace(
            fitted,
            resources=[
                replace(each, proof=clipped(each.proof, longest), detail=clipped(each.detail, longest))
                for each in fitted.resources
            ],
            events=[_clipped(each, longest) for each in fitted.events[len(fitted.events) - facts :]],
            outbox=[_clipped(each, longest) for each in fitted.outbox],
        )
    return fitted


def _size(deployment: Deployment) -> int:
    packed = pack(deployment.resources)
    return len(msgspec.json.encode(replace(deployment, resources=[]))) + len(msgspec.json.encode(packed))


def _clipped(event: Event, longest: int) -> Event:
    def shorter(value: Any) -> Any:
        return clipped(value, 2 * longest) if isinstance(value, str) else value

    return replace(event, detail={name: shorter(value) for name, value in event.detail.items()})
