"""A place in memory that is surveyed: what it holds, what is recorded, and time."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.fakes import Clock, MemoryProvider, a_deployment, a_thing
from tracker.cleanup.core.contract import Found
from tracker.intake.strays import adoption
from tracker.lifecycle.strays import StrayLifecycle
from tracker.model.deployment import Deployment, Resource
from tracker.model.places import Place
from tracker.model.settings import Settings
from tracker.model.strays import Stray
from tracker.store.records import Records
from tracker.store.strays import Strays
from tracker.survey.look import Survey, Surveyor

PLACE = Place("BareMetal", "eu-central-1", {"account": "one"})
GENERATION = "0f8fad5b-d9cb-469f-a165-70867728950e"
OTHER = "1f8fad5b-d9cb-469f-a165-70867728950e"


class Surveyed:
    """One place, looked at as often as a test likes."""

    def __init__(self, provider: MemoryProvider, store: Records, clock: Clock) -> None:
        provider.finds()
        self.provider, self.store, self.clock = provider, store, clock
        self.strays = Strays(store._table, store)
        self.settings = Settings()
        self.found: list[Found] = []
        self.raises: Exception | None = None
        self.before: Callable[[], object] = lambda: None
        provider.module.__dict__["find"] = self._find

    def _find(self, deployment: Deployment, settings: Settings, generation: str | None) -> Any:
        assert generation is None
        self.before()
        yield from self.found
        if self.raises:
            raise self.raises

    def shows(self, id_: str = "box-1", mark: str = GENERATION, key: str = "box", **more: Any) -> Resource:
        """Something carries a mark from now on."""
        resource = a_thing(id_, place={"account": "one"}, stage=0 if key else 1)
        self.found.append(Found(resource, key, mark, more.get("made_at")))
        self.provider.has(resource)
        return resource

    @property
    def lifecycle(self) -> StrayLifecycle:
        return StrayLifecycle(self.strays, self.store, self.settings, self.clock)

    def survey(self, place: Place = PLACE, *, hours: float = 0) -> Survey:
        """Look, so many hours later."""
        self.clock.forward(hours=hours)
        return Surveyor(self.strays, self.lifecycle, self.settings, self.clock).survey(place, lambda: 60)

    def told(self, times: int = 3) -> Stray:
        """Look as often as it takes until the one stray is announced."""
        for _ in range(times):
            self.survey(hours=1)
        stray = self.only
        assert stray.announced_at
        return stray

    @property
    def all(self) -> list[Stray]:
        return list(self.strays.all())

    @property
    def only(self) -> Stray:
        (found,) = self.all
        return found

    def set(self, **changes: Any) -> None:
        """Change what an operator set."""
        self.settings = msgspec.structs.replace(self.settings, **changes)

    def record(self, key: str = "svc-1", **changes: Any) -> Deployment:
        """Something is recorded in the place."""
        said: dict[str, Any] = {"deployment_type": "BareMetal", "metadata": {"account": "one"}}
        said |= {"resource_ids": {}, "incomplete": True} | changes
        found = a_deployment(key, **said)
        self.store.create(found)
        return found

    def adopt(self, key: str, ttl_seconds: int | None = None) -> tuple[Deployment, bool]:
        """Adopt, as the API does."""
        describe = adoption(ttl_seconds, self.settings, now=self.clock(), by="someone")
        return self.lifecycle.adopt(key, describe, reason="it is ours", requested_by="someone")


@pytest.fixture
def surveyed(provider: MemoryProvider, store: Records, clock: Clock) -> Surveyed:
    return Surveyed(provider, store, clock)
