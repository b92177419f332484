"""An operator may give the stack another account of a provider, with a credential for it. What was seen in the first one isn't gone by that."""

import msgspec
import pytest

from tests.conformance.conftest import life, target
from tests.conformance.life import Life
from tests.conformance.matrix import targets
from tests.conformance.target import Target
from tracker.cleanup.core.contract import Unreachable

__all__ = ["life", "target"]

# Those whose stand-in's account is one of the settings.
MOVABLE = [each for each in targets() if getattr(each, "elsewhere", "") and "other-account" not in each.na]


@pytest.mark.parametrize("target_class", MOVABLE, ids=lambda each: each.deployment_type + (each.label or ""))
def test_what_was_seen_in_one_account_is_not_gone_in_another(target: Target, life: Life) -> None:
    made = target.make()
    accounts = target.settings.accounts
    life.register(made)
    with target.failing("server-error", "delete"), pytest.raises(Unreachable):
        life.run(state := life.begin())
    life.give_back(state)
    before = life.states
    assert made.main in {resource.key for resource in life.record.resources if resource.seen}
    elsewhere = target.elsewhere  # type: ignore[attr-defined]
    target.settings = msgspec.structs.replace(target.settings, accounts=dict.fromkeys(accounts, elsewhere))
    target.forget()
    with target.change_account(made):
        assert life.run(life.begin()).outcome == "refused"
    assert life.record.status == "Terminating"
    assert life.states == before
    assert target.asked() == []
    problem = life.record.cleanup.last_error
    assert problem
    assert problem.error_class in ("bad_id", "credentials", "not_ours")
