"""This is how much is read of what a server answers, by each client: bounded, and enough for what is large and legal."""

import itertools
import time
from collections.abc import Iterator

import pytest

from tests.cleanup.providers.local.engines import Engine as EngineStandIn
from tests.in_time import in_time
from tests.kubernetes_api import ADMIN, KubernetesApi, status
from tests.standin import Fault, Reply, Request, StandIn
from tracker.cleanup.core.contract import Unreachable
from tracker.cleanup.core.engine import CALL_NEEDS
from tracker.cleanup.transport import bounds, docker
from tracker.cleanup.transport.bounds import Page, TooLong, TooSlow, joined, paged
from tracker.cleanup.transport.credentials import Credential
from tracker.cleanup.transport.kubernetes import cluster as kubernetes_cluster
from tracker.cleanup.transport.kubernetes.cluster import Access, Cluster
from tracker.cleanup.transport.rest.client import Client, Endpoint, ErrorRule
from tracker.model.settings import Settings

MEGABYTE = 1024 * 1024
# Seconds: what is endless ends as soon as a bound is met, on a slow machine, too.
SOON = 30.0


def test_a_list_ends_before_a_step_could_run_out_of_time() -> None:
    assert max(bounds.LIST_LIMIT, bounds.ANSWER_LIMIT) <= CALL_NEEDS


def test_an_answer_is_joined_up_to_its_bound() -> None:
    assert joined([b"ab", b"", b"cd"], 4) == b"abcd"
    endless = itertools.repeat(b"x" * 1000)
    with pytest.raises(TooLong, match="10000 bytes"):
        joined(endless, 10_000)


def test_an_answer_that_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "ANSWER_LIMIT", 0.05)

    def drips() -> Iterator[bytes]:
        while True:
            time.sleep(0.01)
            yield b"x"

    with pytest.raises(TooSlow):
        joined(drips(), MEGABYTE)


def test_a_list_is_read_page_by_page_to_its_end() -> None:
    pages = {0: Page([1, 2], 1, 10), 1: Page([], 2, 10), 2: Page([3], None, 10)}
    assert list(paged("GET /x", 0, pages.__getitem__)) == [1, 2, 3]


def _number(most: int, bound: str, value: float, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(bounds, bound, value)
    with pytest.raises(Unreachable) as unreachable:
        list(paged("GET /x", 0, lambda n: Page([n], n + 1, most)))
    return str(unreachable.value)


@pytest.mark.parametrize(
    ("bound", "value", "said"),
    [("PAGES_MAX", 5, "more than 5 pages"), ("LIST_MAX", 90, "more than 90 bytes"), ("LIST_LIMIT", -1, "take more")],
)
def test_endless_pages_end_at_each_bound(monkeypatch: pytest.MonkeyPatch, bound: str, value: float, said: str) -> None:
    assert said in _number(10, bound, value, monkeypatch)


def test_pages_that_lead_in_a_circle_end_at_once() -> None:
    asked: list[int] = []

    def page(number: int) -> Page[int]:
        asked.append(number)
        return Page([number], number % 3 + 1, 1)

    with pytest.raises(Unreachable, match="circle"):
        list(paged("GET /x", 1, page))
    assert asked == [1, 2, 3]


# Each client


@pytest.fixture
def rest() -> Iterator[tuple[StandIn, Client]]:
    with StandIn() as server:
        endpoint = Endpoint(
            "some", server.url, lambda body: str(body["message"]), (ErrorRule(None, "webhook .* denied", "busy"),)
        )
        yield server, Client(endpoint, Credential({"token": "a-token-of-some"}, "a test"), Settings())


@pytest.fixture
def kubernetes() -> Iterator[tuple[KubernetesApi, Cluster]]:
    with KubernetesApi() as server, Cluster(Access(server.url, token=ADMIN)) as cluster:
        yield server, cluster


@pytest.fixture
def engine() -> Iterator[tuple[EngineStandIn, docker.Engine]]:
    with EngineStandIn() as server:
        host = server.url.replace("http", "tcp", 1)
        with docker.connect(host, "", Settings(allowed_endpoints=[host])) as engine:
            yield server, engine


def numbered(request: Request) -> int:
    return int(request.query.get("continue") or request.query.get("page") or 0)


def test_endless_pages_of_a_rest_api_are_unreachable_soon(rest: tuple[StandIn, Client]) -> None:
    server, client = rest

    def answer(request: Request) -> Reply:
        return Reply(200, {"things": [{"id": "x"}], "next": f"/things?page={numbered(request) + 1}"})

    def read() -> None:
        with pytest.raises(Unreachable, match="more than 1000 pages"):
            list(client.pages("/things", "things", lambda body: body["next"]))

    with server.failing(Fault("answer", answer=answer)):
        in_time(SOON, read)


@pytest.mark.parametrize("following", ["the same", "ever new"])
def test_endless_pages_of_a_cluster_are_unreachable_soon(
    kubernetes: tuple[KubernetesApi, Cluster], following: str
) -> None:
    server, cluster = kubernetes

    def answer(request: Request) -> Reply:
        cursor = str(numbered(request) + 1) if following == "ever new" else "1"
        return Reply(200, {"kind": "PodList", "metadata": {"continue": cursor}, "items": []})

    def read() -> None:
        with pytest.raises(Unreachable, match="pages"):
            list(cluster.items("/api/v1/pods"))

    with server.failing(Fault("answer", path="/pods$", answer=answer)):
        in_time(SOON, read)


LONG = b'{"message": "' + b"x" * (17 * MEGABYTE) + b'"}'


def test_an_answer_of_a_rest_api_that_is_too_long_is_unreachable(rest: tuple[StandIn, Client]) -> None:
    server, client = rest
    for code in (200, 404, 500):
        with server.failing(Fault("answer", answer=Reply(code, LONG))), pytest.raises(Unreachable, match="too long"):
            client.get("/things/1")


def test_an_answer_of_a_cluster_that_is_too_long_is_unreachable(kubernetes: tuple[KubernetesApi, Cluster]) -> None:
    server, cluster = kubernetes
    with server.failing(Fault("answer", path="/pods", answer=Reply(200, LONG))):
        with pytest.raises(Unreachable, match="too long"):
            cluster.get("/api/v1/namespaces/default/pods/web")
        with pytest.raises(Unreachable, match="too long"):
            list(cluster.items("/api/v1/pods"))


def test_an_answer_of_an_engine_that_is_too_long_is_unreachable(engine: tuple[EngineStandIn, docker.Engine]) -> None:
    server, client = engine
    for code in (200, 404, 500):
        with (
            server.failing(Fault("answer", path="/containers/", answer=Reply(code, LONG))),
            pytest.raises(Unreachable, match="more than"),
        ):
            client.ask(client.inspect_container, "web")


def test_what_an_engine_cuts_short_is_unreachable(engine: tuple[EngineStandIn, docker.Engine]) -> None:
    server, client = engine
    with server.failing(Fault("cut", path="/containers/")), pytest.raises(Unreachable):
        client.ask(client.inspect_container, "web")


def test_five_megabytes_of_pods_in_pages_are_read(kubernetes: tuple[KubernetesApi, Cluster]) -> None:
    server, cluster = kubernetes
    server.page = 100
    server._contract = None
    for n in range(500):
        server.create("/api/v1/namespaces/default/pods", f"web-{n}", spec={"filler": "x" * 10_000})
    assert len(list(cluster.items("/api/v1/pods"))) == 500


def test_pages_that_are_too_large_for_one_answer_are_asked_for_in_smaller_ones(
    kubernetes: tuple[KubernetesApi, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, cluster = kubernetes
    server.page = 250
    for n in range(100):
        server.create("/api/v1/namespaces/default/configmaps", f"settings-{n}", data={"filler": "x" * 1000})
    monkeypatch.setattr(kubernetes_cluster, "ANSWER_MAX", 50_000)
    assert len(list(cluster.items("/api/v1/configmaps"))) == 100


@pytest.mark.parametrize("megabytes", [5, 12])
def test_one_large_legal_answer_is_read(
    rest: tuple[StandIn, Client], engine: tuple[EngineStandIn, docker.Engine], megabytes: int
) -> None:
    body = [{"Id": str(n), "filler": "x" * 1000} for n in range(megabytes * 1000)]
    server, client = rest
    with server.failing(Fault("answer", answer=Reply(200, {"things": body}))):
        assert len(list(client.pages("/things", "things", lambda _: None))) == len(body)
    stand_in, other = engine
    with stand_in.failing(Fault("answer", path="/containers/json", answer=Reply(200, body))):
        assert len(other.ask(other.containers, all=True, filters={"volume": "x"}) or ()) == len(body)


def test_an_errors_long_text_is_looked_at_no_further_than_its_beginning(
    rest: tuple[StandIn, Client], kubernetes: tuple[KubernetesApi, Cluster]
) -> None:
    # A pattern may take very long in a text that was made for it.
    text = "admission webhook " * 500_000
    server, client = rest
    api, cluster = kubernetes

    def read() -> None:
        with (
            server.failing(Fault("answer", answer=Reply(500, {"message": text}))),
            pytest.raises(Unreachable),
        ):
            client.get("/things/1")
        with (
            api.failing(Fault("answer", path="/pods", answer=status(500, text))),
            pytest.raises(Unreachable),
        ):
            cluster.get("/api/v1/namespaces/default/pods/web")

    in_time(SOON, read)


def test_an_engines_connection_is_used_again(engine: tuple[EngineStandIn, docker.Engine]) -> None:
    server, client = engine
    server.container("web")
    pool = client.get_adapter(client.base_url)._pool  # type: ignore[attr-defined]
    for _ in range(3):
        assert client.ask(client.inspect_container, "web")
    assert pool.num_connections == 1
