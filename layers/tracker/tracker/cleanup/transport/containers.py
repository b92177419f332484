"""Names, ids and owners of containers, alike in Docker and its kin, for the types that reach them in different ways."""

import re

SWARM_SERVICE = "com.docker.swarm.service.id"
_SHORT_ID = re.compile(r"[0-9a-f]{12,64}")


def is_called(reference: str, full_id: str, *names: str) -> bool:
    """Return whether a name or id means this container. The runtimes themselves take any beginning of an id, be it one letter."""
    return reference in (full_id, *names) or (
        _SHORT_ID.fullmatch(reference) is not None and full_id.startswith(reference)
    )


def swarm_protection(full_id: str, service: str) -> str:
    """Return why a container of a swarm service isn't deleted, empty if it belongs to none."""
    if not service:
        return ""
    return f"container {full_id[:12]} is a task of swarm service {service}, which would start another: remove that"
