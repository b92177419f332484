"""deploy/: what an operator deploys beside the stack, and the options that are put into its template."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.options import options, with_options
from tests.test_deploying import as_list
from tests.test_on_aws import _documented, translation
from tests.test_template import RESOURCES, ROOT, TEMPLATE, _Loader, of_type, rendered
from tracker.cleanup.providers.aws.eks import NOTES as EKS

BESIDE = sorted(path for path in (ROOT / "deploy").glob("*.yaml") if not path.name.endswith(".rbac.yaml"))
# Of the AWS CLI's commands those whose action, in IAM's words, has another name.
ACTIONS = {
    "logs tail": "logs:FilterLogEvents",
    "dynamodb wait": "dynamodb:DescribeTable",
    "cloudformation wait": "cloudformation:DescribeStacks",
    "service-quotas request-service-quota-increase": "servicequotas:RequestServiceQuotaIncrease",
    "stepfunctions list-executions": "states:ListExecutions",
    "stepfunctions describe-execution": "states:DescribeExecution",
}
# What `set_parameter` of the runbook needs, and a higher quota: others' rights, as it says there.
OTHERS = {"cloudformation:UpdateStack", "servicequotas:RequestServiceQuotaIncrease"}
# What the functions in the network reach there, by the services of their roles' actions, and the table.
CALLED = {"sts", "ssm", "secretsmanager", "ec2", "eks", "elasticloadbalancing", "logs", "dynamodb", "lambda"}


def loaded(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(path.read_text(), _Loader)
    return found


def beside(name: str) -> dict[str, Any]:
    return loaded(ROOT / "deploy" / f"{name}.yaml")


def policies(template: dict[str, Any]) -> list[dict[str, Any]]:
    """The documents of all policies that a template gives to roles."""
    found = []
    for each in template["Resources"].values():
        document = each.get("Properties", {}).get("PolicyDocument")
        if document and each["Type"] in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
            found.append(rendered(document, mark="Mark", require_mark=True) if "Fn::Sub" in document else document)
        found += [inline["PolicyDocument"] for inline in each.get("Properties", {}).get("Policies", [])]
    return found


@pytest.mark.parametrize("path", BESIDE, ids=lambda path: str(path.stem))
def test_its_actions_are_awss_and_named_one_by_one(path: Path) -> None:
    for document in policies(loaded(path)):
        for action in [action for each in document["Statement"] for action in as_list(each["Action"])]:
            assert "*" not in action
            assert _documented(action)


@pytest.mark.parametrize("path", BESIDE, ids=lambda path: str(path.stem))
def test_each_parameter_is_explained_and_no_partition_is_written_out(path: Path) -> None:
    for name, parameter in loaded(path)["Parameters"].items():
        assert parameter["Description"].endswith("."), name
    assert not re.search(r"arn:aws(-[a-z-]+)?:", path.read_text())


def without_sid(statement: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in statement.items() if name != "Sid"}, sort_keys=True)


@pytest.mark.parametrize(("mark", "require_mark"), [("Mark", True), ("Mark", False), ("", False)])
def test_another_accounts_role_may_do_what_the_stacks_own_roles_may_on_aws_and_no_more(
    mark: str, require_mark: bool
) -> None:
    def statements(template: dict[str, Any], *names: str) -> list[str]:
        found = []
        for name in names:
            document = template["Resources"][name]["Properties"]["PolicyDocument"]
            if "Fn::Sub" in document:
                document = rendered(document, mark=mark, require_mark=require_mark)
            found += [without_sid(each) for each in document["Statement"]]
        return sorted(found)

    role = beside("cleanup-role")
    ours = statements(TEMPLATE, "ReleaseAwsPolicy", "ReleaseClusterPartsPolicy", "LookPolicy")
    assert statements(role, "MarkedPolicy", "ClusterPartsPolicy", "LookPolicy") == ours
    assert len(policies(role)) == 3


def test_another_accounts_role_is_taken_by_the_trackers_functions_and_with_its_external_id_alone() -> None:
    role = beside("cleanup-role")
    (trust,) = role["Resources"]["CleanupRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Action"] == "sts:AssumeRole"
    assert trust["Condition"]["StringEquals"] == {"sts:ExternalId": {"Ref": "ExternalId"}}
    names = trust["Condition"]["ArnLike"]["aws:PrincipalArn"]
    assert [re.search(r"\$\{TrackerStack\}-(\w+)-\*$", each["Fn::Sub"]).group(1) for each in names] == [  # type: ignore[union-attr]
        "ReleaseFunctionRole",
        "PlanFunctionRole",
        "SurveyFunctionRole",
    ]
    for name in ("AwsMark", "RequireMark"):
        parameter = role["Parameters"][name]
        assert parameter["Default"] == TEMPLATE["Parameters"][name]["Default"]
    # A StackSet puts it into any account: nothing of it may be somebody's.
    assert "Transform" not in role
    assert "Fn::ImportValue" not in json.dumps(role)


def test_events_of_another_account_come_as_the_rules_of_the_stack_take_them() -> None:
    template = beside("events")["Resources"]
    wanted = set(template["Rule"]["Properties"]["EventPattern"]["detail-type"])
    assert wanted == {each["EventPattern"]["detail-type"][0] for each in of_type("AWS::Events::Rule").values()}
    assert template["Rule"]["Properties"]["Targets"][0]["DeadLetterConfig"]


def test_a_network_without_a_nat_gateway_has_every_service_that_its_functions_call() -> None:
    network = beside("network")["Resources"]
    there = {
        each["Properties"]["ServiceName"]["Fn::Sub"].rpartition(".")[2]
        for each in network.values()
        if each["Type"] == "AWS::EC2::VPCEndpoint"
    }
    assert there == CALLED
    functions = [name for name, each in of_type("AWS::Serverless::Function").items() if "VpcConfig" in each]
    assert functions == ["ReleaseFunction", "PlanFunction", "SurveyFunction"]
    roles = [{"Ref": f"{name}Role"} for name in functions]
    services = set()
    for name in functions:
        for policy in RESOURCES[name]["Properties"]["Policies"]:
            services |= {action.partition(":")[0] for each in policy["Statement"] for action in as_list(each["Action"])}
    for properties in of_type("AWS::IAM::Policy").values():
        if any(role in roles for role in properties["Roles"]):
            document = properties["PolicyDocument"]
            document = rendered(document, mark="Mark", require_mark=True) if "Fn::Sub" in document else document
            services |= {
                action.partition(":")[0] for each in document["Statement"] for action in as_list(each["Action"])
            }
    assert services == CALLED


def test_in_a_cluster_the_tracker_may_what_its_type_says() -> None:
    documents = list(yaml.safe_load_all((ROOT / "deploy/eks-access.rbac.yaml").read_text()))
    roles = {each["metadata"]["name"]: each["rules"] for each in documents if each["kind"] == "ClusterRole"}
    resources = {resource for rules in roles.values() for rule in rules for resource in rule["resources"]}
    said = " ".join(each for each in EKS.permissions if each.startswith("in the cluster"))
    assert resources <= set(re.findall(r"[a-z]{4,}", said))
    verbs = {verb for rules in roles.values() for rule in rules for verb in rule["verbs"]}
    assert verbs == {"list", "get", "delete"} & set(re.findall(r"[a-z]+", said))
    # Who plans may look, and no more.
    bound = {
        subject["name"]: each["roleRef"]["name"]
        for each in documents
        if each["kind"] == "ClusterRoleBinding"
        for subject in each["subjects"]
    }
    assert bound["deployment-tracker-plan"] == "deployment-tracker-looks"
    assert all(set(rule["verbs"]) <= {"list", "get"} for rule in roles["deployment-tracker-looks"])


def test_a_steps_version_is_tried_on_one_step_of_ten_and_taken_back_by_an_alarm() -> None:
    found = translation(with_options(TEMPLATE, ["canary"]))["Resources"]
    (group,) = [each["Properties"] for each in found.values() if each["Type"] == "AWS::CodeDeploy::DeploymentGroup"]
    assert group["AlarmConfiguration"]["Alarms"] == [{"Name": {"Ref": "ReleaseErrorsAlarm"}}]
    assert group["AutoRollbackConfiguration"]["Enabled"]
    alias = found["ReleaseFunctionAliaslive"]
    assert "CodeDeployLambdaAliasUpdate" in alias["UpdatePolicy"]
    again = translation(with_options(TEMPLATE, ["canary"]))["Resources"]
    # What is new may be in a layer or a parameter alone.
    assert versions(found) != versions(again)
    machine = found["CleanupStateMachine"]["Properties"]["DefinitionSubstitutions"]
    assert machine["ReleaseFunctionArn"] == {"Ref": "ReleaseFunctionAliaslive"}
    assert machine["RestoreFunctionArn"] == {"Fn::GetAtt": "RestoreFunction.Arn"}


def versions(resources: dict[str, Any]) -> list[str]:
    return [name for name, each in resources.items() if each["Type"] == "AWS::Lambda::Version"]


def test_a_private_api_is_reached_by_its_endpoints_alone() -> None:
    template = with_options(TEMPLATE, ["private-api"])
    found = translation(template)["Resources"]["Api"]["Properties"]
    assert found["EndpointConfiguration"]["Types"] == ["PRIVATE"]
    assert found["EndpointConfiguration"]["VpcEndpointIds"] == {"Ref": "ApiVpcEndpointIds"}
    allow, deny = found["Body"]["x-amazon-apigateway-policy"]["Statement"]
    assert allow["Condition"] == {"StringEquals": {"aws:SourceVpce": {"Ref": "ApiVpcEndpointIds"}}}
    assert (deny["Effect"], deny["Condition"].keys()) == ("Deny", {"StringNotEquals"})
    # Each call is signed all the same.
    assert template["Resources"]["Api"]["Properties"]["Auth"]["DefaultAuthorizer"] == "AWS_IAM"


@pytest.mark.parametrize("name", options())
def test_an_option_and_a_template_are_explained_where_one_deploys(name: str) -> None:
    text = (ROOT / "docs/deploying.md").read_text()
    assert f"`{name}`" in text
    assert [path.name for path in BESIDE if f"deploy/{path.name}" not in text] == []


def test_operators_may_do_what_the_runbook_and_the_pages_beside_it_have_them_do() -> None:
    deploying, security = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("deploying", "security"))
    pages = (ROOT / "docs/runbook.md").read_text()
    pages += re.findall(r"^## Restoring\n(.*?)^## ", deploying, re.MULTILINE | re.DOTALL)[0]
    pages += re.findall(r"^```sh\n(secret=.*?)^```", security, re.MULTILINE | re.DOTALL)[0]
    commands = set(re.findall(r"\baws ([a-z-]+ [a-z-]+)", pages))
    wanted = {ACTIONS.get(each) or action(*each.split()) for each in commands} - OTHERS
    allowed = {
        name
        for policy in policies(beside("operators"))
        for each in policy["Statement"]
        for name in as_list(each["Action"])
    }
    assert len(commands) > 10
    assert wanted - allowed == set()


def test_a_right_to_one_stack_is_none_to_another_whose_name_begins_as_its() -> None:
    resources = [
        each["Fn::Sub"]
        for policy in policies(beside("operators"))
        for statement in policy["Statement"]
        for each in (statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]])
        if isinstance(each, dict) and isinstance(each.get("Fn::Sub"), str) and "${TrackerStack}" in each["Fn::Sub"]
    ]
    made = [f"{name}-1A2B3C" for name in translation(TEMPLATE)["Resources"]]
    there = [*made, *[f"{name}/stream/2026" for name in made], "restored", "${AWS::Region}"]
    known = 0
    for resource in resources:
        rest = resource.partition("${TrackerStack}")[2]
        if not rest.startswith("-"):
            # It is the whole name.
            assert rest[0] in "/:", resource
            continue
        pattern = re.escape(rest).replace(r"\*", ".*")
        assert any(re.fullmatch(pattern, f"-{name}") for name in there), resource
        assert not any(re.fullmatch(pattern, f"-prod-{name}") for name in there), resource
        known += 1
    assert known > 10


def action(service: str, command: str) -> str:
    """Return how IAM names what a command of the AWS CLI does."""
    return f"{service}:{''.join(word.capitalize() for word in command.split('-'))}"
