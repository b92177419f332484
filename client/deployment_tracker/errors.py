"""The errors that a call can end with. Each has a message of one or two sentences, and the exit code of the command line."""

import json
from difflib import get_close_matches
from typing import Any, ClassVar

# The exit codes of `tracker`.
FAILED, USAGE, OUT_OF_TIME, CREDENTIALS, NOT_FOUND, CONFLICT = 1, 2, 3, 4, 5, 6
INTERRUPTED, BROKEN_PIPE = 130, 141

_UNSUPPORTED = "no such call"
_CLIENT_ERRORS, _SERVER_ERRORS = 400, 500


class TrackerError(Exception):
    """A call failed. `message` says what happened, `hint` what to do next (it may be empty)."""

    exit_code: ClassVar[int] = FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def said(self) -> str:
        """The message and the hint as whole sentences."""
        end = "" if self.message.endswith((".", "!", "?", ":")) else "."
        return f"{self.message}{end} {self.hint}".strip()


class Usage(TrackerError):
    """The request makes no sense as it stands."""

    exit_code = USAGE


class Declined(TrackerError):
    """The person said no, or nobody was there to ask."""

    exit_code = USAGE


class OutOfTime(TrackerError):
    """The awaited state didn't come in time."""

    exit_code = OUT_OF_TIME


class NoStack(TrackerError):
    """There is no such stack, or none was named."""

    exit_code = NOT_FOUND


class NoCredentials(TrackerError):
    """There are no AWS credentials, or they have expired."""

    exit_code = CREDENTIALS


class Unreachable(TrackerError):
    """The API didn't answer. Whether it took the call isn't known, unless `was_sent` is false."""

    def __init__(self, message: str, hint: str = "", *, was_sent: bool = True) -> None:
        super().__init__(message, hint)
        self.was_sent = was_sent


class ApiError(TrackerError):
    """The API refused a call: its HTTP status, its code, its message, and what else the error has (`details`)."""

    def __init__(self, status: int, code: str, message: str, hint: str = "", **details: Any) -> None:
        super().__init__(message, hint)
        self.status = status
        self.code = code
        self.details = details


class Invalid(ApiError):
    """A value isn't accepted; `details` has `field`, `got` and `expected` (status 400 or 422)."""

    exit_code = USAGE


class Denied(ApiError):
    """The caller may not do this, or the signature isn't valid (status 401 or 403)."""

    exit_code = CREDENTIALS


class NotFound(ApiError):
    """Nothing is recorded under that key (status 404)."""

    exit_code = NOT_FOUND


class Unsupported(ApiError):
    """The stack doesn't know the call, since it is older than this client (status 404 of the API itself)."""


class Conflict(ApiError):
    """The record, as it is, doesn't allow the call (status 409); `details` may have the `deployment`, the `hold` or the changes."""

    exit_code = CONFLICT


class Throttled(ApiError):
    """Too many calls were made, and still were after several tries (status 429)."""


class ServerFault(ApiError):
    """The API failed, and still did after several tries (status 500 to 599), or answered what isn't its own JSON."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Denied,
    403: Denied,
    404: NotFound,
    409: Conflict,
    422: Invalid,
    429: Throttled,
}
_HINTS_BY_CODE = {
    "held": "`tracker unhold` ends the hold; `tracker end --over-hold WHY` goes over it.",
    "plan_changed": "Look at it again: `tracker plan`.",
}
# By the beginning of a field's name.
_HINTS_BY_FIELD = {
    "blueprint_id": "`tracker ls -q` lists the names that are taken.",
    "deployment_type": "`tracker types` lists them.",
    "resource_ids": "`tracker types TYPE` says which ids it needs; `register --intent` is for what isn't created yet.",
    "metadata": "`tracker types TYPE` says what it knows.",
    "region": "`tracker types TYPE` says whether it needs one; --in names it.",
    "by": "`tracker extend NAME --until 'in 2h'` sets an end.",
    "plan": "`tracker plan -q NAME` prints it.",
}
# By the beginning of the message of a 404.
_HINTS_NOT_FOUND = {
    "no delivery": "`tracker deliveries NAME` lists them.",
    "there is no stray": "`tracker strays` lists them.",
    "": "`tracker ls` lists what is registered, with `--status Terminated` what is over.",
}
_HINTS: dict[type[ApiError], str] = {
    Denied: "`tracker whoami` shows who calls, and what that role may do.",
    Throttled: "Try again in a minute.",
    ServerFault: "Try again; `tracker doctor` looks for the cause.",
    Unsupported: "Update the stack: it is older than this client.",
}


def error_of(status: int, body: Any) -> ApiError:
    """Return the error for an answer that isn't 2xx. The body may be anything, since gateways and proxies answer, too."""
    found = body.get("error") if isinstance(body, dict) else None
    if not isinstance(found, dict):
        # Proxies and API Gateway without the template's responses say {"message"}.
        message = body.get("message") or body.get("Message") if isinstance(body, dict) else None
        found = {"message": message} if isinstance(message, str) else {}
    details = {name: value for name, value in found.items() if name not in ("code", "message", "status", "hint")}
    message = str(found.get("message") or f"The API answered with HTTP status {status}.")
    kind = _BY_STATUS.get(status) or (ServerFault if status >= _SERVER_ERRORS or status < _CLIENT_ERRORS else ApiError)
    if kind is NotFound and message.startswith(_UNSUPPORTED):
        kind = Unsupported
    code = str(found.get("code") or "")
    if code == "plan_changed":
        message = _with_changes(message, details)
    error = kind(status, code, message, _HINTS_BY_CODE.get(code) or _hint(kind, message, details))
    error.details = details
    return error


def _hint(kind: type[ApiError], message: str, details: dict[str, Any]) -> str:
    """Return what to do next about an error: of a value the nearest that is taken, and where all are listed."""
    if kind is NotFound:
        return next(hint for start, hint in _HINTS_NOT_FOUND.items() if message.startswith(start))
    if kind is not Invalid:
        return _HINTS.get(kind, "")
    field = str(details.get("field", ""))
    hint = _HINTS_BY_FIELD.get(field.partition(".")[0].partition("[")[0], "")
    near = _nearest(str(details.get("got", "")), field, str(details.get("expected", "")))
    return f"Did you mean {near}? {hint}".strip() if near else hint


def _nearest(got: str, field: str, expected: str) -> str:
    """Return the one of a list of accepted words that is nearest to what came, "" if none is near or there is no list."""
    words = {
        each.strip().lower(): each.strip() for each in expected.rpartition(":")[2].rpartition("one of ")[2].split(",")
    }
    if len(words) == 1:
        return ""
    key = field.rpartition(".")[2] if got == "an unknown key" else got
    return next((words[each] for each in get_close_matches(key.lower(), words, 1)), "")


def _with_changes(message: str, details: dict[str, Any]) -> str:
    """Return the message with what changed of a plan, in whatever form the API says it."""
    changes = {name: value for name, value in details.items() if name != "deployment" and value}
    if not changes:
        return message
    return f"{message.rstrip('.')}: {json.dumps(changes, ensure_ascii=False)}."
