"""LocalKubernetes against a real control plane, and against a stand-in for what the real one does only with a cloud around it."""

import base64
import json
import re
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import boto3
import pytest
from moto import mock_aws

from tests.certificates import Authority
from tests.conformance.life import KEY, Life
from tests.conformance.target import Evidence, HttpTarget, Key, Made
from tests.kubernetes_api import ADMIN, KubernetesApi, KubernetesServer, control_plane, kubeconfig, relay, status
from tests.standin import Fault, Reply, Request, StandIn, route
from tests.table import create_table
from tracker.cleanup.core.contract import Refused, Unreachable
from tracker.cleanup.core.rounds import RoundState
from tracker.cleanup.providers.local import kubernetes
from tracker.cleanup.transport.kubernetes import cluster as kubernetes_cluster
from tracker.cleanup.transport.kubernetes.objects import OBJECTS
from tracker.model.catalogue.vocabulary import MARK_KEY
from tracker.model.deployment import Deployment
from tracker.model.errors import Invalid
from tracker.model.settings import LocalPlace, Settings

SECRET = "tracker/kubernetes/kubeconfig"
REFUSED = {401: "Unauthorized", 403: 'namespaces "kube-system" is forbidden: User "tracker" cannot get it'}


class KubernetesTarget(HttpTarget):
    """A deployment with all that hangs on one, on the stand-in; beside it what isn't its own."""

    deployment_type = "LocalKubernetes"
    evidence: ClassVar[Evidence] = "contract"
    unmade: ClassVar[dict[str, str]] = dict.fromkeys(
        ("cronjob", "daemonset", "ingress", "job", "pod", "statefulset"),
        "they go as deployments and services do, by the same kind",
    )
    na: ClassVar[dict[str, str]] = {
        "false-success": "The API server says failures by the answer's status, and knows no operations.",
        "appears-late": "The API server's reads are consistent: an object shows as soon as it exists.",
        "not-ours": "Nothing in Kubernetes says whose an object is: being named in the record is ownership.",
    }
    secrets = (ADMIN,)
    # Each type has a secret of its own, since all are up at once on a stack.
    secret_name: ClassVar[str] = SECRET
    server: KubernetesServer

    def start(self) -> None:
        self.server = self.serve()
        self.other = KubernetesApi()
        self.put_secret(self.secret_name, kubeconfig=self._kubeconfig(self.server.url))
        self.settings = Settings(allowed_secrets=["tracker/**"])
        self.namespaces: list[str] = []
        self.is_made = False

    def serve(self) -> KubernetesServer:
        return KubernetesApi()

    def stop(self) -> None:
        self.other.stop()
        super().stop()

    def _kubeconfig(self, url: str, token: str = ADMIN) -> str:
        return kubeconfig({"cluster": url, "other": self.other.url}, token)

    # Making

    def make(self) -> Made:
        name = self._home()
        self.is_made = True
        claims = [{"name": each, "persistentVolumeClaim": {"claimName": each}} for each in ("data", "archive")]
        self._deploy(name, "blueprint", volumes=claims)
        self._deploy(name, "neighbour")
        core = f"/api/v1/namespaces/{name}"
        self.server.create(f"{core}/services", "front", spec={"type": "LoadBalancer", "ports": [{"port": 80}]})
        self.server.create(f"{core}/services", "blueprint-service", spec={"ports": [{"port": 80}]})
        self.server.create(f"{core}/configmaps", "settings", data={"a": "b"})
        self.server.create(f"{core}/secrets", "keys", data={"a": "c2VjcmV0"})
        self._claim(name, "data")
        self._claim(name, "archive")
        self._until(lambda: self._is_rolled_out(name))
        ours = [
            ("kubernetes:service", "front"),
            ("kubernetes:deployment", "blueprint"),
            ("kubernetes:service", "blueprint-service"),
            ("kubernetes:configmap", "settings"),
            ("kubernetes:secret", "keys"),
            ("kubernetes:persistentvolumeclaim", "data"),
        ]
        return Made(
            main=ours[1],
            ours=ours,
            kept=[
                ("kubernetes:persistentvolumeclaim", "archive"),
                ("kubernetes:deployment", "neighbour"),
                ("kubernetes:namespace", name),
            ],
            ids={
                "namespace": name,
                "context": "cluster",
                "deployment": "blueprint",
                "service": ["blueprint-service", "front"],
                "configmap": "settings",
                "secret": "keys",
                "persistentvolumeclaim": "data",
            },
            metadata={"kubeconfig_secret": self.secret_name, "cluster_uid": self.server.uid},
        )

    def _home(self) -> str:
        """A namespace of its own for each deployment, which may be made before it."""
        if not self.namespaces or self.is_made:
            self.is_made = False
            self.namespace = f"blueprint-{uuid.uuid4().hex[:8]}"
            self.namespaces.append(self.namespace)
            self.server.create("/api/v1/namespaces", self.namespace)
        return self.namespace

    def put_mark(self, made: Made, generation: str) -> list[Key]:
        if isinstance(self.server, KubernetesApi):
            # Of what the label selects there are two of a kind.
            self.server.page = 1
        for key in made.ours:
            self.server.ask("PATCH", self.path(key), {"metadata": {"labels": {MARK_KEY: generation}}})
        return list(made.ours)

    def crowd(self, number: int, generation: str | None = None) -> list[Key]:
        home = self.namespace if self.namespaces else self._home()
        found = []
        for _ in range(number):
            name = f"more-{uuid.uuid4().hex[:8]}"
            self._deploy(home, name, replicas=0, labels={MARK_KEY: generation} if generation else {})
            found.append(("kubernetes:deployment", name))
        return found

    def _deploy(self, namespace: str, name: str, **pod: Any) -> None:
        replicas, marks = pod.pop("replicas", 1), pod.pop("labels", {})
        labels = {"app": name}
        spec = {"containers": [{"name": "main", "image": "busybox"}], **pod}
        self.server.create(
            f"/apis/apps/v1/namespaces/{namespace}/deployments",
            name,
            metadata={"labels": marks},
            spec={
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        )

    def _is_rolled_out(self, namespace: str, pods: int = 2) -> bool:
        found = self.server.get(f"/api/v1/namespaces/{namespace}/pods")
        return bool(found and len(found["items"]) == pods)

    def _claim(self, namespace: str, name: str, volume: str = "") -> None:
        """A claim, and the volume that it is bound to."""
        volume = volume or f"{namespace}-{name}"
        size = {"storage": "1Gi"}
        self.server.create(
            "/api/v1/persistentvolumes",
            volume,
            spec={
                "accessModes": ["ReadWriteOnce"],
                "capacity": size,
                "persistentVolumeReclaimPolicy": "Delete",
                "hostPath": {"path": f"/tmp/{volume}"},
                "storageClassName": "by-hand",
                "claimRef": {"namespace": namespace, "name": name},
            },
        )
        path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": size},
            "storageClassName": "by-hand",
            "volumeName": volume,
        }
        self.server.create(path, name, spec=spec)
        self._until(lambda: self._is_bound(volume))

    def _is_bound(self, volume: str) -> bool:
        body = self.server.get(f"/api/v1/persistentvolumes/{volume}")
        return bool(body and body["status"].get("phase") == "Bound")

    @staticmethod
    def record_of(made: Made) -> Deployment:
        return Deployment(
            id="dep-1",
            blueprint_id="bp-1",
            deployment_type="LocalKubernetes",
            resource_ids=made.ids,
            metadata=made.metadata,
            deployed_at="2026-01-01T00:00:00Z",
            registered_at="2026-01-01T00:00:00Z",
            generation="g",
        )

    # Looking

    def left(self) -> set[Key]:
        found: set[Key] = set()
        for name in self.namespaces:
            if self.server.get(f"/api/v1/namespaces/{name}"):
                found.add(("kubernetes:namespace", name))
            found |= {key for noun in OBJECTS for key in self._of(noun, name)}
        return found

    def _of(self, noun: str, namespace: str) -> Iterator[Key]:
        if OBJECTS[noun].is_namespaced:
            body = self.server.get(next(OBJECTS[noun].paths(namespace))) or {"items": []}
            yield from ((f"kubernetes:{noun}", each["metadata"]["name"]) for each in body["items"])

    def key_of(self, call: Request) -> Key | None:
        plural, name = call.path.split("/")[-2:]
        noun = next((noun for noun, how in OBJECTS.items() if how.plural == plural), "")
        return (f"kubernetes:{noun}", name) if call.method == "DELETE" else None

    def path(self, key: Key) -> str:
        return next(OBJECTS[key[0].partition(":")[2]].paths(self.namespace, key[1]))

    def error(self, code: int, text: str) -> Reply:
        return status(code, REFUSED.get(code, text))

    # Bending

    def wait(self, seconds: float) -> None:
        self.server.advance()

    def _until(self, holds: Any) -> None:
        for _ in range(400):
            if holds():
                return
            self.wait(1)
        raise AssertionError("it never came")

    def vanish(self, made: Made) -> None:
        for key in made.ours:
            self.server.ask("DELETE", self.path(key), {"propagationPolicy": "Foreground"})
        self._until(lambda: not set(made.ours) & self.left())

    def misplaced(self, made: Made) -> Made:
        metadata = {key: value for key, value in made.metadata.items() if key != "cluster_uid"}
        return Made(made.main, made.ours, made.kept, made.ids | {"context": "other"}, metadata)

    def replace(self, made: Made) -> None:
        before = self.server.get(self.path(made.main))
        assert before
        self.server.ask("DELETE", self.path(made.main), {"propagationPolicy": "Foreground"})
        self._until(lambda: self.server.get(self.path(made.main)) is None)
        self._deploy(self.namespace, made.main[1])

    def protect(self, made: Made) -> None:
        assert isinstance(self.server, KubernetesApi)
        self.server.denied.add(self.path(made.main))

    @contextmanager
    def lose_credential(self, made: Made) -> Iterator[None]:
        with self._secret_says(self._kubeconfig(self.server.url, "expired-token")):
            yield

    @contextmanager
    def change_account(self, made: Made) -> Iterator[None]:
        with self._secret_says(self._kubeconfig(self.other.url)):
            yield

    @contextmanager
    def _secret_says(self, text: str) -> Iterator[None]:
        client = boto3.client("secretsmanager")
        before = client.get_secret_value(SecretId=self.secret_name)["SecretString"]
        client.put_secret_value(SecretId=self.secret_name, SecretString=json.dumps({"kubeconfig": text}))
        yield
        client.put_secret_value(SecretId=self.secret_name, SecretString=before)

    @contextmanager
    def busy(self, made: Made, times: int) -> Iterator[None]:
        text = "the object has been modified; please apply your changes to the latest version and try again"
        answer = status(409, f'Operation cannot be fulfilled on deployments.apps "{made.main[1]}": {text}')
        with self.server.failing(Fault("answer", "DELETE", f"{self.path(made.main)}$", answer, times=times)):
            yield

    @contextmanager
    def stuck(self, made: Made, key: Key) -> Iterator[None]:
        """As when whoever added a finalizer is no longer there to take it away."""
        self.server.set_finalizers(self.path(key), *self._finalizers(key), "example.org/stuck")
        yield
        if self.server.get(self.path(key)):
            self.server.set_finalizers(self.path(key), *self._finalizers(key, without="example.org/stuck"))

    def _finalizers(self, key: Key, without: str = "") -> list[str]:
        body = self.server.get(self.path(key))
        assert body
        return [each for each in body["metadata"].get("finalizers", []) if each != without]

    def hasten(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(kubernetes_cluster, "READ_TIMEOUT", 0.4)


class RealTarget(KubernetesTarget):
    """The same on a real control plane, with the faults put before it. It has no kubelet, so that pods go at once."""

    evidence: ClassVar[Evidence] = "real"
    is_real = True
    unpaged = "a page of a real server holds more than a deployment has"

    def serve(self) -> KubernetesServer:
        return relay(self.request.config)

    def stop(self) -> None:
        for name in self.namespaces:
            self.server.ask("DELETE", f"/api/v1/namespaces/{name}")
        super().stop()

    def wait(self, seconds: float) -> None:
        time.sleep(0.05)

    def protect(self, made: Made) -> None:
        """By an admission webhook, as operators of clusters protect what is theirs."""
        authority = Authority(self.own_folder / "authority")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.files("webhook", ("127.0.0.1",)))
        webhook = self._stack.enter_context(_Denying(self.namespace, context))
        path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
        client = {"url": f"{webhook.url}/", "caBundle": base64.b64encode(authority.pem.encode()).decode()}
        rule = {"operations": ["DELETE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}
        name = f"{self.namespace}.example.org"
        self.server.create(
            path,
            name,
            webhooks=[
                {
                    "name": name,
                    "clientConfig": client,
                    "rules": [rule],
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                    "failurePolicy": "Ignore",
                    "timeoutSeconds": 5,
                }
            ],
        )
        self._stack.callback(lambda: relay(self.request.config).ask("DELETE", f"{path}/{name}"))
        self._until(lambda: self.server.ask("DELETE", f"{self.path(made.main)}?dryRun=All").status >= 400)


class _Denying(StandIn):
    """An admission webhook that denies deletions in one namespace."""

    def __init__(self, namespace: str, tls: ssl.SSLContext) -> None:
        self._namespace = namespace
        super().__init__(tls=tls)

    @route("POST", "/")
    def review(self, request: Request) -> Reply:
        asked = request.body["request"]
        answer = {
            "uid": asked["uid"],
            "allowed": asked["namespace"] != self._namespace,
            "status": {"message": "it is protected"},
        }
        return Reply(200, {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})


TARGETS: list[type[KubernetesTarget]] = [KubernetesTarget, RealTarget]


# What the suite doesn't ask


@pytest.fixture(params=[pytest.param(each, marks=[pytest.mark.real] if each.is_real else []) for each in TARGETS])
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesTarget]:
    with mock_aws(), request.param(request, monkeypatch) as found:
        yield found


@pytest.fixture
def stand_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesTarget]:
    """The stand-in alone, for what a real one would show no better."""
    with mock_aws(), KubernetesTarget(request, monkeypatch) as found:
        yield found


def alive(target: KubernetesTarget) -> Life:
    create_table("tracker")
    return Life(target, "tracker")


def without(made: Made, *keys: str, **metadata: str) -> Made:
    """The same deployment, as a record has it that doesn't say all of it."""
    ids = {key: value for key, value in made.ids.items() if key not in keys}
    kept = {key: value for key, value in made.metadata.items() if key not in keys}
    return replace(made, ids=ids, metadata=kept | metadata)


def refusal(life: Life) -> str:
    assert life.answers[-1].outcome == "refused"
    error = life.record.cleanup.last_error
    assert error
    return f"{error.error_class}: {error.message}"


def test_the_namespace_that_a_deployment_made_goes_last_with_all_that_is_left_in_it(target: KubernetesTarget) -> None:
    made = target.make()
    target.server.ask("DELETE", target.path(("kubernetes:deployment", "neighbour")))
    life = alive(target)
    # The real controller of namespaces waits for seconds of its own.
    life.be_patient()
    life.clean_up(without(made, delete_namespace="true", delete_dependents="all"))
    assert life.answers[-1].outcome == "gone", life.record.cleanup.last_error
    assert target.left() == set()
    assert target.asked()[-1] == ("kubernetes:namespace", target.namespace)


def an_intent(target: KubernetesTarget, life: Life, made: Made, *, labels: list[Key]) -> Deployment:
    """Registered with its place alone; these objects carry its mark."""
    intent = life.register(replace(made, ids=target.where(made)), status="Unknown")
    for key in labels:
        target.server.ask("PATCH", target.path(key), {"metadata": {"labels": {MARK_KEY: intent.generation}}})
    return intent


def pods_of(target: KubernetesTarget) -> list[Key]:
    return sorted(key for key in target.left() if key[0] == "kubernetes:pod" and "blueprint" in key[1])


def test_what_a_marked_object_controls_goes_with_it_and_is_not_found_by_itself(target: KubernetesTarget) -> None:
    made = target.make()
    life = alive(target)
    an_intent(target, life, made, labels=[made.main, *pods_of(target)])
    life.run(life.begin())
    assert life.answers[-1].outcome == "gone", life.record.cleanup.last_error
    assert target.asked() == [made.main]
    assert pods_of(target) == []


def test_a_marked_pod_that_something_unmarked_would_make_again_is_refused(target: KubernetesTarget) -> None:
    made = target.make()
    life = alive(target)
    an_intent(target, life, made, labels=pods_of(target))
    life.run(life.begin())
    assert re.search("controlled by .* blueprint.*, which would make another: remove that", refusal(life))
    assert target.asked() == []


def test_a_marked_namespace_that_the_deployment_made_goes_though_nothing_is_in_it(target: KubernetesTarget) -> None:
    made = without(target.make(), delete_namespace="true")
    for key in {key for key in target.left() if key[0] != "kubernetes:namespace"}:
        target.server.ask("DELETE", target.path(key), {"propagationPolicy": "Background"})
    whole = ("kubernetes:namespace", target.namespace)
    life = alive(target)
    life.be_patient()
    intent = an_intent(target, life, made, labels=[])
    labels = {MARK_KEY: intent.generation}
    target.server.ask("PATCH", f"/api/v1/namespaces/{target.namespace}", {"metadata": {"labels": labels}})
    life.run(life.begin())
    assert life.answers[-1].outcome == "gone", life.record.cleanup.last_error
    assert whole not in target.left()


@pytest.mark.parametrize("stranger", ["deployment neighbour", "persistentvolumeclaim archive"])
def test_a_namespace_in_which_others_live_is_refused_and_nothing_is_touched(
    target: KubernetesTarget, stranger: str
) -> None:
    made = target.make()
    if "neighbour" not in stranger:
        target.server.ask("DELETE", target.path(("kubernetes:deployment", "neighbour")))
    life = alive(target)
    life.clean_up(without(made, delete_namespace="true"))
    assert refusal(life).startswith("not_ours")
    assert stranger in refusal(life)
    assert target.asked() == []


def test_who_comes_to_live_there_meanwhile_stops_the_namespaces_deletion(stand_in: KubernetesTarget) -> None:
    made = stand_in.make()
    stand_in.server.ask("DELETE", stand_in.path(("kubernetes:deployment", "neighbour")))
    life = alive(stand_in)
    life.register(without(made, delete_namespace="true", delete_dependents="all"))
    state = life.begin()
    life.step(state)
    stand_in._deploy(stand_in.namespace, "latecomer")
    life.run(state)
    assert refusal(life).startswith("not_ours")
    assert ("kubernetes:deployment", "latecomer") in stand_in.left()
    assert ("kubernetes:namespace", stand_in.namespace) not in stand_in.asked()


@pytest.mark.parametrize("namespace", ["kube-system", "default"])
def test_a_namespace_of_the_clusters_own_is_never_the_deployments(stand_in: KubernetesTarget, namespace: str) -> None:
    made = without(stand_in.make(), delete_namespace="true")
    life = alive(stand_in)
    life.register(made)
    life.force(resource_ids=made.ids | {"namespace": namespace})
    stand_in.forget()
    life.run(life.begin())
    assert refusal(life).split(":")[0] in ("bad_id", "protected")
    assert stand_in.contacts() == 0


def test_the_rust_trackers_own_record_is_cleaned_up(target: KubernetesTarget) -> None:
    """It names no cluster: what was seen in the context vouches for it, also for what was gone by then."""
    made = target.make()
    target.server.ask("DELETE", target.path(("kubernetes:service", "blueprint-service")))
    life = alive(target)
    life.register(
        made,
        resource_ids={
            "namespace": target.namespace,
            "deployment": "blueprint",
            "service": "blueprint-service",
            "context": "cluster",
        },
        metadata={"k8s_context": "cluster", "k8s_namespace": target.namespace, "kubeconfig_secret": SECRET},
    )
    assert life.run(life.begin()).outcome == "gone"
    assert life.states["kubernetes:service", "blueprint-service"] == "gone"
    assert target.asked() == [made.main]


def test_a_deployment_that_was_never_seen_is_unproven_where_nothing_names_the_cluster(
    stand_in: KubernetesTarget,
) -> None:
    made = stand_in.make()
    stand_in.vanish(made)
    life = alive(stand_in)
    life.clean_up(without(made, "cluster_uid"))
    assert refusal(life).startswith("unproven")


def test_what_has_a_load_balancer_goes_before_what_serves_it(target: KubernetesTarget) -> None:
    made = target.make()
    life = alive(target)
    life.clean_up(made)
    asked = target.asked()
    assert asked[0] == ("kubernetes:service", "front")
    assert asked.index(made.main) < asked.index(("kubernetes:service", "blueprint-service"))


def test_a_claim_goes_if_asked_for_but_not_one_that_others_mount(target: KubernetesTarget) -> None:
    made = target.make()
    target._claim(target.namespace, "shared")
    mount = {"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}
    target._deploy(target.namespace, "mounting", volumes=[mount])
    target._deploy(target.namespace, "also-mounting", volumes=[mount])
    target._until(lambda: target._is_rolled_out(target.namespace, pods=4))
    made = replace(made, ids=made.ids | {"deployment": ["blueprint", "mounting"]})
    life = alive(target)
    life.clean_up(without(made, delete_dependents="all"))
    assert life.answers[-1].outcome == "gone"
    assert life.states["kubernetes:persistentvolumeclaim", "archive"] == "gone"
    (kept,) = (each for each in life.record.resources if each.state == "kept")
    assert kept.id == "shared"
    assert "also-mounting" in kept.detail


def test_the_claims_that_a_stateful_set_made_are_known_by_their_names(stand_in: KubernetesTarget) -> None:
    made = stand_in.make()
    sets = f"/apis/apps/v1/namespaces/{stand_in.namespace}/statefulsets"
    stand_in.server.create(sets, "db", spec={"volumeClaimTemplates": [{"metadata": {"name": "data"}}]})
    for name in ("data-db-0", "data-db-1", "data-db-x", "data-other-0"):
        stand_in._claim(stand_in.namespace, name)
    made = without(made, "deployment", "persistentvolumeclaim")
    life = alive(stand_in)
    assert life.clean_up(replace(made, ids=made.ids | {"statefulset": "db"})).outcome == "gone"
    assert {each.id for each in life.record.resources if each.state == "kept"} == {"data-db-0", "data-db-1"}


@pytest.mark.parametrize("name", ["data-" + "x" * 87, "y" * 253, f"{'z' * 100}.{'z' * 100}"])
def test_names_are_as_long_as_kubernetes_takes_them(target: KubernetesTarget, name: str) -> None:
    made = target.make()
    target._claim(target.namespace, name, volume=f"{target.namespace}-long")
    made = replace(made, ids=made.ids | {"persistentvolumeclaim": ["data", name]})
    life = alive(target)
    assert life.clean_up(made).outcome == "gone"
    assert life.states["kubernetes:persistentvolumeclaim", name] == "gone"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("service", "a.b"),
        ("service", "x" * 64),
        ("namespace", "x" * 64),
        ("configmap", "x" * 254),
        ("secret", "a..b"),
        ("secret", "a-.b"),
        ("persistentvolumeclaim", "Data"),
    ],
)
def test_a_name_that_kubernetes_doesnt_take_is_refused(stand_in: KubernetesTarget, key: str, name: str) -> None:
    made = stand_in.make()
    life = alive(stand_in)
    with pytest.raises(Invalid):
        life.register(made, resource_ids=made.ids | {key: name})


def test_what_a_controller_makes_again_at_once_is_not_gone(
    stand_in: KubernetesTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stand_in.make()
    server = stand_in.server
    assert isinstance(server, KubernetesApi)
    key = ("kubernetes:configmap", "settings")
    annotations = {"argocd.argoproj.io/tracking-id": "blueprints:v1/ConfigMap:x/settings"}
    server.ask("PATCH", stand_in.path(key), {"metadata": {"annotations": annotations}})
    advance = server.advance

    def make_again() -> None:
        advance()
        if server.get(stand_in.path(key)) is None:
            collection = stand_in.path(key).rpartition("/")[0]
            server.create(collection, "settings", metadata={"annotations": annotations})

    monkeypatch.setattr(server, "advance", make_again)
    monkeypatch.setattr(server, "_end_if_free", _unless(server._end_if_free, "settings"))
    life = alive(stand_in)
    life.clean_up(made)
    assert refusal(life).startswith("protected")
    assert "came back" in refusal(life)
    assert "Argo CD" in refusal(life)
    assert key in stand_in.left()
    assert life.states[key] != "gone"


def _unless(end: Any, name: str) -> Any:
    """Return what ends objects, except that one of this name ends only when controllers get on."""

    def ends(key: tuple[str, str, str], *, killed: bool = False) -> None:
        if key[2] != name or killed:
            end(key, killed=killed)

    return ends


def test_a_pod_that_something_else_would_make_again_is_refused_unless_that_goes_too(target: KubernetesTarget) -> None:
    made = target.make()
    body = target.server.get(f"/api/v1/namespaces/{target.namespace}/pods")
    assert body
    pod = next(each["metadata"]["name"] for each in body["items"] if "blueprint" in each["metadata"]["name"])
    life = alive(target)
    alone = without(made, "deployment", "service", "configmap", "secret", "persistentvolumeclaim")
    life.clean_up(replace(alone, ids=alone.ids | {"pod": pod}))
    assert refusal(life).startswith("protected")
    assert target.asked() == []
    life.give_back(RoundState(KEY, life.record.generation, life.record.cleanup.round))
    life.force(resource_ids=made.ids | {"pod": pod})
    assert life.run(life.begin()).outcome == "gone"


def test_what_was_seen_in_another_namespace_says_nothing_of_this_one(stand_in: KubernetesTarget) -> None:
    made = stand_in.make()
    life = alive(stand_in)
    life.register(made)
    with stand_in.failing("server-error", "delete"), pytest.raises(Unreachable):
        life.run(state := life.begin())
    life.give_back(state)
    moved = stand_in.make()
    life.force(resource_ids=moved.ids)
    assert life.run(life.begin()).outcome == "gone"
    assert set(stand_in.asked()) >= {moved.main}
    assert not {key for key in moved.ours if stand_in.server.get(stand_in.path(key))}


# The machine's own kubeconfig


@pytest.fixture
def here(stand_in: KubernetesTarget) -> Settings:
    """Those of a stack on one machine."""
    return Settings(local_place=LocalPlace(host="here", boot_id="b"))


def discovered(target: KubernetesTarget, settings: Settings) -> dict[Key, str]:
    made = without(target.make(), "kubeconfig_secret")
    found = kubernetes.discover(target.record_of(made), settings)
    return {each.key: each.place["cluster_uid"] for each in found}


def test_the_machines_own_is_read_where_its_tools_have_it(
    stand_in: KubernetesTarget, here: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text(kubeconfig({"cluster": stand_in.server.url}))
    (tmp_path / "others").write_text(kubeconfig({"another": stand_in.other.url}))
    (tmp_path / "mine").write_text(kubeconfig({"cluster": stand_in.other.url}))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert set(discovered(stand_in, here).values()) == {stand_in.server.uid}
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/nowhere:{tmp_path}/others:{tmp_path}/mine")
    with pytest.raises(Refused) as refused:
        discovered(stand_in, here)
    assert refused.value.error_class == "not_ours"
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/nowhere:{tmp_path}/others")
    with pytest.raises(Refused) as refused:
        discovered(stand_in, here)
    assert refused.value.error_class == "bad_id"


def test_a_stack_without_a_machine_reads_no_kubeconfig_of_one(
    stand_in: KubernetesTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(kubeconfig({"cluster": stand_in.server.url}))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(Refused) as refused:
        discovered(stand_in, Settings())
    assert refused.value.error_class == "credentials"
    assert "no machine of its own" in str(refused.value)
    assert stand_in.contacts() == 0


@pytest.mark.real
def test_a_real_one_is_reached_over_tls_with_the_file_of_its_authority(
    request: pytest.FixtureRequest, here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(control_plane(request.config) / "admin.kubeconfig"))
    record = Made(("", ""), [], [], {"namespace": "nowhere", "context": "loopback", "deployment": "blueprint"})
    (found,) = kubernetes.discover(KubernetesTarget.record_of(record), here)
    look = kubernetes.KINDS[found.kind].state(found, here)
    assert (look.state, look.unproven) == ("gone", True)
    monkeypatch.setenv("KUBECONFIG", str(control_plane(request.config) / "guest.kubeconfig"))
    with pytest.raises(Refused) as refused:
        kubernetes.KINDS[found.kind].state(found, here)
    assert refused.value.error_class == "credentials"
