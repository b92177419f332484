"""AzureAks, against a server that keeps to the documents of Azure's APIs, and a stand-in of the cluster's own API."""

import uuid
from typing import ClassVar

import pytest

from tests.cleanup.cluster_target import run_unanswered
from tests.cleanup.providers.azure.server import (
    GROUP,
    LOCATION,
    SUBSCRIPTION,
    ArmTarget,
    Existing,
    arm_id,
    existing,
    group_path,
)
from tests.cleanup.rest_target import Thing
from tests.conformance.conftest import life, target
from tests.conformance.life import Life
from tests.conformance.target import Key, Made
from tests.kubernetes_api import ADMIN, kubeconfig
from tests.real_targets import free_port
from tests.standin import Request
from tracker.cleanup.core.contract import Unreachable

__all__ = ["life", "target"]

CLUSTER: Key = ("azure:cluster", "aks-1")
NODES: Key = ("azure:node_resource_group", f"MC_{GROUP}_aks-1_{LOCATION}")
WORKSPACE = (
    f"/subscriptions/{SUBSCRIPTION}/resourcegroups/logs/providers/microsoft.operationalinsights/workspaces/central"
)
OWN_IP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/net/providers/Microsoft.Network/publicIPAddresses/out-1"
SERVICE: Key = ("kubernetes:service", "blueprints/front")
CLAIM: Key = ("kubernetes:persistentvolumeclaim", "blueprints/data")
DEPLOYMENT: Key = ("kubernetes:deployment", "blueprints/blueprint")
PLURALS = {f"{noun}s": f"kubernetes:{noun}" for noun in ("service", "persistentvolumeclaim", "deployment")}


def cluster(name: str) -> Existing:
    properties = {
        "nodeResourceGroup": f"MC_{GROUP}_{name}_{LOCATION}",
        "resourceUID": uuid.uuid4().hex[:24],
        "addonProfiles": {"omsAgent": {"enabled": True, "config": {"logAnalyticsWorkspaceResourceID": WORKSPACE}}},
        "networkProfile": {
            "loadBalancerProfile": {
                "effectiveOutboundIPs": [
                    {"id": OWN_IP},
                    {"id": f"{group_path(f'MC_{GROUP}_{name}_{LOCATION}')}/x/managed"},
                ],
                "outboundIPs": {"publicIPs": [{"id": OWN_IP.upper()}]},
            }
        },
        "fqdn": f"{name}-1234.hcp.{LOCATION}.azmk8s.io",
    }
    return existing("azure:cluster", name, properties)


def nodes(name: str) -> Existing:
    group = f"MC_{GROUP}_{name}_{LOCATION}"
    path = group_path(group)
    body = {"id": path, "name": group, "location": LOCATION, "managedBy": arm_id("azure:cluster", name)}
    return Existing(body | {"properties": {}}, path=path)


class StandIn(ArmTarget):
    """A cluster with a load balancer, and a deployment that mounts a claim; and its neighbour in the same group."""

    deployment_type = "AzureAks"
    na: ClassVar[dict[str, str]] = {
        "not-ours": "no mark is set for Azure: being named in the record is ownership",
    }
    secrets: tuple[str, ...] = (*ArmTarget.secrets, ADMIN)

    marked: ClassVar = {"azure:cluster": "tags"}

    def another(self, number: int) -> tuple[str, Thing]:
        return f"more-{number}", cluster(f"more-{number}")

    def make(self) -> Made:
        things = {
            CLUSTER: cluster("aks-1"),
            NODES: nodes("aks-1"),
            ("azure:cluster", "aks-2"): cluster("aks-2"),
            ("azure:node_resource_group", f"MC_{GROUP}_aks-2_{LOCATION}"): nodes("aks-2"),
        }
        self.server.things |= things
        api = self.server.kubernetes
        self.server.kubeconfig = kubeconfig({"aks-1": api.url})
        api.create("/api/v1/namespaces", "blueprints")
        core = "/api/v1/namespaces/blueprints"
        api.create(f"{core}/services", "front", spec={"type": "LoadBalancer"})
        api.create(f"{core}/services", "inner", spec={"type": "ClusterIP"})
        api.create(f"{core}/persistentvolumeclaims", "data", spec={})
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
        spec = {"replicas": 1, "template": {"spec": {"volumes": volumes}}}
        api.create("/apis/apps/v1/namespaces/blueprints/deployments", "blueprint", spec=spec)
        ours = [SERVICE, DEPLOYMENT, CLAIM, CLUSTER, NODES]
        metadata = {"resource_group": GROUP, "subscription_id": SUBSCRIPTION}
        return Made(CLUSTER, ours, list(things)[2:], {"cluster_name": "aks-1"}, metadata)

    def left(self) -> set[Key]:
        objects = self.server.kubernetes.objects
        inside = {(PLURALS[plural], f"{where}/{name}") for plural, where, name in objects if plural in PLURALS}
        return super().left() | inside

    def vanish(self, made: Made) -> None:
        for key in (CLUSTER, NODES):
            del self.server.things[key]
        self.server.kubernetes.objects.clear()

    def key_of(self, call: Request) -> Key | None:
        if call.method != "DELETE" or "/namespaces/" not in call.path:
            return super().key_of(call)
        *_, namespace, plural, name = call.path.split("/")
        return PLURALS[plural], f"{namespace}/{name}"

    def replace(self, made: Made) -> None:
        self.server.kubernetes.objects.clear()
        self.server.things |= {CLUSTER: cluster("aks-1"), NODES: nodes("aks-1")}


TARGETS = [StandIn]
pytestmark = pytest.mark.parametrize("target_class", TARGETS)
# What Entra's users get: a program would have to be run.
ENTRA = """
apiVersion: v1
kind: Config
clusters: [{name: aks-1, cluster: {server: "https://aks-1.hcp.westeurope.azmk8s.io:443"}}]
users: [{name: me, user: {exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: kubelogin}}}]
contexts: [{name: aks-1, context: {cluster: aks-1, user: me}}]
current-context: aks-1
"""


def said(life: Life) -> str:
    """Return what went wrong, with its class."""
    found = life.record.cleanup.last_error
    assert found
    return f"{found.error_class}: {found.message}"


@pytest.mark.parametrize("why", ["exec", "doesn't answer"])
def test_a_cluster_that_cannot_be_asked_goes_all_the_same_and_says_what_may_be_left(
    target: StandIn, life: Life, why: str
) -> None:
    made = target.make()
    target.server.kubeconfig = ENTRA if why == "exec" else kubeconfig({"aks-1": f"http://127.0.0.1:{free_port()}"})
    run_unanswered(life, made)
    assert life.record.status == "Terminated"
    assert {CLUSTER, NODES} & target.left() == set()
    (note,) = (each for each in life.record.resources if each.state == "kept" and not each.kind.startswith("azure:"))
    assert note.kind == "kubernetes:objects"
    assert why in note.detail
    assert "may be left" in note.detail


def test_the_group_of_the_nodes_is_never_asked_to_go(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    target.server.things[NODES].stays = True
    for _ in range(12):
        life.step(state := life.begin())
    assert NODES not in target.asked()
    assert life.states[CLUSTER] == "gone"
    target.server.things[NODES].stays = False
    assert life.run(state).outcome == "gone"
    deleted = [call.path for call in target.server.calls if call.method == "DELETE"]
    assert not [path for path in deleted if "/resourcegroups/" in path.lower() and "/providers/" not in path]


def test_objects_of_a_cluster_that_went_meanwhile_are_gone_with_it(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    target.server.kubernetes.balancers_stay = True
    state = life.begin()
    life.step(state)
    assert life.states[SERVICE] == "leaving"
    target.vanish(made)
    assert life.run(state).outcome == "gone"
    service = next(resource for resource in life.record.resources if resource.key == SERVICE)
    assert service.proof.startswith("it went with its cluster: GET ")


def test_a_deletion_that_failed_later_says_why(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    with target.false_success(made):
        state = life.begin()
        with pytest.raises(Unreachable, match="InternalExecutionError nodes are left"):
            life.run(state)
    assert life.run(state).outcome == "gone"


def test_an_operation_of_the_cluster_that_is_under_way_is_waited_for(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    with target.busy(made, times=3):
        assert life.run(life.begin()).outcome == "gone"


@pytest.mark.parametrize("group", ["", "..", "a/b", "-x", "x."])
def test_a_malformed_group_is_a_refusal_and_no_call_is_made(target: StandIn, life: Life, group: str) -> None:
    made = target.make()
    life.register(made)
    life.force(metadata=made.metadata | {"resource_group": group})
    life.run(life.begin())
    assert said(life).startswith("bad_id: ")
    assert target.contacts() == 0


def test_what_the_cluster_uses_outside_of_the_group_of_its_nodes_is_kept_by_name(target: StandIn, life: Life) -> None:
    made = target.make()
    life.clean_up(made)
    kept = {each.key: each.detail for each in life.record.resources if each.state == "kept"}
    assert kept.keys() == {("azure:log_workspace", WORKSPACE), ("azure:public_ip", OWN_IP.lower())}
    assert all("billed on" in detail for detail in kept.values())
