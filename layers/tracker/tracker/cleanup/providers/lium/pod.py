"""BittensorLiumMiner: a pod at Lium, rented from a miner of Bittensor's subnet 51, with the volumes that the record names.

A deletion whose answer was lost is never just repeated: a pod is read again first, because Lium answers "not found" to the second one.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

from tracker.cleanup.core.contract import Found, OperatorNotes, Progress, ResourceKind, Unreachable
from tracker.cleanup.transport.rest.client import Endpoint, KeyHeader
from tracker.cleanup.transport.rest.kind import RestKind, discover_with_dependents
from tracker.cleanup.transport.rest.listing import Listing, find_listed, in_name
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

_ENDED = ("TERMINATED", "DELETED", "REMOVED")
# The vendor's SDK takes these for the end of a pod's work, but the pod is still there.
_STOPPED = ("BROKEN", "CANCELLED", "CREATION_FAILED", "ERROR", "FAILED", "REBOOT_FAILED", "STOPPED")


def _identify_account(api: Api) -> str:
    """Return the workspace that the key acts in; its user, where the server has no workspaces."""
    me = api.get("/api/users/me")
    return str((me.get("workspace") or me)["id"])


def _error_text(body: Any) -> str:
    """Return code and message. Newer servers answer with an object `error`; others with `detail` or `message` alone."""
    error = body.get("error")
    known = error if isinstance(error, dict) else {}
    said = [str(text) for text in (known.get("code"), known.get("message")) if text]
    said = said or [str(body[key]) for key in ("detail", "message") if body.get(key)]
    if not said:
        raise LookupError("none of Lium's own keys")
    return ": ".join(said)


LIUM = Provider(
    name="lium",
    endpoint=Endpoint(
        name="lium",
        base_url="https://lium.io",
        error_text=_error_text,
    ),
    authorize=lambda _api, credential: KeyHeader("X-API-KEY", credential.texts["token"]),
    identify_account=_identify_account,
    variables={"token": ("LIUM_API_API_KEY", "LIUM_API_KEY")},
)


def _every(api: Api, path: str) -> list[Any]:
    """Return a list, which comes in one piece."""
    found = api.get(path)
    if not isinstance(found, list):
        raise Unreachable(f"GET {path}: the answer is no list")
    return found


class LiumKind(RestKind):
    """One kind of resource at Lium."""

    provider: ClassVar = LIUM

    def every(self, connection: Api) -> list[Any]:
        return _every(connection, self.path.removesuffix("/{id}"))

    def failure_in(self, answer: dict[str, Any]) -> str:
        """Return that the deletion is none, if the answer says so."""
        return "not a success" if answer.get("success") is False else ""


class Pod(LiumKind):
    noun, path = "pod", "/api/pods/{id}"

    def progress(self, body: Any) -> tuple[Progress, str]:
        status = str(body["status"]).upper()
        if status in _ENDED:
            return "gone", f"terminated ({status})"
        if status in _STOPPED:
            return "present", f"{status}: it doesn't run, and may still be billed"
        return ("leaving" if status == "DELETING" else "present"), status


class Volume(LiumKind):
    noun, path = "volume", "/api/volumes/{id}"


_KINDS: dict[str, RestKind] = {"lium:pod": Pod(), "lium:volume": Volume()}
KINDS: dict[str, ResourceKind] = dict(_KINDS)
_STAGES = {"lium:pod": 0, "lium:volume": 1}
_LISTINGS = [
    Listing("lium:pod", partial(_every, path="/api/pods"), in_name("pod_name"), "created_at"),
    Listing("lium:volume", partial(_every, path="/api/volumes"), in_name(), "created_at"),
]

NOTES = OperatorNotes(
    credentials="An API key: secret key `token`; on one machine LIUM_API_API_KEY or LIUM_API_KEY.",
    permissions=("the scopes `read` and `manage` (without it a key deletes only the pods that it rented)",),
    order=("the pod", "the volumes that the record names"),
    gone=(
        "404 to GET, or one of the states TERMINATED, DELETED, REMOVED; STOPPED, FAILED, BROKEN and the like are no end. The key's "
        "workspace (else its user) was asked for before: that is the `account`."
    ),
    duration="Seconds, by the vendor's SDK.",
    limits=(
        "Only named volumes go: an answer doesn't say which pod has which. Backups stay. Of a cluster's pods those go that the record "
        "names, one by one. Whether a pod that stopped is billed isn't documented: it counts as present until it is deleted."
    ),
    sources="Lium's own SDK, lium.io 0.32.0: its client (lists come in one piece; `pod_name`), its configuration, its workspaces.",
)


def discover(deployment: Deployment, settings: Settings) -> list[Resource]:
    """Return what the record names."""
    return discover_with_dependents(deployment, settings, _KINDS, _STAGES)


def find(deployment: Deployment, settings: Settings, generation: str | None) -> Iterator[Found]:
    """Yield the pods and volumes whose name begins with the mark."""
    return find_listed(deployment, settings, generation, _KINDS, _LISTINGS)
