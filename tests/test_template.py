"""The template as it is written: who may do what, what guards the records, and what the code expects of it."""

import json
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from local.build import SAM, sam
from local.processes import LocalError
from tracker.announcements import FOR_WEBHOOK
from tracker.brakes import parse
from tracker.catalogue import CATALOGUE
from tracker.deliveries import JITTER, keys_of
from tracker.deployment import DEPLOYMENT_TYPES
from tracker.events import TRIED_SECONDS
from tracker.records import Listed
from tracker.settings import Settings, from_environment
from tracker.webhooks import TIME_LIMIT

ROOT = Path(__file__).parent.parent

# IAM's service authorization reference: these actions know no resource that a policy could name.
WITHOUT_RESOURCE = {
    "ec2:DescribeAddresses",
    "ec2:DescribeInstanceAttribute",
    "ec2:DescribeInstances",
    "ec2:DescribeKeyPairs",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSpotInstanceRequests",
    "ec2:DescribeVolumes",
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
OTHERS_VARIABLES = {"AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_EKS"}


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


def of_type(type_: str) -> dict[str, dict[str, Any]]:
    return {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == type_}


FUNCTIONS = of_type("AWS::Serverless::Function")


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
    found = [(name, action) for name, s in statements() for action in listed(s["Action"]) if "*" in action]
    assert found == []


def test_every_statement_allows_and_none_excepts() -> None:
    for name, statement in statements():
        assert statement["Effect"] == "Allow", name
        assert not {"NotAction", "NotResource", "NotPrincipal"} & statement.keys(), name


def test_only_actions_that_know_no_resource_are_allowed_on_all() -> None:
    found = {a for _, s in statements() if "*" in listed(s["Resource"]) for a in listed(s["Action"])}
    assert found == WITHOUT_RESOURCE


def test_only_the_two_that_reach_providers_may_take_roles_or_read_secrets_but_those_of_webhooks() -> None:
    reaching = {"secretsmanager:GetSecretValue", "sts:AssumeRole"}
    found = {name for name in FUNCTIONS if reaching & allowed(name)}
    assert found == {"DeliverFunction", "PlanFunction", "ReleaseFunction"}
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
    harmful = re.compile(r"[a-z0-9]+:(Delete|Terminate|Release|Disassociate)")
    found = {name for name in FUNCTIONS if any(harmful.match(a) for a in allowed(name) - {"dynamodb:DeleteItem"})}
    assert found == {"ReleaseFunction"}


def test_no_function_scans_the_table() -> None:
    assert not any("dynamodb:Scan" in allowed(name) for name in FUNCTIONS)


def test_the_brake_is_read_by_release_and_expire() -> None:
    found = {name for name in FUNCTIONS if "ssm:GetParameter" in allowed(name)}
    assert found == {"ExpireFunction", "ReleaseFunction"}
    assert found == {name for name, f in FUNCTIONS.items() if "MODE_PARAMETER" in f["Environment"]["Variables"]}


def test_the_workflow_invokes_its_two_functions_and_no_others() -> None:
    (machine,) = of_type("AWS::Serverless::StateMachine").values()
    resources = [s["Resource"] for p in machine["Policies"] for s in p["Statement"] if "lambda" in str(s["Action"])]
    assert resources == [[{"Fn::GetAtt": "ReleaseFunction.Arn"}, {"Fn::GetAtt": "RestoreFunction.Arn"}]]


def test_a_queue_takes_messages_only_from_its_rules_or_the_topic() -> None:
    for name, properties in of_type("AWS::SQS::QueuePolicy").items():
        for statement in properties["PolicyDocument"]["Statement"]:
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
        "ec2:DeleteKeyPair",
        "eks:DeleteCluster",
    ],
)
def test_instances_groups_keys_and_clusters_always_need_the_mark(action: str, require_mark: bool) -> None:
    assert deleting(action, mark="Mark", require_mark=require_mark) == [MARKED]


@pytest.mark.parametrize("action", ["ec2:DeleteVolume", "ec2:ReleaseAddress", "ec2:DisassociateAddress"])
def test_volumes_and_addresses_need_the_mark_while_it_is_required(action: str) -> None:
    assert deleting(action, mark="Mark", require_mark=True) == [MARKED]
    assert deleting(action, mark="Mark", require_mark=False) == [{}]


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


def test_a_variable_is_text_or_a_reference() -> None:
    for name, properties in FUNCTIONS.items():
        for variable, value in properties["Environment"]["Variables"].items():
            assert isinstance(value, str | dict), (name, variable)


def test_the_parameters_defaults_are_the_settings_defaults() -> None:
    names = {parameter: re.sub("(?<!^)(?=[A-Z])", "_", parameter).upper() for parameter in PARAMETERS}
    in_step = {"DefaultTtl", "MaxTtl", "RetentionDays", "Deadline", "ClusterDeadline"}
    in_step |= {"UnmendableRounds", "RetryDays", "SweepLimit", "RequireMark"}
    in_step |= {"WebhookGaps", "WebhookPorts", "AllowHttpLoopbackWebhooks"}
    given = {names[p]: str(PARAMETERS[p]["Default"]) for p in in_step}
    assert from_environment(given) == Settings()


def test_with_no_types_enabled_by_name_all_are() -> None:
    assert PARAMETERS["EnabledTypes"]["Default"] == ""
    assert set(from_environment({"ENABLED_TYPES": ""}).enabled_types) == set(DEPLOYMENT_TYPES)


def test_the_watchdog_knows_how_long_release_may_take() -> None:
    release = FUNCTIONS["ReleaseFunction"]
    for name in ("ReleaseFunction", "ExpireFunction"):
        assert int(FUNCTIONS[name]["Environment"]["Variables"]["RELEASE_TIMEOUT"]) == release["Timeout"]


def test_restore_ships_no_cloud_sdk() -> None:
    assert not (ROOT / "functions/restore/requirements.txt").exists()


def test_plan_ships_what_release_ships_and_works_in_the_same_network() -> None:
    texts = {(ROOT / f"functions/{name}/requirements.txt").read_text() for name in ("release", "plan")}
    assert len(texts) == 1
    assert FUNCTIONS["PlanFunction"]["VpcConfig"] == FUNCTIONS["ReleaseFunction"]["VpcConfig"]


def test_release_ships_the_sdks_that_are_imported_and_no_other_version_of_what_the_layer_has() -> None:
    release, layer = (
        dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / folder / "requirements.txt").read_text(), re.MULTILINE))
        for folder in ("functions/release", "layers/tracker")
    )
    assert release.keys() >= {"docker", "paramiko", "requests"}
    shared = release.keys() & layer.keys()
    assert {name: release[name] for name in shared} == {name: layer[name] for name in shared}


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
        ("DELETE", "/deployments/{blueprint_id}"): "TerminateFunction",
        ("GET", "/deployments/{blueprint_id}/plan"): "PlanFunction",
        ("GET", "/deployments/{blueprint_id}/deliveries"): "InspectFunction",
        ("POST", "/deployments/{blueprint_id}/deliveries/{webhook_id}/redeliver"): "RedeliverFunction",
        ("POST", "/deployments/{blueprint_id}/announce"): "RedeliverFunction",
    }


def test_every_call_must_be_signed() -> None:
    (api,) = of_type("AWS::Serverless::Api").values()
    assert api["Auth"] == {"DefaultAuthorizer": "AWS_IAM"}
    assert all("Auth" not in properties for _, properties in events("Api"))


def test_events_come_from_any_source_by_the_stacks_own_bus() -> None:
    rules = of_type("AWS::Events::Rule")
    assert all(rule["EventBusName"] == {"Ref": "Bus"} for rule in rules.values())
    assert [rule["EventPattern"] for rule in rules.values()] == [
        {"detail-type": ["Service Initiated"]},
        {"detail-type": ["Service Terminated"]},
    ]


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


def test_an_announcement_is_tried_as_long_as_the_stream_keeps_it() -> None:
    mapping = dict(events("DynamoDB"))["AnnounceFunction"]
    assert mapping["MaximumRetryAttempts"] == mapping["MaximumRecordAgeInSeconds"] == -1


def test_every_queue_mapping_brings_single_messages_again_and_gives_up_into_the_dead_letters() -> None:
    found = dict(events("SQS"))
    assert found.keys() == {"RegisterFunction", "TerminateFunction", "DeliverFunction"}
    for function, mapping in found.items():
        queue = RESOURCES[mapping["Queue"]["Fn::GetAtt"].removesuffix(".Arn")]["Properties"]
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"], function
        assert queue["VisibilityTimeout"] >= 6 * FUNCTIONS[function]["Timeout"], function
        letters = "UndeliveredQueue.Arn" if function == "DeliverFunction" else "DeadLetterQueue.Arn"
        assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": letters}, function


def test_a_queue_tries_longer_than_an_event_may_wait_for_its_registration() -> None:
    for function, mapping in events("SQS"):
        if function == "DeliverFunction":
            continue
        queue = RESOURCES[mapping["Queue"]["Fn::GetAtt"].removesuffix(".Arn")]["Properties"]
        assert queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"] > TRIED_SECONDS


def test_webhooks_are_called_one_message_at_a_time_for_as_long_as_a_queue_keeps_one() -> None:
    mapping = dict(events("SQS"))["DeliverFunction"]
    assert mapping["BatchSize"] == 1
    for name in ("DeliveriesQueue", "UndeliveredQueue"):
        assert RESOURCES[name]["Properties"]["MessageRetentionPeriod"] == 14 * 24 * 3600
    queue = RESOURCES["DeliveriesQueue"]["Properties"]
    tried = sum(Settings().webhook_gaps) * (1 + JITTER)
    assert queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"] > 2 * tried
    assert FUNCTIONS["DeliverFunction"]["Timeout"] > 2 * TIME_LIMIT


def test_the_queue_of_webhooks_hears_only_what_one_wants() -> None:
    (subscription,) = of_type("AWS::SNS::Subscription").values()
    assert subscription["FilterPolicy"] == {name: [value["StringValue"]] for name, value in FOR_WEBHOOK.items()}
    assert subscription["RawMessageDelivery"] is True


def test_the_webhook_secret_that_the_template_makes_signs() -> None:
    made = RESOURCES["WebhookSecret"]["Properties"]["GenerateSecretString"]
    left = sorted(set(string.printable.strip()) - set(made["ExcludeCharacters"]))
    assert "".join(left) == string.digits + string.ascii_uppercase + string.ascii_lowercase
    secret = {
        **json.loads(made["SecretStringTemplate"]),
        made["GenerateStringKey"]: "aZ9x" * (made["PasswordLength"] // 4),
    }
    (key,) = keys_of(json.dumps(secret))
    assert len(key) == 36


def test_the_sweep_comes_every_minute_and_is_not_repeated() -> None:
    ((function, schedule),) = events("Schedule")
    assert (function, schedule["Schedule"]) == ("ExpireFunction", "rate(1 minute)")
    assert FUNCTIONS[function]["EventInvokeConfig"]["MaximumRetryAttempts"] == 0


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


@pytest.mark.parametrize("index", ["by_id", "by_status"])
def test_an_index_carries_what_a_list_shows_and_no_more(index: str) -> None:
    (found,) = [i for i in RESOURCES["Table"]["Properties"]["GlobalSecondaryIndexes"] if i["IndexName"] == index]
    keys = {key["AttributeName"] for key in found["KeySchema"]} | {"blueprint_id", "item"}
    carried = set(found["Projection"]["NonKeyAttributes"])
    assert not keys & carried
    assert keys | carried == set(Listed.__struct_fields__) | {"item", "ttl"}


# The brake


@pytest.mark.parametrize(
    "text", ["enforce", "pause", "observe", "enforce, gcp=pause", "pause,aws=enforce , local = observe"]
)
def test_the_brake_takes_what_the_code_reads(text: str) -> None:
    assert re.fullmatch(RESOURCES["CleanupMode"]["Properties"]["AllowedPattern"], text)
    parse(text)


@pytest.mark.parametrize("text", ["", "stop", "gcp=pause", "enforce, gcp", "enforce, gcp=stop", "enforce pause"])
def test_the_brake_takes_no_slip_of_the_pen(text: str) -> None:
    assert not re.fullmatch(RESOURCES["CleanupMode"]["Properties"]["AllowedPattern"], text)


def test_the_brake_knows_every_platform() -> None:
    pattern = RESOURCES["CleanupMode"]["Properties"]["AllowedPattern"]
    for platform in {entry.platform for entry in CATALOGUE.values()}:
        assert re.fullmatch(pattern, f"enforce, {platform}=pause"), platform


# Whole


def test_every_parameter_is_explained_and_used() -> None:
    text = (ROOT / "template.yaml").read_text()
    for name, parameter in PARAMETERS.items():
        assert parameter["Description"].endswith("."), name
        assert "Default" in parameter, name
        assert re.search(rf"!Ref {name}\b|\${{{name}}}", text), name


def test_an_alarm_watches_everything_that_waits_for_someone() -> None:
    assert of_type("AWS::CloudWatch::Alarm").keys() == {
        "DeadLettersAlarm",
        "UndeliveredAlarm",
        "SetAsideAlarm",
        "FailedCleanupsAlarm",
        "TimedOutCleanupsAlarm",
        "LateAnnouncementsAlarm",
        "QuarantinedAlarm",
    }


def test_the_sam_cli_finds_nothing_wrong(tmp_path: Path) -> None:
    if not SAM.exists():
        raise LocalError(f"no SAM CLI at {SAM}: run `make setup`")
    sam("validate", "--lint", log=tmp_path / "validate.log")
