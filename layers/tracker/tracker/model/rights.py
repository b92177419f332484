"""This is who may change which deployment: whoever registered or owns it, and the roles that may act on everything.

Pure. The lifecycle asks it within each transition that a caller requests; API Gateway has checked the signature before. Reading is
open to everyone whom the gateway lets in.
"""

import re

from tracker.model.deployment import Deployment
from tracker.model.errors import Problem
from tracker.model.patterns import matches

EVERYONE = ["*"]
_SESSION = re.compile(r"arn:([^:]+):sts::(\d+):assumed-role/([^/]+)/.+", re.ASCII)
_ROLE = re.compile(r"(arn:[^:]+:iam::\d+:role)/(?:.*/)?([^/]+)", re.ASCII)
_NAMED = re.compile(r"arn:[^:]+:iam::\d+:(?:role|user)/(?:.*/)?([^/]+)", re.ASCII)


class NotYours(Problem):
    """The deployment is somebody else's. The details name its owner and who registered it."""

    status = 403
    code = "not_yours"


def role_of(caller: str) -> str:
    """Return the ARN of a caller's role without path and session; any other caller as it is.

    The ARN of a session lacks the role's path, and names of roles are unique in an account.
    """
    if session := _SESSION.fullmatch(caller):
        partition, account, name = session.groups()
        return f"arn:{partition}:iam::{account}:role/{name}"
    if role := _ROLE.fullmatch(caller):
        return f"{role[1]}/{role[2]}"
    return caller


def may_act_on_everything(caller: str, everything: list[str]) -> bool:
    """Return whether a caller may change any deployment. `everything` are patterns of the roles that may."""
    role = role_of(caller)
    return everything == EVERYONE or any(matches(pattern, role, "role") for pattern in everything)


def may_act(deployment: Deployment, caller: str, everything: list[str]) -> bool:
    """Return whether a caller may change a deployment. `everything` are patterns of the roles that may change any."""
    if may_act_on_everything(caller, everything):
        return True
    role = role_of(caller)
    named = _NAMED.fullmatch(role)
    owner = deployment.owner or ""
    is_owner = owner != "" and (role_of(owner) == role or (named is not None and owner == named[1]))
    return is_owner or role_of(deployment.registered_by) == role


def check_may_decide(key: str, caller: str, everything: list[str]) -> None:
    """Raise NotYours if a caller may not decide about a stray, which is nobody's: only who may act on everything may."""
    if not may_act_on_everything(caller, everything):
        message = f"{key!r} isn't yours to decide about: nobody registered it, so only a role of ActOnEverything may"
        raise NotYours(message, owner=None, registered_by=None)


def check_may_act(deployment: Deployment, caller: str, everything: list[str]) -> None:
    """Raise NotYours if a caller may not change a deployment."""
    if may_act(deployment, caller, everything):
        return
    whose = f"it is {deployment.owner!r}'s" if deployment.owner else "nobody is its owner"
    raise NotYours(
        f"{deployment.blueprint_id!r} isn't yours to change: {whose}, and {deployment.registered_by!r} registered it",
        owner=deployment.owner,
        registered_by=deployment.registered_by,
    )
