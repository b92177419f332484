"""DigitalOceanDoks, against a server that keeps to DigitalOcean's API document, and clusters that answer as Kubernetes does."""

import base64
import ssl
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.certificates import Authority
from tests.cleanup.cluster_target import INSIDE, RETAINED, TOKEN, ClusterTarget, run_unanswered
from tests.cleanup.digitalocean.server import CLUSTER, MARK, DigitalOceanServer, DigitalOceanTarget, error
from tests.cleanup.rest_target import Thing
from tests.conformance.conftest import life, target
from tests.conformance.life import Life
from tests.conformance.target import Key, Made
from tests.kubernetes_api import KubernetesApi
from tests.standin import Fault
from tracker.cleanup.digitalocean import doks

__all__ = ["life", "target"]

ID, OTHER = (f"bd5f5959-5e1e-4205-a714-a91437394{n}af" for n in (2, 3))
LOAD_BALANCERS = [f"4de7ac8b-495b-4884-9a69-1050c6793cd{n}" for n in range(4)]
VOLUMES = [f"ba49449a-7435-11ea-b89e-0a58ac14480{n}" for n in range(6)]
SNAPSHOTS = [f"edb0478d-7436-11ea-86e6-0a58ac144b9{n}" for n in range(2)]
TAGS = ["k8s", f"k8s:{ID}"]


def lb(number: int) -> Key:
    return "digitalocean:load_balancer", LOAD_BALANCERS[number]


def volume(number: int) -> Key:
    return "digitalocean:volume", VOLUMES[number]


def snapshot(number: int) -> Key:
    return "digitalocean:volume_snapshot", SNAPSHOTS[number]


class StandIn(ClusterTarget, DigitalOceanTarget):
    """Of load balancers and volumes each: what is in use by the cluster, what is left of its making, what it didn't make, what the record names."""

    server: DigitalOceanServer
    deployment_type = "DigitalOceanDoks"
    main = CLUSTER, ID
    balancer, disk = lb(0), volume(0)
    pending = "cluster is still provisioning"
    na: ClassVar[dict[str, str]] = {
        "wrong-place": "ids are the team's own and no URL names a region",
        "other-one": "DigitalOcean gives the uuid of a cluster to no other",
        "false-success": "a deletion is answered 204 without a body, and no operation tells of it",
        "protected": "clusters have no protection against deletion",
    }

    def make(self) -> Made:
        self.server.access[ID] = self.access(self.cluster.url)
        claimed = self.fill()
        things = {
            self.main: _cluster(ID),
            lb(0): Thing({"name": "front", "status": "active", "tags": TAGS}, ID),
            lb(1): Thing({"name": "a" + "0" * 31, "status": "active"}, ID),
            lb(2): Thing({"name": "by-hand", "status": "active"}),
            volume(0): Thing({"name": claimed, "tags": TAGS}, ID),
            volume(1): Thing({"name": "pvc-of-an-older-claim", "tags": TAGS}, ID),
            volume(2): Thing({"name": "named", "tags": []}, ID),
            snapshot(0): Thing({"name": "named", "resource_type": "volume", "tags": None}, ID),
        }
        strange = {
            (CLUSTER, OTHER): _cluster(OTHER),
            lb(3): Thing({"name": "strange", "status": "active"}, ID),
            volume(3): Thing({"name": RETAINED, "tags": TAGS}, ID),
            volume(4): Thing({"name": "put-there-by-hand", "tags": TAGS}, ID),
            volume(5): Thing({"name": "pvc-of-another", "tags": []}, OTHER),
            snapshot(1): Thing({"name": "strange", "resource_type": "volume", "tags": None}, ID),
        }
        self.server.things |= things | strange
        ids: dict[str, str | list[str]] = {
            "cluster_id": ID,
            "load_balancer": [LOAD_BALANCERS[2]],
            "volume": [VOLUMES[2]],
            "volume_snapshot": [SNAPSHOTS[0]],
        }
        return Made(self.main, [*INSIDE, *things], list(strange), ids)

    def access(self, url: str, authority: str = "") -> dict[str, Any]:
        """What DigitalOcean says of how a cluster is reached."""
        data = base64.b64encode(authority.encode()).decode()
        expires = {"expires_at": "2030-01-01T00:00:00Z", "client_certificate_data": None, "client_key_data": None}
        return {"server": url, "certificate_authority_data": data, "token": TOKEN} | expires


def _cluster(id_: str) -> Thing:
    body = {"name": "blueprints", "region": "nyc1", "version": "1.31.1-do.0", "node_pools": []}
    return Thing(body | {"tags": ["k8s", f"k8s:{id_}", MARK], "status": {"state": "running"}})


TARGETS = [StandIn]
pytestmark = pytest.mark.parametrize("target_class", TARGETS)


def test_a_cluster_that_does_not_answer_goes_and_its_volumes_are_kept(target: StandIn, life: Life) -> None:
    made = target.make()
    target.cluster.stop()
    run_unanswered(life, made)
    assert life.record.status == "Terminated"
    # Nobody says any more which of its volumes is to be retained.
    assert target.left() == {*made.kept, volume(0), volume(1)}
    note = next(each for each in life.record.resources if each.kind == "kubernetes:objects")
    assert note.state == "kept"
    assert "doesn't answer" in note.detail


def test_a_cluster_is_reached_by_the_authority_that_digitalocean_names(
    target: StandIn, life: Life, tmp_path: Path
) -> None:
    authority, other = Authority(tmp_path / "one"), Authority(tmp_path / "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.files("server", ("127.0.0.1",)))
    made = target.make()
    life.register(made)
    with KubernetesApi(tls=context, token=TOKEN) as cluster:
        cluster.create("/api/v1/namespaces/default/services", "back", spec={"type": "LoadBalancer"})
        for pem, reached in ((other.pem, False), (authority.pem, True)):
            target.server.access[ID] = target.access(cluster.url, pem)
            keys = [each.key for each in doks.discover(life.record, target.settings)]
            assert (("kubernetes:service", "default/back") in keys) == reached
            assert (("kubernetes:objects", ID) in keys) != reached


def test_a_cluster_that_is_being_made_is_waited_for(target: StandIn, life: Life) -> None:
    made = target.make()
    del target.server.access[ID]
    target.server.things[made.main].body["status"] = {"state": "provisioning"}
    provisioning = error(422, "the cluster is provisioning")
    with target.server.failing(Fault("answer", "DELETE", ID, provisioning, times=3)):
        life.clean_up(made)
    assert [answer.outcome for answer in life.answers].count("remains") >= 3
    assert life.record.status == "Terminated"


def test_a_cluster_of_the_state_deleted_is_gone(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    target.server.things[made.main].body["status"] = {"state": "deleted"}
    life.run(life.begin())
    assert life.record.status == "Terminated"
    assert made.main not in target.asked()
    proof = next(each.proof for each in life.record.resources if each.key == made.main)
    assert proof == f"GET /v2/kubernetes/clusters/{ID}: deleted"


def test_what_is_in_a_cluster_that_someone_deletes_meanwhile_waits_for_its_end(target: StandIn, life: Life) -> None:
    made = target.make()
    target.cluster.balancers_stay = True
    life.register(made)
    state = life.begin()
    life.step(state)
    target.server.things[made.main].looks = 5
    target.cluster.stop()
    life.run(state)
    assert life.record.status == "Terminated"
    service = next(each for each in life.record.resources if each.id == "default/front")
    assert service.proof.startswith("it went with its cluster: GET /v2/kubernetes/clusters/")
    assert "404" in service.proof


def test_a_token_that_may_not_enter_the_cluster_is_refused_before_anything_goes(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    with target.server.failing(Fault("answer", "GET", "/credentials$", error(403, "You are not authorized"))):
        assert life.run(life.begin()).outcome == "refused"
    last = life.record.cleanup.last_error
    assert last
    assert last.error_class == "credentials"
    assert target.asked() == []


def test_all_volumes_go_when_all_dependents_should_and_nothing_else(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(made, metadata={"delete_dependents": "all"})
    assert life.record.status == "Terminated"
    assert target.left() == {(CLUSTER, OTHER), lb(3), volume(5), snapshot(1)}
