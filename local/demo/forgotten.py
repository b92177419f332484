"""Scenes about what no record names: an intent whose provisioner died, and a stray."""

from http import HTTPStatus
from typing import Any
from uuid import uuid4

from local.demo.scene import Rented, Scene, ask, broken_off, until
from local.processes import PATIENCE
from local.stack import Stack
from tracker.model.deployment import encode_key

# Seconds in which a machine is rented even where much else is.
INTENT_TTL = 90
# Seconds between the two surveys that must see a stray, which else is an hour.
STRAY_GAP = 1


def never_reported(stack: Stack) -> None:
    """Registered before anything is rented. Who rents it dies before the ids are handed in; the mark leads to it."""
    scene = Scene(stack, "intent")
    record = scene.call("POST", body=scene.registration({}, status="Unknown", ttl_seconds=INTENT_TTL), expected=201)
    mark = record["mark"]
    scene.say(f"registered without ids, expires at {record['expires_at']}; its mark is the {mark['by']} {mark['key']}")
    rented = Rented(stack, mark=mark["value"])
    scene.say(
        f"{rented.ids['instance_id']} is rented with that {mark['by']}, and its provisioner dies before it says so"
    )
    wanted = set(rented.ids.values())
    # A plan has twenty seconds, which may be too few where much else runs.
    planned = until(lambda: wanted & {resource["id"] for resource in scene.call("GET", "plan")["resources"]} == wanted)
    scene.expect("its plan shows what carries the mark", is_so=planned)
    record = scene.follow_to_the_end(seconds=PATIENCE + INTENT_TTL)
    found = record["resource_ids"].get("instance_id")
    scene.expect(f"the mark led to {found}, and its time ended it", is_so=found == rented.ids["instance_id"])
    scene.expect("EC2 itself says that instance, address and volume are gone", is_so=rented.is_gone())


def recorded_by_nobody(stack: Stack) -> None:
    """Rented with a mark of ours, and no record names it: two surveys find it, it is adopted, and goes like all others."""
    scene = Scene(stack, "stray")
    generation = str(uuid4())
    rented = Rented(stack, mark=generation)
    instance = rented.ids["instance_id"]
    scene.say(f"{instance} is rented with the mark {generation}, which is of no record")
    stray = until(lambda: survey(stack, instance, is_told=False))
    scene.say(f"a survey saw it: {stray['key']}, as yet it is not announced")
    stray = until(lambda: survey(stack, instance, is_told=True))
    scene.expect("two surveys found the machine that nobody recorded", is_so=stray["seen"] > 1 and bool(stray["mark"]))
    path = f"/strays/{encode_key(stray['key'])}/adopt"
    status, record = ask(stack, "POST", path, {"reason": "it is ours, and nobody needs it"})
    scene.expect(f"it is adopted as {record['blueprint_id']}", is_so=status == HTTPStatus.CREATED)
    scene.key = record["blueprint_id"]
    scene.follow_to_the_end()
    scene.expect("EC2 itself says that instance, address and volume are gone", is_so=rented.is_gone())


def survey(stack: Stack, instance: str, *, is_told: bool) -> dict[str, Any] | None:
    """Survey the stack's region, as its schedule does every hour. Return the stray that the instance is once it is listed, and announced."""
    place = {"deployment_type": "AwsEc2", "region": stack.running.region}
    stack.invoke("Survey", {"named_places": [place]})
    broken_off.wait(STRAY_GAP)
    strays = ask(stack, "GET", "/strays").body["strays"]
    found = (stray for stray in strays if stray["id"] == instance and bool(stray["announced_at"]) >= is_told)
    return next(found, None)
