"""What Docker and its kin have in common, for the types that reach a container in different ways."""

import re

from tracker.cleanup.contract import Refused

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
SWARM_SERVICE = "com.docker.swarm.service.id"
_SHORT_ID = re.compile(r"[0-9a-f]{12,64}")


def is_called(reference: str, full_id: str, *names: str) -> bool:
    """Whether a name or id means this one. The runtimes themselves take any beginning of an id, be it one letter."""
    return reference in (full_id, *names) or (
        _SHORT_ID.fullmatch(reference) is not None and full_id.startswith(reference)
    )


def refuse_swarm(full_id: str, service: str) -> None:
    """Refused, if the container belongs to a swarm service, which would start another one."""
    if service:
        text = f"container {full_id[:12]} is a task of swarm service {service}, which would start another: remove that"
        raise Refused("protected", text)
