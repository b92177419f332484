"""This is what the targets of managed clusters share: what is in the cluster, whose API server answers beside the provider's."""

from contextlib import suppress
from typing import ClassVar

import pytest

from tests.cleanup.rest_target import AccountTarget
from tests.conformance.life import Life
from tests.conformance.target import Key, Made
from tests.kubernetes_api import KubernetesApi
from tests.standin import Request
from tracker.cleanup.core.contract import Unreachable
from tracker.cleanup.transport.kubernetes import cluster as kubernetes_cluster
from tracker.cleanup.transport.kubernetes.objects import OBJECTS

TOKEN = "token-of-the-cluster-itself"
SERVICE: Key = ("kubernetes:service", "default/front")
# What in the cluster is the deployment's to delete.
INSIDE: list[Key] = [
    SERVICE,
    ("kubernetes:deployment", "default/app"),
    ("kubernetes:persistentvolumeclaim", "default/data"),
]
RETAINED = "pvc-retained"


class ClusterTarget(AccountTarget):
    """A cluster with a service that has a load balancer, a claim that is mounted, and a volume that is to be retained.

    `main` is the cluster's key at the provider, `balancer` and `disk` what the service's and the claim's are there.
    """

    main: ClassVar[Key]
    balancer: ClassVar[Key]
    disk: ClassVar[Key]

    def start(self) -> None:
        super().start()
        self.secrets = (*self.secrets, TOKEN)
        self.cluster = KubernetesApi(token=TOKEN)
        # One list, so that the order of all calls is seen.
        self.cluster.calls = self.server.calls

    def stop(self) -> None:
        self.cluster.stop()
        super().stop()

    def fill(self) -> str:
        """Return what is in the cluster; the name of the volume of its claim."""
        core = "/api/v1/namespaces/default"
        self.cluster.create(f"{core}/services", "front", spec={"type": "LoadBalancer"})
        self.cluster.create(f"{core}/services", "inner", spec={"type": "ClusterIP"})
        claim = self.cluster.create(f"{core}/persistentvolumeclaims", "data")
        self.cluster.create("/api/v1/persistentvolumes", RETAINED, spec={"persistentVolumeReclaimPolicy": "Retain"})
        mounted = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
        template = {"template": {"spec": {"volumes": mounted}}}
        self.cluster.create("/apis/apps/v1/namespaces/default/deployments", "app", spec=template)
        self._volume = str(claim["spec"]["volumeName"])
        return self._volume

    def wait(self, seconds: float) -> None:
        """The cluster's controllers get on, and what they made at the provider goes with what it was made for."""
        self.cluster.advance()
        served = self._has(SERVICE)
        claimed = self.cluster.get(f"/api/v1/persistentvolumes/{self._volume}") is not None
        for key, is_needed in ((self.balancer, served), (self.disk, claimed)):
            thing = self.server.things.get(key)
            if thing and not is_needed and not thing.stays:
                del self.server.things[key]

    def left(self) -> set[Key]:
        inside = {key for key in INSIDE if self._has(key)}
        return super().left() | (inside if self.server.found(*self.main) else set())

    def _has(self, key: Key) -> bool:
        noun, (namespace, name) = key[0].partition(":")[2], key[1].split("/")
        return self.cluster.get(next(OBJECTS[noun].paths(namespace, name))) is not None

    def key_of(self, call: Request) -> Key | None:
        if not call.path.startswith("/api"):
            return super().key_of(call)
        *_, namespace, plural, name = call.path.split("/")
        noun = next((noun for noun, each in OBJECTS.items() if each.plural == plural), "")
        return (f"kubernetes:{noun}", f"{namespace}/{name}") if call.method == "DELETE" else None

    def hasten(self, patch: pytest.MonkeyPatch) -> None:
        super().hasten(patch)
        patch.setattr(kubernetes_cluster, "READ_TIMEOUT", 0.4)


def run_unanswered(life: Life, made: Made) -> None:
    """Register and clean up, with a cluster that doesn't answer: one attempt is lost on that, and the next goes on without it."""
    life.register(made)
    state = life.begin()
    with suppress(Unreachable):
        life.run(state)
    life.run(state)
