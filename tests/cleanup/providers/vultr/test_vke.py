"""VultrVke, against a server that keeps to Vultr's API document, and clusters that answer as Kubernetes does."""

from typing import Any, ClassVar

import pytest

from tests.cleanup.cluster_target import INSIDE, RETAINED, TOKEN, ClusterTarget, run_unanswered
from tests.cleanup.providers.vultr.server import CLUSTER, VultrServer, VultrTarget, error
from tests.cleanup.rest_target import Thing
from tests.conformance.conftest import life, target
from tests.conformance.life import Life
from tests.conformance.target import Key, Made
from tests.kubernetes_api import kubeconfig
from tests.standin import Fault, Reply
from tracker.cleanup.core.contract import Unreachable

__all__ = ["life", "target"]

ID, OTHER = (f"455dcd32-e621-48ee-a10e-0cb5f754e13{n}" for n in (1, 2))
BLOCKS = [f"00af1bad-84d7-4c20-9c79-90b41d04ef5{n}" for n in range(6)]
LOAD_BALANCERS = [f"daa84d3c-79fb-4f0b-a1f8-8b9f8e3c6e2{n}" for n in range(4)]


def block(number: int) -> Key:
    return "vultr:block", BLOCKS[number]


def balancer(number: int) -> Key:
    return "vultr:load_balancer", LOAD_BALANCERS[number]


class StandIn(ClusterTarget, VultrTarget):
    """Of load balancers and blocks each: what is in use by the cluster, what is left of its making, what it didn't make, what the record names."""

    server: VultrServer
    deployment_type = "VultrVke"
    main = CLUSTER, ID
    balancer, disk = balancer(0), block(0)
    # Not documented; that it is a 400 is all that counts.
    locked: ClassVar[Reply] = error(400, "Cluster can not be destroyed at this time")
    na: ClassVar[dict[str, str]] = {
        "wrong-place": "ids are the account's own and no URL names a region",
        "not-ours": "no mark is set for Vultr: what the record names is the deployment's",
        "other-one": "Vultr gives the uuid of a cluster to no other",
        "false-success": "a deletion is answered 204 without a body, and no operation tells of it",
        "protected": "clusters have no protection against deletion",
    }

    marked: ClassVar = dict.fromkeys((CLUSTER, "vultr:block", "vultr:load_balancer"), "label")

    def another(self, number: int) -> tuple[str, Thing]:
        return f"555dcd32-e621-48ee-a10e-0cb5f75400{number:02}", _cluster("other")

    def make(self) -> Made:
        self.server.access[ID] = kubeconfig({"vke": self.cluster.url}, TOKEN)
        claimed = self.fill()
        things = {
            self.main: _cluster("blueprints"),
            balancer(0): _thing("front", ID),
            balancer(1): _thing("of-an-older-service", ID),
            balancer(2): _thing("by-hand"),
            block(0): _thing(claimed, ID),
            block(1): _thing("pvc-of-an-older-claim", ID),
            block(2): _thing("named", ID),
        }
        strange = {
            (CLUSTER, OTHER): _cluster("other"),
            balancer(3): _thing("strange", OTHER),
            block(3): _thing(RETAINED, ID),
            block(4): _thing("put-there-by-hand", ID),
            block(5): _thing("pvc-of-another", OTHER),
        }
        self.server.things |= things | strange
        ids: dict[str, str | list[str]] = {
            "cluster_id": ID,
            "load_balancer": [LOAD_BALANCERS[2]],
            "block": [BLOCKS[2]],
        }
        return Made(self.main, [*INSIDE, *things], list(strange), ids)


def _cluster(label: str) -> Thing:
    return Thing({"label": label, "date_created": "2026-01-01T00:00:00+00:00", "status": "active", "node_pools": []})


def _thing(label: str, user: str = "") -> Thing:
    return Thing({"label": label, "status": "active"}, user)


TARGETS = [StandIn]
pytestmark = pytest.mark.parametrize("target_class", TARGETS)


@pytest.mark.parametrize("reason", ["stopped", "no kubeconfig"])
def test_a_cluster_that_does_not_answer_goes_and_its_volumes_are_kept(target: StandIn, life: Life, reason: str) -> None:
    made = target.make()
    if reason == "stopped":
        target.cluster.stop()
    else:
        target.server.access.clear()
    run_unanswered(life, made)
    assert life.record.status == "Terminated"
    # Nobody says any more which of its volumes is to be retained.
    left = {key for key in target.left() if key[0].startswith("vultr:")}
    assert left == {*made.kept, block(0), block(1)}
    note = next(each for each in life.record.resources if each.kind == "kubernetes:objects")
    assert note.state == "kept"
    assert "doesn't answer" in note.detail


def test_all_blocks_go_when_all_dependents_should(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(made, metadata={"delete_dependents": "all"})
    assert life.record.status == "Terminated"
    assert target.left() == {(CLUSTER, OTHER), balancer(3), block(5)}


def test_nothing_is_asked_to_go_when_the_list_of_what_is_linked_cannot_be_had(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    with target.server.failing(Fault("answer", "GET", "/resources$", Reply(200, {"resources": []}))):
        state = life.begin()
        with pytest.raises(Unreachable):
            life.run(state)
    assert target.asked() == []


def test_what_is_in_a_cluster_that_someone_deleted_is_gone_with_it(target: StandIn, life: Life) -> None:
    made = target.make()
    target.cluster.balancers_stay = True
    life.register(made)
    state = life.begin()
    life.step(state)
    del target.server.things[made.main]
    target.cluster.stop()
    life.run(state)
    assert life.record.status == "Terminated"
    service = next(each for each in life.record.resources if each.id == "default/front")
    assert service.proof.startswith("it went with its cluster: GET /v2/kubernetes/clusters/")


@pytest.mark.parametrize("resources", [{}, {"block_storage": None}, {"load_balancer": []}])
def test_a_list_that_the_document_lets_be_absent_is_an_empty_one(target: StandIn, life: Life, resources: Any) -> None:
    made = target.make()
    life.register(made)
    answer = Reply(200, {"resources": resources})
    with target.server.failing(Fault("answer", "GET", "/resources$", answer)):
        life.run(life.begin())
    assert made.main in target.asked()


def test_a_list_of_one_page_may_come_without_meta(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    target.vanish(made)
    with target.server.failing(Fault("answer", "GET", "/v2/kubernetes/clusters$", Reply(200, {"vke_clusters": []}))):
        assert life.run(life.begin()).outcome == "gone"


def test_a_404_without_a_body_is_asked_again_by_the_list(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    target.vanish(made)
    with target.server.failing(Fault("answer", "GET", "/v2/kubernetes/clusters/", Reply(404))):
        assert life.run(life.begin()).outcome == "gone"
