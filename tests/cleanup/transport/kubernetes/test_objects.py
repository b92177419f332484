"""This is how objects of Kubernetes go, and what has to go before a managed cluster may, on the stand-in with all of its controllers."""

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from msgspec.structs import replace

from tests.kubernetes_api import ADMIN, EXTENSIONS, SERVED, KubernetesApi, status
from tests.standin import Fault, Reply
from tracker.cleanup.core.contract import Observation, Refused, Stuck, Unreachable
from tracker.cleanup.core.engine import merged
from tracker.cleanup.transport.kubernetes import objects
from tracker.cleanup.transport.kubernetes import outliving as outliving_module
from tracker.cleanup.transport.kubernetes.namespace import kinds_in
from tracker.cleanup.transport.kubernetes.nouns import NOUNS
from tracker.cleanup.transport.kubernetes.objects import (
    AFTER_OBJECTS,
    OBJECTS,
    Access,
    Cluster,
    ClusterGone,
    KubernetesKind,
    inside,
    kinds,
    outliving,
)
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

SETTINGS = Settings()
CLUSTER = Resource("some:cluster", "blueprints", {"account": "a-1"}, stage=AFTER_OBJECTS, named_by="cluster_name")


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    with KubernetesApi() as found:
        found.create("/api/v1/namespaces", "team")
        yield found
    assert found.violations == []


def reached(api: KubernetesApi) -> Cluster:
    return Cluster(Access(api.url, token=ADMIN))


def kind(api: KubernetesApi, noun: str) -> KubernetesKind:
    return kinds(lambda *_: reached(api))[f"kubernetes:{noun}"]


def create(api: KubernetesApi, noun: str, name: str, namespace: str = "team", **more: Any) -> Resource:
    api.create(next(NOUNS[noun].paths(namespace)), name, **more)
    return Resource(f"kubernetes:{noun}", name, {"namespace": namespace} if NOUNS[noun].is_namespaced else {})


def seen(resource: Resource, look: Observation) -> Resource:
    return replace(resource, state=look.state, detail=look.detail, place=resource.place | look.place)


def pod(api: KubernetesApi, name: str, *claims: str, namespace: str = "team", **more: Any) -> Resource:
    volumes = [{"name": each, "persistentVolumeClaim": {"claimName": each}} for each in claims]
    return create(api, "pod", name, namespace, spec={"nodeName": "node-1", "volumes": volumes}, **more)


def deployment(api: KubernetesApi, name: str, *claims: str) -> Resource:
    volumes = [{"name": each, "persistentVolumeClaim": {"claimName": each}} for each in claims]
    return create(api, "deployment", name, spec={"template": {"spec": {"volumes": volumes}}})


def uid(api: KubernetesApi, noun: str, name: str, namespace: str = "team") -> str:
    body = api.get(next(NOUNS[noun].paths(namespace, name)))
    assert body
    return str(body["metadata"]["uid"])


def record(*resources: Resource, **metadata: str) -> Deployment:
    return Deployment(
        id="dep-1",
        blueprint_id="bp-1",
        deployment_type="AwsEks",
        resources=list(resources),
        metadata=metadata,
        deployed_at="2026-01-01T00:00:00Z",
        registered_at="2026-01-01T00:00:00Z",
        generation="g",
    )


# One object


@pytest.mark.parametrize("noun", [noun for noun in OBJECTS if noun != "persistentvolume"])
def test_every_kind_is_seen_asked_to_go_and_proven_gone(api: KubernetesApi, noun: str) -> None:
    how = kind(api, noun)
    resource = create(api, noun, "thing")
    resource = seen(resource, how.state(resource, SETTINGS))
    assert (resource.state, resource.place["cluster_uid"]) == ("present", api.uid)
    how.delete(resource, SETTINGS)
    for _ in range(5):
        api.advance()
    look = how.state(resource, SETTINGS)
    assert look.state == "gone"
    assert "404" in look.proof
    assert not look.unproven
    how.delete(resource, SETTINGS)


@pytest.mark.parametrize(
    ("noun", "version", "served"),
    [
        ("cronjob", "batch/v1beta1", SERVED | {"batch/v1": ("jobs",)}),
        ("ingress", "networking.k8s.io/v1beta1", {key: SERVED[key] for key in SERVED if key != "networking.k8s.io/v1"}),
    ],
)
def test_an_older_server_is_asked_in_its_own_version(
    noun: str, version: str, served: dict[str, tuple[str, ...]]
) -> None:
    with KubernetesApi(served=served) as api:
        how = kind(api, noun)
        resource = Resource(f"kubernetes:{noun}", "thing", {"namespace": "default"})
        assert how.state(resource, SETTINGS).state == "gone"
        api.create(f"/apis/{version}/namespaces/default/{OBJECTS[noun].plural}", "thing")
        assert how.state(resource, SETTINGS).state == "present"
        how.delete(resource, SETTINGS)
        api.advance()
        assert how.state(resource, SETTINGS).state == "gone"


def test_what_no_version_has_is_not_gone() -> None:
    with KubernetesApi(served=SERVED | {"batch/v1": (), "batch/v1beta1": ()}) as api, pytest.raises(Unreachable):
        kind(api, "cronjob").state(Resource("kubernetes:cronjob", "thing", {"namespace": "default"}), SETTINGS)


def test_another_one_of_the_name_is_let_alone(api: KubernetesApi) -> None:
    how = kind(api, "configmap")
    resource = create(api, "configmap", "settings")
    resource = seen(resource, how.state(resource, SETTINGS))
    api.ask("DELETE", "/api/v1/namespaces/team/configmaps/settings")
    create(api, "configmap", "settings")
    look = how.state(resource, SETTINGS)
    assert look.state == "gone"
    assert "another one" in look.proof
    how.delete(resource, SETTINGS)
    assert uid(api, "configmap", "settings") != resource.place["uid"]


def test_one_that_is_exchanged_between_look_and_deletion_is_let_alone(api: KubernetesApi) -> None:
    resource = create(api, "configmap", "settings")

    class Exchanged(KubernetesKind):
        def check_deletable(self, *_: object) -> None:
            api.ask("DELETE", "/api/v1/namespaces/team/configmaps/settings")
            create(api, "configmap", "settings")

    Exchanged("configmap", lambda *_: reached(api)).delete(resource, SETTINGS)
    assert "deletionTimestamp" not in api.objects["configmaps", "team", "settings"]["metadata"]


def test_another_cluster_proves_nothing(api: KubernetesApi) -> None:
    resource = Resource("kubernetes:pod", "web", {"namespace": "team", "cluster_uid": "another"})
    for call in (kind(api, "pod").state, kind(api, "pod").delete):
        with pytest.raises(Refused) as refused:
            call(resource, SETTINGS)
        assert refused.value.error_class == "not_ours"


def test_not_found_is_unproven_where_nothing_says_which_cluster_it_was(api: KubernetesApi) -> None:
    assert kind(api, "pod").state(Resource("kubernetes:pod", "web", {"namespace": "team"}), SETTINGS).unproven


@pytest.mark.parametrize(
    ("noun", "id_", "namespace"),
    [
        ("pod", "../x", "team"),
        ("pod", "a/../b", "team"),
        ("pod", "Web", "team"),
        ("pod", "web", "../x"),
        ("pod", "web", ""),
        ("pod", "", "team"),
        ("namespace", "team/../kube-system", ""),
    ],
)
def test_what_cant_be_a_name_is_refused_before_any_call(
    api: KubernetesApi, noun: str, id_: str, namespace: str
) -> None:
    for call in (kind(api, noun).state, kind(api, noun).delete):
        with pytest.raises(Refused):
            call(Resource(f"kubernetes:{noun}", id_, {"namespace": namespace}), SETTINGS)
    assert api.calls == []


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-anything"])
def test_the_clusters_own_namespaces_are_never_asked_to_go(api: KubernetesApi, name: str) -> None:
    with pytest.raises(Refused) as refused:
        kind(api, "namespace").delete(Resource("kubernetes:namespace", name), SETTINGS)
    assert refused.value.error_class == "protected"
    assert api.calls == []


def test_what_secrets_hold_is_never_asked_for(api: KubernetesApi) -> None:
    for noun in ("secret", "configmap"):
        resource = create(api, noun, "keys", data={"password": "c2VjcmV0"})
        api.calls.clear()
        assert kind(api, noun).state(resource, SETTINGS).state == "present"
        asked = [call.headers["Accept"] for call in api.calls if OBJECTS[noun].plural in call.path]
        assert asked
        assert all("PartialObjectMetadata" in accept for accept in asked)


def test_a_deployment_is_gone_after_its_pods(api: KubernetesApi) -> None:
    how = kind(api, "deployment")
    resource = deployment(api, "web")
    how.delete(resource, SETTINGS)
    while (look := how.state(resource, SETTINGS)).state != "gone":
        assert "what it owns" in look.detail
        api.advance()
    assert not [key for key in api.objects if key[0] in ("pods", "replicasets")]


def test_what_is_leaving_is_not_asked_again(api: KubernetesApi) -> None:
    how = kind(api, "deployment")
    resource = deployment(api, "web")
    how.delete(resource, SETTINGS)
    how.delete(resource, SETTINGS)
    assert [call.method for call in api.calls].count("DELETE") == 1


def test_what_holds_it_is_named(api: KubernetesApi) -> None:
    how = kind(api, "service")
    resource = create(api, "service", "front", spec={"type": "LoadBalancer"})
    api.balancers_stay = True
    how.delete(resource, SETTINGS)
    api.advance()
    assert "service.kubernetes.io/load-balancer-cleanup" in how.state(resource, SETTINGS).detail


def test_what_a_namespace_still_holds_is_named(api: KubernetesApi) -> None:
    how = kind(api, "namespace")
    create(api, "configmap", "settings", metadata={"finalizers": ["example.org/stuck"]})
    resource = Resource("kubernetes:namespace", "team")
    how.delete(resource, SETTINGS)
    api.advance()
    look = how.state(resource, SETTINGS)
    assert look.state == "leaving"
    assert "configmaps settings" in look.detail


# Claims


def test_a_claim_is_gone_when_its_volume_is(api: KubernetesApi) -> None:
    how = kind(api, "persistentvolumeclaim")
    api.volumes_stay = True
    resource = create(api, "persistentvolumeclaim", "data")
    resource = seen(resource, how.state(resource, SETTINGS))
    how.delete(resource, SETTINGS)
    for _ in range(4):
        api.advance()
    assert api.get("/api/v1/namespaces/team/persistentvolumeclaims/data") is None
    look = how.state(resource, SETTINGS)
    assert look.state == "leaving"
    assert resource.place["volume"] in look.detail
    api.volumes_stay = False
    api.advance()
    look = how.state(resource, SETTINGS)
    assert look.state == "gone"
    assert resource.place["volume"] in look.proof


def test_a_volume_that_is_to_be_retained_is_said_to_stay(api: KubernetesApi) -> None:
    how = kind(api, "persistentvolumeclaim")
    create(api, "persistentvolume", "kept", spec={"persistentVolumeReclaimPolicy": "Retain"})
    resource = create(api, "persistentvolumeclaim", "data", spec={"volumeName": "kept"})
    resource = seen(resource, how.state(resource, SETTINGS))
    how.delete(resource, SETTINGS)
    api.advance()
    look = how.state(resource, SETTINGS)
    assert look.state == "gone"
    assert "kept stays" in look.proof


def test_a_claim_says_which_pod_still_mounts_it(api: KubernetesApi) -> None:
    how = kind(api, "persistentvolumeclaim")
    resource = create(api, "persistentvolumeclaim", "data")
    pod(api, "web", "data")
    pod(api, "other")
    how.delete(resource, SETTINGS)
    api.advance()
    assert how.state(resource, SETTINGS).detail.endswith("still mounted by pod web")


# Before a managed cluster


def furnish(api: KubernetesApi) -> None:
    """What would outlive a cluster, and what wouldn't."""
    create(api, "service", "front", spec={"type": "LoadBalancer"})
    create(api, "service", "inner")
    create(api, "ingress", "web")
    deployment(api, "web", "data")
    deployment(api, "stateless")
    pod(api, "bare", "more")
    pod(api, "ended", "more")
    api.objects["pods", "team", "ended"]["status"]["phase"] = "Succeeded"
    for name in ("data", "more", "unused"):
        create(api, "persistentvolumeclaim", name)
    create(api, "persistentvolume", "kept", spec={"persistentVolumeReclaimPolicy": "Retain"})
    create(api, "persistentvolumeclaim", "retained", spec={"volumeName": "kept"})
    create(api, "service", "dns", "kube-system", spec={"type": "LoadBalancer"})
    create(api, "ingress", "dashboard", "kube-system")
    create(api, "persistentvolumeclaim", "logs", "kube-system")


GOES = {
    ("kubernetes:service", "team/front"): 0,
    ("kubernetes:service", "kube-system/dns"): 0,
    ("kubernetes:ingress", "team/web"): 0,
    ("kubernetes:deployment", "team/web"): 0,
    ("kubernetes:pod", "team/bare"): 0,
    ("kubernetes:persistentvolumeclaim", "team/data"): 1,
    ("kubernetes:persistentvolumeclaim", "team/more"): 1,
    ("kubernetes:persistentvolumeclaim", "team/unused"): 1,
}
STAYS = {("kubernetes:persistentvolumeclaim", "kube-system/logs"), ("kubernetes:persistentvolume", "kept")}


def test_what_would_outlive_a_cluster_is_found_and_nothing_else(api: KubernetesApi) -> None:
    furnish(api)
    with reached(api) as cluster:
        found = outliving(cluster, {"account": "a-1"})
    assert {each.key: each.stage for each in found if each.state == "unseen"} == GOES
    kept = [each for each in found if each.state == "kept"]
    assert {each.key for each in kept} == STAYS
    assert all(each.detail for each in kept)
    for each in found:
        assert each.place["account"] == "a-1"
        assert each.place["cluster_uid"] == api.uid
        assert each.place["uid"]


@pytest.mark.parametrize("above", ["Rollout", "CronJob"])
def test_what_made_a_pod_goes_as_far_up_as_it_is_known(api: KubernetesApi, above: str) -> None:
    version = "argoproj.io/v1" if above == "Rollout" else "batch/v1"
    cron_job = create(api, "cronjob", "nightly")
    owner = {"kind": above, "apiVersion": version, "name": "nightly", "uid": uid(api, "cronjob", cron_job.id)}
    create(api, "job", "run", metadata={"ownerReferences": [owner | {"controller": True}]})
    owner = {"kind": "Job", "apiVersion": "batch/v1", "name": "run", "uid": uid(api, "job", "run")}
    pod(api, "run-x", "data", metadata={"ownerReferences": [owner | {"controller": True}]})
    create(api, "persistentvolumeclaim", "data")
    with reached(api) as cluster:
        found = {each.key for each in outliving(cluster, {})}
    top = ("kubernetes:job", "team/run") if above == "Rollout" else ("kubernetes:cronjob", "team/nightly")
    assert found == {top, ("kubernetes:persistentvolumeclaim", "team/data")}


def test_all_of_it_goes_stage_by_stage(api: KubernetesApi) -> None:
    furnish(api)
    hows = kinds(lambda *_: reached(api))
    found = inside(record(), CLUSTER, lambda: reached(api))
    for stage in range(AFTER_OBJECTS):
        left = [each for each in found if each.stage == stage and each.state != "kept"]
        for each in left:
            hows[each.kind].delete(each, SETTINGS)
        for _ in range(8):
            api.advance()
        assert {hows[each.kind].state(each, SETTINGS).state for each in left} == {"gone"}
    there = {name for plural, _, name in api.objects if plural == "persistentvolumes"}
    assert len(there) == len({"kept", "that of kube-system"})


def test_a_cluster_that_doesnt_answer_keeps_nobody_waiting_and_says_what_may_be_left(api: KubernetesApi) -> None:
    furnish(api)
    first = inside(record(), CLUSTER, lambda: reached(api))
    gone = replace(first[0], state="gone", proof="404")
    known = [gone, *(replace(each, state="present", seen=True) for each in first[1:3]), *first[3:]]
    api.stop()

    again = merged(known, inside(record(*known), CLUSTER, lambda: reached(api)))

    assert again[0] == gone
    (note,) = (each for each in again if each.kind == "kubernetes:objects")
    assert all(each.is_done for each in again)
    assert all("may be left" in each.detail for each in again[1:] if each.key in GOES or each is note)
    assert all(each.seen for each in again[1:3])

    api.start()
    api.ask("DELETE", "/apis/networking.k8s.io/v1/namespaces/team/ingresses/web")
    third = merged(again, inside(record(*again), CLUSTER, lambda: reached(api)))

    assert {each.key for each in third if each.state == "unseen"} == set(GOES) - {gone.key}
    assert "answers again" in next(each.detail for each in third if each.key == note.key)


def test_a_cluster_that_never_answered_is_said_so(api: KubernetesApi) -> None:
    with api.failing(Fault("reset")):
        (note,) = inside(record(), CLUSTER, lambda: reached(api))
    assert (note.state, note.id) == ("kept", CLUSTER.id)
    assert "doesn't answer" in note.detail


def test_the_providers_own_silence_is_not_the_clusters(api: KubernetesApi) -> None:
    def silent() -> Cluster:
        raise Unreachable("the provider")

    with pytest.raises(Unreachable):
        inside(record(), CLUSTER, silent)


def test_a_cluster_that_lets_nobody_in_is_a_refusal(api: KubernetesApi) -> None:
    with pytest.raises(Refused) as refused:
        inside(record(), CLUSTER, lambda: Cluster(Access(api.url, token="nobodys-token")))
    assert refused.value.error_class == "credentials"


def test_what_was_in_a_cluster_that_is_gone_went_with_it() -> None:
    def gone(*_: object) -> Cluster:
        raise ClusterGone("DescribeCluster: ResourceNotFoundException")

    how = kinds(gone)["kubernetes:service"]
    resource = Resource("kubernetes:service", "team/front", {"uid": "1", "cluster_uid": "2"})
    look = how.state(resource, SETTINGS)
    assert look.state == "gone"
    assert "DescribeCluster" in look.proof
    how.delete(resource, SETTINGS)
    assert inside(record(resource), CLUSTER, gone) == []


# What holds something at the provider


@pytest.fixture
def extended() -> Iterator[KubernetesApi]:
    """A cluster to which someone added gateways and snapshots."""
    with KubernetesApi(served=SERVED | EXTENSIONS) as found:
        found.create("/api/v1/namespaces", "team")
        yield found
    assert found.violations == []


def searched(api: KubernetesApi, **metadata: str) -> dict[tuple[str, str], Resource]:
    return {each.key: each for each in inside(record(**metadata), CLUSTER, lambda: reached(api))}


def volume(api: KubernetesApi, name: str, policy: str, phase: str, claim: str = "") -> None:
    ref = {"namespace": "team", "name": "data", "uid": claim} if claim else None
    spec = {"persistentVolumeReclaimPolicy": policy} | ({"claimRef": ref} if ref else {})
    create(api, "persistentvolume", name, spec=spec)
    api.objects["persistentvolumes", "", name]["status"] = {"phase": phase, "message": f"{name} is {phase}"}


@pytest.mark.parametrize(
    "more",
    [
        {"spec": {"type": "LoadBalancer"}},
        {"metadata": {"finalizers": ["service.kubernetes.io/load-balancer-cleanup"]}},
        {"metadata": {"finalizers": ["service.k8s.aws/resources"]}},
        {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}},
    ],
)
def test_a_service_that_holds_a_balancer_goes_whatever_its_type_is_now(
    api: KubernetesApi, more: dict[str, Any]
) -> None:
    create(api, "service", "front", **{"spec": {"type": "ClusterIP"}, **more})
    create(api, "service", "inner", spec={"type": "ClusterIP"}, status={"loadBalancer": {}})
    assert set(searched(api)) == {("kubernetes:service", "team/front")}


def test_an_ingress_of_the_clusters_own_is_shown_if_it_has_an_address(api: KubernetesApi) -> None:
    create(api, "ingress", "own", "kube-system", status={"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}})
    (found,) = searched(api).values()
    assert (found.id, found.state) == ("kube-system/own", "kept")
    assert "may be left" in found.detail


@pytest.mark.parametrize("phase", ["Released", "Failed"])
def test_a_volume_without_a_claim_that_is_to_be_deleted_is_waited_for(api: KubernetesApi, phase: str) -> None:
    volume(api, "left", "Delete", phase, claim="of-one-that-is-gone")
    (found,) = searched(api).values()
    assert (found.key, found.state) == (("kubernetes:persistentvolume", "left"), "unseen")
    how = kind(api, "persistentvolume")
    look = how.state(found, SETTINGS)
    assert look.state == "leaving"
    assert f"left is {phase}" in look.detail
    how.delete(found, SETTINGS)
    assert "DELETE" not in [call.method for call in api.calls]
    del api.objects["persistentvolumes", "", "left"]
    assert how.state(found, SETTINGS).state == "gone"


@pytest.mark.parametrize(("policy", "phase"), [("Retain", "Released"), ("Retain", "Failed"), ("Delete", "Available")])
def test_a_volume_that_nobody_deletes_is_kept_by_its_name(api: KubernetesApi, policy: str, phase: str) -> None:
    volume(api, "left", policy, phase)
    (found,) = searched(api).values()
    assert (found.key, found.state) == (("kubernetes:persistentvolume", "left"), "kept")
    assert "outlives the cluster" in found.detail
    assert objects.retained_in([found]) == ({"left"} if policy == "Retain" else set())


def test_a_volume_that_a_claim_has_goes_with_it(api: KubernetesApi) -> None:
    create(api, "persistentvolumeclaim", "data")
    assert set(searched(api)) == {("kubernetes:persistentvolumeclaim", "team/data")}


def test_gateways_go_first(extended: KubernetesApi) -> None:
    create(extended, "gateway", "public", spec={"gatewayClassName": "cloud"})
    create(extended, "service", "front", spec={"type": "LoadBalancer"})
    found = searched(extended)
    assert list(found) == [("kubernetes:gateway", "team/public"), ("kubernetes:service", "team/front")]
    gateway = found["kubernetes:gateway", "team/public"]
    how = kind(extended, "gateway")
    assert how.state(gateway, SETTINGS).state == "present"
    how.delete(gateway, SETTINGS)
    extended.advance()
    assert how.state(gateway, SETTINGS).state == "gone"


def snapshot(api: KubernetesApi, name: str, policy: str) -> None:
    create(api, "volumesnapshot", name)
    ref = {"namespace": "team", "name": name, "uid": uid(api, "volumesnapshot", name)}
    spec = {"deletionPolicy": policy, "volumeSnapshotRef": ref}
    create(api, "volumesnapshotcontent", f"content-{name}", spec=spec, status={"snapshotHandle": f"snap-{name}"})


def test_snapshots_are_kept_by_their_names(extended: KubernetesApi) -> None:
    snapshot(extended, "daily", "Delete")
    snapshot(extended, "yearly", "Retain")
    found = searched(extended)
    assert {each.state for each in found.values()} == {"kept"}
    assert {each.id for each in found.values()} == {"content-daily", "content-yearly"}
    assert all("team/" in each.detail and "snap-" in each.detail for each in found.values())


def test_snapshots_that_arent_to_be_retained_go_if_the_record_asks_for_it(extended: KubernetesApi) -> None:
    snapshot(extended, "daily", "Delete")
    snapshot(extended, "yearly", "Retain")
    found = searched(extended, delete_dependents="all")
    assert {each.id: each.state for each in found.values()} == {"content-daily": "unseen", "content-yearly": "kept"}
    how = kind(extended, "volumesnapshotcontent")
    content = found["kubernetes:volumesnapshotcontent", "content-daily"]
    how.delete(content, SETTINGS)
    for _ in range(3):
        extended.advance()
        how.delete(content, SETTINGS)
    assert how.state(content, SETTINGS).state == "gone"
    assert {key[2] for key in extended.objects if "snapshot" in key[0]} == {"yearly", "content-yearly"}


@pytest.mark.parametrize("plural", ["gateways", "volumesnapshotcontents"])
def test_what_may_not_be_listed_is_said_and_keeps_nothing_waiting(extended: KubernetesApi, plural: str) -> None:
    denied = status(403, f'{plural} is forbidden: User "x" cannot list resource', kind=plural)
    with extended.failing(Fault("answer", "GET", f"/{plural}$", denied)):
        (found,) = searched(extended).values()
    assert (found.state, found.id) == ("kept", "*")
    assert "may be left" in found.detail
    assert "cannot list" in found.detail


def test_what_a_description_leaves_out_or_spells_otherwise_is_no_crash(api: KubernetesApi) -> None:
    create(api, "persistentvolumeclaim", "data")
    create(api, "pod", "odd", spec={"nodeName": "node-1"})
    odd: list[dict[str, Any]] = [
        {"spec": None, "status": None},
        {"spec": {"volumes": {}, "finalizers": "x"}, "status": []},
        {"spec": {"volumes": [None, "x"]}, "status": {"loadBalancer": {"ingress": ["x", None]}}},
    ]
    for each in odd:
        body = {"metadata": {"name": "odd", "namespace": "team", "uid": "u", "ownerReferences": [None, 1]}} | each
        answer = Reply(200, {"kind": "List", "metadata": {}, "items": [body]})
        for plural in ("pods", "services", "ingresses", "persistentvolumes"):
            with api.failing(Fault("answer", "GET", f"/{plural}$", answer)):
                assert ("kubernetes:persistentvolumeclaim", "team/data") in searched(api)


def test_what_made_many_pods_is_asked_for_once(api: KubernetesApi) -> None:
    create(api, "statefulset", "db")
    owner = {"kind": "StatefulSet", "apiVersion": "apps/v1", "name": "db", "uid": uid(api, "statefulset", "db")}
    create(api, "persistentvolumeclaim", "data")
    for n in range(5):
        pod(api, f"db-{n}", "data", metadata={"ownerReferences": [owner | {"controller": True}]})
    api.calls.clear()
    assert ("kubernetes:statefulset", "team/db") in searched(api)
    assert len([call for call in api.calls if call.path.endswith("/statefulsets/db")]) == 1


def test_a_cluster_that_makes_the_search_endless_doesnt_answer(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(api, "persistentvolumeclaim", "data")
    pod(api, "web", "data")
    monkeypatch.setattr(outliving_module, "LIST_LIMIT", -1.0)
    (note,) = searched(api).values()
    assert (note.kind, note.state) == ("kubernetes:objects", "kept")
    assert "takes more than" in note.detail


# Names


def test_a_name_that_a_cluster_gave_is_used_whatever_its_form(api: KubernetesApi) -> None:
    names = ["x" * 92, "y" * 253, ".".join(["z" * 80] * 3), "Odd_Name", "1%2f..", "a/b", "ü ?&#"]
    for name in names:
        api.objects["persistentvolumeclaims", "team", name] = {
            "kind": "PersistentVolumeClaim",
            "apiVersion": "v1",
            "metadata": {"name": name, "namespace": "team", "uid": str(uuid.uuid4()), "finalizers": []},
            "spec": {},
        }
    api._contract = None
    how = kind(api, "persistentvolumeclaim")
    found = searched(api)
    assert {each.id for each in found.values()} == {f"team/{name}" for name in names}
    for each in found.values():
        api.calls.clear()
        how.delete(each, SETTINGS)
        paths = {unquote(call.path) for call in api.calls if "/persistentvolumeclaims/" in call.path}
        assert paths == {f"/api/v1/namespaces/team/persistentvolumeclaims/{each.id.removeprefix('team/')}"}


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_would_be_another_path_is_never_asked_for(api: KubernetesApi, name: str) -> None:
    with pytest.raises(Refused):
        kind(api, "pod").delete(Resource("kubernetes:pod", f"team/{name}", {"namespace": "team", "uid": "u"}), SETTINGS)
    assert api.calls == []


# More than a record can list


@pytest.mark.parametrize("count", [205, 450])
def test_more_claims_than_a_record_can_list_share_one_resource(api: KubernetesApi, count: int) -> None:
    api.page = 100
    for n in range(count):
        create(api, "persistentvolumeclaim", f"data-{n:03}")
    found = searched(api)
    assert len(found) == objects.OBJECTS_MAX + 1
    others = found["kubernetes:others", f"{CLUSTER.id}/1"]
    assert others.place["count"] == str(count - objects.OBJECTS_MAX)
    how = kind(api, "others")
    assert how.state(others, SETTINGS).detail.startswith(f"{count} left: ")
    for _ in range(4):
        how.delete(others, SETTINGS)
        api.advance()
    assert how.state(others, SETTINGS).state == "gone"
    assert not [key for key in api.objects if key[0] == "persistentvolumeclaims"]
    how.delete(others, SETTINGS)


def test_what_was_listed_keeps_its_own_resource_in_later_rounds(api: KubernetesApi) -> None:
    api.page = 100
    for n in range(205):
        create(api, "persistentvolumeclaim", f"data-{n:03}")
    first = list(searched(api).values())
    api.ask("DELETE", "/api/v1/namespaces/team/persistentvolumeclaims/data-000")
    api.advance()
    second = merged(first, inside(record(*first), CLUSTER, lambda: reached(api)))
    assert {each.key for each in second} == {each.key for each in first}


def test_of_more_kept_than_a_record_can_list_all_retained_names_are_known(api: KubernetesApi) -> None:
    api.page = 100
    for n in range(205):
        create(api, "persistentvolume", f"pvc-{n:03}", spec={"persistentVolumeReclaimPolicy": "Retain"})
    found = list(searched(api).values())
    assert len(found) == objects.OBJECTS_MAX + 1
    assert {each.state for each in found} == {"kept"}
    assert objects.retained_in(found) == {f"pvc-{n:03}" for n in range(205)}
    assert "105 more" in found[-1].detail


# What comes again

MADE_AGAIN = [
    {"annotations": {"argocd.argoproj.io/tracking-id": "blueprints:v1/ConfigMap:team/settings"}},
    {"labels": {"app.kubernetes.io/instance": "blueprints", "app.kubernetes.io/managed-by": "argocd"}},
    {"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}},
    {"labels": {"helm.toolkit.fluxcd.io/name": "apps"}},
    {"annotations": {"meta.helm.sh/release-name": "blueprints"}},
]


def come_again(api: KubernetesApi, how: KubernetesKind, metadata: dict[str, Any]) -> Resource:
    resource = create(api, "configmap", "settings", metadata=metadata)
    resource = replace(seen(resource, how.state(resource, SETTINGS)), asked_in=1)
    how.delete(resource, SETTINGS)
    api.advance()
    create(api, "configmap", "settings", metadata=metadata)
    return resource


@pytest.mark.parametrize("metadata", MADE_AGAIN)
def test_what_is_made_again_after_its_deletion_is_a_refusal_that_says_by_what(
    api: KubernetesApi, metadata: dict[str, Any]
) -> None:
    how = kinds_in(lambda *_: reached(api))["kubernetes:configmap"]
    resource = come_again(api, how, metadata)
    with pytest.raises(Refused, match="came back") as refused:
        how.state(resource, SETTINGS)
    assert refused.value.error_class == "protected"
    assert next(iter(next(iter(metadata.values())).values())) in str(refused.value)
    plan = how.state(Resource(resource.kind, resource.id, {"namespace": "team"}), SETTINGS)
    assert "may come again" in plan.detail


def test_what_came_back_and_nothing_says_why_is_gone_and_said(api: KubernetesApi) -> None:
    how = kinds_in(lambda *_: reached(api))["kubernetes:configmap"]
    look = how.state(come_again(api, how, {}), SETTINGS)
    assert look.state == "gone"
    assert "came back" in look.detail


@pytest.mark.parametrize("metadata", [{}, *MADE_AGAIN])
def test_what_comes_back_in_a_cluster_that_goes_is_stuck(api: KubernetesApi, metadata: dict[str, Any]) -> None:
    how = kind(api, "configmap")
    with pytest.raises(Stuck, match="came back"):
        how.state(come_again(api, how, metadata), SETTINGS)
