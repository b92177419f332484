"""The cleanup workflow as it is written: what can go wrong in a definition, and what each answer of Release leads to."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from jsonschema import Draft202012Validator

from tests.table import template
from tracker.cleanup.core.rounds import Outcome, StepResult
from tracker.lifecycle.rounds import ATTEMPT_GAP, ATTEMPTS

FOLDER = Path(__file__).parent.parent / "statemachine"
MACHINE: dict[str, Any] = json.loads((FOLDER / "cleanup.asl.json").read_text())
STATES: dict[str, dict[str, Any]] = MACHINE["States"]
SCHEMA: dict[str, Any] = json.loads((FOLDER / "release-answer.schema.json").read_text())

# The errors that are Lambda's own: no attempt of ours is spent on them.
SERVICE_ERRORS = {
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.TooManyRequestsException",
    # Any other end of a function than an exception of its own; once AWS, and the local stack still, call a throttle so.
    "Lambda.Unknown",
}


def of_type(type_: str) -> dict[str, dict[str, Any]]:
    return {name: state for name, state in STATES.items() if state["Type"] == type_}


def following(state: dict[str, Any]) -> Iterator[str]:
    for place in [state, *state.get("Catch", []), *state.get("Choices", [])]:
        if "Next" in place:
            yield place["Next"]
    if "Default" in state:
        yield state["Default"]


def answer(outcome: Outcome, retry_after: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(
        StepResult(
            blueprint_id="service-1",
            generation="0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f",
            round=1,
            retry_after=retry_after,
            outcome=outcome,
        )
    )
    return found


ANSWERS = [answer("gone"), answer("superseded"), answer("remains", 5), answer("remains", 360), answer("refused")]


def holds(rule: dict[str, Any], state: dict[str, Any]) -> bool:
    """As Step Functions decides: in order, and a comparison of what isn't there ends the execution."""
    match rule:
        case {"And": rules}:
            return all(holds(one, state) for one in rules)
        case {"Or": rules}:
            return any(holds(one, state) for one in rules)
        case {"Variable": variable, "IsPresent": wanted}:
            return (variable.removeprefix("$.") in state) is wanted
        case {"Variable": variable, "IsNumeric": wanted}:
            value = state[variable.removeprefix("$.")]
            return (isinstance(value, int | float) and not isinstance(value, bool)) is wanted
        case {"Variable": variable, "StringEquals": wanted}:
            return bool(state[variable.removeprefix("$.")] == wanted)
        case {"Variable": variable, "NumericGreaterThanEquals": wanted}:
            return bool(state[variable.removeprefix("$.")] >= wanted)
    raise AssertionError(f"a rule that isn't known here: {rule}")


def decided(state: dict[str, Any]) -> str:
    for choice in STATES["Decide"]["Choices"]:
        if holds({k: v for k, v in choice.items() if k != "Next"}, state):
            return str(choice["Next"])
    return str(STATES["Decide"]["Default"])


def test_every_state_is_there_and_can_be_reached() -> None:
    reached, found = set(), {MACHINE["StartAt"]}
    while found:
        name = found.pop()
        reached.add(name)
        found |= set(following(STATES[name])) - reached
    assert reached == set(STATES)


def test_every_state_ends_or_leads_on() -> None:
    for name, state in STATES.items():
        assert state["Type"] in ("Succeed", "Fail") or list(following(state)), name


def test_every_choice_has_a_default() -> None:
    for name, state in of_type("Choice").items():
        assert "Default" in state, name


def test_every_task_has_a_time_limit_retries_and_a_catch_of_everything() -> None:
    assert of_type("Task").keys() == {"Release", "Restore"}
    for name, state in of_type("Task").items():
        assert state["TimeoutSeconds"] > 0, name
        assert state["Retry"], name
        assert [catch["ErrorEquals"] for catch in state["Catch"]] == [["States.ALL"]], name


def test_all_errors_are_matched_alone_and_last() -> None:
    for name, state in of_type("Task").items():
        for matchers in (state["Retry"], state["Catch"]):
            assert matchers[-1]["ErrorEquals"] == ["States.ALL"], name
            assert all("States.ALL" not in matcher["ErrorEquals"] for matcher in matchers[:-1]), name


def test_release_has_three_attempts_five_seconds_apart() -> None:
    retry = STATES["Release"]["Retry"][-1]
    assert retry == {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 5, "MaxAttempts": 2, "BackoffRate": 1}
    assert (retry["MaxAttempts"] + 1, retry["IntervalSeconds"]) == (ATTEMPTS, ATTEMPT_GAP)


def test_no_attempt_is_spent_on_what_lambda_itself_can_not_do() -> None:
    throttled, broken, _ = STATES["Release"]["Retry"]
    assert {*throttled["ErrorEquals"], *broken["ErrorEquals"]} == SERVICE_ERRORS
    for retrier in (throttled, broken):
        assert retrier["IntervalSeconds"] == 2
        assert retrier["BackoffRate"] == 2
        assert retrier["JitterStrategy"] == "FULL"


def test_a_throttled_step_waits_for_its_turn_as_long_as_a_round_may_last() -> None:
    throttled = STATES["Release"]["Retry"][0]
    assert throttled["ErrorEquals"] == ["Lambda.TooManyRequestsException"]
    # With jitter a gap is half of the longest one, on average.
    gap = throttled["MaxDelaySeconds"] / 2
    assert throttled["MaxAttempts"] * gap > MACHINE["TimeoutSeconds"]
    # Scheduled, started, failed: an execution whose history has 25,000 events is ended.
    assert MACHINE["TimeoutSeconds"] / gap * 3 < 25_000


def test_a_failed_release_keeps_its_state_on_the_way_to_restore() -> None:
    (catch,) = STATES["Release"]["Catch"]
    assert catch["Next"] == "Restore"
    assert catch["ResultPath"] == "$.error"


def test_restore_is_tried_for_longer_than_an_outage_of_minutes() -> None:
    throttled, retry = STATES["Restore"]["Retry"]
    assert throttled == STATES["Release"]["Retry"][0]
    gaps = [
        min(retry["IntervalSeconds"] * retry["BackoffRate"] ** n, retry["MaxDelaySeconds"])
        for n in range(retry["MaxAttempts"])
    ]
    assert retry["IntervalSeconds"] == 5
    assert sum(gaps) > 1800


def test_nothing_follows_restore_but_failure() -> None:
    assert set(following(STATES["Restore"])) == {"Failed"}
    assert STATES["Failed"]["Type"] == "Fail"


def test_a_task_answers_with_the_functions_own_answer() -> None:
    assert STATES["Release"]["Parameters"] == {"FunctionName": "${ReleaseFunctionArn}", "Payload.$": "$"}
    assert STATES["Release"]["OutputPath"] == "$.Payload"
    assert STATES["Restore"]["Parameters"] == {"FunctionName": "${RestoreFunctionArn}", "Payload.$": "$"}


def test_what_is_substituted_is_what_the_template_gives() -> None:
    machine = template()["Resources"]["CleanupStateMachine"]["Properties"]
    text = (FOLDER / "cleanup.asl.json").read_text()
    assert {f"${{{name}}}" for name in machine["DefinitionSubstitutions"]} == {
        part[: part.index("}") + 1] for part in text.replace("${", "\0${").split("\0")[1:]
    }


def test_the_tasks_outlive_their_functions() -> None:
    resources = template()["Resources"]
    for state, function in (("Release", "ReleaseFunction"), ("Restore", "RestoreFunction")):
        assert STATES[state]["TimeoutSeconds"] > resources[function]["Properties"]["Timeout"]


def test_the_machine_outlives_every_deadline_and_a_restore_after_it() -> None:
    parameters = template()["Parameters"]
    longest = max(parameters[name]["MaxValue"] for name in ("Deadline", "ClusterDeadline"))
    assert MACHINE["TimeoutSeconds"] >= longest + 2 * 3600


@pytest.mark.parametrize("sample", ANSWERS, ids=lambda sample: f"{sample['outcome']}-{sample['retry_after']}")
def test_the_schema_takes_what_release_answers(sample: dict[str, Any]) -> None:
    Draft202012Validator(SCHEMA).validate(sample)


def test_the_schema_knows_the_outcomes_of_release_and_no_others() -> None:
    assert set(SCHEMA["properties"]["outcome"]["enum"]) == set(get_args(Outcome))
    assert set(SCHEMA["required"]) == set(SCHEMA["properties"]) == set(StepResult.__struct_fields__)


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "success"},
        {"outcome": None},
        {"retry_after": 7.5},
        {"retry_after": "7"},
        {"retry_after": 0},
        {"round": 0},
        {"blueprint_id": ""},
        {"resources": []},
    ],
    ids=str,
)
def test_the_schema_refuses_what_decide_could_misread(change: dict[str, Any]) -> None:
    assert not Draft202012Validator(SCHEMA).is_valid(answer("remains", 5) | change)


@pytest.mark.parametrize(
    ("state", "following_state"),
    [
        (answer("gone"), "Done"),
        (answer("superseded"), "Done"),
        (answer("remains", 5), "Wait"),
        (answer("refused"), "Restore"),
        ({**answer("gone"), "outcome": "success"}, "Restore"),
        ({**answer("gone"), "outcome": 1}, "Restore"),
        ({**answer("remains"), "retry_after": None}, "Restore"),
        ({**answer("remains"), "retry_after": "5"}, "Restore"),
        ({**answer("remains"), "retry_after": 0}, "Restore"),
        ({**answer("remains"), "retry_after": -1}, "Restore"),
        ({key: value for key, value in answer("remains", 5).items() if key != "retry_after"}, "Restore"),
        ({key: value for key, value in answer("gone").items() if key != "outcome"}, "Restore"),
        ({}, "Restore"),
    ],
)
def test_only_a_proven_end_succeeds_and_whatever_is_not_understood_restores(
    state: dict[str, Any], following_state: str
) -> None:
    assert decided(state) == following_state


def test_the_wait_is_what_release_asked_for() -> None:
    assert STATES["Wait"] == {"Type": "Wait", "SecondsPath": "$.retry_after", "Next": "Release"}
