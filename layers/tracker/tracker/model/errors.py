"""The errors that a call can end with.

The pure modules, the store and the lifecycle raise them. The front doors answer them: a call with their JSON, an event with the
reason on its dead letter.
"""

import json
from typing import Any

SHOWN = 200


class Problem(Exception):
    """A call can't be served. `code` is for programs, `message` is a sentence for people, `details` are further JSON fields."""

    status = 500
    code = "internal"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Invalid(Problem):
    """A field has a value that isn't accepted. `malformed` says that it isn't even of the right type (400 instead of 422)."""

    status = 422
    code = "invalid"

    def __init__(self, field: str, got: object, expected: str, *, malformed: bool = False) -> None:
        name = field if field.isprintable() and field.strip() else f"a field named {json.dumps(field)}"
        super().__init__(
            f"{name}: expected {expected}, got {shown(got)}", field=field, got=shown(got), expected=expected
        )
        self.field = field
        if malformed:
            self.status = 400
            self.code = "malformed"


class NotFound(Problem):
    """Nothing is recorded under that key."""

    status = 404
    code = "not_found"


class Conflict(Problem):
    """The recorded deployment doesn't allow the call; `details["deployment"]` is that deployment."""

    status = 409
    code = "conflict"


class Held(Problem):
    """The deployment is held; `details["hold"]` says by whom, until when and why."""

    status = 409
    code = "held"


class PlanChanged(Problem):
    """What a cleanup would delete isn't what the plan says that the caller approved."""

    status = 409
    code = "plan_changed"


class PlanUnseen(Problem):
    """What a cleanup would delete can't be seen now. The same call may be made again."""

    status = 503
    code = "plan_unseen"


class Contended(Problem):
    """Others kept changing the record. The same call may be made again."""

    status = 503
    code = "contended"


def shown(value: object) -> str:
    """Return a caller's value as text for an error: a string as it is, anything else as JSON, cut to 200 characters.

    A string that couldn't be seen in a sentence is shown as JSON, too.
    """
    if value == "":
        return "an empty string"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    if not text.isprintable() or not text.strip():
        text = json.dumps(value, default=repr)
    return cut(text)


def cut(text: str) -> str:
    """Return a caller's text, such as the name of a field, cut to 200 characters."""
    if len(text) <= SHOWN:
        return text
    return f"{text[:SHOWN]}... ({len(text)} characters)"
