"""docs/runbook.md: a section for each alarm, and for each queue where something waits for a person."""

import re

import pytest

from local.replay import QUEUES
from tests.test_template import RESOURCES, ROOT, TEMPLATE, of_type

TEXT = (ROOT / "docs/runbook.md").read_text()
PARTS = ("It means", "Look at", "Mend it", "Mended when")


def sections() -> dict[str, str]:
    """The text below each heading of the third level."""
    found = re.findall(r"^### (.*?)\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return dict(found)


def queues() -> set[str]:
    """Those that nothing takes from: where SQS or a function puts what it gives up."""
    read = {
        event["Properties"]["Queue"]["Fn::GetAtt"].partition(".")[0]
        for each in of_type("AWS::Serverless::Function").values()
        for event in each.get("Events", {}).values()
        if event["Type"] == "SQS"
    }
    return of_type("AWS::SQS::Queue").keys() - read


def test_every_alarm_and_every_queue_of_what_was_given_up_has_its_section_and_nothing_else_has() -> None:
    assert sections().keys() == of_type("AWS::CloudWatch::Alarm").keys() | queues()


@pytest.mark.parametrize("name", sections())
def test_a_section_says_what_it_means_where_to_look_what_to_do_and_when_it_is_over(name: str) -> None:
    parts = re.findall(r"^\*\*([A-Z][a-z]+ [a-z]+)\*\*", sections()[name], re.MULTILINE)
    assert tuple(parts) == PARTS


@pytest.mark.parametrize("name", sections())
def test_a_section_names_a_command(name: str) -> None:
    assert (
        re.search(r"`(tracker|aws|make|set_parameter|call)\b|^aws ", sections()[name], re.MULTILINE)
        or "by itself" in sections()[name]
    )


def test_what_is_replayed_is_every_queue_of_what_was_given_up() -> None:
    assert {output.removesuffix("Url") for output in QUEUES.values()} == queues()
    assert set(re.findall(r"--only (\w+)", TEXT)) == QUEUES.keys()


def test_the_parameters_that_are_set_are_the_templates_and_within_their_bounds() -> None:
    found = re.findall(r"`set_parameter (\w+) ([^`]+)`", TEXT)
    assert found
    for name, value in found:
        parameter = TEMPLATE["Parameters"][name]
        if parameter["Type"] == "Number":
            assert parameter["MinValue"] <= int(value) <= parameter.get("MaxValue", 1000)
        else:
            assert value in parameter["AllowedValues"]


def test_the_outputs_are_ones_that_are_there() -> None:
    outputs = set(re.findall(r"\$\(output (\w+)\)", TEXT))
    assert outputs
    template = (ROOT / "template.yaml").read_text().partition("\nOutputs:\n")[2]
    assert [name for name in outputs if f"  {name}:\n" not in template] == []
    assert RESOURCES["FunctionsLog"]
