"""The template as it is written: who may do what, what guards the records, and what the code expects of it."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from local.build import OVERLAY, merged
from local.options import BUILT
from tracker.intake.events import TRIED_SECONDS
from tracker.model.deployment import DEPLOYMENT_TYPES
from tracker.model.settings import Settings, from_environment
from tracker.notify.announcements import FOR_WEBHOOK
from tracker.notify.deliveries import JITTER, keys_of
from tracker.notify.queue import LATE
from tracker.notify.targets import RESOLVE_LIMIT
from tracker.notify.webhooks import TIME_LIMIT
from tracker.store.records import Listed
from tracker.store.table import ListedProgress
from tracker.survey import lanes

ROOT = Path(__file__).parent.parent

# IAM's service authorization reference: these actions know no resource that a policy could name.
WITHOUT_RESOURCE = {
    "ec2:DescribeAddresses",
    "ec2:DescribeFleets",
    "ec2:DescribeImages",
    "ec2:DescribeInstances",
    "ec2:DescribeKeyPairs",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSnapshots",
    "ec2:DescribeSpotFleetRequests",
    "ec2:DescribeSpotInstanceRequests",
    "ec2:DescribeVolumes",
    "eks:ListClusters",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeTags",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}
# What isn't a setting of ours.
OTHERS_VARIABLES = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_LOG_LEVEL"}
# The alarms that a missing metric raises.
SILENCE = {"SweepSilentAlarm", "UnwatchedAlarm", "SurveySilentAlarm"}
LOCAL_OTHERS_VARIABLES = {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_EKS"}


class _Loader(yaml.SafeLoader):
    """Reads `!Ref x` as `{"Ref": x}`."""


def _long_form(loader: _Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.ScalarNode)
        value = loader.construct_scalar(node)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _long_form)
TEMPLATE: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), _Loader)
PARAMETERS: dict[str, dict[str, Any]] = TEMPLATE["Parameters"]
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
GLOBALS: dict[str, Any] = TEMPLATE["Globals"]["Function"]
LOCAL: dict[str, Any] = yaml.safe_load(OVERLAY.read_text())
LOCAL_VARIABLES: dict[str, Any] = LOCAL["Globals"]["Function"]["Environment"]["Variables"]


def of_type(type_: str) -> dict[str, dict[str, Any]]:
    return {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == type_}


# With what all of them have, as SAM merges it.
FUNCTIONS = {name: merged(GLOBALS, properties) for name, properties in of_type("AWS::Serverless::Function").items()}


def events(type_: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for function, properties in FUNCTIONS.items():
        for event in properties.get("Events", {}).values():
            if event["Type"] == type_:
                yield function, event["Properties"]


def rendered(policy: dict[str, Any], *, mark: str = "", require_mark: bool = False) -> dict[str, Any]:
    """The document of a policy that is written as text, as CloudFormation fills it in."""
    text, variables = policy["Fn::Sub"]
    conditions = {"HasAwsMark": bool(mark), "RequiresMark": bool(mark) and require_mark}
    for name, value in variables.items():
        condition, then, otherwise = value["Fn::If"]
        chosen = then["Fn::Sub"] if conditions[condition] else otherwise
        text = text.replace(f"${{{name}}}", chosen)
    found: dict[str, Any] = json.loads(text.replace("${AwsMark}", mark))
    return found


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of every role and of every resource's own policy."""
    for name, properties in [*FUNCTIONS.items(), *of_type("AWS::Serverless::StateMachine").items()]:
        for policy in properties["Policies"]:
            yield from ((name, statement) for statement in policy["Statement"])
    for type_ in ("AWS::IAM::Policy", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy"):
        for name, properties in of_type(type_).items():
            document = properties["PolicyDocument"]
            if "Fn::Sub" in document:
                document = rendered(document, mark="Mark", require_mark=True)
            yield from ((name, statement) for statement in document["Statement"])


def referred(value: Any) -> set[str]:
    """The names of parameters, conditions and resources that a value refers to."""
    if isinstance(value, list):
        return {name for each in value for name in referred(each)}
    if not isinstance(value, dict):
        return set()
    found = {name for each in value.values() for name in referred(each)}
    match value:
        case {"Ref": str(name)} | {"Fn::If": [str(name), *_]}:
            found.add(name)
        case {"Fn::GetAtt": str(name)}:
            found.add(name.partition(".")[0])
        case {"Fn::Sub": str(text)}:
            found |= {name.partition(".")[0] for name in re.findall(r"\$\{([A-Za-z0-9:.]+)\}", text)}
    return found


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def allowed(function: str) -> set[str]:
    """The actions that a function's role has."""
    role = {"Ref": f"{function}Role"}
    named = [statement for name, statement in statements() if name == function]
    for name, properties in of_type("AWS::IAM::Policy").items():
        if role in properties["Roles"]:
            named += [statement for other, statement in statements() if other == name]
    return {action for statement in named for action in listed(statement["Action"])}


# Who may do what


def test_no_statement_allows_actions_that_it_does_not_name() -> None:
    found = [
        (name, action)
        for name, s in statements()
        for action in listed(s["Action"])
        if "*" in action and s["Effect"] == "Allow"
    ]
    assert found == []


def test_every_statement_allows_and_none_excepts_but_what_comes_in_plain_text() -> None:
    for name, statement in statements():
        if statement["Effect"] == "Deny":
            assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}, name
        assert not {"NotAction", "NotResource", "NotPrincipal"} & statement.keys(), name


def test_only_actions_that_know_no_resource_are_allowed_on_all() -> None:
    found = {a for _, s in statements() if "*" in listed(s["Resource"]) for a in listed(s["Action"])}
    assert found == WITHOUT_RESOURCE


def test_only_the_three_that_reach_providers_may_take_roles_or_read_secrets_but_those_of_webhooks() -> None:
    reaching = {"secretsmanager:GetSecretValue", "sts:AssumeRole"}
    found = {name for name in FUNCTIONS if reaching & allowed(name)}
    assert found == {"DeliverFunction", "PlanFunction", "ReleaseFunction", "SurveyFunction"}
    readable = [
        statement["Resource"]
        for name, statement in statements()
        if name in ("DeliverFunction", "WebhookSecretsPolicy")
        and "secretsmanager:GetSecretValue" in statement["Action"]
    ]
    own, named = readable
    assert own == {"Fn::GetAtt": "WebhookSecret.Id"}
    assert named["Fn::Sub"].endswith(":secret:${SecretsPrefix}webhooks/*")
    assert "sts:AssumeRole" not in allowed("DeliverFunction")


def test_no_function_of_webhooks_works_where_private_addresses_are_near() -> None:
    assert "VpcConfig" not in FUNCTIONS["DeliverFunction"]


def test_only_release_may_delete_anything_but_items_and_plan_may_not() -> None:
    harmful = re.compile(r"[a-z0-9]+:(Delete|Terminate|Release|Disassociate|Revoke)")
    found = {name for name in FUNCTIONS if any(harmful.match(a) for a in allowed(name) - {"dynamodb:DeleteItem"})}
    assert found == {"ReleaseFunction"}


def test_no_function_scans_the_table() -> None:
    assert not any("dynamodb:Scan" in allowed(name) for name in FUNCTIONS)


def test_the_brake_is_read_by_what_obeys_it_and_by_what_tells_of_it() -> None:
    found = {name for name in FUNCTIONS if "ssm:GetParameter" in allowed(name)}
    assert found == {"ExpireFunction", "ReleaseFunction"} | {"TerminateFunction", "PlanFunction"}
    assert found == {name for name, f in FUNCTIONS.items() if "MODE_PARAMETER" in f["Environment"]["Variables"]}


def test_the_workflow_invokes_its_two_functions_and_no_others() -> None:
    (machine,) = of_type("AWS::Serverless::StateMachine").values()
    resources = [s["Resource"] for p in machine["Policies"] for s in p["Statement"] if "lambda" in str(s["Action"])]
    assert resources == [[{"Fn::GetAtt": "ReleaseFunction.Arn"}, {"Fn::GetAtt": "RestoreFunction.Arn"}]]


def test_a_queue_takes_messages_only_from_its_rules_or_the_topic() -> None:
    for name, properties in of_type("AWS::SQS::QueuePolicy").items():
        for statement in properties["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Deny":
                continue
            sources = listed(statement["Condition"]["ArnEquals"]["aws:SourceArn"])
            if name == "DeliveriesQueuePolicy":
                assert statement["Principal"] == {"Service": "sns.amazonaws.com"}
                assert sources == [{"Ref": "Topic"}]
                continue
            assert statement["Principal"] == {"Service": "events.amazonaws.com"}, name
            assert all(source["Fn::GetAtt"].endswith("Rule.Arn") for source in sources), name


# What may be deleted on AWS

MARKED = {"Null": {"aws:ResourceTag/Mark": "false"}}


def deleting(action: str, **marks: Any) -> list[dict[str, Any]]:
    document = rendered(RESOURCES["ReleaseAwsPolicy"]["Properties"]["PolicyDocument"], **marks)
    return [s["Condition"] for s in document["Statement"] if action in s["Action"] and "Condition" in s]


@pytest.mark.parametrize("require_mark", [True, False])
@pytest.mark.parametrize(
    "action",
    [
        "ec2:TerminateInstances",
        "ec2:DeleteNetworkInterface",
        "ec2:DeleteSecurityGroup",
        "ec2:RevokeSecurityGroupEgress",
        "ec2:RevokeSecurityGroupIngress",
        "ec2:DeleteKeyPair",
        "eks:DeleteCluster",
    ],
)
def test_instances_groups_keys_and_clusters_always_need_the_mark(action: str, require_mark: bool) -> None:
    assert deleting(action, mark="Mark", require_mark=require_mark) == [MARKED]


@pytest.mark.parametrize(
    "action",
    [
        "ec2:DeleteVolume",
        "ec2:ReleaseAddress",
        "ec2:DisassociateAddress",
        "elasticloadbalancing:DeleteLoadBalancer",
    ],
)
def test_volumes_and_addresses_need_the_mark_while_it_is_required(action: str) -> None:
    assert deleting(action, mark="Mark", require_mark=True) == [MARKED]
    assert deleting(action, mark="Mark", require_mark=False) == [{}]


def test_of_what_carries_no_mark_only_parts_of_clusters_may_go_and_interfaces_with_tags_of_a_cluster() -> None:
    found = [
        (action, list(statement.get("Condition", {}).get("Null", {}).items()))
        for statement in RESOURCES["ReleaseClusterPartsPolicy"]["Properties"]["PolicyDocument"]["Statement"]
        for action in listed(statement["Action"])
    ]
    tags = ("cluster.k8s.amazonaws.com/name", "node.k8s.amazonaws.com/instance_id", "eks:eni:owner")
    interfaces = [("ec2:DeleteNetworkInterface", [(f"aws:ResourceTag/{tag}", "false")]) for tag in tags]
    assert found == [("eks:DeleteNodegroup", []), ("eks:DeleteFargateProfile", []), *interfaces]


def test_without_a_mark_the_policy_is_still_whole() -> None:
    assert deleting("ec2:TerminateInstances", mark="", require_mark=True) == [{}]


def test_a_mark_can_not_break_out_of_the_policy() -> None:
    pattern = PARAMETERS["AwsMark"]["AllowedPattern"]
    assert re.fullmatch(pattern, PARAMETERS["AwsMark"]["Default"])
    for text in ('a": "false"}}, {"Effect', "a\\b", "a{b", "a$b", "a*b", "a?b"):
        assert not re.fullmatch(pattern, text)


# Functions


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_says_how_long_and_how_big(name: str) -> None:
    assert FUNCTIONS[name]["Timeout"] <= 300
    assert FUNCTIONS[name]["MemorySize"] >= 256


def test_every_function_folder_is_deployed_and_none_is_missing() -> None:
    deployed = {properties["CodeUri"].removesuffix("/") for properties in FUNCTIONS.values()}
    assert deployed == {f"functions/{file.parent.name}" for file in (ROOT / "functions").glob("*/app.py")}


def test_the_environment_holds_settings_and_nothing_that_no_code_reads() -> None:
    known = {field.name.upper() for field in msgspec.structs.fields(Settings)} | OTHERS_VARIABLES
    for name, properties in FUNCTIONS.items():
        assert properties["Environment"]["Variables"].keys() <= known, name
    assert LOCAL_VARIABLES.keys() <= (known | LOCAL_OTHERS_VARIABLES) - OTHERS_VARIABLES


def test_all_functions_are_told_what_an_operator_set_and_of_the_stack_the_table_alone() -> None:
    """What else a function calls stands with it, as the policy does that allows it."""
    named = referred(GLOBALS["Environment"]["Variables"])
    assert named & RESOURCES.keys() == {"Table"}
    assert {name for name in named - RESOURCES.keys() if not name.startswith("AWS::")} <= PARAMETERS.keys() | {
        "HasSecrets"
    }


def test_only_what_reaches_the_providers_is_told_of_their_accounts_and_credentials() -> None:
    for variable in ("ACCOUNTS", "CREDENTIALS", "BASE_URLS"):
        found = {name for name, f in FUNCTIONS.items() if variable in f["Environment"]["Variables"]}
        assert found == {"PlanFunction", "ReleaseFunction", "SurveyFunction"}, variable


def test_a_variable_is_text_or_a_reference() -> None:
    for name, properties in FUNCTIONS.items():
        for variable, value in properties["Environment"]["Variables"].items():
            assert isinstance(value, str | dict), (name, variable)


def test_the_parameters_defaults_are_the_settings_defaults() -> None:
    parameters = PARAMETERS | LOCAL["Parameters"]
    names = {parameter: re.sub("(?<!^)(?=[A-Z])", "_", parameter).upper() for parameter in parameters}
    in_step = {"DefaultTtl", "MaxTtl", "RetentionDays", "Deadline", "ClusterDeadline"}
    in_step |= {"UnmendableRounds", "RetryDays", "LookAgain", "RequireMark", "MaxHold", "ActOnEverything"}
    in_step |= {"StrayGap", "StrayGrace", "StrayAdoption"}
    in_step |= {"WebhookGaps", "WebhookPorts", "AllowHttpLoopbackWebhooks"}
    given = {names[p]: str(parameters[p]["Default"]) for p in in_step}
    assert from_environment(given) == Settings()


def test_by_default_there_is_a_mark_on_aws_google_and_digitalocean() -> None:
    found = from_environment({"AWS_MARK": PARAMETERS["AwsMark"]["Default"], "MARKS": PARAMETERS["Marks"]["Default"]})
    assert {provider: found.mark(provider) for provider in ("aws", "gcp", "digitalocean", "azure")} == {
        "aws": "BlueprintDeployment",
        "gcp": "managed_by=blueprint_remote_providers",
        "digitalocean": "blueprint",
        "azure": "",
    }


def test_with_no_types_enabled_by_name_all_are() -> None:
    assert PARAMETERS["EnabledTypes"]["Default"] == ""
    assert set(from_environment({"ENABLED_TYPES": ""}).enabled_types) == set(DEPLOYMENT_TYPES)


def test_the_watchdog_knows_how_long_release_may_take() -> None:
    release = FUNCTIONS["ReleaseFunction"]
    for name in ("ReleaseFunction", "ExpireFunction"):
        assert int(FUNCTIONS[name]["Environment"]["Variables"]["RELEASE_TIMEOUT"]) == release["Timeout"]


def test_the_providers_sdks_are_there_for_what_asks_providers_alone() -> None:
    layered = {name for name, function in FUNCTIONS.items() if {"Ref": "ProvidersLayer"} in function.get("Layers", [])}
    assert layered == {"ReleaseFunction", "PlanFunction", "SurveyFunction"}
    assert not list((ROOT / "functions").glob("*/requirements.txt"))


@pytest.mark.parametrize("name", ["PlanFunction", "SurveyFunction"])
def test_what_looks_works_in_the_same_network_as_release(name: str) -> None:
    assert FUNCTIONS[name]["VpcConfig"] == FUNCTIONS["ReleaseFunction"]["VpcConfig"]


def test_the_providers_layer_has_the_sdks_that_are_imported_and_no_other_version_of_what_the_tracker_layer_has() -> (
    None
):
    providers, tracker = (
        dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / folder / "requirements.txt").read_text(), re.MULTILINE))
        for folder in ("layers/providers", "layers/tracker")
    )
    assert providers.keys() >= {"docker", "paramiko", "requests"}
    shared = providers.keys() & tracker.keys()
    assert {name: providers[name] for name in shared} == {name: tracker[name] for name in shared}


def test_who_signs_may_use_the_secrets_that_a_registration_may_name() -> None:
    allowed = [
        FUNCTIONS[name]["Environment"]["Variables"]["ALLOWED_WEBHOOK_SECRETS"]
        for name in ("RegisterFunction", "AmendFunction", "DeliverFunction")
    ]
    assert allowed[0]
    assert allowed.count(allowed[0]) == len(allowed)


def test_the_gateway_waits_for_every_function_that_it_calls() -> None:
    for function, _ in events("Api"):
        assert FUNCTIONS[function]["Timeout"] <= 29, function


# Doors


def test_the_routes_are_these() -> None:
    found = {(p["Method"], p["Path"]): function for function, p in events("Api")}
    assert found == {
        ("POST", "/deployments"): "RegisterFunction",
        ("GET", "/deployments"): "InspectFunction",
        ("GET", "/deployments/{blueprint_id}"): "InspectFunction",
        ("PATCH", "/deployments/{blueprint_id}"): "AmendFunction",
        ("POST", "/deployments/{blueprint_id}/forget"): "AmendFunction",
        ("POST", "/deployments/{blueprint_id}/extend"): "AmendFunction",
        ("POST", "/deployments/{blueprint_id}/hold"): "AmendFunction",
        ("DELETE", "/deployments/{blueprint_id}/hold"): "AmendFunction",
        ("DELETE", "/deployments/{blueprint_id}"): "TerminateFunction",
        ("GET", "/deployments/{blueprint_id}/plan"): "PlanFunction",
        ("GET", "/deployments/{blueprint_id}/deliveries"): "InspectFunction",
        ("POST", "/deployments/{blueprint_id}/deliveries/{webhook_id}/redeliver"): "RedeliverFunction",
        ("POST", "/deployments/{blueprint_id}/announce"): "RedeliverFunction",
        ("GET", "/strays"): "InspectFunction",
        ("POST", "/strays/{key}/adopt"): "RegisterFunction",
        ("POST", "/strays/{key}/exempt"): "AmendFunction",
        # Anything else, to be told that there is no such call.
        **{(method, "/{proxy+}"): "InspectFunction" for method in ("GET", "POST", "PUT", "PATCH", "DELETE")},
    }


def test_every_call_must_be_signed() -> None:
    (api,) = of_type("AWS::Serverless::Api").values()
    assert api["Auth"] == {"DefaultAuthorizer": "AWS_IAM", "InvokeRole": "NONE"}
    assert all("Auth" not in properties for _, properties in events("Api"))


def test_events_come_from_the_sources_that_an_operator_names_by_the_stacks_own_bus() -> None:
    rules = of_type("AWS::Events::Rule")
    assert all(rule["EventBusName"] == {"Ref": "Bus"} for rule in rules.values())
    sources = {"Fn::If": ["HasEventSources", {"Fn::Split": [",", {"Ref": "EventSources"}]}, {"Ref": "AWS::NoValue"}]}
    assert [rule["EventPattern"] for rule in rules.values()] == [
        {"detail-type": ["Service Initiated"], "source": sources},
        {"detail-type": ["Service Terminated"], "source": sources},
    ]


def test_other_accounts_may_put_events_only_where_an_operator_names_them() -> None:
    policy = RESOURCES["BusPolicy"]
    assert policy["Condition"] == "HasEventAccounts"
    statement = policy["Properties"]["Statement"]
    assert (statement["Principal"], statement["Action"]) == (
        {"AWS": {"Fn::Split": [",", {"Ref": "EventAccounts"}]}},
        "events:PutEvents",
    )


def test_what_a_rule_can_not_deliver_is_a_dead_letter() -> None:
    for name, rule in of_type("AWS::Events::Rule").items():
        for target in rule["Targets"]:
            assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": "DeadLetterQueue.Arn"}}, name


def test_every_stream_mapping_has_a_filter_and_a_place_for_what_it_can_not_handle() -> None:
    found = dict(events("DynamoDB"))
    assert found.keys() == {"AnnounceFunction", "ExpireFunction"}
    for name, mapping in found.items():
        patterns = [json.loads(entry["Pattern"]) for entry in mapping["FilterCriteria"]["Filters"]]
        assert len(patterns) == 1, name
        assert patterns[0].keys() == {"eventName", "dynamodb"}, name
        assert mapping["DestinationConfig"]["OnFailure"]["Type"] == "SQS", name
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"], name
        assert mapping["StartingPosition"] == "TRIM_HORIZON", name


def test_no_version_holds_up_what_follows_it_for_a_day() -> None:
    for name, mapping in events("DynamoDB"):
        assert mapping["MaximumRetryAttempts"] > 0, name
    announced = dict(events("DynamoDB"))["AnnounceFunction"]
    assert announced["MaximumRecordAgeInSeconds"] <= 2 * 3600


def test_every_queue_mapping_brings_single_messages_again_and_gives_up_into_the_dead_letters() -> None:
    found = dict(events("SQS"))
    assert found.keys() == {"RegisterFunction", "TerminateFunction", "DeliverFunction", "ExpireFunction"}
    for function, mapping in found.items():
        queue = RESOURCES[mapping["Queue"]["Fn::GetAtt"].removesuffix(".Arn")]["Properties"]
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"], function
        assert queue["VisibilityTimeout"] >= 6 * FUNCTIONS[function]["Timeout"], function
        if function == "ExpireFunction":
            # The table has what is lost there, and the next sweep brings it again.
            assert "RedrivePolicy" not in queue
            continue
        letters = "UndeliveredQueue.Arn" if function == "DeliverFunction" else "DeadLetterQueue.Arn"
        assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": letters}, function


def test_a_queue_tries_longer_than_an_event_may_wait_for_its_registration() -> None:
    for function, mapping in events("SQS"):
        if function in ("DeliverFunction", "ExpireFunction"):
            continue
        queue = RESOURCES[mapping["Queue"]["Fn::GetAtt"].removesuffix(".Arn")]["Properties"]
        assert queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"] > TRIED_SECONDS


def test_a_batch_of_events_whose_webhooks_names_do_not_resolve_is_handled_within_the_functions_time() -> None:
    mapping = dict(events("SQS"))["RegisterFunction"]
    assert FUNCTIONS["RegisterFunction"]["Timeout"] > mapping["BatchSize"] * RESOLVE_LIMIT + 10


def test_lambda_takes_no_function_for_a_loop_that_calls_itself_on_purpose() -> None:
    """By default Lambda drops the sixteenth call or so of a chain: of a lane of a survey, of a key that is put off by seconds."""
    least = FUNCTIONS["SurveyFunction"]["Timeout"] - lanes.PLACE_SECONDS - lanes.RESERVE
    assert lanes.LANE_SECONDS / least > 16
    allowed = {name for name, function in FUNCTIONS.items() if function.get("RecursiveLoop") == "Allow"}
    assert allowed == {"SurveyFunction", "ExpireFunction"}


def test_webhooks_are_called_one_message_at_a_time_for_as_long_as_a_queue_keeps_one() -> None:
    mapping = dict(events("SQS"))["DeliverFunction"]
    assert mapping["BatchSize"] == 1
    for name in ("DeliveriesQueue", "UndeliveredQueue"):
        assert RESOURCES[name]["Properties"]["MessageRetentionPeriod"] == 14 * 24 * 3600
    queue = RESOURCES["DeliveriesQueue"]["Properties"]
    # Hidden after a fault, a message comes no later than it would by itself.
    assert queue["VisibilityTimeout"] == LATE.total_seconds()
    tried = sum(Settings().webhook_gaps) * (1 + JITTER)
    assert queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"] > 2 * tried
    assert FUNCTIONS["DeliverFunction"]["Timeout"] > 2 * TIME_LIMIT


def test_the_queue_of_webhooks_hears_only_what_one_wants() -> None:
    (subscription,) = of_type("AWS::SNS::Subscription").values()
    assert subscription["FilterPolicy"] == {name: [value["StringValue"]] for name, value in FOR_WEBHOOK.items()}
    assert subscription["RawMessageDelivery"] is True


def test_the_webhook_secret_that_the_template_makes_signs() -> None:
    made = RESOURCES["WebhookSecret"]["Properties"]["GenerateSecretString"]
    # What is left is letters and digits.
    assert made["ExcludePunctuation"] is True
    assert "ExcludeCharacters" not in made
    secret = {
        **json.loads(made["SecretStringTemplate"]),
        made["GenerateStringKey"]: "aZ9x" * (made["PasswordLength"] // 4),
    }
    (key,) = keys_of(secret)
    assert len(key) == 36


def test_the_sweep_comes_every_minute_and_is_not_repeated() -> None:
    assert dict(events("Schedule"))["ExpireFunction"]["Schedule"] == "rate(1 minute)"
    assert FUNCTIONS["ExpireFunction"]["EventInvokeConfig"]["MaximumRetryAttempts"] == 0


def test_the_survey_comes_when_an_operator_says_and_what_it_loses_the_next_one_has() -> None:
    schedules = dict(events("Schedule"))
    assert schedules.keys() == {"ExpireFunction", "SurveyFunction"}
    schedule = schedules["SurveyFunction"]
    assert (schedule["Schedule"], schedule["State"]) == ({"Ref": "SurveySchedule"}, {"Ref": "SurveyState"})
    filled = schedule["Input"]["Fn::Sub"].replace("${SurveyPlaces}", PARAMETERS["SurveyPlaces"]["Default"])
    assert json.loads(filled) == {"named_places": []}
    assert FUNCTIONS["SurveyFunction"]["EventInvokeConfig"]["MaximumRetryAttempts"] == 0
    assert FUNCTIONS["SurveyFunction"]["Timeout"] > lanes.PLACE_SECONDS + 2 * lanes.RESERVE


def test_the_survey_hands_its_places_to_itself_and_to_no_other() -> None:
    policy = RESOURCES["SurveyLanesPolicy"]["Properties"]
    assert policy["Roles"] == [{"Ref": "SurveyFunctionRole"}]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Resource"] == {"Fn::GetAtt": "SurveyFunction.Arn"}


@pytest.mark.parametrize("text", ["", "{}", "[", "eu-central-1"])
def test_what_is_no_list_of_places_is_refused_when_the_stack_is_deployed(text: str) -> None:
    assert not re.fullmatch(PARAMETERS["SurveyPlaces"]["AllowedPattern"], text)


# Records


def test_the_table_outlives_the_stack_and_mistakes() -> None:
    table = RESOURCES["Table"]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"
    assert table["Properties"]["DeletionProtectionEnabled"] is True
    assert table["Properties"]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["Properties"]["SSESpecification"] == {"SSEEnabled": True}


def test_the_tables_ttl_and_stream_are_on() -> None:
    table = RESOURCES["Table"]["Properties"]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert table["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}


@pytest.mark.parametrize("index", ["by_id", "by_status", "by_owner"])
def test_an_index_carries_what_a_list_shows_and_no_more(index: str) -> None:
    every = RESOURCES["Table"]["Properties"]["GlobalSecondaryIndexes"]
    (found,) = [i for i in every if i["IndexName"] == index]
    keys = {key["AttributeName"] for key in found["KeySchema"]} | {"blueprint_id", "item"}
    carried = set(found["Projection"]["NonKeyAttributes"])
    assert not keys & carried
    surveyed = {"place", "claims"} if index == "by_status" else set()
    listed = set(Listed.__struct_fields__) - set(ListedProgress.__struct_fields__) | {"progress"}
    assert keys | carried == listed | {"item", "ttl"} | surveyed
    # DynamoDB's limits.
    assert len(carried) <= 20
    assert sum(len(i["Projection"].get("NonKeyAttributes", ())) for i in every) <= 100


# The brake


def test_the_brake_is_where_its_output_says() -> None:
    name = {"Fn::Sub": "/${AWS::StackName}/cleanup-mode"}
    assert TEMPLATE["Outputs"]["ModeParameter"]["Value"] == name
    assert FUNCTIONS["ReleaseFunction"]["Environment"]["Variables"]["MODE_PARAMETER"] == name


# Whole


def test_every_parameter_is_explained_and_used() -> None:
    text = (ROOT / "template.yaml").read_text()
    for name, parameter in PARAMETERS.items():
        assert parameter["Description"].endswith("."), name
        assert "Default" in parameter, name
        assert re.search(rf"!Ref {name}\b|\${{{name}}}", text), name
    for name, parameter in LOCAL["Parameters"].items():
        assert parameter["Description"].endswith("."), name
        assert "Default" in parameter, name
    assert referred(LOCAL_VARIABLES) == LOCAL["Parameters"].keys()


def test_an_operator_is_asked_for_nothing_that_only_one_machine_has() -> None:
    assert not PARAMETERS.keys() & LOCAL["Parameters"].keys()
    for name, properties in FUNCTIONS.items():
        assert not properties["Environment"]["Variables"].keys() & LOCAL_VARIABLES.keys(), name


def test_every_parameter_has_its_place_in_a_form() -> None:
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(PARAMETERS)


def test_every_alarm_is_heard_where_an_operator_wants() -> None:
    nobody = {"Ref": "AWS::NoValue"}
    heard = [
        {"Fn::If": ["HasAlarmTopic", {"Ref": "AlarmTopicArn"}, nobody]},
        {"Fn::If": ["HasAlarmEmail", {"Ref": "AlarmTopic"}, nobody]},
    ]
    for name, properties in of_type("AWS::CloudWatch::Alarm").items():
        assert properties["AlarmActions"] == properties["OKActions"] == heard, name
        silence = "breaching" if name in SILENCE else "notBreaching"
        assert properties["TreatMissingData"] == silence, name
    told = [properties["AlarmDescription"] for properties in of_type("AWS::CloudWatch::Alarm").values()]
    assert len(set(told)) == len(told)


def test_what_samconfig_sets_are_parameters_within_their_bounds() -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    deployed = {name: found["deploy"]["parameters"] for name, found in config.items() if name != "version"}
    assert deployed.keys() == {"default", "staging", "prod"}
    overrides = [each for env in ("staging", "prod") for each in deployed[env]["parameter_overrides"]]
    assert len(set(overrides)) == len(overrides), "they share something"
    for override in overrides:
        name, _, value = override.partition("=")
        parameter = PARAMETERS[name]
        assert '"' not in value or value[0] == value[-1] == "'", "the SAM CLI takes double quotes off"
        value = value.strip("'")
        assert value != parameter["Default"], name
        assert value in map(str, parameter.get("AllowedValues", [value])), name
        assert re.fullmatch(parameter.get("AllowedPattern", ".*"), value), name
    for env in ("staging", "prod"):
        assert deployed["default"].items() <= deployed[env].items()
    assert ROOT / deployed["default"]["template_file"] == BUILT


def test_an_alarm_watches_everything_that_waits_for_someone() -> None:
    assert of_type("AWS::CloudWatch::Alarm").keys() == {
        "DeadLettersAlarm",
        "UndeliveredAlarm",
        "SetAsideAlarm",
        "FailedCleanupsAlarm",
        "TimedOutCleanupsAlarm",
        "AbortedCleanupsAlarm",
        "ExpireErrorsAlarm",
        "ExpireThrottlesAlarm",
        "ReleaseErrorsAlarm",
        "ReleaseThrottlesAlarm",
        "ApiErrorsAlarm",
        "SweepSilentAlarm",
        "LateAnnouncementsAlarm",
        "BrakeUnreadableAlarm",
        "QuarantinedAlarm",
        "ResurrectedAlarm",
        "RestoreErrorsAlarm",
        "AnnounceErrorsAlarm",
        "AnnounceThrottlesAlarm",
        "DeliverErrorsAlarm",
        "DeliverThrottlesAlarm",
        "LateRegistrationsAlarm",
        "LateTerminationsAlarm",
        "NotificationsFailedAlarm",
        "UnwatchedAlarm",
        "OverdueAlarm",
        "LateStartsAlarm",
        "StraysAlarm",
        "BlindAlarm",
        "SurveySilentAlarm",
    }


def test_a_sweep_that_is_silent_is_an_alarm_while_there_is_to_be_one() -> None:
    for name in SILENCE:
        assert RESOURCES[name]["Condition"] == ("IsSurveying" if name == "SurveySilentAlarm" else "IsSweeping")
        assert RESOURCES[name]["Properties"]["ComparisonOperator"] == "LessThanThreshold"
    alarm = RESOURCES["SweepSilentAlarm"]
    assert f'add_metric("{alarm["Properties"]["MetricName"]}"' in (ROOT / "functions/expire/app.py").read_text()


def test_the_survey_is_heard_of_while_there_is_to_be_one() -> None:
    for name, metric in (("StraysAlarm", "Strays"), ("BlindAlarm", "Blind"), ("SurveySilentAlarm", "Strays")):
        alarm = RESOURCES[name]
        assert alarm["Condition"] == "IsSurveying"
        assert alarm["Properties"]["MetricName"] == metric
        assert f'add_metric("{metric}"' in (ROOT / "functions/survey/app.py").read_text()
        # CloudWatch looks back a day at most.
        assert alarm["Properties"]["Period"] * alarm["Properties"]["EvaluationPeriods"] <= 86_400
