"""The pages: what they list is what the code has, their links lead somewhere, and nothing in the repository names one machine."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import get_args

import click
import pytest

from deployment_tracker.cli.app import tracker
from docs.__main__ import PARTS, filled
from docs.stack import alarms, outputs, parameters
from tests.table import template
from tracker.intake.amendment import AMENDABLE
from tracker.intake.api import HIDDEN
from tracker.intake.listing import FILTERS, LIMIT, LIMIT_MAX
from tracker.intake.requests import RegistrationRequest
from tracker.model.brakes import MODES
from tracker.model.catalogue import CATALOGUE
from tracker.model.deployment import DEPLOYMENT_TYPES, EVENT_TYPES, STATUSES, Deployment, State, encode_key
from tracker.model.errors import Conflict, Contended, Held, Invalid, NotFound, PlanChanged, PlanUnseen, Problem
from tracker.model.rights import NotYours
from tracker.model.settings import Settings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
README_MAX = 9216

# Hosts that packages come from, and folders of one machine's users.
PLACES = re.compile(
    # In parts, so that this file holds none itself.
    r"pypi[.]org|pythonhosted[.]org|registry[.][a-z]|[a-z]registry[.]|arti"
    r"factory|proxy[.]golang|(?<![\w.])/(?:root|work|Users)/"
)
# The lock names the public index, and where its files are. No other may be in it.
INDEX = {f"https://{'.'.join(host)}" for host in (("pypi", "org/simple"), ("files", "pythonhosted", "org/packages"))}


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def section(page: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one of its level or a higher one."""
    (level,) = re.findall(rf"^(#+) {re.escape(heading)}$", text_of(page), re.MULTILINE)
    below = text_of(page).partition(f"\n{level} {heading}\n")[2]
    return re.split(rf"^#{{1,{len(level)}}} ", below, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without their headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads = {n - 1 for n, line in enumerate(lines) if re.fullmatch(r"[|-]+", line)}
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for n, line in enumerate(lines)
        if n not in heads and not re.fullmatch(r"[|-]+", line)
    ]


def named(text: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def first_cells(text: str) -> list[str]:
    return [name for row in rows(text) for name in named(row[0])]


def code(text: str) -> str:
    """The shell code in a text."""
    return "\n".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


# All pages


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= README_MAX


def anchors(page: Path) -> set[str]:
    """A page's headings as GitHub makes anchors of them."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, found = set(), {ROOT / "README.md"}
    while found:
        page = found.pop()
        reached.add(page)
        links = re.findall(r"\]\(([^)\s#:]+\.md)(?:#[^)]*)?\)", page.read_text())
        found |= {(page.parent / link).resolve() for link in links} - reached
    assert reached == set(PAGES)


def test_nothing_names_a_registry_or_a_folder_of_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git repository")
    wrong = []
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if name and name != "uv.lock" and path.is_file():
            wrong += [(name, found) for found in PLACES.findall(path.read_text(errors="replace"))]
    assert wrong == []


def test_the_lock_names_the_public_index_alone() -> None:
    sources = re.findall(r'https?://[^/"]+/[^/"]+', text_of("uv.lock"))
    assert set(sources) == INDEX


def commands(page: str) -> list[str]:
    """The calls of `tracker` in a page: in backticks, and in its shell code."""
    text = text_of(page)
    inline = re.findall(r"`(tracker [^`\n]*)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    return inline + re.findall(r"^(tracker [^|\n]*)", code(text), re.MULTILINE)


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES])
def test_every_call_of_tracker_has_a_verb_and_options_that_are_there(page: str) -> None:
    for text in commands(page):
        words = shlex.split(text.replace("...", ""), comments=True)[1:]
        found: click.Command = tracker
        options = {option for each in tracker.params for option in each.opts}
        while words and isinstance(found, click.Group):
            if words[0].startswith("-"):
                assert words[0] in options | {"-h"}, text
                # Its value, if it has one.
                words = words[2:]
                continue
            verb = found.get_command(click.Context(found), words.pop(0))
            assert verb, text
            found = verb
        options |= {option for each in found.params for option in each.opts}
        assert {word.partition("=")[0] for word in words if word.startswith("-")} <= options, text


# What is written by `make docs`


@pytest.mark.parametrize(
    ("page", "part"), [(page, part) for page, parts in PARTS.items() for part in parts], ids=lambda text: text
)
def test_a_part_that_is_written_from_the_code_is_in_its_page(page: str, part: str) -> None:
    assert filled(text_of(page), part, PARTS[page][part]()) == text_of(page), "run `make docs`"


def test_a_part_is_filled_in_and_the_rest_of_the_page_is_left() -> None:
    page = "before\n<!-- begin: a -->old<!-- end: a -->\nafter\n"
    assert filled(page, "a", ["x", "y"]) == "before\n<!-- begin: a -->\n\nx\ny\n\n<!-- end: a -->\nafter\n"
    with pytest.raises(ValueError, match="begin: b"):
        filled(page, "b", [])


def test_the_readme_has_every_type_that_can_be_cleaned_up() -> None:
    served = [name for name, entry in CATALOGUE.items() if entry.module]
    assert first_cells(section("README.md", "What it cleans up")) == served


def test_the_settings_are_the_templates_parameters_with_their_defaults() -> None:
    found = {}
    for name, default, meaning in rows(section("docs/settings.md", "Parameters")):
        found[name.strip("`")] = "" if default == "empty" else default.strip("`")
        assert meaning.endswith("."), name
    assert found == {name: str(each["Default"]) for name, each in template()["Parameters"].items()}
    assert list(parameters())


def test_the_outputs_are_those_that_the_template_describes() -> None:
    described = [name for name, each in template()["Outputs"].items() if "Description" in each]
    assert first_cells("\n".join(outputs())) == described


def test_every_alarm_is_listed() -> None:
    found = [name for name, each in template()["Resources"].items() if each["Type"] == "AWS::CloudWatch::Alarm"]
    assert first_cells("\n".join(alarms())) == found


# README


def test_the_lines_of_the_demo_are_those_that_it_prints() -> None:
    printed = "".join(text_of(f"local/demo/{file.name}") for file in (ROOT / "local" / "demo").glob("*.py"))
    lines = re.findall(r"^ +[\d.]+ s  \w+ +checked: (.*)$", section("README.md", "Try it"), re.MULTILINE)
    assert lines
    assert [line for line in lines if f'"{line}"' not in printed] == []


# docs/api.md


def test_the_calls_are_the_templates() -> None:
    functions = [each["Properties"] for each in template()["Resources"].values() if each["Type"].endswith("::Function")]
    routes = {
        f"{event['Properties']['Method']} {event['Properties']['Path']}"
        for function in functions
        for event in function.get("Events", {}).values()
        if event["Type"] == "Api"
    }
    calls = section("docs/api.md", "Calls").partition("\n### ")[0]
    assert sorted(first_cells(calls)) == sorted(routes)


def test_every_field_of_a_registration_and_of_a_record_is_explained() -> None:
    taken, answered = section("docs/api.md", "Register").split("The record that is answered has these fields besides:")
    assert set(first_cells(taken)) == set(RegistrationRequest.__struct_fields__)
    shown = set(Deployment.__struct_encode_fields__) - HIDDEN - set(RegistrationRequest.__struct_fields__)
    # Answers add what follows from the record.
    assert set(first_cells(answered)) == shown | {"cost", "mark"}
    (states,) = [row[1] for row in rows(answered) if row[0] == "`resources`"]
    assert set(get_args(State)) <= set(named(states))


def test_every_field_that_can_be_amended_is_named() -> None:
    (fields,) = re.findall(r"`PATCH` takes (.*?)\.", section("docs/api.md", "Amend"))
    assert named(fields) == list(AMENDABLE)


def test_every_status_is_explained() -> None:
    assert set(first_cells(section("docs/api.md", "Statuses"))) == set(STATUSES)


def test_the_filters_of_a_list_are_named_with_their_limits() -> None:
    listing = section("docs/api.md", "List")
    assert set(FILTERS) <= set(named(listing))
    assert f"at most {LIMIT_MAX}, by default {LIMIT}" in listing


def test_a_key_in_a_path_is_written_as_the_page_says() -> None:
    keys = section("docs/api.md", "Keys in paths")
    key, encoded = re.findall(r"`([^`]+)` is `(~[^`]+)`", keys)[0]
    assert encode_key(key) == encoded
    function = code(keys).splitlines()[0]
    shell = subprocess.run(
        ["bash", "-c", f'{function}\nencoded "$1"', "-", key], capture_output=True, text=True, check=True
    )
    assert shell.stdout == encoded


def test_every_code_of_an_error_is_explained_with_its_status() -> None:
    malformed = Invalid("field", "this", "that", malformed=True)
    problems = [Problem(""), malformed, Invalid("field", "this", "that"), NotFound(""), Conflict(""), Contended("")]
    problems += [NotYours(""), Held(""), PlanChanged(""), PlanUnseen("")]
    listed = [(int(status), *named(code)) for status, code, _ in rows(section("docs/api.md", "Errors"))]
    assert sorted(listed) == sorted((problem.status, problem.code) for problem in problems)


def test_the_bus_takes_what_the_rules_let_through() -> None:
    rules = [each["Properties"] for each in template()["Resources"].values() if each["Type"] == "AWS::Events::Rule"]
    taken = [type_ for rule in rules for type_ in rule["EventPattern"]["detail-type"]]
    assert first_cells(section("docs/api.md", "Events on the bus")) == taken


def test_everything_that_is_announced_is_explained() -> None:
    assert first_cells(section("docs/api.md", "What is announced")) == list(EVENT_TYPES)


# docs/webhooks.md


def test_subscribers_can_filter_by_what_the_page_says() -> None:
    table = {row[0].strip("`"): named(row[1]) for row in rows(section("docs/webhooks.md", "Subscribe to the topic"))}
    assert table["event"] == list(EVENT_TYPES)
    assert set(table["status"]) == set(STATUSES)
    assert set(table["deployment_type"]) <= set(DEPLOYMENT_TYPES)
    assert table.keys() == {"event", "status", "deployment_type", "blueprint_id"}


def test_the_gaps_between_attempts_are_the_defaults() -> None:
    units = {"s": 1, "min": 60, "h": 3600}
    (sentence,) = re.findall(r"Attempts are (.*?) apart", text_of("docs/webhooks.md"))
    gaps = [int(number) * units[unit] for number, unit in re.findall(r"(\d+) (s|min|h)\b", sentence)]
    assert gaps == Settings().webhook_gaps


# docs/settings.md, docs/deploying.md


def test_the_brakes_modes_and_platforms_are_the_codes() -> None:
    brake = section("docs/settings.md", "The brake")
    assert first_cells(brake) == list(MODES)
    (platforms,) = re.findall(r"The platforms are (.*?)\.", brake)
    assert named(platforms) == list(dict.fromkeys(entry.platform for entry in CATALOGUE.values()))


def test_what_stays_is_what_the_template_retains() -> None:
    retained = [
        name for name, each in template()["Resources"].items() if each.get("DeletionPolicy", "").startswith("Retain")
    ]
    assert sorted(first_cells(section("docs/deploying.md", "What stays"))) == sorted(retained)


def test_what_to_look_at_before_the_first_deployment_are_parameters() -> None:
    bullets = re.findall(r"^- (.*?):", text_of("docs/deploying.md").partition("## Outputs")[0], re.MULTILINE)
    advised = {name for bullet in bullets for name in named(bullet)}
    assert advised
    assert advised <= template()["Parameters"].keys()


# CONTRIBUTING.md, docs/architecture.md


def test_every_target_of_the_makefile_is_explained() -> None:
    targets = re.findall(r"^([a-z-]+):.*? ## ", text_of("Makefile"), re.MULTILINE)
    listed = [
        target.removeprefix("make ") for target in first_cells(section("CONTRIBUTING.md", "Set up")) if " " in target
    ]
    assert sorted(listed) == sorted(set(targets) - {"help"})


def test_the_rooms_are_explained_in_the_order_of_the_import_contract() -> None:
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["id"] == "rooms"]
    rooms = [set(layer.strip("()").split(" | ")) for layer in layers]
    headings = re.findall(r"^\*\*`([a-z_]+)/?`\*\*", section("docs/architecture.md", "Rooms"), re.MULTILINE)
    assert headings.pop(0) == "functions"
    for room in rooms:
        assert set(headings[: len(room)]) == room
        headings = headings[len(room) :]
    assert headings == []


def test_every_function_is_named() -> None:
    verbs = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))
    (sentence,) = re.findall(r"one folder per verb, (.*?)\.", section("docs/architecture.md", "Rooms"))
    assert sorted(named(sentence)) == verbs


def test_each_word_is_explained_once() -> None:
    words = (ROOT / "docs/architecture.md").read_text().split("| word | meaning |")[1].split("\n\n")[0]
    found = [word.strip() for row in words.splitlines()[2:] for word in row.split("|")[1].split(",")]
    assert len(found) > 20
    assert sorted(set(found)) == sorted(found)
