"""Killed anywhere: the process dies before or after each of its calls, and nothing is lost, leaked, doubled or stuck.

The calls are counted by a recorder at botocore's one way out, so no list of them can be out of date. What runs
next is what would in production: the caller, the queue, the stream, the sweep or the workflow. Every twentieth call
is tried by default, `others` with TRACKER_CRASH_POINTS=others, and every one with `all`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from itertools import batched
from typing import Any

import boto3
import pytest

from tests.proof.points import crash_points
from tests.proof.world import World, look_at_its_terms
from tracker.model.deployment import parse_time

Ids = dict[str, str]
Story = Callable[[World, str], Ids]


def body(key: str, ids: Ids, **more: Any) -> dict[str, Any]:
    """A registration."""
    return {
        "blueprint_id": key,
        "deployment_type": "AwsEc2",
        "region": "eu-west-1",
        "resource_ids": ids,
        **more,
    }


def registered(world: World, key: str, **more: Any) -> Ids:
    """Rent and register, as a caller who tries again would."""
    ids = world.rent()
    status, _ = world.call("register", "POST", body=body(key, ids, **more))
    assert status in (200, 201)
    return ids


def terminated_by_a_caller(world: World, key: str) -> Ids:
    """Registered and terminated over HTTPS."""
    ids = registered(world, key)
    status, _ = world.call("terminate", "DELETE", key)
    assert status in (200, 202)
    return ids


def expired_by_its_lease(world: World, key: str) -> Ids:
    """Its lease is removed, and the stream says so."""
    return registered(world, key, ttl_seconds=30)


def found_by_the_sweep(world: World, key: str) -> Ids:
    """The stream is deaf, so the sweep must find it."""
    world.streams = False
    return registered(world, key, ttl_seconds=30)


def told_by_events(world: World, key: str) -> Ids:
    """Both events come twice, and the end comes first."""
    ids = world.rent()
    initiated_at = world.now
    world.clock.shift(timedelta(seconds=5))
    for _ in range(2):
        world.send("Service Terminated", {"blueprint_id": key, "reason": "over"}, id_=f"t-{key}")
    world.deliver_queues()
    for _ in range(2):
        world.send("Service Initiated", body(key, ids), id_=f"i-{key}", at=initiated_at)
    return ids


def amended_and_moved(world: World, key: str) -> Ids:
    """Its time is changed, then its key; then it ends under the old key."""
    ids = registered(world, f"{key}-before", ttl_seconds=3600)
    assert world.call("amend", "PATCH", f"{key}-before", {"ttl_seconds": 7200})[0] == 200
    assert world.call("amend", "PATCH", f"{key}-before", {"blueprint_id": key})[0] == 200
    assert world.call("terminate", "DELETE", f"{key}-before")[0] in (200, 202)
    return ids


def refused_then_mended(world: World, key: str) -> Ids:
    """It isn't ours, so the round fails; then it is, and the next round ends it."""
    ids = world.rent(marked=False)
    assert world.call("register", "POST", body=body(key, ids))[0] in (200, 201)
    world.call("terminate", "DELETE", key)
    while world.turn():
        pass
    world.ec2.create_tags(Resources=list(ids.values()), Tags=[{"Key": "BlueprintDeployment", "Value": "yes"}])
    return ids


def paused_then_enforced(world: World, key: str) -> Ids:
    """The brake is put on while it is on its way, and taken off again."""
    ids = registered(world, key)
    ssm = boto3.client("ssm")
    ssm.put_parameter(Name="mode", Value="pause", Overwrite=True)
    world.clock.shift(timedelta(seconds=10))
    world.call("terminate", "DELETE", key)
    while world.turn():
        pass
    ssm.put_parameter(Name="mode", Value="enforce", Overwrite=True)
    world.clock.shift(timedelta(seconds=10))
    return ids


def registered_again(world: World, key: str) -> Ids:
    """Its key was used before."""
    registered(world, key)
    world.call("terminate", "DELETE", key)
    world.settle()
    ids = registered(world, key)
    world.call("terminate", "DELETE", key)
    return ids


def back_after_its_end(world: World, key: str) -> Ids:
    """What was proven gone runs again, and is found by another look."""
    world.look_again(3600, 86400)
    ids = registered(world, key)
    world.call("terminate", "DELETE", key)
    while not world.is_over(key):
        world.turn()
        world.pass_time(timedelta(seconds=5))
    world.revive(ids["instance_id"])
    world.revived.add(key)
    return ids


def intended(world: World, key: str, **more: Any) -> str:
    """Register before anything is rented; the value of the mark."""
    status, record = world.call("register", "POST", body=body(key, {}, status="Unknown", **more))
    assert status in (200, 201)
    mark: str = record["mark"]["value"]
    assert record["incomplete"]
    return mark


def ended_and_looked_for_once(world: World, key: str) -> None:
    """The first of the two looks found nothing."""
    assert world.call("terminate", "DELETE", key)[0] in (200, 202)
    while not world.call("inspect", "GET", key)[1]["cleanup"].get("nothing_found_at"):
        world.turn()
        world.pass_time(timedelta(seconds=5))
    assert world.call("inspect", "GET", key)[1]["status"] == "Terminating"


def died_before_it_reported(world: World, key: str) -> Ids:
    """Who made the machine is gone before it handed in the ids; then the time is over."""
    return world.rent(mark=intended(world, key, ttl_seconds=30))


def died_before_it_made_anything(world: World, key: str) -> Ids:
    """Who would have made the machine is gone before that; then the time is over."""
    intended(world, key, ttl_seconds=30)
    return {}


def made_between_two_looks(world: World, key: str) -> Ids:
    """Or made before the first, and shown by EC2 only after it."""
    mark = intended(world, key)
    ended_and_looked_for_once(world, key)
    return world.rent(mark=mark)


def reported_between_two_looks(world: World, key: str) -> Ids:
    """What was made doesn't carry the deployment's mark, and its ids come late."""
    intended(world, key)
    ended_and_looked_for_once(world, key)
    ids = world.rent()
    assert world.call("amend", "PATCH", key, {"resource_ids": ids})[0] == 200
    return ids


def warned_and_extended(world: World, key: str) -> Ids:
    """It is warned of, given more time, warned of anew, and then its time is over."""
    ids = registered(world, key, ttl_seconds=120, warn_before=[60])
    world.pass_time(timedelta(seconds=61))
    while world.turn():
        pass
    end = (world.now + timedelta(seconds=180)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert world.call("amend", "POST", key, {"until": end}, suffix="/extend")[0] == 200
    world.warned[key] = 2
    return ids


def held_over_its_end(world: World, key: str) -> Ids:
    """It is held while its time ends, refuses to go, and goes when the hold is over."""
    ids = registered(world, key, ttl_seconds=30)
    until = (world.now + timedelta(seconds=90)).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {"reason": "an incident", "until": until}
    assert world.call("amend", "POST", key, body, suffix="/hold")[0] == 200
    world.pass_time(timedelta(seconds=40))
    while world.turn():
        pass
    assert world.call("terminate", "DELETE", key)[0] == 409
    assert not world.is_over(key)
    return ids


# A world gets slower with all that it remembers.
POINTS_IN_A_WORLD = 6

STORIES: list[Story] = [
    terminated_by_a_caller,
    expired_by_its_lease,
    found_by_the_sweep,
    told_by_events,
    amended_and_moved,
    refused_then_mended,
    paused_then_enforced,
    registered_again,
    back_after_its_end,
    died_before_it_reported,
    died_before_it_made_anything,
    made_between_two_looks,
    reported_between_two_looks,
    warned_and_extended,
    held_over_its_end,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_it_ends_well_wherever_the_process_dies(
    make_world: Callable[[], AbstractContextManager[World]], story: Story, noted: Callable[[str], None]
) -> None:
    """Once undisturbed, to count the calls; then once for each call, dead before it, and dead after it."""
    with make_world() as world:
        tell(world, story, "undisturbed")
        number = len(world.deaths.calls)
    assert number > 10
    points = crash_points(number, every=20, first=STORIES.index(story))
    for some in batched(points, POINTS_IN_A_WORLD, strict=False):
        with make_world() as world:
            # What a process keeps is there already, so that the calls are those that were counted.
            tell(world, story, "before")
            for at in some:
                for after in (False, True):
                    world.deaths.at, world.deaths.after, world.deaths.fired = at, after, False
                    tell(world, story, f"dead-{'after' if after else 'before'}-{at}")
    noted(f"{story.__name__}: {2 * len(points)} of {2 * number} crash points")


def tell(world: World, story: Story, key: str) -> None:
    """Tell a story under a key and look at its end."""
    world.deaths.calls.clear()
    world.streams = True
    ids = story(world, key)
    world.settle()
    try:
        look_at_the_end(world, key, ids)
    except AssertionError as error:
        error.add_note(f"{story.__name__}, {key}: {world.deaths.calls[world.deaths.at or 0 :][:1]}")
        raise


def look_at_the_end(world: World, key: str, ids: Ids) -> None:
    """Nothing lost, leaked, doubled or stuck."""
    status, record = world.call("inspect", "GET", key)
    assert status == 200
    assert record["status"] == "Terminated"
    assert not ids or world.is_gone(ids)
    assert world.marked(record["generation"]) == []
    if not ids:
        two_looks(record)
    assert all(resource["state"] == "kept" or resource["proof"] for resource in record["resources"])
    items = [item for item in world.items() if item["blueprint_id"]["S"] == key]
    assert {item["item"]["S"].partition("#")[0] for item in items} <= {"record", "past"}
    assert not any("due_at" in item for item in items)
    assert [e for e in world.executions.values() if e.status == "RUNNING"] == []
    assert not world.sqs.receive_message(QueueUrl=world.dead_letters).get("Messages")
    facts = record["events"]
    assert [fact["sequence"] for fact in facts] == list(range(1, len(facts) + 1))
    types = [fact["type"] for fact in facts]
    assert types.count("registered") == 1
    # What is back goes, and is counted, once more.
    back = [fact["detail"]["count"] for fact in facts if fact["type"] == "resurrected"]
    assert len(back) == (key in world.revived)
    assert types.count("cleanup_succeeded") == 1 + len(back)
    assert types.count("quarantined") == 0
    look_at_its_terms(facts)
    # One that is noticed late gives way to the one after it.
    assert (key in world.warned) <= types.count("expiring") <= world.warned.get(key, 0)
    assert types.count("held") == types.count("unheld")
    gone = [r["state"] for r in record["resources"]].count("gone")
    assert types.count("resource_gone") == gone + sum(back)
    assert gone >= (3 if ids else 1)
    heard = [a["id"] for a in world.announced if a["data"]["generation"] == record["generation"]]
    first_heard = sorted(set(heard), key=heard.index)
    assert first_heard == [f"{record['generation']}-{fact['sequence']}" for fact in facts]


def two_looks(record: dict[str, Any]) -> None:
    """That nothing was there is what two looks say, ten minutes apart, neither of them before its end was asked for."""
    (line,) = record["resources"]
    first, second = record["cleanup"]["nothing_found_at"], line["gone_at"]
    assert line["kind"] == "mark"
    assert line["never_seen"]
    assert first in line["proof"]
    assert second in line["proof"]
    assert first >= record["cleanup"]["requested_at"]
    assert parse_time(second) - parse_time(first) >= timedelta(minutes=10)
