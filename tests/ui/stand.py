"""A stack as an operator may find it: the API that the client's tests have, with one of all that the page shows.

The page's tests look at it, and so do the pictures of docs/page.md (`python -m tests.ui.pictures`).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from moto import mock_aws

from deployment_tracker.client import Client
from deployment_tracker.places import Aws, Place
from deployment_tracker.transport import Transport
from deployment_tracker.ui.server import Server, server_of
from tests.client.api import KEYS, REGION, Api, Call, event, serving
from tracker.model.delivery import Attempt, Delivery
from tracker.model.deployment import Cleanup, CleanupError, Deployment, Resource, format_time

MODE = "/deployment-tracker/cleanup-mode"
HOUR = 3600
DAY = 24 * HOUR
ANN = "arn:aws:iam::123456789012:user/ann"
BLUEPRINT = "arn:aws:sts::123456789012:assumed-role/blueprint-manager/job-1841"
EC2 = {"account": "123456789012", "region": "eu-central-1"}


class Stand(Api):
    """That API, with a plan for each deployment."""

    def __init__(self) -> None:
        super().__init__()
        self.plans: dict[str, dict[str, Any]] = {}
        # It ends nothing by itself, unless a test says so.
        self.looks = -1

    def _about(self, method: str, key: str, rest: list[str], call: Call) -> tuple[int, Any]:
        if (method, rest) == ("GET", ["plan"]):
            self.plan = {"resources": [], "digest": f"d-{key}", **self.plans.get(key, {})}
        elif method == "DELETE" and not rest:
            # The page hands back what it was shown.
            self.plan = {"digest": f"d-{key}", **self.plans.get(key, {})}
        return super()._about(method, key, rest, call)

    def has(
        self, key: str, type_: str, *, age: int, ttl: int | None, rate: float | None = None, **more: Any
    ) -> Deployment:
        """Add a deployment so many seconds old. What it costs follows from its rate."""
        now = datetime.now(UTC)
        born = now - timedelta(seconds=age)
        if rate is not None:
            late = max(0, age - ttl) if ttl is not None else 0
            more["cost_per_hour"] = {"amount": rate, "currency": "USD"}
            more["cost"] = {"currency": "USD", "so_far": rate * age / HOUR, "late": rate * late / HOUR}
        if ttl is not None:
            more["ttl_seconds"] = ttl
        found = self.add(key, type_, deployed_at=format_time(born), **more)
        if not found.events:
            first = event(1, "registered", format_time(born), expires_at=found.expires_at)
            found = self.records[key] = msgspec.structs.replace(
                found, registered_at=format_time(born), events=[first], sequence=1, registered_by=BLUEPRINT
            )
        return found


def ago(seconds: float) -> str:
    """Return a time of the API so many seconds ago; ahead if they are below zero."""
    return format_time(datetime.now(UTC) - timedelta(seconds=seconds))


def failing(failures: int, class_: Any, message: str, *, next_in: float | None, quarantined: bool = False) -> Cleanup:
    """Return a cleanup that has failed."""
    return Cleanup(
        round=failures,
        reason="expired",
        failures=failures,
        total_failures=failures,
        last_error=CleanupError(class_, message, ago(600), failures),
        next_attempt_at=ago(-next_in) if next_in is not None else None,
        quarantined=quarantined,
    )


def instance(number: int, state: Any = "present", **more: Any) -> Resource:
    """Return an EC2 instance."""
    return Resource("aws:instance", f"i-0{number:016x}", EC2, seen=True, state=state, named_by="instance_id", **more)


def fill(api: Stand) -> None:
    """Register what an ordinary day leaves."""
    _needing_someone(api)
    _running(api)
    api.has(
        "team-a/preview-1187", "LocalDocker", age=5 * HOUR, ttl=5 * HOUR - 60, owner="ann",
        status="Terminating", cleanup=Cleanup(round=1, reason="expired", deadline=ago(-900)),
    )  # fmt: skip
    api.has(
        "license-server", "AwsEc2", age=9 * DAY, ttl=8 * DAY, rate=0.0416, owner="tom",
        hold={"reason": "audit until Friday", "by": ANN, "at": ago(DAY), "until": ago(-3 * DAY)},
    )  # fmt: skip
    api.strays = [
        {
            "key": "stray:aws:instance:i-0c41f0a9d2e87b635", "kind": "aws:instance", "id": "i-0c41f0a9d2e87b635",
            "place": EC2, "deployment_type": "AwsEc2", "first_seen_at": ago(5 * HOUR), "last_seen_at": ago(800),
        },
        {
            "key": "stray:hetzner:server:48210377", "kind": "hetzner:server", "id": "48210377",
            "place": {"project": "blueprints"}, "deployment_type": "HetznerServer",
            "first_seen_at": ago(3 * DAY), "last_seen_at": ago(900),
            "exempt": {"reason": "kept for forensics", "by": ANN, "at": ago(2 * DAY), "until": ago(-12 * DAY)},
        },
    ]  # fmt: skip


def _needing_someone(api: Stand) -> None:
    gone = instance(7, "gone", proof="terminated, then not found by DescribeInstances", gone_at=ago(5400))
    volume = Resource("aws:volume", "vol-09ad27c3310be42f1", EC2, stage=1, state="present", seen=True,
                      detail="in use by i-0aa41b, which isn't this deployment's")  # fmt: skip
    address = Resource("aws:address", "eipalloc-04f0c2b8d5e6a7f19", EC2, stage=1, state="kept", seen=True,
                       detail="it carries no mark of this deployment")  # fmt: skip
    message = "the volume vol-09ad27c3310be42f1 is attached to an instance that isn't this deployment's"
    api.has(
        "ml-batch-eu-7", "AwsEc2", age=11 * DAY, ttl=9 * DAY, rate=3.06, owner="mia",
        labels={"team": "ml", "env": "staging"}, resource_ids={"instance_id": gone.id}, resources=[gone, volume, address],
        cleanup_webhook="https://hooks.example.com/blueprints",
        cleanup=failing(8, "protected", message, next_in=None, quarantined=True),
        events=[
            event(1, "registered", ago(11 * DAY), expires_at=ago(2 * DAY)),
            event(2, "extended", ago(10 * DAY), **{"from": ago(3 * DAY), "to": ago(2 * DAY), "by": ANN}),
            event(3, "expiring", ago(2 * DAY + HOUR), before=3600, expires_at=ago(2 * DAY)),
            event(4, "terminating", ago(2 * DAY), "Terminating", reason="expired"),
            event(5, "resource_gone", ago(5400), "Terminating", kind="aws:instance", id=gone.id, proof=gone.proof),
            event(6, "cleanup_failed", ago(1200), **{"class": "protected"}, message=message),
            event(7, "quarantined", ago(600), failures=8),
        ],
        sequence=7,
    )  # fmt: skip
    api.plans["ml-batch-eu-7"] = {"resources": msgspec.to_builtins([volume, address])}
    url = "https://hooks.example.com/blueprints"
    tried = [Attempt(ago(1190), 0.4, status=503), Attempt(ago(900), 5, error="no answer within 5 s")]
    api.deliveries["ml-batch-eu-7"] = [
        Delivery(blueprint_id="ml-batch-eu-7", id="5f0c2b8d-6", url=url, body="{}", created_at=ago(1195),
                 attempts=tried, next_attempt_at=ago(-400)),
        Delivery(blueprint_id="ml-batch-eu-7", id="5f0c2b8d-4", url=url, body="{}", created_at=ago(2 * DAY),
                 state="delivered", attempts=[Attempt(ago(2 * DAY), 0.2, status=204)]),
    ]  # fmt: skip
    text = "the credential tracker/vultr/team-1 was refused (401)"
    api.has(
        "render-farm-2", "VultrInstance", age=30 * HOUR, ttl=28 * HOUR, rate=0.952, owner="tom",
        labels={"team": "render"}, cleanup=failing(3, "credentials", text, next_in=700),
    )  # fmt: skip
    api.has("ci-runner-4410", "DigitalOceanDroplet", age=4 * HOUR + 130, ttl=4 * HOUR, rate=0.071, owner="ci")


def _running(api: Stand) -> None:
    api.has(
        "demo-tuesday", "AwsEc2", age=2 * HOUR, ttl=2 * HOUR + 1390, rate=0.192, owner="ann", labels={"team": "sales"}
    )
    api.has("load-test-17", "HetznerServer", age=HOUR, ttl=HOUR + 3220, rate=0.0119, owner="mia", labels={"team": "ml"})
    api.has(
        "notebook-ben", "LambdaLabsInstance", age=5 * HOUR, ttl=8 * HOUR, rate=2.49, owner="ben", labels={"team": "ml"}
    )
    api.has("gpu-sweep-a100", "RunPodInstance", age=20 * HOUR, ttl=26 * HOUR, rate=1.89, owner="ben")
    found = api.has("staging-eks", "AwsEks", age=3 * DAY, ttl=7 * DAY, rate=0.41, owner="platform",
                    labels={"team": "platform", "env": "staging"})  # fmt: skip
    cluster = Resource("aws:eks_cluster", "staging-eks", EC2, stage=1)
    nodes = Resource("aws:eks_nodegroup", "staging-eks-a", EC2)
    api.plans[found.blueprint_id] = {"resources": msgspec.to_builtins([nodes, cluster])}
    api.has("svc-billing", "AwsEc2", age=2 * DAY, ttl=9 * DAY, owner="platform")
    api.has("docs-preview", "LocalDocker", age=HOUR, ttl=30 * HOUR, owner="ann")
    api.has("svc-unclear", "TensorDockServer", age=600, ttl=DAY, status="Unknown", incomplete=True, owner="ben")
    api.has("old-gateway", "PaperspaceMachine", age=90 * DAY, ttl=None, labels={"env": "prod"})


@contextmanager
def page_of(api: Api, *, brake: str | None = "enforce") -> Iterator[Server]:
    """The page of an API, which listens; its brake is a parameter on moto."""
    with mock_aws():
        aws = Aws(REGION)
        if brake is not None:
            aws.client("ssm").put_parameter(Name=MODE, Value=brake, Type="String")
        place = Place(api.url, REGION, stack="deployment-tracker", outputs={"ModeParameter": MODE})
        server = server_of(Client(Transport(api.url, REGION, lambda: KEYS), place, aws))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            server.server_close()


@contextmanager
def standing() -> Iterator[Stand]:
    """An API that listens, with nothing in it."""
    api = Stand()
    with serving(api):
        yield api
