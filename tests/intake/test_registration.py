"""This is what a caller may say: what is taken as it is, and what is refused with the field, what came and what is expected."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.intake.amendment import parse_amendment
from tracker.intake.api import explain
from tracker.intake.registration import parse_registration
from tracker.model.deployment import Deployment, Resource, ResourceSpec, parse_time
from tracker.model.errors import Invalid
from tracker.model.settings import YEARS_10, LocalPlace, Settings

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
PLACE = LocalPlace(host="machine-1", boot_id="b00710ad-0000-4000-8000-000000000001", docker_engine="engine-1")
SETTINGS = Settings(
    local_place=PLACE,
    allow_http_loopback_webhooks=True,
    allowed_secrets=["tracker/**"],
    allowed_endpoints=["tcp://*.example.org:2376", "unix:///run/user/*/docker.sock"],
    allowed_roles=["arn:aws:iam::123456789012:role/cleanup-*"],
)
IN_THE_CLOUD = msgspec.structs.replace(SETTINGS, local_place=None, allow_http_loopback_webhooks=False)
GENERATION = "0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f"
EC2 = {
    "blueprint_id": "service-7",
    "deployment_type": "AwsEc2",
    "region": "eu-central-1",
    "resource_ids": {"instance_id": "i-0123456789abcdef0"},
}
DOCKER = {"blueprint_id": "service-8", "deployment_type": "LocalDocker", "resource_ids": {"container_id": "web-1"}}
# As serde writes one of the Rust tracker's VM deployments.
RUST = """{
  "id": "i-0123456789abcdef0",
  "blueprint_id": "i-0123456789abcdef0",
  "deployment_type": "AwsEc2",
  "provider": "AWS",
  "region": "us-east-1",
  "resource_spec": {"cpu": 0.10000000149011612, "memory_gb": 4.0, "storage_gb": 20.0, "gpu_count": null, "allow_spot": false},
  "resource_ids": {
    "public_ip": "3.91.4.7", "instance_name": "i-0123456789abcdef0", "instance_id": "i-0123456789abcdef0"
  },
  "deployed_at": "2025-11-02T08:15:30.123456789Z",
  "ttl_seconds": 3600,
  "expires_at": "2025-11-02T09:15:30.123461234Z",
  "status": "Active",
  "cleanup_webhook": null,
  "metadata": {"tee_attestation_proof": "AAECAw==\\n-----", "project_id": "p", "k8s_context": "x y/z"}
}"""


def register(said: Any, settings: Settings = SETTINGS, **more: Any) -> Deployment:
    return parse_registration(
        said, settings, **{"now": NOW, "registered_by": "tests", "generation": GENERATION, **more}
    )


def ec2(**changes: Any) -> dict[str, Any]:
    return EC2 | changes


def docker(**changes: Any) -> dict[str, Any]:
    return DOCKER | changes


def refusal(said: Any, settings: Settings = SETTINGS) -> Invalid:
    with pytest.raises(Invalid) as error:
        register(said, settings)
    return error.value


# What is taken


def test_a_record_of_the_rust_tracker_is_taken_verbatim_even_if_its_time_is_over() -> None:
    said = json.loads(RUST)
    deployment = register(RUST)
    assert {name: getattr(deployment, name) for name in said.keys() - {"resource_spec"}} == {
        name: value for name, value in said.items() if name != "resource_spec"
    }
    assert deployment.resource_spec == ResourceSpec(cpu=0.10000000149011612)
    assert (deployment.generation, deployment.version, deployment.registered_by) == (GENERATION, 0, "tests")
    assert deployment.registered_at == "2026-03-01T12:00:00.000Z"
    assert deployment.made_at == "2025-11-02T08:15:30.123456789Z"
    assert not deployment.incomplete


def test_a_body_is_taken_as_bytes_text_or_what_is_decoded_already() -> None:
    assert register(RUST) == register(RUST.encode()) == register(json.loads(RUST))


def test_little_is_needed_and_the_rest_is_the_models_default() -> None:
    deployment = register(EC2)
    assert deployment.id == f"dep-{GENERATION}"
    assert deployment.deployed_at == "2026-03-01T12:00:00.000Z"
    assert (deployment.status, deployment.ttl_seconds, deployment.expires_at) == ("Active", None, None)
    assert deployment.resource_spec == ResourceSpec(cpu=2, memory_gb=4, storage_gb=20)
    assert (deployment.provider, deployment.metadata, deployment.webhook_events, deployment.made_at) == (
        None,
        {},
        [],
        "",
    )


def test_null_is_the_same_as_absent() -> None:
    names = ("id", "provider", "resource_spec", "deployed_at", "ttl_seconds", "expires_at", "status", "metadata")
    nulls = dict.fromkeys((*names, "cleanup_webhook", "webhook_events"))
    assert register(ec2(**nulls)) == register(EC2)
    assert refusal(ec2(resource_ids=None)).field == "resource_ids.instance_id"


@pytest.mark.parametrize(
    "changes",
    [
        {"provider": {"DockerRemote": "docker-1"}},
        {"provider": {"BareMetal": ["h1", "h2"]}},
        {"provider": "Linode"},
        {"id": "/subscriptions/1/x y", "blueprint_id": "dseq/1/2 é~%"},
        {"blueprint_id": "k" * 1024},
        {"status": "Failed"},
        {"resource_spec": {"cpu": 0.1, "memory_gb": 0.5, "storage_gb": 1, "gpu_count": 8}},
        {"resource_spec": {"qos": {"priority": 1, "sla_target": 99.9, "reliability_multiplier": None}}},
        {"resource_ids": {"instance_id": "i-01234567", "ebs_volume": ["vol-01234567", "vol-01234568"]}},
        {"resource_ids": {"instance_id": "i-01234567", "ebs_volume": [f"vol-{n:08x}" for n in range(199)]}},
        {"webhook_events": ["cleanup_succeeded", "quarantined"]},
        {"metadata": {"any key": "any\nvalue \x00", "k" * 256: ""}},
        {"metadata": {"delete_dependents": "all", "account": "123456789012", "external_id": "x1"}},
        {"metadata": {"role": "arn:aws:iam::123456789012:role/cleanup-1"}},
        {"metadata": {"credential": "tracker/key"}},
        {"cleanup_webhook": "https://hooks.example.org:8443/a/b?c=d"},
        {"cleanup_webhook": "http://127.0.0.1:8080/hook"},
        {"cleanup_webhook": "http://[::1]:8080/hook"},
        {"ttl_seconds": 1},
        {"ttl_seconds": YEARS_10},
        {"deployed_at": "2026-03-02T12:00:00Z"},
        {"deployed_at": "1999-12-31T23:59:59-23:59"},
    ],
)
def test_what_is_said_well_is_kept_as_it_is(changes: dict[str, Any]) -> None:
    deployment = register(ec2(**changes))
    for name, value in changes.items():
        kept = getattr(deployment, name)
        if name == "resource_spec":
            kept = {key: each for key, each in msgspec.to_builtins(kept).items() if key in value}
        assert kept == value


@pytest.mark.parametrize(
    ("times", "ttl_seconds", "expires_at"),
    [
        ({}, None, None),
        ({"ttl_seconds": 60}, 60, "2026-03-01T12:01:00.000Z"),
        ({"ttl_seconds": 60, "deployed_at": "2020-01-01T01:00:00+01:00"}, 60, "2020-01-01T00:01:00.000Z"),
        ({"expires_at": "2026-03-01T12:00:01Z"}, None, "2026-03-01T12:00:01Z"),
        ({"ttl_seconds": 60, "expires_at": "2026-03-01T12:01:01+00:00"}, 60, "2026-03-01T12:01:01+00:00"),
        ({"ttl_seconds": 60, "expires_at": "2026-03-01T12:00:59Z"}, 60, "2026-03-01T12:00:59Z"),
        ({"ttl_seconds": YEARS_10, "expires_at": "2036-02-27T12:00:00.5Z"}, YEARS_10, "2036-02-27T12:00:00.5Z"),
    ],
)
def test_the_end_follows_from_what_is_said_of_it(
    times: dict[str, Any], ttl_seconds: int | None, expires_at: str | None
) -> None:
    deployment = register(ec2(**times))
    assert (deployment.ttl_seconds, deployment.expires_at) == (ttl_seconds, expires_at)


@given(st.integers(1, YEARS_10), st.datetimes(datetime(1970, 1, 1), datetime(2026, 3, 2)))  # noqa: DTZ001
def test_a_ttl_ends_that_long_after_the_deployment(ttl: int, deployed_at: datetime) -> None:
    deployment = register(ec2(ttl_seconds=ttl, deployed_at=deployed_at.isoformat() + "Z"))
    assert deployment.expires_at
    end = deployed_at.replace(tzinfo=UTC) + timedelta(seconds=ttl)
    assert timedelta(0) <= end - parse_time(deployment.expires_at) < timedelta(milliseconds=1)


def test_the_stacks_default_ttl_is_for_what_says_no_end() -> None:
    settings = msgspec.structs.replace(SETTINGS, default_ttl=600)
    assert register(EC2, settings).ttl_seconds == 600
    assert register(EC2, settings).expires_at == "2026-03-01T12:10:00.000Z"
    assert register(ec2(ttl_seconds=60), settings).ttl_seconds == 60
    assert register(ec2(expires_at="2026-03-02T00:00:00Z"), settings).ttl_seconds is None


@pytest.mark.parametrize(
    ("times", "field"),
    [
        ({"ttl_seconds": 3601}, "ttl_seconds"),
        ({"expires_at": "2026-03-01T13:00:01Z"}, "expires_at"),
        ({}, "ttl_seconds"),
    ],
)
def test_no_lifetime_is_longer_than_the_stacks_longest(times: dict[str, Any], field: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, max_ttl=3600)
    assert register(ec2(ttl_seconds=3600), settings).ttl_seconds == 3600
    assert register(ec2(expires_at="2026-03-01T13:00:00Z"), settings).expires_at == "2026-03-01T13:00:00Z"
    error = refusal(ec2(**times), settings)
    assert (error.status, error.field) == (422, field)


def test_an_events_time_and_origin_stand_for_what_its_detail_does_not_say() -> None:
    at = NOW - timedelta(hours=1)
    deployment = register(EC2, made_at="event-1", registered_at=at)
    assert deployment.deployed_at == deployment.registered_at == "2026-03-01T11:00:00.000Z"
    assert deployment.made_at == "event-1"
    assert register(ec2(deployed_at="2026-01-01T00:00:00Z"), made_at="event-1").made_at == "event-1"


def test_the_fingerprint_is_of_what_was_said_in_whatever_order() -> None:
    first = register(EC2).fingerprint
    assert len(first) == 64
    again = dict(reversed(ec2(provider=None, metadata=None).items()))
    assert register(again, generation="other", now=NOW + timedelta(days=1)).fingerprint == first
    assert register(EC2, made_at="event-1").fingerprint == first
    others = [ec2(provider="AWS"), ec2(ttl_seconds=60), ec2(metadata={"a": "b"}), ec2(blueprint_id="service-9")]
    assert len({first, *(register(said).fingerprint for said in others)}) == 5


# What is refused. 400 for a wrong shape, 422 for a value that doesn't do.

SHELLISH = [
    "--all",
    "; rm -rf /",
    "$(x)",
    "a/../b",
    "i-0123456789abcdef0 ",
    "i-0123456789abcdef0\n",
    "`x`",
    "",
    "*",
    "%2e%2e",
]

REFUSED: list[tuple[dict[str, Any] | str, int, str]] = [
    # The shape
    (ec2(ttl="60"), 400, "ttl"),
    (ec2(**{"": 1}), 400, ""),
    (ec2(Region="eu-central-1"), 400, "Region"),
    ({key: value for key, value in EC2.items() if key != "blueprint_id"}, 400, "blueprint_id"),
    ({key: value for key, value in EC2.items() if key != "deployment_type"}, 400, "deployment_type"),
    ({}, 400, "blueprint_id"),
    (ec2(blueprint_id=None), 400, "blueprint_id"),
    (ec2(blueprint_id=7), 400, "blueprint_id"),
    (ec2(deployment_type=["AwsEc2"]), 400, "deployment_type"),
    (ec2(region=1), 400, "region"),
    (ec2(ttl_seconds=60.0), 400, "ttl_seconds"),
    (ec2(ttl_seconds=0.5), 400, "ttl_seconds"),
    (ec2(ttl_seconds=True), 400, "ttl_seconds"),
    (ec2(ttl_seconds="60"), 400, "ttl_seconds"),
    (ec2(ttl_seconds=[60]), 400, "ttl_seconds"),
    (ec2(deployed_at=1767225600), 400, "deployed_at"),
    (ec2(status=1), 400, "status"),
    (ec2(resource_spec=[]), 400, "resource_spec"),
    (ec2(resource_spec={"cpu": "2"}), 400, "resource_spec.cpu"),
    (ec2(resource_spec={"cpu": True}), 400, "resource_spec.cpu"),
    (ec2(resource_spec={"cpus": 2}), 400, "resource_spec.cpus"),
    (ec2(resource_spec={"gpu_count": 1.5}), 400, "resource_spec.gpu_count"),
    (ec2(resource_spec={"allow_spot": 1}), 400, "resource_spec.allow_spot"),
    (ec2(resource_spec={"qos": {"priority": "high"}}), 400, "resource_spec.qos.priority"),
    (ec2(resource_spec={"qos": {"x": 1}}), 400, "resource_spec.qos.x"),
    (ec2(resource_ids=["i-0123456789abcdef0"]), 400, "resource_ids"),
    (ec2(resource_ids={"instance_id": 7}), 400, "resource_ids.instance_id"),
    (ec2(resource_ids={"instance_id": None}), 400, "resource_ids.instance_id"),
    (ec2(resource_ids={"ebs_volume": [7]}), 400, "resource_ids.ebs_volume"),
    (ec2(resource_ids={"ebs_volume": {"a": "b"}}), 400, "resource_ids.ebs_volume"),
    (ec2(metadata="x"), 400, "metadata"),
    (ec2(metadata={"a": 1}), 400, "metadata.a"),
    (ec2(metadata={"a": None}), 400, "metadata.a"),
    (ec2(metadata={"a": {"b": "c"}}), 400, "metadata.a"),
    (ec2(cleanup_webhook={"url": "https://x"}), 400, "cleanup_webhook"),
    (ec2(webhook_events="registered"), 400, "webhook_events"),
    (ec2(webhook_events=["registered", 7]), 400, "webhook_events[1]"),
    (ec2(provider=7), 400, "provider"),
    (ec2(provider=["AWS"]), 400, "provider"),
    (ec2(provider={}), 400, "provider"),
    (ec2(provider={"DockerRemote": ["h"]}), 400, "provider"),
    (ec2(provider={"BareMetal": "h"}), 400, "provider"),
    (ec2(provider={"BareMetal": [7]}), 400, "provider"),
    (ec2(provider={"DockerRemote": "h", "BareMetal": ["h"]}), 400, "provider"),
    # Keys and texts
    (ec2(blueprint_id=""), 422, "blueprint_id"),
    (ec2(blueprint_id="k" * 1025), 422, "blueprint_id"),
    (ec2(blueprint_id="é" * 513), 422, "blueprint_id"),
    (ec2(blueprint_id="a\nb"), 422, "blueprint_id"),
    (ec2(blueprint_id="a\x00"), 422, "blueprint_id"),
    (ec2(blueprint_id="a\u202eb"), 422, "blueprint_id"),
    (ec2(id=""), 422, "id"),
    (ec2(id="a\x7f"), 422, "id"),
    (ec2(provider="Amazon"), 422, "provider"),
    (ec2(provider=""), 422, "provider"),
    (ec2(provider={"DockerRemote": ""}), 422, "provider.DockerRemote"),
    (ec2(provider={"BareMetal": ["h", "a\nb"]}), 422, "provider.BareMetal"),
    (ec2(region=""), 422, "region"),
    (ec2(region="eu-central-1.evil.org/"), 422, "region"),
    (ec2(region="eu-central-1\n"), 422, "region"),
    (ec2(region=None), 422, "region"),
    # The type, the status, the size
    (ec2(deployment_type="AwsLightsail"), 422, "deployment_type"),
    (ec2(deployment_type="awsec2"), 422, "deployment_type"),
    (ec2(deployment_type=""), 422, "deployment_type"),
    (ec2(status="Terminated"), 422, "status"),
    (ec2(status="Terminating"), 422, "status"),
    (ec2(status="active"), 422, "status"),
    (ec2(status=""), 422, "status"),
    (ec2(expires_at=""), 422, "expires_at"),
    (ec2(resource_spec={"cpu": -0.1}), 422, "resource_spec.cpu"),
    (ec2(resource_spec={"cpu": -1}), 422, "resource_spec.cpu"),
    (ec2(resource_spec={"cpu": float("nan")}), 422, "resource_spec.cpu"),
    (ec2(resource_spec={"cpu": float("inf")}), 422, "resource_spec.cpu"),
    (ec2(resource_spec={"memory_gb": 1e39}), 422, "resource_spec.memory_gb"),
    (ec2(resource_spec={"storage_gb": -1e-9}), 422, "resource_spec.storage_gb"),
    (ec2(resource_spec={"gpu_count": 0}), 422, "resource_spec.gpu_count"),
    (ec2(resource_spec={"gpu_count": 9}), 422, "resource_spec.gpu_count"),
    (ec2(resource_spec={"qos": {"priority": 10**400}}), 400, "body"),
    (ec2(resource_spec={"qos": {"priority": 1e39}}), 422, "resource_spec.qos.priority"),
    (ec2(blueprint_id="  "), 422, "blueprint_id"),
    (ec2(webhook_events=["registered"] * 7000), 422, "webhook_events[1]"),
    ('{"blueprint_id": "x1", "blueprint_id": "x2"}', 400, "blueprint_id"),
    ('{"metadata": {"a": "1", "a": "2"}}', 400, "a"),
    ("[" * 10_000, 400, "body"),
    # Times
    (ec2(ttl_seconds=0), 422, "ttl_seconds"),
    (ec2(ttl_seconds=-1), 422, "ttl_seconds"),
    (ec2(ttl_seconds=YEARS_10 + 1), 422, "ttl_seconds"),
    (ec2(ttl_seconds=2**64), 422, "ttl_seconds"),
    (ec2(ttl_seconds=10**300), 422, "ttl_seconds"),
    (ec2(expires_at="2026-03-01T11:59:59Z"), 422, "expires_at"),
    (ec2(expires_at="2026-03-01T12:00:00Z"), 422, "expires_at"),
    (ec2(expires_at="2026-03-01T12:00:00.9Z"), 422, "expires_at"),
    (ec2(expires_at="2036-02-27T12:00:01Z"), 422, "expires_at"),
    (ec2(expires_at="9999-12-31T23:59:59Z"), 422, "expires_at"),
    (ec2(ttl_seconds=60, expires_at="2026-03-01T12:01:01.1Z"), 422, "expires_at"),
    (ec2(ttl_seconds=60, expires_at="2026-03-01T12:00:58.9Z"), 422, "expires_at"),
    (ec2(ttl_seconds=1, expires_at="2026-03-01T12:00:00Z"), 422, "expires_at"),
    (ec2(ttl_seconds=0, expires_at="2026-03-01T12:00:01Z"), 422, "ttl_seconds"),
    (ec2(deployed_at="2026-03-02T12:00:01Z"), 422, "deployed_at"),
    *(
        (ec2(deployed_at=text), 422, "deployed_at")
        for text in (
            "",
            "2026-03-01",
            "2026-03-01T12:00:00",
            "2026-03-01 12:00:00Z",
            "20260301T120000.000Z",
            "2026-W09-7T12:00:00Z",
            "2026-02-30T12:00:00Z",
            "2026-03-01T12:00:60Z",
            "2026-03-01T12:00:00.1234567890Z",
            "2026-03-01T12:00:00+00:00:01",
            "2026-03-01T12:00:00Z\n",
            "0001-01-01T00:00:00+23:59",
            "２026-03-01T12:00:00Z",  # noqa: RUF001
            "now",
        )
    ),
    # Ids
    (ec2(resource_ids={}), 422, "resource_ids.instance_id"),
    (ec2(resource_ids={"elastic_ip": "eipalloc-01234567"}), 422, "resource_ids.instance_id"),
    (ec2(resource_ids=EC2["resource_ids"] | {"volume": "vol-01234567"}), 422, "resource_ids.volume"),  # type: ignore[operator]
    (ec2(resource_ids={"instance_id": ["i-01234567"]}), 422, "resource_ids.instance_id"),
    (ec2(resource_ids={"ebs_volume": []}), 422, "resource_ids.ebs_volume"),
    (ec2(resource_ids={"ebs_volume": ["vol-01234567"] * 2}), 422, "resource_ids.ebs_volume"),
    (ec2(resource_ids={"ebs_volume": ["vol-01234567", "--all"]}), 422, "resource_ids.ebs_volume"),
    (ec2(resource_ids={"ebs_volume": [f"vol-{n:08x}" for n in range(201)]}), 422, "resource_ids"),
    *((ec2(resource_ids={"instance_id": text}), 422, "resource_ids.instance_id") for text in SHELLISH),
    *((docker(resource_ids={"container_id": text}), 422, "resource_ids.container_id") for text in SHELLISH[:4]),
    (docker(resource_ids={"volume": "data"}), 422, "resource_ids.container_id"),
    (docker(resource_ids={"container_id": "web-1", "network": "host"}), 422, "resource_ids.network"),
    # Metadata and its guards
    (ec2(metadata={"": "x"}), 422, "metadata"),
    (ec2(metadata={"k" * 257: "x"}), 422, "metadata"),
    (ec2(metadata={"a\nb": "x"}), 422, "metadata"),
    (ec2(metadata={"account": "12345"}), 422, "metadata.account"),
    (ec2(metadata={"delete_dependents": "yes"}), 422, "metadata.delete_dependents"),
    (ec2(metadata={"credential": "other/key"}), 422, "metadata.credential"),
    (ec2(metadata={"credential": "tracker/../other/key"}), 422, "metadata.credential"),
    (ec2(metadata={"credential": "tracker/key\n"}), 422, "metadata.credential"),
    (ec2(metadata={"role": "arn:aws:iam::123456789012:role/admin"}), 422, "metadata.role"),
    (ec2(metadata={"role": "arn:aws:iam::999999999999:role/cleanup-1"}), 422, "metadata.role"),
    (docker(metadata={"docker_host": "tcp://docker-1.evil.org:2376"}), 422, "metadata.docker_host"),
    (docker(metadata={"docker_host": "tcp://evil.org:1/.example.org:2376"}), 422, "metadata.docker_host"),
    (docker(metadata={"docker_host": "unix:///var/run/other.sock"}), 422, "metadata.docker_host"),
    (docker(metadata={"docker_tls_secret": "other"}), 422, "metadata.docker_tls_secret"),
    (docker(metadata={"docker_ssh_secret": "other"}), 422, "metadata.docker_ssh_secret"),
    # The place
    (docker(metadata={"host": "machine-2"}), 422, "metadata.host"),
    (docker(metadata={"docker_engine": "engine-2"}), 422, "metadata.docker_engine"),
    (docker(provider={"DockerRemote": "docker-1"}), 422, "provider.DockerRemote"),
    # The webhook
    *(
        (ec2(cleanup_webhook=url), 422, "cleanup_webhook")
        for url in (
            "",
            "hook",
            "//example.org/x",
            "http://example.org/x",
            "http://169.254.169.254/latest",
            "http://127.0.0.1.example.org/x",
            "http://localhost@example.org/x",
            "ftp://example.org/x",
            "file:///etc/passwd",
            "https://",
            "https:///x",
            "https://user:word@example.org/x",
            "https://@example.org/x",
            "https://example.org:99999/x",
            "https://example.org:0/x",
            "https://example.org\\@evil.org/x",
            "https://exa mple.org/x",
            "https://example.org/x\n",
            "https://exämple.org/x",
            "https://example%2eorg/x",
            "https://[::1/x",
            "https://example.org/" + "x" * 2029,
        )
    ),
    (ec2(webhook_events=["registered", "deleted"]), 422, "webhook_events[1]"),
]


@pytest.mark.parametrize(("said", "status", "field"), REFUSED)
def test_what_is_wrong_is_refused_by_its_field(said: dict[str, Any], status: int, field: str) -> None:
    error = refusal(said)
    assert (error.status, error.field) == (status, field)
    assert error.code == {400: "malformed", 422: "invalid"}[status]
    assert error.details["expected"]
    assert json.dumps(explain(error))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"7",
        b"NaN",
        b"\xff",
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * 50_000,
        b"{} {}",
        pytest.param('{"a": "\ud800"}', id="a lone surrogate"),
        {"a": "\ud800"},
    ],
)
def test_a_body_that_is_no_json_object_is_malformed(raw: Any) -> None:
    error = refusal(raw)
    assert (error.status, error.field) == (400, "body")


def test_a_body_larger_than_the_cap_is_refused_however_it_comes() -> None:
    said = ec2(metadata={"tee_attestation_proof": "A" * 102_000})
    assert register(said).metadata == said["metadata"]
    said["metadata"]["more"] = "A" * 400
    assert refusal(said).field == refusal(json.dumps(said)).field == refusal(json.dumps(said).encode()).field == "body"


@pytest.mark.parametrize("key", ["id", "blueprint_id", "region"])
def test_a_lone_surrogate_is_malformed(key: str) -> None:
    assert refusal(ec2(**{key: "a\ud800"})).status == 400


@pytest.mark.parametrize(
    ("said", "got", "expected"),
    [
        (ec2(ttl_seconds="60"), "a string", "an integer or null"),
        (ec2(resource_spec={"cpu": None}), "null", "a number"),
        (ec2(resource_spec={"cpu": -0.05}), "-0.05", "a number from 0 to 3.40282e+38"),
        (ec2(ttl=60), "an unknown field", "no field of that name"),
        (ec2(status="Terminated"), "Terminated", "one of Active, Failed, Unknown"),
        (ec2(resource_ids={"instance_id": "i-1"}), "i-1", "an id such as i-0123456789abcdef0"),
        (ec2(resource_ids={}), "nothing", "instance_id, such as i-0123456789abcdef0"),
    ],
)
def test_a_refusal_says_what_came_and_what_is_expected(said: dict[str, Any], got: str, expected: str) -> None:
    error = refusal(said)
    assert (error.details["got"], error.details["expected"]) == (got, expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": {"credential": "hush-hush"}},
        {"metadata": {"account": "hush-hush"}},
        {"metadata": {"a": ["hush-hush"]}},
        {"metadata": "hush-hush"},
        {"cleanup_webhook": "https://me:hush-hush@example.org"},
        {"cleanup_webhook": ["hush-hush"]},
        {"secret": "hush-hush"},
        {"resource_spec": {"secret": "hush-hush"}},
        {"provider": {"Secret": "hush-hush"}},
    ],
)
def test_what_may_be_a_secret_is_never_said_again(changes: dict[str, Any]) -> None:
    assert "hush-hush" not in json.dumps(explain(refusal(ec2(**changes))))


def test_a_long_unknown_name_is_cut_in_the_refusal() -> None:
    assert len(json.dumps(explain(refusal(ec2(**{"x" * 90_000: 1}))))) < 2000
    assert len(json.dumps(explain(refusal(ec2(resource_ids={"x" * 90_000: "1"}))))) < 2000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


def is_kept_or_explained(parse: Callable[[], Deployment]) -> bool:
    """Return whether it comes back from the store as it was parsed, or is refused in words that can be sent."""
    try:
        deployment = parse()
    except Invalid as error:
        return bool(msgspec.json.encode(explain(error)))
    return msgspec.json.decode(msgspec.json.encode(deployment), type=Deployment) == deployment


@given(st.dictionaries(st.sampled_from([*msgspec.json.decode(RUST), "webhook_events", "x"]), JSON, max_size=5))
def test_whatever_is_said_is_registered_or_invalid(changes: dict[str, Any]) -> None:
    assert is_kept_or_explained(lambda: register(ec2(**changes)))


# What a stack serves, and what is on its machine


def test_a_type_that_the_stack_does_not_serve_is_refused() -> None:
    settings = msgspec.structs.replace(SETTINGS, enabled_types=["LocalDocker"])
    assert register(DOCKER, settings).deployment_type == "LocalDocker"
    assert refusal(EC2, settings).field == "deployment_type"


def test_only_unknown_may_lack_what_its_type_needs_and_is_marked() -> None:
    bare = {"blueprint_id": "service-7", "deployment_type": "AwsEc2"}
    deployment = register({**bare, "status": "Unknown"})
    assert (deployment.status, deployment.incomplete) == ("Unknown", True)
    assert not register(ec2(status="Unknown")).incomplete
    assert refusal({**bare, "status": "Failed"}).field == "resource_ids.instance_id"
    assert refusal({**bare, "status": "Unknown", "resource_ids": {"instance_id": "--all"}}).status == 422


def test_what_is_on_this_machine_says_which_one() -> None:
    deployment = register(docker(metadata={"note": "x"}))
    here = {"host": "machine-1", "boot_id": PLACE.boot_id, "docker_engine": "engine-1"}
    assert deployment.metadata == {"note": "x", **here}
    assert register(docker(metadata=here)).metadata == here
    assert register(docker(metadata={"docker_host": "unix:///var/run/docker.sock"})).metadata.items() >= here.items()
    assert register(docker(metadata={"docker_host": "unix:///run/user/7/docker.sock"})).metadata.items() >= here.items()


def test_the_namespace_that_every_cluster_has_goes_with_no_deployment() -> None:
    ids = {"namespace": "default", "deployment": "blueprint", "context": "kind-x"}
    record = {"blueprint_id": "service-9", "deployment_type": "LocalKubernetes", "resource_ids": ids}
    assert register(record).resource_ids == ids
    assert refusal(record | {"metadata": {"delete_namespace": "true"}}).field == "metadata.delete_namespace"


def test_nobody_but_the_stack_says_which_boot_of_its_machine_it_was() -> None:
    another = "b00710ad-0000-4000-8000-000000000000"
    assert refusal(docker(metadata={"boot_id": another})).field == "metadata.boot_id"
    # A record that was made before the machine was booted again keeps its own.
    booted = msgspec.structs.replace(SETTINGS, local_place=msgspec.structs.replace(PLACE, boot_id=another))
    amended, _ = parse_amendment({"metadata": {"note": "x"}}, register(DOCKER), booted, now=NOW)
    assert amended.metadata["boot_id"] == PLACE.boot_id


@pytest.mark.parametrize("place", [None, LocalPlace(host="machine-1", boot_id=PLACE.boot_id)])
def test_a_stack_that_knows_no_engine_of_its_own_has_no_local_docker(place: LocalPlace | None) -> None:
    settings = msgspec.structs.replace(SETTINGS, local_place=place)
    assert refusal(DOCKER, settings).field == "deployment_type"
    assert refusal(docker(status="Unknown", resource_ids={}), settings).field == "deployment_type"
    assert refusal(docker(metadata={"docker_host": "unix:///var/run/docker.sock"}), settings).field == "deployment_type"


def test_a_remote_engine_is_no_place_of_this_machine() -> None:
    metadata = {"docker_host": "tcp://docker-1.example.org:2376", "docker_tls_secret": "tracker/tls"}
    said = docker(metadata=metadata, provider={"DockerRemote": "docker-1"})
    assert register(said, IN_THE_CLOUD).metadata == register(said).metadata == metadata


def test_only_a_stack_on_one_machine_may_call_that_machine_in_the_clear() -> None:
    assert refusal(ec2(cleanup_webhook="http://127.0.0.1:8080/hook"), IN_THE_CLOUD).field == "cleanup_webhook"


# Amending


def amend(deployment: Deployment, patch: Any, settings: Settings = SETTINGS) -> Deployment:
    amended, key = parse_amendment(patch, deployment, settings, now=NOW)
    assert key is None
    return amended


def refused(deployment: Deployment, patch: Any, settings: Settings = SETTINGS) -> Invalid:
    with pytest.raises(Invalid) as error:
        parse_amendment(patch, deployment, settings, now=NOW)
    return error.value


def changed(before: Deployment, after: Deployment) -> dict[str, Any]:
    names = before.__struct_fields__
    return {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}


@pytest.mark.parametrize(
    ("patch", "changes"),
    [
        ({"ttl_seconds": 60}, {"ttl_seconds": 60, "expires_at": "2026-03-01T12:01:00.000Z"}),
        ({"ttl_seconds": 60, "expires_at": None}, {"ttl_seconds": 60, "expires_at": "2026-03-01T12:01:00.000Z"}),
        ({"expires_at": "2026-03-05T00:00:00Z"}, {"ttl_seconds": 302400, "expires_at": "2026-03-05T00:00:00Z"}),
        ({"expires_at": "2026-03-01T12:00:01.4Z"}, {"ttl_seconds": 1, "expires_at": "2026-03-01T12:00:01.4Z"}),
        (
            {"ttl_seconds": 60, "expires_at": "2026-03-01T12:01:01Z"},
            {"ttl_seconds": 60, "expires_at": "2026-03-01T12:01:01Z"},
        ),
        ({"ttl_seconds": None}, {"ttl_seconds": None, "expires_at": None}),
        ({"expires_at": None}, {"ttl_seconds": None, "expires_at": None}),
        ({"metadata": {"a": None, "c": "d"}}, {"metadata": {"b": "2", "c": "d"}}),
        ({"metadata": None}, {"metadata": {}}),
        ({"provider": {"DockerRemote": "h"}}, {"provider": {"DockerRemote": "h"}}),
        ({"provider": None}, {"provider": None}),
        ({"resource_spec": {"cpu": 8}}, {"resource_spec": ResourceSpec(cpu=8, memory_gb=16)}),
        ({"resource_spec": None}, {"resource_spec": ResourceSpec()}),
        ({"region": "us-east-1"}, {"region": "us-east-1"}),
        ({"status": "Unknown"}, {"status": "Unknown"}),
        ({"cleanup_webhook": "https://h.example.org/"}, {"cleanup_webhook": "https://h.example.org/"}),
        ({"webhook_events": ["moved"]}, {"webhook_events": ["moved"]}),
        (
            {"resource_ids": {"key_pair": "key-01234567"}},
            {"resource_ids": {**EC2["resource_ids"], "key_pair": "key-01234567"}},  # type: ignore[dict-item]
        ),
        ({"blueprint_id": "service-7"}, {}),
        ({"region": "eu-central-1"}, {}),
        ({"cleanup_webhook": None}, {}),
    ],
)
def test_an_amendment_changes_what_it_names_and_what_follows_from_it(
    patch: dict[str, Any], changes: dict[str, Any]
) -> None:
    before = register(
        ec2(
            ttl_seconds=3600,
            metadata={"a": "1", "b": "2"},
            provider={"BareMetal": ["h"]},
            resource_spec={"cpu": 4, "memory_gb": 16},
        )
    )
    assert changed(before, amend(before, patch)) == changes
    assert changed(before, amend(before, json.dumps(patch).encode())) == changes


def test_an_amendment_says_where_the_deployment_moves_to() -> None:
    before = register(EC2)
    assert parse_amendment({"blueprint_id": "a/b"}, before, SETTINGS, now=NOW) == (before, "a/b")


@pytest.mark.parametrize(
    ("patch", "status", "field"),
    [
        ({}, 400, "body"),
        ([], 400, "body"),
        (b"{", 400, "body"),
        ({"id": "dep-2"}, 400, "id"),
        ({"deployment_type": "LocalDocker"}, 400, "deployment_type"),
        ({"deployed_at": "2026-01-01T00:00:00Z"}, 400, "deployed_at"),
        ({"generation": "x"}, 400, "generation"),
        ({"version": 1}, 400, "version"),
        ({"cleanup": {"failures": 0}}, 400, "cleanup"),
        ({"resources": []}, 400, "resources"),
        ({"x": None}, 400, "x"),
        ({"status": None}, 400, "status"),
        ({"blueprint_id": None}, 400, "blueprint_id"),
        ({"blueprint_id": 7}, 400, "blueprint_id"),
        ({"blueprint_id": ""}, 422, "blueprint_id"),
        ({"status": "Terminated"}, 422, "status"),
        ({"status": "Terminating"}, 422, "status"),
        ({"ttl_seconds": "60"}, 400, "ttl_seconds"),
        ({"ttl_seconds": 0}, 422, "ttl_seconds"),
        ({"ttl_seconds": YEARS_10 + 1}, 422, "ttl_seconds"),
        ({"expires_at": "2026-03-01T12:00:00Z"}, 422, "expires_at"),
        ({"expires_at": "soon"}, 422, "expires_at"),
        ({"ttl_seconds": 60, "expires_at": "2026-03-01T13:00:00Z"}, 422, "expires_at"),
        ({"region": None}, 422, "region"),
        ({"region": "mars"}, 422, "region"),
        ({"resource_ids": None}, 422, "resource_ids.instance_id"),
        ({"resource_ids": {"instance_id": None}}, 422, "resource_ids.instance_id"),
        ({"resource_ids": {"instance_id": "--all"}}, 422, "resource_ids.instance_id"),
        ({"resource_ids": {"volume": "vol-01234567"}}, 422, "resource_ids.volume"),
        ({"resource_ids": {"ebs_volume": {"a": "b"}}}, 400, "resource_ids.ebs_volume"),
        ({"resource_ids": "x"}, 400, "resource_ids"),
        ({"metadata": {"role": "arn:aws:iam::123456789012:role/admin"}}, 422, "metadata.role"),
        ({"metadata": {"a": 1}}, 400, "metadata.a"),
        ({"resource_spec": {"cpu": -1}}, 422, "resource_spec.cpu"),
        ({"resource_spec": {"x": 0}}, 400, "resource_spec.x"),
        ({"cleanup_webhook": "http://example.org"}, 422, "cleanup_webhook"),
        ({"webhook_events": ["x"]}, 422, "webhook_events[0]"),
        ({"provider": "x"}, 422, "provider"),
    ],
)
def test_an_amendment_that_a_registration_could_not_say_is_refused(patch: Any, status: int, field: str) -> None:
    error = refused(register(ec2(ttl_seconds=3600)), patch)
    assert (error.status, error.field) == (status, field)


def test_an_amendment_can_not_grow_a_record_without_end() -> None:
    before = register(ec2(metadata={"a": "A" * 60_000}))
    assert refused(before, {"metadata": {"b": "B" * 60_000}}).field == "body"


def test_no_end_is_refused_where_every_time_ends() -> None:
    settings = msgspec.structs.replace(SETTINGS, max_ttl=3600)
    before = register(ec2(ttl_seconds=3600), settings)
    assert refused(before, {"ttl_seconds": None}, settings).field == "ttl_seconds"
    assert refused(before, {"ttl_seconds": 3601}, settings).field == "ttl_seconds"


def test_a_limit_that_came_later_does_not_keep_other_things_from_being_amended() -> None:
    before = register(ec2(ttl_seconds=7200))
    settings = msgspec.structs.replace(SETTINGS, max_ttl=3600, enabled_types=["LocalDocker"])
    assert changed(before, amend(before, {"status": "Failed"}, settings)) == {"status": "Failed"}


def test_an_id_that_is_replaced_or_removed_stays_a_resource() -> None:
    ids = {
        "instance_id": "i-00000001",
        "instance_name": "old",
        "ebs_volume": ["vol-00000001", "vol-00000002", "vol-00000003"],
    }
    before = register(ec2(resource_ids=ids))
    patch = {"instance_id": "i-00000002", "instance_name": "new", "ebs_volume": "vol-00000002"}
    after = amend(before, {"resource_ids": patch})
    assert after.resource_ids == patch
    assert after.resources == [
        Resource("aws:instance", "i-00000001", named_by="instance_id"),
        Resource("aws:volume", "vol-00000001", named_by="ebs_volume"),
        Resource("aws:volume", "vol-00000003", named_by="ebs_volume"),
    ]
    last = amend(after, {"resource_ids": {"ebs_volume": None, "instance_id": "i-00000001"}})
    assert [(each.id, each.named_by) for each in last.resources] == [
        ("i-00000001", "instance_id"),
        ("vol-00000001", "ebs_volume"),
        ("vol-00000003", "ebs_volume"),
        ("i-00000002", "instance_id"),
        ("vol-00000002", "ebs_volume"),
    ]


def test_a_replaced_id_keeps_what_is_known_of_its_resource() -> None:
    seen = Resource("aws:volume", "vol-00000001", stage=2, state="leaving", seen=True)
    before = register(ec2(resource_ids={"instance_id": "i-00000001", "ebs_volume": "vol-00000001"}))
    before = msgspec.structs.replace(before, resources=[seen])
    after = amend(before, {"resource_ids": {"ebs_volume": None}})
    assert after.resources == [msgspec.structs.replace(seen, named_by="ebs_volume")]


def test_former_ids_count_towards_the_cap() -> None:
    volumes = [f"vol-{n:08x}" for n in range(199)]
    before = register(ec2(resource_ids={"instance_id": "i-00000001", "ebs_volume": volumes}))
    assert refused(before, {"resource_ids": {"instance_id": "i-00000002"}}).field == "resource_ids"


def test_amending_completes_an_incomplete_record() -> None:
    before = register({"blueprint_id": "service-7", "deployment_type": "AwsEc2", "status": "Unknown"})
    assert refused(before, {"status": "Active"}).field == "resource_ids.instance_id"
    half = amend(before, {"region": "eu-central-1"})
    assert half.incomplete
    whole = amend(half, {"resource_ids": EC2["resource_ids"], "status": "Active"})
    assert (whole.status, whole.incomplete) == ("Active", False)


def test_an_incomplete_record_that_a_failed_round_made_active_can_be_amended_in_parts() -> None:
    unknown = register({"blueprint_id": "service-7", "deployment_type": "AwsEc2", "status": "Unknown"})
    before = msgspec.structs.replace(unknown, status="Active")
    assert amend(before, {"region": "eu-central-1"}).incomplete
    assert refused(before, {"region": "eu-central-1", "status": "Active"}).field == "resource_ids.instance_id"


def test_what_is_on_this_machine_stays_there_when_it_is_amended() -> None:
    before = register(DOCKER)
    assert amend(before, {"metadata": None}).metadata == before.metadata
    assert refused(before, {"metadata": {"docker_engine": "engine-2"}}).field == "metadata.docker_engine"


@given(
    st.dictionaries(st.sampled_from([*msgspec.json.decode(RUST), "webhook_events", "x"]), JSON, min_size=1, max_size=4)
)
def test_whatever_an_amendment_says_it_is_taken_or_invalid(patch: dict[str, Any]) -> None:
    before = register(ec2(ttl_seconds=60, metadata={"a": "b"}))
    assert is_kept_or_explained(lambda: parse_amendment(patch, before, SETTINGS, now=NOW)[0])
