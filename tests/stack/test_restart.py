"""A stack that keeps its state: what was registered before it stopped is there after it started again."""

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from local.ec2 import Ec2
from local.stack import Stack, client_of
from tests.real_targets import REQUIRED
from tests.stack.caller import Caller, Topic
from tracker.model.deployment import parse_time


@pytest.fixture
def ec2() -> Iterator[Ec2]:
    """A stand-in of EC2 that outlives both stacks: what one that started anew has never seen takes minutes to count as gone."""
    found = Ec2().start()
    yield found
    found.stop()


def terminated_instance(ec2: Ec2) -> str:
    client = client_of("ec2", ec2.url)
    made = client.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    client.terminate_instances(InstanceIds=[made])
    return str(made)


def stack_in(folder: Path, ec2: Ec2) -> Stack:
    parameters = {"SweepState": "DISABLED", "Ec2EndpointUrl": ec2.url}
    return Stack(folder, wait_scale=0.2, keeps_state=True, parameters=parameters)


def anywhere(stack: Stack) -> dict[str, str]:
    """The outputs of a stack, without the address at which it listens this time."""
    return {name: value.removeprefix(stack.running.endpoint) for name, value in stack.outputs.items()}


@pytest.mark.real
@pytest.mark.skipif(
    not REQUIRED, reason="REQUIRE_REAL=1 isn't set: two more stacks take their time, which `make test-real` has"
)
def test_every_record_is_there_after_a_restart_and_what_came_due_meanwhile_goes(tmp_path: Path, ec2: Ec2) -> None:
    ids = {"instance_id": terminated_instance(ec2)}
    lasting, ended, due = [f"lasting-{uuid4()}" for _ in range(4)], f"ended-{uuid4()}", f"due-{uuid4()}"
    with stack_in(tmp_path, ec2) as before:
        caller = Caller(before)
        for key in lasting:
            caller.register(key, ids, ttl_seconds=86400, metadata={"owner": key})
        caller.register(ended, ids)
        caller.call("DELETE", ended, expected=202)
        caller.terminated(ended)
        caller.call("PATCH", lasting[0], body={"blueprint_id": f"{lasting[0]}/moved"})
        records = {key: caller.call("GET", key) for key in [*lasting, ended]}
        expires = caller.register(due, ids, ttl_seconds=5)["due_at"]
        outputs = anywhere(before)
    time.sleep(max(0.0, parse_time(expires).timestamp() - time.time()))

    with stack_in(tmp_path, ec2) as after:
        caller, topic = Caller(after), Topic(after)
        assert anywhere(after) == outputs
        assert {key: caller.call("GET", key) for key in records} == records
        assert caller.call("PATCH", lasting[1], body={"metadata": {"owner": "b"}})["metadata"] == {"owner": "b"}
        caller.call("DELETE", lasting[1], expected=202)
        # Without the sweep: the table's stream goes on too.
        assert caller.terminated(due)["cleanup"]["reason"] == "expired"
        generation = caller.terminated(lasting[1])["generation"]
        heard = [announcement["type"] for announcement in topic.of(generation, 4)]
        assert heard == [
            f"deployment.{type_}" for type_ in ("amended", "terminating", "resource_gone", "cleanup_succeeded")
        ]
