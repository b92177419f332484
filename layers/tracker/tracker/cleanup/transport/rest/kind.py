"""This is how one resource of a REST API is read and deleted, and how the main resources of a deployment and their dependents are discovered."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, ClassVar
from urllib.parse import quote

from msgspec.structs import replace

from tracker.cleanup.core.contract import Refused, Unreachable
from tracker.cleanup.core.discovery import is_first_attempt, kept, named_resources
from tracker.cleanup.core.kind import Gone, Kind
from tracker.cleanup.transport.bounds import TooMuch
from tracker.cleanup.transport.rest.client import NotTold, with_id
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.deployment import RESOURCE_DETAIL_MAX, RESOURCES_MAX, Deployment, Resource, clipped
from tracker.model.settings import Settings


class RestKind(Kind[Api, Any]):
    """One kind of resource of a REST API.

    `path` is where one is read; it holds `{id}`, and keys of the resource's place. `envelope` is the key of the answer's
    object that holds the resource, empty for the whole answer. `deletion` is the method and path that deletes one ("": `path`),
    `deletion_body` the JSON that is sent with it, None for none.

    `doubted` are the answers to a read that prove nothing alone: the list of the kind tells, if there is one (`every`).

    Few providers document how soon a read shows what was just made; two minutes are long for all of them.
    """

    provider: ClassVar[Provider]
    path: ClassVar[str]
    envelope: ClassVar[str] = ""
    deletion: ClassVar[tuple[str, str]] = ("DELETE", "")
    deletion_body: ClassVar[Any] = None
    doubted: ClassVar[tuple[type[Exception], ...]] = (NotTold,)
    settles_in = 120

    def check_id(self, resource: Resource, settings: Settings) -> None:
        """Raise Refused if an id can't be one. One that the provider itself listed has whatever form the provider gave it."""
        if resource.named_by or not resource.place:
            super().check_id(resource, settings)

    @contextmanager
    def open(self, resource: Resource, settings: Settings) -> Iterator[Api]:
        """Open the API of the resource's account."""
        yield self.provider.open(resource.place, settings)

    def every(self, connection: Api) -> Iterable[Any] | None:
        """Return all resources of this kind in the account, by their whole list, None if the provider has no such list."""
        return None

    def read(self, connection: Api, resource: Resource) -> Any:
        """Return the resource as the provider shows it; as the list of its kind does, if the answer is `doubted`."""
        path = self.path_of(resource)
        try:
            body = connection.get(path)
        except self.doubted as failed:
            return self.listed(connection, resource, failed)
        found = body.get(self.envelope) if self.envelope and isinstance(body, dict) else body
        if not isinstance(found, dict):
            raise Unreachable(f"GET {path}: the answer holds no {self.envelope or self.noun}")
        return found

    def listed(self, connection: Api, resource: Resource, failed: Exception) -> Any:
        """Return the resource as the list of its kind shows it. Raises Gone if that hasn't got it, and what `failed` if there is no list."""
        try:
            items = self.every(connection)
            found = None if items is None else with_id(items, f"the list of each {self.noun}")
        except Gone as gone:
            # That the list itself isn't found says nothing of what may be in it.
            raise Unreachable(str(gone)) from None
        if found is None:
            raise failed
        for each in found:
            if str(each["id"]).lower() == resource.id.lower():
                return each
        raise Gone(f"{failed}; and the list of each {self.noun} hasn't got it")

    def request_deletion(self, connection: Api, resource: Resource, body: Any) -> None:
        """Request the deletion by the method and path of `deletion`. Raises Unreachable if the answer is a success that holds a failure."""
        method, path = self.deletion[0], self.path_of(resource, self.deletion[1])
        answer = connection.call(method, path, json=self.deletion_body).body
        if failure := self.failure_in(answer if isinstance(answer, dict) else {}):
            raise Unreachable(f"{method} {path}: 200, and {failure}")

    def failure_in(self, answer: dict[str, Any]) -> str:
        """Return what a successful answer to a deletion says that went wrong; empty if it says nothing of the kind."""
        return ""

    def location(self, connection: Api) -> dict[str, str]:
        """Return the account, if the provider says which it is."""
        return {"account": connection.account} if connection.account else {}

    def source(self, resource: Resource) -> str:
        """Name the GET."""
        return f"GET {self.path_of(resource)}"

    def path_of(self, resource: Resource, path: str = "") -> str:
        """Return the path of a resource, or another `path` about it, with every part quoted.

        Raises Refused for an id that would be another path even so.
        """
        if resource.id in ("", ".", ".."):
            raise Refused("bad_id", f"{resource.id!r} can't be the id of a {self.noun}")
        parts = {key: quote(value, safe="") for key, value in {**resource.place, "id": resource.id}.items()}
        return (path or self.path).format_map(parts)


def discover_with_dependents(
    deployment: Deployment,
    settings: Settings,
    kinds: Mapping[str, RestKind],
    stages: Mapping[str, int],
    dependents: Callable[[Api, Resource, Any], Iterable[Resource]] = lambda *_: (),
) -> list[Resource]:
    """Return what the record names, and the dependents of its main resources that are still there.

    The main kind is the first of `stages`; a main resource that may not be deleted is refused. `dependents` takes the API, a main
    resource and the provider's description of it, and gives what is to go or to be kept with it. What goes after the main
    resources has their ids in its place as `used_by`: it may still be attached to them.
    """
    kind, stage = next(iter(stages.items()))
    main = kinds[kind]
    place = main.provider.place_of(deployment, settings)
    known = {each.key: each.place for each in deployment.resources}
    found = {each.key: each for each in named_resources(deployment, place, stages, kinds, settings)}
    mains = [each for each in found.values() if each.kind == kind]
    api = main.provider.open(place, settings)
    for each in mains:
        # With what is remembered of it: another resource that has its id now is not the deployment's.
        resource = replace(each, place=known.get(each.key, {}) | place)
        try:
            body = main.find(api, resource)
        except Gone:
            found[each.key] = replace(each, absent=1)
            continue
        if main.progress(body)[0] == "gone":
            continue
        main.check_deletable(api, resource, body, settings)
        place = place | main.location(api)
        found[each.key] = replace(resource, seen=True, place=resource.place | main.identity(body))
        others = _while_there(main, api, found[each.key], dependents(api, found[each.key], body))
        for other in _as_far_as_read(deployment, others, main):
            before = found.get(other.key)
            found[other.key] = replace(before, place=before.place | other.place) if before else other
    used_by = {"used_by": ",".join(each.id for each in mains)}
    placed = [
        replace(each, place=each.place | place | (used_by if each.stage > stage else {})) for each in found.values()
    ]
    return sorted(_summed_up(placed, deployment.resources, stage), key=lambda each: each.stage)


def _summed_up(found: list[Resource], known: list[Resource], stage: int) -> list[Resource]:
    """Return what was found; if a record can't list it all, one kept resource of each kind names the last of those after `stage`."""
    excess = len({each.key for each in [*known, *found]}) - RESOURCES_MAX
    if excess <= 0:
        return found
    before = {each.key for each in known}
    dependents = [each for each in found if each.stage > stage and not each.named_by and each.key not in before]
    dependents.sort(key=lambda each: each.state == "kept")
    kinds = sorted({each.kind for each in dependents})
    rest = dependents[max(0, len(dependents) - excess - len(kinds)) :]
    keys = {each.key for each in rest}
    fitting = [each for each in found if each.key not in keys]
    for kind in kinds:
        ids = [each.id for each in rest if each.kind == kind]
        text = (
            f"{len(ids)} more than a record can list: nothing asks them to go, and they may be left: {', '.join(ids)}"
        )
        if ids:
            others = next(each for each in rest if each.kind == kind)
            fitting.append(replace(others, id="others", state="kept", detail=clipped(text, RESOURCE_DETAIL_MAX)))
    return fitting


def unless_denied(kind: str, found: Iterable[Resource]) -> Iterator[Resource]:
    """Yield what was found; or, if the credential may not look for it (403), or it is too much to be read, a note that is kept in its stead.

    For what is billed on, and never deleted unnamed: that it can't be seen mustn't keep the rest from going.
    """
    try:
        yield from found
    except TooMuch as too_much:
        yield _unseen(kind, f"there may be more: {too_much}")
    except Refused as refused:
        if refused.error_class != "credentials" or ": 403" not in str(refused):
            raise
        yield _unseen(kind, f"not looked for, since the credential may not: {refused}")


def _unseen(kind: str, why: str) -> Resource:
    return kept(Resource(kind, "unseen"), why)


def _as_far_as_read(deployment: Deployment, dependents: Iterable[Resource], main: RestKind) -> Iterator[Resource]:
    """Yield the dependents; of more than is read of any list, those that come before, and a note that there may be others.

    A round's first attempt fails of it: it may be the provider's moment.
    """
    try:
        yield from dependents
    except TooMuch as too_much:
        if is_first_attempt(deployment):
            raise
        text = f"what else belongs to the {main.noun} can't be read, and may be left: {too_much}"
        yield _unseen(f"{main.provider.name}:dependent", clipped(text, RESOURCE_DETAIL_MAX))


def _while_there(main: RestKind, api: Api, resource: Resource, dependents: Iterable[Resource]) -> Iterator[Resource]:
    """Yield the dependents of a resource; stop if it disappears meanwhile."""
    try:
        yield from dependents
    except Gone as gone:
        with suppress(Gone):
            main.find(api, resource)
            raise Unreachable(f"{gone}, though {resource.id} is there") from None
