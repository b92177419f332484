"""The real things that tests delete from: a Docker engine, an image to run on it, SSH servers.

Imported by the conftest of the tests that need them. A test skips with the reason where a target is missing, and fails
instead if REQUIRE_REAL=1: a silent skip would hide a gap.
"""

import io
import os
import shutil
import socket
import subprocess
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from local.processes import PATIENCE, listens

REQUIRED = os.environ.get("REQUIRE_REAL") == "1"
_DOCKERFILE = b"""FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "/bin"]
CMD ["/bin/sleep", "3600"]
"""


def lacking(reason: str) -> str:
    """Skip, or fail where everything has to be there. Returns nothing: what calls it ends."""
    if REQUIRED:
        pytest.fail(f"REQUIRE_REAL=1, but {reason}")
    pytest.skip(reason)


def program(name: str, package: str) -> str:
    """Return where a program is that a Debian package brings."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") or lacking(f"{name} isn't there (apt: {package})")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[docker.DockerClient]:
    """The local Docker engine."""
    program("docker", "docker.io")
    # Asked so: of an engine that isn't there, docker-py leaves a socket open.
    if not listens("/var/run/docker.sock"):
        lacking("no Docker engine answers at /var/run/docker.sock")
    client = docker.DockerClient("unix:///var/run/docker.sock", timeout=int(PATIENCE))
    yield client
    client.close()


@pytest.fixture(scope="session")
def busybox(docker_engine: docker.DockerClient) -> Iterator[str]:
    """The name of an image from scratch that holds busybox and sleeps."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        archive.add(os.path.realpath(program("busybox", "busybox-static")), "busybox")
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(_DOCKERFILE)
        archive.addfile(entry, io.BytesIO(_DOCKERFILE))
    context.seek(0)
    name = f"tracker-test/busybox:{uuid.uuid4().hex[:8]}"
    docker_engine.images.build(fileobj=context, custom_context=True, tag=name, rm=True)
    yield name
    docker_engine.images.remove(name, force=True)


@pytest.fixture
def labels(docker_engine: docker.DockerClient) -> Iterator[dict[str, str]]:
    """Labels for all that a test makes on the engine; what is left with them is removed after it."""
    mark = {"tracker.test": uuid.uuid4().hex}
    yield mark
    left: dict[str, Any] = {"label": f"tracker.test={mark['tracker.test']}"}
    for container in docker_engine.containers.list(all=True, filters=left):
        container.remove(force=True, v=True)
    for network in docker_engine.networks.list(filters=left):
        network.remove()
    for volume in docker_engine.volumes.list(filters=left):
        volume.remove(force=True)


class Sshd:
    """An SSH server on loopback with a host key of its own, which lets one key in as this process's user."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, mode=0o700)
        self.folder = folder
        self.port = free_port()
        for name in ("host", "user"):
            _make_key(folder / name)
        config = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {folder}/host",
            "PidFile none",
            f"AuthorizedKeysFile {folder}/user.pub",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "UsePAM no",
            "StrictModes no",
            "AllowTcpForwarding yes",
            *options,
        ]
        (folder / "config").write_text("\n".join(config) + "\n")
        Path("/run/sshd").mkdir(exist_ok=True)
        with (folder / "log").open("wb") as log:
            command = [program("sshd", "openssh-server"), "-D", "-e", "-f", str(folder / "config")]
            self.process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
        self._await()

    def _await(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError((self.folder / "log").read_text())

    @property
    def host_key(self) -> str:
        return (self.folder / "host.pub").read_text().rsplit(" ", 1)[0]

    @property
    def private_key(self) -> str:
        return (self.folder / "user").read_text()

    @property
    def public_key(self) -> str:
        return (self.folder / "user.pub").read_text().rsplit(" ", 1)[0]

    def let_in(self, public_key: str) -> None:
        """From now on, this key and no other."""
        (self.folder / "user.pub").write_text(f"{public_key} of-a-test\n")

    @property
    def user(self) -> str:
        return subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)


def _make_key(path: Path, kind: str = "ed25519") -> None:
    keygen = program("ssh-keygen", "openssh-client")
    subprocess.run([keygen, "-q", "-t", kind, "-N", "", "-f", str(path)], check=True)


@pytest.fixture
def make_key(tmp_path: Path) -> Callable[[str], tuple[str, str]]:
    """Makes a pair of keys of a kind: private text, public line."""

    def make(kind: str = "ed25519") -> tuple[str, str]:
        path = tmp_path / f"key-{uuid.uuid4().hex}"
        _make_key(path, kind)
        return path.read_text(), path.with_suffix(".pub").read_text().rsplit(" ", 1)[0]

    return make


@pytest.fixture
def make_sshd(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Starts SSH servers, with more lines of configuration if given; they end with the test."""
    started: list[Sshd] = []

    def make(*options: str) -> Sshd:
        server = Sshd(tmp_path / f"sshd-{len(started)}", *options)
        started.append(server)
        return server

    yield make
    for server in started:
        server.stop()


@pytest.fixture
def sshd(make_sshd: Callable[..., Sshd]) -> Sshd:
    """One SSH server."""
    return make_sshd()
