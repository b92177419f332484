"""Random lives: sequences of everything that may happen, against a model of ten lines, with no disagreement.

The real functions run over the small AWS of `world`; Hypothesis chooses what happens, in which order, twice, late,
and where a process dies or a provider fails. TRACKER_RANDOM_STEPS says how many steps in all (by default 1,000).
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

import pytest
import time_machine
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from moto import mock_aws

from tests.proof.world import START, World, look_at_its_terms
from tests.table import create_table
from tracker.model.deployment import LIVE, parse_time

STEPS = 40
EXAMPLES = max(1, int(os.environ.get("TRACKER_RANDOM_STEPS", "400")) // STEPS)
LONG = 100
KEYS = st.sampled_from(["a", "b/c", "d"])
TTLS = st.sampled_from([None, 60, 3600])


class Lives(RuleBasedStateMachine):
    """The model: for each key the instance that it stands for (None while it is only intended), whether it must go, and whether it was given up."""

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
        """Return whether it was ended, or its time is over."""
        return life["ended"] or (life["ends"] is not None and life["ends"] <= self.world.now)

    def is_held(self, life: dict[str, Any]) -> bool:
        """Return whether a hold keeps it."""
        return life["held"] is not None and life["held"] > self.world.now

    def life_of(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return which one an answer is about: a key that moved leads to where it is now."""
        number = record["metadata"]["number"]
        (life,) = [life for life in [*self.lives.values(), *self.past] if life["number"] == number]
        return life

    # What may happen

    @rule(key=KEYS, ttl=TTLS, is_intent=st.booleans())
    def register(self, key: str, ttl: int | None, is_intent: bool) -> None:
        """A new one, unless the key is taken: what was rented already, or an intent."""
        self.world.clock.shift(timedelta(seconds=2))
        instance = None if is_intent else self.instance()
        self.number += 1
        number = str(self.number)
        body = {
            "blueprint_id": key,
            "deployment_type": "AwsEc2",
            "region": "eu-west-1",
            "resource_ids": {"instance_id": instance} if instance else {},
            "status": "Active" if instance else "Unknown",
            "ttl_seconds": ttl,
            "metadata": {"number": number},
            "warn_before": [1800, 70],
        }
        status, answer = self.world.call("register", "POST", body=body)
        known = self.lives.get(key)
        if status in (200, 201):
            assert known is None or known["may_go"] or self.must_go(known), "a live one was replaced"
            if known:
                self.past.append(known)
            ends = self.world.now + timedelta(seconds=ttl) if ttl else None
            life = {
                "instance": instance,
                "ends": ends,
                "ended": False,
                "given_up": False,
                "held": None,
                "may_go": False,
            }
            self.lives[key] = life | {"number": number, "mark": answer["mark"]["value"]}
        else:
            assert status == 409
            assert known is not None
            assert answer["error"]["code"] == "conflict"

    @rule(key=KEYS, reports=st.booleans())
    def provision(self, key: str, reports: bool) -> None:
        """What was intended is rented while its time lasts; who did it hands in the id, or dies before that."""
        life = self.lives.get(key)
        if life is None or life["instance"] or self.must_go(life):
            return
        life["instance"] = self.instance(life["mark"])
        if reports:
            ids = {"instance_id": life["instance"]}
            status, _ = self.world.call("amend", "PATCH", key, {"resource_ids": ids, "status": "Active"})
            assert status == 200

    @rule(key=KEYS)
    def terminate(self, key: str) -> None:
        """By a call."""
        status, answer = self.world.call("terminate", "DELETE", key)
        if status == 404:
            assert key not in self.lives
        elif status == 409:
            assert answer["error"]["code"] == "held"
            assert any(self.is_held(life) for life in self.lives.values()), "nothing is held"
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
            # While it is held, the queue tries it again for an hour: it may go, and may not.
            self.lives[key]["may_go" if self.is_held(self.lives[key]) else "ended"] = True
        for _ in range(3):
            self.world.deliver_queues()

    @rule(key=KEYS, ttl=st.sampled_from([60, 3600, 86400]))
    def amend(self, key: str, ttl: int) -> None:
        """Another time to live, if it may still change."""
        status, answer = self.world.call("amend", "PATCH", key, {"ttl_seconds": ttl})
        if status == 200:
            assert answer["status"] in LIVE
            self.life_of(answer)["ends"] = parse_time(answer["deployed_at"]) + timedelta(seconds=ttl)
        else:
            assert status in (404, 409)

    @rule(key=KEYS, seconds=st.sampled_from([90, 5000]))
    def extend(self, key: str, seconds: int) -> None:
        """More time, if that is still to be had: then it lives until the new end."""
        end = self.world.now + timedelta(seconds=seconds)
        status, answer = self.world.call("amend", "POST", key, {"until": end.isoformat()}, suffix="/extend")
        if status == 200:
            assert answer["status"] in LIVE
            life = self.life_of(answer)
            assert not life["ended"], "one that was ended was given more time"
            life["ends"] = parse_time(answer["expires_at"])
            assert life["ends"] == end
        else:
            assert status in (404, 409, 422)

    @rule(key=KEYS, seconds=st.sampled_from([60, 4000]))
    def hold(self, key: str, seconds: int) -> None:
        """Held for a while, unless it is on its way already."""
        until = self.world.now + timedelta(seconds=seconds)
        body = {"reason": "an incident", "until": until.isoformat()}
        status, answer = self.world.call("amend", "POST", key, body, suffix="/hold")
        if status == 200:
            assert answer["status"] in LIVE
            self.life_of(answer)["held"] = until
        else:
            assert status in (404, 409)

    @rule(key=KEYS)
    def release(self, key: str) -> None:
        """Not held any more."""
        status, answer = self.world.call("amend", "DELETE", key, suffix="/hold")
        if status == 200:
            self.life_of(answer)["held"] = None

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
            assert self.lives[to]["may_go"] or self.must_go(self.lives[to]), "a live one was replaced"
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
            if life["instance"]:
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
            if self.is_held(life):
                assert self.world.status_of(key) in LIVE, f"{key} is held and goes"
            elif life["instance"] and not self.must_go(life) and not life["may_go"]:
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
            if life["instance"]:
                self.protect(life["instance"], protected=False)
        for key, life in self.lives.items():
            if (self.record(key) or {}).get("cleanup", {}).get("quarantined"):
                life["ended"] = True
                self.world.call("terminate", "DELETE", key, {"over_hold": "it ends here"})
        self.world.settle(timedelta(days=20))
        for key, life in self.lives.items():
            record = self.record(key)
            assert record is not None, f"the record of {key} is lost"
            assert record["metadata"]["number"] == life["number"]
            expected = ("Terminated",) if self.must_go(life) else LIVE
            assert record["status"] in expected or life["may_go"], f"{key} is stuck"
            assert record["hold"] is None
            look_at_its_terms(record["events"])
            facts = record["events"]
            assert [fact["sequence"] for fact in facts] == list(range(facts[0]["sequence"], record["sequence"] + 1))
            heard = {a["id"] for a in self.world.announced}
            assert {f"{record['generation']}-{fact['sequence']}" for fact in facts} <= heard
        for life in [*self.lives.values(), *self.past]:
            if life["instance"] and self.must_go(life) and not life["given_up"]:
                assert self.state(life["instance"]) == "terminated", "it leaked"

    # Within

    def instance(self, mark: str = "yes") -> str:
        """Rent one."""
        instance = self.world.rent_instance(mark)
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
def test_no_sequence_of_happenings_loses_leaks_doubles_or_sticks(
    monkeypatch: pytest.MonkeyPatch, noted: Callable[[str], None]
) -> None:
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
    noted(f"random lives: {Lives.steps} steps")
