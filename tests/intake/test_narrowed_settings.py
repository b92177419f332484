"""Settings that were narrowed after a registration: they bind what is said from then on, and never keep an id from being handed in."""

from typing import Any

import msgspec
import pytest

from tests.intake.test_registration import DOCKER, PLACE, amend, refused, register
from tracker.model.catalogue import CATALOGUE, Form
from tracker.model.settings import Settings

ENGINE = "tcp://box.example.org:2376"
HOOK = "https://93.184.216.34:444/hook"
NARROW = Settings(local_place=PLACE)


def guarded(deployment_type: str) -> list[Form]:
    """The forms of what a record of a type may name only if a setting allows it."""
    type_ = CATALOGUE[deployment_type]
    return [form for form in [*type_.ids.values(), *type_.metadata.values()] if form.guard]


def allowing(deployment_type: str) -> Settings:
    """Settings that allow all that a record of a type may name."""
    allowed: dict[str, list[str]] = {"allowed_endpoints": [ENGINE]}
    for form in guarded(deployment_type):
        allowed.setdefault(f"allowed_{form.guard}s", []).append(form.example)
    return msgspec.convert({"webhook_ports": [444], **allowed, "local_place": PLACE}, Settings)


# Each names all that a setting can allow, and its ids.
GUARDED: list[dict[str, Any]] = [
    {
        "deployment_type": name,
        "resource_ids": {key: form.example for key, form in type_.ids.items()},
        "metadata": {key: form.example for key, form in type_.metadata.items() if form.guard},
    }
    for name, type_ in CATALOGUE.items()
    if guarded(name)
] + [{**DOCKER, "provider": {"DockerRemote": ENGINE}, "metadata": {}}]


@pytest.mark.parametrize("said", GUARDED, ids=lambda said: said["deployment_type"] + "-remote" * ("provider" in said))
@pytest.mark.parametrize("status", ["Active", "Terminating", "Terminated"])
def test_an_id_is_handed_in_whatever_else_the_record_names(said: dict[str, Any], status: Any) -> None:
    for key, late in said["resource_ids"].items():
        ids = {name: id_ for name, id_ in said["resource_ids"].items() if name != key}
        body = {"blueprint_id": "svc-1", "cleanup_webhook": HOOK, "status": "Unknown"} | said | {"resource_ids": ids}
        registered = msgspec.structs.replace(register(body, allowing(said["deployment_type"])), status=status)
        guard = CATALOGUE[said["deployment_type"]].ids[key].guard
        today = msgspec.convert({f"allowed_{guard}s": [late], "local_place": PLACE}, Settings) if guard else NARROW
        patch = {"resource_ids": {key: late}}
        assert amend(registered, patch, today).resource_ids == ids | {key: late}
        if guard:
            # What is added is held to the settings of today.
            assert refused(registered, patch, NARROW).field == f"resource_ids.{key}"


@pytest.mark.parametrize("said", GUARDED, ids=lambda said: said["deployment_type"] + "-remote" * ("provider" in said))
def test_what_is_changed_is_held_to_the_settings_of_today(said: dict[str, Any]) -> None:
    settings, named = allowing(said["deployment_type"]), said["metadata"]
    body = {"blueprint_id": "svc-1", "cleanup_webhook": HOOK, "status": "Unknown"} | said
    registered = register(body, settings)
    assert amend(registered, {"labels": {"a": "b"}}, NARROW).labels == {"a": "b"}
    assert refused(registered, {"cleanup_webhook": HOOK + "s"}, NARROW).field == "cleanup_webhook"
    without = register(body | {"metadata": {}}, settings)
    for key, value in named.items():
        assert refused(without, {"metadata": {key: value}}, NARROW).field == f"metadata.{key}"
