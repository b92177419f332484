"""This is what AWS refuses only when a stack is deployed or a call is made: rights that a call lacks, policies that are too long, values that it reads otherwise."""

import ast
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from cfnlint.helpers import REGION_PRIMARY
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from tests.test_deploy_templates import BESIDE, beside, loaded
from tests.test_on_aws import translated
from tests.test_template import PARAMETERS, RESOURCES, ROOT, TEMPLATE, allowed, listed, referred

__all__ = ["translated"]

# IAM's quota for all inline policies of a role together, without white space.
INLINE_CHARACTERS = 10_240
# Partitions, regions and stacks with the longest names that AWS has; an account; the name that CloudFormation gives to a thing.
LONGEST = {"AWS::Partition": 10, "AWS::Region": 15, "AWS::AccountId": 12, "AWS::StackName": 128}
MADE = 140
# The packages of providers' code that call AWS by its SDK, and what IAM calls these services.
SERVICES = {"ec2": "ec2", "eks": "eks", "elb": "elasticloadbalancing", "elbv2": "elasticloadbalancing", "logs": "logs"}


# Rights


@cache
def actions_by_name() -> dict[str, set[str]]:
    """IAM's actions by what the code calls them: DescribeVolumes, or describe_volumes."""
    session = botocore.session.get_session()
    found: dict[str, set[str]] = {}
    for service, prefix in SERVICES.items():
        for operation in session.get_service_model(service).operation_names:
            for name in (operation, xform_name(operation)):
                found.setdefault(name, set()).add(f"{prefix}:{operation}")
    return found


def called() -> set[str]:
    """The actions that the code of the AWS types names, as a method or in a text."""
    found = {"ec2:RevokeSecurityGroupIngress", "ec2:RevokeSecurityGroupEgress"}
    folder = ROOT / "layers/tracker/tracker/cleanup/providers/aws"
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "value", None)
            if isinstance(name, str):
                found |= actions_by_name().get(name, set())
    # The name of a call of two services: only load balancers are asked for their tags.
    return found - {"ec2:DescribeTags"}


def of_providers(function: str) -> set[str]:
    return {action for action in allowed(function) if action.partition(":")[0] in SERVICES.values()}


def test_release_may_what_the_code_calls_of_aws_and_no_more() -> None:
    assert of_providers("ReleaseFunction") == called()


@pytest.mark.parametrize("function", ["PlanFunction", "SurveyFunction"])
def test_what_only_looks_may_all_of_it_that_changes_nothing(function: str) -> None:
    assert of_providers(function) == {each for each in called() if re.search(":(Describe|List)", each)}


# Sizes


def filled(value: Any) -> Any:
    """A value with as much in each place as can come there."""
    match value:
        case {"Ref": str(name)}:
            return "x" * (LONGEST.get(name) or PARAMETERS.get(name, {}).get("MaxLength", MADE))
        case {"Fn::GetAtt": _}:
            return "x" * MADE
        case {"Fn::If": [_, then, _]} | {"Fn::Split": [_, then]}:
            return filled(then)
        case {"Fn::Sub": [str(text), dict(named)]}:
            return re.sub(r"\$\{([^}]*)\}", lambda m: filled(named.get(m[1], {"Ref": m[1]})), text)
        case {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{([^}]*)\}", lambda m: filled({"Ref": m[1]}), text)
        case dict():
            return {name: filled(each) for name, each in value.items()}
        case list():
            return [filled(each) for each in value]
    return value


def characters(document: Any) -> int:
    text = filled(document)
    return len(re.sub(r"\s", "", text if isinstance(text, str) else json.dumps(text)))


def inline(resources: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each inline policy with the role that has it."""
    for name, resource in resources.items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::IAM::Role":
            yield from ((name, policy["PolicyDocument"]) for policy in properties.get("Policies", []))
        if resource["Type"] == "AWS::IAM::Policy":
            yield from ((role["Ref"], properties["PolicyDocument"]) for role in properties["Roles"])


def test_the_policies_of_a_role_fit_together(translated: dict[str, Any]) -> None:
    sizes: Counter[str] = Counter()
    for resources in (translated["Resources"], *(loaded(path)["Resources"] for path in BESIDE)):
        for role, document in inline(resources):
            sizes[role] += characters(document)
    assert {"ReleaseFunctionRole", "CleanupRole"} <= sizes.keys()
    assert all(size <= INLINE_CHARACTERS for size in sizes.values()), sizes


# What CloudFormation refuses as a whole


def conditioned(template: dict[str, Any]) -> dict[str, str | None]:
    return {name: each.get("Condition") for name, each in template["Resources"].items()}


@pytest.mark.parametrize("path", [None, *BESIDE], ids=lambda path: "translated" if path is None else str(path.stem))
def test_nothing_depends_on_what_is_made_on_a_condition_of_its_own(translated: dict[str, Any], path: Any) -> None:
    """ "Unresolved resource dependencies", says CloudFormation, where the condition is false: no stack is made at all."""
    template = loaded(path) if path else translated
    conditions = conditioned(template)
    for name, each in template["Resources"].items():
        for other in listed(each.get("DependsOn", [])):
            assert conditions[other] in (None, conditions[name]), f"{name} depends on {other}"


def test_the_stage_that_logs_calls_is_made_after_the_role_by_which_it_does(translated: dict[str, Any]) -> None:
    (stage,) = (each for each in translated["Resources"].values() if each["Type"] == "AWS::ApiGateway::Stage")
    assert "ApiLog" in referred(stage["Properties"]["AccessLogSetting"])
    log = translated["Resources"]["ApiLog"]
    assert log["Metadata"] == {"After": {"Fn::If": ["SetsApiLogRole", {"Ref": "ApiAccount"}, "none"]}}
    assert log["Properties"] == translated["Resources"]["FunctionsLog"]["Properties"]


def test_no_parameter_replaces_anything(translated: dict[str, Any]) -> None:
    """What CloudFormation can't update it makes anew, and deletes the other: a queue with its messages, a topic with its subscribers."""
    found = 0
    for name, each in translated["Resources"].items():
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION_PRIMARY, each["Type"]).schema
        for pointer in schema.get("createOnlyProperties", []):
            value: Any = each.get("Properties", {})
            for part in pointer.removeprefix("/properties/").split("/"):
                value = value.get(part) if isinstance(value, dict) else None
            found += value is not None
            assert not referred(value) & PARAMETERS.keys(), (name, pointer)
    assert found > 50


# Names


def test_a_role_in_another_account_knows_the_trackers_roles_by_names_that_are_not_cut() -> None:
    """CloudFormation cuts a role's name at 64 characters, of which its own 12 and a hyphen are the last."""
    pattern = beside("cleanup-role")["Parameters"]["TrackerStack"]["AllowedPattern"]
    longest = max(n for n in range(1, 128) if re.fullmatch(pattern, "a" * n))
    roles = ("ReleaseFunctionRole", "PlanFunctionRole", "SurveyFunctionRole")
    assert max(len(f"{'a' * longest}-{role}-") for role in roles) + 13 <= 64
    assert f"at most {longest} characters" in (ROOT / "docs/deploying.md").read_text()


def test_the_stacks_that_are_proposed_have_names_that_aws_takes() -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    names = {name for each in config.values() if isinstance(each, dict) for name in _stack_names(each)}
    assert names
    for name in names:
        assert len(name) <= 30
        assert not name.lower().startswith(("aws", "ssm")), "Systems Manager takes no parameter below it"


def _stack_names(value: Any) -> Iterator[str]:
    for key, each in value.items():
        if key == "stack_name":
            yield each
        elif isinstance(each, dict):
            yield from _stack_names(each)


# Values


def split(value: Any) -> Iterator[str]:
    """The parameters that CloudFormation itself takes apart at commas, blanks and all."""
    match value:
        case {"Fn::Split": [",", {"Ref": str(name)}]}:
            yield name
        case dict():
            for each in value.values():
                yield from split(each)
        case list():
            for each in value:
                yield from split(each)


def test_a_parameter_that_cloudformation_splits_takes_no_blanks_and_no_empty_part() -> None:
    """A source or an account with a blank before it is another one: its events would be dropped, and nobody told."""
    names = set(split(RESOURCES))
    assert names == {"AllowedRoles", "EventAccounts", "EventSources"}
    for name in names:
        pattern = PARAMETERS[name]["AllowedPattern"]
        one, other = ("123456789012", "210987654321") if name == "EventAccounts" else ("arn:a", "b")
        for good in ("", one, f"{one},{other}"):
            assert re.fullmatch(pattern, good), (name, good)
        for bad in (f"{one}, {other}", f" {one}", f"{one} ", f"{one},", f",{one}", f"{one},,{other}", ",", " "):
            assert not re.fullmatch(pattern, bad), (name, bad)


# In transit


@pytest.mark.parametrize("path", [ROOT / "template.yaml", *BESIDE], ids=lambda path: str(path.stem))
def test_no_queue_of_any_template_takes_anything_in_plain_text(path: Any) -> None:
    resources = TEMPLATE["Resources"] if path.name == "template.yaml" else loaded(path)["Resources"]
    queues = {name for name, each in resources.items() if each["Type"] == "AWS::SQS::Queue"}
    refusing = {
        name
        for each in resources.values()
        if each["Type"] == "AWS::SQS::QueuePolicy"
        for statement in each["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        and listed(statement["Action"]) == ["sqs:*"]
        for name in referred(statement["Resource"])
    }
    assert queues <= refusing
