"""This is what has to go in a managed cluster before the cluster may, and how it goes.

Used by the types that are a managed cluster. Such a type says how its cluster is reached:

    def _reach(resource, settings) -> Cluster:
        ...                                  # Ask the provider, by resource.place, for the endpoint, the authority and a token,
        return Cluster(Access(server, ca=pem, token=token))  # or for a kubeconfig: Cluster(access_of(kubeconfig)).

It returns a cluster that isn't entered yet, or raises ClusterGone if the provider has none such any more, NoAccess if it gives no access
to it. Then `kinds(_reach)` are the kinds of the objects, and `inside(deployment, cluster, reach)` finds those that must go before the
cluster, whose stage is AFTER_OBJECTS. Their place is the cluster's, with `cluster` (its id), `namespace`, `uid`, `cluster_uid`, of a claim
`volume` and `disk` (the volume's name and its disk's id at the provider), and of what is to be retained `retained` added.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress

from msgspec.structs import replace

from tracker.cleanup.core.contract import Busy, Progress, Refused, Unreachable
from tracker.cleanup.core.discovery import deletes_dependents, is_first_attempt
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.transport.kubernetes.cluster import Access, Cluster, ClusterGone, NoAccess, access_of
from tracker.cleanup.transport.kubernetes.kinds import KubernetesKind, Reach
from tracker.cleanup.transport.kubernetes.kinds import kinds as kinds_of
from tracker.cleanup.transport.kubernetes.nouns import OBJECTS, Body, is_leaving
from tracker.cleanup.transport.kubernetes.outliving import PERMISSIONS as OUTLIVING_PERMISSIONS
from tracker.cleanup.transport.kubernetes.outliving import Found, outliving, search
from tracker.model.deployment import RESOURCE_DETAIL_MAX, Deployment, Resource, clipped
from tracker.model.settings import Settings

__all__ = [
    "AFTER_OBJECTS",
    "OBJECTS",
    "OUTLIVING_PERMISSIONS",
    "Access",
    "Cluster",
    "ClusterGone",
    "KubernetesKind",
    "NoAccess",
    "access_of",
    "inside",
    "is_answered",
    "is_retained",
    "kinds",
    "outliving",
    "retained_in",
]

# The first stage after those of the objects that `inside` finds.
AFTER_OBJECTS = 2
# So many objects have a resource of their own: others share one for each stage, since a record holds no more than 200.
OBJECTS_MAX = 100
# So many deletions are requested in one step for objects that share a resource.
BATCH = 200
# So many characters of names are remembered of volumes that are to be retained, or else that any volume may be.
RETAINED_MAX = 65_536
ALL = "*"
OTHERS = "kubernetes:others"
NOTE = "kubernetes:objects"
MAYBE_RETAINED = (
    "the cluster doesn't answer, and alone knows whether the volume is to be retained; "
    'metadata.delete_dependents = "all" would delete it'
)
_NO_ANSWER = "the cluster doesn't answer"
_UNANSWERED = "the cluster doesn't answer: a load balancer or a disk that this made may be left"

type Amend = Callable[[Resource, Body], Resource]


def kinds(reach: Reach) -> dict[str, KubernetesKind]:
    """Return the kinds of all objects in clusters that go with them, to which `reach` leads."""
    return kinds_of(reach, is_going=True) | {OTHERS: Others(reach)}


def inside(
    deployment: Deployment, cluster: Resource, reach: Callable[[], Cluster], amend: Amend = lambda resource, _: resource
) -> list[Resource]:
    """Return what must go before `cluster` and can only go while it answers (`search`); nothing if the cluster is gone.

    A cluster that doesn't answer mustn't stay forever. The second time in a round nothing is added: what an earlier round found is
    kept, and its detail says what may be left; so does a resource "kubernetes:objects", for the whole cluster. Any other exception of
    `reach` is the provider's, and passes. `amend` takes the resource and the description of each object, and returns the resource with
    more in its place, or kept.
    """
    known = [each for each in deployment.resources if each.kind.startswith("kubernetes:")]
    note = Resource(NOTE, cluster.id, cluster.place, state="kept")
    try:
        opening = reach()
    except ClusterGone:
        return []
    except NoAccess as no_access:
        return _unanswered(known, note, no_access)
    place = {**cluster.place, "cluster": cluster.id}
    try:
        with opening as answering:
            everything = search(answering, place, takes_snapshots=deletes_dependents(deployment))
            found = _fitted(everything, amend, known, place | {"cluster_uid": answering.uid})
    except Unreachable as unreachable:
        if is_first_attempt(deployment):
            # A connection that is lost once is soon back; what the objects made would be paid for until someone finds it.
            raise
        return _unanswered(known, note, unreachable)
    keys = {each.key for each in found}
    again = [replace(each, state="unseen", detail="") for each in known if each.detail == _UNANSWERED]
    answered = replace(note, detail="the cluster answers again: what would outlive it is in this list")
    return [
        *found,
        *(each for each in again if each.key not in keys),
        *(answered for each in known if each.key == note.key),
    ]


def is_answered(objects: list[Resource]) -> bool:
    """Return whether the cluster answered, so that the objects that `inside` returned are all."""
    return not any(each.kind == NOTE and each.detail.startswith(_NO_ANSWER) for each in objects)


class Others(KubernetesKind):
    """All that would outlive a cluster in one stage: one resource for more objects than a record can list.

    It is gone when nothing of its stage is found any more. Its id is the cluster's and the stage.
    """

    def __init__(self, reach: Reach) -> None:
        super().__init__("others", reach, is_going=True)

    def check_id(self, resource: Resource, settings: Settings) -> None:
        """Take any id: only a discovery gives one."""

    def find(self, connection: Cluster, resource: Resource) -> Body:
        """Return a description of all that is left of the stage. Raises Gone if nothing is."""
        left = self._left(connection, resource)
        if not left:
            raise Gone(f"none of the {resource.place['count']} objects is listed any more")
        names = ", ".join(f"{each.resource.kind.removeprefix('kubernetes:')} {each.resource.id}" for each in left)
        return {
            "leaving": all(_is_under_way(each) for each in left),
            "detail": clipped(f"{len(left)} left: {names}", RESOURCE_DETAIL_MAX),
        }

    def progress(self, body: Body) -> tuple[Progress, str]:
        """Return whether all that is left is being deleted, how many that are, and their names."""
        return "leaving" if body["leaving"] else "present", body["detail"]

    def identity(self, body: Body) -> dict[str, str]:
        """Return nothing: the objects are told apart by their uids when their deletion is requested."""
        return {}

    def request_deletion(self, connection: Cluster, resource: Resource, body: Body) -> None:
        """Request the deletion of what isn't being deleted, a batch of it. Raises the first failure when all of it was asked."""
        all_kinds = kinds_of(self._reach, is_going=True)
        failures: list[Exception] = []
        for each in [each for each in self._left(connection, resource) if not _is_under_way(each)][:BATCH]:
            try:
                with suppress(Gone):
                    all_kinds[each.resource.kind].request_deletion(connection, each.resource, each.body)
            except (Busy, Refused, Unreachable) as failure:
                failures.append(failure)
        if failures:
            raise failures[0]

    @staticmethod
    def _left(connection: Cluster, resource: Resource) -> list[Found]:
        # A record of before has whole ones.
        spared = {_short(uid) for uid in resource.place.get("spared", "").split(",")}
        everything = search(connection, resource.place, takes_snapshots="takes_snapshots" in resource.place)
        going = [each for each in everything if each.resource.stage == resource.stage and each.resource.state != "kept"]
        return [each for each in going if _short(each.resource.place["uid"]) not in spared]


def _is_under_way(found: Found) -> bool:
    """Return whether nothing is left to be requested. A volume without a claim is its driver's to delete."""
    return is_leaving(found.body) or found.resource.kind == "kubernetes:persistentvolume"


def _short(uid: str) -> str:
    """Return the beginning of an object's uid: whole ones of very many wouldn't fit into a record, and one too many that is spared does no harm."""
    return uid[:8]


def is_retained(name: str, retained: Collection[str]) -> bool:
    """Return whether a volume of that name is to be retained, by the names that `retained_in` returned."""
    return name in retained or (bool(name) and ALL in retained)


def retained_in(resources: Iterable[Resource]) -> set[str]:
    """Return the names of the volumes that are to be retained, by what `inside` found of them; ALL if they are too many to be remembered."""
    return {name for each in resources for name in each.place.get("retained", "").split(",") if name}


def _fitted(everything: list[Found], amend: Amend, known: list[Resource], place: Mapping[str, str]) -> list[Resource]:
    """Return the resources that were found, where of more than a record can list all others share one for each stage."""
    found = [amend(*each) for each in everything]
    listed = {each.key for each in known}
    others = [each for each in found if each.key not in listed][max(0, OBJECTS_MAX - len(listed)) :]
    keys = {each.key for each in others}
    fitting = [each for each in found if each.key not in keys]
    kept = [each for each in others if each.state == "kept"]
    going = [each for each in others if each.state != "kept"]
    # What `amend` kept is found again as if it had to go.
    pairs = zip(everything, found, strict=True)
    spared = [_short(now.place["uid"]) for before, now in pairs if now.state == "kept" != before.resource.state]
    takes_snapshots = any(each.kind == "kubernetes:volumesnapshotcontent" for each in going)
    for stage in sorted({each.stage for each in going}):
        here = {**place, "count": str(sum(each.stage == stage for each in going)), "spared": ",".join(spared)}
        here |= {"takes_snapshots": "true"} if takes_snapshots else {}
        fitting.append(Resource(OTHERS, f"{place['cluster']}/{stage}", here, stage=stage))
    if kept:
        names = ", ".join(f"{each.kind.removeprefix('kubernetes:')} {each.id}" for each in kept)
        retained = ",".join(sorted(retained_in(kept)))
        here = {**place, "retained": retained if len(retained) <= RETAINED_MAX else ALL}
        detail = clipped(f"{len(kept)} more, kept for the same reasons: {names}", RESOURCE_DETAIL_MAX)
        fitting.append(Resource(OTHERS, f"{place['cluster']}/kept", here, stage=1, state="kept", detail=detail))
    return fitting


def _unanswered(known: list[Resource], note: Resource, why: Unreachable) -> list[Resource]:
    text = f"{_NO_ANSWER} ({why}): a load balancer or a disk that its objects made may be left"
    kept = [replace(each, state="kept", detail=_UNANSWERED) for each in known if each.state not in ("gone", "kept")]
    return [*kept, replace(note, detail=clipped(text, RESOURCE_DETAIL_MAX))]
