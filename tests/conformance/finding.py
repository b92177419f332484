"""Looking for marks as the tracker does it: of the record only its region and metadata are known."""

from datetime import UTC, datetime

import msgspec

from tests.conformance.target import Key, Made, Target
from tracker.cleanup.core.contract import Found
from tracker.intake.registration import parse_registration

OURS, OTHERS = "3f2a9c1e-5b74-4d08-9e61-7c0d5a8b2e43", "90d1b7e2-6c3f-4a85-b0e9-1f4c8a7d2b56"


def find(target: Target, made: Made, generation: str | None = OURS) -> list[Found]:
    """Return what is found in the place of a deployment, with nothing remembered of an earlier call."""
    settings, sought = msgspec.structs.replace(target.settings), target.sought(made)
    said = {
        "blueprint_id": "svc-1",
        "deployment_type": target.deployment_type,
        "status": "Unknown",
        "resource_ids": target.where(sought),
        "metadata": sought.metadata,
        **({"region": sought.region} if sought.region else {}),
    }
    deployment = parse_registration(said, settings, now=datetime.now(UTC), registered_by="conformance", generation=OURS)
    return list(target.module().find(deployment, settings, generation))


def keys(found: list[Found]) -> list[Key]:
    """The keys of what was found, in order."""
    return sorted(each.resource.key for each in found)


def reads(target: Target, made: Made) -> dict[str, int]:
    """The reads that make up a find."""
    target.forget()
    find(target, made)
    return target.reads()
