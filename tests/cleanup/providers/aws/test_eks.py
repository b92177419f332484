"""AwsEks, against EKS' stand-in over HTTP: what goes, in which order, what is refused, and how often is looked."""

import base64
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import botocore.auth
import msgspec
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.certificates import Authority
from tests.cleanup.cluster_target import run_unanswered
from tests.cleanup.providers.aws.cloud import MARK, REGION
from tests.cleanup.providers.aws.eks_server import CLUSTER, FARGATE_PROFILE, NODEGROUP, ClusterApi, Eks, failure
from tests.cleanup.providers.aws.target import ACCOUNT, AwsTarget
from tests.conformance.life import Life
from tests.conformance.target import HttpTarget, Key, Made
from tests.kubernetes_api import status
from tests.standin import Fault, Reply, Request
from tests.table import create_table
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.providers.aws import eks
from tracker.cleanup.transport.kubernetes.objects import OBJECTS
from tracker.model.deployment import Resource, format_time, parse_time

NAME = "blueprints"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/eks"
CODES = {
    400: "ExpiredTokenException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
NOUNS = {noun.plural: f"kubernetes:{name}" for name, noun in OBJECTS.items()}
PROFILES = [(FARGATE_PROFILE, "fp-1"), (FARGATE_PROFILE, "fp-2")]
PARTS = {"node-groups": NODEGROUP, "fargate-profiles": FARGATE_PROFILE}


class Emulator(AwsTarget, HttpTarget):
    """moto's EKS, mended, with three node groups and two Fargate profiles, and the API server of the cluster."""

    deployment_type = "AwsEks"
    looking = ("GET", "^/clusters")
    deleting = ("DELETE", "^/clusters")
    secrets = (*AwsTarget.secrets, "k8s-aws-v1.")
    server: Eks
    api: ClusterApi

    def start(self) -> None:
        cls = type(self)
        if not hasattr(cls, "server"):
            cls.server = Eks(ACCOUNT, REGION)
            self.request.session.addfinalizer(cls.server.stop)
        self.server.clear()
        self.api = ClusterApi()
        # One order for both.
        self.api.calls = self.server.calls
        # Node groups look for the machine images of EC2, of which moto has thousands.
        self.patch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        super().start()

    def stop(self) -> None:
        self.api.stop()
        assert self.api.violations == []
        for name in list(self.server.backend.clusters):
            del self.server.backend.clusters[name]

    def url(self) -> str:
        return self.server.url

    def parameters(self) -> dict[str, str]:
        return {"EksEndpointUrl": self.url()}

    def error(self, status: int, text: str) -> Reply:
        return failure(status, CODES[status], text)

    # Making

    def make(self) -> Made:
        self.cluster(NAME, groups=["ng-1", "ng-2", "ng-3"], profiles=["fp-1", "fp-2"])
        self.cluster("neighbour", groups=["ng-1"], profiles=["fp-1"])
        spec = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}
        self.api.create("/api/v1/namespaces/default/persistentvolumeclaims", "data")
        self.api.create("/apis/apps/v1/namespaces/default/deployments", "web", spec={"template": {"spec": spec}})
        self.api.create("/api/v1/namespaces/default/services", "front", spec={"type": "LoadBalancer"})
        self.api.create("/api/v1/namespaces/default/services", "inner", spec={"type": "ClusterIP"})
        self.api.create("/apis/networking.k8s.io/v1/namespaces/default/ingresses", "front")
        ours = [
            ("kubernetes:service", "default/front"),
            ("kubernetes:ingress", "default/front"),
            ("kubernetes:deployment", "default/web"),
            ("kubernetes:persistentvolumeclaim", "default/data"),
            (NODEGROUP, "ng-1"),
            (FARGATE_PROFILE, "fp-1"),
            (FARGATE_PROFILE, "fp-2"),
            (NODEGROUP, "ng-2"),
            (NODEGROUP, "ng-3"),
            (CLUSTER, NAME),
        ]
        ids: dict[str, str | list[str]] = {"cluster_name": NAME, "nodegroup": ["ng-1"], "fargate_profile": "fp-1"}
        return Made((CLUSTER, NAME), ours, [(CLUSTER, "neighbour")], ids, region=REGION)

    def cluster(self, name: str, *, groups: list[str], profiles: list[str], mark: bool = True) -> Any:
        """Make one; what moto has of it, which is what describing shows."""
        backend = self.server.backend
        cluster = backend.create_cluster(name, ROLE, {}, tags={MARK: "b-1"} if mark else {})
        cluster.endpoint, cluster.certificate_authority = self.api.url, {"data": base64.b64encode(b"none").decode()}
        for group in groups:
            backend.create_nodegroup(name, ROLE, group, [])
        for profile in profiles:
            backend.create_fargate_profile(profile, name, [{"namespace": "default"}], ROLE)
        return cluster

    # Looking

    def left(self) -> set[Key]:
        clusters = self.server.backend.clusters
        ours = clusters.get(NAME)
        return {
            *((CLUSTER, name) for name in clusters),
            *((NODEGROUP, name) for name in (ours.nodegroups if ours else ())),
            *((FARGATE_PROFILE, name) for name in (ours.fargate_profiles if ours else ())),
            *(
                (f"kubernetes:{body['kind'].lower()}", f"{namespace}/{name}")
                for (_, namespace, name), body in self.api.objects.items()
            ),
        }

    def key_of(self, call: Request) -> Key | None:
        if call.method != "DELETE":
            return None
        match call.path.strip("/").split("/"):
            case ["clusters", name]:
                return CLUSTER, name
            case ["clusters", _, part, name]:
                return PARTS[part], name
            case [*_, "namespaces", namespace, plural, name]:
                return NOUNS[plural], f"{namespace}/{name}"
        raise AssertionError(call)

    def vanish(self, made: Made) -> None:
        del self.server.backend.clusters[NAME]
        for key in [key for key in self.api.objects if key[1] == "default"]:
            del self.api.objects[key]

    def wait(self, seconds: float) -> None:
        self.server.pass_time(seconds)

    # Bending

    def disown(self, made: Made) -> None:
        self.server.backend.clusters[NAME].tags.clear()

    def put_mark(self, made: Made, generation: str) -> list[Key]:
        self.server.backend.clusters[NAME].tags[MARK] = generation
        return [(CLUSTER, NAME)]

    def crowd(self, number: int, generation: str | None = None) -> list[Key]:
        before = len(self.server.backend.clusters)
        names = [f"a-{before + n}" for n in range(number)]
        for name in names:
            self.cluster(name, groups=[], profiles=[], mark=False).tags = {MARK: generation} if generation else {}
        return [(CLUSTER, name) for name in names]

    def replace(self, made: Made) -> None:
        former = self.server.backend.clusters.pop(NAME)
        self.cluster(NAME, groups=["ng-1"], profiles=["fp-1"]).created_at = former.created_at + timedelta(hours=1)

    def protect(self, made: Made) -> None:
        self.server.backend.clusters[NAME].deletion_protection = True

    def lose_credential(self, made: Made) -> AbstractContextManager[object]:
        return self.server.failing(Fault("answer", path="^/clusters", answer=self.error(401, "The token is invalid")))

    def denials(self) -> list[str]:
        return ["400", "401", "403"]

    @contextmanager
    def failing(self, fault: str, when: str) -> Iterator[None]:
        if fault == "refused" and when == "look":
            with self.refusing():
                yield
        elif fault == "hung":
            with self.hasty(), super().failing(fault, when):
                yield
        else:
            with super().failing(fault, when):
                yield

    def hasten(self, patch: pytest.MonkeyPatch) -> None:
        """`hasty` does."""

    def busy(self, made: Made, times: int) -> AbstractContextManager[object]:
        answer = failure(409, "ResourceInUseException", f"Cluster {NAME} currently has an update in progress")
        return self.server.failing(Fault("answer", "DELETE", "^/clusters/[^/]+$", answer, times=times))

    @contextmanager
    def stuck(self, made: Made, key: Key) -> Iterator[None]:
        self.server.held.add(key)
        yield
        self.server.held.remove(key)

    def false_success(self, made: Made) -> AbstractContextManager[object]:
        page = Reply(200, b"<html>Please sign in</html>", {"Content-Type": "text/html"})
        return self.server.failing(Fault("answer", "DELETE", "^/clusters/[^/]+$", page))

    def dependent(self, made: Made) -> Key:
        return NODEGROUP, "ng-2"


TARGETS = [Emulator]


@pytest.fixture
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with mock_aws(), Emulator(request, monkeypatch) as found:
        yield found


@pytest.fixture
def life(target: Emulator) -> Life:
    create_table("tracker")
    return Life(target, "tracker")


def message(life: Life) -> str:
    """Return why the latest round failed."""
    error = life.record.cleanup.last_error
    assert error
    return f"{error.error_class}: {error.message}"


def renamed(life: Life) -> None:
    """Registered as "first", and amended."""
    life.register(Made((CLUSTER, "first"), [], [], {"cluster_name": "first"}, region=REGION))
    former = Resource(CLUSTER, "first", named_by="cluster_name")
    life.force(resource_ids={"cluster_name": NAME}, resources=[former])


def kept(life: Life) -> dict[str, str]:
    return {f"{one.kind} {one.id}": one.detail for one in life.record.resources if one.state == "kept"}


class TestGoing:
    def test_each_thing_is_asked_once_and_one_fargate_profile_after_the_other(
        self, target: Emulator, life: Life
    ) -> None:
        life.clean_up(target.make())
        assert life.record.status == "Terminated"
        asked = target.asked()
        assert sorted(asked) == sorted(set(asked))
        profiles = [n for n, call in enumerate(target.server.calls) if target.key_of(call) in PROFILES]
        looks = [call.path for call in target.server.calls[profiles[0] + 1 : profiles[1]]]
        assert any(path.endswith("/fargate-profiles/fp-1") for path in looks)

    def test_a_cluster_that_takes_twenty_minutes_is_looked_at_seventy_times_within_its_own_deadline(
        self, target: Emulator, life: Life, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(target.server, "takes", {NODEGROUP: 8 * 60, CLUSTER: 12 * 60})
        target.cluster(NAME, groups=["ng-1", "ng-2"], profiles=[])
        began = life.clock.now
        life.be_patient()
        life.clean_up(Made((CLUSTER, NAME), [], [], {"cluster_name": NAME}, region=REGION))

        assert life.record.status == "Terminated"
        minutes = (life.clock.now - began).total_seconds() / 60
        # A look comes up to a twentieth of the time later than what it sees.
        assert 20 <= minutes <= 22
        # Three transitions of the workflow each.
        assert 60 <= len(life.answers) <= 75
        cleanup = life.record.cleanup
        time = parse_time(cleanup.deadline or "") - parse_time(cleanup.requested_at or "")
        assert time == timedelta(hours=4)

    def test_a_node_group_whose_deletion_failed_is_asked_again_and_says_what_was_wrong(
        self, target: Emulator, life: Life
    ) -> None:
        made = target.make()
        issue = {"code": "Ec2SecurityGroupDeletionFailure", "message": "it is in use", "resourceIds": ["sg-1"]}
        target.server.failing_once[NODEGROUP, "ng-1"] = [issue]
        life.register(made)
        state = life.begin()
        with pytest.raises(Unreachable, match=r"DELETE_FAILED; Ec2SecurityGroupDeletionFailure: it is in use \(sg-1\)"):
            life.run(state)
        life.run(state)
        assert life.record.status == "Terminated"
        assert target.asked().count((NODEGROUP, "ng-1")) == 2

    def test_parts_that_the_record_names_are_in_the_receipt_found_or_not(self, target: Emulator, life: Life) -> None:
        target.cluster(NAME, groups=["ng-1"], profiles=[])
        ids: dict[str, str | list[str]] = {"cluster_name": NAME, "nodegroup": ["ng-1", "ng-9"], "fargate_profile": "fp"}
        life.clean_up(Made((CLUSTER, NAME), [], [], ids, region=REGION))
        named = {(one.id, one.named_by): one.state for one in life.record.resources}
        parts = [("ng-1", "nodegroup"), ("ng-9", "nodegroup"), ("fp", "fargate_profile")]
        assert named == dict.fromkeys([(NAME, "cluster_name"), *parts], "gone")

    @pytest.mark.parametrize("status", ["CREATING", "FAILED"])
    def test_a_cluster_that_was_never_up_goes(self, target: Emulator, life: Life, status: str) -> None:
        cluster = target.cluster(NAME, groups=[], profiles=[])
        cluster.status, cluster.endpoint, cluster.certificate_authority = status, None, None
        life.clean_up(Made((CLUSTER, NAME), [], [], {"cluster_name": NAME}, region=REGION))
        assert life.record.status == "Terminated"
        assert target.asked() == [(CLUSTER, NAME)]

    def test_the_parts_of_a_cluster_that_the_record_named_before_go_too(self, target: Emulator, life: Life) -> None:
        target.cluster("first", groups=["ng-first"], profiles=[])
        target.cluster(NAME, groups=["ng-1"], profiles=[])
        renamed(life)
        life.run(life.begin())
        assert life.record.status == "Terminated", message(life)
        assert target.left() & {(CLUSTER, "first"), (CLUSTER, NAME)} == set()

    def test_two_clusters_with_parts_of_one_name_are_a_refusal(self, target: Emulator, life: Life) -> None:
        for name in ("first", NAME):
            target.cluster(name, groups=["ng-1"], profiles=[])
        renamed(life)
        life.run(life.begin())
        assert message(life).startswith("bad_id: aws:eks_nodegroup ng-1")
        assert target.asked() == []


class TestRefused:
    def test_protection_is_read_before_anything_is_deleted(self, target: Emulator, life: Life) -> None:
        made = target.make()
        target.protect(made)
        target.forget()
        life.clean_up(made)
        assert message(life).startswith("protected: ")
        assert target.asked() == []

    def test_protection_and_marks_are_read_again_before_each_deletion(self, target: Emulator) -> None:
        made = target.make()
        place = {"region": REGION, "account": ACCOUNT, "cluster": NAME}
        cluster = target.server.backend.clusters[NAME]
        for change, error_class in (("deletion_protection", "protected"), ("tags", "not_ours")):
            setattr(cluster, change, change == "deletion_protection" or {})
            for kind, name in made.ours[4:]:
                with pytest.raises(Refused) as caught:
                    eks.KINDS[kind].delete(Resource(kind, name, place), target.settings)
                assert caught.value.error_class == error_class
            cluster.deletion_protection = False
        assert target.asked() == []

    def test_an_invalid_request_is_protection_that_came_since(self, target: Emulator, life: Life) -> None:
        made = target.make()
        answer = failure(400, "InvalidRequestException", "deletion protection is enabled")
        with target.server.failing(Fault("answer", *target.deleting, answer)):
            life.clean_up(made)
        assert message(life).startswith("protected: ")

    def test_an_invalid_request_that_names_no_protection_is_a_state_that_passes(self, target: Emulator) -> None:
        target.make()
        cluster = Resource(CLUSTER, NAME, {"region": REGION, "account": ACCOUNT})
        answer = failure(400, "InvalidRequestException", "the cluster is being updated")
        with (
            target.server.failing(Fault("answer", *target.deleting, answer)),
            pytest.raises(Busy, match="the cluster is being updated"),
        ):
            eks.KINDS[CLUSTER].delete(cluster, target.settings)

    def test_no_cluster_found_is_gone_whichever_way_it_is_said_and_nothing_else_is(self, target: Emulator) -> None:
        target.make()
        cluster = Resource(CLUSTER, NAME, {"region": REGION, "account": ACCOUNT})
        said = failure(400, "ClientException", f"No cluster found for name: {NAME}.")
        with target.server.failing(Fault("answer", *target.looking, said)):
            assert eks.KINDS[CLUSTER].state(cluster, target.settings).state == "gone"
        for number, code in ((400, "ClientException"), (404, "NotFound"), (404, "")):
            with (
                target.server.failing(Fault("answer", *target.looking, failure(number, code, "something else"))),
                pytest.raises(Unreachable),
            ):
                eks.KINDS[CLUSTER].state(cluster, target.settings)

    def test_not_found_is_unproven_where_nothing_vouches_for_the_account(self, target: Emulator, life: Life) -> None:
        target.settings = msgspec.structs.replace(target.settings, aws_account="")
        life.clean_up(Made((CLUSTER, NAME), [], [], {"cluster_name": NAME}, region=REGION))
        assert message(life).startswith("unproven: ")


class Account:
    """Someone who makes in an account what clusters leave there, and looks at what became of it."""

    def __init__(self) -> None:
        self.ec2 = boto3.client("ec2", region_name=REGION)
        self.elbv2 = boto3.client("elbv2", region_name=REGION)
        self.elb = boto3.client("elb", region_name=REGION)
        self.logs = boto3.client("logs", region_name=REGION)

    def interface(self, tags: dict[str, str]) -> str:
        subnet = self.subnets()[0]
        made = self.ec2.create_network_interface(
            SubnetId=subnet, TagSpecifications=specified("network-interface", tags)
        )
        return str(made["NetworkInterface"]["NetworkInterfaceId"])

    def node(self, tags: dict[str, str]) -> str:
        made = self.ec2.run_instances(
            ImageId="ami-1", MinCount=1, MaxCount=1, TagSpecifications=specified("instance", tags)
        )
        return str(made["Instances"][0]["InstanceId"])

    def volume(self, tags: dict[str, str], node: str = "") -> str:
        made = self.ec2.create_volume(
            AvailabilityZone=f"{REGION}a", Size=1, TagSpecifications=specified("volume", tags)
        )["VolumeId"]
        if node:
            self.ec2.attach_volume(VolumeId=made, InstanceId=node, Device="/dev/sdf")
        return str(made)

    def balancer(self, tags: dict[str, str]) -> str:
        made = self.elbv2.create_load_balancer(Name=uuid4().hex, Subnets=self.subnets(), Tags=pairs(tags))
        return str(made["LoadBalancers"][0]["LoadBalancerArn"])

    def classic_balancer(self, tags: dict[str, str]) -> str:
        name = uuid4().hex
        listener = {"Protocol": "tcp", "LoadBalancerPort": 80, "InstancePort": 80}
        self.elb.create_load_balancer(
            LoadBalancerName=name, Listeners=[listener], AvailabilityZones=[f"{REGION}a"], Tags=pairs(tags)
        )
        return name

    def subnets(self) -> list[str]:
        return [str(subnet["SubnetId"]) for subnet in self.ec2.describe_subnets()["Subnets"]][:2]

    def left(self) -> set[str]:
        """The ids of all of these, but of nodes."""
        return {
            *(one["NetworkInterfaceId"] for one in self.ec2.describe_network_interfaces()["NetworkInterfaces"]),
            *(one["VolumeId"] for one in self.ec2.describe_volumes()["Volumes"]),
            *(one["LoadBalancerArn"] for one in self.elbv2.describe_load_balancers()["LoadBalancers"]),
            *(one["LoadBalancerName"] for one in self.elb.describe_load_balancers()["LoadBalancerDescriptions"]),
        }


def pairs(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def specified(kind: str, tags: dict[str, str]) -> list[Any]:
    return [{"ResourceType": kind, "Tags": pairs(tags)}] if tags else []


OWNED = {f"kubernetes.io/cluster/{NAME}": "owned"}
OTHERS = {"kubernetes.io/cluster/neighbour": "owned"}
SHARED = {f"kubernetes.io/cluster/{NAME}": "shared"}
BY_CNI = {"cluster.k8s.amazonaws.com/name": NAME, "node.k8s.amazonaws.com/instance_id": "i-0123456789abcdef0"}


@pytest.fixture
def account(target: Emulator) -> Account:
    return Account()


class TestLeft:
    """This is what a cluster's controllers and nodes leave in the account."""

    @pytest.mark.parametrize("own", [OWNED, BY_CNI, OWNED | {"eks:eni:owner": "eks-vpc-resource-controller"}])
    def test_an_interface_that_is_attached_to_nothing_goes_with_its_cluster(
        self, target: Emulator, life: Life, account: Account, own: dict[str, str]
    ) -> None:
        made = target.make()
        ours = account.interface(own)
        others = [account.interface(tags) for tags in ({}, OTHERS, SHARED, {"eks:eni:owner": "amazon-vpc-cni"})]
        life.clean_up(made)
        assert life.record.status == "Terminated"
        assert life.states["aws:network_interface", ours] == "gone"
        assert account.left().isdisjoint({ours})
        assert set(others) <= account.left()

    def test_an_interface_that_keeps_a_node_group_from_going_is_found_by_the_next_round(
        self, target: Emulator, life: Life, account: Account
    ) -> None:
        made = target.make()
        issue = {"code": "Ec2SecurityGroupDeletionFailure", "message": "it is in use", "resourceIds": ["sg-1"]}
        target.server.failing_once[NODEGROUP, "ng-1"] = [issue]
        life.register(made)
        state = life.begin()
        with pytest.raises(Unreachable, match="Ec2SecurityGroupDeletionFailure"):
            life.run(state)
        life.give_back(state)
        left = account.interface(BY_CNI)
        life.run(life.begin())
        assert life.record.status == "Terminated"
        assert life.states["aws:network_interface", left] == "gone"

    def test_an_interface_that_only_names_its_node_is_known_by_that(
        self, target: Emulator, life: Life, account: Account
    ) -> None:
        made = target.make()
        node = account.node(OWNED | {"eks:nodegroup-name": "ng-1"})
        ours = account.interface({"node.k8s.amazonaws.com/instance_id": node})
        life.clean_up(made)
        assert life.states["aws:network_interface", ours] == "gone"

    def test_an_interface_of_two_clusters_is_kept(self, target: Emulator, life: Life, account: Account) -> None:
        made = target.make()
        both = account.interface(OWNED | OTHERS)
        life.clean_up(made)
        assert kept(life)[f"aws:network_interface {both}"] == "it carries the tag of cluster neighbour, too"
        assert both in account.left()

    @pytest.mark.parametrize("change", ["mark", "protection", "tag", "name"])
    def test_whose_an_interface_is_is_judged_again_at_its_deletion(
        self, target: Emulator, account: Account, change: str
    ) -> None:
        made = target.make()
        cluster = target.server.backend.clusters[NAME]
        created_at = format_time(cluster.created_at)
        left = account.interface(OWNED)
        place = {"region": REGION, "account": ACCOUNT, "cluster": NAME, "created_at": created_at}
        match change:
            case "mark":
                target.disown(made)
            case "protection":
                target.protect(made)
            case "tag":
                account.ec2.delete_tags(Resources=[left], Tags=[{"Key": key} for key in OWNED])
            case _:
                cluster.created_at += timedelta(hours=1)
        with pytest.raises(Refused) as caught:
            eks.KINDS["aws:network_interface"].delete(Resource("aws:network_interface", left, place), target.settings)
        assert caught.value.error_class == ("protected" if change == "protection" else "not_ours")
        assert left in account.left()

    def test_an_interface_outlives_its_cluster_and_still_goes(self, target: Emulator, account: Account) -> None:
        left = account.interface(OWNED)
        place = {"region": REGION, "account": ACCOUNT, "cluster": NAME, "created_at": "2026-01-01T00:00:00Z"}
        eks.KINDS["aws:network_interface"].delete(Resource("aws:network_interface", left, place), target.settings)
        assert left not in account.left()

    def test_nodes_that_no_node_group_has_are_kept_by_name(
        self, target: Emulator, life: Life, account: Account
    ) -> None:
        made = target.make()
        account.node(OWNED | {"eks:nodegroup-name": "ng-1"})
        account.node(OTHERS)
        account.ec2.terminate_instances(InstanceIds=[account.node(OWNED)])
        names = {
            account.node(OWNED | {"karpenter.sh/nodepool": "spot"}): "of Karpenter's pool spot",
            account.node(
                {"eks:eks-cluster-name": NAME, "aws:autoscaling:groupName": "g"}
            ): "of the Auto Scaling group g",
            account.node(OWNED): "a node, in no node group",
        }
        life.clean_up(made)
        assert life.record.status == "Terminated"
        found = {key.removeprefix("aws:instance "): why for key, why in kept(life).items() if "instance" in key}
        assert found.keys() == names.keys()
        assert all(names[id_] in why for id_, why in found.items())

    @pytest.mark.parametrize(("days", "said"), [(30, "keeps each event for 30 days"), (None, "for ever")])
    def test_the_log_group_is_kept_and_its_retention_said(
        self, target: Emulator, life: Life, account: Account, days: int | None, said: str
    ) -> None:
        made = target.make()
        name = f"/aws/eks/{NAME}/cluster"
        for each in (name, f"{name}-of-another"):
            account.logs.create_log_group(logGroupName=each)
        if days:
            account.logs.put_retention_policy(logGroupName=name, retentionInDays=days)
        life.clean_up(made)
        (key,) = kept(life)
        assert key == f"aws:log_group {name}"
        assert said in kept(life)[key]

    def test_capabilities_are_kept_by_name(self, target: Emulator, life: Life) -> None:
        made = target.make()
        target.server.capabilities[NAME] = [{"capabilityName": name, "type": "ACK"} for name in ("ack", "kro")]
        life.clean_up(made)
        assert kept(life).keys() == {"aws:eks_capability ack", "aws:eks_capability kro"}

    def test_what_may_not_be_looked_at_is_said_and_keeps_nothing(
        self, target: Emulator, life: Life, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = target.make()
        refuse(monkeypatch, "DescribeLogGroups", "AccessDeniedException")
        life.clean_up(made)
        assert life.record.status == "Terminated"
        assert "DescribeLogGroups: AccessDeniedException" in kept(life)[f"aws:leftovers {NAME}"]

    def test_volumes_and_balancers_of_a_cluster_that_answers_are_its_objects_own(
        self, target: Emulator, life: Life, account: Account
    ) -> None:
        made = target.make()
        account.volume(OWNED)
        account.balancer({"elbv2.k8s.aws/cluster": NAME})
        life.clean_up(made)
        assert life.record.status == "Terminated"
        assert kept(life) == {}

    def test_of_a_cluster_that_does_not_answer_volumes_and_balancers_are_kept_by_name(
        self, target: Emulator, life: Life, account: Account
    ) -> None:
        made = target.make()
        node = account.node(OWNED)
        ours = {
            account.volume({"KubernetesCluster": NAME}): "retained",
            account.volume(OWNED, node): node,
            account.volume(OWNED | OTHERS): "neighbour",
            account.balancer({"elbv2.k8s.aws/cluster": NAME}): "RequireMark",
            account.classic_balancer(OWNED): "RequireMark",
        }
        marked = account.volume(OWNED | {MARK: "b-1"})
        strangers = {account.volume({}), account.volume(OTHERS), account.volume({"ebs.csi.aws.com/cluster": "true"})}
        strangers |= {account.balancer(SHARED), account.balancer({"made": "by hand"}), account.classic_balancer(OTHERS)}
        target.api.stop()
        run_unanswered(life, made)
        assert life.record.status == "Terminated"
        found = {key.partition(" ")[2]: why for key, why in kept(life).items()}
        assert ours.keys() <= found.keys()
        assert all(word in found[id_] for id_, word in ours.items())
        assert found.keys().isdisjoint(strangers)
        assert ours.keys() | strangers <= account.left()
        assert life.states["aws:volume", marked] == "gone"
        assert marked not in account.left()

    def test_what_was_kept_of_a_cluster_that_answers_again_is_its_objects_own(
        self, target: Emulator, life: Life, account: Account
    ) -> None:
        made = target.make()
        volume = account.volume(OWNED)
        life.register(made)
        target.api.stop()
        state = life.begin()
        with pytest.raises(Unreachable):
            life.run(state)
        with target.failing("server-error", "delete"), pytest.raises(Unreachable):
            life.run(state)
        assert "retained" in kept(life)[f"aws:volume {volume}"]
        life.give_back(state)
        target.api.start()
        life.run(life.begin())
        assert life.record.status == "Terminated"
        assert "answers again" in kept(life)[f"aws:volume {volume}"]

    def test_with_delete_dependents_they_go_once_the_cluster_is_gone(
        self, target: Emulator, life: Life, account: Account
    ) -> None:
        target.settings = msgspec.structs.replace(target.settings, require_mark=False)
        life.be_patient()
        made = replace(target.make(), metadata={"delete_dependents": "all"})
        ours = [
            ("aws:volume", account.volume(OWNED)),
            ("aws:load_balancer", account.balancer({"elbv2.k8s.aws/cluster": NAME})),
            ("aws:classic_load_balancer", account.classic_balancer(OWNED)),
        ]
        shared = account.volume(OWNED | OTHERS)
        target.api.stop()
        run_unanswered(life, made)
        assert [life.states[key] for key in ours] == ["gone"] * 3
        assert account.left().isdisjoint(id_ for _, id_ in ours)
        assert shared in account.left()

    def test_what_a_cluster_left_that_is_gone_already_is_kept_by_name(
        self, target: Emulator, life: Life, account: Account
    ) -> None:
        made = target.make()
        volume = account.volume(OWNED | {MARK: "b-1"})
        target.vanish(made)
        life.clean_up(made)
        assert life.record.status == "Terminated"
        assert kept(life) == {f"aws:volume {volume}": f"it has a tag of cluster {NAME}, which isn't there"}

    def test_what_a_later_cluster_of_the_name_has_is_not_looked_at(
        self, target: Emulator, life: Life, account: Account
    ) -> None:
        made = target.make()
        life.register(made)
        state = life.begin()
        life.step(state)
        target.replace(made)
        account.volume(OWNED)
        life.give_back(state)
        life.run(life.begin())
        assert kept(life) == {}


def refuse(patch: pytest.MonkeyPatch, refused: str, code: str) -> None:
    """Let one of AWS' calls be refused."""
    send = BaseClient._make_api_call

    def call(client: BaseClient, operation: str, params: dict[str, Any]) -> Any:
        if operation == refused:
            raise ClientError({"Error": {"Code": code, "Message": "no"}}, operation)
        return send(client, operation, params)

    patch.setattr(BaseClient, "_make_api_call", call)


class TestInside:
    def test_a_cluster_whose_api_server_does_not_answer_goes_and_what_may_be_left_is_said(
        self, target: Emulator, life: Life
    ) -> None:
        made = target.make()
        target.api.stop()
        run_unanswered(life, made)
        assert life.record.status == "Terminated"
        assert "a load balancer or a disk" in kept(life)[f"kubernetes:objects {NAME}"]

    def test_what_may_be_left_is_looked_up_once_it_answers_again(self, target: Emulator, life: Life) -> None:
        made = target.make()
        life.register(made)
        target.api.stop()
        state = life.begin()
        with pytest.raises(Unreachable):
            life.run(state)
        with target.failing("server-error", "delete"), pytest.raises(Unreachable):
            life.run(state)
        assert f"kubernetes:objects {NAME}" in kept(life)
        life.give_back(state)
        target.api.start()
        life.run(life.begin())
        assert set(made.ours) <= {key for key, now in life.states.items() if now == "gone"}
        assert "answers again" in kept(life)[f"kubernetes:objects {NAME}"]

    def test_of_a_cluster_that_we_asked_to_go_nothing_more_is_asked_inside(self, target: Emulator, life: Life) -> None:
        made = target.make()
        life.register(made)
        state = life.begin()
        with target.stuck(made, made.main):
            while life.states.get(made.main) != "leaving":
                life.step(state)
                life.wait(10)
            life.give_back(state)
            target.api.stop()
            life.step(state := life.begin())
        life.run(state)
        assert life.record.status == "Terminated"
        assert kept(life) == {}

    def test_a_role_that_the_cluster_does_not_let_in_is_a_refusal(self, target: Emulator, life: Life) -> None:
        made = target.make()
        with target.api.failing(Fault("answer", "GET", "^/api", status(401, "Unauthorized"))):
            life.clean_up(made)
        assert message(life).startswith("credentials: ")
        assert target.asked() == []

    @pytest.mark.parametrize("endpoint", ["http://10.0.0.1", "ftp://127.0.0.1", "https://a b"])
    def test_the_token_goes_over_tls_alone(self, target: Emulator, life: Life, endpoint: str) -> None:
        made = target.make()
        target.server.backend.clusters[NAME].endpoint = endpoint
        life.clean_up(made)
        assert message(life).startswith("credentials: ")
        assert target.asked() == []

    def test_the_authority_is_the_cluster_s_own(self, target: Emulator, life: Life, tmp_path: Path) -> None:
        ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*ours.files("api", ("127.0.0.1",)))
        with ClusterApi(tls=context) as api:
            cluster = target.cluster(NAME, groups=[], profiles=[])
            resource = Resource(CLUSTER, NAME, {"region": REGION, "account": ACCOUNT})
            cluster.endpoint = api.url
            cluster.certificate_authority = {"data": base64.b64encode(others.pem.encode()).decode()}
            with pytest.raises(Unreachable, match=api.url), eks._reach(resource, target.settings):
                pass
            cluster.certificate_authority = {"data": base64.b64encode(ours.pem.encode()).decode()}
            with eks._reach(resource, target.settings) as reached:
                assert reached.uid == api.uid

    def test_a_token_is_what_the_aws_cli_makes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: datetime(2026, 1, 1))  # noqa: DTZ001
        keys = {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": "b" * 40}
        sts = boto3.client("sts", region_name=REGION, aws_session_token="TOK", **keys)
        url = base64.urlsafe_b64decode(eks._token(sts, "prod").removeprefix("k8s-aws-v1.") + "==").decode()
        # awscli 1.44, `aws eks get-token --cluster-name prod`, with these keys at that time.
        assert url.endswith("&X-Amz-Signature=388a24c7679a7fccf268211fe231e5e7f00000e475a3ecc3633836db1884ad63")
        assert eks._token(sts, "other") != eks._token(sts, "prod")
