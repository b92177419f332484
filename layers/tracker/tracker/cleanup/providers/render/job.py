"""RenderDispersedNode: a job on the dispersed nodes of the Render network.

A job isn't deleted but cancelled, and stays readable. It is gone once it has ended and none of its runs is running. The API doesn't say
whose a key is, so a "not found" counts only for what was once seen.
"""

from typing import Any, ClassVar

from tracker.cleanup.core.contract import OperatorNotes, Progress, ResourceKind
from tracker.cleanup.providers.render.signature import RenderSignature
from tracker.cleanup.transport.rest.client import Endpoint
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

_ENDED = ("COMPLETED", "CANCELLED", "FAILED")
_RUNS = "/v1/job-runs"


def _error_text(body: Any) -> str:
    """Return what went wrong. The form of errors isn't documented; one of these keys is taken for the provider's own words."""
    said = [str(body[key]) for key in ("error", "message", "detail") if body.get(key)]
    if not said:
        raise LookupError("none of the keys that an error may have")
    return ": ".join(said)


RENDER = Provider(
    name="render",
    endpoint=Endpoint(
        name="render",
        base_url="https://api.compute.x.io",
        error_text=_error_text,
    ),
    authorize=lambda _api, credential: RenderSignature(credential.texts["public_key"], credential.texts["secret_key"]),
    identify_account=lambda _api: "",
    variables={"public_key": ("ZER_PUBLIC_KEY",), "secret_key": ("ZER_SECRET_KEY",)},
    needed=("public_key", "secret_key"),
)


class Job(RestKind):
    """A job. Its description has `running`: how many of its runs a job that has ended still has."""

    provider: ClassVar = RENDER
    noun, path = "job", "/v1/jobs/{id}"
    deletion = ("PUT", "/v1/jobs/{id}/cancel")
    deletion_body: ClassVar = {"reason": "Cancelled by user"}

    def read(self, connection: Api, resource: Resource) -> Any:
        """Return the job, and the number of its runs that are still running once it has ended."""
        answer = super().read(connection, resource)
        body = answer["data"] if isinstance(answer.get("data"), dict) else answer
        if str(body["status"]).upper() not in _ENDED:
            return body
        query: dict[str, Any] = {"filter[job_uuid]": resource.id, "filter[status]": "RUNNING", "limit": "10"}
        return {**body, "running": len(list(connection.pages(_RUNS, "data", **query)))}

    def progress(self, body: Any) -> tuple[Progress, str]:
        """Return "gone" once the job has ended, with all its runs."""
        status = str(body["status"]).upper()
        if status not in _ENDED:
            return "present", status
        running = body["running"]
        return ("leaving", f"{status}, {running} runs still running") if running else ("gone", f"terminated ({status})")

    def failure_in(self, answer: dict[str, Any]) -> str:
        """Return that the cancellation is none, if the answer says so."""
        return "not a success" if answer.get("success") is False or answer.get("error") else ""


_KINDS: dict[str, RestKind] = {"render:job": Job()}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
_STAGES = {"render:job": 0}

NOTES = OperatorNotes(
    credentials="A key pair: secret keys `public_key` and `secret_key`; on one machine ZER_PUBLIC_KEY and ZER_SECRET_KEY.",
    permissions=("the key's own jobs: get, cancel, list of their runs",),
    order=("the job, with its runs",),
    gone="The status COMPLETED, CANCELLED or FAILED, and no run RUNNING; or 404, of what was seen before.",
    duration="Minutes; the vendor's examples look every 15 seconds.",
    limits=(
        "No list of jobs is documented: nothing is found by a mark. The API doesn't say whose a key is: only what was once seen present can be gone, what nobody ever saw is refused as unproven, and an "
        "`account` can't be confirmed, and is refused. The form of errors and what a repeated cancellation answers aren't documented. It isn't render.com."
    ),
    sources="dispersednetwork/compute_examples, commit 6ad1ec5 (2026-08-18): dispersed.py, workload_runner.py.",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return the job that the record names."""
    return discover_with_dependents(deployment, settings, _KINDS, _STAGES)
