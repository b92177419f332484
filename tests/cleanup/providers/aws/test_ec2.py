"""AwsEc2, against EC2's stand-in over HTTP: what goes, in which order, what stays, and what is refused."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, ClassVar

import boto3
import msgspec
import pytest
from moto.ec2.models import ec2_backends

from local.ec2 import Call, Ec2, Fault
from local.processes import PATIENCE
from tests.cleanup.providers.aws.cloud import ACCOUNT, MARK, REGION, Cloud
from tests.cleanup.providers.aws.target import TOKEN, AwsTarget
from tests.conformance.target import BREAKS, Key, Made
from tests.fakes import NOW
from tracker.cleanup.core import engine
from tracker.cleanup.core.contract import Busy, Observation, Refused, Unreachable
from tracker.cleanup.providers.aws import ec2, session
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings

type Make = Callable[..., Deployment]


PLACE = {"region": "eu-west-1", "account": ACCOUNT}
MARKED = Settings(marks={"aws": "BlueprintDeployment"}, aws_account=ACCOUNT)
LENIENT = msgspec.structs.replace(MARKED, require_mark=False)
UNMARKED = Settings(aws_account=ACCOUNT)
NOWHERE = "i-0123456789abcdef0"

INSTANCE, ADDRESS, VOLUME = "aws:instance", "aws:address", "aws:volume"
INTERFACE, GROUP, KEY = "aws:network_interface", "aws:security_group", "aws:key_pair"
# How each kind is asked to go, and by which parameter.
DELETIONS = {
    INSTANCE: ("TerminateInstances", "InstanceId.1"),
    ADDRESS: ("ReleaseAddress", "AllocationId"),
    VOLUME: ("DeleteVolume", "VolumeId"),
    INTERFACE: ("DeleteNetworkInterface", "NetworkInterfaceId"),
    GROUP: ("DeleteSecurityGroup", "GroupId"),
    KEY: ("DeleteKeyPair", "KeyPairId"),
}


# Long after the deployment was registered: what EC2 doesn't show then, it won't show any more.
A_DAY_LATER = NOW + timedelta(days=1)


def resource(kind: str, id: str, *, named: bool = True, **place: str) -> Resource:
    return Resource(kind=kind, id=id, place=PLACE | place, named_by="named" if named else "")


def released(deployment: Deployment, settings: Settings, seconds: float = PATIENCE) -> list[Resource]:
    """Return what the workflow does, with its waits made short: until all is done, or a refusal."""
    resources = engine.discover(deployment, settings).resources
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        deployment = msgspec.structs.replace(deployment, resources=resources)
        step = engine.step(deployment, settings, clock=lambda: A_DAY_LATER, time_left=lambda: 300)
        resources = step.resources
        for wrong in [*step.refusals, *step.failures]:
            raise wrong
        if step.is_done:
            return resources
        time.sleep(0.05)
    raise AssertionError([(one.kind, one.id, one.state, one.detail) for one in resources])


def states(resources: list[Resource]) -> dict[str, str]:
    return {resource.id: resource.state for resource in resources}


def look(found: Resource, settings: Settings = MARKED) -> Observation:
    return ec2.KINDS[found.kind].state(found, settings)


def delete(found: Resource, settings: Settings = MARKED) -> None:
    ec2.KINDS[found.kind].delete(found, settings)


def refusal(act: Callable[[], Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        act()
    return caught.value


class TestGoing:
    def test_everything_that_the_record_names_goes_and_is_proven_gone(self, cloud: Cloud, deployment: Make) -> None:
        key, name = cloud.key_pair()
        group = cloud.group()
        instance = cloud.instance(KeyName=name, SecurityGroupIds=[group])
        volume, address = cloud.volume(instance), cloud.address(instance)

        resources = released(
            deployment(
                instance_id=instance, ebs_volume=volume, elastic_ip=address, security_group=group, key_pair=[key]
            ),
            MARKED,
        )

        assert cloud.condition(instance) == "terminated"
        assert not {volume} & cloud.volumes()
        assert not {address} & cloud.addresses()
        assert not {group} & cloud.groups()
        assert not {key} & cloud.key_pairs()
        # The sixth is the volume that the instance was made with.
        assert set(states(resources)) > {instance, volume, address, group, key}
        assert {one.state for one in resources} == {"gone"}
        proofs = {one.id: one.proof for one in resources}
        assert proofs[instance] == "DescribeInstances: terminated"
        assert proofs[volume] == "DescribeVolumes: InvalidVolume.NotFound"
        assert proofs[group] == "DescribeSecurityGroups: InvalidGroup.NotFound"

    def test_the_instance_goes_first_then_what_hung_on_it_then_groups_then_key_pairs(
        self, cloud: Cloud, deployment: Make
    ) -> None:
        key, name = cloud.key_pair()
        group = cloud.group()
        instance = cloud.instance(KeyName=name, SecurityGroupIds=[group])
        volume, address = cloud.volume(instance), cloud.address(instance)
        cloud.forget()

        released(
            deployment(instance_id=instance, ebs_volume=volume, elastic_ip=address, security_group=group, key_pair=key),
            MARKED,
        )

        first, *between, group_last, key_last = cloud.deletions()
        assert first == "TerminateInstances"
        assert sorted(between) == ["DeleteVolume", "ReleaseAddress"]
        assert (group_last, key_last) == ("DeleteSecurityGroup", "DeleteKeyPair")

    def test_a_stage_begins_when_the_earlier_ones_are_gone(self, cloud: Cloud, deployment: Make) -> None:
        named = {"ebs_volume": "vol-0123456789abcdef0", "elastic_ip": "eipalloc-0123456789abcdef0"}
        named |= {"security_group": "sg-0123456789abcdef0", "key_pair": "key-0123456789abcdef0"}
        found = ec2.discover(deployment(instance_id=NOWHERE, **named), MARKED)
        stages = {one.kind: one.stage for one in found}
        assert stages[INSTANCE] < min(stages[VOLUME], stages[ADDRESS])
        assert max(stages[VOLUME], stages[ADDRESS]) < stages[GROUP] < stages[KEY]

    def test_each_deletion_is_asked_for_once(self, cloud: Cloud, deployment: Make) -> None:
        instance = cloud.instance()
        cloud.forget()
        released(deployment(instance_id=instance), MARKED)
        assert cloud.deletions() == ["TerminateInstances"]

    def test_a_second_run_deletes_nothing_and_comes_to_the_same(self, cloud: Cloud, deployment: Make) -> None:
        instance = cloud.instance()
        record = deployment(instance_id=instance, ebs_volume=cloud.volume(instance), elastic_ip=cloud.address())
        first = released(record, MARKED)
        cloud.forget()

        second = released(record, MARKED)

        assert cloud.deletions() == []
        assert set(states(second).items()) <= set(states(first).items())

    @pytest.mark.parametrize("kind", [INSTANCE, ADDRESS, VOLUME, INTERFACE, GROUP, KEY])
    def test_what_is_gone_already_is_a_success(self, cloud: Cloud, kind: str) -> None:
        prefix = {INSTANCE: "i", ADDRESS: "eipalloc", VOLUME: "vol", INTERFACE: "eni", GROUP: "sg", KEY: "key"}[kind]
        gone = resource(kind, f"{prefix}-0123456789abcdef0")
        delete(gone)
        found = look(gone)
        assert (found.state, found.unproven) == ("gone", False)
        assert "NotFound" in found.proof
        assert cloud.deletions() == []

    def test_dependents_that_the_record_names_go_when_the_instance_is_terminated_already(
        self, cloud: Cloud, deployment: Make
    ) -> None:
        instance = cloud.instance()
        volume = cloud.volume(instance)
        cloud.ec2.terminate_instances(InstanceIds=[instance])
        assert released(deployment(instance_id=instance, ebs_volume=volume), MARKED)
        assert volume not in cloud.volumes()

    def test_dependents_that_the_record_names_go_when_the_instance_is_forgotten(
        self, cloud: Cloud, deployment: Make
    ) -> None:
        volume, address = cloud.volume(), cloud.address()
        released(deployment(instance_id=NOWHERE, ebs_volume=[volume], elastic_ip=address), MARKED)
        assert volume not in cloud.volumes()
        assert address not in cloud.addresses()

    def test_former_ids_go_too(self, cloud: Cloud, deployment: Make) -> None:
        volume = cloud.volume()
        former = Resource(kind=VOLUME, id=volume, place=PLACE, stage=1, named_by="ebs_volume")
        found = ec2.discover(deployment(instance_id=NOWHERE, resources=[former]), MARKED)
        assert volume in states(found)

    def test_several_instances_of_one_record_go(self, cloud: Cloud, deployment: Make) -> None:
        instances = [cloud.instance(), cloud.instance()]
        released(deployment(instance_id=instances), MARKED)
        assert [cloud.condition(one) for one in instances] == ["terminated", "terminated"]

    def test_a_stopped_instance_goes(self, cloud: Cloud, deployment: Make) -> None:
        instance = cloud.instance()
        cloud.ec2.stop_instances(InstanceIds=[instance])
        assert look(resource(INSTANCE, instance)).state == "present"
        released(deployment(instance_id=instance), MARKED)
        assert cloud.condition(instance) == "terminated"

    def test_one_that_shuts_down_is_leaving_and_may_be_asked_again(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cloud.server, "terminating", 60)
        instance = resource(INSTANCE, cloud.instance())
        assert look(instance).state == "present"
        delete(instance)
        assert look(instance) == Observation("leaving", same=True, detail="shutting-down", place={"account": ACCOUNT})
        delete(instance)
        assert cloud.deletions() == ["TerminateInstances"] * 2

    def test_a_volume_that_goes_with_its_instance_is_seen_gone_without_a_call_even_unmarked(
        self, cloud: Cloud, deployment: Make
    ) -> None:
        instance = cloud.instance()
        found = cloud.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        volume = found["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
        cloud.forget()

        resources = released(deployment(instance_id=instance, ebs_volume=volume), MARKED)

        assert states(resources) == {instance: "gone", volume: "gone"}
        assert volume not in cloud.volumes()
        assert cloud.deletions() == ["TerminateInstances"]

    def test_the_committed_list_knows_what_a_terminated_instance_names_no_longer(
        self, cloud: Cloud, deployment: Make
    ) -> None:
        instance = cloud.instance()
        volume = cloud.volume(instance)
        planned = ec2.discover(deployment(instance_id=instance), MARKED)
        assert volume in states(planned)
        released(deployment(instance_id=instance), MARKED)
        again = cloud.volume()
        planned = [msgspec.structs.replace(one, id=again) if one.id == volume else one for one in planned]
        found = ec2.discover(deployment(instance_id=instance, resources=planned), MARKED)
        assert states(found)[again] == "unseen"

    def test_plans_delete_nothing(self, cloud: Cloud, deployment: Make) -> None:
        instance = cloud.instance()
        cloud.forget()
        for found in engine.discover(deployment(instance_id=instance), MARKED).resources:
            assert engine.look(deployment(instance_id=instance), MARKED, found, A_DAY_LATER).state == "present"
        assert cloud.deletions() == []


class TestOurs:
    def test_an_instance_without_the_mark_is_refused_and_nothing_is_deleted(
        self, cloud: Cloud, deployment: Make
    ) -> None:
        instance = cloud.instance(mark=False)
        volume = cloud.volume()
        cloud.forget()

        wrong = refusal(lambda: released(deployment(instance_id=instance, ebs_volume=volume), MARKED))

        assert wrong.error_class == "not_ours"
        assert "BlueprintDeployment" in str(wrong)
        assert cloud.deletions() == []

    def test_one_unmarked_instance_of_several_keeps_all_of_them(self, cloud: Cloud, deployment: Make) -> None:
        instances = [cloud.instance(), cloud.instance(mark=False)]
        cloud.forget()
        assert refusal(lambda: released(deployment(instance_id=instances), MARKED)).error_class == "not_ours"
        assert cloud.deletions() == []

    @pytest.mark.parametrize("kind", [INSTANCE, ADDRESS, VOLUME, GROUP, KEY])
    def test_a_mark_that_was_taken_away_since_is_missed_at_the_deletion(self, cloud: Cloud, kind: str) -> None:
        makes: dict[str, Callable[[], str]] = {
            INSTANCE: cloud.instance,
            ADDRESS: cloud.address,
            VOLUME: cloud.volume,
            GROUP: cloud.group,
            KEY: lambda: cloud.key_pair()[0],
        }
        one = makes[kind]()
        assert look(resource(kind, one)).state == "present"
        cloud.unmark(one)
        cloud.forget()
        assert refusal(lambda: delete(resource(kind, one))).error_class == "not_ours"
        assert cloud.deletions() == []

    def test_without_a_mark_being_named_is_ownership(self, cloud: Cloud, deployment: Make) -> None:
        key, name = cloud.key_pair(mark=False)
        group = cloud.group(mark=False)
        instance = cloud.instance(mark=False, KeyName=name, SecurityGroupIds=[group])
        volume, address = cloud.volume(instance, mark=False), cloud.address(instance, mark=False)
        named = {"ebs_volume": volume, "elastic_ip": address, "security_group": group, "key_pair": key}
        resources = released(deployment(instance_id=instance, **named), UNMARKED)
        assert {one.state for one in resources} == {"gone"}

    @pytest.mark.parametrize("key", ["ebs_volume", "elastic_ip"])
    def test_an_unmarked_volume_or_address_that_is_named_is_refused_while_marks_are_required(
        self, cloud: Cloud, deployment: Make, key: str
    ) -> None:
        instance = cloud.instance()
        one = cloud.volume(mark=False) if key == "ebs_volume" else cloud.address(mark=False)
        cloud.forget()

        wrong = refusal(lambda: released(deployment(instance_id=instance, **{key: one}), MARKED))

        assert wrong.error_class == "not_ours"
        assert "RequireMark" in str(wrong)
        assert cloud.deletions() == []
        released(deployment(instance_id=instance, **{key: one}), LENIENT)
        assert one not in cloud.volumes() | cloud.addresses()

    @pytest.mark.parametrize("key", ["security_group", "key_pair"])
    def test_an_unmarked_group_or_key_that_is_named_is_refused_always(
        self, cloud: Cloud, deployment: Make, key: str
    ) -> None:
        instance = cloud.instance()
        one = cloud.group(mark=False) if key == "security_group" else cloud.key_pair(mark=False)[0]
        cloud.forget()
        wrong = refusal(lambda: released(deployment(instance_id=instance, **{key: one}), LENIENT))
        assert wrong.error_class == "not_ours"
        assert cloud.deletions() == []

    @pytest.mark.parametrize("settings", [MARKED, LENIENT, UNMARKED], ids=["required", "lenient", "no mark"])
    def test_what_is_only_found_and_unmarked_is_kept(self, cloud: Cloud, deployment: Make, settings: Settings) -> None:
        key, name = cloud.key_pair(mark=False)
        group = cloud.group(mark=False)
        instance = cloud.instance(KeyName=name, SecurityGroupIds=[group])
        volume, address = cloud.volume(instance, mark=False), cloud.address(instance, mark=False)

        resources = released(deployment(instance_id=instance), settings)

        kept = {one.id: one for one in resources if one.state == "kept"}
        assert kept.keys() == {volume, address, group, key}
        assert all("only found" in one.detail for one in kept.values())
        assert {volume} <= cloud.volumes()
        assert {address} <= cloud.addresses()
        assert {group} <= cloud.groups()
        assert {key} <= cloud.key_pairs()

    def test_an_interface_that_outlives_its_instance_is_kept_unless_it_is_marked(
        self, cloud: Cloud, deployment: Make
    ) -> None:
        subnet = cloud.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        tags = [{"ResourceType": "network-interface", "Tags": [{"Key": "BlueprintDeployment", "Value": "b-1"}]}]
        foreign = cloud.ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
        ours = cloud.ec2.create_network_interface(SubnetId=subnet, TagSpecifications=tags)["NetworkInterface"]
        instance = cloud.instance()
        for index, interface in enumerate((foreign, ours["NetworkInterfaceId"]), start=1):
            cloud.ec2.attach_network_interface(NetworkInterfaceId=interface, InstanceId=instance, DeviceIndex=index)

        found = states(released(deployment(instance_id=instance), MARKED))

        assert (found[foreign], found[ours["NetworkInterfaceId"]]) == ("kept", "gone")
        left = {one["NetworkInterfaceId"] for one in cloud.ec2.describe_network_interfaces()["NetworkInterfaces"]}
        assert foreign in left
        assert ours["NetworkInterfaceId"] not in left

    def test_what_is_only_found_goes_if_it_is_marked(self, cloud: Cloud, deployment: Make) -> None:
        key, name = cloud.key_pair()
        group = cloud.group()
        instance = cloud.instance(KeyName=name, SecurityGroupIds=[group])
        volume, address = cloud.volume(instance), cloud.address(instance)
        found = states(released(deployment(instance_id=instance), MARKED))
        assert [found[one] for one in (volume, address, group, key)] == ["gone"] * 4

    def test_a_marked_group_and_key_that_are_only_found_stay_while_other_instances_use_them(
        self, cloud: Cloud, deployment: Make
    ) -> None:
        key, name = cloud.key_pair()
        group = cloud.group()
        instance = cloud.instance(KeyName=name, SecurityGroupIds=[group])
        other = cloud.instance(KeyName=name, SecurityGroupIds=[group])

        resources = released(deployment(instance_id=instance), MARKED)

        kept = {one.id: one.detail for one in resources if one.state == "kept"}
        assert kept.keys() == {group, key}
        assert all(other in detail for detail in kept.values())

    def test_delete_dependents_lifts_that_for_volumes_and_addresses_alone(self, cloud: Cloud, deployment: Make) -> None:
        key, name = cloud.key_pair(mark=False)
        group = cloud.group(mark=False)
        instance = cloud.instance(KeyName=name, SecurityGroupIds=[group])
        volume, address = cloud.volume(instance, mark=False), cloud.address(instance, mark=False)

        found = states(released(deployment(instance_id=instance, metadata={"delete_dependents": "all"}), LENIENT))

        assert {found[volume], found[address]} == {"gone"}
        assert {found[group], found[key]} == {"kept"}
        assert volume not in cloud.volumes()
        assert address not in cloud.addresses()
        assert group in cloud.groups()
        assert key in cloud.key_pairs()

    def test_delete_dependents_of_what_the_role_could_not_delete_is_refused(
        self, cloud: Cloud, deployment: Make
    ) -> None:
        instance = cloud.instance()
        cloud.volume(instance, mark=False)
        cloud.forget()
        record = deployment(instance_id=instance, metadata={"delete_dependents": "all"})
        wrong = refusal(lambda: released(record, MARKED))
        assert wrong.error_class == "not_ours"
        assert "RequireMark" in str(wrong)
        assert cloud.deletions() == []

    def test_what_was_kept_goes_once_delete_dependents_is_set_though_the_instance_is_gone(
        self, cloud: Cloud, deployment: Make
    ) -> None:
        instance = cloud.instance()
        volume = cloud.volume(instance, mark=False)
        first = released(deployment(instance_id=instance), LENIENT)
        assert states(first)[volume] == "kept"

        record = deployment(instance_id=instance, metadata={"delete_dependents": "all"}, resources=first)
        assert states(released(record, LENIENT))[volume] == "gone"
        assert volume not in cloud.volumes()

    def test_an_unmarked_volume_that_outlives_its_instance_against_the_plan_is_not_deleted(self, cloud: Cloud) -> None:
        volume = resource(VOLUME, cloud.volume(mark=False), named=False, goes_with=NOWHERE)
        assert refusal(lambda: delete(volume)).error_class == "not_ours"
        assert volume.id in cloud.volumes()

    def test_a_volume_that_goes_with_its_instance_is_waited_for_while_that_lasts(self, cloud: Cloud) -> None:
        instance = cloud.instance()
        volume = resource(VOLUME, cloud.volume(instance, mark=False), named=False, goes_with=instance)
        with pytest.raises(Busy, match=instance):
            delete(volume)
        assert cloud.deletions() == []


class TestProtected:
    def test_termination_protection_is_refused_before_anything_is_deleted(self, cloud: Cloud, deployment: Make) -> None:
        instance = cloud.instance()
        cloud.ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": True})
        cloud.forget()
        wrong = refusal(lambda: released(deployment(instance_id=instance, ebs_volume=cloud.volume()), MARKED))
        assert wrong.error_class == "protected"
        assert cloud.deletions() == []
        assert cloud.condition(instance) == "running"

    def test_protection_that_came_since_is_refused_by_ec2_itself(self, cloud: Cloud) -> None:
        instance = cloud.instance()
        cloud.ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": True})
        assert refusal(lambda: delete(resource(INSTANCE, instance))).error_class == "protected"
        assert cloud.condition(instance) == "running"

    def test_an_instance_of_an_auto_scaling_group_is_refused(self, cloud: Cloud, deployment: Make) -> None:
        instance = cloud.instance()
        cloud.ec2.create_tags(Resources=[instance], Tags=[{"Key": "aws:autoscaling:groupName", "Value": "web"}])
        cloud.forget()
        wrong = refusal(lambda: released(deployment(instance_id=instance), MARKED))
        assert wrong.error_class == "protected"
        assert "Auto Scaling group web" in str(wrong)
        assert cloud.deletions() == []

    @pytest.mark.parametrize(("type_", "is_refused"), [("persistent", True), ("one-time", False)])
    def test_an_instance_of_a_persistent_spot_request_is_refused(
        self, cloud: Cloud, deployment: Make, type_: str, is_refused: bool
    ) -> None:
        asked = cloud.ec2.request_spot_instances(
            SpotPrice="0.1", Type=type_, LaunchSpecification={"ImageId": "ami-12c6146b", "InstanceType": "t2.micro"}
        )["SpotInstanceRequests"][0]
        # moto's instances don't know their request.
        spot = ec2_backends[ACCOUNT]["eu-west-1"].get_instance(asked["InstanceId"])
        vars(spot)["spot_instance_request_id"] = asked["SpotInstanceRequestId"]
        cloud.forget()

        if is_refused:
            wrong = refusal(lambda: released(deployment(instance_id=spot.id), UNMARKED))
            assert wrong.error_class == "protected"
            assert asked["SpotInstanceRequestId"] in str(wrong)
            assert cloud.deletions() == []
        else:
            assert released(deployment(instance_id=spot.id), UNMARKED)

    @pytest.mark.parametrize(("type_", "is_refused"), [("maintain", True), ("request", False), ("instant", False)])
    @pytest.mark.parametrize("state", ["active", "deleted_running"])
    def test_an_instance_of_a_fleet_that_is_maintained_is_refused(
        self, cloud: Cloud, deployment: Make, type_: str, is_refused: bool, state: str
    ) -> None:
        instance = cloud.instance()
        fleet = cloud.fleet(type_, state)
        cloud.tag(instance, "aws:ec2:fleet-id", fleet)
        cloud.forget()
        if is_refused and state == "active":
            wrong = refusal(lambda: released(deployment(instance_id=instance), MARKED))
            assert wrong.error_class == "protected"
            assert fleet in str(wrong)
            assert cloud.deletions() == []
        else:
            assert released(deployment(instance_id=instance), MARKED)

    @pytest.mark.parametrize(("state", "is_refused"), [("active", True), ("cancelled_running", False)])
    def test_an_instance_of_a_spot_fleet_that_is_maintained_is_refused(
        self, cloud: Cloud, deployment: Make, state: str, is_refused: bool
    ) -> None:
        instance = cloud.instance()
        fleet = cloud.spot_fleet(state)
        cloud.tag(instance, "aws:ec2spot:fleet-request-id", fleet)
        cloud.forget()
        if is_refused:
            assert fleet in str(refusal(lambda: released(deployment(instance_id=instance), MARKED)))
            assert cloud.deletions() == []
        else:
            assert released(deployment(instance_id=instance), MARKED)

    def test_an_instance_whose_fleet_is_no_more_goes(self, cloud: Cloud, deployment: Make) -> None:
        instance = cloud.instance()
        cloud.tag(instance, "aws:ec2:fleet-id", "fleet-0123456789abcdef0")
        cloud.fails("DescribeFleets", code="InvalidFleetId.NotFound", status=400)
        assert released(deployment(instance_id=instance), MARKED)


class TestTied:
    def test_groups_that_refer_to_each_other_go_and_only_their_own_rules_are_revoked(
        self, cloud: Cloud, deployment: Make
    ) -> None:
        one, other, foreign = cloud.group(), cloud.group(), cloud.group(mark=False)
        instance = cloud.instance(SecurityGroupIds=[one, other])
        for group, source in ((one, other), (other, one), (one, foreign), (one, one)):
            cloud.let_in(group, source)
        cloud.let_out(one, other)
        cloud.forget()
        found = states(released(deployment(instance_id=instance, security_group=[one, other]), MARKED))
        assert (found[one], found[other]) == ("gone", "gone")
        assert foreign in cloud.groups()
        revoked = [call for call in cloud.server.calls if call.action.startswith("RevokeSecurityGroup")]
        assert {call.parameters["GroupId"] for call in revoked} <= {one, other}
        assert {call.action.removeprefix("RevokeSecurityGroup") for call in revoked} == {"Ingress", "Egress"}

    def test_three_groups_in_a_ring_go_though_only_found_with_their_marks(self, cloud: Cloud, deployment: Make) -> None:
        ring = [cloud.group() for _ in range(3)]
        instance = cloud.instance(SecurityGroupIds=ring)
        for n, group in enumerate(ring):
            cloud.let_in(group, ring[n - 1])
        found = states(released(deployment(instance_id=instance), MARKED))
        assert [found[group] for group in ring] == ["gone"] * 3

    def test_a_group_that_a_foreign_one_refers_to_is_waited_for_and_that_one_is_not_changed(self, cloud: Cloud) -> None:
        group, foreign = cloud.group(), cloud.group(mark=False)
        cloud.let_in(foreign, group)
        cloud.forget()
        with pytest.raises(Busy, match="DependencyViolation"):
            delete(resource(GROUP, group))
        assert cloud.rules(foreign) == {group}
        assert not any(call.startswith("Revoke") for call in cloud.calls())

    def test_a_group_that_something_still_wears_keeps_its_rules(self, cloud: Cloud) -> None:
        group, other = cloud.group(), cloud.group()
        cloud.instance(SecurityGroupIds=[group])
        cloud.let_in(group, other)
        with pytest.raises(Busy, match="DependencyViolation"):
            delete(resource(GROUP, group))
        assert cloud.rules(group) == {other}

    def test_rules_that_somebody_revoked_meanwhile_are_no_error(self, cloud: Cloud, deployment: Make) -> None:
        one, other = cloud.group(), cloud.group()
        cloud.let_in(one, other)
        cloud.let_in(other, one)
        cloud.fails("RevokeSecurityGroupIngress", code="InvalidPermission.NotFound", status=400)
        with pytest.raises(Busy):
            delete(resource(GROUP, one))


class TestStaying:
    def test_snapshots_images_and_the_host_are_kept_by_name(self, cloud: Cloud, deployment: Make) -> None:
        host = cloud.ec2.allocate_hosts(AvailabilityZone=f"{REGION}a", InstanceType="m5.large", Quantity=1)["HostIds"][
            0
        ]
        instance = cloud.instance(Placement={"HostId": host, "Tenancy": "host"})
        volume = cloud.volume(instance)
        snapshot = cloud.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        cloud.ec2.create_snapshot(VolumeId=cloud.volume())
        mapping = {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot}}
        image = cloud.ec2.register_image(Name="a test's", BlockDeviceMappings=[mapping])["ImageId"]
        # moto's image is made of a snapshot of its own.
        made = next(one for one in ec2_backends[ACCOUNT][REGION].describe_images() if one.id == image)
        made.ebs_snapshot.id = snapshot

        resources = released(deployment(instance_id=instance), MARKED)

        staying = {f"{one.kind} {one.id}": one.detail for one in resources if one.state == "kept"}
        assert staying == {
            f"aws:snapshot {snapshot}": f"a snapshot of {volume} stays",
            f"aws:image {image}": f"an image made of {snapshot} stays",
            f"aws:dedicated_host {host}": f"{instance} is on this host, which stays",
        }
        # Once known, they are so for ever.
        again = deployment(instance_id=instance, resources=resources)
        assert staying.keys() <= {f"{one.kind} {one.id}" for one in released(again, MARKED)}

    def test_of_many_snapshots_the_latest_are_named_and_the_others_counted(
        self, cloud: Cloud, deployment: Make
    ) -> None:
        instance = cloud.instance()
        volume = cloud.volume(instance)
        for _ in range(25):
            cloud.ec2.create_snapshot(VolumeId=volume)
        found = [one for one in ec2.discover(deployment(instance_id=instance), MARKED) if one.kind == "aws:snapshot"]
        assert len(found) == 20
        assert found[-1].detail == f"a snapshot of {volume} stays; and so do 5 more"

    @pytest.mark.parametrize("code", ["UnauthorizedOperation", "InternalError"])
    def test_what_stays_and_can_not_be_looked_at_is_said_and_keeps_nothing(
        self, cloud: Cloud, deployment: Make, code: str
    ) -> None:
        instance = cloud.instance()
        cloud.fails("DescribeSnapshots", code=code, status=403 if code.startswith("Un") else 500)
        resources = released(deployment(instance_id=instance), MARKED)
        assert cloud.condition(instance) == "terminated"
        (said,) = [one.detail for one in resources if one.kind == "aws:leftovers"]
        assert f"DescribeSnapshots: {code}" in said

    def test_a_throttled_look_at_what_stays_is_waited_for(self, cloud: Cloud, deployment: Make) -> None:
        instance = cloud.instance()
        cloud.fails("DescribeSnapshots", "throttle")
        with pytest.raises(Busy, match="DescribeSnapshots"):
            ec2.discover(deployment(instance_id=instance), MARKED)

    def test_what_has_no_snapshots_is_not_asked_for_images(self, cloud: Cloud, deployment: Make) -> None:
        ec2.discover(deployment(instance_id=cloud.instance()), MARKED)
        assert "DescribeSnapshots" in cloud.calls()
        assert "DescribeImages" not in cloud.calls()


class TestPlace:
    def test_credentials_for_another_account_are_refused_before_ec2_is_asked(
        self, cloud: Cloud, deployment: Make
    ) -> None:
        instance = cloud.instance()
        volume = Resource(kind=VOLUME, id="vol-0123456789abcdef0", place=PLACE | {"account": "999999999999"})
        cloud.forget()
        record = deployment(instance_id=instance, metadata={"account": "999999999999"})

        assert refusal(lambda: released(record, MARKED)).error_class == "credentials"
        assert refusal(lambda: look(volume)).error_class == "credentials"
        assert refusal(lambda: delete(volume)).error_class == "credentials"
        assert cloud.calls() == []

    def test_the_record_s_account_counts_before_the_setting_s(self, cloud: Cloud, deployment: Make) -> None:
        elsewhere = msgspec.structs.replace(MARKED, aws_account="999999999999")
        found = ec2.discover(deployment(instance_id=NOWHERE, metadata={"account": ACCOUNT}), elsewhere)
        assert found[0].place["account"] == ACCOUNT

    def test_not_found_is_unproven_where_nothing_vouches_for_the_account(self, cloud: Cloud, deployment: Make) -> None:
        settings = Settings(marks={"aws": "BlueprintDeployment"})
        (found,) = ec2.discover(deployment(instance_id=NOWHERE), settings)
        assert look(found, settings).unproven
        wrong = refusal(lambda: released(deployment(instance_id=NOWHERE), settings))
        assert wrong.error_class == "unproven"

    def test_that_nothing_carries_a_mark_is_unproven_where_nothing_vouches_for_the_account(
        self, cloud: Cloud, deployment: Make
    ) -> None:
        settings = Settings(marks={"aws": "BlueprintDeployment"})
        generation = "0f8fad5b-d9cb-469f-a165-70867728950e"
        wrong = refusal(lambda: list(ec2.find(deployment(), settings, generation)))
        assert wrong.error_class == "unproven"
        assert [found for found in ec2.find(deployment(), settings, None) if found.mark == generation] == []
        instance = cloud.instance(mark=False)
        cloud.tag(instance, "BlueprintDeployment", generation)
        (found,) = ec2.find(deployment(), settings, generation)
        assert (found.resource.id, found.resource.place["account"]) == (instance, ACCOUNT)

    def test_an_instance_that_is_seen_proves_the_place(self, cloud: Cloud, deployment: Make) -> None:
        settings = Settings(marks={"aws": "BlueprintDeployment"})
        instance = cloud.instance()
        resources = released(deployment(instance_id=instance, ebs_volume="vol-0123456789abcdef0"), settings)
        assert {one.state for one in resources} == {"gone"}
        assert {one.place["account"] for one in resources} == {ACCOUNT}

    def test_what_was_seen_in_one_account_is_not_looked_for_in_another(self, cloud: Cloud, deployment: Make) -> None:
        seen = Resource(kind=INSTANCE, id=NOWHERE, place=PLACE | {"account": "999999999999"}, seen=True)
        record = deployment(instance_id=NOWHERE, resources=[seen])
        assert refusal(lambda: ec2.discover(record, Settings())).error_class == "credentials"

    @pytest.mark.parametrize(
        ("key", "changed"), [("region", {"region": "eu-central-1"}), ("account", {"metadata": {"account": "1" * 12}})]
    )
    def test_what_was_seen_in_one_place_is_not_looked_for_in_another_that_the_record_says_now(
        self, cloud: Cloud, deployment: Make, key: str, changed: dict[str, Any]
    ) -> None:
        record = deployment(instance_id=cloud.instance())
        seen = msgspec.structs.replace(record, resources=ec2.discover(record, MARKED), **changed)
        cloud.forget()
        wrong = refusal(lambda: ec2.discover(seen, MARKED))
        assert wrong.error_class == "bad_id"
        assert f"was seen in {key} {PLACE[key]}" in str(wrong)
        assert cloud.calls() == []
        over = [msgspec.structs.replace(one, state="gone") for one in seen.resources]
        elsewhere = msgspec.structs.replace(seen, resources=over, metadata={})
        assert ec2.discover(elsewhere, MARKED)

    def test_an_instance_of_another_region_is_not_seen_and_not_touched(self, cloud: Cloud, deployment: Make) -> None:
        elsewhere = boto3.client("ec2", region_name="eu-central-1", endpoint_url=cloud.server.url)
        run = elsewhere.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)
        instance = run["Instances"][0]["InstanceId"]
        cloud.forget()

        assert states(released(deployment(instance_id=instance), UNMARKED)) == {instance: "gone"}
        assert cloud.deletions() == []
        record = msgspec.structs.replace(deployment(instance_id=instance), region="eu-central-1")
        assert released(record, UNMARKED)
        assert cloud.deletions() == ["TerminateInstances"]
        found = elsewhere.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        assert found["State"]["Name"] == "terminated"

    def test_a_role_that_the_record_names_is_assumed(self, cloud: Cloud, deployment: Make) -> None:
        role = "arn:aws:iam::111122223333:role/cleanup"
        settings = msgspec.structs.replace(MARKED, allowed_roles=["arn:aws:iam::111122223333:role/*"])
        there = {"account": "111122223333", "role": role, "external_id": "tracker-7"}
        sts = boto3.client("sts", region_name="eu-west-1", endpoint_url=cloud.server.url)
        keys = sts.assume_role(RoleArn=role, RoleSessionName="a-test")["Credentials"]
        theirs = boto3.client(
            "ec2",
            region_name="eu-west-1",
            endpoint_url=cloud.server.url,
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["SessionToken"],
        )
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "BlueprintDeployment", "Value": "b-1"}]}]
        run = theirs.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, TagSpecifications=tags)
        instance = run["Instances"][0]["InstanceId"]
        cloud.forget()

        resources = released(deployment(instance_id=instance, metadata=there), settings)

        assert {one.state for one in resources} == {"gone"}
        found = theirs.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        assert found["State"]["Name"] == "terminated"
        (assumed,) = [call for call in cloud.server.calls if call.action == "AssumeRole"]
        assert (assumed.parameters["RoleArn"], assumed.parameters["ExternalId"]) == (role, "tracker-7")

    @pytest.mark.parametrize("kind", ["cut", "page", "error", "reset"])
    def test_a_role_whose_keys_do_not_come_whole_is_unreachable_and_they_are_not_told(
        self, cloud: Cloud, deployment: Make, kind: str
    ) -> None:
        role = f"arn:aws:iam::111122223333:role/{kind}"
        settings = msgspec.structs.replace(MARKED, allowed_roles=["**"])
        cloud.fails("AssumeRole", kind)
        with pytest.raises(Unreachable, match="AssumeRole") as caught:
            ec2.discover(deployment(instance_id=NOWHERE, metadata={"role": role}), settings)
        assert "AccessKey" not in str(caught.value)
        assert caught.value.__suppress_context__ or "AccessKey" not in str(caught.value.__cause__)

    def test_a_role_that_no_setting_allows_is_not_assumed(self, cloud: Cloud, deployment: Make) -> None:
        record = deployment(instance_id=NOWHERE, metadata={"role": "arn:aws:iam::111122223333:role/admin"})
        assert refusal(lambda: ec2.discover(record, MARKED)).error_class == "credentials"
        assert cloud.calls() == []

    @pytest.mark.usefixtures("fresh_session")
    def test_whose_the_credentials_are_is_asked_once_and_again_when_the_session_lapsed(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(3):
            look(resource(INSTANCE, NOWHERE))
        assert cloud.calls().count("GetCallerIdentity") == 1
        lapsed = time.monotonic() + session.KEPT_FOR
        monkeypatch.setattr("tracker.cleanup.providers.aws.session.time.monotonic", lambda: lapsed)
        look(resource(INSTANCE, NOWHERE))
        assert cloud.calls().count("GetCallerIdentity") == 2


class TestIds:
    def test_a_record_without_an_instance_is_refused(self, cloud: Cloud, deployment: Make) -> None:
        assert refusal(lambda: ec2.discover(deployment(ebs_volume="vol-1"), MARKED)).error_class == "missing_id"

    def test_a_record_without_a_region_is_refused(self, cloud: Cloud, deployment: Make) -> None:
        record = msgspec.structs.replace(deployment(instance_id=NOWHERE), region=None)
        assert refusal(lambda: ec2.discover(record, MARKED)).error_class == "missing_id"

    @pytest.mark.parametrize(
        "id", ["", "i-", "*", "i-0123456789abcdef0 ", "vol-0123456789abcdef0", "i-ABCDEF01", "../i"]
    )
    def test_what_is_no_id_is_refused_before_any_call(self, cloud: Cloud, deployment: Make, id: str) -> None:
        assert refusal(lambda: look(resource(INSTANCE, id))).error_class == "bad_id"
        assert refusal(lambda: delete(resource(INSTANCE, id))).error_class == "bad_id"
        assert refusal(lambda: ec2.discover(deployment(instance_id=id), MARKED)).error_class == "bad_id"
        assert set(cloud.calls()) <= {"GetCallerIdentity"}

    def test_an_id_that_ec2_calls_malformed_is_refused(self, cloud: Cloud) -> None:
        cloud.fails("DescribeInstances", code="InvalidInstanceID.Malformed", status=400)
        assert refusal(lambda: look(resource(INSTANCE, NOWHERE))).error_class == "bad_id"


class TestInUse:
    def test_a_group_that_others_use_is_waited_for(self, cloud: Cloud) -> None:
        group = cloud.group()
        cloud.instance(SecurityGroupIds=[group])
        with pytest.raises(Busy, match="DependencyViolation"):
            delete(resource(GROUP, group))
        assert group in cloud.groups()

    def test_an_attached_volume_is_waited_for(self, cloud: Cloud) -> None:
        volume = cloud.volume(cloud.instance())
        with pytest.raises(Busy, match="VolumeInUse"):
            delete(resource(VOLUME, volume))
        assert volume in cloud.volumes()

    def test_an_address_that_a_living_instance_uses_is_not_taken_from_it(self, cloud: Cloud) -> None:
        instance = cloud.instance()
        address = cloud.address(instance)
        with pytest.raises(Busy, match=instance):
            delete(resource(ADDRESS, address))
        assert cloud.deletions() == []
        assert address in cloud.addresses()

    def test_an_address_that_still_hangs_on_a_terminated_instance_is_freed_and_released(
        self, cloud: Cloud, deployment: Make
    ) -> None:
        instance = cloud.instance()
        released(deployment(instance_id=instance), MARKED)
        assert cloud.condition(instance) == "terminated"
        address = cloud.address(instance)
        delete(resource(ADDRESS, address))
        assert address not in cloud.addresses()

    def test_an_address_that_ec2_says_is_in_use_is_waited_for(self, cloud: Cloud) -> None:
        address = cloud.address()
        cloud.fails("ReleaseAddress", code="InvalidIPAddress.InUse", status=400)
        with pytest.raises(Busy, match="InUse"):
            delete(resource(ADDRESS, address))

    def test_an_address_that_became_someone_else_s_meanwhile_is_gone(self, cloud: Cloud) -> None:
        address = resource(ADDRESS, cloud.address())
        client = session.opened(PLACE, MARKED).client("ec2")

        def overtaken(**_: Any) -> None:
            cloud.ec2.release_address(AllocationId=address.id)
            cloud.fails("ReleaseAddress", code="AuthFailure", status=400)

        client.meta.events.register("before-call.ec2.ReleaseAddress", overtaken, unique_id="overtaken")
        try:
            delete(address)
        finally:
            client.meta.events.unregister("before-call.ec2.ReleaseAddress", unique_id="overtaken")
        assert cloud.server.faults[0].fired == 1

    def test_an_address_that_is_there_and_forbidden_is_a_refusal(self, cloud: Cloud) -> None:
        cloud.fails("ReleaseAddress", code="AuthFailure", status=400)
        assert refusal(lambda: delete(resource(ADDRESS, cloud.address()))).error_class == "credentials"


DENIED = [
    ("UnauthorizedOperation", 403),
    ("AuthFailure", 401),
    ("InvalidClientTokenId", 403),
    ("ExpiredToken", 400),
    ("ExpiredTokenException", 400),
    ("RequestExpired", 400),
    ("SignatureDoesNotMatch", 403),
    ("AccessDenied", 403),
    ("AccessDeniedException", 400),
    ("OptInRequired", 401),
    ("SomethingNew", 401),
    ("SomethingNew", 403),
]
THROTTLED = [("RequestLimitExceeded", 503), ("Throttling", 400), ("ThrottlingException", 400), ("SomethingNew", 429)]
UNREACHABLE = [
    {"kind": "error", "code": "InternalError", "status": 500},
    {"kind": "error", "code": "Unavailable", "status": 503},
    {"kind": "error", "code": "", "status": 502},
    {"kind": "error", "code": "SomethingNew", "status": 400},
    {"kind": "reset"},
    {"kind": "hang"},
    {"kind": "cut"},
    {"kind": "page"},
]


class TestFailing:
    @pytest.mark.parametrize(("code", "status"), DENIED)
    def test_credentials_that_are_refused_are_neither_gone_nor_an_outage(
        self, cloud: Cloud, deployment: Make, code: str, status: int
    ) -> None:
        cloud.fails("DescribeInstances", code=code, status=status)
        assert refusal(lambda: look(resource(INSTANCE, NOWHERE))).error_class == "credentials"
        assert refusal(lambda: ec2.discover(deployment(instance_id=NOWHERE), MARKED)).error_class == "credentials"

    @pytest.mark.parametrize(("code", "status"), THROTTLED)
    def test_throttled_calls_are_waited_for(self, cloud: Cloud, code: str, status: int) -> None:
        cloud.fails("DescribeInstances", code=code, status=status)
        with pytest.raises(Busy) as caught:
            look(resource(INSTANCE, NOWHERE))
        assert caught.value.retry_after > 0

    def test_what_a_service_of_awss_own_still_holds_is_waited_for_and_other_wrong_parameters_are_not(
        self, cloud: Cloud
    ) -> None:
        volume = resource(VOLUME, cloud.volume())
        fault = {"code": "InvalidParameterValue", "status": 400}
        cloud.fails("DeleteVolume", **fault, message=f"{volume.id} is currently in use.", times=1)
        with pytest.raises(Busy, match="currently in use"):
            delete(volume)
        cloud.fails("DeleteVolume", **fault, message=f"{volume.id} is no volume")
        assert refusal(lambda: delete(volume)).error_class == "bad_id"

    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize("fault", UNREACHABLE, ids=lambda fault: "-".join(str(part) for part in fault.values()))
    @pytest.mark.parametrize(("kind", "call"), [(INSTANCE, "DescribeInstances"), (VOLUME, "DescribeVolumes")])
    def test_an_answer_that_proves_nothing_is_unreachable_never_gone(
        self, cloud: Cloud, kind: str, call: str, fault: dict[str, Any]
    ) -> None:
        cloud.fails(call, **fault)
        there = resource(kind, cloud.instance() if kind == INSTANCE else cloud.volume())
        with pytest.raises(Unreachable, match=call):
            look(there)
        with pytest.raises(Unreachable, match=call):
            delete(there)
        assert cloud.deletions() == []

    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize("fault", ["reset", "hang", "cut", "page"])
    def test_a_deletion_that_is_not_answered_is_unreachable_and_harmless_to_repeat(
        self, cloud: Cloud, fault: str
    ) -> None:
        instance = resource(INSTANCE, cloud.instance())
        cloud.fails("TerminateInstances", fault, times=1)
        with pytest.raises(Unreachable, match="TerminateInstances"):
            delete(instance)
        delete(instance)
        assert look(instance).state in ("leaving", "gone")

    @pytest.mark.usefixtures("fresh_session")
    def test_a_closed_port_is_unreachable(self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", "http://127.0.0.1:9")
        with pytest.raises(Unreachable):
            look(resource(INSTANCE, NOWHERE))

    @pytest.mark.usefixtures("fresh_session")
    def test_an_account_that_can_not_be_learned_is_unreachable(self, cloud: Cloud) -> None:
        cloud.fails("GetCallerIdentity", status=500)
        with pytest.raises(Unreachable, match="GetCallerIdentity"):
            look(resource(INSTANCE, NOWHERE))
        cloud.server.faults.clear()
        cloud.fails("GetCallerIdentity", code="InvalidClientTokenId", status=403)
        assert refusal(lambda: look(resource(INSTANCE, NOWHERE))).error_class == "credentials"
        assert "DescribeInstances" not in cloud.calls()

    @pytest.mark.usefixtures("fresh_session")
    def test_missing_credentials_are_a_refusal(self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        assert refusal(lambda: look(resource(INSTANCE, NOWHERE))).error_class == "credentials"

    @pytest.mark.usefixtures("fresh_session")
    def test_calls_are_tried_a_second_time_at_once_and_no_more(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(session, "ATTEMPTS", 2)
        cloud.fails("DescribeInstances", "throttle", times=1)
        assert look(resource(INSTANCE, NOWHERE)).state == "gone"
        cloud.fails("DescribeInstances", "throttle")
        cloud.forget()
        with pytest.raises(Busy):
            look(resource(INSTANCE, NOWHERE))
        assert cloud.calls() == ["DescribeInstances"] * 2

    def test_what_aws_quotes_of_a_wrongly_signed_request_is_not_passed_on(self, cloud: Cloud) -> None:
        cloud.fails("*", code="SignatureDoesNotMatch", status=403, message="x-amz-security-token:SECRET")
        assert "SECRET" not in str(refusal(lambda: look(resource(INSTANCE, NOWHERE))))

    def test_a_denial_says_what_was_denied_without_its_encoded_part(self, cloud: Cloud) -> None:
        text = "not authorized to perform ec2:DescribeInstances. Encoded authorization failure message: AAAA"
        cloud.fails("DescribeInstances", code="UnauthorizedOperation", status=403, message=text)
        said = str(refusal(lambda: look(resource(INSTANCE, NOWHERE))))
        assert "not authorized to perform ec2:DescribeInstances" in said
        assert "AAAA" not in said

    def test_a_dependent_that_can_not_be_read_keeps_everything(self, cloud: Cloud, deployment: Make) -> None:
        instance = cloud.instance()
        cloud.fails("DescribeVolumes", status=500)
        cloud.forget()
        with pytest.raises(Unreachable):
            released(deployment(instance_id=instance), MARKED)
        assert cloud.deletions() == []


class Emulator(AwsTarget):
    """moto's EC2 behind the local stack's proxy, which fails when told to. What takes its time is over when the workflow waited."""

    deployment_type = "AwsEc2"
    na: ClassVar[dict[str, str]] = {"other-one": "EC2 gives an id once, and never to another instance"}
    cloud: ClassVar[Cloud]
    denied: ClassVar = {"400": "RequestExpired", "401": "AuthFailure", "403": "UnauthorizedOperation"}

    def start(self) -> None:
        cls = type(self)
        if not hasattr(cls, "cloud"):
            cls.cloud = Cloud(Ec2().start())
            self.request.session.addfinalizer(cls.cloud.server.stop)
        self.cloud.server.terminating = 0.5
        super().start()
        self.forget()

    def stop(self) -> None:
        self.cloud.server.faults.clear()
        self.cloud.server.settle()

    def parameters(self) -> dict[str, str]:
        return {"Ec2EndpointUrl": self.url()}

    def url(self) -> str:
        return self.cloud.server.url

    def make(self) -> Made:
        key, name = self.cloud.key_pair()
        group = self.cloud.group()
        instance = self.cloud.instance(KeyName=name, SecurityGroupIds=[group])
        found = self.cloud.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        root = found["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
        named, marked = self.cloud.volume(instance), self.cloud.volume(instance, device="/dev/sdg")
        foreign = self.cloud.volume(instance, device="/dev/sdh", mark=False)
        address, strange = self.cloud.address(instance), self.cloud.address(mark=False)
        return Made(
            (INSTANCE, instance),
            [
                (INSTANCE, instance),
                (VOLUME, root),
                (VOLUME, named),
                (ADDRESS, address),
                (VOLUME, marked),
                (GROUP, group),
                (KEY, key),
            ],
            [(VOLUME, foreign), (ADDRESS, strange)],
            {
                "instance_id": instance,
                "ebs_volume": [named],
                "elastic_ip": address,
                "security_group": group,
                "key_pair": key,
            },
            region=REGION,
        )

    def left(self) -> set[Key]:
        # Past the proxy, which may be failing.
        backend = ec2_backends[ACCOUNT][REGION]
        instances = {one.id for one in backend.all_instances() if one.state != "terminated"}
        ids = {
            INSTANCE: instances,
            VOLUME: backend.volumes.keys(),
            ADDRESS: {one.allocation_id for one in backend.addresses},
            INTERFACE: backend.enis.keys(),
            GROUP: {one.id for one in backend.describe_security_groups()},
            KEY: {one.id for one in backend.key_pairs.values()},
        }
        return {(kind, str(one)) for kind, found in ids.items() for one in found}

    def asked(self) -> list[Key]:
        return [key for call in list(self.cloud.server.calls) if (key := _key_of(call))]

    def contacts(self) -> int:
        return len(self.cloud.server.calls)

    def forget(self) -> None:
        self.cloud.forget()

    def vanish(self, made: Made) -> None:
        self.cloud.ec2.terminate_instances(InstanceIds=[made.main[1]])
        self.cloud.server.settle()
        for kind, one in made.ours:
            if (kind, one) in self.left():
                action, parameter = DELETIONS[kind]
                getattr(self.cloud.ec2, re.sub("(?<=[a-z])(?=[A-Z])", "_", action).lower())(**{parameter: one})

    def wait(self, seconds: float) -> None:
        if self.cloud.server.terminating < 1:
            self.cloud.server.settle()

    # Lists of a few hundred come in one piece; more than one page is tried above.
    unpaged = "moto's EC2 answers all of a list at once unless it is asked for less"

    def put_mark(self, made: Made, generation: str) -> list[Key]:
        for _, one in made.ours:
            self.cloud.tag(one, MARK, generation)
        return list(made.ours)

    def crowd(self, number: int, generation: str | None = None) -> list[Key]:
        found = [(INSTANCE, self.cloud.instance(mark=False)) for _ in range(number)]
        for _, one in found if generation is not None else []:
            self.cloud.tag(one, MARK, str(generation))
        return found

    def reads(self) -> dict[str, int]:
        return dict(Counter(call for call in self.cloud.calls() if call.startswith("Describe")))

    def breaks(self, times: int) -> tuple[str, ...]:
        return (*BREAKS, "page")

    def throttled_read(self, read: str, seconds: int) -> AbstractContextManager[object]:
        return self._faults(Fault(read, "throttle", retry_after=seconds))

    def disown(self, made: Made) -> None:
        self.cloud.unmark(made.main[1])

    def protect(self, made: Made) -> None:
        self.cloud.ec2.modify_instance_attribute(InstanceId=made.main[1], DisableApiTermination={"Value": True})

    def denials(self) -> list[str]:
        return list(self.denied)

    def lose_credential(self, made: Made) -> AbstractContextManager[object]:
        return self.failing("denied:401", "look")

    @contextmanager
    def failing(self, fault: str, when: str) -> Iterator[None]:
        name, _, way = fault.partition(":")
        match name:
            case "refused" if when == "look":
                with self.refusing():
                    yield
            case "hung":
                with self.hasty(), self._failing(when, kind="hang"):
                    yield
            case "denied":
                code = self.denied[way]
                with self._failing(when, kind="error", code=code, status=int(way), message=f"broken {TOKEN}"):
                    yield
            case "server-error":
                with self._failing(when, kind="error", message=f"broken {TOKEN}"):
                    yield
            # A deletion is refused once the look before it was answered: as if EC2 went down in between.
            case "reset" | "refused":
                with self._failing(when, kind="reset"):
                    yield
            case _:
                with self._failing(when, kind=name):
                    yield

    @contextmanager
    def _failing(self, when: str, **fault: Any) -> Iterator[None]:
        calls = {"look": ["Describe*"], "delete": [action for action, _ in DELETIONS.values()]}
        actions = calls.get(when, [when])
        with self._faults(*(Fault(action, **fault) for action in actions)):
            yield

    @contextmanager
    def _faults(self, *faults: Fault) -> Iterator[None]:
        server = self.cloud.server
        server.faults[:0] = faults
        try:
            yield
        finally:
            server.faults = [fault for fault in server.faults if not any(fault is one for one in faults)]

    def busy(self, made: Made, times: int) -> AbstractContextManager[object]:
        return self._faults(
            Fault("TerminateInstances", "error", code="IncorrectInstanceState", status=400, times=times)
        )

    def throttled(self, seconds: int, times: int) -> AbstractContextManager[object]:
        return self._faults(Fault("TerminateInstances", "throttle", retry_after=seconds, times=times))

    @contextmanager
    def stuck(self, made: Made, key: Key) -> Iterator[None]:
        if key == made.main:
            self.cloud.server.terminating = 3600
            yield
            self.cloud.server.terminating = 0.5
        else:
            with self._faults(Fault(DELETIONS[key[0]][0], "accept", id=key[1])):
                yield

    def false_success(self, made: Made) -> AbstractContextManager[object]:
        return self._faults(Fault("TerminateInstances", "page"))

    def dependent(self, made: Made) -> Key:
        # The marked volume: it isn't named.
        return made.ours[4]


def _key_of(call: Call) -> Key | None:
    for kind, (action, parameter) in DELETIONS.items():
        if call.action == action:
            return kind, call.parameters[parameter]
    return None


TARGETS = [Emulator]
