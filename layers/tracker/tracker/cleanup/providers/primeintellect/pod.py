"""PrimeIntellectPod: a pod at Prime Intellect, with its disks.

Another provider does the work: that a deletion is answered TERMINATED isn't taken for the end. A stopped pod is still paid for. A
disk outlives its pods.
"""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from tracker.cleanup.core.contract import Found, OperatorNotes, Progress, ResourceKind, Unreachable
from tracker.cleanup.core.discovery import judged
from tracker.cleanup.transport.rest.client import BearerToken, Endpoint
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents
from tracker.cleanup.transport.rest.listing import Listing, find_listed, in_name
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

PODS, DISKS = "/api/v1/pods/", "/api/v1/disks/"


def _error_text(body: Any) -> str:
    """Return the text of an error. The document has a list of errors, the vendor's client reads `detail`, too."""
    return str(body["errors"] if "errors" in body else body["detail"])


PRIME_INTELLECT = Provider(
    name="primeintellect",
    endpoint=Endpoint(name="primeintellect", base_url="https://api.primeintellect.ai", error_text=_error_text),
    authorize=lambda _api, credential: BearerToken(credential.texts["token"]),
    identify_account=lambda api: str(api.get("/api/v1/user/whoami")["data"]["id"]),
    variables={"token": ("PRIME_API_KEY",)},
)


def every(api: Api, path: str) -> Iterator[Any]:
    """Yield all items of a list: a page says where it starts, and how many items there are."""

    def next_page(body: Any) -> str | None:
        following, total = int(body["offset"]) + len(body["data"]), int(body["total_count"])
        if following < total and not body["data"]:
            raise Unreachable(f"GET {path}: an empty page, and only {following} of {total}")
        return f"{path}?offset={following}" if following < total else None

    return api.pages(path, "data", next_page, offset=0)


class PrimeKind(RestKind):
    """One kind of resource at Prime Intellect. What is gone may still be described, as TERMINATED."""

    provider: ClassVar = PRIME_INTELLECT

    def every(self, connection: Api) -> Iterator[Any]:
        return every(connection, self.path.removesuffix("{id}"))

    def progress(self, body: Any) -> tuple[Progress, str]:
        state = str(body.get("status", "")).upper()
        if state == "STOPPED":
            return "present", "STOPPED, and still paid for"
        return ("gone" if state == "TERMINATED" else "present"), state


class Pod(PrimeKind):
    noun, path = "pod", "/api/v1/pods/{id}"


class Disk(PrimeKind):
    """A disk. Its list of pods may still name one that is gone: so it isn't waited for, but nobody else's are ignored."""

    noun, path, detaches = "disk", "/api/v1/disks/{id}", True

    def users(self, body: Any) -> Iterable[str]:
        return [str(each) for key in ("pods", "clusters") for each in body.get(key) or []]


_KINDS: dict[str, RestKind] = {"primeintellect:pod": Pod(), "primeintellect:disk": Disk()}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
_STAGES = {"primeintellect:pod": 0, "primeintellect:disk": 1}
_LISTINGS = [
    Listing("primeintellect:pod", lambda api: every(api, PODS), in_name(), "createdAt"),
    Listing("primeintellect:disk", lambda api: every(api, DISKS), in_name(), "createdAt"),
]

NOTES = OperatorNotes(
    credentials="An API key: secret key `token`; on one machine PRIME_API_KEY.",
    permissions=("Instances: read and write", "Disks: read and write"),
    order=("the pod", "its disks, which no other pod and no cluster uses"),
    gone="404 to a GET, or the status `TERMINATED`, with a key whose user was asked for before.",
    duration="Minutes, as long as the provider behind it takes.",
    limits=(
        "What GET answers for a pod that is gone isn't documented: the vendor's client takes 404 for it. An account is a user: disks of a team are "
        "found only as far as the list shows them to the key."
    ),
    sources="Prime Intellect's OpenAPI document 0.1.0 (docs.primeintellect.ai, 2026); the vendor's client prime 0.18.0.",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names, and the disks that name its pod."""

    def dependents(api: Api, pod: Resource, _body: Any) -> Iterator[Resource]:
        for disk in every(api, DISKS):
            if pod.id in (disk.get("pods") or []) and _KINDS["primeintellect:disk"].progress(disk)[0] != "gone":
                yield judged(deployment, Resource("primeintellect:disk", str(disk["id"]), stage=1))

    return discover_with_dependents(deployment, settings, _KINDS, _STAGES, dependents)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the pods and disks whose name begins with the mark."""
    return find_listed(deployment, settings, generation, _KINDS, _LISTINGS)
