"""This is what careless hands type: each refusal is one line with the field, what came, and what to do next."""

import re
from collections.abc import Iterator

import click
import pytest

from deployment_tracker.cli.app import tracker
from tests.client.api import Api
from tests.client.conftest import Run

# Where nothing is the same as nothing said.
MAY_BE_EMPTY = {"end --reason", "end --over-hold", "retry --reason", "forget --over-hold"}


def verbs(of: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield each verb with the words that lead to it."""
    for name in of.list_commands(click.Context(of)):
        command = of.get_command(click.Context(of), name)
        assert command
        if isinstance(command, click.Group):
            yield from verbs(command, *path, name)
        else:
            yield (*path, name), command


def options() -> Iterator[tuple[tuple[str, ...], str]]:
    for path, command in verbs(tracker):
        for param in command.params:
            if isinstance(param, click.Option) and not param.is_flag:
                name = max(param.opts, key=len)
                if f"{' '.join(path)} {name}" not in MAY_BE_EMPTY:
                    yield path, name


@pytest.mark.parametrize(
    ("path", "name"), list(options()), ids=lambda each: each if isinstance(each, str) else "-".join(each)
)
def test_an_empty_value_of_any_option_is_refused_and_named(
    api: Api, run: Run, path: tuple[str, ...], name: str
) -> None:
    command = dict(verbs(tracker))[path]
    arguments = [
        "bash" if isinstance(each.type, click.Choice) else "1h" if each.name == "by" else "svc-1"
        for each in command.params
        if isinstance(each, click.Argument)
    ]
    required = [
        text
        for each in command.params
        if isinstance(each, click.Option) and each.required and name not in each.opts
        for text in (max(each.opts, key=len), "a reason")
    ]
    said = run(*path, *arguments, *required, name, "")
    assert (said.code, said.out, api.calls) == (2, "", [])
    assert name in said.err
    assert said.err.startswith("error: ")


def test_a_deployment_of_an_unset_variable_doesnt_live_for_ever(api: Api, run: Run) -> None:
    said = run(
        "register", "svc-1", "AwsEc2", "--in", "eu-central-1", "--id", "instance_id=i-0123456789abcdef0", "--ttl", ""
    )
    assert (said.code, api.records) == (2, {})
    assert "--ttl: expected a duration, got an empty string" in said.err


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("lss", ("'lss'", "Did you mean `tracker ls`?", "`tracker -h`")),
        ("brake foo", ("'foo'", "`tracker brake -h`")),
        ("ls --bogus", ("--bogus", "`tracker ls -h`")),
        ("ls --status Venus", ("--status", "'Venus'", "`tracker ls -h`")),
        ("ls more", ("more", "`tracker ls -h`")),
        ("show", ("KEY", "`tracker show -h`")),
        ("hold svc-1 --for 1h", ("--reason", "`tracker hold -h`")),
        ("completion tcsh", ("'tcsh'", "'fish'", "`tracker completion -h`")),
        ("ui --port 99999", ("--port", "99999", "65535")),
        ("extend svc-1 soon", ("BY: 'soon'", "2h")),
        ("extend svc-1 --until yesterday", ("--until: 'yesterday' is no time", "2026-12-01T18:00:00+01:00")),
        ("hold svc-1 --reason x --for 3", ("--for: '3'", "3h for hours")),
        ("register svc-1 AwsEc2 --label x", ("--label", "'x'", "KEY=VALUE")),
        ("types awsec2", ("'awsec2'", "Did you mean AwsEc2?", "`tracker types`")),
        ("register -f /nowhere.json", ("/nowhere.json", "No such file")),
        ("verify-webhook /nowhere.json", ("/nowhere.json", "No such file")),
        ("verify-webhook --secret-file /nowhere", ("/nowhere", "No such file")),
        ("verify-webhook --headers-file /nowhere", ("/nowhere", "No such file")),
        ("import /nowhere.json", ("/nowhere.json", "No such file")),
        ("export -f /nowhere/x", ("/nowhere/x", "No such file")),
    ],
)
def test_a_refusal_is_one_line_that_says_how_to_go_on(
    api: Api, run: Run, monkeypatch: pytest.MonkeyPatch, line: str, texts: tuple[str, ...]
) -> None:
    monkeypatch.setenv("TRACKER_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    said = run(*line.split())
    assert (said.code, said.out) == (1 if line.startswith("export") else 2, "")
    assert len(said.err.splitlines()) == 1
    assert re.fullmatch(r"error: .*[.?]\n", said.err)
    for text in texts:
        assert text in said.err


@pytest.mark.parametrize(
    ("line", "code", "texts"),
    [
        ("show nope", 5, ("'nope'. `tracker ls` lists",)),
        ("redeliver svc-1 nope", 5, ("'nope'", "`tracker deliveries NAME` lists them.")),
        ("adopt nope --reason x -y", 5, ("'nope'", "`tracker strays` lists them.")),
        ("register svc-2 awsec2", 2, ("got awsec2. Did you mean AwsEc2? `tracker types` lists them.",)),
        ("register svc-2 AwsEc2 --in eu-central-1 --id instanceid=i-1", 2, ("Did you mean instance_id?",)),
        ("retry svc-1", 6, ("it is Active. `tracker end svc-1` ends it.",)),
        ("retry svc-2", 6, ("it is Terminating. `tracker show svc-2` shows how far it is.",)),
    ],
)
def test_what_the_api_refuses_says_how_to_go_on(
    api: Api, run: Run, line: str, code: int, texts: tuple[str, ...]
) -> None:
    api.add("svc-1")
    api.looks = -1
    if "register" not in line:
        api.add("svc-2", status="Terminating")
    said = run(*line.split())
    assert (said.code, len(said.err.splitlines())) == (code, 1)
    for text in texts:
        assert text in said.err


@pytest.mark.usefixtures("at_terminal")
def test_a_narrow_terminal_shows_lines_and_not_columns_of_letters(
    api: Api, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.add("svc-1", ttl_seconds=7200)
    monkeypatch.setenv("COLUMNS", "40")
    assert run("ls", "--no-color").out.splitlines() == [
        "svc-1", "  type    AwsEc2", "  place   eu-central-1", "  status  Active", "  ends    in 2 h",
    ]  # fmt: skip
