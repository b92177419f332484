"""This is what leads to a stack, and what AWS itself is asked: over HTTP, of moto's server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import msgspec
import pytest
from moto.server import ThreadedMotoServer

from deployment_tracker.cli.asked import Asked
from deployment_tracker.cli.checking import _alarms, _listeners
from tests.client.api import REGION, Api, Fault
from tests.client.conftest import Run
from tests.client.test_ls import failed

TEMPLATE = {
    "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
    "Outputs": {
        "ModeParameter": {"Value": "/tracker/cleanup-mode"},
        "SweepRuleName": {"Value": "sweep"},
    },
}
QUEUES = ("DeadLetterQueueUrl", "SetAsideQueueUrl", "UndeliveredQueueUrl")


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(api: Api, moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Clients of an account with a stack `tracker`, whose API is the served one."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
    monkeypatch.delenv("TRACKER_URL")

    def client(service: str) -> Any:
        return boto3.client(service, region_name=REGION)

    urlopen(Request(f"{moto_url}/moto-api/reset", method="POST")).close()
    queues = {name: client("sqs").create_queue(QueueName=name)["QueueUrl"] for name in QUEUES}
    client("events").put_rule(Name="sweep", ScheduleExpression="rate(1 minute)", State="ENABLED")
    outputs = {name: {"Value": url} for name, url in queues.items()} | {"ApiUrl": {"Value": api.url}}
    template = TEMPLATE | {"Outputs": {**TEMPLATE["Outputs"], **outputs}}
    cloudformation = client("cloudformation")
    for name, body in (("tracker", template), ("another", TEMPLATE)):
        cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(body))
    return client


@pytest.fixture
def up(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder below one with a stack of `make up`."""
    monkeypatch.delenv("TRACKER_URL")
    (tmp_path / ".local").mkdir()
    running = {
        "api": api.url,
        "region": REGION,
        "endpoint": "http://127.0.0.1:9",
        "outputs": {"ApiUrl": api.url},
        "variables": {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"},
        "processes": [],
    }
    (tmp_path / ".local" / "outputs.json").write_text(json.dumps(running))
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    return tmp_path


# Which stack


def test_a_stack_is_found_by_its_name(aws: Any, api: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    api.add("svc-1")
    assert run("ls", "-q", "--stack", "tracker").out == "svc-1\n"
    monkeypatch.setenv("TRACKER_STACK", "tracker")
    assert run("ls", "-q").out == "svc-1\n"


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_is_the_one_that_the_environment_names(
    aws: Any, api: Api, run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for each in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(each, raising=False)
    assert "AWS_REGION" in run("ls", "--stack", "tracker").err
    monkeypatch.setenv(name, REGION)
    assert run("ls", "--stack", "tracker").code == 0
    assert f"/{REGION}/execute-api/" in api.last.headers["authorization"]


@pytest.mark.parametrize("option", ["--region", "--profile"])
def test_an_accounts_option_without_a_stack_says_what_it_is_for(up: Path, api: Api, run: Run, option: str) -> None:
    """Who means the region of a deployment says --region, too."""
    said = run("register", "svc-1", "AwsEc2", "--id", "instance_id=i-0123456789abcdef0", option, "eu-central-1")
    assert (said.code, api.calls) == (2, [])
    assert "--in" in said.err
    assert "none of `make up` runs" not in said.err


@pytest.mark.parametrize(("name", "text"), [("nobodys", "There is no stack"), ("another", "no output ApiUrl")])
def test_another_stack_is_not_found(aws: Any, api: Api, run: Run, name: str, text: str) -> None:
    said = run("ls", "--stack", name)
    assert (said.code, text in said.err, api.calls) == (5, True, [])


@pytest.mark.usefixtures("up")
def test_a_stack_of_make_up_is_found_and_said_and_called_with_its_own_keys(
    api: Api, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-users-own")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-users-own")
    said = run("ls", "-q")
    assert (said.code, "make up" in said.err) == (0, True)
    assert "the-users-own" not in api.last.headers["authorization"]


def test_a_file_of_make_up_that_cant_be_read_is_said(up: Path, run: Run) -> None:
    (up / ".local" / "outputs.json").write_text("{}")
    said = run("ls")
    assert (said.code, "outputs.json" in said.err) == (5, True)


@pytest.mark.usefixtures("up")
def test_who_names_a_profile_or_a_region_doesnt_mean_the_stack_of_make_up(run: Run) -> None:
    assert run("ls", "--region", REGION).code == 2


def test_without_a_stack_it_is_said_how_to_name_one(
    api: Api, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRACKER_URL")
    monkeypatch.chdir(tmp_path)
    said = run("ls")
    assert (said.code, "--stack" in said.err) == (2, True)


# The brake


def test_the_brake_is_shown_set_and_let_go(aws: Any, run: Run) -> None:
    stack = ("--stack", "tracker")
    assert run("brake", "show", *stack).out == "enforce (nobody has set it)\n"
    assert "is enforce, aws=pause." in run("brake", "pause", "aws", *stack).out
    assert run("brake", "show", *stack).out == "enforce, aws=pause\n"
    assert run("brake", "observe", *stack).code == 0
    assert json.loads(run("brake", "show", *stack, "--json").out) == {
        "value": "observe",
        "mode": "observe",
        "exceptions": {},
    }
    assert run("brake", "resume", *stack).code == 2
    assert run("brake", "resume", "-y", *stack).code == 0
    value = aws("ssm").get_parameter(Name="/tracker/cleanup-mode")["Parameter"]["Value"]
    assert value == "enforce"


def test_a_brake_that_cant_be_read_is_a_pause(aws: Any, run: Run) -> None:
    aws("ssm").put_parameter(Name="/tracker/cleanup-mode", Type="String", Value="stop!")
    said = run("brake", "show", "--stack", "tracker")
    assert "can't be read" in said.out
    assert run("brake", "resume", "aws", "-y", "--stack", "tracker").code == 2
    assert run("brake", "resume", "-y", "--stack", "tracker").code == 0


def test_by_a_url_there_is_no_brake(api: Api, run: Run) -> None:
    said = run("brake", "show")
    assert (said.code, "--stack" in said.err) == (2, True)


# whoami, doctor


def test_whoami_says_account_role_and_what_it_may_do(aws: Any, api: Api, run: Run) -> None:
    found = json.loads(run("whoami", "--stack", "tracker", "--json").out)
    assert (found["account"], found["region"], found["stack"]) == ("123456789012", REGION, "tracker")
    assert set(found["may"]) == {"ls", "show", "register", "amend", "extend", "end", "forget"}
    assert all(found["may"].values())
    assert api.records == {}


def test_whoami_says_what_is_denied(aws: Any, api: Api, run: Run) -> None:
    allowed = Fault(404, {"error": {"code": "not_found", "message": "nobody"}})
    denied = Fault(403, {"error": {"code": "ACCESS_DENIED", "message": "no"}})
    api.faults = [Fault(200, {"deployments": []}), allowed, denied, denied, denied, denied, denied]
    said = run("whoami", "--stack", "tracker")
    assert said.code == 0
    assert "may not      register, amend, extend, end, forget" in said.out


def checks(run: Run, *arguments: str) -> tuple[int, dict[str, str]]:
    said = run("doctor", "--json", *arguments)
    return said.code, {each["name"]: each["state"] for each in json.loads(said.out)}


def test_doctor_finds_nothing_where_all_is_well(aws: Any, api: Api, run: Run) -> None:
    code, found = checks(run, "--stack", "tracker")
    assert code == 0
    assert {name for name, state in found.items() if state != "ok"} == {"alarms", "who hears alarms"}


def test_doctor_finds_what_is_wrong(aws: Any, api: Api, run: Run) -> None:
    aws("ssm").put_parameter(Name="/tracker/cleanup-mode", Type="String", Value="pause")
    aws("events").put_rule(Name="sweep", ScheduleExpression="rate(1 minute)", State="DISABLED")
    dead = aws("sqs").get_queue_url(QueueName="DeadLetterQueueUrl")["QueueUrl"]
    aws("sqs").send_message(QueueUrl=dead, MessageBody="{}")
    api.add("svc-1", cleanup=failed("not_ours", 8))
    said = run("doctor", "--stack", "tracker")
    assert said.code == 1
    for text in ("tracker brake resume", "SweepState", "make replay", "tracker ls --quarantined"):
        assert text in said.out


def test_doctor_says_what_a_url_doesnt_tell_and_what_credentials_lack(
    api: Api, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, found = checks(run)
    assert (code, found["brake, sweep, queues"]) == (0, "unknown")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert checks(run) == (1, {"credentials": "wrong"})


def test_doctor_names_the_alarms_that_are_raised(aws: Any, api: Api) -> None:
    asked = Asked()
    asked.stack = "tracker"
    asked.client.place = msgspec.structs.replace(asked.client.place, is_local=False)
    assert _alarms(asked) == ("ok", "none is raised")
    alarm = {
        "Namespace": "x",
        "MetricName": "y",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "Statistic": "Sum",
    }
    # A stack `tracker-prod` has alarms, too.
    for name in (
        "tracker-SweepSilentAlarm-1A",
        "tracker-QuarantinedAlarm-1B",
        "another-Alarm",
        "tracker-prod-BlindAlarm-1C",
    ):
        aws("cloudwatch").put_metric_alarm(AlarmName=name, ComparisonOperator="GreaterThanThreshold", **alarm)
        state = "OK" if "Quarantined" in name else "ALARM"
        aws("cloudwatch").set_alarm_state(AlarmName=name, StateValue=state, StateReason="a test")
    state, text = _alarms(asked)
    assert (state, text.partition(":")[0]) == ("wrong", "tracker-SweepSilentAlarm-1A")


def test_doctor_says_whether_anyone_hears_of_alarms(aws: Any, api: Api) -> None:
    asked = Asked()
    asked.stack = "tracker"
    assert _listeners(asked)[0] == "unknown"
    place = msgspec.structs.replace(asked.client.place, is_local=False)
    asked.client.place = place
    state, text = _listeners(asked)
    assert (state, "AlarmEmail" in text) == ("wrong", True)
    topic = aws("sns").create_topic(Name="alarms")["TopicArn"]
    asked.client.place = msgspec.structs.replace(place, outputs=place.outputs | {"AlarmEmailTopicArn": topic})
    state, text = _listeners(asked)
    assert (state, "confirmed" in text) == ("wrong", True)
    aws("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:eu-central-1:123456789012:on-call")
    assert _listeners(asked) == ("ok", f"subscribers of {topic}")
