"""This is what the targets on AWS have in common: keys that lead to a server on loopback, and the sessions opened with them."""

import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any, ClassVar

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from tests.cleanup.providers.aws.cloud import MARK, REGION
from tests.conformance.target import Evidence, Made, Target
from tracker.cleanup.providers.aws import session
from tracker.model.settings import Settings

# moto's, whose keys are nobody's.
ACCOUNT = "123456789012"
OTHER_ACCOUNT = "111122223333"
SECRET_KEY = "a-secret-key-of-forty-characters-or-more"
# As long as an assumed role's, which is what a function on Lambda has.
TOKEN = "FwoGZXIvYXdzEJr" + "Q2xlYW51cA" * 30
KEYS = {
    "AWS_ACCESS_KEY_ID": "ASIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_SESSION_TOKEN": TOKEN,
    "AWS_EC2_METADATA_DISABLED": "true",
}


# What AWS says of what it doesn't show yet, by the call that looks for a main resource.
NOT_SHOWN = {"DescribeInstances": "InvalidInstanceID.NotFound", "DescribeCluster": "ResourceNotFoundException"}


class AwsTarget(Target):
    """`failing`, `throttled`, `busy` and `stuck` are each service's own."""

    evidence: ClassVar[Evidence] = "emulator"
    secrets: tuple[str, ...] = (SECRET_KEY, TOKEN)
    settings = Settings(marks={"aws": MARK}, aws_account=ACCOUNT)
    region = REGION
    # Of all tests of a class: a service's client takes long to make.
    sessions: ClassVar[Any]

    def __init_subclass__(cls) -> None:
        cls.sessions = staticmethod(lru_cache(maxsize=8)(session._opened.__wrapped__))

    def url(self) -> str:
        """Return where the server is."""
        raise NotImplementedError

    def start(self) -> None:
        for name, value in KEYS.items():
            self.patch.setenv(name, value)
        for service in ("EC2", "EKS", "STS"):
            self.patch.setenv(f"AWS_ENDPOINT_URL_{service}", self.url())
        self.patch.setattr(session, "ATTEMPTS", 1)
        self.patch.setattr(session, "_opened", self.sessions)

    @contextmanager
    def anew(self, **environment: str) -> Iterator[None]:
        """Sessions are opened anew, in an environment that differs so far."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            self.sessions.cache_clear()
            yield
        self.sessions.cache_clear()

    def misplaced(self, made: Made) -> Made:
        """In another account. Whether a region is the right one, nobody but the record knows."""
        return Made(made.main, made.ours, made.kept, made.ids, {"account": OTHER_ACCOUNT}, made.region)

    def change_account(self, made: Made) -> AbstractContextManager[object]:
        sts = boto3.client("sts", region_name=REGION, endpoint_url=self.url())
        role = f"arn:aws:iam::{OTHER_ACCOUNT}:role/cleanup"
        keys = sts.assume_role(RoleArn=role, RoleSessionName="a-test")["Credentials"]
        return self.anew(
            AWS_ACCESS_KEY_ID=keys["AccessKeyId"],
            AWS_SECRET_ACCESS_KEY=keys["SecretAccessKey"],
            AWS_SESSION_TOKEN=keys["SessionToken"],
        )

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Nobody listens."""
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            closed = f"http://127.0.0.1:{bound.getsockname()[1]}"
            with self.anew(AWS_ENDPOINT_URL_EC2=closed, AWS_ENDPOINT_URL_EKS=closed):
                yield

    @contextmanager
    def hasty(self) -> Iterator[None]:
        """Calls wait for an answer less long than they do."""
        with pytest.MonkeyPatch.context() as patch, self.anew():
            session.opened({"region": self.region}, self.settings)
            patch.setattr(session, "READ_TIMEOUT", 0.4)
            yield

    def hide(self, made: Made, looks: int) -> None:
        left = [looks]
        send = BaseClient._make_api_call

        def call(client: BaseClient, operation: str, params: dict[str, Any]) -> Any:
            if operation in NOT_SHOWN and made.main[1] in str(params) and left[0] > 0:
                left[0] -= 1
                raise ClientError({"Error": {"Code": NOT_SHOWN[operation], "Message": "not shown yet"}}, operation)
            return send(client, operation, params)

        self.patch.setattr(BaseClient, "_make_api_call", call)
