"""LocalDocker against a real engine, reached in every way; and against a stand-in for what no real one does on demand."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import docker as docker_sdk
import pytest
from msgspec.structs import replace

from tests.certificates import Authority
from tests.cleanup.providers.local.docker_target import DockerTarget, RealDocker
from tests.cleanup.providers.local.engines import SOCKET, Engine
from tests.in_time import in_time
from tests.real_targets import Sshd, free_port
from tests.standin import Fault, Reply
from tracker.cleanup.core import engine as cleanup
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.providers.local import docker
from tracker.cleanup.transport import docker as transport
from tracker.model.deployment import Cleanup, Deployment, Resource
from tracker.model.settings import LocalPlace, Settings


def deployment(
    ids: Mapping[str, str | list[str]], metadata: dict[str, str] | None = None, resources: list[Resource] | None = None
) -> Deployment:
    return Deployment(
        id="dep-1",
        blueprint_id="bp-1",
        deployment_type="LocalDocker",
        resource_ids=dict(ids),
        metadata=metadata or {},
        resources=resources or [],
        deployed_at="2026-01-01T00:00:00Z",
        registered_at="2026-01-01T00:00:00Z",
        generation="g",
    )


@pytest.fixture
def settings(docker_engine: docker_sdk.DockerClient) -> Settings:
    """Those of a stack on this machine."""
    return Settings(local_place=LocalPlace(host="here", boot_id="b", docker_engine=docker_engine.info()["ID"]))


@dataclass
class Made:
    """Makes things on the engine, all of them labelled."""

    engine: docker_sdk.DockerClient
    image: str
    labels: dict[str, str]
    count: int = 0

    def name(self, noun: str) -> str:
        self.count += 1
        return f"{noun}-{self.labels['tracker.test'][:8]}-{self.count}"

    def container(self, **options: Any) -> Any:
        options["labels"] = self.labels | options.get("labels", {})
        return self.engine.containers.run(self.image, detach=True, **({"name": self.name("container")} | options))

    def network(self) -> Any:
        return self.engine.networks.create(self.name("network"), labels=self.labels)

    def volume(self) -> Any:
        return self.engine.volumes.create(self.name("volume"), labels=self.labels)

    def has_container(self, name: str) -> bool:
        return bool(self.engine.api.containers(all=True, filters={"id": name})) or any(
            f"/{name}" in each["Names"] for each in self.engine.api.containers(all=True)
        )

    def has_volume(self, name: str) -> bool:
        return any(each["Name"] == name for each in self.engine.api.volumes()["Volumes"] or [])

    def has_network(self, name: str) -> bool:
        return any(each["Name"] == name for each in self.engine.api.networks())


@pytest.fixture
def made(docker_engine: docker_sdk.DockerClient, busybox: str, labels: dict[str, str]) -> Made:
    return Made(docker_engine, busybox, labels)


def seen(resource: Resource, settings: Settings) -> Resource:
    """As the cleanup would remember it after a look."""
    look = docker.KINDS[resource.kind].state(resource, settings)
    return replace(
        resource, state=look.state, proof=look.proof, detail=look.detail, place=resource.place | look.place, seen=True
    )


def delete(resource: Resource, settings: Settings) -> None:
    docker.KINDS[resource.kind].delete(resource, settings)


def only(resources: list[Resource]) -> Resource:
    (resource,) = resources
    return resource


def by_key(resources: list[Resource]) -> dict[tuple[str, str], Resource]:
    return {resource.key: resource for resource in resources}


# What it does on a real engine


def test_containers_network_and_volume_are_deleted_stage_by_stage_and_proven_gone(
    made: Made, settings: Settings
) -> None:
    network, volume = made.network(), made.volume()
    mount = {volume.name: {"bind": "/data", "mode": "rw"}}
    one, two = (made.container(network=network.name, volumes=mount) for _ in range(2))
    record = deployment({"container_id": [one.name, two.id], "network": network.name, "volume": [volume.name]})

    resources = docker.discover(record, settings)

    stages = [(r.kind, r.id, r.stage, r.named_by) for r in resources]
    assert stages == [
        ("docker:container", one.name, 0, "container_id"),
        ("docker:container", two.id, 0, "container_id"),
        ("docker:network", network.name, 1, "network"),
        ("docker:volume", volume.name, 2, "volume"),
    ]
    for resource in resources:
        here = seen(resource, settings)
        assert here.state == "present"
        delete(here, settings)
        gone = seen(here, settings)
        assert gone.state == "gone"
        assert f"engine {settings.local_place.docker_engine}" in gone.proof  # type: ignore[union-attr]
        delete(gone, settings)
    assert not made.has_container(one.id)
    assert not made.has_container(two.id)
    assert not made.has_network(network.name)
    assert not made.has_volume(volume.name)


def test_the_cleanup_leaves_nothing_but_what_is_kept(made: Made, settings: Settings) -> None:
    network, volume, kept = made.network(), made.volume(), made.volume()
    mounts = [docker_sdk.types.Mount("/data", volume.name), docker_sdk.types.Mount("/kept", kept.name)]
    container = made.container(network=network.name, mounts=mounts)
    ids = {"container_id": container.name, "network": network.name, "volume": volume.name}
    record = deployment(ids)
    record = replace(record, resources=cleanup.discover(record, settings).resources)
    for _ in range(5):
        step = cleanup.step(record, settings, clock=lambda: datetime.now(UTC), time_left=lambda: 300)
        assert (step.refusals, step.failures) == ([], [])
        record = replace(record, resources=step.resources)
    assert {resource.id: resource.state for resource in record.resources} == {
        container.name: "gone",
        network.name: "gone",
        volume.name: "gone",
        kept.name: "kept",
    }
    assert cleanup.discover(record, settings).resources == record.resources
    assert made.has_volume(kept.name)


def test_a_stopped_container_is_deleted(made: Made, settings: Settings) -> None:
    container = made.container()
    container.kill()
    resource = only(docker.discover(deployment({"container_id": container.name}), settings))
    delete(resource, settings)
    assert not made.has_container(container.id)


def test_not_found_on_the_known_engine_is_gone(docker_engine: docker_sdk.DockerClient, settings: Settings) -> None:
    record = deployment({"container_id": "never-there"})
    for where, known in ((record, settings), (with_metadata(record, docker_engine=engine_id(settings)), Settings())):
        look = docker.KINDS["docker:container"].state(only(docker.discover(where, known)), known)
        assert look.state == "gone"
        assert not look.unproven


def test_not_found_on_an_engine_that_nothing_vouches_for_is_unproven(docker_engine: docker_sdk.DockerClient) -> None:
    resource = only(docker.discover(deployment({"container_id": "never-there"}), Settings()))
    look = docker.KINDS["docker:container"].state(resource, Settings())
    assert (look.state, look.unproven) == ("gone", True)


def test_a_container_seen_once_vouches_for_its_engine(made: Made) -> None:
    container = made.container()
    record = deployment({"container_id": container.name, "volume": "never-there"})
    resources = docker.discover(record, Settings())
    volume = by_key(resources)["docker:volume", "never-there"]
    assert not docker.KINDS["docker:volume"].state(volume, Settings()).unproven
    container.remove(force=True)
    again = only(docker.discover(deployment({"container_id": container.name}, resources=resources[:1]), Settings()))
    look = docker.KINDS["docker:container"].state(again, Settings())
    assert (look.state, look.unproven) == ("gone", False)


def test_another_engine_is_refused(made: Made, settings: Settings) -> None:
    container = made.container()
    record = deployment({"container_id": container.name}, {"docker_engine": "ELSE:WHERE"})
    resource = Resource("docker:container", container.name, {**place(), "engine": "ELSE:WHERE"})
    for call in (
        lambda: docker.discover(record, settings),
        lambda: docker.KINDS["docker:container"].state(resource, settings),
        lambda: docker.KINDS["docker:container"].delete(resource, settings),
    ):
        with pytest.raises(Refused) as refusal:
            call()
        assert refusal.value.error_class == "not_ours"
    assert made.has_container(container.id)


def test_a_container_that_got_the_name_is_let_alone(made: Made, settings: Settings) -> None:
    ours = made.container()
    resource = only(docker.discover(deployment({"container_id": ours.name}), settings))
    ours.remove(force=True)
    other = made.container(name=ours.name)

    again = only(docker.discover(deployment({"container_id": ours.name}, resources=[resource]), settings))
    delete(again, settings)
    look = docker.KINDS["docker:container"].state(again, settings)

    assert look.state == "gone"
    assert f"{ours.name} is another one now, {other.id[:12]}" in look.proof
    assert made.has_container(other.id)


def test_a_network_that_got_the_name_is_let_alone(made: Made, settings: Settings) -> None:
    ours = made.network()
    resource = seen(Resource("docker:network", ours.name, place()), settings)
    ours.remove()
    made.engine.networks.create(ours.name, labels=made.labels)
    delete(resource, settings)
    assert seen(resource, settings).state == "gone"
    assert made.has_network(ours.name)


def test_a_renamed_container_is_still_ours(made: Made, settings: Settings) -> None:
    container = made.container()
    resource = only(docker.discover(deployment({"container_id": container.name}), settings))
    container.rename(made.name("renamed"))
    delete(resource, settings)
    assert seen(resource, settings).state == "gone"
    assert not made.has_container(container.id)


def test_a_name_that_only_begins_another_id_means_nothing(made: Made, settings: Settings) -> None:
    container = made.container()
    assert made.engine.containers.get(container.id[:6]).id == container.id, "the engine itself would take it"
    resource = only(docker.discover(deployment({"container_id": container.id[:6]}), settings))
    delete(resource, settings)
    assert docker.KINDS["docker:container"].state(resource, settings).state == "gone"
    assert made.has_container(container.id)


def test_a_short_id_of_twelve_digits_means_its_container(made: Made, settings: Settings) -> None:
    container = made.container()
    resource = only(docker.discover(deployment({"container_id": container.id[:12]}), settings))
    delete(resource, settings)
    assert seen(resource, settings).state == "gone"
    assert not made.has_container(container.id)


def test_a_volume_in_use_waits(made: Made, settings: Settings) -> None:
    volume = made.volume()
    user = made.container(volumes={volume.name: {"bind": "/data", "mode": "rw"}})
    resource = Resource("docker:volume", volume.name, place())
    with pytest.raises(Busy, match="in use"):
        delete(resource, settings)
    user.remove(force=True)
    delete(resource, settings)
    assert not made.has_volume(volume.name)


def test_a_network_with_endpoints_waits(made: Made, settings: Settings) -> None:
    network = made.network()
    user = made.container(network=network.name)
    resource = Resource("docker:network", network.name, place())
    with pytest.raises(Busy, match="active endpoints"):
        delete(resource, settings)
    user.remove(force=True)
    delete(resource, settings)
    assert not made.has_network(network.name)


@pytest.mark.parametrize("name", ["bridge", "host", "none"])
def test_a_network_that_comes_with_the_engine_is_refused(made: Made, settings: Settings, name: str) -> None:
    with pytest.raises(Refused) as refusal:
        docker.discover(deployment({"container_id": "c", "network": name}), settings)
    assert refusal.value.error_class == "bad_id"
    full_id = made.engine.api.inspect_network(name)["Id"]
    with pytest.raises(Refused) as refusal:
        delete(Resource("docker:network", full_id, place()), settings)
    assert refusal.value.error_class == "protected"
    assert made.has_network(name)


def test_what_the_record_does_not_name_is_kept_but_anonymous_volumes_go(made: Made, settings: Settings) -> None:
    network, volume = made.network(), made.volume()
    container = made.container(
        network=network.name,
        mounts=[
            docker_sdk.types.Mount("/data", volume.name),
            docker_sdk.types.Mount("/scratch", None),
            docker_sdk.types.Mount("/etc/here", "/etc", type="bind"),
        ],
    )
    anonymous = next(m["Name"] for m in container.attrs["Mounts"] if m["Destination"] == "/scratch")

    found = by_key(docker.discover(deployment({"container_id": container.name}), settings))

    assert {key: resource.state for key, resource in found.items()} == {
        ("docker:container", container.name): "unseen",
        ("docker:network", network.name): "kept",
        ("docker:volume", volume.name): "kept",
        ("docker:volume", anonymous): "unseen",
    }
    assert "delete_dependents" in found["docker:volume", volume.name].detail
    assert container.id[:12] in found["docker:network", network.name].detail
    delete(found["docker:container", container.name], settings)
    assert seen(found["docker:volume", anonymous], settings).state == "gone"
    assert made.has_volume(volume.name)
    assert made.has_network(network.name)


def test_the_networks_of_the_engine_are_no_dependents(made: Made, settings: Settings) -> None:
    assert len(docker.discover(deployment({"container_id": made.container().name}), settings)) == 1


def test_named_volumes_go_too_when_all_dependents_should_but_networks_never(made: Made, settings: Settings) -> None:
    network, volume = made.network(), made.volume()
    container = made.container(network=network.name, volumes={volume.name: {"bind": "/data", "mode": "rw"}})
    record = deployment({"container_id": container.name}, {"delete_dependents": "all"})
    found = by_key(docker.discover(record, settings))
    assert found["docker:volume", volume.name].state == "unseen"
    assert found["docker:network", network.name].state == "kept"
    for kind, name in (("docker:container", container.name), ("docker:volume", volume.name)):
        delete(found[kind, name], settings)
        assert seen(found[kind, name], settings).state == "gone"
    assert not made.has_volume(volume.name)


def test_a_volume_that_another_container_mounts_too_is_kept(made: Made, settings: Settings) -> None:
    volume = made.volume()
    mount = {volume.name: {"bind": "/data", "mode": "rw"}}
    container, other = made.container(volumes=mount), made.container(volumes=mount)
    record = deployment({"container_id": container.name}, {"delete_dependents": "all"})
    kept = by_key(docker.discover(record, settings))["docker:volume", volume.name]
    assert kept.state == "kept"
    assert other.id[:12] in kept.detail


def test_a_volume_that_only_our_containers_share_is_not_used_by_others(made: Made, settings: Settings) -> None:
    volume = made.volume()
    mount = {volume.name: {"bind": "/data", "mode": "rw"}}
    names = [made.container(volumes=mount).name for _ in range(2)]
    record = deployment({"container_id": names}, {"delete_dependents": "all"})
    assert by_key(docker.discover(record, settings))["docker:volume", volume.name].state == "unseen"


def test_an_anonymous_volume_that_another_container_borrows_is_kept(made: Made, settings: Settings) -> None:
    owner = made.container(mounts=[docker_sdk.types.Mount("/data", None)])
    made.container(volumes_from=[owner.name])
    volume = owner.attrs["Mounts"][0]["Name"]
    found = by_key(docker.discover(deployment({"container_id": owner.name}), settings))
    assert found["docker:volume", volume].state == "kept"
    delete(found["docker:container", owner.name], settings)
    assert made.has_volume(volume)


def test_what_was_replaced_in_the_record_is_still_found(made: Made, settings: Settings) -> None:
    old, new = made.container(), made.container()
    before = docker.discover(deployment({"container_id": old.name}), settings)
    found = docker.discover(deployment({"container_id": new.name}, resources=before), settings)
    assert [resource.id for resource in found] == [new.name, old.name]


def test_a_task_of_a_swarm_service_is_refused(made: Made, settings: Settings) -> None:
    container = made.container(labels={"com.docker.swarm.service.id": "service-1"})
    for call in (
        lambda: docker.discover(deployment({"container_id": container.name}), settings),
        lambda: delete(Resource("docker:container", container.name, place()), settings),
    ):
        with pytest.raises(Refused, match="service-1") as refusal:
            call()
        assert refusal.value.error_class == "protected"
    assert made.has_container(container.id)


def test_four_deletions_at_once_do_no_harm(made: Made, settings: Settings) -> None:
    container = made.container()
    resource = only(docker.discover(deployment({"container_id": container.name}), settings))
    wrong: list[Exception] = []

    def ask() -> None:
        try:
            delete(resource, settings)
        except Busy:
            pass
        except (Refused, Unreachable) as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert seen(resource, settings).state == "gone"


# What is refused before any call


def test_a_record_without_a_container_is_refused() -> None:
    for ids in ({}, {"volume": "v"}):
        with pytest.raises(Refused) as refusal:
            docker.discover(deployment(ids), Settings())
        assert refusal.value.error_class == "missing_id"


@pytest.mark.parametrize("key", ["container_id", "network", "volume"])
@pytest.mark.parametrize("name", ["", "-f", "a/b", "..", "a?force=1", "a b", "a\n", "ü", "%2e"])
def test_a_malformed_id_is_refused(key: str, name: str) -> None:
    with pytest.raises(Refused) as refusal:
        docker.discover(deployment({"container_id": "c", key: name}), Settings())
    assert refusal.value.error_class == "bad_id"


@pytest.mark.parametrize(
    "host",
    [
        "http://127.0.0.1:1",
        "unix:/x",
        "unix://x",
        "tcp://",
        "tcp://a b:1",
        "ssh://u@h/path",
        "ssh://u:p@h",
        "ssh://-o@h",
        "npipe://x",
    ],
)
def test_a_malformed_host_is_refused(host: str) -> None:
    record = deployment({"container_id": "c"}, {"docker_host": host, "docker_ssh_secret": "s"})
    with pytest.raises(Refused) as refusal:
        docker.discover(record, Settings(allowed_endpoints=["**"], allowed_secrets=["**"]))
    assert refusal.value.error_class == "bad_id"


@pytest.mark.parametrize(
    "host", ["tcp://10.0.0.1:2375", "tcp://localhost.example:2375", "ssh://u@h", "ssh://h", "tcp://h"]
)
def test_a_host_without_what_proves_it_is_refused(host: str) -> None:
    with pytest.raises(Refused) as refusal:
        docker.discover(deployment({"container_id": "c"}, {"docker_host": host}), Settings(allowed_endpoints=["**"]))
    assert refusal.value.error_class == "missing_id"


def test_a_host_that_no_setting_allows_is_refused() -> None:
    record = deployment({"container_id": "c"}, {"docker_host": "unix:///run/other.sock"})
    with pytest.raises(Refused, match="allowed"):
        docker.discover(record, Settings(allowed_endpoints=["tcp://**"]))


def test_a_secret_that_no_setting_allows_is_refused(put_secret: Callable[..., str]) -> None:
    name = put_secret("theirs", ca="c", cert="c", key="k")
    record = deployment({"container_id": "c"}, {"docker_host": "tcp://h:2376", "docker_tls_secret": name})
    with pytest.raises(Refused, match="allowed") as refusal:
        docker.discover(record, Settings(allowed_endpoints=["**"], allowed_secrets=["ours/*"]))
    assert refusal.value.error_class == "credentials"


# Who isn't there


def test_an_engine_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    for host in (f"unix://{tmp_path}/none.sock", f"tcp://127.0.0.1:{free_port()}"):
        record = deployment({"container_id": "c"}, {"docker_host": host})
        with pytest.raises(Unreachable):
            docker.discover(record, Settings(allowed_endpoints=["**"]))


# TLS: a real engine behind a proxy that asks for a certificate, as the engine itself would


@contextmanager
def tls_engine(authority: Authority, names: tuple[str, ...] = ("127.0.0.1",)) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.pem)
    context.load_cert_chain(*authority.files("server", names))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with closing(source), closing(sink):
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
            except OSError:
                return

    def relay(raw: socket.socket) -> None:
        try:
            outside = context.wrap_socket(raw, server_side=True)
        except OSError:
            raw.close()
            return
        inside = socket.socket(socket.AF_UNIX)
        inside.connect(SOCKET)
        threading.Thread(target=pump, args=(outside, inside), daemon=True).start()
        pump(inside, outside)

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=relay, args=(raw,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


OPEN = Settings(allowed_endpoints=["tcp://127.0.0.1:*", "tcp://localhost:*", "ssh://**"], allowed_secrets=["docker/*"])


def test_an_engine_is_reached_by_tls(made: Made, authority: Authority, put_secret: Callable[..., str]) -> None:
    container = made.container()
    secret = put_secret("docker/tls", ca=authority.pem, **authority.texts("client"))
    with tls_engine(authority) as port:
        metadata = {"docker_host": f"tcp://127.0.0.1:{port}", "docker_tls_secret": secret}
        resource = only(docker.discover(deployment({"container_id": container.name}, metadata), OPEN))
        assert resource.place["engine"] == made.engine.info()["ID"]
        delete(resource, OPEN)
        assert seen(resource, OPEN).state == "gone"
    assert not made.has_container(container.id)


def test_no_certificate_is_left_in_a_file(
    docker_engine: docker_sdk.DockerClient,
    authority: Authority,
    put_secret: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    secret = put_secret("docker/tls", ca=authority.pem, **authority.texts("client"))
    with tls_engine(authority) as port:
        metadata = {"docker_host": f"tcp://127.0.0.1:{port}", "docker_tls_secret": secret}
        docker.discover(deployment({"container_id": "c"}, metadata), OPEN)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("wrong", ["server's authority", "client's authority", "server's name"])
def test_certificates_that_do_not_fit_are_refused(
    docker_engine: docker_sdk.DockerClient,
    authority: Authority,
    put_secret: Callable[..., str],
    tmp_path: Path,
    wrong: str,
) -> None:
    other = Authority(tmp_path / "other")
    trusted = other if wrong == "server's authority" else authority
    shown = other if wrong == "client's authority" else authority
    secret = put_secret("docker/tls", ca=trusted.pem, **shown.texts("client"))
    names = ("example.org",) if wrong == "server's name" else ("127.0.0.1",)
    with tls_engine(authority, names) as port:
        metadata = {"docker_host": f"tcp://127.0.0.1:{port}", "docker_tls_secret": secret}
        with pytest.raises(Refused) as refusal:
            docker.discover(deployment({"container_id": "c"}, metadata), OPEN)
    assert refusal.value.error_class == "credentials"
    assert "PRIVATE" not in str(refusal.value)


def test_a_cut_handshake_is_unreachable(authority: Authority, put_secret: Callable[..., str]) -> None:
    secret = put_secret("docker/tls", ca=authority.pem, **authority.texts("client"))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def cut() -> None:
            listener.accept()[0].close()

        threading.Thread(target=cut, daemon=True).start()
        metadata = {"docker_host": f"tcp://127.0.0.1:{listener.getsockname()[1]}", "docker_tls_secret": secret}
        with pytest.raises(Unreachable):
            docker.discover(deployment({"container_id": "c"}, metadata), OPEN)


@pytest.mark.parametrize("broken", ["ca", "cert", "key"])
def test_a_broken_certificate_is_refused_and_never_shown(
    authority: Authority, put_secret: Callable[..., str], broken: str
) -> None:
    content = {"ca": authority.pem, **authority.texts("client")}
    content[broken] = content[broken].replace("A", "!")
    metadata = {"docker_host": "tcp://127.0.0.1:2376", "docker_tls_secret": put_secret("docker/tls", **content)}
    with pytest.raises(Refused, match="no usable") as refusal:
        docker.discover(deployment({"container_id": "c"}, metadata), OPEN)
    assert refusal.value.error_class == "credentials"
    assert content[broken].splitlines()[1] not in str(refusal.value)
    assert refusal.value.__cause__ is None


# SSH: the real engine through a real server


def ssh_host(server: Sshd) -> str:
    return f"ssh://{server.user}@127.0.0.1:{server.port}"


def test_an_engine_is_reached_by_ssh(made: Made, sshd: Sshd, put_secret: Callable[..., str]) -> None:
    container, volume = made.container(), made.volume()
    secret = put_secret("docker/ssh", private_key=sshd.private_key, host_key=sshd.host_key)
    metadata = {"docker_host": ssh_host(sshd), "docker_ssh_secret": secret}
    record = deployment({"container_id": container.name, "volume": volume.name}, metadata)
    for resource in docker.discover(record, OPEN):
        assert resource.place["engine"] == made.engine.info()["ID"]
        delete(resource, OPEN)
        assert seen(resource, OPEN).state == "gone"
    assert not made.has_container(container.id)
    assert not made.has_volume(volume.name)


def test_an_engine_behind_another_host_key_is_refused(
    made: Made, sshd: Sshd, put_secret: Callable[..., str], make_key: Callable[..., tuple[str, str]]
) -> None:
    container = made.container()
    secret = put_secret("docker/ssh", private_key=sshd.private_key, host_key=make_key()[1])
    metadata = {"docker_host": ssh_host(sshd), "docker_ssh_secret": secret}
    with pytest.raises(Refused, match="another host key") as refusal:
        docker.discover(deployment({"container_id": container.name}, metadata), OPEN)
    assert refusal.value.error_class == "credentials"
    assert made.has_container(container.id)


def test_a_host_without_docker_is_unreachable(make_sshd: Callable[..., Sshd], put_secret: Callable[..., str]) -> None:
    server = make_sshd("SetEnv PATH=/nowhere")
    secret = put_secret("docker/ssh", private_key=server.private_key, host_key=server.host_key)
    metadata = {"docker_host": ssh_host(server), "docker_ssh_secret": secret}
    with pytest.raises(Unreachable):
        docker.discover(deployment({"container_id": "c"}, metadata), OPEN)


# Faults that no real engine shows on demand: a stand-in on loopback

ID = "a" * 64
INSPECT = f"/containers/{ID}/json$"


class Broken(NamedTuple):
    """This is how an answer is broken."""

    kind: Literal["answer", "reset", "hang", "cut"]
    answer: Reply | None = None


BROKEN = {
    "hang": Broken("hang"),
    "cut": Broken("cut"),
    "reset": Broken("reset"),
    "html": Broken("answer", Reply(200, b"<html>")),
    "empty": Broken("answer", Reply(200)),
}


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as engine:
        engine.container("c", id=ID)
        yield engine


def metadata_of(engine: Engine) -> dict[str, str]:
    return {"docker_host": engine.url.replace("http", "tcp"), "docker_engine": engine.id}


@pytest.fixture
def container(engine: Engine) -> Resource:
    """Its container, as it was seen once."""
    here = {"host": engine.url.replace("http", "tcp"), "secret": "", "engine": engine.id, "full_id": ID}
    return Resource("docker:container", "c", here)


def asked(engine: Engine) -> list[str]:
    return [f"{call.method} {call.path}" for call in engine.calls]


def test_the_deletion_is_by_full_id_forced_and_with_volumes(engine: Engine, container: Resource) -> None:
    delete(container, OPEN)
    assert asked(engine)[-1] == f"DELETE /v1.41/containers/{ID}"
    assert engine.calls[-1].query == {"force": "True", "v": "True", "link": "False"}


def is_unreachable(call: Callable[[Resource, Settings], object], resource: Resource) -> None:
    with pytest.raises(Unreachable):
        call(resource, OPEN)


@pytest.mark.parametrize(
    ("path", "how"),
    [(path, how) for path in ("/version", "/info", INSPECT) for how in BROKEN],
)
def test_a_broken_answer_to_a_look_is_unreachable_never_gone(
    engine: Engine, container: Resource, path: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "TIMEOUT", 0.5)
    with engine.failing(Fault(BROKEN[how].kind, "GET", path, BROKEN[how].answer)):
        for call in (docker.KINDS["docker:container"].state, docker.KINDS["docker:container"].delete):
            in_time(2.5, partial(is_unreachable, call, container))
    assert not any(call.startswith("DELETE") for call in asked(engine))


def test_a_server_that_is_no_engine_is_unreachable(engine: Engine, container: Resource) -> None:
    engine.version = ""
    with pytest.raises(Unreachable, match="isn't a Docker engine"):
        docker.KINDS["docker:container"].state(container, OPEN)


@pytest.mark.parametrize("status", [302, 408, 500, 502, 503, 504])
def test_a_server_error_is_unreachable(engine: Engine, container: Resource, status: int) -> None:
    reply = Reply(status, {"message": "driver failed to remove root filesystem"})
    with (
        engine.failing(Fault("answer", "GET", INSPECT, reply)),
        pytest.raises(Unreachable, match=str(status)),
    ):
        docker.KINDS["docker:container"].state(container, OPEN)
    with engine.failing(Fault("answer", "DELETE", answer=reply)), pytest.raises(Unreachable, match=str(status)):
        docker.KINDS["docker:container"].delete(container, OPEN)


@pytest.mark.parametrize("body", [{"message": "authorization denied by plugin"}, b"<html>Forbidden</html>"])
@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_a_refusal_whoever_says_it(
    engine: Engine, container: Resource, status: int, body: Any
) -> None:
    with (
        engine.failing(Fault("answer", "GET", "/info", Reply(status, body))),
        pytest.raises(Refused) as refusal,
    ):
        docker.KINDS["docker:container"].state(container, OPEN)
    assert refusal.value.error_class == "credentials"


def test_a_removal_in_progress_is_leaving(engine: Engine, container: Resource) -> None:
    engine.held.add(ID)
    with pytest.raises(Busy, match="in progress"):
        delete(container, OPEN)
    assert docker.KINDS["docker:container"].state(container, OPEN).state == "leaving"


def test_a_removal_that_was_killed_is_asked_for_once_in_each_round(engine: Engine, container: Resource) -> None:
    engine.containers[ID]["State"]["Status"] = "removing"
    engine.held.add(ID)
    record = replace(deployment({"container_id": "c"}, metadata_of(engine)), resources=[container])
    for round_ in (1, 1, 2, 2, 3):
        record = replace(record, cleanup=Cleanup(round=round_))
        step = cleanup.step(record, OPEN, clock=lambda: datetime.now(UTC), time_left=lambda: 300)
        assert not step.failures
        assert not step.refusals
        record = replace(record, resources=step.resources)
    assert [call.split()[0] for call in asked(engine)].count("DELETE") == 3


def test_a_container_that_vanishes_between_look_and_deletion_is_no_error(engine: Engine, container: Resource) -> None:
    with engine.failing(Fault("answer", "DELETE", answer=Reply(404, {"message": "No such container: c"}))):
        delete(container, OPEN)


@pytest.mark.parametrize("body", [{"message": "page not found"}, {"error": "none"}, [], b"404 page not found", None])
def test_a_path_that_nobody_serves_is_not_gone(engine: Engine, container: Resource, body: Any) -> None:
    with engine.failing(Fault("answer", "GET", INSPECT, Reply(404, body))), pytest.raises(Unreachable):
        docker.KINDS["docker:container"].state(container, OPEN)


def test_a_redirection_is_not_followed(engine: Engine, container: Resource) -> None:
    for method, path in (("GET", INSPECT), ("DELETE", "")):
        redirection = Fault("answer", method, path, Reply(307, headers={"Location": "/version"}))
        with engine.failing(redirection), pytest.raises(Unreachable, match="307"):
            delete(container, OPEN)
    assert [call.rsplit("/")[-1] for call in asked(engine)] == [
        *("version", "info", "json"),
        *("version", "info", "json", ID),
    ]


def test_nothing_of_this_machine_reaches_an_engine(
    engine: Engine, container: Resource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".docker").mkdir()
    config = {"HttpHeaders": {"X-Of-This-Machine": "x"}, "auths": {"r": "malformed"}}
    (tmp_path / ".docker" / "config.json").write_text(json.dumps(config))
    (tmp_path / ".netrc").write_text("machine engine login l password p\ndefault login l password p\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    for name in ("http_proxy", "all_proxy", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert docker.KINDS["docker:container"].state(container, OPEN).state == "present"
    sent = {name for call in engine.calls for name in call.headers}
    assert "X-Of-This-Machine" not in sent
    assert "Authorization" not in sent
    with pytest.raises(docker_sdk.errors.InvalidConfigFile):
        docker_sdk.APIClient(container.place["host"])


@pytest.mark.parametrize("name", ["../containers/c", "..", "./v", "v/.."])
def test_a_volume_whose_name_leads_elsewhere_is_kept(engine: Engine, name: str) -> None:
    engine.container("d", volumes=[name])
    record = deployment({"container_id": "d"}, {**metadata_of(engine), "delete_dependents": "all"})
    assert by_key(docker.discover(record, OPEN))["docker:volume", name].state == "kept"


def test_an_engine_that_was_replaced_is_not_asked(engine: Engine, container: Resource) -> None:
    engine.id = "NEW:ONE"
    with pytest.raises(Refused) as refusal:
        delete(container, OPEN)
    assert refusal.value.error_class == "not_ours"
    assert [call.rsplit("/")[-1] for call in asked(engine)] == ["version", "info"]


def place() -> dict[str, str]:
    return {"host": transport.DEFAULT_HOST, "secret": "", "engine": ""}


def engine_id(settings: Settings) -> str:
    assert settings.local_place
    return settings.local_place.docker_engine


def with_metadata(record: Deployment, **metadata: str) -> Deployment:
    return replace(record, metadata=metadata)


TARGETS = [DockerTarget, RealDocker]
