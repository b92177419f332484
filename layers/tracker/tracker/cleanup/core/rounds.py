"""One step of a round of the cleanup workflow. Called by the release function.

A step reads the record first, by a consistent read, and commits the list of resources before the first deletion. Its result
tells the workflow the outcome (statemachine/release-answer.schema.json). It raises only errors that another attempt may mend,
and records them before.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Literal

import msgspec

from tracker.cleanup.core import engine, marked
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.core.digests import not_approved
from tracker.lifecycle.rounds import Superseded
from tracker.lifecycle.transitions import Lifecycle
from tracker.model.brakes import Brakes
from tracker.model.catalogue import entry, missing
from tracker.model.deployment import Deployment, ErrorClass, Resource, parse_time
from tracker.model.marks import without_mark_line
from tracker.model.settings import Settings

Outcome = Literal["gone", "superseded", "remains", "refused"]


class RoundState(msgspec.Struct, frozen=True):
    """The state that the workflow carries from step to step. `retry_after` is in seconds."""

    blueprint_id: str
    generation: str
    round: int
    retry_after: int = 0


class StepResult(RoundState, frozen=True, kw_only=True):
    """The next state, and the outcome of the step."""

    outcome: Outcome


class _StepOver(Exception):
    """The step ends before its end, with this result."""

    def __init__(self, result: StepResult) -> None:
        super().__init__(result.outcome)
        self.result = result


class CleanupStep:
    """One step, to be run once. `brakes` returns the modes in force, `time_left` the seconds that this call has."""

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

    def run(self, state: RoundState) -> StepResult:
        """Take the step. Raises Unreachable, or an error of the store, if another attempt may mend it."""
        try:
            deployment = self._lifecycle.load_round(state.blueprint_id, state.generation, state.round)
            if self._brakes().mode(entry(deployment.deployment_type).platform) != "enforce":
                self._lifecycle.paused(deployment)
                return _result(state, "superseded")
            return self._released(state, deployment)
        except _StepOver as over:
            return over.result
        except Superseded as superseded:
            now = superseded.deployment
            is_gone = now is not None and now.generation == state.generation and now.status == "Terminated"
            return _result(state, "gone" if is_gone else "superseded")

    def _released(self, state: RoundState, deployment: Deployment) -> StepResult:
        deployment = without_mark_line(deployment)
        nothing_new = False
        if deployment.cleanup.discovered_in != state.round or engine.is_incomplete(deployment):
            self._check_time(state, deployment, deployment.resources)
            with self._asking(state, deployment):
                if marked.is_sought(deployment):
                    new = marked.find_new(deployment, self._settings)
                    nothing_new = not new
                    if new:
                        deployment = self._lifecycle.found(deployment, new)
                discovery = marked.discover(deployment, self._settings)
            plan = deployment.cleanup.plan
            others = not_approved(plan, discovery.resources, discovery.places) if plan else []
            deployment = self._lifecycle.progress(deployment, discovery.resources, discovered=not others)
            if others:
                text = f"not in the plan that was approved: {', '.join(others)}"
                return self._refused(state, deployment, "plan_changed", text)
            if deployment.cleanup.discovered_in != state.round:
                return self._with_late_ids(state, deployment)
        step = engine.step(deployment, self._settings, clock=self._clock, time_left=self._time_left)
        if marked.is_sought(deployment) and all(resource.is_done for resource in step.resources):
            return self._sought(state, deployment, step, nothing_new=nothing_new and not step.resources)
        if not step.is_done:
            return self._remains(state, deployment, step)
        return self._ended(state, deployment, step.resources)

    def _sought(self, state: RoundState, deployment: Deployment, step: engine.Step, *, nothing_new: bool) -> StepResult:
        """End a deployment by a last look for its mark, if nothing new carries it; if ids are missing, by two, ten minutes apart.

        `nothing_new` says that this step has looked already, and found nothing.
        """
        resources = step.resources
        if not nothing_new:
            self._check_time(state, deployment, resources)
            with self._asking(state, deployment):
                new = marked.find_new(msgspec.structs.replace(deployment, resources=resources), self._settings)
            if new:
                deployment = self._lifecycle.progress(deployment, resources)
                deployment = self._lifecycle.found(deployment, new)
                step = engine.Step(resources=deployment.resources, waits=["more was found by its mark"])
                return self._remains(state, deployment, step)
        now = self._clock()
        if missing(deployment):
            first = deployment.cleanup.nothing_found_at
            left = marked.APART - (now - parse_time(first)).total_seconds() if first else marked.APART
            if left > 0:
                line = marked.mark_line(deployment, resources, "nothing carries it; it is looked for once more")
                seen = [*resources, line]
                deployment = self._lifecycle.nothing_found(deployment, seen, retry_after=math.ceil(left))
                return self._remains(state, deployment, engine.Step(seen, left, [f"mark {line.id}: {line.detail}"]))
        return self._ended(state, deployment, [*resources, marked.proven(deployment, resources, now)])

    def _ended(self, state: RoundState, deployment: Deployment, resources: list[Resource]) -> StepResult:
        ended = self._lifecycle.released(deployment, resources)
        return _result(state, "gone") if ended.status == "Terminated" else self._with_late_ids(state, ended)

    def _check_time(self, state: RoundState, deployment: Deployment, resources: list[Resource]) -> None:
        """End the step if too little time is left to ask a provider for anything."""
        if self._time_left() < engine.CALL_NEEDS:
            step = engine.Step(resources=resources, waits=["no time was left to look for its resources"])
            raise _StepOver(self._remains(state, deployment, step))

    @contextmanager
    def _asking(self, state: RoundState, deployment: Deployment) -> Iterator[None]:
        """End the step if the provider refuses to show its resources, or is busy. What another attempt may mend is recorded, and passes."""
        try:
            yield
        except Refused as refused:
            raise _StepOver(self._refused(state, deployment, refused.error_class, str(refused))) from None
        except Busy as busy:
            step = engine.Step(resources=deployment.resources, retry_after=busy.retry_after, waits=[str(busy)])
            raise _StepOver(self._remains(state, deployment, step)) from None
        except Unreachable as unreachable:
            self._lifecycle.failing(deployment, "unreachable", str(unreachable))
            raise

    def _with_late_ids(self, state: RoundState, deployment: Deployment) -> StepResult:
        """Leave a deployment, to which ids were added during this step, to the next step, which discovers again."""
        step = engine.Step(resources=deployment.resources, waits=["ids were added: they are looked up first"])
        return self._remains(state, deployment, step)

    def _remains(self, state: RoundState, deployment: Deployment, step: engine.Step) -> StepResult:
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
        return _result(state, "remains", retry_after)

    def _refused(self, state: RoundState, deployment: Deployment, error_class: ErrorClass, text: str) -> StepResult:
        self._lifecycle.failing(deployment, error_class, text)
        return _result(state, "refused")


def _result(state: RoundState, outcome: Outcome, retry_after: int = 0) -> StepResult:
    return StepResult(
        blueprint_id=state.blueprint_id,
        generation=state.generation,
        round=state.round,
        retry_after=retry_after,
        outcome=outcome,
    )
