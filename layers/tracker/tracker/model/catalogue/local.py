"""The deployment types of the machine that the stack runs on."""

from tracker.model.catalogue import kubernetes
from tracker.model.catalogue.forms import (
    COMMON,
    DOCKER_NAME,
    HOST_IN_URL,
    NAME,
    NUMBER,
    PORT,
    USER,
    UUID,
    UUID_EXAMPLE,
    path,
    secret,
)
from tracker.model.catalogue.vocabulary import Entry, Form

# The record says which machine it was deployed on: its name, and its boot.
_MACHINE = {"host": NAME, "boot_id": Form(UUID, UUID_EXAMPLE)}

ENTRIES = {
    "LocalDocker": Entry(
        platform="local",
        marked_by="label",
        summary="Containers, volumes and networks of a Docker engine, this machine's unless another is named",
        module="local.docker",
        ids={
            "container_id": Form(DOCKER_NAME, "4f1d6a0c2b3e", kind="docker:container", many=True),
            "volume": Form(DOCKER_NAME, "blueprint-data", kind="docker:volume", many=True),
            "network": Form(
                rf"(?!(?i:bridge|host|none|default|ingress|nat)$){DOCKER_NAME}",
                "blueprint-net",
                kind="docker:network",
                many=True,
            ),
        },
        needs_one_of=(("container_id",),),
        metadata={
            **COMMON,
            **_MACHINE,
            "docker_host": Form(
                rf"unix://{path('')}|tcp://{HOST_IN_URL}:{PORT}|ssh://{USER}@{HOST_IN_URL}(?::{PORT})?",
                "tcp://docker-1.example.org:2376",
                guard="endpoint",
                unguarded="unix:///var/run/docker.sock",
            ),
            "docker_tls_secret": secret("tracker/docker/tls"),
            "docker_ssh_secret": secret("tracker/docker/ssh"),
            # GET /info: a uuid, or twelve groups of letters and digits on engines installed before 24.
            "docker_engine": Form(r"[A-Za-z0-9][A-Za-z0-9:-]{0,127}", UUID_EXAMPLE),
        },
        place="local",
        remote_with="docker_host",
    ),
    "LocalKubernetes": Entry(
        platform="local",
        marked_by="label",
        summary="Objects in a namespace of a Kubernetes cluster, reached by this machine's kubeconfig or a secret's",
        module="local.kubernetes",
        ids=kubernetes.IDS,
        needs_one_of=(("namespace",), ("context",), kubernetes.WORKLOADS),
        metadata={**kubernetes.METADATA, **_MACHINE},
        place="local",
        remote_with="kubeconfig_secret",
    ),
    "LocalHypervisor": Entry(
        platform="local",
        summary="A Cloud Hypervisor machine: its API socket, process, disks and network devices",
        module="local.hypervisor",
        ids={
            "vm_id": NAME,
            # unix(7): 108 bytes with the one that ends it.
            "api_socket": Form(
                r"(?!.{108})" + path(r"\.sock(?:et)?"), "/run/blueprints/vm-1.sock", kind="hypervisor:vm", guard="file"
            ),
            # Never 0 or 1: the process group, and init.
            "pid": Form("[2-9]|[1-9][0-9]{1,6}", "4242", kind="hypervisor:process"),
            "disk_image": Form(
                path(r"\.(?:raw|img|qcow2|vhdx?)"),
                "/var/lib/blueprints/vm-1.qcow2",
                kind="hypervisor:disk",
                many=True,
                guard="file",
            ),
            # Linux: IFNAMSIZ, 15 characters.
            "tap_device": Form(
                "[A-Za-z0-9][A-Za-z0-9_-]{0,14}", "tap0", kind="hypervisor:tap", many=True, guard="tap_device"
            ),
        },
        needs_one_of=(("vm_id",), ("api_socket", "pid")),
        metadata={
            **COMMON,
            **_MACHINE,
            # proc(5): field 22 of /proc/<pid>/stat, in clock ticks since boot; and what /proc/<pid>/exe leads to.
            "process_start_time": Form(NUMBER, "123456"),
            "executable": Form(path(""), "/usr/bin/cloud-hypervisor"),
        },
        place="local",
    ),
}
