"""Machines that are copies of another, and so have its identity: what was seen on one isn't gone because a copy lacks it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from tests.cleanup.providers.local.engines import Engine
from tests.fakes import a_deployment
from tracker.cleanup.core.contract import Refused
from tracker.cleanup.providers.local import docker
from tracker.cleanup.transport.kubernetes.cluster import Access, Cluster
from tracker.cleanup.transport.kubernetes.kinds import kinds
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

ID = "0123456789abcdef" * 4


@dataclass
class Two:
    """An engine, and a copy of its machine at another address, from which the container was removed."""

    original: Engine
    copy: Engine


@pytest.fixture
def two() -> Iterator[Two]:
    with Engine() as original, Engine() as copy:
        original.container("c", id=ID)
        assert original.id == copy.id
        yield Two(original, copy)


def host(engine: Engine) -> str:
    return engine.url.replace("http", "tcp")


def allowed(two: Two) -> Settings:
    return Settings(allowed_endpoints=[host(two.original), host(two.copy)])


def at(engine: Engine, resources: list[Resource]) -> Deployment:
    return a_deployment(
        deployment_type="LocalDocker",
        resource_ids={"container_id": "c"},
        metadata={"docker_host": host(engine), "docker_engine": engine.id},
        resources=resources,
    )


def seen(resource: Resource, settings: Settings) -> Resource:
    look = docker.KINDS[resource.kind].state(resource, settings)
    return replace(resource, state=look.state, seen=look.state != "gone", place=resource.place | look.place)


def test_what_a_copy_of_an_engine_lacks_is_not_gone(two: Two) -> None:
    settings = allowed(two)
    (resource,) = docker.discover(at(two.original, []), settings)
    resource = seen(resource, settings)
    (moved,) = docker.discover(at(two.copy, [resource]), settings)
    moved = replace(resource, place=resource.place | moved.place)
    with pytest.raises(Refused, match="a copy has the same identity") as refused:
        docker.KINDS[moved.kind].state(moved, settings)
    assert refused.value.error_class == "unproven"
    docker.KINDS[moved.kind].delete(moved, settings)
    assert two.original.find("c")


def test_what_is_seen_at_the_new_address_is_gone_there(two: Two) -> None:
    settings = allowed(two)
    two.copy.container("c", id=ID)
    (resource,) = docker.discover(at(two.original, []), settings)
    resource = seen(resource, settings)
    moved = seen(replace(resource, place=resource.place | {"host": host(two.copy)}), settings)
    docker.KINDS[moved.kind].delete(moved, settings)
    assert docker.KINDS[moved.kind].state(moved, settings).state == "gone"
    assert two.original.find("c")


def test_a_clusters_address_is_its_servers_unless_that_is_this_machine_or_a_provider_says_it() -> None:
    stays, goes = (kinds(lambda *_: pytest.fail("no call"), is_going=goes)["kubernetes:pod"] for goes in (False, True))
    there = Cluster(Access("https://one.example.com:6443", token="x"))
    here = Cluster(Access("https://127.0.0.1:6443", token="x"))
    pod = Resource("kubernetes:pod", "p", {"namespace": "n"})
    assert stays.address(there, pod) == "one.example.com"
    assert stays.address(here, pod) == ""
    assert goes.address(there, pod) == ""
