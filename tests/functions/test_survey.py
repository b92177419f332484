"""The survey and what callers do with strays, through the functions' own handlers."""

import json
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import botocore.client
import msgspec
import pytest
import time_machine

from tests.fakes import NOW, MemoryProvider, a_deployment, a_thing
from tests.fresh import forget_process
from tests.functions.conftest import Context, Stack, an_event, answered, with_body
from tests.receivers import dripping, receiving, silent
from tracker import runtime
from tracker.cleanup.core.contract import Refused
from tracker.model.clock import utc_now
from tracker.model.deployment import decode_key, encode_key, format_time
from tracker.model.places import Place
from tracker.model.strays import Stray
from tracker.survey import lanes

GENERATION = "0f8fad5b-d9cb-469f-a165-70867728950e"
KEY = decode_key(an_event("register-adopt")["pathParameters"]["key"])
TICK = an_event("survey-tick") | {"named_places": [{"deployment_type": "BareMetal", "region": "eu-central-1"}]}


class Surveys:
    """Ticks, and the lanes that they hand out, which run as Lambda runs them."""

    def __init__(self, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stack = stack
        self.handed: list[tuple[str, dict[str, Any]]] = []
        call = botocore.client.BaseClient._make_api_call

        def called(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
            if operation != "Invoke":
                return call(client, operation, arguments)
            assert arguments["InvocationType"] == "Event"
            self.handed.append((arguments["FunctionName"], json.loads(arguments["Payload"])))
            return {"StatusCode": 202}

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", called)

    def tick(self, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """A tick, and all that follows from it."""
        found: dict[str, Any] = self.stack.call("survey", TICK if event is None else event)
        while self.handed:
            name, lane = self.handed.pop()
            assert name == Context().function_name
            self.stack.call("survey", lane)
        return found


@pytest.fixture
def surveys(stack: Stack, provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch) -> Surveys:
    provider.finds()
    return Surveys(stack, monkeypatch)


@pytest.fixture
def stray(stack: Stack) -> Stray:
    at = format_time(utc_now())
    found = Stray(
        key=KEY,
        kind="aws:instance",
        id="i-0123456789abcdef0",
        place={"account": "123456789012", "region": "eu-central-1"},
        deployment_type="AwsEc2",
        region="eu-central-1",
        resource_key="instance_id",
        mark=GENERATION,
        first_seen_at=at,
        last_seen_at=at,
        announced_at=at,
    )
    runtime.strays().create(found)
    return found


def metrics(text: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for line in text.splitlines():
        if '"_aws"' in line:
            for name, value in json.loads(line).items():
                if name in ("Strays", "Blind", "Surveyed", "StraysAdopted"):
                    found.setdefault(name, []).extend(value if isinstance(value, list) else [value])
    return found


def test_a_stray_is_found_announced_and_adopted_and_then_is_none(
    surveys: Surveys, stack: Stack, provider: MemoryProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    provider.marks(GENERATION, a_thing("box-1"))
    with time_machine.travel(NOW, tick=False) as clock:
        for _ in range(3):
            assert surveys.tick()["places"] == 1
            clock.shift(timedelta(hours=1))
        capsys.readouterr()
        assert surveys.tick() == {"places": 1, "strays": 1}
        assert metrics(capsys.readouterr().out) == {
            "Strays": [1.0],
            "Blind": [0.0, 0.0],
            "Surveyed": [1.0],
            "StraysAdopted": [0.0],
        }
        _, body = answered(stack.call("inspect", an_event("inspect-strays")))
        (line,) = body["strays"]
        assert line["key"] == "stray:memory:thing:box-1"
        event = an_event("register-adopt") | {"pathParameters": {"key": encode_key(line["key"])}}
        assert answered(stack.call("register", event))[0] == 201
        assert surveys.tick()["strays"] == 0
    record = stack.record("adopted:memory:thing:box-1")
    assert (record.generation, record.ttl_seconds) == (GENERATION, 3600)


def test_a_place_that_can_not_be_seen_is_counted_and_the_others_are_surveyed(
    surveys: Surveys,
    stack: Stack,
    provider: MemoryProvider,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    stack.lifecycle.register(
        a_deployment("svc-7", now=utc_now(), deployment_type="BareMetal", metadata={"account": "1"})
    )
    provider.raises["find", ""] = Refused("credentials", "it may not look")
    assert surveys.tick()["places"] == 2
    out = capsys.readouterr().out
    assert metrics(out)["Blind"] == [0.0, 1.0, 1.0]
    assert metrics(out)["Surveyed"] == [0.0, 0.0]
    assert [vars(each)["why"] for each in caplog.records if hasattr(each, "why")] == ["it may not look"] * 2


def test_what_goes_wrong_in_one_place_keeps_no_other_from_its_turn(
    surveys: Surveys, stack: Stack, provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    looked: list[str | None] = []

    def survey(_self: Any, place: Any, _time_left: Any) -> Any:
        looked.append(place.region)
        raise RuntimeError("a defect")

    monkeypatch.setattr("tracker.survey.look.Surveyor.survey", survey)
    places = [{"deployment_type": "BareMetal", "region": str(n)} for n in range(5)]
    assert surveys.tick({"named_places": places})["places"] == 5
    assert sorted(map(str, looked)) == ["0", "1", "2", "3", "4"]
    assert metrics(capsys.readouterr().out)["Blind"].count(1.0) == 5


@dataclass
class Hurried(Context):
    """A function's own time runs, and one that takes longer is killed."""

    over_at: float = 0

    def get_remaining_time_in_millis(self) -> int:
        return int((self.over_at - time.monotonic()) * 1000)


@pytest.mark.parametrize("behaviour", [silent, dripping], ids=["silent", "dripping"])
def test_a_provider_that_hangs_takes_its_own_time_alone_and_is_named_as_not_seen(
    stack: Stack,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    behaviour: Any,
) -> None:
    monkeypatch.setattr(lanes, "PLACE_SECONDS", 2)
    monkeypatch.setattr(lanes, "RESERVE", 4)
    surveys = Surveys(stack, monkeypatch)
    with receiving(behaviour) as hanging:
        url = hanging.url.partition("/hook")[0]
        monkeypatch.setenv("BASE_URLS", json.dumps({"digitalocean": url, "vultr": url, "hetzner": url}))
        for name in ("DIGITALOCEAN_TOKEN", "VULTR_API_KEY", "HCLOUD_TOKEN"):
            monkeypatch.setenv(name, "opens-nothing")
        monkeypatch.setenv(
            "LOCAL_PLACE", json.dumps({"host": "here", "boot_id": "b00710ad-0000-4000-8000-000000000001"})
        )
        forget_process()
        types = ("DigitalOceanDroplet", "VultrInstance", "HetznerServer", "DigitalOceanDoks", "VultrVke")
        places = [{"deployment_type": name} for name in types]
        assert stack.call("survey", {"named_places": places})["places"] == 5
        invocations = 0
        while surveys.handed:
            _, lane = surveys.handed.pop()
            context = Hurried(over_at=time.monotonic() + 10)
            stack.call("survey", lane, context)
            assert context.get_remaining_time_in_millis() > 0, "it was killed"
            invocations += 1
    found = metrics(capsys.readouterr().out)
    assert sum(found["Blind"]) == 5
    assert invocations >= 3
    not_seen = [vars(each)["place"] for each in caplog.records if each.getMessage() == "a place can't be seen"]
    assert sorted(not_seen) == sorted(Place(name, None, {}).name for name in types)


def test_a_place_that_is_none_is_logged_by_its_field_and_counted(
    surveys: Surveys, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert surveys.tick({"named_places": [{"deployment_type": "Moon"}]})["places"] == 0
    (why,) = [vars(each)["why"] for each in caplog.records if hasattr(each, "why")]
    assert why.startswith("SurveyPlaces[0].deployment_type: ")
    assert metrics(capsys.readouterr().out)["Blind"] == [1.0]


def test_a_lane_that_can_not_begin_is_counted_and_keeps_no_other_from_it(
    surveys: Surveys, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = botocore.client.BaseClient._make_api_call
    answers = [RuntimeError("throttled")]

    def called(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        if operation == "Invoke" and answers:
            raise answers.pop()
        return call(client, operation, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", called)
    places = [{"deployment_type": "BareMetal", "region": str(n)} for n in range(4)]
    assert surveys.tick({"named_places": places})["places"] == 4
    found = metrics(capsys.readouterr().out)
    assert (found["Blind"][0], found["Surveyed"]) == (2.0, [1.0, 1.0])


def test_an_event_without_named_places_is_a_tick(surveys: Surveys) -> None:
    assert surveys.tick(an_event("expire-sweep")) == {"places": 0, "strays": 0}


# Announced


def test_a_stray_is_announced_through_the_stream(stack: Stack, stray: Stray) -> None:
    fact = {"sequence": 1, "type": "found", "at": stray.first_seen_at}
    image = stack.image(KEY, "stray") | {"news": {"S": json.dumps([fact])}}
    keys = {name: image[name] for name in ("blueprint_id", "item")}
    record = {"eventName": "INSERT", "dynamodb": {"Keys": keys, "NewImage": image, "SequenceNumber": "1"}}
    for _ in range(2):
        assert stack.call("announce", {"Records": [record]}) == {"batchItemFailures": []}
    first, again = (json.loads(message["Body"]) for message in stack.messages(stack.subscriber))
    assert first == again
    assert first["type"] == "stray.found"
    assert first["data"]["event"] == "stray_found"
    assert (first["data"]["stray"], first["data"]["mark"]) == (KEY, GENERATION)


def test_a_malformed_stray_is_set_aside(stack: Stack, stray: Stray) -> None:
    image = stack.image(KEY, "stray") | {"stray": {"S": "not JSON"}}
    keys = {name: image[name] for name in ("blueprint_id", "item")}
    record = {"eventName": "MODIFY", "dynamodb": {"Keys": keys, "NewImage": image, "SequenceNumber": "1"}}
    assert stack.call("announce", {"Records": [record]}) == {"batchItemFailures": []}
    assert len(stack.messages(stack.set_aside)) == 1


# Listed


def test_strays_are_listed_page_by_page_with_all_that_is_known(stack: Stack, stray: Stray) -> None:
    for number in range(4):
        runtime.strays().create(msgspec.structs.replace(stray, key=f"{KEY}{number}"))
    event = an_event("inspect-strays") | {"multiValueQueryStringParameters": None}
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        status, body = answered(stack.call("inspect", event | {"queryStringParameters": query}))
        assert status == 200
        seen += [line["key"] for line in body["strays"]]
        cursor = body["cursor"]
        if cursor is None:
            break
    assert seen == [KEY, *(f"{KEY}{n}" for n in range(4))]
    assert body["strays"][0] == {
        "key": seen[-1],
        "kind": "aws:instance",
        "id": "i-0123456789abcdef0",
        "place": {"account": "123456789012", "region": "eu-central-1"},
        "deployment_type": "AwsEc2",
        "region": "eu-central-1",
        "metadata": {},
        "resource_key": "instance_id",
        "mark": GENERATION,
        "made_at": None,
        "first_seen_at": stray.first_seen_at,
        "last_seen_at": stray.last_seen_at,
        "seen": 1,
        "announced_at": stray.announced_at,
        "exempt": None,
        "cost_per_hour": None,
    }


@pytest.mark.parametrize(
    ("query", "field"),
    [({"status": "Stray"}, "status"), ({"limit": "201"}, "limit"), ({"cursor": "bm90aGluZw=="}, "cursor")],
)
def test_what_is_no_page_of_strays_is_refused(stack: Stack, query: dict[str, str], field: str) -> None:
    event = an_event("inspect-strays") | {"queryStringParameters": query, "multiValueQueryStringParameters": None}
    status, body = answered(stack.call("inspect", event))
    assert status in (400, 422)
    assert body["error"]["field"] == field


def test_no_list_of_deployments_shows_a_stray(stack: Stack, stray: Stray) -> None:
    event = an_event("inspect-list") | {"queryStringParameters": None, "multiValueQueryStringParameters": None}
    assert answered(stack.call("inspect", event))[1]["deployments"] == []
    get = an_event("inspect-get") | {"pathParameters": {"blueprint_id": encode_key(KEY)}}
    assert stack.call("inspect", get)["statusCode"] == 404


# Adopted


def test_a_caller_adopts_a_stray_and_asking_again_is_answered_by_the_same(stack: Stack, stray: Stray) -> None:
    status, body = answered(stack.call("register", an_event("register-adopt")))
    assert status == 201
    assert body["blueprint_id"] == "adopted:" + KEY.removeprefix("stray:")
    assert body["resource_ids"] == {"instance_id": "i-0123456789abcdef0"}
    assert body["registered_by"].startswith("arn:aws:sts::")
    again, same = answered(stack.call("register", an_event("register-adopt")))
    assert (again, same) == (200, body)


def test_what_is_of_a_type_that_the_stack_serves_no_more_is_adopted_all_the_same(
    stack: Stack, stray: Stray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENABLED_TYPES", "LocalDocker")
    forget_process()
    assert answered(stack.call("register", an_event("register-post")))[0] == 422
    assert answered(stack.call("register", an_event("register-adopt")))[0] == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"ttl_seconds": 60}, "reason"),
        ({"reason": "   "}, "reason"),
        ({"reason": 7}, "reason"),
        ({"reason": "r", "ttl_seconds": "60"}, "ttl_seconds"),
        ({"reason": "r", "ttl_seconds": True}, "ttl_seconds"),
        ({"reason": "r", "ttl_seconds": 0}, "ttl_seconds"),
        ({"reason": "r", "force": True}, "force"),
    ],
)
def test_an_adoption_that_says_something_wrong_changes_nothing(
    stack: Stack, stray: Stray, body: dict[str, Any], field: str
) -> None:
    status, answer = answered(stack.call("register", an_event("register-adopt") | {"body": json.dumps(body)}))
    assert status in (400, 422)
    assert answer["error"]["field"] == field
    assert runtime.strays().get(KEY) == stray


@pytest.mark.parametrize("key", ["stray:aws:instance:i-none", "svc-7"])
@pytest.mark.parametrize(("function", "event"), [("register", "register-adopt"), ("amend", "amend-exempt")])
def test_what_is_no_stray_is_not_found(stack: Stack, key: str, function: str, event: str) -> None:
    call = an_event(event) | {"pathParameters": {"key": encode_key(key)}}
    status, body = answered(stack.call(function, call))
    assert (status, body["error"]["code"]) == (404, "not_found")


# Exempt


def in_a_month(**changes: Any) -> dict[str, Any]:
    until = format_time(utc_now() + timedelta(days=30))
    return with_body(an_event("amend-exempt"), **({"until": until} | changes))


def test_a_caller_exempts_a_stray_with_a_reason_and_an_end(stack: Stack, stray: Stray) -> None:
    event = in_a_month()
    status, body = answered(stack.call("amend", event))
    assert status == 200
    said = json.loads(event["body"])
    assert body["exempt"]["reason"] == said["reason"]
    assert body["exempt"]["until"] == said["until"]
    assert body["exempt"]["by"].startswith("arn:aws:sts::")
    status, answer = answered(stack.call("register", an_event("register-adopt")))
    assert (status, answer["error"]["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"until": None}, "until"),
        ({"until": 7}, "until"),
        ({"until": "tomorrow"}, "until"),
        ({"until": "2020-01-01T00:00:00Z"}, "until"),
        ({"until": "2999-01-01T00:00:00Z"}, "until"),
        ({"reason": ""}, "reason"),
        ({"for": "ever"}, "for"),
    ],
)
def test_an_exemption_that_says_something_wrong_changes_nothing(
    stack: Stack, stray: Stray, changes: dict[str, Any], field: str
) -> None:
    status, body = answered(stack.call("amend", in_a_month(**changes)))
    assert status in (400, 422)
    assert body["error"]["field"] == field
    assert runtime.strays().get(KEY) == stray
