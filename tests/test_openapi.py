"""docs/openapi.json: valid, complete, and each of its examples as its own schemas say.

That the functions answer as it says is tried in tests/functions, with every call of every test there; that nothing else comes out of a
whole stack, by `make fuzz`.
"""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from deployment_tracker.cli.app import VERBS
from docs import openapi, page
from docs.operations import ERRORS, GATEWAY, OF_EVENTS, OPERATIONS
from tests.description import check_answer, description, faults, parameters_of, path_names, resolved
from tests.table import template
from tracker.intake.listing import FILTERS

ROOT = Path(__file__).parent.parent
CALLS = {
    path.stem: event
    for path in sorted((ROOT / "events").glob("*.json"))
    if "httpMethod" in (event := json.loads(path.read_text()))
}


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Each call of the description: path, method and what is said of it."""
    return [(path, method, each[method]) for path, each in description()["paths"].items() for method in each]


def contents() -> list[tuple[str, dict[str, Any]]]:
    """All bodies, by where they are."""
    found = []
    for path, method, operation in operations():
        here = f"{method} {path}"
        if "requestBody" in operation:
            found.append((f"{here}, body", operation["requestBody"]["content"]["application/json"]))
        for status, response in operation["responses"].items():
            found.append((f"{here}, {status}", resolved(response)["content"]["application/json"]))
    return found


def test_it_is_a_valid_description() -> None:
    assert description()["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(description()).iter_errors()] == []


def test_the_file_is_what_the_code_makes() -> None:
    assert (ROOT / "docs" / "openapi.json").read_text() == openapi.text(), "run `make docs`"


def test_it_has_the_calls_of_the_template_but_for_what_is_404() -> None:
    functions = [each["Properties"] for each in template()["Resources"].values() if each["Type"].endswith("::Function")]
    events = [event for function in functions for event in function.get("Events", {}).values()]
    routes = [each["Properties"] for each in events if each["Type"] == "Api"]
    wanted = {(each["Path"], each["Method"].lower()) for each in routes if each["Path"] != "/{proxy+}"}
    assert {(path, method) for path, method, _ in operations()} == wanted


def test_each_call_is_called_as_its_verb_and_has_its_parameters() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    verbs = {verb for heading in VERBS.values() for verb in heading}
    assert set(names) <= verbs
    for path, _, operation in operations():
        assert list(parameters_of(operation, "path")) == path_names(path)
        assert all(each["description"] for each in parameters_of(operation, "query").values())


def test_the_filters_of_the_list_are_those_that_it_takes() -> None:
    (operation,) = [each for _, _, each in operations() if each["operationId"] == "ls"]
    assert list(parameters_of(operation, "query")) == list(FILTERS)


def test_each_part_is_used() -> None:
    text = json.dumps(description()["paths"]) + json.dumps(description()["components"])
    for kind, parts in description()["components"].items():
        unused = [name for name in parts if f'"#/components/{kind}/{name}"' not in text]
        assert kind == "securitySchemes" or unused in ([], ["ErrorCode"]), unused


def test_calls_are_signed() -> None:
    assert description()["security"] == [{"sigv4": []}]
    scheme = description()["components"]["securitySchemes"]["sigv4"]
    assert (scheme["type"], scheme["x-amazon-apigateway-authtype"]) == ("apiKey", "awsSigv4")


def test_every_code_of_an_error_in_the_code_is_described() -> None:
    sources = [*(ROOT / "layers/tracker/tracker").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]
    found = {
        code
        for path in sources
        for code in re.findall(r'^ +(?:self\.)?code = "(\w+)"$', path.read_text(), re.MULTILINE)
    }
    assert found == ERRORS.keys() | OF_EVENTS
    gateways = {code for codes in GATEWAY.values() for code in codes}
    assert set(description()["components"]["schemas"]["ErrorCode"]["enum"]) == ERRORS.keys() | gateways


def test_each_call_may_end_in_what_the_gateway_answers() -> None:
    for _, _, operation in operations():
        assert operation["responses"].keys() >= {str(status) for status in GATEWAY}


@pytest.mark.parametrize(("where", "content"), contents(), ids=lambda value: value if isinstance(value, str) else "")
def test_each_body_has_an_example_that_is_as_its_schema_says(where: str, content: dict[str, Any]) -> None:
    examples = [each["value"] for each in content.get("examples", {}).values()] or [content["example"]]
    for example in examples:
        assert example
        assert faults(example, content["schema"], closed=True) == []


def described(event: dict[str, Any]) -> dict[str, Any]:
    """Return what is said of the call that an event is."""
    found: dict[str, Any] = description()["paths"][event["resource"]][event["httpMethod"].lower()]
    return found


@pytest.mark.parametrize("name", CALLS)
def test_each_call_among_the_events_is_as_described(name: str) -> None:
    event = CALLS[name]
    operation = described(event)
    for place, sent in (("path", event["pathParameters"]), ("query", event["queryStringParameters"])):
        parameters = parameters_of(operation, place)
        for parameter, value in (sent or {}).items():
            schema = parameters[parameter]["schema"]
            typed = int(value) if schema.get("type") == "integer" else value
            assert faults(typed, schema) == []
    if event["body"]:
        assert (
            faults(json.loads(event["body"]), operation["requestBody"]["content"]["application/json"]["schema"]) == []
        )


def test_each_call_has_an_event() -> None:
    assert {described(event)["operationId"] for event in CALLS.values()} == {each.id for each in OPERATIONS}


def test_a_field_that_is_not_described_and_one_that_is_missing_are_noticed() -> None:
    event, status = CALLS["inspect-get"], 200
    body = openapi.answers()["show 200"]
    answer = {"statusCode": status, "headers": {"Content-Type": "application/json", "Cache-Control": "no-store"}}
    check_answer(event, answer | {"body": json.dumps(body)})
    without = {name: value for name, value in body.items() if name != "version"}
    for wrong in (body | {"news": []}, without, body | {"due_at": 7}, body | {"due_at": "soon"}):
        with pytest.raises(AssertionError):
            check_answer(event, answer | {"body": json.dumps(wrong)})
    with pytest.raises(AssertionError):
        check_answer(event, answer | {"statusCode": 201, "body": json.dumps(body)})


def test_a_page_has_no_script_and_leads_nowhere_else() -> None:
    html = page.text()
    assert (ROOT / "docs" / "api.html").read_text() == html, "run `make docs`"
    assert "<script" not in html
    assert re.findall(r"(?:src|href)=\"(?!#|openapi\.json|api\.md)[^\"]*\"|url\(|@import", html) == []


class Outline(HTMLParser):
    """The headings, landmarks, ids and links of a page; what is opened must be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.levels: list[int] = []
        self.ids: list[str] = []
        self.targets: set[str] = set()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag says."""
        self.tags.append(tag)
        if tag not in ("meta", "link"):
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name == "href" and value and value.startswith("#"):
                self.targets.add(value[1:])

    def handle_endtag(self, tag: str) -> None:
        """A tag closes the last one that is open."""
        assert self.open.pop() == tag


def test_a_page_has_headings_in_order_landmarks_and_links_that_lead_somewhere() -> None:
    outline = Outline(page.text())
    assert outline.open == []
    assert {"header", "nav", "main", "footer"} <= set(outline.tags)
    assert outline.levels[0] == 1
    assert outline.levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(outline.levels))
    assert len(set(outline.ids)) == len(outline.ids)
    assert outline.targets <= set(outline.ids)
    assert {f"schema-{name}" for name in description()["components"]["schemas"]} <= set(outline.ids)
    assert {each.id for each in OPERATIONS} <= set(outline.ids)
