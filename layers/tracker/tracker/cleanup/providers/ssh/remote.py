"""SshRemote: containers and services on a machine reached through SSH; the machine itself stays.

Only what the record names is looked for. `runtimes` and `systemd` delete it; `machine` is the way there.
"""

from typing import Any

from tracker.cleanup.core.contract import OperatorNotes, ResourceKind
from tracker.cleanup.core.kind import Kind
from tracker.cleanup.providers.ssh.machine import named_on_machine
from tracker.cleanup.providers.ssh.runtimes import Container
from tracker.cleanup.providers.ssh.systemd import Unit
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

MACHINE_KINDS: dict[str, Kind[Any, Any]] = {"ssh:container": Container(), "ssh:unit": Unit()}
KINDS: dict[str, ResourceKind] = dict(MACHINE_KINDS)
STAGES = {"ssh:container": 0, "ssh:unit": 0}

NOTES = OperatorNotes(
    credentials=(
        "An SSH key: `ssh_key_secret`, with the keys `private_key` and `host_key` (and for a jump host of its own "
        "`jump_private_key` and `jump_host_key`), or `ssh_key_path` with `ssh_host_key`. Without a pinned host key nothing is "
        "asked; no agent, no known_hosts, no password."
    ),
    permissions=(
        "Docker: membership of the group docker; Podman: the user whose containers they are",
        "containerd: root, or sudo without a password for ctr",
        "systemd: root, or sudo without a password for systemctl and rm",
    ),
    order=("containers and services",),
    gone=(
        "A container: not in the list of the same Docker engine or Podman store (with containerd: namespace) that it was seen "
        "in, or of the one that `runtime` names. A service: `systemctl show` says not-found, inactive, and no process; one of "
        "a template: inactive and not enabled."
    ),
    duration="Seconds; up to ten more for processes that don't end by themselves, and a service's own TimeoutStopSec.",
    limits=(
        "Named volumes, networks, images, and the drop-ins of a service stay. A service has no identity besides its name. A "
        "service whose file is a package's, and a task of a swarm service, are refused."
    ),
    sources=(
        "podman-rm(1), systemctl(1), systemd.unit(5), sudoers(5); Docker 20.10 and 28, and containerd 1.6 as they were seen to "
        "answer."
    ),
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names."""
    return named_on_machine(deployment, settings, STAGES, MACHINE_KINDS)
