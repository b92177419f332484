"""Holds answers to the description of the API, docs/openapi.json, as `docs.openapi` makes it.

The description lets an answer have more fields, so that callers expect that; here each field must be one that it has.
"""

import json
import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from docs import openapi

METHODS = ("get", "put", "post", "patch", "delete")


@cache
def description() -> dict[str, Any]:
    """The whole description."""
    return openapi.document()


@cache
def closed_components() -> dict[str, Any]:
    """Its components; no object may have a field that isn't described."""
    found: dict[str, Any] = _closed(description()["components"])
    return found


def faults(value: Any, schema: dict[str, Any], *, closed: bool = False) -> list[str]:
    """Return what of a value isn't as a schema of the description says."""
    components = closed_components() if closed else description()["components"]
    validator = Draft202012Validator({"components": components, **schema}, format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(value)]


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    """A part of the description, or the component that it refers to."""
    if "$ref" not in value:
        return value
    found = description()
    for name in value["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def check_answer(event: dict[str, Any], answer: dict[str, Any]) -> None:
    """Assert that a function's answer to a call is one that the description has, header by header and field by field."""
    operation = description()["paths"][event["resource"]][event["httpMethod"].lower()]
    call = f"{event['httpMethod']} {event['resource']}"
    responses = operation["responses"]
    status = str(answer["statusCode"])
    assert status in responses, f"{call}: {status} isn't described: {answer['body']}"
    response = resolved(responses[status])
    (media,) = response["content"]
    assert answer["headers"]["Content-Type"] == media
    wrong = faults(json.loads(answer["body"]), response["content"][media]["schema"], closed=True)
    assert not wrong, f"{call}, {status}: {wrong}"
    headers = response.get("headers", {})
    assert {"Content-Type", "Cache-Control", *headers} == answer["headers"].keys()
    for name, header in headers.items():
        assert not faults(answer["headers"][name], resolved(header)["schema"])


def is_described(event: dict[str, Any]) -> bool:
    """Return whether an event is a call that the description has."""
    return event.get("httpMethod", "").lower() in description()["paths"].get(event.get("resource"), {})


def parameters_of(operation: dict[str, Any], place: str) -> dict[str, dict[str, Any]]:
    """The parameters of an operation in its path or its query, by name."""
    found = [resolved(each) for each in operation.get("parameters", [])]
    return {each["name"]: each for each in found if each["in"] == place}


def path_names(path: str) -> list[str]:
    """The parameters that a path names."""
    return re.findall(r"{(\w+)}", path)


def _closed(part: Any) -> Any:
    if isinstance(part, list):
        return [_closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    found = {name: _closed(each) for name, each in part.items()}
    if found.get("type") == "object" and isinstance(found.get("properties"), dict):
        found.setdefault("additionalProperties", False)
    return found
