"""The deployment types on machines that are reached by SSH."""

from tracker.model.catalogue.forms import (
    COMMON,
    DOCKER_NAME,
    HOST,
    NAME,
    NO_DOTS,
    PORT,
    USER,
    machine,
    opaque,
    path,
    secret,
)
from tracker.model.catalogue.vocabulary import Entry, Form

_IDS = machine(
    opaque("", "vm-1"),
    container_id=Form(DOCKER_NAME, "4f1d6a0c2b3e", kind="ssh:container", many=True),
    # systemd.unit: letters, digits and :_.-; "@" for an instance of a template. Only services are deployed.
    unit=Form(
        NO_DOTS + r"[A-Za-z0-9_][A-Za-z0-9:_.-]{0,120}(?:@[A-Za-z0-9:_.-]{0,120})?\.service",
        "blueprint-1.service",
        kind="ssh:unit",
        many=True,
    ),
)
# A key as known_hosts has it: its type and its base64.
_PUBLIC_KEY = Form(
    r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) [A-Za-z0-9+/]{40,2048}={0,2}",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIb9Y0tPZ5m7h0y3m0V3y5zq2xKc1r8vQe4u6s7t8w9x",
)
_METADATA = {
    **COMMON,
    "ssh_host": HOST,
    "ssh_user": Form(USER, "ubuntu"),
    "ssh_port": Form(PORT, "22"),
    "ssh_key_path": Form(path(""), "/etc/tracker/keys/id_ed25519", guard="key_file"),
    "ssh_key_secret": secret("tracker/ssh/host-1"),
    "ssh_host_key": _PUBLIC_KEY,
    "jump_host": HOST,
    "jump_port": Form(PORT, "22"),
    "jump_user": Form(USER, "ubuntu"),
    "jump_host_key": _PUBLIC_KEY,
    "runtime": Form("docker|podman|containerd|systemd", "docker"),
    # The namespace of containerd.
    "namespace": NAME,
}

ENTRIES = {
    "SshRemote": Entry(
        platform="ssh",
        summary="Containers or services on a machine reached by SSH; the machine itself stays",
        module="ssh.remote",
        ids=_IDS,
        needs_one_of=(("container_id", "unit"),),
        metadata=_METADATA,
        needs_metadata=(("ssh_host",), ("ssh_user",)),
    ),
    "BareMetal": Entry(
        platform="ssh",
        summary="Containers, services and installed files on a machine of one's own, reached by SSH; the machine itself stays",
        module="ssh.bare_metal",
        # Files and folders that were installed, below folders that the settings allow; never what is at the top of a system.
        ids={
            **_IDS,
            "file": Form(
                rf"(?=(?:/[^/]+){{3}}){path('')}", "/opt/blueprints/bp-1", kind="ssh:file", many=True, guard="file"
            ),
        },
        needs_one_of=(("container_id", "unit", "file"),),
        metadata=_METADATA,
        needs_metadata=(("ssh_host",), ("ssh_user",)),
    ),
}
