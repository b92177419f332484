"""The load balancers of both generations, which controllers in a cluster make for its services and ingresses.

Used by `eks_dependents`, which finds them by their tags.
"""

from collections.abc import Iterator
from itertools import batched
from typing import Any, ClassVar

from tracker.cleanup.core.contract import Progress
from tracker.cleanup.providers.aws.ec2_api import Body, asked, listed
from tracker.cleanup.providers.aws.ec2_resources import Ec2Kind
from tracker.cleanup.providers.aws.session import Session, translated
from tracker.model.deployment import Resource

# So many are asked for their tags at once: the limit of both generations' DescribeTags.
TAGS_OF = 20


class LoadBalancer(Ec2Kind):
    """A load balancer of type application, network or gateway. Its id is its ARN."""

    noun = "load balancer"
    form = r"arn:[a-z-]+:elasticloadbalancing:[a-z0-9-]+:[0-9]{12}:loadbalancer/(app|net|gwy)/[A-Za-z0-9-]{1,32}/[0-9a-f]{16}"
    service = "elbv2"
    call, by, items, id_field = "DescribeLoadBalancers", "LoadBalancerArns", "LoadBalancers", "LoadBalancerArn"
    is_spared = True
    tagged_by: ClassVar = ("ResourceArns", "ResourceArn")

    def every(self, connection: Session) -> Iterator[Body]:
        """Yield all of the region, each with its tags."""
        elb = connection.client(self.service)
        with translated(self.call):
            pages = list(elb.get_paginator("describe_load_balancers").paginate())
        yield from self._with_tags(elb, [body for page in pages for body in listed(self.call, page, self.items)])

    def described(self, ec2: Any, id: str) -> list[Body]:
        return list(self._with_tags(ec2, super().described(ec2, id)))

    def ask(self, ec2: Any, resource: Resource, body: Body) -> None:
        with translated("DeleteLoadBalancer"):
            ec2.delete_load_balancer(**{self.id_field: resource.id})

    def progress(self, body: Body) -> tuple[Progress, str]:
        return "present", str(body.get("State", {}).get("Code", ""))

    def _with_tags(self, elb: Any, bodies: list[Body]) -> Iterator[Body]:
        """Yield descriptions with the tags, which another call tells."""
        several, one = self.tagged_by
        for some in batched(bodies, TAGS_OF, strict=False):
            ids = [body[self.id_field] for body in some]
            described = asked(elb, "DescribeTags", "TagDescriptions", **{several: ids})
            tags = {each[one]: each.get("Tags", []) for each in described}
            yield from (body | {"Tags": tags.get(body[self.id_field], [])} for body in some)


class ClassicLoadBalancer(LoadBalancer):
    """A load balancer of the first generation, which Kubernetes makes if no controller of AWS' own does. Its id is its name."""

    reuses_ids = True
    form = "[A-Za-z0-9-]{1,32}"
    service = "elb"
    by, items, id_field = "LoadBalancerNames", "LoadBalancerDescriptions", "LoadBalancerName"
    tagged_by: ClassVar = ("LoadBalancerNames", "LoadBalancerName")


LOAD_BALANCERS: dict[str, LoadBalancer] = {
    "aws:load_balancer": LoadBalancer(),
    "aws:classic_load_balancer": ClassicLoadBalancer(),
}
