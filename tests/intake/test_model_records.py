"""Records as the Rust tracker keeps them in `deployment_state.json`: each can be posted as it is.

serde writes an enum's variant as a string, or as an object with its data; an `f32` with as many digits as tell it apart; times with up to
nine decimals; an absent `Option` as null, or not at all where the field is newer than the record.
"""

import json
from typing import Any

import pytest

from tests.fakes import NOW
from tracker.intake.fields import PROVIDERS
from tracker.intake.registration import parse_registration
from tracker.model.catalogue import CATALOGUE
from tracker.model.deployment import Deployment
from tracker.model.errors import Invalid
from tracker.model.settings import LocalPlace, Settings

SERVED = [name for name, type_ in CATALOGUE.items() if type_.module]
SETTINGS = Settings(
    local_place=LocalPlace(host="here", boot_id="0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f", docker_engine="ENGINE"),
    **{
        f"allowed_{guard}s": ["**", "/run/**", "/var/**", "/opt/**", "/etc/**"]
        for guard in ("secret", "key_file", "endpoint", "host", "role", "file", "tap_device", "webhook_secret")
    },  # type: ignore[arg-type]
)
# The spellings of f32 that serde_json has: shortest digits, integers with ".0", exponents.
F32 = ["0.0", "1.0", "0.1", "0.99", "99.9", "1e-7", "16777216.0", "3.4028235e38", "-1.5"]


def a_record(deployment_type: str, **changes: Any) -> dict[str, Any]:
    """A record of a type as the model writes it, with the ids and metadata that the type needs."""
    type_ = CATALOGUE[deployment_type]
    ids = {group[0]: type_.ids[group[0]].example for group in type_.needs_one_of}
    metadata = {group[0]: type_.metadata[group[0]].example for group in type_.needs_metadata}
    record = {
        "id": "dep-0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f",
        "blueprint_id": "instance-1",
        "deployment_type": deployment_type,
        "provider": None,
        "region": type_.region.example if type_.region else None,
        "resource_spec": {
            "cpu": 2.0,
            "memory_gb": 4.0,
            "storage_gb": 20.0,
            "gpu_count": None,
            "allow_spot": False,
            "qos": {"priority": 0.0, "sla_target": 0.0, "reliability_multiplier": 0.0},
        },
        "resource_ids": ids,
        "deployed_at": "2029-12-31T23:00:00.123456789Z",
        "ttl_seconds": 3600,
        "expires_at": "2030-01-01T00:00:00.123456789Z",
        "status": "Active",
        "cleanup_webhook": None,
        "metadata": metadata,
    }
    return record | changes


def registered(record: dict[str, Any] | str, settings: Settings = SETTINGS) -> Deployment:
    body = record if isinstance(record, str) else json.dumps(record)
    return parse_registration(body, settings, now=NOW, registered_by="import", generation="g-1")


@pytest.mark.parametrize("deployment_type", SERVED)
def test_a_record_of_every_type_that_is_served_is_taken(deployment_type: str) -> None:
    found = registered(a_record(deployment_type))
    assert (found.deployment_type, found.status, found.incomplete) == (deployment_type, "Active", False)
    assert found.expires_at == "2030-01-01T00:00:00.123456789Z"


@pytest.mark.parametrize(
    "provider", [*PROVIDERS, {"DockerRemote": "tcp://engine.example.org:2376"}, {"BareMetal": ["10.0.0.1", "10.0.0.2"]}]
)
def test_a_record_of_every_provider_is_taken(provider: Any) -> None:
    assert registered(a_record("AwsEc2", provider=provider)).provider == provider


@pytest.mark.parametrize("text", F32)
@pytest.mark.parametrize("name", ["priority", "sla_target", "reliability_multiplier"])
def test_every_f32_is_taken_as_serde_spells_it(name: str, text: str) -> None:
    body = json.dumps(a_record("AwsEc2")).replace(f'"{name}": 0.0', f'"{name}": {text}')
    qos = registered(body).resource_spec.qos
    assert qos
    assert getattr(qos, name) == float(text)


@pytest.mark.parametrize("text", [text for text in F32 if not text.startswith("-")] + ["-0.0", "0.099999994"])
@pytest.mark.parametrize(("name", "default"), [("cpu", "2.0"), ("memory_gb", "4.0"), ("storage_gb", "20.0")])
def test_every_size_is_taken_as_serde_spells_it(name: str, default: str, text: str) -> None:
    """It says what was asked for, and nothing is done by it: what was rented must be recorded, whatever its size."""
    body = json.dumps(a_record("AwsEc2")).replace(f'"{name}": {default}', f'"{name}": {text}')
    assert getattr(registered(body).resource_spec, name) == float(text)


@pytest.mark.parametrize(
    "name", ["provider", "region", "resource_spec", "ttl_seconds", "expires_at", "cleanup_webhook", "status", "id"]
)
def test_what_is_optional_may_be_null_or_absent(name: str) -> None:
    record = a_record("VultrInstance")
    without = {key: value for key, value in record.items() if key != name}
    for each in (without, record | {name: None}):
        assert registered(each).blueprint_id == "instance-1"


@pytest.mark.parametrize(
    "qos", [None, {}, {"priority": 5}, {"priority": None, "sla_target": 0.5, "reliability_multiplier": None}]
)
def test_quality_of_service_may_be_whatever_the_model_has(qos: Any) -> None:
    record = a_record("AwsEc2")
    record["resource_spec"]["qos"] = qos
    assert registered(record)


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("tcp://engine.example.org:2376", "tcp://engine.example.org:2376"),
        ("tcp://engine.example.org:2376/", "tcp://engine.example.org:2376"),
        ("tcp://engine.example.org", "tcp://engine.example.org:2376"),
        ("https://engine.example.org:443", "tcp://engine.example.org:443"),
        ("engine.example.org", "tcp://engine.example.org:2376"),
        ("engine.example.org:2375", "tcp://engine.example.org:2375"),
        ("10.0.0.5", "tcp://10.0.0.5:2376"),
        ("10.0.0.5:2377", "tcp://10.0.0.5:2377"),
        ("2001:db8::1", "tcp://[2001:db8::1]:2376"),
        ("[2001:db8::1]", "tcp://[2001:db8::1]:2376"),
        ("[2001:db8::1]:2377", "tcp://[2001:db8::1]:2377"),
        ("tcp://[2001:db8::1]", "tcp://[2001:db8::1]:2376"),
        ("ssh://user@engine.example.org", "ssh://user@engine.example.org"),
        ("ssh://user@engine.example.org:22", "ssh://user@engine.example.org:22"),
        ("ssh://user@[::1]:22", "ssh://user@[::1]:22"),
    ],
)
def test_a_remote_engine_that_only_the_provider_names_is_the_place(host: str, endpoint: str) -> None:
    record = a_record("LocalDocker", provider={"DockerRemote": host})
    found = registered(record)
    assert (found.metadata["docker_host"], found.provider) == (endpoint, {"DockerRemote": host})


@pytest.mark.parametrize(
    "host",
    [
        "http://engine.example.org:2375",
        "unix:///var/run/docker.sock",
        "npipe:////./pipe/docker_engine",
        "fd://",
        "tcp://",
        "tcp://engine.example.org:",
        "tcp://engine.example.org:2376/v1.41",
        "ssh://engine.example.org",
        "ssh://user:hush-hush@engine.example.org",
        "tcp://user:hush-hush@engine.example.org:2376",
        "a://tcp://engine.example.org:2376",
    ],
)
def test_what_is_no_remote_engine_by_tls_or_ssh_is_refused_and_not_said_again(host: str) -> None:
    """A socket is on this machine, whose engine and boot a record of it must name."""
    with pytest.raises(Invalid) as invalid:
        registered(a_record("LocalDocker", provider={"DockerRemote": host}))
    assert (invalid.value.field, invalid.value.status) == ("provider.DockerRemote", 422)
    assert invalid.value.details["got"] == f"{len(host)} characters"
    assert "hush-hush" not in str(invalid.value.details)


@pytest.mark.parametrize("host", ["tcp://engine.example.org:2376", "engine.example.org", "a b", "http://x"])
def test_a_remote_engine_that_no_setting_allows_is_refused_and_the_setting_named(host: str) -> None:
    record = a_record("LocalDocker", provider={"DockerRemote": host})
    with pytest.raises(Invalid) as invalid:
        registered(record, Settings(local_place=SETTINGS.local_place))
    assert (invalid.value.field, invalid.value.status) == ("provider.DockerRemote", 422)
    assert "AllowedEndpoints" in invalid.value.message
