"""The workflow's last word on a failed round, through the function's own handler."""

from typing import Any

import pytest

from tests.fakes import a_deployment
from tests.fresh import forget_process
from tests.functions.conftest import Stack, an_event
from tracker.model.clock import utc_now
from tracker.model.deployment import Deployment


@pytest.fixture
def terminating(stack: Stack) -> Deployment:
    generation = an_event("restore-caught")["generation"]
    stack.lifecycle.register(a_deployment("svc-7", now=utc_now(), generation=generation))
    return stack.lifecycle.terminate("svc-7", reason="requested", requested_by="someone")


def test_what_the_workflow_caught_is_the_error_and_not_its_text(stack: Stack, terminating: Deployment) -> None:
    assert stack.call("restore", an_event("restore-caught")) == {"restored": True, "quarantined": False}
    record = stack.record()
    assert (record.status, record.cleanup.failures) == ("Active", 1)
    error = record.cleanup.last_error
    assert error
    assert (error.error_class, error.message) == ("workflow", "the workflow caught Unreachable")


def test_what_the_round_noted_is_the_error(stack: Stack, terminating: Deployment) -> None:
    stack.lifecycle.failing(terminating, "protected", "termination protection")
    stack.call("restore", an_event("restore-refused"))
    error = stack.record().cleanup.last_error
    assert error
    assert error.error_class == "protected"


def test_a_second_word_on_the_same_round_changes_nothing(stack: Stack, terminating: Deployment) -> None:
    stack.call("restore", an_event("restore-caught"))
    before = stack.record()
    assert stack.call("restore", an_event("restore-caught")) == {"restored": False}
    assert stack.record() == before


def test_a_word_on_nothing_known_is_heard(stack: Stack) -> None:
    assert stack.call("restore", an_event("restore-caught")) == {"restored": False}


def test_a_quarantine_is_said(stack: Stack, terminating: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRY_DAYS", "0")
    forget_process()
    assert stack.call("restore", an_event("restore-caught")) == {"restored": True, "quarantined": True}


@pytest.mark.parametrize("error", [{}, {"Error": "States.Timeout"}, {"Error": "Lambda.Unknown", "Cause": "{"}])
def test_any_error_of_the_workflow_gives_the_record_back(
    stack: Stack, terminating: Deployment, error: dict[str, Any]
) -> None:
    assert stack.call("restore", an_event("restore-caught") | {"error": error})["restored"]
