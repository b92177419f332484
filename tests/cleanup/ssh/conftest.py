"""What the tests on machines share: one in this process, and what leads to any."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cleanup.ssh.machines import Machine, Programs
from tests.real_targets import Sshd
from tests.ssh_server import SshServer
from tracker.cleanup.ssh import systemd


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
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine in this process, whose administrator's units are in a folder of the test's own."""
    programs = Programs(tmp_path / "programs")
    monkeypatch.setattr(systemd, "FOLDERS", frozenset({str(programs.units)}))
    server = SshServer(PATH=programs.path)
    yield Machine(server, programs)
    server.stop()
