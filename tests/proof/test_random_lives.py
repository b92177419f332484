"""Random lives: sequences of everything that may happen, against a model of ten lines, with no disagreement.

The real functions run over the small AWS of `world`; Hypothesis chooses what happens, in which order, twice, late,
and where a process dies or a provider fails. TRACKER_RANDOM_STEPS says how many steps in all (by default 1,000).
"""

import os
from datetime import timedelta
from typing import Any, ClassVar

import pytest
import time_machine
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from moto import mock_aws

from tests.proof.world import START, World
from tests.table import create_table
from tracker.deployment import parse_time

STEPS = 40
EXAMPLES = max(1, int(os.environ.get("TRACKER_RANDOM_STEPS", "1000")) // STEPS)
LONG = 100
KEYS = st.sampled_from(["a", "b/c", "d"])
TTLS = st.sampled_from([None, 60, 3600])


class Lives(RuleBasedStateMachine):
    """The model: for each key the instance that it stands for, whether it must go, and whether it was given up."""

    patch: ClassVar[pytest.MonkeyPatch]
    steps: ClassVar[int] = 0

    @initialize()
    def begin(self) -> None:
        """A fresh world, in which nothing is registered."""
        self.traveller = time_machine.travel(START, tick=False)
        clock = self.traveller.start()
        self.aws = mock_aws()
        self.aws.start()
        self.world = World(clock, self.patch, create_table)
        self.lives: dict[str, dict[str, Any]] = {}
        self.past: list[dict[str, Any]] = []
        self.refuses = False
        self.number = 0

    # What the model says

    def must_go(self, life: dict[str, Any]) -> bool:
        """Whether it was ended, or its time is over."""
        return life["ended"] or (life["ends"] is not None and life["ends"] <= self.world.now)

    def life_of(self, record: dict[str, Any]) -> dict[str, Any]:
        """Which one an answer is about: a key that moved leads to where it is now."""
        instance = record["resource_ids"]["instance_id"]
        (life,) = [life for life in [*self.lives.values(), *self.past] if life["instance"] == instance]
        return life

    # What may happen

    @rule(key=KEYS, ttl=TTLS)
    def register(self, key: str, ttl: int | None) -> None:
        """A new one, unless the key is taken."""
        self.world.clock.shift(timedelta(seconds=2))
        instance = self.instance()
        body = {
            "blueprint_id": key,
            "deployment_type": "AwsEc2",
            "region": "eu-west-1",
            "resource_ids": {"instance_id": instance},
            "ttl_seconds": ttl,
            "metadata": {"number": str(self.number)},
        }
        status, answer = self.world.call("register", "POST", body=body)
        known = self.lives.get(key)
        if status in (200, 201):
            assert known is None or self.must_go(known), "a live one was replaced"
            if known:
                self.past.append(known)
            ends = self.world.now + timedelta(seconds=ttl) if ttl else None
            self.lives[key] = {"instance": instance, "ends": ends, "ended": False, "given_up": False}
        else:
            assert status == 409
            assert known is not None
            assert answer["error"]["code"] == "conflict"

    @rule(key=KEYS)
    def terminate(self, key: str) -> None:
        """By a call."""
        status, answer = self.world.call("terminate", "DELETE", key)
        if status == 404:
            assert key not in self.lives
        else:
            self.life_of(answer)["ended"] = True

    @rule(key=KEYS, times=st.integers(1, 3), late=st.booleans())
    def terminate_by_events(self, key: str, times: int, late: bool) -> None:
        """By an event that comes several times, or from before the registration: then it is stale."""
        if key not in self.lives:
            return
        at = self.world.now - timedelta(days=300) if late else self.world.now
        for _ in range(times):
            self.number += 1
            self.world.send("Service Terminated", {"blueprint_id": key}, id_=f"e{self.number}", at=at)
        if not late:
            self.lives[key]["ended"] = True
        for _ in range(3):
            self.world.deliver_queues()

    @rule(key=KEYS, ttl=st.sampled_from([60, 3600, 86400]))
    def amend(self, key: str, ttl: int) -> None:
        """Another time to live, if it may still change."""
        status, answer = self.world.call("amend", "PATCH", key, {"ttl_seconds": ttl})
        if status == 200:
            assert answer["status"] == "Active"
            self.life_of(answer)["ends"] = parse_time(answer["deployed_at"]) + timedelta(seconds=ttl)
        else:
            assert status in (404, 409)

    @rule(key=KEYS, to=KEYS)
    def move(self, key: str, to: str) -> None:
        """To another key, if nothing lives there."""
        status, answer = self.world.call("amend", "PATCH", key, {"blueprint_id": to})
        if status != 200:
            assert status in (404, 409)
            return
        life = self.life_of(answer)
        (was,) = [name for name, other in self.lives.items() if other is life]
        if was == to:
            return
        if to in self.lives:
            assert self.must_go(self.lives[to]), "a live one was replaced"
            self.past.append(self.lives[to])
        self.lives[to] = self.lives.pop(was)

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        """Given up by hand, for what someone removed by hand."""
        status, answer = self.world.call("amend", "POST", key, {"reason": "removed by hand"}, suffix="/forget")
        if status == 200 and answer["cleanup"]["reason"] == "forgotten":
            life = self.life_of(answer)
            life["ended"] = life["given_up"] = True

    @rule(seconds=st.sampled_from([1, 5, 30, 61, 600, 4000]))
    def time_passes(self, seconds: int) -> None:
        """And everything that runs by itself does."""
        self.world.pass_time(timedelta(seconds=seconds))
        self.turn()

    @rule()
    def turn(self) -> None:
        """What can happen now happens."""
        self.world.turn()

    @rule()
    def sweep_twice(self) -> None:
        """Two ticks at once."""
        self.world.sweep()
        self.world.sweep()

    @rule(heard=st.booleans())
    def stream(self, heard: bool) -> None:
        """The stream of removed leases is lost for a while."""
        self.world.streams = heard

    @rule(fails=st.booleans())
    def provider(self, fails: bool) -> None:
        """EC2 refuses to end any instance, or doesn't any more."""
        self.refuses = fails
        for life in self.lives.values():
            self.protect(life["instance"], protected=fails)

    @rule(at=st.integers(0, 12), after=st.booleans())
    def die(self, at: int, after: bool) -> None:
        """Some process will end at one of its next calls."""
        deaths = self.world.deaths
        deaths.calls.clear()
        deaths.at, deaths.after, deaths.fired = at, after, False

    # What must hold

    @invariant()
    def nothing_is_deleted_that_lives(self) -> None:
        """What has time left and wasn't ended by anyone still runs."""
        type(self).steps += 1
        if not hasattr(self, "lives"):
            return
        for key, life in self.lives.items():
            if not self.must_go(life):
                assert self.state(life["instance"]) == "running", f"{key} was deleted and should live"

    def teardown(self) -> None:
        """Mend everything and let time pass: what must go is gone, the rest is there, all of it is recorded."""
        if not hasattr(self, "world"):
            return
        try:
            self.end()
        finally:
            self.aws.stop()
            self.traveller.stop()

    def end(self) -> None:
        """The end of all of them."""
        self.world.deaths.at = None
        self.world.streams = True
        for life in [*self.lives.values(), *self.past]:
            self.protect(life["instance"], protected=False)
        for key, life in self.lives.items():
            if (self.record(key) or {}).get("cleanup", {}).get("quarantined"):
                life["ended"] = True
                self.world.call("terminate", "DELETE", key)
        self.world.settle(timedelta(days=20))
        for key, life in self.lives.items():
            record = self.record(key)
            assert record is not None, f"the record of {key} is lost"
            assert record["resource_ids"]["instance_id"] == life["instance"]
            expected = "Terminated" if self.must_go(life) else "Active"
            assert record["status"] == expected, f"{key} is stuck"
            facts = record["events"]
            assert [fact["sequence"] for fact in facts] == list(range(facts[0]["sequence"], record["sequence"] + 1))
            heard = {a["id"] for a in self.world.announced}
            assert {f"{record['generation']}-{fact['sequence']}" for fact in facts} <= heard
        for life in [*self.lives.values(), *self.past]:
            if self.must_go(life) and not life["given_up"]:
                assert self.state(life["instance"]) == "terminated", "it leaked"

    # Within

    def instance(self) -> str:
        """Rent one."""
        self.number += 1
        instance = self.world.rent_instance()
        self.protect(instance, protected=self.refuses)
        return instance

    def protect(self, instance: str, *, protected: bool) -> None:
        """Turn termination protection on or off."""
        self.world.ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": protected})

    def state(self, instance: str) -> str:
        """By EC2 itself."""
        found = self.world.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        return str(found["State"]["Name"])

    def record(self, key: str) -> dict[str, Any] | None:
        """As the API shows it."""
        status, body = self.world.call("inspect", "GET", key)
        return body if status == 200 else None


@pytest.mark.timeout(3000)
def test_no_sequence_of_happenings_loses_leaks_doubles_or_sticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many steps as asked for."""
    Lives.patch = monkeypatch
    Lives.steps = 0
    chosen = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        # The same lives each time: a chance find must not redden somebody's unrelated change. `make test-long` is by chance.
        derandomize=EXAMPLES < LONG,
        suppress_health_check=list(HealthCheck),
        print_blob=EXAMPLES >= LONG,
    )
    run_state_machine_as_test(Lives, settings=chosen)
    print(f"random steps: {Lives.steps}")
