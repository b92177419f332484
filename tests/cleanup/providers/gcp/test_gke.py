"""GcpGke, against a server that keeps to the documents of Google's APIs, and a cluster that answers as Kubernetes does."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from tests.certificates import Authority
from tests.cleanup.cluster_target import run_unanswered
from tests.cleanup.providers.gcp.server import PROJECT, REGION, TOKEN, ZONE, GoogleTarget, error, incompatible, now
from tests.cleanup.rest_target import Thing
from tests.conformance.conftest import life, target
from tests.conformance.life import Life
from tests.conformance.target import Key, Made
from tests.kubernetes_api import KubernetesApi
from tests.standin import Fault, Reply, Request
from tracker.cleanup.core.contract import Unreachable
from tracker.cleanup.providers.gcp import gke
from tracker.cleanup.transport.kubernetes import cluster as kubernetes_cluster
from tracker.cleanup.transport.kubernetes.objects import OBJECTS
from tracker.model.deployment import Resource

__all__ = ["life", "target"]

NAME, OTHER = "blueprints", "someone-elses"
INSIDE = ("service", "deployment", "persistentvolumeclaim")


class StandIn(GoogleTarget):
    """A regional cluster that answers, with a service that has a load balancer, and a deployment that mounts a claim."""

    deployment_type = "GcpGke"
    na: ClassVar[dict[str, str]] = {
        "protected": "GKE's API has no protection of a cluster against deletion; Terraform's deletion_protection is Terraform's own",
    }

    def start(self) -> None:
        super().start()
        self.authority = Authority(Path(self.own_folder) / "authority")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.authority.files("cluster", ("127.0.0.1",)))
        self.cluster = KubernetesApi(tls=context, token=TOKEN)
        # One list, so that the order of all calls is seen.
        self.cluster.calls = self.server.calls

    def stop(self) -> None:
        self.cluster.stop()
        super().stop()

    marked: ClassVar = {"gcp:cluster": "resourceLabels"}
    unpaged = "GKE lists all clusters at once, and its API has no pages"

    def breaks(self, times: int) -> tuple[str, ...]:
        # By Google's document an empty answer is a list of none.
        return tuple(each for each in super().breaks(times) if each != "empty")

    def another(self, number: int) -> tuple[str, Thing]:
        kind, name = self.server.put_cluster(f"more-{number}", REGION, "203.0.113.7", "")
        return name, self.server.things[kind, name]

    def make(self) -> Made:
        endpoint = self.cluster.url.removeprefix("https://")
        main = self.server.put_cluster(NAME, REGION, endpoint, self.authority.pem)
        other = self.server.put_cluster(OTHER, REGION, endpoint, self.authority.pem)
        core = "/api/v1/namespaces/default"
        self.cluster.create(f"{core}/services", "front", spec={"type": "LoadBalancer"})
        self.cluster.create(f"{core}/persistentvolumeclaims", "data")
        mounted = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
        template = {"template": {"spec": {"volumes": mounted}}}
        self.cluster.create("/apis/apps/v1/namespaces/default/deployments", "app", spec=template)
        inside = [
            (f"kubernetes:{noun}", f"default/{name}")
            for noun, name in zip(INSIDE, ("front", "app", "data"), strict=True)
        ]
        return Made(main, [*inside, main], [other], {"cluster_name": NAME}, self.metadata, REGION)

    def wait(self, seconds: float) -> None:
        self.cluster.advance()

    def left(self) -> set[Key]:
        found = super().left()
        if ("gcp:cluster", NAME) not in found:
            return found
        for noun in INSIDE:
            listed = self.cluster.get(next(OBJECTS[noun].paths("default"))) or {"items": []}
            found |= {(f"kubernetes:{noun}", f"default/{each['metadata']['name']}") for each in listed["items"]}
        return found

    def vanish(self, made: Made) -> None:
        del self.server.things[made.main]

    def dependent(self, made: Made) -> Key:
        return next(key for key in made.ours if key[0] == "kubernetes:service")

    def key_of(self, call: Request) -> Key | None:
        if call.method != "DELETE":
            return None
        *_, namespace, plural, name = call.path.split("/")
        if plural == "clusters":
            return "gcp:cluster", name
        noun = next(noun for noun, each in OBJECTS.items() if each.plural == plural)
        return f"kubernetes:{noun}", f"{namespace}/{name}"

    def hasten(self, patch: pytest.MonkeyPatch) -> None:
        super().hasten(patch)
        patch.setattr(kubernetes_cluster, "READ_TIMEOUT", 0.4)

    def misplaced(self, made: Made) -> Made:
        return replace(made, region=ZONE)

    def disown(self, made: Made) -> None:
        self.server.things[made.main].body["resourceLabels"] = {"team": "a"}

    def replace(self, made: Made) -> None:
        self.server.put_cluster(NAME, REGION, self.cluster.url.removeprefix("https://"), self.authority.pem)

    @contextmanager
    def stuck(self, made: Made, key: Key) -> Iterator[None]:
        if key == made.main:
            with super().stuck(made, key):
                yield
            return
        self.cluster.balancers_stay = True
        yield
        self.cluster.balancers_stay = False

    def deletion_of(self, made: Made) -> str:
        return f"/clusters/{NAME}$"

    def busy_reply(self) -> Reply:
        return incompatible()


TARGETS = [StandIn]
pytestmark = pytest.mark.parametrize("target_class", TARGETS)


def message(life: Life, error_class: str) -> str:
    """Return what the last round was refused with."""
    assert life.answers[-1].outcome == "refused"
    found = life.record.cleanup.last_error
    assert found
    assert found.error_class == error_class
    return found.message


def test_a_cluster_that_does_not_answer_goes_and_what_may_be_left_is_said(target: StandIn, life: Life) -> None:
    made = target.make()
    target.cluster.stop()
    run_unanswered(life, made)
    assert life.record.status == "Terminated"
    note = next(each for each in life.record.resources if each.kind == "kubernetes:objects")
    assert note.state == "kept"
    assert "doesn't answer" in note.detail


def test_a_cluster_without_an_endpoint_goes(target: StandIn, life: Life) -> None:
    made = target.make()
    body = target.server.things[made.main].body
    body["status"] = "ERROR"
    del body["endpoint"]
    life.clean_up(made)
    assert life.record.status == "Terminated"
    note = next(each for each in life.record.resources if each.kind == "kubernetes:objects")
    assert "it is ERROR, and has no endpoint" in note.detail


def test_a_server_that_the_named_authority_did_not_sign_gets_no_token(
    target: StandIn, life: Life, tmp_path: Path
) -> None:
    made = target.make()
    pem = Authority(tmp_path / "other").pem
    target.server.put_cluster(NAME, REGION, target.cluster.url.removeprefix("https://"), pem)
    life.register(made)
    target.forget()
    found = gke.discover(life.record, target.settings)
    assert [each.kind for each in found] == ["kubernetes:objects", "gcp:cluster"]
    assert not [call for call in target.server.calls if call.path.startswith("/api")]


def test_the_name_for_outside_is_preferred(target: StandIn) -> None:
    names = {"endpoint": "gke-1a2b.europe-west1.gke.goog", "allowExternalTraffic": True}
    found = {"endpoint": "10.0.0.2", "controlPlaneEndpointsConfig": {"dnsEndpointConfig": names}}
    assert gke._endpoint(found) == ("gke-1a2b.europe-west1.gke.goog", "")
    names["allowExternalTraffic"] = False
    assert gke._endpoint(found | {"masterAuth": {"clusterCaCertificate": "cGVt"}}) == ("10.0.0.2", "pem")


def test_a_cluster_in_another_location_is_named(target: StandIn, life: Life) -> None:
    life.clean_up(target.misplaced(target.make()))
    text = message(life, "bad_id")
    assert f"isn't in {ZONE}, but there is one in {REGION}" in text


def test_a_cluster_of_that_name_elsewhere_that_is_not_marked_proves_nothing_else(target: StandIn, life: Life) -> None:
    made = target.make()
    target.disown(made)
    life.clean_up(target.misplaced(made))
    assert life.record.status == "Terminated"
    assert target.asked() == []


def test_one_never_seen_is_not_gone_while_google_cannot_list_every_location(target: StandIn, life: Life) -> None:
    made = target.make()
    del target.server.things[made.main]
    target.server.missing_zones = [ZONE]
    life.register(made)
    with pytest.raises(Unreachable, match=ZONE):
        life.run(life.begin())
    assert "gone" not in life.states.values()


def test_a_project_that_cannot_be_seen_proves_nothing(target: StandIn, life: Life) -> None:
    made = target.make()
    del target.server.things[made.main]
    unseen = error(404, f"Not found: projects/{PROJECT}.")
    with target.server.failing(Fault("answer", "GET", "/locations/-/clusters$", unseen)):
        life.clean_up(made)
    assert "or the credential may not see it" in message(life, "credentials")


def test_a_cluster_that_is_still_being_made_is_waited_for(target: StandIn, life: Life) -> None:
    text = f"Operation operation-1708671573108 is currently creating cluster {NAME}. Please wait and try again once it is done."
    reply = error(400, text, "failedPrecondition", "FAILED_PRECONDITION")
    made = target.make()
    with target.server.failing(Fault("answer", "DELETE", f"/clusters/{NAME}$", reply, times=2)):
        life.clean_up(made)
    assert [answer.outcome for answer in life.answers].count("remains") >= 2
    assert life.record.status == "Terminated"


def test_the_failed_deletion_of_an_earlier_cluster_of_that_name_is_not_told(target: StandIn) -> None:
    made = target.make()
    place = {"account": PROJECT, "location": REGION, "credential": target.metadata["credential"]}
    resource = Resource("gcp:cluster", NAME, place, state="leaving")
    with target.false_success(made):
        gke.CLUSTER.delete(resource, target.settings)
    look = gke.CLUSTER.state(resource, target.settings)
    assert look.failure == "operation-0: 13: INTERNAL_ERROR: Internal error. Please try again."
    target.server.things[made.main].body["createTime"] = now()
    assert gke.CLUSTER.state(resource, target.settings).failure == ""
