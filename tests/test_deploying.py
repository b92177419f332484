"""docs/deploying.md: its policies let deployers and callers do what they must, by AWS's own list of actions."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from policy_sentry.querying.actions import get_action_data, get_actions_for_service

from local.build import SAM
from tests.real_targets import lacking
from tests.test_on_aws import methods, translated
from tests.test_template import RESOURCES, ROOT, of_type

__all__ = ["translated"]

# The prefixes of a service's actions, where it isn't the lower case of what its resource types begin with.
PREFIXES = {"StepFunctions": "states"}


def policy(name: str) -> list[dict[str, Any]]:
    """The statements of the policy that stands below a mark of that name."""
    text = (ROOT / "docs/deploying.md").read_text()
    (found,) = re.findall(rf"^<!-- {name} -->\n```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return list(json.loads(found)["Statement"])


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.mark.parametrize("name", ["deployer", "callers"])
def test_every_action_of_a_policy_is_one_of_awss(name: str) -> None:
    for action in [action for each in policy(name) for action in as_list(each["Action"])]:
        service, _, verb = action.partition(":")
        if verb == "*":
            assert get_actions_for_service(service), action
        else:
            assert get_action_data(service, verb), action


def test_a_deployer_may_make_every_kind_of_resource_that_the_stack_has(translated: dict[str, Any]) -> None:
    kinds = {resource["Type"].split("::")[1] for resource in translated["Resources"].values()}
    allowed = {action.partition(":")[0] for each in policy("deployer") for action in as_list(each["Action"])}
    assert {PREFIXES.get(kind, kind.lower()) for kind in kinds} <= allowed


def test_a_deployer_touches_resources_without_the_stacks_name_through_cloudformation_alone() -> None:
    for statement in policy("deployer"):
        if as_list(statement["Resource"]) == ["*"] and statement["Action"] != "cloudformation:GetTemplateSummary":
            via = {"aws:CalledVia": "cloudformation.amazonaws.com"}
            assert statement["Condition"] == {"ForAnyValue:StringEquals": via}


def test_callers_may_call_everything_and_readers_only_what_reads(translated: dict[str, Any]) -> None:
    (statement,) = policy("callers")
    deployments, strays = statement["Resource"]
    # What is no call of the API only gets its 404: nobody needs that allowed.
    for name in [name for name, _ in methods(translated) if "{proxy+}" not in name]:
        method, _, path = name.partition(" ")
        arn = f"arn:aws:execute-api:REGION:ACCOUNT:API_ID/v1/{method}{path.replace('{blueprint_id}', 'svc-1').replace('{key}', '~c3RyYXk')}"
        pattern = strays if path.startswith("/strays") else deployments
        assert fnmatchcase(arn, pattern), name
        assert fnmatchcase(arn, pattern.replace("/v1/*/", "/v1/GET/")) == (method == "GET"), name


@contextmanager
def heard() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The URL of a server on loopback, and the headers of what it was asked."""
    found: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", found
        server.shutdown()


@pytest.mark.parametrize("token", ["", "FwoGZX/+ a=="], ids=["lasting", "temporary"])
def test_the_call_of_the_pages_is_signed_and_sends_the_token_of_temporary_credentials(token: str) -> None:
    if not shutil.which("curl"):
        lacking("curl isn't there")
    (call,) = re.findall(r"^(call\(\) \{.*?^\})$", (ROOT / "docs/api.md").read_text(), re.MULTILINE | re.DOTALL)
    keys = {"REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIAX", "AWS_SECRET_ACCESS_KEY": "s"}
    with heard() as (url, requests):
        env = {"PATH": "/usr/bin:/bin", **keys} | ({"AWS_SESSION_TOKEN": token} if token else {})
        code = f'{call}\ncall "{url}/deployments/svc-1/plan"'
        subprocess.run(["bash", "-euc", code], env=env, check=True, capture_output=True)
    (headers,) = requests
    assert "Credential=AKIAX/" in headers["authorization"]
    assert "/eu-central-1/execute-api/aws4_request" in headers["authorization"]
    assert headers.get("x-amz-security-token", "") == token
    assert ("x-amz-security-token" in headers["authorization"]) == bool(token)


def test_the_quotas_are_those_of_the_template() -> None:
    text = (ROOT / "docs/deploying.md").read_text()
    assert f"| {len(of_type('AWS::CloudWatch::Alarm'))}, the first ten" in text
    (setting,) = RESOURCES["Api"]["Properties"]["MethodSettings"]
    assert f"| {setting['ThrottlingRateLimit']}, with bursts of {setting['ThrottlingBurstLimit']} " in text


@pytest.mark.parametrize("environment", ["default", "staging", "prod"])
def test_what_was_not_built_is_not_deployed(environment: str, tmp_path: Path) -> None:
    for name in ("samconfig.toml", "template.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "SAM_CLI_TELEMETRY": "0",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    }
    command = [str(SAM), "deploy", "--config-env", environment]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Template file not found" in done.stderr
