"""CoreWeaveWorkload, against the stand-in of a Kubernetes API server: its clusters are plain Kubernetes."""

from typing import ClassVar

import pytest

from tests.cleanup.providers.local.test_kubernetes import KubernetesTarget
from tests.conformance.conftest import life, target
from tests.conformance.life import Life
from tests.conformance.target import Made
from tests.kubernetes_api import ADMIN
from tracker.cleanup.providers.coreweave import workload
from tracker.model.catalogue import CATALOGUE

__all__ = ["life", "target"]
TOKEN_SECRET = "tracker/coreweave/token"


class StandIn(KubernetesTarget):
    """A tenant's namespace, with a deployment of ours and what isn't its own."""

    deployment_type = "CoreWeaveWorkload"
    secret_name: ClassVar[str] = "tracker/coreweave/kubeconfig"


TARGETS = [StandIn]


def by_token(target: StandIn, made: Made, **content: str) -> dict[str, str]:
    """The record's metadata with a secret of this content instead of the kubeconfig."""
    target.put_secret(TOKEN_SECRET, **content)
    metadata = {key: value for key, value in made.metadata.items() if key != "kubeconfig_secret"}
    return {**metadata, "credential": TOKEN_SECRET}


@pytest.mark.parametrize("target_class", [StandIn])
def test_a_token_reaches_the_cluster_as_a_kubeconfig_does(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made, metadata=by_token(target, made, server=target.server.url, token=ADMIN))
    life.run(life.begin())
    assert life.record.status == "Terminated", life.record.cleanup.last_error
    assert set(made.ours) & target.left() == set()
    assert set(made.kept) <= target.left()


@pytest.mark.parametrize("target_class", [StandIn])
@pytest.mark.parametrize(
    "content",
    [
        {"token": ADMIN},
        {"server": "https://k.example"},
        {"server": "http://k.example", "token": ADMIN},
        {"server": "k.example", "token": ADMIN},
    ],
    ids=["no-server", "no-token", "http", "no-url"],
)
def test_a_secret_that_leads_nowhere_is_refused(target: StandIn, life: Life, content: dict[str, str]) -> None:
    made = target.make()
    life.register(made, metadata=by_token(target, made, **content))
    target.forget()
    life.run(life.begin())
    problem = life.record.cleanup.last_error
    assert problem
    assert problem.error_class == "credentials"
    assert ADMIN not in problem.message
    assert target.contacts() == 0


@pytest.mark.parametrize("target_class", [StandIn])
def test_the_tenants_namespace_stays_whatever_a_record_says(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made, metadata={**made.metadata, "delete_namespace": "true"})
    # With nothing of others in it, which alone would keep it.
    target.server.ask("DELETE", target.path(("kubernetes:deployment", "neighbour")))
    target.server.ask("DELETE", target.path(("kubernetes:persistentvolumeclaim", "archive")))
    life.run(life.begin())
    assert life.record.status == "Terminated", life.record.cleanup.last_error
    assert ("kubernetes:namespace", target.namespace) in target.left()
    assert ("kubernetes:namespace", target.namespace) not in life.states


@pytest.mark.parametrize("target_class", [StandIn])
def test_without_a_context_the_kubeconfigs_current_one_counts(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made, resource_ids={key: value for key, value in made.ids.items() if key != "context"})
    life.run(life.begin())
    assert life.record.status == "Terminated", life.record.cleanup.last_error
    assert set(made.ours) & target.left() == set()


def test_the_type_knows_no_deletion_of_the_namespace() -> None:
    assert "delete_namespace" not in CATALOGUE["CoreWeaveWorkload"].metadata
    assert "the namespace" not in " ".join(workload.NOTES.order)


@pytest.mark.parametrize("target_class", [StandIn])
def test_a_context_that_cannot_be_one_is_refused(target: StandIn, life: Life) -> None:
    made = target.make()
    life.register(made)
    target.forget()
    life.force(resource_ids=made.ids | {"context": "--all"}, resources=[])
    life.run(life.begin())
    problem = life.record.cleanup.last_error
    assert problem
    assert problem.error_class == "bad_id"
    assert target.contacts() == 0
