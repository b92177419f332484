"""Kubernetes API servers for tests: a stand-in with the controllers that matter to deletion, and a way to the real one that can be bent.

`KubernetesApi` answers as the real one was seen to (1.20), and as its API conventions say. `Relay` hands every call on to a real control
plane, so that the same faults can be put before it. Both are set up with `ask`, which isn't counted as a call.
"""

import itertools
import json
import os
import re
import ssl
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

import pytest
import urllib3
import yaml

from local.processes import PATIENCE
from tests.real_targets import free_port, lacking
from tests.standin import Reply, Request, StandIn

CONTRACT = Path(__file__).with_name("kubernetes_contract.yaml")
ADMIN = "admin-token"
GUEST = "guest-token"
# What is served, by version: as 1.21 does, where both versions of cron jobs and ingresses are.
SERVED: dict[str, tuple[str, ...]] = {
    "v1": (
        "namespaces",
        "pods",
        "services",
        "configmaps",
        "secrets",
        "persistentvolumeclaims",
        "persistentvolumes",
    ),
    "apps/v1": ("deployments", "replicasets", "statefulsets", "daemonsets"),
    "batch/v1": ("jobs", "cronjobs"),
    "batch/v1beta1": ("cronjobs",),
    "networking.k8s.io/v1": ("ingresses",),
    "networking.k8s.io/v1beta1": ("ingresses",),
}
# What someone adds to a cluster.
EXTENSIONS: dict[str, tuple[str, ...]] = {
    "gateway.networking.k8s.io/v1": ("gateways",),
    "snapshot.storage.k8s.io/v1": ("volumesnapshots", "volumesnapshotcontents"),
}
_KINDS = {
    "namespaces": "Namespace",
    "pods": "Pod",
    "services": "Service",
    "configmaps": "ConfigMap",
    "secrets": "Secret",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "persistentvolumes": "PersistentVolume",
    "deployments": "Deployment",
    "replicasets": "ReplicaSet",
    "statefulsets": "StatefulSet",
    "daemonsets": "DaemonSet",
    "jobs": "Job",
    "cronjobs": "CronJob",
    "ingresses": "Ingress",
    "gateways": "Gateway",
    "volumesnapshots": "VolumeSnapshot",
    "volumesnapshotcontents": "VolumeSnapshotContent",
}
_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    415: "UnsupportedMediaType",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}
_PATH = re.compile(
    r"/(?:api|apis(?=/[^/]+/))/(?P<version>v1|[^/]+/v[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?"
)
_SYSTEM = ("default", "kube-system", "kube-public", "kube-node-lease")

type Body = dict[str, Any]
type ObjectKey = tuple[str, str, str]


def status(code: int, message: str, reason: str = "", **details: Any) -> Reply:
    """A failure in the API server's words."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason or _REASONS.get(code, "Unknown"),
        "details": details,
        "code": code,
    }
    return Reply(code, body)


def kubeconfig(servers: Mapping[str, str], token: str = ADMIN, **cluster: Any) -> str:
    """A kubeconfig with a context for each name, which leads to that URL."""
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": url, **cluster}} for name, url in servers.items()],
            "users": [{"name": "tracker", "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": "tracker"}} for name in servers],
            "current-context": next(iter(servers)),
        }
    )


class KubernetesServer(StandIn):
    """This is what tests do with an API server, whichever it is."""

    def ask(self, method: str, path: str, body: Any = None) -> Reply:
        """An admin's call: not counted, and no fault's."""
        path, _, query = path.partition("?")
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {ADMIN}", "Accept": "application/json", "Content-Type": kind}
        raw = json.dumps(body).encode() if body is not None else b""
        parameters = dict(part.split("=", 1) for part in query.split("&") if part)
        with self.lock:
            return self.handle(Request(method, path, parameters, headers, raw))

    def get(self, path: str) -> Body | None:
        """An object or a list, None if there is none."""
        reply = self.ask("GET", path)
        if reply.status == 404:
            return None
        assert reply.status == 200, reply
        body: Body = reply.body
        return body

    def create(self, collection: str, name: str, **more: Any) -> Body:
        """A new object; `metadata` adds to its name."""
        metadata = {"name": name, **more.pop("metadata", {})}
        reply = self.ask("POST", collection, {"metadata": metadata, **more})
        assert reply.status == 201, reply
        body: Body = reply.body
        return body

    def set_finalizers(self, path: str, *finalizers: str) -> None:
        """Instead of those that it has; what is left without any goes."""
        reply = self.ask("PATCH", path, {"metadata": {"finalizers": list(finalizers) or None}})
        assert reply.status == 200, reply

    @property
    def uid(self) -> str:
        """The cluster's identity."""
        body = self.get("/api/v1/namespaces/kube-system")
        assert body
        return str(body["metadata"]["uid"])

    def advance(self) -> None:
        """Its controllers get on."""
        raise NotImplementedError


class KubernetesApi(KubernetesServer):
    """The stand-in. Its garbage collector, and its controllers of deployments, namespaces, claims and load balancers, work when `advance` is called.

    `denied` holds the paths whose deletion an admission webhook denies; `tokens` are who may call; `volumes_stay` and
    `balancers_stay` keep the provider's part from getting on. Pods run at once, if they are on a node.
    """

    def __init__(
        self, *, served: Mapping[str, tuple[str, ...]] = SERVED, tls: ssl.SSLContext | None = None, token: str = ADMIN
    ) -> None:
        self.objects: dict[ObjectKey, Body] = {}
        self.denied: set[str] = set()
        self.tokens = {token: "admin", GUEST: "guest", ADMIN: "admin"}
        self.served = served
        self.volumes_stay = False
        self.balancers_stay = False
        self._versions = itertools.count(1)
        super().__init__(contract=CONTRACT, tls=tls)
        for name in _SYSTEM:
            self.create("/api/v1/namespaces", name)

    def not_found(self, request: Request) -> Reply:
        return Reply(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"})

    def handle(self, request: Request) -> Reply:
        who = self.tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if who is None:
            reply = status(401, "Unauthorized")
            del reply.body["details"]
            return reply
        match = _PATH.fullmatch(request.path)
        if match is None or match["version"] not in self.served:
            return self.not_found(request)
        version, namespace, plural, name = (
            match["version"],
            unquote(match["namespace"] or ""),
            match["plural"],
            unquote(match["name"] or ""),
        )
        if plural not in self.served[version]:
            return status(404, "the server could not find the requested resource")
        verb = request.method if name or request.method == "POST" else "LIST"
        if who != "admin":
            text = f'{plural} "{name}" is forbidden: User "{who}" cannot {verb.lower()} resource "{plural}"'
            return status(403, text, name=name, kind=plural)
        reply = self._answered(request, verb, version, (plural, namespace, name))
        # What goes out is how it was then.
        return replace(reply, body=deepcopy(reply.body))

    def _answered(self, request: Request, verb: str, version: str, key: ObjectKey) -> Reply:
        plural, namespace, name = key
        if verb == "LIST":
            return self._list(request, version, plural, namespace)
        if verb == "POST":
            return self._create(request, version, plural, namespace)
        body = self.objects.get(key)
        if body is None:
            group = version.rpartition("/")[0]
            qualified = f"{plural}.{group}" if group else plural
            more = {"group": group} if group else {}
            return status(404, f'{qualified} "{name}" not found', name=name, kind=plural, **more)
        if verb == "GET":
            return Reply(200, _shown(body, request, version))
        if verb == "PATCH":
            _merge(body, request.body)
            self._end_if_free(key)
            return Reply(200, body)
        if verb == "DELETE":
            return self._delete(request, key, body)
        return status(405, "the server does not allow this method on the requested resource")

    def _list(self, request: Request, version: str, plural: str, namespace: str) -> Reply:
        found = [
            body
            for (kind, where, _), body in sorted(self.objects.items())
            if kind == plural and namespace in ("", where) and _is_selected(body, request.query.get("labelSelector"))
        ]
        first = int(request.query.get("continue", "0"))
        last = first + min(int(request.query["limit"]), self.page) if "limit" in request.query else len(found)
        metadata = {"resourceVersion": "1", **({"continue": str(last)} if last < len(found) else {})}
        if "as=PartialObjectMetadataList" in request.headers.get("Accept", ""):
            partial = [{"metadata": each["metadata"]} for each in found[first:last]]
            kind = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
            return Reply(200, {**kind, "metadata": metadata, "items": partial or None})
        return Reply(
            200,
            {
                "kind": f"{_KINDS[plural]}List",
                "apiVersion": version,
                "metadata": metadata,
                # Of what is in a list, its kind is the list's to say.
                "items": [_without(each, "kind", "apiVersion") for each in found[first:last]],
            },
        )

    # Small, so that every list of more than a few has several.
    page = 3

    def _create(self, request: Request, version: str, plural: str, namespace: str) -> Reply:
        body: Body = request.body
        name = body["metadata"]["name"]
        key = (plural, namespace, name)
        home = self.objects.get(("namespaces", "", namespace))
        if namespace and home is None:
            return status(404, f'namespaces "{namespace}" not found', name=namespace, kind="namespaces")
        if home and "deletionTimestamp" in home["metadata"]:
            text = f'{plural} "{name}" is forbidden: unable to create new content in namespace {namespace}'
            return status(403, f"{text} because it is being terminated", name=name, kind=plural)
        if key in self.objects:
            return status(409, f'{plural} "{name}" already exists', "AlreadyExists", name=name, kind=plural)
        self._put(key, version, body)
        return Reply(201, self.objects[key])

    def _put(self, key: ObjectKey, version: str, body: Body) -> Body:
        plural, namespace, _ = key
        made = {"kind": _KINDS[plural], "apiVersion": version, **body}
        made["metadata"] = {
            **({"namespace": namespace} if namespace else {}),
            "uid": str(uuid.uuid4()),
            "resourceVersion": str(next(self._versions)),
            "creationTimestamp": _now(),
            **body["metadata"],
        }
        spec = made.setdefault("spec", {}) if plural not in ("configmaps", "secrets") else {}
        finalizers = made["metadata"].setdefault("finalizers", [])
        if plural == "namespaces":
            spec["finalizers"] = ["kubernetes"]
            made["status"] = {"phase": "Active"}
        if plural == "persistentvolumeclaims":
            finalizers.append("kubernetes.io/pvc-protection")
            self._bind(made)
        if plural == "persistentvolumes":
            spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
            made["status"] = {"phase": "Available"}
        if plural == "services" and spec.get("type") == "LoadBalancer":
            finalizers.append("service.kubernetes.io/load-balancer-cleanup")
        if plural == "pods":
            made["status"] = {"phase": "Running" if spec.get("nodeName") else "Pending"}
        self.objects[key] = made
        if plural == "deployments":
            self._roll_out(key, made)
        return made

    def _bind(self, claim: Body) -> None:
        """As the binder does: a volume that the claim names, or one that a provisioner makes."""
        name = claim["spec"].setdefault("volumeName", f"pvc-{claim['metadata']['uid']}")
        key = ("persistentvolumes", "", name)
        if key not in self.objects:
            spec = {"persistentVolumeReclaimPolicy": "Delete"}
            self._put(key, "v1", {"metadata": {"name": name}, "spec": spec})
        metadata = claim["metadata"]
        self.objects[key]["spec"]["claimRef"] = {key: metadata[key] for key in ("namespace", "name", "uid")}
        self.objects[key]["status"] = {"phase": "Bound"}

    def _roll_out(self, key: ObjectKey, deployment: Body) -> None:
        _, namespace, name = key
        template = deployment["spec"].get("template", {})
        replicas = ("replicasets", namespace, f"{name}-5d4f8c")
        made = self._put(replicas, "apps/v1", {"metadata": {"name": replicas[2], **_owned_by(deployment)}, "spec": {}})
        for n in range(deployment["spec"].get("replicas", 1)):
            pod = f"{replicas[2]}-{n}"
            spec = {**template.get("spec", {}), "nodeName": "node-1"}
            self._put(("pods", namespace, pod), "v1", {"metadata": {"name": pod, **_owned_by(made)}, "spec": spec})

    def _delete(self, request: Request, key: ObjectKey, body: Body) -> Reply:
        plural, _, name = key
        options = request.body or {}
        metadata = body["metadata"]
        if request.path in self.denied:
            text = 'admission webhook "protect.example.org" denied the request: it is protected'
            return status(400, text)
        if plural == "namespaces" and name in _SYSTEM[:3]:
            text = f'namespaces "{name}" is forbidden: this namespace may not be deleted'
            return status(403, text, name=name, kind=plural)
        if (wanted := options.get("preconditions", {}).get("uid", metadata["uid"])) != metadata["uid"]:
            # Newer ones: "Precondition failed: UID in precondition: ..., UID in object meta: ...".
            text = f"the UID in the precondition ({wanted}) does not match the UID in record ({metadata['uid']})"
            return status(409, f'Operation cannot be fulfilled on {body["kind"]} "{name}": {text}', name=name)
        if plural == "namespaces" and "deletionTimestamp" in metadata:
            text = "The system is ensuring all content is removed from this namespace."
            return status(409, f'Operation cannot be fulfilled on {plural} "{name}": {text}', name=name, kind=plural)
        if "deletionTimestamp" not in metadata:
            # A pod has until then; no other object waits for that moment.
            on_node = plural == "pods" and body["spec"].get("nodeName")
            metadata["deletionTimestamp"] = _now(30 if on_node else 0)
            if options.get("propagationPolicy") == "Foreground":
                metadata["finalizers"].append("foregroundDeletion")
            if plural == "namespaces":
                body["status"]["phase"] = "Terminating"
        uid = metadata["uid"]
        self._end_if_free(key)
        if key in self.objects:
            return Reply(200, body)
        details = {"name": name, "kind": plural, "uid": uid}
        return Reply(
            200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        )

    def _end_if_free(self, key: ObjectKey, *, killed: bool = False) -> None:
        """It goes, if it is to go and nothing holds it: a finalizer, or the node that its processes are on."""
        plural, _, _ = key
        body = self.objects[key]
        metadata = body["metadata"]
        on_node = plural == "pods" and body["spec"].get("nodeName") and not killed
        held = metadata.get("finalizers") or (plural == "namespaces" and body["spec"].get("finalizers")) or on_node
        if "deletionTimestamp" in metadata and not held:
            del self.objects[key]

    def advance(self) -> None:
        with self.lock:
            for key in list(self.objects):
                body = self.objects.get(key)
                if body and "deletionTimestamp" in body["metadata"]:
                    self._get_on(key, body)
            self._provide()

    def _get_on(self, key: ObjectKey, body: Body) -> None:
        """What the controllers do with one object that is to go."""
        plural, _, name = key
        finalizers: list[str] = body["metadata"].get("finalizers") or []
        if "foregroundDeletion" in finalizers:
            owned = [each for each, other in self.objects.items() if _is_owned(other, body["metadata"]["uid"])]
            self._all_to_go(owned)
            if not owned:
                finalizers.remove("foregroundDeletion")
        if plural == "namespaces":
            content = [each for each in self.objects if each[1] == name]
            self._all_to_go(content)
            body["spec"]["finalizers"] = ["kubernetes"] if content else []
            held = [f"{each[0]} {each[2]}" for each in content if self.objects[each]["metadata"].get("finalizers")]
            body["status"]["conditions"] = [
                {
                    "type": "NamespaceFinalizersRemaining",
                    "status": "True" if held else "False",
                    "message": f"Some content in the namespace has finalizers remaining: {', '.join(held)}",
                }
            ]
        if plural == "persistentvolumeclaims" and not any(_mounts(pod, key) for pod in self.objects.values()):
            _drop(finalizers, "kubernetes.io/pvc-protection")
        if plural == "volumesnapshots":
            self._all_to_go([each for each, other in self.objects.items() if _is_content_of(other, body)])
        if plural == "services" and not self.balancers_stay:
            _drop(finalizers, "service.kubernetes.io/load-balancer-cleanup")
        self._end_if_free(key, killed=True)

    def _all_to_go(self, keys: list[ObjectKey]) -> None:
        for key in keys:
            metadata = self.objects[key]["metadata"]
            if "deletionTimestamp" not in metadata:
                metadata["deletionTimestamp"] = _now()
                # As the garbage collector asks for what blocks its owner.
                if any(_is_owned(each, metadata["uid"]) for each in self.objects.values()):
                    metadata["finalizers"].append("foregroundDeletion")

    def _provide(self) -> None:
        """The provider's part: a volume whose claim is gone is deleted, if that is its policy."""
        claims = {
            body["metadata"]["uid"]
            for (plural, _, _), body in self.objects.items()
            if plural == "persistentvolumeclaims"
        }
        for key, body in list(self.objects.items()):
            claim = body["spec"].get("claimRef", {}) if key[0] == "persistentvolumes" else {}
            if not claim or claim["uid"] in claims:
                continue
            released = body["status"]["phase"] == "Released"
            body["status"]["phase"] = "Released"
            if released and body["spec"]["persistentVolumeReclaimPolicy"] == "Delete" and not self.volumes_stay:
                del self.objects[key]


class Relay(KubernetesServer):
    """This is what stands before a real API server: everything goes on to it, with the caller's own token."""

    def __init__(self, server: str, authority: Path) -> None:
        self._api = server
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(authority)
        self._pool = urllib3.PoolManager(retries=False, ssl_context=context)
        super().__init__(contract=CONTRACT)

    def handle(self, request: Request) -> Reply:
        headers = {
            name: value
            for name, value in request.headers.items()
            if name in ("Authorization", "Accept", "Content-Type", "User-Agent")
        }
        query = f"?{urlencode(request.query)}" if request.query else ""
        answer = self._pool.request(
            request.method, f"{self._api}{request.path}{query}", headers=headers, body=request.raw, timeout=10
        )
        kind = answer.headers.get("Content-Type", "")
        body = json.loads(answer.data) if kind.startswith("application/json") and answer.data else answer.data
        return Reply(answer.status, body, {"Content-Type": kind})

    def stop(self) -> None:
        super().stop()
        self._pool.clear()

    def advance(self) -> None:
        """It does by itself."""


ROOT = Path(__file__).parent.parent
TOOL = ROOT / "local" / "kubernetes-control-plane"


@cache
def control_plane(config: pytest.Config) -> Path:
    """The folder of the running control plane, with an admin's kubeconfig; it ends with the tests."""
    folder = Path(os.environ.get("KUBERNETES_CONTROL_PLANE") or ROOT / ".local" / "kubernetes-control-plane")
    if not (folder / "bin" / "kube-controller-manager").exists():
        lacking("KUBERNETES_CONTROL_PLANE names no control plane (local/kubernetes-control-plane build DIR)")
    try:
        return _started(folder, config)
    except subprocess.CalledProcessError:
        # One of the ports beside the free one was taken, or the machine is slow.
        return _started(folder, config)


def _started(folder: Path, config: pytest.Config) -> Path:
    port = str(min(free_port(), 60_000))
    config.add_cleanup(lambda: _run("down", folder, port))
    _run("up", folder, port)
    return folder / "run" / port


def relay(config: pytest.Config) -> Relay:
    """A new way to the real control plane."""
    run = control_plane(config)
    server = yaml.safe_load((run / "admin.kubeconfig").read_text())["clusters"][0]["cluster"]["server"]
    return Relay(server, run / "certs" / "apiserver.crt")


def _run(verb: str, folder: Path, port: str) -> None:
    environment = os.environ | {"PORT": port}
    subprocess.run([TOOL, verb, folder], env=environment, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE)


def _now(later: int = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=later)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _shown(body: Body, request: Request, version: str) -> Body:
    if "as=PartialObjectMetadata" in request.headers.get("Accept", ""):
        return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": body["metadata"]}
    return {**body, "apiVersion": version}


def _is_selected(body: Body, selector: str | None) -> bool:
    """By `key` or `key=value`, which are the only selectors that are sent."""
    key, _, value = (selector or "").partition("=")
    labels = body["metadata"].get("labels") or {}
    return not key or (key in labels and value in ("", labels[key]))


def _without(body: Body, *keys: str) -> Body:
    return {key: value for key, value in body.items() if key not in keys}


def _merge(body: Body, patch: Body) -> None:
    """RFC 7386."""
    for key, value in patch.items():
        if value is None:
            body.pop(key, None)
        elif isinstance(value, dict):
            _merge(body.setdefault(key, {}), value)
        else:
            body[key] = value


def _owned_by(owner: Body) -> Body:
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {"ownerReferences": [reference]}


def _is_owned(body: Body, uid: str) -> bool:
    return any(each["uid"] == uid for each in body["metadata"].get("ownerReferences", []))


def _mounts(body: Body, claim: ObjectKey) -> bool:
    if body["kind"] != "Pod" or body["metadata"]["namespace"] != claim[1] or body["status"]["phase"] == "Succeeded":
        return False
    return claim[2] in _claims(body)


def _is_content_of(body: Body, snapshot: Body) -> bool:
    content: Body = body.get("spec", {}).get("volumeSnapshotRef", {})
    return bool(content.get("uid") == snapshot["metadata"]["uid"])


def _claims(pod: Body) -> Iterator[str]:
    for volume in pod["spec"].get("volumes", []):
        if "persistentVolumeClaim" in volume:
            yield volume["persistentVolumeClaim"]["claimName"]


def _drop(finalizers: list[str], name: str) -> None:
    if name in finalizers:
        finalizers.remove(name)
