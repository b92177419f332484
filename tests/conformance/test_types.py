"""This is what every deployment type keeps, tried on every place that its test brings along (tests/conformance/target.py).

A test is a fault of `FAULTS`. Each goes through the doors that callers use: registered, terminated, released by rounds over a table.
"""

import json
import logging
from typing import get_args

import msgspec
import pytest

from tests.conformance.faults import fault
from tests.conformance.life import Life
from tests.conformance.target import Made, Target, When
from tracker.cleanup.core.contract import Finder, Unreachable
from tracker.model.catalogue import entry, missing_place
from tracker.model.errors import Invalid

# What no id may be: it would lead elsewhere in a path, a shell or an SDK.
MALFORMED = ["", "../x", "a/../../b", "-rf", "--all", "a b", "a;b", "x?y=1", "x#y", "%2e%2e", "ü", "a\n", "$(x)", "*"]
# An answer's time in the middle of a round isn't an error's: it must be tried both when looking and when deleting.
BOTH = pytest.mark.parametrize("when", ["look", "delete"])
TRANSPORT = ("server-error", "refused", "reset", "hung", "cut")


def refused(life: Life, error_class: str) -> None:
    """The latest round ended with a refusal of this class, and what it was about is there still."""
    assert life.answers[-1].outcome == "refused", life.record.cleanup.last_error
    error = life.record.cleanup.last_error
    assert error
    assert error.error_class == error_class, error.message


def gone(life: Life, made: Made) -> None:
    """It is over: all of ours is gone from the target, and the receipt proves it; what isn't ours stays."""
    over(life, made)
    assert set(made.ours) <= {key for key, state in life.states.items() if state == "gone"}


def over(life: Life, made: Made) -> None:
    """The same, where not all of ours could be known."""
    assert life.answers[-1].outcome == "gone", life.record.cleanup.last_error
    assert life.record.status == "Terminated"
    left = life.target.left()
    assert set(made.ours) & left == set()
    assert set(made.kept) <= left
    for resource in life.record.resources:
        assert resource.state in ("gone", "kept")
        assert resource.detail if resource.state == "kept" else resource.proof, resource


# What it is for


@fault("deleted")
def test_everything_is_deleted_and_proven_gone(target: Target, life: Life) -> None:
    made = target.make()
    type_ = entry(target.deployment_type)
    kinds = {type_.ids[key].kind for key in made.ids}
    # An id that no target makes could be forgotten by the type, and nobody would miss it.
    assert {key for key, form in type_.ids.items() if form.kind and form.kind not in kinds} <= target.unmade.keys()
    life.clean_up(made)
    gone(life, made)
    assert set(target.asked()) <= set(made.ours), "something was asked to go that isn't the deployment's"
    assert all(life.states.get(key, "kept") == "kept" for key in made.kept)


@fault("already-gone")
def test_what_is_gone_already_is_a_success(target: Target, life: Life) -> None:
    made = target.make()
    life.register(made)
    target.vanish(made)
    target.forget()
    life.run(life.begin())
    over(life, made)
    assert life.states[made.main] == "gone"
    assert target.asked() == []
    (main,) = (resource for resource in life.record.resources if resource.key == made.main)
    # It was seen by nobody, and its receipt says so, unless the provider still describes it.
    assert main.never_seen or "terminated" in main.proof


@fault("appears-late")
def test_what_shows_late_is_not_taken_for_gone(target: Target, life: Life) -> None:
    made = target.make()
    life.register(made)
    target.hide(made, looks=2)
    life.run(life.begin())
    assert made.main in target.asked(), life.record.cleanup.last_error
    gone(life, made)
    (main,) = (resource for resource in life.record.resources if resource.key == made.main)
    assert not main.never_seen


@fault("again")
def test_a_second_cleanup_changes_nothing(target: Target, life: Life) -> None:
    made = target.make()
    life.clean_up(made)
    left = target.left()
    target.forget()
    life.clean_up(made, deployed_at="2026-01-01T00:00:00Z")
    assert life.answers[-1].outcome == "gone", life.record.cleanup.last_error
    assert target.asked() == []
    assert target.left() == left


# Ids


@fault("missing-id")
def test_a_missing_id_is_a_refusal_and_no_call_is_made(target: Target, life: Life) -> None:
    made = target.make()
    type_ = entry(target.deployment_type)
    without = {key: value for key, value in made.ids.items() if key not in type_.needs_one_of[0]}
    with pytest.raises(Invalid) as invalid:
        life.register(made, resource_ids=without)
    assert type_.needs_one_of[0][0] in invalid.value.field
    if isinstance(target.module(), Finder):
        # Its mark is looked for instead, if the place is known. Nothing carries it here, so nothing is asked to go.
        life.register(made, resource_ids=without, status="Unknown", region=None)
    else:
        life.register(made, resource_ids=without, status="Unknown")
    target.forget()
    life.run(life.begin())
    assert target.asked() == []
    assert set(made.ours) <= target.left()
    if not isinstance(target.module(), Finder) or missing_place(life.record):
        refused(life, "missing_id")
        assert target.contacts() == 0


@fault("malformed-id")
def test_a_malformed_id_is_a_refusal_and_no_call_is_made(target: Target, life: Life) -> None:
    made = target.make()
    type_ = entry(target.deployment_type)
    life.register(made)
    keys = [key for key in made.ids if type_.kind_of(key)]
    assert keys
    target.forget()
    for key in keys:
        for bad in MALFORMED:
            with pytest.raises(Invalid):
                life.register(made, blueprint_id="other", resource_ids=made.ids | {key: bad})
    # A record may be older than a rule: so the same once more, behind the door.
    for key in keys:
        for bad in ("../x", "a b", "-rf"):
            life.force(resource_ids=made.ids | {key: bad}, resources=[])
            state = life.begin()
            life.run(state)
            refused(life, "bad_id")
            life.give_back(state)
    assert target.contacts() == 0
    assert set(made.ours) <= target.left()


# Whose, and where


@fault("denied")
@BOTH
def test_what_is_denied_is_a_refusal(target: Target, life: Life, when: When) -> None:
    made = target.make()
    life.register(made)
    for way in target.denials():
        with target.failing(f"denied:{way}", when):
            state = life.begin()
            life.run(state)
            refused(life, "credentials")
            life.give_back(state)
        assert made.main in target.left()
    life.run(life.begin())
    gone(life, made)


@fault("bad-credential")
def test_not_found_to_a_bad_credential_is_not_gone(target: Target, life: Life) -> None:
    made = target.make()
    life.register(made)
    with target.lose_credential(made):
        state = life.begin()
        life.run(state)
        refused(life, "credentials")
        life.give_back(state)
    assert set(made.ours) <= target.left()
    life.run(life.begin())
    gone(life, made)


@fault("wrong-place")
def test_not_found_in_another_place_is_not_gone(target: Target, life: Life) -> None:
    made = target.make()
    state = life.begin() if life.register(target.misplaced(made)) else None
    assert state
    try:
        answer = life.run(state)
    except Unreachable:
        pass
    else:
        assert answer.outcome == "refused"
    assert life.record.status == "Terminating"
    assert "gone" not in life.states.values()
    assert set(made.ours) <= target.left()


@fault("other-account")
def test_not_found_in_another_account_is_not_gone(target: Target, life: Life) -> None:
    made = target.make()
    life.register(made)
    with target.change_account(made):
        target.forget()
        life.run(life.begin())
        assert life.answers[-1].outcome == "refused"
        error = life.record.cleanup.last_error
        assert error
        assert error.error_class in ("credentials", "not_ours"), error
        assert target.asked() == []
    assert set(made.ours) <= target.left()


@fault("not-ours")
def test_what_is_not_ours_is_a_refusal(target: Target, life: Life) -> None:
    made = target.make()
    life.register(made)
    target.disown(made)
    target.forget()
    life.run(life.begin())
    refused(life, "not_ours")
    assert target.asked() == []
    assert made.main in target.left()


@fault("other-one")
def test_another_one_of_the_same_name_is_let_alone(target: Target, life: Life) -> None:
    made = target.make()
    life.register(made)
    with target.failing("server-error", "delete"), pytest.raises(Unreachable):
        life.run(state := life.begin())
    life.give_back(state)
    target.replace(made)
    target.forget()
    answer = life.run(life.begin())
    assert made.main in target.left()
    assert made.main not in target.asked()
    if answer.outcome == "refused":
        refused(life, "not_ours")
    else:
        assert answer.outcome == "gone"


# What isn't over yet


@fault("in-progress")
def test_a_deletion_that_cannot_begin_yet_waits(target: Target, life: Life) -> None:
    made = target.make()
    life.register(made)
    with target.busy(made, times=2):
        life.run(life.begin())
    assert [answer.outcome for answer in life.answers].count("remains") >= 2
    gone(life, made)


@fault("throttled")
def test_a_throttle_waits_for_as_long_as_it_says(target: Target, life: Life) -> None:
    made = target.make()
    life.register(made)
    with target.throttled(37, times=2):
        life.run(life.begin())
    # Not always the first: a main resource may be the last of several stages.
    assert any(answer.outcome == "remains" and answer.retry_after >= 37 for answer in life.answers)
    gone(life, made)


@fault("never-ends")
def test_what_never_ends_is_refused_at_the_deadline(target: Target, life: Life) -> None:
    life.be_patient()
    made = target.make()
    life.register(made)
    with target.stuck(made, made.main):
        life.run(life.begin())
    refused(life, "deadline")
    error = life.record.cleanup.last_error
    assert error
    assert made.main[1] in error.message
    # A round's price: each look is three transitions of the workflow.
    assert len(life.answers) <= 130
    assert life.states[made.main] != "gone"


@fault("never-ends")
def test_what_never_ends_is_asked_once_more_in_the_next_round(target: Target, life: Life) -> None:
    made = target.make()
    life.register(made)
    with target.stuck(made, made.main):
        life.run(state := life.begin())
        life.give_back(state)
        target.forget()
        life.run(life.begin())
        asked = target.asked().count(made.main)
    assert asked
    # What still shows as there is asked at every look.
    assert asked == 1 or life.states[made.main] != "leaving"


# What goes wrong on the way


@fault(*TRANSPORT)
@BOTH
def test_what_breaks_on_the_way_is_an_attempt(target: Target, life: Life, name: str, when: When) -> None:
    """Nothing counts as gone that isn't; and when all is well again, it goes."""
    made = target.make()
    life.register(made)
    with target.failing(name, when):
        state = life.begin()
        with pytest.raises(Unreachable):
            life.run(state)
        left = target.left()
        assert not [key for key, now in life.states.items() if now == "gone" and key in left]
        error = life.record.cleanup.last_error
        assert error
        assert error.error_class == "unreachable"
    life.give_back(state)
    life.run(life.begin())
    gone(life, made)


@fault("false-success")
def test_a_failure_inside_a_success_is_a_failure(target: Target, life: Life) -> None:
    made = target.make()
    life.register(made)
    with target.false_success(made):
        state = life.begin()
        try:
            answer = life.run(state)
        except Unreachable:
            pass
        else:
            assert answer.outcome == "refused"
    assert life.states[made.main] != "gone"
    assert made.main in target.left()
    life.give_back(state)
    life.run(life.begin())
    gone(life, made)


@fault("protected")
def test_what_is_protected_is_a_refusal(target: Target, life: Life) -> None:
    made = target.make()
    life.register(made)
    target.protect(made)
    life.run(life.begin())
    refused(life, "protected")
    assert made.main in target.left()


# Dependents


@fault("order")
def test_dependents_go_in_their_order(target: Target, life: Life) -> None:
    made = target.make()
    life.clean_up(made)
    gone(life, made)
    stages = {resource.key: resource.stage for resource in life.record.resources}
    asked = [stages[key] for key in target.asked()]
    assert asked == sorted(asked)
    assert len(set(stages.values())) > 1


@fault("stuck")
def test_one_stuck_dependent_is_named(target: Target, life: Life) -> None:
    made = target.make()
    life.register(made)
    stuck = target.dependent(made)
    with target.stuck(made, stuck):
        life.run(life.begin())
    refused(life, "deadline")
    error = life.record.cleanup.last_error
    assert error
    assert stuck[1] in error.message
    assert life.states[stuck] != "gone"
    stages = {resource.key: resource.stage for resource in life.record.resources}
    assert all(life.states[key] == "gone" for key in made.ours if stages[key] < stages[stuck])


@fault("half-done")
def test_a_second_round_knows_what_the_first_knew(target: Target, life: Life) -> None:
    made = target.make()
    # What only hangs on the main resource, and isn't named: after that is gone nobody else knows it.
    life.register(made)
    stuck = target.dependent(made)
    with target.stuck(made, stuck):
        state = life.begin()
        life.run(state)
    life.give_back(state)
    known = set(life.states)
    life.run(life.begin())
    assert known <= set(life.states)
    gone(life, made)


# Discretion


@fault("discreet")
def test_nothing_of_a_credential_is_seen(
    target: Target, life: Life, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert target.secrets
    made = target.make()
    life.register(made)
    said: list[str] = []
    with caplog.at_level(logging.DEBUG):
        for name in ("server-error", f"denied:{target.denials()[0]}"):
            for when in get_args(When):
                with target.failing(name, when):
                    state = life.begin()
                    try:
                        life.run(state)
                    except Unreachable as unreachable:
                        said += [repr(unreachable), repr(unreachable.__cause__)]
                    said.append(msgspec.json.encode(life.record).decode())
                    life.give_back(state)
        life.run(life.begin())
    captured = capsys.readouterr()
    said += [json.dumps([repr(record.__dict__) for record in caplog.records]), captured.out, captured.err]
    said.append(msgspec.json.encode(life.record).decode())
    for secret in target.secrets:
        assert not any(secret in text for text in said)
