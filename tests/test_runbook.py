"""docs/runbook.md: a section for each alarm, and for each queue where something waits for a person. And the `aws` commands of all pages."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import botocore.session
import pytest
import yaml
from botocore import xform_name
from botocore.exceptions import UnknownServiceError

from local.options import OPTIONS
from local.replay import QUEUES
from tests.test_docs import PAGES
from tests.test_template import RESOURCES, ROOT, TEMPLATE, _Loader, of_type

TEXT = (ROOT / "docs/runbook.md").read_text()
# What the AWS CLI has beside the services' own operations, and what it takes with any of them.
OF_THE_CLI_ALONE = {
    ("cloudformation", "deploy"): {"template-file", "stack-name", "capabilities", "parameter-overrides"},
    ("eks", "update-kubeconfig"): {"name", "kubeconfig"},
    ("configure", "export-credentials"): {"format"},
    ("logs", "tail"): {"since", "format", "filter-pattern"},
}
EVERYWHERE = {"endpoint-url", "output", "profile", "query", "region"}
# Where `--endpoint-url` would be meant, it has another word.
RENAMED = {("sns", "subscribe"): {"endpoint": "notification-endpoint"}}
# What an operator pastes.
OPERATORS_PAGES = ("deploying", "settings", "security", "runbook")
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


@pytest.mark.parametrize("name", OPERATORS_PAGES)
def test_the_outputs_are_ones_that_are_there(name: str) -> None:
    text = (ROOT / f"docs/{name}.md").read_text()
    outputs = set(re.findall(r"\$\(output (\w+)\)", text))
    assert outputs <= TEMPLATE["Outputs"].keys()
    assert not outputs or "output() {" in text or "In the [runbook](runbook.md)'s shell" in text
    assert RESOURCES["FunctionsLog"]


@pytest.mark.parametrize("name", OPERATORS_PAGES)
def test_a_command_names_the_stack_by_a_variable_and_no_variable_before_it_is_set(name: str) -> None:
    known = {"PATH", "PWD"}
    for part in code((ROOT / f"docs/{name}.md").read_text()):
        assert not re.search(r"--stack(-name)? \"?deployment-tracker(?!-2)|[ /]deployment-tracker/cleanup-mode", part)
        for line in part.splitlines():
            used = set(re.findall(r"\$\{?([A-Za-z_]\w*)", line))
            set_here = set(re.findall(r"(?<![\w-])([A-Za-z_]\w*)=", line))
            assert used <= known | set_here, line
            known |= set_here


def test_what_is_deployed_gets_every_parameter_that_it_needs_and_no_other() -> None:
    text = "\n".join(page.read_text() for page in PAGES).replace("\\\n", " ")
    ours = {name for path in OPTIONS.glob("*.yaml") for name in yaml.safe_load(path.read_text()).get("Parameters", {})}
    for named in re.findall(r"^sam deploy .*--parameter-overrides (.*)", text, re.MULTILINE):
        assert overrides(named) <= TEMPLATE["Parameters"].keys() | ours, named
    found = re.findall(r"^aws cloudformation deploy (.*)", text, re.MULTILINE)
    assert len(found) >= len(list((ROOT / "deploy").glob("*.yaml"))) - 1
    for command in found:
        (file,) = re.findall(r"--template-file (\S+)", command)
        template = yaml.load((ROOT / file).read_text(), _Loader)
        parameters = template.get("Parameters", {})
        named = overrides(command.partition("--parameter-overrides ")[2])
        assert named <= parameters.keys(), command
        assert {each for each, said in parameters.items() if "Default" not in said} <= named, command
        # A stack whose name isn't the default one's says so itself.
        assert ("TrackerStack" in parameters) == ("TrackerStack" in named), command
        kinds = {each["Type"].rpartition("::")[0] for each in template["Resources"].values()}
        assert ("AWS::IAM" in kinds) == ("--capabilities CAPABILITY_" in command), command


def overrides(code: str) -> set[str]:
    """Return the names of the parameters that stand behind --parameter-overrides."""
    return set(re.findall(r"(?<!\S)\"?([A-Z]\w+)=", code.partition(" #")[0]))


def code(text: str) -> list[str]:
    """Return the shell code of a page: its fences, and what stands between backquotes."""
    fences = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [*fences, *re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))]


def commands(text: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Each `aws` command in the code of a page: the service, the operation, and the names of its options."""
    for part in code(text):
        for found in re.finditer(r"(?<![\w./-])aws ([a-z][a-z0-9-]*) +([a-z][a-z0-9-]*)(?=\s|$)", part):
            service, operation = found.groups()
            rest = arguments(part[found.end() :].replace("\\\n", " "))
            if operation == "wait":
                waiter, _, rest = rest.strip().partition(" ")
                operation = f"wait {waiter}"
            yield service, operation, tuple(re.findall(r"(?<!\S)--([a-z][a-z0-9-]*)", rest))


def arguments(code: str) -> str:
    """Return what belongs to a command, without what is quoted or is a command within it."""
    kept, depth, quote = [], 0, ""
    for n, character in enumerate(code):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "(":
            depth += 1
        elif depth:
            depth -= character == ")"
        elif character in "\n|;&)>" or (character == "#" and code[n - 1 : n].isspace()):
            break
        else:
            kept.append(character)
    return "".join(kept)


@cache
def options(service: str, operation: str) -> tuple[set[str], set[str]] | None:
    """The options that a command takes, and those that it needs, by the service's own model. None if there is no such operation."""
    if (service, operation) in OF_THE_CLI_ALONE:
        return OF_THE_CLI_ALONE[service, operation] | EVERYWHERE, set()
    session = botocore.session.get_session()
    try:
        model = session.get_service_model(service)
        waits = session.get_waiter_model(service).waiter_names if operation.startswith("wait ") else []
    except UnknownServiceError:
        return None
    named = {xform_name(name, "-"): name for name in model.operation_names}
    for waiter in waits:
        if xform_name(waiter, "-") == operation.removeprefix("wait "):
            named[operation] = session.get_waiter_model(service).get_waiter(waiter).operation
    if operation not in named:
        return None
    shape = model.operation_model(named[operation]).input_shape
    words = RENAMED.get((service, operation), {})
    cli = {name: words.get(xform_name(name, "-"), xform_name(name, "-")) for name in (shape.members if shape else {})}
    takes = set(cli.values())
    takes |= {f"no-{cli[name]}" for name in cli if shape and shape.members[name].type_name == "boolean"}
    return takes | EVERYWHERE, {cli[name] for name in (shape.required_members if shape else [])}


def wrong(text: str) -> list[str]:
    """Return what is wrong with the `aws` commands of a page."""
    found = []
    for service, operation, named in commands(text):
        known = options(service, operation)
        if known is None:
            found.append(f"aws {service} {operation}: there is no such command")
            continue
        takes, needs = known
        found += [f"aws {service} {operation} --{name}: no such option" for name in named if name not in takes]
        found += [f"aws {service} {operation}: --{name} is missing" for name in sorted(needs - set(named))]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_aws_commands_of_a_page_are_ones_that_there_are(page: Path) -> None:
    assert wrong(page.read_text()) == []


def test_the_pages_have_such_commands_and_a_wrong_one_would_be_found() -> None:
    found = {(service, operation) for page in PAGES for service, operation, _ in commands(page.read_text())}
    assert found >= {("sqs", "receive-message"), ("dynamodb", "wait table-exists"), ("logs", "tail")} | {
        *OF_THE_CLI_ALONE
    }
    fence = """```sh
x="$(aws sqs list-quues --output text)"   # can't --be
aws dynamodb wait table-exist --table-name t
aws sns subscribe --topic-arn "$(output --none)" --endpoint https://example.com \\
  --protocol https | cat --all
```
Say `aws lambda invoke --function-name f` and `aws ecz list`.
"""
    assert wrong(fence) == [
        "aws sqs list-quues: there is no such command",
        "aws dynamodb wait table-exist: there is no such command",
        "aws sns subscribe --endpoint: no such option",
        "aws ecz list: there is no such command",
    ]
