"""This is what the tests of cleaning up share: real targets, secrets, and deployments to clean up."""

import json
from collections.abc import Callable, Iterator

import boto3
import pytest
from moto import mock_aws

from tests.real_targets import busybox, docker_engine, labels, make_key, make_sshd, sshd

__all__ = ["busybox", "docker_engine", "labels", "make_key", "make_sshd", "put_secret", "sshd"]


@pytest.fixture
def put_secret(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Puts a secret of those keys and texts into Secrets Manager, and says its name."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        client = boto3.client("secretsmanager")

        def put(name: str, **content: str) -> str:
            client.create_secret(Name=name, SecretString=json.dumps(content))
            return name

        yield put
