"""The description of the API, docs/openapi.json: the calls of `docs.operations`, with the schemas of the code's own structs.

`python -m docs` (`make docs`) writes it; no function reads it. The texts are those of docs/api.md, so that each is said once, and the
examples are calls of events/ and answers that the functions gave (docs/answers.json, which tests/functions/test_answers.py writes).
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from docs.operations import ERRORS, GATEWAY, OPERATIONS, PARAMETERS, Operation
from docs.prose import texts
from docs.schemas import error_schema, ref, schemas
from tests.table import template

DOCS = Path(__file__).parent
EVENTS = DOCS.parent / "events"
DESCRIPTION = """\
Maps each Blueprint service instance to what was deployed for it, and keeps asking until all of it is proven gone.

Every call is signed with IAM credentials (Signature Version 4, service `execute-api`). The prose is docs/api.md.
Any other method or path is 404, with the code `not_found`.
"""
SIGNED = {
    "type": "apiKey",
    "name": "Authorization",
    "in": "header",
    "x-amazon-apigateway-authtype": "awsSigv4",
    "description": "AWS Signature Version 4. The signer needs the permission `execute-api:Invoke`.",
}
GATEWAY_SAYS = {
    400: "API Gateway can't read the call.",
    403: "API Gateway refuses the call: its signature is wrong or missing, or its signer may not make it.",
    413: "The call is longer than API Gateway takes.",
    429: "Too many calls at once. Repeat the call later.",
    500: "API Gateway can't serve the call.",
    502: "The function behind the call didn't answer as it must. Repeat the call.",
    504: "The function behind the call didn't answer in time. Repeat the call.",
}


def document() -> dict[str, Any]:
    """Return the description as JSON's own types."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Deployment tracker",
            "version": template()["Resources"]["Api"]["Properties"]["StageName"],
            "description": DESCRIPTION.strip(),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [
            {
                "url": "https://{api}.execute-api.{region}.amazonaws.com/v1",
                "description": "The stack's output `ApiUrl`.",
                "variables": {"api": {"default": "a1b2c3d4e5"}, "region": {"default": "eu-central-1"}},
            }
        ],
        "security": [{"sigv4": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas().items())),
            "responses": _failures(),
            "parameters": {name: {"name": name, **_parameter(name)} for name in PARAMETERS},
            "headers": {
                "Location": {
                    "description": "The URL of the new record, relative to that of the call.",
                    "required": True,
                    "schema": {"type": "string", "format": "uri-reference"},
                }
            },
            "securitySchemes": {"sigv4": SIGNED},
        },
    }


def text() -> str:
    """Return the text of docs/openapi.json."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


@cache
def answers() -> dict[str, Any]:
    """Return the answers that the functions gave, by operation and status, and those of errors by code."""
    found: dict[str, Any] = json.loads((DOCS / "answers.json").read_text())
    return found


def _described(operation: Operation) -> dict[str, Any]:
    named = re.findall(r"{(\w+)}", operation.path) + list(operation.query)
    found: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": texts("Calls")[operation.call],
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in named],
        "responses": {},
    }
    if operation.body:
        event = json.loads((EVENTS / f"{operation.event}.json").read_text())
        content: dict[str, Any] = {"schema": ref(operation.body)}
        if event["body"]:
            content["example"] = json.loads(event["body"])
        found["requestBody"] = {"required": operation.needs_body, "content": {"application/json": content}}
    for status, answer in sorted(operation.answers.items()):
        example = answers().get(f"{operation.id} {status}")
        response = {"description": answer.says, **_json({"schema": ref(answer.schema), "example": example})}
        if status == 201:  # noqa: PLR2004 - "created", which says where
            response["headers"] = {"Location": {"$ref": "#/components/headers/Location"}}
        found["responses"][str(status)] = response
    for status, codes in sorted(_by_status(operation.codes).items()):
        found["responses"][str(status)] = {"$ref": f"#/components/responses/{_name(status, codes)}"}
    return found


def _failures() -> dict[str, Any]:
    """Return each answer that says that a call failed, once for all calls that may end so."""
    wanted = {(status, codes) for each in OPERATIONS for status, codes in _by_status(each.codes).items()}
    return {_name(status, codes): _failure(status, codes) for status, codes in sorted(wanted)}


def _failure(status: int, codes: tuple[str, ...]) -> dict[str, Any]:
    options = [ref(error_schema(code)) for code in codes]
    says = [f"`{code}`: {texts('Errors')[code]}." for code in codes]
    if status in GATEWAY:
        options.append(ref("GatewayError"))
        says.append(GATEWAY_SAYS[status])
    content: dict[str, Any] = {"schema": options[0] if len(options) == 1 else {"anyOf": options}}
    if codes:
        content["examples"] = {code: {"value": answers().get(f"error {code}")} for code in codes}
    else:
        content["example"] = {"error": {"code": GATEWAY[status][0], "message": None}}
    return {"description": "\n\n".join(says), **_json(content)}


def _by_status(codes: tuple[str, ...]) -> dict[int, tuple[str, ...]]:
    """Return the codes by status, with those statuses besides that the gateway alone answers."""
    found: dict[int, tuple[str, ...]] = dict.fromkeys(GATEWAY, ())
    for code in codes:
        status = ERRORS[code][0]
        found[status] = (*found.get(status, ()), code)
    return found


def _name(status: int, codes: tuple[str, ...]) -> str:
    return "_or_".join(codes) or f"gateway_{status}"


def _parameter(name: str) -> dict[str, Any]:
    found = {"in": "query", "description": texts("List").get(name, ""), **PARAMETERS[name]}
    return found | {"required": True} if found["in"] == "path" else found


def _json(content: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": content}}
