"""Answers of providers that are larger than what is read of any, or than what a record can list: none makes a cleanup endless."""

import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tests.cleanup.providers.digitalocean import test_doks, test_droplet
from tests.cleanup.providers.lambdalabs import test_instance as test_lambda
from tests.cleanup.providers.vultr import test_instance as test_vultr
from tests.cleanup.rest_target import AccountTarget
from tests.conformance.conftest import target
from tests.conformance.target import Made
from tests.fakes import a_deployment
from tests.standin import Fault, Reply, Request
from tracker.cleanup.core import engine
from tracker.cleanup.transport import bounds
from tracker.cleanup.transport.bounds import TooMuch
from tracker.model.deployment import RESOURCES_MAX, Cleanup, CleanupError, Deployment
from tracker.model.sizes import ITEM_MAX, fit

__all__ = ["target"]

MANY = 10_000


def deployment(target: AccountTarget, made: Made, *, attempts: int = 1) -> Deployment:
    """A deployment in a round that has met so many errors before."""
    now = datetime.now(UTC)
    error = CleanupError("unreachable", "x", now.isoformat(), 1) if attempts > 1 else None
    return a_deployment(
        deployment_type=target.deployment_type,
        region=made.region,
        resource_ids=made.ids,
        metadata=made.metadata,
        status="Terminating",
        cleanup=Cleanup(round=1, last_error=error),
        now=now,
    )


def volumes(tag: str, number: int = MANY) -> list[dict[str, Any]]:
    """Volumes that are tagged, each with a long name."""
    return [{"id": str(uuid.UUID(int=n)), "name": f"pvc-{n}-{'x' * 200}", "tags": [tag]} for n in range(number)]


@pytest.mark.parametrize("target_class", [test_droplet.StandIn, test_doks.StandIn], ids=["droplet", "cluster"])
def test_ten_thousand_volumes_are_described_by_their_list(target: AccountTarget) -> None:
    made = target.make()
    found = volumes("of-someone")
    some = [{"id": each["id"], "name": each["name"]} for each in found]

    def page(request: Request) -> Reply:
        number, size = int(request.query.get("page", "1")), int(request.query["per_page"])
        here = found[(number - 1) * size : number * size]
        following = f"{target.server.url}/v2/volumes?page={number + 1}&per_page={size}"
        pages = {"next": following} if number * size < len(found) else {}
        return Reply(body={"volumes": here, "links": {"pages": pages}, "meta": {"total": len(found)}})

    associated = Fault("answer", "GET", "/destroy_with_associated_resources$", Reply(body={"volumes": some}))
    target.forget()
    with target.server.failing(associated, Fault("answer", "GET", "/v2/volumes$", page)):
        resources = engine.discover(deployment(target, made), target.settings).resources
    assert target.contacts() < MANY / 50
    assert len(resources) <= RESOURCES_MAX
    assert any(each.id == "others" and "more than a record can list" in each.detail for each in resources)


@pytest.mark.parametrize("target_class", [test_vultr.StandIn])
def test_file_systems_that_are_too_many_to_be_asked_for_are_said(
    target: AccountTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = target.make()
    monkeypatch.setattr(bounds, "LIST_LIMIT", 1.0)
    monkeypatch.setattr("time.monotonic", iter(n / 50 for n in range(MANY * 10)).__next__)
    found = {"vfs": [{"id": str(uuid.UUID(int=n))} for n in range(MANY)], "meta": {"total": MANY}}
    target.forget()
    with target.server.failing(Fault("answer", "GET", "/v2/vfs$", Reply(body=found))):
        resources = engine.discover(deployment(target, made), target.settings).resources
    assert target.contacts() < MANY / 50
    assert [each.state for each in resources if each.key == ("vultr:vfs", "unseen")] == ["kept"]


@pytest.mark.parametrize("target_class", [test_lambda.StandIn])
def test_dependents_that_are_more_than_is_read_keep_no_machine_for_ever(
    target: AccountTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = target.make()
    monkeypatch.setattr(bounds, "LIST_MAX", 1000)
    monkeypatch.setattr("tracker.cleanup.transport.rest.client.ANSWER_MAX", 1000)
    found = Reply(body={"data": [{"id": "1" * 32, "name": "x" * 5000}]})
    with target.server.failing(Fault("answer", "GET", "/file-systems$", found)):
        with pytest.raises(TooMuch):
            engine.discover(deployment(target, made), target.settings)
        resources = engine.discover(deployment(target, made, attempts=2), target.settings).resources
    assert made.main in {each.key for each in resources if each.state != "kept"}
    note = next(each for each in resources if each.key == ("lambdalabs:dependent", "unseen"))
    assert note.state == "kept"
    assert "may be left" in note.detail


@pytest.mark.parametrize("target_class", [test_droplet.StandIn])
def test_a_name_of_a_megabyte_fits_into_the_record(target: AccountTarget) -> None:
    made = target.make()
    snapshots = [{"id": str(n), "name": "x" * 1_000_000} for n in range(3)]
    body = {"snapshots": snapshots}
    with target.server.failing(Fault("answer", "GET", "/destroy_with_associated_resources$", Reply(body=body))):
        record = deployment(target, made)
        resources = engine.discover(record, target.settings).resources
    assert sum(each.kind == "digitalocean:snapshot" for each in resources) == 3
    assert len(msgspec.json.encode(fit(msgspec.structs.replace(record, resources=resources)))) < ITEM_MAX
