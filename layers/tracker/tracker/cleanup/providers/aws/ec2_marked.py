"""This is what in EC2 carries the mark of a deployment: found by its tag, in the region of the record.

Used by `ec2`. A list may be late with what was just made ("Eventual consistency in the Amazon EC2 API"): it is looked for more than once.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tracker.cleanup.core.contract import Found
from tracker.cleanup.core.discovery import check_vouched
from tracker.cleanup.providers.aws import ec2_resources, session
from tracker.cleanup.providers.aws.ec2_api import Body, asked, listed, tags
from tracker.model.catalogue import entry
from tracker.model.deployment import Deployment, Resource, format_time
from tracker.model.marks import mark_in_tags
from tracker.model.settings import Settings

# The key of `resource_ids` for each kind; no record can name an interface.
_KEYS = {
    **{form.kind: key for key, form in entry("AwsEc2").ids.items() if form.kind},
    "aws:network_interface": "",
}
# EC2 has a time in each description of another name.
_TIMES = ("LaunchTime", "CreateTime")


def find(deployment: Deployment, settings: Settings, generation: str | None, stages: dict[str, int]) -> Iterator[Found]:
    """Yield what carries the tag, without what is deleted already, and without the interfaces that go with an instance."""
    vouched = session.place_of(deployment, settings)
    aws = session.opened(vouched, settings)
    place = vouched | {"account": aws.account}
    has_found = False
    type_ = entry(deployment.deployment_type)
    tag = {"Name": "tag-key", "Values": [type_.mark_key]}
    if generation is not None:
        tag = {"Name": f"tag:{type_.mark_key}", "Values": [generation]}
    for name, kind in ec2_resources.KINDS.items():
        for body in _described(aws.client("ec2"), kind, tag):
            mark = mark_in_tags(type_, tags(body))
            if mark is None or kind.progress(body)[0] == "gone" or _goes_with_instance(body):
                continue
            resource = Resource(name, body[kind.id_field], dict(place), stage=stages[name])
            has_found = True
            yield Found(resource, _KEYS[name], mark, _made_at(body))
    if not has_found:
        check_vouched(generation, vouched.get("account", ""), f"account {aws.account}")


def _described(ec2: Any, kind: ec2_resources.Ec2Kind, tag: dict[str, Any]) -> list[Body]:
    found = asked(ec2, kind.call, kind.items, Filters=[tag])
    if kind is not ec2_resources.INSTANCE:
        return found
    return [instance for reservation in found for instance in listed(kind.call, reservation, "Instances")]


def _goes_with_instance(body: Body) -> bool:
    """Return whether it is an interface that goes with its instance. Of other kinds no description has an attachment."""
    attachment = body.get("Attachment") or {}
    return bool(attachment.get("DeleteOnTermination") and attachment.get("InstanceId"))


def _made_at(body: Body) -> str | None:
    at = next((body[name] for name in _TIMES if name in body), None)
    return format_time(at) if isinstance(at, datetime) else None
