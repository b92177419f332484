"""This is what the tests on machines share: one in this process, and what leads to any."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cleanup.providers.ssh.machines import Machine, Programs
from tests.real_targets import Sshd
from tests.ssh_server import SshServer


@pytest.fixture
def at(put_secret: Callable[..., str]) -> Callable[..., dict[str, str]]:
    """The metadata that leads to a server, and more."""

    def metadata(server: Sshd | SshServer, **more: str) -> dict[str, str]:
        name = put_secret(f"ssh/{uuid.uuid4().hex}", private_key=server.private_key, host_key=server.host_key)
        user = server.user if isinstance(server, Sshd) else "ubuntu"
        where = {"ssh_host": "127.0.0.1", "ssh_port": str(server.port), "ssh_user": user}
        return {**where, "ssh_key_secret": name, **more}

    return metadata


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine in this process."""
    programs = Programs(tmp_path / "programs")
    server = SshServer(PATH=programs.path)
    yield Machine(server, programs)
    server.stop()
