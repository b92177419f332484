"""The comparison of `make audit-templates`, and that what is answered is there. The audit itself needs the tools, and so isn't run here."""

import tomllib
from typing import Any

from tests.audit import checkov, guard
from tests.audit.findings import ANSWERS, answered, differences, plain
from tests.test_template import FUNCTIONS, RESOURCES

KNOWN: dict[str, Any] = tomllib.loads(ANSWERS.read_text())


def report(*failed: tuple[str, str, str]) -> dict[str, Any]:
    checks = [{"check_id": c, "resource": r, "file_path": path} for c, r, path in failed]
    return {"summary": {"parsing_errors": 0}, "results": {"failed_checks": checks}}


def test_a_finding_without_an_answer_and_an_answer_without_a_finding_are_told() -> None:
    answers = {"C1": {"resources": ["functions", "-B"]}, "C2": {"resources": ["events.Q"]}}
    known = answered(answers, ["A", "B"])
    findings = checkov.found(
        report(("C1", "AWS::Lambda::Function.A", "/template.json"), ("C3", "AWS::X.T", "/template.json"))
    )
    assert differences(findings, known) == ["no answer: C3 about T", "no finding: C2 about events.Q"]
    elsewhere = checkov.found([report(("C2", "AWS::SQS::Queue.Q", "/deploy/events.yaml"))])
    assert elsewhere == {("C2", "events.Q")}


def test_each_answer_is_in_words_and_about_what_is_there() -> None:
    for check, answer in KNOWN.items():
        assert len(answer["answer"]) > 20, check
        assert answer["about"], check
        for name in answer["resources"]:
            own = name.removeprefix("-")
            assert own == "functions" or "." in own or own in RESOURCES or own in FUNCTIONS or own == "Apiv1Stage", own


def test_rules_of_cfn_guard_name_what_does_not_keep_them() -> None:
    clause = {"Unary": {"check": {"Resolved": {"value": {"path": "/Resources/Q/Properties/Name"}}}}}
    rule = {
        "Rule": {"name": "r", "checks": [{"Clause": clause}, {"Clause": {"message": "Path=/Resources/P/Type[L:0]"}}]}
    }
    files = [
        {"name": f"/tmp/{name}", "not_compliant": each}
        for name, each in {"template.json": [rule], "a.yaml": []}.items()
    ]
    assert guard.found(files) == {("r", "Q"), ("r", "P")}
    assert guard.found([{"name": "deploy/events.yaml", "not_compliant": [rule]}]) == {
        ("r", "events.Q"),
        ("r", "events.P"),
    }


def test_a_template_is_written_as_the_tools_read_it() -> None:
    assert plain({"a": [{"Fn::GetAtt": "Table.StreamArn"}]}) == {"a": [{"Fn::GetAtt": ["Table", "StreamArn"]}]}
    assert plain({"a": {"Fn::Sub": ["${X}/b", {"X": {"Ref": "X"}}]}}) == {"a": "${X}/b"}
