"""This is what the page may ask of the stack: the calls of its list, each by the typed client, and no other address."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deployment_tracker.keys import encode_key
from deployment_tracker.ui.routes import FILTERS, ROUTES
from tests.client.api import Fault
from tests.ui.conftest import Browser
from tests.ui.stand import MODE, Stand, page_of
from tracker.intake.listing import FILTERS as OF_THE_API

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()
CALLS: dict[tuple[str, str], tuple[str, dict[str, Any] | None, str]] = {
    ("GET", "deployments"): ("deployments?overdue=true", None, "/deployments"),
    ("GET", "deployments/*"): ("deployments/team-a%2Fpreview-1187", None, "/deployments/~dGVhbS1hL3ByZXZpZXctMTE4Nw"),
    ("GET", "deployments/*/plan"): ("deployments/staging-eks/plan", None, "/deployments/staging-eks/plan"),
    ("GET", "deployments/*/deliveries"): ("deployments/staging-eks/deliveries", None, "/deployments/staging-eks/deliveries"),
    ("POST", "deployments/*/deliveries/*/redeliver"): (
        "deployments/ml-batch-eu-7/deliveries/5f0c2b8d-6/redeliver", {},
        "/deployments/ml-batch-eu-7/deliveries/5f0c2b8d-6/redeliver",
    ),
    ("POST", "deployments/*/extend"): ("deployments/demo-tuesday/extend", {"by": 3600}, "/deployments/demo-tuesday/extend"),
    ("DELETE", "deployments/*"): ("deployments/demo-tuesday", {"reason": "r"}, "/deployments/demo-tuesday"),
    ("POST", "deployments/*/hold"): (
        "deployments/demo-tuesday/hold", {"reason": "r", "until": TOMORROW}, "/deployments/demo-tuesday/hold"
    ),
    ("DELETE", "deployments/*/hold"): ("deployments/license-server/hold", None, "/deployments/license-server/hold"),
    ("POST", "deployments/*/forget"): ("deployments/docs-preview/forget", {"reason": "r"}, "/deployments/docs-preview/forget"),
    ("GET", "strays"): ("strays", None, "/strays"),
    ("POST", "strays/*/adopt"): (
        "strays/stray%3Ahetzner%3Aserver%3A48210377/adopt", {"reason": "r", "ttl_seconds": 60},
        f"/strays/{encode_key('stray:hetzner:server:48210377')}/adopt",
    ),
    ("POST", "strays/*/exempt"): (
        "strays/stray%3Ahetzner%3Aserver%3A48210377/exempt", {"reason": "r", "until": TOMORROW},
        f"/strays/{encode_key('stray:hetzner:server:48210377')}/exempt",
    ),
}  # fmt: skip


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_each_route_is_one_call_of_the_api(opened: Browser, filled: Stand, route: tuple[str, str]) -> None:
    path, body, wanted = CALLS[route]
    answer = opened.ask(route[0], f"/api/{path}", body)
    assert answer.status == 200, answer.body
    assert [(call.method, call.path.removeprefix("/v1")) for call in filled.calls] == [(route[0], wanted)]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "deployments"),
        ("DELETE", "deployments"),
        ("POST", "deployments/demo-tuesday"),
        ("DELETE", "deployments/demo-tuesday/plan"),
        ("POST", "deployments/demo-tuesday/announce"),
        ("GET", "deployments/demo-tuesday/plan/more"),
        ("GET", "deployments/"),
        ("GET", "deployments//plan"),
        ("GET", ""),
        ("GET", "https://evil.example/"),
        ("GET", "//evil.example/deployments"),
        ("GET", "../deployments"),
        ("DELETE", "strays/x/adopt"),
    ],
)
def test_any_other_call_is_refused_and_goes_nowhere(opened: Browser, filled: Stand, method: str, path: str) -> None:
    answer = opened.ask(method, f"/api/{path}", {} if method != "GET" else None)
    assert answer.status in (400, 404)
    assert filled.calls == []


@pytest.mark.parametrize(
    "key", ["..", ".", "a/../b", "http://evil.example", "@evil.example", "a?b=c", "a#b", "ü", "%2e%2e"]
)
def test_a_key_can_lead_nowhere_but_to_its_own_record(opened: Browser, filled: Stand, key: str) -> None:
    quoted = "".join(f"%{byte:02X}" for byte in key.encode())
    answer = opened.ask("GET", f"/api/deployments/{quoted}")
    assert answer.status == 404
    assert [call.path for call in filled.calls] == [f"/v1/deployments/{encode_key(key)}"]
    assert filled.calls[0].headers["host"] == filled.url.split("/")[2]


@pytest.mark.parametrize("id_", ["..", "%2e%2e", "a%2Fb", "a%3Fb", "x" * 201])
def test_the_id_of_a_delivery_is_no_path(opened: Browser, filled: Stand, id_: str) -> None:
    answer = opened.ask("POST", f"/api/deployments/ml-batch-eu-7/deliveries/{id_}/redeliver", {})
    assert (answer.status, answer.code) == (400, "malformed")
    assert filled.calls == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("extend", {"by": "1h"}),
        ("extend", {"by": True}),
        ("extend", {"until": "2026-12-01"}),
        ("extend", {"until": 5}),
        ("extend", {"by": 1, "url": "https://evil.example"}),
        ("hold", {"reason": "r", "until": "soon"}),
        ("hold", {"reason": 5, "until": TOMORROW}),
        ("forget", {"reason": ["x"]}),
    ],
)
def test_a_body_that_the_page_never_sends_is_refused(opened: Browser, filled: Stand, path: str, body: Any) -> None:
    answer = opened.ask("POST", f"/api/deployments/demo-tuesday/{path}", body)
    assert (answer.status, answer.code) == (400, "malformed")
    assert filled.calls == []


@pytest.mark.parametrize("query", ["url=https://evil.example", "limit=1", "overdue", "%zz=1&x", "&".join(["a=1"] * 30)])
def test_a_query_that_is_no_filter_is_refused(opened: Browser, filled: Stand, query: str) -> None:
    answer = opened.ask("GET", f"/api/deployments?{query}")
    assert (answer.status, answer.code) == (400, "malformed")
    assert filled.calls == []


def test_the_filters_are_those_of_the_api() -> None:
    assert {*OF_THE_API} - {"limit", "cursor"} <= {*FILTERS}


def test_an_error_of_the_api_keeps_its_code_and_what_it_tells(opened: Browser, filled: Stand) -> None:
    answer = opened.ask("DELETE", "/api/deployments/license-server", {"reason": "r"})
    assert (answer.status, answer.code) == (409, "held")
    assert answer.body["error"]["hold"]["reason"] == "audit until Friday"


def test_a_plan_that_has_changed_is_said(opened: Browser, filled: Stand) -> None:
    answer = opened.ask("DELETE", "/api/deployments/demo-tuesday", {"plan": "another"})
    assert (answer.status, answer.code) == (409, "plan_changed")
    assert answer.body["error"]["changed"]


def test_what_is_not_its_owners_is_said_with_the_owner(opened: Browser, api: Stand) -> None:
    api.faults = [Fault(403, {"error": {"code": "not_yours", "message": "It is mia's.", "owner": "mia"}})]
    answer = opened.ask("DELETE", "/api/deployments/demo-tuesday")
    assert (answer.status, answer.code, answer.body["error"]["owner"]) == (403, "not_yours", "mia")


def test_a_stack_that_does_not_answer_is_no_empty_list(opened: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = opened.server.client.transport
    monkeypatch.setattr(transport, "url", "http://127.0.0.1:9/v1")
    monkeypatch.setattr(transport, "_sleep", lambda _: None)
    answer = opened.ask("GET", "/api/deployments")
    assert (answer.status, answer.code) == (502, "unreachable")


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("enforce", {"is_known": True, "mode": "enforce", "exceptions": {}}),
        ("enforce, vultr=pause", {"is_known": True, "mode": "enforce", "exceptions": {"vultr": "pause"}}),
        ("observe", {"is_known": True, "mode": "observe", "exceptions": {}}),
        (None, {"is_known": True, "mode": "enforce", "exceptions": {}}),
        ("nonsense", {"is_known": True, "mode": "pause", "exceptions": {}, "unreadable": "nonsense"}),
    ],
)
def test_the_brake_is_that_of_the_stack(api: Stand, value: str | None, wanted: dict[str, Any]) -> None:
    with page_of(api, brake=value) as server:
        found = Browser(server)
        found.open()
        assert found.ask("GET", "/api/brake").body == wanted


def test_a_brake_that_can_not_be_read_is_unknown_and_not_loose(opened: Browser) -> None:
    opened.server.client.place.outputs.pop("ModeParameter")
    body = opened.ask("GET", "/api/brake").body
    assert body["is_known"] is False
    assert "--stack" in body["why"] or body["why"]
    assert MODE not in str(body)


def test_the_stack_says_its_name_and_no_address(opened: Browser, api: Stand) -> None:
    body = opened.ask("GET", "/api/stack").body
    assert (body["name"], body["region"]) == ("deployment-tracker", "eu-west-1")
    assert body["platforms"]["AwsEc2"] == "aws"
    assert api.url not in str(body)
