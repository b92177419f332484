"""EC2's answers: asked for, listed whole, and the words in them.

Used by the files of AwsEc2, and by those of AwsEks for what a cluster leaves in EC2.
"""

from typing import Any

from botocore import xform_name

from tracker.cleanup.core.contract import Unreachable
from tracker.cleanup.providers.aws.session import translated

# A description of one resource, in botocore's shapes.
type Body = dict[str, Any]


def asked(ec2: Any, call: str, items: str, **request: Any) -> list[Body]:
    """Return the list that a call answers, all pages of it. Raises Gone, or one of the contract's exceptions."""
    method = getattr(ec2, xform_name(call))
    found: list[Body] = []
    while True:
        with translated(call):
            answer = method(**request)
        found += listed(call, answer, items)
        before, following = request.get("NextToken"), answer.get("NextToken")
        if not following:
            return found
        if following == before:
            raise Unreachable(f"{call}: its pages lead in a circle")
        request["NextToken"] = following


def listed(call: str, answer: dict[str, Any], items: str) -> list[Body]:
    """Return the list that an answer must hold. An answer without it, a proxy's page for instance, proves nothing."""
    found: list[Body] | None = answer.get(items)
    if found is None:
        raise Unreachable(f"{call}: the answer holds no {items}")
    return found


def condition(body: Body) -> str:
    """Return EC2's own word for an instance's or a volume's state; empty for what has none."""
    state = body.get("State", "")
    return str(state["Name"] if isinstance(state, dict) else state)


def tags(body: Body) -> dict[str, str]:
    """Return the tags. Interfaces alone have a TagSet."""
    return {tag["Key"]: tag["Value"] for tag in body.get("Tags") or body.get("TagSet") or []}
