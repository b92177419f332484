"""LocalDocker's targets: an engine's stand-in, and the engine of this machine behind a proxy that fails when told to."""

import json
import ssl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import boto3
import docker as docker_sdk
import pytest

from tests.certificates import Authority
from tests.cleanup.providers.local.engines import Engine, Proxy
from tests.conformance.target import FINDING, Evidence, HttpTarget, Key, Made
from tests.standin import Fault, Reply, Request
from tracker.cleanup.providers.local import docker
from tracker.cleanup.transport import docker as transport
from tracker.model.catalogue.vocabulary import MARK_KEY
from tracker.model.settings import Settings

TLS_SECRET = "tracker/docker/tls"


class DockerTarget(HttpTarget):
    """An engine reached by TLS, with a container, a network and a volume that are named, and what else it uses."""

    deployment_type = "LocalDocker"
    evidence: ClassVar[Evidence] = "emulator"
    na: ClassVar[dict[str, str]] = {
        "not-ours": "nothing on an engine says whose it is: being named is ownership",
        "appears-late": "an engine shows a container as soon as it exists",
        "throttled": "an engine doesn't ask a caller to wait",
        "find-throttled": "an engine doesn't ask a caller to wait",
    }

    def start(self) -> None:
        folder = self.own_folder
        self.authority = Authority(folder / "authority")
        self.others_authority = Authority(folder / "others")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.authority.pem)
        context.load_cert_chain(*self.authority.files("server", ("127.0.0.1",)))
        self.keys: dict[str, Key] = {}
        self.mark = uuid.uuid4().hex[:8]
        self.count = 0
        client = self.authority.texts("client")
        self.secrets = tuple(client["key"].splitlines()[1:-1])
        self.secret = {"ca": self.authority.pem, **client}
        self.put_secret(TLS_SECRET, **self.secret)
        self.settings = Settings(allowed_endpoints=["tcp://127.0.0.1:*"], allowed_secrets=["tracker/**"], deadline=30)
        self.serve(context)

    def serve(self, context: ssl.SSLContext) -> None:
        self.engine = Engine(context)
        self.server = self.engine

    def error(self, status: int, text: str) -> Reply:
        return Reply(status, {"message": text})

    # What is there

    @property
    def engine_id(self) -> str:
        return self.engine.id

    def make(self) -> Made:
        self.count += 1
        names = [f"{noun}-{self.mark}-{self.count}" for noun in ("c", "n", "v", "kept-n", "kept-v", "kept-c")]
        main, network, volume, kept_network, kept_volume, other = names
        for name in (network, kept_network):
            self.keys[self.make_network(name)] = ("docker:network", name)
        self.uses = {"networks": [network, kept_network], "volumes": [volume, kept_volume]}
        self.keys |= {name: ("docker:volume", name) for name in self.uses["volumes"]}
        self.run_container(main, **self.uses)
        self.run_container(other)
        metadata = {
            "docker_host": self.server.url.replace("https", "tcp"),
            "docker_tls_secret": TLS_SECRET,
            "docker_engine": self.engine_id,
        }
        return Made(
            ("docker:container", main),
            [("docker:container", main), ("docker:network", network), ("docker:volume", volume)],
            [("docker:network", kept_network), ("docker:volume", kept_volume), ("docker:container", other)],
            {"container_id": main, "network": network, "volume": volume},
            metadata=metadata,
        )

    def run_container(self, name: str, **uses: Any) -> None:
        self.keys[self.engine.container(name, **uses)] = ("docker:container", name)

    def make_network(self, name: str) -> str:
        return self.engine.network(name)

    def remove(self, kind: str, name: str) -> None:
        match kind:
            case "docker:container":
                self.engine.containers.pop(self.full_id(name))
            case "docker:network":
                self.engine.networks.pop(name)
            case _:
                self.engine.volumes.remove(name)

    unpaged = "an engine answers a list in one piece"

    def put_mark(self, made: Made, generation: str) -> list[Key]:
        for _, name in made.ours:
            self.engine.labels[name] = {MARK_KEY: generation, "other": "label"}
        return list(made.ours)

    def crowd(self, number: int, generation: str | None = None) -> list[Key]:
        names = [f"more-{uuid.uuid4().hex[:8]}" for _ in range(number)]
        for name in names:
            self.run_container(name)
            if generation is not None:
                self.engine.labels[name] = {MARK_KEY: generation}
        return [("docker:container", name) for name in names]

    def full_id(self, name: str) -> str:
        found = self.engine.find(name)
        assert found
        return str(found["Id"])

    def left(self) -> set[Key]:
        containers: set[Key] = {("docker:container", c["Name"][1:]) for c in self.engine.containers.values()}
        networks: set[Key] = {("docker:network", name) for name in self.engine.networks}
        return containers | networks | {("docker:volume", name) for name in self.engine.volumes}

    def key_of(self, call: Request) -> Key | None:
        return self.keys[call.path.rsplit("/", 1)[1]] if call.method == "DELETE" else None

    def vanish(self, made: Made) -> None:
        for kind, name in made.ours:
            self.remove(kind, name)

    # How it is bent

    def misplaced(self, made: Made) -> Made:
        return replace(made, metadata={**made.metadata, "docker_engine": "ELSE:WHERE"})

    def replace(self, made: Made) -> None:
        self.remove(*made.main)
        self.run_container(made.main[1])

    def protect(self, made: Made) -> None:
        self.remove(*made.main)
        self.run_container(made.main[1], **self.uses, labels={"com.docker.swarm.service.id": "service-1"})

    @contextmanager
    def lose_credential(self, made: Made) -> Iterator[None]:
        self._put_secret({**self.secret, **self.others_authority.texts("client")})
        yield
        self._put_secret(self.secret)

    def _put_secret(self, texts: dict[str, str]) -> None:
        boto3.client("secretsmanager").put_secret_value(SecretId=TLS_SECRET, SecretString=json.dumps(texts))

    @contextmanager
    def change_account(self, made: Made) -> Iterator[None]:
        """Another engine answers there."""
        before = self.engine.__dict__.copy()
        self.engine.__dict__ |= {"id": "NEW:ONE", "containers": {}, "networks": {}, "volumes": set()}
        yield
        self.engine.__dict__ |= {key: before[key] for key in ("id", "containers", "networks", "volumes")}

    def hasten(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(transport, "TIMEOUT", 1.5)
        patch.setattr(docker, "DELETION_TIMEOUT", 0.4)

    @contextmanager
    def busy(self, made: Made, times: int) -> Iterator[None]:
        answer = Reply(409, {"message": "removal of container c is already in progress"})
        with self.server.failing(Fault("answer", "DELETE", "/containers/", answer, times=times)):
            yield

    @contextmanager
    def stuck(self, made: Made, key: Key) -> Iterator[None]:
        kind, name = key
        held = self.full_id(name) if kind == "docker:container" else name
        self.engine.held.add(held)
        yield
        self.engine.held.remove(held)
        if kind == "docker:container":
            self.remove(kind, name)

    @contextmanager
    def false_success(self, made: Made) -> Iterator[None]:
        with self.server.failing(Fault("answer", "DELETE", "/containers/", Reply(204))):
            yield


class RealDocker(DockerTarget):
    """The engine of this machine, behind a proxy that asks for a certificate as the engine itself would."""

    evidence: ClassVar[Evidence] = "real"
    is_real: ClassVar[bool] = True
    na: ClassVar[dict[str, str]] = {
        **DockerTarget.na,
        **dict.fromkeys(FINDING, "an engine takes labels only when something is made: the stand-in has them later"),
        "other-account": "a second engine on this machine would take the first one's network away",
        "in-progress": "an engine can't be held within a removal: while a container's shim is stopped it doesn't answer",
        "never-ends": "an engine answers a deletion when the container is gone: none is accepted and goes on",
        "false-success": "an engine doesn't answer a deletion before it is done",
    }

    def serve(self, context: ssl.SSLContext) -> None:
        self.client: docker_sdk.DockerClient = self.request.getfixturevalue("docker_engine")
        self.image: str = self.request.getfixturevalue("busybox")
        self.labels: dict[str, str] = self.request.getfixturevalue("labels")
        self.server = Proxy(tls=context)

    @property
    def engine_id(self) -> str:
        return str(self.client.info()["ID"])

    def run_container(self, name: str, **uses: Any) -> None:
        networks: list[str] = uses.get("networks", [])
        for volume in uses.get("volumes", []):
            self.client.volumes.create(volume, labels=self.labels)
        options: dict[str, Any] = {
            "labels": {**self.labels, **uses.get("labels", {})},
            "mounts": [docker_sdk.types.Mount(f"/{volume}", volume) for volume in uses.get("volumes", [])],
            **({"network": networks[0]} if networks else {"network_mode": "none"}),
        }
        container: Any = self.client.containers.run(self.image, detach=True, name=name, **options)
        for network in networks[1:]:
            self.client.networks.get(network).connect(name)
        self.keys[str(container.id)] = ("docker:container", name)

    def make_network(self, name: str) -> str:
        return str(self.client.networks.create(name, labels=self.labels).id)

    def remove(self, kind: str, name: str) -> None:
        match kind:
            case "docker:container":
                self.client.containers.get(name).remove(force=True)
            case "docker:network":
                self.client.networks.get(name).remove()
            case _:
                self.client.volumes.get(name).remove()

    def left(self) -> set[Key]:
        ours: dict[str, Any] = {"label": f"tracker.test={self.labels['tracker.test']}"}
        containers: set[Key] = {
            ("docker:container", str(each.name)) for each in self.client.containers.list(all=True, filters=ours)
        }
        networks: set[Key] = {("docker:network", str(each.name)) for each in self.client.networks.list(filters=ours)}
        return containers | networks | {("docker:volume", each.name) for each in self.client.volumes.list(filters=ours)}

    @contextmanager
    def stuck(self, made: Made, key: Key) -> Iterator[None]:
        # Someone else uses it.
        user = f"user-{self.mark}"
        kind, name = key
        self.run_container(user, **{"networks" if kind == "docker:network" else "volumes": [name]})
        yield
        self.remove("docker:container", user)
