"""The survey is killed anywhere: no stray is announced or adopted twice, none is forgotten, and nothing claimed is ever told of.

The functions are the real ones over a small AWS: what a process was about to do when it died, the next hour's survey does.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from itertools import batched
from typing import Any
from uuid import UUID, uuid5

import pytest

from tests.fresh import forget_process
from tests.proof.points import crash_points
from tests.proof.world import MARK, World

POINTS_IN_A_WORLD = 6
HOURS = 9


def rent(world: World, mark: str) -> str:
    """Rent an instance that carries a mark."""
    instance = world.rent_instance()
    world.ec2.create_tags(Resources=[instance], Tags=[{"Key": MARK, "Value": mark}])
    return instance


def register(world: World, key: str, instance: str, **more: Any) -> dict[str, Any]:
    body = {
        "blueprint_id": key,
        "deployment_type": "AwsEc2",
        "region": "eu-west-1",
        "metadata": {"account": "123456789012"},
    }
    status, answer = world.call("register", "POST", body=body | {"resource_ids": {"instance_id": instance}} | more)
    assert status in (200, 201)
    found: dict[str, Any] = answer
    return found


def state(world: World, instance: str) -> str:
    found = world.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return str(found["State"]["Name"])


class Story:
    """A machine that nobody recorded, beside two that are recorded: by their mark, and by their id alone."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.generation = str(uuid5(UUID(int=0), name))
        self.stray = rent(world, self.generation)
        self.marked = world.rent_instance()
        record = register(world, f"{name}-marked", self.marked)
        tag = {"Key": MARK, "Value": record["generation"]}
        world.ec2.create_tags(Resources=[self.marked], Tags=[tag])
        self.named = rent(world, str(uuid5(UUID(int=1), name)))
        register(world, f"{name}-named", self.named)

    def tell(self) -> None:
        """A survey each hour, and all that follows from it."""
        for _ in range(HOURS):
            self.world.survey()
            while self.world.turn():
                pass
            self.world.pass_time(timedelta(hours=1))
        for _ in range(20):
            while self.world.turn():
                pass
            self.world.pass_time(timedelta(minutes=2))

    def look_at_the_end(self) -> None:
        """Announced once, adopted once, gone; what is claimed is there, and nobody was told of it."""
        told = [a for a in self.world.announced if a["type"].startswith("stray.")]
        ids = {instance: {a["id"] for a in told if a["data"]["id"] == instance} for instance in self.all}
        assert (len(ids[self.stray]), ids[self.marked], ids[self.named]) == (1, set(), set())
        assert {a["type"] for a in told} == {"stray.found"}
        adopting = [
            item
            for item in self.world.items()
            if item["blueprint_id"]["S"].startswith("adopted:") and self.stray in item["blueprint_id"]["S"]
        ]
        assert [(item["item"]["S"], item["status"]["S"]) for item in adopting] == [("record", "Terminated")]
        assert adopting[0]["generation"]["S"] == self.generation
        facts = Counter(
            a["type"]
            for a in {a["id"]: a for a in self.world.announced}.values()
            if a["data"].get("generation") == self.generation
        )
        assert (facts["deployment.registered"], facts["deployment.cleanup_succeeded"]) == (1, 1)
        states = [state(self.world, instance) for instance in self.all]
        assert states == ["terminated", "running", "running"]
        assert not [item for item in self.world.items() if item["item"]["S"] == "stray"]

    @property
    def all(self) -> list[str]:
        return [self.stray, self.marked, self.named]


@pytest.fixture
def adopting(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """An operator who wants strays to be adopted two hours after their announcement."""

    def adopts() -> None:
        monkeypatch.setenv("STRAY_ADOPTION", "7200")
        forget_process()

    return adopts


def test_a_survey_that_is_killed_anywhere_tells_and_adopts_a_stray_once(
    make_world: Callable[[], AbstractContextManager[World]],
    adopting: Callable[[], None],
    noted: Callable[[str], None],
) -> None:
    """Once undisturbed, to count the calls; then once for each call, dead before it, and dead after it."""

    def tell(world: World, name: str) -> int:
        story = Story(world, name)
        world.deaths.calls.clear()
        story.tell()
        number = len(world.deaths.calls)
        try:
            story.look_at_the_end()
        except AssertionError as error:
            error.add_note(f"{name}: {world.deaths.calls[world.deaths.at or 0 :][:1]}")
            raise
        return number

    with make_world() as world:
        adopting()
        number = tell(world, "undisturbed")
    assert number > 100
    points = crash_points(number, every=120)
    for some in batched(points, POINTS_IN_A_WORLD, strict=False):
        with make_world() as world:
            adopting()
            for at in some:
                for after in (False, True):
                    world.deaths.at, world.deaths.after, world.deaths.fired = at, after, False
                    tell(world, f"dead-{'after' if after else 'before'}-{at}")
    noted(f"surveys: {2 * len(points)} of {2 * number} crash points, each stray announced once and adopted once")
