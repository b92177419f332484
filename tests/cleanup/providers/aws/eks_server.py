"""EKS on loopback: moto's, mended where it is kinder than AWS, and the API server of its clusters.

Sources of what is mended: botocore's model of EKS, EKS' user guide ("Protect EKS clusters from accidental deletion"), and, word for word,
what people were told by EKS (hashicorp/terraform#25059, kubernetes-sigs/cluster-api-provider-aws#4728).
"""

import base64
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from moto.eks.models import eks_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import EnvironBuilder, run_wsgi_app

from tests.conformance.target import Key
from tests.kubernetes_api import ADMIN, KubernetesApi
from tests.standin import Reply, Request, StandIn, route

CLUSTER, NODEGROUP, FARGATE_PROFILE = "aws:eks_cluster", "aws:eks_nodegroup", "aws:eks_fargate_profile"
# How many names EKS lists at once here: fewer than there are.
PAGE = 2


def failure(status: int, code: str, message: str) -> Reply:
    """In EKS' words."""
    return Reply(status, {"message": message}, {"x-amzn-ErrorType": code})


class ClusterApi(KubernetesApi):
    """A cluster's API server, which takes a presigned GetCallerIdentity for the cluster's name as a token, as EKS does.

    Its controllers get on after each call of one who came so.
    """

    def handle(self, request: Request) -> Reply:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not is_presigned(token):
            return super().handle(request)
        reply = super().handle(replace(request, headers=request.headers | {"Authorization": f"Bearer {ADMIN}"}))
        self.advance()
        return reply


def is_presigned(token: str) -> bool:
    """Return whether a token is what aws-iam-authenticator would take to STS."""
    prefix, _, encoded = token.partition(".")
    if prefix != "k8s-aws-v1":
        return False
    url = urlsplit(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode())
    query = dict(parse_qsl(url.query))
    signed = query["X-Amz-SignedHeaders"].split(";")
    return (
        query["Action"] == "GetCallerIdentity" and signed == ["host", "x-k8s-aws-id"] and query["X-Amz-Expires"] == "60"
    )


class Eks(StandIn):
    """The server. What is asked to go is DELETING for as many seconds as `takes` says of its kind; `pass_time` makes them pass.

    `capabilities` are those of a cluster, by its name. `held` is what accepts its deletion and stays; `failing_once` what is DELETE_FAILED instead, with these issues.
    """

    def __init__(self, account: str, region: str) -> None:
        self.takes = {CLUSTER: 0.2, NODEGROUP: 0.2, FARGATE_PROFILE: 0.2}
        self.held: set[Key] = set()
        self.failing_once: dict[Key, list[dict[str, Any]]] = {}
        self.capabilities: dict[str, list[dict[str, Any]]] = {}
        self._place = account, region
        self._ends: dict[str, _End] = {}
        self._passed = 0.0
        self._moto = DomainDispatcherApplication(create_backend_app)
        super().__init__()

    @property
    def backend(self) -> Any:
        """moto's, where things are made and looked at past every fault."""
        account, region = self._place
        return eks_backends[account][region]

    def clear(self) -> None:
        """As at the start."""
        for each in (self.held, self.failing_once, self.capabilities, self.faults, self.calls, self._ends):
            each.clear()

    def pass_time(self, seconds: float) -> None:
        self._passed += seconds

    def handle(self, request: Request) -> Reply:
        for path, end in list(self._ends.items()):
            if end.key not in self.held and time.monotonic() + self._passed >= end.at:
                del self._ends[path]
                issues = self.failing_once.pop(end.key, None)
                if issues is None:
                    end.act()
                else:
                    end.thing.status, end.thing.health = "DELETE_FAILED", {"issues": issues}
        return super().handle(request)

    def not_found(self, request: Request) -> Reply:
        """All that isn't mended is moto's."""
        query = f"?{urlencode(request.query)}" if request.query else ""
        headers = [(name, value) for name, value in request.headers.items() if name.lower() != "content-length"]
        path = f"{request.path}{query}"
        builder = EnvironBuilder(path, base_url=self.url, method=request.method, headers=headers, data=request.raw)
        parts, status, given = run_wsgi_app(self._moto, builder.get_environ(), buffered=True)
        kept = {name: value for name, value in given.items() if name.lower() in ("content-type", "x-amzn-errortype")}
        return Reply(int(status.split()[0]), b"".join(parts), kept)

    @route("GET", "/clusters/(?P<name>[^/]+)/(?:node-groups|fargate-profiles)")
    def list_parts(self, request: Request, name: str) -> Reply:
        if name not in self.backend.clusters:
            return failure(404, "ResourceNotFoundException", f"No cluster found for name: {name}.")
        return self.not_found(replace(request, query={"maxResults": str(PAGE)} | request.query))

    @route("GET", "/clusters")
    def list_clusters(self, request: Request) -> Reply:
        return self.not_found(replace(request, query={"maxResults": str(PAGE)} | request.query))

    @route("GET", "/clusters/(?P<name>[^/]+)/capabilities")
    def list_capabilities(self, request: Request, name: str) -> Reply:
        """One on each page; moto knows the call not at all, nor does EKS where it isn't offered."""
        if name not in self.capabilities:
            return self.not_found(request)
        page = int(request.query.get("nextToken", 0))
        every = self.capabilities[name]
        rest = {"nextToken": str(page + 1)} if page + 1 < len(every) else {}
        return Reply(200, {"capabilities": every[page : page + 1]} | rest)

    @route("DELETE", "/clusters/(?P<name>[^/]+)")
    def delete_cluster(self, request: Request, name: str) -> Reply:
        cluster = self.backend.clusters.get(name)
        if cluster is None or cluster.nodegroups:
            return self.not_found(request)
        if cluster.fargate_profiles:
            return failure(409, "ResourceInUseException", "Cluster has Fargate Profiles in ACTIVE/CREATING state")
        if getattr(cluster, "deletion_protection", False) and cluster.status == "ACTIVE":
            return failure(400, "InvalidRequestException", f"Cluster {name} has deletion protection enabled")
        return self._leaves(request, (CLUSTER, name), cluster, partial(self.backend.delete_cluster, name))

    @route("DELETE", "/clusters/(?P<cluster>[^/]+)/node-groups/(?P<name>[^/]+)")
    def delete_nodegroup(self, request: Request, cluster: str, name: str) -> Reply:
        groups = self.backend.clusters[cluster].nodegroups if cluster in self.backend.clusters else {}
        if name not in groups:
            return self.not_found(request)
        return self._leaves(
            request, (NODEGROUP, name), groups[name], partial(self.backend.delete_nodegroup, cluster, name)
        )

    @route("DELETE", "/clusters/(?P<cluster>[^/]+)/fargate-profiles/(?P<name>[^/]+)")
    def delete_fargate_profile(self, request: Request, cluster: str, name: str) -> Reply:
        profiles = self.backend.clusters[cluster].fargate_profiles if cluster in self.backend.clusters else {}
        if name not in profiles:
            return self.not_found(request)
        for other in profiles.values():
            if other.status == "DELETING" and other.fargate_profile_name != name:
                text = f"Cannot Delete Fargate Profile {name} because cluster {cluster} currently has Fargate profile"
                text = f"{text} {other.fargate_profile_name} in status DELETING"
                return failure(409, "ResourceInUseException", text)
        act = partial(self.backend.delete_fargate_profile, cluster, name)
        return self._leaves(request, (FARGATE_PROFILE, name), profiles[name], act)

    def _leaves(self, request: Request, key: Key, thing: Any, act: Callable[[], object]) -> Reply:
        """It is DELETING now, as the answer says, and gone when its time is over."""
        thing.status = "DELETING"
        at = time.monotonic() + self._passed + self.takes[key[0]]
        self._ends.setdefault(request.path, _End(key, thing, at, act))
        return self.not_found(replace(request, method="GET"))


class _End(NamedTuple):
    key: Key
    thing: Any
    at: float
    act: Callable[[], object]
