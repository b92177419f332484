"""One step of a round of the cleanup workflow: what the release function does each time it is called.

Reads first, consistently; commits the list of resources before the first deletion; answers the workflow with
an outcome (statemachine/release-answer.schema.json). Raises only what another attempt may mend, after it noted it.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

import msgspec

from tracker.brakes import Brakes
from tracker.catalogue import entry
from tracker.cleanup import engine
from tracker.cleanup.contract import Busy, Refused, Unreachable
from tracker.deployment import Deployment, ErrorClass, parse_time
from tracker.lifecycle import Lifecycle, Superseded
from tracker.settings import Settings

Outcome = Literal["gone", "superseded", "remains", "refused"]


class State(msgspec.Struct, frozen=True):
    """What the workflow carries."""

    blueprint_id: str
    generation: str
    round: int
    retry_after: int = 0


class Answer(State, frozen=True, kw_only=True):
    """The state, and what became of it."""

    outcome: Outcome


class Round:
    """A step's surroundings. `brakes` gives the modes in force, `time_left` the seconds that this call has."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        settings: Settings,
        *,
        brakes: Callable[[], Brakes],
        clock: Callable[[], datetime],
        time_left: Callable[[], float],
    ) -> None:
        self._lifecycle = lifecycle
        self._settings = settings
        self._brakes = brakes
        self._clock = clock
        self._time_left = time_left

    def step(self, state: State) -> Answer:
        """Take one step. Unreachable, or whatever the store raises, when another attempt may mend it."""
        try:
            deployment = self._lifecycle.in_round(state.blueprint_id, state.generation, state.round)
            if self._brakes().mode(entry(deployment.deployment_type).platform) != "enforce":
                self._lifecycle.paused(deployment)
                return _answer(state, "superseded")
            return self._released(state, deployment)
        except Superseded as superseded:
            now = superseded.deployment
            is_gone = now is not None and now.generation == state.generation and now.status == "Terminated"
            return _answer(state, "gone" if is_gone else "superseded")

    def _released(self, state: State, deployment: Deployment) -> Answer:
        if deployment.cleanup.discovered_in != state.round:
            if self._time_left() < engine.CALL_NEEDS:
                step = engine.Step(resources=deployment.resources, waits=["no time was left to look for its resources"])
                return self._remains(state, deployment, step)
            try:
                resources = engine.discover(deployment, self._settings)
            except Refused as refused:
                return self._refused(state, deployment, refused.error_class, str(refused))
            except Busy as busy:
                step = engine.Step(resources=deployment.resources, retry_after=busy.retry_after, waits=[str(busy)])
                return self._remains(state, deployment, step)
            except Unreachable as unreachable:
                self._lifecycle.failing(deployment, "unreachable", str(unreachable))
                raise
            deployment = self._lifecycle.progress(deployment, resources, discovered=True)
        step = engine.step(deployment, self._settings, clock=self._clock, time_left=self._time_left)
        if step.is_done:
            self._lifecycle.released(deployment, step.resources)
            return _answer(state, "gone")
        return self._remains(state, deployment, step)

    def _remains(self, state: State, deployment: Deployment, step: engine.Step) -> Answer:
        now = self._clock()
        cleanup = deployment.cleanup
        since, until = parse_time(cleanup.requested_at or ""), parse_time(cleanup.deadline or "")
        retry_after = engine.poll_after(step, since=since, now=now, until=until)
        deployment = self._lifecycle.progress(deployment, step.resources, retry_after=retry_after)
        if step.refusals:
            first = step.refusals[0]
            text = "; ".join(str(refusal) for refusal in step.refusals)
            return self._refused(state, deployment, first.error_class, text)
        if step.failures:
            text = "; ".join(str(failure) for failure in step.failures)
            self._lifecycle.failing(deployment, "unreachable", text)
            raise Unreachable(text)
        if now >= until:
            text = f"not gone by {cleanup.deadline}: {'; '.join(step.waits)}"
            return self._refused(state, deployment, "deadline", text)
        return _answer(state, "remains", retry_after)

    def _refused(self, state: State, deployment: Deployment, error_class: ErrorClass, text: str) -> Answer:
        self._lifecycle.failing(deployment, error_class, text)
        return _answer(state, "refused")


def _answer(state: State, outcome: Outcome, retry_after: int = 0) -> Answer:
    return Answer(
        blueprint_id=state.blueprint_id,
        generation=state.generation,
        round=state.round,
        retry_after=retry_after,
        outcome=outcome,
    )
