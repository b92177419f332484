"""The settings: maps by provider are read as JSON, and one provider's is never another's."""

import msgspec
import pytest

from tracker.model.settings import Settings, from_environment


def test_maps_by_provider_are_read_as_json() -> None:
    found = from_environment(
        {
            "ACCOUNTS": '{"gcp": "my-project-1"}',
            "MARKS": '{"gcp": "managed_by=blueprint", "digitalocean": "blueprint"}',
            "CREDENTIALS": '{"gcp": "tracker/gcp"}',
            "BASE_URLS": '{"gcp": "http://127.0.0.1:1"}',
        }
    )
    assert found == Settings(
        accounts={"gcp": "my-project-1"},
        marks={"gcp": "managed_by=blueprint", "digitalocean": "blueprint"},
        credentials={"gcp": "tracker/gcp"},
        base_urls={"gcp": "http://127.0.0.1:1"},
    )


def test_an_empty_map_is_none() -> None:
    assert from_environment({"MARKS": "", "ACCOUNTS": " "}) == Settings()


@pytest.mark.parametrize("text", ["{", "blueprint", '["blueprint"]', '{"gcp": 1}', '{"gcp": null}'])
def test_a_map_of_marks_that_is_none_stops_the_function(text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        from_environment({"MARKS": text})


def test_a_mark_is_its_provider_s_alone() -> None:
    settings = Settings(marks={"gcp": "managed_by=blueprint"}, aws_mark="Blueprint")
    assert [settings.mark(provider) for provider in ("gcp", "aws", "digitalocean", "")] == [
        "managed_by=blueprint",
        "Blueprint",
        "",
        "",
    ]


def test_an_account_is_its_provider_s_alone() -> None:
    settings = Settings(accounts={"gcp": "my-project-1"}, aws_account="123456789012")
    assert [settings.account(provider) for provider in ("gcp", "aws", "digitalocean")] == [
        "my-project-1",
        "123456789012",
        "",
    ]
