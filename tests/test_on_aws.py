"""This is what only AWS shows, by its own documents: the template as SAM translates it, IAM's list of actions, Lambda's limits.

An emulator takes all of this, or doesn't look.
"""

import json
import random
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from policy_sentry.querying.actions import get_action_data

from local.build import SAM, environment
from local.processes import LocalError
from tests.test_template import (
    FUNCTIONS,
    GLOBALS,
    PARAMETERS,
    RESOURCES,
    ROOT,
    TEMPLATE,
    listed,
    of_type,
    referred,
    statements,
)

# Lambda's quota for all variables of a function together, names included.
ENVIRONMENT_BYTES = 4096
# What an account that was opened today may run at once.
NEW_ACCOUNT_CONCURRENCY = 10
_TRANSLATE = """
import json, sys
from samtranslator.translator.transform import transform
print(json.dumps(transform(json.load(sys.stdin), {}, None)))
"""


@pytest.fixture(scope="session")
def translated() -> dict[str, Any]:
    """The template as CloudFormation gets it."""
    return translation(TEMPLATE)


def translation(written: dict[str, Any]) -> dict[str, Any]:
    """Return what the SAM CLI's own translator makes of a template in its long form."""
    if not SAM.exists():
        raise LocalError(f"no SAM CLI at {SAM}: run `make setup`")
    template = json.loads(json.dumps(written))
    for resource in template["Resources"].values():
        for name in {"CodeUri", "ContentUri", "DefinitionUri"} & resource.get("Properties", {}).keys():
            resource["Properties"][name] = f"s3://packages/{resource['Properties'][name]}"
    done = subprocess.run(
        [SAM.parent / "python", "-c", _TRANSLATE],
        input=json.dumps(template),
        env=environment(AWS_DEFAULT_REGION="eu-central-1"),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found


def methods(translated: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in translated["Resources"]["Api"]["Properties"]["Body"]["paths"].items():
        for method, operation in item.items():
            if method != "options":
                yield f"{method.upper()} {path}", operation


# Callers


def test_the_api_invokes_the_functions_by_its_own_right_and_not_by_its_callers(translated: dict[str, Any]) -> None:
    """A caller's credentials would need lambda:InvokeFunction, and with it could go past the API and say to be another."""
    found = dict(methods(translated))
    assert len(found) == sum(
        event["Type"] == "Api" for f in FUNCTIONS.values() for event in f.get("Events", {}).values()
    )
    for name, operation in found.items():
        assert "credentials" not in operation["x-amazon-apigateway-integration"], name


def test_every_method_wants_a_signature(translated: dict[str, Any]) -> None:
    for name, operation in methods(translated):
        assert operation["security"] == [{"AWS_IAM": []}], name
    body = translated["Resources"]["Api"]["Properties"]["Body"]
    (scheme,) = body["components"]["securitySchemes"].values()
    assert scheme["x-amazon-apigateway-authtype"] == "awsSigv4"


def test_the_api_may_invoke_each_function_by_its_own_path_alone(translated: dict[str, Any]) -> None:
    permissions = [
        r["Properties"]
        for r in translated["Resources"].values()
        if r["Type"] == "AWS::Lambda::Permission" and r["Properties"]["Principal"] == "apigateway.amazonaws.com"
    ]
    assert len(permissions) == len(dict(methods(translated)))
    # What answers that there is no such call reads alone.
    anywhere = [each for each in permissions if re.search(r"/[A-Z]+/\*$", each["SourceArn"]["Fn::Sub"][0])]
    assert [each["FunctionName"] for each in anywhere] == [{"Ref": "InspectFunction"}] * 5
    permissions = [each for each in permissions if each not in anywhere]
    for permission in permissions:
        path = permission["SourceArn"]["Fn::Sub"][0]
        assert re.search(r"\$\{__ApiId__\}/\$\{__Stage__\}/[A-Z]+/(deployments|strays)\b", path), path


def test_no_function_has_a_url_of_its_own(translated: dict[str, Any]) -> None:
    assert "AWS::Lambda::Url" not in {r["Type"] for r in translated["Resources"].values()}


# Partitions


def test_no_partition_is_written_out() -> None:
    files = [ROOT / "template.yaml", *(ROOT / "statemachine").iterdir()]
    files += [file for folder in ("layers", "functions") for file in (ROOT / folder).rglob("*.py")]
    # An example that a sentence shows to people is one.
    examples = r'"arn:aws:(iam::123456789012:role/cleanup|sts::123456789012:assumed-role/team-1/\*)"'
    assert [
        str(file) for file in files if re.search(r"arn:aws(-[a-z-]+)?:", re.sub(examples, "", file.read_text()))
    ] == []


# Roles


def _arns(value: Any) -> Iterator[str]:
    """The resources of a statement as AWS fills them in."""
    for each in listed(value):
        match each:
            case {"Fn::GetAtt": str(name)}:
                yield _ARNS[RESOURCES[name.partition(".")[0]]["Type"]]
            case {"Ref": str(name)}:
                yield _ARNS[RESOURCES[name]["Type"]]
            case {"Fn::Sub": str(text)}:
                yield _filled(text)
            case {"Fn::Split": [",", {"Ref": "AllowedRoles"}]}:
                yield "arn:aws:iam::123456789012:role/cleanup"
            case str(text):
                yield _filled(text)
            case _:
                raise AssertionError(each)


_ARNS = {
    "AWS::DynamoDB::Table": "arn:aws:dynamodb:eu-central-1:123456789012:table/t",
    "AWS::Events::EventBus": "arn:aws:events:eu-central-1:123456789012:event-bus/b",
    "AWS::SecretsManager::Secret": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:s",
    "AWS::SNS::Topic": "arn:aws:sns:eu-central-1:123456789012:t",
    "AWS::SQS::Queue": "arn:aws:sqs:eu-central-1:123456789012:q",
    "AWS::Serverless::Function": "arn:aws:lambda:eu-central-1:123456789012:function:f",
    "AWS::Serverless::StateMachine": "arn:aws:states:eu-central-1:123456789012:stateMachine:m",
}


def _filled(text: str) -> str:
    text = text.replace("${Table.Arn}", _ARNS["AWS::DynamoDB::Table"]).replace("${AWS::Partition}", "aws")
    return re.sub(r"\$\{[^}]*\}", "x", text)


@cache
def _documented(action: str) -> list[dict[str, Any]]:
    """Return what IAM's service authorization reference says of an action, a row for each kind of resource that it takes."""
    service, _, name = action.partition(":")
    found = get_action_data(service, name)
    assert found, f"AWS knows no action {action}"
    rows: list[dict[str, Any]] = found[service]
    return rows


def _takes(row: dict[str, Any], arn: str) -> bool:
    """Return whether a kind of resource is one that an ARN (which may end in *) can be of."""
    form: str = row["resource_arn_format"]
    if form == "*":
        return arn == "*"
    head, tail = (part.split(":", 5) for part in (form, arn))
    if len(tail) < len(head) or tail[2] != head[2]:
        return False
    kind = re.match(r"[A-Za-z-]*[/:]", head[5])
    return tail[5].startswith(kind.group()) if kind else True


ALLOWED = [
    pytest.param(name, statement, action, id=f"{name}-{n}-{action}")
    for n, (name, statement) in enumerate(statements())
    if statement["Effect"] == "Allow"
    for action in listed(statement["Action"])
]


@pytest.mark.parametrize(("name", "statement", "action"), ALLOWED)
def test_an_action_is_one_that_aws_knows_on_a_resource_that_it_can_be_on(
    name: str, statement: dict[str, Any], action: str
) -> None:
    rows = _documented(action)
    arns = list(_arns(statement["Resource"]))
    assert any(_takes(row, arn) for row in rows for arn in arns), [row["resource_arn_format"] for row in rows]
    if "*" in arns:
        narrower = {row["resource_arn_format"] for row in rows} - {"*"}
        assert not narrower, "it could be allowed on fewer"


@pytest.mark.parametrize(("name", "statement", "action"), ALLOWED)
def test_a_condition_is_one_that_aws_applies_to_the_action(name: str, statement: dict[str, Any], action: str) -> None:
    """A key that an action doesn't have is absent in every request: the condition would always, or never, hold."""
    arns = list(_arns(statement["Resource"]))
    for operator in statement.get("Condition", {}).values():
        for key in operator:
            if key == "aws:SourceArn":
                continue
            known = re.sub("/.*", "/${TagKey}", key)
            rows = [row for row in _documented(action) if any(_takes(row, arn) for arn in arns)]
            assert rows
            assert all(known in row["condition_keys"] for row in rows), key


# What a new account has


def test_what_a_new_account_has_is_enough_for_the_defaults() -> None:
    assert PARAMETERS["ReleaseConcurrency"]["Default"] == 0, "nothing of a concurrency of 10 can be reserved"
    queues = [
        event["Properties"]
        for function in FUNCTIONS.values()
        for event in function.get("Events", {}).values()
        if event["Type"] == "SQS"
    ]
    # A stream's only shard is read by one at a time.
    most = sum(e["Type"] == "DynamoDB" for f in FUNCTIONS.values() for e in f.get("Events", {}).values())
    for queue in queues:
        given = queue["ScalingConfig"]["MaximumConcurrency"]
        most += PARAMETERS[given["Ref"]]["Default"] if isinstance(given, dict) else given
    # What a throttled queue or stream has, it keeps and brings again; all of them busy at once is a rare moment.
    assert most <= NEW_ACCOUNT_CONCURRENCY, "queues and streams alone would throttle each other"


def test_what_survives_a_rollback_stands_in_no_next_tries_way() -> None:
    for name, resource in RESOURCES.items():
        if resource.get("DeletionPolicy") == "Retain":
            assert name == "Table"
            assert "TableName" not in resource["Properties"]
    named = {name for name, r in RESOURCES.items() if r.get("DeletionPolicy") == "RetainExceptOnCreate"}
    assert named == {"ApiLogWriter", "WebhookSecret"}


def test_what_an_operator_sets_by_hand_is_not_the_stacks() -> None:
    """An update of a parameter that the stack owns could put "enforce" over a "pause"."""
    assert of_type("AWS::SSM::Parameter") == {}
    read = [s["Resource"] for _, s in statements() if "ssm:GetParameter" in listed(s["Action"])]
    # By what obeys it, release and expire, and by what tells of it, terminate and plan.
    assert len(read) == 4
    assert {resource["Fn::Sub"].partition(":ssm:")[2] for resource in read} == {
        "${AWS::Region}:${AWS::AccountId}:parameter/${AWS::StackName}/cleanup-mode"
    }


# Limits


def _longest(value: Any) -> int:
    """The bytes of the longest text that a variable's value can become."""
    match value:
        case str(text):
            return len(text.encode())
        case {"Ref": str(name)} if name in PARAMETERS:
            parameter = PARAMETERS[name]
            if parameter["Type"] == "Number":
                return len(str(parameter.get("MaxValue", 10**12)))
            values = parameter.get("AllowedValues")
            return max(map(len, map(str, values))) if values else int(parameter["MaxLength"])
        case {"Ref": str(name)} | {"Fn::GetAtt": str(name)}:
            # Names and ARNs of what a stack makes.
            return {"AWS::StackName": 128, "AWS::AccountId": 12}.get(name, 200)
        case {"Fn::If": [_, one, other]}:
            return max(_longest(one), _longest(other))
        case {"Fn::Sub": str(text)}:
            known = {"AWS::Partition": 10, "AWS::Region": 15, "AWS::AccountId": 12, "AWS::StackName": 128}
            return len(re.sub(r"\$\{[^}]*\}", "", text)) + sum(
                known.get(name) or _longest({"Ref": name}) for name in re.findall(r"\$\{([^}]*)\}", text)
            )
    raise AssertionError(value)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_longest_settings_fit_into_a_functions_environment(name: str) -> None:
    variables = FUNCTIONS[name]["Environment"]["Variables"]
    assert sum(len(key) + _longest(value) for key, value in variables.items()) <= ENVIRONMENT_BYTES


# Throttles


def test_a_thousand_rounds_at_once_wait_for_their_turn_and_none_fails_by_throttling() -> None:
    """Ten places, steps of a minute, 1,000 rounds that begin within five: each waits by the definition's own retrier."""
    states = json.loads((ROOT / "statemachine/cleanup.asl.json").read_text())["States"]
    (retrier,) = [r for r in states["Release"]["Retry"] if "Lambda.TooManyRequestsException" in r["ErrorEquals"]]
    assert retrier["ErrorEquals"] == ["Lambda.TooManyRequestsException"], "others' troubles have a bound of their own"
    chance = random.Random(7)
    waiting = [(chance.uniform(0, 300), 0) for _ in range(1000)]
    free_at = [0.0] * 10
    done = 0
    while waiting:
        waiting.sort()
        at, attempt = waiting.pop(0)
        place = min(range(10), key=free_at.__getitem__)
        if free_at[place] <= at:
            free_at[place] = at + 60
            done += 1
            continue
        assert attempt < retrier["MaxAttempts"]
        gap = min(retrier["IntervalSeconds"] * retrier["BackoffRate"] ** min(attempt, 30), retrier["MaxDelaySeconds"])
        waiting.append((at + chance.uniform(0, gap) + 0.1, attempt + 1))
    assert done == 1000
    assert max(free_at) < states_timeout() / 10


def states_timeout() -> int:
    machine = json.loads((ROOT / "statemachine/cleanup.asl.json").read_text())
    seconds: int = machine["TimeoutSeconds"]
    return seconds


# In transit and at rest


def test_queues_and_topic_are_encrypted_and_take_nothing_in_plain_text() -> None:
    refused = {
        next(iter(referred(statement["Resource"])))
        for _, statement in statements()
        if statement["Effect"] == "Deny" and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    }
    queues = of_type("AWS::SQS::Queue")
    assert refused == queues.keys() | {"Topic"}
    assert all(queue["SqsManagedSseEnabled"] is True for queue in queues.values())
    assert RESOURCES["Topic"]["Properties"]["KmsMasterKeyId"] == "alias/aws/sns"


def test_a_workflows_log_holds_no_data_of_executions() -> None:
    (machine,) = of_type("AWS::Serverless::StateMachine").values()
    assert machine["Logging"]["IncludeExecutionData"] is False


def test_all_functions_have_the_same_log_level_and_group() -> None:
    assert GLOBALS["LoggingConfig"]["LogGroup"] == {"Ref": "FunctionsLog"}
