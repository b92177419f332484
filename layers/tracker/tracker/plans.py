"""The dry run: what a cleanup would delete and what it would keep, by reading alone. Called by the plan function."""

from collections.abc import Callable
from typing import Any

import msgspec

from tracker.cleanup import engine
from tracker.cleanup.contract import Busy, Refused, Unreachable
from tracker.deployment import Deployment, Resource
from tracker.settings import Settings

SECONDS = 20


class Plan(msgspec.Struct, frozen=True):
    """Resources with what was seen of them; `problems` says why some wasn't, `refusal` why nothing would be deleted."""

    resources: list[Resource]
    not_looked_at: list[str] = []
    problems: list[str] = []
    refusal: dict[str, str] | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON shows it."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def draw(deployment: Deployment, settings: Settings, monotonic: Callable[[], float]) -> Plan:
    """Discover, then look at each resource until 20 seconds are over."""
    until = monotonic() + SECONDS
    try:
        resources = engine.discover(deployment, settings)
    except Refused as refused:
        return Plan(deployment.resources, refusal={"class": refused.error_class, "message": str(refused)})
    except (Busy, Unreachable) as error:
        return Plan(deployment.resources, problems=[str(error)])
    seen, not_looked_at, problems = [], [], []
    for resource in resources:
        name = f"{resource.kind} {resource.id}"
        if resource.is_done:
            seen.append(resource)
        elif monotonic() >= until:
            not_looked_at.append(name)
            seen.append(resource)
        else:
            try:
                seen.append(engine.look(deployment, settings, resource))
            except (Busy, Unreachable, Refused) as error:
                problems.append(f"{name}: {error}")
                seen.append(resource)
    return Plan(seen, not_looked_at, problems)
