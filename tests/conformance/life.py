"""A deployment's life on a target: registered as callers do, cleaned up in rounds by the real engine, lifecycle and table."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from tests.conformance.target import Made, Target
from tests.fakes import Clock, MemoryWorkflow
from tracker.cleanup.core.rounds import CleanupStep, RoundState, StepResult
from tracker.intake.registration import parse_registration
from tracker.lifecycle.transitions import Lifecycle
from tracker.model import brakes
from tracker.model.deployment import Deployment
from tracker.store.records import Records
from tracker.store.table import Table

KEY = "svc-1"
STEPS_MAX = 400
# Seconds: as long as any wait that a provider asks for, and a fraction of the looks of two hours.
DEADLINE = 600


class Life:
    """Over an empty table. Its clock moves by what the workflow would wait, and takes the target's time along."""

    def __init__(self, target: Target, table: str) -> None:
        self.target = target
        self.clock = Clock(datetime.now(UTC))
        self.store = Records(Table(table, clock=self.clock, pause=lambda _seconds: None))
        self.lifecycle = self._lifecycle(deadline=DEADLINE, cluster_deadline=DEADLINE)
        self.answers: list[StepResult] = []
        self._count = 0

    def be_patient(self) -> None:
        """Rounds last as long as they do."""
        self.lifecycle = self._lifecycle()

    def _lifecycle(self, **changes: int) -> Lifecycle:
        shorter = {key: min(seconds, getattr(self.target.settings, key)) for key, seconds in changes.items()}
        settings = msgspec.structs.replace(self.target.settings, **shorter)
        return Lifecycle(self.store, MemoryWorkflow(), settings, self.clock)

    def said(self, made: Made, **changes: Any) -> dict[str, Any]:
        """The registration's body."""
        body = {
            "blueprint_id": KEY,
            "deployment_type": self.target.deployment_type,
            "region": made.region,
            "resource_ids": made.ids,
            "metadata": made.metadata,
        }
        return {key: value for key, value in (body | changes).items() if value is not None}

    def register(self, made: Made, **changes: Any) -> Deployment:
        """Through the same door as callers."""
        self._count += 1
        deployment = parse_registration(
            self.said(made, **changes),
            self.target.settings,
            now=self.clock.now,
            registered_by="conformance",
            generation=f"00000000-0000-4000-8000-{self._count:012}",
        )
        return self.lifecycle.register(deployment)[0]

    def force(self, **changes: Any) -> None:
        """Change the record behind every door: what is in it may be older than a rule."""
        now = self.record
        self.store.replace(now, msgspec.structs.replace(now, version=now.version + 1, **changes))

    def begin(self) -> RoundState:
        """The next round."""
        deployment = self.lifecycle.terminate(KEY, reason="requested", requested_by="conformance")
        return RoundState(KEY, deployment.generation, deployment.cleanup.round)

    def step(self, state: RoundState) -> StepResult:
        """One step. Raises what another attempt may mend."""
        answer = CleanupStep(
            self.lifecycle,
            self.target.settings,
            brakes=lambda: brakes.parse("enforce"),
            clock=self.clock,
            time_left=lambda: 300.0,
        ).run(state)
        self.answers.append(answer)
        return answer

    def run(self, state: RoundState) -> StepResult:
        """Step until the round is over, waiting as the workflow does."""
        for _ in range(STEPS_MAX):
            answer = self.step(state)
            if answer.outcome != "remains":
                return answer
            self.wait(answer.retry_after)
        raise AssertionError(f"still not over after {STEPS_MAX} steps: {self.record.resources}")

    def wait(self, seconds: float) -> None:
        self.clock.forward(seconds=seconds)
        self.target.wait(seconds)

    def give_back(self, state: RoundState) -> None:
        """What the workflow does when a round failed."""
        self.lifecycle.restored(state.blueprint_id, state.generation, state.round, "conformance")

    def clean_up(self, made: Made, **changes: Any) -> StepResult:
        """Register, and run one round."""
        self.register(made, **changes)
        return self.run(self.begin())

    @property
    def record(self) -> Deployment:
        found = self.store.get(KEY)
        assert found
        return found

    @property
    def states(self) -> dict[tuple[str, str], str]:
        """Return what became of each resource."""
        return {resource.key: resource.state for resource in self.record.resources}
