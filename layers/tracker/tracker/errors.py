"""What can be wrong with a call, in one shape.

Raised by the pure modules and the lifecycle, answered by the front doors: over HTTPS as the JSON of
`Problem.as_dict`, for an event as the reason on its dead letter.
"""

from typing import Any

SHOWN = 200


class Problem(Exception):
    """A call that can't be served, with a code that programs test and a sentence that people act on."""

    status = 500
    code = "internal"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def as_dict(self) -> dict[str, Any]:
        """`{"error": {"code", "message", ...details}}`."""
        return {"error": {"code": self.code, "message": self.message, **self.details}}


class Invalid(Problem):
    """A value that can't be taken: which field, what came, what is expected."""

    status = 422
    code = "invalid"

    def __init__(self, field: str, got: object, expected: str, *, malformed: bool = False) -> None:
        super().__init__(
            f"{field}: expected {expected}, got {shown(got)}", field=field, got=shown(got), expected=expected
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
    """What is recorded doesn't allow it; `details["deployment"]` is what is there."""

    status = 409
    code = "conflict"


class Contended(Problem):
    """Others kept changing the record; the same call again is safe."""

    status = 503
    code = "contended"


def shown(value: object) -> str:
    """Bound a caller's value for an error text: whole if short, else its beginning and length."""
    text = repr(value) if not isinstance(value, str) else value
    if len(text) <= SHOWN:
        return text
    return f"{text[:SHOWN]}... ({len(text)} characters)"
