"""This is who may change which deployment."""

import pytest

from tests.fakes import a_deployment
from tracker.model.rights import NotYours, check_may_act, may_act, role_of

ROLE = "arn:aws:iam::123456789012:role/team-1"
SESSION = "arn:aws:sts::123456789012:assumed-role/team-1/ann"
OTHER = "arn:aws:sts::123456789012:assumed-role/team-2/bob"
ADMINS = ["arn:aws:iam::123456789012:role/admin-*", "event blueprint"]


@pytest.mark.parametrize(
    ("caller", "role"),
    [
        (SESSION, ROLE),
        ("arn:aws:iam::123456789012:role/a/b/team-1", ROLE),
        ("arn:aws-cn:sts::123456789012:assumed-role/team-1/x", "arn:aws-cn:iam::123456789012:role/team-1"),
        ("arn:aws:iam::123456789012:user/team/ann", "arn:aws:iam::123456789012:user/team/ann"),
        ("event blueprint", "event blueprint"),
        ("", ""),
    ],
)
def test_a_session_acts_as_its_role(caller: str, role: str) -> None:
    assert role_of(caller) == role


@pytest.mark.parametrize(
    ("registered_by", "owner", "caller", "may"),
    [
        (SESSION, None, SESSION.replace("ann", "another"), True),
        (SESSION, None, OTHER, False),
        (SESSION, "team-2", OTHER, True),
        (SESSION, "arn:aws:iam::123456789012:role/path/team-2", OTHER, True),
        (SESSION, "team-2", SESSION, True),
        (OTHER, "team-3", SESSION, False),
        (OTHER, None, "arn:aws:sts::123456789012:assumed-role/admin-eu/x", True),
        (OTHER, None, "arn:aws:sts::123456789012:assumed-role/not-admin-eu/x", False),
        (OTHER, "ann", "arn:aws:iam::123456789012:user/team/ann", True),
        (OTHER, None, "event blueprint", True),
        (OTHER, None, "event billing", False),
        ("event billing", None, "event billing", True),
        ("", None, "", True),
        (OTHER, "", "", False),
    ],
)
def test_who_registered_or_owns_it_may_act_and_whom_the_setting_names(
    registered_by: str, owner: str | None, caller: str, may: bool
) -> None:
    assert may_act(a_deployment(registered_by=registered_by, owner=owner), caller, ADMINS) is may


def test_by_default_everyone_may() -> None:
    assert may_act(a_deployment(registered_by=OTHER), SESSION, ["*"])


def test_who_may_not_is_told_whose_it_is() -> None:
    with pytest.raises(NotYours, match="it is 'team-2''s") as raised:
        check_may_act(a_deployment(registered_by="someone", owner="team-2"), SESSION, ADMINS)
    assert (raised.value.status, raised.value.code) == (403, "not_yours")
    assert raised.value.details == {"owner": "team-2", "registered_by": "someone"}
