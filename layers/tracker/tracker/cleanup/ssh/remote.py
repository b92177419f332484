"""SshRemote: containers and services on a machine reached through SSH; the machine itself stays.

Nothing but what the record names is looked for. How they go: `runtimes`, `systemd`; the way there: `machine`.
"""

from tracker.cleanup.contract import Facts, Kind
from tracker.cleanup.ssh import runtimes, systemd
from tracker.cleanup.ssh.machine import named
from tracker.deployment import Deployment, Resource
from tracker.settings import Settings

KINDS: dict[str, Kind] = {"ssh:container": runtimes.Container(), "ssh:unit": systemd.Unit()}
STAGES = {"container_id": 0, "unit": 0}

FACTS = Facts(
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
    """What the record names."""
    return named(deployment, settings, STAGES)
