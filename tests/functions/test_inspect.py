"""Reading, through the function's own handler."""

import pytest

from tests.functions.conftest import Stack, an_event, answered, with_body
from tracker.model.deployment import Deployment


def test_one_is_shown_as_registered_without_what_only_the_store_needs(stack: Stack, registered: Deployment) -> None:
    status, body = answered(stack.call("inspect", an_event("inspect-get")))
    assert status == 200
    assert body["generation"] == registered.generation
    assert body["events"][0]["type"] == "registered"
    assert not {"fingerprint", "made_at", "news"} & body.keys()


def test_an_unknown_one_is_404(stack: Stack) -> None:
    status, body = answered(stack.call("inspect", an_event("inspect-get")))
    assert (status, body["error"]["code"]) == (404, "not_found")


def test_a_key_with_slashes_is_read_by_its_encoded_form(stack: Stack) -> None:
    stack.call("register", with_body(an_event("register-post"), blueprint_id="akash/123/1/1"))
    status, body = answered(stack.call("inspect", an_event("inspect-get-encoded-key")))
    assert (status, body["blueprint_id"]) == (200, "akash/123/1/1")


def test_a_moved_one_is_read_under_its_old_key(stack: Stack, registered: Deployment) -> None:
    stack.call("amend", an_event("amend-patch-move"))
    status, body = answered(stack.call("inspect", an_event("inspect-get")))
    assert (status, body["blueprint_id"], body["generation"]) == (200, "akash/123/1/1", registered.generation)


def test_a_list_goes_through_all_pages(stack: Stack) -> None:
    for n in range(5):
        stack.call("register", with_body(an_event("register-post"), blueprint_id=f"svc-{n}"))
    event = an_event("inspect-list")
    event["queryStringParameters"]["limit"] = "2"
    found: list[str] = []
    while True:
        status, page = answered(stack.call("inspect", event))
        assert status == 200
        found += [item["blueprint_id"] for item in page["deployments"]]
        if page["cursor"] is None:
            break
        event["queryStringParameters"]["cursor"] = page["cursor"]
    assert found == [f"svc-{n}" for n in range(5)]


@pytest.mark.parametrize(
    "query", [{"status": "Sleeping"}, {"limit": "0"}, {"cursor": "x"}, {"colour": "red"}, {"id": ""}]
)
def test_a_bad_filter_is_named(stack: Stack, query: dict[str, str]) -> None:
    status, body = answered(stack.call("inspect", an_event("inspect-list") | {"queryStringParameters": query}))
    assert status in (400, 422)
    assert body["error"]["field"] == next(iter(query))


@pytest.mark.parametrize("segment", ["~", "~!", "x" * 2000])
def test_a_segment_that_is_no_key_is_422(stack: Stack, segment: str) -> None:
    event = an_event("inspect-get") | {"pathParameters": {"blueprint_id": segment}}
    status, _ = answered(stack.call("inspect", event))
    assert status == 422


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/deployments"), ("GET", "/deployment"), ("POST", "/deployments/svc-7/plan")]
)
def test_a_call_that_there_is_not_is_404_in_our_form(stack: Stack, method: str, path: str) -> None:
    event = an_event("inspect-get") | {
        "resource": "/{proxy+}",
        "httpMethod": method,
        "path": path,
        "pathParameters": {"proxy": path[1:]},
    }
    status, body = answered(stack.call("inspect", event))
    assert (status, body["error"]) == (404, {"code": "not_found", "message": f"no such call: {method} {path}"})
