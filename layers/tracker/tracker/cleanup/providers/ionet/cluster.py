"""IoNetCluster: a container deployment (CaaS) at io.net, with all its containers.

The API doesn't say whose a key is, so a "not found" counts only for what was once seen.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

from tracker.cleanup.core.contract import Found, OperatorNotes, Progress, ResourceKind, Unreachable
from tracker.cleanup.transport.bounds import Page, paged
from tracker.cleanup.transport.rest.client import Endpoint, KeyHeader, listed
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents
from tracker.cleanup.transport.rest.listing import Listing, find_listed, in_name
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

_LIST = "/enterprise/v1/io-cloud/caas/deployments"
# The most that is known to be taken.
PER_PAGE = 100


def _error_text(body: Any) -> str:
    """Return what went wrong. FastAPI's `detail` is a text, or a list of what isn't valid."""
    return str(body["detail"] if "detail" in body else body["message"])


IO_NET = Provider(
    name="ionet",
    endpoint=Endpoint(name="ionet", base_url="https://api.io.solutions", error_text=_error_text),
    authorize=lambda _api, credential: KeyHeader("x-api-key", credential.texts["token"]),
    identify_account=lambda _api: "",
    variables={"token": ("IOCLOUD_API_KEY", "IO_NET_API_KEY")},
)


def every(api: Api) -> Iterator[Any]:
    """Yield all deployments, by the numbers of pages, until there are as many as the list says. A page that comes twice isn't taken for another."""
    seen: set[str] = set()

    def page(number: int) -> Page[int]:
        answer = api.call("GET", _LIST, params={"page": number, "page_size": PER_PAGE})
        data = answer.body["data"]
        found, total = listed(data, "deployments", _LIST), int(data["total"])
        ids = {str(each["id"]) for each in found}
        if seen & ids or (not ids and len(seen) < total):
            raise Unreachable(f"GET {_LIST}: page {number} isn't the next one, and {len(seen)} of {total} were read")
        seen.update(ids)
        return Page(found, number + 1 if len(seen) < total else None, answer.size)

    return paged(f"GET {_LIST}", 1, page)


class Cluster(RestKind):
    """A deployment, with all its containers."""

    provider: ClassVar = IO_NET
    noun, path, envelope = "deployment", "/enterprise/v1/io-cloud/caas/deployment/{id}", "data"

    def every(self, connection: Api) -> Iterator[Any]:
        return every(connection)

    def progress(self, body: Any) -> tuple[Progress, str]:
        """Return "gone" for "destroyed" and "completed", and for "failed" once it has ended."""
        status = str(body["status"]).lower().replace("_", " ")
        if status in ("destroyed", "completed") or (status == "failed" and body.get("finished_at")):
            return "gone", f"terminated ({status})"
        if status in ("failed", "stopped"):
            return "present", f"{status}: it may still be billed"
        return ("leaving" if status == "termination requested" else "present"), status

    def failure_in(self, answer: dict[str, Any]) -> str:
        """Return the status, if it is one of failure."""
        status = str(answer.get("status", "")).lower()
        return f"its status is {status[:40]}" if "fail" in status or "error" in status else ""


_KINDS: dict[str, RestKind] = {"ionet:deployment": Cluster()}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
_STAGES = {"ionet:deployment": 0}


_LISTINGS = [Listing("ionet:deployment", every, in_name(), "created_at")]

NOTES = OperatorNotes(
    credentials="An API key: secret key `token`; on one machine IOCLOUD_API_KEY or IO_NET_API_KEY.",
    permissions=("the key's own deployments: list, get, destroy",),
    order=("the deployment, with all its containers",),
    gone="The status `destroyed` or `completed`, or `failed` with an end; or 404, of what was seen before.",
    duration="Minutes.",
    limits=(
        "By a mark (`resource_private_name`) the key's deployments are found, whosever it is. The API doesn't say whose a key is: only what was once seen present can be gone, what nobody ever saw is refused as unproven, and an "
        "`account` can't be confirmed, and is refused. Virtual machines (VMaaS) are other deployments, which aren't served. What is paid "
        "for in advance isn't refunded."
    ),
    sources="io.net's API reference (io.net/docs/reference/caas) with its OpenAPI documents: get, destroy, list of deployments; how the list is read: QuantumNous/new-api 22ad944, pkg/ionet.",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return the deployment that the record names."""
    return discover_with_dependents(deployment, settings, _KINDS, _STAGES)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the deployments whose name begins with the mark."""
    return find_listed(deployment, settings, generation, _KINDS, _LISTINGS)
