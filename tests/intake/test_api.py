"""The HTTPS door: what a call is read as, and how it is answered."""

import base64
import json
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import NOW, a_deployment
from tracker.intake import api
from tracker.model.deployment import Cleanup, CleanupError, Event, Resource, encode_key, format_time, parse_time
from tracker.model.errors import Conflict, Contended, Invalid, NotFound

ONE = "/deployments/{blueprint_id}"


def a_call(method: str = "GET", resource: str = ONE, segment: str | None = "svc-1", **more: Any) -> dict[str, Any]:
    """As a REST API hands it over."""
    return {
        "httpMethod": method,
        "resource": resource,
        "path": f"/deployments/{segment}",
        "pathParameters": {"blueprint_id": segment} if segment is not None else None,
        "queryStringParameters": None,
        "requestContext": {"identity": {"userArn": "arn:aws:iam::123456789012:user/someone"}},
        "body": None,
        "isBase64Encoded": False,
    } | more


def key_of(call: api.Call) -> api.Reply:
    return 200, {"key": call.key}


def served(event: dict[str, Any], route: Any = key_of) -> tuple[int, Any]:
    answer = api.serve(event, {("GET", ONE): route, ("POST", "/deployments"): route})
    assert answer["headers"]["Content-Type"] == "application/json"
    assert answer["headers"]["Cache-Control"] == "no-store"
    return answer["statusCode"], json.loads(answer["body"])


ODD = [
    "a/b/c",
    "/subscriptions/1/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm",
    "akash1xyz/123/1/1",
    "100%",
    "%2F",
    "%252F",
    "~",
    "~tilde",
    "a~b",
    ".",
    "..",
    "a b",
    "a+b",
    "ä/ö?ü#",
    "🐙",
    "a=b&c=d",
    "forget",
    "x" * 1024,
]


@pytest.mark.parametrize("key", ODD, ids=lambda key: key[:20])
def test_every_key_can_be_named_as_tilde_and_base64url(key: str) -> None:
    segment = encode_key(key)
    for form in (segment, quote(segment, safe="")):
        assert served(a_call(segment=form)) == (200, {"key": key})


@pytest.mark.parametrize("segment", ["~c3ZjLTc", "~c3ZjLTd", "~c3ZjLTc=", "~YS9iL2M=", "~YS9iL2N"])
def test_a_key_has_one_spelling_as_tilde_and_base64url(segment: str) -> None:
    """IAM policies name paths: another spelling of the key would go past them."""
    status, body = served(a_call(segment=segment))
    assert (status, body["error"]["field"]) == (400, "blueprint_id")


def test_bytes_that_are_not_utf_8_are_no_key() -> None:
    for segment in ("%ff", "svc%c3%28", "%fe%ff"):
        status, body = served(a_call(segment=segment))
        assert (status, body["error"]["field"]) == (400, "blueprint_id")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"headers": {"Content-Encoding": "gzip"}}, "Content-Encoding"),
        ({"multiValueQueryStringParameters": {"status": ["Active", "Failed"]}}, "status"),
        ({"body": "ä", "isBase64Encoded": True}, "body"),
        ({"body": "e30=\n", "isBase64Encoded": True}, "body"),
        ({"queryStringParameters": {"force": "true"}}, "force"),
        ({"queryStringParameters": {"": ""}}, ""),
        ({"queryStringParameters": {"\ud800": "true"}}, "query"),
        ({"queryStringParameters": {"force": "\ud800"}}, "query"),
        ({"pathParameters": {"blueprint_id": "\ud800"}}, "blueprint_id"),
    ],
)
def test_what_a_call_could_mean_in_two_ways_is_refused(changes: dict[str, Any], field: str) -> None:
    status, body = served(a_call() | changes)
    assert (status, body["error"]["field"]) == (400, field)


@pytest.mark.parametrize("key", [key for key in ODD if not key.startswith("~") and "%" not in key])
def test_a_key_can_be_named_percent_encoded_or_as_the_gateway_decoded_it(key: str) -> None:
    assert served(a_call(segment=quote(key, safe=""))) == (200, {"key": key})
    assert served(a_call(segment=key)) == (200, {"key": key})


@given(key=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=100))
def test_any_key_comes_through_the_path_as_it_went_in(key: str) -> None:
    assert served(a_call(segment=encode_key(key))) == (200, {"key": key})
    assert served(a_call(segment=quote(encode_key(key), safe=""))) == (200, {"key": key})


@pytest.mark.parametrize("segment", ["~", "~=", "~!!", "~A", "~/w", "~4pyT4", "~_w", "x" * 1025, "", "~%20"])
def test_a_segment_that_is_no_key_is_refused(segment: str) -> None:
    status, body = served(a_call(segment=segment))
    assert status in (400, 422)
    assert body["error"]["code"] in ("invalid", "malformed")
    assert body["error"]["field"] == "blueprint_id"


@given(segment=st.text(max_size=80))
def test_no_segment_breaks_the_door(segment: str) -> None:
    status, _ = served(a_call(segment=segment))
    assert status in (200, 422)


def test_a_call_says_who_signed_it_and_what_it_asks() -> None:
    query = {"status": "Active", "cursor": None, "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Signature": "0"}
    event = a_call(queryStringParameters=query, body='{"a": 1}')
    call = api.read_call(event)
    assert (call.method, call.caller) == ("GET", "arn:aws:iam::123456789012:user/someone")
    assert call.query == {"status": "Active"}
    assert call.body == '{"a": 1}'


def test_a_call_without_a_signature_says_so() -> None:
    contexts: tuple[Any, ...] = ({}, {"identity": {}}, {"identity": {"userArn": None}}, None)
    for context in contexts:
        assert api.read_call(a_call(requestContext=context)).caller == "unsigned"


def test_a_body_may_come_in_base64() -> None:
    call = api.read_call(a_call(body=base64.b64encode('{"ä": 1}'.encode()).decode(), isBase64Encoded=True))
    assert call.body == '{"ä": 1}'


@pytest.mark.parametrize("body", ["!!!", base64.b64encode(b"\xff\xfe").decode()])
def test_bytes_that_are_no_text_are_a_bad_request(body: str) -> None:
    status, answer = served(a_call(body=body, isBase64Encoded=True))
    assert status == 400
    assert answer["error"]["field"] == "body"


@pytest.mark.parametrize(
    ("method", "resource"), [("PUT", ONE), ("GET", "/other"), ("POST", ONE), ("GET", "/deployments")]
)
def test_an_unknown_route_is_not_found(method: str, resource: str) -> None:
    status, body = served(a_call(method, resource))
    assert (status, body["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("problem", "status", "code"),
    [
        (NotFound("nothing is there"), 404, "not_found"),
        (Invalid("region", "x", "a region"), 422, "invalid"),
        (Invalid("region", 1, "text", malformed=True), 400, "malformed"),
        (Conflict("taken", field="blueprint_id", deployment=a_deployment()), 409, "conflict"),
        (Contended("again"), 503, "contended"),
    ],
)
def test_a_problem_is_answered_with_its_code_and_its_sentence(problem: Any, status: int, code: str) -> None:
    def route(call: api.Call) -> api.Reply:
        raise problem

    answered, body = served(a_call(), route)
    assert answered == status
    assert body["error"]["code"] == code
    assert body["error"]["message"] == problem.message


def test_a_conflict_shows_what_is_there_without_what_only_the_store_needs() -> None:
    there = a_deployment(made_at="then", outbox=[Event(1, "registered", "2030-01-01T00:00:00Z", "Active")])

    def route(call: api.Call) -> api.Reply:
        raise Conflict("taken", deployment=there)

    _, body = served(a_call(), route)
    shown = body["error"]["deployment"]
    assert shown["blueprint_id"] == "svc-1"
    assert not {"fingerprint", "made_at", "news"} & shown.keys()


def test_a_deployment_is_shown_under_the_models_names() -> None:
    shown = api.shown(a_deployment(metadata={"a": "b"}))
    model = {
        "id",
        "blueprint_id",
        "deployment_type",
        "provider",
        "region",
        "resource_spec",
        "resource_ids",
        "deployed_at",
        "ttl_seconds",
        "expires_at",
        "status",
        "cleanup_webhook",
        "metadata",
    }
    assert model <= shown.keys()
    assert not {"fingerprint", "made_at", "news"} & shown.keys()
    msgspec.json.encode(shown)


def test_every_time_that_is_shown_has_the_same_form() -> None:
    error = CleanupError(error_class="protected", message="m", at=format_time(NOW), round=1)
    times: dict[str, Any] = dict.fromkeys(
        ("requested_at", "deadline", "first_failed_at", "next_attempt_at", "observed_at", "ended_at"), format_time(NOW)
    )
    resource = Resource(kind="k", id="i", state="gone", gone_at=format_time(NOW))
    event = Event(sequence=1, type="registered", at=format_time(NOW), status="Active")
    shown = api.shown(
        a_deployment(
            due_at=1_900_000_000, cleanup=Cleanup(last_error=error, **times), resources=[resource], events=[event]
        )
    )
    assert shown["due_at"] == "2030-03-17T17:46:40.000Z"

    def check(value: Any, name: str = "") -> None:
        if isinstance(value, dict):
            for key, each in value.items():
                check(each, key)
        elif isinstance(value, list):
            for each in value:
                check(each)
        elif name == "at" or name.endswith(("_at", "deadline")):
            assert isinstance(value, str), name
            parse_time(value)
        else:
            assert not isinstance(value, int) or value < 1_000_000_000, name

    check(shown)
    assert "due_at" not in api.shown(a_deployment()) or api.shown(a_deployment())["due_at"] is None


@pytest.mark.parametrize("error", [RuntimeError("hunter2"), KeyError("hunter2"), AssertionError("hunter2")])
def test_an_error_of_ours_is_a_bare_500(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    def route(call: api.Call) -> api.Reply:
        raise error

    status, body = served(a_call(), route)
    assert status == 500
    assert body == {"error": {"code": "internal", "message": "the call failed on our side; try again"}}
    assert "a call failed" in caplog.text


@pytest.mark.parametrize(
    ("body", "status"),
    [("{", 400), ("[]", 400), ('"text"', 400), ("null", 400), ('{"other": 1}', 400), ("{} {}", 400), ("\x00", 400)],
)
def test_a_body_that_is_no_object_of_these_fields_is_a_bad_request(body: str, status: int) -> None:
    with pytest.raises(Invalid) as invalid:
        api.json_object(body, allowed={"reason"})
    assert invalid.value.status == status


@pytest.mark.parametrize("encoding", ["identity", "Identity", "", None])
def test_a_body_that_is_not_encoded_is_read(encoding: str | None) -> None:
    assert api.read_call(a_call(headers={"Content-Encoding": encoding}, body="{}")).body == "{}"


@pytest.mark.parametrize("reason", ["a\x00b", "a\nb", "a\u202eb", "\u2028", "\ufeff", "\uffff", "\ue000"])
def test_a_reason_is_what_operators_can_read(reason: str) -> None:
    said, over_hold = api.read_reasons(json.dumps({"reason": reason, "over_hold": reason}))
    assert said == over_hold
    assert said.isprintable()
    assert len(said) == len(reason)


def test_a_call_without_fields_says_so() -> None:
    with pytest.raises(Invalid, match="expected no fields, got an unknown field"):
        api.json_object('{"reason": "x"}', allowed=set())


def test_no_body_is_an_empty_object() -> None:
    assert api.json_object("", allowed={"reason"}) == {}
    assert api.json_object('{"reason": "x"}', allowed={"reason"}) == {"reason": "x"}
