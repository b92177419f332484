"""The scene about a real container, where a Docker engine answers."""

import io
import shutil
import tarfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import docker
from docker.errors import DockerException, NotFound

from local.demo.scene import Scene
from local.stack import Stack


def a_container(stack: Stack, heard: Callable[[], object]) -> None:
    """A real container with a volume and a network, where a Docker engine answers. `heard` is called once its cleanup has begun."""
    scene = Scene(stack, "container")
    try:
        engine = docker.from_env(timeout=10)
        engine.ping()
    except DockerException:
        scene.say("left out: no Docker engine answers here")
        heard()
        return
    name = f"tracker-demo-{uuid4().hex[:8]}"
    image = an_image(engine, name)
    made: list[Any] = [image]
    try:
        network, volume = engine.networks.create(name), engine.volumes.create(name)
        made += [network, volume]
        container = engine.containers.create(
            image.id, ["/bin/busybox", "sleep", "600"], network=name, volumes={name: {"bind": "/data", "mode": "rw"}}
        )
        made.append(container)
        if shutil.which("busybox"):
            container.start()
        id_ = str(container.id)
        state = engine.containers.get(id_).status
        ids = {"container_id": id_, "network": name, "volume": name}
        body = {"blueprint_id": scene.key, "deployment_type": "LocalDocker", "resource_ids": ids, "ttl_seconds": 3}
        scene.call("POST", body=body, expected=201)
        scene.say(f"a {state} container, its network and its volume, for 3 s")
        scene.follow(lambda found: found["status"] != "Active")
        heard()
        scene.follow_to_the_end()
        scene.expect("Docker itself says that container, network and volume are gone", is_so=no_docker(engine, ids))
    finally:
        tidy(made)
        engine.close()


def an_image(engine: Any, name: str) -> Any:
    """An image from nothing but busybox, if that is here."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        busybox = shutil.which("busybox")
        if busybox:
            archive.add(busybox, "bin/busybox", recursive=False)
        else:
            archive.addfile(tarfile.TarInfo("empty"))
    engine.api.import_image_from_data(buffer.getvalue(), repository=name, tag="demo")
    return engine.images.get(f"{name}:demo")


def no_docker(engine: Any, ids: dict[str, str]) -> bool:
    """Return whether the engine knows none of them any more."""
    for find, id_ in (
        (engine.containers.get, ids["container_id"]),
        (engine.networks.get, ids["network"]),
        (engine.volumes.get, ids["volume"]),
    ):
        try:
            find(id_)
        except NotFound:
            continue
        return False
    return True


def tidy(made: list[Any]) -> None:
    """Remove what a scene that went wrong left, and the image."""
    for thing in reversed(made):
        with suppress(DockerException):
            thing.remove(force=True) if hasattr(thing, "image") or hasattr(thing, "tags") else thing.remove()
