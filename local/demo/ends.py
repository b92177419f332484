"""Scenes about the ways in which a deployment ends: by its time, by a call, by events, after a failure, or not at all."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from local.demo.scene import Rented, Scene, calls, faults, is_live
from local.stack import Stack

# How often a round's step is tried, and the seconds that the workflow waits in between.
ATTEMPTS, ATTEMPT_GAP = 3, 5


def fails_and_is_mended(stack: Stack) -> None:
    """Its cleanup fails 3 times 5 seconds apart, comes back with its error, and goes once the cause is mended."""
    scene = Scene(stack, "failing")
    rented = Rented(stack)
    scene.call("POST", body=scene.registration(rented.ids), expected=201)
    fault = {"kind": "error", "code": "InternalError", "status": 500}
    faults(stack, [{"action": "TerminateInstances", "id": rented.ids["instance_id"], **fault}])
    scene.say("EC2 now answers TerminateInstances of this instance with 500")
    scene.call("DELETE", expected=202)
    record = scene.follow(lambda found: found["cleanup"].get("failures", 0) == 1)
    attempts = failed_attempts(stack, f"{record['generation']}-{record['cleanup']['round']}")
    asked = calls(stack, "TerminateInstances", rented.ids["instance_id"])
    is_asked = all(any(began <= at <= ended for at in asked) for began, ended in attempts)
    scene.expect(f"EC2 was asked in each of {len(attempts)} attempts", is_so=len(attempts) == ATTEMPTS and is_asked)
    gaps = [began - ended for (_, ended), (began, _) in pairwise(attempts)]
    pauses = " and ".join(f"{gap:.1f} s" for gap in gaps)
    scene.expect(f"the workflow waited {pauses} in between", is_so=all(gap >= ATTEMPT_GAP for gap in gaps))
    error = record["cleanup"]["last_error"]
    scene.expect(f"Active again, with its error: {error['class']}: {error['message'][:90]}", is_so=is_live(record))
    scene.expect("the instance still runs", is_so=rented.state() == "running")
    faults(stack, [])
    scene.say(f"EC2 is mended; the tracker will try again by itself at {record['cleanup']['next_attempt_at']}")
    scene.follow_to_the_end()
    scene.expect("EC2 itself says that instance, address and volume are gone", is_so=rented.is_gone())


def expires_by_its_lease(stack: Stack, heard: Callable[[], object]) -> None:
    """Its lease is removed and the stream tells; the sweep is off. `heard` is called once its cleanup has begun."""
    scene = Scene(stack, "lease")
    rented = Rented(stack)
    record = scene.call("POST", body=scene.registration(rented.ids, ttl_seconds=5), expected=201)
    scene.say(f"registered with address and volume, expires at {record['expires_at']}; the sweep is off")
    scene.follow(lambda found: found["status"] != "Active")
    heard()
    record = scene.follow_to_the_end()
    scene.expect("it ended because its time was over", is_so=record["cleanup"]["reason"] == "expired")
    scene.expect("EC2 itself says that instance, address and volume are gone", is_so=rented.is_gone())


def found_by_the_sweep(stack: Stack) -> None:
    """Its lease is removed but nothing listens; the sweep finds it."""
    scene = Scene(stack, "sweep")
    rented = Rented(stack)
    scene.call("POST", body=scene.registration(rented.ids, ttl_seconds=5), expected=201)
    scene.say("registered for 5 seconds; the stream is off, so the sweep of every minute must find it")
    record = scene.follow_to_the_end()
    scene.expect("it ended because its time was over", is_so=record["cleanup"]["reason"] == "expired")
    scene.expect("EC2 itself says that instance, address and volume are gone", is_so=rented.is_gone())


def terminated_by_a_call(stack: Stack) -> None:
    """DELETE, twice; then its receipt."""
    scene = Scene(stack, "call")
    rented = Rented(stack)
    scene.call("POST", body=scene.registration(rented.ids), expected=201)
    scene.call("DELETE", expected=202)
    # On its way, or over already where the machine was that busy.
    scene.call("DELETE", expected=(202, 200))
    scene.follow_to_the_end()
    scene.call("DELETE")
    scene.expect("EC2 itself says that instance, address and volume are gone", is_so=rented.is_gone())


def ended_by_events(stack: Stack) -> None:
    """`Service Initiated` registers, `Service Terminated` terminates; both come twice."""
    scene = Scene(stack, "events")
    rented = Rented(stack)
    put_events(stack, "Service Initiated", scene.registration(rented.ids))
    scene.follow(lambda found: found["status"] == "Active")
    time.sleep(1)
    put_events(stack, "Service Terminated", {"blueprint_id": scene.key, "reason": "service ended"})
    record = scene.follow_to_the_end()
    registered = [event for event in record["events"] if event["type"] == "registered"]
    scene.expect("each event came twice and counted once", is_so=len(registered) == record["cleanup"]["round"] == 1)
    scene.expect("EC2 itself says that instance, address and volume are gone", is_so=rented.is_gone())


def not_ours(stack: Stack) -> None:
    """It doesn't carry the mark: refused, and untouched."""
    scene = Scene(stack, "not-ours")
    rented = Rented(stack, marked=False)
    scene.call("POST", body=scene.registration(rented.ids), expected=201)
    plan = scene.call("GET", "plan")
    scene.say(f"its plan says so beforehand: {plan['refusal']}")
    scene.call("DELETE", expected=202)
    record = scene.follow(lambda found: found["cleanup"].get("failures", 0) == 1)
    error = record["cleanup"]["last_error"]
    scene.expect(f"refused: {error['class']}: {error['message'][:110]}", is_so=error["class"] == "not_ours")
    scene.expect("the instance still runs", is_so=rented.state() == "running")
    asked = calls(stack, "TerminateInstances", rented.ids["instance_id"])
    scene.expect("EC2 was never asked to end it", is_so=not asked)
    record = scene.call("POST", "forget", body={"reason": "registered by mistake: it isn't ours"})
    scene.expect("forgotten by hand, with a reason", is_so=record["status"] == "Terminated")


def failed_attempts(stack: Stack, execution: str) -> list[tuple[float, float]]:
    """Return when each failed attempt of a round began and ended, in seconds since 1970, by the workflow's own history.

    A call that Lambda throttled ran nothing, and is no attempt.
    """
    arn = stack.outputs["StateMachineArn"].replace(":stateMachine:", ":execution:") + ":" + execution
    history = stack.client("stepfunctions").get_execution_history(executionArn=arn, maxResults=100)["events"]
    found, began = [], 0.0
    for event in history:
        at = event["timestamp"].timestamp()
        if event["type"] in ("TaskScheduled", "LambdaFunctionScheduled"):
            began = at
        elif event["type"] in ("TaskFailed", "LambdaFunctionFailed") and not is_throttled(event):
            found.append((began, at))
    return found


def put_events(stack: Stack, detail_type: str, detail: dict[str, Any]) -> None:
    """The same detail twice, as a bus may bring it."""
    entry = {
        "Source": "demo",
        "DetailType": detail_type,
        "Detail": json.dumps(detail),
        "EventBusName": stack.outputs["BusName"],
        "Time": datetime.now(UTC),
    }
    stack.client("events").put_events(Entries=[entry, entry])


def is_throttled(event: dict[str, Any]) -> bool:
    """Return whether a step failed because Lambda had no room for it. MiniStack says so in the cause alone."""
    details = event.get("taskFailedEventDetails") or event.get("lambdaFunctionFailedEventDetails") or {}
    return "TooManyRequestsException" in f"{details.get('error')} {details.get('cause')}"
