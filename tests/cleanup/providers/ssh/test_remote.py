"""SshRemote: real Docker, containerd and (where it is installed) Podman behind a real sshd; and stand-ins in this process."""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker as docker_sdk
import pytest
from msgspec.structs import replace

from tests.cleanup.providers.ssh.machines import DOCKER, FULL_ID, OTHER_ID, PODMAN, Machine
from tests.cleanup.providers.ssh.target import RealSshTarget, SshTarget
from tests.real_targets import Sshd, free_port, lacking, program
from tracker.cleanup.core.contract import Busy, Observation, Refused, Unreachable
from tracker.cleanup.providers.ssh import machine as ssh_machine
from tracker.cleanup.providers.ssh import remote
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

ALLOWED = Settings(allowed_hosts=["127.0.0.1"], allowed_secrets=["ssh/*"], allowed_key_files=["/tmp/**"])
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
CONTAINERD_SOCKETS = ("/run/docker/containerd/containerd.sock", "/run/containerd/containerd.sock")


def deployment(
    ids: Mapping[str, str | list[str]], metadata: Mapping[str, str], resources: list[Resource] | None = None
) -> Deployment:
    return Deployment(
        id="dep-1",
        blueprint_id="bp-1",
        deployment_type="SshRemote",
        resource_ids=dict(ids),
        metadata=dict(metadata),
        resources=resources or [],
        deployed_at="2026-01-01T00:00:00Z",
        registered_at="2026-01-01T00:00:00Z",
        generation="g",
    )


def only(resources: list[Resource]) -> Resource:
    (resource,) = resources
    return resource


def look(resource: Resource) -> Observation:
    return remote.KINDS[resource.kind].state(resource, ALLOWED)


def seen(resource: Resource) -> Resource:
    """As the cleanup would remember it after a look."""
    now = look(resource)
    return replace(resource, state=now.state, place=resource.place | now.place, proof=now.proof)


def delete(resource: Resource) -> None:
    remote.KINDS[resource.kind].delete(resource, ALLOWED)


# Docker


@dataclass
class Made:
    engine: docker_sdk.DockerClient
    image: str
    labels: dict[str, str]

    def container(self, **options: Any) -> Any:
        options["labels"] = self.labels | options.get("labels", {})
        options.setdefault("name", f"remote-{uuid.uuid4().hex[:12]}")
        return self.engine.containers.run(self.image, detach=True, **options)

    def has(self, full_id: str) -> bool:
        return any(each["Id"] == full_id for each in self.engine.api.containers(all=True))


@pytest.fixture
def made(docker_engine: docker_sdk.DockerClient, busybox: str, labels: dict[str, str]) -> Made:
    return Made(docker_engine, busybox, labels)


def test_docker_containers_are_deleted_with_their_anonymous_volumes_and_proven_gone(
    made: Made, sshd: Sshd, at: Callable[..., dict[str, str]]
) -> None:
    one, two = made.container(mounts=[docker_sdk.types.Mount("/data", None)]), made.container()
    volume = one.attrs["Mounts"][0]["Name"]
    record = deployment({"container_id": [one.name, two.id]}, at(sshd, runtime="docker"))
    for resource in remote.discover(record, ALLOWED):
        here = seen(resource)
        assert here.state == "present"
        assert here.place["engine"] == made.engine.info()["ID"]
        delete(here)
        gone = look(here)
        assert (gone.state, gone.unproven) == ("gone", False)
        delete(here)
    assert not made.has(one.id)
    assert not made.has(two.id)
    assert volume not in [each["Name"] for each in made.engine.api.volumes()["Volumes"] or []]


def test_a_never_seen_container_is_gone_only_if_the_record_says_the_runtime(
    docker_engine: docker_sdk.DockerClient, sshd: Sshd, at: Callable[..., dict[str, str]]
) -> None:
    ids = {"container_id": "never-there"}
    said = look(only(remote.discover(deployment(ids, at(sshd, runtime="docker")), ALLOWED)))
    assumed = look(only(remote.discover(deployment(ids, at(sshd)), ALLOWED)))
    assert (said.state, said.unproven) == ("gone", False)
    assert (assumed.state, assumed.unproven) == ("gone", True)
    assert "runtime" in assumed.proof


def test_a_docker_container_that_got_the_name_is_let_alone(
    made: Made, sshd: Sshd, at: Callable[..., dict[str, str]]
) -> None:
    ours = made.container()
    metadata = at(sshd, runtime="docker")
    resource = seen(only(remote.discover(deployment({"container_id": ours.name}, metadata), ALLOWED)))
    ours.remove(force=True)
    other = made.container(name=ours.name)
    again = only(remote.discover(deployment({"container_id": ours.name}, metadata, [resource]), ALLOWED))
    delete(again)
    assert look(again).state == "gone"
    assert f"another one now, {other.id[:12]}" in look(again).proof
    assert made.has(other.id)


def test_a_name_that_only_begins_an_id_means_nothing(made: Made, sshd: Sshd, at: Callable[..., dict[str, str]]) -> None:
    container = made.container()
    record = deployment({"container_id": container.id[:6]}, at(sshd, runtime="docker"))
    delete(only(remote.discover(record, ALLOWED)))
    assert made.has(container.id)


def test_another_docker_engine_on_the_machine_is_refused(
    made: Made, sshd: Sshd, at: Callable[..., dict[str, str]]
) -> None:
    container = made.container()
    resource = only(remote.discover(deployment({"container_id": container.name}, at(sshd)), ALLOWED))
    elsewhere = replace(resource, place=resource.place | {"engine": "ELSE:WHERE"})
    for call in (look, delete):
        with pytest.raises(Refused) as refusal:
            call(elsewhere)
        assert refusal.value.error_class == "not_ours"
    assert made.has(container.id)


def test_a_task_of_a_swarm_service_is_refused(made: Made, sshd: Sshd, at: Callable[..., dict[str, str]]) -> None:
    container = made.container(labels={"com.docker.swarm.service.id": "service-1"})
    resource = only(remote.discover(deployment({"container_id": container.name}, at(sshd)), ALLOWED))
    with pytest.raises(Refused, match="service-1") as refusal:
        delete(resource)
    assert refusal.value.error_class == "protected"
    assert made.has(container.id)


def test_what_was_learned_elsewhere_is_forgotten_when_the_record_is_amended(sshd: Sshd) -> None:
    metadata = {"ssh_host": "127.0.0.1", "ssh_user": "root", "runtime": "docker"}
    before = only(remote.discover(deployment({"container_id": "c"}, metadata), ALLOWED))
    learned = replace(before, place=before.place | {"identity": "a" * 64, "engine": "X"})
    same = only(remote.discover(deployment({"container_id": "c"}, metadata, [learned]), ALLOWED))
    other = only(
        remote.discover(deployment({"container_id": "c"}, metadata | {"runtime": "podman"}, [learned]), ALLOWED)
    )
    assert (same.place["identity"], same.place["engine"]) == ("a" * 64, "X")
    assert (other.place["identity"], other.place["engine"]) == ("", "")


def test_a_docker_daemon_that_is_down_is_unreachable_never_gone(
    docker_engine: docker_sdk.DockerClient, make_sshd: Callable[..., Sshd], at: Callable[..., dict[str, str]]
) -> None:
    server = make_sshd(f"SetEnv PATH={PATH} DOCKER_HOST=unix:///nowhere.sock")
    resource = only(remote.discover(deployment({"container_id": "c"}, at(server, runtime="docker")), ALLOWED))
    for call in (look, delete):
        with pytest.raises(Unreachable):
            call(resource)


def test_a_machine_without_the_runtime_is_refused(
    make_sshd: Callable[..., Sshd], at: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    server = make_sshd(f"SetEnv PATH={tmp_path}")
    for runtime in ("docker", "podman"):
        resource = only(remote.discover(deployment({"container_id": "c"}, at(server, runtime=runtime)), ALLOWED))
        with pytest.raises(Refused, match="runtime") as refusal:
            look(resource)
        assert refusal.value.error_class == "bad_id"


# containerd


@pytest.fixture
def containerd(docker_engine: docker_sdk.DockerClient, busybox: str) -> Iterator[Callable[..., Any]]:
    """Calls ctr on the real containerd, in a namespace of the test's own that holds the image."""
    ctr = program("ctr", "containerd")
    address = next((each for each in CONTAINERD_SOCKETS if Path(each).exists()), "") or lacking("no containerd runs")
    namespace = f"test-{uuid.uuid4().hex[:8]}"
    env = os.environ | {"CONTAINERD_ADDRESS": address}

    def call(*words: str, check: bool = True, stdin: bytes | None = None) -> str:
        command = [ctr, "--namespace", namespace, *words]
        return subprocess.run(command, check=check, capture_output=True, env=env, input=stdin).stdout.decode()

    call("images", "import", "-", stdin=b"".join(docker_engine.images.get(busybox).save(named=busybox)))
    call.namespace, call.address, call.image = namespace, address, f"docker.io/{busybox}"  # type: ignore[attr-defined]
    yield call
    for name in call("containers", "ls", "-q").split():
        call("tasks", "delete", "--force", name, check=False)
        call("containers", "delete", name)
    for name in call("images", "ls", "-q").split():
        call("images", "rm", "--sync", name)
    call("namespaces", "remove", namespace, check=False)


def test_a_containerd_container_is_deleted_with_its_task_and_snapshot(
    containerd: Any, make_sshd: Callable[..., Sshd], at: Callable[..., dict[str, str]]
) -> None:
    containerd("run", "--detach", containerd.image, "ours")
    server = make_sshd(f"SetEnv PATH={PATH} CONTAINERD_ADDRESS={containerd.address}")
    metadata = at(server, runtime="containerd", namespace=containerd.namespace)
    resource = seen(only(remote.discover(deployment({"container_id": "ours"}, metadata), ALLOWED)))
    assert resource.state == "present"
    delete(resource)
    assert (look(resource).state, look(resource).unproven) == ("gone", False)
    assert containerd("containers", "ls", "-q") == ""
    assert containerd("tasks", "ls", "-q") == ""
    assert "ours" not in containerd("snapshots", "ls")
    delete(resource)


def test_a_containerd_container_that_got_the_id_is_let_alone(
    containerd: Any, make_sshd: Callable[..., Sshd], at: Callable[..., dict[str, str]]
) -> None:
    containerd("containers", "create", containerd.image, "ours")
    server = make_sshd(f"SetEnv PATH={PATH} CONTAINERD_ADDRESS={containerd.address}")
    metadata = at(server, runtime="containerd", namespace=containerd.namespace)
    resource = seen(only(remote.discover(deployment({"container_id": "ours"}, metadata), ALLOWED)))
    containerd("containers", "delete", "ours")
    containerd("containers", "create", containerd.image, "ours")
    delete(resource)
    assert look(resource).state == "gone"
    assert "another one" in look(resource).proof
    assert containerd("containers", "ls", "-q").split() == ["ours"]


def test_a_namespace_that_the_record_does_not_say_proves_nothing(
    containerd: Any, make_sshd: Callable[..., Sshd], at: Callable[..., dict[str, str]]
) -> None:
    containerd("containers", "create", containerd.image, "ours")
    server = make_sshd(f"SetEnv PATH={PATH} CONTAINERD_ADDRESS={containerd.address}")
    record = deployment({"container_id": "ours"}, at(server, runtime="containerd"))
    assert look(only(remote.discover(record, ALLOWED))).unproven


def test_a_containerd_that_is_down_is_unreachable_never_gone(
    containerd: Any, make_sshd: Callable[..., Sshd], at: Callable[..., dict[str, str]]
) -> None:
    server = make_sshd(f"SetEnv PATH={PATH} CONTAINERD_ADDRESS=/nowhere.sock")
    metadata = at(server, runtime="containerd", namespace="default")
    resource = only(remote.discover(deployment({"container_id": "ours"}, metadata), ALLOWED))
    for call in (look, delete):
        with pytest.raises(Unreachable):
            call(resource)


# Podman


@pytest.fixture
def podman_image(docker_engine: docker_sdk.DockerClient, busybox: str) -> Iterator[str]:
    """The image, known to a real Podman."""
    podman = shutil.which("podman")
    if not podman:
        pytest.skip("podman isn't there (apt: podman); its stand-in is tested anyway")
    archive = b"".join(docker_engine.images.get(busybox).save(named=busybox))
    loaded = subprocess.run([podman, "load", "--quiet"], check=True, capture_output=True, input=archive)
    name = loaded.stdout.decode().split()[-1]
    yield name
    subprocess.run([podman, "rmi", "--force", name], check=True, capture_output=True)


def test_a_real_podman_container_is_deleted_and_proven_gone(
    podman_image: str, sshd: Sshd, at: Callable[..., dict[str, str]]
) -> None:
    name = f"remote-{uuid.uuid4().hex[:8]}"
    create = ["podman", "create", "--name", name, "--network", "none", "--volume", "/data", podman_image]
    full_id = subprocess.run(create, check=True, capture_output=True, text=True).stdout.strip()
    resource = seen(only(remote.discover(deployment({"container_id": name}, at(sshd, runtime="podman")), ALLOWED)))
    assert (resource.state, resource.place["identity"]) == ("present", full_id)
    delete(resource)
    assert (look(resource).state, look(resource).unproven) == ("gone", False)
    delete(resource)
    assert subprocess.run(["podman", "container", "exists", full_id], check=False).returncode == 1


def test_a_podman_container_is_deleted_by_its_full_id(machine: Machine, at: Callable[..., dict[str, str]]) -> None:
    machine.programs.program("podman", PODMAN)
    machine.programs.containers = [f"{FULL_ID}|ours|Up 2 hours|", f"{OTHER_ID}|theirs|Up 2 hours|"]
    record = deployment({"container_id": "ours"}, at(machine.server, runtime="podman"))
    resource = seen(only(remote.discover(record, ALLOWED)))
    assert resource.place["engine"] == "/home/user/.local/share/containers/storage"
    delete(resource)
    assert look(resource).state == "gone"
    assert machine.programs.containers == [f"{OTHER_ID}|theirs|Up 2 hours|"]
    assert f"podman rm --force --ignore --volumes {FULL_ID}" in machine.programs.asked


def test_a_broken_podman_is_unreachable_never_gone(machine: Machine, at: Callable[..., dict[str, str]]) -> None:
    machine.programs.program("podman", PODMAN)
    record = deployment({"container_id": "ours"}, at(machine.server, runtime="podman"))
    resource = only(remote.discover(record, ALLOWED))
    with machine.programs.failing("podman", "ps", "echo 'Error: database is locked' >&2; exit 125"):
        for call in (look, delete):
            with pytest.raises(Unreachable, match="database is locked"):
                call(resource)


@pytest.mark.parametrize("listing", ["", "no list", f"{FULL_ID}|ours|Removing|"])
def test_what_a_list_says(machine: Machine, at: Callable[..., dict[str, str]], listing: str) -> None:
    machine.programs.program("podman", PODMAN)
    machine.programs.containers = [listing] if listing else []
    record = deployment({"container_id": "ours"}, at(machine.server, runtime="podman"))
    resource = only(remote.discover(record, ALLOWED))
    if listing == "no list":
        with pytest.raises(Unreachable):
            look(resource)
    else:
        assert look(resource).state == ("leaving" if listing else "gone")


@pytest.mark.parametrize(
    ("exit_", "said", "expected"),
    [
        (0, "Error response from daemon: driver failed to remove root filesystem", None),
        (1, "Error response from daemon: No such container: ours", None),
        (1, "Error response from daemon: removal of container ours is already in progress", Busy),
        (1, "Error response from daemon: driver failed to remove root filesystem", Unreachable),
        (1, "permission denied while trying to connect to the Docker daemon socket", Refused),
    ],
)
def test_what_docker_rm_says_never_counts_as_gone(
    machine: Machine, at: Callable[..., dict[str, str]], exit_: int, said: str, expected: type[Exception] | None
) -> None:
    machine.programs.program("docker", DOCKER)
    machine.programs.containers = [f"{FULL_ID}|ours|Up 2 hours|"]
    record = deployment({"container_id": "ours"}, at(machine.server))
    resource = only(remote.discover(record, ALLOWED))
    with machine.programs.failing("docker", "rm", f"echo '{said}' >&2; exit {exit_}"):
        if expected:
            with pytest.raises(expected):
                delete(resource)
        else:
            delete(resource)
    assert look(resource).state == "present"


# systemd


def unit_resource(machine: Machine, at: Callable[..., dict[str, str]], unit: str) -> Resource:
    return only(remote.discover(deployment({"unit": unit}, at(machine.server)), ALLOWED))


def test_a_unit_is_stopped_disabled_and_its_file_removed(machine: Machine, at: Callable[..., dict[str, str]]) -> None:
    file = machine.programs.units / "ours.service"
    machine.programs.unit("ours.service")
    resource = unit_resource(machine, at, "ours.service")
    assert look(resource).state == "present"
    delete(resource)
    gone = look(resource)
    assert (gone.state, gone.unproven) == ("gone", False)
    assert "not-found" in gone.proof
    assert not file.exists()
    delete(resource)


def test_a_unit_that_stops_slowly_is_leaving_and_keeps_its_file_till_then(
    machine: Machine, at: Callable[..., dict[str, str]]
) -> None:
    file = machine.programs.units / "ours.service"
    machine.programs.unit("ours.service")
    (machine.programs.folder / "slow").touch()
    resource = unit_resource(machine, at, "ours.service")
    delete(resource)
    assert look(resource).state == "leaving"
    assert file.exists()
    (machine.programs.folder / "slow").unlink()
    machine.programs.unit("ours.service", active="failed", enabled="disabled")
    assert look(resource).state == "present"
    delete(resource)
    assert look(resource).state == "gone"


def test_a_unit_of_a_package_is_refused(machine: Machine, at: Callable[..., dict[str, str]]) -> None:
    machine.programs.unit("ssh.service", file="/usr/lib/systemd/system/ssh.service")
    with pytest.raises(Refused, match="packages") as refusal:
        delete(unit_resource(machine, at, "ssh.service"))
    assert refusal.value.error_class == "protected"
    assert all(asked.startswith("systemctl show") for asked in machine.programs.asked)


def test_an_instance_goes_but_its_template_stays(machine: Machine, at: Callable[..., dict[str, str]]) -> None:
    template = machine.programs.units / "ours@.service"
    machine.programs.unit("ours@1.service", file="/etc/systemd/system/ours@.service")
    resource = unit_resource(machine, at, "ours@1.service")
    assert look(resource).state == "present"
    delete(resource)
    assert look(resource).state == "gone"
    assert template.exists()


def test_a_unit_without_a_file_that_still_runs_is_there(machine: Machine, at: Callable[..., dict[str, str]]) -> None:
    machine.programs.unit("ours.service", file="")
    state = machine.programs.state_of("ours.service")
    state.write_text(state.read_text().replace("LoadState=loaded", "LoadState=not-found"))
    resource = unit_resource(machine, at, "ours.service")
    assert look(resource).state == "present"
    delete(resource)
    assert look(resource).state == "gone"


def test_an_unknown_unit_is_gone(machine: Machine, at: Callable[..., dict[str, str]]) -> None:
    resource = unit_resource(machine, at, "never.service")
    assert (look(resource).state, look(resource).unproven) == ("gone", False)
    delete(resource)


def test_a_systemd_that_does_not_answer_is_unreachable_never_gone(
    machine: Machine, at: Callable[..., dict[str, str]]
) -> None:
    resource = unit_resource(machine, at, "ours.service")
    with machine.programs.failing("systemctl", "show", "echo 'Failed to connect to bus: No such file' >&2; exit 1"):
        for call in (look, delete):
            with pytest.raises(Unreachable, match="connect to bus"):
                call(resource)


def test_others_than_root_use_sudo_without_a_password() -> None:
    reached = ssh_machine.Machine(None, "ubuntu", ALLOWED)  # type: ignore[arg-type]
    assert reached.as_root("systemctl", "stop") == ["sudo", "-n", "systemctl", "stop"]
    assert reached._replace(user="root").as_root("systemctl", "stop") == ["systemctl", "stop"]


def test_sudo_that_asks_for_a_password_is_refused(machine: Machine, at: Callable[..., dict[str, str]]) -> None:
    machine.programs.unit("ours.service")
    with (
        machine.programs.failing("sudo", "-n", "echo 'sudo: a password is required' >&2; exit 1"),
        pytest.raises(Refused) as refusal,
    ):
        delete(unit_resource(machine, at, "ours.service"))
    assert refusal.value.error_class == "credentials"


# The way there


def test_a_jump_host_leads_to_the_machine(
    made: Made, make_sshd: Callable[..., Sshd], put_secret: Callable[..., str]
) -> None:
    container = made.container()
    bastion, target = make_sshd(), make_sshd()
    secret = put_secret(
        "ssh/both",
        private_key=target.private_key,
        host_key=target.host_key,
        jump_private_key=bastion.private_key,
        jump_host_key=bastion.host_key,
    )
    metadata = {
        "ssh_host": "127.0.0.1",
        "ssh_user": target.user,
        "ssh_port": str(target.port),
        "ssh_key_secret": secret,
        "jump_host": "127.0.0.1",
        "jump_port": str(bastion.port),
    }
    resource = only(remote.discover(deployment({"container_id": container.name}, metadata), ALLOWED))
    delete(resource)
    assert not made.has(container.id)
    assert "Accepted publickey" in (bastion.folder / "log").read_text()


def test_a_key_file_and_a_host_key_of_the_record_lead_there(docker_engine: docker_sdk.DockerClient, sshd: Sshd) -> None:
    metadata = {
        "ssh_host": "127.0.0.1",
        "ssh_user": sshd.user,
        "ssh_port": str(sshd.port),
        "runtime": "docker",
        "ssh_key_path": str(sshd.folder / "user"),
        "ssh_host_key": sshd.host_key,
    }
    assert look(only(remote.discover(deployment({"container_id": "c"}, metadata), ALLOWED))).state == "gone"


def test_another_machine_than_the_pinned_one_is_refused(
    made: Made, sshd: Sshd, at: Callable[..., dict[str, str]], make_key: Callable[..., tuple[str, str]]
) -> None:
    container = made.container()
    record = deployment({"container_id": container.name}, at(sshd, ssh_host_key=make_key()[1]))
    resource = only(remote.discover(record, ALLOWED))
    for call in (look, delete):
        with pytest.raises(Refused, match="another host key") as refusal:
            call(resource)
        assert refusal.value.error_class == "credentials"
    assert made.has(container.id)


def test_a_machine_that_is_not_there_is_unreachable(sshd: Sshd, at: Callable[..., dict[str, str]]) -> None:
    metadata = at(sshd) | {"ssh_port": str(free_port())}
    with pytest.raises(Unreachable):
        look(only(remote.discover(deployment({"container_id": "c"}, metadata), ALLOWED)))


BASE = {"ssh_host": "127.0.0.1", "ssh_user": "root", "ssh_key_path": "/nowhere/key", "ssh_host_key": "ssh-ed25519 AAAA"}


@pytest.mark.parametrize(
    ("more", "settings", "error_class"),
    [
        ({"ssh_host": "10.0.0.1"}, ALLOWED, "bad_id"),
        ({"jump_host": "10.0.0.1"}, ALLOWED, "bad_id"),
        ({"ssh_key_secret": "theirs/key"}, ALLOWED, "credentials"),
        ({}, Settings(allowed_hosts=["**"], allowed_key_files=["/etc/keys/*"]), "credentials"),
        ({"ssh_key_path": "/a/../b"}, ALLOWED, "credentials"),
        ({}, ALLOWED, "credentials"),
        ({"ssh_key_path": ""}, ALLOWED, "missing_id"),
    ],
    ids=["host", "jump host", "secret", "key file", "dots", "no file", "no key"],
)
def test_what_no_setting_allows_or_nothing_provides_is_refused(
    more: dict[str, str], settings: Settings, error_class: str
) -> None:
    resource = only(remote.discover(deployment({"container_id": "c"}, BASE | more), settings))
    with pytest.raises(Refused) as refusal:
        remote.KINDS["ssh:container"].state(resource, settings)
    assert refusal.value.error_class == error_class


def test_a_host_key_must_be_pinned(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("key")
    for more in ({"ssh_host_key": ""}, {"jump_host": "127.0.0.1"}):
        metadata = BASE | {"ssh_key_path": str(tmp_path / "key")} | more
        with pytest.raises(Refused, match="host key to pin") as refusal:
            look(only(remote.discover(deployment({"container_id": "c"}, metadata), ALLOWED)))
        assert refusal.value.error_class == "missing_id"


@pytest.mark.parametrize("missing", ["ssh_host", "ssh_user"])
def test_a_record_without_a_machine_is_refused(missing: str) -> None:
    metadata = {key: value for key, value in BASE.items() if key != missing}
    with pytest.raises(Refused) as refusal:
        remote.discover(deployment({"container_id": "c"}, metadata), ALLOWED)
    assert refusal.value.error_class == "missing_id"


def test_a_record_that_names_nothing_is_refused() -> None:
    with pytest.raises(Refused) as refusal:
        remote.discover(deployment({}, BASE), ALLOWED)
    assert refusal.value.error_class == "missing_id"


@pytest.mark.parametrize(
    ("ids", "more"),
    [
        ({"container_id": "-f"}, {}),
        ({"container_id": "a;reboot"}, {}),
        ({"container_id": ""}, {}),
        ({"unit": "a.timer"}, {}),
        ({"unit": "../a.service"}, {}),
        ({"unit": "--all.service"}, {}),
        ({"unit": "*.service"}, {}),
        ({"container_id": "c"}, {"runtime": "systemd"}),
        ({"container_id": "c"}, {"runtime": "lxc"}),
        ({"container_id": "c"}, {"namespace": "-n"}),
        ({"container_id": "c"}, {"ssh_host": "-oProxyCommand=x"}),
        ({"container_id": "c"}, {"ssh_user": "a b"}),
        ({"container_id": "c"}, {"ssh_port": "0"}),
    ],
    ids=json.dumps,
)
def test_a_malformed_record_is_refused_before_any_call(ids: dict[str, str], more: dict[str, str]) -> None:
    with pytest.raises(Refused) as refusal:
        remote.discover(deployment(ids, BASE | more), ALLOWED)
    assert refusal.value.error_class == "bad_id"


class StandIn(SshTarget):
    deployment_type = "SshRemote"


class Real(RealSshTarget):
    deployment_type = "SshRemote"


TARGETS = [StandIn, Real]
