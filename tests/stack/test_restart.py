"""A stack that keeps its state: what was registered before it stopped is there after it started again."""

import time
from pathlib import Path
from uuid import uuid4

import pytest

from local.stack import Stack
from tests.stack.caller import Caller, Topic

pytestmark = pytest.mark.timeout(300)


def stack_in(folder: Path) -> Stack:
    return Stack(folder, wait_scale=0.2, keeps_state=True, parameters={"SweepState": "DISABLED"})


def test_every_record_is_there_after_a_restart_and_what_came_due_meanwhile_goes(tmp_path: Path) -> None:
    lasting, ended, due = [f"lasting-{uuid4()}" for _ in range(4)], f"ended-{uuid4()}", f"due-{uuid4()}"
    with stack_in(tmp_path) as before:
        caller = Caller(before)
        for key in lasting:
            caller.register(key, ttl_seconds=86400, metadata={"owner": key})
        caller.register(ended)
        caller.call("DELETE", ended, expected=202)
        caller.terminated(ended)
        caller.call("PATCH", lasting[0], body={"blueprint_id": f"{lasting[0]}/moved"})
        records = {key: caller.call("GET", key) for key in [*lasting, ended]}
        expires = caller.register(due, ttl_seconds=5)["due_at"]
        outputs = before.outputs
    time.sleep(max(0.0, expires - time.time()))

    with stack_in(tmp_path) as after:
        caller, topic = Caller(after), Topic(after)
        assert after.outputs == outputs
        assert {key: caller.call("GET", key) for key in records} == records
        # Without the sweep: the table's stream goes on too.
        assert caller.terminated(due)["cleanup"]["reason"] == "expired"
        assert caller.call("PATCH", lasting[1], body={"metadata": {"owner": "b"}})["metadata"] == {"owner": "b"}
        caller.call("DELETE", lasting[1], expected=202)
        generation = caller.terminated(lasting[1])["generation"]
        heard = [announcement["type"] for announcement in topic.heard(generation, 4)]
        assert heard == [
            f"deployment.{type_}" for type_ in ("amended", "terminating", "resource_gone", "cleanup_succeeded")
        ]
