"""Makes the record of a failed round live again, with its error, as the last task of the cleanup workflow."""

from typing import Any

import msgspec
from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker.runtime import entry_point, lifecycle


class Failed(msgspec.Struct, frozen=True):
    """The state of the workflow when the round failed. `error` is the error that it caught, {"Error", "Cause"}."""

    blueprint_id: str
    generation: str
    round: int
    error: dict[str, str] = {}

    @property
    def cause(self) -> str:
        """The name of the error. Its cause may hold anything, so it stays in the execution's history alone."""
        return f"the workflow caught {self.error.get('Error', 'no error')}"


@entry_point
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Restore the record. Return whether it was in that round, and whether it is quarantined now."""
    failed = msgspec.convert(event, Failed)
    deployment = lifecycle().restored(failed.blueprint_id, failed.generation, failed.round, failed.cause)
    if deployment is None:
        return {"restored": False}
    return {"restored": True, "quarantined": deployment.cleanup.quarantined}
