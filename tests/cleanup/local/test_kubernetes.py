"""LocalKubernetes against a real control plane, and against a stand-in for what the real one does only with a cloud around it."""

import base64
import json
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import boto3

from tests.certificates import Authority
from tests.conformance.target import Evidence, HttpTarget, Key, Made
from tests.kubernetes_api import ADMIN, KubernetesApi, KubernetesServer, kubeconfig, relay, status
from tests.standin import Fault, Reply, Request, StandIn, route
from tracker.cleanup import kubernetes_cluster
from tracker.cleanup.kubernetes_objects import OBJECTS
from tracker.settings import Settings

SECRET = "tracker/kubeconfig"
REFUSED = {401: "Unauthorized", 403: 'namespaces "kube-system" is forbidden: User "tracker" cannot get it'}


class KubernetesTarget(HttpTarget):
    """A deployment with all that hangs on one, on the stand-in; beside it what isn't its own."""

    deployment_type = "LocalKubernetes"
    evidence: ClassVar[Evidence] = "contract"
    na: ClassVar[dict[str, str]] = {
        "false-success": "The API server says failures by the answer's status, and knows no operations.",
        "not-ours": "Nothing in Kubernetes says whose an object is: being named in the record is ownership.",
    }
    secrets = (ADMIN,)
    server: KubernetesServer

    def start(self) -> None:
        self.server = self.serve()
        self.other = KubernetesApi()
        self.secret = boto3.client("secretsmanager")
        self.secret.create_secret(Name=SECRET, SecretString=self._kubeconfig(self.server.url))
        self.settings = Settings(allowed_secrets=["tracker/*"])
        self.namespaces: list[str] = []

    def serve(self) -> KubernetesServer:
        return KubernetesApi()

    def stop(self) -> None:
        self.other.stop()
        super().stop()

    def _kubeconfig(self, url: str, token: str = ADMIN) -> str:
        return json.dumps({"kubeconfig": kubeconfig({"cluster": url, "other": self.other.url}, token)})

    # Making

    def make(self) -> Made:
        name = f"blueprint-{uuid.uuid4().hex[:8]}"
        self.namespace = name
        self.namespaces.append(name)
        self.server.create("/api/v1/namespaces", name)
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
            metadata={"kubeconfig_secret": SECRET, "cluster_uid": self.server.uid},
        )

    def _deploy(self, namespace: str, name: str, **pod: Any) -> None:
        labels = {"app": name}
        spec = {"containers": [{"name": "main", "image": "busybox"}], **pod}
        self.server.create(
            f"/apis/apps/v1/namespaces/{namespace}/deployments",
            name,
            spec={
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        )

    def _is_rolled_out(self, namespace: str) -> bool:
        pods = self.server.get(f"/api/v1/namespaces/{namespace}/pods")
        return bool(pods and len(pods["items"]) == 2)

    def _claim(self, namespace: str, name: str) -> None:
        """A claim, and the volume that it is bound to."""
        volume = f"{namespace}-{name}"
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
        before = self.secret.get_secret_value(SecretId=SECRET)["SecretString"]
        self.secret.put_secret_value(SecretId=SECRET, SecretString=text)
        yield
        self.secret.put_secret_value(SecretId=SECRET, SecretString=before)

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

    def hasten(self) -> None:
        self.patch.setattr(kubernetes_cluster, "READ_TIMEOUT", 0.4)


class RealTarget(KubernetesTarget):
    """The same on a real control plane, with the faults put before it. It has no kubelet, so that pods go at once."""

    evidence: ClassVar[Evidence] = "real"
    is_real = True

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
        authority = Authority(self.request.getfixturevalue("tmp_path") / "authority")
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


TARGETS: list[type[HttpTarget]] = [KubernetesTarget, RealTarget]
