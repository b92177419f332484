"""The schemas of docs/openapi.json: those of the structs that the functions read and answer with, and what the code checks besides.

msgspec says the type of each field, docs/api.md what it means. What no type says (limits, forms, the names that are allowed) is in
REFINED, from the constants that the checks use.
"""

import json
from collections.abc import Iterable
from functools import cache
from typing import Any, get_args

import msgspec

from docs.operations import ERRORS, GATEWAY
from docs.prose import texts
from functions.redeliver.app import SEQUENCE_MAX
from tracker.cleanup.core.plans import Plan
from tracker.intake import strays
from tracker.intake.amendment import AMENDABLE
from tracker.intake.api import HIDDEN, REASON_MAX
from tracker.intake.fields import (
    CURRENCY,
    F32_MAX,
    GPUS_MAX,
    LABEL_KEY,
    LABEL_MAX,
    LABELS_MAX,
    METADATA_KEY_MAX,
    NAME_MAX,
    OWNER_MAX,
    PRICE_MAX,
    PROVIDERS,
    WARN_BEFORE,
    WARNINGS_MAX,
)
from tracker.intake.listing import DELIVERIES_HIDDEN, Line
from tracker.intake.requests import RegistrationRequest
from tracker.model.delivery import Delivery
from tracker.model.deployment import (
    DEPLOYMENT_TYPES,
    EVENT_TYPES,
    KEY_MAX,
    LIVE,
    STATUSES,
    Deployment,
    ErrorClass,
    QosParameters,
    ResourceSpec,
)
from tracker.model.marks import Mark
from tracker.model.settings import YEARS_10
from tracker.model.strays import Stray
from tracker.notify.deliveries import DeliveryRef
from tracker.notify.targets import URL_MAX
from tracker.runtime import MODES_MEAN

type Schema = dict[str, Any]

SHOWN: tuple[type[msgspec.Struct], ...] = (
    RegistrationRequest,
    Deployment,
    Line,
    Delivery,
    Plan,
    DeliveryRef,
    Mark,
    Stray,
)
# What callers send: any field with a default may be left out. An answer has every field, unless its struct leaves out defaults.
SENT = frozenset({RegistrationRequest.__name__, ResourceSpec.__name__, QosParameters.__name__})
HIDDEN_FIELDS = {"Deployment": HIDDEN, "Delivery": DELIVERIES_HIDDEN, "Stray": strays.HIDDEN}

NULL: Schema = {"type": "null"}
TIME: Schema = {"type": "string", "format": "date-time"}
KEY: Schema = {"type": "string", "minLength": 1, "maxLength": KEY_MAX}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": NAME_MAX}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
IDS: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
WEBHOOK: Schema = {"type": "string", "format": "uri", "maxLength": URL_MAX}
TTL: Schema = {"type": "integer", "minimum": 1, "maximum": YEARS_10}
CURSOR: Schema = {"description": "That of the next page, null at the end.", "type": ["string", "null"]}
PROVIDER: list[Schema] = [
    {"enum": list(PROVIDERS)},
    {
        "type": "object",
        "properties": {"DockerRemote": NAME},
        "required": ["DockerRemote"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {"BareMetal": {"type": "array", "items": NAME}},
        "required": ["BareMetal"],
        "additionalProperties": False,
    },
]


# What several fields hold, under a name of its own.
NAMED: dict[str, Schema] = {
    "Status": {"description": "docs/api.md explains each.", "enum": list(STATUSES)},
    "DeploymentType": {"description": "A stack may serve some of them only.", "enum": list(DEPLOYMENT_TYPES)},
    "EventType": {"enum": list(EVENT_TYPES)},
    "ErrorClass": {
        "description": "It decides when a failed cleanup is tried again.",
        "enum": list(get_args(ErrorClass)),
    },
    "Provider": {"description": "A name, or one that carries hosts.", "anyOf": PROVIDER},
}


def ref(name: str) -> Schema:
    """Return a reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, NULL]}


# By struct and field.
REFINED: dict[str, dict[str, Schema]] = {
    "RegistrationRequest": {
        "blueprint_id": KEY,
        "deployment_type": ref("DeploymentType"),
        "id": _or_null(KEY),
        "provider": _or_null(ref("Provider")),
        "region": _or_null(NAME),
        "resource_ids": _or_null({"type": "object", "additionalProperties": _or_null(IDS)}),
        "deployed_at": _or_null(TIME),
        "ttl_seconds": _or_null(TTL),
        "expires_at": _or_null(TIME),
        "status": {"enum": [*LIVE, None]},
        "cleanup_webhook": _or_null(WEBHOOK),
        "owner": _or_null({"type": "string", "minLength": 1, "maxLength": OWNER_MAX}),
        "labels": _or_null(
            {
                "type": "object",
                "propertyNames": {"pattern": f"^{LABEL_KEY.pattern}$"},
                "additionalProperties": _or_null({"type": "string", "maxLength": LABEL_MAX}),
                "maxProperties": LABELS_MAX,
            }
        ),
        "warn_before": _or_null(
            {
                "type": "array",
                "items": {"type": "integer", "minimum": WARN_BEFORE[0], "maximum": WARN_BEFORE[1]},
                "maxItems": WARNINGS_MAX,
                "uniqueItems": True,
            }
        ),
        "webhook_events": _or_null({"type": "array", "items": ref("EventType"), "uniqueItems": True}),
        "metadata": _or_null(
            {
                "type": "object",
                "propertyNames": {"minLength": 1, "maxLength": METADATA_KEY_MAX},
                "additionalProperties": {"type": ["string", "null"]},
            }
        ),
    },
    "ResourceSpec": {
        "cpu": {"minimum": 0, "maximum": F32_MAX},
        "memory_gb": {"minimum": 0, "maximum": F32_MAX},
        "storage_gb": {"minimum": 0, "maximum": F32_MAX},
        "gpu_count": _or_null({"type": "integer", "minimum": 1, "maximum": GPUS_MAX}),
    },
    "Deployment": {
        "deployment_type": ref("DeploymentType"),
        "status": ref("Status"),
        "provider": _or_null(ref("Provider")),
        "deployed_at": TIME,
        "expires_at": _or_null(TIME),
        "registered_at": TIME,
        "generation": {"format": "uuid"},
        "due_at": _or_null(TIME),
        "webhook_events": {"type": "array", "items": ref("EventType")},
    },
    "Cleanup": dict.fromkeys(
        ("requested_at", "deadline", "first_failed_at", "next_attempt_at", "observed_at", "ended_at"), _or_null(TIME)
    ),
    "CleanupError": {"at": TIME, "class": ref("ErrorClass")},
    "Event": {"at": TIME, "type": ref("EventType"), "status": ref("Status")},
    "Resource": {"gone_at": _or_null(TIME)},
    "Price": {
        "amount": {"minimum": 0, "maximum": PRICE_MAX},
        "currency": {"pattern": f"^{CURRENCY.pattern}$"},
    },
    "Hold": {"at": TIME, "until": TIME},
    "Exemption": {"until": TIME},
    "Stray": {
        "deployment_type": ref("DeploymentType"),
        "made_at": _or_null(TIME),
        "first_seen_at": TIME,
        "last_seen_at": TIME,
        "announced_at": _or_null(TIME),
    },
    "Line": {
        "ended_at": _or_null(TIME),
        "deployment_type": ref("DeploymentType"),
        "status": ref("Status"),
        "provider": _or_null(ref("Provider")),
        "deployed_at": TIME,
        "expires_at": _or_null(TIME),
        "next_attempt_at": _or_null(TIME),
        "last_error": _or_null({"type": "object", "properties": {"class": ref("ErrorClass")}, "required": ["class"]}),
    },
    "Plan": {
        "refusal": _or_null(
            {
                "type": "object",
                "properties": {"class": ref("ErrorClass"), "message": {"type": "string"}},
                "required": ["class", "message"],
            }
        )
    },
    "Delivery": {"created_at": TIME, "next_attempt_at": _or_null(TIME)},
    "Attempt": {"at": TIME},
}
# Where a struct's own words are for its readers in the code.
DESCRIBED = {
    "RegistrationRequest": "A deployment as a caller describes it.",
    "Line": "A line of a list: some fields of a deployment. `last_error` has the class alone.",
    "DeliveryRef": "A series of attempts at a delivery.",
}

# What an error has besides its code and its message.
DETAILS: dict[str, Schema] = {
    "field": {"description": "The field that is wrong, or in the way.", "type": "string"},
    "got": {"description": "What came.", "type": "string"},
    "expected": {"description": "What is expected.", "type": "string"},
    "deployment": ref("Deployment"),
    "stray": ref("Exemption"),
    "hold": ref("Hold"),
    "changed": {"description": "What changed since the plan.", "type": "array", "items": {"type": "string"}},
    "owner": {"description": "Whose the deployment is.", "type": ["string", "null"]},
    "registered_by": {"description": "Who registered it; null of a stray.", "type": ["string", "null"]},
}


@cache
def schemas() -> dict[str, Schema]:
    """Return all schemas by name."""
    found = _of_structs()
    return found | _made_of(found) | _errors() | NAMED


def error_schema(code: str) -> str:
    """Return the name of the schema of an error: `NotFoundError` of `not_found`."""
    return "".join(word.title() for word in code.split("_")) + "Error"


def _of_structs() -> dict[str, Schema]:
    _, found = msgspec.json.schema_components(SHOWN, ref_template="#/components/schemas/{name}")
    omitting = {each.__name__ for each in _structs_in(SHOWN) if each.__struct_config__.omit_defaults}
    for name, schema in found.items():
        fields = schema["properties"]
        for field in HIDDEN_FIELDS.get(name, ()):
            del fields[field]
        for field, refined in REFINED.get(name, {}).items():
            fields[field] = (
                refined if {"$ref", "anyOf", "enum", "type"} & refined.keys() else fields[field] | refined
            ).copy()
        if name not in SENT | omitting:
            schema["required"] = list(fields)
            for field in fields.values():
                field.pop("default", None)
        del schema["title"]
        schema["description"] = DESCRIBED.get(name) or " ".join(schema["description"].split())
    for name in ("RegistrationRequest", "Deployment", "Line"):
        _explain(found[name])
    # Without what hidden fields alone hold.
    shown, used = {each.__name__ for each in SHOWN}, json.dumps(found)
    return {name: schema for name, schema in found.items() if name in shown or f'/{name}"' in used}


def _structs_in(roots: Iterable[type[msgspec.Struct]]) -> set[type[msgspec.Struct]]:
    """Return these structs and those that their fields hold."""
    found, left = set(), [msgspec.inspect.type_info(each) for each in roots]
    while left:
        match left.pop():
            case msgspec.inspect.StructType(cls=struct, fields=fields):
                found.add(struct)
                left += [field.type for field in fields]
            case msgspec.inspect.UnionType(types=types):
                left += types
            case msgspec.inspect.ListType(item_type=item):
                left.append(item)
    return found


def _made_of(found: dict[str, Schema]) -> dict[str, Schema]:
    """Return the schemas of what isn't one struct: patches, pages, small bodies and answers with something added."""
    plan, deployment, brake = found.pop("Plan"), found["Deployment"], ref("Brake")
    first = {name: deployment["properties"][name] for name in ("blueprint_id", "status")}
    reason = {"type": "string", "maxLength": REASON_MAX}
    # `api.shown` adds them: a mark always, a cost where a price is known.
    deployment["properties"] |= {"cost": ref("Cost"), "mark": _or_null(ref("Mark"))}
    deployment["required"].append("mark")
    words = reason | {"minLength": 1, "pattern": r"\S"}
    ends: dict[str, Schema] = {
        "from": {"description": "The end before, null if there was none."} | _or_null(TIME),
        "to": TIME,
    }
    return {
        "Extension": _sent(
            "A later end: so many seconds after the present one, or a time. One of the two.", {"by": TTL, "until": TIME}
        )
        | {"minProperties": 1, "maxProperties": 1},
        "Adoption": _sent(
            "Why, and for how long the stray may live. Without a time its cleanup is due at once.",
            {"ttl_seconds": _or_null(TTL), "reason": words},
            ["reason"],
        ),
        "StrayPage": _page("strays", "Stray"),
        "ReasonUntil": _sent("Why, and until when.", {"reason": words, "until": TIME}, ["reason", "until"]),
        "Extended": deployment
        | {
            "description": "The record, and its end before and now.",
            "properties": deployment["properties"] | {"extended": _object("", ends)},
            "required": [*deployment["required"], "extended"],
        },
        "Amendment": _amendment(found),
        "Brake": _object(
            "What the brake makes of the cleanups on a platform.",
            {"mode": {"enum": list(MODES_MEAN)}, "message": {"type": "string"}},
        ),
        "DeploymentPlan": _object(plan["description"], first | {"brake": brake} | plan["properties"]),
        "Ending": deployment
        | {
            "description": "The record, and the brake if that keeps the cleanup from beginning.",
            "properties": deployment["properties"] | {"brake": brake},
        },
        "DeploymentPage": _page("deployments", "Line"),
        "DeliveryPage": _page("deliveries", "Delivery"),
        "Announced": _object("The announcements.", {"announced": {"type": "array", "items": {"type": "string"}}}),
        "Reasons": _sent("Why, and why in spite of a hold.", {"reason": reason, "over_hold": reason}),
        "ReasonsInWords": _sent("Why, and why in spite of a hold.", {"reason": words, "over_hold": reason}, ["reason"]),
        "FromSequence": _sent(
            "The first event that is announced again.",
            {"from_sequence": {"type": "integer", "minimum": 1, "maximum": SEQUENCE_MAX, "default": 1}},
        ),
    }


def _amendment(found: dict[str, Schema]) -> Schema:
    """Return the schema of a merge patch of a registration: null removes a value, and objects are merged."""
    fields = {name: found["RegistrationRequest"]["properties"][name] for name in AMENDABLE}
    spec = found["ResourceSpec"]["properties"]
    kept = {name: {key: each for key, each in schema.items() if key != "default"} for name, schema in spec.items()}
    merged = {name: each if "anyOf" in each else _or_null(each) for name, each in kept.items()}
    fields["resource_spec"] = _or_null({"type": "object", "properties": merged, "additionalProperties": False})
    fields["status"] = {"enum": list(LIVE)}
    return _sent("A JSON merge patch (RFC 7396) of a deployment.", fields) | {"minProperties": 1}


def _errors() -> dict[str, Schema]:
    codes = [*ERRORS, *sorted({code for codes in GATEWAY.values() for code in codes})]
    found: dict[str, Schema] = {"ErrorCode": {"description": "Every code of an error.", "enum": codes}}
    for code, (_, always) in ERRORS.items():
        fields = {"code": {"const": code}, "message": {"type": "string"}} | {name: DETAILS[name] for name in always}
        error = _object("", fields)
        if code == "conflict":
            error["properties"] |= {name: DETAILS[name] for name in ("field", "deployment", "stray")}
        found[error_schema(code)] = _object(texts("Errors")[code] + ".", {"error": error})
    refused: dict[str, Schema] = {"code": {"enum": codes[len(ERRORS) :]}, "message": {"type": ["string", "null"]}}
    found["GatewayError"] = _object("What API Gateway itself refuses.", {"error": _object("", refused)})
    return found


def _explain(schema: Schema) -> None:
    """Say of each field what docs/api.md says."""
    for name, field in schema["properties"].items():
        if name in texts("Register"):
            field["description"] = texts("Register")[name].removeprefix("Needed. ")


def _object(description: str, fields: dict[str, Schema]) -> Schema:
    described = {"description": description} if description else {}
    return {**described, "type": "object", "properties": fields, "required": list(fields)}


def _sent(description: str, fields: dict[str, Schema], required: Iterable[str] = ()) -> Schema:
    return _object(description, fields) | {"required": list(required), "additionalProperties": False}


def _page(name: str, line: str) -> Schema:
    lines = {"type": "array", "items": ref(line)}
    return _object("A page of a list.", {name: lines, "cursor": CURSOR})
