"""The scene about time that is given: a warning, an extension that comes before the end, and a hold beyond it."""

from datetime import UTC, datetime, timedelta

from local.demo.scene import Rented, Scene
from local.stack import Stack
from tracker.model.deployment import format_time, parse_time

# Seconds: when the warning is due, the sweep is on, and it comes at least once before the end.
TTL, WARN_BEFORE = 180, 60
EXTENDED_BY, HELD_BEYOND = 20, 10


def warned_extended_and_held(stack: Stack) -> None:
    """It is warned of, extended, held beyond its end, and goes when the hold is over."""
    scene = Scene(stack, "terms")
    rented = Rented(stack)
    body = scene.registration(rented.ids, ttl_seconds=TTL, warn_before=[WARN_BEFORE], owner="demo")
    old = scene.call("POST", body=body, expected=201)["expires_at"]
    record = scene.follow(lambda found: any(event["type"] == "expiring" for event in found["events"]))
    warned = [event["detail"]["left"] for event in record["events"] if event["type"] == "expiring"]
    scene.expect(f"it is warned of once, {warned[0]} s before its end", is_so=len(warned) == 1)
    extended = scene.call("POST", "extend", body={"by": EXTENDED_BY})["extended"]
    scene.expect(f"its end was {old}, and is {extended['to']}", is_so=extended["from"] == old < extended["to"])
    until = format_time(parse_time(extended["to"]) + timedelta(seconds=HELD_BEYOND))
    scene.call("POST", "hold", body={"reason": "someone looks into it", "until": until})
    refused = scene.call("DELETE", expected=409)["error"]
    scene.expect(f"DELETE is refused: {refused['message'][:60]} ...", is_so=refused["code"] == "held")
    scene.follow(lambda _: datetime.now(UTC) > parse_time(extended["to"]) + timedelta(seconds=1))
    record = scene.call("GET")
    begun = [parse_time(event["at"]) for event in record["events"] if event["type"] == "terminating"]
    scene.expect(
        "its end is over, and nothing has begun: it is held", is_so=all(at >= parse_time(until) for at in begun)
    )
    record = scene.follow_to_the_end()
    (began,) = [parse_time(event["at"]) for event in record["events"] if event["type"] == "terminating"]
    scene.expect("its cleanup began when the hold was over, and not before", is_so=began >= parse_time(until))
    scene.expect("EC2 itself says that instance, address and volume are gone", is_so=rented.is_gone())
