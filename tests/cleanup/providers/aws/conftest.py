"""An EC2 to test against: the local stack's, over HTTP, which fails when told to."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from local.ec2 import Ec2
from tests.cleanup.providers.aws.cloud import REGION, Cloud, forget_sessions
from tracker.cleanup.providers.aws import session
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

# How long an instance shuts down here, in seconds.
TERMINATING = 0.3


@pytest.fixture(scope="module")
def server() -> Iterator[Ec2]:
    """One server and one session for all tests of a module, who each make things of their own."""
    with pytest.MonkeyPatch.context() as patch:
        server = Ec2(terminating=TERMINATING).start()
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ENDPOINT_URL_EC2", server.url)
        patch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key")
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setattr(session, "ATTEMPTS", 1)
        forget_sessions()
        yield server
        server.stop()
    forget_sessions()


@pytest.fixture(scope="module")
def whole_cloud(server: Ec2) -> Cloud:
    """The cloud, as the tests before have left it."""
    return Cloud(server)


@pytest.fixture
def cloud(whole_cloud: Cloud) -> Iterator[Cloud]:
    """The cloud, with nothing failing and no calls yet."""
    whole_cloud.forget()
    yield whole_cloud
    whole_cloud.server.faults.clear()


@pytest.fixture
def fresh_session(server: Ec2) -> Iterator[None]:
    """Nothing is known yet of whose the credentials are."""
    forget_sessions()
    yield
    forget_sessions()


@pytest.fixture
def impatient(cloud: Cloud, fresh_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short time limit for EC2, which may hang."""
    session.opened({"region": REGION}, Settings())
    cloud.forget()
    monkeypatch.setattr(session, "READ_TIMEOUT", 1)


@pytest.fixture
def deployment() -> Any:
    """Makes a deployment that names these ids."""

    def made(
        *, metadata: dict[str, str] | None = None, resources: list[Resource] | None = None, **ids: str | list[str]
    ) -> Deployment:
        return Deployment(
            id="dep-1",
            blueprint_id="b-1",
            deployment_type="AwsEc2",
            region=REGION,
            resource_ids=dict(ids),
            metadata=metadata or {},
            resources=resources or [],
            deployed_at="2030-01-01T00:00:00Z",
            registered_at="2030-01-01T00:00:00Z",
            generation=str(uuid4()),
        )

    return made
