"""The calls of the API as its description has them: parameters, bodies, answers and errors, by hand.

`docs.openapi` makes docs/openapi.json of them, with the schemas of the code, the texts of docs/api.md and the answers that the
functions gave (docs/answers.json). A new call is one entry of OPERATIONS here, and one row of the table of calls in docs/api.md.
"""

from typing import Any, NamedTuple

from tracker.intake.fields import LABEL_KEY, OWNER_MAX
from tracker.intake.listing import FILTERS, LIMIT, LIMIT_MAX
from tracker.model.deployment import KEY_MAX
from tracker.model.settings import YEARS_10

# By the code of an error: its status, and the fields besides `code` and `message` that it always has.
ERRORS: dict[str, tuple[int, tuple[str, ...]]] = {
    "malformed": (400, ("field", "got", "expected")),
    "not_yours": (403, ("owner", "registered_by")),
    "not_found": (404, ()),
    "conflict": (409, ()),
    "held": (409, ("hold",)),
    "plan_changed": (409, ("changed",)),
    "invalid": (422, ("field", "got", "expected")),
    "internal": (500, ()),
    "contended": (503, ()),
    "plan_unseen": (503, ()),
}
# Errors that the tracker knows and no call ends with: an event alone can be out of order.
OF_EVENTS = frozenset({"stale", "too_early"})
# What API Gateway answers itself, by status. Any call may end so.
GATEWAY: dict[int, tuple[str, ...]] = {
    400: ("BAD_REQUEST_BODY", "BAD_REQUEST_PARAMETERS", "DEFAULT_4XX"),
    403: ("ACCESS_DENIED", "EXPIRED_TOKEN", "INVALID_SIGNATURE", "MISSING_AUTHENTICATION_TOKEN", "DEFAULT_4XX"),
    413: ("REQUEST_TOO_LARGE",),
    429: ("THROTTLED", "QUOTA_EXCEEDED"),
    500: ("API_CONFIGURATION_ERROR", "DEFAULT_5XX"),
    502: ("INTEGRATION_FAILURE", "DEFAULT_5XX"),
    504: ("INTEGRATION_FAILURE", "INTEGRATION_TIMEOUT"),
}


class Answer(NamedTuple):
    """The schema of an answer's body by name, and what the answer says."""

    schema: str
    says: str


class Operation(NamedTuple):
    """One call. Its `id` is the verb of the command line, `call` its row in docs/api.md."""

    id: str
    call: str
    summary: str
    answers: dict[int, Answer]
    errors: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    body: str = ""
    needs_body: bool = False
    # The file of events/ that holds an example of the call.
    event: str = ""

    @property
    def method(self) -> str:
        return self.call.split()[0].lower()

    @property
    def path(self) -> str:
        return self.call.split()[1]

    @property
    def codes(self) -> tuple[str, ...]:
        """All codes of the tracker's own errors that it may end with, in the order of ERRORS."""
        named = {"malformed", "invalid", "internal", *self.errors}
        return tuple(code for code in ERRORS if code in named)


# The longest key, written as base64url.
SEGMENT_MAX = 1 + -(-KEY_MAX * 4 // 3)
PARAMETERS: dict[str, dict[str, Any]] = {
    "blueprint_id": {
        "in": "path",
        "description": "The key. One that holds anything but letters, digits, `-`, `.` and `_` is written as `~` and its "
        "base64url form without padding.",
        "schema": {"type": "string", "minLength": 1, "maxLength": SEGMENT_MAX},
    },
    "key": {
        "in": "path",
        "description": "The key of a stray, which begins with `stray:`, as `~` and its base64url form without padding.",
        "schema": {"type": "string", "minLength": 1, "maxLength": SEGMENT_MAX},
    },
    "webhook_id": {
        "in": "path",
        "description": "The `id` of a delivery.",
        "schema": {"type": "string", "minLength": 1},
    },
    "status": {"description": "Lists those of one status.", "schema": {"$ref": "#/components/schemas/Status"}},
    "deployment_type": {
        "description": "Lists those of one type.",
        "schema": {"$ref": "#/components/schemas/DeploymentType"},
    },
    "id": {
        "description": "Lists those with this caller's own id.",
        "schema": {"type": "string", "minLength": 1, "maxLength": KEY_MAX},
    },
    "quarantined": {"schema": {"type": "boolean"}},
    "without_ttl": {"schema": {"type": "boolean"}},
    "owner": {
        "description": "Lists those of one owner.",
        "schema": {"type": "string", "minLength": 1, "maxLength": OWNER_MAX},
    },
    "label": {
        "description": "Lists those with a label: `key=value`, or the key alone for any value.",
        "schema": {"type": "string", "pattern": f"^{LABEL_KEY.pattern}(=.*)?$"},
    },
    "held": {"description": "Lists those that are held, or that aren't.", "schema": {"type": "boolean"}},
    "plan": {
        "description": "The `digest` of a plan: the cleanup deletes what is in that plan and nothing else.",
        "schema": {"type": "string", "pattern": "^([A-Za-z0-9_-]{10}){1,200}$"},
    },
    "failing": {"schema": {"type": "boolean"}},
    "overdue": {"schema": {"type": "boolean"}},
    "expiring_within": {"schema": {"type": "integer", "minimum": 1, "maximum": YEARS_10}},
    "limit": {
        "description": "The most entries of a page.",
        "schema": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT},
    },
    "cursor": {
        "description": "The `cursor` of the page before, unchanged. It goes on with the list that gave it, and with no other.",
        "schema": {"type": "string", "minLength": 1},
    },
}

OPERATIONS = (
    Operation(
        "register",
        "POST /deployments",
        "Register a deployment",
        {
            201: Answer("Deployment", "The new record. `Location` leads to it."),
            200: Answer("Deployment", "The very same registration was there already: its record."),
        },
        errors=("conflict", "contended"),
        body="RegistrationRequest",
        needs_body=True,
        event="register-post",
    ),
    Operation(
        "ls",
        "GET /deployments",
        "List deployments",
        {200: Answer("DeploymentPage", "A page of the list.")},
        query=FILTERS,
        event="inspect-list",
    ),
    Operation(
        "show",
        "GET /deployments/{blueprint_id}",
        "Show a deployment",
        {200: Answer("Deployment", "The record.")},
        errors=("not_found",),
        event="inspect-get",
    ),
    Operation(
        "amend",
        "PATCH /deployments/{blueprint_id}",
        "Change or move a deployment",
        {200: Answer("Deployment", "The record with the changes.")},
        errors=("not_yours", "not_found", "conflict", "contended"),
        body="Amendment",
        needs_body=True,
        event="amend-patch",
    ),
    Operation(
        "end",
        "DELETE /deployments/{blueprint_id}",
        "Begin the cleanup of a deployment",
        {
            202: Answer("Ending", "The cleanup is on its way, or the brake holds it up: then `brake` says so."),
            200: Answer("Deployment", "The cleanup is over. The record holds the receipt."),
        },
        errors=("not_yours", "not_found", "held", "plan_changed", "contended", "plan_unseen"),
        query=("plan",),
        body="Reasons",
        event="terminate-delete",
    ),
    Operation(
        "plan",
        "GET /deployments/{blueprint_id}/plan",
        "Show what a cleanup would delete",
        {200: Answer("DeploymentPlan", "What would be deleted, and what would be kept.")},
        errors=("not_found",),
        event="plan-get",
    ),
    Operation(
        "forget",
        "POST /deployments/{blueprint_id}/forget",
        "End a deployment without a cleanup",
        {200: Answer("Deployment", "The record, which is `Terminated`.")},
        errors=("not_yours", "not_found", "conflict", "held", "contended"),
        body="ReasonsInWords",
        needs_body=True,
        event="amend-forget",
    ),
    Operation(
        "extend",
        "POST /deployments/{blueprint_id}/extend",
        "Give a deployment a later end",
        {200: Answer("Extended", "The record, and its end before and now.")},
        errors=("not_yours", "not_found", "conflict", "contended"),
        body="Extension",
        needs_body=True,
        event="amend-extend",
    ),
    Operation(
        "hold",
        "POST /deployments/{blueprint_id}/hold",
        "Hold a deployment",
        {200: Answer("Deployment", "The record, which is held.")},
        errors=("not_yours", "not_found", "conflict", "contended"),
        body="ReasonUntil",
        needs_body=True,
        event="amend-hold",
    ),
    Operation(
        "unhold",
        "DELETE /deployments/{blueprint_id}/hold",
        "Release the hold of a deployment",
        {200: Answer("Deployment", "The record, which isn't held.")},
        errors=("not_yours", "not_found", "contended"),
        event="amend-unhold",
    ),
    Operation(
        "deliveries",
        "GET /deployments/{blueprint_id}/deliveries",
        "List the deliveries to a deployment's webhook",
        {200: Answer("DeliveryPage", "A page of the list.")},
        errors=("not_found",),
        query=("limit", "cursor"),
        event="inspect-deliveries",
    ),
    Operation(
        "redeliver",
        "POST /deployments/{blueprint_id}/deliveries/{webhook_id}/redeliver",
        "Send a delivery again",
        {202: Answer("DeliveryRef", "The series of attempts that begins.")},
        errors=("not_yours", "not_found"),
        event="redeliver-delivery",
    ),
    Operation(
        "announce",
        "POST /deployments/{blueprint_id}/announce",
        "Announce a deployment's events again",
        {200: Answer("Announced", "The ids of the announcements.")},
        errors=("not_yours", "not_found"),
        body="FromSequence",
        event="redeliver-announce",
    ),
    Operation(
        "strays",
        "GET /strays",
        "List strays",
        {200: Answer("StrayPage", "A page of the list.")},
        query=("limit", "cursor"),
        event="inspect-strays",
    ),
    Operation(
        "adopt",
        "POST /strays/{key}/adopt",
        "Adopt a stray",
        {
            201: Answer("Deployment", "The deployment that takes the stray on. `Location` leads to it."),
            200: Answer("Deployment", "It was adopted before: the deployment that took it on."),
        },
        errors=("not_yours", "not_found", "conflict", "contended"),
        body="Adoption",
        needs_body=True,
        event="register-adopt",
    ),
    Operation(
        "exempt",
        "POST /strays/{key}/exempt",
        "Leave a stray alone for a time",
        {200: Answer("Stray", "The stray.")},
        errors=("not_yours", "not_found", "contended"),
        body="ReasonUntil",
        needs_body=True,
        event="amend-exempt",
    ),
)
