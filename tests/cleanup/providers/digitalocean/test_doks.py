"""DigitalOceanDoks, against a server that keeps to DigitalOcean's API document, and clusters that answer as Kubernetes does."""

import base64
import ssl
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.certificates import Authority
from tests.cleanup.cluster_target import INSIDE, RETAINED, SERVICE, TOKEN, ClusterTarget, run_unanswered
from tests.cleanup.providers.digitalocean.server import CLUSTER, MARK, DigitalOceanServer, DigitalOceanTarget, error
from tests.cleanup.rest_target import Thing
from tests.conformance.conftest import life, target
from tests.conformance.life import KEY, Life
from tests.conformance.target import Key, Made
from tests.kubernetes_api import KubernetesApi, status
from tests.standin import Fault
from tracker.cleanup.core.contract import Unreachable
from tracker.cleanup.core.rounds import RoundState
from tracker.cleanup.providers.digitalocean import doks
from tracker.cleanup.transport.kubernetes import objects
from tracker.cleanup.transport.kubernetes.objects import OBJECTS
from tracker.cleanup.transport.rest import kind as rest_kind
from tracker.model.deployment import RESOURCES_MAX

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

    marked: ClassVar = {
        CLUSTER: "tags",
        "digitalocean:volume": "tags",
        "digitalocean:volume_snapshot": "tags",
    }

    def another(self, number: int) -> tuple[str, Thing]:
        id_ = f"cc5f5959-5e1e-4205-a714-a914373900{number:02}"
        return id_, _cluster(id_)

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
        """Return what DigitalOcean says of how a cluster is reached."""
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


@pytest.mark.parametrize(
    "stuck",
    [
        ("kubernetes:service", "default/front"),
        ("kubernetes:deployment", "default/app"),
        ("kubernetes:persistentvolumeclaim", "default/data"),
    ],
)
def test_a_finalizer_that_nobody_serves_keeps_no_cluster(target: StandIn, life: Life, stuck: Key) -> None:
    made = target.make()
    path = next(OBJECTS[stuck[0].partition(":")[2]].paths(*stuck[1].split("/")))
    target.cluster.set_finalizers(path, "example.org/nobody")
    life.register(made)
    state = life.begin()
    assert life.run(state).outcome == "refused"
    assert made.main not in target.asked()
    life.give_back(state)
    life.run(life.begin())
    assert life.record.status == "Terminated", life.record.cleanup.last_error
    assert made.main in target.asked()
    left = next(each for each in life.record.resources if each.key == stuck)
    assert left.state == "kept"
    assert "example.org/nobody" in left.detail
    assert "may be left" in left.detail
    # The same of what comes after it: it was asked, and had its time.
    assert life.states["kubernetes:persistentvolumeclaim", "default/data"] in ("gone", "kept")


@pytest.mark.parametrize("code", [500, 503, 422, 429])
def test_a_deletion_that_the_cluster_fails_keeps_no_cluster(target: StandIn, life: Life, code: int) -> None:
    made = target.make()
    text = 'Internal error occurred: failed calling webhook "policy.example.org": connection refused'
    broken = Fault("answer", "DELETE", "/services/front", status(code, text))
    with target.cluster.failing(broken):
        run_unanswered(life, made)
        if code == 429:
            life.give_back(RoundState(KEY, life.record.generation, life.record.cleanup.round))
            life.run(life.begin())
    assert life.record.status == "Terminated", life.record.cleanup.last_error
    left = next(each for each in life.record.resources if each.key == SERVICE)
    assert left.state == "kept"
    assert "failed calling webhook" in left.detail
    assert life.states["kubernetes:persistentvolumeclaim", "default/data"] == "gone"


def test_a_provider_that_fails_keeps_everything(target: StandIn, life: Life) -> None:
    made = target.make()
    target.cluster.balancers_stay = True
    life.register(made)
    state = life.begin()
    life.step(state)
    with target.server.failing(Fault("answer", answer=error(503, "down"))):
        for _ in range(3):
            with pytest.raises(Unreachable):
                life.run(state)
    assert life.states[SERVICE] == "leaving"
    assert made.main not in target.asked()


def test_what_a_cluster_protects_is_a_refusal(target: StandIn, life: Life) -> None:
    made = target.make()
    target.cluster.denied.add("/api/v1/namespaces/default/services/front")
    assert life.clean_up(made).outcome == "refused"
    assert made.main not in target.asked()


@pytest.mark.parametrize("name", ["data-" + "x" * 87, "data." + "y" * 248])
def test_a_claim_with_a_long_name_goes_as_any_other(target: StandIn, life: Life, name: str) -> None:
    made = target.make()
    target.cluster.create("/api/v1/namespaces/default/persistentvolumeclaims", name)
    life.clean_up(made)
    assert life.states["kubernetes:persistentvolumeclaim", f"default/{name}"] == "gone"
    assert life.record.status == "Terminated"


OTHERS_TAG = f"k8s:{OTHER}"


def kept_details(life: Life) -> dict[Key, str]:
    """Return why each resource is kept."""
    return {each.key: each.detail for each in life.record.resources if each.state == "kept"}


@pytest.mark.parametrize("metadata", [{}, {"delete_dependents": "all"}])
def test_what_another_clusters_tag_is_on_is_kept(target: StandIn, life: Life, metadata: dict[str, str]) -> None:
    made = target.make()
    for key in (lb(1), volume(1)):
        target.server.things[key].body["tags"] = [*TAGS, OTHERS_TAG, MARK]
    life.clean_up(made, metadata=metadata)
    assert life.record.status == "Terminated"
    assert {lb(1), volume(1)} <= target.left()
    assert not {lb(1), volume(1)} & set(target.asked())
    assert all(OTHERS_TAG in kept_details(life)[key] for key in (lb(1), volume(1)))


def test_a_service_and_a_claim_that_hold_what_others_use_too_are_let_be(target: StandIn, life: Life) -> None:
    made = target.make()
    target.server.things[lb(0)].body["tags"] = [*TAGS, OTHERS_TAG]
    annotations = {"kubernetes.digitalocean.com/load-balancer-id": LOAD_BALANCERS[0]}
    front = "/api/v1/namespaces/default/services/front"
    target.cluster.ask("PATCH", front, {"metadata": {"annotations": annotations}})
    target.server.things[volume(0)].body["tags"] = [*TAGS, OTHERS_TAG]
    life.clean_up(made)
    assert life.record.status == "Terminated"
    # Its controllers would take with them what the other cluster uses.
    claim = ("kubernetes:persistentvolumeclaim", "default/data")
    assert not {SERVICE, claim, lb(0), volume(0)} & set(target.asked())
    assert {SERVICE, claim, lb(0), volume(0)} <= set(kept_details(life))


def test_a_claim_is_known_by_the_id_of_its_disk_too(target: StandIn, life: Life) -> None:
    made = target.make()
    spec = {"persistentVolumeReclaimPolicy": "Delete", "csi": {"driver": "d", "volumeHandle": VOLUMES[1]}}
    target.cluster.create("/api/v1/persistentvolumes", "imported", spec=spec)
    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    target.cluster.create(claims, "imported", spec={"volumeName": "imported"})
    target.server.things[volume(1)].body["tags"] = [*TAGS, OTHERS_TAG]
    life.clean_up(made)
    claim = ("kubernetes:persistentvolumeclaim", "default/imported")
    assert {claim, volume(1)} <= set(kept_details(life))
    assert not {claim, volume(1)} & set(target.asked())


@pytest.mark.parametrize("named", ["by its id", "by its name"])
def test_a_balancer_that_its_service_disowns_is_kept(target: StandIn, life: Life, named: str) -> None:
    made = target.make()
    annotations = {"service.kubernetes.io/do-loadbalancer-disown": "true"}
    front = "/api/v1/namespaces/default/services/front"
    if named == "by its id":
        annotations["kubernetes.digitalocean.com/load-balancer-id"] = LOAD_BALANCERS[0]
    else:
        body = target.cluster.get(front)
        assert body
        target.server.things[lb(0)].body["name"] = f"a{body['metadata']['uid'].replace('-', '')}"[:32]
    target.cluster.ask("PATCH", front, {"metadata": {"annotations": annotations}})
    # Its controller lets it be.
    target.server.things[lb(0)].stays = True
    life.clean_up(made)
    assert life.record.status == "Terminated"
    assert lb(0) not in target.asked()
    assert "disowned" in kept_details(life)[lb(0)]
    assert SERVICE in target.asked()


@pytest.mark.parametrize("key", [snapshot(1), volume(1), lb(1)])
def test_what_is_only_found_and_cant_be_read_is_kept(target: StandIn, life: Life, key: Key) -> None:
    made = target.make()
    with target.server.failing(Fault("answer", "GET", f"/{key[1]}$", error(403, "You are not authorized"))):
        life.clean_up(made)
    assert life.record.status == "Terminated", life.record.cleanup.last_error
    assert key not in target.asked()
    assert "can't be read" in kept_details(life)[key]
    assert "403" in kept_details(life)[key]


def test_of_many_objects_those_that_hold_what_others_use_are_spared(
    target: StandIn, life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "OBJECTS_MAX", 0)
    made = target.make()
    target.server.things[volume(0)].body["tags"] = [*TAGS, OTHERS_TAG]
    life.clean_up(made)
    assert life.record.status == "Terminated", life.record.cleanup.last_error
    claim = ("kubernetes:persistentvolumeclaim", "default/data")
    assert not {claim, volume(0)} & set(target.asked())
    assert {SERVICE, ("kubernetes:deployment", "default/app"), made.main} <= set(target.asked())
    # The names of what is to be retained aren't forgotten.
    assert volume(3) in target.left()


def test_a_cluster_with_more_claims_than_a_record_can_list_goes(target: StandIn, life: Life) -> None:
    made = target.make()
    target.cluster.page = 100
    for n in range(205):
        claim = target.cluster.create("/api/v1/namespaces/default/persistentvolumeclaims", f"data-{n:03}")
        disk = Thing({"name": claim["spec"]["volumeName"], "tags": TAGS}, ID)
        target.server.things["digitalocean:volume", f"aa49449a-7435-11ea-b89e-0a58ac144{n:03}"] = disk
    life.clean_up(made)
    assert life.record.status == "Terminated", life.record.cleanup.last_error
    left = {name for plural, _, name in target.cluster.objects if plural == "persistentvolumeclaims"}
    assert left == set()
    assert len(life.record.resources) <= RESOURCES_MAX
    assert not [detail for key, detail in kept_details(life).items() if "may be left" in detail]


@pytest.mark.parametrize("name", ["pvc-of-an-older-claim", "put-there-by-hand"])
def test_more_volumes_than_a_record_can_list_are_summed_up(
    target: StandIn, life: Life, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(rest_kind, "RESOURCES_MAX", 40)
    made = target.make()
    volumes = [("digitalocean:volume", f"aa49449a-7435-11ea-b89e-0a58ac1440{n}") for n in range(10, 70)]
    target.server.things |= {key: Thing({"name": name, "tags": TAGS}, ID) for key in volumes}
    there = {key for key, thing in target.server.things.items() if key[0] == volumes[0][0] and thing.user == ID}
    life.clean_up(made)
    assert life.record.status == "Terminated", life.record.cleanup.last_error
    assert len(life.record.resources) <= 40
    # Each has its own resource, or is counted.
    told = kept_details(life)["digitalocean:volume", "others"]
    assert told.startswith(f"{len(there - set(life.states))} more")
    assert made.main not in target.left()
