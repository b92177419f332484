"""This is what a tool of the audit is given, what it finds, and how that is compared with the answers in findings.toml."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.test_on_aws import translation
from tests.test_template import ROOT, TEMPLATE

ANSWERS = Path(__file__).parent / "findings.toml"

type Finding = tuple[str, str]
"""A check, and the resource that fails it. A resource of deploy/ has its template's name before it."""


def templates(folder: Path) -> list[Path]:
    """Write the stack's template there as SAM translates it. Return its file, and those of deploy/."""
    stack = folder / "template.json"
    stack.write_text(json.dumps(plain(translation(TEMPLATE))))
    return [stack, *(path for path in (ROOT / "deploy").glob("*.yaml") if not path.name.endswith(".rbac.yaml"))]


def named(template: Path, resource: str) -> str:
    """Return how answers name a resource of a template."""
    return resource if template.stem == "template" else f"{template.stem}.{resource}"


def plain(value: Any) -> Any:
    """Return a template's value as the tools read it: `Fn::GetAtt` as a list, and of a `Fn::Sub` with variables the text."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        match value:
            case {"Fn::GetAtt": str(text)}:
                return {"Fn::GetAtt": text.split(".", 1)}
            case {"Fn::Sub": [str(text), *_]}:
                return text
        return {name: plain(each) for name, each in value.items()}
    return value


def answered(answers: dict[str, Any], functions: Iterable[str]) -> set[Finding]:
    """Return the findings that have an answer."""
    known = set()
    for check, answer in answers.items():
        named = set(answer["resources"])
        if "functions" in named:
            named |= set(functions)
        named -= {"functions", *(name[1:] for name in named if name.startswith("-"))}
        known |= {(check, name) for name in named if not name.startswith("-")}
    return known


def differences(findings: set[Finding], known: set[Finding]) -> list[str]:
    """Return a line for each finding without an answer, and for each answer without a finding."""
    return [
        *(f"no answer: {check} about {resource}" for check, resource in sorted(findings - known)),
        *(f"no finding: {check} about {resource}" for check, resource in sorted(known - findings)),
    ]
